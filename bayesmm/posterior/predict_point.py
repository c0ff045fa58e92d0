"""Predictions of a maximised model, with their standard errors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bayesmm.design.ordered import check_common, check_order
from bayesmm.design.predictors import MEAN, check_of_mean, part_of, random_parameters
from bayesmm.design.records import Design
from bayesmm.design.relations import columns_for, expanded_point, is_related, is_sparse, mean_variance, relations_of
from bayesmm.design.residual.independent import whitened
from bayesmm.design.residual.structure import weights_of_rows
from bayesmm.design.responses import row_index
from bayesmm.design.summed import is_summed
from bayesmm.errors import DataError, listing
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.crossproducts import Factor, Floats
from bayesmm.likelihood.gaussian import pack
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.orthogonal import orthonormal
from bayesmm.likelihood.problem import Problem, integrate, orthonormal_columns, reduced
from bayesmm.likelihood.summed import orthonormal_of_sums
from bayesmm.likelihood.variances import row_variances
from bayesmm.posterior.mean_slopes import mean_slopes, modes_along, own_of
from bayesmm.posterior.means import mean_of, probabilities_of, slope_of
from bayesmm.posterior.new_levels import check_levels
from bayesmm.posterior.own_values import own_in_rows
from bayesmm.posterior.predict import (
    Rows,
    check_averaged,
    check_choice,
    columns_of_block,
    conditioned_on,
    rows_of,
)
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.messages import Rows as Places
from bayesmm.runtime.threads import few_threads

KINDS = ("mean", "linear")
NEW_LEVELS = ("error", "zero")
SAME = 1e-8  # relative difference up to which a row keeps the linear relation of an aliased column: lme4's tolerance
SMALLEST_WEIGHT = 1e-300  # of a row that carries no information in a GLMM, so that its root can be divided by


@few_threads
def predict_point(
    point,
    data: object = None,
    kind: str = "mean",
    groups: str | Sequence[str] = "conditional",
    new_levels: str = "error",
    se: bool = False,
) -> pd.DataFrame:
    """Predict the rows of a table from a maximised model.

    Parameters
    ----------
    point : PointFit
    data : table, optional
        The rows to predict; those of the fit if not given. The response is not needed.
    kind : {"mean", "linear"}
        "linear": X beta + Z b + offset, on the scale of the link, with b at its conditional mode. "mean": the mean of
        the response given that (for a binomial response the probability of success).
    groups : {"conditional", "population", "averaged"} or list of str
        Which random effects enter: all, none, or those of the grouping factors in the list. "averaged" is the mean
        over new groups, which differs from "population" unless the link is the identity, and with the inverse link
        does not exist.
    new_levels : {"error", "zero"}
        For a level that the fit did not see: refuse it, or take its effects as 0, their conditional mean; `sd` then has
        their variance.
    se : bool
        Add the columns `se` and, for a Gaussian model, `sd`.

    Returns
    -------
    pandas.DataFrame
        A row each, with the row labels of the table; of ordered categories with kind="mean" a column of probabilities
        for each category, without se. estimate; se: the standard error of the estimate, from the joint
        conditional covariance of beta and b at the estimated variances (the delta method where the link is not the
        identity; of the means of a generalised model without groups' effects, in all of its parameters); sd: of the
        difference between a new response and the estimate, with the weight 1: the square root of se^2, the variance of
        the random effects that did not enter or whose level is new, and the residual variance. So estimate +- 1.96 sd
        is an approximate 95 % prediction interval of a response; that of a new group's mean has sd^2
        less the residual variance of the row, which is sigma^2 without a formula of sigma.

    Raises
    ------
    ValueError
        An argument is none of its choices.
    DataError
        The data lack a column, or have missing values, another kind of values, or levels that the fit did not see; or
        the estimate is not defined for a row, because a column of X was left out of the estimation.
    """
    design, chosen, whole = point.design, *_checked(point, kind, groups, new_levels, se)
    rows = rows_of(design, data, chosen, residual=se or design.residual.by_row)
    check_levels(rows.groups, new_levels)
    check_estimable(design, rows)
    eta = linear_of_rows(point, rows, chosen)
    averaging = isinstance(groups, str) and groups == "averaged"
    spread = np.sqrt(new_variance(point, rows, data, ())) if averaging else None
    estimate, slope = eta, np.ones_like(eta)
    own = own_at(point, rows, chosen)
    if kind == "mean" and design.family.ordered:
        return _probabilities(point, rows, probabilities_of(design.family, eta, own, spread), se)
    if kind == "mean":
        estimate, slope = (function(design.family, eta, own, spread) for function in (mean_of, slope_of))
    columns = {"estimate": estimate}
    if se:
        variances = linear_variances(point, rows, chosen)
        columns["se"] = np.abs(slope) * np.sqrt(variances)
        if kind == "mean" and point.joint is not None and (whole or not chosen):
            columns["se"] = _mean_errors(point, rows, chosen, (eta, spread, slope), data)
        if design.family.gaussian:
            weights = weights_of_rows(design.residual, rows.residual, point.residual, None) if len(rows) else None
            own = point.sigma**2 / (1.0 if weights is None else weights)
            columns["sd"] = np.sqrt(variances + new_variance(point, rows, data, chosen) + own)
    return pd.DataFrame(columns, index=row_index(rows.labels, bool(point.design.responses)))


def _checked(point, kind: str, groups: str | Sequence[str], new_levels: str, se: bool) -> tuple[Sequence[int], bool]:
    """Return the factors whose effects enter, and whether the mean depends on all parameters; else raise an error."""
    if kind == "response":
        here = "; here se=True gives the sd of a response" if point.design.family.gaussian else ""
        raise ValueError(f"kind='response' needs a posterior, sample(){here}")
    check_choice("kind", kind, KINDS)
    if new_levels == "sample":
        spread = ", and with se=True the column sd has their spread" if point.design.family.gaussian else ""
        raise ValueError(
            "new_levels='sample' needs a posterior, sample(); here new_levels='zero' takes the effects of a new level "
            f"as 0{spread}"
        )
    check_choice("new_levels", new_levels, NEW_LEVELS)
    check_bool("se", se)
    design = point.design
    check_averaged(design, kind, groups)
    if kind == "linear":
        check_order(design, "one linear predictor")
        check_common(design, None, "kind='mean'")
    chosen = conditioned_on(design, groups)
    whole = kind == "mean" and design.family.mean is not None
    if se and whole and chosen and (point.method == "MAP" or is_related(design)):
        raise DataError(
            f"the standard error of a mean that depends on {listing(own.name for own in design.family.parameters)} "
            "too is known here without groups' effects, groups='population'; with them use kind='linear', or sample()"
        )
    if se and chosen:
        check_of_mean(design, "se=True", "sample() has intervals of predictions")
    return chosen, whole


def _mean_errors(point, rows: Rows, chosen: Sequence[int], at: tuple, data: object) -> Floats:
    """Return standard errors of means that depend on all parameters of a generalised model, (m,).

    With groups' effects, their modes follow the parameters, and beside that they have their variance given these (Kass
    & Steffey 1989, JASA 84, 717-726), as TMB has it.
    """
    eta, spread, slope = at
    moved = mean_slopes(point, rows, eta, spread, data) @ point.joint.root
    if not chosen:
        return np.linalg.norm(moved, axis=1)
    for j, modes in enumerate(modes_along(point)):
        moved[:, j] += slope * effects_at(point, rows, chosen, MEAN, modes)
    return np.sqrt(np.square(moved).sum(axis=1) + slope**2 * linear_variances(point, rows, chosen, given=True))


def own_at(point, rows: Rows, chosen: Sequence[int] = ()) -> tuple:
    """Return the family's parameters besides mu at the estimates, or its thresholds; (m,) each by formula.

    Their random effects are the modes of the factors at the positions `chosen`, 0 for the others.
    """
    return own_of(
        point, rows, {name: effects_at(point, rows, chosen, name) for name in random_parameters(point.design)}
    )


def effects_at(point, rows: Rows, chosen: Sequence[int], name: str, modes: Sequence[Floats] | None = None) -> Floats:
    """Return Z b of the mean, or of a parameter's predictor, (m,), with modes of the factors `chosen`."""
    total, own = np.zeros(len(rows)), point.scaled
    modes = own.modes if modes is None else modes
    for group, k in zip(rows.groups, chosen, strict=True):
        known, Z = group.index >= 0, part_of(group.block, group.Z, name)
        total[known] += np.einsum("ij,ij->i", Z[known] @ own.bases[k], modes[k][group.index[known]])
    return total


