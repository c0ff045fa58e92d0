"""What the exponential of a coefficient or of a difference of linear predictors is."""

from types import MappingProxyType

from bayesmm.design.records import Design
from bayesmm.errors import listing
from bayesmm.formula.formula import Call

# link -> the words; with other links it is nothing that has a name
RATIOS = MappingProxyType({"log": "ratio of means", "logit": "odds ratio", "cloglog": "hazard ratio"})


def check_exponentiated(design: Design) -> None:
    """Raise a ValueError where the exponential of a coefficient is no ratio: another link, and no log(y) modelled."""
    logarithm = isinstance(design.formula.response, Call) and design.formula.response.function == "log"
    if design.family.link in RATIOS or (logarithm and design.family.link == "identity"):
        return
    raise ValueError(
        f"exponentiate=True gives ratios with the links {listing(RATIOS)}, and this model has the {design.family.link} "
        "link; its coefficients are differences, which fixef() has as they are"
    )
