"""Related levels by the sparse inverse of their covariance: the leading factor's part, as C functions.

Of a pedigree K^-1 has few entries, and so has the Cholesky factor of

    M_gg = T^2 N + K^-1,   u ~ N(0, sigma^2 K),  b = T u,

N the diagonal of the sums of squares of the animals, 0 for ancestors without a record (Henderson's mixed-model
equations; Meyer & Smith 1996, Genetics Selection Evolution 28(1), for the gradient of their factor). What is left of
the rest, its log determinant, gradient, modes and draws are those of `gaussian_factorisation` and `gaussian_leading`,
with one sparse solve for each column of the rest. The levels are all animals that matter, in the order of elimination.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numba import carray

from bayesmm.design.related_levels import Relation
from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    from_python,
    inner,
    pointers,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.gaussian_data import read_cross_products
from bayesmm.likelihood.gaussian_factorisation import rest_lambda, rest_sizes, shifted, times_lambda
from bayesmm.likelihood.packed import Floats, Ints, Number, Vector, reader
from bayesmm.likelihood.sparse_cholesky import (
    Pattern,
    factorise,
    inverse_on_pattern,
    order_of,
    pattern_of,
    solve_lower_rows,
    solve_upper_rows,
)

INDIRECT = 5.0  # a sparse multiply-add takes as long as so many dense ones; of 10,000 animals, rounded


class KinData(NamedTuple):
    """What compiled code knows of related levels."""

    pattern: Pattern
    values: Vector  # K^-1, as the pattern's entries are
    log_det: Number  # log|K|


class Kin(NamedTuple):
    """Related levels with all that relates them.

    Attributes
    ----------
    levels : (G,) int64
        The places of the factor's levels among the n that there are here.
    data : KinData
    """

    levels: Ints
    data: KinData

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.data.pattern.start) - 1

    def work(self, m: int) -> float:
        """Return about the multiply-adds of a value with m columns in the rest."""
        columns = np.diff(self.data.pattern.start).astype(float)
        return INDIRECT * float(columns @ columns + columns.sum() * (m + 1)) + self.n * float(m) ** 2


read_kin = reader(KinData)


def kin_of(relation: Relation) -> Kin:
    """Return the animals of a relation in the order of elimination, made once for each."""
    if relation not in KEPT:
        KEPT[relation] = _kin_of(relation)
    return KEPT[relation]


# of the relations that there are: designs of other responses share them
KEPT: WeakKeyDictionary[Relation, Kin] = WeakKeyDictionary()


def _kin_of(relation: Relation) -> Kin:
    family = relation.given.family
    precision = family.pedigree.precision()
    order = order_of(precision)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    pattern = pattern_of(own := precision[order][:, order])
    row = np.repeat(np.arange(len(order)), np.diff(pattern.rows))
    values = np.asarray(own.tocsr()[row, pattern.entries]).ravel()
    log_det = float(np.log(family.pedigree.own).sum())
    return Kin(place[family.at], KinData(pattern, np.ascontiguousarray(values), log_det))


@inner
def _factor(kin, squares, T, L):
    """Set L of M_gg at T; return whether there is one, and log|M_gg|."""
    values, rows, logdet = kin.values.copy(), kin.pattern.rows, 0.0
    for g in range(squares.shape[0]):
        values[rows[g + 1] - 1] += T * T * squares[g, 0, 0]
    if not factorise(kin.pattern, values, L):
        return False, 0.0
    for g in range(squares.shape[0]):
        logdet += 2.0 * math.log(L[kin.pattern.start[g]])
    return True, logdet


@inner
def _coupled(lead, T, W):
    """Set W = T C, (n, m)."""
    for g in range(lead.count.shape[0]):
        for j in range(lead.start[g], lead.start[g + 1]):
            W[g, lead.columns[j]] = T * lead.coupling[j, 0]


@inner
def _left(lead, z, T, v, first, out):
    """Set out = T (z - C v), (n, 1), for the columns of the rest from `first` on and their coefficients v."""
    d = zeros(1)
    for g in range(z.shape[0]):
        shifted(lead, g, v, first, d)
        out[g, 0] = T * (z[g, 0] - d[0])


@c_function(INT64(WORDS, *[DOUBLES] * 6))
def sparse_elimination(w, T_, mean_, lam_, M_, c_, results):
    """Do what `gaussian_factorisation.eliminate` does. The words are ``CrossProducts``'."""
    lead, rest, _, _, _, words = read_cross_products(w)
    kin, n = read_kin(words), lead.count.shape[0]
    m, p, length = rest_sizes(rest, 1)
    T_all, mean = carray(T_, (length,)), carray(mean_, (p,))
    M, c, T = carray(M_, (m, m)), carray(c_, (m,)), T_all[0]
    lam = rest_lambda(rest, T_all, 1, carray(lam_, (p,)))
    L, W, h, row = zeros(kin.pattern.index.shape[0]), zero_matrix(n, m), zero_matrix(n, 1), zeros(m)
    ok, logdet = _factor(kin, lead.A, T, L)
    if not ok:
        return 0
    _coupled(lead, T, W)
    _left(lead, lead.sum_z, T, mean, m - p, h)
    solve_lower_rows(kin.pattern, L, W)
    solve_lower_rows(kin.pattern, L, h)
    explained = 0.0
    for g in range(n):
        own = h[g, 0]
        explained += own * own
        times_lambda(W[g], lam, m, row)
        for i in range(m):
            c[i] -= row[i] * own
            for j in range(i + 1):
                M[i, j] -= row[i] * row[j]
    results[0], results[1] = logdet + kin.log_det, explained
    return 1