def _probabilities(point, rows: Rows, found: Floats, se: bool) -> pd.DataFrame:
    if se:
        raise ValueError(
            "se=True gives standard errors of kind='linear'; those of the probabilities of categories are not known "
            "here, and a posterior, sample(), has intervals of them"
        )
    return pd.DataFrame(found, index=pd.Index(rows.labels), columns=list(point.design.categories))


def linear_of_rows(point, rows: Rows, chosen: Sequence[int]) -> Floats:
    """Return X beta + Z b + offset, (m,), with the conditional modes of the factors at the positions `chosen`."""
    return rows.offset + rows.X @ np.nan_to_num(point.beta) + effects_at(point, rows, chosen, MEAN)


def new_variance(point, rows: Rows, data: object, chosen: Sequence[int]) -> Floats:
    """Return the variance of Z b_new over the factors that did not enter, and over unseen levels of those that did.

    Of a factor with a known covariance of its levels it is that of a level with the mean variance of the fit's rows.
    """
    total, design, own = np.zeros(len(rows)), point.design, point.scaled
    for k in design.groups:
        if k not in chosen:
            Z, new = columns_of_block(design, k, data), np.ones(len(rows), dtype=bool)
        else:
            group = rows.groups[list(chosen).index(k)]
            Z, new = group.Z, group.index < 0
        Z = part_of(design.blocks[k], Z, MEAN) @ own.bases[k]
        variance = mean_variance(design.blocks[k]) * np.einsum("ij,jk,ik->i", Z, own.covariances[k], Z)
        total += np.where(new, variance, 0.0)
    return total


