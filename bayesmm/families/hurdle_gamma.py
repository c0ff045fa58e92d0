"""Amounts that are 0 with probability hu, and otherwise gamma: mu is the mean of what is above 0."""

import numpy as np

from bayesmm.families.beside_zeros import beside_zeros_of
from bayesmm.families.family import Family
from bayesmm.families.gamma import SHAPE
from bayesmm.families.gamma import density as base_density
from bayesmm.families.gamma import family as base
from bayesmm.families.gamma import score as base_score
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.responses import Response
from bayesmm.families.support import NONNEGATIVE
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    check_zeros_and_amounts,
    hurdle,
    hurdle_score,
    share_of_zeros,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check amounts of 0 or more, of which some are 0."""
    return check_zeros_and_amounts(response, "gamma")


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
    """Return the derivatives in the shape and hu."""
    if y == 0.0:
        return 0.0, hurdle_score(y, aux[1])
    return base_score(link, y, size, eta, aux)[0], hurdle_score(y, aux[1])


HU = share_of_zeros("hu", r"\pi", "(probability of a zero)", "gamma")

family = Family(
    name="hurdle_gamma",
    aliases=("hurdle-gamma", "zigamma", "zero_inflated_gamma", "zero_altered_gamma", "zaga"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=NONNEGATIVE,
    parameters=(SHAPE, HU),
    check_response=check,
    mean_of=("hu",),
    proportional=True,
    kernels=Kernels(density, score),
    residuals={"log": NO_RESIDUAL},
    tex=r"\mathrm{HurdleGamma}(\text{mean above } 0\ \mu_{i},\ \kappa,\ \pi)",
    cost=110.0,
    **beside_zeros_of(base),
)
