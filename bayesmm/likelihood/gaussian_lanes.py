"""The elimination of the only grouping factor, many of its patterns at a time.

With one factor every pattern is coupled to the fixed columns alone, and all take the same steps: those of
`gaussian_factorisation.eliminate` and `leading_gradient`, here for LANES patterns side by side. Each number of a
pattern is a row of a table with a column for each pattern, and each step a loop over one row, which the processor does
for several columns at a time, whatever the numbers of coefficients and of fixed columns.

The symbols are those of `gaussian_factorisation`; `A`, `E`, `X` and `L` are lower triangles, row by row.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import carray
from numpy.typing import NDArray

from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    borrowed,
    c_function,
    fused,
    inner,
    pointer,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.gaussian_data import read_cross_products
from bayesmm.likelihood.gaussian_pairs import (
    GOOD,
    LANES,
    add_pair_slopes,
    add_pairs,
    end_pair_slopes,
    end_pairs,
    pair_room,
    total_of,
)

MANY = 512  # patterns from which on they are worked on side by side; fewer take less than it takes to compile this
MOST_COUPLED = 48  # numbers of a pattern's coupling; more leave the caches
LARGE = 1e100  # of a product of pivots that is to have another factor


def in_lanes(count: NDArray, A: NDArray, coupling: NDArray, sum_z: NDArray, sum_zz: NDArray) -> NDArray:
    """Return the numbers of all patterns in blocks of LANES, (blocks, numbers, LANES), the last filled up with 0.

    They are the count, A, the coupling, sum_z and sum_zz of `crossproducts.Leading`, of symmetric matrices the lower
    triangles.
    """
    P, low = len(count), np.tril_indices(A.shape[1])
    parts = count[:, None], A[:, *low], coupling.reshape(P, -1), sum_z, sum_zz[:, *low]
    numbers = np.concatenate(parts, axis=1)
    padded = np.concatenate([numbers, np.zeros((-P % LANES, numbers.shape[1]))])
    return np.ascontiguousarray(padded.reshape(-1, LANES, numbers.shape[1]).transpose(0, 2, 1))


class Rows(NamedTuple):
    """Where the rows of the table begin; the data come first, and what is summed over the patterns last."""

    A: int
    C: int  # fixed column by fixed column
    z: int
    zz: int
    L: int  # of its diagonal the inverse
    half: int  # L^-1 T', column of T' by column
    X: int
    d: int
    y: int
    E: int
    P: int  # K^-1 T', row by row
    F: int  # a row of it
    Y: int  # a column of it
    pivot: int
    spare: int  # two rows
    sums: int
    end: int


@inner
def rows_of(q, p):
    """Return the rows for q coefficients and p fixed columns; row 0 has the numbers of levels."""
    h = q * (q + 1) // 2
    A, C = 1, 1 + h
    z = C + p * q
    zz = z + q
    L = zz + h
    half = L + h
    X = half + q * q
    d = X + h
    y = d + q
    E = y + q
    P = E + h
    F = P + q * q
    Y = F + q
    pivot = Y + q
    spare = pivot + q
    sums = spare + 2
    end = sums + 1 + 2 * p + q * q + p * (p + 1) // 2
    return Rows(A, C, z, zz, L, half, X, d, y, E, P, F, Y, pivot, spare, sums, end)


@inner
def low(a, b):
    """Return the place of entry (a, b) of a symmetric matrix in its lower triangle."""
    return a * (a + 1) // 2 + b if a >= b else b * (b + 1) // 2 + a


@inner
def fill(S, out, value):
    """Set a row to a number."""
    for i in range(LANES):
        S[out, i] = value


@inner
def copy(S, out, x):
    """Set a row to row x."""
    for i in range(LANES):
        S[out, i] = S[x, i]


@inner
def multiply(S, out, x, y):
    """Set a row to the product of rows x and y."""
    for i in range(LANES):
        S[out, i] = S[x, i] * S[y, i]


@fused
def add(S, out, x, weight):
    """Add weight times row x to a row."""
    for i in range(LANES):
        S[out, i] += weight * S[x, i]


@fused
def add_product(S, out, x, y, weight):
    """Add weight times the product of rows x and y to a row."""
    for i in range(LANES):
        S[out, i] += weight * S[x, i] * S[y, i]


@inner
def load(S, block):
    """Copy the data of a block of patterns to the first rows."""
    for k in range(block.shape[0]):
        for i in range(LANES):
            S[k, i] = block[k, i]


@inner
def factor(S, r, T):
    """Set L, half and X; the pivots of L too."""
    q = T.shape[0]
    for a in range(q):
        for b in range(a + 1):
            out = r.L + low(a, b)
            fill(S, out, 1.0 if a == b else 0.0)
            for i in range(a, q):
                for j in range(b, q):
                    add(S, out, r.A + low(i, j), T[i, a] * T[j, b])
            for k in range(b):
                add_product(S, out, r.L + low(a, k), r.L + low(b, k), -1.0)
            if a > b:
                multiply(S, out, out, r.L + low(b, b))
        invert_root(S, r.pivot + a, r.L + low(a, a))
        for c in range(q):
            fill(S, r.spare, T[c, a])
            for k in range(a):
                add_product(S, r.spare, r.L + low(a, k), r.half + k * q + c, -1.0)
            multiply(S, r.half + a * q + c, r.spare, r.L + low(a, a))
    for a in range(q):
        for b in range(a + 1):
            fill(S, r.X + low(a, b), 0.0)
            for k in range(q):
                add_product(S, r.X + low(a, b), r.half + k * q + a, r.half + k * q + b, 1.0)


@inner
def invert_root(S, pivot, x):
    """Copy row x to the pivots and set it to the inverse of its square root."""
    for i in range(LANES):
        S[pivot, i] = S[x, i]
        S[x, i] = 1.0 / math.sqrt(S[x, i])


@inner
def residual(S, r, v, q):
    """Set d = C v, E = sum (z - d)(z - d)' and y = X sum (z - d)."""
    h, p = q * (q + 1) // 2, v.shape[0]
    for a in range(q):
        fill(S, r.d + a, 0.0)
        for j in range(p):
            add(S, r.d + a, r.C + j * q + a, v[j])
    for k in range(h):
        copy(S, r.E + k, r.zz + k)
    for a in range(q):
        multiply(S, r.spare, 0, r.d + a)  # n d
        copy(S, r.spare + 1, r.z + a)
        add(S, r.spare + 1, r.spare, -1.0)  # sum (z - d)
        for b in range(q):
            if a == 0:
                fill(S, r.y + b, 0.0)
            add_product(S, r.y + b, r.X + low(a, b), r.spare + 1, 1.0)
        for b in range(a + 1):
            add_product(S, r.E + low(a, b), r.spare + 1, r.d + b, -1.0)
            add_product(S, r.E + low(a, b), r.d + a, r.z + b, -1.0)


