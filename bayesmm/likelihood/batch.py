"""The log marginal likelihood of many parameter values in one compiled loop, without the gradient.

The same quantities as ``gaussian.evaluate``, from the same kernels; what is left out is everything that only the
gradient needs.
"""

import math

import numpy as np

from bayesmm.likelihood.compiled import call, compiled, zero_matrix, zeros
from bayesmm.likelihood.crossproducts import CrossProducts, Floats
from bayesmm.likelihood.gaussian_kernels import dot, factorise, row_times_lambda, solve_lower, times_lambda, transposed
from bayesmm.likelihood.gaussian_likelihood import cross_products, elimination


def log_likelihoods(cp: CrossProducts, T: Floats, sigma: Floats, mean: Floats, sd: Floats) -> Floats:
    """Return log p of every draw.

    Parameters
    ----------
    cp : CrossProducts
    T : (draws, sum q_k^2) float64
        Relative factors, packed in the order of `cp`.
    sigma : (draws,) float64
        Residual standard deviations.
    mean : (draws, p) float64
        Prior mean of each fixed column's coefficient; the coefficient itself where `sd` is 0.
    sd : (p,) float64
        Prior standard deviations: inf for a flat prior (these columns come last), which is integrated out; 0 for a
        fixed value.

    Returns
    -------
    (draws,) float64
        -inf where the penalised cross-products are not numerically positive definite.
    """
    flat = ~np.isfinite(sd)
    D = np.where(flat, 0.0, 1.0)
    logdet, quad = np.empty(len(sigma)), np.empty(len(sigma))
    lam = np.where(flat, 1.0, sd / sigma[:, None])
    elimination()  # `_values` calls it by its name
    _values(cp.words, np.ascontiguousarray(T), np.ascontiguousarray(mean), lam, D, logdet, quad)
    with np.errstate(invalid="ignore"):
        log_scale = (cp.n - int(flat.sum())) * np.log(2 * math.pi * sigma**2) - cp.sum_log_weights
        value = -0.5 * (log_scale + logdet + quad / sigma**2)
    return np.where(np.isfinite(value), value, -np.inf)


@compiled
def _values(words, T, mean, lam, D, logdet, quad):
    """Set log|M| and r'Wr - c'M^-1 c for every draw; log|M| is inf where M is not positive definite."""
    lead, rest, _ = cross_products(words)
    q, m, p = lead.A.shape[1], rest.z.shape[0], mean.shape[1]
    S, c, u, left = zero_matrix(m, m), zeros(m), zeros(m), zeros(2)
    L, B = zeros(lead.A.size), zeros(lead.columns.size * q)
    for i in range(T.shape[0]):
        logdet[i], quad[i] = np.inf, 0.0
        if call("elimination", (words, T[i], mean[i], S, c, L, B, left)) == 0:
            continue
        T_rest = T[i, q * q :]
        M = times_lambda(transposed(times_lambda(S, rest, T_rest, lam[i])), rest, T_rest, lam[i])
        for j in range(m):
            M[j, j] += 1.0 if j < m - p else D[j - (m - p)]
        if not factorise(M):
            continue
        row_times_lambda(c, rest, T_rest, lam[i], u)
        solve_lower(M, u)
        for j in range(m):
            left[0] += 2.0 * math.log(M[j, j])
        logdet[i], quad[i] = left[0], left[1] - dot(u, u)
