"""Priors in closed form as plain numbers, and their log densities in compiled code.

One row of numbers for each parameter, so that the compiled code is the same for every model. The LKJ prior of
correlations is in `coordinates`.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from bayesmm.likelihood.compiled import inner
from bayesmm.priors import Prior
from bayesmm.priors.distributions import LOG_2PI

CONSTANT, NORMAL, STUDENT, LAPLACE, GAMMA, INVERSE_GAMMA, LOG_NORMAL, BETA = range(8)
LOG_2 = math.log(2.0)

Row = tuple[int, tuple[float, ...], float]  # code, numbers, log of the normalising constant


def _student(nu: float, mu: float, sigma: float) -> Row:
    constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi) - math.log(sigma)
    return STUDENT, (nu, mu, sigma), float(constant)


def _normal(mu: float, sigma: float) -> Row:
    return NORMAL, (mu, sigma), -0.5 * LOG_2PI - math.log(sigma)


def _gamma(alpha: float, beta: float) -> Row:
    return GAMMA, (alpha, beta), alpha * math.log(beta) - math.lgamma(alpha)


def _beta(alpha: float, beta: float) -> Row:
    return BETA, (alpha, beta), math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)


def _half(row: Row) -> Row:
    code, numbers, constant = row
    return code, numbers, constant + LOG_2


ROWS: Mapping[str, Callable[..., Row]] = MappingProxyType(
    {
        "Normal": _normal,
        "StudentT": _student,
        "Cauchy": lambda alpha, beta: _student(1.0, alpha, beta),
        "Laplace": lambda mu, b: (LAPLACE, (mu, b), -math.log(2 * b)),
        "Uniform": lambda lower, upper: (CONSTANT, (), -math.log(upper - lower)),
        "Beta": _beta,
        "Flat": lambda: (CONSTANT, (), 0.0),
        "HalfNormal": lambda sigma: _half(_normal(0.0, sigma)),
        "HalfStudentT": lambda nu, sigma: _half(_student(nu, 0.0, sigma)),
        "HalfCauchy": lambda beta: _half(_student(1.0, 0.0, beta)),
        "HalfFlat": lambda: (CONSTANT, (), 0.0),
        "Exponential": lambda lam: _gamma(1.0, lam),
        "Gamma": _gamma,
        "InverseGamma": lambda alpha, beta: (
            INVERSE_GAMMA,
            (alpha, beta),
            alpha * math.log(beta) - math.lgamma(alpha),
        ),
        "LogNormal": lambda mu, sigma: (LOG_NORMAL, (mu, sigma), -0.5 * LOG_2PI - math.log(sigma)),
    }
)


def prior_row(prior: Prior) -> Row:
    """Return a prior's code, its numbers and the log of its normalising constant; KeyError for one without a row."""
    return ROWS[prior.distribution](**prior.parameters)


@inner
def log_prior(code, on_variance, numbers, v):
    """Return the log density at v inside the support, less its constant, and its derivative with respect to v.

    With `on_variance` the density is that of the sd v where the code's is of v^2: p(v) = p_v(v^2) 2 v.
    """
    at = v * v if on_variance else v
    value, slope = 0.0, 0.0
    if code == NORMAL:
        z = (at - numbers[0]) / numbers[1]
        value, slope = -0.5 * z * z, -z / numbers[1]
    elif code == STUDENT:
        z = (at - numbers[1]) / numbers[2]
        value = -0.5 * (numbers[0] + 1.0) * math.log1p(z * z / numbers[0])
        slope = -(numbers[0] + 1.0) * z / (numbers[0] + z * z) / numbers[2]
    elif code == LAPLACE:
        z = (at - numbers[0]) / numbers[1]
        value, slope = -abs(z), (-1.0 if z > 0.0 else 1.0 if z < 0.0 else 0.0) / numbers[1]
    elif code == GAMMA:
        value, slope = -numbers[1] * at, -numbers[1]
        if numbers[0] != 1.0:
            value += (numbers[0] - 1.0) * math.log(at)
            slope += (numbers[0] - 1.0) / at
    elif code == INVERSE_GAMMA:
        value = -(numbers[0] + 1.0) * math.log(at) - numbers[1] / at
        slope = (numbers[1] / at - numbers[0] - 1.0) / at
    elif code == LOG_NORMAL:
        z = (math.log(at) - numbers[0]) / numbers[1]
        value, slope = -0.5 * z * z - math.log(at), -(z / numbers[1] + 1.0) / at
    elif code == BETA:
        if numbers[0] != 1.0:
            value += (numbers[0] - 1.0) * math.log(at)
            slope += (numbers[0] - 1.0) / at
        if numbers[1] != 1.0:
            value += (numbers[1] - 1.0) * math.log1p(-at)
            slope -= (numbers[1] - 1.0) / (1.0 - at)
    if on_variance:
        value, slope = value + math.log(2.0 * v), slope * 2.0 * v + 1.0 / v
    return value, slope
