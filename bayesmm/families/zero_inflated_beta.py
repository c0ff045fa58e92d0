"""Shares that are 0 with probability zi, and otherwise beta: mu is the mean of what is between 0 and 1."""

from collections.abc import Sequence

import numpy as np

from bayesmm.families import beta as base
from bayesmm.families.beta import PHI
from bayesmm.families.beta import density as base_density
from bayesmm.families.beta import score as base_score
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.responses import Response, check_places
from bayesmm.families.support import PROPORTION_OR_ZERO
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    check_zeros_beside,
    graph_beside_zeros,
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
    """Check shares from 0 to below 1, of which some are 0."""
    y = response.y.astype(np.float64)
    check_places(response, (y < 0) | (y > 1), "is outside 0 to 1", "the family needs values from 0 to below 1")
    ones = "the family has zeros but no ones; did you mean 'zero_one_inflated_beta' or 'ordered_beta'?"
    check_places(response, y == 1, "is 1", ones)
    return check_zeros_beside(response, "beta", "above 0")


def mean(mu: Array, aux: tuple) -> Array:
    """Return (1 - zi) mu."""
    return (1 - aux[1]) * mu


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance of the response, zeros included."""
    return hurdle_moments(mu, base.variance(mu, aux), aux[1])[1]


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    return sometimes_zero(rng, base.draw(rng, mu, trials, aux), aux[1])


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    return inflated_cdf(base.cdf(y, mu, trials, aux), y, aux[1])


def start(y: Array, mu: Array) -> Array:
    """Return a first phi, by moments of what is above 0, and the share of zeros."""
    some = y > 0
    return np.array([*(base.start(y[some], mu[some]) if some.any() else np.ones(1)), share_seen(y)])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    if y == 0.0:
        return hurdle(y, aux[1], (0.0, 0.0, 0.0, 0.0))
    return hurdle(y, aux[1], base_density(link, y, size, eta, aux))


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in phi and zi."""
    if y == 0.0:
        return 0.0, hurdle_score(y, aux[1])
    return base_score(link, y, size, eta, aux)[0], hurdle_score(y, aux[1])


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    return graph_beside_zeros(lambda at: base.graph_density(link, at, eta, trials, aux), aux[1], y)


ZI = share_of_zeros("zi", r"\pi", "(probability of a zero)", "beta")

family = Family(
    name="zero_inflated_beta",
    aliases=("zero-inflated beta", "zero inflated beta", "zib", "beinf0", "hurdle_beta"),
    links=OF_PROBABILITIES,
    link="logit",
    support=PROPORTION_OR_ZERO,
    parameters=(PHI, ZI),
    check_response=check,
    mean=mean,
    proportional=True,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals=dict.fromkeys(OF_PROBABILITIES, NO_RESIDUAL),
    start=start,
    tex=r"\mathrm{ZeroInflatedBeta}(\text{mean above } 0\ \mu_{i},\ \phi,\ \pi)",
    cost=300.0,
)
