"""What families with zeros of their own share: mixtures with zeros, and counts that are above 0.

A base density comes as (log density, its first three derivatives in eta).
"""

import math
from collections.abc import Callable

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families.binomial import log_one_minus_exp
from bayesmm.families.family import SHARES, Auxiliary
from bayesmm.families.kernel import Tensor, kernel
from bayesmm.families.residuals import undefined
from bayesmm.families.responses import Response, check_counts, check_places, check_varies, says_little
from bayesmm.runtime.messages import Message, warning

Array = np.ndarray

UNIFORM = {"lower": 0.0, "upper": 1.0}


def share_of_zeros(name: str, tex: str, unit: str, limit: str) -> Auxiliary:
    """Return the parameter that is a probability of zeros; at 0 the family is `limit`."""
    return Auxiliary(name, tex, "Uniform", UNIFORM, unit, limit=limit, limit_at=0.0, bounds=SHARES)


# ----------------------------------------------------------------------------------------------------------------------
# responses


def check_some_zeros(response: Response, instead: str) -> list[Message]:
    """Check counts of which some are 0; a warning that names the family to take `instead` where none is."""
    found = check_counts(response)
    if (response.y > 0).all():
        said = f"the response '{response.name}' is 0 in no row, so that the probability of zeros has its maximum at 0"
        found.append(warning(f"{said}; did you mean the family {instead!r}?"))
    return found


def check_above_zero(response: Response, instead: str) -> list[Message]:
    """Check whole numbers of 1 or more; an error that names the family to take `instead` where some are 0."""
    found = check_counts(response)
    check_places(response, response.y < 0.5, "is 0", f"the family has counts above 0 only; did you mean {instead!r}?")
    return found


def check_zeros_and_amounts(response: Response, instead: str) -> list[Message]:
    """Check numbers of 0 or more, of which some are 0 and the others vary."""
    y = response.y.astype(np.float64)
    check_places(response, y < 0, "is negative", "the family needs values of 0 or more")
    return check_zeros_beside(response, instead, "above 0")


def check_zeros_beside(response: Response, instead: str, others: str) -> list[Message]:
    """Check that some values are 0, else a warning names the family to take `instead`, and that the others vary."""
    y = response.y.astype(np.float64)
    if not y.any():
        return [says_little(f"the response '{response.name}' is 0 in every row", f"nothing of the values {others}")]
    check_varies(y, response.name)
    rest = y[y != 0]
    if rest.min() == rest.max():
        raise DataError(
            f"the response '{response.name}' is {rest[0]:g} in every row where it is {others}; a model needs values "
            "that vary there"
        )
    if y.all():
        said = f"the response '{response.name}' is 0 in no row, so that the probability of zeros has its maximum at 0"
        return [warning(f"{said}; did you mean the family {instead!r}?")]
    return []


def start_share(y: Array, expected: Array) -> float:
    """Return a first probability of extra zeros: those that are more than the `expected` share of each row."""
    usual = float(np.nanmean(expected))
    return float(np.clip(((y == 0).mean() - usual) / max(1 - usual, 1e-3), 0.05, 0.9))


def share_seen(y: Array) -> float:
    """Return the share of zeros, off its ends: with half a zero and half another count more."""
    return float(((y == 0).sum() + 0.5) / (len(y) + 1))


NO_RESIDUAL = undefined("its zeros and its other values are two things")


# ----------------------------------------------------------------------------------------------------------------------
# of rows, compiled


@kernel
def inflated(y, share, d):
    """Return the density of what is 0 with a probability of `share`, and otherwise has the base density `d` at y."""
    if y > 0.0:
        return math.log1p(-share) + d[0], d[1], d[2], d[3]
    p = (1.0 - share) * math.exp(d[0])
    total = share + p
    w = p / total
    v = w * (1.0 - w)
    d3 = w * d[3] + 3.0 * v * d[1] * d[2] + v * (1.0 - 2.0 * w) * d[1] * d[1] * d[1]
    return math.log(total), w * d[1], w * d[2] + v * d[1] * d[1], d3


@kernel
def inflated_score(y, share, value):
    """Return the derivative in `share`, and what the base's own derivatives count, for a base log density at y."""
    if y > 0.0:
        return -1.0 / (1.0 - share), 1.0
    total = share + (1.0 - share) * math.exp(value)
    return -math.expm1(value) / total, (1.0 - share) * math.exp(value) / total


