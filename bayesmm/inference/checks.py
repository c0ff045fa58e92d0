"""Which fits a test or an interval of the likelihood is for, and what is said of the others."""

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.predictors import check_of_mean
from bayesmm.design.records import Design
from bayesmm.design.relations import is_related
from bayesmm.design.residual.structure import check_no_parameters
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates


def estimated(design: Design) -> list[int]:
    """Return the columns of X that are not linear combinations of earlier ones."""
    return [j for j in range(design.p) if j not in design.aliased]


def family_text(design: Design) -> str:
    """Return a design's family with its link, where it is not the family's first."""
    family = design.family
    return family.name if family.link == family.links[0] else f"{family.name}, link {family.link}"


def check_point(point: object) -> None:
    """Raise a TypeError where something else than what maximize() returns is given to a test."""
    if not isinstance(point, Estimates):
        raise TypeError(f"expected a fit by maximize(), a PointFit, not an object of type {type(point).__name__}")


def check_gaussian(point: Estimates, wanted: str) -> None:
    """Raise a DataError where `wanted`, a phrase, is asked of a fit that is not a Gaussian likelihood's maximum."""
    check_point(point)
    if point.design.family.varying:
        check_of_mean(point.design, wanted, "use the Wald tests of fixef(), confint(method='wald') or bmm.lrt")
    if not point.design.family.gaussian:
        raise DataError(
            f"{wanted} is for the gaussian family, and this model's is {family_text(point.design)}; use the Wald tests "
            "of fixef(), confint(method='wald') or bmm.lrt"
        )
    check_likelihood(point, wanted)


def has_profile(design) -> bool:
    """Return whether profiles and degrees of freedom know a design's residuals and levels: see `check_likelihood`."""
    if not design.family.smooth or (not design.family.gaussian and structured_terms(design)):
        return False
    by_rows = design.residual.estimated and not design.residual.by_row
    term = design.residual
    known = term.sigma == "known" or (design.family.gaussian and term.correlated is not None)
    return not (by_rows or known or is_related(design))


def check_likelihood(point: Estimates, wanted: str) -> None:
    """Raise a DataError where `wanted`, a phrase, is asked of the mode of a posterior, or knows no such residuals."""
    instead = "use the Wald intervals of confint(method='wald') or bmm.lrt"
    check_no_parameters(point.design, wanted, instead)
    if not point.design.family.smooth:
        raise DataError(
            f"{wanted} goes by derivatives, and the log density of the {point.design.family.label} family has a "
            f"corner; {instead}"
        )
    if any(block.relation is not None for block in point.design.blocks):
        term = structured_terms(point.design)[0]
        raise DataError(f"{wanted} is not possible with the known covariance of {term}; {instead}")
    if point.design.residual.correlated is not None:
        said = f"{wanted} takes the residuals as independent, and those of {point.design.residual.text} are not"
        raise DataError(f"{said}; {instead}")
    if point.design.residual.sigma == "known":
        raise DataError(f"{wanted} estimates sigma, and {point.design.residual.text} gives the sds of rows; {instead}")
    if point.method not in ("REML", "ML"):
        raise DataError(
            f"{wanted} is for a maximised likelihood, and this fit is the mode of a posterior ({point.method}); use "
            "maximize('REML') or maximize('ML')"
        )
