"""The lines of a maximised fit about the family's own parameters: those that no other table has."""

from bayesmm.design.parameters import residual_parameters
from bayesmm.design.residual.of_family import FAMILYS, residual_title
from bayesmm.display.text_tables import column, number, shorten, table, wrap
from bayesmm.posterior.point_estimates import estimate, standard_error


def auxiliary_lines(point) -> list[str]:
    """Return the parameters of the family, and of the residual; of formulas and thresholds with standard errors."""
    of = {part.of: f" (where the columns of '{part.text}' are 0)" for part in point.design.residual.parts if part.of}
    values = [f"{name} {value:.4g}{of.get(name, '')}" for name, value in point.auxiliaries.items() if name != "sigma"]
    lines = wrap(f"{FAMILYS}: {', '.join(values)}") if values else []
    parameters = residual_parameters(point.design)
    # their table is that of the random effects, or of the fixed effects
    if not parameters or point.design.responses or point.design.family.nominal:
        return lines
    found = [estimate(point, p) for p in parameters]
    if point.own_se:
        return [*lines, *_with_errors(point, parameters, found)]
    own = [f"{shorten(p.label)} {value:.4g}" for p, value in zip(parameters, found, strict=True)]
    return lines + wrap(f"{residual_title(point.design)}: {', '.join(own)}")


def response_rows(point) -> tuple[list[list[str]], list[list[str]], list[float]]:
    """Return for each of several responses its names, its residual correlations as text, and its variance."""
    found = point.varcorr()
    found = found[found["grp"] == "Residual"]
    sds, names = found[found["var2"].isna()], list(point.design.responses)
    cells = [[""] * (len(names) - 1) for _ in names]
    for row in found[found["var2"].notna()].itertuples():
        cells[names.index(row.var2)][names.index(row.var1)] = number(row.sdcor, 2)
    rows = [["Residual" if i == 0 else "", shorten(name)] for i, name in enumerate(names)]
    return rows, cells, sds["vcov"].tolist()


def _with_errors(point, parameters: list, found: list[float]) -> list[str]:
    errors, n = [standard_error(point, p) for p in parameters], len(found)
    numbers = column([*found, *errors])
    ratios = [number(value / se, 3) for value, se in zip(found, errors, strict=True)]
    texts = zip(numbers[:n], numbers[n:], ratios, strict=True)
    rows = [[shorten(p.label), *own] for p, own in zip(parameters, texts, strict=True)]
    return [f"{residual_title(point.design)}:", *table(["", "Estimate", "Std. Error", "z value"], rows)]
