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
    cube,
    from_python,
    inlined,
    integers,
    matrix,
    pack,
    pointers,
    vector,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.crossproducts import CrossProducts, Floats, Ints, Leading, Rest
from bayesmm.likelihood.gaussian_factorisation import FixedPrior, eliminate, leading_gradient, rest_likelihood
from bayesmm.likelihood.posterior import LIKELIHOOD

# (cross-products, inputs sigma and nu and two flags, T, mean, lam, D, results log|M| and quad and sigma, derivatives
# with respect to T, lam, mean) -> 1, or 0 where M is not positive definite
RELATIVE = INT64(WORDS, *[DOUBLES] * 9)


class Terms(NamedTuple):
    """How the natural parameters of a Gaussian model enter: T[i] = L[take[i]] scale[i] / sigma."""

    take: Ints  # (sum q_k^2,)
    scale: Floats  # (sum q_k^2,)
    sd: Floats  # (p,) prior sds of the fixed columns; inf for flat ones, which come last
    sampled: Ints  # (l,) fixed columns whose coefficient is sampled
    at: Floats  # (l,) what the response has taken out of it for them


def gaussian_words(cp: CrossProducts, terms: Terms) -> Ints:
    """Return the words of `gaussian_likelihood`."""
    numbers = np.array([cp.n - np.isinf(terms.sd).sum(), cp.sum_log_weights])
    return pack(*terms, numbers, cp.words)


@inlined
def cross_products(w):
    """Return the records of `CrossProducts.words`, and r'Wr."""
    leading = Leading(vector(w, 0), cube(w, 1), integers(w, 2), integers(w, 3), matrix(w, 4), matrix(w, 5), cube(w, 6))
    return leading, Rest(matrix(w, 7), vector(w, 8), integers(w, 9), integers(w, 10)), vector(w, 11)[0]


@c_function(INT64(WORDS, *[DOUBLES] * 7))
def elimination(w, T_, mean_, S_, c_, L_, B_, results):
    """Apply `eliminate`; T has the leading factor's first. Return its part of log|M| and r'Wr left."""
    lead, rest, rWr = cross_products(w)
    P, q, m, p = lead.A.shape[0], lead.A.shape[1], rest.z.shape[0], rest.z.shape[0]
    for k in range(rest.q.shape[0]):
        p -= rest.q[k] * rest.n_levels[k]
    L, B = carray(L_, (P, q, q)), carray(B_, (lead.columns.shape[0], q))
    ok, results[0], results[1] = eliminate(
        lead, rest, rWr, carray(T_, (q, q)), carray(mean_, (p,)), carray(S_, (m, m)), carray(c_, (m,)), L, B
    )
    return 1 if ok else 0


@c_function(INT64(WORDS, *[DOUBLES] * 8))
def leading_derivatives(w, sigma, T_, mean_, L_, B_, Q_, h_, d_T_):
    """Apply `gaussian_factorisation.leading_gradient`."""
    lead, rest, _ = cross_products(w)
    P, q, m, p = lead.A.shape[0], lead.A.shape[1], rest.z.shape[0], rest.z.shape[0]
    for k in range(rest.q.shape[0]):
        p -= rest.q[k] * rest.n_levels[k]
    L, B = carray(L_, (P, q, q)), carray(B_, (lead.columns.shape[0], q))
    T, mean, Q, h = carray(T_, (q, q)), carray(mean_, (p,)), carray(Q_, (m, m)), carray(h_, (m,))
    leading_gradient(lead, T, mean, m - p, L, B, Q, h, sigma[0], carray(d_T_, (q * q,)))
    return 1


@c_function(RELATIVE, calls=(elimination, leading_derivatives))
def relative(w, inputs, T_, mean_, lam_, D_, results, d_T_, d_lam_, d_mean_):
    """Evaluate log|M|, the quadratic form and the gradient at relative factors T."""
    lead, rest, _ = cross_products(w)
    q, m, p = lead.A.shape[1], rest.z.shape[0], rest.z.shape[0]
    length = q * q
    for k in range(rest.q.shape[0]):
        length += rest.q[k] * rest.q[k]
        p -= rest.q[k] * rest.n_levels[k]
    S, c, left, L, B = zero_matrix(m, m), zeros(m), zeros(2), zeros(lead.A.size), zeros(lead.columns.size * q)
    if call("elimination", (w, T_, mean_, S, c, L, B, left)) == 0:
        return 0
    prior = FixedPrior(carray(mean_, (p,)), carray(lam_, (p,)), carray(D_, (p,)))
    d_T, d_lam, d_mean = carray(d_T_, (length,)), carray(d_lam_, (p,)), carray(d_mean_, (p,))
    ok, results[0], results[1], results[2], Q, h = rest_likelihood(
        q, rest, carray(T_, (length,)), inputs[0], inputs[1], prior, inputs[2] > 0.0, inputs[3] > 0.0,
        left[0], left[1], S, c, d_T, d_lam, d_mean,
    )  # fmt: skip
    if ok and inputs[3] > 0.0:
        left[0] = results[2]
        call("leading_derivatives", (w, left, T_, mean_, L, B, Q, h, d_T))
    return 1 if ok else 0


