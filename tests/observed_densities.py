"""Censored and truncated responses: probabilities of intervals by SciPy, and rows to try them on."""

import numpy as np
from scipy import special, stats

from bayesmm.families.families import get_family
from bayesmm.families.limits import Limits

CASES = [
    ("gaussian", "identity"),
    ("gaussian", "log"),
    ("student", "identity"),
    ("lognormal", "log"),
    ("weibull", "log"),
    ("exponential", "log"),
    ("exponential", "inverse"),
    ("gamma", "log"),
    ("gamma", "inverse"),
    ("inverse_gaussian", "log"),
    ("poisson", "log"),
    ("negbinomial", "log"),
    ("loglogistic", "log"),
    ("shifted_lognormal", "log"),
]
MEAN = {"identity": lambda eta: eta, "log": np.exp, "inverse": lambda eta: 1 / eta}


def distribution(name, mu, aux):
    """Return the frozen distribution of SciPy."""
    return {
        "gaussian": lambda: stats.norm(mu, aux[0]),
        "student": lambda: stats.t(aux[1], mu, aux[0]),
        "lognormal": lambda: stats.lognorm(aux[0], scale=mu),
        "weibull": lambda: stats.weibull_min(aux[0], scale=mu / special.gamma(1 + 1 / aux[0])),
        "exponential": lambda: stats.expon(scale=mu),
        "gamma": lambda: stats.gamma(aux[0], scale=mu / aux[0]),
        "inverse_gaussian": lambda: stats.invgauss(mu / aux[0], scale=aux[0]),
        "poisson": lambda: stats.poisson(mu),
        "loglogistic": lambda: stats.fisk(aux[0], scale=mu),
        "shifted_lognormal": lambda: stats.lognorm(aux[0], loc=aux[1], scale=mu),
        "negbinomial": lambda: stats.nbinom(aux[0], aux[0] / (aux[0] + mu)),
    }[name]()


def parameters(name, rng):
    """Return random parameters besides mu, padded by zeros to two."""
    first = rng.uniform(0.4, 4.0) if name not in ("poisson", "exponential") else 0.0
    second = {"student": (1.0, 30.0), "shifted_lognormal": (0.1, 0.8)}.get(name, (0.0, 0.0))
    return np.array([first, rng.uniform(*second)])


def predictor(link, rng):
    """Return a random linear predictor."""
    return rng.uniform(0.2, 2.0) if link == "inverse" else rng.uniform(-1.0, 2.0)


def value(name, link, rng, eta, aux, outside=0.0):
    """Return a random response; `outside` moves it out by so many sds."""
    family, mu = get_family(name, link), np.array(MEAN[link](eta))
    own = tuple(aux[: len(family.parameters)])
    sd = float(np.sqrt(min(family.variance(mu, own), 1e4)))
    y = float(family.draw(rng, np.array([mu]), None, own)[0]) + outside * sd
    if family.discrete:
        return float(max(round(y), 0))
    if name == "shifted_lognormal":  # above ndt, also where that is moved for a difference
        return max(y, aux[1] + 0.05)
    return max(y, 1e-3) if family.support.positive else y


def log_probability(known, low, high):
    """Return log P(low < Y <= high) by SciPy, from the smaller of both tails."""
    with np.errstate(divide="ignore"):
        below = known.cdf(high) - (known.cdf(low) if low > -np.inf else 0.0)
        above = known.sf(low) - (known.sf(high) if high < np.inf else 0.0)
        if low == -np.inf:
            return known.logcdf(high)
        if high == np.inf:
            return known.logsf(low)
        return np.log(above if known.sf(low) < 0.5 else below)


def rows(family, y, kinds, ends, low=None, high=None):
    """Return the limits of responses: kinds "none", "left", "right", "interval", and the second ends of these."""
    top = np.inf if high is None else high
    bottom = -np.inf if low is None else low
    other = {"none": np.nan, "left": bottom, "right": top}
    found = np.array([end if kind == "interval" else other[kind] for kind, end in zip(kinds, ends, strict=True)])
    if low is None and high is None:
        return Limits(found)
    return Limits(found, np.full(len(y), bottom), np.full(len(y), top))
