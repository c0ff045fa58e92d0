"""Exact draws of the coefficients and the random effects, given draws of the variance parameters.

Given T and sigma, u ~ N(M^-1 c, sigma^2 M^-1) with M, c as in ``gaussian``: one back-substitution with the blocked
factor and standard normal numbers, L'u = L^-1 c + sigma eps, for the rest first and then for every level of the
leading factor.
"""

from dataclasses import dataclass

import numpy as np

from bayesmm.marginal.compiled import compiled, inner
from bayesmm.marginal.crossproducts import CrossProducts, Floats
from bayesmm.marginal.kernels import (
    cholesky,
    dot,
    eliminate,
    lambda_times,
    solve_lower,
    solve_lower_transposed,
    times_lambda,
)

# Standard normal numbers are drawn for this many effects at a time, so that memory stays flat (64 MB).
CHUNK = 8_000_000


@dataclass(frozen=True)
class Recovered:
    """Draws of what was integrated out.

    Attributes
    ----------
    fixed : (draws, p) float64
        Coefficients of the fixed columns.
    effects : tuple of (draws, G_k, q_k) float64
        Random effects b of each factor, in the order of the cross-products; empty if they were not asked for.
    """

    fixed: Floats
    effects: tuple[Floats, ...]


def recover(
    cp: CrossProducts,
    T: Floats,
    sigma: Floats,
    mean: Floats,
    sd: Floats,
    rng: np.random.Generator,
    *,
    keep_effects: bool = True,
) -> Recovered:
    """Draw the fixed coefficients and the random effects from their exact conditional distribution.

    Parameters
    ----------
    cp : CrossProducts
    T : (draws, sum q_k^2) float64
        Relative factors of each draw, packed in the order of `cp`.
    sigma : (draws,) float64
    mean : (draws, p) float64
        Mean of each fixed column's coefficient; for a coefficient that was sampled, its draw.
    sd : (p,) float64
        Prior standard deviations: inf for a flat prior (flat columns last), 0 for a coefficient that is fixed or was
        sampled.
    rng : numpy.random.Generator
    keep_effects : bool
        False: the fixed coefficients only.

    Returns
    -------
    Recovered
    """
    n_draws, m, G, q = len(sigma), len(cp.rest.z), len(cp.pattern), cp.leading.A.shape[1]
    flat = ~np.isfinite(sd)
    D = np.where(flat, 0.0, 1.0)
    rest, lead = np.empty((n_draws, m)), np.empty((n_draws if keep_effects else 0, G, q))
    step = max(1, CHUNK // max(m + (G * q if keep_effects else 0), 1))
    for at in range(0, n_draws, step):
        part = slice(at, min(at + step, n_draws))
        lam = np.where(flat, 1.0, sd / sigma[part, None])
        size = part.stop - part.start
        eps, eps_lead = rng.standard_normal((size, m)), rng.standard_normal((size if keep_effects else 0, G, q))
        ok = _draw(cp.leading, cp.rest, cp.rWr, cp.pattern, cp.z, T[part], sigma[part], mean[part], lam, D,
                   eps, eps_lead, rest[part], lead[part if keep_effects else slice(0, 0)])  # fmt: skip
        if not ok:
            raise np.linalg.LinAlgError("a draw's penalised cross-products are not positive definite")
    effects, end = [lead] if cp.order else [], 0
    for qk, Gk in zip(cp.q[1:], cp.n_levels[1:], strict=True):
        effects.append(rest[:, end : end + Gk * qk].reshape(n_draws, Gk, qk))
        end += Gk * qk
    return Recovered(rest[:, end:], tuple(effects) if keep_effects else ())


@compiled
def _draw(lead, rest, rWr, pattern, z, T, sigma, mean, lam, D, eps, eps_lead, out_rest, out_lead):
    """Fill in the rest's coefficients, and the leading factor's where `eps_lead` has rows; False without a factor."""
    q, m, p = lead.A.shape[1], rest.z.shape[0], mean.shape[1]
    x, d = np.empty(q), np.empty(q)
    for i in range(sigma.shape[0]):
        T1, T_rest, s = T[i, : q * q].reshape((q, q)), T[i, q * q :], sigma[i]
        ok, _, _, S, c, L, _ = eliminate(lead, rest, rWr, T1, mean[i])
        if not ok:
            return False
        W = times_lambda(S, rest, T_rest, lam[i])
        M = times_lambda(W.T.copy(), rest, T_rest, lam[i])
        for j in range(m):
            M[j, j] += 1.0 if j < m - p else D[j - (m - p)]
        if not cholesky(M):
            return False
        u = times_lambda(c.reshape((1, m)), rest, T_rest, lam[i])[0]
        solve_lower(M, u)
        for j in range(m):
            u[j] += s * eps[i, j]
        solve_lower_transposed(M, u)
        h = lambda_times(u, rest, T_rest, lam[i])
        for j in range(m):
            out_rest[i, j] = h[j] + (mean[i, j - (m - p)] if j >= m - p else 0.0)
        for level in range(pattern.shape[0] if eps_lead.shape[0] > 0 else 0):
            _draw_level(
                lead,
                pattern[level],
                z[level],
                T1,
                L,
                h,
                out_rest[i],
                m - p,
                s,
                eps_lead[i, level],
                x,
                d,
                out_lead[i, level],
            )
    return True


@inner
def _draw_level(lead, g, z, T, L, h, coefficients, first_fixed, sigma, eps, x, d, out):
    """Set out = T L^-T (L^-1 T'(z - C v) + sigma eps), v the coefficients of the rest, means included."""
    q = T.shape[0]
    for a in range(q):
        d[a] = z[a]
    for j in range(lead.start[g], lead.start[g + 1]):
        for a in range(q):
            d[a] -= lead.coupling[j, a] * coefficients[lead.columns[j]]
    for a in range(q):
        x[a] = dot(T[:, a], d)
    solve_lower(L[g], x)
    for a in range(q):
        x[a] += sigma * eps[a]
    solve_lower_transposed(L[g], x)
    for a in range(q):
        out[a] = dot(T[a], x)
