"""Draws of the random effects of one grouping factor, given draws of all other parameters, for any family.

The levels are independent. Where the density of a level is log-concave, `concave_draws` draws it. Elsewhere a
Metropolis chain with independent proposals is run for each draw and level: from the density that is linear between the
nodes of the level's `lattice` (a node in proportion to its share, and a triangular step of one spacing to either side
along each axis). It follows p(u_g | y, beta, L, auxiliaries) wherever the lattice does, a plateau that ends on one side
included. The chain's distance from it in total variation is at most (1 - 1 / W)^N after N proposals, W being the
supremum of the ratio of the two densities (Mengersen & Tweedie 1996, Ann. Statist. 24(1), theorem 2.1).
"""

import math

import numpy as np

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import call, compiled, inner, matrix_of, pointer
from bayesmm.likelihood.concave_draws import draw_concave, mode_near
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.dense_matrices import dot
from bayesmm.likelihood.lattice import lattice_level
from bayesmm.likelihood.lattice_walk import PICKS, SHARES, run_length, walk_at, walk_size
from bayesmm.likelihood.level_rows import MARGINS, ROWS, TASK, Rows, kind_by, lead, told
from bayesmm.likelihood.modes import density, to_zero
from bayesmm.likelihood.quadrature import Grouped
from bayesmm.likelihood.response_terms import LOGIT

# Of a normal density W is exp(h^2 / 8) for each axis: 1.08, 1.22 and 1.36 with the steps of `lattice`. So many
# proposals with 1, 2 and 3 random effects leave less than 1e-4 of the distance, far below the Monte Carlo error of any
# number of draws, and 1e-2 where W is twice as large.
PROPOSALS = (4, 6, 8)
TINY = 1e-300
FARTHEST = 30.0  # of a mode, in sds: from farther out differences of log densities would lose digits
# Tasks: modes of all levels or of those with canonical links alone; draws of families that are concave, and of others.
MODES, CANONICAL_MODES, CONCAVE, ANY = range(4)


def draw_effects(
    data: Grouped, beta: Floats, L: Floats, aux: Floats, rng: np.random.Generator, *, concave: bool = False
) -> Floats:
    """Draw the random effects given the other parameters.

    Parameters
    ----------
    data : Grouped
    beta : (draws, p) float64
    L : (draws, q, q) float64
        Lower triangular, L L' the covariance matrix of the random effects.
    aux : (draws, 3) float64, or (draws, n, by)
        The family's auxiliaries, zeros where it has fewer; or those of each row, in the order of the levels.
    rng : numpy.random.Generator
    concave : bool
        Whether the log density of each row is concave in its linear predictor (`Family.concave`).

    Returns
    -------
    (draws, G, q) float64

    Raises
    ------
    ArithmeticError
        If a level has no density at one of the draws, so that they are none of its posterior.
    """
    effects = np.empty((len(beta), len(data.start) - 1, data.Z.shape[1]))
    arrays = [np.ascontiguousarray(array, dtype=np.float64) for array in (beta, L, aux.reshape(len(aux), -1))]
    middle = [array.mean(axis=0, keepdims=True) for array in arrays] if len(beta) else arrays
    q, most = data.Z.shape[1], int(np.diff(data.start).max(initial=1))
    settings = told(data.family, data.link, q, MARGINS, data.by)
    own = np.empty(2 * q * len(data.y) + len(data.y) + 3 * q), np.zeros(walk_size(most, q, data.by))
    address, near = lattice_level().address, np.zeros(effects.shape[1:])
    _draw(data, address, settings, *middle, rng, near[None], near, *own, MODES if concave else CANONICAL_MODES)
    failed = _draw(data, address, settings, *arrays, rng, effects, near, *own, CONCAVE if concave else ANY)
    if failed >= 0:
        raise ArithmeticError(f"the conditional density of the random effects does not exist at draw {failed}")
    return effects


