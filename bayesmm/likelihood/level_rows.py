"""The rows of one level of the grouping factor, and what a rule of `quadrature` is called with, compiled.

A rule is a C function of one level: what it is made of is compiled once, when a rule is first asked for, and not again
into the likelihood, the draws of the random effects and the rows left out, which call it.
"""

from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import DOUBLES, INT64, WORDS, inlined, inner, vector_of
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.response_terms import kind_of

# (settings, nodes, log weights, y, size, weight, eta, A, aux, u, value, d_eta, d_A, d_aux, pool) -> 1, or 0 where the
# level has no value. For n rows and q random effects, see `Rows`: u, (q,), is the mode out, value, (2,), the log
# integral of exp f and f(u), d_eta, (n,), and d_A, (q, n), are the value's derivatives, and d_aux, (2,), is added to.
# `pool` has the size that the rule asks for. What it is asked for is in the settings.
LEVEL = INT64(WORDS, *[DOUBLES] * 14)
# The places of the settings, int64.
FAMILY, LINK, ROWS, EFFECTS, AUXILIARIES, TASK, FINE, NODES = range(8)
SETTINGS = 8
Pointer = object  # to float64: `compiled.pointer`
# What a rule is asked for: the value, its derivatives too, and of a lattice what `lattice_walk` has
VALUE, SLOPES, LEVELS, WITHOUT, MARGINS, PICKS = range(6)


class Rows(NamedTuple):
    """The n rows of a level with q random effects.

    Attributes
    ----------
    n, q : int
    family, link : int
        `row_functions.codes`.
    kind : int
        `response_terms.kind_of` both.
    y, size, weight, eta : pointers to (n,) float64
        `eta` is the linear predictor at u = 0.
    A : pointer to (q, n) float64
        The columns a_i = L'z_i, so that the linear predictor at u is eta + A'u.
    aux : (2,) float64
    """

    n: int
    q: int
    family: int
    link: int
    kind: int
    y: Pointer
    size: Pointer
    weight: Pointer
    eta: Pointer
    A: Pointer
    aux: Floats


def told(family: int, link: int, q: int, task: int) -> Ints:
    """Return the settings of a rule without auxiliaries, but for the number of rows."""
    settings = np.zeros(SETTINGS, dtype=np.int64)
    settings[[FAMILY, LINK, EFFECTS, TASK]] = family, link, q, task
    return settings


@inlined
def rows_at(settings, y, size, weight, eta, A, aux):
    """Return the rows that a rule is called with."""
    family, link = settings[FAMILY], settings[LINK]
    n, q, kind = settings[ROWS], settings[EFFECTS], kind_of(family, link)
    return Rows(n, q, family, link, kind, y, size, weight, eta, A, vector_of(aux, (2,)))


@inner
def lead(Z, L, lo, n, A):
    """Set A = L'Z' for rows lo to lo + n of Z; L is lower triangular, A a pointer."""
    q = L.shape[0]
    for b in range(q):
        for i in range(n):
            total = 0.0
            for a in range(b, q):
                total += L[a, b] * Z[lo + i, a]
            A[b * n + i] = total


@inner
def predictor(rows, u, i):
    """Return the linear predictor of a row at u."""
    at = rows.eta[i]
    for a in range(rows.q):
        at += rows.A[a * rows.n + i] * u[a]
    return at
