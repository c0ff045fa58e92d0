"""The marginal likelihood of a Gaussian model as C functions: of the relative factors, and of natural parameters."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    call,
    compiled,
    from_python,
    inner,
    merged,
    pointers,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.crossproducts import CrossProducts
from bayesmm.likelihood.gaussian_data import read_cross_products, read_gaussian, read_terms
from bayesmm.likelihood.gaussian_factorisation import (
    FixedPrior,
    assemble_rest,
    eliminate,
    invert_rest,
    leading_gradient,
    rest_gradient,
    rest_lambda,
    rest_likelihood,
    rest_sizes,
)
from bayesmm.likelihood.packed import Floats
from bayesmm.likelihood.posterior import LIKELIHOOD

# (cross-products, inputs sigma and nu and two flags, T, mean, lam, D, results log|M| and quad and sigma, derivatives
# with respect to T, lam, mean, and what `Solution` has) -> 1, or 0 where M is not positive definite
RELATIVE = INT64(WORDS, *[DOUBLES] * 11)


@inner
def unpack_rest(d_rest, e, sigma, skip, d_T, d_lam, d_mean):
    """Set what comes after the first `skip` entries of d_T, and the derivatives of the fixed columns."""
    length, p, m = d_T.shape[0] - skip, d_lam.shape[0], e.shape[0]
    for i in range(length):
        d_T[skip + i] = d_rest[i]
    for j in range(p):
        d_lam[j] = d_rest[length + j]
        d_mean[j] = e[m - p + j] / (sigma * sigma)


@c_function(INT64(WORDS, *[DOUBLES] * 7), plan="linear")
def elimination(w, T_, mean_, lam_, D_, M_, c_, results):
    """Set M and c of the rest without the leading factor, its part of log|M| and r'Wr less what it explains."""
    lead, rest, rWr, _, functions, _ = read_cross_products(w)
    q = lead.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    M, c = carray(M_, (m, m)), carray(c_, (m,))
    prior = FixedPrior(carray(mean_, (p,)), carray(lam_, (p,)), carray(D_, (p,)))
    lam = rest_lambda(rest, carray(T_, (length,)), q * q, prior.lam)
    quad = assemble_rest(rest, rWr[0], lam, prior, M, c)
    if functions.shape[0] > 0:
        ok, explained = call(functions[0], (w, T_, mean_, lam_, M_, c_, results)) == 1, results[1]
    else:
        ok, results[0], explained = eliminate(lead, lam, carray(T_, (q, q)), prior.mean, M, c)
    results[1] = quad - explained
    return 1 if ok else 0


@c_function(INT64(WORDS, *[DOUBLES] * 8))
def leading_derivatives(w, T_, lam_, v_, R_, sigma, e_, d_T_, d_rest_):
    """Apply `gaussian_factorisation.leading_gradient`."""
    lead, rest, _, _, functions, _ = read_cross_products(w)
    q = lead.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    if functions.shape[0] > 0:
        return call(functions[1], (w, T_, lam_, v_, R_, sigma, e_, d_T_, d_rest_))
    lam = rest_lambda(rest, carray(T_, (length,)), q * q, carray(lam_, (p,)))
    v, e, R, d_T = carray(v_, (m,)), carray(e_, (m,)), carray(R_, (m, m)), carray(d_T_, (length,))
    d_rest = carray(d_rest_, (length - q * q + p,))
    leading_gradient(lead, lam, carray(T_, (q, q)), v, R, sigma[0], e, d_T, d_rest)
    return 1


