"""Orthonormal columns for columns of any origin and unit, without losing what the data say.

A time stamp of 1.7e9 seconds varies in its last digits only. What rounds in products of such columns never comes back,
so their common part is subtracted first: the difference of two near numbers is exact (Sterbenz 1974), and so is what
Gram and Schmidt's method in its modified form makes of a column that an earlier one nearly explains. It works column by
column and entry by entry, so that equal rows stay equal.
"""

from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.crossproducts import Floats

# A column of which no more than this share is left beside earlier ones is one of their combinations, but for rounding.
DEPENDENT = 100 * np.finfo(float).eps
# Where less than this share is left of a column, Householder's reflections lose more than two of its digits.
EXPLAINED = 1e-2


class Columns(NamedTuple):
    """The columns of a block of random effects in other coordinates: b = basis b_s, Z_s = Z basis."""

    Z: Floats  # (n, q)
    basis: Floats  # (q, q)


def orthonormal(X: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return V, (n, p), with V'WV = I, and the upper triangular R, (p, p), of X = V R.

    Gram and Schmidt's method is exact about the data and Householder's about the angles; so one follows the other where
    earlier columns nearly explain one.

    Parameters
    ----------
    X : (n, p) float64
        Linearly independent columns.
    w : (n,) float64
        Positive weights.
    """
    root, before = np.sqrt(w)[:, None], np.eye(X.shape[1])
    Q, R = np.linalg.qr(X * root)
    if (np.abs(np.diag(R)) < EXPLAINED * np.linalg.norm(R, axis=0)).any():
        V, before = _gram_schmidt(X, w)
        Q, R = np.linalg.qr(V * root)
    signs = np.where(np.diag(R) < 0, -1.0, 1.0)
    return np.ascontiguousarray(Q * signs / root), (R * signs[:, None]) @ before


def residual(X: Floats, y: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return y less its weighted least-squares fit on orthonormal columns V of X = V R, and V'Wy.

    As exact as the difference of y from its fit can be: what is common to all rows goes first.
    """
    r, coefficients = y.copy(), np.zeros(X.shape[1])
    for _ in range(2):
        for j, v in enumerate(X.T):
            c = (w * v) @ r
            r -= c * v
            coefficients[j] += c
    return r, coefficients


def scaled(Z: Floats) -> Columns:
    """Return the columns divided by their root mean squares (1 for a column of zeros)."""
    rms = root_mean_square(Z)
    return Columns(np.ascontiguousarray(Z / rms), np.diag(1 / rms))


def orthonormal_in_parts(Z: Floats, partition: tuple[tuple[int, ...], ...], backwards: bool = False) -> Columns:
    """Return columns of mean square 1 that are orthogonal within each part of correlated effects.

    The covariance matrix of a part is free, so that any basis gives the same model.

    Parameters
    ----------
    Z : (n, q) float64
    partition : tuple of tuple of int
        The columns whose effects are correlated with each other.
    backwards : bool
        False: earlier columns are taken out of later ones, and `basis` is upper triangular; else the other way round,
        so that the first effect is a multiple of b_s1.
    """
    columns, basis = scaled(Z)
    for part in partition:
        if len(part) > 1:
            order = np.array(part[::-1] if backwards else part)
            V, R = _twice(Z[:, order])
            columns[:, order] = V
            basis[np.ix_(order, order)] = inverse_triangular(R)
    return Columns(columns, basis)


def inverse_triangular(R: Floats) -> Floats:
    """Return the inverse of an upper triangular matrix, by back-substitution."""
    out = np.zeros_like(R)
    for i in range(len(R) - 1, -1, -1):
        out[i, i] = 1 / R[i, i]
        out[i, i + 1 :] = -(R[i, i + 1 :] @ out[i + 1 :, i + 1 :]) / R[i, i]
    return out


def root_mean_square(Z: Floats) -> Floats:
    """Return the root mean square of each column, 1 for a column of zeros."""
    rms = np.sqrt(np.mean(Z**2, axis=0))
    return np.where(rms > 0, rms, 1.0)


def square_root(C: Floats) -> Floats:
    """Return a square matrix H with H H' = C for a covariance matrix C, singular or not, of any units."""
    sds = np.sqrt(np.diag(C))
    safe = np.where(sds > 0, sds, 1.0)
    values, vectors = np.linalg.eigh(C / np.outer(safe, safe))
    return safe[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))


def lower_factor(T: Floats) -> Floats:
    """Return the lower triangular factor with a non-negative diagonal and the same T T'; T may be singular."""
    lower = np.linalg.qr(T.T, mode="r").T
    signs = np.where(np.diag(lower) < 0, -1.0, 1.0)
    return lower * signs


def _twice(Z: Floats) -> tuple[Floats, Floats]:
    """Return Z = V R with V of mean squares 1; the second time is for the angles (Giraud et al. 2005)."""
    w = np.full(len(Z), 1 / len(Z))
    V, R = _gram_schmidt(Z, w)
    V, again = _gram_schmidt(V, w)
    return V, again @ R


def _gram_schmidt(X: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return X = V R; a column that depends on earlier ones keeps itself, in its own unit (ones if it is 0)."""
    V, p = X.copy(order="F"), X.shape[1]
    own = np.sqrt(w @ V**2)
    R, taken = np.zeros((p, p)), np.zeros(p, dtype=bool)
    for j in range(p):
        size = np.sqrt(w @ V[:, j] ** 2)
        taken[j] = size > DEPENDENT * own[j]
        if not taken[j]:
            V[:, j], R[:j, j], size = X[:, j], 0.0, own[j] if own[j] > 0 else 1.0
        V[:, j] /= size
        R[j, j] = size
        if taken[j] and j + 1 < p:
            R[j, j + 1 :] = (w * V[:, j]) @ V[:, j + 1 :]
            V[:, j + 1 :] -= V[:, j, None] * R[j, j + 1 :]
    return V, R
