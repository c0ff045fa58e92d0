"""The explicit graph: a PyMC model with the random effects written out, for every family and every prior.

eta_i = x_i' beta + sum_k z_ki' b_k[level of i in k] + offset_i, b_kg ~ N(0, Sigma_k), Sigma_k = S_k R_k S_k with S_k =
diag(sd_k) (Bates et al. 2015, J. Stat. Softw. 67(1), eq. 2-3, on the absolute scale); y_i has the family's distribution
with the mean that the link gives eta_i, for the gaussian family N(eta_i, sigma^2 d_i^2 / w_i), d by the residual
structure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design.parameters import (
    INTERCEPT_AT_MEANS,
    INTERCEPT_AT_ZERO,
    ends_by_response,
    part_parameters,
    residual_dim,
    residual_labels,
)
from bayesmm.design.predictors import MEAN, columns_of
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.structure import ResidualParameter
from bayesmm.design.term_basis import TermBases, TermBasis
from bayesmm.errors import listing, suggest
from bayesmm.priors import (
    Prior,
    category_means,
    coefficient_places,
    own_at_zero,
    prior_bases,
    prior_residual,
    threshold_means,
)
from bayesmm.priors.distributions import DISTRIBUTIONS
from bayesmm.sampling.graph.covariance import add_structure, entry_name
from bayesmm.sampling.graph.distributions import INTERNAL, ascending, scalar, vector
from bayesmm.sampling.graph.responses import add_response

INTERCEPT = f"{INTERNAL}{INTERCEPT_AT_MEANS}"
HAS_FACTOR = tuple(int(part) for part in pm.__version__.split(".")[:2]) >= (6, 4)  # else LKJCorr is the matrix itself
SLOPES, SLOPE = f"{INTERNAL}slopes", f"{INTERNAL}slope"


def build_explicit(
    design: Design, priors: Mapping[str, Prior], *, centred: Mapping[str, bool] | bool = False
) -> pm.Model:
    """Return the model as a PyMC graph, the random effects among its variables.

    Parameters
    ----------
    design : Design
    priors : mapping of place to Prior
        As `resolve_priors` returns it.
    centred : bool or mapping of block name to bool
        Whether a block's effects are sampled as they are (b ~ N(0, Sigma)) or as z ~ N(0, 1) with b = S L z, L L' =
        R. Blocks left out of a mapping are not centred.

    Returns
    -------
    pymc.Model
        Variables beta (coef), and for each block sd_<name> (<name>_term), corr_<name> (<name>_term, <name>_term_bis)
        where correlated, b_<name> (<name>, <name>_term); the parameters of the family and of the residual structure by
        name; y (obs). Coordinates of obs are the rows' positions in the user's table. Names that begin with an
        underscore are coordinates of the sampler.

    Raises
    ------
    PriorError
        If a prior that is a function fails, or returns something else than the parameter.
    ValueError
        If `centred` names a block that is not there.

    Notes
    -----
    The linear predictor is that of the prior's design, (X R^-1) gamma + (Z T^-1) T b, which is X beta + Z b without the
    digits that a predictor far from 0 would cost. With an intercept, the sampler moves the intercept at the
    predictors' means, which is nearly independent of the slopes. A prior of the intercept at 0 is not moved by that:
    the one at the means then has this prior's distribution with the location shifted by their difference, a change of
    variables of Jacobian 1. A block whose priors are at the means has sd_<name>_centred and corr_<name>_centred too.
    """
    chosen = _parameterisations(design, centred)
    with pm.Model(coords={**design.coords, "obs": design.rows}) as graph:
        eta, gamma = _fixed_part(design, priors)
        of_parameters: dict[str, TensorVariable] = {}
        for block, basis in zip(design.blocks, prior_bases(design, priors).blocks, strict=True):
            for name, part in _random_part(block, basis, priors, chosen[block.name]).items():
                if name == MEAN:
                    eta = eta + part
                else:
                    of_parameters[name] = of_parameters.get(name, 0.0) + part
        if design.offset.any():
            eta = eta + _data("offset_data", design.offset, "obs")
        names = [own.name for own in design.family.parameters if own.name in priors]
        auxiliaries, residual = add_own(design, priors, names, gamma)[1]
        moved = replace(design, residual=prior_residual(design, prior_bases(design, priors)))
        add_response(moved, eta, auxiliaries, _data, residual, of_parameters)
    return graph


def _parameterisations(design: Design, centred: Mapping[str, bool] | bool) -> dict[str, bool]:
    names = [block.name for block in design.blocks]
    if isinstance(centred, bool):
        return dict.fromkeys(names, centred)
    for name in centred:
        if name not in names:
            has = f"has the grouping factors {listing(names)}" if names else "has no grouping factor"
            raise ValueError(f"centred names {name!r}, but the model {has}{suggest(str(name), names)}")
    return {name: bool(centred.get(name, False)) for name in names}


def _data(name: str, values: np.ndarray, *dims: str) -> TensorVariable:
    return pm.Data(_unused(name), values, dims=dims)


def _unused(name: str) -> str:
    """Return a name that is none of a dimension: a grouping factor may be called anything, and keeps its name."""
    while name in pm.modelcontext(None).coords:
        name += "_"
    return name


def _fixed_part(design: Design, priors: Mapping[str, Prior]) -> tuple[TensorVariable, TensorVariable]:
    """Add beta, shape (p,); return X beta, (n,), and the coefficients of the prior's design, (p,)."""
    if design.p == 0:
        return pt.zeros(design.n), pt.zeros(0)
    gamma = add_coefficients(design, priors)
    return _matrix("X_data", design.X, prior_bases(design, priors).fixed, "coef") @ gamma, gamma


