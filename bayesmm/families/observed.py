"""Responses that are known to lie in an interval, or that are only seen inside one: families made from families.

`as_observed` gives the record of a family whose responses are censored or truncated, or both. Its density is made of
the family's own and of its `Tails`, and it is called by address: no likelihood is compiled again for it.

A row is known by its response y and its other end: NaN where the response is y, and otherwise the response is between
the two, (y, other] or (other, y]: above y where the other end is infinity, at or below y where it is minus infinity. Of
truncated responses the density is divided by the probability of (low, high]. The other end stands where a binomial has
its number of trials; beside limits there stands the address of the three numbers.
"""

import copyreg
import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FunctionType

import numpy as np

from bayesmm.families.families import get_family
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel, no_score
from bayesmm.families.limits import FARTHEST, draw_inside

Array = np.ndarray

# What the templates below are filled with: the kernels of a family, and whether its responses are whole numbers
density = score = tails = tails_score = no_score
discrete = False
# A difference of two probabilities that is less than this share of the larger one is an integral of the density. Its
# logarithm by three nodes of Gauss and Legendre was off, beside closed forms, by 3e-13 with a lognormal sigma of 1, by
# 4e-10 with a Weibull shape of 0.3 and by 3e-5 with one of 0.05.
NARROW = 1 / 40
NODE = math.sqrt(0.6)  # of the rule on (-1, 1), beside 0; its weights are 5/9, 8/9, 5/9
COST = 200.0  # nanoseconds more than for a density; measured: 20 for a known row, 100 for one tail, 200 for an interval


@kernel
def number_at(place, k):
    """Return the k-th of the doubles at an address, which is itself given as a double."""
    return ctypes.c_double.from_address(int(place) + 8 * k).value


# ----------------------------------------------------------------------------------------------------------------------
# templates of kernels


@kernel
def differing(p, a, m, b):
    """Return three derivatives of log(A - B), given those of a = log A, b = log B, p = A / (A - B), m = B / (A - B)."""
    first = p * a[1] - m * b[1]
    second = p * (a[2] + a[1] * a[1]) - m * (b[2] + b[1] * b[1])
    third = p * (a[3] + 3.0 * a[1] * a[2] + a[1] * a[1] * a[1]) - m * (b[3] + 3.0 * b[1] * b[2] + b[1] * b[1] * b[1])
    return first, second - first * first, third - 3.0 * first * second + 2.0 * first * first * first


@kernel
def narrow(link, low, high, eta, aux):
    """Return the log probability of a narrow interval with three derivatives in eta, as an integral of the density."""
    at, half = 0.5 * (low + high), 0.5 * (high - low)
    a, c, b = (
        density(link, at - NODE * half, 1.0, eta, aux),
        density(link, at, 1.0, eta, aux),
        density(link, at + NODE * half, 1.0, eta, aux),
    )
    u, v, w = 5.0 * math.exp(a[0] - c[0]), 5.0 * math.exp(b[0] - c[0]), 8.0
    total = u + v + w
    u, v, w = u / total, v / total, w / total
    first = u * a[1] + v * b[1] + w * c[1]
    second = u * (a[2] + a[1] * a[1]) + v * (b[2] + b[1] * b[1]) + w * (c[2] + c[1] * c[1])
    third = u * (a[3] + 3.0 * a[1] * a[2] + a[1] * a[1] * a[1])
    third += v * (b[3] + 3.0 * b[1] * b[2] + b[1] * b[1] * b[1])
    third += w * (c[3] + 3.0 * c[1] * c[2] + c[1] * c[1] * c[1])
    value = c[0] + math.log(total * half / 9.0)
    return value, first, second - first * first, third - 3.0 * first * second + 2.0 * first * first * first


@kernel
def narrow_score(link, low, high, eta, aux):
    """Return the derivatives of the same in the parameters."""
    at, half = 0.5 * (low + high), 0.5 * (high - low)
    before, after = at - NODE * half, at + NODE * half
    middle = density(link, at, 1.0, eta, aux)[0]
    u = 5.0 * math.exp(density(link, before, 1.0, eta, aux)[0] - middle)
    v = 5.0 * math.exp(density(link, after, 1.0, eta, aux)[0] - middle)
    a, b, c = score(link, before, 1.0, eta, aux), score(link, after, 1.0, eta, aux), score(link, at, 1.0, eta, aux)
    total = u + v + 8.0
    return (u * a[0] + v * b[0] + 8.0 * c[0]) / total, (u * a[1] + v * b[1] + 8.0 * c[1]) / total