@inner
def log_pivots(S, r, q, product):
    """Return whether all pivots are positive, and the sum of their logarithms but for what is left in `product`.

    Few logarithms are taken: of products of as many pivots as cannot overflow.
    """
    total = 0.0
    for k in range(q):
        for i in range(LANES):
            pivot = S[r.pivot + k, i]
            if not (pivot > 0.0 and pivot < np.inf):
                return False, 0.0
            if S[0, i] == 1.0 and pivot < LARGE:
                product[i] *= pivot
                if product[i] > LARGE:
                    total += math.log(product[i])
                    product[i] = 1.0
            else:
                total += S[0, i] * math.log(pivot)
    return True, total


@inner
def sum_row(S, k):
    """Return the sum of a row."""
    total = 0.0
    for i in range(LANES):
        total += S[k, i]
    return total


@c_function(INT64(WORDS, *[DOUBLES] * 6))
def lanes_elimination(w, T_, mean_, lam_, M_, c_, results):
    """Do what `gaussian_factorisation.eliminate` does; lam is Lambda of the rest. The words are ``CrossProducts``'."""
    cross = read_cross_products(w)
    lanes, q, p = cross.lanes, cross.leading.A.shape[1], cross.rest.z.shape[0]
    T, mean, lam = carray(T_, (q, q)), carray(mean_, (p,)), carray(lam_, (p,))
    M, c = carray(M_, (p, p)), carray(c_, (p,))
    if q == 2 and pairs_elimination(lanes, T, mean, lam, M, c, results):
        return 1
    scratch = zero_matrix(rows_of(q, p).end, LANES)
    r, product, logdet, ok, S = rows_of(q, p), zeros(LANES), 0.0, True, borrowed(scratch)
    for i in range(LANES):
        product[i] = 1.0
    for g in range(lanes.shape[0]):
        load(S, lanes[g])
        factor(S, r, T)
        ok, logs = log_pivots(S, r, q, product)
        if not ok:
            break
        logdet += logs
        residual(S, r, mean, q)
        _add_eliminated(S, r, q, p)
    for i in range(LANES):
        logdet += math.log(product[i])
    for i in range(p):
        c[i] -= lam[i] * sum_row(S, r.sums + 1 + i)
        for j in range(i + 1):
            M[i, j] -= lam[i] * lam[j] * sum_row(S, r.sums + 1 + p + low(i, j))
    results[0], results[1] = logdet, sum_row(S, r.sums)
    return 1 if ok and scratch.size > 0 else 0  # what was borrowed from is used to the end


@inner
def pairs_elimination(lanes, T, mean, lam, M, c, results):
    """Do what `lanes_elimination` does for two coefficients; return False where that has to."""
    room, size = zeros(pair_room(lam.shape[0])), lanes.shape[1] * LANES
    S = pointer(room, 0)
    for g in range(lanes.shape[0]):
        add_pairs(pointer(lanes, g * size), S, T, mean)
    done = end_pairs(lanes.shape[0], S, lam, M, c, results)
    return done and room.size > 0  # what a pointer is to is used to the end


