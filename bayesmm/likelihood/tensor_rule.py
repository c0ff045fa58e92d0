"""The integral over one level's random effects by the Gauss-Hermite rule of `quadrature`, compiled.

The nodes u* + M x with M = C^-T lie on lines along the last axis, each with as many nodes as an axis has.
"""

import math
from typing import NamedTuple

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import c_function, inlined, inner, matrix_of, pointer, vector_of
from bayesmm.likelihood.dense_matrices import solve_lower, solve_lower_transposed
from bayesmm.likelihood.level_rows import (
    AUXILIARIES,
    EFFECTS,
    LEVEL,
    NODES,
    ROWS,
    SLOPES,
    STARTED,
    TASK,
    Pointer,
    own_aux,
    predictor,
    rows_at,
    scores_of,
)
from bayesmm.likelihood.lines import Line, add_scores, add_up, aim, evaluate, line_at, line_size
from bayesmm.likelihood.modes import DECREMENT, Search, find_mode, search_at, search_size
from bayesmm.likelihood.response_kernels import is_real
from bayesmm.likelihood.response_terms import row_derivatives

STEP = 6e-6  # of central differences: the cube root of the precision


class Sums(NamedTuple):
    """Sums over the nodes of shares times numbers, and scratch, of n rows with q random effects; pointers."""

    scores: Pointer  # (3,), or (n, by) by row: derivatives in the auxiliaries
    moved: Pointer  # (3,) or (by,) auxiliaries
    x: Pointer  # (q,)
    d_u: Pointer  # (q,)
    v: Pointer  # (q,)
    xx: Pointer  # (q, q)
    d_M: Pointer  # (q, q)
    H: Pointer  # (q, q) the derivative in H
    S: Pointer  # (q, q)
    half: Pointer  # (q, q)
    slopes: Pointer  # (q + 1, n) the derivatives of the rows in eta times x; the last row is without x
    rows: Pointer  # (2, n)
    line: Line
    search: Search


def tensor_size(n: int, q: int, k: int, by: int) -> int:
    """Return how many numbers `sums_at` takes, for k nodes on an axis."""
    width = max(by, MOST_PARAMETERS)
    return width + 3 * q + 5 * q * q + (q + 3 + width) * n + line_size(n, q, k) + search_size(q)


@inlined
def sums_at(pool, n, q, k, by):
    """Return the workspace for one level, at the beginning of a pool; `by` is that of the rows."""
    width, m = max(by, MOST_PARAMETERS), q * q
    first = width + width * n
    square = first + 3 * q
    rows = square + 5 * m
    search = rows + (q + 3) * n
    return Sums(
        pointer(pool, width), pointer(pool, 0), pointer(pool, first), pointer(pool, first + q),
        pointer(pool, first + 2 * q),
        pointer(pool, square), pointer(pool, square + m), pointer(pool, square + 2 * m), pointer(pool, square + 3 * m),
        pointer(pool, square + 4 * m), pointer(pool, rows), pointer(pool, rows + (q + 1) * n),
        line_at(pool, search + 4 * q + 3 * m, n, q, k), search_at(pool, search, q),
    )  # fmt: skip


@c_function(LEVEL)
def tensor_level(
    settings, nodes, log_weights, y, size, weight, eta, A, aux, u, value, d_eta, d_A, d_aux, pool
):  # fmt: skip
    """Integrate over the effects of one level: see `level_rows.LEVEL`."""
    rows, n, q, K = rows_at(settings, y, size, weight, eta, A, aux), settings[ROWS], settings[EFFECTS], settings[NODES]
    k, n_aux, task = 1, settings[AUXILIARIES], settings[TASK]
    while k**q < K:
        k += 1
    w = sums_at(pool, n, q, k, rows.by)
    found, top, log_det = find_mode(rows, u, settings[STARTED] == 1, w.search, w.line, DECREMENT)
    if not found:
        return 0
    total = node_sum(rows, u, nodes, log_weights, K, k, top, n_aux, task, w)
    if not (total > 0.0 and total < math.inf):
        return 0
    value[0], value[1] = top - log_det + math.log(total), top
    if task == SLOPES:
        held_still(rows, u, total, d_eta, d_A, w)
        curvature_slope(q, w.search.C, w.search.M, w.d_M, w.S, w.half, w.H)
        follow_mode(rows, u, n_aux, d_eta, d_A, d_aux, w)
        for m in range(scores_of(rows, n_aux)):
            d_aux[m] += w.scores[m] / total
    return 1


