r"""The marginal likelihood of a Gaussian model whose residual has parameters besides sigma, as a C function.

The precision of the residuals over sigma^2 is W = sum_c w_c E_c, with fixed matrices E_c, (n, n), and weights w_c = a_k
/ (d_s d_t): a the values of the kinds of entries of C^-1, d the sds of rows of the kinds s and t over sigma. So each
number of the cross-products, a *cell*, is a sum of stored numbers times the weights, and nothing passes over the rows.

With v and b the coefficients of the rest and of the leading factor given the parameters, and P = Lambda M^-1 Lambda',
the derivative of log p with respect to a cell of A is -(P + [b v][b v]' / sigma^2) / 2, of z it is [b v] / sigma^2, and
of r'Wr it is -1 / (2 sigma^2). P is needed where A has cells only.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    call,
    from_python,
    inlined,
    inner,
    pointers,
    zero_integers,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.crossproducts import CrossProducts
from bayesmm.likelihood.dense_matrices import matmul
from bayesmm.likelihood.gaussian_data import (
    CrossProductsData,
    VaryingData,
    read_cross_products,
    read_gaussian,
    read_varying,
)
from bayesmm.likelihood.gaussian_factorisation import (
    lambda_times,
    level_factor,
    level_inverse,
    rest_lambda,
    rest_sizes,
    shifted,
)
from bayesmm.likelihood.gaussian_likelihood import Solution, gaussian_at
from bayesmm.likelihood.packed import Floats, unpacked
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.varying import Varying


@inner
def apply_kernels(v, backward, positive, a, d_a, log_sd, d_log_sd, d_positive, out):
    """Set the values a and the logarithms of the sds; or, backward, the derivatives in `positive`, without sigma's.

    `out` becomes log|C| and the sds' derivative in sigma.
    """
    given, at, end = zero_integers(4), 1 + v.of_C, 1 + v.of_C + v.of_sd
    given[0] = 1 if backward else 0
    if v.inverse != 0:
        given[1], given[2], given[3] = v.of_C, v.table.shape[0], v.table.shape[1]
        call(v.inverse, (given, positive, positive[1:at], v.table, a, d_a, d_positive[1:at], out))
    else:
        a[0], out[0] = 1.0, 0.0
    if v.log_sd != 0:
        given[1], given[2], given[3] = v.of_sd, v.sds.shape[0], v.sds.shape[1]
        own, d_own = positive[at:end], d_positive[at:end]
        call(v.log_sd, (given, positive, own, v.sds, log_sd, d_log_sd, d_own, out[1:]))
    else:
        log_sd[0], out[1] = 0.0, 0.0


@c_function(INT64(WORDS, *[DOUBLES] * 5))
def residual_weights(words, positive_, a_, log_sd_, weights, out):
    """Set the values a, the logarithms of the sds, the weights, and as `out` log|W| and sigma; 0 where there are none.

    Sigma is 1 where the sds are absolute.
    """
    v = read_varying(words)
    K, S, n_positive = v.table.shape[0], v.sds.shape[0], 1 + v.of_C + v.of_sd
    positive, a, log_sd, found, unused = (
        carray(positive_, (n_positive,)), carray(a_, (K,)), carray(log_sd_, (S,)), zeros(2), zeros(n_positive),
    )  # fmt: skip
    apply_kernels(v, False, positive, a, zeros(K), log_sd, zeros(S), unused, found)
    out[0], out[1] = -found[0], 1.0 if v.absolute == 1 else positive[0]
    for s in range(S):
        out[0] -= 2.0 * v.count[s] * log_sd[s]
    if not np.isfinite(out[0]):
        return 0
    for c in range(v.kind.shape[0]):
        weights[c] = a[v.kind[c]] * math.exp(-log_sd[v.left[c]] - log_sd[v.right[c]])
    return 1


@c_function(INT64(WORDS, DOUBLES, WORDS))
def weighted_cells(words, weights, cross_):
    """Set the cells of the cross-products, words with room for them, to their sums with these weights."""
    v = read_varying(words)
    cross = carray(cross_, v.cross.shape)
    for i in range(cross.shape[0]):
        cross[i] = v.cross[i]
    lead, rest, rWr, _, _, _ = read_cross_products(cross_)
    A, coupling, z, zz = lead.A, lead.coupling, lead.sum_z, lead.sum_zz
    parts = A.reshape(A.size), coupling.reshape(coupling.size), z.reshape(z.size), rest.A.reshape(rest.A.size)
    ends = v.ends
    for i in range(v.cell.shape[0]):
        total, at = 0.0, v.cell[i]
        for k in range(v.start[i], v.start[i + 1]):
            total += v.sums[k] * weights[v.weight[k]]
        if at < ends[0]:
            parts[0][at] = total
        elif at < ends[1]:
            parts[1][at - ends[0]] = total
        elif at < ends[2]:
            parts[2][at - ends[1]] = total
        elif at < ends[3]:
            parts[3][at - ends[2]] = total
        elif at < ends[4]:
            rest.z[at - ends[3]] = total
        else:
            rWr[0] = total
    for g in range(z.shape[0]):
        for a in range(z.shape[1]):
            for b in range(z.shape[1]):
                zz[g, a, b] = z[g, a] * z[g, b]
    return 1


@inlined
def rest_covariance(R, lam, Q):
    """Set Q = Lambda R Lambda' for the rest."""
    m = R.shape[0]
    half = zero_matrix(m, m)
    for i in range(m):
        lambda_times(R[i], lam, half[i])
    for i in range(m):
        a, size = lam.within[i], lam.size[i]
        for b in range(a + 1):
            weight = lam.values[lam.first[i] + a * size + b]
            for j in range(m):
                Q[i, j] += weight * half[i - a + b, j]


