"""Poisson counts given that they are above 0: mu is their mean before zeros are cut off."""

from collections.abc import Sequence

import numpy as np

from bayesmm.families import poisson as base
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.poisson import density as base_density
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS_ABOVE_ZERO
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    above_zero,
    above_zero_cdf,
    above_zero_moments,
    check_above_zero,
    graph_above_zero,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check counts, and whether some are 0."""
    return check_above_zero(response, "hurdle_poisson")


def mean(mu: Array, aux: tuple) -> Array:
    """Return mu / (1 - P(0)), P(0) being that of the counts before."""
    return _moments(mu, aux)[0]


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance of the response."""
    return _moments(mu, aux)[1]


def _moments(mu: Array, aux: tuple) -> tuple[Array, Array]:
    found = above_zero_moments(mu, base.variance(mu, aux), base.log_zero(mu, aux))
    return found


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts."""
    return base.draw_above_zero(rng, mu, trials, aux)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    above = above_zero_cdf(base.cdf(y, mu, trials, aux), y, np.exp(base.log_zero(mu, aux)))
    return above


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    zero = base_density(link, 0.0, size, eta, aux)
    return above_zero(base_density(link, y, size, eta, aux), zero)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    return graph_above_zero(lambda at: base.graph_density(link, at, eta, trials, aux), y)


family = Family(
    name="truncated_poisson",
    aliases=("zero_truncated_poisson", "ztpoisson", "ztp", "positive_poisson"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=COUNTS_ABOVE_ZERO,
    parameters=(),
    check_response=check,
    mean=mean,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density),
    graph_density=graph_density,
    residuals={"log": NO_RESIDUAL},
    tex=r"\mathrm{ZeroTruncatedPoisson}(\mu_{i})",
    overdispersed="truncated_negbinomial",
    cost=140.0,
)