@c_function(RELATIVE, calls=(elimination, leading_derivatives))
def relative(w, inputs, T_, mean_, lam_, D_, results, d_T_, d_lam_, d_mean_, M_, vectors_):
    """Evaluate log|M|, the quadratic form and, where it is asked for, the gradient at relative factors T.

    M and the vectors are those of `Solution`.
    """
    cross = read_cross_products(w)
    rest, q = cross.rest, cross.leading.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    M, vectors, left = carray(M_, (m, m)), carray(vectors_, (3, m)), zeros(2)
    c, v, e = vectors[0], vectors[1], vectors[2]
    if call("elimination", (w, T_, mean_, lam_, D_, M_, c, left)) == 0:
        return 0
    D, mean = carray(D_, (p,)), carray(mean_, (p,))
    ok, results[0], results[1], results[2], active = rest_likelihood(
        M, c, D, inputs[2] > 0.0, left[0], left[1], inputs[0], inputs[1]
    )
    if ok and inputs[3] > 0.0:
        d_T, d_lam, d_mean = carray(d_T_, (length,)), carray(d_lam_, (p,)), carray(d_mean_, (p,))
        d_rest, left[0] = zeros(length - q * q + p), results[2]
        lam = rest_lambda(rest, carray(T_, (length,)), q * q, carray(lam_, (p,)))
        invert_rest(rest, lam, mean, active, M, c, v, e)
        call("leading_derivatives", (w, T_, lam_, v, M_, left, e, d_T_, d_rest))
        rest_gradient(rest, lam, M, c, e, left[0], d_rest)
        unpack_rest(d_rest, e, left[0], q * q, d_T, d_lam, d_mean)
    return 1 if ok else 0


@merged
def to_relative(terms, sigma, L, coefficients, T, lam, D, mean):
    """Set the packed relative factors T, and the prior of the fixed columns, at natural parameters."""
    for i in range(T.shape[0]):
        T[i] = L[terms.take[i]] * terms.scale[i] / sigma
    for j in range(lam.shape[0]):
        proper = terms.sd[j] < np.inf
        lam[j], D[j] = terms.sd[j] / sigma if proper else 1.0, 1.0 if proper else 0.0
    for j in range(len(terms.sampled)):
        mean[terms.sampled[j]] = coefficients[j] - terms.at[j]


@merged
def log_density(numbers, results):
    """Return log p from log|M| and the quadratic form; the numbers are sigma, nu and the sum of the log weights."""
    sigma, nu = numbers[0], numbers[1]
    residual = results[1] / sigma / sigma  # sigma^2 may overflow
    return -0.5 * (nu * (math.log(2.0 * math.pi) + 2.0 * math.log(sigma)) - numbers[2] + results[0] + residual)


@merged
def natural_slopes(terms, numbers, results, T, lam, D, d_T, d_lam, d_mean, d_L, d_coefficients):
    """Set the derivatives in L and in the sampled coefficients from those in T, lam and mean; return that in sigma."""
    sigma = numbers[0]
    d_sigma = (results[1] / sigma / sigma - numbers[1]) / sigma
    for i in range(T.shape[0]):
        d_L[terms.take[i]] = d_T[i] * terms.scale[i] / sigma
        d_sigma -= d_T[i] * T[i] / sigma
    for j in range(lam.shape[0]):
        d_sigma -= D[j] * d_lam[j] * lam[j] / sigma
    for j in range(len(terms.sampled)):
        d_coefficients[j] = d_mean[terms.sampled[j]]
    return d_sigma


@c_function(INT64(WORDS, WORDS, WORDS, *[DOUBLES] * 11), calls=(relative,))
def gaussian_at(w, cross, flags, numbers, L, coefficients, value, d_L, d_sigma, d_coefficients, T_, lam_, M, vectors):
    """Set log p(y | L, sigma, sampled coefficients) and its derivatives for one set of cross-products.

    `w` begins with `Terms`; the numbers are sigma, nu and the sum of the log weights. T, (sum q_k^2,), lam, (p,), M and
    the vectors are room for the relative factors and what `relative` finds.
    """
    terms = read_terms(w)
    sigma, nu, size, p = numbers[0], numbers[1], len(terms.take), len(terms.sd)
    if not (sigma > 0.0 and sigma < np.inf):  # where exp(x) under- or overflows; 0 would be taken for "find it"
        return 0
    T, lam, mean, D = carray(T_, (size,)), carray(lam_, (p,)), zeros(p), zeros(p)
    d_T, d_lam, d_mean, results, inputs = zeros(size), zeros(p), zeros(p), zeros(3), zeros(4)
    to_relative(terms, sigma, L, coefficients, T, lam, D, mean)
    inputs[0], inputs[1], inputs[2], inputs[3] = sigma, nu, 1.0, flags[0]
    if call("relative", (cross, inputs, T, mean, lam, D, results, d_T, d_lam, d_mean, M, vectors)) == 0:
        return 0
    value[0] = log_density(numbers, results)
    d_sigma[0] = natural_slopes(terms, numbers, results, T, lam, D, d_T, d_lam, d_mean, d_L, d_coefficients)
    return 1


