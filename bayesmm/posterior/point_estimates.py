"""What a maximised fit says about each parameter: its estimate, its standard error, and whether it is at a bound."""

import math

import numpy as np

from bayesmm.design.parameters import Parameter, block_parameters, response_sds, variable_of
from bayesmm.design.residual.structure import typical_weight, weights_of_rows
from bayesmm.design.summed import is_summed
from bayesmm.errors import listing
from bayesmm.likelihood.lattice import FINE
from bayesmm.likelihood.quadrature import MOST_NODES, evaluate, fits, prepare
from bayesmm.posterior.own_values import own_in_rows
from bayesmm.priors import formula_bases, own_at_means, prior_residual

INTEGRATION_ERROR = 0.05  # of a log likelihood: the last digit that a print shows of AIC, BIC and deviance
SD_TOLERANCE = 1e-4  # an sd, as its share of the linear predictor over sigma, below this is 0: lme4's isSingular()
SHARE_TOLERANCE = 1e-6  # a column is part of a linear relation if it makes up more than this of another
CORR_TOLERANCE = 1e-5  # a correlation this near to +-1, or an eigenvalue of the correlations this small, is singular


def estimate(point, parameter: Parameter) -> float:
    """Return the estimate of one parameter on the scale of the posterior; NaN where it is not defined."""
    if parameter.kind == "sigma":
        return float(point.sigma)
    if parameter.kind == "auxiliary":
        return float(point.auxiliaries[parameter.label])
    if parameter.kind == "residual":
        return float(point.residual[variable_of(point.design, parameter)][parameter.terms or 0])
    if parameter.kind == "coefficient":
        return float(point.beta[parameter.terms[0]])
    sds = np.sqrt(np.diag(point.covariances[parameter.block]))
    if parameter.kind == "sd":
        return float(sds[parameter.terms[0]])
    i, j = parameter.terms
    scale = sds[i] * sds[j]
    return float(point.covariances[parameter.block][i, j] / scale) if scale > 0 else math.nan


def standard_error(point, parameter: Parameter) -> float:
    """Return the standard error of a coefficient, a threshold or a coefficient of a formula.

    NaN for a variance parameter, whose likelihood is not quadratic.
    """
    if parameter.kind != "coefficient":
        return point.own_se.get(parameter.label, math.nan)
    return float(np.sqrt(point.beta_cov[parameter.terms[0], parameter.terms[0]]))


def at_bound(point, parameter: Parameter) -> bool:
    """Return whether the estimate of an sd is 0, or that of a correlation +-1 or undefined because an sd is 0."""
    if parameter.kind == "sd":
        return is_zero(point, parameter.block, parameter.terms[0])
    if parameter.kind != "corr":
        return False
    if any(is_zero(point, parameter.block, i) for i in parameter.terms):
        return True
    near = 1 - abs(estimate(point, parameter)) < CORR_TOLERANCE
    return near and _rank(point, parameter.block) < len(point.design.blocks[parameter.block].columns)


def _rank(point, k: int) -> int:
    """Return the rank of the covariance matrix of block `k`, wherever the origins of its predictors are.

    Far from them the correlation of an intercept and a slope is near -1 and the matrix is not singular.
    """
    covariance = point.scaled.covariances[k]
    sds = np.sqrt(np.diag(covariance))
    safe = np.where(sds > 0, sds, 1.0)
    return int((np.linalg.eigvalsh(covariance / np.outer(safe, safe)) > CORR_TOLERANCE).sum())


def is_zero(point, k: int, i: int) -> bool:
    """Return whether the sd of term `i` of block `k` is 0 next to the rows', or 1 on a link's scale, in any units."""
    unit = _residual_sd(point) if point.design.family.link == "identity" else 1.0
    if point.design.responses:
        column = point.design.blocks[k].Z[:, i]
        own = response_sds(point.design.responses)[point.design.response_codes[int(np.abs(column).argmax())]]
        unit = float(point.residual[own][0])
    spread = 1 / point.scaled.bases[k][i, i]  # root mean square of what the column adds to earlier ones
    return math.sqrt(point.covariances[k][i, i]) * spread < SD_TOLERANCE * unit


