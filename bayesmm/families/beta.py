"""Proportions that are no counts, between 0 and 1: with the variance mu (1 - mu) / (1 + phi)."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families.draws import BELOW_ONE, SMALLEST, where_known
from bayesmm.families.family import Auxiliary, Family, dispersion_start
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.probabilities import graph_probabilities, probability
from bayesmm.families.residuals import Residual, delta, trigamma
from bayesmm.families.responses import Response, check_places, check_varies
from bayesmm.families.special import LOG_2PI, chained, polygamma, stirling_error
from bayesmm.families.support import PROPORTION
from bayesmm.runtime.messages import Message

Array = np.ndarray

LEAST = 1e-100  # of a parameter of the distribution: the cube of its inverse still has to exist


def check(response: Response) -> list[Message]:
    """Check a response between 0 and 1, both excluded."""
    y = response.y.astype(np.float64)
    check_places(response, (y < 0) | (y > 1), "is outside 0 to 1", "the beta family needs values between 0 and 1")
    ends = (y == 0) | (y == 1)
    if ends.any():
        raise DataError(
            f"the response '{response.name}' is 0 or 1 in {response.rows.text(ends)}, and the beta family needs values "
            "between them; a usual remedy is to take (y * (n - 1) + 0.5) / n with n the number of rows "
            f"({len(y):,}), which moves them inside"
        )
    check_varies(y, response.name)
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu (1 - mu) / (1 + phi)."""
    return mu * (1 - mu) / (1 + aux[0])


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(mean: Array) -> Array:
        a, b = np.maximum(mean * aux[0], SMALLEST), np.maximum((1 - mean) * aux[0], SMALLEST)
        return np.clip(np.nan_to_num(rng.beta(a, b), nan=0.5), SMALLEST, BELOW_ONE)

    return where_known(mu, known)


def start(y: Array, mu: Array) -> Array:
    """Return a first phi, by moments."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return dispersion_start(np.mean(mu * (1 - mu)) / np.nanmean((y - mu) ** 2) - 1)


def _on_logit(mean: Array, aux: Array) -> Array:
    """Return the variance of the difference of the logarithms of two gamma variables, which logit y is."""
    return trigamma(mean * aux[0]) + trigamma((1 - mean) * aux[0])


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import betainc

    return betainc(mu * aux[0], (1 - mu) * aux[0], np.clip(y, 0.0, 1.0))


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    phi = aux[0]
    mu, nu, m1, m2, m3 = probability(link, eta)
    a, b = mu * phi, nu * phi
    if not (a > LEAST and b > LEAST):
        return -math.inf, 0.0, 0.0, 0.0
    log_y, log_1_y = math.log(y), math.log1p(-y)
    # everything that is large cancels by hand, as in `log_binomial`
    r, s = math.log(mu) - log_y, math.log(nu) - log_1_y
    rest = stirling_error(phi) - stirling_error(a) - stirling_error(b) + 0.5 * (math.log(a) + math.log(nu) - LOG_2PI)
    value = rest - a * (r + math.expm1(-r)) - b * (s + math.expm1(-s)) - log_y - log_1_y
    (a0, a1, a2), (b0, b1, b2) = polygamma(a), polygamma(b)
    l1, l2, l3 = phi * (log_y - log_1_y - a0 + b0), -phi * phi * (a1 + b1), -phi * phi * phi * (a2 - b2)
    return chained(value, l1, l2, l3, m1, m2, m3)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in phi."""
    phi = aux[0]
    mu, nu, _, _, _ = probability(link, eta)
    a, b = mu * phi, nu * phi
    if not (a > LEAST and b > LEAST):
        return 0.0, 0.0
    psi, psi_a, psi_b = polygamma(phi)[0], polygamma(a)[0], polygamma(b)[0]
    return psi - mu * (psi_a - math.log(y)) - nu * (psi_b - math.log1p(-y)), 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    phi, least = aux[0], np.float64(LEAST)
    mu, rest = graph_probabilities(link, eta)
    inside = pt.and_(mu * phi > least, rest * phi > least)
    a, b = pt.switch(inside, mu * phi, 1.0), pt.switch(inside, rest * phi, 1.0)
    constant = pt.gammaln(phi) - pt.gammaln(a) - pt.gammaln(b)
    return inside, constant + (a - 1) * pt.log(y) + (b - 1) * pt.log1p(-y)


# Its prior makes 1 / phi exponential with mean 0.2: a distribution with one mode rather than two.
PHI = Auxiliary("phi", r"\phi", "InverseGamma", {"alpha": 1, "beta": 5}, "(variance: mean (1 - mean) / (1 + phi))")

family = Family(
    name="beta",
    links=OF_PROBABILITIES,
    link="logit",
    support=PROPORTION,
    parameters=(PHI,),
    check_response=check,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={
        "logit": Residual(
            _on_logit,
            "trigamma(mean phi) + trigamma((1 - mean) phi), that of logit y at the mean response",
            needs_mean=True,
            published=False,
        ),
        "probit": delta(variance, "probit", published=False),
        "cloglog": delta(variance, "cloglog", published=False),
    },
    start=start,
    tex=r"\mathrm{Beta}(\text{mean } \mu_{i},\ \text{variance } \mu_{i} (1 - \mu_{i}) / (1 + \phi))",
    cost=400.0,
)
