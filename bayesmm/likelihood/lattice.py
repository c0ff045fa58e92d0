r"""The integral over one level's random effects by the trapezoidal rule, to a stated accuracy whatever the parameters.

In the symbols of `quadrature`, with M = C^-T, f is summed over the lattice u* + M diag(h) j, j in Z^q:

    log p(y_g) = log|M| + sum_a log h_a + log sum_j exp f(u* + M diag(h) j) - (q / 2) log 2 pi.

The rule errs by the Fourier transform of exp(f) at the multiples of 2 pi / h (Trefethen & Weideman 2014, SIAM Review
56(3), theorem 5.1): for a normal density by 2 exp(-2 pi^2 / h^2), and by exp(-2 pi D / (h B)) along an axis on which
eta changes by B, D being how far from the real axis a row's density is analytic in eta (pi for a logit, pi / 2 for
exp(-exp eta)). A Gauss-Hermite rule has no such bound where a level's rows are all of one kind: its density is then a
plateau that ends on one side only, within a fraction of the prior's sd.

So h is what a normal density needs, or less where a row is so steep that exp(-2 pi D / (h B)) would exceed exp(-RATE).
What that does not know of is seen in the sum itself: its parts over every second and every third layer of nodes show
the transform at pi / h and 2 pi / (3 h), and h is lowered until both are small. Nodes are taken in runs outwards from
the mode until f has fallen by DROP; where f is concave nothing further out is more. Derivatives are by Fisher's
identity over the same nodes: the integral of a derivative is 0, so that nothing is lost by nodes that move.

Tolerance: meant is 1e-5 of a level's density. Measured (``benchmarks/quadrature``: yes/no responses, 26 to 300 levels
of 3 to 20 rows, sds of 0.5 to 16, one and two random effects, 72 cases): log p off by at most 0.006, means of a
posterior by 0.0017 of its sds, sds by 0.05 %. What stays approximate: densities with a jump or a kink (a mean that has
to be above 0, at 0), those with a second mode behind a gap deeper than DROP, rows so steep that the smallest step is
too long, and levels whose rows are very many or have very large weights at the edge of a plateau. The check
"quadrature" of a posterior looks for these by a finer rule.
"""

import math

from bayesmm.families.families import NUMBERED_STRIPS
from bayesmm.families.special import LOG_2PI
from bayesmm.likelihood.compiled import c_function, inner, merged
from bayesmm.likelihood.lattice_walk import RESIDUES, SHARES, TOP, run_length, walk, walk_at
from bayesmm.likelihood.level_rows import (
    AT_MODE,
    AUXILIARIES,
    LEVEL,
    LEVELS,
    MARGINS,
    PICKS,
    SLOPES,
    STARTED,
    TASK,
    WITHOUT,
    own_aux,
    predictor,
    rows_at,
    scores_of,
)
from bayesmm.likelihood.level_rows import (
    FINE as IS_FINE,
)
from bayesmm.likelihood.modes import density, find_mode
from bayesmm.likelihood.response_kernels import NUMBERS, WHOLE_STRIP, entry
from bayesmm.likelihood.response_terms import GENERAL, LOGIT, row_derivatives

# In place of a number of nodes: this rule, and this rule with half the steps and nodes further out, to judge it by.
LATTICE, FINE = 0, -1
# The step for a normal density, in its sds, with one, two and three random effects. The rule is then off by 1e-13,
# 1e-8 and 1e-8; more nodes in one dimension show smaller edges in the sums over every second layer, and cost little.
STEP_1, STEP_MORE = 0.8, 0.9
# Steep rows may leave exp(-RATE): of 20 equal rows of sd 16, whose pole is of order 20, that is 1e-6 of a level with
# one random effect.
RATE_1, RATE_MORE = 20.0, 16.0
# What the sums over every second and third layer may show, of the whole: about thrice what a normal density shows with
# the steps above. Where they decay as exp(-D / h), the rule itself is off by the square of the first.
SECOND_1, THIRD_1, SECOND_MORE, THIRD_MORE = 3e-3, 0.08, 0.015, 0.15
LOWER, LOWERED = 0.7, 8  # the factor by which h is lowered, and how often
# The smallest h: 1,000 nodes along an axis with one random effect, 100 with two, 50 with three; a level then takes
# about a millisecond.
LEAST_1, LEAST_2, LEAST_3 = 0.01, 0.08, 0.2
DROP, FINE_DROP = 14.0, 28.0  # of f, where the nodes end: exp(-14) is 1e-6, and a normal density has 1e-7 beyond
CLOSE, FINE_CLOSE = 0.01, 1e-8  # squared length, in sds, of the last step of the search for the mode
FAR = 8.0  # prior sds from which on a row's edge is out of the reach of any node


