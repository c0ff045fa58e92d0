"""The rows of one level of the grouping factor, and what a rule of `quadrature` is called with, compiled.

A rule is a C function of one level: what it is made of is compiled once, when a rule is first asked for, and not again
into the likelihood, the draws of the random effects and the rows left out, which call it.
"""

from typing import NamedTuple

import numpy as np

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.compiled import DOUBLES, INT64, WORDS, inlined, inner, pointer, vector_of
from bayesmm.likelihood.crossproducts import Ints
from bayesmm.likelihood.response_terms import GENERAL, SMOOTH, kind_of

# (settings, nodes, log weights, y, size, weight, eta, A, aux, u, value, d_eta, d_A, d_aux, pool) -> 1, or 0 where the
# level has no value. For n rows and q random effects, see `Rows`: u, (q,), is the mode out, and where the search for it
# begins if STARTED is 1, value, (2,), the log integral of exp f and f(u), d_eta, (n,), and d_A, (q, n), are the value's
# derivatives, and d_aux is added to. It and aux have three numbers, or so many for each row. `pool` has the size that
# the rule asks for; the settings say what is asked.
LEVEL = INT64(WORDS, *[DOUBLES] * 14)
# The places of the settings, int64.
FAMILY, LINK, ROWS, EFFECTS, AUXILIARIES, TASK, FINE, NODES, BY, REAL, STARTED = range(11)
SETTINGS = 11
Pointer = object  # to float64: `compiled.pointer`
# What a rule is asked for: the value, its derivatives too, and of a lattice what `lattice_walk` has, or the mode alone
# with the rows' derivatives there
VALUE, SLOPES, LEVELS, WITHOUT, MARGINS, PICKS, AT_MODE = range(7)


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
    aux : pointer to (3,) or (n, by) float64
    by : int
        How far the parameters of a row are from those of the one before: their number, at least 3, or 0 where all
        rows have the same.
    real : int
        `quadrature.Grouped`.
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
    aux: Pointer
    by: int
    real: int


def told(family: int, link: int, q: int, task: int, by: int = 0) -> Ints:
    """Return the settings of a rule that gives no derivatives in auxiliaries, but for the number of rows."""
    settings = np.zeros(SETTINGS, dtype=np.int64)
    settings[[FAMILY, LINK, EFFECTS, TASK, BY]] = family, link, q, task, by
    return settings


@inlined
def rows_at(settings, y, size, weight, eta, A, aux):
    """Return the rows that a rule is called with."""
    family, link = settings[FAMILY], settings[LINK]
    n, q, by = settings[ROWS], settings[EFFECTS], settings[BY]
    return Rows(n, q, family, link, kind_by(family, link, by), y, size, weight, eta, A, aux, by, settings[REAL])


@inner
def kind_by(family, link, by):
    """Return what is known of a row: nodes are taken together where all rows have the same parameters."""
    kind = kind_of(family, link)
    return GENERAL if kind == SMOOTH and by > 0 else kind


@inner
def own_aux(rows, i):
    """Return the parameters of a row besides its mean: the first three, behind which any others stand."""
    return vector_of(pointer(rows.aux, rows.by * i), (MOST_PARAMETERS,))


@inner
def scores_of(rows, n_aux):
    """Return how many derivatives in auxiliaries there are."""
    return n_aux if rows.by == 0 else rows.by * rows.n


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
