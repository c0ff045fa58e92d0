"""Draws of the random effects of one grouping factor, given draws of all other parameters, for any family.

The levels are independent. For each draw and level a Metropolis chain with independent proposals is run: from the
density that is linear between the nodes of the level's `lattice` (a node in proportion to its share, and a triangular
step of one spacing to either side along each axis). It follows p(u_g | y, beta, L, auxiliaries) wherever the lattice
does, a plateau that ends on one side included. The chain's distance from it in total variation is at most
(1 - 1 / W)^N after N proposals, W being the supremum of the ratio of the two densities (Mengersen & Tweedie 1996, Ann.
Statist. 24(1), theorem 2.1).
"""

import math

import numpy as np

from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import borrowed, compiled, inner
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.dense_matrices import dot
from bayesmm.likelihood.lattice import DROP, find_level, level_sum
from bayesmm.likelihood.lattice_walk import PICKS, run_length, walk, walk_size, walk_workspace
from bayesmm.likelihood.quadrature import Grouped
from bayesmm.likelihood.quadrature_canonical import matrix_of, sizes, space
from bayesmm.likelihood.quadrature_kernels import lead, node_density

# Of a normal density W is exp(h^2 / 8) for each axis: 1.08, 1.22 and 1.36 with the steps of `lattice`. So many
# proposals with 1, 2 and 3 random effects leave less than 1e-4 of the distance, far below the Monte Carlo error of any
# number of draws, and 1e-2 where W is twice as large.
PROPOSALS = (4, 6, 8)
TINY = 1e-300


def draw_effects(data: Grouped, beta: Floats, L: Floats, aux: Floats, rng: np.random.Generator) -> Floats:
    """Draw the random effects given the other parameters.

    Parameters
    ----------
    data : Grouped
    beta : (draws, p) float64
    L : (draws, q, q) float64
        Lower triangular, L L' the covariance matrix of the random effects.
    aux : (draws, 2) float64
        The family's auxiliaries, zeros where it has fewer.
    rng : numpy.random.Generator

    Returns
    -------
    (draws, G, q) float64

    Raises
    ------
    ArithmeticError
        If a level has no density at one of the draws, so that they are none of its posterior.
    """
    effects = np.empty((len(beta), len(data.start) - 1, data.Z.shape[1]))
    arrays = (np.ascontiguousarray(array, dtype=np.float64) for array in (beta, L, aux))
    failed = _draw(data, *arrays, rng, effects)
    if failed >= 0:
        raise ArithmeticError(f"the conditional density of the random effects does not exist at draw {failed}")
    return effects


@compiled
def _draw(counted, beta, L, aux, rng, out):
    """Fill in the effects; return the number of a draw without a density, -1 if there is none."""
    d = counted
    data = Grouped(
        d.family, d.link, borrowed(d.y), borrowed(d.size), borrowed(d.weight), borrowed(d.offset), borrowed(d.X),
        borrowed(d.Z), borrowed(d.start), d.constant, borrowed(d.words),
    )  # fmt: skip
    n, q = data.Z.shape
    nodes = np.zeros((0, q))
    n_level, k, size = sizes(data, nodes)
    run = run_length(data)
    own = np.zeros((2 + q) * n + size + walk_size(n_level, q, run) + 3 * q)
    pool, factors, auxiliaries = borrowed(own), borrowed(L), borrowed(aux)
    eta, slope, A = pool[:n], pool[n : 2 * n], matrix_of(pool, 2 * n, n, q)  # slope is not needed here
    end = (2 + q) * n
    s, w = space(pool[end:], n_level, k, q), walk_workspace(pool[end + size :], n_level, q, run)
    work = matrix_of(pool, end + size + walk_size(n_level, q, run), 3, q)
    u, C, M = work[0], s.square[2], s.square[3]
    for draw in range(beta.shape[0]):
        for i in range(n):
            eta[i] = data.offset[i]
            for j in range(beta.shape[1]):
                eta[i] += data.X[i, j] * beta[draw, j]
        for g in range(data.start.shape[0] - 1):
            lo, hi = data.start[g], data.start[g + 1]
            L_now, aux_now = factors[draw], auxiliaries[draw]
            found, top = find_level(data, lo, hi, eta, A, L_now, aux_now, u, C, s, False)
            if not (found or math.isfinite(top)):
                return draw  # else the search has ended elsewhere, from where the chain is right too, if slower
            lead(data, lo, hi, L_now, A)
            w.marks[:] = -1.0  # nothing is picked: the shares have to be known first
            ok, _ = level_sum(data, lo, hi - lo, aux_now, 0, u, C, M, top, PICKS, False, s, w)
            if not ok:
                return draw
            for j in range(PROPOSALS[q - 1]):
                w.marks[j] = rng.random() * w.sums[0]
            walk(data, lo, hi - lo, aux_now, 0, u, top, DROP, PICKS, s, w)
            _metropolis(data, lo, hi, eta, A, aux_now, rng, top, slope, w, u, work)
            for a in range(q):
                out[draw, g, a] = dot(factors[draw, a], u)
    own[0] = 0.0  # what was borrowed was needed up to here
    return -1


@inner
def _metropolis(data, lo, hi, eta, A, aux, rng, top, slope, w, u, work):
    """Set u to a draw; the proposals are triangular steps from the picked nodes."""
    q, best, trial, step = u.shape[0], -math.inf, work[1], work[2]
    for k in range(PROPOSALS[q - 1]):
        for a in range(q):
            step[a] = rng.random() + rng.random() - 1.0
        for b in range(q):
            trial[b] = w.picks[k, b]
            for a in range(q):
                trial[b] += step[a] * w.steps[a, b]
        log_f = node_density(data, lo, hi, eta, A, aux, trial, slope) - top
        ratio = log_f - math.log(_proposed(data, lo, hi, eta, A, aux, top, slope, w, k, step, trial))
        if k == 0 or ratio - best > math.log(1.0 - rng.random()):
            best = ratio
            for b in range(q):
                u[b] = w.picks[k, b]
                for a in range(q):
                    u[b] += step[a] * w.steps[a, b]


@inner
def _proposed(data, lo, hi, eta, A, aux, top, slope, w, k, step, corner):
    """Return the density of a step from pick k, up to a constant: linear between the nodes around it."""
    q, density = step.shape[0], TINY
    for which in range(2**q):
        weight = 1.0
        for b in range(q):
            corner[b] = w.picks[k, b]
        for a in range(q):
            if (which >> a) % 2 == 0:
                weight *= 1.0 - abs(step[a])
                continue
            weight *= abs(step[a])
            for b in range(q):
                corner[b] += w.steps[a, b] if step[a] > 0.0 else -w.steps[a, b]
        f = node_density(data, lo, hi, eta, A, aux, corner, slope) - top
        density += weight * math.exp(min(f, WILD))
    return density
