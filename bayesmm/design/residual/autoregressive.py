"""First-order autoregression, ``ar(time, gr)``: the correlation of two rows of a series is ar^|t - s|.

The times are whole numbers and may have gaps (nlme's corAR1, whose likelihood with gaps this is). Given the row before
it, g steps earlier, a residual is ar^g times that one, with 1 - ar^2g of the variance (Pinheiro & Bates 2000, eq.
5.35).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from bayesmm.design.residual.correlation import Entries, Inverse, Layout, by_series
from bayesmm.design.residual.series import times_of
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter, Residuals, ResidualStructure
from bayesmm.errors import DataError
from bayesmm.families.kernel import kernel
from bayesmm.formula.functions import Parameter, Signature
from bayesmm.runtime.messages import Message, note

NAME = "ar"
PARAMETER = ResidualParameter(
    NAME, r"\rho", "Uniform", {"lower": -1.0, "upper": 1.0}, "correlation one step apart", support=(-1.0, 1.0)
)
FIRST = 0.5  # where a search begins, of rows as far apart as the nearest are


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
    """Return the correlation of rows one step apart.

    A search moves that over the smallest gap: near 0 the likelihood of rows two steps apart does not change with the
    other. Where all gaps are even its sign is not determined, and taken to be positive; the default prior is then
    uniform on the correlation over the smallest gap, as it is where that is 1.
    """
    found = gaps(times_of(NAME, arguments)) if "time" in arguments else np.empty(0)
    gap = float(found.min(initial=np.inf))
    if not np.isfinite(gap):
        return (PARAMETER,)
    even = bool((found % 2 == 0).all())
    start = FIRST ** (1 / gap) if gap > 1 else PARAMETER.start
    own = replace(PARAMETER, gap=gap, start=start)
    return (uniform_over(replace(own, arguments={"lower": 0.0, "upper": 1.0}, support=(0.0, 1.0))) if even else own,)


def uniform_over(own: ResidualParameter) -> ResidualParameter:
    """Return a correlation rho between 0 and 1 with a default prior that is uniform on rho^gap: Beta(gap, 1)."""
    return own if own.gap == 1 else replace(own, prior="Beta", arguments={"alpha": own.gap, "beta": 1.0})


def gaps(rows: Array) -> Array:
    """Return how long after the one before it each row is that has one, of rows (series, time), (n, 2)."""
    order, place = by_series(rows[:, 0], rows[:, 1])
    at = np.flatnonzero(place[order] > 0)
    return rows[order[at], 1] - rows[order[at - 1], 1]


def say_about_gaps(residuals: Residuals) -> list[Message]:
    """Return a note where the default prior is of rows one unit apart, and no rows of a series are as near."""
    part = residuals.correlated
    if part is None or part.structure.layout is not layout or part.parameters[0].support[0] == 0:
        return []
    found = gaps(part.rows)
    apart = float(found.min()) if len(found) else 1.0
    if apart <= 1:
        return []
    return [
        note(
            f"{part.text}: neighbouring rows are {apart:g} apart, and the default prior is uniform on the correlation "
            f"of rows 1 apart, so that the posterior depends on the unit of time; with the time over {apart:g} the "
            "prior is on that of neighbouring rows"
        )
    ]


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


def entries(rows: Array) -> Entries:
    """Return the kinds of entries of C^-1: by gap those of a row, of the one before it and of the pair; of a first, 1.

    The table has the gap, which of the three it is (0, 1, 2), and how many rows come so long after another.
    """
    order, place = by_series(rows[:, 0], rows[:, 1])
    at = np.flatnonzero(place[order] > 0)
    later, before, first = order[at], order[at - 1], order[place[order] == 0]
    gaps, kind, count = np.unique(rows[later, 1] - rows[before, 1], return_inverse=True, return_counts=True)
    own = 1 + 3 * kind.ravel()
    return Entries(
        np.concatenate([first, later, before, later, before]),
        np.concatenate([first, later, before, before, later]),
        np.concatenate([np.zeros(len(first), np.int64), own, own + 1, own + 2, own + 2]),
        kinds_table(gaps, count),
    )


def kinds_table(gaps: Array, count: Array) -> Array:
    """Return the table of `entries`, (1 + 3 G, 3), for G gaps and how many rows come so long after another."""
    table = np.array([(gap, which, n) for gap, n in zip(gaps, count, strict=True) for which in range(3)])
    return np.concatenate([np.zeros((1, 3)), table.reshape(-1, 3)])


@kernel
def inverse_values(backward, values, table, a, d_a, d_values):
    """Set 1 / (1 - phi^2), phi^2 / (1 - phi^2) and -phi / (1 - phi^2) for phi = rho^gap; return log|C|."""
    rho, log_det = values[0], 0.0
    for k in range(table.shape[0]):
        gap, which, count = table[k, 0], table[k, 1], table[k, 2]
        if gap == 0.0:
            a[k] = 1.0
            continue
        phi, rate = rho**gap, gap * rho ** (gap - 1.0)
        left = (1.0 - phi) * (1.0 + phi)
        if not left > 0.0:
            return math.nan
        if which == 0.0:
            a[k], slope = 1.0 / left, 2.0 * phi / (left * left)
            log_det += count * math.log(left)
        elif which == 1.0:
            a[k], slope = phi * phi / left, 2.0 * phi / (left * left)
        else:
            a[k], slope = -phi / left, -(1.0 + phi * phi) / (left * left)
        if backward:
            d_values[0] += d_a[k] * slope * rate
            if which == 0.0:
                d_values[0] += count * phi / left * rate
    return log_det


def tex(arguments: Mapping[str, str]) -> str:
    """Return rho^|t_i - t_j|."""
    return r"\rho^{|t_{i} - t_{j}|}"


STRUCTURE = ResidualStructure(
    name=NAME,
    signature=Signature((Parameter("time", "column"), Parameter("gr", "series", "")), "residual"),
    parameters=parameters,
    rows=rows,
    tex=tex,
    words="first-order autoregressive residuals",
    layout=layout,
    root=root,
    inverse=Inverse(entries, inverse_values),
)
