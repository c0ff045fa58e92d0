"""The mode of a level's density by Newton's method, in the symbols of `quadrature`, compiled."""

import math
from typing import NamedTuple

from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import inlined, inner, matrix_of, merged, pointer, reordered, vector_of
from bayesmm.likelihood.dense_matrices import dot, small_cholesky, solve_lower, solve_lower_transposed
from bayesmm.likelihood.exponential import exponential, logarithm
from bayesmm.likelihood.level_rows import Pointer, own_aux, predictor
from bayesmm.likelihood.lines import FLOOR
from bayesmm.likelihood.response_terms import LOGIT, row_derivatives

# Newton's method ends when the next step is this small in units of the curvature's sd (squared): what is left of the
# gradient moves the value by less than rounding does.
DECREMENT = 1e-18
STEPS, HALVINGS = 200, 60  # more than any point with a finite density has needed
ROUNDING = 1e-12  # relative: a step that lowers f by less has not lowered it
SETTLED = 1e-8  # a decrement at which rounding, not curvature, keeps a line search from rising


class Search(NamedTuple):
    """Room for the search with q random effects: pointers."""

    slope: Pointer  # (q,)
    step: Pointer  # (q,)
    trial: Pointer  # (q,)
    pull: Pointer  # (q,)
    C: Pointer  # (q, q) the factor of the curvature, C C' = H
    M: Pointer  # (q, q) C^-T
    H: Pointer  # (q, q)


def search_size(q):
    """Return how many numbers `search_at` takes."""
    return 4 * q + 3 * q * q


@inlined
def search_at(pool, at, q):
    """Return the room that begins at a place of a pool."""
    square = at + 4 * q
    return Search(
        pointer(pool, at), pointer(pool, at + q), pointer(pool, at + 2 * q), pointer(pool, at + 3 * q),
        pointer(pool, square), pointer(pool, square + q * q), pointer(pool, square + 2 * q * q),
    )  # fmt: skip


@merged
def find_mode(rows, u, started, s, w, close):
    """Set u to the mode and C and M = C^-T by the curvature there; return (found, f, log|C|).

    The last step, whose squared length is below `close`, is taken without another evaluation, unless rounding is all
    that it would mend: u is then as close to the mode as about the square of that, C is from before, and f is what the
    step makes of it. Where `started`, the search begins at u, and at 0 if that leads nowhere. Of a line's room y and
    weight are set, and at, flat and along are scratch.
    """
    found, f, q = False, -math.inf, rows.q
    for i in range(rows.n):
        w.y[i] = rows.weight[i] * rows.y[i]
        w.weight[i] = rows.weight[i] * rows.size[i]
    for at_zero in range(0 if started else 1, 2):
        if at_zero == 1:
            to_zero(q, u)
        if rows.kind >= LOGIT:
            found, f = canonical_mode(rows, u, s, w, close)
        if not found and (at_zero == 1 or rows.kind < LOGIT):
            if rows.kind >= LOGIT:
                to_zero(q, u)
            found, f = general_mode(rows, u, s, close)
        if found:
            break
    log_det, C, M = 0.0, matrix_of(s.C, (q, q)), matrix_of(s.M, (q, q))
    for a in range(q):
        log_det += math.log(C[a, a])
        for b in range(a + 1, q):
            C[a, b] = 0.0
        for b in range(q - 1, -1, -1):
            total = 1.0 if a == b else 0.0
            for c in range(b + 1, q):
                total -= C[c, b] * M[c, a]
            M[b, a] = total / C[b, b]
    return found, f, log_det


@inner
def to_zero(q, u):
    """Set u to 0."""
    for a in range(q):
        u[a] = 0.0


@merged
def canonical_mode(rows, u, s, w, close):
    """Do what `general_mode` does for rows that are not general. False: ask that one."""
    q, n, fixed, logit = rows.q, rows.n, 0.0, rows.kind == LOGIT
    for i in range(n):
        fixed += w.y[i] * rows.eta[i]
    for a in range(q):
        s.pull[a] = s.step[a] = 0.0
        for i in range(n):
            s.pull[a] += w.y[i] * rows.A[a * n + i]
    f, halved = -math.inf, 0
    for _ in range(STEPS):
        f_new, size = fixed, 0.0
        for i in range(n):
            w.at[i] = rows.eta[i]
        for a in range(q):
            at = s.trial[a] = u[a] + s.step[a]
            f_new += at * s.pull[a] - 0.5 * at * at
            size += s.step[a] * s.step[a]
            for i in range(n):
                w.at[i] += rows.A[a * n + i] * at
        f_new -= cumulants(logit, n, w.at, w.weight, w.flat, w.along)
        if not math.isfinite(f_new) or (size > 0.0 and f_new < f - ROUNDING * (1.0 + abs(f))):
            halved += 1
            if halved > HALVINGS or not size > 0.0:
                return False, f
            for a in range(q):
                s.step[a] *= 0.5
            continue
        f, halved = f_new, 0
        for a in range(q):
            u[a] = s.trial[a]
        decrement = newton_step(n, q, rows.A, u, s.pull, w.flat, w.along, s.step, s.C)
        if decrement < close:
            if decrement < DECREMENT:
                return True, f
            for a in range(q):
                u[a] += s.step[a]
            return True, f + 0.5 * decrement
        if not decrement < math.inf:
            return False, f
    return False, f


