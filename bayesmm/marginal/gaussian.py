r"""The log marginal likelihood of a Gaussian mixed model, and its gradient, from the cross-products.

With Lambda = blockdiag(I (x) T_1, ..., I (x) T_K, diag(lam)) over the random effects and the fixed columns,
A = [Z X]'W[Z X], z = [Z X]'W(r - X mean), M = Lambda'A Lambda + D and c = Lambda'z, where D is 1 for every random effect and for
every fixed column with a proper prior, and 0 for a flat one,

    log p = -1/2 [ nu log(2 pi sigma^2) - sum log w + log|M| + (r'Wr - c'M^-1 c) / sigma^2 ],

T_k = L_k / sigma, lam_j = s_j / sigma, and nu = n less the number of flat columns that are integrated out (Bates et al. 2015,
eqs. 18-21 and 39-42, with the prior of the fixed effects as one more block). The derivative with respect to Lambda is
-A Lambda M^-1 + (z - A Lambda u) u' / sigma^2 with u = M^-1 c, summed over the levels of a factor.

The leading factor is eliminated pattern by pattern, which leaves a dense problem in the rest,

    S = A_rr - sum_g n_g B_g'B_g,  B_g = chol(T'A_g T + I)^-1 T'C_g,  M_rr = Lambda_r'S Lambda_r + D,

and every product that the gradient needs is finite when T is singular, because T^-1 never occurs.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from bayesmm.marginal.crossproducts import CrossProducts, Floats, Leading, Rest

# From this size on a factorisation through LAPACK beats a plain compiled loop (measured: equal between 30 and 50).
LAPACK_FROM = 40


class FixedPrior(NamedTuple):
    """The prior of the p fixed columns, as the compiled code takes it.

    Flat columns come last. A column has lam = s / sigma and D = 1 with a normal prior of sd s (0 fixes it at its mean), and
    lam = 1 and D = 0 with a flat one.
    """

    mean: Floats  # (p,)
    lam: Floats  # (p,) relative to sigma
    D: Floats  # (p,) 1 or 0


class Value(NamedTuple):
    """What one evaluation gives; `ok` is False where M is not numerically positive definite.

    `quad` is r'Wr - c'M^-1 c, `logdet` is log|M| (without the flat columns for ML), and the gradients are those of
    -(logdet + quad / sigma^2) / 2 with respect to each entry of T (packed as `T` is), lam and the mean. `sigma` is the one
    that was given, or its maximising value sqrt(quad / nu).
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


