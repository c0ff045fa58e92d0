"""The leading factor where its levels meet most levels of the others: products of dense matrices in place of a scatter.

What `gaussian_factorisation.eliminate` and `leading_gradient` do pattern by pattern is done for many patterns at a
time, whose rows, with zeros where a pattern is not coupled, are those of one matrix.
"""

import math

from numba import carray

from bayesmm.likelihood.blas import take_square, times_symmetric
from bayesmm.likelihood.compiled import DOUBLES, INT64, WORDS, borrowed, c_function, zero_matrix
from bayesmm.likelihood.gaussian_data import read_cross_products
from bayesmm.likelihood.gaussian_factorisation import (
    most_columns,
    pattern_gradient,
    pattern_likelihood,
    rest_lambda,
    rest_sizes,
    scaled_coupling,
)

# Share of the rest that patterns are coupled to from which on BLAS, some ten times as quick a number as a scatter, is
# quicker than that; and multiply-adds from which on it pays to compile code for it.
LEAST_DENSITY, LEAST_WORK = 0.2, 1e7
ROWS = 256  # of the matrix: as many as keep BLAS busy


@c_function(INT64(WORDS, *[DOUBLES] * 6))
def dense_elimination(w, T_, mean_, lam_, M_, c_, results):
    """Do what `gaussian_factorisation.eliminate` does."""
    cross = read_cross_products(w)
    lead, rest, q = cross.leading, cross.rest, cross.leading.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    T, mean, M, c = carray(T_, (q, q)), carray(mean_, (p,)), carray(M_, (m, m)), carray(c_, (m,))
    lam = rest_lambda(rest, carray(T_, (length,)), q * q, carray(lam_, (p,)))
    small, wide, B = zero_matrix(2 * q + 2, q), zero_matrix(q, most_columns(lead)), zero_matrix(ROWS + q, m)
    d, v, L, half = borrowed(small)[2 * q], borrowed(small)[2 * q + 1], borrowed(small)[:q], borrowed(small)[q : 2 * q]
    C, filled, last, logdet, explained = borrowed(wide), 0, lead.count.shape[0] - 1, 0.0, 0.0
    for g in range(lead.count.shape[0]):
        ok, logdet, explained = pattern_likelihood(lead, g, T, mean, m - p, L, half, d, v, logdet, explained)
        if not ok:
            return 0
        scaled_coupling(lead, g, lam, C)
        start, root = lead.start[g], math.sqrt(lead.count[g])
        for a in range(q):
            for i in range(lead.start[g + 1] - start):
                total = 0.0
                for b in range(q):
                    total += half[a, b] * C[b, i]
                column = lead.columns[start + i]
                B[filled, column] = root * total
                c[column] -= total * v[a]
            filled += 1
        if filled >= ROWS or g == last:
            take_square(M, B, filled)
            B[:filled], filled = 0.0, 0
    results[0], results[1] = logdet, explained
    return 1 if small.size + wide.size > 0 else 0  # what was borrowed from is used to the end


@c_function(INT64(WORDS, *[DOUBLES] * 8))
def dense_derivatives(w, T_, lam_, v_, R_, sigma, e_, d_T_, d_rest_):
    """Do what `gaussian_factorisation.leading_gradient` does."""
    cross = read_cross_products(w)
    lead, rest, q = cross.leading, cross.rest, cross.leading.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    lam = rest_lambda(rest, carray(T_, (length,)), q * q, carray(lam_, (p,)))
    T, v, e, R, d_T = (
        carray(T_, (q, q)),
        carray(v_, (m,)),
        carray(e_, (m,)),
        carray(R_, (m, m)),
        carray(d_T_, (length,)),
    )
    d_rest, most, patterns = carray(d_rest_, (length - q * q + p,)), most_columns(lead), lead.count.shape[0]
    small, wide, each = zero_matrix(6 * q + 2, q), zero_matrix(2 * q, most), max(1, ROWS // q)
    C, Y, room = borrowed(wide)[:q], borrowed(wide)[q:], borrowed(small)
    block, found = zero_matrix(each * q, m), zero_matrix(each * q, m)
    for first in range(0, patterns, each):
        number = min(each, patterns - first)
        block[:] = 0.0
        for k in range(number):
            start = lead.start[first + k]
            scaled_coupling(lead, first + k, lam, C)
            for i in range(lead.start[first + k + 1] - start):
                for a in range(q):
                    block[k * q + a, lead.columns[start + i]] = C[a, i]
        times_symmetric(block, R, found, number * q)
        for k in range(number):
            start = lead.start[first + k]
            for i in range(lead.start[first + k + 1] - start):
                for a in range(q):
                    C[a, i] = block[k * q + a, lead.columns[start + i]]
                    Y[a, i] = found[k * q + a, lead.columns[start + i]]
            pattern_gradient(lead, first + k, lam, T, v, sigma[0], C, Y, room, e, d_T, d_rest)
    return 1 if small.size + wide.size > 0 else 0  # what was borrowed from is used to the end
