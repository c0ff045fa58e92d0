"""The explicit graph: a PyMC model with the random effects written out, for every family and every prior.

eta_i = x_i' beta + sum_k z_ki' b_k[level of i in k] + offset_i, b_kg ~ N(0, Sigma_k), Sigma_k = S_k R_k S_k with S_k =
diag(sd_k) (Bates et al. 2015, J. Stat. Softw. 67(1), eq. 2-3, on the absolute scale); y_i has the family's distribution
with the mean that the link gives eta_i, for the gaussian family N(eta_i, sigma^2 / w_i).
"""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design import Block, Design
from bayesmm.errors import listing, suggest
from bayesmm.graph.distributions import INTERNAL, scalar, vector
from bayesmm.graph.responses import add_response
from bayesmm.priors import Prior, coefficient_places
from bayesmm.priors.distributions import DISTRIBUTIONS

INTERCEPT = f"{INTERNAL}Intercept_centred"
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
        where correlated, b_<name> (<name>, <name>_term); the family's auxiliaries by name; y (obs). Coordinates of
        obs are the rows' positions in the user's table. Names that begin with an underscore are coordinates of the
        sampler.

    Raises
    ------
    PriorError
        If a prior that is a function fails, or returns something else than the parameter.
    ValueError
        If `centred` names a block that is not there.

    Notes
    -----
    With an intercept, the sampler moves the intercept at the predictors' means (alpha = beta_0 + sum_j mean(x_j)
    beta_j), which is nearly independent of the slopes. A prior of the intercept at 0 is not moved by that: alpha then
    has this prior's distribution with the location shifted by sum_j mean(x_j) beta_j, a change of variables of
    Jacobian 1.
    """
    chosen = _parameterisations(design, centred)
    with pm.Model(coords={**design.coords, "obs": design.rows}) as graph:
        eta = _fixed_part(design, priors)
        for block in design.blocks:
            eta = eta + _random_part(block, priors, chosen[block.name])
        if design.offset.any():
            eta = eta + _data("offset_data", design.offset, "obs")
        auxiliaries = {name: scalar(name, name, priors[name]) for name in design.family.auxiliaries}
        add_response(design, eta, auxiliaries, _data)
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


def _fixed_part(design: Design, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add beta, shape (p,), and return X beta, (n,)."""
    if design.p == 0:
        return pt.zeros(design.n)
    beta = add_coefficients(design, priors)
    return _data("X_data", design.X, "obs", "coef") @ beta


def add_coefficients(design: Design, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add beta, shape (p,), p > 0, to the model in context."""
    places = coefficient_places(priors, design)
    if design.has_intercept:
        return _with_intercept(design, {place: priors[place] for place in places})
    return vector("beta", "coef", {place: priors[place] for place in places})


def _with_intercept(design: Design, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add beta, shape (p,), made from the intercept at the predictors' means and the slopes."""
    (place, prior), *others = priors.items()
    if not others:
        return vector("beta", "coef", priors)
    pm.modelcontext(None).add_coord(SLOPE, design.coefficients[1:])
    slopes = vector(SLOPES, SLOPE, dict(others))
    step = pt.constant(design.means[1:]) @ slopes  # from the intercept at 0 to the one at the means
    known = DISTRIBUTIONS.get(prior.distribution)
    if place == "Intercept_centred":
        intercept = scalar(INTERCEPT, place, prior) - step
    elif known is not None and known.location is not None:
        intercept = scalar(INTERCEPT, place, prior, shift=step) - step
    else:  # a fixed intercept, or a prior that can not be moved along the line
        intercept = scalar(f"{INTERNAL}Intercept", place, prior)
    return pm.Deterministic("beta", pt.concatenate([intercept[None], slopes]), dims="coef")


def _random_part(block: Block, priors: Mapping[str, Prior], centred: bool) -> TensorVariable:
    """Add a block's standard deviations, correlations and effects; return its part of the linear predictor, (n,)."""
    dim, places = f"{block.name}_term", [f"sd_{block.name}[{column}]" for column in block.columns]
    sd = vector(f"sd_{block.name}", dim, {place: priors[place] for place in places})
    L = correlation_factor(block, priors[f"corr_{block.name}"]) if block.correlated else None
    b = (_centred if centred else _non_centred)(block, sd, L)
    levels = _data(f"index_{block.name}", block.index, "obs")
    return (b[levels] * _data(f"Z_{block.name}", block.Z, "obs", dim)).sum(axis=1)


def correlation_factor(block: Block, prior: Prior) -> TensorVariable:
    """Add the correlation matrix R, (q, q), LKJ(eta) within each part and 0 between parts; return L with L L' = R."""
    q, eta = len(block.columns), np.asarray(prior.parameters["eta"])
    L = pt.eye(q)
    for number, part in enumerate(block.partition):
        if len(part) == q:  # one part: the whole matrix, its columns in order
            L = pm.LKJCorr(_unused(f"{INTERNAL}L_{block.name}"), n=q, eta=eta)
        elif len(part) > 1:
            inner = pm.LKJCorr(_unused(f"{INTERNAL}L_{block.name}_{number}"), n=len(part), eta=eta)
            L = L[np.ix_(sorted(part), sorted(part))].set(inner)  # in order, so that L stays lower triangular
    diagonal = np.arange(q)
    R = (L @ L.T)[diagonal, diagonal].set(1.0)  # without rounding
    pm.Deterministic(f"corr_{block.name}", R, dims=(f"{block.name}_term", f"{block.name}_term_bis"))
    return L


def _centred(block: Block, sd: TensorVariable, L: TensorVariable | None) -> TensorVariable:
    """Add the effects, shape (G, q), with their covariance as their prior."""
    dims = (block.name, f"{block.name}_term")
    if L is None:
        return pm.Normal(f"b_{block.name}", 0, sd, dims=dims)
    return pm.MvNormal(f"b_{block.name}", np.zeros(len(block.columns)), chol=sd[:, None] * L, dims=dims)


def _non_centred(block: Block, sd: TensorVariable, L: TensorVariable | None) -> TensorVariable:
    """Add standard normal z and the effects made from them, both (G, q)."""
    dims = (block.name, f"{block.name}_term")
    z = pm.Normal(_unused(f"{INTERNAL}z_{block.name}"), 0, 1, dims=dims)
    return pm.Deterministic(f"b_{block.name}", z * sd if L is None else z @ (sd[:, None] * L).T, dims=dims)
