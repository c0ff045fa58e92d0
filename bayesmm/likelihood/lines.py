r"""The density of a level at nodes on a line, and the sums over them that derivatives need, compiled.

The nodes of both rules, `lattice` and `tensor_rule`, lie on lines start + number direction, and on a line a row's
predictor is at + number step. Where a row is y eta - w c(eta) with c = log(1 + exp eta) or exp eta, all that is needed
of it at a node is exp(at) exp(number step): the powers exp(number step) are the same for all lines in a direction, and
in a model with a random intercept for all rows too. The logarithms of the factors 1 + exp eta are taken once for all
rows. Each loop over the nodes is a few products and quotients of a few arrays, so that a processor takes several at
once.
"""

from typing import NamedTuple

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import fused, inlined, inner, merged, pointer, reordered
from bayesmm.likelihood.exponential import exponential, logarithm
from bayesmm.likelihood.level_rows import WITHOUT, Pointer, own_aux
from bayesmm.likelihood.response_kernels import add_scores_at
from bayesmm.likelihood.response_terms import GENERAL, LOGIT, SMOOTH, row_derivatives, row_score, smooth_line

FLOOR = -700.0  # of exponents
# Powers of rows whose predictors are larger than NEAR somewhere on a line are not taken, and the logarithm of a product
# is, before its own could exceed MOST: with one more factor it is still a double.
NEAR, MOST, LOG_2 = 300.0, 400.0, 0.7
SHARED, REACH = (
    0,
    1,
)  # places in `Line.facts`: 1 where the powers of all rows are those of the first; the largest number


class Line(NamedTuple):
    """Room for r nodes on a line and n rows, with q random effects: pointers, but for the sizes."""

    n: int
    q: int
    r: int
    f: Pointer  # (r,) of `quadrature`, less that at the mode; then shares, exp f
    number: Pointer  # (r,) of the nodes
    product: Pointer  # (r,)
    start: Pointer  # (q,) u at number 0
    direction: Pointer  # (q,)
    facts: Pointer  # (2,)
    y: Pointer  # (n,) weighted
    weight: Pointer  # (n,) of a binomial, times the number of trials
    at: Pointer  # (n,) predictors at number 0
    power: Pointer  # (n,) exp(at)
    step: Pointer  # (n,) of the predictors from a number to the next
    flat: Pointer  # (n,) sum of shares times the derivative of a row in eta
    along: Pointer  # (n,) the same times the number
    scores: Pointer  # (2, r) of smooth rows, the derivatives in the auxiliaries
    table: Pointer  # (n, r) exp(number step); of general rows, derivatives in eta, or log densities


def line_size(n, q, r):
    """Return how many numbers `line_at` takes."""
    return 5 * r + 2 * q + 2 + 7 * n + n * r


@inlined
def line_at(pool, at, n, q, r):
    """Return the room that begins at a place of a pool."""
    start = at + 3 * r
    rows = start + 2 * q + 2
    return Line(
        n, q, r, pointer(pool, at), pointer(pool, at + r), pointer(pool, at + 2 * r), pointer(pool, start),
        pointer(pool, start + q), pointer(pool, start + 2 * q), pointer(pool, rows), pointer(pool, rows + n),
        pointer(pool, rows + 2 * n), pointer(pool, rows + 3 * n), pointer(pool, rows + 4 * n),
        pointer(pool, rows + 5 * n), pointer(pool, rows + 6 * n), pointer(pool, rows + 7 * n),
        pointer(pool, rows + 7 * n + 2 * r),
    )  # fmt: skip


@merged
def aim(rows, kind, w):
    """Set what lines in the same direction have in common."""
    for i in range(w.n):
        w.step[i] = 0.0
        for b in range(w.q):
            w.step[i] += rows.A[b * w.n + i] * w.direction[b]
    w.facts[SHARED], w.facts[REACH] = 1.0, max(abs(w.number[0]), abs(w.number[w.r - 1]))
    for i in range(1, w.n):
        if w.step[i] != w.step[0]:
            w.facts[SHARED] = 0.0
    if kind >= LOGIT:
        powers(1 if w.facts[SHARED] == 1.0 else w.n, w.r, w.step, w.number, w.table)


