"""The likelihood by quadrature as a C function of the natural parameters: what ``posterior`` calls."""

from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import c_function, call, zeros
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.level_sums import WANTED
from bayesmm.likelihood.own_parameters import OwnParameters, own_size, pull_own, read_own, set_own
from bayesmm.likelihood.packed import Integer, Integers, Ints, Matrix, Vector, pack, reader
from bayesmm.likelihood.posterior import LIKELIHOOD
from bayesmm.likelihood.quadrature import Grouped, likelihood, read_grouped, rule, told


class QuadratureData(NamedTuple):
    """What a likelihood by quadrature knows of a model."""

    told: Integers  # `quadrature.told`
    nodes: Matrix  # (nodes, q)
    log_weights: Vector  # (nodes,)
    likelihood: Integer  # the address of `quadrature.likelihood`
    rows: Integers  # words of `Grouped`
    own: Integers  # words of `Own`


read_data = reader(QuadratureData)


def quadrature_words(data: Grouped, own: OwnParameters, k: int = LATTICE) -> Ints:
    """Return the words of `quadrature_likelihood`, for k nodes per dimension or a lattice; for this process only.

    `own` are the parameters besides the mean, their rows in the order of the levels.
    """
    nodes, log_weights = rule(k, data.Z.shape[1])
    return pack(
        QuadratureData(told(data, own.number, k), nodes, log_weights, likelihood().address, data.words, own.words)
    )


@c_function(LIKELIHOOD)
def quadrature_likelihood(words, flags, L, positive, coefficients, value, d_L, d_positive, d_coefficients):
    """Set log p(y | L, auxiliaries, coefficients) and its derivatives, see ``posterior.LIKELIHOOD``."""
    known = read_data(words)
    data, own, now, q = read_grouped(known.rows), read_own(known.own), known.told.copy(), known.nodes.shape[1]
    now[WANTED] = flags[0]
    n, p = data.X.shape
    modes, aux = np.empty((len(data.start) - 1, q)), zeros(own_size(own, n))
    d_aux = zeros(aux.shape[0])
    if not set_own(own, positive, aux):
        return 0
    arguments = (
        known.rows, now, known.nodes, known.log_weights, carray(coefficients, (p,)), carray(L, (q, q)), aux,
        carray(value, (1,)), carray(d_coefficients, (p,)), carray(d_L, (q, q)), d_aux, modes,
    )  # fmt: skip
    if call(known.likelihood, arguments) == 0:
        return 0
    pull_own(own, positive, aux, d_aux, d_positive)
    return 1
