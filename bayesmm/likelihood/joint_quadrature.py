"""The density of responses and some random effects of a generalised model, the others integrated out by quadrature.

One block is integrated out; the effects of the other blocks are coefficients of columns that say which level a row is
of. For nested factors: with all effects written out, those of a factor and of the factor within it are known by their
sums only, and the sds of both are near 0 in parts of the posterior, so that no fixed scale of the effects serves.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.design.records import Block, Design
from bayesmm.likelihood.compiled import c_function, call, zeros
from bayesmm.likelihood.joint import column_flags, prior_of_effects, pull_back_effects
from bayesmm.likelihood.own_parameters import kind_of_own, own_parameters
from bayesmm.likelihood.packed import Floats, Integer, Integers, Ints, pack, reader
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.quadrature import grouped
from bayesmm.likelihood.quadrature_likelihood import quadrature_likelihood, quadrature_words
from bayesmm.likelihood.row_functions import codes


class JointQuadratureData(NamedTuple):
    """What a joint density knows of a model of K blocks, one of which is integrated out."""

    integrated: Integer  # the number of that block
    p: Integer  # fixed columns
    likelihood: Integer  # the address of `quadrature_likelihood`
    widths: Integers  # (K,) columns of each block
    levels: Integers  # (K,)
    centred: Integers  # one for each column of all blocks
    words: Integers  # of `quadrature_likelihood`


read_data = reader(JointQuadratureData)


def joint_quadrature_words(design: Design, integrated: int, centred: Sequence[bool | Sequence[bool]]) -> Ints:
    """Return the words of `joint_quadrature_likelihood` for the number of the block that is integrated out.

    `centred` has a flag for each block, or for each of its columns; that of the block which is integrated out says
    nothing. For this process only.
    """
    block, family, blocks = design.blocks[integrated], design.family, design.blocks
    own = dict(size=design.size, weights=design.weights, offset=design.offset, **kind_of_own(design))
    X = written_columns(design, integrated)
    data = grouped(*codes(family), design.y, X, block.Z, block.index, len(block.levels), **own)
    widths, levels = [len(b.columns) for b in blocks], [len(b.levels) for b in blocks]
    parameters = own_parameters(design).sorted(np.argsort(block.index, kind="stable"))
    address, words = quadrature_likelihood().address, quadrature_words(data, parameters, remembers=False)
    flags = column_flags(design, centred)
    return pack(JointQuadratureData(integrated, design.p, address, widths, levels, flags, words))


def written_columns(design: Design, integrated: int) -> Floats:
    """Return the fixed columns and those of the effects that are written out, block by block, level by level."""
    written = [effect_columns(block) for k, block in enumerate(design.blocks) if k != integrated]
    return np.column_stack([design.X, *written])


def effect_columns(block: Block) -> Floats:
    """Return the columns that the effects of a block are coefficients of, (n, G q), level by level."""
    n, q, levels = len(block.index), len(block.columns), len(block.levels)
    out = np.zeros((n, levels, q))
    out[np.arange(n), block.index] = block.Z
    return out.reshape(n, levels * q)


@c_function(LIKELIHOOD)
def joint_quadrature_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y, e | L, parameters, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    data = read_data(words)
    p, size, packed, total = data.p, data.p, 0, 0.0
    for k in range(data.widths.shape[0]):
        packed += data.widths[k] * data.widths[k]
        if k != data.integrated:
            size += data.widths[k] * data.levels[k]
    e, d_e, b, d_b = carray(coefficients, (size,)), carray(d_coefficients, (size,)), zeros(size), zeros(size)
    factors, d_factors, within, at, first = carray(L, (packed,)), carray(d_L, (packed,)), 0, p, 0
    for j in range(p):
        b[j] = e[j]
    column = 0
    for k in range(data.widths.shape[0]):
        q, levels = data.widths[k], data.levels[k]
        if k == data.integrated:
            within = first
        else:
            end, factor = at + q * levels, factors[first : first + q * q]
            total += prior_of_effects(e[at:end], factor, q, levels, data.centred[column : column + q], b[at:end])
            at = end
        first, column = first + q * q, column + q
    if not math.isfinite(total):
        return 0
    arguments = (data.words, flags, factors[within:], positive, b, value, d_factors[within:], d_positive, d_b)
    if call(data.likelihood, arguments) == 0 or not math.isfinite(value[0]):
        return 0
    value[0] += total
    for j in range(p):
        d_e[j] = d_b[j]
    at, first, column = p, 0, 0
    for k in range(data.widths.shape[0]):
        q, levels = data.widths[k], data.levels[k]
        if k != data.integrated:
            end, last = at + q * levels, first + q * q
            pull_back_effects(
                e[at:end], factors[first:last], q, levels, data.centred[column : column + q], d_b[at:end], d_e[at:end],
                d_factors[first:last],
            )  # fmt: skip
            at = end
        first, column = first + q * q, column + q
    return 1
