"""The nodes of `lattice`, one line after the other, and what is summed over them."""

import math
from typing import NamedTuple

from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import fused, inlined, inner, reordered
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.exponential import exponential
from bayesmm.likelihood.quadrature_canonical import matrix_of
from bayesmm.likelihood.response_terms import is_log_count, is_logit, row_derivatives, row_score

# Nodes of one run, which lie on a line: as many as a line has, where their exponentials are taken together; else fewer.
RUN, SHORT_RUN = 16, 4
# Along an axis. A peak far narrower than the prior, with a plateau that reaches from it to the prior's tail, would take
# more: there is no value then, and a sampler turns back.
MOST_NODES, MOST_LINES = 4096, 512
RESIDUES = 6  # layers are told apart by their number modulo 2 and 3
FLOOR = -700.0  # of exponents
MANY_ROWS = 512  # factors up to 2 whose product does not overflow
SUMS, PICKS, ROWS = range(3)  # what a walk over the nodes is for, see `visit`
MOST_PICKS = 8


class Walk(NamedTuple):
    """Room for one level of n rows, q random effects and r nodes in a run at most: its nodes and the sums over them."""

    f: Floats  # (r,) less f(u*) at the nodes of a run; then their shares exp(f)
    height: Floats  # (r,) what has to fall by DROP before the nodes end: f, or more for ROWS
    product: Floats  # (r,)
    number: Floats  # (r,) 0, 1, 2, ...
    start: Floats  # (q,) u at the first node of a run
    h: Floats  # (q,)
    marks: Floats  # (MOST_PICKS,) in the order of the walk, the sums of shares at which a node is picked
    sums: Floats  # (3,) shares, and share times the derivatives in the auxiliaries
    sum_slope: Floats  # (n,) of share times slope
    own: Floats  # (n,) of ROWS: the rows' log densities at u*
    without: Floats  # (n,) of ROWS: shares without one row's density
    slope: Floats  # (n, r) derivatives of the rows' log densities in eta; of ROWS, the log densities
    steps: Floats  # (q, q) row a is the step along axis a
    layers: Floats  # (q, RESIDUES) shares of the layers across each axis
    sum_at: Floats  # (q, n) of share times slope times u
    picks: Floats  # (MOST_PICKS, q) the u that were picked


@inner
def run_length(data):
    """Return the number of nodes in a run."""
    return RUN if is_logit(data) or is_log_count(data) else SHORT_RUN


@inner
def walk_size(n, q, run):
    """Return how many numbers `walk_workspace` takes."""
    return 4 * run + 2 * q + MOST_PICKS + 3 + 3 * n + n * run + q * q + q * RESIDUES + q * n + MOST_PICKS * q


@inner
def walk_workspace(pool, n, q, run):
    """Return the workspace for one level, out of a pool."""
    start, marks = 4 * run, 4 * run + 2 * q
    sums = marks + MOST_PICKS
    rows = sums + 3
    slope = rows + 3 * n
    steps = slope + n * run
    layers = steps + q * q
    sum_at = layers + q * RESIDUES
    for c in range(run):
        pool[3 * run + c] = c
    return Walk(
        pool[:run], pool[run : 2 * run], pool[2 * run : 3 * run], pool[3 * run : start], pool[start : start + q],
        pool[start + q : marks], pool[marks:sums], pool[sums:rows], pool[rows : rows + n],
        pool[rows + n : rows + 2 * n], pool[rows + 2 * n : slope], matrix_of(pool, slope, n, run),
        matrix_of(pool, steps, q, q), matrix_of(pool, layers, q, RESIDUES), matrix_of(pool, sum_at, q, n),
        matrix_of(pool, sum_at + q * n, MOST_PICKS, q),
    )  # fmt: skip


