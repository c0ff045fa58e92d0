"""Ordered categories: where a latent variable about the linear predictor falls between thresholds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families.binomial import NEGLIGIBLE, graph_log_normal_cdf, log_one_minus_exp
from bayesmm.families.categories import DISC, functions
from bayesmm.families.family import REAL_VALUES, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import LINKS, LOGIT, OF_PROBABILITIES, PROBIT
from bayesmm.families.residuals import latent
from bayesmm.families.responses import Response
from bayesmm.families.special import LOG_2PI, WILD, log_normal_cdf, sigmoid
from bayesmm.families.support import CATEGORIES
from bayesmm.runtime.messages import Message

Array = np.ndarray

TINY = 1e-300  # a probability of 0, so that its logarithm exists


def check(response: Response) -> list[Message]:
    """Check categories: there are two or more."""
    if response.y.min() == response.y.max():
        raise DataError(f"the response '{response.name}' has one category in all rows; a model needs two or more")
    return []


# ----------------------------------------------------------------------------------------------------------------------
# on arrays: eta is the linear predictor, aux the thresholds


def cumulated(link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return P(Y <= k) = F(threshold k - eta) for k = 0 ... K, (..., K + 1)."""
    inverse = LINKS[link].inverse
    below = [inverse(np.asarray(tau, dtype=float) - eta) for tau in thresholds]
    shape = np.broadcast_shapes(*(np.shape(part) for part in below))
    parts = [np.zeros(shape), *(np.broadcast_to(part, shape) for part in below), np.ones(shape)]
    return np.stack(parts, axis=-1)


