"""The integral over one level's random effects by the Gauss-Hermite rule of `quadrature`, compiled.

The nodes u* + M x with M = C^-T lie on lines along the last axis, each with as many nodes as an axis has.
"""

import math
from typing import NamedTuple

from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import c_function, inlined, inner, matrix_part, part
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.gaussian_factorisation import solve_lower, solve_lower_transposed
from bayesmm.likelihood.level_rows import AUXILIARIES, EFFECTS, LEVEL, NODES, ROWS, SLOPES, TASK, predictor, rows_at
from bayesmm.likelihood.lines import Line, add_scores, add_up, aim, evaluate, line_at, line_size
from bayesmm.likelihood.modes import DECREMENT, Search, find_mode, search_at, search_size
from bayesmm.likelihood.response_terms import row_derivatives

STEP = 6e-6  # of central differences: the cube root of the precision


class Sums(NamedTuple):
    """Sums over the nodes of shares times numbers, and scratch, of n rows with q random effects."""

    scores: Floats  # (2,) derivatives in the auxiliaries
    moved: Floats  # (2,) auxiliaries
    x: Floats  # (q,)
    d_u: Floats  # (q,)
    v: Floats  # (q,)
    xx: Floats  # (q, q)
    d_M: Floats  # (q, q)
    H: Floats  # (q, q) the derivative in H
    S: Floats  # (q, q)
    half: Floats  # (q, q)
    slopes: Floats  # (q + 1, n) the derivatives of the rows in eta times x; the last row is without x
    rows: Floats  # (2, n)
    line: Line
    search: Search


def tensor_size(n: int, q: int, k: int) -> int:
    """Return how many numbers `sums_at` takes, for k nodes on an axis."""
    return 4 + 3 * q + 5 * q * q + (q + 3) * n + line_size(n, q, k) + search_size(q)


@inlined
def sums_at(pool, n, q, k):
    """Return the workspace for one level, at the beginning of a pool."""
    square, m = 4 + 3 * q, q * q
    rows = square + 5 * m
    search = rows + (q + 3) * n
    return Sums(
        part(pool, 0, (2,)), part(pool, 2, (2,)), part(pool, 4, (q,)), part(pool, 4 + q, (q,)),
        part(pool, 4 + 2 * q, (q,)), matrix_part(pool, square, (q, q)), matrix_part(pool, square + m, (q, q)),
        matrix_part(pool, square + 2 * m, (q, q)), matrix_part(pool, square + 3 * m, (q, q)),
        matrix_part(pool, square + 4 * m, (q, q)), matrix_part(pool, rows, (q + 1, n)),
        matrix_part(pool, rows + (q + 1) * n, (2, n)), line_at(pool, search + 4 * q + 3 * m, n, q, k),
        search_at(pool, search, q),
    )  # fmt: skip


@c_function(LEVEL)
def tensor_level(
    settings, nodes_, log_weights, y, size, weight, eta, A, aux, u_, value, d_eta_, d_A_, d_aux, pool
):  # fmt: skip
    """Integrate over the effects of one level: see `level_rows.LEVEL`."""
    rows, n, q, K = rows_at(settings, y, size, weight, eta, A, aux), settings[ROWS], settings[EFFECTS], settings[NODES]
    k, n_aux, slopes = 1, settings[AUXILIARIES], settings[TASK] == SLOPES
    while k**q < K:
        k += 1
    w, u, nodes = sums_at(pool, n, q, k), part(u_, 0, (q,)), matrix_part(nodes_, 0, (K, q))
    d_eta, d_A = part(d_eta_, 0, (n,)), matrix_part(d_A_, 0, (q, n))
    found, top, log_det = find_mode(rows, u, w.search, w.line, DECREMENT)
    if not found:
        return 0
    total = node_sum(rows, u, nodes, part(log_weights, 0, (K,)), k, top, n_aux, slopes, w)
    if not (total > 0.0 and total < math.inf):
        return 0
    value[0], value[1] = top - log_det + math.log(total), top
    if slopes:
        held_still(rows, u, total, d_eta, d_A, w)
        curvature_slope(w.search.C, w.search.M, w)
        follow_mode(rows, u, n_aux, d_eta, d_A, d_aux, w)
        for m in range(n_aux):
            d_aux[m] += w.scores[m] / total
    return 1


