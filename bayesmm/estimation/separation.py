"""Separation: columns of X along which the likelihood of a model for counts or proportions rises for ever."""

import numpy as np

from bayesmm.design.records import Design
from bayesmm.errors import listing
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.runtime.threads import few_threads

# Components of a direction below this, with the largest at 1, are the solver's rounding (HiGHS's tolerance is 1e-7).
COMPONENT = 1e-6
# Beyond this an auxiliary parameter has left for 0 or infinity (its logarithm; e^16 is nine million).
LOG_LIMIT = 16.0
# The fixed part of a separated model is further out than this when the search stops (a mean within e^-8 of its end).
FAR = 8.0


@few_threads
def separated(design: Design) -> list[str]:
    """Return the coefficients that grow without bound in a maximum-likelihood fit; none for most data.

    A response at an end of its range (no success, all successes, a count of 0) never speaks against a linear predictor
    that goes further to that end. There is separation if some combination of the columns does so in such rows, moves
    no other row, and is not 0 everywhere; a linear programme finds it (Konis 2007, PhD thesis, University of Oxford,
    chapter 4). Random effects do not help against it.

    Parameters
    ----------
    design : Design

    Returns
    -------
    list of str
        Names of the coefficients in such a combination.
    """
    kept = [j for j in range(design.p) if j not in design.aliased]
    names = [design.coefficients[j] for j in kept]
    X = design.X[:, kept] / np.maximum(np.abs(design.X[:, kept]).max(axis=0, initial=0.0), np.finfo(float).tiny)
    if design.family.nominal:
        ends, names = _category_ends(design)
        others = np.empty((0, len(names)))
    elif design.family.ordered:
        thresholds = len(design.categories) - 1
        ends, others = _ordered_ends(design.y.astype(np.int64), X, thresholds), np.empty((0, thresholds + len(kept)))
        names = [""] * thresholds + names
    else:
        side = _sides(design)
        if side is None or not side.any():
            return []
        ends, others = X[side != 0] * side[side != 0, None], X[side == 0]
    if len(others) and np.linalg.matrix_rank(others) == len(kept):  # every combination moves one of these rows
        return []
    from scipy.optimize import linprog  # here, because few models come this far, and it takes a tenth of a second

    found = linprog(
        -ends.sum(axis=0), A_ub=-ends, b_ub=np.zeros(len(ends)), A_eq=others if len(others) else None,
        b_eq=np.zeros(len(others)) if len(others) else None, bounds=(-1, 1), method="highs",
    )  # fmt: skip
    if found.x is None or np.abs(found.x).max(initial=0.0) < 1 - COMPONENT:
        return []
    return [name for name, d in zip(names, found.x, strict=True) if name and abs(d) > COMPONENT]


def _category_ends(design: Design) -> tuple[np.ndarray, list[str]]:
    """Return the same rows of categories without an order, and the names of what a direction moves.

    A row speaks against a direction in which the log odds of its category fall behind another's.
    """
    own, y = own_parameters(design), design.y.astype(np.int64)
    V = np.concatenate([np.zeros((1, *own.V.shape[1:])), own.V[: len(design.categories) - 1]])
    chosen = V[y - 1, np.arange(design.n)]
    ends = np.concatenate([chosen - other for other in V]) / np.maximum(own.sizes, 1.0)
    return np.unique(ends, axis=0), list(own.labels)


def _ordered_ends(k: np.ndarray, X: np.ndarray, thresholds: int) -> np.ndarray:
    """Return rows whose products with a direction of (thresholds, coefficients) are 0 or more if no row speaks against.

    Category k speaks against a direction that lowers the threshold above it, or raises the one below, beside X beta.
    """
    steps = np.eye(thresholds)
    above, below = k <= thresholds, k > 1
    upper = np.hstack([steps[k[above] - 1], -X[above]])
    return np.unique(np.vstack([upper, np.hstack([-steps[k[below] - 2], X[below]])]), axis=0)


def pure_factors(design: Design) -> list[str]:
    """Return the grouping factors with an intercept whose every level has only successes or only failures.

    The larger their sd, the more likely such data are.
    """
    if not design.family.support.successes:
        return []
    side, out = _sides(design), []
    for block in design.blocks:
        sums = np.bincount(block.index, side, len(block.levels))
        if "Intercept" in block.columns and (np.abs(sums) == np.bincount(block.index)).all():
            out.append(block.group)
    return out


def _sides(design: Design) -> np.ndarray | None:
    """Return for each row 1 or -1 if its response is at the upper or lower end, else 0; None for other families."""
    if design.family.support.successes:
        size = 1.0 if design.trials is None else design.trials
        return np.where(design.y == 0, -1.0, 0.0) + np.where(design.y == size, 1.0, 0.0)
    if design.family.support.counts:
        return np.where(design.y <= design.family.support.lowest, -1.0, 0.0)
    return None


def divergence(problem, x: np.ndarray) -> str:
    """Return in words what has no finite maximum: a coefficient, a standard deviation, an auxiliary; "" if none."""
    design, (beta, _, logs) = problem.design, (x[part] for part in problem.parts)
    at = problem.auxiliaries(logs) if design.family.nominal else problem.fixed @ beta + problem.offset
    far = np.abs(at).max() > FAR
    names = separated(design) if far else []
    if names:
        plural = "s" if len(names) > 1 else ""
        return (
            f"the coefficient{plural} of {listing(names)} grow{'' if plural else 's'} without bound, because the "
            "columns separate the responses (complete or quasi-complete separation); no finite maximum exists"
        )
    pure = pure_factors(design)
    if pure:
        return (
            f"the sd of Intercept in {pure[0]} grows without bound, because each level of {pure[0]} has only one kind "
            "of response; no finite maximum exists"
        )
    for parameter, at in zip(problem.own.scalars, logs, strict=False):
        if abs(at) > LOG_LIMIT:
            end = parameter.bounds[int(at > 0)]
            limit = parameter.limit if end == parameter.limit_at else ""
            instead = f"where the family is the {limit}: fit that" if limit else "the likelihood has no maximum inside"
            return f"{parameter.name} goes to {end:g}, {instead}".replace("inf,", "infinity,")
    return ""