@inner
def node_sum(rows, u, nodes, log_weights, K, k, top, n_aux, task, w):
    """Return the sum over the nodes, relative to exp(top), and set the sums that the derivatives need."""
    q, M, line, total = rows.q, w.search.M, w.line, 0.0
    begin(rows, nodes, k, w)
    aim(rows, rows.kind, line)
    for first in range(0, K, k):
        for b in range(q):
            line.start[b] = u[b]
            for d in range(b, q - 1):
                line.start[b] += M[b * q + d] * nodes[first * q + d]
        evaluate(rows, rows.kind, task, top, line)
        mass, moment, second = 0.0, 0.0, 0.0
        for c in range(k):
            share = line.f[c] = math.exp(min(line.f[c] + log_weights[first + c], WILD))
            mass += share
            moment += share * line.number[c]
            second += share * line.number[c] * line.number[c]
        total += mass
        if task == SLOPES and mass > 0.0:
            add_up(rows.kind, line)
            add_moments(pointer(nodes, first * q), mass, moment, second, w)
            if n_aux > 0:
                add_scores(rows, rows.kind, line, w.scores)
    return total


@inner
def begin(rows, nodes, k, w):
    """Set all sums to zeros, and the numbers and the direction of the nodes of a line."""
    n, q = w.line.n, w.line.q
    for i in range(max(rows.by, MOST_PARAMETERS) * n):
        w.scores[i] = 0.0
    for a in range(q):
        w.x[a] = 0.0
        w.line.direction[a] = w.search.M[a * q + q - 1]
    for a in range(q * q):
        w.xx[a] = 0.0
    for i in range((q + 1) * n):
        w.slopes[i] = 0.0
    for c in range(k):
        w.line.number[c] = nodes[c * q + q - 1]


@inner
def add_moments(node, mass, moment, second, w):
    """Add a line's sums of shares, shares times numbers, and times their squares, alone and with the rows' slopes."""
    n, q, flat, along = w.line.n, w.line.q, w.line.flat, w.line.along
    for a in range(q):
        last = a == q - 1
        w.x[a] += moment if last else mass * node[a]
        for b in range(a + 1):
            w.xx[a * q + b] += second if b == q - 1 else (moment if last else mass * node[a]) * node[b]
            w.xx[b * q + a] = w.xx[a * q + b]
        for i in range(n):
            w.slopes[a * n + i] += along[i] if last else flat[i] * node[a]
    for i in range(n):
        w.slopes[q * n + i] += flat[i]


@inner
def held_still(rows, u, total, d_eta, d_A, w):
    """Set the derivatives with the nodes held still, and d_u and d_M, those in u* and M."""
    n, q, A, M, slopes = rows.n, rows.q, rows.A, w.search.M, w.slopes
    for i in range((q + 1) * n):
        slopes[i] /= total
    for i in range(n):
        d_eta[i] = slopes[q * n + i]
    for a in range(q):
        w.d_u[a] = -u[a]
        for i in range(n):
            w.d_u[a] += A[a * n + i] * slopes[q * n + i]
            d_A[a * n + i] = u[a] * slopes[q * n + i]
        for b in range(q):
            w.d_u[a] -= M[a * q + b] * w.x[b] / total
            d_M = -u[a] * w.x[b] / total
            for c in range(q):
                d_M -= M[a * q + c] * w.xx[c * q + b] / total
            for i in range(n):
                d_M += A[a * n + i] * slopes[b * n + i]
                d_A[a * n + i] += M[a * q + b] * slopes[b * n + i]
            w.d_M[a * q + b] = d_M