@inner
def level_slopes(lead, g, T, Q, v, variance, d_A, d_coupling, d_z):
    """Set the derivatives in the cells of one level of the leading factor."""
    q, start, end = T.shape[0], lead.start[g], lead.start[g + 1]
    room, Y = zero_matrix(5 * q + 2, q), zero_matrix(end - start, q)
    L, P, X, H, XH = room[:q], room[q : 2 * q], room[2 * q : 3 * q], room[3 * q : 4 * q], room[4 * q : 5 * q]
    d, b = room[5 * q], room[5 * q + 1]
    level_factor(lead.A, g, T, L, P)
    level_inverse(T, L, P, X)
    shifted(lead, g, v, 0, d)
    for i in range(q):
        for j in range(q):
            b[i] += X[i, j] * (lead.sum_z[g, j] - d[j])
    for i in range(start, end):
        for j in range(start, end):
            weight = Q[lead.columns[i], lead.columns[j]]
            for k in range(q):
                Y[i - start, k] += weight * lead.coupling[j, k]
        for j in range(q):
            for k in range(q):
                H[j, k] += lead.coupling[i, j] * Y[i - start, k]
    matmul(X, H, XH)
    for i in range(q):
        d_z[g, i] = b[i] / variance
        for j in range(q):
            total = X[i, j] + b[i] * b[j] / variance
            for k in range(q):
                total += XH[i, k] * X[k, j]
            d_A[g, i, j] = -0.5 * total
    for i in range(start, end):
        for j in range(q):
            total = -v[lead.columns[i]] * b[j] / variance
            for k in range(q):
                total += Y[i - start, k] * X[k, j]
            d_coupling[i, j] = total


