"""The compiled factorisation of the Gaussian marginal likelihood.

M = Lambda'A Lambda + D is factorised in blocks: the leading factor is eliminated pattern by pattern, and what is left
of the rest, M_rr - sum_g n_g C_g'X_g C_g, is dense; X_g = T (T'A_g T + I)^-1 T', and C_g has the columns of the rest,
times their Lambda. Nothing is kept of a pattern: its q x q matrices are made again where they are needed.

The verbs of a factorisation: `crossproducts.cross_products` analyses, once; `eliminate` and `rest_likelihood`
factorise, with log|M|, and carry the response along as one more column; `invert_rest` solves for the coefficients and
inverts what is left; `leading_gradient` and `rest_gradient` take what they need of the selected inverse. Outside,
`gaussian` and `gaussian_leading` have covariances, modes and draws.

Each function states what it computes in the symbols of `gaussian`. `lead`, `rest`, `prior` and `lam` are the records
`Leading`, `Rest`, `FixedPrior` and `Lambda`; arrays are contiguous float64.
"""

import math
from typing import NamedTuple

from bayesmm.likelihood.compiled import borrowed, fused, inlined, inner, reordered, zero_integers, zero_matrix, zeros
from bayesmm.likelihood.dense_matrices import (
    cholesky,
    dot,
    invert,
    matmul,
    small_cholesky,
    solve_lower,
    solve_lower_transposed,
)
from bayesmm.likelihood.packed import Floats, Ints


class FixedPrior(NamedTuple):
    """The prior of the p fixed columns, as the compiled code takes it.

    Flat columns come last. A column has lam = s / sigma and D = 1 with a normal prior of sd s (0 fixes it at its
    mean), and lam = 1 and D = 0 with a flat one.
    """

    mean: Floats  # (p,)
    lam: Floats  # (p,) relative to sigma
    D: Floats  # (p,) 1 or 0


class Lambda(NamedTuple):
    """The block-diagonal Lambda of the rest, column by column.

    Column j is coefficient ``within[j]`` of a level with ``size[j]`` of them, whose factor T begins at ``first[j]`` in
    `values`; a fixed column is a level of its own.
    """

    values: Floats  # the packed factors T, then lam
    first: Ints  # (m,)
    within: Ints  # (m,)
    size: Ints  # (m,)


@inlined
def rest_sizes(rest, q):
    """Return the numbers of the rest's columns, of its fixed ones, and of the entries of the packed factors."""
    m, p, length = rest.z.shape[0], rest.z.shape[0], q * q
    for k in range(rest.q.shape[0]):
        length += rest.q[k] * rest.q[k]
        p -= rest.q[k] * rest.n_levels[k]
    return m, p, length


@inner
def rest_lambda(rest, T, skip, lam):
    """Return Lambda of the rest from the packed factors T, the first `skip` numbers left out, and from lam."""
    m, n_packed, p = rest.z.shape[0], T.shape[0] - skip, lam.shape[0]
    values, first, within, size = zeros(n_packed + p), zero_integers(m), zero_integers(m), zero_integers(m)
    for i in range(n_packed):
        values[i] = T[skip + i]
    at, packed = 0, 0
    for k in range(rest.q.shape[0]):
        q = rest.q[k]
        for _ in range(rest.n_levels[k]):
            for a in range(q):
                first[at], within[at], size[at] = packed, a, q
                at += 1
        packed += q * q
    for j in range(p):
        values[n_packed + j], first[at + j], size[at + j] = lam[j], n_packed + j, 1
    return Lambda(values, first, within, size)


@inner
def times_lambda(row, lam, end, out):
    """Set the first `end` entries of out = Lambda'row."""
    for j in range(end):
        a, q = lam.within[j], lam.size[j]
        total = 0.0
        for b in range(a, q):  # T is lower triangular
            total += row[j - a + b] * lam.values[lam.first[j] + b * q + a]
        out[j] = total


@inner
def lambda_times(u, lam, out):
    """Set out = Lambda u."""
    for j in range(u.shape[0]):
        a, q = lam.within[j], lam.size[j]
        total = 0.0
        for b in range(a + 1):
            total += lam.values[lam.first[j] + a * q + b] * u[j - a + b]
        out[j] = total


