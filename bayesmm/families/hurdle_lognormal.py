"""Amounts that are 0 with probability hu, and otherwise log-normal: mu is the median of what is above 0."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families import lognormal as base
from bayesmm.families.family import SIGMA, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.lognormal import density as base_density
from bayesmm.families.lognormal import score as base_score
from bayesmm.families.responses import Response
from bayesmm.families.support import NONNEGATIVE
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    check_zeros_and_amounts,
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
    """Check amounts of 0 or more, of which some are 0."""
    return check_zeros_and_amounts(response, "lognormal")


def mean(mu: Array, aux: tuple) -> Array:
    """Return (1 - hu) mu exp(sigma^2 / 2)."""
    return (1 - aux[1]) * base.mean(mu, aux)


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance of the response, zeros included."""
    return hurdle_moments(base.mean(mu, aux), base.variance(mu, aux), aux[1])[1]


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    return sometimes_zero(rng, base.draw(rng, mu, trials, aux), aux[1])


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    return inflated_cdf(base.cdf(y, mu, trials, aux), y, aux[1])


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma, by what is above 0, and the share of zeros."""
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
    """Return the derivatives in sigma and hu."""
    if y == 0.0:
        return 0.0, hurdle_score(y, aux[1])
    return base_score(link, y, size, eta, aux)[0], hurdle_score(y, aux[1])


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    return graph_beside_zeros(lambda at: base.graph_density(link, at, eta, trials, aux), aux[1], y)


def _logarithms(y: Array) -> Array:
    """Return the logarithms of what is above 0."""
    return np.log(y[y > 0]) if (y > 0).any() else np.array([-1.0, 1.0])


HU = share_of_zeros("hu", r"\pi", "(probability of a zero)", "lognormal")

family = Family(
    name="hurdle_lognormal",
    aliases=("hurdle-lognormal", "zilognormal", "zero_inflated_lognormal", "delta_lognormal"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=NONNEGATIVE,
    parameters=(
        replace(SIGMA, label="sd of log y above 0 (sigma)", unit="units of log y", of=_logarithms),
        HU,
    ),
    check_response=check,
    mean=mean,
    proportional=True,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"log": NO_RESIDUAL},
    start=start,
    tex=r"\mathrm{HurdleLogNormal}(\text{median above } 0\ \mu_{i},\ \sigma,\ \pi)",
    cost=120.0,
)
