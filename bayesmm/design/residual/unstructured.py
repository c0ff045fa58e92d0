"""Any correlation matrix of the visits of a series, ``unstr(time, gr)``: nlme's corSymm, brms' unstr().

Rows of a series that has not all visits have the correlations of those that it has. A uniform prior of each correlation
between -1 and 1 is uniform on the correlation matrices, LKJ(1), since the density is 0 where there is no such matrix.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

import numpy as np

from bayesmm.design.residual.correlation import Entries, Inverse, Layout, all_before, by_series
from bayesmm.design.residual.series import check_distinct, series_of
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter, ResidualStructure
from bayesmm.errors import DataError
from bayesmm.families.kernel import kernel
from bayesmm.formula.functions import Parameter, Signature

NAME = "unstr"
MOST_VISITS = 20  # 190 correlations


@dataclass(frozen=True, eq=False)
class Patterns:
    """Which visits series have.

    Attributes
    ----------
    count : int
        How many visits there are.
    visits : tuple of (m,) int64
        Those of each distinct set.
    take : (nnz,) int64
        Place of each entry of U in the lower triangles of all sets, one after the other.
    """

    count: int
    visits: tuple[Array, ...]
    take: Array


def parameters(arguments: Arguments) -> tuple[ResidualParameter, ...]:
    """Return the correlation of each pair of visits."""
    labels = arguments["time"].levels.labels
    if not 2 <= len(labels) <= MOST_VISITS:
        raise DataError(
            f"{NAME}(): there are {len(labels):,} distinct times, and a correlation of each pair of them needs 2 to "
            f"{MOST_VISITS}; use ar(time, gr) or car(time, gr)"
        )
    together = np.zeros((len(labels), len(labels)), dtype=bool)
    found = rows(arguments)
    for series in np.unique(found[:, 0]):
        own = found[found[:, 0] == series, 1].astype(int)
        together[np.ix_(own, own)] = True
    apart = [(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels)) if not together[i, j]]
    if apart:
        i, j = apart[0]
        raise DataError(
            f"{NAME}(): no series has both time {labels[i]} and time {labels[j]}, so the data say nothing about their "
            "correlation; use ar(time, gr) or car(time, gr)"
        )
    terms = tuple(f"{labels[i]}, {labels[j]}" for i in range(len(labels)) for j in range(i + 1, len(labels)))
    prior = {"lower": -1.0, "upper": 1.0}
    what = "correlation of two times"
    return (ResidualParameter(NAME, r"\rho", "Uniform", prior, what, terms, (-1.0, 1.0), visits=len(labels)),)


def rows(arguments: Arguments) -> Array:
    """Return the series of each row, the place of its visit, and the number of visits, (n, 3)."""
    visit, labels = arguments["time"].codes.astype(float), arguments["time"].levels.labels
    found = np.column_stack([series_of(arguments, len(visit)), visit, np.full(len(visit), len(labels))])
    check_distinct(NAME, found, arguments, labels, np.arange(len(labels)))
    return found


def layout(rows: Array) -> Layout:
    """Return the entries of U: each row with itself and with all those before it in its series."""
    order, place = by_series(rows[:, 0], rows[:, 1])
    row, column = all_before(order, place)
    starts = np.append(np.flatnonzero(place[order] == 0), len(order))
    offset, at, take = {}, 0, []
    for first, end in pairwise(starts):
        own = tuple(rows[order[first:end], 1].astype(int))
        if own not in offset:
            offset[own] = at
            at += len(own) * (len(own) + 1) // 2
        take.append(offset[own] + np.arange(len(own) * (len(own) + 1) // 2))
    visits, count = tuple(np.array(own) for own in offset), int(rows[0, 2]) if len(rows) else 0
    return Layout(place, row, column, Patterns(count, visits, np.concatenate([np.empty(0, np.int64), *take])))


def root(library: ModuleType, layout: Layout, values: Mapping[str, object]) -> object:
    """Return the entries of U, (..., nnz): rows of the inverse of the Cholesky factor of each set of visits."""
    r, own = values[NAME], layout.own
    pairs = np.full((own.count, own.count), -1)
    pairs[np.triu_indices(own.count, 1)] = np.arange(own.count * (own.count - 1) // 2)
    pairs = np.maximum(pairs, pairs.T) + 1  # 0 on the diagonal: the 1 that is put before the correlations
    with_one, found = library.concatenate([library.ones_like(r[..., :1]), r], axis=-1), []
    for visits in own.visits:
        C = with_one[..., pairs[np.ix_(visits, visits)]]
        found.append(_inverse_factor(library, C)[(..., *np.tril_indices(len(visits)))])
    return library.concatenate(found, axis=-1)[..., own.take]


def _inverse_factor(library: ModuleType, C: object) -> object:
    """Return L^-1, L L' = C, (..., m, m); where C is no correlation matrix a LinAlgError of NumPy, NaN in a graph.

    The graph eliminates row by row, since PyTensor's factorisations raise errors there, in their gradients too.
    """
    if library is np:
        return np.linalg.inv(np.linalg.cholesky(C))
    m = C.type.shape[-1]
    row, R = np.arange(m), library.concatenate([C, library.eye(m)], axis=1)
    for k in range(m):
        own = R[k] / library.sqrt(R[k, k])
        below = R[:, k] / library.sqrt(R[k, k]) * (row > k)
        R = library.switch((row == k)[:, None], own[None], R - library.outer(below, own))
    return R[:, m:]


def entries(rows: Array) -> Entries:
    """Return the kinds of entries of C^-1: one for each pair of visits of each distinct set of them.

    Those of a set of m visits follow one another, row by row. The table has m, the number of series with the set, the
    two visits, and how many visits there are.
    """
    order, place = by_series(rows[:, 0], rows[:, 1])
    starts = np.append(np.flatnonzero(place[order] == 0), len(order))
    sets: dict[tuple[int, ...], list[Array]] = {}
    for first, end in pairwise(starts):
        own = order[first:end]
        sets.setdefault(tuple(rows[own, 1].astype(int)), []).append(own)
    row, column, kind, table, at = [], [], [], [], 0
    for visits, series in sets.items():
        m, members = len(visits), np.array(series)  # (number, m)
        a, b = np.divmod(np.arange(m * m), m)
        row.append(members[:, a].ravel())
        column.append(members[:, b].ravel())
        kind.append(np.tile(at + np.arange(m * m), len(series)))
        seen = np.array(visits)
        table.append(
            np.column_stack(
                [np.full(m * m, m), np.full(m * m, len(series)), seen[a], seen[b], np.full(m * m, rows[0, 2])]
            )
        )
        at += m * m
    none = np.empty(0, np.int64)
    return Entries(
        *(np.concatenate([none, *part]).astype(np.int64) for part in (row, column, kind)),
        np.concatenate([np.empty((0, 5)), *table]),
    )


@kernel
def _place(i, j, n):
    """Return the place of the correlation of visits i and j among those of n visits."""
    low, high = min(i, j), max(i, j)
    return int(low * n - low * (low + 1) // 2 + high - low - 1)


@kernel
def _inverted(C, P):
    """Set P = C^-1, (m, m), and C to its Cholesky factor; return log|C|, NaN where it is not positive definite."""
    m, log_det = C.shape[0], 0.0
    for j in range(m):
        for i in range(j, m):
            total = C[i, j]
            for k in range(j):
                total -= C[i, k] * C[j, k]
            if i > j:
                C[i, j] = total / C[j, j]
            elif total > 0.0:
                C[j, j] = math.sqrt(total)
            else:
                return math.nan
        log_det += 2.0 * math.log(C[j, j])
    for c in range(m):
        for i in range(m):
            total = 1.0 if i == c else 0.0
            for k in range(i):
                total -= C[i, k] * P[k, c]
            P[i, c] = total / C[i, i]
        for i in range(m - 1, -1, -1):
            total = P[i, c]
            for k in range(i + 1, m):
                total -= C[k, i] * P[k, c]
            P[i, c] = total / C[i, i]
    return log_det


@kernel
def _pulled(first, m, n, count, P, table, d_a, d_values):
    """Add the derivatives in the correlations of one set of visits: -P G P for G those in P, and -P / 2 of log|C|."""
    half = np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            for k in range(m):
                half[i, j] += d_a[first + i * m + k] * P[k, j]
    for i in range(m):
        for j in range(m):
            if i != j:
                total = 0.5 * count * P[i, j]
                for k in range(m):
                    total += P[i, k] * half[k, j]
                at = first + i * m + j
                d_values[_place(int(table[at, 2]), int(table[at, 3]), n)] -= total


@kernel
def inverse_values(backward, values, table, a, d_a, d_values):
    """Set the entries of the inverse of each set of visits, one after the other; return log|C|."""
    first, log_det = 0, 0.0
    while first < table.shape[0]:
        m, count, n = int(table[first, 0]), table[first, 1], int(table[first, 4])
        C, P = np.zeros((m, m)), np.zeros((m, m))
        for i in range(m):
            for j in range(m):
                at = first + i * m + j
                C[i, j] = 1.0 if i == j else values[_place(int(table[at, 2]), int(table[at, 3]), n)]
        log_det += count * _inverted(C, P)
        for i in range(m):
            for j in range(m):
                a[first + i * m + j] = P[i, j]
        if backward:
            _pulled(first, m, n, count, P, table, d_a, d_values)
        first += m * m
    return log_det


def tex(arguments: Mapping[str, str]) -> str:
    """Return rho of two times."""
    return r"\rho_{t_{i}, t_{j}}"


STRUCTURE = ResidualStructure(
    name=NAME,
    signature=Signature((Parameter("time", "visits"), Parameter("gr", "series", "")), "residual"),
    parameters=parameters,
    rows=rows,
    tex=tex,
    words="residuals with a correlation for each two visits",
    layout=layout,
    root=root,
    inverse=Inverse(entries, inverse_values),
)
