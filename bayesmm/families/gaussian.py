"""Normal responses."""

import numpy as np

from bayesmm.families import codes
from bayesmm.families.family import SIGMA, Family
from bayesmm.families.residuals import Residual, lognormal
from bayesmm.families.responses import Response, check_varies
from bayesmm.families.support import REAL
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


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(np.square(aux[0] / mean))


family = Family(
    name="gaussian",
    code=codes.GAUSSIAN,
    aliases=("normal", "linear"),
    links=("identity", "log"),
    link="identity",
    support=REAL,
    parameters=(SIGMA,),
    check_response=check,
    variance=variance,
    draw=draw,
    residuals={"identity": Residual(_on_identity, "sigma^2"), "log": lognormal(_on_log, "sigma^2 / mean^2")},
    start=start,
    tex=r"\mathcal{N}(\mu_{i},\ \sigma^{2})",
    normal=True,
    several_modes=("log",),
    outliers="student",
    skewed="gamma",
)
