"""Which maximum a model is asked for: REML, ML or MAP, of a linear or of a generalised model."""

import time
from collections.abc import Mapping
from dataclasses import replace

from bayesmm.design.covariance.structures import check_free
from bayesmm.design.records import Design
from bayesmm.design.relations import unrelated
from bayesmm.design.residual.structure import check_no_parameters
from bayesmm.errors import listing, suggest
from bayesmm.estimation.centred_formulas import sought_at_means
from bayesmm.estimation.corner import corner_maximum
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.glmm import maximize_generalised
from bayesmm.estimation.glmm_map import generalised_mode
from bayesmm.estimation.map import marginal_mode
from bayesmm.estimation.reml import maximize_gaussian
from bayesmm.likelihood.varying import varies
from bayesmm.runtime.arguments import check_whole
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads

METHODS = ("REML", "ML", "MAP")


@working("maximising the likelihood")
@few_threads
def maximize(
    design: Design,
    method: str | None = None,
    priors=None,
    start: Mapping[str, float] | None = None,
    nagq: int = 1,
) -> Estimates:
    """Maximise the marginal likelihood, or the marginal posterior, of a mixed model.

    Parameters
    ----------
    design : Design
    method : {"REML", "ML", "MAP"}, optional
        REML if not given; ML for another family or link than the gaussian's identity, which has no REML. "MAP" is the
        mode of the marginal posterior of (sds, correlations, sigma) under `priors`, on their natural scales; of a
        generalised model, of these and the coefficients.
    priors : Priors, optional
        Needed by "MAP", and for parameters of the family that the user chooses, such as a quantile.
    start : mapping, optional
        Starting standard deviations and correlations by place, such as ``{"sd_Subject[Days]": 5.0, "sigma": 25.0,
        "corr_Subject[Intercept, Days]": 0.1}``, on the scale of the link.
    nagq : int
        Quadrature nodes for each random effect of a generalised model; 1 is Laplace's approximation.

    Returns
    -------
    Estimates

    Raises
    ------
    ValueError
        If the method or a place in `start` is unknown, or `nagq` is not one that the model allows.
    DataError
        If the fixed effects, or the random ones, fit the response exactly; for "MAP" with a covariance structure; for
        "MAP" or random effects of a family whose log density has a corner.
    PriorError
        For "MAP" where a prior is a function.
    """
    method = check_method(design, method)
    check_whole("nagq", nagq, 1)
    began = time.perf_counter()
    found = _maximum(design, method, priors, start, nagq)
    return replace(found, seconds=time.perf_counter() - began)


def _maximum(design: Design, method: str, priors, start: Mapping[str, float] | None, nagq: int) -> Estimates:
    if method == "MAP":
        instead = "use REML or ML, or sample the posterior"
        own = design if design.family.gaussian else unrelated(design)  # their Laplace's method knows the covariances
        check_free(own, "the mode of the marginal posterior", instead, compiled=True)
    if not design.family.smooth:
        return corner_maximum(design, method, priors, start, nagq)
    if not design.family.gaussian:
        if method == "MAP":
            return generalised_mode(design, priors, nagq, start)
        return sought_at_means(lambda own: maximize_generalised(own, nagq, start), design)
    if nagq != 1:
        raise ValueError(f"nagq must be 1 for the gaussian family, whose integral is exact, not {nagq!r}")
    if method == "MAP":
        if not varies(design):
            check_no_parameters(design, "the marginal MAP", "use 'REML' or 'ML'")
        return marginal_mode(design, priors, start)
    return sought_at_means(lambda own: maximize_gaussian(own, method, start), design)


def check_method(design: Design, method: str | None) -> str:
    """Return the method, the family's own if it is None; raise ValueError where the family has no such method."""
    if method is None:
        return "REML" if design.family.gaussian else "ML"
    if method not in METHODS:
        raise ValueError(f"method must be one of {listing(METHODS)}, not {method!r}{suggest(str(method), METHODS)}")
    if method == "REML" and design.family.varying:
        raise ValueError("REML is defined for gaussian models without random effects of sigma; use 'ML'")
    if method == "REML" and not design.family.gaussian:
        family = f"the {design.family.label} family with the {design.family.link} link"
        raise ValueError(f"REML is defined for gaussian models with the identity link, not for {family}; use 'ML'")
    return method
