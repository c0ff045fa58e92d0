"""A likelihood of effects whose levels have a known covariance, by one of independent effects, as a C function.

Between the coordinates and the joint density: effects e of a block with the covariance K among its levels, in units of
their sd, are independent, and what the joint density has in their place is R e with the factor R R' = K. The density of
e is not that of R e, which the joint density has: it is taken out.
"""

from collections.abc import Sequence

import numpy as np
from numba import carray

from bayesmm.design.records import Design
from bayesmm.likelihood.compiled import Ints, c_function, call, integers, pack, vector, zeros
from bayesmm.likelihood.posterior import LIKELIHOOD

# The words: sizes, those of the joint density, for each block where its effects begin, its levels and columns and where
# its factor begins, and the factors row by row. The sizes: the address of the joint density, and its coefficients.
SIZES, INNER, BLOCKS, ROOTS = range(4)


def related_words(design: Design, written: Sequence[int], likelihood: object, words: Ints) -> Ints:
    """Return the words of `related_likelihood` for a joint density and its words.

    Parameters
    ----------
    design : Design
    written : sequence of int
        The blocks whose effects are coordinates, in their order.
    likelihood, words
        Of the joint density, in which related blocks are not centred.
    """
    at, table, roots, length = design.p, [], [np.empty(0)], 0
    for k in written:
        block = design.blocks[k]
        G, q = len(block.levels), len(block.columns)
        if block.relation is not None:
            table += [at, G, q, length]
            roots.append(block.relation.root.ravel())
            length += G * G
        at += G * q
    sizes = np.array([likelihood.address, at], dtype=np.int64)
    return pack(sizes, words, np.array(table, dtype=np.int64), np.concatenate(roots))


@c_function(LIKELIHOOD)
def related_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y, e | L, parameters, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    w = carray(words, (words[0],))
    sizes, blocks, roots = integers(w, SIZES), integers(w, BLOCKS), vector(w, ROOTS)
    n, extra = sizes[1], 0.0
    given, d_given = carray(coefficients, (n,)), carray(d_coefficients, (n,))
    inner, d_inner = zeros(n), zeros(n)
    for i in range(n):
        inner[i] = given[i]
    for k in range(blocks.shape[0] // 4):
        at, G, q, first = blocks[4 * k], blocks[4 * k + 1], blocks[4 * k + 2], blocks[4 * k + 3]
        for g in range(G):
            for a in range(q):
                total = 0.0
                for h in range(g + 1):
                    total += roots[first + g * G + h] * given[at + h * q + a]
                inner[at + g * q + a] = total
                extra += 0.5 * (total * total - given[at + g * q + a] * given[at + g * q + a])
    if call(sizes[0], (integers(w, INNER), flags, L, positive, inner, value, d_L, d_positive, d_inner)) == 0:
        return 0
    value[0] += extra
    for i in range(n):
        d_given[i] = d_inner[i]
    for k in range(blocks.shape[0] // 4):
        at, G, q, first = blocks[4 * k], blocks[4 * k + 1], blocks[4 * k + 2], blocks[4 * k + 3]
        for i in range(at, at + G * q):
            d_given[i] = -given[i]
        for g in range(G):
            for a in range(q):
                slope = d_inner[at + g * q + a] + inner[at + g * q + a]
                for h in range(g + 1):
                    d_given[at + h * q + a] += roots[first + g * G + h] * slope
    return 1
