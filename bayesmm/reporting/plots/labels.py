"""The names of axes: what a coefficient, an effect or an sd is measured in."""

from bayesmm.design.parameters import within_response
from bayesmm.display.figures import per, plain
from bayesmm.families.links import LINKS


def units(design, term: str = "Intercept") -> str:
    """Return, for an axis, the unit of a coefficient, an effect or an sd: that of the response or the link's scale."""
    link = LINKS[design.family.link]
    where = "in units" if link.name == "identity" else f"on the {link.scale}"
    if not design.responses:
        return f"{where} of {plain(design.response)}{per(term)}"
    own = next((name for name in design.responses if within_response(name, term) != term), "the response")
    return f"{where} of {plain(own)}{per(within_response(own, term))}"
