"""The average information of the relative factors: the curvature of the REML criterion, about.

With V = Z Lambda Lambda'Z' + W^-1 and P as in Patterson & Thompson (1971), the criterion nu log(y'P y) + log|V| +
log|X'V^-1X| has second derivatives whose mean of observed and expected values is, where those of V itself are left out,

    (y'P V_i P V_j P y - (y'P V_i P y)(y'P V_j P y) / (nu sigma^2)) / sigma^2

(Gilmour, Thompson & Cullis 1995, Biometrics 51: 1440-1450; sigma profiled out). It needs no trace, and products with
one vector for each entry of T only. What V itself bends adds 2 G in the rows of T, G = d criterion / d(T T'): it is 0
at an optimum inside, and all that there is where a variance is 0.
"""

import functools
from collections.abc import Callable

import numpy as np
from numba import carray

from bayesmm.likelihood.blas import times_symmetric
from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    from_python,
    inlined,
    pointers,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.crossproducts import CrossProducts, Floats
from bayesmm.likelihood.dense_matrices import dot, matmul
from bayesmm.likelihood.gaussian_data import read_cross_products
from bayesmm.likelihood.gaussian_factorisation import (
    level_factor,
    level_inverse,
    rest_lambda,
    rest_sizes,
    shifted,
    times_lambda,
)
from bayesmm.likelihood.gaussian_likelihood import Solution

NO_PIVOT = 1e-6  # relative sd below which the slope says nothing of the derivative in the variance


def average_information(cp: CrossProducts, T: Floats, lam: Floats, sigma: float, nu: float, at: Solution) -> Floats:
    """Return the matrix over the entries of the packed T, (sum q_k^2,) squared; 0 above the diagonals.

    `at` is the solution of an evaluation with the gradient at T, and sigma what it found.
    """
    size = len(T)
    products, slopes = np.zeros((size, size)), np.zeros(size)
    given = [np.ascontiguousarray(array, dtype=float) for array in (T, lam)]
    _information()(*pointers(cp.words, *given, *at, products, slopes))
    return (products - np.outer(slopes, slopes) / (nu * sigma**2)) / sigma**2


def rows_curvature(T: Floats, slopes: Floats, q: tuple[int, ...]) -> Floats:
    """Return 2 G for each pair of rows of T that share a column, G without its negative part.

    Parameters
    ----------
    T, slopes : (sum q_k^2,) float64
        The packed factors, and the derivatives of the criterion in them, 2 G T at and below the diagonal.
    """
    out, at = np.zeros((len(T), len(T))), 0
    for size in q:
        own = slice(at, at + size * size)
        values, vectors = np.linalg.eigh(_in_covariance(*(a[own].reshape(size, size) for a in (T, slopes))))
        out[own, own] = np.kron(2 * (vectors * np.maximum(values, 0.0)) @ vectors.T, np.eye(size))
        at += size * size
    return out


def _in_covariance(T: Floats, slopes: Floats) -> Floats:
    """Return G from the lower triangle of 2 G T, column by column from the last; 0 where T has no pivot."""
    q = len(T)
    G = np.zeros((q, q))
    for b in range(q - 1, -1, -1):
        for a in range(q - 1, b - 1, -1):
            if abs(T[b, b]) > NO_PIVOT:
                G[a, b] = G[b, a] = (slopes[a, b] / 2 - G[a, b + 1 :] @ T[b + 1 :, b]) / T[b, b]
    return G


@c_function(INT64(WORDS, *[DOUBLES] * 6))
def information(w, T_, lam_, R_, vectors_, products_, slopes_):
    """Set y'P V_i P V_j P y and y'P V_i P y for each pair and each entry of T, with sigma = 1."""
    lead, rest, _, _, _, _ = read_cross_products(w)
    q = lead.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    T, R, vectors = carray(T_, (length,)), carray(R_, (m, m)), carray(vectors_, (3, m))
    products, slopes = carray(products_, (length, length)), carray(slopes_, (length,))
    lam = rest_lambda(rest, T, q * q, carray(lam_, (p,)))
    W, b = zero_matrix(length, m), zero_matrix(length, m)
    _rest_directions(rest, lam, q * q, vectors[2], W, slopes)
    for i in range(q * q, length):
        for j in range(m):
            b[i, j] = dot(rest.A[j], W[i])
    _leading_products(lead, carray(T_, (q, q)), vectors[1], W, b, products, slopes)
    scaled, solved = zero_matrix(length, m), zero_matrix(length, m)
    for i in range(length):
        times_lambda(b[i], lam, m, scaled[i])
    if m > 0:
        times_symmetric(scaled, R, solved, length)
    for i in range(length):
        for j in range(i + 1):
            products[i, j] += dot(W[i], b[j]) - dot(solved[i], scaled[j])
            products[j, i] = products[i, j]
    return 1