@inner
def node_sum(rows, u, nodes, log_weights, k, top, n_aux, slopes, w):
    """Return the sum over the nodes, relative to exp(top), and set the sums that the derivatives need."""
    q, K, M, line, total = u.shape[0], nodes.shape[0], w.search.M, w.line, 0.0
    begin(nodes, k, w)
    aim(rows, rows.kind, line)
    for first in range(0, K, k):
        for b in range(q):
            line.start[b] = u[b]
            for d in range(b, q - 1):
                line.start[b] += M[b, d] * nodes[first, d]
        evaluate(rows, rows.kind, SLOPES, top, line)
        mass, moment, second = 0.0, 0.0, 0.0
        for c in range(k):
            share = line.f[c] = math.exp(min(line.f[c] + log_weights[first + c], WILD))
            mass += share
            moment += share * line.number[c]
            second += share * line.number[c] * line.number[c]
        total += mass
        if slopes and mass > 0.0:
            add_up(rows.kind, line)
            add_moments(nodes, first, mass, moment, second, w)
            if n_aux > 0:
                add_scores(rows, line, w.scores)
    return total


@inner
def begin(nodes, k, w):
    """Set all sums to zeros, and the numbers and the direction of the nodes of a line."""
    q = w.x.shape[0]
    for a in range(2):
        w.scores[a] = 0.0
    for a in range(q):
        w.x[a] = 0.0
        for b in range(q):
            w.xx[a, b] = 0.0
        w.line.direction[a] = w.search.M[a, q - 1]
    for a in range(q + 1):
        for i in range(w.slopes.shape[1]):
            w.slopes[a, i] = 0.0
    for c in range(k):
        w.line.number[c] = nodes[c, q - 1]


@inner
def add_moments(nodes, first, mass, moment, second, w):
    """Add a line's sums of shares, shares times numbers, and times their squares, alone and with the rows' slopes."""
    q, flat, along = w.x.shape[0], w.line.flat, w.line.along
    for a in range(q):
        x = nodes[first, a]
        w.x[a] += mass * x if a < q - 1 else moment
        for b in range(a + 1):
            z = nodes[first, b]
            w.xx[a, b] += mass * x * z if a < q - 1 else moment * z if b < q - 1 else second
            w.xx[b, a] = w.xx[a, b]
        for i in range(flat.shape[0]):
            w.slopes[a, i] += flat[i] * x if a < q - 1 else along[i]
    for i in range(flat.shape[0]):
        w.slopes[q, i] += flat[i]


@inner
def held_still(rows, u, total, d_eta, d_A, w):
    """Set the derivatives with the nodes held still, and d_u and d_M, those in u* and M."""
    q, n, M, slopes = u.shape[0], d_eta.shape[0], w.search.M, w.slopes
    for i in range(n):
        for d in range(q + 1):
            slopes[d, i] /= total
        d_eta[i] = slopes[q, i]
    for a in range(q):
        w.d_u[a] = -u[a]
        for i in range(n):
            w.d_u[a] += rows.A[a, i] * slopes[q, i]
            d_A[a, i] = u[a] * slopes[q, i]
        for b in range(q):
            w.d_u[a] -= M[a, b] * w.x[b] / total
            w.d_M[a, b] = -u[a] * w.x[b] / total
            for c in range(q):
                w.d_M[a, b] -= M[a, c] * w.xx[c, b] / total
            for i in range(n):
                w.d_M[a, b] += rows.A[a, i] * slopes[b, i]
                d_A[a, i] += M[a, b] * slopes[b, i]


