"""Responses above 0, whose sd is proportional to their mean: with the variance mu^2 / shape."""

import numpy as np

from bayesmm.families import codes
from bayesmm.families.draws import SMALLEST, draw_gamma_factors, where_known
from bayesmm.families.family import Auxiliary, Family, dispersion_start
from bayesmm.families.residuals import Residual, delta, trigamma
from bayesmm.families.responses import Response, check_places, check_varies
from bayesmm.families.support import POSITIVE
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check a response above 0."""
    y = response.y.astype(np.float64)
    how = "is 0 or less" if (y < 0).any() else "is 0"
    check_places(response, y <= 0, how, "the gamma family needs values above 0")
    check_varies(y, response.name)
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu^2 / shape."""
    return mu**2 / aux[0]


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(mean: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.maximum(mean * draw_gamma_factors(rng, aux[0], mean), SMALLEST)

    return where_known(mu, known)


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by moments."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return dispersion_start(1 / np.nanmean(((y - mu) / mu) ** 2))


def _on_log(mean: None, aux: Array) -> Array:
    return trigamma(aux[0])


# Its prior makes 1 / shape, the squared coefficient of variation, exponential with mean 1.
SHAPE = Auxiliary("shape", r"\kappa", "InverseGamma", {"alpha": 1, "beta": 1}, "(variance: mean^2 / shape)")

family = Family(
    name="gamma",
    code=codes.GAMMA,
    links=("log", "inverse"),
    link="log",
    support=POSITIVE,
    parameters=(SHAPE,),
    check_response=check,
    variance=variance,
    draw=draw,
    residuals={"log": Residual(_on_log, "trigamma(shape), that of log y"), "inverse": delta(variance, "inverse")},
    start=start,
    tex=r"\mathrm{Gamma}(\text{mean } \mu_{i},\ \text{variance } \mu_{i}^{2} / \kappa)",
)
