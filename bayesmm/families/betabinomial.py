"""Successes out of a number of trials that vary more than binomial ones: their probabilities have a beta distribution.

With mean mu and rho = 1 / (1 + phi), the correlation of two trials of a row, the variance of n trials is
n mu (1 - mu) (1 + (n - 1) rho).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.binomial import check
from bayesmm.families.draws import BELOW_ONE, SMALLEST, where_known
from bayesmm.families.family import Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.probabilities import graph_probabilities, probability
from bayesmm.families.residuals import latent
from bayesmm.families.special import chained, gamma_ratio, log_gamma_ratio
from bayesmm.families.support import SUCCESSES

Array = np.ndarray

LEAST = 1e-100  # of a parameter of the beta distribution: the cube of its inverse still has to exist
START_PHI = 10.0


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu (1 - mu), of a single trial."""
    return mu * (1 - mu) * np.ones_like(aux[0])


def share_variance(mu: Array, trials: Array, aux: tuple) -> Array:
    """Return mu (1 - mu) (1 + (n - 1) / (1 + phi)) / n."""
    return mu * (1 - mu) * (trials + aux[0]) / (1 + aux[0]) / trials


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random numbers of successes."""
    number = np.asarray(np.ones_like(mu) if trials is None else trials).astype(np.int64)

    def known(mean: Array) -> Array:
        a, b = np.maximum(mean * aux[0], SMALLEST), np.maximum((1 - mean) * aux[0], SMALLEST)
        share = np.clip(np.where(aux[0] > 0, np.nan_to_num(rng.beta(a, b), nan=0.5), mean), 0.0, BELOW_ONE)
        return rng.binomial(number, share).astype(float)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: Array, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.stats import betabinom

    return betabinom.cdf(y, trials, mu * aux[0], (1 - mu) * aux[0])


def start(y: Array, mu: Array) -> Array:
    """Return a first phi; moments need the trials."""
    return np.array([START_PHI])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    phi, z = aux[0], size - y
    mu, nu, m1, m2, m3 = probability(link, eta)
    a, b = mu * phi, nu * phi
    if (y > 0.0 and not a > LEAST) or (z > 0.0 and not b > LEAST):
        return -math.inf, 0.0, 0.0, 0.0
    a0, a1, a2, a3 = gamma_ratio(a, y)
    b0, b1, b2, b3 = gamma_ratio(b, z)
    ways = math.lgamma(size + 1.0) - math.lgamma(y + 1.0) - math.lgamma(z + 1.0)
    value = ways + a0 + b0 - log_gamma_ratio(phi, size)[0]
    return chained(value, phi * (a1 - b1), phi * phi * (a2 + b2), phi * phi * phi * (a3 - b3), m1, m2, m3)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in phi."""
    mu, nu, _, _, _ = probability(link, eta)
    a, b, z = mu * aux[0], nu * aux[0], size - y
    if (y > 0.0 and not a > LEAST) or (z > 0.0 and not b > LEAST):
        return 0.0, 0.0
    slope = mu * log_gamma_ratio(a, y)[1] + nu * log_gamma_ratio(b, z)[1] - log_gamma_ratio(aux[0], size)[1]
    return slope, 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    phi, least, z = aux[0], np.float64(LEAST), trials - y
    mu, nu = graph_probabilities(link, eta)
    inside = pt.and_(pt.or_(pt.le(y, 0), mu * phi > least), pt.or_(pt.le(z, 0), nu * phi > least))
    a, b = pt.maximum(mu * phi, least), pt.maximum(nu * phi, least)
    ways = pt.gammaln(trials + 1.0) - pt.gammaln(y + 1) - pt.gammaln(z + 1)
    total = pt.gammaln(phi) - pt.gammaln(trials + phi)
    return inside, ways + total + pt.gammaln(y + a) - pt.gammaln(a) + pt.gammaln(z + b) - pt.gammaln(b)


# Its prior makes 1 / phi exponential with mean 0.2.
PHI = Auxiliary(
    "phi", r"\phi", "InverseGamma", {"alpha": 1, "beta": 5}, "(correlation of two trials of a row: 1 / (1 + phi))",
    limit="binomial",
)  # fmt: skip

family = Family(
    name="betabinomial",
    links=OF_PROBABILITIES,
    link="logit",
    support=SUCCESSES,
    parameters=(PHI,),
    check_response=check,
    variance=variance,
    share_variance=share_variance,
    draw=draw,
    cdf=cdf,
    cdf_is_sum=True,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={link: replace(latent(link), published=False) for link in OF_PROBABILITIES},
    start=start,
    tex=r"\mathrm{BetaBinomial}(n_{i},\ \text{mean } \mu_{i},\ \text{correlation } 1 / (1 + \phi))",
    several_modes=OF_PROBABILITIES,
    cost=400.0,
)
