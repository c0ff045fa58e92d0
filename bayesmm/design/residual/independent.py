"""Independent residuals: the sd of row i is sigma / sqrt(w_i). Known variances are weights beside a fixed sigma."""

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

from bayesmm.design.residual.structure import Arguments, ResidualStructure, ResidualTerm, Values, residual_weights


def parameters(arguments: Arguments) -> tuple[()]:
    """Return no parameters: sigma is the family's."""
    return ()


def rows(arguments: Arguments) -> None:
    """Return nothing that is read of the rows."""
    return


def relative_sd(library: ModuleType, rows: None, values: Values) -> object:
    """Return 1."""
    return library.ones(1)


def tex(arguments: Mapping[str, str]) -> str:
    """Return nothing that sigma^2 is multiplied by."""
    return ""


STRUCTURE = ResidualStructure(name="independent", parameters=parameters, rows=rows, relative_sd=relative_sd, tex=tex)
INDEPENDENT = ResidualTerm(STRUCTURE)


def whitened(design, values: Values):
    """Return the design with independent residuals that has the likelihood of `design` at these parameter values.

    The Jacobian is part of its weights: a linear model's log likelihood has half the sum of their logarithms.
    """
    if not design.residual.parameters:
        return design
    return replace(design, weights=residual_weights(design, values), residual=INDEPENDENT)