@c_function(INT64(WORDS, WORDS, *[DOUBLES] * 6))
def weight_derivatives(words, cross, T_, lam_, M_, vectors_, sigma, d_weights):
    """Add the derivatives of log p in the weights, for what `relative` has left of an evaluation with the gradient."""
    v, (lead, rest, _, _, _, _) = read_varying(words), read_cross_products(cross)
    q, variance = lead.A.shape[1], sigma[0] * sigma[0]
    m, p, length = rest_sizes(rest, q)
    T, Q, found = carray(T_, (length,)), zero_matrix(m, m), carray(vectors_, (3, m))[1]
    rest_covariance(carray(M_, (m, m)), rest_lambda(rest, T, q * q, carray(lam_, (p,))), Q)
    d_A, d_coupling, d_z = zeros(lead.A.size), zeros(lead.coupling.size), zeros(lead.sum_z.size)
    T1, to_A = T[: q * q].reshape((q, q)), d_A.reshape(lead.A.shape)
    to_coupling, to_z = d_coupling.reshape(lead.coupling.shape), d_z.reshape(lead.sum_z.shape)
    for g in range(lead.A.shape[0]):
        level_slopes(lead, g, T1, Q, found, variance, to_A, to_coupling, to_z)
    ends = v.ends
    for i in range(v.cell.shape[0]):
        at = v.cell[i]
        if at < ends[0]:
            slope = d_A[at]
        elif at < ends[1]:
            slope = d_coupling[at - ends[0]]
        elif at < ends[2]:
            slope = d_z[at - ends[1]]
        elif at < ends[3]:
            row, column = (at - ends[2]) // m, (at - ends[2]) % m
            slope = -0.5 * (Q[row, column] + found[row] * found[column] / variance)
        elif at < ends[4]:
            slope = found[at - ends[3]] / variance
        else:
            slope = -0.5 / variance
        for k in range(v.start[i], v.start[i + 1]):
            d_weights[v.weight[k]] += v.sums[k] * slope
    return 1


@inlined
def pull_weights(v, a, log_sd, weights, d_weights, d_a, d_log_sd):
    """Set the derivatives in a and in the logarithms of the sds, log|W| among what is differentiated."""
    for c in range(v.kind.shape[0]):
        d_a[v.kind[c]] += d_weights[c] * math.exp(-log_sd[v.left[c]] - log_sd[v.right[c]])
        d_log_sd[v.left[c]] -= d_weights[c] * weights[c]
        d_log_sd[v.right[c]] -= d_weights[c] * weights[c]
    for s in range(v.count.shape[0]):
        d_log_sd[s] -= v.count[s]


@c_function(INT64(WORDS, WORDS, *[DOUBLES] * 10), calls=(weight_derivatives,))
def residual_derivatives(words, cross, positive_, a_, log_sd_, weights_, T, lam, M, vectors, sigma, d_positive_):
    """Add the derivatives of log p in the residual's parameters, and set that in sigma where the sds are absolute.

    The values a, the logarithms of the sds and the weights are those of `residual_weights`; for the rest see
    `weight_derivatives`.
    """
    v = read_varying(words)
    K, S, C, n_positive = v.table.shape[0], v.sds.shape[0], v.kind.shape[0], 1 + v.of_C + v.of_sd
    positive, d_positive = carray(positive_, (n_positive,)), carray(d_positive_, (n_positive,))
    a, log_sd, weights = carray(a_, (K,)), carray(log_sd_, (S,)), carray(weights_, (C,))
    d_weights, d_a, d_log_sd, out = zeros(C), zeros(K), zeros(S), zeros(2)
    call("weight_derivatives", (words, cross, T, lam, M, vectors, sigma, d_weights))
    pull_weights(v, a, log_sd, weights, d_weights, d_a, d_log_sd)
    apply_kernels(v, True, positive, a, d_a, log_sd, d_log_sd, d_positive, out)
    if v.absolute == 1:
        d_positive[0] = out[1]
    return 1


