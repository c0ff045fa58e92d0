"""Reaction times and their like: ndt plus a log-normal variable, whose median mu is.

ndt, the time without a decision, is below all responses. The likelihood has no maximum: it grows without end where ndt
comes close to the smallest response and sigma grows (Hill 1963, Journal of the American Statistical Association
58(301)). What a search finds is the highest point away from there, where there is one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families import lognormal as base
from bayesmm.families.family import SIGMA, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.lognormal import density as base_density
from bayesmm.families.residuals import Residual
from bayesmm.families.special import LOG_2PI
from bayesmm.families.support import POSITIVE
from bayesmm.families.tails import graph_normal_tails, normal_tails, normal_tails_score

Array = np.ndarray

START = 0.5  # of the smallest response: where ndt starts
NOWHERE = (-math.inf, 0.0, 0.0, 0.0)  # the logarithm of a probability of 0, and of its slopes there is none


def mean(mu: Array, aux: tuple) -> Array:
    """Return ndt + mu exp(sigma^2 / 2)."""
    return aux[1] + base.mean(mu, aux)


def variance(mu: Array, aux: tuple) -> Array:
    """Return that of the log-normal variable."""
    return base.variance(mu, aux)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    return aux[1] + base.draw(rng, mu, trials, aux)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    return base.cdf(np.asarray(y) - aux[1], mu, trials, aux)


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma, and half of the smallest response as ndt."""
    ndt = START * float(np.min(y))
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.log(y - ndt) - np.log(np.maximum(mu - ndt, START * float(np.mean(y))))
    spread = float(np.nanstd(shift))
    return np.array([spread if np.isfinite(spread) and spread > 0 else 1.0, ndt])


def _below_all(y: Array) -> tuple[float, float]:
    """Return what ndt is between."""
    return 0.0, float(np.min(y))


def _prior(y: Array) -> Mapping[str, float]:
    """Return the ends of a uniform prior, up to the smallest response."""
    return dict(zip(("lower", "upper"), _below_all(y), strict=True))


def _on_log(mean: None, aux: Array) -> Array:
    return aux[0] ** 2


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; there is none at ndt and below it."""
    if not y > aux[1]:
        return NOWHERE
    return base_density(link, y - aux[1], size, eta, aux)


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in sigma and ndt."""
    if not y > aux[1]:
        return 0.0, 0.0
    z = (math.log(y - aux[1]) - eta) / aux[0]
    return (z * z - 1.0) / aux[0], (1.0 + z / aux[0]) / (y - aux[1])


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    inside, log_y = _graph_log(y, aux[1])
    z = (log_y - eta) / aux[0]
    return pt.and_(inside, pt.ones_like(eta, dtype=bool)), -0.5 * (z**2 + LOG_2PI) - pt.log(aux[0]) - log_y


def _graph_log(y: Tensor, ndt: Tensor) -> tuple[Tensor, Tensor]:
    """Return where y is above ndt, and the logarithm of what is above it, 0 elsewhere."""
    import pytensor.tensor as pt

    inside = pt.gt(y, ndt)
    return inside, pt.log(pt.switch(inside, y - ndt, 1.0))


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    if not y > aux[1]:
        return NOWHERE, (0.0, 0.0, 0.0, 0.0)
    return normal_tails((math.log(y - aux[1]) - eta) / aux[0], aux[0])


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in sigma and ndt."""
    if not y > aux[1]:
        return (0.0, 0.0), (0.0, 0.0)
    z = (math.log(y - aux[1]) - eta) / aux[0]
    below, above = normal_tails(z, aux[0])
    first, last = normal_tails_score(z, aux[0])
    rate = 1.0 / (y - aux[1])  # z falls with ndt at rate / sigma, and with eta at 1 / sigma
    return (first[0], below[1] * rate), (last[0], above[1] * rate)


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    inside, log_y = _graph_log(y, aux[1])
    below, above = graph_normal_tails((log_y - eta) / aux[0])
    return pt.switch(inside, below, -np.inf), pt.switch(inside, above, 0.0)


NDT = Auxiliary(
    "ndt", r"\tau", "Uniform", _prior, "(below all responses)", limit="lognormal", limit_at=0.0, within=_below_all
)  # fmt: skip

family = Family(
    name="shifted_lognormal",
    aliases=("shifted-lognormal", "shifted_log_normal", "shifted log-normal", "lognormal3"),
    links=("log",),
    link="log",
    concave_links=("log",),
    support=POSITIVE,
    parameters=(replace(SIGMA, label="sd of log(y - ndt) (sigma)", unit="units of log y", of=np.log), NDT),
    mean=mean,
    proportional=False,
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score),
    cost=60.0,
    graph_density=graph_density,
    residuals={"log": Residual(_on_log, "sigma^2, that of log(y - ndt)", published=False)},
    start=start,
    tex=r"\tau + \mathrm{LogNormal}(\text{median } \mu_{i},\ \sigma)",
)
