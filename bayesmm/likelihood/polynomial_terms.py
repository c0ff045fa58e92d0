"""Polynomials in a box for compiled code: `sparse_interpolation.Interpolant` with its derivatives."""

import math
from typing import NamedTuple

from bayesmm.likelihood.box import Box
from bayesmm.likelihood.compiled import inner, reordered, zeros
from bayesmm.likelihood.packed import Integers, Matrix, Vector
from bayesmm.likelihood.sparse_interpolation import Interpolant, leja_points


class PolynomialTerms(NamedTuple):
    """Polynomials of o values in t variables, and the box that they are for."""

    entry: Integers  # (t,) see `Box`
    diagonal: Integers  # (t,)
    centre: Vector  # (t,)
    axes: Matrix  # (t, t)
    points: Vector  # (degree + 1,) `leja_points`
    scales: Vector  # (degree + 1,)
    index: Matrix  # (N, t) degrees of the terms
    values: Matrix  # (N, o) their coefficients


def terms_of(box: Box, found: Interpolant) -> PolynomialTerms:
    """Return the polynomials as compiled code takes them."""
    points, scales = (kept[: int(found.index.max()) + 1] for kept in leja_points())
    return PolynomialTerms(box.entry, box.diagonal, box.centre, box.axes, points, scales, found.index, found.terms)


@inner
def to_box(data, T, u):
    """Set u at parameters T; return whether they are in the box."""
    t, s = u.shape[0], zeros(u.shape[0])
    for i in range(t):
        at, diagonal = data.entry[i], data.diagonal[i]
        of = T[diagonal] if diagonal >= 0 else 1.0
        if not of > 0.0:
            return False
        s[i] = (math.log(of) if at == diagonal else T[at] / of) - data.centre[i]
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
        d_T[at] += d_s / T[of] if of >= 0 else d_s
        if of >= 0 and at != of:
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
    for n in range(data.index.shape[0]):
        weight = 1.0
        for i in range(h.shape[0]):
            weight *= h[i, int(data.index[n, i])]
        for k in range(values.shape[0]):
            values[k] += weight * data.values[n, k]


@reordered
def add_slopes(data, h, d_h, d_values, d_u):
    """Add to d_u what derivatives in the values give: of each term the product of what is on both sides of a factor."""
    t = h.shape[0]
    left = zeros(t)
    for n in range(data.index.shape[0]):
        own = 0.0
        for k in range(d_values.shape[0]):
            own += d_values[k] * data.values[n, k]
        for i in range(t):
            left[i] = own
            own *= h[i, int(data.index[n, i])]
        right = 1.0
        for i in range(t - 1, -1, -1):
            degree = int(data.index[n, i])
            d_u[i] += left[i] * right * d_h[i, degree]
            right *= h[i, degree]
