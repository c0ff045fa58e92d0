"""Averages of predictions, from every posterior draw or at the estimates, and what is computed from several of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from bayesmm.design.ordered import check_common, check_order
from bayesmm.design.records import Design
from bayesmm.errors import DataError, listing
from bayesmm.estimation.estimates import Estimates
from bayesmm.formula.responses import RESPONSE
from bayesmm.inference.marginal_effects.rows import check_memory
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.draws import tree_sizes, variable
from bayesmm.posterior.mean_slopes import mean_slopes
from bayesmm.posterior.means import mean_of
from bayesmm.posterior.predict import (
    GROUPS,
    Rows,
    check_averaged,
    check_choice,
    check_draws,
    chunks,
    conditioned_on,
    linear,
    parameters_of_rows,
    rows_of,
    spreads,
)
from bayesmm.posterior.predict_point import linear_of_rows, new_variance, not_estimable, own_at
from bayesmm.runtime.arguments import check_probability
from bayesmm.runtime.messages import count, label_text

KINDS = ("mean", "linear")
SPREAD = 1e-9  # of the numbers of responses in an average: rounding
COPIES = 3  # of the draws of the results: themselves, what is made of them, and what is sorted for the intervals


@dataclass(frozen=True)
class Estimand:
    """What is averaged: "mean" or "linear", over which random effects, and the probability of the intervals."""

    kind: str
    groups: str
    ci_prob: float


@dataclass(frozen=True, eq=False)
class Quantities:
    """Some quantities of a fit.

    Attributes
    ----------
    values : (s, r) float64
        A row for each posterior draw, or one row, the estimates of a maximised model.
    X : (r, p) float64
        The averaged rows of the design, and of a difference their difference.
    jacobian : (r, p) or (r, p + a + s) float64, or None
        The derivatives of the estimates in the coefficients, of a generalised model also in all its other parameters
        but the random effects (`estimation.hessians.Joint`); None for a posterior.
    defined : (r,) bool
        Whether the data determine it: False where columns of X depend on each other and it needs them apart.
    linear : bool
        They are X beta plus a constant.
    """

    values: Floats
    X: Floats
    jacobian: Floats | None
    defined: np.ndarray
    linear: bool


def checked_estimand(fit, kind: str, groups: str, ci_prob: float) -> Estimand:
    """Return what is asked for, once every argument is one of its choices; a ValueError otherwise."""
    if not (isinstance(fit, Estimates) or hasattr(fit, "tree")):
        raise TypeError(f"expected a Fit or a PointFit, from sample() or maximize(), not {type(fit).__name__}")
    check_order(fit.design, "a marginal mean")
    check_choice("kind", kind, KINDS)
    check_choice("groups", groups, GROUPS)
    check_averaged(fit.design, kind, groups)
    check_probability("ci_prob", ci_prob)
    if fit.design.family.support.angle and kind == "mean":
        raise DataError(
            f"an average of angles, here {fit.design.response}, depends on where the circle is cut; use kind='linear', "
            "or predict(), whose rows have mean directions"
        )
    if isinstance(fit, Estimates) and len(fit.design.groups) < len(fit.design.blocks):
        raise DataError(
            "averages of a maximised model have standard errors of the coefficients alone, and smooths have their own; "
            "use predict(se=True), or sample() for averages of a posterior"
        )
    if groups == "conditional" and isinstance(fit, Estimates):
        raise ValueError(
            "groups='conditional' needs a posterior here, sample(); of a maximised model predict(se=True) has the rows "
            "with their groups' effects"
        )
    return Estimand(kind, groups, ci_prob)


def check_linear(fit, estimand: Estimand, names: Sequence[str] | None) -> None:
    """Raise a DataError for linear predictors at values of columns, or (None) of rows, that cs() is of."""
    if estimand.kind == "linear":
        check_common(fit.design, names, "kind='mean', or predict()")


def averaging(cell: np.ndarray, weight: Floats, size: int) -> sparse.csr_array:
    """Return the matrix that averages rows within cells, (size, m); the weights of a cell need not sum to 1."""
    total = np.bincount(cell, weights=weight, minlength=size)
    return sparse.csr_array((weight / total[cell], (cell, np.arange(len(cell)))), shape=(size, len(cell)))


def evaluate(fit, estimand: Estimand, frame: pd.DataFrame, A: sparse.csr_array, quiet: bool = False) -> Quantities:
    """Return sums of predictions over the rows of a table.

    Parameters
    ----------
    fit : Fit or PointFit
    estimand : Estimand
    frame : pandas.DataFrame
        m rows with the columns of the right side.
    A : sparse (r, m)
        The weights of the rows in each sum.
    quiet : bool
        Without the warnings of the encoding.

    Raises
    ------
    ValueError, DataError
        As `bayesmm.posterior.predict.predict`.
    """
    design = fit.design
    _check_one_response(design, frame, A)
    formulas = estimand.kind == "mean" and design.residual.by_row
    rows = rows_of(design, frame, conditioned_on(design, estimand.groups), quiet, residual=formulas)
    _check_known(rows)
    X = A @ rows.X
    straight = not rows.groups and (estimand.kind == "linear" or design.family.straight)
    defined = ~not_estimable(design, X) if straight else _all_defined(design, rows, A)
    if isinstance(fit, Estimates):
        values, jacobian = _estimates(fit, estimand, rows, frame, A)
        return Quantities(values, X, jacobian, defined, straight)
    check_draws(fit, rows.take(slice(0, 1)))  # whether the effects were kept
    draws = int(np.prod(tree_sizes(fit.tree)))
    check_memory(A.shape[0], COPIES * draws)
    if straight:
        beta = variable(fit.tree, "beta").reshape(draws, -1) if design.p else np.empty((draws, 0))
        return Quantities(beta @ X.T + A @ rows.offset, X, None, defined, True)
    return Quantities(_draws(fit, estimand, rows, frame, A), X, None, defined, False)


def _check_one_response(design: Design, frame: pd.DataFrame, A: sparse.csr_array) -> None:
    """Raise a DataError for an average over several responses, whose units are not one."""
    if not design.responses:
        return
    own = np.array([design.responses.index(str(name)) for name in frame[RESPONSE]], dtype=float)
    total = np.asarray(abs(A).sum(axis=1)).ravel()
    mean, square = abs(A) @ own / total, abs(A) @ own**2 / total
    if (square - mean**2 > SPREAD).any():
        raise no_unit(design, f"an average over the responses {listing(design.responses)} has no unit")


def no_unit(design: Design, said: str) -> DataError:
    """Return the error for what is asked of several responses together."""
    return DataError(
        f"{said}; name {RESPONSE!r} among the variables, as in emmeans(fit, ['x', {RESPONSE!r}]), or "
        f"by={RESPONSE!r}, or give it values, as in predictions(fit, at={{'{RESPONSE}': '{design.responses[0]}'}})"
    )


def _check_known(rows: Rows) -> None:
    """Raise a DataError if a level of a grouping factor was not seen by the fit."""
    for group in rows.groups:
        unseen = list(dict.fromkeys(group.labels[group.index < 0]))
        if unseen:
            raise DataError(
                f"the effects of {count(len(unseen), 'level')} of '{group.block.group}' "
                f"({listing(map(label_text, unseen), limit=5)}) are not known, because the data of the fit do not have "
                f"{'it' if len(unseen) == 1 else 'them'}; use groups='population' or groups='averaged'"
            )


def _all_defined(design: Design, rows: Rows, A: sparse.csr_array) -> np.ndarray:
    """Return which sums have only rows that can be estimated."""
    off = not_estimable(design, rows.X).astype(float)
    return (A != 0).astype(float) @ off == 0


def _draws(fit, estimand: Estimand, rows: Rows, frame: pd.DataFrame, A: sparse.csr_array) -> Floats:
    """Return the sums for every posterior draw, (draws, r), a part of the rows at a time."""
    family, draws = fit.design.family, int(np.prod(tree_sizes(fit.tree)))
    spread = spreads(fit, frame) if estimand.groups == "averaged" else None
    columns, total, aux = A.tocsc(), np.zeros((A.shape[0], draws)), ()
    for part in chunks(len(rows), draws):
        eta = linear(fit, rows.take(part), "error", 0)
        own = None if spread is None else spread(part)
        if estimand.kind != "linear":
            aux = parameters_of_rows(fit, rows.take(part))
        mu = eta if estimand.kind == "linear" else mean_of(family, eta, aux, own)
        total += columns[:, part] @ mu.T
    return np.ascontiguousarray(total.T)


def _estimates(
    point: Estimates, estimand: Estimand, rows: Rows, frame: pd.DataFrame, A: sparse.csr_array
) -> tuple[Floats, Floats]:
    """Return the sums at the estimates, (1, r), and their derivatives in the parameters."""
    eta, family, spread = linear_of_rows(point, rows, ()), point.design.family, None
    if estimand.kind == "linear":
        others = 0 if point.joint is None else len(point.joint.root) - point.design.p
        return (A @ eta)[None], np.pad(A @ rows.X, ((0, 0), (0, others)))
    if estimand.groups == "averaged":
        spread = np.sqrt(new_variance(point, rows, frame, ()))
    mu = mean_of(family, eta, own_at(point, rows), spread)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the doubles a mean is inf, and has no standard error
        return (A @ mu)[None], A @ mean_slopes(point, rows, eta, spread, frame)


# ----------------------------------------------------------------------------------------------------------------------
# several quantities


def concatenated(parts: Sequence[Quantities]) -> Quantities:
    """Return the quantities of several evaluations as one."""
    return Quantities(
        np.hstack([part.values for part in parts]),
        np.vstack([part.X for part in parts]),
        None if parts[0].jacobian is None else np.vstack([part.jacobian for part in parts]),
        np.concatenate([part.defined for part in parts]),
        parts[0].linear,
    )


def difference(design: Design, high: Quantities, low: Quantities) -> Quantities:
    """Return high less low; a difference of linear functions may be defined where neither of them is."""
    X = high.X - low.X
    defined = ~not_estimable(design, X) if high.linear else high.defined & low.defined
    with np.errstate(invalid="ignore"):  # of two means beyond the doubles there is none
        jacobian = None if high.jacobian is None else high.jacobian - low.jacobian
        return Quantities(high.values - low.values, X, jacobian, defined, high.linear)


def combined(design: Design, L: Floats, parts: Quantities) -> Quantities:
    """Return linear combinations L (m, r) of quantities; one may be defined where what it is of is not."""
    sums = sparse.csr_array(L)  # what has the weight 0 has no part in it, also where it is no number
    X = sums @ parts.X
    jacobian = None if parts.jacobian is None else sums @ parts.jacobian
    defined = ~not_estimable(design, X) if parts.linear else (L != 0).astype(float) @ ~parts.defined == 0
    return replace(parts, values=(sums @ parts.values.T).T, X=X, jacobian=jacobian, defined=defined)


def log_ratio(high: Quantities, low: Quantities) -> Quantities:
    """Return log(high / low).

    Raises
    ------
    ValueError
        An average is not above 0.
    """
    if not ((high.values > 0).all() and (low.values > 0).all()):
        raise ValueError("a ratio needs averages above 0, and some are not; use compare='difference'")
    jacobian = None
    with np.errstate(invalid="ignore"):  # as in `difference`
        if high.jacobian is not None:
            jacobian = high.jacobian / high.values.T - low.jacobian / low.values.T
        values = np.log(high.values) - np.log(low.values)
    return Quantities(values, high.X - low.X, jacobian, high.defined & low.defined, False)


def taken(quantities: Quantities, at: np.ndarray) -> Quantities:
    """Return some of the quantities, by their places."""
    jacobian = None if quantities.jacobian is None else quantities.jacobian[at]
    return replace(
        quantities,
        values=quantities.values[:, at],
        X=quantities.X[at],
        jacobian=jacobian,
        defined=quantities.defined[at],
    )