@inner
def follow_mode(rows, u, n_aux, d_eta, d_A, d_aux, w):
    """Add what moves the nodes, and log|C|: derivatives in u* and M are led back through H and f'(u*) = 0."""
    n, q, H, A, spread, pull = rows.n, rows.q, w.H, rows.A, w.rows, pointer(w.rows, rows.n)
    C, v = matrix_of(w.search.C, (q, q)), vector_of(w.v, (q,))
    for a in range(q):
        v[a] = w.d_u[a]
    for i in range(n):  # a'H a, and -w d3 times that
        spread[i] = 0.0
        for a in range(q):
            for b in range(q):
                spread[i] += A[a * n + i] * H[a * q + b] * A[b * n + i]
        pull[i] = -rows.weight[i] * derivatives_at(rows, i, predictor(rows, u, i), own_aux(rows, i))[2] * spread[i]
        for a in range(q):
            v[a] += pull[i] * A[a * n + i]
    solve_lower(C, v)
    solve_lower_transposed(C, v)
    for i in range(n):
        at, weight, along = predictor(rows, u, i), rows.weight[i], 0.0
        d1, d2, _ = derivatives_at(rows, i, at, own_aux(rows, i))
        for a in range(q):
            along += A[a * n + i] * v[a]
        moved = pull[i] + weight * d2 * along
        d_eta[i] += moved
        for b in range(q):
            d_A[b * n + i] += moved * u[b] + weight * d1 * v[b]
            for a in range(q):
                d_A[b * n + i] -= 2.0 * weight * d2 * H[b * q + a] * A[a * n + i]
        for m in range(n_aux):
            slope, curve = mixed(rows, i, at, m, w.moved)
            d_aux[rows.by * i + m] += weight * (slope * along - curve * spread[i])


@inner
def derivatives_at(rows, i, eta, aux):
    """Return the three derivatives of a row's log density."""
    _, d1, d2, d3 = row_derivatives(rows.family, rows.link, rows.y[i], rows.size[i], eta, aux)
    return d1, d2, d3


@inner
def mixed(rows, i, at, m, moved):
    """Return the derivatives of a row's d1 and d2 in auxiliary m, by central differences."""
    own, slope, curve = own_aux(rows, i), 0.0, 0.0
    step = STEP if is_real(rows.real, m) else STEP * own[m]
    if step == 0.0 or not math.isfinite(own[m]):  # no parameter, or a threshold that is none
        return 0.0, 0.0
    for side in (-1.0, 1.0):
        for k in range(max(rows.by, MOST_PARAMETERS)):
            moved[k] = own[k]
        moved[m] += side * step
        d1, d2, _ = derivatives_at(rows, i, at, vector_of(moved, (MOST_PARAMETERS,)))
        slope += side * d1
        curve += side * d2
    return slope / (2 * step), curve / (2 * step)


@inner
def curvature_slope(q, C, M, d_M, S, half, out):
    """Set the derivative in H = C C' of log|M| and of a function of M = C^-T whose derivative is d_M.

    The Cholesky factor is differentiated as by Smith (1995), J. Comput. Graph. Stat. 4(2).
    """
    transpose(q, d_M, out)
    times(q, M, out, half)
    times(q, half, M, S)  # dM = -M dC'M, so that the derivative in C is the lower triangle of -M d_M'M
    for a in range(q):
        S[a * q + a] += 1.0 / C[a * q + a]
        for b in range(a + 1, q):
            S[a * q + b] = 0.0
    transpose(q, C, out)
    times(q, out, S, half)
    for a in range(q):
        half[a * q + a] *= 0.5
        for b in range(a + 1, q):
            half[a * q + b] = 0.0
    times(q, M, half, S)
    transpose(q, M, out)
    times(q, S, out, half)
    for a in range(q):
        for b in range(q):
            out[a * q + b] = -0.5 * (half[a * q + b] + half[b * q + a])


@inner
def transpose(q, a, out):
    """Set `out` to the transpose of a q x q matrix."""
    for i in range(q):
        for j in range(q):
            out[i * q + j] = a[j * q + i]


@inner
def times(q, a, b, out):
    """Set `out` to the product of two q x q matrices."""
    for i in range(q):
        for j in range(q):
            total = 0.0
            for k in range(q):
                total += a[i * q + k] * b[k * q + j]
            out[i * q + j] = total
