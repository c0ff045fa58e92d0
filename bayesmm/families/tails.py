"""Probabilities below and above a value in logarithms: compiled and in PyTensor, for the families' `Tails`.

A probability F that falls with eta at the rate exp h, d F / d eta = -exp h, has derivatives that follow from h and its
own two derivatives: `falling`. Where a derivative in a parameter is no known function it is taken by differences.
"""

import math
from collections.abc import Callable

import numpy as np

from bayesmm.families.kernel import Tensor, kernel
from bayesmm.families.special import WILD, log_normal_cdf, log_poisson, stirling_error

HALF = 0.6931471805599453  # log 2: exp of less than minus this is below a half
TINY, ACCURATE, MOST_TERMS = 1e-300, 1e-16, 1_000_000  # terms of series: some 8 sqrt(a), a to 1e10
STEP = 2e-3  # of the logarithm of a parameter: differences of the fourth order are then accurate to 1e-11


@kernel
def log1mexp(x):
    """Return log(1 - exp x) for x <= 0 (Maechler 2012, Accurately computing log(1 - exp(-|a|)))."""
    if x >= 0.0:
        return -math.inf
    return math.log(-math.expm1(x)) if x > -HALF else math.log1p(-math.exp(x))


@kernel
def falling(log_below, log_above, h, h1, h2):
    """Return log F and log(1 - F), each with three derivatives in eta, where d F / d eta = -exp h."""
    r, q = math.exp(min(h - log_below, WILD)), math.exp(min(h - log_above, WILD))
    r1, q1 = r * (h1 + r), q * (h1 - q)
    return (
        (log_below, -r, -r1, -r1 * (h1 + r) - r * (h2 + r1)),
        (log_above, q, q1, q1 * (h1 - q) + q * (h2 - q1)),
    )


@kernel
def log_gamma_tails(a, x):
    """Return log P(a, x) and log Q(a, x) of the incomplete gamma function, a > 0, x >= 0.

    A series below x = a + 1 and a continued fraction above (Abramowitz & Stegun 6.5.29, 6.5.31), by Lentz's method.
    """
    if x <= 0.0:
        return -math.inf, 0.0
    front = log_poisson(a, math.log(x / a))  # a log x - x - log Gamma(a + 1)
    if x < a + 1.0:
        total, term, n = 1.0, 1.0, a
        for _ in range(MOST_TERMS):
            n += 1.0
            term *= x / n
            total += term
            if term < total * ACCURATE:
                break
        below = min(front + math.log(total), 0.0)
        return below, log1mexp(below)
    b = x + 1.0 - a
    c, d = 1.0 / TINY, 1.0 / b
    value = d
    for i in range(1, MOST_TERMS):
        step = -i * (i - a)
        b += 2.0
        d = step * d + b
        d = 1.0 / (d if abs(d) > TINY else TINY)
        c = b + step / c
        c = c if abs(c) > TINY else TINY
        value *= d * c
        if abs(d * c - 1.0) < ACCURATE * 10.0:
            break
    above = min(front + math.log(a) + math.log(value), 0.0)
    return log1mexp(above), above


@kernel
def log_beta_front(a, b, log_x, log_y):
    """Return log [x^a y^b / B(a, b)], y = 1 - x, without loss at large a and b: a binomial probability less a factor.

    With the errors of Stirling's formula, Gamma(a + b) / (Gamma(a) Gamma(b)) a^a b^b / (a + b)^(a + b) is the root of
    a b / (2 pi (a + b)) times exp(error(a + b) - error(a) - error(b)).
    """
    n = a + b
    rest = stirling_error(n) - stirling_error(a) - stirling_error(b) + 0.5 * math.log(a / n * b / (2.0 * math.pi))
    return a * (log_x - math.log(a / n)) + b * (log_y - math.log(b / n)) + rest


@kernel
def log_beta_tails(a, b, x, y, log_x, log_y):
    """Return log I_x(a, b) and log(1 - I_x(a, b)) of the incomplete beta function, y = 1 - x.

    By its continued fraction (Abramowitz & Stegun 26.5.8) on the side where that converges fast.
    """
    front = log_beta_front(a, b, log_x, log_y)
    if x < (a + 1.0) / (a + b + 2.0):
        below = min(front - math.log(a) + math.log(_beta_fraction(a, b, x)), 0.0)
        return below, log1mexp(below)
    above = min(front - math.log(b) + math.log(_beta_fraction(b, a, y)), 0.0)
    return log1mexp(above), above


@kernel
def _beta_fraction(a, b, x):
    """Return the continued fraction of a I_x(a, b) / [x^a (1 - x)^b / B(a, b)] by Lentz's method."""
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > TINY else TINY)
    value = d
    for m in range(1, MOST_TERMS):
        step = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        d = 1.0 + step * d
        d = 1.0 / (d if abs(d) > TINY else TINY)
        c = 1.0 + step / c
        c = c if abs(c) > TINY else TINY
        value *= d * c
        step = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        d = 1.0 + step * d
        d = 1.0 / (d if abs(d) > TINY else TINY)
        c = 1.0 + step / c
        c = c if abs(c) > TINY else TINY
        value *= d * c
        if abs(d * c - 1.0) < ACCURATE * 10.0:
            break
    return value


@kernel
def normal_tails(z, sigma):
    """Return log Phi(z) and log Phi(-z), each with three derivatives in eta, where z falls by 1 / sigma with eta."""
    v, d1, d2, d3 = log_normal_cdf(z)
    w, e1, e2, e3 = log_normal_cdf(-z)
    r = 1.0 / sigma
    return (v, -d1 * r, d2 * r * r, -d3 * r * r * r), (w, e1 * r, e2 * r * r, e3 * r * r * r)


@kernel
def normal_tails_score(z, sigma):
    """Return the derivatives of the same in sigma."""
    return (-log_normal_cdf(z)[1] * z / sigma, 0.0), (log_normal_cdf(-z)[1] * z / sigma, 0.0)


@kernel
def slope(before2, before1, after1, after2, at):
    """Return the derivative at a parameter `at`, from values at exp(k `STEP`) times it, k = -2, -1, 1, 2."""
    return (before2 - 8.0 * before1 + 8.0 * after1 - after2) / (12.0 * STEP * at)


# ----------------------------------------------------------------------------------------------------------------------
# in PyTensor


def graph_normal_tails(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Phi(z) and log Phi(-z)."""
    from bayesmm.families.binomial import graph_log_normal_cdf

    return graph_log_normal_cdf(z), graph_log_normal_cdf(-z)


def graph_log_pair(small: Callable[[], Tensor], other: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the logarithms of two probabilities that add up to 1, each from the smaller of the two.

    Where a probability is not a number above 0 in floating point the logarithm is of the smallest double.
    """
    import pytensor.tensor as pt

    a, b = small(), other()
    least = np.finfo(float).tiny
    low, high = pt.log(pt.maximum(a, least)), pt.log(pt.maximum(b, least))
    return (
        pt.switch(a < 0.5, low, pt.log1p(-pt.minimum(b, 0.5))),
        pt.switch(b < 0.5, high, pt.log1p(-pt.minimum(a, 0.5))),
    )


@kernel
def no_tails_score(link, y, eta, aux):
    """Return the derivatives in the parameters, of which there are none."""
    return (0.0, 0.0), (0.0, 0.0)
