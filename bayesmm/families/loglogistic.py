"""Responses above 0 such as times to failure, with a heavy tail: log-logistic ones, mu is their median.

The logarithm is logistic about log mu with the scale 1 / shape, as in R's survreg(dist = "loglogistic"). For a shape
above 1 the hazard rises and falls again, and the mean is finite; the variance is for one above 2.
"""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.draws import SMALLEST, where_known
from bayesmm.families.family import LARGEST_START, SMALLEST_START, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.residuals import Residual
from bayesmm.families.special import log1pexp, sigmoid
from bayesmm.families.support import POSITIVE

Array = np.ndarray


def mean(mu: Array, aux: tuple) -> Array:
    """Return mu (pi / shape) / sin(pi / shape), infinite for a shape of 1 or less."""
    b = np.pi / np.maximum(aux[0], 1.0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return mu * np.where(np.asarray(aux[0]) > 1, b / np.sin(b), np.inf)


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance, infinite for a shape of 2 or less."""
    b = np.pi / np.maximum(aux[0], 2.0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        value = 2 * b / np.sin(2 * b) - np.square(b / np.sin(b))
        return mu**2 * np.where(np.asarray(aux[0]) > 2, np.maximum(value, 0.0), np.inf)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(median: Array) -> Array:
        with np.errstate(over="ignore"):
            drawn = median * np.exp(rng.logistic(size=np.broadcast_shapes(median.shape, np.shape(aux[0]))) / aux[0])
        return np.clip(drawn, SMALLEST, 1 / SMALLEST)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import expit

    above = np.maximum(y, SMALLEST)
    return np.where(np.asarray(y) > 0, expit((np.log(above) - np.log(mu)) * aux[0]), 0.0)


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by the sd of log y about log mu, which is pi / sqrt(3) / shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.nanstd(np.log(y) - np.log(mu))
        found = np.nan_to_num(np.pi / np.sqrt(3) / spread, nan=1.0)
    return np.clip(np.array([found]), SMALLEST_START, LARGEST_START)


def _on_log(mean: None, aux: Array) -> Array:
    return np.pi**2 / 3 / aux[0] ** 2


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; t is the logit of P(Y <= y)."""
    a = aux[0]
    t = a * (math.log(y) - eta)
    p, q = sigmoid(t), sigmoid(-t)
    value = math.log(a) - math.log(y) + t - 2.0 * log1pexp(t)
    return value, a * (p - q), -2.0 * a * a * p * q, 2.0 * a * a * a * p * q * (q - p)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in the shape."""
    about = math.log(y) - eta
    t = aux[0] * about
    return 1.0 / aux[0] + about * (sigmoid(-t) - sigmoid(t)), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    t = aux[0] * (pt.log(y) - eta)
    return pt.ones_like(eta, dtype=bool), pt.log(aux[0]) - pt.log(y) + t - 2 * pt.softplus(t)


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    a = aux[0]
    t = a * (math.log(y) - eta)
    p, q = sigmoid(t), sigmoid(-t)
    d2, d3 = -a * a * p * q, a * a * a * p * q * (q - p)
    return (-log1pexp(-t), -a * q, d2, d3), (-log1pexp(t), a * p, d2, d3)


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in the shape."""
    about = math.log(y) - eta
    t = aux[0] * about
    return (about * sigmoid(-t), 0.0), (-about * sigmoid(t), 0.0)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    t = aux[0] * (pt.log(y) - eta)
    return -pt.softplus(-t), -pt.softplus(t)


SHAPE = Auxiliary("shape", r"\kappa", "LogNormal", {"mu": 0.5, "sigma": 1.0}, "(1 / scale of log y)")

family = Family(
    name="loglogistic",
    aliases=("log-logistic", "log_logistic", "llogis", "fisk"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=POSITIVE,
    parameters=(SHAPE,),
    mean=mean,
    variance=variance,
    proportional=True,
    quadratic=False,  # it may be infinite
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score),
    cost=110.0,
    graph_density=graph_density,
    residuals={"log": Residual(_on_log, "pi^2 / 3 / shape^2, that of log y", published=False)},
    start=start,
    tex=r"\mathrm{LogLogistic}(\text{median } \mu_{i},\ \text{shape } \kappa)",
)
