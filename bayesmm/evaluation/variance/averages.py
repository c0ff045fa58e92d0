"""Means of functions of mu over random effects: what the variances on the scale of the response are made of."""

from collections.abc import Callable

import numpy as np

from bayesmm.families.family import Family
from bayesmm.families.links import LINKS
from bayesmm.posterior.means import REACH, averaged, growth

Array = np.ndarray
# The trapezoidal rule over N(0, 1) with step h is off by exp(-2 pi a / (h spread)) for a function that is analytic and
# bounded to a distance of a from the real axis (Trefethen & Weideman 2014, SIAM Review 56(3), theorem 5.1), which for
# the inverse of cloglog is pi / 2: 1e-6 with h spread = 0.7. The normal density alone needs h = 1 for 5e-9. Measured
# for the three links and their squares: 4e-6 at most.
WIDEST_STEP, REACH_OF_STEP = 1.0, 0.7


def averages(family: Family, aux: tuple, eta: Array, spread: Array | None) -> tuple:
    """Return the same for a family whose mean or variance is no simple function of mu: its variance is mu^3 at most."""
    inverse = family.inverse
    functions = (
        lambda at: family.expected(inverse(at), aux),
        lambda at: np.square(family.expected(inverse(at), aux)),
        lambda at: family.variance(inverse(at), aux),
    )
    if spread is None:
        return tuple(function(eta) for function in functions)
    rates = (growth(family.link, power) for power in (1, 2, 3))
    return tuple(averaged(function, "", eta, spread, rate) for function, rate in zip(functions, rates, strict=True))


def averaged_squares(link: str, eta: Array, spread: Array) -> tuple[Array, Array]:
    """Return the means of mu and of mu^2 over effects with these sds, (draws, rows) each; for no inverse link."""
    if link == "identity":
        return eta, np.square(eta) + np.square(spread)
    inverse = LINKS[link].inverse
    if link == "log":
        with np.errstate(over="ignore"):
            return inverse(eta + np.square(spread) / 2), inverse(2 * eta + 2 * np.square(spread))
    return averaged_twice(inverse, eta, spread)


def averaged_twice(inverse: Callable[[Array], Array], eta: Array, spread: Array) -> tuple[Array, Array]:
    """Return E mu and E mu^2 of mu = inverse(eta + spread z), z ~ N(0, 1): `means.averaged`, with fewer nodes."""
    step = min(WIDEST_STEP, REACH_OF_STEP / max(float(spread.max(initial=0.0)), REACH_OF_STEP))
    nodes = np.arange(-np.floor(REACH / step), np.floor(REACH / step) + 1) * step
    weights = np.exp(-0.5 * nodes**2)
    first = second = np.zeros(np.broadcast_shapes(eta.shape, spread.shape))
    for z, w in zip(nodes, weights / weights.sum(), strict=True):
        mu = inverse(eta + spread * z)
        first, second = first + w * mu, second + w * np.square(mu)
    return first, second