def not_estimable(design: Design, X: Floats) -> np.ndarray:
    """Return in which rows of X an aliased column is not the combination of others that it was in the fit, (m,)."""
    if not design.aliased:
        return np.zeros(len(X), dtype=bool)
    aliased = list(design.aliased)
    kept = [j for j in range(design.p) if j not in design.aliased]
    relation = np.linalg.lstsq(design.X[:, kept], design.X[:, aliased])[0]
    sizes = np.abs(design.X).max(axis=0)
    rounding = np.abs(relation) * sizes[kept, None] <= SAME * sizes[aliased]  # a column that has no part in the other
    relation = np.where(rounding, 0.0, relation)
    size = np.abs(X[:, kept]) @ np.abs(relation) + np.abs(X[:, aliased])
    return (np.abs(X[:, aliased] - X[:, kept] @ relation) > SAME * size).any(axis=1)


def check_estimable(design: Design, rows: Rows) -> None:
    """Raise a DataError for rows that the estimate is not defined for, as `not_estimable` says."""
    off = not_estimable(design, rows.X)
    if off.any():
        names = listing([design.coefficients[j] for j in design.aliased])
        raise DataError(
            f"REML and ML have no estimate of {names} apart from other coefficients, which "
            f"{Places(np.arange(len(rows)), None).text(off)} would need"
        )


# ----------------------------------------------------------------------------------------------------------------------
# standard errors


def linear_variances(point, rows: Rows, chosen: Sequence[int], given: bool = False) -> Floats:
    """Return the variance of X beta + Z b given the data, at the estimated variance components, (m,).

    With `given`, that of Z b at the estimated beta too. Without random effects it is x' `beta_cov` x, which for a
    generalised model knows of the other parameters too.
    """
    if not chosen:
        return np.square(rows.X @ point.scaled.root).sum(axis=1)
    if is_related(point.design) and not is_sparse(point.design):
        point, rows = expanded_point(point), _expanded_rows(point.design, rows, chosen)
    problem, prior, bases = _problem(point)
    prior = FixedPrior(prior.mean, 0 * prior.lam, np.ones_like(prior.D)) if given else prior
    scale = point.sigma if point.design.family.gaussian else 1.0
    T, factors = [], []
    for k in problem.cp.order:
        block, B = point.design.blocks[k], bases[k]
        T.append(_lower(_in_basis(point, k, B)) / scale)
        if k in chosen:
            group = rows.groups[list(chosen).index(k)]
            factors.append(Factor(group.index, group.Z @ B, len(block.levels)))
        else:
            nothing = np.full(len(rows), -1), np.zeros((len(rows), len(block.columns)))
            factors.append(Factor(*nothing, len(block.levels)))
    return scale**2 * row_variances(problem.cp, pack(tuple(T)), prior, factors, rows.X @ problem.basis)


