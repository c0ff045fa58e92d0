"""The log density of one response and its derivatives in the linear predictor, compiled, for every family and link.

Observed derivatives, not expected ones. A linear predictor at which the density is 0 or does not exist in floating
point gives -inf and zero derivatives, never NaN: a sampler rejects it and a line search refuses it.
"""

import math

from bayesmm.families.codes import (
    BERNOULLI,
    BETA,
    BINOMIAL,
    GAMMA,
    GAUSSIAN,
    LOG,
    LOGIT,
    NEGBINOMIAL,
    POISSON,
    PROBIT,
    STUDENT,
)
from bayesmm.likelihood.compiled import compiled
from bayesmm.likelihood.special import (
    LOG_2PI,
    ROOT_2PI,
    log1pexp,
    log_binomial,
    log_gamma_ratio,
    log_normal_cdf,
    log_poisson,
    polygamma,
    sigmoid,
    stirling_error,
)

# exp of more is taken as infinite: its square and cube still have to exist (log of the largest double is 709.8).
WILD = 230.0
# Below this, t / (exp t - 1) and its relatives are power series, for digits that the difference from 1 would lose.
SERIES = 0.3
FAR = 1e100  # of a student's residual in units of its scale: the square still exists
# exp(-t) is 0 above this.
UNDERFLOW = 745.0


@compiled
def log_density(family, link, y, size, eta, aux):
    """Return the log density of y given the linear predictor, with its constants.

    Parameters
    ----------
    family, link : int
        Of `families.codes`.
    y, size, eta : float
        Response (number of successes for a binomial), trials (1 elsewhere) and linear predictor.
    aux : (2,) float64
        (sigma, 0), (sigma, nu), (shape, 0), (phi, 0), or zeros.

    Returns
    -------
    float
        -inf where it does not exist; never NaN.
    """
    return derivatives(family, link, y, size, eta, aux)[0]


@compiled
def derivatives(family, link, y, size, eta, aux):
    """Return the log density and its first three derivatives in eta; the arguments of `log_density`."""
    if family == POISSON:
        d = _poisson(y, eta)
    elif family == BERNOULLI or family == BINOMIAL:
        d = _binomial(link, y, size, eta)
    elif family == NEGBINOMIAL:
        d = _negbinomial(y, eta, aux[0])
    elif family == GAMMA:
        d = _gamma(link, y, eta, aux[0])
    elif family == BETA:
        d = _beta(link, y, eta, aux[0])
    elif family == STUDENT:
        d = _student(y, eta, aux[0], aux[1])
    else:
        d = _gaussian(link, y, eta, aux[0])
    if math.isfinite(d[0]) and math.isfinite(d[1]) and math.isfinite(d[2]) and math.isfinite(d[3]):
        return d
    return -math.inf, 0.0, 0.0, 0.0


@compiled
def score_auxiliary(family, link, y, size, eta, aux):
    """Return the derivatives of the log density in the two auxiliaries; the arguments of `log_density`."""
    a0, a1 = 0.0, 0.0
    if family == GAUSSIAN:
        mu = math.exp(min(eta, WILD)) if link == LOG else eta
        a0 = (((y - mu) / aux[0]) ** 2 - 1.0) / aux[0]
    elif family == STUDENT:
        a0, a1 = _student_score(y, eta, aux[0], aux[1])
    elif family == NEGBINOMIAL:
        over = sigmoid(math.log(aux[0]) - eta)  # shape / (shape + mu)
        a0 = log_gamma_ratio(aux[0], y)[1] - log1pexp(eta - math.log(aux[0])) + (1.0 - over) - y / aux[0] * over
    elif family == GAMMA:
        if link == LOG:
            a0 = math.log(aux[0]) + 1.0 - polygamma(aux[0])[0] + math.log(y) - eta - y * math.exp(min(-eta, WILD))
        elif eta > 0.0:
            a0 = math.log(aux[0]) + 1.0 - polygamma(aux[0])[0] + math.log(y * eta) - y * eta
    elif family == BETA:
        a0 = _beta_score(link, y, eta, aux[0])
    return (a0 if math.isfinite(a0) else 0.0), (a1 if math.isfinite(a1) else 0.0)


