"""The mean of a model without predictors, at which Nakagawa et al. (2017) take a response's variance."""

from dataclasses import replace

from bayesmm.design.design import make_design
from bayesmm.design.records import Design, Learned
from bayesmm.design.term_basis import untouched
from bayesmm.estimation.maximize import maximize
from bayesmm.evaluation.variance.variance_parts import mean_response, scaled_design, values_of_point
from bayesmm.storage.stored_model import beside


def null_mean(design: Design) -> float:
    """Return the mean of the rows' modelled responses in a model with an intercept in the place of all predictors.

    Its random effects, offset, weights and trials are those of the design; it is fitted by maximum likelihood. With a
    log link and no offset the mean is exp(beta_0 + v / 2) with v the variance of all random effects.

    Raises
    ------
    DataError
        It has no maximum.
    """
    null = without_predictors(design)
    point = maximize(null)
    return float(mean_response(scaled_design(point), values_of_point(point))[0])


def without_predictors(design: Design) -> Design:
    """Return the design with an intercept for its fixed part."""
    bases = replace(design.encoders.bases, fixed=untouched(1))
    return make_design(
        replace(design.formula, intercept=True, terms=()),
        design.frame,
        missing="error",
        transforms=design.encoders.transforms,
        family=design.family,
        learned=Learned(dict(design.encoders.states), bases),
        **beside(design),
    )