@inlined
def evaluate_run(data, lo, n, aux, top, task, s, w):
    """Set f at the nodes of a run, less that of the mode, and the slopes of the rows, or their log densities.

    The number of nodes is read from an array: loops of a known short length are unrolled, and then not vectorised.
    """
    q, run, logit, counts = w.start.shape[0], w.f.shape[0], is_logit(data), is_log_count(data)
    for c in range(run):
        w.f[c], w.product[c] = -top, 1.0
    for b in range(q):
        first, step = w.start[b], w.steps[q - 1, b]
        for c in range(run):
            w.f[c] -= 0.5 * (first + w.number[c] * step) * (first + w.number[c] * step)
    for i in range(n):
        at, step = s.eta[i], 0.0
        for b in range(q):
            at += s.A[b, i] * w.start[b]
            step += s.A[b, i] * w.steps[q - 1, b]
        y, weight = s.y[i], s.weight[i]
        if logit and weight == 1.0 and task != ROWS:
            for c in range(run):
                eta = at + w.number[c] * step
                small = exponential(max(-abs(eta), FLOOR))
                near = 1.0 / (1.0 + small)
                w.slope[i, c] = y - (near if eta > 0.0 else small * near)
                w.f[c] += y * eta - max(eta, 0.0)
                w.product[c] *= 1.0 + small
            if i % MANY_ROWS == MANY_ROWS - 1:
                for c in range(run):
                    w.f[c] -= math.log(w.product[c])
                    w.product[c] = 1.0
        elif counts and task != ROWS:
            for c in range(run):
                eta = at + w.number[c] * step
                mu = weight * exponential(min(max(eta, FLOOR), WILD))
                w.slope[i, c] = y - mu
                w.f[c] += y * eta - mu
        else:
            j = lo + i
            for c in range(run):
                eta = at + w.number[c] * step
                value, d1, _, _ = row_derivatives(data.family, data.link, data.y[j], data.size[j], eta, aux)
                w.slope[i, c] = data.weight[j] * (value if task == ROWS else d1)
                w.f[c] += data.weight[j] * value
    if logit:
        for c in range(run):
            w.f[c] -= math.log(w.product[c])


@inlined
def visit(data, lo, n, aux, n_aux, task, first, s, w):
    """Add a run to the sums; `first` is the number of its first node along the last axis. Return the sum of its shares.

    SUMS are what the integral and its derivatives need, ROWS what it needs without each of its rows; PICKS are nodes at
    given places in the order of the walk, that is in proportion to their shares.
    """
    q, run, mass = w.start.shape[0], w.f.shape[0], 0.0
    for c in range(run):
        w.height[c] = w.f[c]
        w.f[c] = exponential(max(min(w.f[c], WILD), FLOOR)) if w.f[c] > FLOOR else 0.0
    for c in range(run):
        mass += w.f[c]
        w.layers[q - 1, (first + c) % RESIDUES] += w.f[c]
    if task == PICKS:
        pick(mass, w)
    elif task == ROWS:
        leave_rows_out(n, w)
    else:
        add_slopes(n, w)
        if n_aux > 0:
            add_scores(data, lo, n, aux, s, w)
    w.sums[0] += mass
    return mass


@reordered
def add_slopes(n, w):
    """Add a run's shares times the slopes, and times u."""
    q = w.start.shape[0]
    for i in range(n):
        flat, along = 0.0, 0.0
        for c in range(w.f.shape[0]):
            flat += w.f[c] * w.slope[i, c]
            along += w.f[c] * w.slope[i, c] * w.number[c]
        w.sum_slope[i] += flat
        for b in range(q):
            w.sum_at[b, i] += flat * w.start[b] + along * w.steps[q - 1, b]


@inner
def add_scores(data, lo, n, aux, s, w):
    """Add a run's shares times the derivatives of the rows in the auxiliaries."""
    q = w.start.shape[0]
    for i in range(n):
        at, step, j = s.eta[i], 0.0, lo + i
        for b in range(q):
            at += s.A[b, i] * w.start[b]
            step += s.A[b, i] * w.steps[q - 1, b]
        for c in range(w.f.shape[0]):
            if w.f[c] > 0.0:
                a0, a1 = row_score(data.family, data.link, data.y[j], data.size[j], at + c * step, aux)
                w.sums[1] += w.f[c] * data.weight[j] * a0
                w.sums[2] += w.f[c] * data.weight[j] * a1


