"""Counts that vary more than Poisson ones: with the variance mu + mu^2 / shape."""

import numpy as np

from bayesmm.families import codes
from bayesmm.families.draws import LARGEST_COUNT, draw_counts, draw_gamma_factors, where_known
from bayesmm.families.family import LARGEST_START, Auxiliary, Family, dispersion_start
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import check_counts
from bayesmm.families.support import COUNTS

Array = np.ndarray


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu + mu^2 / shape."""
    return mu + mu**2 / aux[0]


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts."""

    def known(mean: Array) -> Array:
        factor = draw_gamma_factors(rng, aux[0], mean)
        return draw_counts(rng, np.minimum(mean, LARGEST_COUNT) * factor)

    return where_known(mu, known)


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, by moments."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        square = np.mean(mu**2)
        return dispersion_start(square / max(np.mean((y - mu) ** 2 - mu), square / LARGEST_START))


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(1 / mean + 1 / aux[0])


# Its prior makes 1 / shape, the excess variance, highest at 0 (the Poisson distribution), with a mean of 1.3.
SHAPE = Auxiliary(
    "shape", r"\kappa", "InverseGamma", {"alpha": 0.4, "beta": 0.3}, "(variance: mean + mean^2 / shape)",
    limit="poisson",
)  # fmt: skip

family = Family(
    name="negbinomial",
    code=codes.NEGBINOMIAL,
    aliases=("nbinom2", "nbinom", "negativebinomial", "negative binomial", "negative_binomial"),
    links=("log",),
    link="log",
    support=COUNTS,
    parameters=(SHAPE,),
    check_response=check_counts,
    variance=variance,
    draw=draw,
    residuals={"log": lognormal(_on_log, "1 / mean + 1 / shape")},
    start=start,
    tex=r"\mathrm{NegBinomial}(\text{mean } \mu_{i},\ \text{variance } \mu_{i} + \mu_{i}^{2} / \kappa)",
)
