"""The elimination of the only grouping factor with two coefficients, many of its patterns at a time.

What `gaussian_lanes` does for any number of coefficients, written out for an intercept and a slope: there each product
is a pass over a row of numbers, here a pass takes all of a pattern's steps while its numbers are in registers. The
symbols are those of `gaussian_lanes`: a block of patterns has rows n, A (3), the coupling C (2 for each fixed column),
sum z (2) and sum zz' (3). All is known by pointers, and a row by the place of its first number, a constant where it can
be: the compiler takes several patterns at once only where it knows that rows do not overlap.
"""

from bayesmm.likelihood.compiled import fused, inner
from bayesmm.likelihood.exponential import logarithm

LANES = 128  # patterns of some 50 numbers each fill the nearest caches
# Rows of scratch: those of a block, which the names are of, and sums over all blocks from LOGS on.
D0, D1, X00, X10, X11, Y0, Y1, E00, E10, E11, W0, W1 = (LANES * k for k in range(12))
LOGS, EXPLAINED, GOOD, SLOPE00, SLOPE10, SLOPE11, END = (LANES * k for k in range(12, 19))
# Of a block, and of the rows behind the coupling, counted from its end.
N, A00, A10, A11, C = (LANES * k for k in range(5))
Z0, Z1, ZZ00, ZZ10, ZZ11 = (LANES * k for k in range(5))
LARGE = 1e300  # of a determinant; patterns with larger ones are left to `gaussian_lanes`


