"""Responses with outliers: Student's t about a location, with a scale and degrees of freedom."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.family import SIGMA, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.links import IDENTITY
from bayesmm.families.residuals import Residual
from bayesmm.families.responses import Response, check_varies
from bayesmm.families.special import log_gamma_ratio, quick_log1p
from bayesmm.families.support import REAL
from bayesmm.families.tails import HALF, STEP, falling, graph_log_pair, log1mexp, log_beta_tails, slope
from bayesmm.runtime.messages import Message

Array = np.ndarray

FAR = 1e100  # of a residual in units of its scale: the square still exists

START_NU = 5.0  # clearly not normal, and all its moments up to 4 exist
MAD_TO_SD = 1.4826  # of a normal variable


def check(response: Response) -> list[Message]:
    """Check a response with outliers: it varies."""
    check_varies(response.y.astype(np.float64), response.name)
    return []


def information_variance(mu: Array, aux: tuple) -> Array:
    """Return 1 / information about mu, which is finite for every nu, as the variance is not."""
    sigma, nu = aux
    return (nu + 3) / (nu + 1) * sigma**2 * np.ones_like(mu)


def scatter(aux: Array) -> Array:
    """Return the variance, infinite for nu of 2 or less."""
    sigma, nu = aux[0], aux[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(nu > 2, sigma**2 * nu / (nu - 2), np.inf)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    sigma, nu = aux
    return mu + sigma * rng.standard_t(nu, np.broadcast_shapes(np.shape(mu), np.shape(sigma), np.shape(nu)))


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma, by the median absolute deviation, and `START_NU`."""
    r = y - mu
    return np.array([MAD_TO_SD * np.median(np.abs(r)) or np.sqrt(np.nanmean(r**2)), START_NU])


