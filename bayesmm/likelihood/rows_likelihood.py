"""The likelihood of a generalised model without random effects as a C function of the natural parameters."""

import math
from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.design.records import Design
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.kernel import Kernels
from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import (
    c_function,
    fused,
    pointer,
    reordered,
    vector_of,
    zeros,
)
from bayesmm.likelihood.exponential import exponential
from bayesmm.likelihood.own_parameters import (
    kind_of_own,
    own_parameters,
    own_size,
    pull_own,
    read_own,
    set_own,
)
from bayesmm.likelihood.packed import Integers, Ints, Vector, pack, reader
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.quadrature import Grouped, grouped, read_grouped
from bayesmm.likelihood.response_kernels import add_scores_at
from bayesmm.likelihood.response_terms import (
    COUNTS,
    LOGIT,
    SMOOTH,
    kind_of,
    row_constant,
    row_derivatives,
    row_score,
    smooth_rows,
)
from bayesmm.likelihood.row_functions import codes

FLOOR = -700.0  # of exponents
MANY_ROWS = 512  # factors up to 2 whose product does not overflow
SMALLEST = 1e-40  # sigma or shape: `Kernels.smooth` is cut off far from 0, where a smaller sigma has no density
FEW_COLUMNS = 4  # that are summed one by one


class Same(NamedTuple):
    """Responses whose sum of `Kernels.row_constant`, so many times each, is that of all rows at all parameters."""

    y: Vector
    weight: Vector


def rows_words(design: Design) -> Ints:
    """Return the words of `rows_likelihood`; for this process only."""
    none, level = np.zeros((design.n, 0)), np.zeros(design.n, np.int64)
    own = dict(size=design.size, weights=design.weights, offset=design.offset, **kind_of_own(design))
    data = grouped(*codes(design.family), design.y, design.X, none, level, 1, **own)
    return pack(RowsData(data.words, own_parameters(design).words, same_of(design.family.kernels, data)))


def same_of(kernels: Kernels | None, data: Grouped) -> Same:
    """Return as few responses as there are: two where `Kernels.constant_in` is given, else each that differs once."""
    if kernels is None or kernels.constant_in is None or len(data.y) == 0:
        values, place = np.unique(data.y, return_inverse=True)
        return Same(values, np.bincount(place, data.weight, len(values)))
    s = kernels.constant_in(data.y)
    ends = [int(np.argmin(s)), int(np.argmax(s))]
    width = s[ends[1]] - s[ends[0]]
    share = (s - s[ends[0]]) / width if width > 0 else np.zeros(len(s))
    return Same(data.y[ends], np.array([data.weight @ (1 - share), data.weight @ share]))


@reordered
def yes_or_no(y, weight, eta, slope):
    """Set the slopes of binary responses with a logit link, (n,), y being shares of successes; return log p."""
    n, total, heaviest = eta.shape[0], 0.0, 0.0
    for i in range(n):
        slope[i] = exponential(max(-abs(eta[i]), FLOOR))
        total += weight[i] * (y[i] * eta[i] - max(eta[i], 0.0))
        heaviest = max(heaviest, abs(weight[i] - 1.0))
    if heaviest == 0.0:
        for first in range(0, n, MANY_ROWS):
            product = 1.0
            for i in range(first, min(first + MANY_ROWS, n)):
                product *= 1.0 + slope[i]
            total -= math.log(product)
    else:
        for i in range(n):
            total -= weight[i] * math.log1p(slope[i])
    for i in range(n):
        near = 1.0 / (1.0 + slope[i])
        slope[i] = weight[i] * (y[i] - (near if eta[i] > 0.0 else slope[i] * near))
    return total


@reordered
def counts(y, weight, eta, slope):
    """Set the slopes of counts with a log link, (n,); return log p."""
    total = 0.0
    for i in range(eta.shape[0]):
        slope[i] = exponential(min(max(eta[i], FLOOR), WILD))
        total += weight[i] * (y[i] * eta[i] - slope[i])
        slope[i] = weight[i] * (y[i] - slope[i])
    return total


