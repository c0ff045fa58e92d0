"""Compound symmetry, ``cosy(gr)``: all rows of a series have the same correlation, which may be negative.

nlme's corCompSymm. Given k - 1 rows of its series, the k-th has a mean of r / (1 + (k - 2) r) times their sum and the
variance (1 - r)(1 + (k - 1) r) / (1 + (k - 2) r).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bayesmm.design.residual.correlation import Layout, all_before, by_series
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter, ResidualStructure
from bayesmm.errors import DataError
from bayesmm.formula.functions import Parameter, Signature

NAME = "cosy"


@dataclass(frozen=True, eq=False)
class Places:
    """What the entries of U depend on, (nnz,) each: k - 2 of a row that is the k-th, and whether it is an earlier's."""

    before: Array
    off: Array


def parameters(arguments: Arguments) -> tuple[ResidualParameter, ...]:
    """Return the correlation, above -1 / (m - 1) for m rows in the longest series."""
    longest = int(np.bincount(arguments["gr"].codes).max())
    if longest < 2:
        raise DataError(
            f"{NAME}(): every series has one row, so there is no correlation to estimate; gr= must be a column whose "
            "values stand in several rows"
        )
    low = -1 / (longest - 1)
    prior = {"lower": low, "upper": 1.0}
    return (ResidualParameter(NAME, r"\rho", "Uniform", prior, "correlation within a series", support=(low, 1.0)),)


def rows(arguments: Arguments) -> Array:
    """Return the series of each row, (n,)."""
    return arguments["gr"].codes.astype(float)


def layout(rows: Array) -> Layout:
    """Return the entries of U: each row with itself and with all those before it in its series."""
    order, place = by_series(rows, np.arange(len(rows)))
    row, column = all_before(order, place)
    return Layout(place, row, column, Places(place[row] - 1.0, (row != column) * 1.0))


def root(library: ModuleType, layout: Layout, values: Mapping[str, object]) -> object:
    """Return the entries of U, (..., nnz)."""
    own, r = layout.own, values[NAME]
    first = own.before < 0  # no row before it
    before = np.where(first, 0.0, own.before)
    variance = (1 - r) * (1 + (before + 1) * r) / (1 + before * r)
    weight = r / (1 + before * r)
    return (1 - own.off * (1 + weight)) / library.sqrt(np.where(first, 0.0, 1.0) * (variance - 1) + 1)


def tex(arguments: Mapping[str, str]) -> str:
    """Return rho."""
    return r"\rho"


STRUCTURE = ResidualStructure(
    name=NAME,
    signature=Signature((Parameter("gr", "series"),), "residual"),
    parameters=parameters,
    rows=rows,
    tex=tex,
    layout=layout,
    root=root,
)
