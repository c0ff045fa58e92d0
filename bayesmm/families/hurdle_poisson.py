"""Counts that are 0 with probability hu, and above it Poisson: mu is their mean before zeros are cut off."""

from collections.abc import Sequence

import numpy as np

from bayesmm.families import poisson as base
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.poisson import density as base_density
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS_BESIDE_ZEROS
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    above_zero,
    above_zero_cdf,
    above_zero_moments,
    check_some_zeros,
    graph_hurdle,
    hurdle,
    hurdle_moments,
    hurdle_score,
    inflated_cdf,
    share_of_zeros,
    share_seen,
    sometimes_zero,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check counts, and whether some are 0."""
    return check_some_zeros(response, "truncated_poisson")


def mean(mu: Array, aux: tuple) -> Array:
    """Return (1 - hu) mu / (1 - P(0)), P(0) being that of counts that are not hindered."""
    return _moments(mu, aux)[0]


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance of the response, zeros included."""
    return _moments(mu, aux)[1]


def _moments(mu: Array, aux: tuple) -> tuple[Array, Array]:
    found = above_zero_moments(mu, base.variance(mu, aux), base.log_zero(mu, aux))
    return hurdle_moments(*found, aux[0])


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts."""
    drawn = base.draw_above_zero(rng, mu, trials, aux)
    return sometimes_zero(rng, drawn, aux[0])


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    above = above_zero_cdf(base.cdf(y, mu, trials, aux), y, np.exp(base.log_zero(mu, aux)))
    return inflated_cdf(above, y, aux[0])


def start(y: Array, mu: Array) -> Array:
    """Return the share of zeros, off its ends."""
    return np.array([share_seen(y)])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    if y == 0.0:
        return hurdle(y, aux[0], (0.0, 0.0, 0.0, 0.0))
    zero = base_density(link, 0.0, size, eta, aux)
    return hurdle(y, aux[0], above_zero(base_density(link, y, size, eta, aux), zero))


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in hu."""
    return hurdle_score(y, aux[0]), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    return graph_hurdle(lambda at: base.graph_density(link, at, eta, trials, aux), aux[0], y)


HU = share_of_zeros("hu", r"\pi", "(probability of a zero)", "truncated_poisson")

family = Family(
    name="hurdle_poisson",
    aliases=("hurdle-poisson", "zero_altered_poisson", "zap"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=COUNTS_BESIDE_ZEROS,
    parameters=(HU,),
    check_response=check,
    mean=mean,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"log": NO_RESIDUAL},
    start=start,
    tex=r"\mathrm{HurdlePoisson}(\mu_{i},\ \pi)",
    overdispersed="hurdle_negbinomial",
    cost=130.0,
)
