"""Responses above 0 whose logarithms are normal: mu is the median, and the linear predictor the mean of log y."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.family import SIGMA, Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.residuals import Residual
from bayesmm.families.special import LOG_2PI
from bayesmm.families.support import POSITIVE
from bayesmm.families.tails import graph_normal_tails, normal_tails, normal_tails_score

Array = np.ndarray


def mean(mu: Array, aux: tuple) -> Array:
    """Return mu exp(sigma^2 / 2)."""
    with np.errstate(over="ignore"):
        return mu * np.exp(np.square(aux[0]) / 2)


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu^2 exp(sigma^2) (exp(sigma^2) - 1)."""
    with np.errstate(over="ignore"):
        return mu**2 * np.exp(np.square(aux[0])) * np.expm1(np.square(aux[0]))


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    with np.errstate(over="ignore"):
        return mu * np.exp(rng.normal(0.0, aux[0] * np.ones_like(mu)))


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import ndtr

    above = np.maximum(y, np.finfo(float).tiny)
    return np.where(np.asarray(y) > 0, ndtr((np.log(above) - np.log(mu)) / aux[0]), 0.0)


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma: the root of the mean square of log y - log mu."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.sqrt(np.nanmean(np.square(np.log(y) - np.log(mu))))
    return np.array([size if np.isfinite(size) and size > 0 else 1.0])


def _on_log(mean: None, aux: Array) -> Array:
    return aux[0] ** 2


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    sigma, log_y = aux[0], math.log(y)
    z = (log_y - eta) / sigma
    return -0.5 * (LOG_2PI + z * z) - math.log(sigma) - log_y, z / sigma, -1.0 / sigma / sigma, 0.0


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in sigma."""
    return (((math.log(y) - eta) / aux[0]) ** 2 - 1.0) / aux[0], 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    z = (pt.log(y) - eta) / aux[0]
    return pt.ones_like(eta, dtype=bool), -0.5 * (z**2 + LOG_2PI) - pt.log(aux[0]) - pt.log(y)


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    return normal_tails((math.log(y) - eta) / aux[0], aux[0])


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in the parameters."""
    return normal_tails_score((math.log(y) - eta) / aux[0], aux[0])


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    return graph_normal_tails((pt.log(y) - eta) / aux[0])


family = Family(
    name="lognormal",
    aliases=("log-normal", "log_normal"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=POSITIVE,
    parameters=(replace(SIGMA, label="sd of log y (sigma)", unit="units of log y", of=np.log),),
    mean=mean,
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score),
    cost=60.0,
    graph_density=graph_density,
    residuals={"log": Residual(_on_log, "sigma^2, that of log y")},
    start=start,
    tex=r"\mathrm{LogNormal}(\text{median } \mu_{i},\ \sigma)",
)
