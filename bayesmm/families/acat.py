"""Ordered categories by the odds of each two neighbours: adjacent categories (partial credit)."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.categories import along_discrimination, along_predictor, functions, scaled_family, together
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
def neighbours(y, size, eta, aux, disc):
    """Return the log probability and three derivatives in disc eta: of y disc eta - log sum exp(k disc eta - ...)."""
    own, at, top = 0.0, 0.0, 0.0
    for k in range(int(size)):
        at += disc * (eta - aux[k])
        top = max(top, at)
        if k + 2 <= y:
            own = at
    at, total, first = -top, math.exp(-top), 0.0
    for k in range(int(size)):
        at += disc * (eta - aux[k])
        total += math.exp(at)
        first += (k + 1.0) * math.exp(at)
    mean, at = first / total, -top
    second, third = math.exp(-top) * mean * mean, -math.exp(-top) * mean * mean * mean
    for k in range(int(size)):
        at += disc * (eta - aux[k])
        left = k + 1.0 - mean
        second += math.exp(at) * left * left
        third += math.exp(at) * left * left * left
    return own - top - math.log(total), y - 1.0 - mean, -second / total, -third / total


@kernel
def density(link, y, size, eta, aux):
    """Return the log probability of a category and three derivatives in eta."""
    return neighbours(y, size, eta, aux, 1.0)


@kernel
def set_above(y, size, eta, aux, disc, out):
    """Set `out` to the derivatives in disc times the thresholds: P(Y > k), less 1 where the category is above."""
    at, top = 0.0, 0.0
    for k in range(int(size)):
        at += disc * (eta - aux[k])
        top = max(top, at)
    at, total = -top, math.exp(-top)
    for k in range(int(size)):
        at += disc * (eta - aux[k])
        out[k] = math.exp(at)
        total += out[k]
    above = 0.0
    for k in range(int(size) - 1, -1, -1):
        above += out[k]
        out[k] = above / total - (1.0 if y > k + 1 else 0.0)


@kernel
def scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the thresholds."""
    set_above(y, size, eta, aux, 1.0, out)


@kernel
def joint(link, y, size, eta, aux, out):
    """Set `out` to the first three derivatives in eta and in the thresholds; see `Kernels`.

    In the thresholds the second are less the covariances of the indicators of Y > k, the third their third cumulants.
    """
    count = int(size)
    M = count + 1
    scores(link, y, size, eta, aux, out[1:])
    second, third = M, M + M * M
    for a in range(1, M):  # P(Y > a) is the score and 1 where y > a
        p = out[a] + (1.0 if y > a else 0.0)
        for b in range(1, M):
            q, both = out[b] + (1.0 if y > b else 0.0), out[max(a, b)] + (1.0 if y > max(a, b) else 0.0)
            out[second + a * M + b] = p * q - both
            for c in range(1, M):
                r, last = out[c] + (1.0 if y > c else 0.0), max(a, b, c)
                all_three = out[last] + (1.0 if y > last else 0.0)
                first = out[max(b, c)] + (1.0 if y > max(b, c) else 0.0)
                other = out[max(a, c)] + (1.0 if y > max(a, c) else 0.0)
                cumulant = all_three - p * first - q * other - r * both + 2.0 * p * q * r
                out[third + (a * M + b) * M + c] = cumulant
    along_predictor(M, -1.0, out)


@kernel
def scaled_density(link, y, size, eta, aux):
    """Return `density` where the last of the parameters, disc, multiplies the others and eta."""
    d = aux[int(size)]
    value, d1, d2, d3 = neighbours(y, size, eta, aux, d)
    return value, d * d1, d * d * d2, d * d * d * d3


@kernel
def scaled_scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the thresholds and in disc."""
    set_above(y, size, eta, aux, aux[int(size)], out)
    along_discrimination(int(size), eta, aux, out)


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
    kernels=Kernels(density, scores=scores, joint=joint),
    graph_density=graph_density,
    residuals={"logit": undefined("no latent variable is behind adjacent categories")},
    tex=r"P(Y = k \mid Y \in \{k, k + 1\})",
    cost=155.0,
    **functions(probabilities),
)
family = replace(family, scaled=scaled_family(family, Kernels(scaled_density, scores=scaled_scores)))
