"""Negative binomial counts given that they are above 0: mu is their mean before zeros are cut off."""

from dataclasses import replace

import numpy as np

from bayesmm.families import negbinomial as base
from bayesmm.families.beside_zeros import above_zero_of
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.negbinomial import SHAPE
from bayesmm.families.negbinomial import density as base_density
from bayesmm.families.negbinomial import score as base_score
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS_ABOVE_ZERO
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    above_zero,
    above_zero_score,
    check_above_zero,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check counts, and whether some are 0."""
    return check_above_zero(response, "hurdle_negbinomial")


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by moments."""
    return base.start(y, mu)


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    zero = base_density(link, 0.0, size, eta, aux)
    return above_zero(base_density(link, y, size, eta, aux), zero)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in the shape."""
    a, a_zero = base_score(link, y, size, eta, aux)[0], base_score(link, 0.0, size, eta, aux)[0]
    slope = above_zero_score(a, base_density(link, 0.0, size, eta, aux)[0], a_zero)
    return slope, 0.0


family = Family(
    name="truncated_negbinomial",
    aliases=("truncated_nbinom2", "zero_truncated_negbinomial", "ztnb"),
    links=("log",),
    link="log",
    support=COUNTS_ABOVE_ZERO,
    parameters=(replace(SHAPE, limit="truncated_poisson"),),
    check_response=check,
    kernels=Kernels(density, score),
    residuals={"log": NO_RESIDUAL},
    start=start,
    tex=r"\mathrm{ZeroTruncatedNegBinomial}(\mu_{i},\ \kappa)",
    several_modes=("log",),
    cost=540.0,
    **above_zero_of(base.counts),
)
