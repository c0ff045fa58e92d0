"""The mean of a response at a linear predictor, and its average over normal effects."""

from collections.abc import Callable, Sequence

import numpy as np

from bayesmm.families.family import Family
from bayesmm.families.links import LINKS

SLOPE_STEP = 1e-4  # of eta: central differences are off by its square, and by 1e-12 of rounding
# The trapezoidal rule over N(0, 1): beyond 8.4 lie 5e-17 of it. With a step of 0.2 a logistic or cloglog has no error
# for spreads of up to 2. For larger ones the step falls so that the error stays below 1e-5, about exp(-2 pi a / (step
# spread)), a being pi and pi / 2 (Trefethen & Weideman 2014, SIAM Review 56(3), theorem 5.1); the smallest step is
# reached at a spread of 80, and then leaves less than 1e-3 of a mean that is between 0 and 1.
REACH, STEP, STEEP, LEAST_STEP = 8.4, 0.2, 0.8, 0.01


def mean_of(family: Family, eta: np.ndarray, aux: Sequence[np.ndarray], spread: np.ndarray | None = None) -> np.ndarray:
    """Return the mean of the response; with `spread`, its average over eta + N(0, spread^2)."""
    link = LINKS[family.link]
    if spread is None:
        return family.expected(family.inverse(eta), aux)
    if family.proportional:
        return family.expected(averaged(link.inverse, link.name, eta, spread), aux)
    return averaged(lambda at: family.expected(family.inverse(at), aux), "", eta, spread, growth(link.name, 1))


def probabilities_of(
    family: Family, eta: np.ndarray, thresholds: Sequence[np.ndarray], spread: np.ndarray | None = None
) -> np.ndarray:
    """Return the probability of each of K ordered categories, (..., K); with `spread`, its average as in `mean_of`."""

    def of(at: np.ndarray) -> np.ndarray:
        return family.probabilities(family.link, at, thresholds)

    return of(eta) if spread is None else averaged(of, "", eta, spread)


def slope_of(
    family: Family, eta: np.ndarray, aux: Sequence[np.ndarray], spread: np.ndarray | None = None
) -> np.ndarray:
    """Return the derivative of `mean_of` in eta; where the mean is no multiple of mu, by differences."""
    link = LINKS[family.link]
    if family.proportional:
        slope = link.slope(eta) if spread is None else averaged(link.slope, link.name, eta, spread)
        return family.expected(slope, aux)
    with np.errstate(over="ignore", invalid="ignore"):
        up, down = (mean_of(family, eta + step, aux, spread) for step in (SLOPE_STEP, -SLOPE_STEP))
        return (up - down) / (2 * SLOPE_STEP)


def growth(link: str, power: int) -> int:
    """Return k where this power of mu grows as exp(k eta): with a log link; otherwise 0."""
    return power if link == "log" else 0


def averaged(function: Callable, link: str, eta: np.ndarray, spread: np.ndarray, rate: float = 0) -> np.ndarray:
    """Return E function(eta + spread z), z ~ N(0, 1); the shape of eta.

    Parameters
    ----------
    function : callable
    link : str
        Of which `function` is the inverse or its slope; "" for another function.
    eta, spread : array
        That broadcast; spread is an sd.
    rate : float
        The function grows as exp(rate eta) at most, so that the product with the density of z has its mass about
        rate spread.
    """
    if link == "identity":
        return function(eta)
    if link == "log":  # both are exp, whose average is known
        with np.errstate(over="ignore"):
            return function(eta + 0.5 * np.square(spread))
    step = max(min(STEP, STEEP / max(float(np.max(spread, initial=0.0)), STEEP)), LEAST_STEP)
    nodes = np.arange(-REACH, REACH + rate * float(np.max(spread, initial=0.0)) + step / 2, step)
    weights = np.exp(-0.5 * nodes**2)
    with np.errstate(over="ignore"):  # as of the closed form
        return sum(w * function(eta + spread * z) for z, w in zip(nodes, weights / weights.sum(), strict=True))
