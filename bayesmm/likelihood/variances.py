"""Variances of linear combinations of the fixed coefficients and the random effects, jointly.

Given T and sigma, (b, gamma) | y has the covariance sigma^2 Lambda M^-1 Lambda' (notation of ``gaussian``), so that a
row a = (z, x) has the variance sigma^2 |L_M^-1 Lambda'a|^2: one forward substitution with the blocked factor, first in
the level of the leading factor and then in the rest.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import solve_triangular

from bayesmm.likelihood.crossproducts import CrossProducts, Factor, Floats, Ints
from bayesmm.likelihood.gaussian import unpack
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.gaussian_leading import leading_covariances
from bayesmm.likelihood.gaussian_likelihood import evaluation, room_for
from bayesmm.likelihood.sparse_levels import influence

CHUNK = 4_000_000  # numbers of the dense (rows, m) arrays at a time: 32 MB each


def row_variances(cp: CrossProducts, T: Floats, prior: FixedPrior, factors: Sequence[Factor], fixed: Floats) -> Floats:
    """Return the variance of each row's Z b + fixed gamma given T, in units of sigma^2.

    Parameters
    ----------
    cp : CrossProducts
    T : (sum q_k^2,) float64
        Relative factors, packed in the order of `cp`.
    prior : FixedPrior
    factors : sequence of Factor
        In the order of `cp`: each row's level and columns; a level of -1 leaves the factor out of the row.
    fixed : (rows, p) float64

    Returns
    -------
    (rows,) float64

    Raises
    ------
    numpy.linalg.LinAlgError
        If M is not numerically positive definite.
    """
    blocks, solution = unpack(T, cp.q), room_for(cp)
    if not evaluation(cp, T, 1.0, cp.n, prior, integrate_flat=True, gradient=False, solution=solution)[0]:
        raise np.linalg.LinAlgError("the penalised cross-products are not positive definite")
    L, m = solution.M, len(solution.M)
    # of every level given the rest: what `gaussian_leading` has as X
    X = leading_covariances(cp, blocks[0], np.zeros((m, m))) if blocks else np.zeros((0, 0, 0))
    XC = None if cp.kin is None else influence(cp.words, cp.kin.n, m, blocks[0])
    out, step = np.empty(len(fixed)), max(1, CHUNK // max(m, 1))
    for at in range(0, len(fixed), step):
        rows = slice(at, at + step)
        v = _rest_rows(cp, [Factor(f.index[rows], f.Z[rows], f.n_levels) for f in factors[1:]], fixed[rows])
        own = np.zeros(len(v))
        if factors:
            own = _take_leading(cp, v, factors[0].index[rows], factors[0].Z[rows], X, XC)
        v = _times_lambda(cp, v, blocks, prior.lam)
        out[rows] = own + np.square(solve_triangular(L, v.T, lower=True, check_finite=False)).sum(axis=0)
    return out


def _times_lambda(cp: CrossProducts, v: Floats, blocks: tuple[Floats, ...], lam: Floats) -> Floats:
    """Return v Lambda_r for rows v (rows, m) of the rest."""
    out, at = np.empty(v.shape), 0
    for T, G in zip(blocks[1:], cp.n_levels[1:], strict=True):
        end = at + G * len(T)
        out[:, at:end] = (v[:, at:end].reshape(len(v), G, len(T)) @ T).reshape(len(v), -1)
        at = end
    out[:, at:] = v[:, at:] * lam
    return out


def _rest_rows(cp: CrossProducts, others: Sequence[Factor], fixed: Floats) -> Floats:
    """Return the rows' values in the columns of the rest, (rows, m)."""
    v, at = np.zeros((len(fixed), len(cp.rest.z))), 0
    for factor in others:
        q = factor.Z.shape[1]
        known = np.flatnonzero(factor.index >= 0)
        for j in range(q):
            v[known, at + factor.index[known] * q + j] = factor.Z[known, j]
        at += factor.size
    v[:, at:] = fixed
    return v


def _take_leading(cp: CrossProducts, v: Floats, index: Ints, z: Floats, X: Floats, XC: Floats | None) -> Floats:
    """Return the leading factor's part of the variance, (rows,), and take what it explains of the rest out of v.

    With levels that are related `XC`, (G, m), is what they explain.
    """
    lead, out = cp.leading, np.zeros(len(v))
    known = np.flatnonzero(index >= 0)
    pattern = cp.pattern[index[known] if cp.kin is None else cp.kin.levels[index[known]]]
    Xz = (X[pattern] @ z[known][:, :, None])[:, :, 0]
    out[known] = (z[known] * Xz).sum(axis=1)
    if XC is not None:
        v[known] -= z[known] * XC[pattern]
        return out
    width = lead.start[pattern + 1] - lead.start[pattern]
    row = np.repeat(np.arange(len(known)), width)
    entry = np.arange(width.sum()) - np.repeat(np.cumsum(width) - width, width) + np.repeat(lead.start[pattern], width)
    v[known[row], lead.columns[entry]] -= (lead.coupling[entry] * Xz[row]).sum(axis=1)  # each column once
    return out