def probabilities(link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return P(Y = k) for k = 1 ... K, (..., K)."""
    return np.diff(cumulated(link, eta, thresholds), axis=-1)


def mean(link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return the expected number of the category."""
    return 1 + (1 - cumulated(link, eta, thresholds)[..., 1:-1]).sum(axis=-1)


def variance(link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return the variance of the number of the category."""
    p = probabilities(link, eta, thresholds)
    k = np.arange(1, p.shape[-1] + 1)
    return (p * k**2).sum(axis=-1) - np.square((p * k).sum(axis=-1))


def draw(link: str, rng: np.random.Generator, eta: Array, trials: object, thresholds: tuple) -> Array:
    """Return random categories, 1 ... K."""
    below = cumulated(link, eta, thresholds)[..., 1:-1]
    u = rng.uniform(size=below.shape[:-1])
    drawn = 1.0 + (u[..., None] > below).sum(axis=-1)
    return np.where(np.isnan(below).any(axis=-1), np.nan, drawn)


def cdf(link: str, y: Array, eta: Array, trials: object, thresholds: tuple) -> Array:
    """Return P(Y <= y)."""
    below = cumulated(link, eta, thresholds)
    k = np.broadcast_to(np.clip(np.floor(y), 0, below.shape[-1] - 1), below.shape[:-1]).astype(np.int64)
    return np.take_along_axis(below, k[..., None], axis=-1)[..., 0]


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor: aux are the thresholds around its category, which may be infinite


@kernel
def density(link, y, size, eta, aux):
    """Return log(F(b) - F(a)), a and b the thresholds less eta, and its derivatives in eta: see `Kernels`.

    Of the logistic distribution it is log F(b) + log F(-a) + log(1 - exp(a - b)), with 1 - exp(-exp x) for F
    log(1 - exp(-D)) - exp a, D = exp b - exp a: a binary response's at log D.
    """
    a, b = aux[0] - eta, aux[1] - eta
    if not a < b:
        return -math.inf, 0.0, 0.0, 0.0
    if link == PROBIT:
        value, low, high = log_normal_interval(a, b)
        p2 = (a * low if low > 0.0 else 0.0) - (b * high if high > 0.0 else 0.0)
        p3 = ((a * a - 1.0) * low if low > 0.0 else 0.0) - ((b * b - 1.0) * high if high > 0.0 else 0.0)
        d1 = low - high
        return value, d1, p2 - d1 * d1, p3 - 3.0 * d1 * p2 + 2.0 * d1 * d1 * d1
    width = b - a
    if link == LOGIT:
        t, u = math.exp(-abs(a)), math.exp(-abs(b))
        near, far = 1.0 / (1.0 + t), 1.0 / (1.0 + u)
        p, above = near if a > 0.0 else t * near, u * far if b > 0.0 else far  # F(a) and 1 - F(b)
        low, high = t * near * near, u * far * far
        value = (math.log(-math.expm1(-width)) if width < math.inf else 0.0) - math.log1p(t) - math.log1p(u)
        value -= max(a, 0.0) + max(-b, 0.0)
        return value, p - above, -(low + high), low * (1.0 - 2.0 * p) - high * (1.0 - 2.0 * above)
    if a > WILD:
        return -math.inf, 0.0, 0.0, 0.0
    s = math.exp(a)
    if b > WILD:
        return -s, s, -s, s
    one, _ = log_one_minus_exp(b + math.log(-math.expm1(-width)) if width < math.inf else b)
    return one[0] - s, s - one[1], one[2] - s, s - one[3]


@kernel
def log_normal_interval(a, b):
    """Return log(Phi(b) - Phi(a)), and the normal densities at a and b over that difference."""
    low, high = (-b, -a) if a > 0.0 else (a, b)  # the nearer tail
    top = log_normal_cdf(high)[0] if high < math.inf else 0.0
    if low > -math.inf:
        if low < 0.0 and high > 0.0:
            far = math.exp(log_normal_cdf(-high)[0]) if high < math.inf else 0.0
            value = math.log1p(-math.exp(log_normal_cdf(low)[0]) - far)
            if high - low < 1.0:  # of a narrow interval no digit is left of 1
                value = top + math.log(-math.expm1(log_normal_cdf(low)[0] - top))
        else:
            value = top + math.log(-math.expm1(log_normal_cdf(low)[0] - top))
    else:
        value = top
    left = math.exp(-0.5 * (a * a + LOG_2PI) - value) if a > -math.inf else 0.0
    right = math.exp(-0.5 * (b * b + LOG_2PI) - value) if b < math.inf else 0.0
    return value, left, right


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in the two thresholds, 0 in one that is infinite."""
    a, b = aux[0] - eta, aux[1] - eta
    if not a < b:
        return 0.0, 0.0
    if link == PROBIT:
        _, low, high = log_normal_interval(a, b)
        return -low, high
    width = b - a
    near = 1.0 / math.expm1(width) if width < WILD else 0.0
    if link == LOGIT:
        return -sigmoid(a) - near, sigmoid(-b) + near if b < math.inf else 0.0
    if a > WILD or b > WILD:
        return (-math.exp(a) if a < WILD else 0.0), 0.0
    one, _ = log_one_minus_exp(b + math.log(-math.expm1(-width)) if width < math.inf else b)
    return -math.exp(a) - one[1] * near, one[1] * (1.0 + near)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there; `aux` are all thresholds."""
    import pytensor.tensor as pt

    value, inside, last = -np.inf, pt.ones_like(eta, dtype=bool), len(aux)
    for k in range(last + 1):
        a = None if k == 0 else aux[k - 1] - eta
        b = None if k == last else aux[k] - eta
        value = pt.switch(pt.eq(y, k + 1), _graph_interval(link, a, b), value)
    for low, high in pairwise(aux):
        inside = pt.and_(inside, low < high)
    return inside, value


def _graph_interval(link: str, a: Tensor | None, b: Tensor | None) -> Tensor:
    """Return log(F(b) - F(a)); None is infinite."""
    import pytensor.tensor as pt

    lower, upper = graph_log_cdfs(link)
    if a is None:
        return lower(b)
    if b is None:
        return upper(a)
    width = pt.maximum(b - a, TINY)
    if link == "logit":
        return lower(b) + upper(a) + pt.log(-pt.expm1(-width))
    if link == "probit":  # in the nearer tail
        left = a + b < 0
        low, high = pt.switch(left, a, -b), pt.switch(left, b, -a)
        top = lower(high)
        return top + pt.log(-pt.expm1(pt.minimum(lower(low) - top, -TINY)))
    return upper(a) + lower(b + pt.log(-pt.expm1(-width)))


def graph_log_cdfs(link: str) -> tuple[Callable, Callable]:
    """Return the logarithms of F and of 1 - F."""
    import pytensor.tensor as pt

    def log_cloglog_cdf(b: Tensor) -> Tensor:
        low = pt.log(-pt.expm1(-pt.exp(pt.clip(b, NEGLIGIBLE, WILD))))
        return pt.switch(b < NEGLIGIBLE, b, low)

    return {
        "logit": (lambda b: -pt.softplus(-b), lambda a: -pt.softplus(a)),
        "probit": (graph_log_normal_cdf, lambda a: graph_log_normal_cdf(-a)),
        "cloglog": (log_cloglog_cdf, lambda a: -pt.exp(pt.minimum(a, WILD))),
    }[link]


# ----------------------------------------------------------------------------------------------------------------------
# with a discrimination, F(disc (threshold - eta)): the last of the parameters


def first_thresholds(link: str, shares: Array) -> Array:
    """Return the thresholds with which categories have these probabilities where eta is 0."""
    return LINKS[link].function(np.cumsum(shares)[:-1])


def scaled_probabilities(link: str, eta: Array, own: Sequence[Array]) -> Array:
    """Return P(Y = k) for k = 1 ... K, (..., K); the last of `own` is the discrimination."""
    *thresholds, disc = own
    return probabilities(link, disc * eta, [disc * np.asarray(tau) for tau in thresholds])


@kernel
def scaled_density(link, y, size, eta, aux):
    """Return `density` of the third of the parameters times the others and eta."""
    d = aux[2]
    value, d1, d2, d3 = density(link, y, size, d * eta, (d * aux[0], d * aux[1]))
    return value, d * d1, d * d * d2, d * d * d * d3


@kernel
def scaled_score(link, y, size, eta, aux):
    """Return the derivatives in the two thresholds and in the discrimination."""
    d = aux[2]
    low, high = score(link, y, size, d * eta, (d * aux[0], d * aux[1]))
    along = (low * (aux[0] - eta) if low != 0.0 else 0.0) + (high * (aux[1] - eta) if high != 0.0 else 0.0)
    return d * low, d * high, along


def scaled_graph_density(
    link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there; the last of `aux` is the discrimination."""
    *thresholds, disc = aux
    return graph_density(link, y, disc * eta, trials, [disc * tau for tau in thresholds])


LOWER = Auxiliary("lower", r"\tau_{y_{i} - 1}", bounds=REAL_VALUES)
UPPER = Auxiliary("upper", r"\tau_{y_{i}}", bounds=REAL_VALUES)

family = Family(
    name="cumulative",
    aliases=("ordinal", "polr", "clm", "clmm", "ordered", "ordered_logistic", "cumulative logit", "proportional odds"),
    links=OF_PROBABILITIES,
    concave_links=OF_PROBABILITIES,
    link="logit",
    support=CATEGORIES,
    parameters=(LOWER, UPPER),
    check_response=check,
    probabilities=probabilities,
    mean=mean,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={link: latent(link, "the ordered categories", published=False) for link in OF_PROBABILITIES},
    tex=r"P(Y \le k)",
    cost=100.0,
    first_thresholds=first_thresholds,
)
family = replace(
    family,
    scaled=replace(
        family,
        parameters=(LOWER, UPPER, DISC),
        kernels=Kernels(scaled_density, scaled_score),
        graph_density=scaled_graph_density,
        residuals={},
        **functions(scaled_probabilities),
    ),
)