@inner
def pairs_derivatives(lanes, T, lam, v, R, sigma, e, d_T, d_rest):
    """Do what `lanes_derivatives` does for two coefficients; return False where that has to."""
    room, size = zeros(pair_room(lam.shape[0])), lanes.shape[1] * LANES
    S = pointer(room, 0)
    for g in range(lanes.shape[0]):
        add_pair_slopes(pointer(lanes, g * size), S, T, lam, v, R, 1.0 / (sigma * sigma))
    done = total_of(S, GOOD) == lanes.shape[0] * LANES
    if done:
        end_pair_slopes(S, e, d_T, d_rest)
    return done and room.size > 0


@inner
def _add_eliminated(S, r, q, p):
    """Add what is explained, C'y and n C'X C to the sums."""
    for a in range(q):
        for b in range(a + 1):
            add_product(S, r.sums, r.X + low(a, b), r.E + low(a, b), 1.0 if a == b else 2.0)
    for j in range(p):
        for a in range(q):
            add_product(S, r.sums + 1 + j, r.C + j * q + a, r.y + a, 1.0)
            fill(S, r.spare, 0.0)
            for b in range(q):
                add_product(S, r.spare, r.X + low(a, b), r.C + j * q + b, 1.0)
            multiply(S, r.spare + 1, r.spare, 0)
            for i in range(j, p):
                add_product(S, r.sums + 1 + p + low(i, j), r.C + i * q + a, r.spare + 1, 1.0)


@c_function(INT64(WORDS, *[DOUBLES] * 8))
def lanes_derivatives(w, T_, lam_, v_, R_, sigma, e_, d_T, d_rest):
    """Do what `gaussian_factorisation.leading_gradient` does; the rest's gradient is a diagonal here."""
    cross = read_cross_products(w)
    lanes, q, p = cross.lanes, cross.leading.A.shape[1], cross.rest.z.shape[0]
    T, v, lam, R, e = carray(T_, (q, q)), carray(v_, (p,)), carray(lam_, (p,)), carray(R_, (p, p)), carray(e_, (p,))
    if q == 2:
        d_T2, rest = carray(d_T, (4,)), carray(d_rest, (p,))
        if pairs_derivatives(lanes, T, lam, v, R, sigma[0], e, d_T2, rest):
            return 1
    scratch = zero_matrix(rows_of(q, p).end, LANES)
    r, S = rows_of(q, p), borrowed(scratch)
    for g in range(lanes.shape[0]):
        load(S, lanes[g])
        factor(S, r, T)
        residual(S, r, v, q)
        _add_rest_gradient(S, r, lam, R, 1.0 / (sigma[0] * sigma[0]), q)
        _add_gradient(S, r, q, 1 + 2 * p)
    for j in range(p):
        e[j] -= sum_row(S, r.sums + 1 + j)
        d_rest[j] += sum_row(S, r.sums + 1 + p + j)
    for k in range(q * q):
        d_T[k] += sum_row(S, r.sums + 1 + 2 * p + k)
    return 1 if scratch.size > 0 else 0  # what was borrowed from is used to the end


@inner
def _add_rest_gradient(S, r, lam, R, precision, q):
    """Set Y = C Lambda R and E to E / sigma^2 + n Y Lambda C', and add C'y and the diagonal of n C'X Y to the sums."""
    p = lam.shape[0]
    for k in range(q * (q + 1) // 2):
        copy(S, r.spare, r.E + k)
        fill(S, r.E + k, 0.0)
        add(S, r.E + k, r.spare, precision)
    for j in range(p):
        for a in range(q):
            add_product(S, r.sums + 1 + j, r.C + j * q + a, r.y + a, 1.0)
            fill(S, r.Y + a, 0.0)
            for k in range(p):
                add(S, r.Y + a, r.C + k * q + a, R[j, k] * lam[k])
        for a in range(q):
            multiply(S, r.spare, 0, r.C + j * q + a)
            for b in range(q):
                multiply(S, r.spare + 1, r.spare, r.Y + b)
                add_product(S, r.sums + 1 + p + j, r.X + low(a, b), r.spare + 1, 1.0)
                if b <= a:
                    add(S, r.E + low(a, b), r.spare + 1, lam[j])


@inner
def _add_gradient(S, r, q, first):
    """Add (F (E / sigma^2 + n H) - n A) P' to the sums from `first` on, E being the sum of both."""
    for c in range(q):
        for k in range(q - 1, -1, -1):
            copy(S, r.spare, r.half + k * q + c)
            for i in range(k + 1, q):
                add_product(S, r.spare, r.L + low(i, k), r.P + i * q + c, -1.0)
            multiply(S, r.P + k * q + c, r.spare, r.L + low(k, k))
    for a in range(q):
        for c in range(q):
            fill(S, r.F + c, 1.0 if a == c else 0.0)
            for k in range(q):
                add_product(S, r.F + c, r.A + low(a, k), r.X + low(k, c), -1.0)
        for c in range(q):
            multiply(S, r.spare, 0, r.A + low(a, c))
            for k in range(q):
                add_product(S, r.spare, r.F + k, r.E + low(k, c), -1.0)
            for b in range(a + 1):
                add_product(S, r.sums + first + a * q + b, r.spare, r.P + b * q + c, -1.0)