@inlined
def _rest_directions(rest, lam, skip, e, W, slopes):
    """Set the rows of W to (dT T' + T dT') e for the entries of the rest's factors, and e'W."""
    at, packed = 0, 0
    for k in range(rest.q.shape[0]):
        q = rest.q[k]
        for _ in range(rest.n_levels[k]):
            for b in range(q):
                projected = 0.0
                for c in range(b, q):
                    projected += lam.values[packed + c * q + b] * e[at + c]
                for a in range(b, q):
                    i = skip + packed + a * q + b
                    W[i, at + a] += projected
                    for c in range(b, q):
                        W[i, at + c] += lam.values[packed + c * q + b] * e[at + a]
                    slopes[i] += 2.0 * projected * e[at + a]
            at += q
        packed += q * q


@inlined
def _leading_products(lead, T, v, W, b, products, slopes):
    """Add the leading factor's part: to b, and to the products of its own entries less b'M^-1 b."""
    q = T.shape[0]
    L, P, X, F, FA = zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q)
    E, FE, EF, d, x, y = zero_matrix(q, q), zero_matrix(q, q), zero_matrix(q, q), zeros(q), zeros(q), zeros(q)
    for g in range(lead.count.shape[0]):
        n = lead.count[g]
        level_factor(lead.A, g, T, L, P)
        level_inverse(T, L, P, X)
        matmul(lead.A[g], X, F)
        shifted(lead, g, v, 0, d)
        for a in range(q):
            for c in range(q):
                F[a, c] = (1.0 if a == c else 0.0) - F[a, c]
                E[a, c] = lead.sum_zz[g, a, c] + n * d[a] * d[c] - lead.sum_z[g, a] * d[c] - d[a] * lead.sum_z[g, c]
        matmul(F, lead.A[g], FA)
        matmul(F, E, FE)
        for a in range(q):
            x[a] = 0.0
            for c in range(q):
                x[a] += F[a, c] * (lead.sum_z[g, c] - n * d[c])
                EF[a, c] = dot(FE[a], F[c])  # sum e e' over the levels
        for i in range(q * q, W.shape[0]):
            _take_rest(lead, g, X, n, W[i], b[i], y)
        _add_moments(T, FA, EF, products, slopes)
        for a in range(q):
            for c in range(a + 1):
                _add_coupled(lead, g, T, F, x, a, c, y, b[a * q + c])


@inlined
def _take_rest(lead, g, X, n, w, out, y):
    """Take n C'X C w from `out`."""
    q = X.shape[0]
    for a in range(q):
        y[a] = 0.0
    for j in range(lead.start[g], lead.start[g + 1]):
        for a in range(q):
            y[a] += lead.coupling[j, a] * w[lead.columns[j]]
    for j in range(lead.start[g], lead.start[g + 1]):
        for a in range(q):
            for c in range(q):
                out[lead.columns[j]] -= n * lead.coupling[j, a] * X[a, c] * y[c]


@inlined
def _add_coupled(lead, g, T, F, x, a, c, y, out):
    """Add C'F'(e_a t' + t e_a') x to `out`, t column c of T."""
    q, projected = T.shape[0], 0.0
    for k in range(c, q):
        projected += T[k, c] * x[k]
    for k in range(q):
        y[k] = F[a, k] * projected
        for i in range(c, q):
            y[k] += F[i, k] * T[i, c] * x[a]
    for j in range(lead.start[g], lead.start[g + 1]):
        for k in range(q):
            out[lead.columns[j]] += lead.coupling[j, k] * y[k]


@inlined
def _add_moments(T, FA, EE, products, slopes):
    """Add the sums over the levels of w_i'F A w_j and of e'w_i, where w_i = (e_a t' + t e_a') e, t column b of T."""
    q = T.shape[0]
    N, half = zero_matrix(q, q), zero_matrix(q, q)
    for a in range(q):
        for b in range(a + 1):
            for i in range(q):
                for j in range(q):
                    N[i, j] = (T[j, b] if i == a else 0.0) + (T[i, b] if j == a else 0.0)
            for k in range(q):
                slopes[a * q + b] += 2.0 * EE[a, k] * T[k, b]
            # tr(N FA N_j EE) = the entries of 2 (EE N FA) T for column b of T, by the symmetry of all
            matmul(EE, N, half)
            matmul(half, FA, N)
            for c in range(q):
                for j in range(c + 1):
                    total = 0.0
                    for k in range(q):
                        total += (N[c, k] + N[k, c]) * T[k, j]
                    products[a * q + b, c * q + j] += total


@functools.cache
def _information() -> Callable[..., int]:
    return from_python(information(), 7)
