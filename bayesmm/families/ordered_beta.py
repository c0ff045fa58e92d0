"""Shares from 0 to 1, both included, such as sliders: ordered beta ones (Kubinec 2023, Political Analysis 31(4)).

One linear predictor eta has a part in all: P(0) = 1 - logistic(eta - cutzero), P(1) = logistic(eta - cutzero - width),
and between them the response is beta with the mean mu = logistic(eta).
"""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families import beta as base
from bayesmm.families.beta import PHI
from bayesmm.families.beta import density as base_density
from bayesmm.families.beta import score as base_score
from bayesmm.families.draws import where_known
from bayesmm.families.ends import NO_RESIDUAL, check_shares, ends_seen, start_phi
from bayesmm.families.family import REAL_VALUES, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.special import log1pexp, sigmoid
from bayesmm.families.support import PROPORTION_WITH_ENDS

Array = np.ndarray


def _parts(mu: Array, aux: tuple) -> tuple[Array, Array, Array]:
    """Return the probabilities of 0, of 1, and of what is between them."""
    from scipy.special import expit, logit

    with np.errstate(divide="ignore"):
        eta = logit(mu)
    zero, one = expit(aux[1] - eta), expit(eta - aux[1] - aux[2])
    return zero, one, expit(eta - aux[1]) * expit(aux[1] + aux[2] - eta) * -np.expm1(-np.asarray(aux[2]))


def mean(mu: Array, aux: tuple) -> Array:
    """Return P(1) + P(between) mu."""
    _, one, between = _parts(mu, aux)
    return one + between * mu


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance of the response, its ends included."""
    _, one, between = _parts(mu, aux)
    second = one + between * (base.variance(mu, aux) + np.square(mu))
    return np.maximum(second - np.square(one + between * mu), 0.0)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(at: Array) -> Array:
        zero, one, _ = _parts(at, aux)
        u, inside = rng.uniform(size=np.shape(zero)), base.draw(rng, at * np.ones_like(zero), trials, aux)
        return np.where(u < zero, 0.0, np.where(u > 1 - one, 1.0, inside))

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    zero, _, between = _parts(mu, aux)
    inside = zero + between * base.cdf(y, mu, trials, aux)
    return np.where(np.asarray(y) < 0, 0.0, np.where(np.asarray(y) >= 1, 1.0, inside))


def start(y: Array, mu: Array) -> Array:
    """Return a first phi, by moments of what is between 0 and 1, and the cuts that give both ends their shares."""
    from scipy.special import logit

    zero, one = ends_seen(y)
    level = float(np.nanmean(logit(np.clip(mu, 1e-3, 1 - 1e-3))))
    low, high = level + logit(zero), level - logit(one)
    return np.array([*start_phi(y, mu), low, max(high - low, 0.1)])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`.

    logistic(a) - logistic(b) = logistic(a) logistic(-b) (1 - exp(b - a)), a = eta - cutzero, b = a - width.
    """
    a = eta - aux[1]
    b = a - aux[2]
    p, q = sigmoid(a), sigmoid(-a)
    s, t = sigmoid(b), sigmoid(-b)
    if y == 0.0:
        return -log1pexp(a), -p, -p * q, -p * q * (q - p)
    if y == 1.0:
        return -log1pexp(-b), t, -s * t, -s * t * (t - s)
    value, d1, d2, d3 = base_density(link, y, size, eta, aux)
    value += math.log(-math.expm1(-aux[2])) - log1pexp(-a) - log1pexp(b)
    return value, d1 + q - s, d2 - p * q - s * t, d3 - p * q * (q - p) - s * t * (t - s)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in phi, cutzero and the width."""
    a = eta - aux[1]
    b = a - aux[2]
    if y == 0.0:
        return 0.0, sigmoid(a), 0.0
    if y == 1.0:
        return 0.0, -sigmoid(-b), -sigmoid(-b)
    between = 1.0 / math.expm1(aux[2]) if aux[2] < 700.0 else 0.0
    return base_score(link, y, size, eta, aux)[0], sigmoid(b) - sigmoid(-a), sigmoid(b) + between


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    a = eta - aux[1]
    b = a - aux[2]
    zero, one = pt.eq(y, 0), pt.eq(y, 1)
    inside, value = base.graph_density(link, pt.switch(pt.or_(zero, one), 0.5, y), eta, trials, aux)
    between = value + pt.log(-pt.expm1(-aux[2])) - pt.softplus(-a) - pt.softplus(b)
    ends = pt.or_(zero, one)
    return pt.or_(ends, inside), pt.switch(zero, -pt.softplus(a), pt.switch(one, -pt.softplus(-b), between))


CUTZERO = Auxiliary(
    "cutzero", "c_{0}", "Normal", {"mu": -1.5, "sigma": 2.0}, "(logit of mu where 0 is as likely as not)",
    bounds=REAL_VALUES,
)  # fmt: skip
WIDTH = Auxiliary("width", "w", "Gamma", {"alpha": 2.0, "beta": 0.5}, "(from there to where 1 is as likely as not)")

family = Family(
    name="ordered_beta",
    aliases=("ordbeta", "ordered-beta", "ordered beta", "ordbetareg", "ord_beta_reg"),
    links=("logit",),
    link="logit",
    support=PROPORTION_WITH_ENDS,
    parameters=(PHI, CUTZERO, WIDTH),
    check_response=check_shares,
    mean=mean,
    mean_of=("cutzero", "width"),
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"logit": NO_RESIDUAL},
    start=start,
    tex=r"\mathrm{OrderedBeta}(\text{mean between the ends } \mu_{i},\ \phi,\ c_{0},\ w)",
    cost=270.0,
)
