"""The nodes of `lattice`, one line after the other, and what is summed over them."""

import math
from typing import NamedTuple

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import fused, inlined, inner, merged, pointer
from bayesmm.likelihood.exponential import exponential
from bayesmm.likelihood.level_rows import PICKS, SLOPES, WITHOUT, Pointer
from bayesmm.likelihood.lines import FLOOR, Line, add_scores, add_up, aim, evaluate, line_at, line_size
from bayesmm.likelihood.modes import Search, search_at, search_size
from bayesmm.likelihood.response_terms import GENERAL, LOGIT, SMOOTH

# Nodes of one run, which lie on a line: as many as a line has, where their exponentials are taken together; else fewer.
# With one random effect there is one line, which has 14 nodes for a normal density, 16 to 20 for one with a skew, and
# the first run should do; with more, lines far from the mode are short.
RUN, LINE_RUN, MIDDLE_RUN, SHORT_RUN = 24, 16, 8, 4
# Along an axis. A peak far narrower than the prior, with a plateau that reaches from it to the prior's tail, would take
# more: there is no value then, and a sampler turns back.
MOST_NODES, MOST_LINES = 4096, 512
RESIDUES = 6  # layers are told apart by their number modulo 2 and 3
MOST_PICKS = 8
MORE = 4.0
SHARES, TOP = range(2)  # places in `Walk.sums`


class Walk(NamedTuple):
    """Room for one level of n rows, q random effects and r nodes in a run: nodes and sums over them; pointers."""

    height: Pointer  # (r,) what has to fall by DROP before the nodes end: f, or more for WITHOUT
    h: Pointer  # (q,)
    marks: Pointer  # (MOST_PICKS,) in the order of the walk, the sums of shares at which a node is picked
    sums: Pointer  # (2,) shares, and f at the mode
    scores: Pointer  # (3,), or (n, by) by row: shares times the derivatives in the auxiliaries
    own: Pointer  # (n,) of WITHOUT: the rows' log densities at u*
    without: Pointer  # (n,) of WITHOUT: shares without one row's density
    steps: Pointer  # (q, q) row a is the step along axis a
    layers: Pointer  # (q, RESIDUES) shares of the layers across each axis
    picks: Pointer  # (MOST_PICKS, q) the u that were picked
    line: Line
    search: Search


@inner
def run_length(kind, q):
    """Return the number of nodes in a run."""
    if kind == GENERAL:
        return SHORT_RUN
    if kind == SMOOTH:
        return LINE_RUN if q == 1 else MIDDLE_RUN
    return RUN if q == 1 else LINE_RUN


def walk_size(n, q, by):
    """Return how many numbers `walk_at` takes at most."""
    own = RUN + q + MOST_PICKS + 4 + (2 + max(by, MOST_PARAMETERS)) * n + q * q + q * RESIDUES + MOST_PICKS * q
    return own + line_size(n, q, RUN) + search_size(q)


@inlined
def walk_at(pool, n, q, r, by):
    """Return the workspace for one level, at the beginning of a pool; `by` is that of the rows."""
    marks = r + q
    rows = marks + MOST_PICKS + 4
    scores = rows + 2 * n
    steps = scores + max(by, MOST_PARAMETERS) * n
    layers = steps + q * q
    picks = layers + q * RESIDUES
    search = picks + MOST_PICKS * q
    return Walk(
        pointer(pool, 0), pointer(pool, r), pointer(pool, marks), pointer(pool, marks + MOST_PICKS),
        pointer(pool, scores), pointer(pool, rows), pointer(pool, rows + n), pointer(pool, steps),
        pointer(pool, layers), pointer(pool, picks),
        line_at(pool, search + 4 * q + 3 * q * q, n, q, r), search_at(pool, search, q),
    )  # fmt: skip


@merged
def visit(rows, kind, n_aux, task, first, d_eta, d_A, w):
    """Add a run to the sums; `first` is the number of its first node along the last axis. Return the sum of its shares.

    SLOPES are what the derivatives need beside the integral, WITHOUT what it needs without each of its rows; PICKS are
    nodes at given places in the order of the walk, that is in proportion to their shares.
    """
    line, mass, residue = w.line, 0.0, first % RESIDUES
    f, layers = line.f, pointer(w.layers, (line.q - 1) * RESIDUES)
    shares(line.r, f, w.height)
    for k in range(min(RESIDUES, line.r)):
        total = 0.0
        for c in range(k, line.r, RESIDUES):
            total += f[c]
        mass += total
        layers[residue] += total
        residue = residue + 1 if residue < RESIDUES - 1 else 0
    if task == SLOPES:
        add_up(kind, line)
        add_slopes(line.n, line.q, line.flat, line.along, line.start, line.direction, d_eta, d_A)
        if n_aux > 0:
            add_scores(rows, kind, line, w.scores)
    elif task == PICKS:
        pick(mass, w)
    elif task == WITHOUT:
        leave_rows_out(w)
    w.sums[SHARES] += mass
    return mass


@fused
def shares(r, f, height):
    """Set height to f and f to its exponential."""
    for c in range(r):
        height[c] = f[c]
        f[c] = exponential(max(min(f[c], WILD), FLOOR)) if f[c] > FLOOR else 0.0


