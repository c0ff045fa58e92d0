"""Responses above 0 with a long tail: inverse Gaussian ones, with the variance mu^3 / shape."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bayesmm.families.draws import SMALLEST, where_known
from bayesmm.families.family import Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.residuals import lognormal
from bayesmm.families.special import LOG_2PI, WILD, log_normal_cdf
from bayesmm.families.support import POSITIVE
from bayesmm.families.tails import falling, graph_normal_tails, log1mexp

Array = np.ndarray

PRIOR_SD = 1.5  # of the logarithm of the shape, about that of a sample without predictors


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu^3 / shape."""
    with np.errstate(over="ignore"):
        return mu**3 / aux[0]


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(mean: Array) -> Array:
        inside = np.clip(mean, SMALLEST, 1 / SMALLEST)
        return np.maximum(rng.wald(inside, np.maximum(aux[0], SMALLEST) * np.ones_like(inside)), SMALLEST)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.stats import invgauss

    return invgauss.cdf(y, mu / aux[0], scale=aux[0])


def start(y: Array, mu: Array) -> Array:
    """Return a first shape: the maximum of the likelihood given the means."""
    with np.errstate(all="ignore"):
        found = 1 / np.nanmean(np.square(y - mu) / (np.square(mu) * y))
    return np.array([found if np.isfinite(found) and found > 0 else np.mean(y)])


def _prior(y: Array) -> Mapping[str, float]:
    """Return the parameters of a log-normal prior about mean^3 / variance."""
    return {"mu": float(3 * np.log(np.mean(y)) - np.log(np.var(y))), "sigma": PRIOR_SD}


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(mean / aux[0])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; e is y / mu - 1."""
    r = math.log(y) - eta
    if r > WILD:
        return -math.inf, 0.0, 0.0, 0.0
    e, rate = math.expm1(r), aux[0] / y
    value = 0.5 * (math.log(aux[0]) - LOG_2PI - 3.0 * math.log(y) - rate * e * e)
    near = rate * (1.0 + e)
    return value, near * e, -near * (1.0 + 2.0 * e), near * (3.0 + 4.0 * e)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in the shape."""
    e = math.expm1(min(math.log(y) - eta, WILD))
    return 0.5 * (1.0 / aux[0] - e * e / y), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    r = pt.log(y) - eta
    e = pt.expm1(pt.minimum(r, WILD))
    return r < WILD, 0.5 * (pt.log(aux[0]) - LOG_2PI - 3 * pt.log(y) - aux[0] / y * e**2)


@kernel
def log_tails(y, eta, shape):
    """Return log P(Y <= y), log P(Y > y), a, and log B with its first two derivatives in eta.

    P(Y <= y) = Phi(a) + B, with a = root (y / mu - 1), B = exp(2 shape / mu) Phi(-root (y / mu + 1)), root =
    (shape / y)^(1/2), and d P / d eta = -2 shape / mu B.
    """
    ratio, root = math.exp(min(math.log(y) - eta, WILD)), math.sqrt(shape / y)
    a, twice, c = root * (ratio - 1.0), 2.0 * shape * math.exp(min(-eta, WILD)), root * ratio
    value, m1, m2, _ = log_normal_cdf(-root * (ratio + 1.0))
    B = twice + value
    first, other = log_normal_cdf(a)[0], log_normal_cdf(-a)[0]
    below = max(first, B) + math.log1p(math.exp(-abs(first - B)))
    above = other + log1mexp(B - other)
    if below > -1e-3 or above > -1e-3:  # each from the smaller one
        below, above = (min(below, 0.0), log1mexp(min(below, 0.0))) if above > below else (log1mexp(above), above)
    return below, above, a, B, -twice + m1 * c, twice + m2 * c * c - m1 * c


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    below, above, _, B, b1, b2 = log_tails(y, eta, aux[0])
    return falling(below, above, math.log(2.0 * aux[0]) - eta + B, b1 - 1.0, b2)


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in the parameters."""
    below, above, a, B, _, _ = log_tails(y, eta, aux[0])
    log_phi = -0.5 * (a * a + LOG_2PI + math.log(aux[0]) + math.log(y))
    log_b = math.log(2.0) - eta + B
    top = max(log_phi, log_b)
    rate = math.exp(log_b - top) - math.exp(log_phi - top)  # of P(Y <= y) in the shape, over exp(top)
    return (rate * math.exp(min(top - below, WILD)), 0.0), (-rate * math.exp(min(top - above, WILD)), 0.0)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    ratio, root = pt.exp(pt.minimum(pt.log(y) - eta, WILD)), pt.sqrt(aux[0] / y)
    first, other = graph_normal_tails(root * (ratio - 1))
    B = 2 * aux[0] * pt.exp(pt.minimum(-eta, WILD)) + graph_normal_tails(-root * (ratio + 1))[0]
    return pt.logaddexp(first, B), other + pt.log1mexp(B - other)


SHAPE = Auxiliary("shape", r"\lambda", "LogNormal", _prior, "(variance: mean^3 / shape)")

family = Family(
    name="inverse_gaussian",
    aliases=("inverse.gaussian", "inversegaussian", "inverse gaussian", "wald"),
    links=("log",),
    link="log",
    support=POSITIVE,
    parameters=(SHAPE,),
    variance=variance,
    quadratic=False,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score),
    cost=220.0,
    graph_density=graph_density,
    residuals={"log": lognormal(_on_log, "mean / shape")},
    start=start,
    tex=r"\mathrm{InverseGaussian}(\text{mean } \mu_{i},\ \text{variance } \mu_{i}^{3} / \lambda)",
    several_modes=("log",),
)
