"""First-order autoregression, ``ar(time, gr)``: the correlation of two rows of a series is ar^|t - s|.

The times are whole numbers and may have gaps (nlme's corAR1, whose likelihood with gaps this is). Given the row before
it, g steps earlier, a residual is ar^g times that one, with 1 - ar^2g of the variance (Pinheiro & Bates 2000, eq.
5.35).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bayesmm.design.residual.correlation import Layout, by_series
from bayesmm.design.residual.series import times_of
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter, ResidualStructure
from bayesmm.errors import DataError
from bayesmm.formula.functions import Parameter, Signature

NAME = "ar"
PARAMETER = ResidualParameter(
    NAME, r"\rho", "Uniform", {"lower": -1.0, "upper": 1.0}, "correlation one step apart", support=(-1.0, 1.0)
)


@dataclass(frozen=True, eq=False)
class Steps:
    """What the entries of U depend on, (nnz,) each.

    Attributes
    ----------
    gap : float64
        How long before the row the one before it is; 1 for the first of a series.
    later : float64
        1 in the rows that have one before them, 0 in the others.
    off : float64
        1 where the entry is that of the row before.
    """

    gap: Array
    later: Array
    off: Array


def parameters(arguments: Arguments) -> tuple[ResidualParameter, ...]:
    """Return the correlation of rows one step apart."""
    return (PARAMETER,)


def rows(arguments: Arguments) -> Array:
    """Return the series and the time of each row, (n, 2)."""
    found = times_of(NAME, arguments)
    if not (found[:, 1] == np.rint(found[:, 1])).all():
        broken = found[found[:, 1] != np.rint(found[:, 1])][0, 1]
        raise DataError(
            f"{NAME}(): the times are not whole numbers (the first that is none is {broken:g}); use car(time, gr) for "
            "times that are any numbers"
        )
    return found


def layout(rows: Array) -> Layout:
    """Return the entries of U: each row with itself and with the one before it in its series."""
    order, place = by_series(rows[:, 0], rows[:, 1])
    later = order[place[order] > 0]
    before = order[np.flatnonzero(place[order] > 0) - 1]
    row, column = np.concatenate([order, later]), np.concatenate([order, before])
    gap = np.ones(len(order))
    gap[later] = rows[later, 1] - rows[before, 1]
    return Layout(place, row, column, Steps(gap[row], (place[row] > 0) * 1.0, (row != column) * 1.0))


def root(library: ModuleType, layout: Layout, values: Mapping[str, object]) -> object:
    """Return the entries of U, (..., nnz)."""
    return root_of(library, layout.own, values[NAME])


def root_of(library: ModuleType, steps: Steps, rho: object) -> object:
    """Return the entries of U for rho, (..., 1)."""
    phi = steps.later * rho**steps.gap
    return (1 - steps.off * (1 + phi)) / library.sqrt(1 - phi**2)


def tex(arguments: Mapping[str, str]) -> str:
    """Return rho^|t_i - t_j|."""
    return r"\rho^{|t_{i} - t_{j}|}"


STRUCTURE = ResidualStructure(
    name=NAME,
    signature=Signature((Parameter("time", "column"), Parameter("gr", "series", "")), "residual"),
    parameters=parameters,
    rows=rows,
    tex=tex,
    layout=layout,
    root=root,
)
