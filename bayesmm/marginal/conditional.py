"""Draws of the random effects of one grouping factor, given draws of all other parameters, for any family.

The levels are independent. For each draw and level a Metropolis chain with independent proposals is run: from a
multivariate t around the mode of f (see `quadrature`), with the curvature there. Its distance from p(u_g | y, beta, L,
auxiliaries) in total variation is at most (1 - 1 / W)^N after N proposals, W being the supremum of the ratio of the two
densities (Mengersen & Tweedie 1996, Ann. Statist. 24(1), theorem 2.1), which is finite, because f has normal tails.
"""

import math

import numpy as np

from bayesmm.marginal.canonical import matrix_of
from bayesmm.marginal.compiled import borrowed, compiled, inner
from bayesmm.marginal.crossproducts import Floats
from bayesmm.marginal.kernels import dot
from bayesmm.marginal.levels import find_mode, inverse_transposed, lead, node_density, place
from bayesmm.marginal.quadrature import Grouped
from bayesmm.marginal.response import WILD

# Degrees of freedom of the proposals: tails that cover a level whose effects are skewed.
DEGREES = 5.0
# W is taken from the mode and from this many sds to either side of it along each axis, with a margin for what lies
# between; N is then such that LEFT is left of the distance, far below the Monte Carlo error of any number of draws.
ASIDE, MARGIN, LEFT, MOST = 3.0, 1.3, 1e-3, 300
CLOSE = 1e-4  # squared distance from the mode, in sds, that is near enough for proposals


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
    own = np.zeros((2 + q) * n + 5 * q + 2 * q * q)
    pool, factors, auxiliaries = borrowed(own), borrowed(L), borrowed(aux)
    eta, slope, A = pool[:n], pool[n : 2 * n], matrix_of(pool, 2 * n, n, q)  # slope is not needed here
    end = (2 + q) * n
    room, end = matrix_of(pool, end, 5, q), end + 5 * q
    C, M = matrix_of(pool, end, q, q), matrix_of(pool, end + q * q, q, q)
    u = room[0]
    for draw in range(beta.shape[0]):
        for i in range(n):
            eta[i] = data.offset[i]
            for j in range(beta.shape[1]):
                eta[i] += data.X[i, j] * beta[draw, j]
        for g in range(data.start.shape[0] - 1):
            lo, hi = data.start[g], data.start[g + 1]
            lead(data, lo, hi, factors[draw], A)
            found, f = find_mode(data, lo, hi, eta, A, auxiliaries[draw], u, C, CLOSE)
            if not (found or math.isfinite(f)):
                return draw  # else the search has ended elsewhere, from where the chain is right too, if slower
            inverse_transposed(C, M)
            _metropolis(data, lo, hi, eta, A, auxiliaries[draw], rng, u, M, slope, room)
            for a in range(q):
                out[draw, g, a] = dot(factors[draw, a], u)
    own[0] = 0.0  # what was borrowed was needed up to here
    return -1


@inner
def _metropolis(data, lo, hi, eta, A, aux, rng, u, M, slope, room):
    """Replace the mode u by a draw; proposals are u + M t, t from a multivariate t."""
    q = u.shape[0]
    mode, x, trial, state, best = room[1], room[2], room[3], room[4], -math.inf
    number = _proposals(data, lo, hi, eta, A, aux, u, M, slope, x, trial)
    for a in range(q):
        mode[a] = state[a] = u[a]
    for step in range(number):
        stretch, length = math.sqrt(DEGREES / rng.chisquare(DEGREES)), 0.0
        for a in range(q):
            x[a] = stretch * rng.standard_normal()
            length += x[a] * x[a]
        place(mode, M, x, trial)
        ratio = node_density(data, lo, hi, eta, A, aux, trial, slope)
        ratio += 0.5 * (DEGREES + q) * math.log1p(length / DEGREES)
        if step == 0 or ratio - best > math.log(1.0 - rng.random()):
            best = ratio
            for a in range(q):
                state[a] = trial[a]
    for a in range(q):
        u[a] = state[a]


@inner
def _proposals(data, lo, hi, eta, A, aux, u, M, slope, x, at):
    """Return how many proposals a level needs: see ASIDE."""
    q = u.shape[0]
    highest = 0.0
    for a in range(q):
        x[a] = 0.0
    peak = node_density(data, lo, hi, eta, A, aux, u, slope)
    gain = 0.5 * (DEGREES + q) * math.log1p(ASIDE * ASIDE / DEGREES)
    for a in range(2 * q):
        x[a // 2] = ASIDE if a % 2 == 0 else -ASIDE
        place(u, M, x, at)
        highest = max(highest, node_density(data, lo, hi, eta, A, aux, at, slope) - peak + gain)
        x[a // 2] = 0.0
    # both densities normalised, that of u as if it were normal
    log_t = math.lgamma(0.5 * DEGREES) - math.lgamma(0.5 * (DEGREES + q)) + 0.5 * q * math.log(0.5 * DEGREES)
    W = MARGIN * math.exp(min(highest + log_t, WILD))
    return min(MOST, max(2, math.ceil(math.log(LEFT) / math.log1p(-1.0 / W))))