@reordered
def cumulants(logit, n, at, weight, mean, curve):
    """Return the sum of the cumulants w c(eta), and set their first and second derivatives."""
    total = 0.0
    for i in range(n):
        if not (at[i] < WILD and (at[i] > -WILD or not logit)):
            return math.inf
    if logit:
        for i in range(n):
            odds = exponential(at[i])
            other = 1.0 / (1.0 + odds)
            mean[i] = weight[i] * odds * other
            curve[i] = mean[i] * other
            total += weight[i] * logarithm(1.0 + odds)
    else:
        for i in range(n):
            mean[i] = weight[i] * exponential(max(at[i], FLOOR))
            curve[i] = mean[i]
            total += mean[i]
    return total


@reordered
def newton_step(n, q, A, u, pull, mean, curve, step, C):
    """Set C to the factor of the curvature at u and step to Newton's; return its squared length in that metric."""
    for a in range(q):
        total = pull[a] - u[a]
        for i in range(n):
            total -= mean[i] * A[a * n + i]
        step[a] = total
        for b in range(a + 1):
            total = 1.0 if a == b else 0.0
            for i in range(n):
                total += curve[i] * A[a * n + i] * A[b * n + i]
            C[a * q + b] = total
    factor, along = matrix_of(C, (q, q)), vector_of(step, (q,))
    if not small_cholesky(factor):
        return math.inf
    solve_lower(factor, along)
    decrement = dot(along, along)
    solve_lower_transposed(factor, along)
    return decrement


@inner
def density(rows, u):
    """Return f(u)."""
    f = 0.0
    for a in range(rows.q):
        f -= 0.5 * u[a] * u[a]
    for i in range(rows.n):
        eta = predictor(rows, u, i)
        f += rows.weight[i] * row_derivatives(rows.family, rows.link, rows.y[i], rows.size[i], eta, own_aux(rows, i))[0]
    return f


@inner
def curved_density(rows, u, slope, H, least):
    """Return f(u); set f'(u) and the lower triangle of H = -f''(u), no row's curvature below `least`."""
    q, n, A, f = rows.q, rows.n, rows.A, 0.0
    for a in range(q):
        f -= 0.5 * u[a] * u[a]
        slope[a] = -u[a]
        for b in range(a + 1):
            H[a * q + b] = 1.0 if a == b else 0.0
    for i in range(n):
        weight, eta = rows.weight[i], predictor(rows, u, i)
        value, d1, d2, _ = row_derivatives(rows.family, rows.link, rows.y[i], rows.size[i], eta, own_aux(rows, i))
        f += weight * value
        curved = weight * max(-d2, least)
        for a in range(q):
            slope[a] += weight * d1 * A[a * n + i]
            for b in range(a + 1):
                H[a * q + b] += curved * A[a * n + i] * A[b * n + i]
    return f


@inner
def factor(q, H, C):
    """Set C to the Cholesky factor of H; return whether there is one."""
    for a in range(q):
        for b in range(a + 1):
            C[a, b] = H[a * q + b]
    return small_cholesky(C)


@inner
def general_mode(rows, u, s, close):
    """Set u to the mode and C to the Cholesky factor of the curvature, as `find_mode` says; return (found, f)."""
    q = rows.q
    C, step = matrix_of(s.C, (q, q)), vector_of(s.step, (q,))
    f = curved_density(rows, u, s.slope, s.H, -math.inf)
    if not math.isfinite(f):
        return False, f
    for _ in range(STEPS):
        regular = factor(q, s.H, C)
        if not regular:  # away from a mode of a density that is not log-concave
            curved_density(rows, u, s.slope, s.H, 0.0)
            if not factor(q, s.H, C):
                return False, f
        for a in range(q):
            step[a] = s.slope[a]
        solve_lower(C, step)
        decrement = dot(step, step)
        solve_lower_transposed(C, step)
        if decrement < (close if regular else DECREMENT):  # flat where it is not concave is not near a mode
            if decrement < DECREMENT:
                return regular, f
            for a in range(q):
                u[a] += step[a]
            return regular, f + 0.5 * decrement
        risen, f_new = False, f
        for _ in range(HALVINGS):
            for a in range(q):
                s.trial[a] = u[a] + step[a]
            f_new = curved_density(rows, s.trial, s.slope, s.H, -math.inf)
            if f_new >= f - ROUNDING * (1.0 + abs(f)):
                risen = True
                break
            for a in range(q):
                step[a] *= 0.5
        if not risen:
            return regular and decrement < SETTLED, f
        f = f_new
        for a in range(q):
            u[a] = s.trial[a]
    return False, f