@compiled
def _gaussian(link, y, eta, sigma):
    if link == LOG:
        if eta > WILD:
            return -math.inf, 0.0, 0.0, 0.0
        mu = math.exp(eta)
        r, m = (y - mu) / sigma, mu / sigma
        return -0.5 * (LOG_2PI + r * r) - math.log(sigma), r * m, r * m - m * m, r * m - 3.0 * m * m
    r = (y - eta) / sigma
    return -0.5 * (LOG_2PI + r * r) - math.log(sigma), r / sigma, -1.0 / sigma / sigma, 0.0


@compiled
def _student(y, eta, sigma, nu):
    constant = log_gamma_ratio(0.5 * nu, 0.5)[0] - 0.5 * math.log(math.pi * nu) - math.log(sigma)
    value, d1, d2, d3 = student_kernel(y, eta, sigma, nu)
    return constant + value, d1, d2, d3


@compiled
def student_kernel(y, eta, sigma, nu):
    """Return log(1 + s^2 / nu) times -(nu + 1) / 2, s = (y - eta) / sigma, and its first three derivatives in eta."""
    s = (y - eta) / sigma
    x = s / math.sqrt(nu)
    if not abs(x) < FAR:
        return -math.inf, 0.0, 0.0, 0.0
    v = 1.0 + x * x
    tail = (nu + 1.0) / nu / sigma  # in units of nu, so that a large nu is the normal distribution
    d1 = tail * s / v
    d2 = -tail / sigma * (1.0 - x * x) / v / v
    d3 = -2.0 * tail / sigma / sigma * s / nu * (3.0 - x * x) / v / v / v
    return -0.5 * (nu + 1.0) * math.log1p(x * x), d1, d2, d3


@compiled
def _student_score(y, eta, sigma, nu):
    a0, a1 = student_kernel_score(y, eta, sigma, nu)
    return a0 - 1.0 / sigma, a1 + 0.5 * (log_gamma_ratio(0.5 * nu, 0.5)[1] - 1.0 / nu)


@compiled
def student_kernel_score(y, eta, sigma, nu):
    """Return the derivatives of the kernel in sigma and nu."""
    x = ((y - eta) / sigma) ** 2 / nu  # s^2 / nu
    share = 1.0 / (1.0 + 1.0 / x) if x > 0.0 else 0.0  # s^2 / (nu + s^2)
    more = (nu + 1.0) * share
    return more / sigma, 0.5 * (more / nu - math.log1p(x))


@compiled
def _poisson(y, eta):
    if eta > WILD:
        return -math.inf, 0.0, 0.0, 0.0
    mu = math.exp(eta)
    if y == 0.0:
        return -mu, -mu, -mu, -mu
    r = eta - math.log(y)
    return log_poisson(y, r), -y * math.expm1(r), -mu, -mu


@compiled
def _negbinomial(y, eta, shape):
    log_shape = math.log(shape)
    p, q = sigmoid(eta - log_shape), sigmoid(log_shape - eta)
    n = y + shape
    value = log_binomial(shape, n, -log1pexp(eta - log_shape), -log1pexp(log_shape - eta)) + math.log(shape / n)
    return value, y * q - shape * p, -n * p * q, -n * p * q * (q - p)


@compiled
def _gamma(link, y, eta, shape):
    constant = 0.5 * (math.log(shape) - LOG_2PI) - stirling_error(shape) - math.log(y)
    if link == LOG:
        r = math.log(y) - eta
        if r > WILD:
            return -math.inf, 0.0, 0.0, 0.0
        s = shape * math.exp(r)
        return constant + shape * (r - math.expm1(r)), shape * math.expm1(r), -s, s
    if eta <= 0.0:
        return -math.inf, 0.0, 0.0, 0.0
    r = shape / eta
    return constant + shape * (math.log(y * eta) - y * eta + 1.0), r - shape * y, -r / eta, 2.0 * r / eta / eta


@compiled
def _binomial(link, y, size, eta):
    if link == LOGIT:
        p, q = sigmoid(eta), sigmoid(-eta)
        value, d2 = log_binomial(y, size, -log1pexp(-eta), -log1pexp(eta)), -size * p * q
        return value, y * q - (size - y) * p, d2, d2 * (q - p)
    if link == PROBIT:
        one, zero = log_normal_cdf(eta), log_normal_cdf(-eta)
        zero = (zero[0], -zero[1], zero[2], -zero[3])
    else:
        one, zero = _log_cloglog(eta)
    d1, d2, d3 = 0.0, 0.0, 0.0
    if y > 0.0:
        d1, d2, d3 = d1 + y * one[1], d2 + y * one[2], d3 + y * one[3]
    if y < size:
        n = size - y
        d1, d2, d3 = d1 + n * zero[1], d2 + n * zero[2], d3 + n * zero[3]
    return log_binomial(y, size, one[0], zero[0]), d1, d2, d3


