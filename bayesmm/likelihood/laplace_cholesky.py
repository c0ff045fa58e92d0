"""H = Lambda'Z'DZ Lambda + I for any number of grouping factors: assembled, factorised and inverted in blocks.

The verbs are `analyse`, once for the data; `factorise`, with log|H|; `solve`; and `selected_inverse`: the blocks of
H^-1 where H has some.

The factor with the most random effects leads and is eliminated level by level; the other factors, the *rest*, are dense
(`gaussian_factorisation`, `crossproducts`). Which blocks are not zero depends on the data alone and is found once, as a
`Layout`. There are no fixed columns here, and D may be of any sign.
"""

import math
from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import compiled, inner
from bayesmm.likelihood.crossproducts import Factor, Floats, Ints
from bayesmm.likelihood.dense_matrices import LAPACK_FROM, dot, small_cholesky, solve_lower, solve_lower_transposed

# Curvatures above this are no numbers to factorise: their products overflow.
LARGEST = 1e150


class Layout(NamedTuple):
    """Where the numbers of each row go, the leading factor first; the arrays that the compiled code takes.

    The random effects u are one vector: level by level of the leading factor, then of each further factor. The rest's
    columns are numbered from 0. ``columns[start[g]:start[g + 1]]`` are those that level g of the leading factor is
    coupled to.
    """

    q: Ints  # (K,) coefficients of each factor
    n_levels: Ints  # (K,)
    base: Ints  # (K,) place in u of each factor's first effect
    index: Ints  # (n, K) level of each row
    Z: Floats  # (n, sum q) the factors' columns side by side
    start: Ints  # (G_1 + 1,)
    columns: Ints  # (nnz,)
    slot: Ints  # (n, K - 1) place in `columns` of the row's first column of each further factor


class Blocks(NamedTuple):
    """The factor of H: chol of the leading blocks, what they are coupled to, and chol of the Schur complement."""

    L: Floats  # (G_1, q_1, q_1)
    B: Floats  # (nnz, q_1), the transposed L^-1 H_1r
    S: Floats  # (m, m)


def analyse(factors: list[Factor]) -> tuple[Layout, tuple[int, ...]]:
    """Return the layout of n rows in K factors, and the order of the factors in it (the leading one first).

    Parameters
    ----------
    factors : list of Factor
        At least one.
    """
    order = tuple(sorted(range(len(factors)), key=lambda k: -factors[k].size))
    ordered = [factors[k] for k in order]
    lead, others = ordered[0], ordered[1:]
    keys, widths, at = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for f in others:  # one key for each pair of levels that occurs; ascending keys are levels, then columns
        keys.append(lead.index * _rest_size(others) + at + f.index * f.Z.shape[1])
        widths.append(np.full(len(f.index), f.Z.shape[1]))
        at += f.size
    pairs, first, place = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    width = np.concatenate(widths)[first]
    begin = np.concatenate([[0], np.cumsum(width)]).astype(np.int64)
    owner, column = np.divmod(np.repeat(pairs, width), _rest_size(others))
    column = column + np.arange(begin[-1]) - np.repeat(begin[:-1], width)
    counts = np.bincount(owner, minlength=lead.n_levels)
    sizes = [f.size for f in ordered]
    layout = Layout(
        np.array([f.Z.shape[1] for f in ordered], np.int64),
        np.array([f.n_levels for f in ordered], np.int64),
        np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
        np.ascontiguousarray(np.stack([f.index for f in ordered], axis=1)),
        np.ascontiguousarray(np.hstack([f.Z for f in ordered])),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.ascontiguousarray(column.astype(np.int64)),
        np.ascontiguousarray(begin[place].reshape(len(others), len(lead.index)).T),
    )
    return layout, order


def _rest_size(others: list[Factor]) -> int:
    return max(sum(f.size for f in others), 1)


