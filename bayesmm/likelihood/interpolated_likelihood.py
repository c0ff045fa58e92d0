"""A likelihood of few parameters near its mode, as a polynomial in all of them."""

from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import assign, c_function, call, zero_matrix, zeros
from bayesmm.likelihood.packed import Integer, Integers, reader
from bayesmm.likelihood.polynomial_terms import PolynomialTerms, add_slopes, add_terms, from_box, powers, to_box
from bayesmm.likelihood.posterior import LIKELIHOOD


class WholeData(NamedTuple):
    """What is known of a likelihood and of the polynomial that takes its place in a box."""

    exact: Integer  # the address of the likelihood
    words: Integers  # and its words
    sizes: Integers  # (3,) of L, of the auxiliaries, and of the coefficients
    polynomials: PolynomialTerms  # of log p, in these parameters side by side


read_data = reader(WholeData)


@c_function(LIKELIHOOD)
def whole_likelihood(w, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | parameters) and its derivatives, see ``posterior.LIKELIHOOD``."""
    data = read_data(w)
    of, (a, b, c) = data.polynomials, (data.sizes[0], data.sizes[1], data.sizes[2])
    at, u = zeros(a + b + c), zeros(len(of.entry))
    assign(at[:a], carray(L, (a,)))
    assign(at[a : a + b], carray(positive, (b,)))
    assign(at[a + b :], carray(coefficients, (c,)))
    if not to_box(of, at, u):
        own = (data.words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients)
        return call(data.exact, own)
    t, degrees, ones, values = len(u), of.points.shape[0], np.ones(1), zeros(1)
    h, d_h = zero_matrix(t, degrees), zero_matrix(t, degrees)
    powers(of, u, h, d_h)
    if flags[0] == 0:
        add_terms(of, h, values)
        value[0] = values[0]
        return 1
    d_at, d_u = zeros(a + b + c), zeros(t)
    value[0] = add_slopes(of, h, d_h, ones, d_u)
    from_box(of, at, d_u, d_at)
    for i in range(a):
        d_L[i] = d_at[i]
    for i in range(b):
        d_positive[i] = d_at[a + i]
    for i in range(c):
        d_coefficients[i] = d_at[a + b + i]
    return 1
