"""Amounts of 0 or more, such as rain or claims: sums of gamma variables, with the variance phi mu^power.

Their number is Poisson with mean lambda = mu^(2 - p) / (phi (2 - p)), and each has the shape alpha = (2 - p) / (p - 1)
and the scale gamma = phi (p - 1) mu^(p - 1), p being the power (Dunn & Smyth 2005, Statistics and Computing 15(4)).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bayesmm.families.draws import LARGEST_COUNT, SMALLEST, draw_counts, where_known
from bayesmm.families.family import Auxiliary, Family, dispersion_start
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import LOG
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import Response, check_places, check_varies, says_little
from bayesmm.families.special import WILD, polygamma
from bayesmm.families.support import NONNEGATIVE
from bayesmm.runtime.messages import Message

Array = np.ndarray

NEGLIGIBLE = -37.0  # the logarithm of a term beside the largest that rounding hides
MOST_TERMS = 100_000  # of the series, on either side of the largest term
MOST_COLUMNS = 20_000  # of its terms in PyTensor
START_POWER, PRIOR_SD = 1.5, 1.5


def check(response: Response) -> list[Message]:
    """Check a response of 0 or more."""
    y = response.y.astype(np.float64)
    check_places(response, y < 0, "is negative", "the family needs values of 0 or more")
    if not y.any():
        return [says_little(f"the response '{response.name}' is 0 in every row", "no mean above 0")]
    check_varies(y, response.name)
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return phi mu^power."""
    return aux[0] * mu ** aux[1]


def _parts(mu: Array, aux: tuple) -> tuple[Array, Array, Array]:
    """Return lambda, alpha and gamma."""
    phi, p = aux
    with np.errstate(over="ignore"):
        return mu ** (2 - p) / (phi * (2 - p)), (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(mean: Array) -> Array:
        rate, shape, scale = _parts(mean, aux)
        number = draw_counts(rng, np.minimum(rate * np.ones_like(mean), LARGEST_COUNT))
        return np.where(number > 0, rng.gamma(np.maximum(number * shape, SMALLEST)) * scale, 0.0)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y), a sum over the number of gamma variables."""
    from scipy.special import gammainc, pdtr
    from scipy.stats import poisson

    rate, shape, scale = _parts(mu, aux)
    top = float(np.max(rate))
    n = np.arange(1.0, top + 12 * np.sqrt(top) + 40)
    y, rate, shape, scale = np.broadcast_arrays(y, rate, shape, scale)
    above = np.maximum(y, 0.0)[..., None] / scale[..., None]
    sums = poisson.pmf(n, rate[..., None]) * gammainc(n * shape[..., None], above)
    return np.where(y < 0, 0.0, np.minimum(pdtr(0, rate) + sums.sum(axis=-1), 1.0))


def start(y: Array, mu: Array) -> Array:
    """Return a first phi, by moments, and a power between those of Poisson and gamma variables."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.array([*dispersion_start(np.nanmean((y - mu) ** 2 / mu**START_POWER)), START_POWER])


