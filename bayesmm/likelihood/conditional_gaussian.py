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
    pointers,
    zero_integers,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.crossproducts import CrossProducts, Floats
from bayesmm.likelihood.dense_matrices import cholesky, solve_lower, solve_lower_transposed
from bayesmm.likelihood.eliminated import Polynomials
from bayesmm.likelihood.gaussian import relative_sds
from bayesmm.likelihood.gaussian_data import read_cross_products
from bayesmm.likelihood.gaussian_factorisation import lambda_times, rest_lambda, rest_sizes
from bayesmm.likelihood.gaussian_leading import effects_of_levels
from bayesmm.likelihood.gaussian_likelihood import elimination

# Standard normal numbers are drawn for this many effects at a time, so that memory stays flat (64 MB).
CHUNK = 8_000_000
AT_ONCE = 8  # arrays of a p x p matrix for each draw


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
    run: Callable[..., int] | None = None,
    near: Polynomials | None = None,
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
    run : callable, optional
        In the place of `drawn` for cross-products that differ from draw to draw: (draws as a slice, sizes, T, sigma,
        mean, lam, D, eps, eps_lead, rest out, lead out) -> 0 or 1.
    near : Polynomials, optional
        In the place of the random effects, where these are not asked for.

    Returns
    -------
    Recovered

    Raises
    ------
    numpy.linalg.LinAlgError
        A draw's sds are so large beside sigma that its matrix is not positive definite.
    """
    n_draws, m, G, q = len(sigma), len(cp.rest.z), len(cp.pattern), cp.leading.A.shape[1]
    rest, lead = np.empty((n_draws, m)), np.empty((n_draws if keep_effects else 0, G, q))
    step = max(1, CHUNK // max(m + (G * q if keep_effects else 0), 1 if near is None else AT_ONCE * cp.p**2, 1))
    for at in range(0, n_draws, step):
        part = slice(at, min(at + step, n_draws))
        lam, D = relative_sds(sd, sigma[part, None])
        size = part.stop - part.start
        eps, eps_lead = rng.standard_normal((size, m)), rng.standard_normal((size if keep_effects else 0, G, q))
        sizes = np.array([size, G if keep_effects else 0])
        given = [np.ascontiguousarray(a, dtype=float) for a in (T[part], sigma[part], mean[part], lam, D)]
        own = *given, eps, eps_lead, rest[part], lead[part if keep_effects else slice(0, 0)]
        if near is not None:
            rest[part, m - cp.p :] = _fixed(near, *given, eps[:, m - cp.p :])
            continue
        if run is not None:
            found = run(part, sizes, *own)
        else:
            z = np.ascontiguousarray(cp.z, dtype=float)
            found = _drawn()(*pointers(cp.words, sizes, cp.pattern, z, *own))
        if found == 0:
            raise np.linalg.LinAlgError("a draw's penalised cross-products are not positive definite")
    lead = lead if cp.kin is None else lead[:, cp.kin.levels]
    effects, end = [lead] if cp.order else [], 0
    for qk, Gk in zip(cp.q[1:], cp.n_levels[1:], strict=True):
        effects.append(rest[:, end : end + Gk * qk].reshape(n_draws, Gk, qk))
        end += Gk * qk
    return Recovered(rest[:, end:], tuple(effects) if keep_effects else ())


def _fixed(near: Polynomials, T: Floats, sigma: Floats, mean: Floats, lam: Floats, D: Floats, eps: Floats) -> Floats:
    """Return draws of the fixed coefficients alone, (draws, p): what `drawn` gives, the random effects eliminated."""
    values = near.at(T)
    S, z = near.left.matrix(values), near.left.vector(values)
    L = np.linalg.cholesky(lam[:, :, None] * S * lam[:, None, :] + np.diag(D))
    c = lam * (z - np.einsum("nij,nj->ni", S, mean))
    u = np.linalg.solve(L, c[:, :, None]) + (sigma[:, None] * eps)[:, :, None]
    return mean + lam * np.linalg.solve(L.transpose(0, 2, 1), u)[:, :, 0]


@c_function(INT64(WORDS, WORDS, WORDS, *[DOUBLES] * 10), calls=(elimination, effects_of_levels))
def drawn(w, sizes, pattern, z_, T_, sigma, mean_, lam_, D, eps_, eps_lead_, out_rest_, out_lead_):
    """Set the coefficients of the rest, and of the leading factor's levels; 0 without a factor of M.

    The sizes are the numbers of draws and of the leading factor's levels, 0 to leave these out.
    """
    cross = read_cross_products(w)
    rest, n, G, q = cross.rest, sizes[0], sizes[1], cross.leading.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    T, mean, lam_fixed = carray(T_, (n, length)), carray(mean_, (n, p)), carray(lam_, (n, p))
    eps, out_rest = carray(eps_, (n, m)), carray(out_rest_, (n, m))
    eps_lead, out_lead = carray(eps_lead_, (n, G * q)), carray(out_lead_, (n, G * q))
    M, c, left, levels = zero_matrix(m, m), zeros(m), zeros(2), zero_integers(1)
    levels[0] = G
    for i in range(n):
        if call("elimination", (w, T[i], mean[i], lam_fixed[i], D, M, c, left)) == 0 or not cholesky(M):
            return 0
        solve_lower(M, c)
        for j in range(m):
            c[j] += sigma[i] * eps[i, j]
        solve_lower_transposed(M, c)
        lambda_times(c, rest_lambda(rest, T[i], q * q, lam_fixed[i]), out_rest[i])
        for j in range(p):
            out_rest[i, m - p + j] += mean[i, j]
        left[0] = sigma[i]
        own = (w, levels, pattern, z_, T[i], out_rest[i], left, eps_lead[i], out_lead[i])
        if G > 0 and call("effects_of_levels", own) == 0:
            return 0
    return 1


@functools.cache
def _drawn() -> Callable[..., int]:
    return from_python(drawn(), 13)
