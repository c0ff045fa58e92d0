"""Draws of coefficients and effects where the cross-products follow from the residual's parameters, draw by draw."""

import functools
from collections.abc import Callable

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    call,
    from_python,
    pointers,
    zero_integers,
    zeros,
)
from bayesmm.likelihood.conditional_gaussian import Recovered, drawn, recover
from bayesmm.likelihood.crossproducts import CrossProducts
from bayesmm.likelihood.gaussian_data import read_cross_products, read_varying
from bayesmm.likelihood.gaussian_factorisation import rest_sizes
from bayesmm.likelihood.packed import Floats, Ints
from bayesmm.likelihood.varying import Varying
from bayesmm.likelihood.varying_likelihood import residual_weights, weighted_cells


@c_function(INT64(WORDS, WORDS, WORDS, *[DOUBLES] * 10), calls=(residual_weights, weighted_cells, drawn))
def varying_draws(words, sizes, pattern, positive_, T_, sigma, mean_, lam_, D, eps_, eps_lead_, out_rest_, out_lead_):
    """Apply `conditional_gaussian.drawn` to each draw with its own cross-products; 0 where one has no factor of M."""
    n, G, v, one = sizes[0], sizes[1], read_varying(words), zero_integers(2)
    a, log_sd, weights, out = zeros(v.table.shape[0]), zeros(v.sds.shape[0]), zeros(v.kind.shape[0]), zeros(2)
    cross = zero_integers(v.cross.shape[0])
    call("weighted_cells", (words, weights, cross))
    lead, rest, _, _, _, _ = read_cross_products(cross)
    q = lead.A.shape[1]
    m, p, length = rest_sizes(rest, q)
    positive = carray(positive_, (n, 1 + v.of_C + v.of_sd))
    T, mean, lam = carray(T_, (n, length)), carray(mean_, (n, p)), carray(lam_, (n, p))
    eps, out_rest = carray(eps_, (n, m)), carray(out_rest_, (n, m))
    eps_lead, out_lead = carray(eps_lead_, (n, G * q)), carray(out_lead_, (n, G * q))
    one[0], one[1] = 1, G
    for i in range(n):
        if call("residual_weights", (words, positive[i], a, log_sd, weights, out)) == 0:
            return 0
        call("weighted_cells", (words, weights, cross))
        given = (
            cross, one, pattern, lead.sum_z, T[i], out[1:], mean[i], lam[i], D, eps[i], eps_lead[i], out_rest[i],
            out_lead[i],
        )  # fmt: skip
        if call("drawn", given) == 0:
            return 0
    return 1 if cross.shape[0] > 0 else 0


def recover_varying(
    cp: CrossProducts, varying: Varying, residual: Floats, *given: Floats, rng: np.random.Generator, keep_effects: bool
) -> Recovered:
    """Return `conditional_gaussian.recover` where the cross-products differ from draw to draw.

    Parameters
    ----------
    cp : CrossProducts
        At any values of the residual's parameters: the sizes are taken from it.
    varying : Varying
    residual : (draws, s) float64
        Sigma and the residual's other parameters, in the order of the compiled code.
    given
        T, sigma, mean and sd, as `recover` takes them; sigma is what the random effects are relative to.
    """
    pattern = np.arange(varying.n_levels)

    def run(part: slice, sizes: Ints, *arrays: Floats) -> int:
        own = np.ascontiguousarray(residual[part], dtype=float)
        return _draws()(*pointers(varying.words, sizes, pattern, own, *arrays))

    return recover(cp, *given, rng, keep_effects=keep_effects, run=run)


@functools.cache
def _draws() -> Callable[..., int]:
    return from_python(varying_draws(), 13)
