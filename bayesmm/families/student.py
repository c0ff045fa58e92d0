"""Responses with outliers: Student's t about a location, with a scale and degrees of freedom."""

from dataclasses import replace

import numpy as np

from bayesmm.families import codes
from bayesmm.families.family import SIGMA, Auxiliary, Family
from bayesmm.families.residuals import Residual
from bayesmm.families.responses import Response, check_varies
from bayesmm.families.support import REAL
from bayesmm.runtime.messages import Message

Array = np.ndarray

START_NU = 5.0  # clearly not normal, and all its moments up to 4 exist
MAD_TO_SD = 1.4826  # of a normal variable


def check(response: Response) -> list[Message]:
    """Check a response with outliers: it varies."""
    check_varies(response.y.astype(np.float64), response.name)
    return []


def information_variance(mu: Array, aux: tuple) -> Array:
    """Return 1 / information about mu, which is finite for every nu, as the variance is not."""
    sigma, nu = aux
    return (nu + 3) / (nu + 1) * sigma**2 * np.ones_like(mu)


def scatter(aux: Array) -> Array:
    """Return the variance, infinite for nu of 2 or less."""
    sigma, nu = aux[0], aux[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(nu > 2, sigma**2 * nu / (nu - 2), np.inf)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    sigma, nu = aux
    return mu + sigma * rng.standard_t(nu, np.broadcast_shapes(np.shape(mu), np.shape(sigma), np.shape(nu)))


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma, by the median absolute deviation, and `START_NU`."""
    r = y - mu
    return np.array([MAD_TO_SD * np.median(np.abs(r)) or np.sqrt(np.nanmean(r**2)), START_NU])


def _on_identity(mean: None, aux: Array) -> Array:
    return scatter(aux)


# Juarez & Steel 2010, Journal of Business & Economic Statistics 28(1)
NU = Auxiliary("nu", r"\nu", "Gamma", {"alpha": 2, "beta": 0.1}, "degrees of freedom", limit="gaussian")

family = Family(
    name="student",
    code=codes.STUDENT,
    aliases=("t", "student_t", "studentt", "student-t"),
    links=("identity",),
    link="identity",
    support=REAL,
    parameters=(replace(SIGMA, label="scale (sigma)"), NU),
    check_response=check,
    variance=information_variance,
    draw=draw,
    residuals={"identity": Residual(_on_identity, "sigma^2 nu / (nu - 2), infinite for nu of 2 or less")},
    start=start,
    tex=r"\mathrm{StudentT}(\nu,\ \mu_{i},\ \sigma)",
    several_modes=("identity",),
    scatter=scatter,
)