@compiled
def _log_cloglog(eta):
    """Return log p and log(1 - p), each with three derivatives, for p = 1 - exp(-t), t = exp eta.

    With g = t / (exp t - 1) and k = 1 - t - g, those of log p are g, g k and g (k^2 - t - g k).
    """
    if eta > WILD:
        return (0.0, 0.0, 0.0, 0.0), (-math.inf, 0.0, 0.0, 0.0)
    t = math.exp(eta)
    if t < SERIES:  # Bernoulli numbers (Abramowitz & Stegun 23.1.1)
        s = t * t
        k = -0.5 * t - s * (1 / 12 - s * (1 / 720 - s * (1 / 30240 - s * (1 / 1209600 - s / 47900160))))
        g = 1.0 - t - k
        log_p = eta + math.log(-math.expm1(-t) / t) if t > 0.0 else eta
    else:
        g = t / math.expm1(t) if t < 700.0 else 0.0
        k = 1.0 - t - g
        log_p = math.log(-math.expm1(-t))
    return (log_p, g, g * k, g * (k * k - t - g * k)), (-t, -t, -t, -t)


@compiled
def _mean(link, eta):
    """Return mu, 1 - mu and the first three derivatives of mu, for a mean between 0 and 1."""
    if link == LOGIT:
        p, q = sigmoid(eta), sigmoid(-eta)
        return p, q, p * q, p * q * (q - p), p * q * (1.0 - 6.0 * p * q)
    if link == PROBIT:
        if abs(eta) > 38.0:  # the density is 0 from 38.6 on
            return 0.0, 0.0, 0.0, 0.0, 0.0
        density = math.exp(-0.5 * eta * eta) / ROOT_2PI
        p, q = 0.5 * math.erfc(-eta / math.sqrt(2.0)), 0.5 * math.erfc(eta / math.sqrt(2.0))
        return p, q, density, -eta * density, (eta * eta - 1.0) * density
    t = math.exp(min(eta, WILD))
    q = math.exp(-t) if t < UNDERFLOW else 0.0
    return -math.expm1(-t), q, t * q, t * q * (1.0 - t), t * q * (1.0 - 3.0 * t + t * t)


@compiled
def _beta(link, y, eta, phi):
    mu, nu, m1, m2, m3 = _mean(link, eta)
    a, b = mu * phi, nu * phi
    if not (a > 1e-100 and b > 1e-100):  # the cube of 1/a still has to exist
        return -math.inf, 0.0, 0.0, 0.0
    log_y, log_1_y = math.log(y), math.log1p(-y)
    # everything that is large cancels by hand, as in `log_binomial`
    r, s = math.log(mu) - log_y, math.log(nu) - log_1_y
    rest = stirling_error(phi) - stirling_error(a) - stirling_error(b) + 0.5 * (math.log(a) + math.log(nu) - LOG_2PI)
    value = rest - a * (r + math.expm1(-r)) - b * (s + math.expm1(-s)) - log_y - log_1_y
    (a0, a1, a2), (b0, b1, b2) = polygamma(a), polygamma(b)
    l1, l2, l3 = phi * (log_y - log_1_y - a0 + b0), -phi * phi * (a1 + b1), -phi * phi * phi * (a2 - b2)
    return value, l1 * m1, l2 * m1 * m1 + l1 * m2, l3 * m1 * m1 * m1 + 3.0 * l2 * m1 * m2 + l1 * m3


@compiled
def _beta_score(link, y, eta, phi):
    mu, nu, _, _, _ = _mean(link, eta)
    a, b = mu * phi, nu * phi
    if not (a > 1e-100 and b > 1e-100):
        return 0.0
    psi, psi_a, psi_b = polygamma(phi)[0], polygamma(a)[0], polygamma(b)[0]
    return psi - mu * (psi_a - math.log(y)) - nu * (psi_b - math.log1p(-y))
