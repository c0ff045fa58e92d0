"""Responses above 0, whose sd is proportional to their mean: with the variance mu^2 / shape."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.draws import SMALLEST, draw_gamma_factors, where_known
from bayesmm.families.family import Auxiliary, Family, dispersion_start
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.links import LOG
from bayesmm.families.residuals import Residual, delta, trigamma
from bayesmm.families.responses import Response, check_places, check_varies
from bayesmm.families.special import LOG_2PI, WILD, chained, log_poisson, polygamma, quick_exp, stirling_error
from bayesmm.families.support import POSITIVE
from bayesmm.families.tails import STEP, falling, graph_log_pair, log_gamma_tails, slope
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check a response above 0."""
    y = response.y.astype(np.float64)
    how = "is 0 or less" if (y < 0).any() else "is 0"
    check_places(response, y <= 0, how, "the gamma family needs values above 0")
    check_varies(y, response.name)
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu^2 / shape."""
    return mu**2 / aux[0]


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(mean: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.maximum(mean * draw_gamma_factors(rng, aux[0], mean), SMALLEST)

    return where_known(mu, known)


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by moments."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return dispersion_start(1 / np.nanmean(((y - mu) / mu) ** 2))


def _on_log(mean: None, aux: Array) -> Array:
    return trigamma(aux[0])


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import gammainc

    return gammainc(aux[0], np.maximum(y, 0.0) * aux[0] / mu)


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    shape = aux[0]
    constant = 0.5 * (math.log(shape) - LOG_2PI) - stirling_error(shape) - math.log(y)
    if link == LOG:
        r = math.log(y) - eta
        if r > WILD:
            return -math.inf, 0.0, 0.0, 0.0
        s = shape * math.exp(r)
        return constant + shape * (r - math.expm1(r)), shape * math.expm1(r), -s, s
    if eta <= 0.0:
        return -math.inf, 0.0, 0.0, 0.0
    r = shape / eta
    return constant + shape * (math.log(y * eta) - y * eta + 1.0), r - shape * y, -r / eta, 2.0 * r / eta / eta


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in the shape."""
    if link == LOG:
        a0 = math.log(aux[0]) + 1.0 - polygamma(aux[0])[0] + math.log(y) - eta - y * math.exp(min(-eta, WILD))
        return a0, 0.0
    if eta > 0.0:
        return math.log(aux[0]) + 1.0 - polygamma(aux[0])[0] + math.log(y * eta) - y * eta, 0.0
    return 0.0, 0.0


@kernel
def row(link, y, size, eta, aux):
    """Return, with the log link, the log density and its derivatives without what is constant."""
    if not (math.isfinite(eta) and eta > -WILD):
        return -math.inf, 0.0, 0.0, 0.0
    s = aux[0] * y * math.exp(-eta)
    return -aux[0] * eta - s, s - aux[0], -s, s


@kernel
def row_score(link, y, size, eta, aux):
    """Return the derivative of what `row` returns in the shape."""
    return -eta - y * math.exp(-eta), 0.0


@kernel
def smooth(link, y, size, eta, aux):
    """Return value, slope and the derivative in the shape, without branches."""
    ratio = y * quick_exp(min(max(-eta, -700.0), WILD))
    return -aux[0] * (eta + ratio), aux[0] * (ratio - 1.0), -eta - ratio, 0.0


@kernel
def row_constant(link, y, size, eta, aux):
    """Return what `row` leaves out."""
    value = 0.5 * (math.log(aux[0]) - LOG_2PI) - stirling_error(aux[0]) - math.log(y)
    return value + aux[0] * (math.log(y) + 1.0), math.log(aux[0] * y) + 1.0 - polygamma(aux[0])[0], 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    shape = aux[0]
    constant = shape * pt.log(shape) - pt.gammaln(shape) + (shape - 1) * pt.log(y)
    if link == "log":
        return eta > -WILD, constant - shape * eta - shape * y * pt.exp(-pt.maximum(eta, -WILD))
    above = pt.switch(eta > 0, eta, 1.0)
    return eta > 0, constant + shape * (pt.log(above) - y * above)


@kernel
def log_tails(shape, r):
    """Return log P(Y <= y) and log P(Y > y), r = log(y / mu)."""
    return log_gamma_tails(shape, shape * math.exp(r)) if r < WILD else (0.0, -math.inf)


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    if link != LOG and eta <= 0.0:
        return (-math.inf, 0.0, 0.0, 0.0), (-math.inf, 0.0, 0.0, 0.0)
    shape = aux[0]
    r = math.log(y) - eta if link == LOG else math.log(y * eta)
    below, above = log_tails(shape, r)
    s = shape * math.exp(min(r, WILD))
    below, above = falling(below, above, log_poisson(shape, min(r, WILD)) + math.log(shape), s - shape, -s)
    if link == LOG:
        return below, above
    t = 1.0 / eta  # of log mu = -log eta
    return (
        chained(below[0], below[1], below[2], below[3], -t, t * t, -2.0 * t * t * t),
        chained(above[0], above[1], above[2], above[3], -t, t * t, -2.0 * t * t * t),
    )


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in the shape, by differences."""
    shape, known = aux[0], link == LOG or eta > 0.0
    r = 0.0 if not known else math.log(y) - eta if link == LOG else math.log(y * eta)
    b2, b1 = log_tails(shape * math.exp(-2.0 * STEP), r), log_tails(shape * math.exp(-STEP), r)
    a1, a2 = log_tails(shape * math.exp(STEP), r), log_tails(shape * math.exp(2.0 * STEP), r)
    return (slope(b2[0], b1[0], a1[0], a2[0], shape), 0.0), (slope(b2[1], b1[1], a1[1], a2[1], shape), 0.0)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    s = aux[0] * y * (pt.exp(pt.minimum(-eta, WILD)) if link == "log" else pt.switch(eta > 0, eta, 1.0))
    return graph_log_pair(lambda: pt.gammainc(aux[0], s), lambda: pt.gammaincc(aux[0], s))


# Its prior makes 1 / shape, the squared coefficient of variation, exponential with mean 1.
SHAPE = Auxiliary("shape", r"\kappa", "InverseGamma", {"alpha": 1, "beta": 1}, "(variance: mean^2 / shape)")

family = Family(
    name="gamma",
    links=("log", "inverse"),
    link="log",
    concave_links=("log",),
    support=POSITIVE,
    parameters=(SHAPE,),
    check_response=check,
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score, LOG, row, row_score, row_constant, constant_in=np.log, smooth=smooth),
    graph_density=graph_density,
    residuals={"log": Residual(_on_log, "trigamma(shape), that of log y"), "inverse": delta(variance, "inverse")},
    start=start,
    tex=r"\mathrm{Gamma}(\text{mean } \mu_{i},\ \text{variance } \mu_{i}^{2} / \kappa)",
)