@inner
def follow_mode(rows, u, n_aux, d_eta, d_A, d_aux, w):
    """Add what moves the nodes, and log|C|: derivatives in u* and M are led back through H and f'(u*) = 0."""
    q, v, H, A = u.shape[0], w.v, w.H, rows.A
    for a in range(q):
        v[a] = w.d_u[a]
    for i in range(d_eta.shape[0]):  # a'H a, and -w d3 times that
        w.rows[0, i] = 0.0
        for a in range(q):
            for b in range(q):
                w.rows[0, i] += A[a, i] * H[a, b] * A[b, i]
        w.rows[1, i] = -rows.weight[i] * derivatives_at(rows, i, predictor(rows, u, i), rows.aux)[2] * w.rows[0, i]
        for a in range(q):
            v[a] += w.rows[1, i] * A[a, i]
    solve_lower(w.search.C, v)
    solve_lower_transposed(w.search.C, v)
    for i in range(d_eta.shape[0]):
        at, weight, along = predictor(rows, u, i), rows.weight[i], 0.0
        d1, d2, _ = derivatives_at(rows, i, at, rows.aux)
        for a in range(q):
            along += A[a, i] * v[a]
        moved = w.rows[1, i] + weight * d2 * along
        d_eta[i] += moved
        for b in range(q):
            d_A[b, i] += moved * u[b] + weight * d1 * v[b]
            for a in range(q):
                d_A[b, i] -= 2.0 * weight * d2 * H[b, a] * A[a, i]
        for m in range(n_aux):
            slope, curve = mixed(rows, i, at, m, w.moved)
            d_aux[m] += weight * (slope * along - curve * w.rows[0, i])


@inner
def derivatives_at(rows, i, eta, aux):
    """Return the three derivatives of a row's log density."""
    _, d1, d2, d3 = row_derivatives(rows.family, rows.link, rows.y[i], rows.size[i], eta, aux)
    return d1, d2, d3


@inner
def mixed(rows, i, at, m, moved):
    """Return the derivatives of a row's d1 and d2 in auxiliary m, by central differences."""
    step, slope, curve = STEP * rows.aux[m], 0.0, 0.0
    for side in (-1.0, 1.0):
        for other in range(2):
            moved[other] = rows.aux[other]
        moved[m] += side * step
        d1, d2, _ = derivatives_at(rows, i, at, moved)
        slope += side * d1
        curve += side * d2
    return slope / (2 * step), curve / (2 * step)


@inner
def curvature_slope(C, M, w):
    """Set the derivative in H = C C' of log|M| and of a function of M = C^-T whose derivative is d_M.

    The Cholesky factor is differentiated as by Smith (1995), J. Comput. Graph. Stat. 4(2).
    """
    q, S, half = C.shape[0], w.S, w.half
    times(M, False, w.d_M, True, half)
    times(half, False, M, False, S)  # dM = -M dC'M, so that the derivative in C is the lower triangle of -M d_M'M
    for a in range(q):
        S[a, a] += 1.0 / C[a, a]
        for b in range(a + 1, q):
            S[a, b] = 0.0
    times(C, True, S, False, half)
    for a in range(q):
        half[a, a] *= 0.5
        for b in range(a + 1, q):
            half[a, b] = 0.0
    times(M, False, half, False, S)
    times(S, False, M, True, half)
    for a in range(q):
        for b in range(q):
            w.H[a, b] = -0.5 * (half[a, b] + half[b, a])


@inner
def times(a, a_transposed, b, b_transposed, out):
    """Set `out` to the product of two square matrices, each of them transposed or not."""
    q = a.shape[0]
    for i in range(q):
        for j in range(q):
            out[i, j] = 0.0
            for k in range(q):
                out[i, j] += (a[k, i] if a_transposed else a[i, k]) * (b[j, k] if b_transposed else b[k, j])
