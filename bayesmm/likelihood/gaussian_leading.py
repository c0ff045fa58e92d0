"""The effects of the leading factor given those of the rest: modes, covariances, draws and variances of rows.

Given the coefficients v of the rest, b = T L^-T (L^-1 T'(z - C v) + sigma eps) with L = chol(T'A T + I), level by level
(`gaussian_factorisation`).
"""

import functools
from collections.abc import Callable

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
from bayesmm.likelihood.dense_matrices import dot, solve_lower_transposed
from bayesmm.likelihood.gaussian_data import read_cross_products
from bayesmm.likelihood.gaussian_factorisation import level_factor, shifted


def leading_effects(cp: CrossProducts, T: Floats, v: Floats, sigma: float = 0.0, eps: Floats | None = None) -> Floats:
    """Return b of every level of the leading factor, (G, q): its mode, or a draw by standard normal `eps`, (G, q)."""
    out = np.zeros_like(cp.z)
    given = [np.ascontiguousarray(array, dtype=float) for array in (cp.z, T, v, np.array([sigma]))]
    noise = np.zeros_like(cp.z) if eps is None else np.ascontiguousarray(eps, dtype=float)
    size = np.array([len(cp.pattern)])  # kept while it runs
    if _effects()(*pointers(cp.words, size, cp.pattern, *given, noise, out)) == 0:
        raise np.linalg.LinAlgError("the penalised cross-products of a level are not positive definite")
    return out


def leading_covariances(cp: CrossProducts, T: Floats, Q: Floats) -> Floats:
    """Return X + X C Q C'X for each pattern, (P, q, q), where Q, (m, m), is the covariance of the rest's coefficients.

    All are relative to sigma^2. X = T L^-T L^-1 T' is the covariance given the rest.
    """
    out = np.zeros_like(cp.leading.A)
    given = [np.ascontiguousarray(array, dtype=float) for array in (T, Q)]
    if _covariances()(*pointers(cp.words, *given, out)) == 0:
        raise np.linalg.LinAlgError("the penalised cross-products of a level are not positive definite")
    return out


@c_function(INT64(WORDS, WORDS, WORDS, *[DOUBLES] * 6))
def effects_of_levels(w, sizes, pattern, z_, T_, v_, sigma, eps_, out_):
    """Set b for the G levels that `sizes` says; 0 where a pattern has no factor."""
    lead, rest, _, _, functions, _ = read_cross_products(w)
    if functions.shape[0] > 2:
        return call(functions[2], (w, sizes, pattern, z_, T_, v_, sigma, eps_, out_))
    P, q, G = lead.A.shape[0], lead.A.shape[1], sizes[0]
    z, T, v = carray(z_, (G, q)), carray(T_, (q, q)), carray(v_, (rest.z.shape[0],))
    eps, out = carray(eps_, (G, q)), carray(out_, (G, q))
    L, half, shift, x = zero_matrix(P * q, q), zero_matrix(P * q, q), zero_matrix(P, q), zeros(q)
    for g in range(P):
        if not level_factor(lead.A, g, T, L[g * q : (g + 1) * q], half[g * q : (g + 1) * q]):
            return 0
        shifted(lead, g, v, 0, shift[g])
    for level in range(G):
        g = pattern[level]
        for a in range(q):
            x[a] = sigma[0] * eps[level, a]
            for b in range(q):
                x[a] += half[g * q + a, b] * (z[level, b] - shift[g, b])
        solve_lower_transposed(L[g * q : (g + 1) * q], x)
        for a in range(q):
            total = 0.0
            for b in range(a + 1):
                total += T[a, b] * x[b]
            out[level, a] = total
    return 1


@functools.cache
def _effects() -> Callable[..., int]:
    return from_python(effects_of_levels(), 9)


@c_function(INT64(WORDS, *[DOUBLES] * 3))
def covariances_of_patterns(w, T_, Q_, out_):
    """Set X + X C Q C'X for each pattern; 0 where one has no factor."""
    lead, rest, _, _, functions, _ = read_cross_products(w)
    if functions.shape[0] > 2:
        return call(functions[3], (w, T_, Q_, out_))
    P, q, m = lead.A.shape[0], lead.A.shape[1], rest.z.shape[0]
    T, Q, out = carray(T_, (q, q)), carray(Q_, (m, m)), carray(out_, (P, q, q))
    L, half, inner, row = zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q), zeros(q)
    for g in range(P):
        if not level_factor(lead.A, g, T, L, half):
            return 0
        for a in range(q):
            for b in range(q):
                inner[a, b] = 0.0
        for i in range(lead.start[g], lead.start[g + 1]):
            for a in range(q):
                row[a] = 0.5 * Q[lead.columns[i], lead.columns[i]] * lead.coupling[i, a]
            for j in range(lead.start[g], i):  # Q is symmetric, and its entries are far apart
                weight = Q[lead.columns[i], lead.columns[j]]
                for a in range(q):
                    row[a] += weight * lead.coupling[j, a]
            for a in range(q):
                for b in range(q):
                    inner[a, b] += lead.coupling[i, a] * row[b] + row[a] * lead.coupling[i, b]
        _sandwich(half, inner, out[g])
    return 1


@inlined
def _sandwich(half, inner, out):
    """Set out = half'half + half'half inner half'half."""
    q = half.shape[0]
    X, row = zero_matrix(q, q), zeros(q)
    for a in range(q):
        for b in range(q):
            X[a, b] = dot(half[:, a], half[:, b])
    for a in range(q):
        for b in range(q):
            row[b] = dot(X[a], inner[:, b])
        for b in range(q):
            out[a, b] = X[a, b] + dot(row, X[b])


@functools.cache
def _covariances() -> Callable[..., int]:
    return from_python(covariances_of_patterns(), 4)
