"""Reaction times and their like: the sum of a normal variable with sd sigma and an exponential one with mean tau.

mu is the mean of the sum, so that the normal part has the mean mu - tau.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.binomial import graph_log_normal_cdf
from bayesmm.families.family import SIGMA, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import Residual
from bayesmm.families.special import LOG_2PI, TAIL, log_normal_cdf
from bayesmm.families.support import REAL

Array = np.ndarray

START_SHARE = (0.1, 0.9)  # of the sd that tau may be at first


def variance(mu: Array, aux: tuple) -> Array:
    """Return sigma^2 + tau^2 for each mean."""
    return (np.square(aux[0]) + np.square(aux[1])) * np.ones_like(mu)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    shape = np.broadcast_shapes(np.shape(mu), np.shape(aux[0]), np.shape(aux[1]))
    return mu + aux[0] * rng.standard_normal(shape) + aux[1] * (rng.standard_exponential(shape) - 1)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import log_ndtr, ndtr

    s, k = (y - mu + aux[1]) / aux[0], aux[0] / aux[1]
    with np.errstate(over="ignore"):
        return np.clip(ndtr(s) - np.exp(np.minimum(0.5 * k * k - s * k + log_ndtr(s - k), 0.0)), 0.0, 1.0)


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma and tau, by the variance and the skewness, 2 (tau / sd)^3."""
    r = y - mu
    sd = float(np.sqrt(np.nanmean(r**2))) or 1.0
    skew = max(float(np.nan_to_num(np.nanmean(r**3) / sd**3)), 0.0)
    share = float(np.clip((skew / 2) ** (1 / 3), *START_SHARE))
    return sd * np.array([np.sqrt(1 - share**2), share])


def _on_identity(mean: None, aux: Array) -> Array:
    return aux[0] ** 2 + aux[1] ** 2


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; s is (y - the normal part's mean) / sigma."""
    sigma, tau = aux[0], aux[1]
    s, k = (y - eta + tau) / sigma, sigma / tau
    x = s - k
    value, h1, h2, h3 = log_normal_cdf(x)
    if x < -TAIL:  # x^2 / 2 is left out of both terms
        value = -math.log(h1) - 0.5 * (LOG_2PI + s * s)
    else:
        value += 0.5 * k * k - s * k
    return value - math.log(tau), 1.0 / tau - h1 / sigma, h2 / sigma / sigma, -h3 / sigma / sigma / sigma


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in sigma and tau."""
    sigma, tau = aux[0], aux[1]
    s, k = (y - eta + tau) / sigma, sigma / tau
    h = log_normal_cdf(s - k)[1]
    a0 = k / tau - h * (s / sigma + 1.0 / tau)
    return a0, (s * k - k * k - 2.0) / tau + h * (1.0 / sigma + k / tau)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    sigma, tau = aux
    s, k = (y - eta + tau) / sigma, sigma / tau
    x = s - k
    low, high = pt.minimum(x, -1.0), pt.maximum(x, -1.0)  # each branch sees arguments at which it is finite
    tail = pt.log(0.5 * pt.erfcx(-low / np.sqrt(2))) - 0.5 * s**2
    usual = graph_log_normal_cdf(high) + 0.5 * k**2 - s * k
    return pt.ones_like(eta, dtype=bool), pt.switch(x < -1.0, tail, usual) - pt.log(tau)


family = Family(
    name="exgaussian",
    aliases=("ex-gaussian", "ex_gaussian", "exgauss"),
    links=("identity",),
    link="identity",
    concave_links=("identity",),
    support=REAL,
    parameters=(
        replace(SIGMA, label="sd of the normal part (sigma)"),
        Auxiliary("tau", r"\tau", limit="gaussian", limit_at=0.0),
    ),
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"identity": Residual(_on_identity, "sigma^2 + tau^2", published=False)},
    start=start,
    tex=r"\mathrm{ExGaussian}(\text{mean } \mu_{i},\ \sigma,\ \tau)",
    cost=165.0,
)
