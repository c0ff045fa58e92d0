"""The log marginal likelihood of all levels and its derivatives, compiled: what `quadrature` sums over them."""

import math

import numpy as np

from bayesmm.likelihood.compiled import borrowed, inner
from bayesmm.likelihood.lattice import FINE, find_level, level_sum
from bayesmm.likelihood.lattice_walk import SUMS, run_length, walk_size, walk_workspace
from bayesmm.likelihood.quadrature_canonical import matrix_of, sizes, space
from bayesmm.likelihood.quadrature_kernels import along_row, level
from bayesmm.likelihood.response_terms import row_constant


@inner
def lattice_level(data, lo, hi, eta, A, L, aux, n_aux, fine, d_eta, d_L, d_aux, u, s, w):
    """Do what `quadrature_kernels.level` does, by the rule of `lattice`."""
    q, n, C, M = u.shape[0], hi - lo, s.square[2], s.square[3]
    found, top = find_level(data, lo, hi, eta, A, L, aux, u, C, s, fine)
    if not found:
        return False, -math.inf
    ok, value = level_sum(data, lo, n, aux, n_aux, u, C, M, top, SUMS, fine, s, w)
    if not ok:
        return False, -math.inf
    total = w.sums[0]
    for i in range(n):
        d_eta[lo + i] = w.sum_slope[i] / total
        for a in range(q):
            for b in range(q):
                d_L[a, b] += s.Z[a, i] * w.sum_at[b, i] / total
    for m in range(n_aux):
        d_aux[m] += w.sums[1 + m] / total
    return True, top + value


@inner
def marginal(data, beta, L, aux, n_aux, count, nodes, log_weights, modes):
    """Return (ok, log p(y), its derivatives in beta, L and aux); set the rows of modes to the u* of the levels.

    `count` is the number of nodes, or one of `quadrature`'s names of a lattice, without nodes.
    """
    (n, p), q = data.X.shape, L.shape[0]
    d_beta, d_L, d_aux = np.zeros(p), np.zeros((q, q)), np.zeros(2)
    n_level, k, size = sizes(data, nodes)
    # The first number is log p(y); the rest is borrowed. Zeros, because `curvature_slope` reads C above its diagonal.
    run = run_length(data)
    own = np.zeros(1 + (2 + q) * n + size + walk_size(n_level, q, run))
    pool = borrowed(own)
    eta, d_eta, A = pool[1 : n + 1], pool[n + 1 : 2 * n + 1], matrix_of(pool, 2 * n + 1, n, q)
    end = 1 + (2 + q) * n
    work, walk = space(pool[end:], n_level, k, q), walk_workspace(pool[end + size :], n_level, q, run)
    own[0] = data.constant
    for i in range(n):
        eta[i] = data.offset[i] + along_row(data.X, beta, i)
    slopes = borrowed(d_L), borrowed(d_aux)
    for g in range(data.start.shape[0] - 1):
        lo, hi, u = data.start[g], data.start[g + 1], modes[g]
        if count > 0:
            ok, part = level(
                data, lo, hi, eta, A, L, aux, n_aux, nodes, log_weights, d_eta, slopes[0], slopes[1], u, work
            )
        else:
            fine = count == FINE
            ok, part = lattice_level(
                data, lo, hi, eta, A, L, aux, n_aux, fine, d_eta, slopes[0], slopes[1], u, work, walk
            )
        if not ok:
            return False, -math.inf, np.zeros(p), np.zeros_like(L), np.zeros(2)
        own[0] += part
    ok = gather_slopes(data, aux, n_aux, d_eta, own, d_beta, d_L, d_aux)
    return ok, own[0] if ok else -math.inf, d_beta, d_L, d_aux


@inner
def gather_slopes(data, aux, n_aux, d_eta, own, d_beta, d_L, d_aux):
    """Add up the derivatives in beta, and what rows have apart from their level; return whether all is finite."""
    n, p = data.X.shape
    for i in range(n):
        for j in range(p):
            d_beta[j] += data.X[i, j] * d_eta[i]
    if n_aux > 0:
        for i in range(n):
            rest, a0, a1 = row_constant(data.family, data.link, data.y[i], aux)
            own[0] += data.weight[i] * rest
            d_aux[0] += data.weight[i] * a0
            d_aux[1] += data.weight[i] * a1
    for a in range(d_L.shape[0]):
        for b in range(a):
            d_L[b, a] = 0.0
    return math.isfinite(own[0]) and np.isfinite(d_beta).all() and np.isfinite(d_L).all() and np.isfinite(d_aux).all()
