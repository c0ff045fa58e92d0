"""The mean of a model without predictors, at which Nakagawa et al. (2017) take a response's variance."""

from dataclasses import replace

from bayesmm.design.design import design_of
from bayesmm.design.records import Design
from bayesmm.design.term_basis import untouched
from bayesmm.estimation.maximize import maximize
from bayesmm.evaluation.variance.variance_parts import mean_response, scaled_design, values_of_point


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
    formula, bases = replace(design.formula, intercept=True, terms=()), replace(design.spec.bases, fixed=untouched(1))
    return design_of(replace(design.spec, formula=formula, bases=bases), design.frame, **design.beside)
