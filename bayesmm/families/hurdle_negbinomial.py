"""Counts that are 0 with probability hu, and above it negative binomial: mu is their mean before zeros are cut off."""

from dataclasses import replace

import numpy as np

from bayesmm.families import negbinomial as base
from bayesmm.families.beside_zeros import hurdle_of
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.negbinomial import SHAPE
from bayesmm.families.negbinomial import density as base_density
from bayesmm.families.negbinomial import score as base_score
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS_BESIDE_ZEROS
from bayesmm.families.truncated_negbinomial import family as truncated
from bayesmm.families.zeros import (
    NO_RESIDUAL,
    above_zero,
    above_zero_score,
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
    return check_some_zeros(response, "truncated_negbinomial")


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by moments of what is above 0, and the share of zeros."""
    own = base.start(y[y > 0], mu[y > 0]) if (y > 0).any() else np.ones(1)
    return np.array([*own, share_seen(y)])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    if y == 0.0:
        return hurdle(y, aux[1], (0.0, 0.0, 0.0, 0.0))
    zero = base_density(link, 0.0, size, eta, aux)
    return hurdle(y, aux[1], above_zero(base_density(link, y, size, eta, aux), zero))


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in the shape and hu."""
    if y == 0.0:
        return 0.0, hurdle_score(y, aux[1])
    a, a_zero = base_score(link, y, size, eta, aux)[0], base_score(link, 0.0, size, eta, aux)[0]
    slope = above_zero_score(a, base_density(link, 0.0, size, eta, aux)[0], a_zero)
    return slope, hurdle_score(y, aux[1])


HU = share_of_zeros("hu", r"\pi", "(probability of a zero)", "truncated_negbinomial")

family = Family(
    name="hurdle_negbinomial",
    aliases=("hurdle-negbinomial", "hurdle_nbinom2", "zero_altered_negbinomial", "zanb"),
    links=("log",),
    link="log",
    support=COUNTS_BESIDE_ZEROS,
    parameters=(replace(SHAPE, limit="hurdle_poisson"), HU),
    check_response=check,
    kernels=Kernels(density, score),
    residuals={"log": NO_RESIDUAL},
    start=start,
    tex=r"\mathrm{HurdleNegBinomial}(\mu_{i},\ \kappa,\ \pi)",
    several_modes=("log",),
    cost=400.0,
    **hurdle_of(truncated, base.counts),
)