@compiled
def scaled_columns(layout, T):
    """Return the rows of Z Lambda, (n, sum q), for packed factors T (row by row, (q_k, q_k) each)."""
    out = np.zeros_like(layout.Z)
    for i in range(out.shape[0]):
        at, packed = 0, 0
        for k in range(layout.q.shape[0]):
            q = layout.q[k]
            for b in range(q):
                for a in range(b, q):  # T is lower triangular
                    out[i, at + b] += layout.Z[i, at + a] * T[packed + a * q + b]
            at += q
            packed += q * q
    return out


@inner
def rows_times(layout, ZT, u, out):
    """Add Z Lambda u to `out`, (n,)."""
    for i in range(ZT.shape[0]):
        at = 0
        for k in range(layout.q.shape[0]):
            q = layout.q[k]
            effect = layout.base[k] + layout.index[i, k] * q
            for a in range(q):
                out[i] += ZT[i, at + a] * u[effect + a]
            at += q


@inner
def times_rows(layout, ZT, r):
    """Return Lambda'Z'r as one vector like u."""
    K = layout.q.shape[0]
    out = np.zeros(layout.base[K - 1] + layout.q[K - 1] * layout.n_levels[K - 1])
    for i in range(ZT.shape[0]):
        at = 0
        for k in range(K):
            q = layout.q[k]
            effect = layout.base[k] + layout.index[i, k] * q
            for a in range(q):
                out[effect + a] += ZT[i, at + a] * r[i]
            at += q
    return out


@inner
def factorise(layout, ZT, D):
    """Return (positive definite, log|H|, Blocks); D (n,) is the diagonal of the rows' curvature.

    NumPy's factorisation raises where there is none, which would end the search for a mode; it is used where no D is
    negative, so that there always is one.
    """
    A, C, S = _assemble(layout, ZT, D)
    convex = True
    for i in range(D.shape[0]):
        convex = convex and D[i] >= 0.0 and D[i] < LARGEST
    log_det, G, q = 0.0, A.shape[0], A.shape[1]
    for g in range(G):
        if not small_cholesky(A[g]):
            return False, 0.0, Blocks(A, C, S)
        for a in range(q):
            log_det += 2.0 * math.log(A[g, a, a])
        for i in range(layout.start[g], layout.start[g + 1]):
            solve_lower(A[g], C[i])
            row = layout.columns[i]
            for j in range(layout.start[g], i + 1):  # the columns of a level ascend
                S[row, layout.columns[j]] -= dot(C[i], C[j])
    m = S.shape[0]
    if m >= LAPACK_FROM and convex and math.isfinite(log_det):
        for i in range(m):
            for j in range(i):
                S[j, i] = S[i, j]
        S = np.linalg.cholesky(S)
    elif not small_cholesky(S):
        return False, 0.0, Blocks(A, C, S)
    for i in range(m):
        log_det += 2.0 * math.log(S[i, i])
    return math.isfinite(log_det), log_det, Blocks(A, C, S)


@inner
def _assemble(layout, ZT, D):
    """Return the leading blocks (G, q, q) and the rest's (m, m) of H, lower triangles, and the coupling (nnz, q)."""
    K, q = layout.q.shape[0], layout.q[0]
    G = layout.n_levels[0]
    first = G * q
    m = layout.base[K - 1] + layout.q[K - 1] * layout.n_levels[K - 1] - first
    A, C, S = np.zeros((G, q, q)), np.zeros((layout.columns.shape[0], q)), np.zeros((m, m))
    for g in range(G):
        for a in range(q):
            A[g, a, a] = 1.0
    for j in range(m):
        S[j, j] = 1.0
    for i in range(ZT.shape[0]):
        g, d = layout.index[i, 0], D[i]
        for a in range(q):
            for b in range(a + 1):
                A[g, a, b] += d * ZT[i, a] * ZT[i, b]
        at = q
        for k in range(1, K):
            row = layout.base[k] + layout.index[i, k] * layout.q[k] - first
            for a in range(layout.q[k]):
                value = d * ZT[i, at + a]
                for b in range(q):
                    C[layout.slot[i, k - 1] + a, b] += value * ZT[i, b]
                column_at = q
                for j in range(1, k + 1):
                    column = layout.base[j] + layout.index[i, j] * layout.q[j] - first
                    for b in range(layout.q[j] if j < k else a + 1):
                        S[row + a, column + b] += value * ZT[i, column_at + b]
                    column_at += layout.q[j]
            at += layout.q[k]
    return A, C, S


