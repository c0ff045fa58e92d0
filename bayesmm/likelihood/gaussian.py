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
from bayesmm.likelihood.crossproducts import CrossProducts, Floats
from bayesmm.likelihood.gaussian_data import Terms
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.gaussian_leading import leading_covariances, leading_effects
from bayesmm.likelihood.gaussian_likelihood import Solution, evaluation, room_for
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
    cp: CrossProducts,
    T: Floats,
    sigma: float | None,
    prior: FixedPrior,
    *,
    integrate_flat: bool = True,
    gradient: bool = True,
    solution: Solution | None = None,
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
    gradient : bool
        False: the value alone, which takes a third of the time; its derivatives are 0.
    solution : Solution, optional
        Room for what else is found; it is of no use where `rows_needed`.

    Returns
    -------
    Value
    """
    nu = cp.n - (cp.p - int(prior.D.sum()) if integrate_flat else 0)
    options = dict(integrate_flat=integrate_flat, gradient=gradient, solution=solution)
    found = Value(*evaluation(cp, T, sigma, nu, prior, **options))
    if not rows_needed(cp, T, found.quad if found.ok else 0.0):
        return found
    return Value(*triangular.evaluation(cp, T, sigma, nu, prior, integrate_flat))


def is_precise(cp: CrossProducts, T: Floats, quad: float) -> bool:
    """Return whether `evaluate` tells the quadratic form at relative factors T, and log|M|, from their rounding."""
    return triangular.possible(cp) or not _above(cp, T, quad, MANY)


def is_fine(cp: CrossProducts, T: Floats, quad: float) -> bool:
    """Return whether cross-products leave digits enough for the criterion and its gradient at relative factors T."""
    return not _above(cp, T, quad, FEW)


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
    sigma, mean = at.positive[0], np.zeros(len(terms.sd))
    mean[terms.sampled] = at.coefficients - terms.at
    return at.L[terms.take] * terms.scale / sigma, sigma, FixedPrior(mean, *relative_sds(terms.sd, sigma))


def relative_sds(sd: Floats, sigma: float | Floats) -> tuple[Floats, Floats]:
    """Return lam and D of `FixedPrior` for the prior sds of the fixed columns, inf where flat."""
    proper = np.isfinite(sd)
    return np.where(proper, sd / sigma, 1.0), np.where(proper, 1.0, 0.0)


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
    cp: CrossProducts,
    T: Floats,
    sigma: float,
    prior: FixedPrior,
    *,
    given_fixed: bool = True,
    solved: tuple[Value, Solution] | None = None,
) -> Conditional:
    """Return means and covariances of the fixed coefficients and of the random effects given T and sigma.

    Parameters
    ----------
    given_fixed : bool
        True: the covariances of b given the fixed coefficients too, as lme4's condVar; False: with theirs integrated
        out.
    solved : tuple of Value and Solution, optional
        What `evaluate` has found there, the flat columns integrated out, if that is known.
    """
    value, solution = (None, room_for(cp)) if solved is None else solved
    if value is None:
        value = Value(*evaluation(cp, T, sigma, cp.n, prior, integrate_flat=True, solution=solution))
    if rows_needed(cp, T, value.quad):
        return Conditional(*triangular.conditional(cp, T, sigma, prior, given_fixed))
    if not value.ok:
        raise np.linalg.LinAlgError("the penalised cross-products are not positive definite")
    blocks = unpack(T, cp.q)
    Q = between_lambdas(cp, solution.M, blocks, prior.lam)
    v, fixed = solution.vectors[1], slice(len(Q) - cp.p, None)
    fixed_cov = Q[fixed, fixed].copy()
    Q = _given(Q, fixed) if given_fixed else Q
    modes, covariances, end = [], [], 0
    if cp.order:
        levels = slice(None) if cp.kin is None else cp.kin.levels
        modes.append(leading_effects(cp, blocks[0], v)[levels])
        covariances.append(leading_covariances(cp, blocks[0], Q)[cp.pattern][levels])
    for q, G in zip(cp.q[1:], cp.n_levels[1:], strict=True):
        at = end + np.arange(G * q).reshape(G, q)
        end += G * q
        modes.append(v[at])
        covariances.append(Q[at[:, :, None], at[:, None, :]])
    return Conditional(v[fixed], sigma**2 * fixed_cov, tuple(modes), tuple(sigma**2 * C for C in covariances))


def _given(Q: Floats, fixed: slice) -> Floats:
    """Return the covariance Q less what the uncertainty of the fixed coefficients adds."""
    if Q[fixed, fixed].size == 0:
        return Q
    free = np.diag(Q)[fixed] > 0  # a fixed coefficient has no variance to condition on
    cross = Q[:, fixed][:, free]
    explained = cross @ np.linalg.solve(Q[fixed, fixed][np.ix_(free, free)], cross.T)
    return np.subtract(Q, explained, out=explained)  # a matrix as large as Q


def between_lambdas(cp: CrossProducts, M: Floats, blocks: tuple[Floats, ...], lam: Floats) -> Floats:
    """Return Lambda_r M Lambda_r' of a symmetric M, (m, m), of the rest."""
    Q, at = M.copy(), 0
    for T, G in zip(blocks[1:], cp.n_levels[1:], strict=True):
        q = len(T)
        own = slice(at, at + G * q)
        at += G * q
        if q == 1:
            Q[:, own] *= T[0, 0]
            Q[own] *= T[0, 0]
            continue
        Q[:, own] = (Q[:, own].reshape(len(Q), G, q) @ T.T).reshape(len(Q), -1)
        Q[own] = (T @ Q[own].reshape(G, q, -1)).reshape(G * q, -1)
    Q[:, at:] *= lam
    Q[at:] *= lam[:, None]
    return Q
