"""Counts whose variance is a multiple of their mean: negative binomial ones with the variance mu (1 + phi)."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.draws import LARGEST_COUNT, SMALLEST, draw_counts, where_known
from bayesmm.families.family import Auxiliary, Family, dispersion_start
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import check_counts
from bayesmm.families.special import WILD, gamma_ratio
from bayesmm.families.support import COUNTS

Array = np.ndarray


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu (1 + phi)."""
    return mu * (1 + aux[0])


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts: Poisson ones with gamma means."""

    def known(mean: Array) -> Array:
        shape = np.maximum(np.minimum(mean, LARGEST_COUNT) / aux[0], SMALLEST)
        return draw_counts(rng, np.nan_to_num(rng.gamma(shape)) * aux[0])

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import betainc

    known = np.maximum(np.floor(y), 0.0)
    return np.where(np.asarray(y) < 0, 0.0, betainc(mu / aux[0], known + 1, 1 / (1 + aux[0])))


def start(y: Array, mu: Array) -> Array:
    """Return a first phi, by moments."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return dispersion_start(np.nanmean((y - mu) ** 2) / np.mean(mu) - 1)


def excess(mean: Array, aux: Array) -> Array:
    """Return log(1 + (1 + phi) / mean)."""
    return np.log1p((1 + aux[0]) / mean)


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; r is the shape mu / phi."""
    if eta > WILD:
        return -math.inf, 0.0, 0.0, 0.0
    r, log_odds = math.exp(eta) / aux[0], math.log1p(aux[0])
    if y == 0.0:
        d = -r * log_odds
        return d, d, d, d
    if not r > 0.0:
        return -math.inf, 0.0, 0.0, 0.0
    ratio, g1, g2, g3 = gamma_ratio(r, y)
    value = ratio - math.lgamma(y + 1.0) + y * (math.log(aux[0]) - log_odds) - r * log_odds
    d1, d2, d3 = r * (g1 - log_odds), r * r * g2, r * r * r * g3
    return value, d1, d2 + d1, d3 + 3.0 * d2 + d1


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in phi."""
    r, phi = math.exp(min(eta, WILD)) / aux[0], aux[0]
    slope = gamma_ratio(r, y)[1] if y > 0.0 and r > 0.0 else 0.0
    return (y - r * phi) / phi / (1.0 + phi) - r / phi * (slope - math.log1p(phi)), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    phi = aux[0]
    r, log_odds = pt.exp(pt.clip(eta, -WILD, WILD)) / phi, pt.log1p(phi)
    constant = pt.gammaln(y + r) - pt.gammaln(r) - pt.gammaln(y + 1)
    return pt.and_(eta < WILD, eta > -WILD), constant + y * (pt.log(phi) - log_odds) - r * log_odds


# Its prior lets counts vary three times as much as Poisson ones, on average.
PHI = Auxiliary(
    "phi", r"\phi", "Exponential", {"lam": 0.5}, "(variance: mean (1 + phi))", limit="poisson", limit_at=0.0
)

family = Family(
    name="nbinom1",
    aliases=("negbinomial1", "negative binomial 1", "quasipoisson"),
    links=("log",),
    link="log",
    support=COUNTS,
    parameters=(PHI,),
    check_response=check_counts,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"log": lognormal(excess, "(1 + phi) / mean")},
    start=start,
    tex=r"\mathrm{NegBinomial}(\text{mean } \mu_{i},\ \text{variance } \mu_{i} (1 + \phi))",
    several_modes=("log",),
    cost=130.0,
)