@c_function(INT64(WORDS, *[DOUBLES] * 8))
def sparse_derivatives(w, T_, lam_, v_, R_, sigma, e_, d_T_, d_rest_):
    """Do what `gaussian_factorisation.leading_gradient` does, with V = M_gg^-1 T C, P = V Lambda and Y = C Lambda R.

    The derivative with respect to T is -tr(T N (M_gg^-1 + P R P')) + tr(Y P') + (z - N b - C v)'u / sigma^2, and that
    with respect to the rest's Lambda T V'Y.
    """
    lead, rest, _, _, _, words = read_cross_products(w)
    kin, n = read_kin(words), lead.count.shape[0]
    m, p, length = rest_sizes(rest, 1)
    T_all = carray(T_, (length,))
    T, lam = T_all[0], rest_lambda(rest, T_all, 1, carray(lam_, (p,)))
    v, R, e = carray(v_, (m,)), carray(R_, (m, m)), carray(e_, (m,))
    d_T, d_rest = carray(d_T_, (length,)), carray(d_rest_, (length - 1 + p,))
    entries = kin.pattern.index.shape[0]
    L, S, u = zeros(entries), zeros(entries), zero_matrix(n, 1)
    V, Y, PR = zero_matrix(n, m), zero_matrix(n, m), zero_matrix(n, m)
    if not _factor(kin, lead.A, T, L)[0]:
        return 0
    _coupled(lead, T, V)
    _left(lead, lead.sum_z, T, v, 0, u)
    solve_lower_rows(kin.pattern, L, V)
    solve_upper_rows(kin.pattern, L, V)
    solve_lower_rows(kin.pattern, L, u)
    solve_upper_rows(kin.pattern, L, u)
    inverse_on_pattern(kin.pattern, L, S)
    _coupled_times(lead, lam, R, Y)
    for g in range(n):
        for i in range(m):
            PR[g, i] = T * Y[g, i]
    solve_lower_rows(kin.pattern, L, PR)
    solve_upper_rows(kin.pattern, L, PR)
    d_T[0] += _slope(lead, kin, lam, T, v, u, V, Y, PR, S, sigma[0])
    _rest_slopes(lead, lam, T, u, V, Y, e, d_rest)
    return 1


@inner
def _coupled_times(lead, lam, R, Y):
    """Set Y = C Lambda R, (n, m)."""
    m = R.shape[0]
    for g in range(lead.count.shape[0]):
        for j in range(lead.start[g], lead.start[g + 1]):
            column = lead.columns[j]
            a, size = lam.within[column], lam.size[column]
            for b in range(a + 1):  # this coefficient's part in the columns of its level up to its own
                weight = lead.coupling[j, 0] * lam.values[lam.first[column] + a * size + b]
                for i in range(m):
                    Y[g, i] += weight * R[column - a + b, i]


@inner
def _slope(lead, kin, lam, T, v, u, V, Y, PR, S, sigma):
    """Return the derivative with respect to T."""
    n, m = V.shape
    total, d, row = 0.0, zeros(1), zeros(m)
    for g in range(n):
        times_lambda(V[g], lam, m, row)
        inside, across = S[kin.pattern.start[g]], 0.0
        for i in range(m):
            inside += PR[g, i] * row[i]
            across += Y[g, i] * row[i]
        shifted(lead, g, v, 0, d)
        squares = lead.A[g, 0, 0]
        total += across - T * squares * inside
        total += (lead.sum_z[g, 0] - squares * T * u[g, 0] - d[0]) * u[g, 0] / (sigma * sigma)
    return total


