"""Shares that are 0 or 1 with probability zoi, 1 with coi of that, and otherwise beta: mu is the mean of the others."""

from collections.abc import Sequence

import numpy as np

from bayesmm.families import beta as base
from bayesmm.families.beta import PHI
from bayesmm.families.beta import density as base_density
from bayesmm.families.beta import score as base_score
from bayesmm.families.draws import where_known
from bayesmm.families.ends import NO_RESIDUAL, check_shares, ends_seen, start_phi
from bayesmm.families.family import SHARES, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.support import PROPORTION_WITH_ENDS
from bayesmm.families.zeros import UNIFORM, graph_beside_ends, hurdle, hurdle_score, share_of_zeros

Array = np.ndarray


def mean(mu: Array, aux: tuple) -> Array:
    """Return (1 - zoi) mu + zoi coi."""
    return (1 - aux[1]) * mu + aux[1] * aux[2]


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance of the response, its ends included."""
    second = (1 - aux[1]) * (base.variance(mu, aux) + np.square(mu)) + aux[1] * aux[2]
    return np.maximum(second - np.square(mean(mu, aux)), 0.0)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(at: Array) -> Array:
        shape = np.broadcast_shapes(np.shape(at), *map(np.shape, aux))
        u, inside = rng.uniform(size=shape), base.draw(rng, at * np.ones(shape), trials, aux)
        return np.where(u < aux[1] * aux[2], 1.0, np.where(u < aux[1], 0.0, inside))

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    inside = aux[1] * (1 - aux[2]) + (1 - aux[1]) * base.cdf(y, mu, trials, aux)
    return np.where(np.asarray(y) < 0, 0.0, np.where(np.asarray(y) >= 1, 1.0, inside))


def start(y: Array, mu: Array) -> Array:
    """Return a first phi, by moments of what is between 0 and 1, and the shares of the ends."""
    zero, one = ends_seen(y)
    return np.array([*start_phi(y, mu), zero + one, one / (zero + one)])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`. A 1 is a hurdle's zero in two steps."""
    if y == 0.0 or y == 1.0:
        which = hurdle(1.0 - y, aux[2], (0.0, 0.0, 0.0, 0.0))[0]
        return hurdle(0.0, aux[1], (0.0, 0.0, 0.0, 0.0))[0] + which, 0.0, 0.0, 0.0
    return hurdle(y, aux[1], base_density(link, y, size, eta, aux))


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in phi, zoi and coi."""
    if y == 0.0 or y == 1.0:
        return 0.0, hurdle_score(0.0, aux[1]), hurdle_score(1.0 - y, aux[2])
    return base_score(link, y, size, eta, aux)[0], hurdle_score(y, aux[1]), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    return graph_beside_ends(lambda at: base.graph_density(link, at, eta, trials, aux), aux[1], aux[2], y)


ZOI = share_of_zeros("zoi", r"\pi", "(probability of 0 or 1)", "beta")
COI = Auxiliary("coi", r"\gamma", "Uniform", UNIFORM, "(probability of 1 among them)", bounds=SHARES)

family = Family(
    name="zero_one_inflated_beta",
    aliases=("zero-one-inflated beta", "zoib", "beinf", "zero_one_inflated beta"),
    links=OF_PROBABILITIES,
    link="logit",
    support=PROPORTION_WITH_ENDS,
    parameters=(PHI, ZOI, COI),
    check_response=check_shares,
    mean=mean,
    mean_of=("zoi", "coi"),
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals=dict.fromkeys(OF_PROBABILITIES, NO_RESIDUAL),
    start=start,
    tex=r"\mathrm{ZeroOneInflatedBeta}(\text{mean between the ends } \mu_{i},\ \phi,\ \pi,\ \gamma)",
    cost=310.0,
)
