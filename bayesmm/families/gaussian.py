"""Normal responses."""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.families.family import SIGMA, Family
from bayesmm.families.kernel import Kernels, Tails, Tensor, kernel
from bayesmm.families.links import LOG
from bayesmm.families.residuals import Residual, lognormal
from bayesmm.families.responses import Response, check_varies
from bayesmm.families.special import LOG_2PI, WILD, chained
from bayesmm.families.support import REAL
from bayesmm.families.tails import graph_normal_tails, normal_tails, normal_tails_score
from bayesmm.runtime.messages import Message, note, warning

Array = np.ndarray

COUNT_MEAN = 10  # a Poisson variable is usually taken as normal from a mean of 10 on; below, counts are worth a word


def check(response: Response) -> list[Message]:
    """Check a response that is taken as normal given the linear predictor; constant is an error."""
    y, name = response.y, response.name
    if y.dtype == bool:
        check_varies(y.astype(np.float64), name)
        said = f"the response '{name}' is true/false, and the gaussian family takes it as 1 and 0"
        return [warning(f"{said}; did you mean a bernoulli model?")]
    check_varies(y, name)
    distinct = np.unique(y)
    if len(distinct) == 2:
        values = " and ".join(f"{value:g}" for value in distinct)
        return [
            note(f"the response '{name}' has only two values ({values}), which the gaussian family takes as a scale")
        ]
    if distinct[0] >= 0 and y.mean() < COUNT_MEAN and np.array_equal(distinct, np.floor(distinct)):
        spread = f"whole numbers from {distinct[0]:g} to {distinct[-1]:g}"
        said = f"the response '{name}' holds {spread}"
        return [note(f"{said}; if these are counts, the gaussian family is an approximation")]
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return sigma^2 for each mean."""
    return aux[0] ** 2 * np.ones_like(mu)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    return rng.normal(mu, aux[0])


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma: the root of the mean square of y - mu."""
    return np.array([np.sqrt(np.nanmean((y - mu) ** 2))])


def _on_identity(mean: None, aux: Array) -> Array:
    return aux[0] ** 2


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import ndtr

    return ndtr((y - mu) / aux[0])


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    sigma = aux[0]
    if link == LOG:
        if eta > WILD:
            return -math.inf, 0.0, 0.0, 0.0
        mu = math.exp(eta)
        r, m = (y - mu) / sigma, mu / sigma
        return -0.5 * (LOG_2PI + r * r) - math.log(sigma), r * m, r * m - m * m, r * m - 3.0 * m * m
    r = (y - eta) / sigma
    return -0.5 * (LOG_2PI + r * r) - math.log(sigma), r / sigma, -1.0 / sigma / sigma, 0.0


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in sigma."""
    mu = math.exp(min(eta, WILD)) if link == LOG else eta
    return (((y - mu) / aux[0]) ** 2 - 1.0) / aux[0], 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    mu = pt.exp(pt.minimum(eta, WILD)) if link == "log" else eta
    z = (y - mu) / aux[0]
    inside = eta < WILD if link == "log" else pt.ones_like(eta, dtype=bool)
    return inside, -0.5 * (z**2 + np.log(2 * np.pi)) - pt.log(aux[0])


@kernel
def tails(link, y, eta, aux):
    """Return log P(Y <= y) and log P(Y > y), each with three derivatives in eta: see `Tails`."""
    if link == LOG:
        mu = math.exp(min(eta, WILD))
        below, above = normal_tails((y - mu) / aux[0], aux[0])
        return (
            chained(below[0], below[1], below[2], below[3], mu, mu, mu),
            chained(above[0], above[1], above[2], above[3], mu, mu, mu),
        )
    return normal_tails((y - eta) / aux[0], aux[0])


@kernel
def tails_score(link, y, eta, aux):
    """Return the derivatives of the same in the parameters."""
    mu = math.exp(min(eta, WILD)) if link == LOG else eta
    return normal_tails_score((y - mu) / aux[0], aux[0])


def graph_tails(link: str, y: Tensor, eta: Tensor, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return log P(Y <= y) and log P(Y > y)."""
    import pytensor.tensor as pt

    return graph_normal_tails((y - (pt.exp(pt.minimum(eta, WILD)) if link == "log" else eta)) / aux[0])


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(np.square(aux[0] / mean))


family = Family(
    name="gaussian",
    aliases=("normal", "linear"),
    links=("identity", "log"),
    link="identity",
    support=REAL,
    parameters=(SIGMA,),
    check_response=check,
    variance=variance,
    draw=draw,
    cdf=cdf,
    tails=Tails(tails, tails_score, graph_tails),
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"identity": Residual(_on_identity, "sigma^2"), "log": lognormal(_on_log, "sigma^2 / mean^2")},
    start=start,
    tex=r"\mathcal{N}(\mu_{i},\ \sigma^{2})",
    normal=True,
    several_modes=("log",),
    outliers="student",
    skewed="gamma",
)
