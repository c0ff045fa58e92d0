"""Ordered categories that are reached one after the other: at each a latent variable says whether it goes on."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.categories import functions, together
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
def row_density(link, y, size, eta, aux):
    """Return the log probability of a category and three derivatives in eta: a sum over the steps up to it."""
    value, d1, d2, d3 = 0.0, 0.0, 0.0, 0.0
    for k in range(int(min(y, size))):
        ends = (-math.inf, aux[k]) if k + 1 == y else (aux[k], math.inf)
        part = density(link, y, 1.0, eta, ends)
        value += part[0]
        d1 += part[1]
        d2 += part[2]
        d3 += part[3]
    return value, d1, d2, d3


@kernel
def scores(link, y, size, eta, aux, out):
    """Set `out` to the derivatives in the thresholds, of which there are `size`."""
    for k in range(int(size)):
        out[k] = 0.0
        if k + 1 == y:
            out[k] = score_of_interval(link, y, 1.0, eta, (-math.inf, aux[k]))[1]
        elif k + 1 < y:
            out[k] = score_of_interval(link, y, 1.0, eta, (aux[k], math.inf))[0]


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
    kernels=Kernels(row_density, scores=scores),
    graph_density=graph_density,
    residuals={link: latent(link, "each step to a next category", published=False) for link in OF_PROBABILITIES},
    tex=r"P(Y = k \mid Y \ge k)",
    cost=140.0,
    **functions(probabilities),
)
