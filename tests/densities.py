"""Responses of every family: random data, and their log densities by SciPy, which the compiled ones are held to."""

import numpy as np
from scipy import special, stats

from bayesmm.families.families import get_family
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood import row_functions

FAMILIES = ("gaussian", "student", "poisson", "negbinomial", "bernoulli", "binomial", "gamma", "beta")
LINKS = ("identity", "log", "logit", "probit", "cloglog", "inverse", "tan_half")
CASES = [
    ("gaussian", "identity"),
    ("gaussian", "log"),
    ("student", "identity"),
    ("poisson", "log"),
    ("negbinomial", "log"),
    ("bernoulli", "logit"),
    ("bernoulli", "probit"),
    ("bernoulli", "cloglog"),
    ("binomial", "logit"),
    ("binomial", "probit"),
    ("binomial", "cloglog"),
    ("gamma", "log"),
    ("gamma", "inverse"),
    ("beta", "logit"),
    ("beta", "probit"),
    ("beta", "cloglog"),
]
AUXILIARIES = {"gaussian": 1, "student": 2, "negbinomial": 1, "gamma": 1, "beta": 1}
MEAN = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": special.expit,
    "probit": special.ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "inverse": lambda eta: 1 / eta,
    "tan_half": lambda eta: 2 * np.arctan(eta),
}


def codes(family, link):
    """Return what the compiled code knows a family and a link by."""
    return row_functions.codes(get_family(family, link))


def log_density(family, link, y, size, eta, aux):
    """Return the log densities by SciPy."""
    mu = MEAN[link](eta)
    return {
        "gaussian": lambda: stats.norm.logpdf(y, mu, aux[0]),
        "student": lambda: stats.t.logpdf(y, aux[1], mu, aux[0]),
        "poisson": lambda: stats.poisson.logpmf(y, mu),
        "negbinomial": lambda: stats.nbinom.logpmf(y, aux[0], aux[0] / (aux[0] + mu)),
        "bernoulli": lambda: stats.bernoulli.logpmf(y, mu),
        "binomial": lambda: stats.binom.logpmf(y, size, mu),
        "gamma": lambda: stats.gamma.logpdf(y, aux[0], scale=mu / aux[0]),
        "beta": lambda: stats.beta.logpdf(y, mu * aux[0], (1 - mu) * aux[0]),
    }[family]()


def responses(family, rng, n):
    """Return random (y, size)."""
    size = rng.integers(1, 9, n).astype(float) if family == "binomial" else np.ones(n)
    y = {
        "gaussian": lambda: rng.normal(0.5, 1, n),
        "student": lambda: rng.standard_t(3, n),
        "poisson": lambda: rng.poisson(2, n),
        "negbinomial": lambda: rng.negative_binomial(2, 0.4, n),
        "bernoulli": lambda: rng.integers(0, 2, n),
        "binomial": lambda: rng.binomial(size.astype(int), 0.4),
        "gamma": lambda: rng.gamma(2, 1, n),
        "beta": lambda: rng.beta(2, 2, n),
    }[family]()
    return y.astype(float), size


def auxiliaries(family, rng):
    """Return random auxiliary parameters, padded by zeros to as many as compiled code has places for."""
    aux = np.zeros(MOST_PARAMETERS)
    aux[: AUXILIARIES.get(family, 0)] = rng.uniform(0.7, 3, AUXILIARIES.get(family, 0))
    if family == "student":
        aux[1] += 2
    return aux


def differences(function, x, order=1, h=1e-2):
    """Return the first or second derivative of a function of arrays, entry by entry, to about h^6."""
    f = {k: function(x + k * h) for k in (-3, -2, -1, 0, 1, 2, 3)}
    if order == 1:
        return ((f[3] - f[-3]) / 60 - 3 * (f[2] - f[-2]) / 20 + 3 * (f[1] - f[-1]) / 4) / h
    return ((f[3] + f[-3]) / 90 - 3 * (f[2] + f[-2]) / 20 + 3 * (f[1] + f[-1]) / 2 - 49 * f[0] / 18) / h**2