@kernel
def region(link, low, high, eta, aux):
    """Return log P(low < Y <= high) with its first three derivatives in eta."""
    if low == -math.inf and high == math.inf:
        return 0.0, 0.0, 0.0, 0.0
    if low == -math.inf:
        return tails(link, high, eta, aux)[0]
    if high == math.inf:
        return tails(link, low, eta, aux)[1]
    below_low, above_low = tails(link, low, eta, aux)
    below_high, above_high = tails(link, high, eta, aux)
    a, b = (above_low, above_high) if above_low[0] < below_high[0] else (below_high, below_low)
    share = -math.expm1(b[0] - a[0]) if b[0] < a[0] else 0.0  # that A - B is of A
    if share < NARROW and not discrete:
        return narrow(link, low, high, eta, aux)
    if not share > 0.0:
        return -math.inf, 0.0, 0.0, 0.0
    d1, d2, d3 = differing(1.0 / share, a, 1.0 / share - 1.0, b)
    return a[0] + math.log(share), d1, d2, d3


@kernel
def region_score(link, low, high, eta, aux):
    """Return the derivatives of the same in the parameters."""
    if low == -math.inf and high == math.inf:
        return 0.0, 0.0
    if low == -math.inf:
        return tails_score(link, high, eta, aux)[0]
    if high == math.inf:
        return tails_score(link, low, eta, aux)[1]
    below_low, above_low = tails(link, low, eta, aux)
    below_high, above_high = tails(link, high, eta, aux)
    of_low, of_high = tails_score(link, low, eta, aux), tails_score(link, high, eta, aux)
    upper = above_low[0] < below_high[0]
    a, b = (above_low[0], above_high[0]) if upper else (below_high[0], below_low[0])
    slope_a, slope_b = (of_low[1], of_high[1]) if upper else (of_high[0], of_low[0])
    share = -math.expm1(b - a) if b < a else 0.0
    if share < NARROW and not discrete:
        return narrow_score(link, low, high, eta, aux)
    if not share > 0.0:
        return 0.0, 0.0
    p, m = 1.0 / share, 1.0 / share - 1.0
    return p * slope_a[0] - m * slope_b[0], p * slope_a[1] - m * slope_b[1]


@kernel
def censored_density(link, y, size, eta, aux):
    """Return the log density or probability of a row whose other end is `size`: see `Kernels`."""
    if math.isnan(size):
        return density(link, y, 1.0, eta, aux)
    return region(link, min(y, size), max(y, size), eta, aux)


@kernel
def censored_score(link, y, size, eta, aux):
    """Return the derivatives of the same in the parameters."""
    if math.isnan(size):
        return score(link, y, 1.0, eta, aux)
    return region_score(link, min(y, size), max(y, size), eta, aux)


@kernel
def truncated_density(link, y, size, eta, aux):
    """Return the same given that the response is inside its limits; `size` is the address of other end and limits."""
    a = censored_density(link, y, number_at(size, 0), eta, aux)
    b = region(link, number_at(size, 1), number_at(size, 2), eta, aux)
    return a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]


@kernel
def truncated_score(link, y, size, eta, aux):
    """Return the derivatives of the same in the parameters."""
    a = censored_score(link, y, number_at(size, 0), eta, aux)
    b = region_score(link, number_at(size, 1), number_at(size, 2), eta, aux)
    return a[0] - b[0], a[1] - b[1]


TEMPLATES = (
    narrow, narrow_score, region, region_score, censored_density, censored_score, truncated_density, truncated_score,
)  # fmt: skip


def _filled(family: Family) -> dict[str, Callable]:
    """Return the templates with the kernels of a family in them, by their names."""
    own = {
        "density": family.kernels.density,
        "score": family.kernels.score,
        "tails": family.tails.values,
        "tails_score": family.tails.score,
        "discrete": family.discrete,
    }
    made: dict[str, Callable] = {}
    for template in TEMPLATES:
        known = {**template.__globals__, **own, **made}
        made[template.__name__] = kernel(FunctionType(template.__code__, known, template.__name__))
    return made


# ----------------------------------------------------------------------------------------------------------------------
# in PyTensor


