"""A likelihood of effects whose levels have a known covariance, by one of independent effects, as a C function.

Between the coordinates and the joint density: the effects of a block with the covariance s^2 K among its levels are R f
with the factor R R' = K and independent f ~ N(0, s^2). Of a centred block f are the coordinates, else f / s, as they
are of effects that are independent between levels. The density of R f, which the joint density has in its place, is
taken out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.design.records import Design
from bayesmm.likelihood.compiled import c_function, call, zeros
from bayesmm.likelihood.joint import of_columns
from bayesmm.likelihood.packed import Integer, Integers, Ints, Vector, pack, reader
from bayesmm.likelihood.posterior import LIKELIHOOD


class RelatedData(NamedTuple):
    """What is known of a joint density with K blocks whose levels have a known covariance."""

    likelihood: Integer  # the address of the joint density
    words: Integers  # and its words
    coefficients: Integer  # how many it has, effects included
    at: Integers  # (K,) where the effects of a block begin among them
    levels: Integers  # (K,)
    place: Integers  # (K,) of its sd in L
    first: Integers  # (K,) where its factor begins
    centred: Integers  # (K,)
    roots: Vector  # the factors R, row by row


read_data = reader(RelatedData)


def related_words(design: Design, written: Sequence[int], centred: Sequence, likelihood: object, words: Ints) -> Ints:
    """Return the words of `related_likelihood` for a joint density and its words.

    Parameters
    ----------
    design : Design
    written : sequence of int
        The blocks whose effects are coordinates, in their order.
    centred : sequence of bool, or of sequences of bool
        For each block of the design, or for each of its columns.
    likelihood, words
        Of the joint density, with the same flags.
    """
    places = np.cumsum([0, *(len(block.columns) ** 2 for block in design.blocks)])
    at, table, roots, length, flags = design.p, [], [np.empty(0)], 0, of_columns(design, centred)
    for k in written:
        block = design.blocks[k]
        G = len(block.levels)
        if block.relation is not None:  # which has one effect in a level
            table.append((at, G, places[k], length, flags[k][0]))
            roots.append(block.relation.root.ravel())
            length += G * G
        at += G * len(block.columns)
    blocks = np.array(table, dtype=np.int64).reshape(-1, 5).T
    return pack(RelatedData(likelihood.address, words, at, *blocks, np.concatenate(roots)))


@c_function(LIKELIHOOD)
def related_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y, e | L, parameters, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    data = read_data(words)
    n, roots, extra = data.coefficients, data.roots, 0.0
    given, d_given = carray(coefficients, (n,)), carray(d_coefficients, (n,))
    inner, d_inner = zeros(n), zeros(n)
    for i in range(n):
        inner[i] = given[i]
    for k in range(data.at.shape[0]):
        at, G, place, first, centred = data.at[k], data.levels[k], data.place[k], data.first[k], data.centred[k]
        longer = 0.0
        for g in range(G):
            total = 0.0
            for h in range(g + 1):
                total += roots[first + g * G + h] * given[at + h]
            inner[at + g] = total
            longer += total * total - given[at + g] * given[at + g]
        extra += 0.5 * longer / (L[place] * L[place] if centred == 1 else 1.0)
    if call(data.likelihood, (data.words, flags, L, positive, inner, value, d_L, d_positive, d_inner)) == 0:
        return 0
    value[0] += extra
    for i in range(n):
        d_given[i] = d_inner[i]
    for k in range(data.at.shape[0]):
        at, G, place, first, centred = data.at[k], data.levels[k], data.place[k], data.first[k], data.centred[k]
        variance, longer = L[place] * L[place] if centred == 1 else 1.0, 0.0
        for g in range(G):
            d_given[at + g] = -given[at + g] / variance
            longer += inner[at + g] * inner[at + g] - given[at + g] * given[at + g]
        for g in range(G):
            slope = d_inner[at + g] + inner[at + g] / variance
            for h in range(g + 1):
                d_given[at + h] += roots[first + g * G + h] * slope
        if centred == 1:
            d_L[place] -= longer / (variance * L[place])
    return 1