@fused
def add_slopes(n, q, flat, along, start, direction, d_eta, d_A):
    """Add a run's sums of slopes, and of slopes times u."""
    for i in range(n):
        d_eta[i] += flat[i]
    for b in range(q):
        first, step = start[b], direction[b]
        for i in range(n):
            d_A[b * n + i] += flat[i] * first + along[i] * step


@merged
def pick(mass, w):
    """Set the picks whose marks lie in this run."""
    line = w.line
    for k in range(MOST_PICKS):
        left = w.marks[k] - w.sums[SHARES]
        if left >= 0.0 and left < mass:
            c = 0
            while c < line.r - 1 and left >= line.f[c]:
                left -= line.f[c]
                c += 1
            for b in range(line.q):
                w.picks[k * line.q + b] = line.start[b] + line.number[c] * line.direction[b]


@inner
def leave_rows_out(w):
    """Add the shares without each row; the nodes end where the highest of them has fallen."""
    line = w.line
    for c in range(line.r):
        highest = 0.0
        for i in range(line.n):
            gain = w.own[i] - line.table[i * line.r + c]
            highest = max(highest, gain)
            if line.f[c] > 0.0:
                w.without[i] += line.f[c] * exponential(max(min(gain, WILD), FLOOR))
        w.height[c] += highest


@inner
def goes_on(kind, last, before, drop):
    """Return whether nodes beyond the last one are needed: not where f is lower by `drop`.

    Where f is concave the next node is at most as high as a straight line is there. It is the first that is left out,
    and has to be lower by MORE still, as it is after a last node that is lower by `drop`.
    """
    return last > before or (last if kind < LOGIT else 2.0 * last - before + MORE) > -drop


@inlined
def walk_line(rows, kind, n_aux, u, drop, task, outer, middle, guess, d_eta, d_A, w):
    """Visit a line along the last axis, outwards from node number `guess`; return (highest f, its number, sum)."""
    q, run, highest, at, mass = rows.q, w.line.r, -math.inf, guess, 0.0
    middle_run = guess - run // 2
    first, upwards, below = middle_run, True, False
    for _ in range(MOST_NODES // run):
        for b in range(q):
            w.line.start[b] = u[b] + (first + run // 2) * w.steps[(q - 1) * q + b]
            if q > 1:
                w.line.start[b] += middle * w.steps[(q - 2) * q + b]
            if q > 2:
                w.line.start[b] += outer * w.steps[b]
        evaluate(rows, kind, task, w.sums[TOP], w.line)
        mass += visit(rows, kind, n_aux, task, first, d_eta, d_A, w)
        if q > 1:  # where the next line is begun
            for c in range(run):
                if w.height[c] > highest:
                    highest, at = w.height[c], first + c
        above = goes_on(kind, w.height[run - 1], w.height[run - 2], drop)
        if first <= middle_run:
            below = goes_on(kind, w.height[0], w.height[1], drop)
        if upwards and above:
            first += run
        elif below:
            first = min(first, middle_run) - run
            upwards = False
        else:
            return highest, at, mass
    w.sums[SHARES] = math.inf
    return highest, at, mass


@merged
def clear(rows, d_eta, d_A, w):
    """Set the sums to zeros, and the numbers and the direction of the nodes of a line."""
    n, q, r = w.line.n, w.line.q, w.line.r
    w.sums[SHARES] = 0.0
    for i in range(n):
        d_eta[i] = w.without[i] = 0.0
    for i in range(max(rows.by, MOST_PARAMETERS) * n):
        w.scores[i] = 0.0
    for i in range(q * n):
        d_A[i] = 0.0
    for k in range(q * RESIDUES):
        w.layers[k] = 0.0
    for a in range(q):
        w.line.direction[a] = w.steps[(q - 1) * q + a]
    for c in range(r):
        w.line.number[c] = c - r // 2


@inner
def walk(rows, kind, n_aux, u, drop, task, d_eta, d_A, w):
    """Visit all nodes: lines one after the other to either side of the middle one, and planes of lines likewise."""
    q = rows.q
    clear(rows, d_eta, d_A, w)
    aim(rows, kind, w.line)
    outer, line_guess, guess, plane_before, planes_up = 0, 0, 0, -math.inf, True
    middle_line, middle_guess = 0, 0  # of the plane through the mode
    while True:
        highest, best, best_at, plane_mass = -math.inf, line_guess, guess, 0.0
        middle, at, before, lines_up, first_at = line_guess, guess, -math.inf, True, guess
        while True:
            high, at, mass = walk_line(rows, kind, n_aux, u, drop, task, outer, middle, at, d_eta, d_A, w)
            if w.sums[SHARES] == math.inf or abs(middle) > MOST_LINES or abs(outer) > MOST_LINES:
                w.sums[SHARES] = math.inf
                return
            plane_mass += mass
            if q > 1:
                w.layers[(q - 2) * RESIDUES + middle % RESIDUES] += mass
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
        w.layers[outer % RESIDUES] += plane_mass
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
