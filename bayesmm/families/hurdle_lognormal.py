"""Amounts that are 0 with probability hu, and otherwise log-normal: mu is the median of what is above 0."""

from dataclasses import replace

import numpy as np

from bayesmm.families.beside_zeros import beside_zeros_of
from bayesmm.families.family import SIGMA, Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.lognormal import density as base_density
from bayesmm.families.lognormal import family as base
from bayesmm.families.lognormal import score as base_score
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
    return check_zeros_and_amounts(response, "lognormal")


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
    proportional=True,
    kernels=Kernels(density, score),
    residuals={"log": NO_RESIDUAL},
    tex=r"\mathrm{HurdleLogNormal}(\text{median above } 0\ \mu_{i},\ \sigma,\ \pi)",
    cost=60.0,
    **beside_zeros_of(base),
)
