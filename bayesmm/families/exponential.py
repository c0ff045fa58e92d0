"""Responses above 0 whose sd is their mean: waiting times without memory."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.binomial import log_one_minus_exp
from bayesmm.families.draws import SMALLEST, where_known
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.links import LOG
from bayesmm.families.residuals import Residual, delta
from bayesmm.families.special import WILD, chained
from bayesmm.families.support import POSITIVE
from bayesmm.families.tails import no_tails_score

Array = np.ndarray


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu^2."""
    return mu**2


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    return where_known(mu, lambda mean: np.maximum(rng.standard_exponential(np.shape(mean)) * mean, SMALLEST))


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    return -np.expm1(-np.maximum(y, 0.0) / mu)


def _on_log(mean: None, aux: Array) -> Array:
    return np.pi**2 / 6


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    if link == LOG:
        if eta < -WILD:
            return -math.inf, 0.0, 0.0, 0.0
        s = y * math.exp(-eta)
        return -eta - s, s - 1.0, -s, s
    if eta <= 0.0:
        return -math.inf, 0.0, 0.0, 0.0
    r = 1.0 / eta
    return math.log(eta) - y * eta, r - y, -r * r, 2.0 * r * r * r


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    if link == "log":
        return eta > -WILD, -eta - y * pt.exp(-pt.maximum(eta, -WILD))
    above = pt.switch(eta > 0, eta, 1.0)
    return eta > 0, pt.log(above) - y * above


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), with their derivatives in eta: see `Tails`; t is log(y / mu)."""
    if link == LOG:
        t = math.log(y) - eta
        w = math.exp(min(t, WILD))
        value, g1, g2, g3 = log_one_minus_exp(t)[0]
        return (value, -g1, g2, -g3), (-w, w, -w, w)
    if eta <= 0.0:
        return (-math.inf, 0.0, 0.0, 0.0), (-math.inf, 0.0, 0.0, 0.0)
    value, g1, g2, g3 = log_one_minus_exp(math.log(y * eta))[0]
    r = 1.0 / eta
    return chained(value, g1, g2, g3, r, -r * r, 2.0 * r * r * r), (-y * eta, -y, 0.0, 0.0)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    w = y * (pt.exp(pt.minimum(-eta, WILD)) if link == "log" else pt.switch(eta > 0, eta, 1.0))
    return pt.log1mexp(-w), -w


family = Family(
    name="exponential",
    links=("log", "inverse"),
    link="log",
    concave_links=("log",),
    support=POSITIVE,
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, no_tails_score, graph_tails),
    kernels=Kernels(density),
    cost=22.0,
    graph_density=graph_density,
    residuals={
        "log": Residual(_on_log, "pi^2 / 6, that of log y", published=False),
        "inverse": delta(variance, "inverse", published=False),
    },
    tex=r"\mathrm{Exponential}(\text{mean } \mu_{i})",
)
