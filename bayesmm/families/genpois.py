"""Counts that vary more than Poisson ones, with a heavier tail: generalised Poisson ones (Consul & Jain 1973).

The variance is mu (1 + phi). With s = sqrt(1 + phi), theta = mu / s and lambda = 1 - 1 / s, the probability of y is
theta (theta + lambda y)^(y - 1) exp(-theta - lambda y) / y!.
"""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.draws import LARGEST_COUNT, draw_counts, where_known
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.nbinom1 import PHI, excess, start, variance
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import check_counts
from bayesmm.families.special import WILD
from bayesmm.families.support import COUNTS

Array = np.ndarray

LARGEST_BRANCHING = 1e6  # means of which a normal variable is drawn: the generations would be long
LARGEST_SUM = 1e7  # terms of a cdf


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts: the size of all generations of a branching process (Consul & Shoukri 1988).

    It begins with Poisson(theta) members, each of which has Poisson(lambda) children.
    """

    def known(mean: Array) -> Array:
        s = np.sqrt(1 + np.asarray(aux[0]) * np.ones_like(mean))
        large = mean > LARGEST_BRANCHING
        generation = draw_counts(rng, np.where(large, 0.0, mean / s))
        total = generation.copy()
        while generation.any():
            generation = draw_counts(rng, generation * (1 - 1 / s))
            total = np.minimum(total + generation, LARGEST_COUNT)
        capped = np.minimum(mean, LARGEST_COUNT)
        normal = np.rint(np.maximum(capped + s * np.sqrt(capped) * rng.standard_normal(np.shape(mean)), 0.0))
        return np.where(large, np.minimum(normal, LARGEST_COUNT), total)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y), a sum of the probabilities."""
    from scipy.special import gammaln, xlogy

    y, mu, phi = np.broadcast_arrays(np.floor(y), mu, aux[0])
    out = np.zeros(y.shape)
    for place in np.ndindex(y.shape):
        if y[place] >= 0:
            k, s = np.arange(min(y[place], LARGEST_SUM) + 1), np.sqrt(1 + phi[place])
            theta, slope = mu[place] / s, 1 - 1 / s
            terms = np.log(theta) + xlogy(k - 1, theta + slope * k) - theta - slope * k - gammaln(k + 1)
            out[place] = min(np.exp(terms).sum(), 1.0)
    return out


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; v is the share of theta in theta + lambda y."""
    if eta > WILD or eta < -WILD:
        return -math.inf, 0.0, 0.0, 0.0
    s = math.sqrt(1.0 + aux[0])
    theta = math.exp(eta) / s
    own = aux[0] / (s * (1.0 + s)) * y  # lambda y, without cancellation
    w = theta + own
    v = theta / w
    d2 = (y - 1.0) * v * (own / w)
    value = math.log(theta) + (y - 1.0) * math.log(w) - w - math.lgamma(y + 1.0)
    return value, 1.0 + (y - 1.0) * v - theta, d2 - theta, d2 * (own - theta) / w - theta


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in phi."""
    s = math.sqrt(1.0 + aux[0])
    theta = math.exp(min(max(eta, -WILD), WILD)) / s
    w = theta + aux[0] / (s * (1.0 + s)) * y
    slope = (y - 1.0) / w - 1.0
    return (-(1.0 + slope * theta) + slope * y / s) / (2.0 * s * s), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    s = pt.sqrt(1 + aux[0])
    theta = pt.exp(pt.clip(eta, -WILD, WILD)) / s
    w = theta + aux[0] / (s * (1 + s)) * y
    value = pt.log(theta) + (y - 1) * pt.log(w) - w - pt.gammaln(y + 1)
    return pt.and_(eta < WILD, eta > -WILD), value


family = Family(
    name="genpois",
    aliases=("generalized_poisson", "generalised poisson", "generalized poisson", "gpoisson"),
    links=("log",),
    link="log",
    support=COUNTS,
    parameters=(PHI,),
    check_response=check_counts,
    variance=variance,
    draw=draw,
    cdf=cdf,
    cdf_is_sum=True,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"log": lognormal(excess, "(1 + phi) / mean")},
    start=start,
    tex=r"\mathrm{GeneralisedPoisson}(\text{mean } \mu_{i},\ \text{variance } \mu_{i} (1 + \phi))",
    several_modes=("log",),
    cost=85.0,
)
