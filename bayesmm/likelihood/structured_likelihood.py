"""A likelihood of all covariance matrices, where some of them follow from few parameters, as a C function.

Between the coordinates and the likelihood: of the factors L those that are free come as they are; those of parts with a
structure are made of parameters that stand behind the likelihood's own; and the correlations of residuals whose
matrix may be any come as the factor of one more block.
"""

from numba import carray

from bayesmm.likelihood.compiled import (
    c_function,
    call,
    inner,
    integers,
    zero_integers,
    zero_matrix,
    zeros,
)
from bayesmm.likelihood.posterior import LIKELIHOOD

# The words: sizes, those of the likelihood, and what `structured_blocks.Sampled` has under these names.
SIZES, INNER, PLACE, SOURCE, PARTS, POSITIONS, IS_SD = range(7)
# The sizes: the address of the likelihood; the lengths of its L and its auxiliaries, and of those that are sampled;
# the rows of the correlation matrix of residuals, where its factor begins, and the first of its correlations.
ADDRESS, LENGTH, OWN, OUTER, VISITS, FACTOR_AT, FIRST = range(7)


@inner
def call_factor(w, part, backward, positive, full, d_full, d_positive):
    """Set the entries of L that one part's parameters give; or, backward, add the derivatives in these."""
    parts, positions, is_sd = integers(w, PARTS), integers(w, POSITIONS), integers(w, IS_SD)
    address, first, t, q, at = (
        parts[5 * part], parts[5 * part + 1], parts[5 * part + 2], parts[5 * part + 3], parts[5 * part + 4],
    )  # fmt: skip
    sizes, values, d_values, L, d_L = zero_integers(3), zeros(t), zeros(t), zero_matrix(q, q), zero_matrix(q, q)
    sizes[0], sizes[1], sizes[2] = 1 if backward else 0, t, q
    for i in range(t):  # the sign of an sd means nothing
        values[i] = abs(positive[first + i]) if is_sd[first + i] == 1 else positive[first + i]
    for i in range(q):
        for j in range(q):
            d_L[i, j] = d_full[positions[at + i * q + j]]
    call(address, (sizes, values, L, d_L, d_values))
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
    sizes, source = integers(w, SIZES), integers(w, SOURCE)
    for i in range(own.shape[0]):
        if source[i] >= 0:
            own[i] = positive[source[i]]
    V, at, place = sizes[VISITS], sizes[FACTOR_AT], sizes[FIRST]
    for i in range(V):
        for j in range(i + 1, V):
            own[place] = 0.0
            for k in range(i + 1):
                own[place] += L[at + i * V + k] * L[at + j * V + k]
            place += 1


@inner
def pull_auxiliaries(w, L, d_own, d_positive, d_L):
    """Add the derivatives of `own_auxiliaries`."""
    sizes, source = integers(w, SIZES), integers(w, SOURCE)
    for i in range(d_own.shape[0]):
        if source[i] >= 0:
            d_positive[source[i]] += d_own[i]
    V, at, place = sizes[VISITS], sizes[FACTOR_AT], sizes[FIRST]
    for i in range(V):
        for j in range(i + 1, V):
            for k in range(i + 1):
                d_L[at + i * V + k] += d_own[place] * L[at + j * V + k]
                d_L[at + j * V + k] += d_own[place] * L[at + i * V + k]
            place += 1


@c_function(LIKELIHOOD)
def structured_likelihood(w, flags, L, positive_, coefficients, value, d_L, d_positive_, d_coefficients):
    """Set the log likelihood and its derivatives by that of the likelihood which knows no structures."""
    sizes, place, parts = integers(w, SIZES), integers(w, PLACE), integers(w, PARTS)
    positive, d_positive = carray(positive_, (sizes[OUTER],)), carray(d_positive_, (sizes[OUTER],))
    full, d_full, own, d_own = zeros(sizes[LENGTH]), zeros(sizes[LENGTH]), zeros(sizes[OWN]), zeros(sizes[OWN])
    for i in range(place.shape[0]):
        full[place[i]] = L[i]
    own_auxiliaries(w, positive, L, own)
    for part in range(parts.shape[0] // 5):
        call_factor(w, part, False, positive, full, d_full, d_positive)
    if (
        call(sizes[ADDRESS], (integers(w, INNER), flags, full, own, coefficients, value, d_full, d_own, d_coefficients))
        == 0
    ):
        return 0
    if flags[0] == 1:
        for i in range(place.shape[0]):
            d_L[i] = d_full[place[i]]
        pull_auxiliaries(w, L, d_own, d_positive, d_L)
        for part in range(parts.shape[0] // 5):
            call_factor(w, part, True, positive, full, d_full, d_positive)
    return 1