def conditional(cp: CrossProducts, T: Floats, sigma: float, prior: FixedPrior, *, given_fixed: bool = True) -> Conditional:
    """Return means and covariances of the fixed coefficients and of the random effects given T and sigma.

    Parameters
    ----------
    given_fixed : bool
        True: the covariances of b given the fixed coefficients too, as lme4's condVar; False: with theirs integrated out.
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
    inverse = np.zeros((n, n))
    for j in range(n):
        column = np.zeros(n)
        column[j] = 1.0
        for i in range(j, n):
            total = column[i]
            for k in range(j, i):
                total -= L[i, k] * column[k]
            column[i] = total / L[i, i]
        inverse[j, j:] = column[j:]  # row j of L^-T
    return np.dot(inverse, np.ascontiguousarray(inverse.T))


@njit(cache=True)
def _shifted(lead, g, mean, first_fixed, d):
    """Set d = C_g mean, what the fixed columns' mean takes from Z'Wr of one level of pattern g."""
    d[:] = 0.0
    for j in range(lead.start[g], lead.start[g + 1]):
        if lead.columns[j] >= first_fixed:
            d += lead.coupling[j] * mean[lead.columns[j] - first_fixed]


@njit(cache=True)
def _eliminate(lead, rest, rWr, T, mean):
    """Eliminate the leading factor: (ok, its part of log|M|, r'Wr less what it explains, S, c, L, B)."""
    P, q = lead.count.shape[0], lead.A.shape[1]
    m, first_fixed = rest.z.shape[0], rest.z.shape[0] - mean.shape[0]
    S, c = rest.A.copy(), rest.z - np.dot(np.ascontiguousarray(rest.A[:, first_fixed:]), mean)
    quad = rWr - np.dot(mean, rest.z[first_fixed:]) - np.dot(mean, c[first_fixed:])
    logdet, d = 0.0, np.zeros(q)
    L, B = np.empty((P, q, q)), np.empty((lead.columns.shape[0], q))
    for g in range(P):
        count, Lg = lead.count[g], L[g]
        Lg[:] = np.dot(T.T, np.dot(lead.A[g], T)) if q > 0 else Lg
        for a in range(q):
            Lg[a, a] += 1.0
        if not _cholesky(Lg):
            return False, 0.0, 0.0, S, c, L, B
        for a in range(q):
            logdet += 2.0 * count * math.log(Lg[a, a])
            Lg[a, a + 1 :] = 0.0
        _shifted(lead, g, mean, first_fixed, d)
        v = np.dot(T.T, lead.sum_z[g] - count * d)  # L^-1 T' sum z
        _solve_lower(Lg, v)
        half = np.ascontiguousarray(T.T)  # L^-1 T'
        for a in range(q):
            _solve_lower(Lg, half[:, a])
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
    inverse = np.zeros((m, m))
    if m < LAPACK_FROM:
        L = M.copy()
        if not _cholesky(L):
            return False, L, inverse
        inverse[:active, :active] = _inverse_from_cholesky(L[:active, :active])
        return True, L, inverse
    L = np.linalg.cholesky(M)
    inverse[:active, :active] = np.linalg.inv(np.ascontiguousarray(M[:active, :active]))
    return True, L, inverse


@njit(cache=True)
def _evaluate(lead, rest, rWr, T, sigma, nu, prior, integrate_flat):
    """Return the fields of Value."""
    q, m, p = lead.A.shape[1], rest.z.shape[0], prior.mean.shape[0]
    d_T, d_lam, d_mean = np.zeros(T.shape[0]), np.zeros(p), np.zeros(p)
    T1, T_rest = T[: q * q].copy().reshape((q, q)), T[q * q :]
    ok, logdet, quad, S, c, L, B = _eliminate(lead, rest, rWr, T1, prior.mean)
    if not ok:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    W = _times_lambda(S, rest, T_rest, prior.lam)
    M = np.ascontiguousarray(_times_lambda(np.ascontiguousarray(W.T), rest, T_rest, prior.lam))
    for i in range(m):
        M[i, i] += 1.0 if i < m - p else prior.D[i - (m - p)]
    active = m if integrate_flat else m - p + int(prior.D.sum())
    ok, L_r, R = _factor(M, active)
    if not ok:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    for i in range(active):
        logdet += 2.0 * math.log(L_r[i, i])
    u = _times_lambda(c.reshape((1, m)).copy(), rest, T_rest, prior.lam)[0]
    _solve_lower(L_r, u)
    quad -= np.dot(u, u)
    if sigma == 0.0:
        sigma = math.sqrt(quad / nu) if quad > 0.0 else 0.0
    if sigma == 0.0:
        return False, 0.0, 0.0, 0.0, d_T, d_lam, d_mean
    _solve_lower_transposed(L_r, u)
    h = _lambda_times(u, rest, T_rest, prior.lam)
    residual = (c - np.dot(S, h)) / sigma**2
    _gradient_rest(rest, q * q, W, R, residual, u, d_T, d_lam)
    d_mean[:] = residual[m - p :]
    Q = np.empty_like(R)  # Lambda_r R Lambda_r'
    for i in range(m):
        Q[i] = _lambda_times(R[i], rest, T_rest, prior.lam)
    Q = np.ascontiguousarray(Q.T)
    for i in range(m):
        Q[i] = _lambda_times(Q[i], rest, T_rest, prior.lam)
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
        d_lam[i] = residual[at + i] * u[at + i] - np.dot(W[at + i], R[at + i])


@njit(cache=True)
def _gradient_leading(lead, T, mean, first_fixed, L, B, Q, h, sigma, d_T):
    """Add -n (A T M^-1 - C Q B'L^-1) + (I - A T P) E P' / sigma^2 over the patterns; P = (T'AT + I)^-1 T'."""
    q = T.shape[0]
    d, Ch, inner, CQB = np.zeros(q), np.zeros(q), np.zeros((q, q)), np.zeros((q, q))
    for g in range(lead.count.shape[0]):
        rows, Lg, n = slice(lead.start[g], lead.start[g + 1]), L[g], lead.count[g]
        _shifted(lead, g, mean, first_fixed, d)
        _coupled(lead.columns[rows], lead.coupling[rows], B[rows], Q, h, Ch, CQB, inner)
        for a in range(q):
            inner[a, a] += 1.0
        for a in range(q):  # inner <- L^-T (I + B Q B') L^-1, CQB <- C Q B' L^-1, both row by row
            _solve_lower_transposed(Lg, inner[:, a])
        for a in range(q):
            _solve_lower_transposed(Lg, inner[a])
            _solve_lower_transposed(Lg, CQB[a])
        P = np.ascontiguousarray(T.T)
        for a in range(q):
            _solve_lower(Lg, P[:, a])
            _solve_lower_transposed(Lg, P[:, a])
        d += Ch
        AT = np.dot(lead.A[g], T)
        E = lead.sum_zz[g] + n * np.outer(d, d) - np.outer(lead.sum_z[g], d) - np.outer(d, lead.sum_z[g])
        score = np.dot(E - np.dot(AT, np.dot(P, E)), np.ascontiguousarray(P.T)) / sigma**2
        score -= n * (np.dot(AT, inner) - CQB)
        for a in range(q):
            for b in range(a + 1):
                d_T[a * q + b] += score[a, b]


@njit(cache=True)
def _coupled(columns, C, B, Q, h, Ch, CQB, BQB):
    """Set C'h, C'Q B and B'Q B for one pattern, with C and B as (columns, q)."""
    q, Ch[:], CQB[:], BQB[:] = C.shape[1], 0.0, 0.0, 0.0
    row = np.zeros(q)
    for i in range(columns.shape[0]):
        Ch += C[i] * h[columns[i]]
        row[:] = 0.0
        for j in range(columns.shape[0]):
            row += Q[columns[i], columns[j]] * B[j]
        for a in range(q):
            for b in range(q):
                CQB[a, b] += C[i, a] * row[b]
                BQB[a, b] += B[i, a] * row[b]
