"""Correlations of residuals: U, sparse and triangular in an order of the rows, with U C U' = I.

Row i of U is a residual less what the ones before it in its series say of it, over the sd of the difference; so the
rows of U e are independent with an sd of 1, log|C| = -2 sum log U_ii, and C^-1 = U'U has entries for the rows of one
series alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Layout:
    """Which entries of U are not 0.

    Attributes
    ----------
    place : (n,) int64
        Which row of its series each row is, from 0: U has entries for rows with earlier ones.
    row, column : (nnz,) int64
        The diagonal is among them.
    own : object
        What the structure makes the values of.
    """

    place: Array
    row: Array
    column: Array
    own: Any = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.place)

    @cached_property
    def diagonal(self) -> Array:
        """Places of U_ii among the entries, (n,)."""
        found = np.flatnonzero(self.row == self.column)
        return found[np.argsort(self.row[found], kind="stable")]

    @cached_property
    def by_place(self) -> tuple[tuple[Array, Array], ...]:
        """The rows that have each place in their series, and their entries but the diagonal."""
        off, found = self.row != self.column, []
        for k in range(int(self.place.max(initial=-1)) + 1):
            found.append((np.flatnonzero(self.place == k), np.flatnonzero(off & (self.place[self.row] == k))))
        return tuple(found)


class Entries(NamedTuple):
    """Which entries C^-1 has, and of which kind each is; an entry that stands there twice is the sum.

    Both (i, j) and (j, i) are among them.
    """

    row: Array  # (e,) int64
    column: Array  # (e,) int64
    kind: Array  # (e,) int64
    table: Array  # (K, c) what the value of each kind follows from, and how often it counts in log|C|


@dataclass(frozen=True)
class Inverse:
    """C^-1 as a sum of fixed matrices, one of each kind of entry, times values that follow from the parameters.

    So cross-products with C^-1 are sums of few that are made once.

    Attributes
    ----------
    entries : callable
        ``rows -> Entries``.
    values : kernel
        ``(backward, values, table, a, d_a, d_values) -> log|C|``, for compiled code: sets the K values a; backward it
        adds to d_values the derivatives of what has the derivatives d_a, less half of those of log|C|. The result is
        not finite where there is no such matrix.
    """

    entries: Callable[[Array], Entries]
    values: Callable


@dataclass(frozen=True, eq=False)
class Correlation:
    """Known correlations of the residuals.

    Attributes
    ----------
    layout : Layout
    values : (nnz,) or (draws, nnz) float64
    """

    layout: Layout
    values: Array

    @property
    def logdet(self) -> Array:
        """log|C|, a number for each draw."""
        return -2 * np.log(self.values[..., self.layout.diagonal]).sum(axis=-1)

    @property
    def root(self):
        """U of single values as a sparse matrix, (n, n)."""
        from scipy import sparse  # here: few models have correlated residuals

        n = self.layout.n
        return sparse.csr_array((self.values, (self.layout.row, self.layout.column)), shape=(n, n))

    def precision(self, weights: Array) -> tuple[Array, Array, Array]:
        """Return the entries (i, j, value) of W^1/2 C^-1 W^1/2 for weights (n,)."""
        found = (self.root.T @ self.root).tocoo()
        root = np.sqrt(weights)
        i, j = (index.astype(np.int64) for index in found.coords)
        return i, j, found.data * root[i] * root[j]

    def times(self, columns: Array) -> Array:
        """Return U times columns (n, k), for single values."""
        return self.root @ columns

    def whitened(self, e: Array) -> Array:
        """Return U e for each of (draws, n) residuals."""
        return _sums(self.values * e[..., self.layout.column], self.layout.row, self.layout.n)

    def pulled(self, e: Array) -> tuple[Array, Array]:
        """Return C^-1 e for each of (draws, n) residuals, and the diagonal of C^-1, (draws, n)."""
        row, column, n = self.layout.row, self.layout.column, self.layout.n
        values = np.broadcast_to(self.values, (len(e), len(row)))
        return _sums(values * self.whitened(e)[:, row], column, n), _sums(np.square(values), column, n)

    def drawn(self, z: Array) -> Array:
        """Return U^-1 z, of correlation C for independent z, (n,) or (draws, n): one place of all series at a time."""
        out, layout = np.zeros(z.shape), self.layout
        for rows, entries in layout.by_place:
            known = _sums(self.values[..., entries] * out[..., layout.column[entries]], layout.row[entries], layout.n)
            out[..., rows] = (z[..., rows] - known[..., rows]) / self.values[..., layout.diagonal[rows]]
        return out

    def dense(self, rows: Array) -> Array:
        """Return C of some rows, whole series, (draws, m, m)."""
        at = np.full(self.layout.n, -1)
        at[rows] = np.arange(len(rows))
        own = np.flatnonzero(at[self.layout.row] >= 0)
        U = np.zeros((len(self.values), len(rows), len(rows)))
        U[:, at[self.layout.row[own]], at[self.layout.column[own]]] = self.values[:, own]
        inverse = np.linalg.inv(U)
        return inverse @ inverse.transpose(0, 2, 1)


def _sums(values: Array, index: Array, n: int) -> Array:
    """Return the sums of (..., nnz) values by index, (..., n)."""
    out = np.zeros((*values.shape[:-1], n))
    if not len(index):
        return out
    order = np.argsort(index, kind="stable")
    start = np.flatnonzero(np.diff(index[order], prepend=-1))
    out[..., index[order][start]] = np.add.reduceat(values[..., order], start, axis=-1)
    return out


def by_series(series: Array, time: Array) -> tuple[Array, Array]:
    """Return the order of the rows by series and time, and the place of each within its series from 0, both (n,)."""
    order = np.lexsort((time, series))
    sorted_series = series[order]
    first = np.flatnonzero(np.concatenate([[True], sorted_series[1:] != sorted_series[:-1]])[: len(order)])
    length = np.diff(np.append(first, len(order)))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - np.repeat(first, length)
    return order.astype(np.int64), place


def all_before(order: Array, place: Array) -> tuple[Array, Array]:
    """Return the entries of U for each row with itself and all those before it in its series, (nnz,) each."""
    at = np.empty(len(order), dtype=np.int64)
    at[order] = np.arange(len(order))
    count = place[order] + 1
    row = np.repeat(order, count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return row, order[at[row] - place[row] + step]