@compiled
def _draw(data, address, settings, beta, L, aux, rng, out, near, numbers, pool, task):
    """Fill in the effects; return the number of a draw without a density, -1 if there is none.

    With the tasks of modes they are these, where they are found, and there are no draws. Searches begin at the effects
    `near`, (G, q). What is known by pointers alone, `numbers` and `pool`, is the caller's: Numba frees an array after
    its last use.
    """
    n, q = data.Z.shape
    eta, value = np.empty(n), np.empty(2)
    nothing, work = np.zeros(MOST_PARAMETERS), matrix_of(pointer(numbers, 2 * q * n + n), (3, q))
    u, slopes, A, d_A = work[0], pointer(numbers, 2 * q * n), pointer(numbers, 0), pointer(numbers, q * n)
    kind = kind_by(data.family, data.link, data.by)
    concave = task == CONCAVE or task == MODES or kind >= LOGIT
    for draw in range(beta.shape[0]):
        now, L_now = aux[draw], L[draw]
        for i in range(n):
            eta[i] = data.offset[i]
            for j in range(beta.shape[1]):
                eta[i] += data.X[i, j] * beta[draw, j]
        for g in range(data.start.shape[0] - 1):
            lo, rows_of = data.start[g], data.start[g + 1] - data.start[g]
            lead(data.Z, L_now, lo, rows_of, A)
            own = pointer(now, data.by * lo)
            rows = Rows(
                rows_of, q, data.family, data.link, kind, pointer(data.y, lo), pointer(data.size, lo),
                pointer(data.weight, lo), pointer(eta, lo), A, own, data.by, data.real,
            )  # fmt: skip
            w = walk_at(pool, rows_of, q, run_length(kind, q), data.by)
            _to_standard(L_now, near[g], u)
            if task == MODES or task == CANONICAL_MODES:
                if concave and mode_near(rows, w, u):
                    for a in range(q):
                        out[draw, g, a] = dot(L_now[a], u)
                continue
            if concave and draw_concave(rows, w, rng, u):
                for a in range(q):
                    out[draw, g, a] = dot(L_now[a], u)
                continue
            arguments = (
                settings, nothing, nothing, rows.y, rows.size, rows.weight, rows.eta, A, own, u, value, slopes, d_A,
                nothing, pool,
            )  # fmt: skip
            settings[ROWS], settings[TASK] = rows_of, MARGINS
            if call(address, arguments) == 0:
                return draw  # where no mode is found, but a density, the chain is right too, if slower
            for j in range(PROPOSALS[q - 1]):
                w.marks[j] = rng.random() * w.sums[SHARES]
            settings[TASK] = PICKS
            call(address, arguments)
            _metropolis(rows, rng, value[1], w, u, work)
            for a in range(q):
                out[draw, g, a] = dot(L_now[a], u)
    return -1


@inner
def _to_standard(L, b, u):
    """Set u to L^-1 b, or to 0 where that is so far out that a search does better from there."""
    near = True
    for a in range(u.shape[0]):
        u[a] = b[a]
        for c in range(a):
            u[a] -= L[a, c] * u[c]
        near = near and L[a, a] > 0.0 and abs(u[a]) < FARTHEST * L[a, a]
        u[a] = u[a] / L[a, a] if near else 0.0
    if not near:
        to_zero(u.shape[0], u)


@inner
def _metropolis(rows, rng, top, w, u, work):
    """Set u to a draw; the proposals are triangular steps from the picked nodes."""
    q, best, trial, step = u.shape[0], -math.inf, work[1], work[2]
    for k in range(PROPOSALS[q - 1]):
        for a in range(q):
            step[a] = rng.random() + rng.random() - 1.0
        for b in range(q):
            trial[b] = w.picks[k * q + b]
            for a in range(q):
                trial[b] += step[a] * w.steps[a * q + b]
        ratio = density(rows, trial) - top - math.log(_proposed(rows, top, w, k, step, trial))
        if k == 0 or ratio - best > math.log(1.0 - rng.random()):
            best = ratio
            for b in range(q):
                u[b] = w.picks[k * q + b]
                for a in range(q):
                    u[b] += step[a] * w.steps[a * q + b]


@inner
def _proposed(rows, top, w, k, step, corner):
    """Return the density of a step from pick k, up to a constant: linear between the nodes around it."""
    q, total = step.shape[0], TINY
    for which in range(2**q):
        weight = 1.0
        for b in range(q):
            corner[b] = w.picks[k * q + b]
        for a in range(q):
            if (which >> a) % 2 == 0:
                weight *= 1.0 - abs(step[a])
                continue
            weight *= abs(step[a])
            for b in range(q):
                corner[b] += w.steps[a * q + b] if step[a] > 0.0 else -w.steps[a * q + b]
        total += weight * math.exp(min(density(rows, corner) - top, WILD))
    return total
