"""Amounts that are 0 with probability hu, and otherwise log-normal: mu is the median of what is above 0."""

from dataclasses import replace

import numpy as np

from bayesmm.families.family import SIGMA, Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.lognormal import density as base_density
from bayesmm.families.lognormal import family as base
from bayesmm.families.lognormal import score as base_score
from bayesmm.families.responses import Response
from bayesmm.families.support import NONNEGATIVE
from bayesmm.families.with_first import With
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    cdf_beside_zeros,
    check_zeros_and_amounts,
    draw_beside_zeros,
    graph_of_zeros_beside,
    hurdle,
    hurdle_score,
    mean_beside_zeros,
    share_of_zeros,
    start_beside_zeros,
    variance_beside_zeros,
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
    mean=With(mean_beside_zeros, base),
    proportional=True,
    variance=With(variance_beside_zeros, base),
    draw=With(draw_beside_zeros, base),
    cdf=With(cdf_beside_zeros, base),
    kernels=Kernels(density, score),
    graph_density=With(graph_of_zeros_beside, base),
    residuals={"log": NO_RESIDUAL},
    start=With(start_beside_zeros, base),
    tex=r"\mathrm{HurdleLogNormal}(\text{median above } 0\ \mu_{i},\ \sigma,\ \pi)",
    cost=60.0,
)