@fused
def powers(n, r, step, number, table):
    """Set exp(number step) of the first n rows."""
    for i in range(n):
        for c in range(r):
            table[i * r + c] = exponential(min(max(step[i] * number[c], FLOOR), -FLOOR))


@merged
def evaluate(rows, kind, task, top, w):
    """Set f at the nodes of a line, less `top`; general rows leave derivatives, or log densities, in the table."""
    level, slope, curve = -top, 0.0, 0.0
    for b in range(w.q):
        level -= 0.5 * w.start[b] * w.start[b]
        slope -= w.start[b] * w.direction[b]
        curve -= 0.5 * w.direction[b] * w.direction[b]
    for i in range(w.n):
        w.at[i] = rows.eta[i]
    for b in range(w.q):
        for i in range(w.n):
            w.at[i] += rows.A[b * w.n + i] * w.start[b]
    if kind == SMOOTH:
        smooth_densities(rows, level, slope, curve, w)
    elif kind == GENERAL:
        general_densities(rows, task == WITHOUT, level, slope, curve, w)
    else:
        exponentials(w.n, w.at, w.power)
        canonical_densities(
            kind == LOGIT, w.n, w.r, level, slope, curve, w.at, w.step, w.power, w.y, w.weight, w.number, w.table,
            0 if w.facts[SHARED] == 1.0 else w.r, w.facts[REACH], w.f, w.product,
        )  # fmt: skip


@fused
def exponentials(n, at, power):
    """Set the exponentials of the predictors at number 0."""
    for i in range(n):
        power[i] = exponential(min(max(at[i], FLOOR), -FLOOR))


@fused
def canonical_densities(
    logit, n, r, level, slope, curve, at, step, power, y, weight, number, table, stride, reach, f, product
):
    """Set f to level + slope number + curve number^2 and the log densities of the rows; `product` is scratch."""
    grown = 0.0
    for c in range(r):
        f[c], product[c] = curve * number[c] * number[c], 1.0 if logit else 0.0
    for i in range(n):
        start, own, row = power[i], weight[i], i * stride
        if abs(at[i]) + reach * abs(step[i]) >= NEAR:
            far_density(logit, r, at[i], step[i], y[i], own, number, f)
            continue
        level += y[i] * at[i]
        slope += y[i] * step[i]
        if not logit:
            for c in range(r):
                product[c] += own * start * table[row + c]
        elif own == 1.0:
            grown += max(at[i] + reach * abs(step[i]), 0.0) + LOG_2
            if grown > MOST:
                for c in range(r):
                    f[c] -= logarithm(product[c])
                    product[c] = 1.0
                grown = NEAR
            for c in range(r):
                product[c] *= 1.0 + start * table[row + c]
        else:
            for c in range(r):
                f[c] -= own * logarithm(1.0 + start * table[row + c])
    for c in range(r):
        f[c] += level + slope * number[c] - (logarithm(product[c]) if logit else product[c])


@fused
def far_density(logit, r, at, step, y, weight, number, f):
    """Add the log density of a row whose predictor is large somewhere on the line."""
    for c in range(r):
        eta = at + number[c] * step
        if logit:
            f[c] += y * eta - weight * (max(eta, 0.0) + logarithm(1.0 + exponential(max(-abs(eta), FLOOR))))
        else:
            f[c] += y * eta - weight * exponential(min(max(eta, FLOOR), WILD))


@inner
def smooth_densities(rows, level, slope, curve, w):
    """Do what `general_densities` does for rows of a family with a `smooth` kernel, and set the scores."""
    first, second, scores = rows.aux[0], rows.aux[1], pointer(w.scores, w.r)
    for c in range(w.r):
        w.f[c] = level + slope * w.number[c] + curve * w.number[c] * w.number[c]
        w.scores[c] = scores[c] = 0.0
    for i in range(w.n):
        smooth_line(
            rows.family, w.r, rows.y[i], rows.size[i], rows.weight[i], w.at[i], w.step[i], first, second, w.number, w.f,
            pointer(w.table, i * w.r), w.scores, scores,
        )  # fmt: skip


