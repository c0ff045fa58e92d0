"""Compound symmetry, ``cosy(gr)``: all rows of a series have the same correlation, which may be negative.

nlme's corCompSymm. Given k - 1 rows of its series, the k-th has a mean of r / (1 + (k - 2) r) times their sum and the
variance (1 - r)(1 + (k - 1) r) / (1 + (k - 2) r).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bayesmm.design.residual.correlation import Entries, Inverse, Layout, all_before, by_series
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter, ResidualStructure
from bayesmm.errors import DataError
from bayesmm.families.kernel import kernel
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


def entries(rows: Array) -> Entries:
    """Return the kinds of entries of C^-1: that of I, the first, and by the length of the series that of all pairs.

    The table has the length and the number of such series.
    """
    found = layout(rows)
    order, place = by_series(rows, np.arange(len(rows)))
    length = np.zeros(len(rows), np.int64)
    size = np.diff(np.append(np.flatnonzero(place[order] == 0), len(rows)))
    length[order] = np.repeat(size, size)
    sizes, count = np.unique(size, return_counts=True)
    row, column = found.row, found.column
    off, kind = row != column, 1 + np.searchsorted(sizes, length)[row]
    diagonal = np.arange(len(rows))
    return Entries(
        np.concatenate([diagonal, row, column[off]]),
        np.concatenate([diagonal, column, row[off]]),
        np.concatenate([np.zeros(len(rows), np.int64), kind, kind[off]]),
        kinds_table(sizes, count),
    )


def kinds_table(sizes: Array, count: Array) -> Array:
    """Return the table of `entries`, (1 + K, 2), for K lengths of series and the number of series of each."""
    return np.concatenate([np.zeros((1, 2)), np.column_stack([sizes, count])])


@kernel
def inverse_values(backward, values, table, a, d_a, d_values):
    """Set 1 / (1 - r), then -r / ((1 - r)(1 + (m - 1) r)) for series of m rows; return log|C|."""
    r, log_det = values[0], 0.0
    left = 1.0 - r
    if not left > 0.0:
        return math.nan
    a[0] = 1.0 / left
    if backward:
        d_values[0] += d_a[0] / (left * left)
    for k in range(1, table.shape[0]):
        others, count = table[k, 0] - 1.0, table[k, 1]
        whole = 1.0 + others * r
        if not whole > 0.0:
            return math.nan
        below = left * whole
        a[k] = -r / below
        log_det += count * (others * math.log(left) + math.log(whole))
        if backward:
            d_values[0] -= d_a[k] * (below - r * (others * left - whole)) / (below * below)
            d_values[0] += 0.5 * count * others * (1.0 / left - 1.0 / whole)
    return log_det


def tex(arguments: Mapping[str, str]) -> str:
    """Return rho."""
    return r"\rho"


STRUCTURE = ResidualStructure(
    name=NAME,
    signature=Signature((Parameter("gr", "series"),), "residual"),
    parameters=parameters,
    rows=rows,
    tex=tex,
    words="residuals with one correlation",
    layout=layout,
    root=root,
    inverse=Inverse(entries, inverse_values),
)
