"""Categories without an order, by the odds of each beside the first (multinomial logit)."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.categories import along_predictor, functions
from bayesmm.families.cumulative import check
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import undefined
from bayesmm.families.support import CATEGORIES

Array = np.ndarray


def probabilities(link: str, eta: Array, odds: Sequence[Array]) -> Array:
    """Return P(Y = k), proportional to 1 for the first and to exp(eta + odds k) for the others, (..., K)."""
    eta = np.asarray(eta, dtype=float)
    parts = np.broadcast_arrays(0.0 * eta, *(eta + own for own in odds))
    sums = np.stack(parts, axis=-1)
    with np.errstate(invalid="ignore"):
        sums = np.exp(sums - sums.max(axis=-1, keepdims=True))
        return sums / sums.sum(axis=-1, keepdims=True)


def first_odds(link: str, shares: Array) -> Array:
    """Return the log odds with which categories have these probabilities."""
    return np.log(shares[1:]) - np.log(shares[0])


@kernel
def density(link, y, size, eta, aux):
    """Return the log probability of a category and three derivatives in eta, an offset; `size` have log odds.

    In eta it is that of a binary response, the first category or another.
    """
    top, own = 0.0, 0.0
    for k in range(int(size)):
        top = max(top, eta + aux[k])
        if k + 2 == y:
            own = eta + aux[k]
    first, others = math.exp(-top), 0.0
    for k in range(int(size)):
        others += math.exp(eta + aux[k] - top)
    p, q = others / (first + others), first / (first + others)
    d1 = q if y > 1.0 else -p
    return own - top - math.log(first + others), d1, -p * q, -p * q * (q - p)


@kernel
def scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the log odds: 1 for the row's category less the probability of each."""
    top = 0.0
    for k in range(int(size)):
        top = max(top, eta + aux[k])
    total = math.exp(-top)
    for k in range(int(size)):
        out[k] = math.exp(eta + aux[k] - top)
        total += out[k]
    for k in range(int(size)):
        out[k] = (1.0 if k + 2 == y else 0.0) - out[k] / total


@kernel
def joint(link, y, size, eta, aux, out):
    """Set `out` to the first three derivatives in eta, which is added to all log odds, and in these; see `Kernels`.

    The second and third are less the cumulants of the indicators of the categories, of which one is 1.
    """
    count = int(size)
    M = count + 1
    scores(link, y, size, eta, aux, out[1:])
    second, third = M, M + M * M
    for a in range(1, M):
        p = (1.0 if a + 1 == y else 0.0) - out[a]
        for b in range(1, M):
            q = (1.0 if b + 1 == y else 0.0) - out[b]
            both = p if a == b else 0.0
            out[second + a * M + b] = p * q - both
            for c in range(1, M):
                r = (1.0 if c + 1 == y else 0.0) - out[c]
                all_three = both if b == c else 0.0
                left = both * r + (p * q if a == c else 0.0) + (p * q if b == c else 0.0)
                out[third + (a * M + b) * M + c] = left - all_three - 2.0 * p * q * r
    along_predictor(M, 1.0, out)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there; `aux` are the log odds."""
    import pytensor.tensor as pt

    sums = [pt.zeros_like(eta), *(eta + odds for odds in aux)]
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