@inlined
def assemble_rest(rest, rWr, lam, prior, M, c):
    """Set the lower triangle of M = Lambda'A Lambda + D and c = Lambda'(z - A mean) for the rest; return r'Wr there."""
    m, p, quad = rest.z.shape[0], prior.mean.shape[0], rWr
    left, row = zeros(m), zeros(m)
    for i in range(m):
        left[i] = rest.z[i]
        for j in range(p):
            left[i] -= rest.A[i, m - p + j] * prior.mean[j]
    for j in range(p):
        quad -= prior.mean[j] * (rest.z[m - p + j] + left[m - p + j])
    times_lambda(left, lam, m, c)
    for i in range(m):
        a, q = lam.within[i], lam.size[i]
        level, end = i - a, i - a + q
        for j in range(end):
            row[j] = 0.0
        for b in range(a, q):
            weight = lam.values[lam.first[i] + b * q + a]
            for j in range(end):
                row[j] += weight * rest.A[level + b, j]
        times_lambda(row, lam, i + 1, M[i])
        M[i, i] += 1.0 if i < m - p else prior.D[i - (m - p)]
    return quad


@inner
def level_factor(A, g, T, L, half):
    """Set L = chol(T'A_g T + I) and half = L^-1 T' for pattern g; return False where there is no factor."""
    q = T.shape[0]
    for a in range(q):
        for b in range(q):
            total = 0.0
            for k in range(b, q):  # T is lower triangular
                total += A[g, a, k] * T[k, b]
            half[a, b] = total
    for a in range(q):
        for b in range(a + 1):
            total = 1.0 if a == b else 0.0
            for k in range(a, q):
                total += T[k, a] * half[k, b]
            L[a, b] = total
    if not small_cholesky(L):
        return False
    for a in range(q):
        for b in range(q):
            total = T[b, a]
            for k in range(a):
                total -= L[a, k] * half[k, b]
            half[a, b] = total / L[a, a]
    return True


@inner
def level_inverse(T, L, P, X):
    """Go on from `level_factor`: `half` becomes P = (L L')^-1 T', and X = T P."""
    q = L.shape[0]
    for a in range(q - 1, -1, -1):
        for b in range(q):
            total = P[a, b]
            for k in range(a + 1, q):
                total -= L[k, a] * P[k, b]
            P[a, b] = total / L[a, a]
    matmul(T, P, X)


@inlined
def shifted(lead, g, mean, first, d):
    """Set d = C_g v, for the columns of the rest from `first` on and their coefficients v = mean."""
    for a in range(d.shape[0]):
        d[a] = 0.0
    for j in range(lead.start[g], lead.start[g + 1]):
        if lead.columns[j] >= first:
            for a in range(d.shape[0]):
                d[a] += lead.coupling[j, a] * mean[lead.columns[j] - first]


@inlined
def most_columns(lead):
    """Return the largest number of columns that a pattern is coupled to."""
    most = 0
    for g in range(lead.count.shape[0]):
        most = max(most, lead.start[g + 1] - lead.start[g])
    return most


@inlined
def scaled_coupling(lead, g, lam, out):
    """Set the columns of `out`, (q, ...), to C_g Lambda, one for each column of the rest that pattern g has."""
    q, start = lead.coupling.shape[1], lead.start[g]
    for i in range(start, lead.start[g + 1]):
        j = lead.columns[i]
        a, size = lam.within[j], lam.size[j]
        for c in range(q):
            total = 0.0
            for b in range(a, size):  # a pattern has all columns of a level
                total += lam.values[lam.first[j] + b * size + a] * lead.coupling[i - a + b, c]
            out[c, i - start] = total


@inlined
def eliminate(lead, lam, T, mean, M, c):
    """Take the leading factor's part from M and c; return (ok, its part of log|M|, what it explains of r'Wr)."""
    q, m, p, explained, logdet, ok = T.shape[0], c.shape[0], mean.shape[0], 0.0, 0.0, True
    small, wide = zero_matrix(2 * q + 2, q), zero_matrix(2 * q + 1, most_columns(lead))
    d, v, row = borrowed(small)[2 * q], borrowed(small)[2 * q + 1], borrowed(wide)[2 * q]
    L, half, C, B = borrowed(small)[:q], borrowed(small)[q : 2 * q], borrowed(wide)[:q], borrowed(wide)[q : 2 * q]
    for g in range(lead.count.shape[0]):
        ok, logdet, explained = pattern_likelihood(lead, g, T, mean, m - p, L, half, d, v, logdet, explained)
        if not ok:
            break
        scaled_coupling(lead, g, lam, C)
        width = lead.start[g + 1] - lead.start[g]
        downdate(lead.columns, lead.start[g], width, lead.count[g], half, v, C, B, row, M, c)
    return ok and small.size + wide.size >= 0, logdet, explained  # what was borrowed from is used to the end