@inner
def general_densities(rows, densities, level, slope, curve, w):
    """Set f to level + slope number + curve number^2 and the log densities of the rows, and the table."""
    for c in range(w.r):
        w.f[c] = level + slope * w.number[c] + curve * w.number[c] * w.number[c]
    for i in range(w.n):
        for c in range(w.r):
            eta = w.at[i] + w.number[c] * w.step[i]
            value, d1, _, _ = row_derivatives(rows.family, rows.link, rows.y[i], rows.size[i], eta, own_aux(rows, i))
            w.table[i * w.r + c] = rows.weight[i] * (value if densities else d1)
            w.f[c] += rows.weight[i] * value


@merged
def add_up(kind, w):
    """Set the sums over the nodes of the line that was evaluated; f holds their shares now."""
    if kind < LOGIT:
        general_sums(w.n, w.r, w.f, w.number, w.table, w.flat, w.along)
    else:
        canonical_sums(
            kind == LOGIT, w.n, w.r, w.at, w.step, w.power, w.y, w.weight, w.number, w.table,
            0 if w.facts[SHARED] == 1.0 else w.r, w.facts[REACH], w.f, w.flat, w.along,
        )  # fmt: skip


@reordered
def canonical_sums(logit, n, r, at, step, power, y, weight, number, table, stride, reach, share, flat, along):
    """Set the sums of shares times y - w c', c' being the means exp(eta) / (1 + exp(eta)) or exp(eta)."""
    mass, moment = 0.0, 0.0
    for c in range(r):
        mass += share[c]
        moment += share[c] * number[c]
    for i in range(n):
        start, row, one, two = power[i], i * stride, 0.0, 0.0
        if abs(at[i]) + reach * abs(step[i]) >= NEAR:
            one, two = far_sums(logit, r, at[i], step[i], number, share)
        elif logit:
            for c in range(r):
                odds = start * table[row + c]
                part_of = share[c] * odds / (1.0 + odds)
                one += part_of
                two += part_of * number[c]
        else:
            for c in range(r):
                part_of = share[c] * start * table[row + c]
                one += part_of
                two += part_of * number[c]
        flat[i] = y[i] * mass - weight[i] * one
        along[i] = y[i] * moment - weight[i] * two


@reordered
def far_sums(logit, r, at, step, number, share):
    """Return the sums of shares times means, and times the number, of a row whose predictor is large."""
    one, two = 0.0, 0.0
    for c in range(r):
        eta = at + number[c] * step
        if logit:
            small = exponential(max(-abs(eta), FLOOR))
            mean = (1.0 if eta > 0.0 else small) / (1.0 + small)
        else:
            mean = exponential(min(max(eta, FLOOR), WILD))
        one += share[c] * mean
        two += share[c] * mean * number[c]
    return one, two


@reordered
def general_sums(n, r, share, number, table, flat, along):
    """Set the sums of shares times the derivatives in the table."""
    for i in range(n):
        one, two = 0.0, 0.0
        for c in range(r):
            one += share[c] * table[i * r + c]
            two += share[c] * table[i * r + c] * number[c]
        flat[i], along[i] = one, two


@inner
def add_scores(rows, kind, w, sums):
    """Add the line's shares times the derivatives of the rows in the auxiliaries, (3,), or (n, by) by row."""
    if kind == SMOOTH:
        for c in range(w.r):
            if w.f[c] > 0.0:
                sums[0] += w.f[c] * w.scores[c]
                sums[1] += w.f[c] * w.scores[w.r + c]
        return
    for i in range(w.n):
        for c in range(w.r):
            if w.f[c] > 0.0:
                eta = w.at[i] + w.number[c] * w.step[i]
                if rows.by > MOST_PARAMETERS:
                    share, own = w.f[c] * rows.weight[i], own_aux(rows, i)
                    add_scores_at(
                        rows.family, rows.y[i], rows.size[i], eta, own, share, rows.by, pointer(sums, rows.by * i)
                    )
                    continue
                a0, a1, a2 = row_score(rows.family, rows.link, rows.y[i], rows.size[i], eta, own_aux(rows, i))
                sums[rows.by * i] += w.f[c] * rows.weight[i] * a0
                sums[rows.by * i + 1] += w.f[c] * rows.weight[i] * a1
                sums[rows.by * i + 2] += w.f[c] * rows.weight[i] * a2
