"""Poisson counts given that they are above 0: mu is their mean before zeros are cut off."""

import numpy as np

from bayesmm.families import poisson as base
from bayesmm.families.beside_zeros import above_zero_of
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.poisson import density as base_density
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS_ABOVE_ZERO
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    above_zero,
    check_above_zero,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check counts, and whether some are 0."""
    return check_above_zero(response, "hurdle_poisson")


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    zero = base_density(link, 0.0, size, eta, aux)
    return above_zero(base_density(link, y, size, eta, aux), zero)


family = Family(
    name="truncated_poisson",
    aliases=("zero_truncated_poisson", "ztpoisson", "ztp", "positive_poisson"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=COUNTS_ABOVE_ZERO,
    parameters=(),
    check_response=check,
    kernels=Kernels(density),
    residuals={"log": NO_RESIDUAL},
    tex=r"\mathrm{ZeroTruncatedPoisson}(\mu_{i})",
    overdispersed="truncated_negbinomial",
    cost=140.0,
    **above_zero_of(base.counts),
)
