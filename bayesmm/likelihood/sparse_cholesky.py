"""Sparse Cholesky factors M = L L' of one pattern, and what an inverse has on it, in compiled code.

The pattern is analysed once: the rows of L are the paths in the elimination tree (Davis 2006, Direct Methods for Sparse
Linear Systems, chapter 4). `factorise` makes L row by row; `inverse_on_pattern` gives the entries of M^-1 where L has
some, its diagonal among them, without the others (Takahashi, Fagan & Chin 1973; Erisman & Tinney 1975, Communications
of the ACM 18(3)). The order of elimination, which decides how many entries L has, is SuperLU's minimum degree.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import compiled, inner, zero_integers, zeros
from bayesmm.likelihood.packed import Integers, Ints

if TYPE_CHECKING:
    from scipy.sparse import csc_array


class Pattern(NamedTuple):
    """The entries of M and of L, n x n; ``x[start[k]:start[k + 1]]`` are those of k, ascending."""

    rows: Integers  # (n + 1,) of the lower triangle of M, by rows: the diagonal is the last of each
    entries: Integers  # columns
    start: Integers  # (n + 1,) of L by columns: the diagonal is the first of each
    index: Integers  # rows
    before: Integers  # (n + 1,) of L by rows, without the diagonal
    columns: Integers


def order_of(M: "csc_array") -> Ints:
    """Return the rows and columns of a symmetric matrix in an order of elimination that keeps L sparse, (n,)."""
    from scipy.sparse.linalg import splu

    options = dict(permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=dict(SymmetricMode=True))
    return np.argsort(splu(M, **options).perm_c).astype(np.int64)


def pattern_of(M: "csc_array") -> Pattern:
    """Return the pattern of a symmetric matrix, whose diagonal has no zeros, and of its factor."""
    from scipy.sparse import tril

    lower = tril(M, format="csr")
    lower.sort_indices()
    rows, entries = lower.indptr.astype(np.int64), lower.indices.astype(np.int64)
    n, parent = len(rows) - 1, np.full(len(rows) - 1, -1, dtype=np.int64)
    size = np.zeros(n + 1, dtype=np.int64)
    _paths(rows, entries, parent, size, np.zeros(0, dtype=np.int64))
    before = np.cumsum(size)
    columns = np.zeros(before[-1], dtype=np.int64)
    _paths(rows, entries, parent, before, columns)
    for k in range(n):
        columns[before[k] : before[k + 1]].sort()
    of_row = np.concatenate([np.repeat(np.arange(n), np.diff(before)), np.arange(n)])
    all_columns = np.concatenate([columns, np.arange(n)])
    by_column = np.lexsort((of_row, all_columns))
    start = np.concatenate([[0], np.cumsum(np.bincount(all_columns, minlength=n))])
    return Pattern(rows, entries, start.astype(np.int64), of_row[by_column], before, columns)


@compiled
def _paths(rows, entries, parent, before, columns):
    """Set the number of entries of each row of L but the diagonal in before[1:]; or, given these, the columns."""
    n, count = parent.shape[0], columns.shape[0] == 0
    mark = np.full(n, -1)
    for k in range(n):
        mark[k] = k
        at = before[k]
        for p in range(rows[k], rows[k + 1] - 1):
            i = entries[p]
            while mark[i] != k:  # up the elimination tree, as far as this row has been
                if parent[i] == -1:
                    parent[i] = k
                if count:
                    before[k + 1] += 1
                else:
                    columns[at] = i
                    at += 1
                mark[i] = k
                i = parent[i]


@inner
def factorise(pattern, values, L):
    """Set L, by columns, for the values of M, as its entries are; return whether M is positive definite."""
    n = pattern.start.shape[0] - 1
    x, end = zeros(n), zero_integers(n)
    for k in range(n):
        for p in range(pattern.rows[k], pattern.rows[k + 1]):
            x[pattern.entries[p]] = values[p]
        pivot = x[k]
        x[k] = 0.0
        for q in range(pattern.before[k], pattern.before[k + 1]):
            j = pattern.columns[q]
            first, last = pattern.start[j], end[j]
            own = x[j] / L[first]
            x[j] = 0.0
            for p in range(first + 1, last):
                x[pattern.index[p]] -= L[p] * own
            pivot -= own * own
            L[last] = own
            end[j] = last + 1
        if not pivot > 0.0:
            return False
        L[pattern.start[k]] = np.sqrt(pivot)
        end[k] = pattern.start[k] + 1
    return True


@inner
def solve_lower_rows(pattern, L, W):
    """Set W = L^-1 W, (n, c)."""
    for j in range(W.shape[0]):
        first, last = pattern.start[j], pattern.start[j + 1]
        for a in range(W.shape[1]):
            W[j, a] /= L[first]
        for p in range(first + 1, last):
            i, own = pattern.index[p], L[p]
            for a in range(W.shape[1]):
                W[i, a] -= own * W[j, a]


@inner
def solve_upper_rows(pattern, L, W):
    """Set W = L^-T W, (n, c)."""
    for j in range(W.shape[0] - 1, -1, -1):
        first, last = pattern.start[j], pattern.start[j + 1]
        for p in range(first + 1, last):
            i, own = pattern.index[p], L[p]
            for a in range(W.shape[1]):
                W[j, a] -= own * W[i, a]
        for a in range(W.shape[1]):
            W[j, a] /= L[first]


@inner
def inverse_on_pattern(pattern, L, S):
    """Set the entries of (L L')^-1 where L has some, by columns as it has them."""
    n = pattern.start.shape[0] - 1
    place = zero_integers(n)  # of a row in the column at hand, and 1 more
    for j in range(n - 1, -1, -1):
        first, last = pattern.start[j], pattern.start[j + 1]
        for p in range(first, last):
            S[p] = 0.0
            place[pattern.index[p]] = p + 1
        place[j] = 0
        for p in range(first + 1, last):
            k, own = pattern.index[p], L[p]
            S[p] += S[pattern.start[k]] * own
            for q in range(pattern.start[k] + 1, pattern.start[k + 1]):
                t = place[pattern.index[q]] - 1
                if t >= 0:
                    S[t] += S[q] * own
                    S[p] += S[q] * L[t]
        diagonal = 1.0 / (L[first] * L[first])
        for p in range(first + 1, last):
            S[p] /= -L[first]
            diagonal -= S[p] * L[p] / L[first]
            place[pattern.index[p]] = 0
        S[first] = diagonal