def _expanded_rows(design: Design, rows: Rows, chosen: Sequence[int]) -> Rows:
    """Return rows with the blocks of `expanded`."""
    known = relations_of(design)
    groups = [
        g if known[k] is None
        else replace(g, index=np.zeros_like(g.index), Z=columns_for(g.index, g.Z, len(design.blocks[k].levels)))
        for g, k in zip(rows.groups, chosen, strict=True)
    ]  # fmt: skip
    return replace(rows, groups=tuple(groups))


def _in_basis(point, k: int, B: Floats) -> Floats:
    """Return the covariance matrix of block k in a basis; the fit's own one costs no digits."""
    own = point.scaled.bases[k]
    change = np.eye(len(B)) if np.array_equal(own, B) else np.linalg.solve(B, own)
    return change @ point.scaled.covariances[k] @ change.T


def _lower(Sigma: Floats) -> Floats:
    """Return the lower triangular L with L L' = Sigma, which may be singular: the R' of a QR of a square root."""
    values, vectors = np.linalg.eigh(Sigma)
    return np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T)[1].T


def _problem(point) -> tuple[Problem, FixedPrior, list[Floats]]:
    """Return the cross-products at the estimate, and the prior of the fixed columns relative to sigma.

    The last are the bases of the cross-products' random effects, b = B b_s for the effects b that are reported.
    """
    design = whitened(point.design, point.residual)
    weights = design.weights if design.family.gaussian else working_weights(point)
    if point.method == "MAP":
        integrated = integrate(replace(design, weights=weights), point.priors)
        flat, scale = ~np.isfinite(integrated.sd), point.sigma if design.family.gaussian else 1.0
        lam = np.where(flat, 1.0, integrated.sd / scale)
        bases = [T.inverse @ B for T, B in zip(integrated.bases.blocks, integrated.problem.bases, strict=True)]
        return integrated.problem, FixedPrior(np.zeros(design.p), lam, np.where(flat, 0.0, 1.0)), bases
    kept = [j for j in range(design.p) if j not in design.aliased]
    if is_summed(design):
        weighted, (fixed, R, r, _) = design, orthonormal_of_sums(design.X[:, kept], design.y - design.offset)
    else:
        w = np.ones(design.n) if weights is None else weights
        weighted, (fixed, R), r = replace(design, weights=w), orthonormal(design.X[:, kept], w), np.zeros(design.n)
    basis, nothing = np.zeros((design.p, len(kept))), np.zeros(design.p)
    basis[kept] = np.linalg.inv(R) if kept else 0.0
    problem = reduced(weighted, fixed, r, basis, nothing, 0.0, orthonormal_columns(design))
    prior = FixedPrior(np.zeros(len(kept)), np.ones(len(kept)), np.zeros(len(kept)))
    return problem, prior, list(problem.bases)


def working_weights(point) -> Floats:
    """Return minus the second derivative of each row's log density in eta at the conditional modes, (n,).

    With these as weights and sigma = 1, the Gaussian formulas give the covariance of Laplace's approximation.
    """
    from bayesmm.likelihood.response_kernels import derivatives
    from bayesmm.likelihood.row_functions import codes

    design, family = point.design, point.design.family
    own, values = own_in_rows(design, {**point.auxiliaries, **point.levels}, point.residual)
    aux = np.broadcast_to(own.rows(values), (design.n, MOST_PARAMETERS)).copy()
    size = np.ones(design.n) if design.size is None else design.size
    numbers = codes(family)
    rows = zip(design.y, size, point.linear, aux, strict=True)
    second = [derivatives(*numbers, y, n, at, its)[2] for y, n, at, its in rows]
    weights = 1.0 if design.weights is None else design.weights
    return np.maximum(-np.array(second) * weights, SMALLEST_WEIGHT)
