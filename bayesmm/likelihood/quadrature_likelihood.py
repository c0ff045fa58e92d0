"""The likelihood by quadrature as a C function of the natural parameters: what ``posterior`` calls."""

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import c_function, call, integers, matrix, pack, vector, zeros
from bayesmm.likelihood.crossproducts import Ints
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.level_sums import WANTED
from bayesmm.likelihood.own_parameters import OwnParameters, own_size, pull_own, set_own, unpacked_own
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.quadrature import Grouped, likelihood, rule, told


def quadrature_words(data: Grouped, own: OwnParameters, k: int = LATTICE) -> Ints:
    """Return the words of `quadrature_likelihood`, for k nodes per dimension or a lattice; for this process only.

    `own` are the parameters besides the mean, their rows in the order of the levels.
    """
    address = np.array([likelihood().address])
    return pack(told(data, own.number, k), *rule(k, data.Z.shape[1]), address, data.words, own.words)


@c_function(LIKELIHOOD)
def quadrature_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, auxiliaries, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    w = carray(words, (words[0],))
    now, nodes, log_weights, data = integers(w, 0).copy(), matrix(w, 1), vector(w, 2), integers(w, 4)
    now[WANTED] = flags[0]
    own, p, q, n = unpacked_own(integers(w, 5)), matrix(data, 5).shape[1], nodes.shape[1], vector(data, 1).shape[0]
    modes, aux = np.empty((len(integers(data, 7)) - 1, q)), zeros(own_size(own, n))
    d_aux = zeros(aux.shape[0])
    if not set_own(own, positive, aux):
        return 0
    arguments = (
        data, now, nodes, log_weights, carray(coefficients, (p,)), carray(L, (q, q)), aux, carray(value, (1,)),
        carray(d_coefficients, (p,)), carray(d_L, (q, q)), d_aux, modes,
    )  # fmt: skip
    if call(integers(w, 3)[0], arguments) == 0:
        return 0
    pull_own(own, positive, aux, d_aux, d_positive)
    return 1