@c_function(LIKELIHOOD, calls=(gaussian_at,))
def gaussian_likelihood(w, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, sigma, sampled coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    data, numbers = read_gaussian(w), zeros(3)
    terms, rest = data.terms, read_cross_products(data.rows).rest
    numbers[0], numbers[1], numbers[2] = positive[0], data.nu, data.sum_log_weights
    T, lam, M, vectors = zeros(len(terms.scale)), zeros(len(terms.sd)), zeros(rest.A.size), zeros(3 * rest.z.size)
    own = (w, data.rows, flags, numbers, L, coefficients, value, d_L, d_positive, d_coefficients, T, lam, M, vectors)
    return call("gaussian_at", own)


@compiled
def from_arrays(lead, rest, rWr, T, sigma, nu, prior):
    """Return ok, log|M|, the quadratic form, and the derivatives with respect to T, lam and the mean, for PyTensor.

    The flat columns are integrated out. It calls nothing by its name: PyMC takes compiled code to other processes.
    """
    q, m, p = lead.A.shape[1], rest.z.shape[0], prior.mean.shape[0]
    M, c, v, e = zero_matrix(m, m), zeros(m), zeros(m), zeros(m)
    d_T, d_lam, d_mean = zeros(T.shape[0]), zeros(p), zeros(p)
    T1, d_rest = T[: q * q].reshape((q, q)), zeros(T.shape[0] - q * q + p)
    lam = rest_lambda(rest, T, q * q, prior.lam)
    quad = assemble_rest(rest, rWr, lam, prior, M, c)
    ok, logdet, explained = eliminate(lead, lam, T1, prior.mean, M, c)
    if ok:
        ok, logdet, quad, _, active = rest_likelihood(M, c, prior.D, True, logdet, quad - explained, sigma, nu)
    if ok:
        invert_rest(rest, lam, prior.mean, active, M, c, v, e)
        leading_gradient(lead, lam, T1, v, M, sigma, e, d_T, d_rest)
        rest_gradient(rest, lam, M, c, e, sigma, d_rest)
        unpack_rest(d_rest, e, sigma, q * q, d_T, d_lam, d_mean)
    return ok, logdet, quad, d_T, d_lam, d_mean


class Solution(NamedTuple):
    """What an evaluation leaves of the rest.

    M is the Cholesky factor of M_rr at and below the diagonal and, with the gradient, M_rr^-1. The vectors are L^-1 c,
    and, with the gradient, in its place M^-1 c, then the coefficients v = Lambda M^-1 c + mean of the rest's columns,
    and Z_r'(y - X v - Z b), what their products with the residual are.
    """

    M: Floats  # (m, m)
    vectors: Floats  # (3, m)


def room_for(cp: CrossProducts) -> Solution:
    """Return room for a solution."""
    m = len(cp.rest.z)
    return Solution(np.zeros((m, m)), np.zeros((3, m)))


def evaluation(
    cp: CrossProducts,
    T: Floats,
    sigma: float | None,
    nu: float,
    prior: FixedPrior,
    *,
    integrate_flat: bool,
    gradient: bool = True,
    solution: Solution | None = None,
) -> Sequence:
    """Return ok, log|M|, the quadratic form, sigma, and the derivatives with respect to T, lam and the mean.

    Without the `gradient` these are 0. The `solution` is room for what else is found.
    """
    inputs = np.array([0.0 if sigma is None else sigma, nu, float(integrate_flat), float(gradient)])
    arrays = [np.ascontiguousarray(array, dtype=np.float64) for array in (T, *prior)]
    results, gradients = np.zeros(3), [np.zeros(len(T)), np.zeros(cp.p), np.zeros(cp.p)]
    own = room_for(cp) if solution is None else solution
    ok = _relative()(*pointers(cp.words, inputs, *arrays, results, *gradients, *own)) == 1
    return ok, *results.tolist(), *gradients


@functools.cache
def _relative() -> Callable[..., int]:
    return from_python(relative(), 12)