@kernel
def above_zero(d, zero):
    """Return the density of a count given that it is above 0, from the base densities at it and at 0."""
    if not zero[0] < 0.0:  # the mean is 0 in floating point
        return -math.inf, 0.0, 0.0, 0.0
    t = -zero[0]
    s1, s2 = -zero[1] / t, -zero[2] / t  # of log t, whose derivatives follow
    s3 = -zero[3] / t - 3.0 * s1 * s2 + 2.0 * s1 * s1 * s1
    s2 -= s1 * s1
    g, g1, g2, g3 = log_one_minus_exp(math.log(t))[0]
    d2 = d[2] - g2 * s1 * s1 - g1 * s2
    return d[0] - g, d[1] - g1 * s1, d2, d[3] - g3 * s1 * s1 * s1 - 3.0 * g2 * s1 * s2 - g1 * s3


@kernel
def above_zero_score(a, value, a_zero):
    """Return the derivative of it in a parameter, from those of the base, and its log density at 0."""
    if not value < 0.0:
        return 0.0
    return a + a_zero / math.expm1(-value)


@kernel
def hurdle(y, share, d):
    """Return the density of what is 0 with a probability of `share`, and above 0 has the density `d` otherwise."""
    if y > 0.0:
        return math.log1p(-share) + d[0], d[1], d[2], d[3]
    return math.log(share), 0.0, 0.0, 0.0


@kernel
def hurdle_score(y, share):
    """Return the derivative in `share`."""
    return -1.0 / (1.0 - share) if y > 0.0 else 1.0 / share


# ----------------------------------------------------------------------------------------------------------------------
# in PyTensor


def graph_inflated(base: Callable, share: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the mixture's density exists and its logarithm; `base` is a graph density of y."""
    import pytensor.tensor as pt

    inside, value = base(y)
    zero = base(pt.zeros_like(y))[1]
    return inside, pt.switch(pt.eq(y, 0), pt.log(share + (1 - share) * pt.exp(zero)), pt.log1p(-share) + value)


def graph_above_zero(base: Callable, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same of a count given that it is above 0."""
    import pytensor.tensor as pt

    (inside, value), zero = base(y), base(pt.zeros_like(y))[1]
    some = zero < 0  # the mean is not 0 in floating point
    return pt.and_(inside, some), value - pt.log1mexp(pt.switch(some, zero, -1.0))


def graph_hurdle(base: Callable, share: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same of a hurdle, whose base is of counts above 0 or 0."""
    import pytensor.tensor as pt

    inside, value = graph_above_zero(base, pt.maximum(y, 1))
    return inside, pt.switch(pt.eq(y, 0), pt.log(share), pt.log1p(-share) + value)


def graph_beside_zeros(base: Callable, share: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same of what is 0 with a probability of `share`, and otherwise has a density, which is none at 0."""
    import pytensor.tensor as pt

    zero = pt.eq(y, 0)
    inside, value = base(pt.switch(zero, 0.5, y))
    return pt.or_(zero, inside), pt.switch(zero, pt.log(share), pt.log1p(-share) + value)


def graph_beside_ends(base: Callable, share: Tensor, ones: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same of what is 0 or 1 with a probability of `share`, 1 with `ones` of that."""
    import pytensor.tensor as pt

    one = pt.eq(y, 1)
    inside, value = graph_beside_zeros(base, share, pt.switch(one, 0.0, y))
    return inside, value + pt.switch(one, pt.log(ones), pt.switch(pt.eq(y, 0), pt.log1p(-ones), 0.0))


# ----------------------------------------------------------------------------------------------------------------------
# on arrays


def inflated_variance(mean: Array, variance: Array, share: Array) -> Array:
    """Return the variance of the mixture, from mean and variance of the base."""
    return (1 - share) * (variance + share * np.square(mean))


def above_zero_moments(mean: Array, variance: Array, log_zero: Array) -> tuple[Array, Array]:
    """Return mean and variance of a count given that it is above 0; `log_zero` is log P(it is not)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first = mean / -np.expm1(log_zero)
        second = (variance + np.square(mean)) / -np.expm1(log_zero)
        return np.where(mean > 0, first, 1.0), np.where(mean > 0, np.maximum(second - np.square(first), 0.0), 0.0)


def sometimes_zero(rng: np.random.Generator, y: Array, share: Array) -> Array:
    """Return responses that are 0 with a probability of `share`, and otherwise y; a NaN stays."""
    return np.where((rng.uniform(size=np.shape(y)) < share) & ~np.isnan(y), 0.0, y)


def inflated_cdf(base: Array, y: Array, share: Array) -> Array:
    """Return P(Y <= y) of the mixture, given that of the base."""
    return np.where(np.asarray(y) < 0, 0.0, share + (1 - share) * base)


def above_zero_cdf(base: Array, y: Array, zero: Array) -> Array:
    """Return P(Y <= y) given that Y is above 0, from that of the base and its probability of 0."""
    return np.where(np.asarray(y) < 1, 0.0, (base - zero) / (1 - zero))
