"""Autoregression in continuous time, ``car(time, gr)``: the correlation of two rows of a series is car^|t - s|.

nlme's corCAR1 (Jones 1993; Pinheiro & Bates 2000, section 5.3): the times are any numbers, the correlation above 0.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

from bayesmm.design.residual import autoregressive
from bayesmm.design.residual.correlation import Layout
from bayesmm.design.residual.series import times_of
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter

NAME = "car"
PARAMETER = ResidualParameter(
    NAME, r"\rho", "Uniform", {"lower": 0.0, "upper": 1.0}, "correlation one unit apart", None, (0.0, 1.0), 0.5
)


def parameters(arguments: Arguments) -> tuple[ResidualParameter, ...]:
    """Return the correlation of rows one unit of time apart."""
    return (PARAMETER,)


def rows(arguments: Arguments) -> Array:
    """Return the series and the time of each row, (n, 2)."""
    return times_of(NAME, arguments)


def root(library: ModuleType, layout: Layout, values: Mapping[str, object]) -> object:
    """Return the entries of U, (..., nnz)."""
    return autoregressive.root_of(library, layout.own, values[NAME])


WORDS = "residuals autoregressive in continuous time"
STRUCTURE = replace(autoregressive.STRUCTURE, name=NAME, words=WORDS, parameters=parameters, rows=rows, root=root)
