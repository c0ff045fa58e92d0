"""The compiled part of `quadrature`: one level of the grouping factor at a time, in the symbols of its docstring.

`data` is the record `Grouped`; the rows of a level are lo to hi. A holds the rows a_i = L'z_i, eta the linear predictor
at u = 0.
"""

import math

import numpy as np

from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import inner
from bayesmm.likelihood.dense_matrices import dot, matmul, small_cholesky, solve_lower, solve_lower_transposed
from bayesmm.likelihood.quadrature_canonical import (
    canonical_follow,
    canonical_mode,
    canonical_sum,
    fill_powers,
    gather,
    within_reach,
)
from bayesmm.likelihood.response_terms import is_log_count, is_logit, row_derivatives, row_score

# Newton's method ends when the next step is this small in units of the curvature's sd (squared): what is left of the
# gradient moves the value by less than rounding does.
DECREMENT = 1e-18
STEPS, HALVINGS = 200, 60  # more than any point with a finite density has needed
ROUNDING = 1e-12  # relative: a step that lowers f by less has not lowered it
SETTLED = 1e-8  # a decrement at which rounding, not curvature, keeps a line search from rising
STEP = 6e-6  # of central differences: the cube root of the precision


@inner
def density_at(data, lo, hi, eta, A, aux, u, d, H, clip):
    """Return f(u); set d = f'(u) and the lower triangle of H = -f''(u), less rows of negative curvature if `clip`."""
    q, f = u.shape[0], -0.5 * dot(u, u)
    for a in range(q):
        d[a] = -u[a]
        for b in range(a + 1):
            H[a, b] = 1.0 if a == b else 0.0
    for i in range(lo, hi):
        weight = data.weight[i]
        value, d1, d2, _ = row_derivatives(
            data.family, data.link, data.y[i], data.size[i], predictor(eta, A, u, i), aux
        )
        f += weight * value
        curved = weight * (max(-d2, 0.0) if clip else -d2)
        for a in range(q):
            d[a] += weight * d1 * A[i, a]
            for b in range(a + 1):
                H[a, b] += curved * A[i, a] * A[i, b]
    return f


@inner
def along_row(A, u, i):
    """Return a_i'u. A loop over a row of its own: Numba's views cost more than short sums."""
    total = 0.0
    for a in range(u.shape[0]):
        total += A[i, a] * u[a]
    return total


@inner
def predictor(eta, A, u, i):
    """Return the linear predictor of a row at u."""
    return eta[i] + along_row(A, u, i)


@inner
def copy_lower(H, C):
    """Set the lower triangle of C to that of H."""
    for a in range(H.shape[0]):
        for b in range(a + 1):
            C[a, b] = H[a, b]


@inner
def find_mode(data, lo, hi, eta, A, aux, u, C, close=DECREMENT):
    """Set u to the mode, or as close, and C to the Cholesky factor of the curvature there; return (found, f)."""
    q = u.shape[0]
    d, H, step, trial = np.empty(q), np.zeros((q, q)), np.empty(q), np.empty(q)
    for a in range(q):
        u[a] = 0.0
    f = density_at(data, lo, hi, eta, A, aux, u, d, H, False)
    if not math.isfinite(f):
        return False, f
    for _ in range(STEPS):
        copy_lower(H, C)
        regular = small_cholesky(C)
        if not regular:  # away from a mode of a density that is not log-concave
            density_at(data, lo, hi, eta, A, aux, u, d, H, True)
            copy_lower(H, C)
            if not small_cholesky(C):
                return False, f
        for a in range(q):
            step[a] = d[a]
        solve_lower(C, step)
        decrement = dot(step, step)
        if decrement < (close if regular else DECREMENT):  # flat where it is not concave is not near a mode
            return regular, f
        solve_lower_transposed(C, step)
        risen, f_new = False, f
        for _ in range(HALVINGS):
            for a in range(q):
                trial[a] = u[a] + step[a]
            f_new = density_at(data, lo, hi, eta, A, aux, trial, d, H, False)
            if f_new >= f - ROUNDING * (1.0 + abs(f)):
                risen = True
                break
            for a in range(q):
                step[a] *= 0.5
        if not risen:
            return regular and decrement < SETTLED, f
        for a in range(q):
            u[a] = trial[a]
        f = f_new
    return False, f


