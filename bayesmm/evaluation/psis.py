"""Pareto-smoothed importance sampling of many points at once (Vehtari et al. 2024, JMLR 25(72), algorithm 1).

What ArviZ computes point by point, to rounding: the points are the rows of arrays here. The Pareto distribution of a
tail is fitted as Zhang & Stephens (2009, Technometrics 51(3)) do, with the prior of Vehtari et al. on its shape.
"""

from dataclasses import dataclass

import numpy as np

from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.convergence import in_batches

FEWEST_TAIL_DRAWS = 5  # that a Pareto distribution is fitted to
FEW = 225  # effective draws up to which the tail has a fifth of them, and 3 sqrt(n) where there are more
PRIOR_B, PRIOR_K = 3, 10  # of Zhang & Stephens' grid; draws that the prior of the shape, with mean 1 / 2, is worth
NEGLIGIBLE = 10 * np.finfo(float).eps  # weight of a grid point that counts as none


@dataclass(frozen=True)
class Smoothed:
    """Importance weights of the points that were left out.

    Attributes
    ----------
    log_weights : (points, draws)
        Of sum 1.
    k : (points,)
        Pareto shape: infinite where it cannot be estimated, NaN where a quarter of the tail is tied.
    elpd, lpd : (points,)
        Log predictive density of each point without it, and with it.
    """

    log_weights: Floats
    k: Floats
    elpd: Floats
    lpd: Floats


def smoothed(values: Floats, efficiency: float) -> Smoothed:
    """Return the leave-one-out weights of log likelihoods (draws, points).

    Parameters
    ----------
    values : (draws, points)
    efficiency : float
        Effective number of a draw.

    Raises
    ------
    ValueError
        Where fewer than 25 draws leave no tail, or a point has one likelihood in all the draws of its tail.
    """
    n = len(values)
    tail = int(3 * np.sqrt(n / efficiency)) if n * efficiency > FEW else n // 5
    if tail < FEWEST_TAIL_DRAWS:
        raise ValueError(f"{n} draws are too few for a Pareto fit to the largest weights; at least 25 are needed")
    found = in_batches(lambda batch: _smoothed(batch[:, 0], tail), values.T[:, None])
    return Smoothed(found[:, :-3], *found[:, -3:].T)


def _smoothed(likelihoods: Floats, tail: int) -> Floats:
    """Return log weights, k, elpd and lpd of (points, draws) log likelihoods, (points, draws + 3)."""
    n = likelihoods.shape[1]
    weights = -likelihoods + likelihoods.min(axis=1, keepdims=True)
    order = np.argpartition(weights, n - tail - 1, axis=1)[:, n - tail - 1 :]
    cutoff = np.exp(np.take_along_axis(weights, order[:, :1], axis=1))
    largest = np.take_along_axis(weights, order[:, 1:], axis=1)
    inner = np.argsort(largest, axis=1)
    places, largest = np.take_along_axis(order[:, 1:], inner, axis=1), np.take_along_axis(largest, inner, axis=1)
    if (largest[:, -1] - largest[:, 0] < np.finfo(float).tiny).any():
        raise ValueError("a point has the same likelihood in all draws of its tail, so that no weights can be smoothed")
    k, sigma = pareto_fit(np.exp(largest) - cutoff)
    fitted = np.log(pareto_quantiles((np.arange(tail) + 0.5) / tail, k, sigma) + cutoff)
    fitted = np.where(fitted > largest[:, -1:], largest[:, -1:], fitted)
    np.put_along_axis(weights, places, np.where(np.isfinite(k)[:, None], fitted, largest), axis=1)
    weights -= log_sum(weights)[:, None]
    elpd, lpd = log_sum(weights + likelihoods), log_sum(likelihoods) - np.log(n)
    return np.column_stack([weights, k, elpd, lpd])


def log_sum(values: Floats) -> Floats:
    """Return the log of the sum of the exponentials of each row, (k,)."""
    top = values.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return np.log(np.exp(values - top).sum(axis=1)) + top[:, 0]


def pareto_fit(excess: Floats) -> tuple[Floats, Floats]:
    """Return shape and scale, (k,) each, of the generalised Pareto distributions of sorted excesses, (k, n)."""
    n = excess.shape[1]
    size = 30 + int(n**0.5)
    quartile = excess[:, int(n / 4 + 0.5) - 1]
    grid = (1 - np.sqrt(size / (np.arange(1, size + 1) - 0.5))) / (PRIOR_B * quartile[:, None]) + 1 / excess[:, -1:]
    shapes = np.log1p(-grid[:, :, None] * excess[:, None, :]).mean(axis=2)
    profile = n * (np.log(-grid / shapes) - shapes - 1)
    weights = np.exp(profile - log_sum(profile)[:, None])
    weights = np.where(weights >= NEGLIGIBLE, weights, 0.0)
    b = (grid * weights).sum(axis=1) / weights.sum(axis=1)
    shape = np.log1p(-b[:, None] * excess).mean(axis=1)
    scale, k = -shape / b, (n * shape + PRIOR_K * 0.5) / (n + PRIOR_K)
    tied = quartile <= excess[:, 0]
    return np.where(tied, np.nan, np.where(np.isnan(k), np.inf, k)), np.where(tied, np.nan, scale)


def pareto_quantiles(probabilities: Floats, k: Floats, scale: Floats) -> Floats:
    """Return the quantiles of generalised Pareto distributions, (k, n); NaN where a scale is not positive."""
    lower = np.log1p(-probabilities)[None]
    k, scale = k[:, None], np.where(scale > 0, scale, np.nan)[:, None]
    return scale * np.where(k == 0, -lower, np.expm1(-k * lower) / np.where(k == 0, 1.0, k))
