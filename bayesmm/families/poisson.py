"""Counts that vary as much as their means are large."""

import numpy as np

from bayesmm.families import codes
from bayesmm.families.draws import draw_counts, where_known
from bayesmm.families.family import Family
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import check_counts
from bayesmm.families.support import COUNTS

Array = np.ndarray


def variance(mu: Array, aux: tuple) -> Array:
    """Return the means."""
    return mu


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts."""
    return where_known(mu, lambda mean: draw_counts(rng, mean))


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(1 / mean)


family = Family(
    name="poisson",
    code=codes.POISSON,
    aliases=("count", "counts"),
    links=("log",),
    link="log",
    support=COUNTS,
    check_response=check_counts,
    variance=variance,
    draw=draw,
    residuals={"log": lognormal(_on_log, "1 / mean")},
    tex=r"\mathrm{Poisson}(\mu_{i})",
    overdispersed="negbinomial",
)
