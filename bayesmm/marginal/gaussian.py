r"""The log marginal likelihood of a Gaussian mixed model, and its gradient, from the cross-products.

With Lambda = blockdiag(I (x) T_1, ..., I (x) T_K, diag(lam)) over the random effects and the fixed columns, A = [Z
X]'W[Z X], z = [Z X]'W(r - X mean), M = Lambda'A Lambda + D and c = Lambda'z, where D is 1 for every random effect and
for every fixed column with a proper prior, and 0 for a flat one,

    log p = -1/2 [ nu log(2 pi sigma^2) - sum log w + log|M| + (r'Wr - c'M^-1 c) / sigma^2 ],

T_k = L_k / sigma, lam_j = s_j / sigma, and nu = n less the number of flat columns that are integrated out (Bates et
al. 2015, eqs. 18-21 and 39-42, with the prior of the fixed effects as one more block). The derivative with respect to
Lambda is -A Lambda M^-1 + (z - A Lambda u) u' / sigma^2 with u = M^-1 c, summed over the levels of a factor.

The leading factor is eliminated pattern by pattern, which leaves a dense problem in the rest,

    S = A_rr - sum_g n_g B_g'B_g,  B_g = chol(T'A_g T + I)^-1 T'C_g,  M_rr = Lambda_r'S Lambda_r + D,

and every product that the gradient needs is finite when T is singular, because T^-1 never occurs.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from bayesmm.marginal.crossproducts import CrossProducts, Floats, Leading

# From this size on a factorisation through LAPACK beats a plain compiled loop (measured: equal between 30 and 50).
LAPACK_FROM = 40


class FixedPrior(NamedTuple):
    """The prior of the p fixed columns, as the compiled code takes it.

    Flat columns come last. A column has lam = s / sigma and D = 1 with a normal prior of sd s (0 fixes it at its
    mean), and lam = 1 and D = 0 with a flat one.
    """

    mean: Floats  # (p,)
    lam: Floats  # (p,) relative to sigma
    D: Floats  # (p,) 1 or 0


class Value(NamedTuple):
    """What one evaluation gives; `ok` is False where M is not numerically positive definite.

    `quad` is r'Wr - c'M^-1 c, `logdet` is log|M| (without the flat columns for ML), and the gradients are those of
    -(logdet + quad / sigma^2) / 2 with respect to each entry of T (packed as `T` is), lam and the mean. `sigma` is
    the one that was given, or its maximising value sqrt(quad / nu).
    """

    ok: bool
    logdet: float
    quad: float
    sigma: float
    d_T: Floats
    d_lam: Floats
    d_mean: Floats


@dataclass(frozen=True)
class Conditional:
    """The fixed columns and the random effects given T and sigma, in the order of the cross-products.

    Attributes
    ----------
    fixed : (p,) float64
        Conditional mean of the coefficients of the fixed columns.
    fixed_cov : (p, p) float64
        Their covariance, the random effects integrated out.
    modes : tuple of (G_k, q_k) float64
        Conditional means of the random effects b.
    covariances : tuple of (G_k, q_k, q_k) float64
        Conditional covariances of b; given the fixed columns too when ``given_fixed``.
    """

    fixed: Floats
    fixed_cov: Floats
    modes: tuple[Floats, ...]
    covariances: tuple[Floats, ...]


def pack(matrices: tuple[Floats, ...]) -> Floats:
    """Return the (q_k, q_k) matrices as one flat array, row by row."""
    return np.concatenate([np.empty(0), *(np.asarray(T, dtype=np.float64).ravel() for T in matrices)])


def unpack(flat: Floats, q: tuple[int, ...]) -> tuple[Floats, ...]:
    """Return the (q_k, q_k) matrices of `flat`, as `pack` laid them out."""
    ends = np.cumsum([k * k for k in q])
    return tuple(flat[end - k * k : end].reshape(k, k) for k, end in zip(q, ends, strict=True))


def evaluate(
    cp: CrossProducts, T: Floats, sigma: float | None, prior: FixedPrior, *, integrate_flat: bool = True
) -> Value:
    """Evaluate log|M|, the quadratic form and the gradient at relative factors T.

    Parameters
    ----------
    cp : CrossProducts
    T : (sum q_k^2,) float64
        The lower triangular relative factors in the order of `cp`, packed.
    sigma : float or None
        Residual standard deviation; it scales the gradient only. None: its maximising value given T.
    prior : FixedPrior
    integrate_flat : bool
        True for REML and the posterior: log|M| has the flat columns. False for ML: they are maximised over.

    Returns
    -------
    Value
    """
    nu = cp.n - (cp.p - int(prior.D.sum()) if integrate_flat else 0)
    try:
        return Value(
            *_evaluate(cp.leading, cp.rest, cp.rWr, T, 0.0 if sigma is None else sigma, nu, prior, integrate_flat)
        )
    except np.linalg.LinAlgError:  # from LAPACK, where the rest is large
        return Value(False, 0.0, 0.0, 0.0, np.zeros_like(T), np.zeros(cp.p), np.zeros(cp.p))


def log_likelihood(cp: CrossProducts, value: Value, n_flat: int) -> float:
    """Return log p for an evaluation; `n_flat` is the number of flat columns integrated out."""
    if not value.ok:
        return -math.inf
    log_scale = (cp.n - n_flat) * math.log(2 * math.pi * value.sigma**2) - cp.sum_log_weights
    return -0.5 * (log_scale + value.logdet + value.quad / value.sigma**2)


def conditional(
    cp: CrossProducts, T: Floats, sigma: float, prior: FixedPrior, *, given_fixed: bool = True
) -> Conditional:
    """Return means and covariances of the fixed coefficients and of the random effects given T and sigma.

    Parameters
    ----------
    given_fixed : bool
        True: the covariances of b given the fixed coefficients too, as lme4's condVar; False: with theirs integrated
        out.
    """
    blocks = unpack(T, cp.q)
    Lam_r = _rest_lambda(cp, blocks, prior)
    S, c, L, B = _schur(cp, blocks, prior.mean)
    M = Lam_r.T @ S @ Lam_r
    M[np.diag_indices_from(M)] += np.concatenate([np.ones(len(c) - cp.p), prior.D])
    Q = Lam_r @ np.linalg.solve(M, Lam_r.T) if len(c) else M
    h = Q @ c
    fixed = slice(len(c) - cp.p, None)
    Q_b = Q - _given(Q, fixed) if given_fixed else Q
    modes = [_leading_modes(cp, blocks, L, B, prior.mean, h)] if cp.order else []
    covariances = [_leading_covariances(cp, blocks, L, B, Q_b)] if cp.order else []
    end = 0
    for q, G in zip(cp.q[1:], cp.n_levels[1:], strict=True):
        at = end + np.arange(G * q).reshape(G, q)
        end += G * q
        modes.append(h[at])
        covariances.append(Q_b[at[:, :, None], at[:, None, :]])
    return Conditional(
        prior.mean + h[fixed], sigma**2 * Q[fixed, fixed], tuple(modes), tuple(sigma**2 * C for C in covariances)
    )


def _given(Q: Floats, fixed: slice) -> Floats:
    """Return the part of the covariance Q that the uncertainty of the fixed coefficients adds."""
    if Q[fixed, fixed].size == 0:
        return np.zeros_like(Q)
    free = np.diag(Q)[fixed] > 0  # a fixed coefficient has no variance to condition on
    cross = Q[:, fixed][:, free]
    return cross @ np.linalg.solve(Q[fixed, fixed][np.ix_(free, free)], cross.T)


def _rest_lambda(cp: CrossProducts, blocks: tuple[Floats, ...], prior: FixedPrior) -> Floats:
    """Return the (m, m) Lambda of the rest, dense."""
    m = len(cp.rest.z)
    Lam, at = np.zeros((m, m)), 0
    for T, G in zip(blocks[1:], cp.n_levels[1:], strict=True):
        for _ in range(G):
            Lam[at : at + len(T), at : at + len(T)] = T
            at += len(T)
    Lam[range(at, m), range(at, m)] = prior.lam
    return Lam


def _schur(cp: CrossProducts, blocks: tuple[Floats, ...], mean: Floats):
    """Eliminate the leading factor: S (m, m), c (m,), and the factors L (P, q, q) and B (nnz, q) of the patterns."""
    T = blocks[0] if cp.order else np.zeros((0, 0))
    ok, _, _, S, c, L, B = _eliminate(cp.leading, cp.rest, cp.rWr, np.ascontiguousarray(T), mean)
    if not ok:
        raise np.linalg.LinAlgError("the penalised cross-products are not positive definite")
    return S, c, L, B


def _leading_modes(cp: CrossProducts, blocks, L: Floats, B: Floats, mean: Floats, h: Floats) -> Floats:
    """Return b = T L^-T (L^-1 T'z - B h) for every level of the leading factor, (G, q)."""
    lead, T = cp.leading, blocks[0]
    shift = _pattern_sums(lead, np.concatenate([np.zeros(len(h) - cp.p), mean]))
    z = cp.z - shift[cp.pattern]
    d = _pattern_sums(lead, h)
    K = L @ L.transpose(0, 2, 1)
    e = (z - d[cp.pattern]) @ T
    return np.linalg.solve(K[cp.pattern], e[:, :, None])[:, :, 0] @ T.T


def _pattern_sums(lead: Leading, h: Floats) -> Floats:
    """Return C_g h, the coupling of each pattern times a vector of the rest, (P, q)."""
    out = np.zeros((len(lead.count), lead.A.shape[1]))
    owner = np.repeat(np.arange(len(lead.count)), np.diff(lead.start))
    np.add.at(out, owner, lead.coupling * h[lead.columns][:, None])
    return out


def _leading_covariances(cp: CrossProducts, blocks, L: Floats, B: Floats, Q: Floats) -> Floats:
    """Return T L^-T (I + B Q B') L^-1 T' for every level of the leading factor, (G, q, q), relative to sigma^2."""
    lead, T = cp.leading, blocks[0]
    out = np.empty_like(lead.A)
    for g in range(len(out)):
        rows = slice(lead.start[g], lead.start[g + 1])
        columns = lead.columns[rows]
        inner = np.eye(len(T)) + B[rows].T @ Q[np.ix_(columns, columns)] @ B[rows]
        half = np.linalg.solve(L[g], T.T).T
        out[g] = half @ inner @ half.T
    return out[cp.pattern]


# The compiled part. Each function states what it computes in the symbols of the module's docstring.


# Small products are written out: a loop compiles in a tenth of the time of np.dot, and is faster below about 10 x 10.


@njit(cache=True)
def _dot(x, y):
    """Return x'y for vectors."""
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@njit(cache=True)
def _matmul(a, b, out):
    """Set out = a b."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@njit(cache=True)
def _cholesky(a):
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


@njit(cache=True)
def _solve_lower(L, x):
    """Overwrite the vector x by L^-1 x."""
    for i in range(L.shape[0]):
        for k in range(i):
            x[i] -= L[i, k] * x[k]
        x[i] /= L[i, i]


@njit(cache=True)
def _solve_lower_transposed(L, x):
    """Overwrite the vector x by L^-T x."""
    for i in range(L.shape[0] - 1, -1, -1):
        for k in range(i + 1, L.shape[0]):
            x[i] -= L[k, i] * x[k]
        x[i] /= L[i, i]


@njit(cache=True)
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
            inverse[i, j] = _dot(rows[i, i:], rows[j, i:])
            inverse[j, i] = inverse[i, j]
    return inverse


@njit(cache=True)
def _shifted(lead, g, mean, first_fixed, d):
    """Set d = C_g mean, what the fixed columns' mean takes from Z'Wr of one level of pattern g."""
    for a in range(d.shape[0]):
        d[a] = 0.0
    for j in range(lead.start[g], lead.start[g + 1]):
        if lead.columns[j] >= first_fixed:
            for a in range(d.shape[0]):
                d[a] += lead.coupling[j, a] * mean[lead.columns[j] - first_fixed]


@njit(cache=True)
def _eliminate(lead, rest, rWr, T, mean):
    """Eliminate the leading factor: (ok, its part of log|M|, r'Wr less what it explains, S, c, L, B)."""
    P, q = lead.count.shape[0], lead.A.shape[1]
    m, p = rest.z.shape[0], mean.shape[0]
    S, c, quad, logdet = rest.A.copy(), rest.z.copy(), rWr, 0.0
    for i in range(m):
        c[i] -= _dot(rest.A[i, m - p :], mean)
    quad -= _dot(mean, rest.z[m - p :]) + _dot(mean, c[m - p :])
    L, B = np.zeros((P, q, q)), np.empty((lead.columns.shape[0], q))
    d, v, half = np.zeros(q), np.zeros(q), np.zeros((q, q))
    for g in range(P):
        count, Lg = lead.count[g], L[g]
        _matmul(lead.A[g], T, half)
        for a in range(q):
            for b in range(a + 1):
                Lg[a, b] = _dot(T[:, a], half[:, b]) + (1.0 if a == b else 0.0)
        if not _cholesky(Lg):
            return False, 0.0, 0.0, S, c, L, B
        _shifted(lead, g, mean, m - p, d)
        for a in range(q):
            logdet += 2.0 * count * math.log(Lg[a, a])
            v[a] = _dot(T[:, a], lead.sum_z[g]) - count * _dot(T[:, a], d)
            for b in range(q):
                half[a, b] = T[b, a]
        _solve_lower(Lg, v)  # L^-1 T' sum z
        for a in range(q):
            _solve_lower(Lg, half[:, a])  # L^-1 T'
        quad -= _traced(half, lead.sum_zz[g], lead.sum_z[g], d, count)
        _downdate(lead, g, half, v, S, c, B)
    for i in range(m):
        for j in range(i):
            S[j, i] = S[i, j]
    return True, logdet, quad, S, c, L, B


@njit(cache=True)
def _traced(half, sum_zz, sum_z, d, count):
    """Return the trace of half E half', where E = sum (z - d)(z - d)' over the levels of a pattern."""
    total, q = 0.0, half.shape[0]
    for a in range(q):
        for i in range(q):
            for j in range(q):
                E = sum_zz[i, j] - sum_z[i] * d[j] - d[i] * sum_z[j] + count * d[i] * d[j]
                total += half[a, i] * E * half[a, j]
    return total


@njit(cache=True)
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


@njit(cache=True)
def _times_lambda(S, rest, T, lam):
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
    for j in range(lam.shape[0]):
        out[:, at + j] = S[:, at + j] * lam[j]
    return out


@njit(cache=True)
def _factor(M, active):
    """Return (ok, L, (leading block of M of size `active`)^-1 padded by zeros) for the dense M of the rest."""
    m = M.shape[0]
    L, padded = M.copy(), np.zeros((m, m))
    if m < LAPACK_FROM:
        if not _cholesky(L):
            return False, L, padded
        inverse = _inverse_from_cholesky(L[:active, :active])
    else:
        L = np.linalg.cholesky(M)
        inverse = np.linalg.inv(M[:active, :active].copy())
    for i in range(active):
        for j in range(active):
            padded[i, j] = inverse[i, j]
    return True, L, padded


@njit(cache=True)
def _evaluate(lead, rest, rWr, T, sigma, nu, prior, integrate_flat):
    """Return the fields of Value."""
    q, m, p = lead.A.shape[1], rest.z.shape[0], prior.mean.shape[0]
    d_T, d_lam, d_mean = np.zeros(T.shape[0]), np.zeros(p), np.zeros(p)
    T1, T_rest = T[: q * q].reshape((q, q)), T[q * q :]
    ok, logdet, quad, S, c, L, B = _eliminate(lead, rest, rWr, T1, prior.mean)
    if not ok:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    W = _times_lambda(S, rest, T_rest, prior.lam)
    M, active = _times_lambda(W.T.copy(), rest, T_rest, prior.lam), m
    for i in range(m):
        M[i, i] += 1.0 if i < m - p else prior.D[i - (m - p)]
        if not integrate_flat and i >= m - p and prior.D[i - (m - p)] == 0.0:
            active -= 1
    ok, L_r, R = _factor(M, active)
    if not ok:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    for i in range(active):
        logdet += 2.0 * math.log(L_r[i, i])
    u = _times_lambda(c.reshape((1, m)), rest, T_rest, prior.lam)[0]
    _solve_lower(L_r, u)
    quad -= _dot(u, u)
    if sigma == 0.0:
        sigma = math.sqrt(quad / nu) if quad > 0.0 else 0.0
    if sigma == 0.0:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    _solve_lower_transposed(L_r, u)
    h = _lambda_times(u, rest, T_rest, prior.lam)
    residual = np.empty(m)
    for i in range(m):
        residual[i] = (c[i] - _dot(S[i], h)) / sigma**2
    _gradient_rest(rest, q * q, W, R, residual, u, d_T, d_lam)
    for j in range(p):
        d_mean[j] = residual[m - p + j]
    Q = _rows_times_lambda_transposed(R, rest, T_rest, prior.lam)  # Lambda_r R Lambda_r'
    Q = _rows_times_lambda_transposed(Q.T.copy(), rest, T_rest, prior.lam)
    _gradient_leading(lead, T1, prior.mean, m - p, L, B, Q, h, sigma, d_T)
    return True, logdet, quad, sigma, d_T, d_lam, d_mean


@njit(cache=True)
def _lambda_times(u, rest, T, lam):
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


@njit(cache=True)
def _rows_times_lambda_transposed(R, rest, T, lam):
    """Return R Lambda_r'."""
    out = np.empty_like(R)
    for i in range(R.shape[0]):
        row = _lambda_times(R[i], rest, T, lam)
        for j in range(R.shape[1]):
            out[i, j] = row[j]
    return out


@njit(cache=True)
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
        d_lam[i] = residual[at + i] * u[at + i] - _dot(W[at + i], R[at + i])


@njit(cache=True)
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
            _solve_lower(Lg, P[:, a])
            _solve_lower_transposed(Lg, P[:, a])
            _solve_lower_transposed(Lg, inner[:, a])
        for a in range(q):
            _solve_lower_transposed(Lg, inner[a])
            _solve_lower_transposed(Lg, CQB[a])
            for b in range(q):
                E[a, b] = lead.sum_zz[g, a, b] + n * d[a] * d[b] - total[a] * d[b] - d[a] * total[b]
        _matmul(lead.A[g], T, AT)
        _matmul(P, E, PE)
        _matmul(AT, inner, AMinv)
        for a in range(q):
            for b in range(q):
                E[a, b] -= _dot(AT[a], PE[:, b])
        for a in range(q):
            for b in range(a + 1):
                d_T[a * q + b] += _dot(E[a], P[b]) / sigma**2 - n * (AMinv[a, b] - CQB[a, b])


@njit(cache=True)
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
