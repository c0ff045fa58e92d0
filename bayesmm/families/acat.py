"""Ordered categories by the odds of each two neighbours: adjacent categories (partial credit)."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.categories import functions, together
from bayesmm.families.cumulative import check
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import undefined
from bayesmm.families.support import CATEGORIES

Array = np.ndarray


def probabilities(link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return P(Y = k), proportional to the exponential of the sum of eta - threshold j, j < k, (..., K)."""
    steps = together(eta, thresholds)
    sums = np.concatenate([np.zeros((*steps.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)
    with np.errstate(invalid="ignore"):  # of a predictor that is NaN
        sums = np.exp(sums - sums.max(axis=-1, keepdims=True))
        return sums / sums.sum(axis=-1, keepdims=True)


def first_thresholds(link: str, shares: Array) -> Array:
    """Return the thresholds with which categories have these probabilities where eta is 0."""
    return np.log(shares[:-1]) - np.log(shares[1:])


@kernel
def density(link, y, size, eta, aux):
    """Return the log probability of a category and three derivatives in eta: of y eta - log sum exp(k eta - ...)."""
    own, at, top = 0.0, 0.0, 0.0
    for k in range(int(size)):
        at += eta - aux[k]
        top = max(top, at)
        if k + 2 <= y:
            own = at
    at, total, first = -top, math.exp(-top), 0.0
    for k in range(int(size)):
        at += eta - aux[k]
        total += math.exp(at)
        first += (k + 1.0) * math.exp(at)
    mean, at = first / total, -top
    second, third = math.exp(-top) * mean * mean, -math.exp(-top) * mean * mean * mean
    for k in range(int(size)):
        at += eta - aux[k]
        left = k + 1.0 - mean
        second += math.exp(at) * left * left
        third += math.exp(at) * left * left * left
    return own - top - math.log(total), y - 1.0 - mean, -second / total, -third / total


@kernel
def scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the thresholds: P(Y > k), less 1 where the category is above."""
    at, top = 0.0, 0.0
    for k in range(int(size)):
        at += eta - aux[k]
        top = max(top, at)
    at, total = -top, math.exp(-top)
    for k in range(int(size)):
        at += eta - aux[k]
        out[k] = math.exp(at)
        total += out[k]
    above = 0.0
    for k in range(int(size) - 1, -1, -1):
        above += out[k]
        out[k] = above / total - (1.0 if y > k + 1 else 0.0)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there; `aux` are all thresholds."""
    import pytensor.tensor as pt

    sums = [pt.zeros_like(eta)]
    for tau in aux:
        sums.append(sums[-1] + eta - tau)
    own = sums[0]
    for k, value in enumerate(sums[1:], start=2):
        own = pt.switch(pt.eq(y, k), value, own)
    return pt.ones_like(eta, dtype=bool), own - pt.logsumexp(pt.stack(sums, axis=-1), axis=-1)


family = Family(
    name="acat",
    aliases=("adjacent categories", "adjacent category", "adjacent", "partial credit", "adjacent logit"),
    links=("logit",),
    concave_links=("logit",),
    link="logit",
    support=CATEGORIES,
    check_response=check,
    first_thresholds=first_thresholds,
    ascending=False,
    every=True,
    kernels=Kernels(density, scores=scores),
    graph_density=graph_density,
    residuals={"logit": undefined("no latent variable is behind adjacent categories")},
    tex=r"P(Y = k \mid Y \in \{k, k + 1\})",
    cost=155.0,
    **functions(probabilities),
)
