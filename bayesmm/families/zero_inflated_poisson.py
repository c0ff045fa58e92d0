"""Counts with more zeros than Poisson ones: a zero with probability zi, otherwise a Poisson count with mean mu."""

from collections.abc import Sequence

import numpy as np

from bayesmm.families import poisson as base
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.poisson import density as base_density
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS
from bayesmm.families.zeros import (
    check_some_zeros,
    graph_inflated,
    inflated,
    inflated_cdf,
    inflated_score,
    inflated_variance,
    share_of_zeros,
    sometimes_zero,
    start_share,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check the response, and whether some are 0."""
    return check_some_zeros(response, "truncated_poisson")


def mean(mu: Array, aux: tuple) -> Array:
    """Return (1 - zi) mu."""
    return (1 - aux[0]) * mu


def variance(mu: Array, aux: tuple) -> Array:
    """Return (1 - zi) (the variance without extra zeros + zi mu^2)."""
    return inflated_variance(mu, base.variance(mu, aux), aux[0])


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts."""
    return sometimes_zero(rng, base.draw(rng, mu, trials, aux), aux[0])


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    return inflated_cdf(base.cdf(y, mu, trials, aux), y, aux[0])


def start(y: Array, mu: Array) -> Array:
    """Return a first zi: the zeros that are more than the means say."""
    return np.array([start_share(y, np.exp(base.log_zero(mu, ())))])


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(1 / mean + aux[0] / (1 - aux[0]))


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    return inflated(y, aux[0], base_density(link, y, size, eta, aux))


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in zi."""
    slope, _ = inflated_score(y, aux[0], base_density(link, y, size, eta, aux)[0])
    return slope, 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    return graph_inflated(lambda at: base.graph_density(link, at, eta, trials, aux), aux[0], y)


ZI = share_of_zeros("zi", r"\pi", "(probability of an extra zero)", "poisson")

family = Family(
    name="zero_inflated_poisson",
    aliases=("zip", "zipoisson", "zero-inflated poisson"),
    links=("log",),
    link="log",
    support=COUNTS,
    parameters=(ZI,),
    check_response=check,
    mean=mean,
    mean_of=("zi",),
    proportional=True,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"log": lognormal(_on_log, "1 / mean + zi / (1 - zi)")},
    start=start,
    overdispersed="zero_inflated_negbinomial",
    tex=r"\mathrm{ZeroInflatedPoisson}(\mu_{i},\ \pi)",
    several_modes=("log",),
    cost=120.0,
)