def _graph_region(family: Family, link: str, low: Tensor, high: Tensor, at: Tensor, eta: Tensor, aux: Sequence):
    """Return log P(low < Y <= high); `at` is inside the support, and stands for an end that is infinite."""
    import pytensor.tensor as pt

    bounded_below, bounded_above = low > -FARTHEST, high < FARTHEST
    below_low, above_low = family.tails.graph(link, pt.switch(bounded_below, low, at), eta, aux)
    below_high, above_high = family.tails.graph(link, pt.switch(bounded_above, high, at), eta, aux)
    upper = pt.and_(bounded_below, pt.or_(pt.invert(bounded_above), above_low < below_high))
    larger = pt.switch(upper, above_low, pt.switch(bounded_above, below_high, 0.0))
    smaller, both = pt.switch(upper, above_high, below_low), pt.and_(bounded_below, bounded_above)
    gap = pt.switch(pt.and_(both, smaller < larger), smaller - larger, -1.0)
    inside = pt.log1mexp(gap)
    if not family.discrete:
        share = -pt.expm1(gap)
        few = pt.and_(both, pt.or_(share < NARROW, smaller >= larger))
        near_low, near_high = pt.switch(few, low, at), pt.switch(few, high, at)
        inside = pt.switch(few, _graph_narrow(family, link, near_low, near_high, eta, aux) - larger, inside)
        return larger + pt.switch(both, inside, 0.0)
    return pt.switch(pt.and_(both, smaller >= larger), -np.inf, larger + pt.switch(both, inside, 0.0))


def _graph_narrow(family: Family, link: str, low: Tensor, high: Tensor, eta: Tensor, aux: Sequence) -> Tensor:
    import pytensor.tensor as pt

    at, half = (low + high) / 2, (high - low) / 2
    a, c, b = (family.graph_density(link, at + k * NODE * half, eta, 1.0, aux)[1] for k in (-1, 0, 1))
    width = pt.switch(half > 0, half, 1.0)
    return c + pt.log((5 * pt.exp(a - c) + 8 + 5 * pt.exp(b - c)) * width / 9)


def _graph_density(family: Family, link: str, y: Tensor, eta: Tensor, trials: Sequence[Tensor], aux: Sequence):
    """Return where the density exists, and its logarithm there; `trials` are the other end and the limits."""
    import pytensor.tensor as pt

    other, *limits = trials
    exact = pt.eq(other, y)  # a graph has no missing values
    low = pt.switch(exact, -FARTHEST, pt.minimum(y, other))
    high = pt.switch(exact, FARTHEST, pt.maximum(y, other))
    inside, value = family.graph_density(link, y, eta, 1.0, aux)
    value = pt.switch(exact, value, _graph_region(family, link, low, high, y, eta, aux))
    if limits:
        value = value - _graph_region(family, link, *limits, y, eta, aux)
    return pt.and_(inside, pt.invert(pt.isnan(value))), value


# ----------------------------------------------------------------------------------------------------------------------
# the record


@functools.cache
def as_observed(family: Family, censored: bool, truncated: bool) -> Family:
    """Return the record of a family whose responses are censored, truncated, or both.

    Mean, variance and distribution function stay those of the response before that; draws of it are inside the limits
    that they are given.
    """
    made, stem = _filled(family), "truncated" if truncated else "censored"
    words = [word for word, holds in (("truncated", truncated), ("censored", censored)) if holds]
    own = dict(normal=False, canonical="", whole_strip=False, concave_links=(), number=-1, cost=family.cost + COST)
    own |= dict(
        kernels=Kernels(made[f"{stem}_density"], made[f"{stem}_score"]),
        graph_density=functools.partial(_graph_density, family),
        draw=functools.partial(draw_inside, family),
    )
    return replace(family, observed=" and ".join(words), **own)


def again(name: str, link: str, censored: bool, truncated: bool) -> Family:
    """Return the record of one of the package's families again: what a copy in another process is made by."""
    return as_observed(get_family(name, link), censored, truncated)


def _copied(family: Family) -> tuple | str:
    """Return how a copy of a family is made: kernels that were made here cannot be looked up elsewhere."""
    if not family.observed:
        return object.__reduce_ex__(family, 2)
    return again, (family.name, family.link, "censored" in family.observed, "truncated" in family.observed)


copyreg.pickle(Family, _copied)
