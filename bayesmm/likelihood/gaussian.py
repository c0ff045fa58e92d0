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

from bayesmm.likelihood import triangular
from bayesmm.likelihood.crossproducts import CrossProducts, Floats, Leading
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.gaussian_likelihood import Terms, eliminated, evaluation
from bayesmm.likelihood.posterior import Parameters

# Cross-products amplify rounding (`triangular.amplification`): of the quadratic form, once more where the columns of a
# level are nearly dependent, and of log|M|. Up to FEW the criterion is right to 1e-8 and its gradient to 1e-6; up to
# MANY the criterion is right to 1e-6 but for nearly dependent columns.
FEW, MANY = (1e3, 1e8), (1e6, 1e11)
# No data have relative sds above this, of which 1 is the last digit: a step of a search gone astray.
WILD = 1e15


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
    found = Value(*evaluation(cp, T, sigma, nu, prior, integrate_flat=integrate_flat))
    if not rows_needed(cp, T, found.quad if found.ok else 0.0):
        return found
    return Value(*triangular.evaluation(cp, T, sigma, nu, prior, integrate_flat))


def is_precise(cp: CrossProducts, T: Floats, quad: float) -> bool:
    """Return whether `evaluate` tells the quadratic form at relative factors T, and log|M|, from their rounding."""
    return triangular.possible(cp) or not _above(cp, T, quad, MANY)


def rows_needed(cp: CrossProducts, T: Floats, quad: float) -> bool:
    """Return whether cross-products would leave too few digits, and the problem is not too large for its rows."""
    return _above(cp, T, quad, FEW) and bool((np.abs(T) < WILD).all()) and triangular.possible(cp)


def _above(cp: CrossProducts, T: Floats, quad: float, limits: tuple[float, float]) -> bool:
    of_quad, of_det = triangular.amplification(cp, T, quad)
    return of_quad > limits[0] or of_det > limits[1]


def log_likelihood(cp: CrossProducts, value: Value, n_flat: int) -> float:
    """Return log p for an evaluation; `n_flat` is the number of flat columns integrated out."""
    if not value.ok:
        return -math.inf
    log_scale = (cp.n - n_flat) * (math.log(2 * math.pi) + 2 * math.log(value.sigma)) - cp.sum_log_weights
    return -0.5 * (log_scale + value.logdet + value.quad / value.sigma / value.sigma)  # sigma^2 may overflow


def relative(terms: Terms, at: Parameters) -> tuple[Floats, float, FixedPrior]:
    """Return the packed relative factors, sigma, and the prior of the fixed columns at natural parameters."""
    sigma, proper, mean = at.positive[0], np.isfinite(terms.sd), np.zeros(len(terms.sd))
    mean[terms.sampled] = at.coefficients - terms.at
    prior = FixedPrior(mean, np.where(proper, terms.sd / sigma, 1.0), np.where(proper, 1.0, 0.0))
    return at.L[terms.take] * terms.scale / sigma, sigma, prior


def natural_likelihood(cp: CrossProducts, terms: Terms, at: Parameters) -> tuple[float, Parameters]:
    """Return what `gaussian_likelihood` sets, with the precision of `evaluate`: from the rows where they are needed."""
    T, sigma, prior = relative(terms, at)
    value = evaluate(cp, T, sigma, prior)
    n_flat = int((prior.D == 0).sum())
    d_sigma = value.quad / sigma**2 - (cp.n - n_flat) - value.d_T @ T - value.d_lam @ (prior.lam * prior.D)
    d_L = np.zeros(len(T))
    d_L[terms.take] = value.d_T * terms.scale / sigma
    slopes = Parameters(d_L, np.array([d_sigma / sigma]), value.d_mean[terms.sampled])
    return log_likelihood(cp, value, n_flat), slopes


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
    quad = evaluation(cp, T, sigma, cp.n, prior, integrate_flat=True)[2]
    if rows_needed(cp, T, quad):
        return Conditional(*triangular.conditional(cp, T, sigma, prior, given_fixed))
    blocks = unpack(T, cp.q)
    Lam_r = _rest_lambda(cp, blocks, prior)
    S, c, L, B = _schur(cp, blocks, prior.mean)
    M = Lam_r.T @ S @ Lam_r
    M[np.diag_indices_from(M)] += np.concatenate([np.ones(len(c) - cp.p), prior.D])
    Q = Lam_r @ np.linalg.solve(M, Lam_r.T) if len(c) else M
    h = Q @ c
    fixed = slice(len(c) - cp.p, None)
    Q_b = Q - _given(Q, fixed) if given_fixed else Q
    modes = [_leading_modes(cp, blocks, L, prior.mean, h)] if cp.order else []
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
    found = eliminated(cp, T, mean)
    if not found.ok:
        raise np.linalg.LinAlgError("the penalised cross-products are not positive definite")
    return found.S, found.c, found.L, found.B


def _leading_modes(cp: CrossProducts, blocks, L: Floats, mean: Floats, h: Floats) -> Floats:
    """Return b = T (L L')^-1 T'(z - C h) for every level of the leading factor, (G, q)."""
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
