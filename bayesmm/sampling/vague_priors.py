"""Where chains start if the median of a prior is far from the data: near the maximum of the likelihood.

Chains start around the priors' medians, which is where the defaults put a chain near the data. A vague prior need not:
half of InverseGamma(0.001, 0.001), for a variance, is above 1e298.
"""

import warnings
from collections.abc import Callable, Mapping

import numpy as np

from bayesmm.design.records import Design
from bayesmm.errors import BayesmmWarning, DataError
from bayesmm.posterior.parameter_values import estimates
from bayesmm.priors import Prior, prior_bases
from bayesmm.priors.defaults import CORRELATION, Place, places

# A prior's median is far from the data beyond this: as a factor from the median of the default prior, which has the
# data's scale, and of a coefficient in units from the default's median to its quartile.
FAR = 100.0
TAIL = 1e-6  # probability of each tail of the prior that a start is kept out of, so that a narrow prior keeps it
CENTRAL = ("Fixed", "Custom", "LKJ")  # nothing to start, or nowhere known


def near_maximum(
    design: Design, priors: Mapping[str, Prior], estimates: Callable[[], Mapping[str, float]]
) -> dict[str, float]:
    """Return where to start the parameters whose prior has its median far from the data, by place.

    Parameters
    ----------
    design : Design
    priors : mapping of place to Prior
    estimates : callable
        Returns estimates by place; called only if there is such a prior. What is missing there, 0 (a variance at its
        bound) or not finite is replaced by the median of the default prior, the data's scale.

    Returns
    -------
    dict of str to float
        Inside the prior's central 1 - 2 TAIL.
    """
    bases = zip(design.blocks, prior_bases(design, priors).blocks, strict=True)
    known = places(design, frozenset(block.name for block, basis in bases if basis.trivial))
    far = [place for place in known if place.kind != CORRELATION and _is_far(place, priors.get(place.name))]
    found = estimates() if far else {}
    return {place.name: _inside(priors[place.name], _likely(place, found.get(place.name))) for place in far}


def likelihood_estimates(model) -> Mapping[str, float]:
    """Return the estimates by REML, or by maximum likelihood with Laplace's method; none where it fails.

    They are of the parameters that the priors are of.
    """
    with warnings.catch_warnings():  # what there is to say of the estimates is said where they are asked for
        warnings.simplefilter("ignore", BayesmmWarning)
        try:
            return estimates(model._prior_point)
        except (DataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
            return {}


def _is_far(place: Place, prior: Prior | None) -> bool:
    if prior is None or prior.distribution in CENTRAL:
        return False
    median, middle = _quantile(prior, 0.5), _quantile(place.default, 0.5)
    if median is None or middle is None:
        return False
    if place.default.support == "positive":
        return not middle / FAR < median < middle * FAR
    return not abs(median - middle) <= FAR * (_quantile(place.default, 0.75) - middle)


def _likely(place: Place, estimate: float | None) -> float:
    """Return the estimate if a chain can start there, else the middle of the default prior."""
    middle = _quantile(place.default, 0.5)
    usable = estimate is not None and np.isfinite(estimate)
    if place.default.support == "positive":  # at 0, or on its way to infinity, it is no place to start at
        usable = usable and 0 < estimate < middle * FAR**3
    return float(estimate) if usable else middle


def _inside(prior: Prior, value: float) -> float:
    return float(np.clip(value, _quantile(prior, TAIL), _quantile(prior, 1 - TAIL)))


def _quantile(prior: Prior, p: float) -> float | None:
    with np.errstate(all="ignore"):  # infinity is a value here
        return prior.quantile(p)
