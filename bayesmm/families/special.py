"""Special functions of numbers that compiled code needs and Numba lacks, stable in the tails."""

import math

from bayesmm.families.kernel import kernel

LOG_2PI = math.log(2 * math.pi)
ROOT_2PI = math.sqrt(2 * math.pi)
# The asymptotic series of the polygamma functions are used from here on: their first term left out is then below 1e-16
# of the sum.
ASYMPTOTIC = 12.0
# Below minus this many standard deviations the normal tail is a continued fraction; 60 terms of it give all digits
# there, and above it erfc loses none.
TAIL, FRACTION_TERMS = 5.0, 60
# Gamma ratios with an integer step up to this are products; beyond, the difference of two lgammas loses no more digits
# than the product would rounding.
PRODUCT = 30.0
# exp of more is taken as infinite: its square and cube still have to exist (log of the largest double is 709.8).
WILD = 230.0


@kernel
def quick_exp(x):
    """Return exp x for |x| < 708; compiled it is arithmetic alone, of which a processor does several at once."""
    return math.exp(x)


@kernel
def quick_log(x):
    """Return log x for x > 1e-307, likewise."""
    return math.log(x)


@kernel
def quick_log1p(x):
    """Return log(1 + x) for x >= 0, likewise."""
    return math.log1p(x)


@kernel
def log1pexp(x):
    """Return log(1 + exp x) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@kernel
def sigmoid(x):
    """Return 1 / (1 + exp(-x)), accurate in both tails."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    t = math.exp(x)
    return t / (1.0 + t)


@kernel
def polygamma(x):
    """Return digamma, trigamma and tetragamma at x > 0 (Abramowitz & Stegun 6.3.5, 6.3.18, 6.4.6, 6.4.11)."""
    f0, f1, f2 = 0.0, 0.0, 0.0
    while x < ASYMPTOTIC:
        r = 1.0 / x
        f0 -= r
        f1 += r * r
        f2 -= 2.0 * r * r * r
        x += 1.0
    r = 1.0 / x
    s = r * r
    tail0 = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132 - s * 691 / 32760)))))
    tail1 = s * (1 / 6 - s * (1 / 30 - s * (1 / 42 - s * (1 / 30 - s * (5 / 66 - s * 691 / 2730)))))
    tail2 = s * (1 / 2 - s * (1 / 6 - s * (1 / 6 - s * (3 / 10 - s * (5 / 6 - s * 691 / 210)))))
    f0 += math.log(x) - 0.5 * r - tail0
    f1 += r * (1.0 + 0.5 * r + tail1)
    f2 -= s * (1.0 + r + tail2)
    return f0, f1, f2


@kernel
def log_gamma_ratio(x, y):
    """Return log Gamma(x + y) - log Gamma(x) and its derivative in x, for x > 0, y >= 0; accurate at large x too."""
    if y <= PRODUCT and y == math.floor(y):
        log_ratio, derivative = 0.0, 0.0
        for i in range(int(y)):
            log_ratio += math.log(x + i)
            derivative += 1.0 / (x + i)
        return log_ratio, derivative
    if x < ASYMPTOTIC:
        return math.lgamma(x + y) - math.lgamma(x), polygamma(x + y)[0] - polygamma(x)[0]
    # Stirling's series of both, subtracted term by term
    z, step = x + y, math.log1p(y / x)
    log_ratio = (x - 0.5) * step + y * math.log(z) - y + _stirling(z) - _stirling(x)
    derivative = step - 0.5 * (1.0 / z - 1.0 / x) - _digamma_tail(z) + _digamma_tail(x)
    return log_ratio, derivative


@kernel
def _stirling(x):
    """Return log Gamma(x) less its leading terms (x - 1/2) log x - x + log(2 pi)/2 (Abramowitz & Stegun 6.1.41)."""
    s = 1.0 / (x * x)
    return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s * (1 / 1188 - s * 691 / 360360))))) / x


@kernel
def stirling_error(x):
    """Return log Gamma(x + 1) - [(x + 1/2) log x - x + log(2 pi)/2] for x > 0: what Stirling's formula leaves out."""
    if x < ASYMPTOTIC:
        return math.lgamma(x + 1.0) - (x + 0.5) * math.log(x) + x - 0.5 * LOG_2PI
    return _stirling(x)


@kernel
def log_poisson(y, r):
    """Return the log probability of y > 0 at a mean of y exp r.

    Everything that is large cancels by hand (Loader 2000, Fast and accurate computation of binomial probabilities).
    """
    return y * (r - math.expm1(r)) - 0.5 * (LOG_2PI + math.log(y)) - stirling_error(y)


@kernel
def log_binomial(y, n, log_p, log_q):
    """Return log [Gamma(n + 1) / (Gamma(y + 1) Gamma(n - y + 1)) p^y q^(n - y)], likewise, for 0 <= y <= n."""
    if y == 0.0:
        return n * log_q
    z = n - y
    if z == 0.0:
        return n * log_p
    r, s = log_p - math.log(y / n), log_q - math.log(z / n)
    rest = stirling_error(n) - stirling_error(y) - stirling_error(z) - 0.5 * (LOG_2PI + math.log(y) + math.log(z / n))
    return y * (r - math.expm1(r)) + z * (s - math.expm1(s)) + rest


@kernel
def _digamma_tail(x):
    """Return log x - 1/(2x) - digamma(x)."""
    s = 1.0 / (x * x)
    return s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132 - s * 691 / 32760)))))


@kernel
def log_normal_cdf(x):
    """Return log Phi(x) and its first three derivatives.

    With h = phi/Phi they are h, -h (x + h) and h [(x + h)(x + 2h) - 1]. In the lower tail, t = -x, h = t + K with the
    continued fraction K = 1/(t + C), C = 2/(t + E), E = 3/(t + ...), so that nothing cancels: the derivatives are t +
    K, -h K and h K^2 C (E - C) (Abramowitz & Stegun 26.2.14).
    """
    if x > -TAIL:
        upper = 0.5 * math.erfc(x / math.sqrt(2.0))
        log_cdf = math.log1p(-upper) if x > 0.0 else math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
        h = math.exp(-0.5 * x * x - log_cdf) / ROOT_2PI
        return log_cdf, h, -h * (x + h), h * ((x + h) * (x + 2.0 * h) - 1.0)
    t, E = -x, 0.0
    for i in range(FRACTION_TERMS, 2, -1):
        E = i / (t + E)
    C = 2.0 / (t + E)
    K = 1.0 / (t + C)
    h = t + K
    return -0.5 * x * x - 0.5 * LOG_2PI - math.log(h), h, -h * K, h * K * K * C * (E - C)


@kernel
def gamma_ratio(x, y):
    """Return log Gamma(x + y) - log Gamma(x) and its first three derivatives in x, for x > 0, y >= 0."""
    value, first = log_gamma_ratio(x, y)
    second, third = 0.0, 0.0
    if y <= PRODUCT and y == math.floor(y):
        for i in range(int(y)):
            r = 1.0 / (x + i)
            second -= r * r
            third += 2.0 * r * r * r
        return value, first, second, third
    _, here1, here2 = polygamma(x)
    _, there1, there2 = polygamma(x + y)
    return value, first, there1 - here1, there2 - here2


@kernel
def chained(value, l1, l2, l3, m1, m2, m3):
    """Return a value and its derivatives in eta, given those in mu and the first three of mu in eta."""
    return value, l1 * m1, l2 * m1 * m1 + l1 * m2, l3 * m1 * m1 * m1 + 3.0 * l2 * m1 * m2 + l1 * m3
