"""Successes out of trials where some rows cannot have any: none with probability zi, otherwise a binomial number."""

from dataclasses import replace

import numpy as np

from bayesmm.families import binomial as base
from bayesmm.families.beside_zeros import inflated_of
from bayesmm.families.binomial import density as base_density
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.residuals import latent
from bayesmm.families.responses import Response
from bayesmm.families.support import SUCCESSES
from bayesmm.families.zeros import (
    inflated,
    inflated_score,
    inflated_variance,
    share_of_zeros,
    start_share,
)
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check the response, and whether some are 0."""
    return base.check(response)


def share_variance(mu: Array, trials: Array, aux: tuple) -> Array:
    """Return that of the share of successes: all trials of a row are failures together."""
    return inflated_variance(mu, base.variance(mu, aux) / trials, aux[0])


def start(y: Array, mu: Array) -> Array:
    """Return a first zi, half of the share of zeros."""
    return np.array([start_share(y, np.full(len(y), (y == 0).mean() / 2))])


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


ZI = share_of_zeros("zi", r"\pi", "(probability of an extra zero)", "binomial")

family = Family(
    name="zero_inflated_binomial",
    aliases=("zib", "zibinomial", "zero-inflated binomial"),
    links=OF_PROBABILITIES,
    link="logit",
    support=SUCCESSES,
    parameters=(ZI,),
    check_response=check,
    mean_of=("zi",),
    proportional=True,
    share_variance=share_variance,
    kernels=Kernels(density, score),
    residuals={link: replace(latent(link), published=False) for link in OF_PROBABILITIES},
    start=start,
    tex=r"\mathrm{ZeroInflatedBinomial}(n_{i},\ \mu_{i},\ \pi)",
    several_modes=OF_PROBABILITIES,
    cost=270.0,
    **inflated_of(base.family),
)
