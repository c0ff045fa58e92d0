"""Responses above 0 such as times to failure: Weibull ones about their mean, with a shape.

The scale is mu / Gamma(1 + 1 / shape); its logarithm is the linear predictor of R's survreg(), which differs from this
one by a constant. A shape of 1 is the exponential distribution; with more the hazard grows.
"""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.binomial import log_one_minus_exp
from bayesmm.families.draws import SMALLEST, where_known
from bayesmm.families.family import LARGEST_START, SMALLEST_START, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.residuals import Residual
from bayesmm.families.special import WILD, polygamma
from bayesmm.families.support import POSITIVE

Array = np.ndarray


def _scale(mu: Array, shape: Array) -> Array:
    from scipy.special import gamma

    return mu / gamma(1 + 1 / shape)


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu^2 (Gamma(1 + 2 / shape) / Gamma(1 + 1 / shape)^2 - 1)."""
    from scipy.special import gammaln

    with np.errstate(over="ignore"):
        return mu**2 * np.expm1(gammaln(1 + 2 / aux[0]) - 2 * gammaln(1 + 1 / aux[0]))


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(mean: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            drawn = _scale(mean, aux[0]) * rng.standard_exponential(np.shape(mean)) ** (1 / np.asarray(aux[0]))
        return np.maximum(np.nan_to_num(drawn), SMALLEST)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    with np.errstate(over="ignore"):
        return -np.expm1(-((np.maximum(y, 0.0) / _scale(mu, aux[0])) ** aux[0]))


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by the sd of log y about log mu, which is pi / sqrt(6) / shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.nanstd(np.log(y) - np.log(mu))
        found = np.nan_to_num(np.pi / np.sqrt(6) / spread, nan=1.0)
    return np.clip(np.array([found]), SMALLEST_START, LARGEST_START)


def _on_log(mean: None, aux: Array) -> Array:
    return np.pi**2 / 6 / aux[0] ** 2


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; exp t is (y / scale)^shape."""
    shape = aux[0]
    t = shape * (math.log(y) - eta + math.lgamma(1.0 + 1.0 / shape))
    if t > WILD:
        return -math.inf, 0.0, 0.0, 0.0
    w = math.exp(t)
    d2 = -shape * shape * w
    return math.log(shape) - math.log(y) + t - w, shape * (w - 1.0), d2, -shape * d2


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in the shape."""
    shape = aux[0]
    about = math.log(y) - eta + math.lgamma(1.0 + 1.0 / shape)
    w = math.exp(min(shape * about, WILD))
    return 1.0 / shape + (1.0 - w) * (about - polygamma(1.0 + 1.0 / shape)[0] / shape), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    t = aux[0] * (pt.log(y) - eta + pt.gammaln(1 + 1 / aux[0]))
    return t < WILD, pt.log(aux[0]) - pt.log(y) + t - pt.exp(pt.minimum(t, WILD))


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), with their derivatives in eta: see `Tails`; log P(Y > y) is -exp t."""
    a = aux[0]
    t = a * (math.log(y) - eta + math.lgamma(1.0 + 1.0 / a))
    w = math.exp(min(t, WILD))
    value, g1, g2, g3 = log_one_minus_exp(t)[0]
    return (value, -a * g1, a * a * g2, -a * a * a * g3), (-w, a * w, -a * a * w, a * a * a * w)


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in the parameters."""
    about = math.log(y) - eta + math.lgamma(1.0 + 1.0 / aux[0])
    moved = about - polygamma(1.0 + 1.0 / aux[0])[0] / aux[0]  # d t / d shape
    t = aux[0] * about
    return (log_one_minus_exp(t)[0][1] * moved, 0.0), (-math.exp(min(t, WILD)) * moved, 0.0)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    w = pt.exp(pt.minimum(aux[0] * (pt.log(y) - eta + pt.gammaln(1 + 1 / aux[0])), WILD))
    return pt.log1mexp(-w), -w


SHAPE = Auxiliary("shape", r"\kappa", "LogNormal", {"mu": 0.0, "sigma": 1.0}, "(1: the exponential distribution)")

family = Family(
    name="weibull",
    links=("log",),
    link="log",
    concave_links=("log",),
    support=POSITIVE,
    parameters=(SHAPE,),
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score),
    cost=105.0,
    graph_density=graph_density,
    residuals={"log": Residual(_on_log, "pi^2 / 6 / shape^2, that of log y", published=False)},
    start=start,
    tex=r"\mathrm{Weibull}(\text{mean } \mu_{i},\ \text{shape } \kappa)",
)
