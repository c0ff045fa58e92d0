"""The log density of a row as a function of several linear predictors: its first three derivatives, compiled.

A family may give them all (`Kernels.joint`). Of others the derivatives in the predictor of the mean are the family's,
and the first in its parameters too; all else are differences of these along the parameters' links, of eighth order:
with steps of 0.03 they are off by about 1e-12, the second differences by about 1e-10.
"""

import math
from typing import NamedTuple

import numpy as np

from bayesmm.design.residual.of_family import IDENTITY, LOG
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.compiled import compiled, inner, pointer
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.response_kernels import add_score, derivatives, has_joint, set_joint

# Of central differences of order 8: the step on a parameter's link, and the weights of the points at 1 to 4 steps.
STEP = 0.03
FIRST = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
SECOND = (8 / 5, -1 / 5, 8 / 315, -1 / 560)
CENTRE = -205 / 72  # of the second derivative


class Predictors(NamedTuple):
    """What the linear predictors of a row besides the mean's are, as compiled code takes it."""

    code: Ints  # (M - 1,) the links of the parameters
    ends: Floats  # (M - 1, 2) their bounds
    active: Ints  # (M,) 1 for those with random effects


@inner
def set_natural(predictors, eta, at, natural, rates):
    """Set the parameters of a row, (w,), at predictors (M,) that start at `at`, and their rates; return if they exist.

    exp(x) may under- or overflow: then they do not.
    """
    for m in range(predictors.code.shape[0]):
        low, high, x = predictors.ends[m, 0], predictors.ends[m, 1], eta[at + 1 + m]
        if predictors.code[m] == IDENTITY:
            natural[m], rates[m] = x, 1.0
        elif predictors.code[m] == LOG:
            rates[m] = math.exp(x)
            natural[m] = low + rates[m]
        else:
            share = 1.0 / (1.0 + math.exp(-x))
            natural[m], rates[m] = low + (high - low) * share, (high - low) * share * (1.0 - share)
        known = math.isfinite(x) or (predictors.active[m + 1] == 0 and not math.isnan(x))  # a threshold may be infinite
        if not known or (predictors.code[m] != IDENTITY and not low < natural[m] < high):
            return False
    return True


@inner
def _at_point(predictors, response, i, eta, natural, rates, out):
    """Set `out` to (l', l'', l''', dl / d eta_1, ...) of row i at predictors (M,); zeros if there is none."""
    out[:] = 0.0
    if not set_natural(predictors, eta, 0, natural, rates):
        return
    y, size = response.y[i], response.size[i]
    _, out[0], out[1], out[2] = derivatives(response.family, response.link, y, size, eta[0], natural)
    width = natural.shape[0]
    add_score(response.family, response.link, y, size, eta[0], natural, 1.0, width, pointer(out, 3))
    for m in range(width):
        out[3 + m] *= rates[m]


@inner
def _along(predictors, response, i, eta, direction, whole, centre, first, second):
    """Set the first differences, (3 + w,), of what `_at_point` gives along a direction, (M,), if asked the second."""
    size = centre.shape[0]
    at, natural, rates, out = np.empty(eta.shape[0]), np.zeros(size - 3), np.zeros(size - 3), np.zeros(size)
    first[:] = 0.0
    for k in range(size):
        second[k] = CENTRE * centre[k] if whole else 0.0
    for p in range(4):
        for sign in (-1.0, 1.0):
            for m in range(eta.shape[0]):
                at[m] = eta[m] + sign * (p + 1) * STEP * direction[m]
            _at_point(predictors, response, i, at, natural, rates, out)
            for k in range(size):
                first[k] += sign * FIRST[p] * out[k]
                second[k] += SECOND[p] * out[k] if whole else 0.0
    for k in range(size):
        first[k] /= STEP
        second[k] /= STEP * STEP


@inner
def _row(predictors, response, i, eta, whole, s, D, third):
    """Set the derivatives of a row's w l in its predictors, (M,): s, D = -second (M, M), and if asked third (M, M, M).

    Of predictors without random effects the second ones are not set unless the third are.
    """
    M, w = eta.shape[0], response.weights[i]
    width = max(M - 1, MOST_PARAMETERS)
    natural, rates, out, spare = np.zeros(width), np.zeros(width), np.zeros(3 + width), np.zeros(3 + width)
    firsts, seconds, direction = np.zeros((M, 3 + width)), np.zeros((M, 3 + width)), np.zeros(M)
    D[:] = 0.0
    third[:] = 0.0
    _at_point(predictors, response, i, eta, natural, rates, out)
    s[0], D[0, 0], third[0, 0, 0] = w * out[0], -w * out[1], w * out[2]
    for m in range(1, M):
        s[m] = w * out[2 + m]
        if not whole and predictors.active[m] == 0:
            continue
        direction[:] = 0.0
        direction[m] = 1.0
        _along(predictors, response, i, eta, direction, whole, out, firsts[m], seconds[m])
        D[0, m] = D[m, 0] = -w * firsts[m, 0]
        for c in range(1, m + 1):
            D[c, m] = D[m, c] = -w * firsts[m, 2 + c]
    if not whole:
        return
    for m in range(1, M):
        third[0, 0, m] = third[0, m, 0] = third[m, 0, 0] = w * firsts[m, 1]
        third[0, m, m] = third[m, 0, m] = third[m, m, 0] = w * seconds[m, 0]
        for c in range(1, M):
            third[m, m, c] = third[m, c, m] = third[c, m, m] = w * seconds[m, 2 + c]
    mixed = np.zeros(3 + width)
    for a in range(1, M):  # along two parameters: d^2 in both directions is that in each and twice the mixed one
        for b in range(a + 1, M):
            direction[:] = 0.0
            direction[a] = direction[b] = 1.0
            _along(predictors, response, i, eta, direction, True, out, spare, mixed)
            for c in range(M):
                if c in (a, b):
                    continue
                k = 2 + c if c > 0 else 0
                value = 0.5 * w * (mixed[k] - seconds[a, k] - seconds[b, k])
                third[a, b, c] = third[b, a, c] = third[a, c, b] = value
                third[b, c, a] = third[c, a, b] = third[c, b, a] = value


@inner
def _row_at_once(response, i, eta, whole, out, s, D, third):
    """Set the same as `_row` from what the family gives; all links are identities. `out` is (M + M M + M M M,)."""
    M, w = eta.shape[0], response.weights[i]
    set_joint(response.family, response.y[i], response.size[i], eta[0], eta[1:], out)
    for a in range(M):
        s[a] = w * out[a]
        for b in range(M):
            D[a, b] = -w * out[M + a * M + b]
            for c in range(M if whole else 0):
                third[a, b, c] = w * out[M + M * M + (a * M + b) * M + c]


@compiled
def set_rows(predictors, response, eta, whole, s, D, third):
    """Set the derivatives of all rows: s (n M,), D (n, M, M), third (n, M, M, M) if `whole`."""
    M, given = predictors.active.shape[0], has_joint(response.family)
    out = np.zeros(M + M * M + M * M * M if given else 1)
    for i in range(response.y.shape[0]):
        part = slice(i * M, (i + 1) * M)
        if given:
            _row_at_once(response, i, eta[part], whole, out, s[part], D[i], third[i if whole else 0])
        else:
            _row(predictors, response, i, eta[part], whole, s[part], D[i], third[i if whole else 0])
