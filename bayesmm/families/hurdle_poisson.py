"""Counts that are 0 with probability hu, and above it Poisson: mu is their mean before zeros are cut off."""

import numpy as np

from bayesmm.families import poisson as base
from bayesmm.families.beside_zeros import hurdle_of
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.poisson import density as base_density
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS_BESIDE_ZEROS
from bayesmm.families.truncated_poisson import family as truncated
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    above_zero,
    check_some_zeros,
    hurdle,
    hurdle_score,
    share_of_zeros,
    share_seen,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check counts, and whether some are 0."""
    return check_some_zeros(response, "truncated_poisson")


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
    kernels=Kernels(density, score),
    residuals={"log": NO_RESIDUAL},
    start=start,
    tex=r"\mathrm{HurdlePoisson}(\mu_{i},\ \pi)",
    overdispersed="hurdle_negbinomial",
    cost=130.0,
    **hurdle_of(truncated, base.counts),
)