@inner
def node_density(data, lo, hi, eta, A, aux, u, slope):
    """Return f(u), set slope to the rows' weighted derivatives in eta."""
    f = -0.5 * dot(u, u)
    for i in range(lo, hi):
        weight = data.weight[i]
        at = predictor(eta, A, u, i)
        value, d1, _, _ = row_derivatives(data.family, data.link, data.y[i], data.size[i], at, aux)
        f += weight * value
        slope[i - lo] = weight * d1
    return f


@inner
def add_score_auxiliary(data, lo, hi, eta, A, aux, u, factor, d_aux):
    """Add factor times the derivatives of f(u) in the auxiliaries to d_aux."""
    for i in range(lo, hi):
        weight = data.weight[i]
        a0, a1 = row_score(data.family, data.link, data.y[i], data.size[i], predictor(eta, A, u, i), aux)
        d_aux[0] += factor * weight * a0
        d_aux[1] += factor * weight * a1


@inner
def level(data, lo, hi, eta, A, L, aux, n_aux, nodes, log_weights, d_eta, d_L, d_aux, u, work):
    """Return (ok, log p(y_g) less its constant), set u to the mode; derivatives: add to d_L, d_aux, set the rows'."""
    q, n = u.shape[0], hi - lo
    C, M, d_M, d_u = work.square[2], work.square[3], work.square[4], work.small[7]
    logit = is_logit(data)
    if logit or is_log_count(data):
        gather(data, lo, hi, eta, L, work)
        found, f = canonical_mode(n, logit, u, C, work)
        if found:
            log_det = inverse_transposed(C, M)
            fill_powers(n, M, nodes, work)
            if within_reach(n, logit, nodes, work):
                ok, total = canonical_sum(n, logit, L, nodes, log_weights, u, M, d_u, d_M, d_L, work)
                if ok:
                    canonical_follow(lo, n, logit, u, C, curvature_slope(C, M, d_M), d_u, d_eta, d_L, work)
                return ok, f - log_det + total
    lead(data, lo, hi, L, A)
    found, f = find_mode(data, lo, hi, eta, A, aux, u, C)
    if not found:
        return False, -math.inf
    log_det = inverse_transposed(C, M)
    for a in range(q):
        d_u[a] = 0.0
        for b in range(q):
            d_M[a, b] = 0.0
    ok, total = node_sum(data, lo, hi, eta, A, L, aux, n_aux, nodes, log_weights, u, M, d_u, d_M, d_eta, d_L, d_aux)
    if ok:
        follow_mode(data, lo, hi, eta, A, aux, n_aux, u, C, M, d_u, d_M, d_eta, d_L, d_aux)
    return ok, f - log_det + total


@inner
def lead(data, lo, hi, L, A):
    """Set the rows a_i = L'z_i of A."""
    for i in range(lo, hi):
        for a in range(L.shape[0]):
            A[i, a] = 0.0
            for b in range(a, L.shape[0]):
                A[i, a] += L[b, a] * data.Z[i, b]


@inner
def inverse_transposed(C, M):
    """Set M = C^-T; return log|C|."""
    log_det = 0.0
    for a in range(C.shape[0]):
        log_det += math.log(C[a, a])
        M[:, a] = 0.0
        M[a, a] = 1.0
        solve_lower_transposed(C, M[:, a])
    return log_det