def _residual_sd(point) -> float:
    """Return the residual sd of a typical row, which sigma is not where rows have weights, known sds or a formula."""
    design = point.design
    if is_summed(design) or design.responses:
        return float(point.sigma)
    bases = formula_bases(design)  # where the columns of sigma's formula are 0 it may be any number
    own, values = own_at_means(design, bases, {**point.auxiliaries, **point.levels}, point.residual)
    sigma = float(own.get("sigma", point.sigma))
    if not design.family.gaussian:
        return sigma
    term = prior_residual(design, bases)
    weights = weights_of_rows(term, term.rows, values, design.weights) if term.parts else design.weights
    return sigma if weights is None else sigma / math.sqrt(typical_weight(weights))


def confounded(design) -> set[int]:
    """Return the columns of X that a linear relation ties together: the aliased ones and those that they depend on."""
    aliased = list(design.aliased)
    kept = [j for j in range(design.p) if j not in aliased]
    if not aliased or not kept:
        return set(aliased)
    norms = np.linalg.norm(design.X, axis=0)
    norms[norms == 0] = 1.0
    shares = np.linalg.lstsq(design.X[:, kept] / norms[kept], design.X[:, aliased] / norms[aliased])[0]
    tied = np.abs(shares).max(axis=1) > SHARE_TOLERANCE
    return {*aliased, *(kept[i] for i in np.flatnonzero(tied))}


def is_singular(point, k: int) -> bool:
    """Return whether the covariance matrix of block `k` is singular."""
    return bool(singular_parts(point, k))


def singular_parts(point, k: int) -> list[str]:
    """Return, in words, each sd of block `k` at 0, each correlation at +-1 and any other loss of rank."""
    block = point.design.blocks[k]
    parameters = block_parameters(k, block)
    zero = [i for i in range(len(block.columns)) if is_zero(point, k, i)]
    if block.smooth:
        flat = [text for text, i in block.sds if i in zero]
        named = [block.group if len(block.sds) == 1 else f"{text} in {block.group}" for text in flat]
        straight = " (a straight line)" * (len(block.sds) == 1)
        return [f"the smoothing sd of {listing(named)} is 0{straight}"] if named else []
    parts = [f"the sd of {name} in {block.group} is 0" for name, i in block.sds if i in zero]
    for parameter in parameters:
        if parameter.kind == "corr" and not set(parameter.terms) & set(zero) and at_bound(point, parameter):
            first, second = (block.columns[i] for i in parameter.terms)
            sign = "1" if estimate(point, parameter) > 0 else "-1"
            parts.append(f"the correlation of {first} and {second} in {block.group} is {sign}")
    return parts or rank_loss(point, k)


def rank_loss(point, k: int) -> list[str]:
    """Return, in words, the rank of a covariance matrix that is singular in no single parameter."""
    block, rank = point.design.blocks[k], _rank(point, k)
    if rank == len(block.columns):
        return []
    return [f"the covariance matrix of the {len(block.columns)} terms in {block.group} has rank {rank}"]


def by_quadrature(point) -> float:
    """Return the log likelihood at a point's estimates with the integrals to rounding; NaN where there is none."""
    design = point.design
    if design.family.gaussian or point.nagq == 0 or not fits(design) or not np.isfinite(point.loglik):
        return math.nan
    variances, vectors = np.linalg.eigh(point.covariances[0])
    L = np.linalg.qr((vectors * np.sqrt(np.maximum(variances, 0.0))).T).R.T  # of a singular matrix as well
    own, values = own_in_rows(design, {**point.auxiliaries, **point.levels}, point.residual)
    own = own.sorted(np.argsort(design.blocks[0].index, kind="stable"))
    aux = own.rows(values) if own.by_row else values
    return evaluate(prepare(design), np.nan_to_num(point.beta), L, aux, FINE).value


def integration_words(point, exact: float) -> str:
    """Say how far a maximised fit's log likelihood is from its integral `exact`, where that changes what is printed."""
    error = exact - point.loglik
    if not abs(error) > INTEGRATION_ERROR:
        return ""
    way = "Laplace's approximation" if point.nagq == 1 else f"the quadrature with {point.nagq} nodes"
    return (
        f"{way} may be off here: the log likelihood by it is {point.loglik:.2f}, and the integral "
        f"itself {exact:.2f} ({abs(error):.2g} {'more' if error > 0 else 'less'}): compare the estimates with those of "
        f"maximize(nagq={min(max(25, 2 * point.nagq), MOST_NODES)})"
    )
