"""The log marginal likelihood of many parameter values in one compiled loop, without the gradient.

The same quantities as ``gaussian.evaluate``, from the same kernels; what is left out is everything that only the
gradient needs.
"""

import math

import numpy as np

from bayesmm.marginal.compiled import compiled
from bayesmm.marginal.crossproducts import CrossProducts, Floats
from bayesmm.marginal.kernels import LAPACK_FROM, cholesky, dot, eliminate, solve_lower, times_lambda


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
    try:
        _values(cp.leading, cp.rest, cp.rWr, T, mean, lam, D, logdet, quad)
    except np.linalg.LinAlgError:  # LAPACK stops the loop at a draw that is not positive definite: one by one then
        for i in range(len(sigma)):
            _value_alone(cp, T[i : i + 1], mean[i : i + 1], lam[i : i + 1], D, logdet[i : i + 1], quad[i : i + 1])
    with np.errstate(invalid="ignore"):
        log_scale = (cp.n - int(flat.sum())) * np.log(2 * math.pi * sigma**2) - cp.sum_log_weights
        value = -0.5 * (log_scale + logdet + quad / sigma**2)
    return np.where(np.isfinite(value), value, -np.inf)


def _value_alone(
    cp: CrossProducts, T: Floats, mean: Floats, lam: Floats, D: Floats, logdet: Floats, quad: Floats
) -> None:
    try:
        _values(cp.leading, cp.rest, cp.rWr, T, mean, lam, D, logdet, quad)
    except np.linalg.LinAlgError:
        logdet[:], quad[:] = np.inf, 0.0


@compiled
def _values(lead, rest, rWr, T, mean, lam, D, logdet, quad):
    """Set log|M| and r'Wr - c'M^-1 c for every draw; log|M| is inf where M is not positive definite."""
    q, m, p = lead.A.shape[1], rest.z.shape[0], mean.shape[1]
    for i in range(T.shape[0]):
        logdet[i], quad[i] = np.inf, 0.0
        T1, T_rest = T[i, : q * q].reshape((q, q)), T[i, q * q :]
        ok, log_lead, left, S, c, _, _ = eliminate(lead, rest, rWr, T1, mean[i])
        if not ok:
            continue
        W = times_lambda(S, rest, T_rest, lam[i])
        M = times_lambda(W.T.copy(), rest, T_rest, lam[i])
        for j in range(m):
            M[j, j] += 1.0 if j < m - p else D[j - (m - p)]
        if m >= LAPACK_FROM:
            M = np.linalg.cholesky(M)
        elif not cholesky(M):
            continue
        u = times_lambda(c.reshape((1, m)), rest, T_rest, lam[i])[0]
        solve_lower(M, u)
        for j in range(m):
            log_lead += 2.0 * math.log(M[j, j])
        logdet[i], quad[i] = log_lead, left - dot(u, u)
