"""The marginal likelihood of a Gaussian model as C functions: of the relative factors, and of natural parameters."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.marginal.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    call,
    compiled,
    cube,
    from_python,
    integers,
    matrix,
    pack,
    pointers,
    vector,
)
from bayesmm.marginal.crossproducts import CrossProducts, Floats, Ints, Leading, Rest
from bayesmm.marginal.kernels import FixedPrior, likelihood
from bayesmm.marginal.posterior import LIKELIHOOD

# (cross-products, inputs sigma and nu and two flags, T, mean, lam, D, results log|M| and quad and sigma, derivatives
# with respect to T, lam, mean) -> 1, or 0 where M is not positive definite
RELATIVE = INT64(WORDS, *[DOUBLES] * 9)


class Terms(NamedTuple):
    """How the natural parameters of a Gaussian model enter: T[i] = L[take[i]] scale[i] / sigma."""

    take: Ints  # (sum q_k^2,)
    scale: Floats  # (sum q_k^2,)
    sd: Floats  # (p,) prior sds of the fixed columns; inf for flat ones, which come last
    loose: Ints  # (l,) fixed columns whose coefficient is sampled
    at: Floats  # (l,) what the response has taken out of it for them


def gaussian_words(cp: CrossProducts, terms: Terms) -> Ints:
    """Return the words of `gaussian_likelihood`."""
    numbers = np.array([cp.n - np.isinf(terms.sd).sum(), cp.sum_log_weights])
    return pack(*terms, numbers, np.array([relative().address]), cp.words)


@c_function(RELATIVE)
def relative(words, inputs, T_, mean_, lam_, D_, results, d_T_, d_lam_, d_mean_):
    """Evaluate `kernels.likelihood` at relative factors T; the results are left as they are where there is none."""
    w = carray(words, (words[0],))
    leading = Leading(vector(w, 0), cube(w, 1), integers(w, 2), integers(w, 3), matrix(w, 4), matrix(w, 5), cube(w, 6))
    rest = Rest(matrix(w, 7), vector(w, 8), integers(w, 9), integers(w, 10))
    length, p = leading.A.shape[1] ** 2, rest.z.shape[0]
    for k in range(rest.q.shape[0]):
        length += rest.q[k] ** 2
        p -= rest.q[k] * rest.n_levels[k]
    T, prior = carray(T_, (length,)), FixedPrior(carray(mean_, (p,)), carray(lam_, (p,)), carray(D_, (p,)))
    try:
        ok, logdet, quad, sigma, d_T, d_lam, d_mean = likelihood(
            leading, rest, vector(w, 11)[0], T, inputs[0], inputs[1], prior, inputs[2] > 0.0, inputs[3] > 0.0
        )
    except Exception:  # Numba knows no other: LAPACK's LinAlgError, where the rest is large
        return 0
    if not ok:
        return 0
    results[0], results[1], results[2] = logdet, quad, sigma
    for i in range(length):
        d_T_[i] = d_T[i]
    for j in range(p):
        d_lam_[j], d_mean_[j] = d_lam[j], d_mean[j]
    return 1


@c_function(LIKELIHOOD)
def gaussian_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, sigma, sampled coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    w = carray(words, (words[0],))
    terms = Terms(integers(w, 0), vector(w, 1), vector(w, 2), integers(w, 3), vector(w, 4))
    nu, sum_log_weights, sigma, size, p = vector(w, 5)[0], vector(w, 5)[1], positive[0], len(terms.take), len(terms.sd)
    if not (sigma > 0.0 and sigma < np.inf):  # where exp(x) under- or overflows; 0 would be taken for "find it"
        return 0
    T, mean, lam, D = np.empty(size), np.zeros(p), np.ones(p), np.zeros(p)
    d_T, d_lam, d_mean, results = np.zeros(size), np.zeros(p), np.zeros(p), np.zeros(3)
    for i in range(size):
        T[i] = L[terms.take[i]] * terms.scale[i] / sigma
    for j in range(p):
        if terms.sd[j] < np.inf:
            lam[j], D[j] = terms.sd[j] / sigma, 1.0
    for j in range(len(terms.loose)):
        mean[terms.loose[j]] = coefficients[j] - terms.at[j]
    inputs = np.array([sigma, nu, 1.0, float(flags[0])])
    if call(integers(w, 6)[0], (integers(w, 7), inputs, T, mean, lam, D, results, d_T, d_lam, d_mean)) == 0:
        return 0
    residual = results[1] / sigma / sigma  # sigma^2 may overflow
    value[0] = -0.5 * (nu * (math.log(2.0 * math.pi) + 2.0 * math.log(sigma)) - sum_log_weights + results[0] + residual)
    d_positive[0] = (residual - nu) / sigma
    for i in range(size):
        d_L[terms.take[i]] = d_T[i] * terms.scale[i] / sigma
        d_positive[0] -= d_T[i] * T[i] / sigma
    for j in range(p):
        d_positive[0] -= D[j] * d_lam[j] * lam[j] / sigma
    for j in range(len(terms.loose)):
        d_coefficients[j] = d_mean[terms.loose[j]]
    return 1


@compiled
def from_arrays(lead, rest, rWr, T, sigma, nu, prior):
    """Return `kernels.likelihood` with its gradient and the flat columns integrated out, for Python and PyTensor."""
    return likelihood(lead, rest, rWr, T, sigma, nu, prior, True, True)


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
