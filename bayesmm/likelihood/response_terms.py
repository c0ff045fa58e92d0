"""One row as `quadrature_kernels` sums it: what depends on the linear predictor apart from what does not.

A level has each of its rows at every node of the grid and at every step towards the mode, so that logarithms of gamma
functions and the like, which are the same at all of them, are taken once, by `row_constant` and `constant`. Families
and links without a branch here have no constant, and their density is that of `response_kernels`.
"""

import math

from bayesmm.families.codes import BERNOULLI, BINOMIAL, GAMMA, LOG, LOGIT, NEGBINOMIAL, POISSON, STUDENT
from bayesmm.likelihood.compiled import compiled, inner
from bayesmm.likelihood.response_kernels import (
    WILD,
    derivatives,
    score_auxiliary,
    student_kernel,
    student_kernel_score,
)
from bayesmm.likelihood.special import LOG_2PI, log_gamma_ratio, polygamma, stirling_error


@inner
def row_derivatives(family, link, y, size, at, aux):
    """Return the log density of a row and three derivatives in eta; less `row_constant` and `constant`."""
    if family == POISSON and link == LOG and at < WILD:
        mu = math.exp(at)
        return y * at - mu, y - mu, -mu, -mu
    if (family == BERNOULLI or family == BINOMIAL) and link == LOGIT and math.isfinite(at):
        t = math.exp(-abs(at))
        near = 1.0 / (1.0 + t)
        p, q = (near, t * near) if at > 0.0 else (t * near, near)
        d2 = -size * p * q
        return y * at - size * (max(at, 0.0) + math.log1p(t)), y * q - (size - y) * p, d2, d2 * (q - p)
    if family == STUDENT:
        return student_kernel(y, at, aux[0], aux[1])
    if family == NEGBINOMIAL:
        if not math.isfinite(at):
            return -math.inf, 0.0, 0.0, 0.0
        shape = aux[0]
        t = at - math.log(shape)
        total, p, q = _shares(t)
        d2 = -(y + shape) * p * q
        return y * t - (y + shape) * total, y * q - shape * p, d2, d2 * (q - p)
    if family == GAMMA and link == LOG:
        if not (math.isfinite(at) and at > -WILD):
            return -math.inf, 0.0, 0.0, 0.0
        s = aux[0] * y * math.exp(-at)
        return -aux[0] * at - s, s - aux[0], -s, s
    return derivatives(family, link, y, size, at, aux)


@inner
def _shares(t):
    """Return log(1 + exp t), 1 / (1 + exp -t) and 1 / (1 + exp t)."""
    small = math.exp(-abs(t))
    near = 1.0 / (1.0 + small)
    p, q = (near, small * near) if t > 0.0 else (small * near, near)
    return max(t, 0.0) + math.log1p(small), p, q


@inner
def row_score(family, link, y, size, at, aux):
    """Return the derivatives in the auxiliaries of what `row_derivatives` returns, where that is finite."""
    if family == STUDENT:
        return student_kernel_score(y, at, aux[0], aux[1])
    if family == NEGBINOMIAL:
        total, p, q = _shares(at - math.log(aux[0]))
        return p - total - y / aux[0] * q, 0.0
    if family == GAMMA and link == LOG:
        return -at - y * math.exp(-at), 0.0
    return score_auxiliary(family, link, y, size, at, aux)


@compiled
def row_constant(family, link, y, aux):
    """Return what `row_derivatives` leaves out and depends on the auxiliaries, and its derivatives in them."""
    if family == STUDENT:
        ratio, slope = log_gamma_ratio(0.5 * aux[1], 0.5)
        value = ratio - 0.5 * math.log(math.pi * aux[1]) - math.log(aux[0])
        return value, -1.0 / aux[0], 0.5 * (slope - 1.0 / aux[1])
    if family == NEGBINOMIAL:
        ratio, slope = log_gamma_ratio(aux[0], y)
        return ratio - math.lgamma(y + 1.0), slope, 0.0
    if family == GAMMA and link == LOG:
        value = 0.5 * (math.log(aux[0]) - LOG_2PI) - stirling_error(aux[0]) - math.log(y)
        return value + aux[0] * (math.log(y) + 1.0), math.log(aux[0] * y) + 1.0 - polygamma(aux[0])[0], 0.0
    return 0.0, 0.0, 0.0


@compiled
def constant(family, link, y, size, weight):
    """Return what `row_derivatives` leaves out, summed over the rows: -log y! of counts, log binomial coefficients."""
    total = 0.0
    for i in range(y.shape[0]):
        if family == POISSON and link == LOG:
            total -= weight[i] * math.lgamma(y[i] + 1.0)
        elif family == BINOMIAL and link == LOGIT:
            rest = math.lgamma(y[i] + 1.0) + math.lgamma(size[i] - y[i] + 1.0)
            total += weight[i] * (math.lgamma(size[i] + 1.0) - rest)
    return total
