"""The scales that default priors are measured in: the response's with an identity link, the link's otherwise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bayesmm.design.records import Design
from bayesmm.families.families import LINKS, Family
from bayesmm.priors.prior import Prior

MAD_TO_SD = 1.4826  # 1 / the 0.75 quantile of N(0, 1): makes the MAD of a normal sample its sd, as R's mad() does
# Multiples of one unit: (prior sd of the intercept at the predictors' means, of a standardised coefficient, scale of
# the sds of intercepts, of standardised slopes). The unit is one sd of the response with an identity link; on the logit
# and complementary log-log scale 1, so that 2.5 is rstanarm's prior sd; on the probit scale 0.63 of that, because the
# normal distribution is so much narrower than the logistic one (the slopes of the inverse links at 0 are 0.399 and
# 0.25). On the log scale 1 is a factor of e for counts; for a gamma response, which may vary by much less, as reaction
# times do, it is the sd of the logarithms. An sd of a predictor that multiplies counts by e^2 either way is rare, and
# predictors are skewed: with rstanarm's 2.5 for coefficients (and 1 for slopes), the 97.5 % quantile of the largest of
# esoph's counts is 1e12 in prior predictive draws, with these 5e6 (median 74), where the data have 17. On the inverse
# scale the linear predictor must stay above 0, so that all is kept to a fraction of its level.
MULTIPLES = {
    "identity": (2.5, 2.5, 1.0, 1.0),
    "log": (2.5, 1.0, 1.0, 0.4),
    "logit": (2.5, 2.5, 1.0, 1.0),
    "probit": (2.5, 2.5, 1.0, 1.0),
    "cloglog": (2.5, 2.5, 1.0, 1.0),
    "inverse": (0.5, 0.4, 0.2, 0.2),
}
PROBIT_UNIT = 0.25 * np.sqrt(2 * np.pi)
# Half a success and half a failure more, as in the empirical logit, or half a count: keeps the link of a mean of 0 or 1
# finite.
HALF = 0.5


@dataclass(frozen=True)
class Scales:
    """Where the linear predictor lies and how far it may move.

    Attributes
    ----------
    centre : float
        The linear predictor without its offset at the mean response.
    intercept, coefficient : float
        Prior sds of the intercept at the predictors' means and of the coefficient of a standardised predictor.
    effects, slopes : float
        Scales of the sds of random intercepts and of the random slopes of a standardised predictor.
    origin : float
        Prior sd of the coefficient of a predictor of size 1 in models through the origin.
    unit : str
        "units of y" or "on the log scale of y".
    """

    centre: float
    intercept: float
    coefficient: float
    effects: float
    slopes: float
    origin: float
    unit: str


def link_scales(design: Design) -> Scales:
    """Return the scales of a design: of its response with an identity link, otherwise of the link."""
    link = LINKS[design.family.link]
    multiples = np.array(MULTIPLES[link.name])
    if link.name == "identity":
        left = design.y - design.offset  # the response as the linear predictor has to meet it
        units = np.repeat([float(np.std(left, ddof=1)), robust_scale(left)], 2)
        centre, size, scale = float(left.mean()), root_mean_square(left), f"units of {design.response}"
    else:
        units = np.full(4, _unit(design))
        centre, scale = _centre(design), f"on the {link.scale} of {design.response}"
        size = max(abs(centre), float(units[0]))
    return Scales(centre, *map(float, multiples * units), float(multiples[1] * size), scale)


def _unit(design: Design) -> float:
    """Return the unit of a link other than the identity: see MULTIPLES."""
    link, family = design.family.link, design.family.name
    if family == "gamma":
        spread = float(np.std(np.log(design.y), ddof=1))
        return spread if link == "log" else min(spread, 1.0) / float(design.y.mean())
    return PROBIT_UNIT if link == "probit" else 1.0


def _centre(design: Design) -> float:
    """Return the linear predictor, offset taken out, at which the mean response is the data's."""
    y, link = design.y, LINKS[design.family.link]
    if link.name == "log":
        total = float(y.sum()) if y.sum() > 0 else HALF * float(np.abs(y).max() or 1.0)
        top = design.offset.max()
        return float(np.log(total) - np.log(np.exp(design.offset - top).sum()) - top)
    if link.name == "inverse":
        return float(link.function(y.mean()) - design.offset.mean())
    if design.family.name == "beta":
        return float(link.function(y.mean()) - design.offset.mean())
    trials = len(y) if design.trials is None else design.trials.sum()
    return float(link.function((y.sum() + HALF) / (trials + 2 * HALF)) - design.offset.mean())


def robust_scale(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation of `values`, (n,), or their sd where that is 0."""
    mad = MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))
    return mad if mad > 0 else float(np.std(values, ddof=1))


def root_mean_square(values: np.ndarray) -> float:
    """Return the root of the mean of the squares of `values`, (n,); 1 if they are all 0."""
    return float(np.sqrt(np.mean(np.square(values)))) or 1.0


def auxiliary_priors(family: Family) -> Iterator[tuple[str, Prior, str]]:
    """Yield the default prior of each auxiliary but sigma, with what its values are measured in.

    nu: Gamma(2, 0.1) (Juarez & Steel 2010, Journal of Business & Economic Statistics 28(1)). shape of the negative
    binomial: InverseGamma(0.4, 0.3), so that 1 / shape, the excess variance, is highest at 0 (the Poisson
    distribution) with a mean of 1.3. shape of the gamma: 1 / shape, the squared coefficient of variation, exponential
    with mean 1. phi of the beta: 1 / phi exponential with mean 0.2, a distribution with one mode rather than two.
    """
    if "nu" in family.auxiliaries:
        yield "nu", Prior("Gamma", alpha=2, beta=0.1), "degrees of freedom"
    if family.name == "negbinomial":
        yield "shape", Prior("InverseGamma", alpha=0.4, beta=0.3), "(variance: mean + mean^2 / shape)"
    if family.name == "gamma":
        yield "shape", Prior("InverseGamma", alpha=1, beta=1), "(variance: mean^2 / shape)"
    if family.name == "beta":
        yield "phi", Prior("InverseGamma", alpha=1, beta=5), "(variance: mean (1 - mean) / (1 + phi))"