@inner
def solve(layout, blocks, x):
    """Overwrite x, a vector like u, by H^-1 x."""
    q, G = layout.q[0], layout.n_levels[0]
    first = G * q
    for g in range(G):
        part = x[g * q : (g + 1) * q]
        solve_lower(blocks.L[g], part)
        for i in range(layout.start[g], layout.start[g + 1]):
            x[first + layout.columns[i]] -= dot(blocks.B[i], part)
    solve_lower(blocks.S, x[first:])
    solve_lower_transposed(blocks.S, x[first:])
    for g in range(G):
        part = x[g * q : (g + 1) * q]
        for i in range(layout.start[g], layout.start[g + 1]):
            for a in range(q):
                part[a] -= blocks.B[i, a] * x[first + layout.columns[i]]
        solve_lower_transposed(blocks.L[g], part)


@inner
def selected_inverse(layout, blocks):
    """Return the blocks of H^-1 where H has blocks: leading (G, q, q), coupling (nnz, q) transposed, rest (m, m)."""
    q, G = layout.q[0], layout.n_levels[0]
    R = _inverse(blocks.S)
    lead, coupling = np.zeros((G, q, q)), np.zeros_like(blocks.B)
    for g in range(G):
        begin, end = layout.start[g], layout.start[g + 1]
        inner = lead[g]
        for i in range(begin, end):
            for j in range(begin, end):
                weight = R[layout.columns[i], layout.columns[j]]
                for a in range(q):
                    coupling[i, a] -= weight * blocks.B[j, a]
        for a in range(q):
            inner[a, a] = 1.0
        for i in range(begin, end):
            for a in range(q):
                for b in range(q):
                    inner[a, b] -= blocks.B[i, a] * coupling[i, b]
            solve_lower_transposed(blocks.L[g], coupling[i])
        for a in range(q):
            solve_lower_transposed(blocks.L[g], inner[:, a])
        for a in range(q):
            solve_lower_transposed(blocks.L[g], inner[a])
    return lead, coupling, R


@inner
def _inverse(L):
    """Return (L L')^-1."""
    if L.shape[0] >= LAPACK_FROM:
        half = np.linalg.inv(L)
        return half.T.copy() @ half
    out = np.eye(L.shape[0])
    for i in range(L.shape[0]):
        solve_lower(L, out[i])
        solve_lower_transposed(L, out[i])
    return out


@inner
def inverse_times_row(layout, ZT, i, lead, coupling, R, t):
    """Set t (sum q,) to those entries of H^-1 Lambda'z_i that belong to the levels of row i."""
    K, q, first = layout.q.shape[0], layout.q[0], layout.n_levels[0] * layout.q[0]
    g = layout.index[i, 0]
    for a in range(q):
        t[a] = dot(lead[g, a], ZT[i, :q])
    at = q
    for k in range(1, K):
        row = layout.base[k] + layout.index[i, k] * layout.q[k] - first
        for a in range(layout.q[k]):
            slot = layout.slot[i, k - 1] + a
            t[at + a] = dot(coupling[slot], ZT[i, :q])
            for b in range(q):
                t[b] += coupling[slot, b] * ZT[i, at + a]
            column_at = q
            for j in range(1, K):
                column = layout.base[j] + layout.index[i, j] * layout.q[j] - first
                for b in range(layout.q[j]):
                    t[at + a] += R[row + a, column + b] * ZT[i, column_at + b]
                column_at += layout.q[j]
        at += layout.q[k]
