"""What compiled code knows of a Gaussian model: records of arrays, and what reads them from words."""

from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.packed import Cube, Integer, Integers, Ints, Matrix, Number, Vector, pack, reader


class Leading(NamedTuple):
    """Patterns of the leading factor: P patterns of q coefficients; the arrays that the compiled code takes.

    ``columns[start[g]:start[g + 1]]`` are the columns of the rest that pattern g is coupled to, and the same rows of
    `coupling` are the values, (nnz, q): the transposed blocks of Z'W[Z_rest X].
    """

    count: Vector  # (P,) number of levels
    A: Cube  # (P, q, q) Z'WZ
    start: Integers  # (P + 1,)
    columns: Integers  # (nnz,)
    coupling: Matrix  # (nnz, q)
    sum_z: Matrix  # (P, q) sum over levels of Z'Wr
    sum_zz: Cube  # (P, q, q) sum over levels of Z'Wr r'WZ


class Rest(NamedTuple):
    """The other factors, level by level, and then the p fixed columns: m columns in all."""

    A: Matrix  # (m, m)
    z: Vector  # (m,)
    q: Integers  # (K - 1,) coefficients of each further factor
    n_levels: Integers  # (K - 1,)


class CrossProductsData(NamedTuple):
    """What compiled code knows of cross-products."""

    leading: Leading
    rest: Rest
    rWr: Vector  # (1,)
    lanes: Cube  # the patterns side by side: `gaussian_lanes`; none where they are not
    functions: Integers  # (4,) in the place of what eliminates the leading factor; (2,) with lanes or dense; else none
    kin: Integers  # words of `sparse_levels.KinData`, where levels are related by it; else none


class Terms(NamedTuple):
    """How the natural parameters of a Gaussian model enter: T[i] = L[take[i]] scale[i] / sigma."""

    take: Integers  # (sum q_k^2,)
    scale: Vector  # (sum q_k^2,)
    sd: Vector  # (p,) prior sds of the fixed columns; inf for flat ones, which come last
    sampled: Integers  # (l,) fixed columns whose coefficient is sampled
    at: Vector  # (l,) what the response has taken out of it for them


class GaussianData(NamedTuple):
    """What the likelihood of a Gaussian model knows of it."""

    terms: Terms
    nu: Number  # rows less flat columns
    sum_log_weights: Number
    rows: Integers  # words of `CrossProductsData`; of `VaryingData` where the residual has parameters


class VaryingData(NamedTuple):
    """What compiled code knows of cross-products that depend on the residual's parameters: see `varying.Varying`.

    K kinds of entries of C^-1, S of sds of rows, and C classes of weights. The cells are numbered: those of A, then,
    from the first of `ends` on, of the coupling, of z, of the rest's A, of its z, and r'Wr.
    """

    of_C: Integer  # parameters besides sigma of C
    of_sd: Integer  # and of the sds
    absolute: Integer  # 1 where the sds are absolute, sigma being 1
    inverse: Integer  # the address of `structure_functions.inverse_function`; 0 without
    log_sd: Integer  # that of `structure_functions.log_sd_function`
    table: Matrix  # (K, ...) what the kernel of C^-1 takes
    sds: Matrix  # (S, ...) and that of the sds
    count: Vector  # (S,) rows
    kind: Integers  # (C,) of C^-1
    left: Integers  # (C,) of the sds
    right: Integers  # (C,)
    cell: Integers  # (cells,) which it is
    start: Integers  # (cells + 1,) its first term
    weight: Integers  # (terms,) the class
    sums: Vector  # (terms,)
    cross: Integers  # words of `CrossProductsData`, with room for the cells
    ends: Integers  # (6,)


read_cross_products, read_terms = reader(CrossProductsData), reader(Terms)
read_gaussian, read_varying = reader(GaussianData), reader(VaryingData)


def gaussian_words(terms: Terms, n: int, sum_log_weights: float, rows: Ints) -> Ints:
    """Return the words of `gaussian_likelihood` for n rows and the words of what is known of them."""
    return pack(GaussianData(terms, n - np.isinf(terms.sd).sum(), sum_log_weights, rows))
