"""Counts that vary more than Poisson ones: with the variance mu + mu^2 / shape."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.beside_zeros import Counts
from bayesmm.families.draws import BELOW_ONE, LARGEST_COUNT, draw_counts, draw_gamma_factors, where_known
from bayesmm.families.family import LARGEST_START, Auxiliary, Family, dispersion_start
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.links import LOG
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import check_counts
from bayesmm.families.special import log1pexp, log_binomial, log_gamma_ratio, quick_exp, quick_log, sigmoid
from bayesmm.families.support import COUNTS
from bayesmm.families.tails import STEP, falling, graph_log_pair, log_beta_front, log_beta_tails, slope

Array = np.ndarray


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu + mu^2 / shape."""
    return mu + mu**2 / aux[0]


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts."""

    def known(mean: Array) -> Array:
        factor = draw_gamma_factors(rng, aux[0], mean)
        return draw_counts(rng, np.minimum(mean, LARGEST_COUNT) * factor)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import betainc

    known = np.maximum(np.floor(y), 0.0)
    return np.where(np.asarray(y) < 0, 0.0, betainc(aux[0], known + 1, aux[0] / (aux[0] + mu)))


def log_zero(mu: Array, aux: tuple) -> Array:
    """Return log P(Y = 0)."""
    return -aux[0] * np.log1p(mu / aux[0])


def draw_above_zero(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts given that they are above 0, by the quantile function where that is known."""
    from scipy.stats import nbinom

    def known(mean: Array) -> Array:
        u, shape = rng.uniform(size=np.shape(mean)), aux[0] * np.ones_like(mean)
        below = np.minimum(np.exp(log_zero(mean, (shape,))), BELOW_ONE)
        with np.errstate(all="ignore"):
            found = nbinom.ppf(below + (1 - below) * u, shape, shape / (shape + mean))
        found = np.where(np.isfinite(found) & (mean < LARGEST_COUNT), found, draw(rng, mean, trials, aux))
        return np.maximum(found, 1.0)

    return where_known(mu, known)


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by moments."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        square = np.mean(mu**2)
        return dispersion_start(square / max(np.mean((y - mu) ** 2 - mu), square / LARGEST_START))


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(1 / mean + 1 / aux[0])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    shape = aux[0]
    log_shape = math.log(shape)
    p, q = sigmoid(eta - log_shape), sigmoid(log_shape - eta)
    n = y + shape
    value = log_binomial(shape, n, -log1pexp(eta - log_shape), -log1pexp(log_shape - eta)) + math.log(shape / n)
    return value, y * q - shape * p, -n * p * q, -n * p * q * (q - p)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in the shape."""
    over = sigmoid(math.log(aux[0]) - eta)  # shape / (shape + mu)
    a0 = log_gamma_ratio(aux[0], y)[1] - log1pexp(eta - math.log(aux[0])) + (1.0 - over) - y / aux[0] * over
    return a0, 0.0


@kernel
def row(link, y, size, eta, aux):
    """Return the log density and its derivatives without the gamma functions."""
    if not math.isfinite(eta):
        return -math.inf, 0.0, 0.0, 0.0
    shape = aux[0]
    t = eta - math.log(shape)
    total, p, q = _shares(t)
    d2 = -(y + shape) * p * q
    return y * t - (y + shape) * total, y * q - shape * p, d2, d2 * (q - p)


@kernel
def row_score(link, y, size, eta, aux):
    """Return the derivative of what `row` returns in the shape."""
    total, p, q = _shares(eta - math.log(aux[0]))
    return p - total - y / aux[0] * q, 0.0


@kernel
def row_constant(link, y, size, eta, aux):
    """Return what `row` leaves out."""
    ratio, slope = log_gamma_ratio(aux[0], y)
    return ratio - math.lgamma(y + 1.0), slope, 0.0


@kernel
def smooth(link, y, size, eta, aux):
    """Return value, slope and the derivative in the shape, without branches."""
    shape = aux[0]
    t = eta - quick_log(shape)
    odds = quick_exp(min(max(t, -700.0), 700.0))
    above = 1.0 + odds
    q = 1.0 / above
    p, total = odds * q, quick_log(above) + (odds - (above - 1.0)) * q + max(t - 700.0, 0.0)
    return y * t - (y + shape) * total, y * q - shape * p, p - total - y / shape * q, 0.0


@kernel
def _shares(t):
    """Return log(1 + exp t), 1 / (1 + exp -t) and 1 / (1 + exp t)."""
    small = math.exp(-abs(t))
    near = 1.0 / (1.0 + small)
    p, q = (near, small * near) if t > 0.0 else (small * near, near)
    return max(t, 0.0) + math.log1p(small), p, q


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    shape = aux[0]
    ratio = eta - pt.log(shape)
    over = pt.softplus(ratio)  # log(1 + mu / shape)
    constant = pt.gammaln(y + shape) - pt.gammaln(shape) - pt.gammaln(y + 1)
    return pt.ones_like(eta, dtype=bool), constant + y * (ratio - over) - shape * over


@kernel
def log_tails(y, eta, shape):
    """Return log P(Y <= y) and log P(Y > y)."""
    t = eta - math.log(shape)
    return log_beta_tails(shape, y + 1.0, sigmoid(-t), sigmoid(t), -log1pexp(t), -log1pexp(-t))


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    shape, n = aux[0], y + 1.0
    t = eta - math.log(shape)
    p, q = sigmoid(-t), sigmoid(t)
    below, above = log_tails(y, eta, shape)
    front = log_beta_front(shape, n, -log1pexp(t), -log1pexp(-t))
    return falling(below, above, front, n * p - shape * q, -(shape + n) * p * q)


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in the shape, by differences."""
    shape = aux[0]
    b2, b1 = log_tails(y, eta, shape * math.exp(-2.0 * STEP)), log_tails(y, eta, shape * math.exp(-STEP))
    a1, a2 = log_tails(y, eta, shape * math.exp(STEP)), log_tails(y, eta, shape * math.exp(2.0 * STEP))
    return (slope(b2[0], b1[0], a1[0], a2[0], shape), 0.0), (slope(b2[1], b1[1], a1[1], a2[1], shape), 0.0)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    t = eta - pt.log(aux[0])
    return graph_log_pair(
        lambda: pt.betainc(aux[0], y + 1, pt.sigmoid(-t)), lambda: pt.betainc(y + 1, aux[0], pt.sigmoid(t))
    )


# Its prior makes 1 / shape, the excess variance, highest at 0 (the Poisson distribution), with a mean of 1.3.
SHAPE = Auxiliary(
    "shape", r"\kappa", "InverseGamma", {"alpha": 0.4, "beta": 0.3}, "(variance: mean + mean^2 / shape)",
    limit="poisson",
)  # fmt: skip

family = Family(
    name="negbinomial",
    aliases=("nbinom2", "nbinom", "negativebinomial", "negative binomial", "negative_binomial"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=COUNTS,
    parameters=(SHAPE,),
    check_response=check_counts,
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score, LOG, row, row_score, row_constant, smooth=smooth),
    graph_density=graph_density,
    residuals={"log": lognormal(_on_log, "1 / mean + 1 / shape", published=True)},
    start=start,
    tex=r"\mathrm{NegBinomial}(\text{mean } \mu_{i},\ \text{variance } \mu_{i} + \mu_{i}^{2} / \kappa)",
    whole_strip=True,
    more_zeros="zero_inflated_negbinomial",
)

counts = Counts(family, log_zero, draw_above_zero)  # of which hurdle and truncated ones are made