@inlined
def pattern_likelihood(lead, g, T, mean, first, L, half, d, v, logdet, explained):
    """Set L, half, d and v = half (z - n d) of one pattern; return (ok, log|M|, explained) with its parts added."""
    ok, count = level_factor(lead.A, g, T, L, half), lead.count[g]
    if ok:
        shifted(lead, g, mean, first, d)
        for a in range(d.shape[0]):
            logdet += 2.0 * count * math.log(L[a, a])
            v[a] = 0.0
            for b in range(d.shape[0]):
                v[a] += half[a, b] * (lead.sum_z[g, b] - count * d[b])
        total = 0.0  # the trace of half E half', E = sum (z - d)(z - d)' over the levels
        for a in range(d.shape[0]):
            for i in range(d.shape[0]):
                for j in range(d.shape[0]):
                    E = lead.sum_zz[g, i, j] - lead.sum_z[g, i] * d[j] - d[i] * lead.sum_z[g, j] + count * d[i] * d[j]
                    total += half[a, i] * E * half[a, j]
        explained += total
    return ok, logdet, explained


@fused
def downdate(columns, start, width, count, half, v, C, B, row, M, c):
    """Set B = half C for one pattern, take count B'B from the lower triangle of M and B'v from c.

    A row of B'B is made in one go, which the processor does for several columns at a time, and then put in its places.
    """
    q = half.shape[0]
    for a in range(q):
        for i in range(width):
            total = 0.0
            for b in range(q):
                total += half[a, b] * C[b, i]
            B[a, i] = total
            c[columns[start + i]] -= total * v[a]
    for i in range(width):
        for j in range(i + 1):
            row[j] = 0.0
        for a in range(q):
            weight = count * B[a, i]
            for j in range(i + 1):
                row[j] += weight * B[a, j]
        column = columns[start + i]
        for j in range(i + 1):  # the columns of a pattern ascend
            M[column, columns[start + j]] -= row[j]


@inlined
def rest_likelihood(M, c, D, integrate_flat, logdet, quad, sigma, nu):
    """Factorise the rest: M becomes its Cholesky factor and c its L^-1 c.

    Return (ok, log|M|, the quadratic form, sigma, the columns that log|M| has), from those of the leading factor.
    """
    active = c.shape[0]
    for j in range(D.shape[0]):
        if not integrate_flat and D[j] == 0.0:
            active -= 1
    ok = cholesky(M)
    if ok:
        for i in range(active):
            logdet += 2.0 * math.log(M[i, i])
        solve_lower(M, c)
        quad -= dot(c, c)
        if sigma == 0.0 and quad > 0.0:
            sigma = math.sqrt(quad / nu)
        ok = sigma != 0.0
    return ok, logdet, quad, sigma, active


@inlined
def invert_rest(rest, lam, mean, active, M, c, v, e):
    """Go on from `rest_likelihood`: M becomes its inverse, c M^-1 c, v = Lambda M^-1 c + mean, e = z - A v."""
    m, p = c.shape[0], mean.shape[0]
    solve_lower_transposed(M, c)
    invert(M, active)
    lambda_times(c, lam, v)
    for j in range(p):
        v[m - p + j] += mean[j]
    for i in range(m):
        e[i] = rest.z[i] - dot(rest.A[i], v)


@inlined
def rest_gradient(rest, lam, R, u, e, sigma, d_rest):
    """Add -(A Lambda R) + e u' / sigma^2 over the diagonal blocks; as ``lam.values`` is packed."""
    row = zeros(u.shape[0])
    for i in range(u.shape[0]):
        b, q = lam.within[i], lam.size[i]
        lambda_times(R[i], lam, row)
        for a in range(b, q):
            j = i - b + a
            d_rest[lam.first[i] + a * q + b] += e[j] * u[i] / (sigma * sigma) - dot(rest.A[j], row)


