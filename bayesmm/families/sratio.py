"""Ordered categories that are reached one after the other: at each a latent variable says whether it goes on."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.categories import along_discrimination, along_predictor, functions, scaled_family, together
from bayesmm.families.cumulative import check, density, graph_log_cdfs
from bayesmm.families.cumulative import score as score_of_interval
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import LINKS, OF_PROBABILITIES
from bayesmm.families.residuals import latent
from bayesmm.families.support import CATEGORIES

Array = np.ndarray


def probabilities(link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return P(Y = k) = F(threshold k - eta) times the product of 1 - F(threshold j - eta), j < k, (..., K)."""
    at = -together(eta, thresholds)
    with np.errstate(over="ignore"):  # 1 - F by itself: a difference from 1 has no digits of a small one
        goes = np.exp(-np.exp(at)) if link == "cloglog" else LINKS[link].inverse(-at)
    stops, whole = LINKS[link].inverse(at), np.ones((*at.shape[:-1], 1))
    reached = np.concatenate([whole, np.cumprod(goes, axis=-1)], axis=-1)
    return reached * np.concatenate([stops, whole], axis=-1)


def first_thresholds(link: str, shares: Array) -> Array:
    """Return the thresholds with which categories have these probabilities where eta is 0."""
    reached = np.cumsum(shares[::-1])[::-1]
    return LINKS[link].function(shares[:-1] / reached[:-1])


@kernel
def steps_to(link, y, size, eta, aux, disc):
    """Return the log probability of a category and three derivatives in disc eta: a sum over the steps up to it."""
    value, d1, d2, d3 = 0.0, 0.0, 0.0, 0.0
    for k in range(int(min(y, size))):
        at = disc * (aux[k] - eta)
        ends = (-math.inf, at) if k + 1 == y else (at, math.inf)
        part = density(link, y, 1.0, 0.0, ends)
        value += part[0]
        d1 += part[1]
        d2 += part[2]
        d3 += part[3]
    return value, d1, d2, d3


@kernel
def set_steps(link, y, size, eta, aux, disc, out):
    """Set `out` to the derivatives in disc times each of the `size` thresholds."""
    for k in range(int(size)):
        out[k], at = 0.0, disc * (aux[k] - eta)
        if k + 1 == y:
            out[k] = score_of_interval(link, y, 1.0, 0.0, (-math.inf, at))[1]
        elif k + 1 < y:
            out[k] = score_of_interval(link, y, 1.0, 0.0, (at, math.inf))[0]


@kernel
def row_density(link, y, size, eta, aux):
    """Return the log probability of a category and three derivatives in eta."""
    return steps_to(link, y, size, eta, aux, 1.0)


@kernel
def scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the thresholds."""
    set_steps(link, y, size, eta, aux, 1.0, out)


@kernel
def joint(link, y, size, eta, aux, out):
    """Set `out` to the first three derivatives in eta and in the thresholds; see `Kernels`.

    Each threshold is that of one step: no two of them are in one term of the density.
    """
    count = int(size)
    M = count + 1
    scores(link, y, size, eta, aux, out[1:])
    second, third = M, M + M * M
    for k in range(second, third + M * M * M):
        out[k] = 0.0
    for k in range(int(min(y, size))):
        ends = (-math.inf, aux[k]) if k + 1 == y else (aux[k], math.inf)
        part, a = density(link, y, 1.0, eta, ends), k + 1
        out[second + a * M + a] = part[2]
        out[third + (a * M + a) * M + a] = -part[3]
    along_predictor(M, -1.0, out)


@kernel
def scaled_density(link, y, size, eta, aux):
    """Return `row_density` where the last of the parameters, disc, multiplies the others and eta."""
    d = aux[int(size)]
    value, d1, d2, d3 = steps_to(link, y, size, eta, aux, d)
    return value, d * d1, d * d * d2, d * d * d * d3


@kernel
def scaled_scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the thresholds and in disc."""
    set_steps(link, y, size, eta, aux, aux[int(size)], out)
    along_discrimination(int(size), eta, aux, out)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there; `aux` are all thresholds."""
    import pytensor.tensor as pt

    lower, upper = graph_log_cdfs(link)
    value = pt.zeros_like(eta)
    for k, tau in enumerate(aux, start=1):
        value = value + pt.switch(pt.eq(y, k), lower(tau - eta), pt.switch(y > k, upper(tau - eta), 0.0))
    return pt.ones_like(eta, dtype=bool), value


family = Family(
    name="sratio",
    aliases=("stopping ratio", "sequential", "continuation ratio", "cratio", "crm", "sequential logit"),
    links=OF_PROBABILITIES,
    concave_links=OF_PROBABILITIES,
    link="logit",
    support=CATEGORIES,
    check_response=check,
    first_thresholds=first_thresholds,
    ascending=False,
    every=True,
    kernels=Kernels(row_density, scores=scores, joint=joint),
    graph_density=graph_density,
    residuals={link: latent(link, "each step to a next category", published=False) for link in OF_PROBABILITIES},
    tex=r"P(Y = k \mid Y \ge k)",
    cost=140.0,
    **functions(probabilities),
)
family = replace(family, scaled=scaled_family(family, Kernels(scaled_density, scores=scaled_scores)))
