"""The tables of a posterior: draws -> data frames with lme4's meaning.

Everything is computed from the draws, on the absolute scale (units of the response for sds and coefficients), and
nothing is written back to them.
"""

import json
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from bayesmm.design.ordered import check_order
from bayesmm.design.parameters import (
    Parameter,
    by_levels,
    category_effects,
    coefficients,
    effect_labels,
    free_auxiliaries,
    residual_parameters,
    responses_of,
    variable_of,
    variance_entries,
    variance_parameters,
)
from bayesmm.design.predictors import linear_predictor, random_parameters, shifts
from bayesmm.design.records import Block
from bayesmm.design.residual.of_family import own_of_rows
from bayesmm.design.residual.structure import mean_values
from bayesmm.design.term_basis import TermBasis
from bayesmm.estimation.coefficients import add_effects, beside_effects
from bayesmm.estimation.estimates import pearson_residuals
from bayesmm.likelihood.own_parameters import OwnParameters
from bayesmm.posterior.convergence import NAMES, diagnose, in_batches, quantile
from bayesmm.posterior.own_values import own_in_rows
from bayesmm.priors import formula_bases, own_at_means, own_at_zero, prior_bases, shifts_of_thresholds, threshold_means
from bayesmm.runtime.arguments import check_probability
from bayesmm.runtime.messages import count

RIDGE = 1e-12  # of the identity, without which a correlation matrix that is singular to rounding has no factor
CI_PROB = 0.95  # probability of an interval unless asked otherwise (DESIGN: 95 % equal-tailed)
VARCORR = ("sd", "corr", "sigma")  # kinds of parameters that lme4's VarCorr() has
STATISTICS = ("mean", "sd", "lower", "upper", *NAMES)


def variable(tree, name: str) -> np.ndarray:
    """Return the draws of a variable of the posterior, (chains, draws, ...)."""
    return tree["posterior"][name].transpose("chain", "draw", ...).values


def draws_of(fit, parameters: list[Parameter]) -> np.ndarray:
    """Return the draws of these parameters, (len(parameters), chains, draws)."""
    sizes = tree_sizes(fit.tree)
    draws = [parameter_draws(fit, parameter) for parameter in parameters]
    return np.stack(draws) if draws else np.empty((0, *sizes))


def parameter_draws(fit, parameter: Parameter) -> np.ndarray:
    """Return the draws of one parameter, (chains, draws)."""
    return variable(fit.tree, variable_of(fit.design, parameter))[(..., *parameter.terms)]


def residual_draws(fit) -> dict[str, np.ndarray]:
    """Return the draws of the residual's parameters, (chains * draws, k) each; of sigma if it is no scale."""
    number, residual = int(np.prod(tree_sizes(fit.tree))), fit.design.residual
    sizes = {own.name: own.size for own in residual.parameters} | ({"sigma": 1} if residual.sigma == "joint" else {})
    return {name: variable(fit.tree, name).reshape(number, size) for name, size in sizes.items()}


def prior_draws(fit) -> dict[str, np.ndarray]:
    """Return the draws of what the priors are of: beta, and each sd_<name> and corr_<name>, (chains, draws, ...).

    They are those of the prior's design (`priors.basis`), most of which are also those that are reported.
    """
    design, bases = fit.design, prior_bases(fit.design, fit.model.priors)
    found = {"beta": variable(fit.tree, "beta") @ bases.fixed.R.T} if design.p else {}
    for block, basis in zip(design.blocks, bases.blocks, strict=True):
        sd, corr = block.names.sd, block.names.corr
        found[sd] = variable(fit.tree, sd)
        if block.correlated:
            found[corr] = variable(fit.tree, corr)
        if not basis.trivial:
            found[sd], found[corr] = in_basis(fit, block, basis)
    return found


def in_basis(fit, block: Block, basis: TermBasis) -> tuple[np.ndarray, np.ndarray]:
    """Return the draws of a correlated block's sds, (chains, draws, q), and correlations, (.., q, q), in a basis."""
    sds, R = variable(fit.tree, block.names.sd), variable(fit.tree, block.names.corr)
    if basis.trivial:
        return sds, R
    return _sds_and_correlations(basis.R @ (sds[..., None] * R * sds[..., None, :]) @ basis.R.T)


