"""Exact draws of the coefficients and the random effects, given draws of the variance parameters.

Given T and sigma, u ~ N(M^-1 c, sigma^2 M^-1) with M, c as in ``gaussian``: one back-substitution with the blocked
factor and standard normal numbers, L'u = L^-1 c + sigma eps, for the rest first and then for every level of the
leading factor.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    call,
    from_python,
    inlined,
    pointers,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.crossproducts import CrossProducts, Floats
from bayesmm.likelihood.gaussian_factorisation import (
    factorise,
    lambda_times,
    row_times_lambda,
    solve_lower,
    solve_lower_transposed,
    times_lambda,
    transposed,
)
from bayesmm.likelihood.gaussian_likelihood import cross_products, elimination

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
        sizes = np.array([size, G if keep_effects else 0])
        given = [np.ascontiguousarray(a, dtype=float) for a in (cp.z, T[part], sigma[part], mean[part], lam, D)]
        own = rest[part], lead[part if keep_effects else slice(0, 0)]
        if _drawn()(*pointers(cp.words, sizes, cp.pattern, *given, eps, eps_lead, *own)) == 0:
            raise np.linalg.LinAlgError("a draw's penalised cross-products are not positive definite")
    effects, end = [lead] if cp.order else [], 0
    for qk, Gk in zip(cp.q[1:], cp.n_levels[1:], strict=True):
        effects.append(rest[:, end : end + Gk * qk].reshape(n_draws, Gk, qk))
        end += Gk * qk
    return Recovered(rest[:, end:], tuple(effects) if keep_effects else ())


@c_function(INT64(WORDS, WORDS, WORDS, *[DOUBLES] * 10), calls=(elimination,))
def drawn(w, sizes, pattern, z_, T_, sigma, mean_, lam_, D, eps_, eps_lead_, out_rest_, out_lead_):
    """Set the coefficients of the rest, and of the leading factor's levels; 0 without a factor of M.

    The sizes are the numbers of draws and of the leading factor's levels, 0 to leave these out.
    """
    lead, rest, _ = cross_products(w)
    n, G, q, m, p = sizes[0], sizes[1], lead.A.shape[1], rest.z.shape[0], rest.z.shape[0]
    length = q * q
    for k in range(rest.q.shape[0]):
        length += rest.q[k] * rest.q[k]
        p -= rest.q[k] * rest.n_levels[k]
    z, T, mean, lam = carray(z_, (G, q)), carray(T_, (n, length)), carray(mean_, (n, p)), carray(lam_, (n, p))
    eps, out_rest = carray(eps_, (n, m)), carray(out_rest_, (n, m))
    eps_lead, out_lead = carray(eps_lead_, (n, G, q)), carray(out_lead_, (n, G, q))
    S, c, u, left, x = zero_matrix(m, m), zeros(m), zeros(m), zeros(2), zeros(2 * q)
    L, B = zero_matrix(lead.A.shape[0] * q, q), zeros(lead.columns.size * q)
    for i in range(n):
        if call("elimination", (w, T[i], mean[i], S, c, L, B, left)) == 0:
            return 0
        T_rest, s = T[i, q * q :], sigma[i]
        M = times_lambda(transposed(times_lambda(S, rest, T_rest, lam[i])), rest, T_rest, lam[i])
        for j in range(m):
            M[j, j] += 1.0 if j < m - p else D[j - (m - p)]
        if not factorise(M):
            return 0
        row_times_lambda(c, rest, T_rest, lam[i], u)
        solve_lower(M, u)
        for j in range(m):
            u[j] += s * eps[i, j]
        solve_lower_transposed(M, u)
        h = lambda_times(u, rest, T_rest, lam[i])
        for j in range(m):
            out_rest[i, j] = h[j] + (mean[i, j - (m - p)] if j >= m - p else 0.0)
        _draw_levels(lead, pattern, z, T[i], L, out_rest[i], m - p, s, eps_lead[i], x, out_lead[i])
    return 1


@functools.cache
def _drawn() -> Callable[..., int]:
    return from_python(drawn(), 13)


@inlined
def _draw_levels(lead, pattern, z, T, L, v, first_fixed, sigma, eps, x, out):
    """Set out = T L^-T (L^-1 T'(z - C v) + sigma eps) for every level, v the coefficients of the rest, means included.

    T has the leading factor's first, the factors L lie below each other, and x is for what is on the way.
    """
    q = out.shape[1]
    for level in range(out.shape[0]):
        g = pattern[level]
        for a in range(q):
            x[q + a] = z[level, a]
        for j in range(lead.start[g], lead.start[g + 1]):
            for a in range(q):
                x[q + a] -= lead.coupling[j, a] * v[lead.columns[j]]
        for a in range(q):
            x[a] = 0.0
            for b in range(a, q):
                x[a] += T[b * q + a] * x[q + b]
        for a in range(q):  # L^-1
            for b in range(a):
                x[a] -= L[g * q + a, b] * x[b]
            x[a] /= L[g * q + a, a]
        for a in range(q):
            x[a] += sigma * eps[level, a]
        for a in range(q - 1, -1, -1):  # L^-T
            for b in range(a + 1, q):
                x[a] -= L[g * q + b, a] * x[b]
            x[a] /= L[g * q + a, a]
        for a in range(q):
            out[level, a] = 0.0
            for b in range(a + 1):
                out[level, a] += T[a * q + b] * x[b]