@inner
def _rest_slopes(lead, lam, T, u, V, Y, e, d_rest):
    """Take C'b from e, and add T V'Y on the diagonal blocks of the rest's Lambda."""
    n, m = V.shape
    for g in range(n):
        for j in range(lead.start[g], lead.start[g + 1]):
            e[lead.columns[j]] -= lead.coupling[j, 0] * T * u[g, 0]
        for i in range(m):
            k, size = lam.within[i], lam.size[i]
            first = lam.first[i] + k * size
            for b in range(k + 1):
                d_rest[first + b] += T * V[g, i] * Y[g, i - k + b]


@c_function(INT64(WORDS, WORDS, WORDS, *[DOUBLES] * 6))
def sparse_effects(w, sizes, pattern, z_, T_, v_, sigma, eps_, out_):
    """Do what `gaussian_leading.effects_of_levels` does: b = T L^-T (L^-1 T (z - C v) + sigma eps)."""
    lead, rest, _, _, _, words = read_cross_products(w)
    kin, n, T = read_kin(words), sizes[0], carray(T_, (1,))[0]
    z, eps, out = carray(z_, (n, 1)), carray(eps_, (n, 1)), carray(out_, (n, 1))
    L = zeros(kin.pattern.index.shape[0])
    if not _factor(kin, lead.A, T, L)[0]:
        return 0
    _left(lead, z, T, carray(v_, (rest.z.shape[0],)), 0, out)
    solve_lower_rows(kin.pattern, L, out)
    for g in range(n):
        out[g, 0] += sigma[0] * eps[g, 0]
    solve_upper_rows(kin.pattern, L, out)
    for g in range(n):
        out[g, 0] *= T
    return 1


@c_function(INT64(WORDS, *[DOUBLES] * 3))
def sparse_covariances(w, T_, Q_, out_):
    """Do what `gaussian_leading.covariances_of_patterns` does: the diagonal of X + X C Q C'X."""
    lead, rest, _, _, _, words = read_cross_products(w)
    kin, n, m, T = read_kin(words), lead.count.shape[0], rest.z.shape[0], carray(T_, (1,))[0]
    Q, out, entries = carray(Q_, (m, m)), carray(out_, (n,)), kin.pattern.index.shape[0]
    L, S, V = zeros(entries), zeros(entries), zero_matrix(n, m)
    if not _influence(kin, lead, T, L, V):
        return 0
    inverse_on_pattern(kin.pattern, L, S)
    for g in range(n):
        out[g] = T * T * S[kin.pattern.start[g]]
        for i in range(m):
            total = 0.0
            for j in range(m):
                total += Q[i, j] * V[g, j]
            out[g] += V[g, i] * total
    return 1


@inner
def _influence(kin, lead, T, L, V):
    """Set V = X C, (n, m), and L; return whether there is one."""
    if not _factor(kin, lead.A, T, L)[0]:
        return False
    _coupled(lead, T, V)
    solve_lower_rows(kin.pattern, L, V)
    solve_upper_rows(kin.pattern, L, V)
    for g in range(V.shape[0]):
        for i in range(V.shape[1]):
            V[g, i] *= T
    return True


@c_function(INT64(WORDS, *[DOUBLES] * 2))
def sparse_influence(w, T_, out_):
    """Set X C, (n, m): by how much the effects go with the coefficients of the rest, the other way round."""
    lead, rest, _, _, _, words = read_cross_products(w)
    kin = read_kin(words)
    V = carray(out_, (lead.count.shape[0], rest.z.shape[0]))
    for g in range(V.shape[0]):
        for i in range(V.shape[1]):
            V[g, i] = 0.0
    return 1 if _influence(kin, lead, carray(T_, (1,))[0], zeros(kin.pattern.index.shape[0]), V) else 0


def influence(words: Ints, n: int, m: int, T: Floats) -> Floats:
    """Return X C, (n, m), for the words of cross-products."""
    out, own = np.zeros((n, m)), np.ascontiguousarray(T, dtype=float)
    if _influence_function()(*pointers(words, own, out)) == 0:
        raise np.linalg.LinAlgError("the penalised cross-products are not positive definite")
    return out


# in the place of `eliminate`, `leading_gradient`, `effects_of_levels` and `covariances_of_patterns`
SPARSE = sparse_elimination, sparse_derivatives, sparse_effects, sparse_covariances


@functools.cache
def _influence_function() -> Callable[..., int]:
    return from_python(sparse_influence(), 3)