def _on_identity(mean: None, aux: Array) -> Array:
    return scatter(aux)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import stdtr

    return stdtr(aux[1], (y - mu) / aux[0])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    value, d1, d2, d3 = row(link, y, size, eta, aux)
    return row_constant(link, y, size, eta, aux)[0] + value, d1, d2, d3


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in sigma and nu."""
    a0, a1 = row_score(link, y, size, eta, aux)
    return a0 - 1.0 / aux[0], a1 + 0.5 * (log_gamma_ratio(0.5 * aux[1], 0.5)[1] - 1.0 / aux[1])


@kernel
def row(link, y, size, eta, aux):
    """Return log(1 + s^2 / nu) times -(nu + 1) / 2, s = (y - eta) / sigma, and its first three derivatives in eta."""
    sigma, nu = aux[0], aux[1]
    s = (y - eta) / sigma
    x = s / math.sqrt(nu)
    if not abs(x) < FAR:
        return -math.inf, 0.0, 0.0, 0.0
    v = 1.0 + x * x
    tail = (nu + 1.0) / nu / sigma  # in units of nu, so that a large nu is the normal distribution
    d1 = tail * s / v
    d2 = -tail / sigma * (1.0 - x * x) / v / v
    d3 = -2.0 * tail / sigma / sigma * s / nu * (3.0 - x * x) / v / v / v
    return -0.5 * (nu + 1.0) * math.log1p(x * x), d1, d2, d3


@kernel
def row_score(link, y, size, eta, aux):
    """Return the derivatives of what `row` returns in sigma and nu."""
    sigma, nu = aux[0], aux[1]
    x = ((y - eta) / sigma) ** 2 / nu  # s^2 / nu
    share = 1.0 / (1.0 + 1.0 / x) if x > 0.0 else 0.0  # s^2 / (nu + s^2)
    more = (nu + 1.0) * share
    return more / sigma, 0.5 * (more / nu - math.log1p(x))


@kernel
def smooth(link, y, size, eta, aux):
    """Return value, slope and the derivatives in sigma and nu, without branches."""
    sigma, nu = aux[0], aux[1]
    s = (y - eta) / sigma
    x = min(s * s / nu, FAR * FAR)
    log_v = quick_log1p(x)
    more = (nu + 1.0) * (x / (1.0 + x))
    slope = (nu + 1.0) / nu / sigma * s / (1.0 + x)
    return -0.5 * (nu + 1.0) * log_v, slope, more / sigma, 0.5 * (more / nu - log_v)


@kernel
def row_constant(link, y, size, eta, aux):
    """Return what `row` leaves out."""
    ratio, slope = log_gamma_ratio(0.5 * aux[1], 0.5)
    value = ratio - 0.5 * math.log(math.pi * aux[1]) - math.log(aux[0])
    return value, -1.0 / aux[0], 0.5 * (slope - 1.0 / aux[1])


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    sigma, nu = aux
    z = (y - eta) / sigma
    constant = pt.gammaln((nu + 1) / 2) - pt.gammaln(nu / 2) - 0.5 * pt.log(nu * np.pi) - pt.log(sigma)
    return pt.ones_like(eta, dtype=bool), constant - (nu + 1) / 2 * pt.log1p(z**2 / nu)


@kernel
def log_tails(z, nu):
    """Return log P(T <= z) and log P(T > z) of Student's t, by the incomplete beta function (A & S 26.7.1)."""
    if z == 0.0:
        return -HALF, -HALF
    ratio = z * z / nu
    log_x = -math.log1p(ratio)
    x = math.exp(log_x)
    small = log_beta_tails(0.5 * nu, 0.5, x, ratio * x, log_x, math.log(ratio) + log_x)[0] - HALF
    return (small, log1mexp(small)) if z < 0.0 else (log1mexp(small), small)


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    below, above = log_tails((y - eta) / aux[0], aux[1])
    h, h1, h2, _ = density(link, y, 1.0, eta, aux)
    return falling(below, above, h, h1, h2)


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in sigma and nu, that in nu by differences."""
    z, nu = (y - eta) / aux[0], aux[1]
    below, above = log_tails(z, nu)
    h = density(link, y, 1.0, eta, aux)[0]
    b2, b1 = log_tails(z, nu * math.exp(-2.0 * STEP)), log_tails(z, nu * math.exp(-STEP))
    a1, a2 = log_tails(z, nu * math.exp(STEP)), log_tails(z, nu * math.exp(2.0 * STEP))
    return (
        (-z * math.exp(h - below), slope(b2[0], b1[0], a1[0], a2[0], nu)),
        (z * math.exp(h - above), slope(b2[1], b1[1], a1[1], a2[1], nu)),
    )


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    sigma, nu = aux
    z = (y - eta) / sigma
    half = pt.constant(0.5, dtype="float64")  # as a plain number it would have single precision
    small = 0.5 * pt.betainc(nu / 2, half, nu / (nu + z**2))
    low, high = graph_log_pair(lambda: small, lambda: 1 - small)
    return pt.switch(z < 0, low, high), pt.switch(z < 0, high, low)


# Juarez & Steel 2010, Journal of Business & Economic Statistics 28(1)
NU = Auxiliary("nu", r"\nu", "Gamma", {"alpha": 2, "beta": 0.1}, "degrees of freedom", limit="gaussian")

family = Family(
    name="student",
    aliases=("t", "student_t", "studentt", "student-t"),
    links=("identity",),
    link="identity",
    support=REAL,
    parameters=(replace(SIGMA, label="scale (sigma)"), NU),
    check_response=check,
    variance=information_variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score, IDENTITY, row, row_score, row_constant, constant_in=np.zeros_like, smooth=smooth),
    graph_density=graph_density,
    residuals={"identity": Residual(_on_identity, "sigma^2 nu / (nu - 2), infinite for nu of 2 or less")},
    start=start,
    tex=r"\mathrm{StudentT}(\nu,\ \mu_{i},\ \sigma)",
    several_modes=("identity",),
    scatter=scatter,
)