@inner
def pair_room(p):
    """Return how many numbers scratch and sums take with p fixed columns."""
    return END + LANES * (2 * p + p * (p + 1) // 2)


@inner
def clear(x, size):
    """Set all numbers to 0."""
    for i in range(size):
        x[i] = 0.0


@fused
def along(block, S, column, v, into):
    """Add v times a column of the coupling to two rows."""
    for i in range(LANES):
        S[into + i] += v * block[column + i]
        S[into + LANES + i] += v * block[column + LANES + i]


@fused
def pair_residual(block, S, t00, t10, t11, behind):
    """Set X, y = X sum (z - d) and E = sum (z - d)(z - d)'; add n log|L|^2, what is explained, and whether all is well.

    With G = I + T'A T = L L' and m = L_10 / L_00, X = T G^-1 T' is the sum of the squares of two columns of T L^-T.
    """
    for i in range(LANES):
        n, a00, a10, a11 = block[N + i], block[A00 + i], block[A10 + i], block[A11 + i]
        first, second = a00 * t00 + a10 * t10, t11 * (a10 * t00 + a11 * t10)
        pivot = 1.0 + (t00 * first + t10 * (a10 * t00 + a11 * t10))
        m = second / pivot
        last = 1.0 + t11 * t11 * a11 - m * second
        size = pivot * last
        right = pivot > 0.0 and last > 0.0 and size < LARGE
        S[GOOD + i] += 1.0 if right else 0.0
        S[LOGS + i] += n * logarithm(size if right else 1.0)
        one, two, b0, b1 = 1.0 / pivot, 1.0 / last, -m * t00, t11 - m * t10
        x00 = t00 * t00 * one + b0 * b0 * two
        x10 = t00 * t10 * one + b0 * b1 * two
        x11 = t10 * t10 * one + b1 * b1 * two
        d0, d1, z0, z1 = S[D0 + i], S[D1 + i], block[behind + Z0 + i], block[behind + Z1 + i]
        s0, s1 = z0 - n * d0, z1 - n * d1
        e00 = block[behind + ZZ00 + i] - s0 * d0 - d0 * z0
        e10 = block[behind + ZZ10 + i] - s1 * d0 - d1 * z0
        e11 = block[behind + ZZ11 + i] - s1 * d1 - d1 * z1
        S[EXPLAINED + i] += x00 * e00 + 2.0 * (x10 * e10) + x11 * e11
        S[X00 + i], S[X10 + i], S[X11 + i] = x00, x10, x11
        S[Y0 + i], S[Y1 + i] = x00 * s0 + x10 * s1, x10 * s0 + x11 * s1
        S[E00 + i], S[E10 + i], S[E11 + i] = e00, e10, e11


@fused
def coupled(block, S, column, out):
    """Set W = n X C_j for a column of the coupling, and add C_j'y to a row."""
    for i in range(LANES):
        c0, c1, n = block[column + i], block[column + LANES + i], block[N + i]
        S[W0 + i] = n * (S[X00 + i] * c0 + S[X10 + i] * c1)
        S[W1 + i] = n * (S[X10 + i] * c0 + S[X11 + i] * c1)
        S[out + i] += c0 * S[Y0 + i] + c1 * S[Y1 + i]


@fused
def add_coupled(block, S, column, out):
    """Add C_k'W for a column of the coupling to a row."""
    for i in range(LANES):
        S[out + i] += block[column + i] * S[W0 + i] + block[column + LANES + i] * S[W1 + i]


@fused
def rest_slopes(block, S, column, lam, out, then):
    """Add C_j'y and n C_j'X W to two rows, and n lam C_j W' to E; W is C Lambda R of the column."""
    for i in range(LANES):
        c0, c1, n = block[column + i], block[column + LANES + i], block[N + i]
        w0, w1 = n * S[W0 + i], n * S[W1 + i]
        S[E00 + i] += lam * (c0 * w0)
        S[E10 + i] += lam * (c1 * w0)
        S[E11 + i] += lam * (c1 * w1)
        S[out + i] += c0 * S[Y0 + i] + c1 * S[Y1 + i]
        S[then + i] += c0 * (S[X00 + i] * w0 + S[X10 + i] * w1) + c1 * (S[X10 + i] * w0 + S[X11 + i] * w1)


@fused
def begin_slopes(S, precision):
    """Multiply E by the precision of the residuals."""
    for i in range(LANES):
        S[E00 + i] *= precision
        S[E10 + i] *= precision
        S[E11 + i] *= precision


@fused
def to_zero(S, first):
    """Set two rows to 0."""
    for i in range(2 * LANES):
        S[first + i] = 0.0


@fused
def factor_slopes(block, S, t00, t10, t11):
    """Add (F E - n A) P' to the sums of slopes, F being I - A X, P = G^-1 T', and E the sum of both parts."""
    for i in range(LANES):
        n, a00, a10, a11 = block[N + i], block[A00 + i], block[A10 + i], block[A11 + i]
        first, second = a00 * t00 + a10 * t10, t11 * (a10 * t00 + a11 * t10)
        pivot = 1.0 + (t00 * first + t10 * (a10 * t00 + a11 * t10))
        m = second / pivot
        one, two = 1.0 / pivot, 1.0 / (1.0 + t11 * t11 * a11 - m * second)
        p10, p11 = -m * t00 * two, (t11 - m * t10) * two
        p00, p01 = t00 * one - m * p10, t10 * one - m * p11
        x00, x10, x11 = S[X00 + i], S[X10 + i], S[X11 + i]
        e00, e10, e11 = S[E00 + i], S[E10 + i], S[E11 + i]
        f00, f01 = 1.0 - (a00 * x00 + a10 * x10), -(a00 * x10 + a10 * x11)
        f10, f11 = -(a10 * x00 + a11 * x10), 1.0 - (a10 * x10 + a11 * x11)
        g00, g01 = f00 * e00 + f01 * e10 - n * a00, f00 * e10 + f01 * e11 - n * a10
        g10, g11 = f10 * e00 + f11 * e10 - n * a10, f10 * e10 + f11 * e11 - n * a11
        S[SLOPE00 + i] += g00 * p00 + g01 * p01
        S[SLOPE10 + i] += g10 * p00 + g11 * p01
        S[SLOPE11 + i] += g10 * p10 + g11 * p11


@inner
def total_of(S, row):
    """Return the sum of a row."""
    total = 0.0
    for i in range(LANES):
        total += S[row + i]
    return total


@inner
def pairs_of(block, S, T, p, v):
    """Set d = C v and what follows from it; see `pair_residual`."""
    to_zero(S, D0)
    for k in range(p):
        along(block, S, C + 2 * LANES * k, v[k], D0)
    pair_residual(block, S, T[0, 0], T[1, 0], T[1, 1], C + 2 * LANES * p)


@inner
def add_pairs(block, S, T, mean):
    """Add a block to the sums of the elimination."""
    p = mean.shape[0]
    pairs_of(block, S, T, p, mean)
    at = END + LANES * p
    for j in range(p):
        coupled(block, S, C + 2 * LANES * j, END + LANES * j)
        for k in range(j, p):
            add_coupled(block, S, C + 2 * LANES * k, at)
            at += LANES


@inner
def end_pairs(blocks, S, lam, M, c, results):
    """Take the sums from M and c, and set the results; return whether every pattern was in a range that is safe."""
    p, at = lam.shape[0], END + LANES * lam.shape[0]
    if total_of(S, GOOD) != blocks * LANES:
        return False
    for j in range(p):
        c[j] -= lam[j] * total_of(S, END + LANES * j)
        for k in range(j, p):
            M[k, j] -= lam[k] * lam[j] * total_of(S, at)
            at += LANES
    results[0], results[1] = total_of(S, LOGS), total_of(S, EXPLAINED)
    return True


@inner
def add_pair_slopes(block, S, T, lam, v, R, precision):
    """Add a block to the sums of the gradient."""
    p = lam.shape[0]
    pairs_of(block, S, T, p, v)
    begin_slopes(S, precision)
    for j in range(p):
        to_zero(S, W0)
        for k in range(p):
            along(block, S, C + 2 * LANES * k, R[j, k] * lam[k], W0)
        rest_slopes(block, S, C + 2 * LANES * j, lam[j], END + LANES * j, END + LANES * (p + j))
    factor_slopes(block, S, T[0, 0], T[1, 0], T[1, 1])


@inner
def end_pair_slopes(S, e, d_T, d_rest):
    """Add the sums to the gradient, whose part of T is row by row."""
    p = d_rest.shape[0]
    for j in range(p):
        e[j] -= total_of(S, END + LANES * j)
        d_rest[j] += total_of(S, END + LANES * (p + j))
    d_T[0] += total_of(S, SLOPE00)
    d_T[2] += total_of(S, SLOPE10)
    d_T[3] += total_of(S, SLOPE11)
