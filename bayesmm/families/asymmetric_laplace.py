"""Quantiles of a response: asymmetric Laplace variables, of which mu is the quantile `quantile`, the median by default.

The log density falls by quantile / sigma above mu and by (1 - quantile) / sigma below it, for each unit (Yu & Moyeed
2001, Statistics & Probability Letters 54(4)). It has a corner at mu and no curvature elsewhere: there is nothing that
Newton's method and Laplace's approximation could go by. Posteriors are sampled, with the random effects written out.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.family import SHARES, SIGMA, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import Residual
from bayesmm.families.support import REAL

Array = np.ndarray

MEDIAN = 0.5
START = (0.05, 0.95)  # what a first quantile is kept within


def mean(mu: Array, aux: tuple) -> Array:
    """Return mu + sigma (1 - 2 quantile) / (quantile (1 - quantile))."""
    sigma, q = aux
    return mu + sigma * (1 - 2 * q) / (q * (1 - q))


def variance(mu: Array, aux: tuple) -> Array:
    """Return sigma^2 (1 - 2 q + 2 q^2) / (q (1 - q))^2, q being the quantile."""
    sigma, q = aux
    return np.square(sigma / (q * (1 - q))) * (1 - 2 * q + 2 * q**2) * np.ones_like(mu)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses: the difference of two exponential variables."""
    sigma, q = aux
    shape = np.broadcast_shapes(np.shape(mu), np.shape(sigma), np.shape(q))
    above, below = rng.standard_exponential(shape), rng.standard_exponential(shape)
    return mu + sigma * (above / q - below / (1 - q))


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    sigma, q = aux
    z = (y - mu) / sigma
    below, above = np.exp(np.minimum((1 - q) * z, 0.0)), np.exp(-np.maximum(q * z, 0.0))
    return np.where(z < 0, q * below, 1 - (1 - q) * above)


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma, the mean of the absolute residuals over 2, and the share of residuals below 0."""
    r = y - mu
    return np.array([float(np.nanmean(np.abs(r))) / 2 or 1.0, float(np.clip(np.mean(r < 0), *START))])


def _on_identity(mean: None, aux: Array) -> Array:
    return variance(np.ones(()), (aux[0], aux[1]))


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives, those at the corner as from below: see `Kernels`."""
    sigma, q = aux[0], aux[1]
    z = (y - eta) / sigma
    rate = q if z >= 0.0 else q - 1.0
    return math.log(q * (1.0 - q) / sigma) - rate * z, rate / sigma, 0.0, 0.0


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in sigma and the quantile."""
    sigma, q = aux[0], aux[1]
    z = (y - eta) / sigma
    rate = q if z >= 0.0 else q - 1.0
    return (rate * z - 1.0) / sigma, (1.0 - 2.0 * q) / (q * (1.0 - q)) - z


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    sigma, q = aux
    z = (y - eta) / sigma
    return pt.ones_like(eta, dtype=bool), pt.log(q * (1 - q) / sigma) - z * (q - pt.lt(z, 0))


QUANTILE = Auxiliary("quantile", "q", "Fixed", {"value": MEDIAN}, "(which quantile mu is)", bounds=SHARES)

family = Family(
    name="asymmetric_laplace",
    aliases=("asym_laplace", "asymmetriclaplace", "asymmetric-laplace", "ald", "quantile"),
    links=("identity",),
    link="identity",
    support=REAL,
    parameters=(replace(SIGMA, label="scale (sigma)"), QUANTILE),
    smooth=False,
    mean=mean,
    variance=variance,
    proportional=False,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"identity": Residual(_on_identity, "sigma^2 (1 - 2 q + 2 q^2) / (q (1 - q))^2", published=False)},
    start=start,
    tex=r"\mathrm{AsymmetricLaplace}(\text{quantile } q = \mu_{i},\ \sigma)",
    several_modes=("identity",),
)
