"""The marginal likelihood of a Gaussian model near the mode of its posterior, without the random effects' cost.

What is left of the cross-products when all random effects are eliminated, [X r]'V^-1[X r] and log|V| with V = I + Z
Lambda Lambda'Z', are smooth functions of the few entries of the relative factors alone: sigma, the prior of the
coefficients and the coefficients that are sampled come in afterwards. Polynomials in these entries take their place in
a box around the mode. Some hundred exact evaluations give them; an evaluation then does not depend on the numbers of
rows or levels. Outside of the box the likelihood is the exact one.
"""

from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import c_function, call, inner, zero_integers, zero_matrix, zeros
from bayesmm.likelihood.gaussian_data import Rest, Terms
from bayesmm.likelihood.gaussian_factorisation import (
    FixedPrior,
    assemble_rest,
    invert_rest,
    rest_gradient,
    rest_lambda,
    rest_likelihood,
)
from bayesmm.likelihood.gaussian_likelihood import log_density, natural_slopes, to_relative
from bayesmm.likelihood.packed import Integer, Integers, Number, reader
from bayesmm.likelihood.polynomial_terms import PolynomialTerms, add_slopes, add_terms, from_box, powers, to_box
from bayesmm.likelihood.posterior import LIKELIHOOD


class InterpolatedData(NamedTuple):
    """What is known of a likelihood and of the polynomials that take its place in a box."""

    terms: Terms
    nu: Number  # rows less flat columns
    sum_log_weights: Number
    exact: Integer  # the address of the likelihood
    words: Integers  # and its words
    polynomials: PolynomialTerms  # of log|V|, r'V^-1r, X'V^-1r, and X'V^-1X row by row up to the diagonal


read_data = reader(InterpolatedData)


@inner
def read_values(values, rest):
    """Set the rest, of the fixed columns alone, from the values of the polynomials."""
    p, at = rest.z.shape[0], 2 + rest.z.shape[0]
    for i in range(p):
        rest.z[i] = values[2 + i]
        for j in range(i + 1):
            rest.A[i, j] = rest.A[j, i] = values[at]
            at += 1


@inner
def value_slopes(lam, R, v, sigma, d_values):
    """Set the derivatives of log p in the values of the polynomials, given R = M^-1 and the coefficients v."""
    p, at, square = v.shape[0], 2 + v.shape[0], sigma * sigma
    d_values[0], d_values[1] = -0.5, -0.5 / square
    for i in range(p):
        d_values[2 + i] = v[i] / square
        for j in range(i + 1):
            both = lam[i] * R[i, j] * lam[j] + v[i] * v[j] / square
            d_values[at] = -0.5 * both if i == j else -both
            at += 1


@c_function(LIKELIHOOD)
def interpolated_likelihood(w, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, sigma, sampled coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    data, sigma = read_data(w), positive[0]
    terms, of = data.terms, data.polynomials
    size, t, p = len(terms.take), len(of.entry), len(terms.sd)
    T, lam, D, mean, u = zeros(size), zeros(p), zeros(p), zeros(p), zeros(t)
    inside = sigma > 0.0 and sigma < np.inf
    if inside:
        to_relative(terms, sigma, L, coefficients, T, lam, D, mean)
        inside = to_box(of, T, u)
    if not inside:
        own = (data.words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients)
        return call(data.exact, own)
    degrees, outputs = of.points.shape[0], of.values.shape[1]
    h, d_h, values = zero_matrix(t, degrees), zero_matrix(t, degrees), zeros(outputs)
    results, numbers = zeros(2), zeros(3)
    powers(of, u, h, d_h)
    add_terms(of, h, values)
    rest = Rest(zero_matrix(p, p), zeros(p), zero_integers(0), zero_integers(0))
    read_values(values, rest)
    M, c, v, e = zero_matrix(p, p), zeros(p), zeros(p), zeros(p)
    Lambda, prior = rest_lambda(rest, T, size, lam), FixedPrior(mean, lam, D)
    quad = assemble_rest(rest, values[1], Lambda, prior, M, c)
    ok, results[0], results[1], _, active = rest_likelihood(M, c, D, True, values[0], quad, sigma, data.nu)
    if not ok:
        return 0
    numbers[0], numbers[1], numbers[2] = sigma, data.nu, data.sum_log_weights
    value[0] = log_density(numbers, results)
    if flags[0] == 0:
        return 1
    d_T, d_lam, d_mean, d_values, d_u = zeros(size), zeros(p), zeros(p), zeros(outputs), zeros(t)
    invert_rest(rest, Lambda, mean, active, M, c, v, e)
    rest_gradient(rest, Lambda, M, c, e, sigma, d_lam)
    for j in range(p):
        d_mean[j] = e[j] / (sigma * sigma)
    value_slopes(lam, M, v, sigma, d_values)
    add_slopes(of, h, d_h, d_values, d_u)
    from_box(of, T, d_u, d_T)
    d_positive[0] = natural_slopes(terms, numbers, results, T, lam, D, d_T, d_lam, d_mean, d_L, d_coefficients)
    return 1
