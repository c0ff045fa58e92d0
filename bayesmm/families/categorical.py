"""Categories without an order, by the odds of each beside the first (multinomial logit)."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.categories import functions
from bayesmm.families.cumulative import check
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import undefined
from bayesmm.families.support import CATEGORIES

Array = np.ndarray


def probabilities(link: str, eta: Array, odds: Sequence[Array]) -> Array:
    """Return P(Y = k), proportional to 1 for the first and to exp(odds k) for the others, (..., K)."""
    parts = np.broadcast_arrays(np.zeros_like(np.asarray(eta, dtype=float)), *odds)
    sums = np.stack(parts, axis=-1)
    with np.errstate(invalid="ignore"):
        sums = np.exp(sums - sums.max(axis=-1, keepdims=True))
        return sums / sums.sum(axis=-1, keepdims=True)


def first_odds(link: str, shares: Array) -> Array:
    """Return the log odds with which categories have these probabilities."""
    return np.log(shares[1:]) - np.log(shares[0])


@kernel
def density(link, y, size, eta, aux):
    """Return the log probability of a category, which does not depend on eta; `size` is how many have log odds."""
    top, own = 0.0, 0.0
    for k in range(int(size)):
        top = max(top, aux[k])
        if k + 2 == y:
            own = aux[k]
    total = math.exp(-top)
    for k in range(int(size)):
        total += math.exp(aux[k] - top)
    return own - top - math.log(total), 0.0, 0.0, 0.0


@kernel
def scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the log odds: 1 for the row's category less the probability of each."""
    top = 0.0
    for k in range(int(size)):
        top = max(top, aux[k])
    total = math.exp(-top)
    for k in range(int(size)):
        out[k] = math.exp(aux[k] - top)
        total += out[k]
    for k in range(int(size)):
        out[k] = (1.0 if k + 2 == y else 0.0) - out[k] / total


@kernel
def joint(link, y, size, eta, aux, out):
    """Set `out` to the first three derivatives in eta, on which nothing depends, and in the log odds; see `Kernels`.

    The second and third are less the cumulants of the indicators of the categories, of which one is 1.
    """
    count = int(size)
    M = count + 1
    scores(link, y, size, eta, aux, out[1:])
    out[0] = 0.0
    second, third = M, M + M * M
    for a in range(M):
        p = (1.0 if a + 1 == y else 0.0) - out[a] if a > 0 else 0.0
        for b in range(M):
            q = (1.0 if b + 1 == y else 0.0) - out[b] if b > 0 else 0.0
            both = p if a == b else 0.0
            out[second + a * M + b] = p * q - both
            for c in range(M):
                r = (1.0 if c + 1 == y else 0.0) - out[c] if c > 0 else 0.0
                all_three = both if b == c else 0.0
                left = both * r + (p * q if a == c else 0.0) + (p * q if b == c else 0.0)
                out[third + (a * M + b) * M + c] = left - all_three - 2.0 * p * q * r


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there; `aux` are the log odds."""
    import pytensor.tensor as pt

    sums = [pt.zeros_like(eta), *(pt.zeros_like(eta) + odds for odds in aux)]
    own = sums[0]
    for k, value in enumerate(sums[1:], start=2):
        own = pt.switch(pt.eq(y, k), value, own)
    return pt.ones_like(eta, dtype=bool), own - pt.logsumexp(pt.stack(sums, axis=-1), axis=-1)


family = Family(
    name="categorical",
    aliases=("multinomial", "multinom", "mlogit", "softmax", "multinomial logit", "nominal", "unordered"),
    links=("logit",),
    concave_links=("logit",),
    link="logit",
    support=CATEGORIES,
    check_response=check,
    first_thresholds=first_odds,
    ascending=False,
    every=True,
    nominal=True,
    kernels=Kernels(density, scores=scores, joint=joint),
    graph_density=graph_density,
    residuals={"logit": undefined("categories without an order have no one scale")},
    cost=200.0,
    **functions(probabilities),
)