@inner
def node_sum(data, lo, hi, eta, A, L, aux, n_aux, nodes, log_weights, u, M, d_u, d_M, d_eta, d_L, d_aux):
    """Return (ok, log of the sum over the nodes u + M x, relative to f(u)).

    Sets d_u and d_M, the derivatives in u and M, and d_eta, and adds to d_L and d_aux those with the nodes held still.
    """
    q, total = u.shape[0], 0.0
    at, s, slope = np.empty(q), np.empty(q), np.empty(hi - lo)
    sum_L, sum_aux = np.zeros((q, q)), np.zeros(2)
    d_eta[lo:hi] = 0.0
    peak = node_density(data, lo, hi, eta, A, aux, u, slope)
    for k in range(nodes.shape[0]):
        for a in range(q):
            at[a] = u[a]
            for b in range(a, q):
                at[a] += M[a, b] * nodes[k, b]
        share = math.exp(min(log_weights[k] + node_density(data, lo, hi, eta, A, aux, at, slope) - peak, WILD))
        if not share > 0.0:
            continue
        total += share
        for a in range(q):
            s[a] = 0.0
        for i in range(lo, hi):
            d_eta[i] += share * slope[i - lo]
            for a in range(q):
                s[a] += slope[i - lo] * data.Z[i, a]
        for a in range(q):
            pull = -at[a]
            for b in range(a, q):
                pull += L[b, a] * s[b]
            d_u[a] += share * pull
            for b in range(q):
                d_M[a, b] += share * pull * nodes[k, b]
                sum_L[a, b] += share * s[a] * at[b]
        if n_aux > 0:
            add_score_auxiliary(data, lo, hi, eta, A, aux, at, share, sum_aux)
    if not (total > 0.0 and total < math.inf):
        return False, -math.inf
    d_u /= total
    d_M /= total
    d_eta[lo:hi] /= total
    d_L += sum_L / total
    d_aux += sum_aux / total
    return True, math.log(total)


@inner
def follow_mode(data, lo, hi, eta, A, aux, n_aux, u, C, M, d_u, d_M, d_eta, d_L, d_aux):
    """Add what moves the nodes, and log|C|: derivatives in u* and M are led back through H and f'(u*) = 0."""
    q = u.shape[0]
    H_bar = curvature_slope(C, M, d_M)
    rows, v = np.empty((4, hi - lo)), d_u.copy()  # of each row w d1, w d2, a'H_bar a, and -w d3 times that
    for i in range(lo, hi):
        j, weight, spread = i - lo, data.weight[i], 0.0
        _, d1, d2, d3 = row_derivatives(data.family, data.link, data.y[i], data.size[i], predictor(eta, A, u, i), aux)
        for a in range(q):
            for b in range(q):
                spread += A[i, a] * H_bar[a, b] * A[i, b]
        rows[0, j], rows[1, j], rows[2, j], rows[3, j] = weight * d1, weight * d2, spread, -weight * d3 * spread
        for a in range(q):
            v[a] += rows[3, j] * A[i, a]
    solve_lower(C, v)
    solve_lower_transposed(C, v)
    for i in range(lo, hi):
        j, along = i - lo, along_row(A, v, i)
        moved = rows[3, j] + rows[1, j] * along
        d_eta[i] += moved
        for b in range(q):
            d_a = moved * u[b] + rows[0, j] * v[b] - 2.0 * rows[1, j] * along_row(A, H_bar[b], i)
            for a in range(q):
                d_L[a, b] += data.Z[i, a] * d_a
        for m in range(n_aux):
            slope, curve = mixed(data, i, predictor(eta, A, u, i), aux, m)
            d_aux[m] += slope * along - curve * rows[2, j]


@inner
def curvature_slope(C, M, d_M):
    """Return the derivative in H = C C' of log|M| and of a function of M = C^-T whose derivative is d_M.

    The Cholesky factor is differentiated as by Smith (1995), J. Comput. Graph. Stat. 4(2).
    """
    q = C.shape[0]
    half, S, out = np.zeros((q, q)), np.zeros((q, q)), np.zeros((q, q))
    matmul(M, d_M.T, half)
    matmul(half, M, S)  # dM = -M dC'M, so that the derivative in C is the lower triangle of -M d_M'M
    for a in range(q):
        S[a, a] += 1.0 / C[a, a]
        S[a, a + 1 :] = 0.0
    matmul(C.T, S, half)
    for a in range(q):
        half[a, a] *= 0.5
        half[a, a + 1 :] = 0.0
    matmul(M, half, S)
    matmul(S, M.T, half)
    for a in range(q):
        for b in range(q):
            out[a, b] = -0.5 * (half[a, b] + half[b, a])
    return out


@inner
def mixed(data, i, at, aux, m):
    """Return the derivatives of a row's w d1 and w d2 in auxiliary m, by central differences."""
    step, slope, curve = STEP * aux[m], 0.0, 0.0
    for side in (-1.0, 1.0):
        moved = aux.copy()
        moved[m] += side * step
        _, d1, d2, _ = row_derivatives(data.family, data.link, data.y[i], data.size[i], at, moved)
        slope += side * d1
        curve += side * d2
    return data.weight[i] * slope / (2 * step), data.weight[i] * curve / (2 * step)
