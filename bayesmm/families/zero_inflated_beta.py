"""Shares that are 0 with probability zi, and otherwise beta: mu is the mean of what is between 0 and 1."""

import numpy as np

from bayesmm.families.beside_zeros import beside_zeros_of
from bayesmm.families.beta import PHI
from bayesmm.families.beta import density as base_density
from bayesmm.families.beta import family as base
from bayesmm.families.beta import score as base_score
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.responses import Response, check_places
from bayesmm.families.support import PROPORTION_OR_ZERO
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    check_zeros_beside,
    hurdle,
    hurdle_score,
    share_of_zeros,
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


ZI = share_of_zeros("zi", r"\pi", "(probability of a zero)", "beta")

family = Family(
    name="zero_inflated_beta",
    aliases=("zero-inflated beta", "zero inflated beta", "beinf0", "hurdle_beta"),
    links=OF_PROBABILITIES,
    link="logit",
    support=PROPORTION_OR_ZERO,
    parameters=(PHI, ZI),
    check_response=check,
    mean_of=("zi",),
    proportional=True,
    kernels=Kernels(density, score),
    residuals=dict.fromkeys(OF_PROBABILITIES, NO_RESIDUAL),
    tex=r"\mathrm{ZeroInflatedBeta}(\text{mean above } 0\ \mu_{i},\ \phi,\ \pi)",
    cost=310.0,
    **beside_zeros_of(base),
)
