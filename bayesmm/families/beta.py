"""Proportions that are no counts, between 0 and 1: with the variance mu (1 - mu) / (1 + phi)."""

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families import codes
from bayesmm.families.draws import BELOW_ONE, SMALLEST, where_known
from bayesmm.families.family import Auxiliary, Family, dispersion_start
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.residuals import Residual, delta, trigamma
from bayesmm.families.responses import Response, check_places, check_varies
from bayesmm.families.support import PROPORTION
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check a response between 0 and 1, both excluded."""
    y = response.y.astype(np.float64)
    check_places(response, (y < 0) | (y > 1), "is outside 0 to 1", "the beta family needs values between 0 and 1")
    ends = (y == 0) | (y == 1)
    if ends.any():
        raise DataError(
            f"the response '{response.name}' is 0 or 1 in {response.rows.text(ends)}, and the beta family needs values "
            "between them; a usual remedy is to take (y * (n - 1) + 0.5) / n with n the number of rows "
            f"({len(y):,}), which moves them inside"
        )
    check_varies(y, response.name)
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu (1 - mu) / (1 + phi)."""
    return mu * (1 - mu) / (1 + aux[0])


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""

    def known(mean: Array) -> Array:
        a, b = np.maximum(mean * aux[0], SMALLEST), np.maximum((1 - mean) * aux[0], SMALLEST)
        return np.clip(np.nan_to_num(rng.beta(a, b), nan=0.5), SMALLEST, BELOW_ONE)

    return where_known(mu, known)


def start(y: Array, mu: Array) -> Array:
    """Return a first phi, by moments."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return dispersion_start(np.mean(mu * (1 - mu)) / np.nanmean((y - mu) ** 2) - 1)


def _on_logit(mean: Array, aux: Array) -> Array:
    """Return the variance of the difference of the logarithms of two gamma variables, which logit y is."""
    return trigamma(mean * aux[0]) + trigamma((1 - mean) * aux[0])


# Its prior makes 1 / phi exponential with mean 0.2: a distribution with one mode rather than two.
PHI = Auxiliary("phi", r"\phi", "InverseGamma", {"alpha": 1, "beta": 5}, "(variance: mean (1 - mean) / (1 + phi))")

family = Family(
    name="beta",
    code=codes.BETA,
    links=OF_PROBABILITIES,
    link="logit",
    support=PROPORTION,
    parameters=(PHI,),
    check_response=check,
    variance=variance,
    draw=draw,
    residuals={
        "logit": Residual(
            _on_logit,
            "trigamma(mean phi) + trigamma((1 - mean) phi), that of logit y at the mean response",
            needs_mean=True,
            published=False,
        ),
        "probit": delta(variance, "probit", published=False),
        "cloglog": delta(variance, "cloglog", published=False),
    },
    start=start,
    tex=r"\mathrm{Beta}(\text{mean } \mu_{i},\ \text{variance } \mu_{i} (1 - \mu_{i}) / (1 + \phi))",
    cost=280.0,
)
