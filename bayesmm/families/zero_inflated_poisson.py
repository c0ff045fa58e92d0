"""Counts with more zeros than Poisson ones: a zero with probability zi, otherwise a Poisson count with mean mu."""

import numpy as np

from bayesmm.families import poisson as base
from bayesmm.families.beside_zeros import inflated_of
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.poisson import density as base_density
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS
from bayesmm.families.zeros import (
    check_some_zeros,
    inflated,
    inflated_score,
    share_of_zeros,
    start_share,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check the response, and whether some are 0."""
    return check_some_zeros(response, "truncated_poisson")


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


ZI = share_of_zeros("zi", r"\pi", "(probability of an extra zero)", "poisson")

family = Family(
    name="zero_inflated_poisson",
    aliases=("zip", "zipoisson", "zero-inflated poisson"),
    links=("log",),
    link="log",
    support=COUNTS,
    parameters=(ZI,),
    check_response=check,
    mean_of=("zi",),
    proportional=True,
    kernels=Kernels(density, score),
    residuals={"log": lognormal(_on_log, "1 / mean + zi / (1 - zi)")},
    start=start,
    overdispersed="zero_inflated_negbinomial",
    tex=r"\mathrm{ZeroInflatedPoisson}(\mu_{i},\ \pi)",
    several_modes=("log",),
    cost=120.0,
    **inflated_of(base.family),
)
