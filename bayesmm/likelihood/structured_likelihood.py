"""A likelihood of all covariance matrices, where some of them follow from few parameters, as a C function.

Between the coordinates and the likelihood: of the factors L those that are free come as they are; those of parts with a
structure are made of parameters that stand behind the likelihood's own; and the correlations of residuals whose
matrix may be any come as the factor of one more block.
"""

from typing import NamedTuple

from numba import carray

from bayesmm.likelihood.compiled import c_function, call, inner, zero_integers, zero_matrix, zeros
from bayesmm.likelihood.packed import Integer, Integers, reader
from bayesmm.likelihood.posterior import LIKELIHOOD


class StructuredData(NamedTuple):
    """What is known of a likelihood and of the P parts of its covariance matrices that have a structure."""

    likelihood: Integer  # its address
    words: Integers  # and its words
    length: Integer  # of its L
    own: Integer  # how many auxiliaries it has
    outer: Integer  # how many are sampled
    visits: Integer  # rows of the correlation matrix of residuals that may be any
    factor_at: Integer  # where its factor begins in what is sampled
    first_correlation: Integer  # its first correlation among the auxiliaries
    place: Integers  # `structured_blocks.Sampled.place`
    source: Integers  # `structured_blocks.Sampled.source`
    factor: Integers  # (P,) the address of the function that sets a part's factor
    first: Integers  # (P,) its first parameter
    size: Integers  # (P,) how many it has
    width: Integers  # (P,) columns
    at: Integers  # (P,) where its positions begin
    positions: Integers  # in L of the entries of the factors
    is_sd: Integers  # (outer,)


read_data = reader(StructuredData)


@inner
def call_factor(w, part, backward, positive, full, d_full, d_positive):
    """Set the entries of L that one part's parameters give; or, backward, add the derivatives in these."""
    positions, is_sd, first, t, q, at = w.positions, w.is_sd, w.first[part], w.size[part], w.width[part], w.at[part]
    sizes, values, d_values, L, d_L = zero_integers(3), zeros(t), zeros(t), zero_matrix(q, q), zero_matrix(q, q)
    sizes[0], sizes[1], sizes[2] = 1 if backward else 0, t, q
    for i in range(t):  # the sign of an sd means nothing
        values[i] = abs(positive[first + i]) if is_sd[first + i] == 1 else positive[first + i]
    for i in range(q):
        for j in range(q):
            d_L[i, j] = d_full[positions[at + i * q + j]]
    call(w.factor[part], (sizes, values, L, d_L, d_values))
    for i in range(q):
        for j in range(q):
            if not backward:
                full[positions[at + i * q + j]] = L[i, j]
    for i in range(t):
        turned = is_sd[first + i] == 1 and positive[first + i] < 0.0
        d_positive[first + i] += -d_values[i] if turned else d_values[i]


@inner
def own_auxiliaries(w, positive, L, own):
    """Set the likelihood's auxiliaries: those that are sampled, and the correlations of the factor of residuals."""
    for i in range(own.shape[0]):
        if w.source[i] >= 0:
            own[i] = positive[w.source[i]]
    V, at, place = w.visits, w.factor_at, w.first_correlation
    for i in range(V):
        for j in range(i + 1, V):
            own[place] = 0.0
            for k in range(i + 1):
                own[place] += L[at + i * V + k] * L[at + j * V + k]
            place += 1


@inner
def pull_auxiliaries(w, L, d_own, d_positive, d_L):
    """Add the derivatives of `own_auxiliaries`."""
    for i in range(d_own.shape[0]):
        if w.source[i] >= 0:
            d_positive[w.source[i]] += d_own[i]
    V, at, place = w.visits, w.factor_at, w.first_correlation
    for i in range(V):
        for j in range(i + 1, V):
            for k in range(i + 1):
                d_L[at + i * V + k] += d_own[place] * L[at + j * V + k]
                d_L[at + j * V + k] += d_own[place] * L[at + i * V + k]
            place += 1


@c_function(LIKELIHOOD)
def structured_likelihood(words, flags, L, positive_, coefficients, value, d_L, d_positive_, d_coefficients):
    """Set the log likelihood and its derivatives by that of the likelihood which knows no structures."""
    w = read_data(words)
    positive, d_positive = carray(positive_, (w.outer,)), carray(d_positive_, (w.outer,))
    full, d_full, own, d_own = zeros(w.length), zeros(w.length), zeros(w.own), zeros(w.own)
    for i in range(w.place.shape[0]):
        full[w.place[i]] = L[i]
    own_auxiliaries(w, positive, L, own)
    for part in range(w.factor.shape[0]):
        call_factor(w, part, False, positive, full, d_full, d_positive)
    if call(w.likelihood, (w.words, flags, full, own, coefficients, value, d_full, d_own, d_coefficients)) == 0:
        return 0
    if flags[0] == 1:
        for i in range(w.place.shape[0]):
            d_L[i] = d_full[w.place[i]]
        pull_auxiliaries(w, L, d_own, d_positive, d_L)
        for part in range(w.factor.shape[0]):
            call_factor(w, part, True, positive, full, d_full, d_positive)
    return 1
