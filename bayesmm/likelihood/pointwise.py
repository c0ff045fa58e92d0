"""The log likelihood row by row and level by level, for many draws of the parameters at once, for any family.

What `quadrature` sums over the levels of a factor is kept apart here, and the linear predictor at b = 0 is given for
each draw, so that it may hold the effects of other factors. The symbols are those of `quadrature`.
"""

import math

import numpy as np

from bayesmm.likelihood.compiled import compiled
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.lattice import find_level, level_sum
from bayesmm.likelihood.lattice_walk import PICKS, ROWS, SHORT_RUN, run_length, walk_size, walk_workspace
from bayesmm.likelihood.quadrature import Grouped
from bayesmm.likelihood.quadrature_canonical import sizes, space
from bayesmm.likelihood.quadrature_kernels import lead, predictor
from bayesmm.likelihood.response_kernels import log_density
from bayesmm.likelihood.response_terms import row_derivatives


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


def integrated(data: Grouped, eta: Floats, L: Floats, aux: Floats, *, rows: bool) -> tuple[Floats, Floats]:
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
    rows : bool

    Returns
    -------
    (draws, G) float64, and (draws, n) float64 with no columns unless `rows`

    Raises
    ------
    ArithmeticError
        If a level has no mode at one of the draws, so that they are none of its posterior.
    """
    levels = np.empty((len(eta), len(data.start) - 1))
    single = np.empty((len(eta), len(data.y) if rows else 0))
    arrays = (np.ascontiguousarray(array, dtype=np.float64) for array in (eta, L, aux))
    failed = _integrated(data, *arrays, levels, single)
    if failed >= 0:
        raise ArithmeticError(f"the conditional density of the random effects has no mode at draw {failed}")
    return levels, single


@compiled
def _densities(family, link, y, size, weight, eta, aux, out):
    for s in range(eta.shape[0]):
        for i in range(eta.shape[1]):
            out[s, i] = weight[i] * log_density(family, link, y[i], size[i], eta[s, i], aux[s])


@compiled
def _integrated(data, eta, L, aux, levels, single):
    """Fill in the levels and the single rows; return the number of a draw without a mode, -1 if there is none."""
    n, q = data.Z.shape
    n_level, k, size = sizes(data, np.zeros((0, q)))
    run = SHORT_RUN if single.shape[1] > 0 else run_length(data)
    pool, A, u, own = np.zeros(size + walk_size(n_level, q, run)), np.empty((n, q)), np.empty(q), np.empty(n)
    s, w = space(pool, n_level, k, q), walk_workspace(pool[size:], n_level, q, run)
    C, M, task = s.square[2], s.square[3], ROWS if single.shape[1] > 0 else PICKS
    w.marks[:] = -1.0  # no node is picked
    for draw in range(eta.shape[0]):
        for g in range(data.start.shape[0] - 1):
            lo, hi = data.start[g], data.start[g + 1]
            found, top = find_level(data, lo, hi, eta[draw], A, L[draw], aux[draw], u, C, s, False)
            if not found:
                return draw
            lead(data, lo, hi, L[draw], A)
            for i in range(lo, hi):
                at = predictor(eta[draw], A, u, i)
                value = row_derivatives(data.family, data.link, data.y[i], data.size[i], at, aux[draw])[0]
                w.own[i - lo] = data.weight[i] * value
            ok, value = level_sum(data, lo, hi - lo, aux[draw], 0, u, C, M, top, task, False, s, w)
            if not ok:
                return draw
            levels[draw, g] = _rows_at(data, lo, hi, eta[draw], A, aux[draw], u, own) + value
            if single.shape[1] > 0:
                for i in range(lo, hi):
                    single[draw, i] = own[i] + math.log(w.sums[0] / w.without[i - lo])
    return -1


@compiled
def _rows_at(data, lo, hi, eta, A, aux, u, out):
    """Set the weighted log densities of the rows at u; return f(u) with constants that the quadrature leaves out."""
    f = 0.0
    for a in range(u.shape[0]):
        f -= 0.5 * u[a] * u[a]
    for i in range(lo, hi):
        at = predictor(eta, A, u, i)
        out[i] = data.weight[i] * log_density(data.family, data.link, data.y[i], data.size[i], at, aux)
        f += out[i]
    return f
