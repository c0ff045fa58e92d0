"""Polynomials in a box for compiled code: `sparse_interpolation.Interpolant` with its derivatives."""

import math
from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.box import Box
from bayesmm.likelihood.compiled import inner, reordered, zeros
from bayesmm.likelihood.packed import Integers, Matrix, Vector
from bayesmm.likelihood.sparse_interpolation import Interpolant, leja_points


class PolynomialTerms(NamedTuple):
    """Polynomials of o values in t variables, and the box that they are for.

    Terms that differ in the degree of the last variable alone follow one another, degree 0 first: they are a run.
    """

    entry: Integers  # (t,) see `Box`
    diagonal: Integers  # (t,)
    centre: Vector  # (t,)
    axes: Matrix  # (t, t)
    floor: Vector  # (t,)
    points: Vector  # (degree + 1,) `leja_points`
    scales: Vector  # (degree + 1,)
    start: Integers  # (runs + 1,) where each begins
    degrees: Matrix  # (runs, t - 1) of the variables before the last
    values: Matrix  # (N, o) coefficients of the terms


def terms_of(box: Box, found: Interpolant) -> PolynomialTerms:
    """Return the polynomials as compiled code takes them."""
    points, scales = (kept[: int(found.index.max()) + 1] for kept in leja_points())
    order = np.lexsort(found.index.T[::-1])  # with each term come all of lower degrees
    index, first = found.index[order], np.flatnonzero(found.index[order, -1] == 0)
    own = np.append(first, len(index)), index[first, :-1], found.terms[order]
    return PolynomialTerms(box.entry, box.diagonal, box.centre, box.axes, box.floor, points, scales, *own)


@inner
def to_box(data, T, u):
    """Set u at parameters T; return whether they are in the box."""
    t, s = u.shape[0], zeros(u.shape[0])
    for i in range(t):
        at, diagonal = data.entry[i], data.diagonal[i]
        of = T[diagonal] if diagonal >= 0 else 1.0
        if not of > 0.0:
            return False
        log = 0.5 * math.log(of * of + data.floor[i] * data.floor[i]) if at == diagonal else 0.0
        s[i] = (log if at == diagonal else T[at] / of) - data.centre[i]
    inside = True
    for i in range(t):
        u[i] = 0.0
        for j in range(t):
            u[i] += data.axes[i, j] * s[j]
        inside = inside and abs(u[i]) <= 1.0
    return inside


@inner
def from_box(data, T, d_u, d_T):
    """Set the derivatives in T from those in u."""
    t = d_u.shape[0]
    for i in range(t):
        d_s, at, of = 0.0, data.entry[i], data.diagonal[i]
        for j in range(t):
            d_s += data.axes[j, i] * d_u[j]
        if of < 0:
            d_T[at] += d_s
        elif at == of:
            d_T[at] += d_s * T[at] / (T[at] * T[at] + data.floor[i] * data.floor[i])
        else:
            d_T[at] += d_s / T[of]
            d_T[of] -= d_s * T[at] / (T[of] * T[of])


@inner
def powers(data, u, h, d_h):
    """Set the polynomials h_k(u_i), (t, degree + 1), and their derivatives."""
    for i in range(u.shape[0]):
        own, slope = 1.0, 0.0
        for k in range(data.points.shape[0]):
            h[i, k], d_h[i, k] = own * data.scales[k], slope * data.scales[k]
            slope = slope * (u[i] - data.points[k]) + own
            own *= u[i] - data.points[k]


@reordered
def add_terms(data, h, values):
    """Add the terms of the polynomials to their values, (o,)."""
    last = h.shape[0] - 1
    for r in range(data.degrees.shape[0]):
        before = 1.0
        for i in range(last):
            before *= h[i, int(data.degrees[r, i])]
        for n in range(data.start[r], data.start[r + 1]):
            weight = before * h[last, n - data.start[r]]
            for k in range(values.shape[0]):
                values[k] += weight * data.values[n, k]


@reordered
def add_slopes(data, h, d_h, d_values, d_u):
    """Add to d_u what derivatives in the values give, and return the sum of these times the values.

    Of each run a slope is the product of what is on both sides of a variable.
    """
    last, total = h.shape[0] - 1, 0.0
    left = zeros(last)
    for r in range(data.degrees.shape[0]):
        own = slope = 0.0
        for n in range(data.start[r], data.start[r + 1]):
            term, degree = 0.0, n - data.start[r]
            for k in range(d_values.shape[0]):
                term += d_values[k] * data.values[n, k]
            own += term * h[last, degree]
            slope += term * d_h[last, degree]
        before = 1.0
        for i in range(last):
            left[i] = before
            before *= h[i, int(data.degrees[r, i])]
        total += own * before
        d_u[last] += slope * before
        for i in range(last - 1, -1, -1):
            degree = int(data.degrees[r, i])
            d_u[i] += left[i] * own * d_h[i, degree]
            own *= h[i, degree]
    return total
