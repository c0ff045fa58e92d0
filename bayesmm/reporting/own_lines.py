"""The lines of a maximised fit about the family's own parameters: those that no other table has."""

from bayesmm.design.parameters import residual_parameters
from bayesmm.design.residual.of_family import FAMILYS, residual_title
from bayesmm.display.text_tables import column, number, shorten, table, wrap
from bayesmm.posterior.point_estimates import estimate, standard_error


def auxiliary_lines(point) -> list[str]:
    """Return the parameters of the family, and of the residual; of formulas and thresholds with standard errors."""
    values = [f"{name} {value:.4g}" for name, value in point.auxiliaries.items() if name != "sigma"]
    lines = [f"{FAMILYS}: {', '.join(values)}"] if values else []
    parameters = residual_parameters(point.design)
    if not parameters or point.design.family.nominal:  # whose log odds are fixed effects
        return lines
    found = [estimate(point, p) for p in parameters]
    if point.own_se:
        return [*lines, *_with_errors(point, parameters, found)]
    own = [f"{shorten(p.label)} {value:.4g}" for p, value in zip(parameters, found, strict=True)]
    return lines + wrap(f"{residual_title(point.design)}: {', '.join(own)}")


def _with_errors(point, parameters: list, found: list[float]) -> list[str]:
    errors, n = [standard_error(point, p) for p in parameters], len(found)
    numbers = column([*found, *errors])
    ratios = [number(value / se, 3) for value, se in zip(found, errors, strict=True)]
    texts = zip(numbers[:n], numbers[n:], ratios, strict=True)
    rows = [[shorten(p.label), *own] for p, own in zip(parameters, texts, strict=True)]
    return [f"{residual_title(point.design)}:", *table(["", "Estimate", "Std. Error", "z value"], rows)]
