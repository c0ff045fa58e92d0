"""The likelihood by quadrature as a C function of the natural parameters: what ``posterior`` calls."""

from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import c_function, call, zeros
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.level_starts import begin, remember, size_of
from bayesmm.likelihood.level_sums import MODES, STARTED, WANTED
from bayesmm.likelihood.own_parameters import OwnParameters, own_size, pull_own, read_own, set_own
from bayesmm.likelihood.packed import Integer, Integers, Ints, Matrix, Vector, pack, reader
from bayesmm.likelihood.posterior import LIKELIHOOD, REMEMBER
from bayesmm.likelihood.quadrature import Grouped, likelihood, read_grouped, rule, told

MOST_KEPT = 10_000_000  # numbers: 80 MB


class QuadratureData(NamedTuple):
    """What a likelihood by quadrature knows of a model."""

    told: Integers  # `quadrature.told`
    nodes: Matrix  # (nodes, q)
    log_weights: Vector  # (nodes,)
    likelihood: Integer  # the address of `quadrature.likelihood`
    rows: Integers  # words of `Grouped`
    own: Integers  # words of `Own`
    room: Vector  # for what `level_starts` keeps of the levels; none where nothing is remembered


read_data = reader(QuadratureData)


def quadrature_words(data: Grouped, own: OwnParameters, k: int = LATTICE, *, remembers: bool = True) -> Ints:
    """Return the words of `quadrature_likelihood`, for k nodes per dimension or a lattice; for this process only.

    `own` are the parameters besides the mean, their rows in the order of the levels. There is room for what
    `level_starts` keeps of each level, unless it is very much or nothing `remembers`.
    """
    p, q = data.X.shape[1], data.Z.shape[1]
    kept, (nodes, log_weights) = (len(data.start) - 1) * size_of(p, q), rule(k, q)
    room = np.zeros(kept if remembers and kept <= MOST_KEPT else 0)
    first = told(data, own.number, k)
    return pack(QuadratureData(first, nodes, log_weights, likelihood().address, data.words, own.words, room))


@c_function(LIKELIHOOD)
def quadrature_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, auxiliaries, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``.

    Where flags ask for REMEMBER, there is no value: the levels are remembered as they are here, see `level_starts`.
    """
    known = read_data(words)
    data, own, now, q = read_grouped(known.rows), read_own(known.own), known.told.copy(), known.nodes.shape[1]
    remembers, (n, p), G = flags[0] == REMEMBER, data.X.shape, data.start.shape[0] - 1
    now[WANTED] = MODES if remembers else flags[0]
    beta, factor, aux = carray(coefficients, (p,)), carray(L, (q, q)), zeros(own_size(own, n))
    modes, d_aux = zeros(q * G + (2 * n if remembers else 0)), zeros(aux.shape[0])
    if not set_own(own, positive, aux):
        return 0
    if now[STARTED] == 1:
        begin(G, q, factor, beta, known.room, modes, zeros(2 * q * q))
    arguments = (
        known.rows, now, known.nodes, known.log_weights, beta, factor, aux, carray(value, (1,)),
        carray(d_coefficients, (p,)), carray(d_L, (q, q)), d_aux, modes,
    )  # fmt: skip
    if call(known.likelihood, arguments) == 0:
        return 0
    if remembers:
        if known.room.shape[0] > 0:
            remember(data.X, data.Z, data.start, factor, beta, modes, known.room)
            known.told[STARTED] = 1
        return 1
    pull_own(own, positive, aux, d_aux, d_positive)
    return 1
