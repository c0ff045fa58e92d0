"""The log marginal likelihood of all levels and its derivatives, compiled: what `quadrature` sums over them."""

import math

import numpy as np

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood import level_rows
from bayesmm.likelihood.compiled import call, inner, merged, pointer, reordered, vector_of
from bayesmm.likelihood.level_rows import AT_MODE, SETTINGS, SLOPES, VALUE, lead
from bayesmm.likelihood.response_terms import row_constant

# The places of what `marginal` is told: the number of nodes, 0 of a lattice, that of auxiliaries and of levels, the
# address of the rule, 1 for the finer lattice, the size of the rule's pool, what is wanted, and 1 where the modes are
# where the searches for them begin.
NODES, AUXILIARIES, LEVELS, RULE, FINE, ROOM, WANTED, STARTED = range(8)
# What may be wanted besides the value: its derivatives, or the modes with the rows' derivatives there, and no value.
DERIVATIVES, MODES = 1, 2


@inner
def marginal(data, told, nodes, log_weights, beta, L, aux, value, d_beta, d_L, d_aux, modes):
    """Set log p(y) and, if wanted, its derivatives in beta, L and aux; set the rows of modes to the u* of the levels.

    Return 1, or 0 and zero derivatives where there is no density. Where MODES are wanted, those of the n rows at them
    follow: the first in eta, and less the second.
    """
    n, q = data.Z.shape
    own = np.empty(2 * (1 + q) * n + told[ROOM])
    eta, d_eta, A, d_A = pointer(own, 0), pointer(own, n), pointer(own, 2 * n), pointer(own, (2 + q) * n)
    pool = pointer(own, 2 * (1 + q) * n)
    clear(d_beta, d_L, d_aux)
    value[0] = data.constant
    for i in range(n):
        eta[i] = data.offset[i]
        for j in range(beta.shape[0]):
            eta[i] += data.X[i, j] * beta[j]
    ok = add_levels(data, told, nodes, log_weights, L, aux, eta, A, value, d_eta, d_A, d_L, d_aux, modes, pool)
    if ok and told[WANTED] != MODES:
        ok = add_rows(data, told, aux, d_eta, value, d_beta, d_aux) and finite(d_L)
    if not ok:
        clear(d_beta, d_L, d_aux)
        value[0] = -math.inf
    own[0] = 0.0  # what are parts of it were needed up to here
    return 1 if ok else 0


@inner
def clear(d_beta, d_L, d_aux):
    """Set the derivatives to zeros."""
    for j in range(d_beta.shape[0]):
        d_beta[j] = 0.0
    for a in range(d_L.shape[0]):
        for b in range(d_L.shape[0]):
            d_L[a, b] = 0.0
    for m in range(d_aux.shape[0]):
        d_aux[m] = 0.0


@merged
def add_levels(data, told, nodes, log_weights, L, aux, eta, A, value, d_eta, d_A, d_L, d_aux, modes, pool):
    """Add the levels' log densities and derivatives; return whether all have one."""
    q, settings, found = data.Z.shape[1], np.zeros(SETTINGS, dtype=np.int64), np.zeros(2)
    settings[level_rows.FAMILY], settings[level_rows.LINK], settings[level_rows.EFFECTS] = data.family, data.link, q
    settings[level_rows.AUXILIARIES], settings[level_rows.FINE] = told[AUXILIARIES], told[FINE]
    settings[level_rows.STARTED] = told[STARTED]
    settings[level_rows.TASK] = SLOPES if told[WANTED] == DERIVATIVES else AT_MODE if told[WANTED] == MODES else VALUE
    G, N = data.start.shape[0] - 1, data.Z.shape[0]
    settings[level_rows.NODES], settings[level_rows.BY], settings[level_rows.REAL] = told[NODES], data.by, data.real
    for g in range(G):
        lo, n = data.start[g], data.start[g + 1] - data.start[g]
        own, d_own = pointer(A, q * lo), pointer(d_A, q * lo)
        settings[level_rows.ROWS] = n
        lead(data.Z, L, lo, n, own)
        arguments = (
            settings, nodes, log_weights, pointer(data.y, lo), pointer(data.size, lo), pointer(data.weight, lo),
            pointer(eta, lo), own, pointer(aux, data.by * lo), pointer(modes, q * g), found, pointer(d_eta, lo), d_own,
            pointer(d_aux, data.by * lo), pool,
        )  # fmt: skip
        if call(told[RULE], arguments) == 0:
            return False
        if told[WANTED] == MODES:
            for i in range(n):
                modes[q * G + lo + i], modes[q * G + N + lo + i] = d_eta[lo + i], d_own[i]
            continue
        value[0] += found[0]
        if told[WANTED] == DERIVATIVES:
            add_factor_slopes(data.Z, lo, n, d_own, d_L)
    return True


@reordered
def add_factor_slopes(Z, lo, n, d_A, d_L):
    """Add the derivatives in L of a level, whose A is L'Z'."""
    for a in range(d_L.shape[0]):
        for b in range(a + 1):
            total = 0.0
            for i in range(n):
                total += Z[lo + i, a] * d_A[b * n + i]
            d_L[a, b] += total


@merged
def add_rows(data, told, aux, d_eta, value, d_beta, d_aux):
    """Add the derivatives in beta, and what rows have apart from their level; return whether all is finite."""
    n, p = data.X.shape
    if told[WANTED] == DERIVATIVES:
        for i in range(n):
            for j in range(p):
                d_beta[j] += data.X[i, j] * d_eta[i]
    if told[AUXILIARIES] > 0:
        for i in range(n):
            own = vector_of(pointer(aux, data.by * i), (MOST_PARAMETERS,))
            rest, a0, a1 = row_constant(data.family, data.link, data.y[i], own)
            value[0] += data.weight[i] * rest
            d_aux[data.by * i] += data.weight[i] * a0
            d_aux[data.by * i + 1] += data.weight[i] * a1
    for j in range(p):
        if not math.isfinite(d_beta[j]):
            return False
    for m in range(d_aux.shape[0]):
        if not math.isfinite(d_aux[m]):
            return False
    return math.isfinite(value[0])


@inner
def finite(d_L):
    """Return whether all numbers of a matrix are finite."""
    for a in range(d_L.shape[0]):
        for b in range(d_L.shape[0]):
            if not math.isfinite(d_L[a, b]):
                return False
    return True
