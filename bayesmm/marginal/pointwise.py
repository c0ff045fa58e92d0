"""The log likelihood row by row and level by level, for many draws of the parameters at once, for any family.

What `quadrature` sums over the levels of a factor is kept apart here, and the linear predictor at b = 0 is given for
each draw, so that it may hold the effects of other factors. The symbols are those of `quadrature`.
"""

import math

import numpy as np

from bayesmm.marginal.compiled import compiled
from bayesmm.marginal.crossproducts import Floats, Ints
from bayesmm.marginal.levels import find_mode, inverse_transposed, lead, node_density, place, predictor
from bayesmm.marginal.quadrature import Grouped, rule
from bayesmm.marginal.response import WILD, log_density


def log_densities(
    family: int, link: int, y: Floats, size: Floats, weight: Floats, eta: Floats, aux: Floats
) -> Floats:  # fmt: skip
    """Return the weighted log density of every row for every draw, with all constants.

    Parameters
    ----------
    family, link : int
        Codes of `families`.
    y, size, weight : (n,) float64
        Responses, trials (1 elsewhere) and prior weights.
    eta : (draws, n) float64
        Linear predictors.
    aux : (draws, 2) float64
        The family's auxiliaries, zeros where it has fewer.

    Returns
    -------
    (draws, n) float64
    """
    out = np.empty(eta.shape)
    _densities(family, link, y, size, weight, np.ascontiguousarray(eta), np.ascontiguousarray(aux), out)
    return out


def sorted_rows(
    family: int, link: int, y: Floats, size: Floats, weight: Floats, Z: Floats, start: Ints
) -> Grouped:  # fmt: skip
    """Return rows that are already in the order of their levels as the compiled code takes them, none merged.

    Parameters
    ----------
    family, link : int
    y, size, weight : (n,) float64
    Z : (n, q) float64
    start : (G + 1,) int64
        Rows start[g] to start[g + 1] are of level g.
    """
    columns = [np.ascontiguousarray(column, dtype=np.float64) for column in (y, size, weight)]
    nothing, Z = np.zeros((len(y), 0)), np.ascontiguousarray(Z, dtype=np.float64)
    start = np.asarray(start, dtype=np.int64)
    return Grouped(family, link, *columns, np.zeros(len(y)), nothing, Z, start, 0.0, np.zeros(1, dtype=np.int64))


def integrated(data: Grouped, eta: Floats, L: Floats, aux: Floats, k: int, *, rows: bool) -> tuple[Floats, Floats]:
    """Return log p(y_g) of every level and draw and, if asked for, log p(y_i | the other rows of its level).

    Parameters
    ----------
    data : Grouped
        From `sorted_rows`.
    eta : (draws, n) float64
        Linear predictors at b = 0.
    L : (draws, q, q) float64
        Lower triangular, b = L u.
    aux : (draws, 2) float64
    k : int
        Nodes of the quadrature in each dimension.
    rows : bool

    Returns
    -------
    (draws, G) float64, and (draws, n) float64 with no columns unless `rows`

    Raises
    ------
    ArithmeticError
        If a level has no mode at one of the draws, so that they are none of its posterior.
    """
    nodes, log_weights = rule(k, data.Z.shape[1])
    levels = np.empty((len(eta), len(data.start) - 1))
    single = np.empty((len(eta), len(data.y) if rows else 0))
    arrays = (np.ascontiguousarray(array, dtype=np.float64) for array in (eta, L, aux))
    failed = _integrated(data, *arrays, nodes, log_weights, levels, single)
    if failed >= 0:
        raise ArithmeticError(f"the conditional density of the random effects has no mode at draw {failed}")
    return levels, single


@compiled
def _densities(family, link, y, size, weight, eta, aux, out):
    for s in range(eta.shape[0]):
        for i in range(eta.shape[1]):
            out[s, i] = weight[i] * log_density(family, link, y[i], size[i], eta[s, i], aux[s])


@compiled
def _integrated(data, eta, L, aux, nodes, log_weights, levels, single):
    """Fill in the levels and the single rows; return the number of a draw without a mode, -1 if there is none."""
    n, q = data.Z.shape
    A, u, C, M = np.empty((n, q)), np.empty(q), np.zeros((q, q)), np.zeros((q, q))
    own, there, without, slope, at = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(q)
    for s in range(eta.shape[0]):
        for g in range(data.start.shape[0] - 1):
            lo, hi, total = data.start[g], data.start[g + 1], 0.0
            lead(data, lo, hi, L[s], A)
            found, _ = find_mode(data, lo, hi, eta[s], A, aux[s], u, C)
            if not found:
                return s
            log_det = inverse_transposed(C, M)
            f = _rows_at(data, lo, hi, eta[s], A, aux[s], u, own)
            without[lo:hi] = 0.0
            peak = node_density(data, lo, hi, eta[s], A, aux[s], u, slope)
            for j in range(nodes.shape[0]):
                place(u, M, nodes[j], at)
                density = node_density(data, lo, hi, eta[s], A, aux[s], at, slope)
                share = math.exp(min(log_weights[j] + density - peak, WILD))
                total += share
                if single.shape[1] > 0 and share > 0.0:
                    _rows_at(data, lo, hi, eta[s], A, aux[s], at, there)
                    for i in range(lo, hi):
                        without[i] += share * math.exp(min(own[i] - there[i], WILD))
            levels[s, g] = f - log_det + math.log(total)
            if single.shape[1] > 0:
                for i in range(lo, hi):
                    single[s, i] = own[i] + math.log(total / without[i])
    return -1


@compiled
def _rows_at(data, lo, hi, eta, A, aux, u, out):
    """Set the weighted log densities of the rows at u; return f(u) with all constants, which `levels` leaves out."""
    f = 0.0
    for a in range(u.shape[0]):
        f -= 0.5 * u[a] * u[a]
    for i in range(lo, hi):
        at = predictor(eta, A, u, i)
        out[i] = data.weight[i] * log_density(data.family, data.link, data.y[i], data.size[i], at, aux)
        f += out[i]
    return f
