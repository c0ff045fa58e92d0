"""The compiled part of the marginal likelihood: each function states what it computes in the symbols of `gaussian`.

`lead`, `rest` and `prior` are the records `Leading`, `Rest` and `FixedPrior`; arrays are contiguous float64.
"""

import math
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.compiled import compiled, inlined, inner
from bayesmm.marginal.crossproducts import Floats

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
def _inverse_from_cholesky(L):
    """Return (L L')^-1, dense and symmetric."""
    n = L.shape[0]
    rows, inverse = np.zeros((n, n)), np.empty((n, n))  # row j of L^-T; the inverse is L^-T L^-1
    for j in range(n):
        rows[j, j] = 1.0 / L[j, j]
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total -= L[i, k] * rows[j, k]
            rows[j, i] = total / L[i, i]
    for i in range(n):
        for j in range(i + 1):
            inverse[i, j] = dot(rows[i, i:], rows[j, i:])
            inverse[j, i] = inverse[i, j]
    return inverse


@inner
def _shifted(lead, g, mean, first_fixed, d):
    """Set d = C_g mean, what the fixed columns' mean takes from Z'Wr of one level of pattern g."""
    for a in range(d.shape[0]):
        d[a] = 0.0
    for j in range(lead.start[g], lead.start[g + 1]):
        if lead.columns[j] >= first_fixed:
            for a in range(d.shape[0]):
                d[a] += lead.coupling[j, a] * mean[lead.columns[j] - first_fixed]


@inner
def eliminate(lead, rest, rWr, T, mean):
    """Eliminate the leading factor: (ok, its part of log|M|, r'Wr less what it explains, S, c, L, B)."""
    P, q = lead.count.shape[0], lead.A.shape[1]
    m, p = rest.z.shape[0], mean.shape[0]
    S, c, quad, logdet = rest.A.copy(), rest.z.copy(), rWr, 0.0
    for i in range(m):
        c[i] -= dot(rest.A[i, m - p :], mean)
    quad -= dot(mean, rest.z[m - p :]) + dot(mean, c[m - p :])
    L, B = np.zeros((P, q, q)), np.empty((lead.columns.shape[0], q))
    d, v, half = np.zeros(q), np.zeros(q), np.zeros((q, q))
    for g in range(P):
        count, Lg = lead.count[g], L[g]
        matmul(lead.A[g], T, half)
        for a in range(q):
            for b in range(a + 1):
                Lg[a, b] = dot(T[:, a], half[:, b]) + (1.0 if a == b else 0.0)
        if not cholesky(Lg):
            return False, 0.0, 0.0, S, c, L, B
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
    return True, logdet, quad, S, c, L, B


@compiled
def eliminated(lead, rest, rWr, T, mean):
    """Return `eliminate`, for Python."""
    return eliminate(lead, rest, rWr, T, mean)


@inner
def _traced(half, sum_zz, sum_z, d, count):
    """Return the trace of half E half', where E = sum (z - d)(z - d)' over the levels of a pattern."""
    total, q = 0.0, half.shape[0]
    for a in range(q):
        for i in range(q):
            for j in range(q):
                E = sum_zz[i, j] - sum_z[i] * d[j] - d[i] * sum_z[j] + count * d[i] * d[j]
                total += half[a, i] * E * half[a, j]
    return total


@inner
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
def times_lambda(S, rest, T, lam):
    """Return S Lambda_r for a matrix S with m columns; T has the packed factors of the rest."""
    out, at, packed = np.empty_like(S), 0, 0
    for k in range(rest.q.shape[0]):
        q = rest.q[k]
        for _ in range(rest.n_levels[k]):
            for i in range(S.shape[0]):
                for b in range(q):
                    total = 0.0
                    for a in range(b, q):  # T is lower triangular
                        total += S[i, at + a] * T[packed + a * q + b]
                    out[i, at + b] = total
            at += q
        packed += q * q
    for i in range(S.shape[0]):
        for j in range(lam.shape[0]):
            out[i, at + j] = S[i, at + j] * lam[j]
    return out


@inlined
def _factor(M):
    """Return (ok, L) with L L' = M, the dense M of the rest."""
    if M.shape[0] >= LAPACK_FROM:
        return True, np.linalg.cholesky(M)
    L = M.copy()
    return cholesky(L), L


@inlined
def _inverse(M, L, active):
    """Return the inverse of the leading block of M of size `active`, padded by zeros."""
    padded = np.zeros(M.shape)
    if M.shape[0] < LAPACK_FROM:
        inverse = _inverse_from_cholesky(L[:active, :active])
    else:
        inverse = np.linalg.inv(M[:active, :active].copy())
    for i in range(active):
        for j in range(active):
            padded[i, j] = inverse[i, j]
    return padded


