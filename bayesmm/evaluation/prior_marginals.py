"""The prior of each parameter as the posterior's draws can be held against it: its density and its quantiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bayesmm.design.parameters import INTERCEPT_AT_MEANS, INTERCEPT_AT_ZERO, Parameter, variable_of
from bayesmm.posterior.draws import parameter_draws, prior_draws, prior_own_draws, tree_sizes
from bayesmm.priors.prior import Prior

OWN = ("residual", "sigma", "auxiliary")  # kinds of parameters that are no coefficients, sds or correlations
AT_MEANS = " at the means"  # behind the label of a parameter whose prior is there


@dataclass(frozen=True)
class PriorMarginal:
    """What the prior says about one parameter.

    Attributes
    ----------
    label : str
        The parameter's, or "Intercept_centred" where the prior is on the intercept at the predictors' means, and so
        with " at the means" behind it for others.
    prior : Prior or None
        None where the model's priors do not name it.
    density, quantile : callable or None
        Of arrays of values, and of one probability; None where there is none in closed form. A flat prior has a
        density (1 everywhere) and no quantiles.
    """

    label: str
    prior: Prior | None
    density: Callable[[np.ndarray], np.ndarray] | None
    quantile: Callable[[float], float] | None


def prior_marginal(design, priors: Mapping[str, Prior], parameter: Parameter) -> PriorMarginal:
    """Return what the priors say about one parameter."""
    label = place = parameter.label
    if parameter.kind == "corr" and label not in priors:
        place = design.blocks[parameter.block].names.corr
    elif parameter.kind == "coefficient" and design.has_intercept and parameter.terms == (0,):
        at_means = INTERCEPT_AT_MEANS in priors
        label, place = (INTERCEPT_AT_MEANS,) * 2 if at_means else (label, INTERCEPT_AT_ZERO)
    prior, threshold = priors.get(place), parameter.kind == "residual" and _is_threshold(design, parameter)
    if parameter.kind == "corr" and _is_partial(design, parameter):
        return PriorMarginal(label, prior, None, None)
    if threshold or (prior is not None and prior.at == "means"):
        label += AT_MEANS
    if prior is None or prior.distribution in ("Custom", "Fixed"):
        return PriorMarginal(label, prior, None, None)
    if prior.distribution == "LKJ":
        return _correlation(label, prior, _terms_with(design, parameter))
    quantile = None if prior.quantile(0.5) is None else prior.quantile
    return PriorMarginal(label, prior, lambda x: np.exp(prior.logpdf(x)), quantile)


def _is_threshold(design, parameter: Parameter) -> bool:
    """Return whether a parameter of the residual is a threshold, or the log odds of a category, at the means."""
    own = next(own for own in design.residual.parameters if own.name == variable_of(design, parameter))
    return own.at_means


def _is_partial(design, parameter: Parameter) -> bool:
    """Return whether the prior of a correlation is of something else: a partial autocorrelation beyond the first."""
    block = design.blocks[parameter.block]
    part = next(part for part in block.parts if parameter.terms[0] in part.columns)
    i, j = (part.columns.index(column) for column in parameter.terms)
    return part.covariance.partials is not None and abs(i - j) > 1


def _terms_with(design, parameter: Parameter) -> int:
    """Return the number of terms that are correlated with those of a correlation, themselves included."""
    return next(len(part) for part in design.blocks[parameter.block].partition if parameter.terms[0] in part)


def _correlation(label: str, prior: Prior, q: int) -> PriorMarginal:
    """Return the marginal of each correlation under LKJ: 2 Beta(a, a) - 1 with a = eta - 1 + q / 2."""
    from scipy.stats import beta

    a = prior.parameters["eta"] - 1 + q / 2
    marginal = beta(a, a, loc=-1, scale=2)
    return PriorMarginal(label, prior, marginal.pdf, lambda p: float(marginal.ppf(p)))


def draws_on_prior_scale(fit, parameter: Parameter, marginal: PriorMarginal) -> np.ndarray:
    """Return the draws of what the prior is on, (chains, draws): at the means where it is there."""
    if marginal.label == parameter.label:
        return parameter_draws(fit, parameter)
    if parameter.kind in OWN:
        own, residual = prior_own_draws(fit)
        found = own if parameter.kind != "residual" else residual
        return found[variable_of(fit.design, parameter)][(..., *parameter.terms)].reshape(tree_sizes(fit.tree))
    return prior_draws(fit)[variable_of(fit.design, parameter)][(..., *parameter.terms)]
