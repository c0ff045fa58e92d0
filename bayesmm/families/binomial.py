"""Successes out of a number of trials."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families.draws import where_known
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import LOGIT, OF_PROBABILITIES, PROBIT
from bayesmm.families.residuals import latent
from bayesmm.families.responses import Response, check_places, is_whole, says_little
from bayesmm.families.special import WILD, log1pexp, log_binomial, log_normal_cdf, sigmoid
from bayesmm.families.support import SUCCESSES
from bayesmm.runtime.messages import Message

Array = np.ndarray

# Below this, t / (exp t - 1) and its relatives are power series, for digits that the difference from 1 would lose.
SERIES = 0.3
NEGLIGIBLE = -30.0  # log(1 - exp(-exp(eta))) is eta below this: the next term, exp(eta) / 2, is 5e-14


def check(response: Response) -> list[Message]:
    """Check successes and their trials: whole numbers, and no more successes than trials."""
    y, n = response.y.astype(np.float64), response.trials
    check_places(response, n < 0, "has a negative number of trials", "trials are whole numbers of 1 or more")
    check_places(response, ~is_whole(n), "has no whole number of trials", "trials are whole numbers of 1 or more")
    check_places(response, n < 0.5, "has no trial", "a row without trials says nothing: leave it out")
    check_places(response, y < 0, "has a negative number of successes", "successes are whole numbers of 0 or more")
    if not is_whole(y).all() and (y <= 1).all():
        raise DataError(
            f"the response '{response.name}' holds proportions such as {y[~is_whole(y)][0]:g}, but beside trials it "
            "should hold the number of successes; write the counts, or give the trials as weights"
        )
    check_places(response, ~is_whole(y), "has no whole number of successes", "successes are whole numbers of 0 or more")
    check_places(response, np.rint(y) > np.rint(n), "has more successes than trials", "expected at most the trials")
    if not y.any() or np.array_equal(np.rint(y), np.rint(n)):
        how = "no success" if not y.any() else "no failure"
        return [says_little(f"the response '{response.name}' has {how} in any row", how)]
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu (1 - mu), of a single trial."""
    return mu * (1 - mu)


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    if link == LOGIT:
        p, q = sigmoid(eta), sigmoid(-eta)
        value, d2 = log_binomial(y, size, -log1pexp(-eta), -log1pexp(eta)), -size * p * q
        return value, y * q - (size - y) * p, d2, d2 * (q - p)
    if link == PROBIT:
        one, zero = log_normal_cdf(eta), log_normal_cdf(-eta)
        zero = (zero[0], -zero[1], zero[2], -zero[3])
    else:
        one, zero = log_one_minus_exp(eta)
    d1, d2, d3 = 0.0, 0.0, 0.0
    if y > 0.0:
        d1, d2, d3 = d1 + y * one[1], d2 + y * one[2], d3 + y * one[3]
    if y < size:
        n = size - y
        d1, d2, d3 = d1 + n * zero[1], d2 + n * zero[2], d3 + n * zero[3]
    return log_binomial(y, size, one[0], zero[0]), d1, d2, d3


@kernel
def log_one_minus_exp(eta):
    """Return log p and log(1 - p), each with three derivatives, for p = 1 - exp(-t), t = exp eta.

    With g = t / (exp t - 1) and k = 1 - t - g, those of log p are g, g k and g (k^2 - t - g k).
    """
    if eta > WILD:
        return (0.0, 0.0, 0.0, 0.0), (-math.inf, 0.0, 0.0, 0.0)
    t = math.exp(eta)
    if t < SERIES:  # Bernoulli numbers (Abramowitz & Stegun 23.1.1)
        s = t * t
        k = -0.5 * t - s * (1 / 12 - s * (1 / 720 - s * (1 / 30240 - s * (1 / 1209600 - s / 47900160))))
        g = 1.0 - t - k
        log_p = eta + math.log(-math.expm1(-t) / t) if t > 0.0 else eta
    else:
        g = t / math.expm1(t) if t < 700.0 else 0.0
        k = 1.0 - t - g
        log_p = math.log(-math.expm1(-t))
    return (log_p, g, g * k, g * (k * k - t - g * k)), (-t, -t, -t, -t)


@kernel
def row(link, y, size, eta, aux):
    """Return, with the logit link, the log density and its derivatives without the binomial coefficient."""
    if not math.isfinite(eta):
        return -math.inf, 0.0, 0.0, 0.0
    t = math.exp(-abs(eta))
    near = 1.0 / (1.0 + t)
    p, q = (near, t * near) if eta > 0.0 else (t * near, near)
    d2 = -size * p * q
    return y * eta - size * (max(eta, 0.0) + math.log1p(t)), y * q - (size - y) * p, d2, d2 * (q - p)


@kernel
def constant(link, y, size, eta, aux):
    """Return, with the logit link, the log of the binomial coefficient."""
    return math.lgamma(size + 1.0) - (math.lgamma(y + 1.0) + math.lgamma(size - y + 1.0))


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there; `trials` is 1 or a variable."""
    import pytensor.tensor as pt

    success, failure = _log_probabilities(link, eta)
    value = y * success + (trials - y) * failure
    if isinstance(trials, pt.TensorVariable):
        value = value + pt.gammaln(trials + 1) - pt.gammaln(y + 1) - pt.gammaln(trials - y + 1)
    return pt.ones_like(eta, dtype=bool), value


def _log_probabilities(link: str, eta: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p and log(1 - p)."""
    import pytensor.tensor as pt

    if link == "logit":
        return -pt.softplus(-eta), -pt.softplus(eta)
    if link == "probit":
        return graph_log_normal_cdf(eta), graph_log_normal_cdf(-eta)
    t = pt.exp(pt.minimum(eta, WILD))
    low = pt.log(-pt.expm1(-pt.exp(pt.clip(eta, NEGLIGIBLE, WILD))))
    return pt.switch(eta < NEGLIGIBLE, eta, low), -t


def graph_log_normal_cdf(x: Tensor) -> Tensor:
    """Return log Phi(x); each branch sees only arguments at which it is finite, for the sake of its gradient."""
    import pytensor.tensor as pt

    low, high = pt.minimum(x, -1.0), pt.maximum(x, -1.0)
    tail = pt.log(0.5 * pt.erfcx(-low / np.sqrt(2))) - 0.5 * low**2
    return pt.switch(x < -1.0, tail, pt.log1p(-0.5 * pt.erfc(high / np.sqrt(2))))


def cdf(y: Array, mu: Array, trials: Array, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import betainc

    k = np.clip(np.floor(y), 0.0, trials)
    inside = betainc(np.maximum(trials - k, 1.0), k + 1, 1 - mu)
    return np.where(np.asarray(y) < 0, 0.0, np.where(k >= trials, 1.0, inside))


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random numbers of successes."""
    number = np.ones_like(mu) if trials is None else trials
    return where_known(mu, lambda mean: rng.binomial(np.asarray(number).astype(np.int64), mean).astype(float))


family = Family(
    name="binomial",
    links=OF_PROBABILITIES,
    concave_links=OF_PROBABILITIES,
    link="logit",
    support=SUCCESSES,
    check_response=check,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, row_link=LOGIT, row=row, constant=constant),
    graph_density=graph_density,
    residuals={link: latent(link) for link in OF_PROBABILITIES},
    tex=r"\mathrm{Binomial}(n_{i},\ \mu_{i})",
    of_one_trial="bernoulli",
    overdispersed="betabinomial",
    more_zeros="zero_inflated_binomial",
    canonical="logit",
)