def prior_own_draws(fit) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return `scalar_draws` and `residual_draws` of what the priors are of.

    Thresholds are those at the predictors' means, and a parameter with a formula is at the means of its columns.
    """
    bases = prior_bases(fit.design, fit.model.priors)
    own, found = own_at_means(fit.design, bases, scalar_draws(fit), residual_draws(fit))
    return own, _thresholds_at_means(fit, found)


def _thresholds_at_means(fit, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    design, moved = fit.design, {own.name for own in fit.design.residual.parameters if own.at_means}
    if not moved:
        return found
    gamma = (
        prior_draws(fit)["beta"].reshape(-1, design.p) if design.p else np.zeros((len(next(iter(found.values()))), 0))
    )
    shift = shifts_of_thresholds(design, threshold_means(design, fit.model.priors), gamma, found)
    return {name: values - shift if name in moved else values for name, values in found.items()}


def _sds_and_correlations(Sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sds, (..., q), and correlations, (..., q, q), of covariance matrices."""
    sds = np.sqrt(np.maximum(np.diagonal(Sigma, axis1=-2, axis2=-1), np.finfo(float).tiny))
    R = np.clip(Sigma / sds[..., None] / sds[..., None, :], -1.0, 1.0)
    diagonal = np.arange(R.shape[-1])
    R[..., diagonal, diagonal] = 1.0
    return sds, R


def tree_sizes(tree) -> tuple[int, int]:
    """Return the numbers of chains and of draws per chain."""
    sizes = tree["posterior"].sizes
    return sizes["chain"], sizes["draw"]


def kept_effects(fit) -> list[int]:
    """Return the blocks whose random effects are among the draws: none of them with ``keep_effects=False``."""
    stored = fit.tree["posterior"].data_vars
    return [k for k, block in enumerate(fit.design.blocks) if block.names.effects in stored]


def effect_draws(fit, k: int) -> np.ndarray:
    """Return the draws of the random effects of block `k`, (q * G, chains, draws): all levels of the first term first.

    That is the order of lme4's ``as.data.frame(ranef())``.

    Raises
    ------
    ValueError
        If they were not kept.
    """
    return np.concatenate(list(draws_by_term(fit, k)))


def draws_by_term(fit, k: int) -> Iterator[np.ndarray]:
    """Return the same term by term, (G, chains, draws) each: views, as all effects may be a large part of memory."""
    return iter(block_draws(fit, fit.design.blocks[k]).transpose(3, 2, 0, 1))