def _prior(y: Array) -> Mapping[str, float]:
    """Return the parameters of a log-normal prior about the variance over mean^1.5."""
    mean, spread = np.mean(y), np.var(y)
    return {"mu": float(np.log(spread / mean**START_POWER)) if spread > 0 else 0.0, "sigma": PRIOR_SD}


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(aux[0] * mean ** (aux[1] - 2))


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    value, d1, d2, d3 = row(link, y, size, eta, aux)
    return row_constant(link, y, size, eta, aux)[0] + value, d1, d2, d3


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in phi and the power."""
    a0, a1 = row_score(link, y, size, eta, aux)
    _, b0, b1 = row_constant(link, y, size, eta, aux)
    return a0 + b0, a1 + b1


@kernel
def row(link, y, size, eta, aux):
    """Return the log density and its derivatives without the series."""
    rate, sum_over, p = _terms(y, eta, aux)
    if not (rate < math.exp(WILD) and sum_over < math.exp(WILD)):
        return -math.inf, 0.0, 0.0, 0.0
    low, high = (2.0 - p) * rate, (p - 1.0) * sum_over
    d2 = -(2.0 - p) * low - (p - 1.0) * high
    return -rate - sum_over, high - low, d2, (p - 1.0) ** 2 * high - (2.0 - p) ** 2 * low


@kernel
def row_score(link, y, size, eta, aux):
    """Return the derivatives of what `row` returns in phi and the power."""
    rate, sum_over, p = _terms(y, eta, aux)
    a1 = rate * (eta - 1.0 / (2.0 - p))
    if y > 0.0:
        a1 += sum_over * (1.0 / (p - 1.0) + eta)
    return (rate + sum_over) / aux[0], a1


@kernel
def row_constant(link, y, size, eta, aux):
    """Return what `row` leaves out, log(W / y), and its derivatives: of an amount above 0, a series."""
    if not y > 0.0:
        return 0.0, 0.0, 0.0
    phi, low, high = aux[0], 2.0 - aux[1], aux[1] - 1.0
    log_series, number, digamma = _series(y, phi, aux[1])
    slope = -1.0 / high / high  # of alpha
    in_power = number * (slope * (math.log(y) - math.log(phi) - math.log(high)) + 1.0 / low - low / high / high)
    # 1 + alpha is 1 / (p - 1)
    return log_series - math.log(y), -number / high / phi, in_power - slope * digamma


@kernel
def _terms(y, eta, aux):
    """Return lambda, y / gamma and the power; huge ones as exp of 600."""
    phi, p = aux[0], aux[1]
    rate = math.exp(min((2.0 - p) * eta - math.log(phi * (2.0 - p)), 600.0))
    over = y * math.exp(min(-(p - 1.0) * eta - math.log(phi * (p - 1.0)), 600.0))
    return rate, over, p


@kernel
def _series(y, phi, p):
    """Return log W and the means of j and of j digamma(j alpha) under its terms.

    W is the sum over j >= 1 of exp(j log z) / (j! Gamma(j alpha)), the largest term near y^(2 - p) / (phi (2 - p)).
    """
    alpha = (2.0 - p) / (p - 1.0)
    log_z = alpha * (math.log(y) - math.log(p - 1.0)) - math.log(phi) / (p - 1.0) - math.log(2.0 - p)
    middle = math.exp(min((2.0 - p) * math.log(y) - math.log(phi * (2.0 - p)), 30.0))
    first = max(1.0, math.floor(middle))
    top = first * log_z - math.lgamma(first + 1.0) - math.lgamma(first * alpha)
    if not math.isfinite(top):  # a power beyond its bounds, where derivatives are taken by differences
        return math.nan, math.nan, math.nan
    total, number, digamma = 0.0, 0.0, 0.0
    for side in range(2):
        j = first if side == 0 else first - 1.0
        for _ in range(MOST_TERMS):
            if j < 1.0:
                break
            size = j * log_z - math.lgamma(j + 1.0) - math.lgamma(j * alpha) - top
            if size < NEGLIGIBLE:
                break
            w = math.exp(size)
            total += w
            number += w * j
            digamma += w * j * polygamma(j * alpha)[0]
            j += 1.0 if side == 0 else -1.0
    return top + math.log(total), number / total, digamma / total


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt
    from pytensor.gradient import disconnected_grad

    phi, p = aux
    low, high, at = 2 - p, p - 1, pt.clip(eta, -WILD, WILD)
    alpha, above = low / high, pt.switch(pt.gt(y, 0), y, 1.0)
    middle = disconnected_grad(pt.max(pt.exp(low * pt.log(above)) / (phi * low)))
    last = pt.minimum(middle + 12 * pt.sqrt(middle) + 60, MOST_COLUMNS)
    j = pt.arange(1, pt.cast(last, "int64")).astype("float64")
    log_z = alpha * (pt.log(above) - pt.log(high)) - pt.log(phi) / high - pt.log(low)
    terms = j * pt.shape_padright(log_z) - pt.gammaln(j + 1) - pt.gammaln(j * alpha)
    own = pt.logsumexp(terms, axis=-1) - pt.log(above)
    value = -pt.exp(low * at) / (phi * low) - y * pt.exp(-high * at) / (phi * high)
    inside = pt.and_(pt.and_(eta < WILD, eta > -WILD), middle < 0.8 * MOST_COLUMNS)
    return inside, value + pt.switch(pt.gt(y, 0), own, 0.0)


PHI = Auxiliary("phi", r"\phi", "LogNormal", _prior, "(variance: phi mean^power)")
POWER = Auxiliary(
    "power", "p", "Uniform", {"lower": 1.01, "upper": 1.99}, "(1: Poisson, 2: gamma)", bounds=(1.0, 2.0)
)  # fmt: skip

family = Family(
    name="tweedie",
    aliases=("compound_poisson", "compound poisson", "cpglm"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=NONNEGATIVE,
    parameters=(PHI, POWER),
    check_response=check,
    variance=variance,
    quadratic=False,
    draw=draw,
    cdf=cdf,
    cdf_is_sum=True,
    kernels=Kernels(density, score, LOG, row, row_score, row_constant),
    graph_density=graph_density,
    residuals={"log": lognormal(_on_log, "phi mean^(power - 2)")},
    start=start,
    tex=r"\mathrm{Tweedie}(\text{mean } \mu_{i},\ \text{variance } \phi \mu_{i}^{p})",
    cost=115.0,
)