@inlined
def likelihood(lead, rest, rWr, T, sigma, nu, prior, integrate_flat, with_gradient):
    """Return the fields of Value; without the gradient its derivatives are 0."""
    q, m, p = lead.A.shape[1], rest.z.shape[0], prior.mean.shape[0]
    d_T, d_lam, d_mean = np.zeros(T.shape[0]), np.zeros(p), np.zeros(p)
    T1, T_rest = T[: q * q].reshape((q, q)), T[q * q :]
    ok, logdet, quad, S, c, L, B = eliminate(lead, rest, rWr, T1, prior.mean)
    if not ok:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    W = times_lambda(S, rest, T_rest, prior.lam)
    M, active = times_lambda(W.T.copy(), rest, T_rest, prior.lam), m
    for i in range(m):
        M[i, i] += 1.0 if i < m - p else prior.D[i - (m - p)]
        if not integrate_flat and i >= m - p and prior.D[i - (m - p)] == 0.0:
            active -= 1
    ok, L_r = _factor(M)
    if not ok:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    for i in range(active):
        logdet += 2.0 * math.log(L_r[i, i])
    u = times_lambda(c.reshape((1, m)), rest, T_rest, prior.lam)[0]
    solve_lower(L_r, u)
    quad -= dot(u, u)
    if sigma == 0.0:
        sigma = math.sqrt(quad / nu) if quad > 0.0 else 0.0
    if sigma == 0.0:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    if with_gradient:
        R = _inverse(M, L_r, active)
        _gradient(lead, rest, T, sigma, prior, S, c, L, B, L_r, W, R, u, d_T, d_lam, d_mean)
    return True, logdet, quad, sigma, d_T, d_lam, d_mean


@inlined
def _gradient(lead, rest, T, sigma, prior, S, c, L, B, L_r, W, R, u, d_T, d_lam, d_mean):
    """Set the derivatives with respect to T, lam and the mean; u = L_r^-1 Lambda_r'c is overwritten by M^-1 c."""
    q, m, p = lead.A.shape[1], rest.z.shape[0], prior.mean.shape[0]
    T1, T_rest = T[: q * q].reshape((q, q)), T[q * q :]
    solve_lower_transposed(L_r, u)
    h = lambda_times(u, rest, T_rest, prior.lam)
    residual = np.empty(m)
    for i in range(m):
        residual[i] = (c[i] - dot(S[i], h)) / sigma**2
    _gradient_rest(rest, q * q, W, R, residual, u, d_T, d_lam)
    for j in range(p):
        d_mean[j] = residual[m - p + j]
    Q = _rows_times_lambda_transposed(R, rest, T_rest, prior.lam)  # Lambda_r R Lambda_r'
    Q = _rows_times_lambda_transposed(Q.T.copy(), rest, T_rest, prior.lam)
    _gradient_leading(lead, T1, prior.mean, m - p, L, B, Q, h, sigma, d_T)


@inner
def lambda_times(u, rest, T, lam):
    """Return Lambda_r u."""
    out, at, packed = np.empty_like(u), 0, 0
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
    out = np.empty_like(R)
    for i in range(R.shape[0]):
        row = lambda_times(R[i], rest, T, lam)
        for j in range(R.shape[1]):
            out[i, j] = row[j]
    return out


@inlined
def _gradient_rest(rest, packed, W, R, residual, u, d_T, d_lam):
    """Add -(S Lambda_r M^-1) + residual u' over the diagonal blocks of the rest."""
    at, m = 0, u.shape[0]
    for k in range(rest.q.shape[0]):
        q = rest.q[k]
        for _ in range(rest.n_levels[k]):
            for a in range(q):
                for b in range(a + 1):
                    total = residual[at + a] * u[at + b]
                    for j in range(m):
                        total -= W[at + a, j] * R[at + b, j]
                    d_T[packed + a * q + b] += total
            at += q
        packed += q * q
    for i in range(d_lam.shape[0]):
        d_lam[i] = residual[at + i] * u[at + i] - dot(W[at + i], R[at + i])


@inner
def _gradient_leading(lead, T, mean, first_fixed, L, B, Q, h, sigma, d_T):
    """Add -n (A T M^-1 - C Q B'L^-1) + (I - A T P) E P' / sigma^2 over the patterns; P = (T'AT + I)^-1 T'."""
    q = T.shape[0]
    d, Ch, inner, CQB = np.zeros(q), np.zeros(q), np.zeros((q, q)), np.zeros((q, q))
    P, AT, E, PE, AMinv = (np.zeros((q, q)), np.zeros((q, q)), np.zeros((q, q)), np.zeros((q, q)), np.zeros((q, q)))
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
                d_T[a * q + b] += dot(E[a], P[b]) / sigma**2 - n * (AMinv[a, b] - CQB[a, b])


@inner
def _coupled(columns, C, B, Q, h, Ch, CQB, BQB):
    """Set C'h, C'Q B and B'Q B for one pattern, with C and B as (columns, q)."""
    q = C.shape[1]
    row = np.zeros(q)
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
