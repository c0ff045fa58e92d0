"""The compiled factorisation of the Gaussian marginal likelihood.

Each function states what it computes in the symbols of `gaussian`. `lead`, `rest` and `prior` are the records
`Leading`, `Rest` and `FixedPrior`; arrays are contiguous float64.
"""

import math
from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import inlined, inner, lapack, zero_matrix, zeros
from bayesmm.likelihood.crossproducts import Floats

# From this size on a factorisation through LAPACK beats a plain compiled loop (measured: equal between 30 and 50).
LAPACK_FROM = 40

# Small products are written out: a loop compiles in a tenth of the time of np.dot, and is faster below about 10 x 10.


class FixedPrior(NamedTuple):
    """The prior of the p fixed columns, as the compiled code takes it.

    Flat columns come last. A column has lam = s / sigma and D = 1 with a normal prior of sd s (0 fixes it at its
    mean), and lam = 1 and D = 0 with a flat one.
    """

    mean: Floats  # (p,)
    lam: Floats  # (p,) relative to sigma
    D: Floats  # (p,) 1 or 0


@inner
def dot(x, y):
    """Return x'y for vectors."""
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@inner
def matmul(a, b, out):
    """Set out = a b."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@inner
def cholesky(a):
    """Overwrite the lower triangle of `a` by its Cholesky factor; return False where `a` is not positive definite."""
    for j in range(a.shape[0]):
        for i in range(j, a.shape[0]):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            if i > j:
                a[i, j] = total / a[j, j]
            elif total > 0.0 and total < np.inf:
                a[j, j] = math.sqrt(total)
            else:
                return False
    return True


@inner
def solve_lower(L, x):
    """Overwrite the vector x by L^-1 x."""
    for i in range(L.shape[0]):
        for k in range(i):
            x[i] -= L[i, k] * x[k]
        x[i] /= L[i, i]


@inner
def solve_lower_transposed(L, x):
    """Overwrite the vector x by L^-T x."""
    for i in range(L.shape[0] - 1, -1, -1):
        for k in range(i + 1, L.shape[0]):
            x[i] -= L[k, i] * x[k]
        x[i] /= L[i, i]


@inner
def _invert(L):
    """Overwrite the lower triangle of a Cholesky factor by that of (L L')^-1."""
    n = L.shape[0]
    for j in range(n):  # L^-1, column by column: what a column needs of L is to its right
        L[j, j] = 1.0 / L[j, j]
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total -= L[i, k] * L[k, j]
            L[i, j] = total / L[i, i]
    for j in range(n):  # L^-T L^-1, of which entry (i, j) needs the rows from i on
        for i in range(j, n):
            total = 0.0
            for k in range(i, n):
                total += L[k, i] * L[k, j]
            L[i, j] = total


@inner
def _shifted(lead, g, mean, first_fixed, d):
    """Set d = C_g mean, what the fixed columns' mean takes from Z'Wr of one level of pattern g."""
    for a in range(d.shape[0]):
        d[a] = 0.0
    for j in range(lead.start[g], lead.start[g + 1]):
        if lead.columns[j] >= first_fixed:
            for a in range(d.shape[0]):
                d[a] += lead.coupling[j, a] * mean[lead.columns[j] - first_fixed]


@inlined
def eliminate(lead, rest, rWr, T, mean, S, c, L, B):
    """Eliminate the leading factor: set S, c, L, B; return (ok, its part of log|M|, r'Wr less what it explains)."""
    P, q = lead.count.shape[0], lead.A.shape[1]
    m, p, quad, logdet, ok = rest.z.shape[0], mean.shape[0], rWr, 0.0, True
    for i in range(m):
        c[i] = rest.z[i]
        for j in range(m):
            S[i, j] = rest.A[i, j]
        for j in range(p):
            c[i] -= rest.A[i, m - p + j] * mean[j]
    for j in range(p):
        quad -= mean[j] * (rest.z[m - p + j] + c[m - p + j])
    d, v, half = zeros(q), zeros(q), zero_matrix(q, q)
    for g in range(P):
        count, Lg = lead.count[g], L[g]
        matmul(lead.A[g], T, half)
        for a in range(q):
            for b in range(a + 1):
                Lg[a, b] = dot(T[:, a], half[:, b]) + (1.0 if a == b else 0.0)
        if not cholesky(Lg):
            ok = False
            break
        _shifted(lead, g, mean, m - p, d)
        for a in range(q):
            logdet += 2.0 * count * math.log(Lg[a, a])
            v[a] = dot(T[:, a], lead.sum_z[g]) - count * dot(T[:, a], d)
            for b in range(q):
                half[a, b] = T[b, a]
        solve_lower(Lg, v)  # L^-1 T' sum z
        for a in range(q):
            solve_lower(Lg, half[:, a])  # L^-1 T'
        quad -= _traced(half, lead.sum_zz[g], lead.sum_z[g], d, count)
        _downdate(lead, g, half, v, S, c, B)
    for i in range(m):
        for j in range(i):
            S[j, i] = S[i, j]
    return ok, logdet, quad


@inlined
def _traced(half, sum_zz, sum_z, d, count):
    """Return the trace of half E half', where E = sum (z - d)(z - d)' over the levels of a pattern."""
    total, q = 0.0, half.shape[0]
    for a in range(q):
        for i in range(q):
            for j in range(q):
                E = sum_zz[i, j] - sum_z[i] * d[j] - d[i] * sum_z[j] + count * d[i] * d[j]
                total += half[a, i] * E * half[a, j]
    return total


@inlined
def _downdate(lead, g, half, v, S, c, B):
    """Set the rows of B for pattern g and take n_g B'B from the lower triangle of S and B'v from c."""
    q, count = half.shape[0], lead.count[g]
    for i in range(lead.start[g], lead.start[g + 1]):
        row = lead.columns[i]
        for a in range(q):
            total = 0.0
            for b in range(q):
                total += half[a, b] * lead.coupling[i, b]
            B[i, a] = total
            c[row] -= total * v[a]
        for j in range(lead.start[g], i + 1):  # the columns of a pattern ascend
            total = 0.0
            for a in range(q):
                total += B[i, a] * B[j, a]
            S[row, lead.columns[j]] -= count * total


@inner
def transposed(a):
    """Return a' in the order of the memory."""
    out = zero_matrix(a.shape[1], a.shape[0])
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[j, i] = a[i, j]
    return out


@inner
def row_times_lambda(row, rest, T, lam, out):
    """Set out = Lambda_r' row; T has the packed factors of the rest."""
    at, packed = 0, 0
    for k in range(rest.q.shape[0]):
        q = rest.q[k]
        for _ in range(rest.n_levels[k]):
            for b in range(q):
                out[at + b] = 0.0
                for a in range(b, q):  # T is lower triangular
                    out[at + b] += row[at + a] * T[packed + a * q + b]
            at += q
        packed += q * q
    for j in range(lam.shape[0]):
        out[at + j] = row[at + j] * lam[j]


@inner
def times_lambda(S, rest, T, lam):
    """Return S Lambda_r for a matrix S with m columns."""
    out = zero_matrix(S.shape[0], S.shape[1])
    for i in range(S.shape[0]):
        row_times_lambda(S[i], rest, T, lam, out[i])
    return out


@inner
def factorise(a):
    """Overwrite the lower triangle of `a` by its Cholesky factor; return False where `a` is not positive definite."""
    return lapack("dpotrf", a) == 0 if a.shape[0] >= LAPACK_FROM else cholesky(a)


@inner
def _inverse(L, active):
    """Return the inverse of the leading block, of size `active`, of L L', padded by zeros."""
    m = L.shape[0]
    inverse = zero_matrix(active, active)
    for i in range(active):
        for j in range(i + 1):
            inverse[i, j] = L[i, j]
    if active >= LAPACK_FROM:
        lapack("dpotri", inverse)
    else:
        _invert(inverse)
    padded = zero_matrix(m, m)
    for i in range(active):
        for j in range(i + 1):
            padded[i, j] = inverse[i, j]
            padded[j, i] = inverse[i, j]
    return padded


@inlined
def rest_likelihood(
    q, rest, T, sigma, nu, prior, integrate_flat, with_gradient, logdet, quad, S, c, d_T, d_lam, d_mean
):  # fmt: skip
    """Go on from what `eliminate` gives, q terms of the leading factor: (ok, log|M|, quadratic form, sigma, Q, h).

    With the gradient, the derivatives are set but for those of the leading factor, which `leading_gradient` takes
    from Q = Lambda_r M^-1 Lambda_r' and h = Lambda_r M^-1 c.
    """
    m, p, T_rest = rest.z.shape[0], prior.mean.shape[0], T[q * q :]
    W = times_lambda(S, rest, T_rest, prior.lam)
    M, active = times_lambda(transposed(W), rest, T_rest, prior.lam), m
    for i in range(m):
        M[i, i] += 1.0 if i < m - p else prior.D[i - (m - p)]
        if not integrate_flat and i >= m - p and prior.D[i - (m - p)] == 0.0:
            active -= 1
    ok, u, Q = factorise(M), zeros(m), M
    if ok:
        for i in range(active):
            logdet += 2.0 * math.log(M[i, i])
        row_times_lambda(c, rest, T_rest, prior.lam, u)
        solve_lower(M, u)
        quad -= dot(u, u)
        if sigma == 0.0 and quad > 0.0:
            sigma = math.sqrt(quad / nu)
        ok = sigma != 0.0
    if ok and with_gradient:
        R = _inverse(M, active)
        solve_lower_transposed(M, u)  # M^-1 c
        _gradient_rest(q * q, rest, T_rest, sigma, prior, S, c, W, R, u, d_T, d_lam, d_mean)
        Q = _rows_times_lambda_transposed(R, rest, T_rest, prior.lam)
        Q = _rows_times_lambda_transposed(transposed(Q), rest, T_rest, prior.lam)
    return ok, logdet, quad, sigma, Q, lambda_times(u, rest, T_rest, prior.lam)


@inner
def lambda_times(u, rest, T, lam):
    """Return Lambda_r u."""
    out, at, packed = zeros(u.shape[0]), 0, 0
    for k in range(rest.q.shape[0]):
        q = rest.q[k]
        for _ in range(rest.n_levels[k]):
            for a in range(q):
                total = 0.0
                for b in range(a + 1):
                    total += T[packed + a * q + b] * u[at + b]
                out[at + a] = total
            at += q
        packed += q * q
    for j in range(lam.shape[0]):
        out[at + j] = lam[j] * u[at + j]
    return out


@inlined
def _rows_times_lambda_transposed(R, rest, T, lam):
    """Return R Lambda_r'."""
    out = zero_matrix(R.shape[0], R.shape[1])
    for i in range(R.shape[0]):
        row = lambda_times(R[i], rest, T, lam)
        for j in range(R.shape[1]):
            out[i, j] = row[j]
    return out


@inlined
def _gradient_rest(packed, rest, T, sigma, prior, S, c, W, R, u, d_T, d_lam, d_mean):
    """Set the derivatives of the rest: -(S Lambda_r M^-1) + residual u' over its diagonal blocks, u = M^-1 c."""
    at, m, h = 0, u.shape[0], lambda_times(u, rest, T, prior.lam)
    residual = zeros(m)
    for i in range(m):
        residual[i] = (c[i] - dot(S[i], h)) / (sigma * sigma)
    for k in range(rest.q.shape[0]):
        q = rest.q[k]
        for _ in range(rest.n_levels[k]):
            for a in range(q):
                for b in range(a + 1):
                    d_T[packed + a * q + b] += residual[at + a] * u[at + b] - dot(W[at + a], R[at + b])
            at += q
        packed += q * q
    for i in range(d_lam.shape[0]):
        d_mean[i] = residual[at + i]
        d_lam[i] = residual[at + i] * u[at + i] - dot(W[at + i], R[at + i])


@inlined
def leading_gradient(lead, T, mean, first_fixed, L, B, Q, h, sigma, d_T):
    """Add -n (A T M^-1 - C Q B'L^-1) + (I - A T P) E P' / sigma^2 over the patterns; P = (T'AT + I)^-1 T'."""
    q = T.shape[0]
    d, Ch, inner, CQB = zeros(q), zeros(q), zero_matrix(q, q), zero_matrix(q, q)
    P, AT, E, PE, AMinv = (
        zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q),
    )  # fmt: skip
    for g in range(lead.count.shape[0]):
        rows, Lg, n, total = slice(lead.start[g], lead.start[g + 1]), L[g], lead.count[g], lead.sum_z[g]
        _shifted(lead, g, mean, first_fixed, d)
        _coupled(lead.columns[rows], lead.coupling[rows], B[rows], Q, h, Ch, CQB, inner)
        for a in range(q):
            inner[a, a] += 1.0
            d[a] += Ch[a]
            for b in range(q):
                P[a, b] = T[b, a]
        for a in range(q):  # P <- K^-1 T', inner <- L^-T (I + B Q B') L^-1, CQB <- C Q B' L^-1, by columns and rows
            solve_lower(Lg, P[:, a])
            solve_lower_transposed(Lg, P[:, a])
            solve_lower_transposed(Lg, inner[:, a])
        for a in range(q):
            solve_lower_transposed(Lg, inner[a])
            solve_lower_transposed(Lg, CQB[a])
            for b in range(q):
                E[a, b] = lead.sum_zz[g, a, b] + n * d[a] * d[b] - total[a] * d[b] - d[a] * total[b]
        matmul(lead.A[g], T, AT)
        matmul(P, E, PE)
        matmul(AT, inner, AMinv)
        for a in range(q):
            for b in range(q):
                E[a, b] -= dot(AT[a], PE[:, b])
        for a in range(q):
            for b in range(a + 1):
                d_T[a * q + b] += dot(E[a], P[b]) / (sigma * sigma) - n * (AMinv[a, b] - CQB[a, b])


@inlined
def _coupled(columns, C, B, Q, h, Ch, CQB, BQB):
    """Set C'h, C'Q B and B'Q B for one pattern, with C and B as (columns, q)."""
    q = C.shape[1]
    row = zeros(q)
    for a in range(q):
        Ch[a] = 0.0
        for b in range(q):
            CQB[a, b], BQB[a, b] = 0.0, 0.0
    for i in range(columns.shape[0]):
        for a in range(q):
            Ch[a] += C[i, a] * h[columns[i]]
            row[a] = 0.0
        for j in range(columns.shape[0]):
            weight = Q[columns[i], columns[j]]
            for a in range(q):
                row[a] += weight * B[j, a]
        for a in range(q):
            for b in range(q):
                CQB[a, b] += C[i, a] * row[b]
                BQB[a, b] += B[i, a] * row[b]
