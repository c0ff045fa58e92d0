"""The variance of a response about its linear predictor, on the scale of the link.

One of the ways of Nakagawa, Johnson & Schielzeth (2017, Journal of the Royal Society Interface 14(134)) for each: the
exact variance where it is known (that of the logarithm of a gamma variable is a trigamma function), otherwise that of a
log-normal variable with the response's mean and variance (the log link), or the delta method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from bayesmm.families.links import LINKS

Array = np.ndarray


@dataclass(frozen=True)
class Residual:
    """How the variance of a response is taken on the scale of the link.

    Attributes
    ----------
    value : callable
        ``(mean response (draws,) or None, auxiliaries (a, draws)) -> variance``.
    says : str
        The same in words.
    needs_mean : bool
    published : bool
        Whether the paper has this family; others are treated in its manner.
    defined : bool
        Whether there is one; `says` tells why not.
    """

    value: Callable[[Array | None, Array], Array]
    says: str
    needs_mean: bool = False
    published: bool = True
    defined: bool = True


def latent(link: str, response: str = "a response of 0 or 1", published: bool = True) -> Residual:
    """Return the variance of the distribution behind a response of 0 or 1, or what `response` calls it."""
    behind = LINKS[link].latent
    says = f"the variance of the {behind.distribution} distribution behind {response}, {behind.says}"
    return Residual(partial(_constant, behind.variance), says, published=published)


def lognormal(value: Callable[[Array, Array], Array], ratio: str = "", published: bool = False) -> Residual:
    """Return the variance of a log-normal variable; `value` is log(1 + ratio), ratio the variance over mean^2."""
    own = f" = log(1 + {ratio})" if ratio else ""
    says = f"log(1 + variance / mean^2){own} at the mean response, as of a log-normal variable"
    return Residual(value, says, needs_mean=True, published=published)


def undefined(why: str) -> Residual:
    """Return that there is none, and why."""
    return Residual(_missing, f"not defined for this family: {why}", published=False, defined=False)


def delta(variance: Callable[..., Array], link: str, published: bool = True) -> Residual:
    """Return the first-order variance of g(y), Var(y) g'(mu)^2, of a family with this variance of y."""
    says = "variance x (slope of the link)^2 at the mean response (delta method)"
    return Residual(partial(_first_order, variance, link), says, needs_mean=True, published=published)


def trigamma(x: Array) -> Array:
    """Return the variance of the logarithm of a gamma variable with shape x."""
    from scipy.special import polygamma

    return polygamma(1, x)


def _missing(mean: None, aux: Array) -> Array:
    return np.full(np.shape(aux)[-1], np.nan)


def _constant(variance: float, mean: None, aux: Array) -> float:
    return variance


def _first_order(variance: Callable[..., Array], link: str, mean: Array, aux: Array) -> Array:
    slope = LINKS[link].slope(LINKS[link].function(mean))
    return variance(mean, tuple(aux)) / np.square(slope)
