"""Priors as plain data: a distribution with its parameters (`Prior`), and a model's priors by place (`Priors`).

Everything is on the natural scale: coefficients in units of the response for each unit of the predictor, standard
deviations in units of the response. No PyMC here.
"""

from bayesmm.priors.basis import (
    category_means,
    coefficient_places,
    formula_bases,
    formula_places,
    own_at_means,
    own_at_zero,
    prior_bases,
    prior_design,
    prior_residual,
    shifts_of_thresholds,
    threshold_means,
)
from bayesmm.priors.prior import Prior
from bayesmm.priors.resolve import (
    CoefficientPrior,
    Priors,
    coefficient_prior,
    default_priors,
    resolve_priors,
    sds_without_prior,
)

__all__ = [
    "CoefficientPrior",
    "Prior",
    "Priors",
    "category_means",
    "coefficient_places",
    "coefficient_prior",
    "default_priors",
    "formula_bases",
    "formula_places",
    "own_at_means",
    "own_at_zero",
    "prior_bases",
    "prior_design",
    "prior_residual",
    "resolve_priors",
    "sds_without_prior",
    "shifts_of_thresholds",
    "threshold_means",
]