@c_function(LEVEL, plan="levels")
def lattice_level(
    settings, nodes, log_weights, y, size, weight, eta, A, aux, u, value, d_eta, d_A, d_aux, pool
):  # fmt: skip
    """Integrate over the effects of one level: see `level_rows.LEVEL`, and for its tasks `lattice_walk.visit`.

    AT_MODE gives no value, but the rows' first derivatives in eta at u* as d_eta, and less the second ones as the first
    n numbers of d_A. MARGINS is VALUE also where no mode was found, but a finite value; PICKS walks again what was
    walked before, by the same pool. With WITHOUT, d_eta are log p(y_i | the other rows) less log p(y_i | u*).
    """
    rows, task = rows_at(settings, y, size, weight, eta, A, aux), settings[TASK]
    n, q = rows.n, rows.q
    kind = GENERAL if task == WITHOUT else rows.kind
    w, n_aux = walk_at(pool, n, q, run_length(kind, q), rows.by), settings[AUXILIARIES]
    fine = settings[IS_FINE] == 1
    drop = FINE_DROP if fine else DROP
    if task == PICKS:
        walk(rows, kind, n_aux, u, drop, task, d_eta, d_A, w)
        return 1
    found, top, log_det = find_mode(
        rows, u, settings[STARTED] == 1, w.search, w.line, FINE_CLOSE if fine or task == AT_MODE else CLOSE
    )
    w.sums[TOP] = top = density(rows, u) if task >= LEVELS else top
    if not (found or (task == MARGINS and math.isfinite(top))):
        return 0
    if task == AT_MODE:
        at_mode(rows, u, d_eta, d_A)
        return 1
    if task == WITHOUT:
        for i in range(n):
            at = predictor(rows, u, i)
            w.own[i] = weight[i] * row_derivatives(rows.family, rows.link, y[i], size[i], at, own_aux(rows, i))[0]
    first_steps(rows, u, fine, w)
    for attempt in range(LOWERED):
        set_steps(w)
        walk(rows, kind, n_aux, u, drop, task, d_eta, d_A, w)
        if not (w.sums[SHARES] > 0.0 and w.sums[SHARES] < math.inf):
            return 0
        if attempt == LOWERED - 1 or not lower_steps(w):
            break
    value[0] = top + math.log(w.sums[SHARES]) - log_det
    for a in range(q):
        value[0] += math.log(w.h[a]) - 0.5 * LOG_2PI
    value[1] = top
    finish(task, n, q, scores_of(rows, n_aux), d_eta, d_A, d_aux, w)
    return 1


@inner
def at_mode(rows, u, slope, curve):
    """Set the derivatives of the rows' log densities in eta at u, and less the second ones."""
    for i in range(rows.n):
        at = predictor(rows, u, i)
        _, d1, d2, _ = row_derivatives(rows.family, rows.link, rows.y[i], rows.size[i], at, own_aux(rows, i))
        slope[i], curve[i] = rows.weight[i] * d1, -rows.weight[i] * d2


@merged
def finish(task, n, q, n_scores, d_eta, d_A, d_aux, w):
    """Make means of the sums."""
    scale = 1.0 / w.sums[SHARES]
    if task == WITHOUT:
        for i in range(n):
            d_eta[i] = -math.log(w.without[i] * scale)
        return
    for i in range(n):
        d_eta[i] *= scale
    for i in range(q * n):
        d_A[i] *= scale
    if task == SLOPES:
        for m in range(n_scores):
            d_aux[m] += w.scores[m] * scale


@inner
def strip(family):
    """Return how far from the real axis the log density of a row is analytic in eta: see `Family.strip`."""
    whole = family >= NUMBERS and entry(family, WHOLE_STRIP) == 1
    for number in NUMBERED_STRIPS:
        whole = whole or family == number
    return math.pi if whole else 0.5 * math.pi


@merged
def first_steps(rows, u, fine, w):
    """Set h to what a normal density needs, or what the steepest row needs that can matter."""
    q, n, A, M = rows.q, rows.n, rows.A, w.search.M
    # D, up to which a row's density is analytic and bounded
    D = strip(rows.family)
    rate = RATE_1 if q == 1 else RATE_MORE
    for a in range(q):
        w.h[a] = 0.0  # the steepest
    for i in range(n):
        if rows.kind >= LOGIT:
            at, length = predictor(rows, u, i), 0.0
            for b in range(q):
                length += A[b * n + i] * A[b * n + i]
            if at * at > FAR * FAR * length:
                continue
        for a in range(q):
            steep = 0.0
            for b in range(a + 1):
                steep += A[b * n + i] * M[b * q + a]
            w.h[a] = max(w.h[a], abs(steep))
    for a in range(q):
        steep, w.h[a] = w.h[a], STEP_1 if q == 1 else STEP_MORE
        if steep * w.h[a] * rate > 2.0 * math.pi * D:
            w.h[a] = 2.0 * math.pi * D / (rate * steep)
        w.h[a] = max(w.h[a], least_step(q)) * (0.5 if fine else 1.0)


@inner
def least_step(q):
    """Return the smallest step."""
    return LEAST_1 if q == 1 else LEAST_2 if q == 2 else LEAST_3


@merged
def lower_steps(w):
    """Lower h along the axes on which the layers show that it is too long; return whether there was any."""
    q, lowered = w.line.q, False
    for a in range(q):
        second, real, imaginary = 0.0, 0.0, 0.0
        for r in range(RESIDUES):
            share = w.layers[a * RESIDUES + r] / w.sums[SHARES]
            second += share if r % 2 == 0 else -share
            real += share if r % 3 == 0 else -0.5 * share
            imaginary += share if r % 3 == 1 else -share if r % 3 == 2 else 0.0
        third = math.sqrt(real * real + 0.75 * imaginary * imaginary)
        too_long = abs(second) > (SECOND_1 if q == 1 else SECOND_MORE) or third > (THIRD_1 if q == 1 else THIRD_MORE)
        if too_long and w.h[a] > least_step(q):
            w.h[a] *= LOWER
            lowered = True
    return lowered


@merged
def set_steps(w):
    """Set the steps along the axes, the columns of M in units of h."""
    q = w.line.q
    for a in range(q):
        for b in range(q):
            w.steps[a * q + b] = w.search.M[b * q + a] * w.h[a] if b <= a else 0.0