@c_function(LIKELIHOOD, calls=(relative,))
def gaussian_likelihood(w, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, sigma, sampled coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    terms = Terms(integers(w, 0), vector(w, 1), vector(w, 2), integers(w, 3), vector(w, 4))
    nu, sum_log_weights, sigma, size, p = vector(w, 5)[0], vector(w, 5)[1], positive[0], len(terms.take), len(terms.sd)
    if not (sigma > 0.0 and sigma < np.inf):  # where exp(x) under- or overflows; 0 would be taken for "find it"
        return 0
    T, mean, lam, D = zeros(size), zeros(p), zeros(p), zeros(p)
    d_T, d_lam, d_mean, results, inputs = zeros(size), zeros(p), zeros(p), zeros(3), zeros(4)
    for i in range(size):
        T[i] = L[terms.take[i]] * terms.scale[i] / sigma
    for j in range(p):
        proper = terms.sd[j] < np.inf
        lam[j], D[j] = terms.sd[j] / sigma if proper else 1.0, 1.0 if proper else 0.0
    for j in range(len(terms.sampled)):
        mean[terms.sampled[j]] = coefficients[j] - terms.at[j]
    inputs[0], inputs[1], inputs[2], inputs[3] = sigma, nu, 1.0, flags[0]
    if call("relative", (integers(w, 6), inputs, T, mean, lam, D, results, d_T, d_lam, d_mean)) == 0:
        return 0
    residual = results[1] / sigma / sigma  # sigma^2 may overflow
    value[0] = -0.5 * (nu * (math.log(2.0 * math.pi) + 2.0 * math.log(sigma)) - sum_log_weights + results[0] + residual)
    d_positive[0] = (residual - nu) / sigma
    for i in range(size):
        d_L[terms.take[i]] = d_T[i] * terms.scale[i] / sigma
        d_positive[0] -= d_T[i] * T[i] / sigma
    for j in range(p):
        d_positive[0] -= D[j] * d_lam[j] * lam[j] / sigma
    for j in range(len(terms.sampled)):
        d_coefficients[j] = d_mean[terms.sampled[j]]
    return 1


class Eliminated(NamedTuple):
    """What is left of the problem without the leading factor, in the symbols of ``gaussian``."""

    ok: bool
    logdet: float
    quad: float
    S: Floats
    c: Floats
    L: Floats
    B: Floats


def eliminated(cp: CrossProducts, T: Floats, mean: Floats) -> Eliminated:
    """Return what eliminating the leading factor at T, (q, q), leaves."""
    m, (P, q, _) = len(cp.rest.z), cp.leading.A.shape
    out = np.zeros((m, m)), np.zeros(m), np.zeros((P, q, q)), np.zeros((len(cp.leading.columns), q))
    results, given = np.zeros(2), [np.ascontiguousarray(array, dtype=np.float64) for array in (T, mean)]
    ok = _elimination()(*pointers(cp.words, *given, *out, results)) == 1
    return Eliminated(ok, *results.tolist(), *out)


@functools.cache
def _elimination() -> Callable[..., int]:
    return from_python(elimination(), 8)


@compiled
def from_arrays(lead, rest, rWr, T, sigma, nu, prior):
    """Return ok, log|M|, the quadratic form, and the derivatives with respect to T, lam and the mean, for PyTensor.

    The flat columns are integrated out. It calls nothing by its name: PyMC takes compiled code to other processes.
    """
    P, q, m, p = lead.A.shape[0], lead.A.shape[1], rest.z.shape[0], prior.mean.shape[0]
    S, c, L, B = zero_matrix(m, m), zeros(m), np.zeros((P, q, q)), zero_matrix(lead.columns.shape[0], q)
    d_T, d_lam, d_mean, T1 = zeros(T.shape[0]), zeros(p), zeros(p), T[: q * q].reshape((q, q))
    ok, logdet, quad = eliminate(lead, rest, rWr, T1, prior.mean, S, c, L, B)
    if ok:
        ok, logdet, quad, _, Q, h = rest_likelihood(
            q, rest, T, sigma, nu, prior, True, True, logdet, quad, S, c, d_T, d_lam, d_mean
        )
        if ok:
            leading_gradient(lead, T1, prior.mean, m - p, L, B, Q, h, sigma, d_T)
    return ok, logdet, quad, d_T, d_lam, d_mean


def evaluation(
    cp: CrossProducts, T: Floats, sigma: float | None, nu: float, prior: FixedPrior, *, integrate_flat: bool
) -> Sequence:
    """Return ok, log|M|, the quadratic form, sigma, and the derivatives with respect to T, lam and the mean."""
    inputs = np.array([0.0 if sigma is None else sigma, nu, float(integrate_flat), 1.0])
    arrays = [np.ascontiguousarray(array, dtype=np.float64) for array in (T, *prior)]
    results, gradients = np.zeros(3), [np.zeros(len(T)), np.zeros(cp.p), np.zeros(cp.p)]
    ok = _relative()(*pointers(cp.words, inputs, *arrays, results, *gradients)) == 1
    return ok, *results.tolist(), *gradients


@functools.cache
def _relative() -> Callable[..., int]:
    return from_python(relative(), 10)
