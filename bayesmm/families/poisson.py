"""Counts that vary as much as their means are large."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.beside_zeros import Counts
from bayesmm.families.draws import draw_counts, where_known
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.links import LOG
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import check_counts
from bayesmm.families.special import WILD, log_poisson
from bayesmm.families.support import COUNTS
from bayesmm.families.tails import falling, graph_log_pair, log_gamma_tails, no_tails_score

Array = np.ndarray


def variance(mu: Array, aux: tuple) -> Array:
    """Return the means."""
    return mu


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts."""
    return where_known(mu, lambda mean: draw_counts(rng, mean))


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import pdtr

    return np.where(np.asarray(y) < 0, 0.0, pdtr(np.maximum(np.floor(y), 0.0), mu))


def log_zero(mu: Array, aux: tuple) -> Array:
    """Return log P(Y = 0)."""
    return -mu


def draw_above_zero(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts given that they are above 0: the events after the first, whose time is drawn before 1."""

    def known(mean: Array) -> Array:
        first = -np.log1p(rng.uniform(size=np.shape(mean)) * np.expm1(-mean))
        return 1.0 + draw_counts(rng, np.maximum(mean - first, 0.0))

    return where_known(mu, known)


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    if eta > WILD:
        return -math.inf, 0.0, 0.0, 0.0
    mu = math.exp(eta)
    if y == 0.0:
        return -mu, -mu, -mu, -mu
    r = eta - math.log(y)
    return log_poisson(y, r), -y * math.expm1(r), -mu, -mu


@kernel
def row(link, y, size, eta, aux):
    """Return the same without log y!."""
    if not eta < WILD:
        return -math.inf, 0.0, 0.0, 0.0
    mu = math.exp(eta)
    return y * eta - mu, y - mu, -mu, -mu


@kernel
def constant(link, y, size, eta, aux):
    """Return -log y!."""
    return -math.lgamma(y + 1.0)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    return eta < WILD, y * eta - pt.exp(pt.minimum(eta, WILD)) - pt.gammaln(y + 1)


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    if eta > WILD:
        return (-math.inf, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)
    mu, n = math.exp(eta), y + 1.0
    above, below = log_gamma_tails(n, mu)
    return falling(below, above, log_poisson(n, eta - math.log(n)) + math.log(n), n - mu, -mu)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    mu = pt.exp(pt.minimum(eta, WILD))
    return graph_log_pair(lambda: pt.gammaincc(y + 1, mu), lambda: pt.gammainc(y + 1, mu))


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(1 / mean)


family = Family(
    name="poisson",
    aliases=("count", "counts"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=COUNTS,
    check_response=check_counts,
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, no_tails_score, graph_tails),
    kernels=Kernels(density, row_link=LOG, row=row, constant=constant),
    graph_density=graph_density,
    residuals={"log": lognormal(_on_log, "1 / mean", published=True)},
    tex=r"\mathrm{Poisson}(\mu_{i})",
    overdispersed="negbinomial",
    more_zeros="zero_inflated_poisson",
    canonical="log",
)

counts = Counts(family, log_zero, draw_above_zero)  # of which hurdle and truncated ones are made