def describe_effects(fit, k: int, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Return what `describe` says of the random effects of block `k`, in the order of `effect_draws`."""
    return pd.concat([describe(draws, ci_prob) for draws in draws_by_term(fit, k)], ignore_index=True)


def block_draws(fit, block) -> np.ndarray:
    """Return the draws of a block's random effects, (chains, draws, G, q); a ValueError if they were not kept."""
    if block.names.effects not in fit.tree["posterior"].data_vars:
        raise ValueError(
            f"the draws of the random effects of {block.group!r} were not kept; sample with keep_effects=True for them"
        )
    return variable(fit.tree, block.names.effects)


def factor_draws(fit, block) -> np.ndarray:
    """Return lower factors L of Sigma = L L' for every posterior draw, (draws, q, q)."""
    q = len(block.columns)
    sds = variable(fit.tree, block.names.sd).reshape(-1, q)
    R = np.broadcast_to(np.eye(q), (len(sds), q, q))
    if block.correlated:
        R = variable(fit.tree, block.names.corr).reshape(-1, q, q)
    return sds[:, :, None] * np.linalg.cholesky((1 - RIDGE) * R + RIDGE * np.eye(q))


def mean_effects(fit) -> list[np.ndarray]:
    """Return the posterior means of the random effects of each block, (G, q); a ValueError if they were not kept."""
    return [block_draws(fit, block).mean(axis=(0, 1)) for block in fit.design.blocks]


def posterior_residuals(fit) -> np.ndarray:
    """Return the Pearson residuals with every parameter at its posterior mean, (n,)."""
    design = fit.design
    check_order(design, "a residual")
    eta = linear_predictor(design, draws_of(fit, coefficients(design)).mean(axis=(1, 2)), mean_effects(fit))
    return pearson_residuals(design, eta, mean_auxiliaries(fit), mean_own(fit)[1])


def scalar_draws(fit) -> dict[str, np.ndarray]:
    """Return the draws of the family's parameters that are parameters of the model, (chains * draws,) each, by name.

    Behind them are those of links that are kept beside a parameter, by `level_name`.
    """
    shape = tree_sizes(fit.tree)
    own = [parameter.name for parameter in fit.design.family.parameters]
    known = [name for name in own if name not in fit.design.residual.given or name in fit.tree["posterior"]]
    known += [name for name in fit.design.residual.levels.values() if name in fit.tree["posterior"]]
    return {name: np.broadcast_to(variable(fit.tree, name), shape).ravel() for name in known}


def own_draws(fit) -> tuple[OwnParameters, np.ndarray]:
    """Return a generalised model's own parameters as compiled code takes them, and their draws, (draws, a)."""
    own, draws = own_in_rows(fit.design, scalar_draws(fit), residual_draws(fit))
    return own, draws if draws.ndim > 1 else np.zeros((int(np.prod(tree_sizes(fit.tree))), 0))


def mean_own(fit) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the posterior means of `scalar_draws` and of `residual_draws`, (k,) each.

    Those of a parameter with a formula are of its value at the means of the columns, so that what is said of the rows
    does not depend on where a predictor has its zero.
    """
    design, bases = fit.design, formula_bases(fit.design)
    own, values = own_at_means(design, bases, scalar_draws(fit), residual_draws(fit))
    means = {name: float(draws.mean()) for name, draws in own.items()}
    own, values = own_at_zero(design, bases, means, mean_values(values))
    return {name: float(value) for name, value in own.items()}, values


def mean_auxiliaries(fit) -> tuple:
    """Return the family's parameters besides mu at their posterior means, or its thresholds; (n,) each by formula."""
    means, residual = mean_own(fit)
    if not fit.design.residual.by_row:
        return tuple(means.values())
    design = fit.design
    of_parameters = bool(random_parameters(design))
    b = [block_draws(fit, block).mean(axis=(0, 1)) for block in design.blocks] if of_parameters else ()
    effects = shifts(design, b) if of_parameters else {}
    return own_of_rows(design, means, residual, effects=effects)


def is_constant(draws: np.ndarray) -> np.ndarray:
    """Return which of (k, chains, draws) parameters have one value in all draws, (k,): a prior holds them fixed."""
    return (draws == draws[:, :1, :1]).all(axis=(1, 2))


def describe(draws: np.ndarray, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Return mean, sd, equal-tailed interval, ESS and R-hat of (k, chains, draws) draws, a row each.

    Raises
    ------
    ValueError
        If `ci_prob` is not between 0 and 1.
    """
    check_probability("ci_prob", ci_prob)
    if len(draws) == 0:
        return pd.DataFrame(columns=STATISTICS, dtype=float)
    ends = (1 - ci_prob) / 2, (1 + ci_prob) / 2
    return pd.DataFrame(in_batches(lambda batch: statistics(batch, ends), draws), columns=STATISTICS)


def statistics(draws: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Return `STATISTICS` of (k, chains, draws) draws, (k, 7), the interval between the quantiles `ends`."""
    flat, fixed = draws.reshape(len(draws), -1), is_constant(draws)  # their mean and sd exactly, not to rounding
    mean = np.where(fixed, flat[:, 0], flat.mean(axis=1))
    sd = np.where(fixed, 0.0, flat.std(axis=1, ddof=1)) if flat.shape[1] > 1 else np.zeros(len(flat))
    found, ordered = diagnose(draws)
    return np.column_stack([mean, sd, *(quantile(ordered, end) for end in ends), found])


def fixef(fit, function: Callable[[np.ndarray], np.ndarray] | None = None) -> pd.DataFrame:
    """Return the posterior of the fixed effects, or of a function of each: index coef."""
    names, own = fit.design.coefficients, coefficients(fit.design)
    if fit.design.family.nominal:
        names, own = map(list, zip(*category_effects(fit.design), strict=True))
    found = draws_of(fit, own)
    table = describe(found if function is None else function(found))
    return table.set_index(pd.Index(names, name="coef", dtype=object))


def varcorr(fit) -> pd.DataFrame:
    """Return the posterior of the sds, the correlations and, last, sigma: columns grp, var1, var2 and the statistics.

    var2 is missing for an sd, both are for the residual (of several responses they name these), as in lme4's
    ``as.data.frame(VarCorr())``; the statistics are those of the sd or the correlation itself. Families without a
    residual sd have no such row; their own parameters are in `summary`.
    """
    kinds = (*VARCORR, "residual") if fit.design.responses else VARCORR
    parameters = [p for p in variance_entries(fit.design) if p.kind in kinds]
    keys = [variance_keys(fit.design, parameter) for parameter in parameters]
    table = describe(draws_of(fit, parameters))
    return pd.concat([pd.DataFrame(keys, columns=["grp", "var1", "var2"], dtype=object), table], axis=1)


def variance_keys(design, parameter: Parameter) -> tuple[str, str | None, str | None]:
    """Return lme4's keys of an sd, a correlation or sigma: grp, var1, var2."""
    if parameter.kind == "sigma":
        return "Residual", None, None
    if parameter.kind == "residual":
        first, second, *_ = (*responses_of(design, parameter), None)
        return "Residual", first, second
    block = design.blocks[parameter.block]
    tied = block.smooth or block.members
    of_smooth = {i: part.text for part in block.parts for i in part.columns} if tied else {}
    names = [of_smooth.get(i, block.columns[i]) for i in parameter.terms]
    return block.group, names[0], names[1] if len(names) > 1 else None


def ranef(fit) -> pd.DataFrame:
    """Return the posterior of the random effects: columns grpvar, term, grp and the statistics, a row per effect."""
    blocks = [
        pd.concat([effect_keys(fit.design.blocks[k]), describe_effects(fit, k)], axis=1) for k in by_levels(fit.design)
    ]
    if not blocks:
        return pd.DataFrame(columns=["grpvar", "term", "grp", *STATISTICS])
    return pd.concat(blocks, ignore_index=True)


def effect_keys(block) -> pd.DataFrame:
    """Return the keys of a block's random effects in the order of `effect_draws`."""
    terms, levels = (np.array(column, dtype=object) for column in zip(*block.effects, strict=True))
    return pd.DataFrame({"grpvar": block.group, "term": terms, "grp": levels}, dtype=object)


def coef(fit) -> dict[str, pd.DataFrame]:
    """Return, for each grouping factor, the posterior means of beta + b: levels x coefficients, as lme4's coef()."""
    means = draws_of(fit, coefficients(fit.design)).mean(axis=(1, 2))
    beta = dict(zip(fit.design.coefficients, means.tolist(), strict=True))
    blocks = [fit.design.blocks[k] for k in fit.design.groups]
    means = [block_draws(fit, block).mean(axis=(0, 1)) for block in blocks]
    own, values = scalar_draws(fit), mean_values(residual_draws(fit))
    levels = fit.design.residual.levels
    drawn = {p.name: own.get(levels.get(p.name, "")) for p in free_auxiliaries(fit.design)}
    links = {
        p.name: float(np.mean([p.free(v) for v in own[p.name]] if drawn[p.name] is None else drawn[p.name]))
        for p in free_auxiliaries(fit.design)
    }
    return {
        block.group: add_effects(fit.design, beside_effects(fit.design, block, beta, links, values), block, b)
        for block, b in zip(blocks, means, strict=True)
    }


def sigma(fit) -> pd.DataFrame:
    """Return the posterior of the residual sd, one row; the constant 1 for a family without, as lme4 has it.

    Of several responses a row for each.
    """
    if fit.design.responses:
        several = [p for p in residual_parameters(fit.design) if len(responses_of(fit.design, p)) == 1]
        index = pd.Index([p.label for p in several], name="parameter")
        return describe(draws_of(fit, several)).set_index(index)
    own = [p for p in variance_parameters(fit.design) if p.kind == "sigma"]
    table = describe(draws_of(fit, own) if own else np.ones((1, *tree_sizes(fit.tree))))
    return table.set_index(pd.Index(["sigma"], name="parameter"))


def summary(fit, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Return every parameter: coefficients, sds, correlations (each once), the family's, random effects.

    Parameters
    ----------
    ci_prob : float
        Probability of the equal-tailed interval (lower, upper).

    Raises
    ------
    ValueError
        If `ci_prob` is not between 0 and 1.
    """
    parameters = coefficients(fit.design) + variance_parameters(fit.design)
    tables = [describe(draws_of(fit, parameters), ci_prob)]
    labels = [parameter.label for parameter in parameters]
    for k in by_levels(fit.design):
        if k not in kept_effects(fit):
            continue
        tables.append(describe_effects(fit, k, ci_prob))
        labels += effect_labels(fit.design.blocks[k])
    return pd.concat(tables, ignore_index=True).set_index(pd.Index(labels, name="parameter", dtype=object))


def draws_text(tree) -> str:
    """Return ``4,000 draws``, and of an interrupted run that it was."""
    number = int(np.prod(tree_sizes(tree)))
    stopped = " of a sampling that was interrupted" if sampling_record(tree).get("interrupted") else ""
    return count(number, "draw") + stopped


def sampling_record(tree) -> Mapping[str, object]:
    """Return what the sampler recorded about its run: sampler, seed, draws, tune, chains, seconds, interrupted, ..."""
    return json.loads(tree.attrs.get("bayesmm", "{}"))
