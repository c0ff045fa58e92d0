"""Counts with more zeros than negative binomial ones: 0 with probability zi, otherwise such a count of mean mu."""

from dataclasses import replace

import numpy as np

from bayesmm.families import negbinomial as base
from bayesmm.families.beside_zeros import inflated_of
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.negbinomial import SHAPE
from bayesmm.families.negbinomial import density as base_density
from bayesmm.families.negbinomial import score as base_score
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import Response
from bayesmm.families.support import COUNTS
from bayesmm.families.zeros import (
    check_some_zeros,
    inflated,
    inflated_score,
    share_of_zeros,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray

START = 0.1


def check(response: Response) -> list[Message]:
    """Check the response, and whether some are 0."""
    return check_some_zeros(response, "truncated_negbinomial")


def start(y: Array, mu: Array) -> Array:
    """Return a first shape of the counts above 0, by moments, and a small zi."""
    return np.array([*base.start(y[y > 0], mu[y > 0]), START]) if (y > 0).any() else np.array([1.0, START])


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(1 / mean + (1 / aux[0] + aux[1]) / (1 - aux[1]))


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    return inflated(y, aux[1], base_density(link, y, size, eta, aux))


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in the shape and zi."""
    slope, share = inflated_score(y, aux[1], base_density(link, y, size, eta, aux)[0])
    return share * base_score(link, y, size, eta, aux)[0], slope


ZI = share_of_zeros("zi", r"\pi", "(probability of an extra zero)", "negbinomial")

family = Family(
    name="zero_inflated_negbinomial",
    aliases=("zinb", "zinbinom", "zero-inflated negative binomial"),
    links=("log",),
    link="log",
    support=COUNTS,
    parameters=(replace(SHAPE, limit="zero_inflated_poisson"), ZI),
    check_response=check,
    mean_of=("zi",),
    proportional=True,
    kernels=Kernels(density, score),
    residuals={"log": lognormal(_on_log, "1 / mean + (1 / shape + zi) / (1 - zi)")},
    start=start,
    tex=r"\mathrm{ZeroInflatedNegBinomial}(\mu_{i},\ \kappa,\ \pi)",
    several_modes=("log",),
    cost=380.0,
    **inflated_of(base.family),
)