@c_function(LIKELIHOOD, calls=(residual_weights, weighted_cells, gaussian_at, residual_derivatives))
def varying_likelihood(w, flags, L, positive_, coefficients, value, d_L, d_positive_, d_coefficients):
    """Set log p(y | L, sigma and the residual's parameters, coefficients) and its derivatives: `posterior.LIKELIHOOD`.

    The words are those of `gaussian_likelihood`, but that `varying.Varying.words` stand where cross-products do.
    """
    data = read_gaussian(w)
    terms, words, v = data.terms, data.rows, read_varying(data.rows)
    K, S, C, n_positive = v.table.shape[0], v.sds.shape[0], v.kind.shape[0], 1 + v.of_C + v.of_sd
    positive, d_positive = carray(positive_, (n_positive,)), carray(d_positive_, (n_positive,))
    a, log_sd, weights, out, numbers = zeros(K), zeros(S), zeros(C), zeros(2), zeros(3)
    if call("residual_weights", (words, positive, a, log_sd, weights, out)) == 0:
        return 0
    cross = zero_integers(v.cross.shape[0])
    call("weighted_cells", (words, weights, cross))
    numbers[0], numbers[1], numbers[2] = out[1], data.nu, data.sum_log_weights + out[0]
    rest = read_cross_products(cross).rest
    T, lam, M, vectors = zeros(len(terms.scale)), zeros(len(terms.sd)), zeros(rest.A.size), zeros(3 * rest.z.size)
    own = (w, cross, flags, numbers, L, coefficients, value, d_L, d_positive, d_coefficients, T, lam, M, vectors)
    if call("gaussian_at", own) == 0:
        return 0
    if flags[0] == 1:
        given = words, cross, positive, a, log_sd, weights, T, lam, M, vectors, numbers, d_positive
        call("residual_derivatives", given)
    return 1 if cross.shape[0] > 0 else 0  # what was borrowed from is used to the end


@dataclass(frozen=True, eq=False)
class At:
    """Cross-products at values of the residual's parameters, and what their derivatives are made of.

    Attributes
    ----------
    varying : Varying
    cp : CrossProducts
        Without its rows: who needs these has to make them at the values.
    positive : (1 + s,) float64
        Sigma and the parameters.
    a, log_sd, weights : (K,), (S,), (C,) float64
        Of the kinds of entries of C^-1, of the kinds of rows, and of the classes.
    """

    varying: Varying
    cp: CrossProducts
    positive: Floats
    a: Floats
    log_sd: Floats
    weights: Floats

    def slopes(self, T: Floats, sigma: float, solution: Solution) -> Floats:
        """Return the derivatives of log p in sigma, 0 where it is a scale, and in the parameters, (1 + s,).

        The solution is what `gaussian.evaluate` has left of an evaluation with the gradient, at the relative factors T
        and under flat priors.
        """
        out, scales, ones = np.zeros(len(self.positive)), np.array([float(sigma)]), np.ones(self.cp.p)
        own = self.positive, self.a, self.log_sd, self.weights, np.ascontiguousarray(T), ones, *solution, scales, out
        _derivatives()(*pointers(self.varying.words, self.cp.words, *own))
        return out


def at_residual(like: CrossProducts, varying: Varying, positive: Floats) -> At:
    """Return the cross-products where sigma and the residual's parameters are `positive`.

    Parameters
    ----------
    like : CrossProducts
        Of the same rows, with their own weights alone: the sizes and the order are taken from it.

    Raises
    ------
    numpy.linalg.LinAlgError
        The residuals have no precision there.
    """
    words, v, out = varying.words, unpacked(varying.words, VaryingData), np.zeros(2)
    a, log_sd, weights = (np.zeros(len(own)) for own in (v.table, v.sds, v.kind))
    if _weights()(*pointers(words, positive, a, log_sd, weights, out)) == 0:
        raise np.linalg.LinAlgError("the residuals have no precision at these parameters")
    cross = np.zeros(len(v.cross), np.int64)
    _cells()(*pointers(words, weights, cross))
    found = unpacked(cross, CrossProductsData)
    own = dict(pattern=np.arange(varying.n_levels), z=found.leading.sum_z, source=None, rWr=float(found.rWr[0]))
    total = like.sum_log_weights + float(out[0])
    cp = replace(like, leading=found.leading, rest=found.rest, sum_log_weights=total, **own)
    vars(cp)["words"] = cross
    return At(varying, cp, positive, a, log_sd, weights)


@functools.cache
def _weights() -> Callable[..., int]:
    return from_python(residual_weights(), 6)


@functools.cache
def _cells() -> Callable[..., int]:
    return from_python(weighted_cells(), 3)


@functools.cache
def _derivatives() -> Callable[..., int]:
    return from_python(residual_derivatives(), 12)