@inner
def pick(mass, w):
    """Set the picks whose marks lie in this run."""
    q = w.start.shape[0]
    for k in range(MOST_PICKS):
        left = w.marks[k] - w.sums[0]
        if left >= 0.0 and left < mass:
            c = 0
            while c < w.f.shape[0] - 1 and left >= w.f[c]:
                left -= w.f[c]
                c += 1
            for b in range(q):
                w.picks[k, b] = w.start[b] + c * w.steps[q - 1, b]


@inner
def leave_rows_out(n, w):
    """Add the shares without each row; the nodes end where the highest of them has fallen."""
    for c in range(w.f.shape[0]):
        highest = 0.0
        for i in range(n):
            gain = w.own[i] - w.slope[i, c]
            highest = max(highest, gain)
            if w.f[c] > 0.0:
                w.without[i] += w.f[c] * exponential(max(min(gain, WILD), FLOOR))
        w.height[c] += highest


@inlined
def line(data, lo, n, aux, n_aux, u, top, drop, task, outer, middle, guess, s, w):
    """Visit a line along the last axis, outwards from node number `guess`; return (highest f, its number, sum)."""
    q, run, highest, at, mass = w.start.shape[0], w.f.shape[0], -math.inf, guess, 0.0
    middle_run = guess - run // 2
    first, upwards, below = middle_run, True, False
    for _ in range(MOST_NODES // run):
        for b in range(q):
            w.start[b] = u[b] + first * w.steps[q - 1, b]
            if q > 1:
                w.start[b] += middle * w.steps[q - 2, b]
            if q > 2:
                w.start[b] += outer * w.steps[0, b]
        evaluate_run(data, lo, n, aux, top, task, s, w)
        mass += visit(data, lo, n, aux, n_aux, task, first, s, w)
        for c in range(run):
            if w.height[c] > highest:
                highest, at = w.height[c], first + c
        above = w.height[run - 1] > -drop or w.height[run - 1] > w.height[run - 2]
        if first <= middle_run:
            below = w.height[0] > -drop or w.height[0] > w.height[1]
        if upwards and above:
            first += run
        elif below:
            first = min(first, middle_run) - run
            upwards = False
        else:
            return highest, at, mass
    w.sums[0] = math.inf
    return highest, at, mass


@fused
def walk(data, lo, n, aux, n_aux, u, top, drop, task, s, w):
    """Visit all nodes: lines one after the other to either side of the middle one, and planes of lines likewise."""
    q = u.shape[0]
    w.layers[:] = 0.0
    w.sums[:] = 0.0
    w.sum_slope[:] = 0.0
    w.sum_at[:] = 0.0
    w.without[:] = 0.0
    outer, line_guess, guess, plane_before, planes_up = 0, 0, 0, -math.inf, True
    middle_line, middle_guess = 0, 0  # of the plane through the mode
    while True:
        highest, best, best_at, plane_mass = -math.inf, line_guess, guess, 0.0
        middle, at, before, lines_up, first_at = line_guess, guess, -math.inf, True, guess
        while True:
            high, at, mass = line(data, lo, n, aux, n_aux, u, top, drop, task, outer, middle, at, s, w)
            if w.sums[0] == math.inf or abs(middle) > MOST_LINES or abs(outer) > MOST_LINES:
                w.sums[0] = math.inf
                return
            plane_mass += mass
            if q > 1:
                w.layers[q - 2, middle % RESIDUES] += mass
            if high > highest:
                highest, best, best_at = high, middle, at
            if middle == line_guess:
                first_at = at
            if q == 1:
                break
            if not (high > -drop or high > before):
                if not lines_up:
                    break
                lines_up, middle, at, before = False, line_guess, first_at, math.inf
            else:
                before = high
            middle += 1 if lines_up else -1
        if q < 3:
            return
        w.layers[0, outer % RESIDUES] += plane_mass
        if outer == 0:
            middle_line, middle_guess = best, best_at
        line_guess, guess = best, best_at
        if not (highest > -drop or highest > plane_before):
            if not planes_up:
                return
            planes_up, outer, plane_before, line_guess, guess = False, 0, math.inf, middle_line, middle_guess
        else:
            plane_before = highest
        outer += 1 if planes_up else -1