@inlined
def leading_gradient(lead, lam, T, v, R, sigma, e, d_T, d_rest):
    """Add the leading factor's part of the gradient, given R = M_rr^-1 and the rest's coefficients v.

    With E = sum (z - C v)(z - C v)' over the levels of a pattern, F = I - A X and H = C Lambda R Lambda'C', it is
    (F (E / sigma^2 + n H) - n A) T K^-1, K = T'A T + I, for T, and n C'X C Lambda R for the rest; C'X (z - C v) is
    what the leading factor explains of the rest's residual e.
    """
    q = T.shape[0]
    small, wide = zero_matrix(6 * q + 2, q), zero_matrix(2 * q + 1, most_columns(lead))
    room, row, C, Y = borrowed(small), borrowed(wide)[2 * q], borrowed(wide)[:q], borrowed(wide)[q : 2 * q]
    for g in range(lead.count.shape[0]):
        scaled_coupling(lead, g, lam, C)
        inverse_times(lead.columns, lead.start[g], lead.start[g + 1] - lead.start[g], C, R, row, Y)
        pattern_gradient(lead, g, lam, T, v, sigma, C, Y, room, e, d_T, d_rest)
    if small.size + wide.size < 0:  # what was borrowed from is used to the end
        d_T[0] = 0.0


@inlined
def pattern_gradient(lead, g, lam, T, v, sigma, C, Y, room, e, d_T, d_rest):
    """Add the part of one pattern, given C_g Lambda and Y = C_g Lambda R; `room` is (6 q + 2, q)."""
    q, n = T.shape[0], lead.count[g]
    L, P, X, E, F = room[:q], room[q : 2 * q], room[2 * q : 3 * q], room[3 * q : 4 * q], room[4 * q : 5 * q]
    FE, d, s = room[5 * q : 6 * q], room[6 * q], room[6 * q + 1]
    level_factor(lead.A, g, T, L, P)
    level_inverse(T, L, P, X)
    shifted(lead, g, v, 0, d)
    for a in range(q):
        s[a] = 0.0
        for b in range(q):
            F[a, b] = 1.0 if a == b else 0.0
            for k in range(q):
                F[a, b] -= lead.A[g, a, k] * X[k, b]
            s[a] += X[a, b] * (lead.sum_z[g, b] - n * d[b])
            E[a, b] = lead.sum_zz[g, a, b] + n * d[a] * d[b] - lead.sum_z[g, a] * d[b] - d[a] * lead.sum_z[g, b]
            E[a, b] /= sigma * sigma
    coupled_gradient(lead, g, lam, C, Y, X, s, E, e, d_rest)
    matmul(F, E, FE)
    for a in range(q):
        for b in range(a + 1):
            for k in range(q):
                d_T[a * q + b] += (FE[a, k] - n * lead.A[g, a, k]) * P[b, k]


@reordered
def inverse_times(columns, start, width, C, R, row, Y):
    """Set Y' = R C' for the rows and columns of one pattern; the columns ascend, and R is read up to its diagonal.

    Reading each entry of R once is what counts: there are many, far apart.
    """
    for i in range(width):
        column = columns[start + i]
        for j in range(i):
            row[j] = R[column, columns[start + j]]
        for a in range(C.shape[0]):
            own = C[a, i]
            total = R[column, column] * own
            for j in range(i):
                total += row[j] * C[a, j]
                Y[a, j] += row[j] * own
            Y[a, i] = total


@inlined
def coupled_gradient(lead, g, lam, C, Y, X, s, E, e, d_rest):
    """Add n C Y' to E, take C's from e, and add n C'X Y to the rest's gradient, for one pattern."""
    q, n, start = X.shape[0], lead.count[g], lead.start[g]
    for i in range(lead.start[g + 1] - start):
        column = lead.columns[start + i]
        k, size = lam.within[column], lam.size[column]
        first = lam.first[column] + k * size
        for a in range(q):
            e[column] -= lead.coupling[start + i, a] * s[a]
            weight = 0.0
            for b in range(q):
                weight += n * X[a, b] * lead.coupling[start + i, b]
                E[a, b] += n * C[a, i] * Y[b, i]
            for b in range(k + 1):
                d_rest[first + b] += weight * Y[a, i - k + b]
