"""The joint density of responses and random effects of a generalised model, as a C function like a likelihood.

Its coefficients are those of the fixed columns and then the random effects e, block by block, level by level: of a
centred block the effects themselves, b = e ~ N(0, L L'), else b = L e with e ~ N(0, I). Columns of a block may be
centred alone: with b = L z, e is b of these columns, and z of the others. For what does not integrate out: crossed
factors, many effects of a level, effects of a parameter of the family, which are added to its link.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.design.predictors import MEAN
from bayesmm.design.records import Design
from bayesmm.families.special import LOG_2PI
from bayesmm.likelihood.compiled import c_function, fused, zeros
from bayesmm.likelihood.own_parameters import (
    kind_of_own,
    moved_own,
    own_parameters,
    own_size,
    pull_link,
    pull_own,
    read_own,
    set_own,
)
from bayesmm.likelihood.packed import Integers, Ints, Matrix, pack, reader
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.quadrature import grouped, read_grouped
from bayesmm.likelihood.row_functions import codes
from bayesmm.likelihood.rows_likelihood import Same, gather_columns, predictors, same_of, sum_rows


class JointData(NamedTuple):
    """What a joint density knows of a model, of K blocks with C columns in all and n rows."""

    widths: Integers  # (K,) columns of each block
    sizes: Integers  # (K,) and its levels
    centred: Integers  # (C,) 1 where the effects are coordinates as they are, 0 where they are over their sds
    levels: Integers  # (K n,)
    Z: Matrix  # (C, n)
    rows: Integers  # words of `Grouped`
    own: Integers  # words of `Own`
    of: Integers  # (C,) see `predictor_of_columns`
    same: Same


read_data = reader(JointData)


def of_columns(design: Design, centred: Sequence[bool | Sequence[bool]]) -> list[tuple[bool, ...]]:
    """Return for each block which of its columns are centred, from that or one flag for all of them."""
    widths = [len(block.columns) for block in design.blocks]
    return [
        (bool(own),) * q if np.ndim(own) == 0 else tuple(map(bool, own)) for own, q in zip(centred, widths, strict=True)
    ]


def column_flags(design: Design, centred: Sequence[bool | Sequence[bool]]) -> Ints:
    """Return 1 for each column of all blocks that is centred, else 0."""
    return np.array([flag for own in of_columns(design, centred) for flag in own], dtype=np.int64)


def joint_words(design: Design, centred: Sequence[bool | Sequence[bool]]) -> Ints:
    """Return the words of `joint_likelihood`, `centred` block by block, or column by column; for this process only.

    Rows that are equal in all that they have are merged where the family allows it, levels included: these count as
    columns for that.
    """
    blocks = design.blocks
    Z = np.column_stack([*(block.Z for block in blocks), *(block.index.astype(float) for block in blocks)])
    own = dict(size=design.size, weights=design.weights, offset=design.offset, **kind_of_own(design))
    data = grouped(*codes(design.family), design.y, design.X, Z, np.zeros(design.n, np.int64), 1, **own)
    levels, columns = data.Z[:, -len(blocks) :].astype(np.int64).T, data.Z[:, : -len(blocks)].T
    widths = np.array([len(block.columns) for block in blocks])
    sizes = np.array([len(block.levels) for block in blocks])
    flags, words = column_flags(design, centred), own_parameters(design).words
    of, same = predictor_of_columns(design), same_of(design.family.kernels, data)
    return pack(JointData(widths, sizes, flags, levels.ravel(), columns, data.words, words, of, same))


def predictor_of_columns(design: Design) -> Ints:
    """Return for each column of all blocks the predictor that it acts on: 0 for the mean, m for the m-th parameter."""
    names = (MEAN, *design.family.auxiliaries)
    owners = [own for block in design.blocks for own in block.predictors or (MEAN,) * len(block.columns)]
    return np.array([names.index(own) for own in owners], dtype=np.int64)


@fused
def prior_of_effects(e, L, q, G, centred, b):
    """Set b, (G q,), for effects e of one block; return log p(e | L), -inf where a centred column has none.

    `centred`, (q,), is 1 of the columns whose e is b.
    """
    total = -0.5 * LOG_2PI * G * q
    for g in range(G):
        first = g * q
        for a in range(q):  # z, with b = L z and z ~ N(0, I), stands in b until it is needed no more
            b[first + a] = e[first + a]
            if centred[a] == 1:
                for c in range(a):
                    b[first + a] -= L[a * q + c] * b[first + c]
                b[first + a] /= L[a * q + a]
            total -= 0.5 * b[first + a] * b[first + a]
        for a in range(q - 1, -1, -1):
            if centred[a] == 1:
                b[first + a] = e[first + a]
            else:
                b[first + a] *= L[a * q + a]
                for c in range(a):
                    b[first + a] += L[a * q + c] * b[first + c]
    for a in range(q):
        if centred[a] == 1:
            total -= G * math.log(L[a * q + a]) if L[a * q + a] > 0.0 else math.inf
    return total


@fused
def pull_back_effects(e, L, q, G, centred, d_b, d_e, d_L):
    """Set the derivatives in e and L of log p(e | L) and of a function of b with the derivatives d_b, (G q,)."""
    z, d_z = zeros(q), zeros(q)
    for g in range(G):
        first = g * q
        for a in range(q):
            z[a] = e[first + a]
            if centred[a] == 1:
                for c in range(a):
                    z[a] -= L[a * q + c] * z[c]
                z[a] /= L[a * q + a]
            d_z[a] = -z[a]
            d_e[first + a] = 0.0
        for a in range(q):
            if centred[a] == 1:
                d_e[first + a] = d_b[first + a]
            else:
                for c in range(a + 1):
                    d_z[c] += L[a * q + c] * d_b[first + a]
                    d_L[a * q + c] += d_b[first + a] * z[c]
        for a in range(q - 1, -1, -1):
            if centred[a] == 1:
                slope = d_z[a] / L[a * q + a]
                d_e[first + a] += slope
                d_L[a * q + a] -= slope * z[a] + 1.0 / L[a * q + a]
                for c in range(a):
                    d_z[c] -= slope * L[a * q + c]
                    d_L[a * q + c] -= slope * z[c]
            else:
                d_e[first + a] = d_z[a]


@fused
def add_effects(Z, levels, widths, sizes, of, m, b, eta):
    """Add Z b to the m-th linear predictors, (n,); Z is (columns, n), and `levels` has n numbers for each block."""
    n, column, base = eta.shape[0], 0, 0
    for k in range(widths.shape[0]):
        for a in range(widths[k]):
            for i in range(n if of[column] == m else 0):
                eta[i] += Z[column, i] * b[base + levels[k * n + i] * widths[k] + a]
            column += 1
        base += widths[k] * sizes[k]


@fused
def gather_effects(Z, levels, widths, sizes, of, m, slope, d_b):
    """Add Z' slope to the derivatives in b; see `add_effects`."""
    n, column, base = slope.shape[0], 0, 0
    for k in range(widths.shape[0]):
        for a in range(widths[k]):
            for i in range(n if of[column] == m else 0):
                d_b[base + levels[k * n + i] * widths[k] + a] += Z[column, i] * slope[i]
            column += 1
        base += widths[k] * sizes[k]


