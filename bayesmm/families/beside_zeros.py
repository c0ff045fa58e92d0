"""Families made of another one and of zeros: what follows from the other, whatever it is.

The probability of a zero is the parameter after the other family's own. Of counts three families are made: with more
zeros (zero-inflated), above 0 only (zero-truncated), and of these two what is 0 with a probability of its own (hurdle);
of values that are never 0, one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.families.family import Family
from bayesmm.families.kernel import Tensor
from bayesmm.families.with_first import With
from bayesmm.families.zeros import (
    above_zero_cdf,
    above_zero_moments,
    graph_above_zero,
    graph_beside_zeros,
    graph_hurdle,
    graph_inflated,
    inflated_cdf,
    inflated_variance,
    share_seen,
    sometimes_zero,
)

Array = np.ndarray


@dataclass(frozen=True)
class Counts:
    """A family of counts, log P(Y = 0) as a function of mu and its parameters, and random counts above 0."""

    family: Family
    log_zero: Callable
    draw_above_zero: Callable


# ----------------------------------------------------------------------------------------------------------------------
# more zeros


def inflated_of(base: Family) -> dict[str, object]:
    """Return what `Family` takes for what is 0 with a probability, and otherwise as `base`."""
    return {
        "mean": With(_inflated_mean, base),
        "variance": With(_inflated_variance, base),
        "draw": With(_inflated_draw, base),
        "cdf": With(_inflated_cdf, base),
        "graph_density": With(_inflated_graph, base),
    }


def _inflated_mean(base: Family, mu: Array, aux: tuple) -> Array:
    """Return (1 - p) times the other mean."""
    k = len(base.parameters)
    return (1 - aux[k]) * base.expected(mu, aux[:k])


def _inflated_variance(base: Family, mu: Array, aux: tuple) -> Array:
    """Return (1 - p) (the variance without extra zeros + p mean^2)."""
    k = len(base.parameters)
    return inflated_variance(base.expected(mu, aux[:k]), base.variance(mu, aux[:k]), aux[k])


def _inflated_draw(base: Family, rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    k = len(base.parameters)
    return sometimes_zero(rng, base.draw(rng, mu, trials, aux[:k]), aux[k])


def _inflated_cdf(base: Family, y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    k = len(base.parameters)
    return inflated_cdf(base.cdf(y, mu, trials, aux[:k]), y, aux[k])


def _inflated_graph(
    base: Family, link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there, in PyTensor."""
    k = len(base.parameters)
    return graph_inflated(lambda at: base.graph_density(link, at, eta, trials, aux[:k]), aux[k], y)


# ----------------------------------------------------------------------------------------------------------------------
# counts above 0


def above_zero_of(counts: Counts) -> dict[str, object]:
    """Return what `Family` takes for counts given that they are above 0."""
    return {
        "mean": With(_above_zero_mean, counts),
        "variance": With(_above_zero_variance, counts),
        "draw": counts.draw_above_zero,
        "cdf": With(_above_zero_cdf, counts),
        "graph_density": With(_above_zero_graph, counts),
    }


def _above_zero_moments(counts: Counts, mu: Array, aux: tuple) -> tuple[Array, Array]:
    return above_zero_moments(mu, counts.family.variance(mu, aux), counts.log_zero(mu, aux))


def _above_zero_mean(counts: Counts, mu: Array, aux: tuple) -> Array:
    """Return mu / (1 - P(0)), P(0) being that of the counts before."""
    return _above_zero_moments(counts, mu, aux)[0]


def _above_zero_variance(counts: Counts, mu: Array, aux: tuple) -> Array:
    """Return the variance of the response."""
    return _above_zero_moments(counts, mu, aux)[1]


def _above_zero_cdf(counts: Counts, y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    return above_zero_cdf(counts.family.cdf(y, mu, trials, aux), y, np.exp(counts.log_zero(mu, aux)))


def _above_zero_graph(
    counts: Counts, link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there, in PyTensor."""
    return graph_above_zero(lambda at: counts.family.graph_density(link, at, eta, trials, aux), y)


# ----------------------------------------------------------------------------------------------------------------------
# a hurdle before counts above 0


def hurdle_of(truncated: Family, counts: Counts) -> dict[str, object]:
    """Return what `Family` takes for what is 0 with a probability, and otherwise a count above 0, as `truncated`."""
    return inflated_of(truncated) | {"graph_density": With(_hurdle_graph, counts)}


def _hurdle_graph(
    counts: Counts, link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there, in PyTensor."""
    k = len(counts.family.parameters)
    return graph_hurdle(lambda at: counts.family.graph_density(link, at, eta, trials, aux[:k]), aux[k], y)


# ----------------------------------------------------------------------------------------------------------------------
# zeros beside values that are never 0


def beside_zeros_of(base: Family) -> dict[str, object]:
    """Return what `Family` takes for what is 0 with a probability, and otherwise as `base`, whose values are not 0."""
    return inflated_of(base) | {"graph_density": With(_beside_graph, base), "start": With(_beside_start, base)}


def _beside_start(base: Family, y: Array, mu: Array) -> Array:
    """Return first values of the base's parameters, by what is above 0, and the share of zeros."""
    some = y > 0
    return np.array([*(base.first(y[some], mu[some]) if some.any() else np.ones(1)), share_seen(y)])


def _beside_graph(
    base: Family, link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there, in PyTensor."""
    k = len(base.parameters)
    return graph_beside_zeros(lambda at: base.graph_density(link, at, eta, trials, aux[:k]), aux[k], y)
