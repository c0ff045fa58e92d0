"""The likelihood of a generalised model without random effects as a C function of the natural parameters."""

import math

import numpy as np
from numba import carray

from bayesmm.design.records import Design
from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import c_function, fused, integers, matrix, pack, vector, zeros
from bayesmm.likelihood.crossproducts import Ints
from bayesmm.likelihood.exponential import exponential
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.quadrature import Grouped, grouped
from bayesmm.likelihood.response_terms import is_log_count, is_logit, row_constant, row_derivatives, row_score
from bayesmm.likelihood.row_functions import codes

FLOOR = -700.0  # of exponents
MANY_ROWS = 512  # factors up to 2 whose product does not overflow


def rows_words(design: Design) -> Ints:
    """Return the words of `rows_likelihood`; for this process only."""
    none, level = np.zeros((design.n, 0)), np.zeros(design.n, np.int64)
    own = dict(size=design.trials, weights=design.weights, offset=design.offset)
    data = grouped(*codes(design.family), design.y, design.X, none, level, 1, **own)
    return pack(np.array([len(design.family.auxiliaries)]), data.words)


@fused
def yes_or_no(y, weight, eta, slope):
    """Set the slopes of binary responses with a logit link, (n,), y being shares of successes; return log p."""
    n, total, product = eta.shape[0], 0.0, 1.0
    for i in range(n):
        slope[i] = exponential(max(-abs(eta[i]), FLOOR))
    for i in range(n):
        total += weight[i] * (y[i] * eta[i] - max(eta[i], 0.0))
        if weight[i] == 1.0:
            product *= 1.0 + slope[i]
        else:
            total -= weight[i] * math.log1p(slope[i])
        if i % MANY_ROWS == MANY_ROWS - 1:
            total -= math.log(product)
            product = 1.0
    for i in range(n):
        near = 1.0 / (1.0 + slope[i])
        slope[i] = weight[i] * (y[i] - (near if eta[i] > 0.0 else slope[i] * near))
    return total - math.log(product)


@fused
def counts(y, weight, eta, slope):
    """Set the slopes of counts with a log link, (n,); return log p."""
    total = 0.0
    for i in range(eta.shape[0]):
        slope[i] = exponential(min(max(eta[i], FLOOR), WILD))
    for i in range(eta.shape[0]):
        total += weight[i] * (y[i] * eta[i] - slope[i])
        slope[i] = weight[i] * (y[i] - slope[i])
    return total


@fused
def any_rows(data, aux, n_aux, eta, slope, d_aux):
    """Set the slopes, and add to the derivatives in the family's parameters; return log p."""
    total = 0.0
    for i in range(eta.shape[0]):
        weight, y, size = data.weight[i], data.y[i], data.size[i]
        part, d1, _, _ = row_derivatives(data.family, data.link, y, size, eta[i], aux)
        total += weight * part
        slope[i] = weight * d1
        if n_aux > 0:
            a0, a1 = row_score(data.family, data.link, y, size, eta[i], aux)
            rest, b0, b1 = row_constant(data.family, data.link, y, aux)
            total += weight * rest
            d_aux[0] += weight * (a0 + b0)
            d_aux[1] += weight * (a1 + b1)
    return total


@c_function(LIKELIHOOD)
def rows_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | parameters, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    own = carray(words, (words[0],))
    n_aux, w = integers(own, 0)[0], integers(own, 1)
    known = integers(w, 0)
    data = Grouped(
        known[0], known[1], vector(w, 1), vector(w, 2), vector(w, 3), vector(w, 4), matrix(w, 5), matrix(w, 6),
        integers(w, 7), vector(w, 8)[0], w,
    )  # fmt: skip
    n, p = data.X.shape
    aux, d_aux, eta, slope = zeros(2), zeros(2), zeros(n), zeros(n)
    for m in range(n_aux):
        aux[m] = positive[m]
        if not (aux[m] > 0.0 and aux[m] < np.inf):  # where exp(x) under- or overflows
            return 0
    for i in range(n):
        eta[i] = data.offset[i]
        for j in range(p):
            eta[i] += data.X[i, j] * coefficients[j]
    if is_logit(data):
        total = yes_or_no(data.y, data.weight, eta, slope)
    elif is_log_count(data):
        total = counts(data.y, data.weight, eta, slope)
    else:
        total = any_rows(data, aux, n_aux, eta, slope, d_aux)
    total += data.constant
    if not math.isfinite(total):
        return 0
    value[0] = total
    if flags[0] == 0:
        return 1
    for m in range(n_aux):
        d_positive[m] = d_aux[m]
    for i in range(n):
        for j in range(p):
            d_coefficients[j] += data.X[i, j] * slope[i]
    return 1
