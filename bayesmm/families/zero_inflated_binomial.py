"""Successes out of trials where some rows cannot have any: none with probability zi, otherwise a binomial number."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families import binomial as base
from bayesmm.families.binomial import density as base_density
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.residuals import latent
from bayesmm.families.responses import Response
from bayesmm.families.support import SUCCESSES
from bayesmm.families.zeros import (
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
    return base.check(response)


def mean(mu: Array, aux: tuple) -> Array:
    """Return (1 - zi) mu."""
    return (1 - aux[0]) * mu


def variance(mu: Array, aux: tuple) -> Array:
    """Return (1 - zi) (the variance without extra zeros + zi mu^2)."""
    return inflated_variance(mu, base.variance(mu, aux), aux[0])


def share_variance(mu: Array, trials: Array, aux: tuple) -> Array:
    """Return that of the share of successes: all trials of a row are failures together."""
    return inflated_variance(mu, base.variance(mu, aux) / trials, aux[0])


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random numbers of successes."""
    return sometimes_zero(rng, base.draw(rng, mu, trials, aux), aux[0])


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    return inflated_cdf(base.cdf(y, mu, trials, aux), y, aux[0])


def start(y: Array, mu: Array) -> Array:
    """Return a first zi, half of the share of zeros."""
    return np.array([start_share(y, np.full(len(y), (y == 0).mean() / 2))])


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


ZI = share_of_zeros("zi", r"\pi", "(probability of an extra zero)", "binomial")

family = Family(
    name="zero_inflated_binomial",
    aliases=("zib", "zibinomial", "zero-inflated binomial"),
    links=OF_PROBABILITIES,
    link="logit",
    support=SUCCESSES,
    parameters=(ZI,),
    check_response=check,
    mean=mean,
    mean_of=("zi",),
    proportional=True,
    variance=variance,
    share_variance=share_variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={link: replace(latent(link), published=False) for link in OF_PROBABILITIES},
    start=start,
    tex=r"\mathrm{ZeroInflatedBinomial}(n_{i},\ \mu_{i},\ \pi)",
    several_modes=OF_PROBABILITIES,
    cost=270.0,
)
