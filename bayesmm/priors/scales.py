"""The scales that default priors are measured in: the response's with an identity link, the link's otherwise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bayesmm.design.parameters import free_auxiliaries
from bayesmm.design.records import Design
from bayesmm.design.summed import SummedColumn, mean, rows_of, sd
from bayesmm.families.family import Auxiliary
from bayesmm.families.links import LINKS
from bayesmm.priors.prior import Prior

MAD_TO_SD = 1.4826  # 1 / the 0.75 quantile of N(0, 1): makes the MAD of a normal sample its sd, as R's mad() does
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
    multiples = np.array(link.multiples)
    if link.name == "identity":
        left = design.y - design.offset  # the response as the linear predictor has to meet it
        units = np.repeat([sd(left), robust_scale(left)], 2)
        centre, size, scale = mean(left), root_mean_square(left), f"units of {design.response}"
    else:
        units = np.full(4, _unit(design))
        centre, scale = _centre(design), f"on the {link.scale} of {design.response}"
        size = max(abs(centre), float(units[0]))
    return Scales(centre, *map(float, multiples * units), float(multiples[1] * size), scale)


def _unit(design: Design) -> float:
    """Return the unit of a link other than the identity: see `bayesmm.families.links.LINKS`."""
    if design.family.support.positive:
        spread = float(np.std(np.log(design.y), ddof=1))
        return spread if design.family.link == "log" else min(spread, 1.0) / float(design.y.mean())
    return LINKS[design.family.link].unit


def _centre(design: Design) -> float:
    """Return the linear predictor, offset taken out, at which the mean response is the data's."""
    y, link = design.y, LINKS[design.family.link]
    if design.family.ordered:
        return float(-design.offset.mean())
    if link.name == "log":
        total = float(y.sum()) if y.sum() > 0 else HALF * float(np.abs(y).max() or 1.0)
        top = design.offset.max()
        return float(np.log(total) - np.log(np.exp(design.offset - top).sum()) - top)
    if not design.family.support.successes:
        share = y.mean()
        if link.latent is not None and not 0 < share < 1:  # of shares that may be 0 or 1, here in every row
            share = (y.sum() + HALF) / (len(y) + 2 * HALF)
        return float(link.function(share) - design.offset.mean())
    trials = len(y) if design.trials is None else design.trials.sum()
    return float(link.function((y.sum() + HALF) / (trials + 2 * HALF)) - design.offset.mean())


def robust_scale(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation of `values`, (n,), or their sd where that is 0."""
    if isinstance(values, SummedColumn):  # the response less its offset: there is no other
        return values.sums.robust_scale
    mad = MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))
    return mad if mad > 0 else float(np.std(values, ddof=1))


def root_mean_square(values: np.ndarray) -> float:
    """Return the root of the mean of the squares of `values`, (n,); 1 if they are all 0."""
    return float(np.sqrt(np.mean(np.square(rows_of(values))))) or 1.0


def auxiliary_priors(design: Design) -> Iterator[tuple[Auxiliary, Prior]]:
    """Yield the auxiliaries that name their default prior, with it."""
    for parameter in free_auxiliaries(design):
        if parameter.prior:
            bounded = parameter.within is not None and len(design.most)
            yield parameter, Prior(parameter.prior, **parameter.numbers(design.most if bounded else design.y))