@c_function(LIKELIHOOD)
def joint_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y, e | L, parameters, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    widths, sizes, centred, levels, Z, rows, own_words, of, same = read_data(words)
    data, fixed = read_grouped(rows), read_own(own_words)
    (n, p), total, B, packed = data.X.shape, 0.0, 0, 0
    for k in range(widths.shape[0]):
        B += widths[k] * sizes[k]
        packed += widths[k] * widths[k]
    aux, eta, slope, b, d_b = zeros(own_size(fixed, n)), zeros(n), zeros(n), zeros(B), zeros(B)
    d_aux = zeros(aux.shape[0])
    e, factors = carray(coefficients, (p + B,))[p:], carray(L, (packed,))
    at, packed, column = 0, 0, 0
    for k in range(widths.shape[0]):
        q, end = widths[k], at + widths[k] * sizes[k]
        own_flags = centred[column : column + q]
        total += prior_of_effects(e[at:end], factors[packed : packed + q * q], q, sizes[k], own_flags, b[at:end])
        at, packed, column = end, packed + q * q, column + q
    if not math.isfinite(total):
        return 0
    shift = fixed.offset.copy()
    for m in range(shift.shape[0] if shift.shape[1] > 0 else 0):
        add_effects(Z, levels, widths, sizes, of, m + 1, b, shift[m])
    own = moved_own(fixed, shift)
    if not set_own(own, positive, aux):
        return 0
    predictors(data, carray(coefficients, (p,)), eta)
    add_effects(Z, levels, widths, sizes, of, 0, b, eta)
    total += sum_rows(data, same, aux, own.number, eta, slope, d_aux)
    if not math.isfinite(total):
        return 0
    value[0] = total
    pull_own(own, positive, aux, d_aux, d_positive)
    gather_columns(data.X, slope, carray(d_coefficients, (p,)))
    gather_effects(Z, levels, widths, sizes, of, 0, slope, d_b)
    for m in range(shift.shape[0] if shift.shape[1] > 0 else 0):
        pull_link(own, m, aux, d_aux, slope)
        gather_effects(Z, levels, widths, sizes, of, m + 1, slope, d_b)
    d_e, d_factors, at, packed, column = carray(d_coefficients, (p + B,))[p:], carray(d_L, factors.shape), 0, 0, 0
    for k in range(widths.shape[0]):
        q, end = widths[k], at + widths[k] * sizes[k]
        pull_back_effects(
            e[at:end], factors[packed : packed + q * q], q, sizes[k], centred[column : column + q], d_b[at:end],
            d_e[at:end], d_factors[packed : packed + q * q],
        )  # fmt: skip
        at, packed, column = end, packed + q * q, column + q
    return 1
