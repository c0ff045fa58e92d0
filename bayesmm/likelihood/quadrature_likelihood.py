"""The likelihood by quadrature as a C function of the natural parameters: what ``posterior`` calls."""

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import c_function, call, integers, matrix, pack, vector
from bayesmm.likelihood.crossproducts import Ints
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.level_sums import AUXILIARIES, WANTED
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.quadrature import Grouped, likelihood, rule, told


def quadrature_words(data: Grouped, n_auxiliaries: int, k: int = LATTICE) -> Ints:
    """Return the words of `quadrature_likelihood`, for k nodes per dimension or a lattice; for this process only."""
    return pack(told(data, n_auxiliaries, k), *rule(k, data.Z.shape[1]), np.array([likelihood().address]), data.words)


@c_function(LIKELIHOOD)
def quadrature_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, auxiliaries, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    w = carray(words, (words[0],))
    now, nodes, log_weights, data = integers(w, 0).copy(), matrix(w, 1), vector(w, 2), integers(w, 4)
    now[WANTED] = flags[0]
    p, q, n_auxiliaries = matrix(data, 5).shape[1], nodes.shape[1], now[AUXILIARIES]
    aux, d_aux, modes = np.zeros(2), np.zeros(2), np.empty((len(integers(data, 7)) - 1, q))
    for m in range(n_auxiliaries):
        aux[m] = positive[m]
        if not (aux[m] > 0.0 and aux[m] < np.inf):  # where exp(x) under- or overflows
            return 0
    arguments = (
        data, now, nodes, log_weights, carray(coefficients, (p,)), carray(L, (q, q)), aux, carray(value, (1,)),
        carray(d_coefficients, (p,)), carray(d_L, (q, q)), d_aux, modes,
    )  # fmt: skip
    if call(integers(w, 3)[0], arguments) == 0:
        return 0
    for m in range(n_auxiliaries):
        d_positive[m] = d_aux[m]
    return 1
