"""The likelihood by quadrature as a C function of the natural parameters: what ``posterior`` calls."""

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import c_function, call, integers, matrix, pack, vector, zeros
from bayesmm.likelihood.crossproducts import Ints
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.level_starts import begin, remember, size_of
from bayesmm.likelihood.level_sums import MODES, STARTED, WANTED
from bayesmm.likelihood.own_parameters import OwnParameters, own_size, pull_own, set_own, unpacked_own
from bayesmm.likelihood.posterior import LIKELIHOOD, REMEMBER
from bayesmm.likelihood.quadrature import Grouped, likelihood, rule, told

MOST_KEPT = 10_000_000  # numbers: 80 MB


def quadrature_words(data: Grouped, own: OwnParameters, k: int = LATTICE, *, remembers: bool = True) -> Ints:
    """Return the words of `quadrature_likelihood`, for k nodes per dimension or a lattice; for this process only.

    `own` are the parameters besides the mean, their rows in the order of the levels. There is room for what
    `level_starts` keeps of each level, unless it is very much or nothing `remembers`.
    """
    address, kept = np.array([likelihood().address]), (len(data.start) - 1) * size_of(data.X.shape[1], data.Z.shape[1])
    room = np.zeros(kept if remembers and kept <= MOST_KEPT else 0)
    return pack(told(data, own.number, k), *rule(k, data.Z.shape[1]), address, data.words, own.words, room)


@c_function(LIKELIHOOD)
def quadrature_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, auxiliaries, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``.

    Where flags ask for REMEMBER, there is no value: the levels are remembered as they are here, see `level_starts`.
    """
    w = carray(words, (words[0],))
    now, nodes, log_weights, data = integers(w, 0).copy(), matrix(w, 1), vector(w, 2), integers(w, 4)
    remembers, room = flags[0] == REMEMBER, vector(w, 6)
    now[WANTED] = MODES if remembers else flags[0]
    own, p, q, n = unpacked_own(integers(w, 5)), matrix(data, 5).shape[1], nodes.shape[1], vector(data, 1).shape[0]
    start, beta, factor = integers(data, 7), carray(coefficients, (p,)), carray(L, (q, q))
    G, aux = start.shape[0] - 1, zeros(own_size(own, n))
    modes, d_aux = zeros(q * G + (2 * n if remembers else 0)), zeros(aux.shape[0])
    if not set_own(own, positive, aux):
        return 0
    if now[STARTED] == 1:
        begin(G, q, factor, beta, room, modes, zeros(2 * q * q))
    arguments = (
        data, now, nodes, log_weights, beta, factor, aux, carray(value, (1,)), carray(d_coefficients, (p,)),
        carray(d_L, (q, q)), d_aux, modes,
    )  # fmt: skip
    if call(integers(w, 3)[0], arguments) == 0:
        return 0
    if remembers:
        if room.shape[0] > 0:
            remember(matrix(data, 5), matrix(data, 6), start, factor, beta, modes, room)
            integers(w, 0)[STARTED] = 1
        return 1
    pull_own(own, positive, aux, d_aux, d_positive)
    return 1
