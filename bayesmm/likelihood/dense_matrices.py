"""Dense matrices for compiled code: plain loops for small ones, LAPACK for large ones.

A small product is written out: a loop compiles in a tenth of the time of np.dot, and is faster below about 10 x 10.
"""

import math

import numpy as np

from bayesmm.likelihood.compiled import inner, lapack

# From this size on a factorisation through LAPACK beats a plain compiled loop (measured: equal between 30 and 50).
LAPACK_FROM = 40
TILE = 32  # rows and columns of a tile of a matrix whose transpose is read: both lie in the nearest cache


@inner
def dot(x, y):
    """Return x'y for vectors."""
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@inner
def matmul(a, b, out):
    """Set out = a b."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@inner
def small_cholesky(a):
    """Overwrite the lower triangle of `a` by its Cholesky factor; return False where `a` is not positive definite."""
    for j in range(a.shape[0]):
        for i in range(j, a.shape[0]):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            if i > j:
                a[i, j] = total / a[j, j]
            elif total > 0.0 and total < np.inf:
                a[j, j] = math.sqrt(total)
            else:
                return False
    return True


@inner
def cholesky(a):
    """Overwrite the lower triangle of `a` by its Cholesky factor; return False where `a` is not positive definite."""
    return lapack("dpotrf", a, a.shape[0]) == 0 if a.shape[0] >= LAPACK_FROM else small_cholesky(a)


@inner
def solve_lower(L, x):
    """Overwrite the vector x by L^-1 x."""
    for i in range(L.shape[0]):
        for k in range(i):
            x[i] -= L[i, k] * x[k]
        x[i] /= L[i, i]


@inner
def solve_lower_transposed(L, x):
    """Overwrite the vector x by L^-T x."""
    for i in range(L.shape[0] - 1, -1, -1):
        x[i] /= L[i, i]
        for k in range(i):
            x[k] -= L[i, k] * x[i]


@inner
def _small_inverse(L, n):
    """Overwrite the lower triangle of a Cholesky factor's leading n x n block by that of (L L')^-1."""
    for j in range(n):  # L^-1, column by column: what a column needs of L is to its right
        L[j, j] = 1.0 / L[j, j]
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total -= L[i, k] * L[k, j]
            L[i, j] = total / L[i, i]
    for j in range(n):  # L^-T L^-1, of which entry (i, j) needs the rows from i on
        for i in range(j, n):
            total = 0.0
            for k in range(i, n):
                total += L[k, i] * L[k, j]
            L[i, j] = total


@inner
def invert(L, n):
    """Overwrite a Cholesky factor by the inverse of the leading n x n block of L L', padded by zeros."""
    if n >= LAPACK_FROM:
        lapack("dpotri", L, n)
    else:
        _small_inverse(L, n)
    for i in range(n, L.shape[0]):
        for j in range(i + 1):
            L[i, j] = 0.0
    mirror(L)


@inner
def mirror(a):
    """Copy the lower triangle of a matrix to its upper one."""
    for top in range(0, a.shape[0], TILE):
        for left in range(0, top + 1, TILE):
            for i in range(top, min(top + TILE, a.shape[0])):
                for j in range(left, min(left + TILE, i)):
                    a[j, i] = a[i, j]
