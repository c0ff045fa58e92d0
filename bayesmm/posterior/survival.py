"""The distribution of a censored or truncated response without a model, and the one that a fit gives the same rows."""

from dataclasses import dataclass

import numpy as np

from bayesmm.families.limits import Limits
from bayesmm.posterior.auxiliaries import auxiliary_values
from bayesmm.posterior.predict import predict
from bayesmm.posterior.residuals import FEWEST_DRAWS, thinned

Array = np.ndarray

STEPS, SETTLED = 5_000, 1e-9  # of the search for the estimate from intervals: most steps, and the least change of one
MOST_NUMBERS = 1_000_000  # of a fitted distribution at one value: rows times draws
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Survival:
    """P(Y > t) as a function with steps.

    Attributes
    ----------
    start, end : (m,) float64
        Where each step down begins and is done; equal for one at a response that is known. Between them the function
        is not known.
    share : (m,) float64
        P(Y > t) from `end` on, up to the next step.
    """

    start: Array
    end: Array
    share: Array


def observed_survival(y: Array, limits: Limits, weights: Array | None = None) -> Survival:
    """Return the nonparametric maximum-likelihood estimate of P(Y > t).

    Kaplan & Meier's (1958, Journal of the American Statistical Association 53, 457-481) where rows are known or
    right-censored, with late entry too; otherwise Turnbull's (1976, Journal of the Royal Statistical Society B 38,
    290-295), by his self-consistency equations.

    Parameters
    ----------
    y : (n,) float64
    limits : Limits
    weights : (n,) float64, optional
        How often each row counts.
    """
    times = np.ones(len(y)) if weights is None else weights
    low, high = limits.known(y)
    other = limits.censored
    right_only = bool((limits.other[other] > y[other]).all()) and _open_above(limits, other)
    return _product_limit(y, other, limits, times) if right_only else _turnbull(low, high, limits, times)


def _open_above(limits: Limits, other: Array) -> bool:
    """Return whether every censored row is so without end, and no row has an upper limit."""
    return bool((limits.other[other] == np.inf).all()) and (limits.high is None or bool((limits.high == np.inf).all()))


def _product_limit(y: Array, other: Array, limits: Limits, times: Array) -> Survival:
    entry = np.full(len(y), -np.inf) if limits.low is None else limits.low
    at = np.unique(y[~other])
    died = np.array([times[(y == t) & ~other].sum() for t in at])
    at_risk = np.array([times[(y >= t) & (entry < t)].sum() for t in at])
    return Survival(at, at, np.cumprod(1 - died / at_risk))


def _turnbull(low: Array, high: Array, limits: Limits, times: Array) -> Survival:
    """Return the estimate from intervals: the shares of the cells between their ends that are consistent.

    An end is a value and whether it is just before it (0) or at it (1): what is known to be 3 is from (3, 0) to (3, 1),
    and what is in (2, 3] from (2, 1) to (3, 1).
    """
    n, exact = len(low), low == high
    first = np.column_stack([low, np.where(exact, 0, 1)])
    last = np.column_stack([high, np.ones(n)])
    seen = [np.column_stack([each, np.ones(n)]) for each in limits.columns[1:]]
    keys, places = np.unique(np.vstack([first, last, *seen]), axis=0, return_inverse=True)
    places = places.ravel().reshape(-1, n)
    cells = np.arange(len(keys) - 1)
    inside = (cells >= places[0][:, None]) & (cells < places[1][:, None])
    visible = (cells >= places[2][:, None]) & (cells < places[3][:, None]) if seen else None
    p = np.full(len(cells), 1 / len(cells))
    for _ in range(STEPS):
        before = p
        counts = p * ((times / (inside @ p)) @ inside)
        if visible is not None:
            counts += p * ((times / np.maximum(visible @ p, np.finfo(float).tiny)) @ ~visible)
        p = counts / counts.sum()
        if np.abs(p - before).max() < SETTLED:
            break
    kept = p > SETTLED * 10
    share = np.clip(1 - np.cumsum(p), 0.0, 1.0)
    return Survival(keys[:-1, 0][kept], keys[1:, 0][kept], share[kept])


def fitted_survival(fit, t: Array, rows: Array | None = None) -> Array:
    """Return P(Y > t) of the response before censoring, the mean over rows, for draws, (draws, len(t)).

    The random effects are those of the rows' groups. Of a truncated response it is given that it is within the
    outermost limits of these rows, since beyond them the data alone say nothing.

    Parameters
    ----------
    fit : Fit
    t : (m,) float64
    rows : bool array, (n,), optional
        Which rows the mean is over; all if not given.
    """
    design = fit.design
    rows = np.ones(design.n, dtype=bool) if rows is None else rows
    few = thinned(fit, max(FEWEST_DRAWS, min(DRAWS, MOST_NUMBERS // design.n)))
    mu = design.family.inverse(predict(few, kind="linear").draws.reshape(-1, design.n)[:, rows])
    aux = [own[:, rows] if own.shape[1] > 1 else own for own in auxiliary_values(few)]
    weights = None if design.weights is None else design.weights[rows]

    def below(at: float) -> Array:
        if not np.isfinite(at):
            return np.full(mu.shape, float(at > 0))
        with np.errstate(all="ignore"):
            return np.broadcast_to(design.family.cdf(np.full(mu.shape[1], at), mu, np.ones(mu.shape[1]), aux), mu.shape)

    seen = design.limits is not None and design.limits.truncated
    ends = (design.limits.low[rows].min(), design.limits.high[rows].max()) if seen else (-np.inf, np.inf)
    first, last = (below(float(end)) for end in ends)
    with np.errstate(all="ignore"):
        above = [np.clip((last - below(float(at))) / (last - first), 0.0, 1.0) for at in t]
    return np.stack([np.average(one, axis=1, weights=weights) for one in above], axis=1)