@fused
def any_rows(data, aux, n_aux, eta, slope, d_aux):
    """Set the slopes, and add to the derivatives in the family's parameters; return log p."""
    total = 0.0
    for i in range(eta.shape[0]):
        weight, y, size = data.weight[i], data.y[i], data.size[i]
        own = vector_of(pointer(aux, data.by * i), (MOST_PARAMETERS,))
        part, d1, _, _ = row_derivatives(data.family, data.link, y, size, eta[i], own)
        total += weight * part
        slope[i] = weight * d1
        if data.by > MOST_PARAMETERS:
            add_scores_at(data.family, y, size, eta[i], own, weight, data.by, pointer(d_aux, data.by * i))
        elif n_aux > 0:
            a0, a1, a2 = row_score(data.family, data.link, y, size, eta[i], own)
            d_aux[data.by * i] += weight * a0
            d_aux[data.by * i + 1] += weight * a1
            d_aux[data.by * i + 2] += weight * a2
    return total


@fused
def constants(data, same, aux, d_aux):
    """Add what rows have apart from the linear predictor to the derivatives in the parameters; return its sum.

    Where all rows have the same parameters it is that of fewer responses.
    """
    total, y, weight = 0.0, same.y, same.weight
    if data.by > 0:
        y, weight = data.y, data.weight
    for i in range(y.shape[0]):
        own = vector_of(pointer(aux, data.by * i), (MOST_PARAMETERS,))
        rest, b0, b1 = row_constant(data.family, data.link, y[i], own)
        total += weight[i] * rest
        d_aux[data.by * i] += weight[i] * b0
        d_aux[data.by * i + 1] += weight[i] * b1
    return total


@fused
def sum_rows(data, same, aux, n_aux, eta, slope, d_aux):
    """Return log p of all rows at linear predictors eta, (n,); set their slopes, add to the derivatives in aux."""
    kind = kind_of(data.family, data.link)
    if kind == LOGIT:
        return data.constant + yes_or_no(data.y, data.weight, eta, slope)
    if kind == COUNTS:
        return data.constant + counts(data.y, data.weight, eta, slope)
    if kind == SMOOTH and data.by == 0 and aux[0] > SMALLEST:
        total, d0, d1 = smooth_rows(data.family, data.y, data.size, data.weight, eta, slope, aux[0], aux[1])
        d_aux[0] += d0
        d_aux[1] += d1
    else:
        total = any_rows(data, aux, n_aux, eta, slope, d_aux)
    if n_aux > 0 and data.by <= MOST_PARAMETERS:
        total += constants(data, same, aux, d_aux)
    return data.constant + total


@reordered
def predictors(data, beta, eta):
    """Set the linear predictors of the fixed part, (n,)."""
    for i in range(eta.shape[0]):
        total = data.offset[i]
        for j in range(beta.shape[0]):
            total += data.X[i, j] * beta[j]
        eta[i] = total


@reordered
def gather_columns(X, slope, d_beta):
    """Add X' slope to the derivatives in the coefficients."""
    if d_beta.shape[0] > FEW_COLUMNS:
        for i in range(slope.shape[0]):
            for j in range(d_beta.shape[0]):
                d_beta[j] += X[i, j] * slope[i]
        return
    for j in range(d_beta.shape[0]):
        total = 0.0
        for i in range(slope.shape[0]):
            total += X[i, j] * slope[i]
        d_beta[j] += total


class RowsData(NamedTuple):
    """What the likelihood of a model without random effects knows of it."""

    rows: Integers  # words of `Grouped`
    own: Integers  # words of `Own`
    same: Same


read_data = reader(RowsData)


@c_function(LIKELIHOOD)
def rows_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | parameters, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    known = read_data(words)
    data, own = read_grouped(known.rows), read_own(known.own)
    n, p = data.X.shape
    aux, eta, slope = zeros(own_size(own, n)), zeros(n), zeros(n)
    d_aux = zeros(aux.shape[0])
    if not set_own(own, positive, aux):
        return 0
    predictors(data, carray(coefficients, (p,)), eta)
    total = sum_rows(data, known.same, aux, own.number, eta, slope, d_aux)
    if not math.isfinite(total):
        return 0
    value[0] = total
    if flags[0] == 0:
        return 1
    pull_own(own, positive, aux, d_aux, d_positive)
    gather_columns(data.X, slope, carray(d_coefficients, (p,)))
    return 1