def _matrix(name: str, values: np.ndarray, basis: TermBasis, dim: str) -> TensorVariable:
    """Add a matrix, (n, p), to the data of the graph; return it with the margins taken out, which is what is used."""
    X = _data(name, values, "obs", dim)
    return X if basis.trivial else _data(f"{INTERNAL}{name}", basis.taken_out(values), "obs", dim)


def add_coefficients(design: Design, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add beta, shape (p,), p > 0, to the model in context; return the coefficients of the prior's design, (p,)."""
    basis = prior_bases(design, priors).fixed
    own = {place: priors[place] for place in coefficient_places(priors, design)}
    if basis.trivial and (not design.has_intercept or design.p == 1):
        return vector("beta", "coef", own, by_function=False)
    gamma = _with_intercept(design, own) if design.has_intercept else _slopes(design.coefficients, own)
    beta = gamma if basis.trivial else pt.constant(basis.inverse) @ gamma
    pm.Deterministic("beta", beta, dims="coef")
    return gamma


def _slopes(names: Sequence[str], priors: Mapping[str, Prior]) -> TensorVariable:
    """Return the coefficients but the intercept; a function makes one after the other, as in the marginal graph."""
    pm.modelcontext(None).add_coord(SLOPE, names)
    return vector(SLOPES, SLOPE, priors, by_function=False)


def _with_intercept(design: Design, priors: Mapping[str, Prior]) -> TensorVariable:
    """Return the coefficients of the prior's design, (p,), made from the intercept at the means and the others."""
    (place, prior), *others = priors.items()
    slopes = _slopes(design.coefficients[1:], dict(others))
    known = DISTRIBUTIONS.get(prior.distribution)
    if place == INTERCEPT_AT_MEANS:
        intercept = scalar(INTERCEPT, place, prior)
    elif known is not None and known.location is not None:
        means = _rows_of_intercept(design, priors)
        step = pt.constant(means) @ slopes  # from the intercept at 0 to the one at the means
        intercept = scalar(INTERCEPT, place, prior, shift=step) - step
    else:  # a fixed intercept, or a prior that cannot be moved along the line
        intercept = scalar(f"{INTERNAL}{INTERCEPT_AT_ZERO}", place, prior)
    return pt.concatenate([intercept[None], slopes])


def _rows_of_intercept(design: Design, priors: Mapping[str, Prior]) -> np.ndarray:
    """Return m, (p - 1,): the intercept at the means is the one at 0 plus m' times the other sampled coefficients."""
    inverse = prior_bases(design, priors).fixed.inverse
    return design.spec.bases.fixed.R[0, 1:] @ inverse[1:, 1:]


Own = tuple[dict[str, TensorVariable], dict[str, TensorVariable]]  # of the family, and of the residual (k,)


def add_own(
    design: Design, priors: Mapping[str, Prior], names: Sequence[str], gamma: TensorVariable
) -> tuple[Own, Own]:
    """Add the parameters of the family that have the `names`, those of the residual besides, of formulas, thresholds.

    Returns
    -------
    two tuples of dict, dict
        What their priors are of, and what the rows' columns are of in the response of the explicit graph. These differ
        for thresholds: they are at the means of the prior's columns, whose coefficients are `gamma`, or where all
        columns are 0. Parameters with a formula are those of the prior's design, in both.
    """
    bases = prior_bases(design, priors)
    at_means, within = _at_means(design, bases), ends_by_response(design)
    called = {name: f"{INTERNAL}{name}" if name in at_means else name for name in names}
    own = {name: scalar(called[name], name, priors[name], within=within.get(name)) for name in names}
    found = {each.name: _residual_vector(each, priors, each.name in at_means) for each in design.residual.parameters}
    reported, values = own_at_zero(design, bases, own, found, pt)
    for name, value in reported.items():
        if name in at_means or name not in own:
            pm.Deterministic(name, value)
    for each in design.residual.parameters:
        if each.name in at_means:
            pm.Deterministic(each.name, values[each.name], dims=(residual_dim(each),))
    return (own, found), (own, found | _thresholds_at_zero(design, priors, found, gamma))


def _at_means(design: Design, bases: TermBases) -> frozenset[str]:
    """Return the parameters with a formula, and the vectors of coefficients, that are other than those reported."""
    names = set()
    for part in design.residual.formulas:
        moved, first = bases.parameters[part.formula].moved, int(part.has_level)
        names |= {part.formula} if moved[:first].any() else set()
        names |= {own.name for own in part.parameters if moved[first:].any()}
    return frozenset(names)


def _residual_vector(own: ResidualParameter, priors: Mapping[str, Prior], at_means: bool) -> TensorVariable:
    """Add a parameter of the residual, (k,), as its prior has it."""
    chosen = {label: priors[label] for label in residual_labels(own)}
    if own.terms is None:
        return scalar(own.name, own.name, chosen[own.name], real=True)[None]
    if own.at_means:
        return (ascending if own.ordered else vector)(f"{INTERNAL}{own.name}", residual_dim(own), chosen)
    return vector(f"{INTERNAL}{own.name}" if at_means else own.name, residual_dim(own), chosen, real=True)


def _thresholds_at_zero(
    design: Design, priors: Mapping[str, Prior], found: Mapping[str, TensorVariable], gamma: TensorVariable
) -> dict[str, TensorVariable]:
    """Add thresholds, or the log odds of categories without an order, where all columns are 0; return them by name."""
    reported, centre = {}, category_means(design)
    for own in design.residual.parameters if design.family.ordered else ():
        if own.at_means:
            at_zero = found[own.name] + (pt.constant(threshold_means(design, priors)) * gamma).sum()
            if centre is not None:
                slopes = found[design.residual.parts[0].parameters[1].name].reshape((len(centre), own.size))
                at_zero = at_zero - (pt.constant(centre[:, None]) * slopes).sum(axis=0)
            reported[own.name] = pm.Deterministic(own.name, at_zero, dims=(residual_dim(own),))
    return reported


def _random_part(
    block: Block, basis: TermBasis, priors: Mapping[str, Prior], centred: bool
) -> dict[str, TensorVariable]:
    """Add a block's standard deviations, correlations and effects; return its part of each linear predictor, (n,).

    That of the mean is called MEAN, those of the family's parameters by their names.
    """
    sd, L = add_covariance(block, basis, priors)
    b = (_centred if centred and block.relation is None else _non_centred)(block, basis, sd, L)
    levels = _data(block.names.index, block.index, "obs")
    products = b[levels] * _matrix(block.names.Z, block.Z, basis, block.names.term_dim)
    if not block.predictors:
        return {MEAN: products.sum(axis=1)}
    names = dict.fromkeys(block.predictors)
    return {name: products[:, np.flatnonzero(columns_of(block, name))].sum(axis=1) for name in names}


def add_covariance(
    block: Block, basis: TermBasis, priors: Mapping[str, Prior]
) -> tuple[TensorVariable, TensorVariable | None]:
    """Add a block's standard deviations and correlations to the model in context.

    Returns
    -------
    sd : variable, (q,)
    L : variable, (q, q), or None
        Those of the prior's design: its correlation matrix is L L', None where there is no correlation. Where they
        are not those that are reported they have names that end in "_centred" (at the means), and sd_<name> and
        corr_<name> are made from them.
    """
    names = block.names
    own_sd, own_corr = (names.sd, names.corr) if basis.trivial else (names.sd_at_means, names.corr_at_means)
    if block.free:
        sd = vector(own_sd, names.term_dim, {place: priors[place] for place in names.sd_labels})
        L = correlation_factor(block, priors[names.corr]) if block.correlated else None
    else:
        sd, L = structured_factors(block, priors)
        pm.Deterministic(own_sd, sd, dims=names.sd_dims)
    if not block.correlated:
        return sd, None
    diagonal = np.arange(len(block.columns))
    R = (L @ L.T)[diagonal, diagonal].set(1.0)  # without rounding
    pm.Deterministic(own_corr, R, dims=names.corr_dims)
    if not basis.trivial:
        factor = pt.constant(basis.inverse) @ (sd[:, None] * L)
        own = pt.sqrt(pt.square(factor).sum(axis=1))
        rows = factor / pt.where(own > 0, own, 1.0)[:, None]
        pm.Deterministic(names.sd, own, dims=names.sd_dims)
        pm.Deterministic(names.corr, (rows @ rows.T)[diagonal, diagonal].set(1.0), dims=names.corr_dims)
    return sd, L


def structured_factors(block: Block, priors: Mapping[str, Prior]) -> tuple[TensorVariable, TensorVariable]:
    """Add the parameters of a block with a covariance structure; return sds, (q,), and correlation factor, (q, q).

    Beside a structure, the sds of a part with any covariance matrix are variables one by one.
    """
    corr, q = block.names.corr, len(block.columns)
    factor = correlation_factor(block, priors[corr]) if corr in priors else pt.eye(q)
    sds = [pt.constant(np.ones(()))] * q
    for part in block.parts:
        if not part.covariance.free:
            factor = factor[np.ix_(part.columns, part.columns)].set(add_structure(block, part, priors))
            continue
        for p in part_parameters(0, block, part)[: len(part.columns)]:  # the sds come first
            sds[p.terms[0]] = scalar(entry_name(block, p), p.label, priors[p.label])
    factor = pt.stack(sds)[:, None] * factor
    sd = pt.sqrt(pt.square(factor).sum(axis=1))
    return sd, factor / pt.where(sd > 0, sd, 1.0)[:, None]


def correlation_factor(block: Block, prior: Prior) -> TensorVariable:
    """Return L, (q, q), of the correlation matrix L L', LKJ(eta) within each part and 0 between parts."""
    q, eta = len(block.columns), np.asarray(prior.parameters["eta"])
    L = pt.eye(q)
    for number, own in enumerate(block.parts):
        part = own.columns
        if not own.covariance.free:
            continue
        if len(part) == q:  # one part: the whole matrix, its columns in order
            L = _lkj_factor(f"{INTERNAL}L_{block.name}", q, eta)
        elif len(part) > 1:
            inner = _lkj_factor(f"{INTERNAL}L_{block.name}_{number}", len(part), eta)
            L = L[np.ix_(sorted(part), sorted(part))].set(inner)  # in order, so that L stays lower triangular
    return L


def _lkj_factor(name: str, n: int, eta: np.ndarray) -> TensorVariable:
    """Return the Cholesky factor of a correlation matrix, (n, n), with the LKJ prior."""
    found = pm.LKJCorr(_unused(name), n=n, eta=eta)
    return found if HAS_FACTOR else pt.linalg.cholesky(found)


def _centred(block: Block, basis: TermBasis, sd: TensorVariable, L: TensorVariable | None) -> TensorVariable:
    """Add the effects, shape (G, q), with their covariance as their prior; return those of the prior's design."""
    effects, dims = block.names.effects, block.names.effect_dims
    name = effects if basis.trivial else _unused(f"{INTERNAL}{effects}")
    if L is None:
        return pm.Normal(name, 0, sd, dims=dims)
    b = pm.MvNormal(name, np.zeros(len(block.columns)), chol=sd[:, None] * L, dims=dims)
    return b if basis.trivial else _reported(block, basis, b)


def _non_centred(block: Block, basis: TermBasis, sd: TensorVariable, L: TensorVariable | None) -> TensorVariable:
    """Add standard normal z and the effects made from them, both (G, q); return those of the prior's design."""
    z = pm.Normal(_unused(f"{INTERNAL}z_{block.name}"), 0, 1, dims=block.names.effect_dims)
    b = z * sd if L is None else z @ (sd[:, None] * L).T
    return _reported(block, basis, b if block.relation is None else pt.constant(block.relation.root) @ b)


def _reported(block: Block, basis: TermBasis, b: TensorVariable) -> TensorVariable:
    """Add the effects that are reported, and return those of the prior's design that they are made from."""
    own = b if basis.trivial else b @ pt.constant(basis.inverse.T)
    pm.Deterministic(block.names.effects, own, dims=block.names.effect_dims)
    return b
