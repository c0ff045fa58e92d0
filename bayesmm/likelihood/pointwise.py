"""The log likelihood row by row and level by level, for many draws of the parameters at once, for any family.

What `quadrature` sums over the levels of a factor is kept apart here, and the linear predictor at b = 0 is given for
each draw, so that it may hold the effects of other factors. The symbols are those of `quadrature`.
"""

import numpy as np

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.compiled import call, compiled, pointer
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.lattice import lattice_level
from bayesmm.likelihood.lattice_walk import walk_size
from bayesmm.likelihood.level_rows import BY, LEVELS, ROWS, TASK, WITHOUT, lead, told
from bayesmm.likelihood.quadrature import Grouped
from bayesmm.likelihood.response_kernels import log_density


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
    aux : (draws, 3) float64, or (draws, n, by)
        The family's auxiliaries, zeros where it has fewer; or those of each row.

    Returns
    -------
    (draws, n) float64
    """
    out = np.empty(eta.shape)
    own = np.ascontiguousarray(aux if aux.ndim == 3 else aux[:, None])
    _densities(family, link, y, size, weight, np.ascontiguousarray(eta), own, out)
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
    return Grouped(family, link, 0, 0, *columns, np.zeros(len(y)), nothing, Z, start, 0.0, np.zeros(1, dtype=np.int64))


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
    aux : (draws, 3) float64, or (draws, n, by)
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
    arrays = (np.ascontiguousarray(array, dtype=np.float64) for array in (eta, L, aux.reshape(len(aux), -1)))
    q, most = data.Z.shape[1], int(np.diff(data.start).max(initial=1))
    by = aux.shape[2] if aux.ndim == 3 else 0
    settings, pool = told(data.family, data.link, q, WITHOUT if rows else LEVELS, by), np.empty(walk_size(most, q, by))
    failed = _integrated(data, lattice_level().address, settings, *arrays, levels, single, pool)
    if failed >= 0:
        raise ArithmeticError(f"the conditional density of the random effects has no mode at draw {failed}")
    return levels, single


@compiled
def _densities(family, link, y, size, weight, eta, aux, out):
    for s in range(eta.shape[0]):
        for i in range(eta.shape[1]):
            out[s, i] = weight[i] * log_density(
                family, link, y[i], size[i], eta[s, i], aux[s, i if aux.shape[1] > 1 else 0]
            )


@compiled
def _integrated(data, address, settings, eta, L, aux, levels, single, pool):
    """Fill in the levels and the single rows; return the number of a draw without a mode, -1 if there is none."""
    n, q = data.Z.shape
    value, numbers, more = np.empty(2), np.empty((2 + 2 * q) * n + q), np.zeros(MOST_PARAMETERS)
    nothing, rest = np.zeros(0), 2 * n + q  # of the numbers: own, left out, u, then A and its derivatives
    own, without, u = numbers[:n], numbers[n : 2 * n], numbers[2 * n : rest]
    by = settings[BY]
    for draw in range(eta.shape[0]):
        for g in range(data.start.shape[0] - 1):
            lo, rows = data.start[g], data.start[g + 1] - data.start[g]
            settings[ROWS] = rows
            A, d_A = pointer(numbers, rest), pointer(numbers, rest + q * n)
            lead(data.Z, L[draw], lo, rows, A)
            arguments = (
                settings, nothing, nothing, data.y[lo:], data.size[lo:], data.weight[lo:], eta[draw, lo:], A,
                aux[draw, by * lo :], u, value, without[lo:], d_A, more, pool,
            )  # fmt: skip
            if call(address, arguments) == 0:
                return draw
            levels[draw, g] = value[0] - value[1] + _rows_at(data, lo, rows, eta[draw], A, aux[draw], by, u, own)
            if settings[TASK] == WITHOUT:
                for i in range(lo, lo + rows):
                    single[draw, i] = own[i] + without[i]
    return -1


@compiled
def _rows_at(data, lo, rows, eta, A, aux, by, u, out):
    """Set the weighted log densities of the rows at u; return f(u) with constants that the quadrature leaves out."""
    f = 0.0
    for a in range(u.shape[0]):
        f -= 0.5 * u[a] * u[a]
    for i in range(lo, lo + rows):
        at = eta[i]
        for a in range(u.shape[0]):
            at += A[a * rows + i - lo] * u[a]
        out[i] = data.weight[i] * log_density(
            data.family, data.link, data.y[i], data.size[i], at, aux[by * i : by * i + max(by, MOST_PARAMETERS)]
        )
        f += out[i]
    return f
