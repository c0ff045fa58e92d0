"""Cases in which the cause of a difference between REML or ML and the posterior is known, because it was put there.

Each has a label, one parameter that is looked at, and data simulated with a seed. "none": nothing was done to make a
difference, and there is enough data for the two to agree. "conflict": an estimate of the maximised fit, or the draws,
were falsified, so that no honest cause applies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.special import expit, gamma

import bayesmm as bmm

# The verdicts that a label may have: the first is meant, another says the same in other words.
EXPECTED: Mapping[str, tuple[str, ...]] = {
    "none": ("agree",),
    "prior pull": ("prior pull",),
    "boundary": ("boundary",),
    "skew": ("skew",),
    "few groups": ("few groups",),
    "Laplace bias": ("Laplace",),
    "flat likelihood": ("prior pull",),  # where the data say nothing, the prior decides
    "wrong random structure": ("agree",),  # both fits have it: no difference comes of it
    "outlier": ("agree",),  # likewise
    "conflict": ("disagree",),
}


@dataclass(frozen=True)
class Case:
    """A model, what is looked at, and its label.

    Attributes
    ----------
    parameter : str
    tamper : callable or None
        Of a conflict: returns a maximised fit with a wrong number in it, for (point, posterior sds by label).
    spoil : float
        Of a conflict: how many sds the draws of all coefficients are moved.
    """

    label: str
    name: str
    formula: object
    data: Callable[[np.random.Generator], pd.DataFrame]
    parameter: str
    family: str = "gaussian"
    priors: Mapping[str, object] = field(default_factory=dict)
    seed: int = 1
    tamper: Callable | None = None
    spoil: float = 0.0


def groups(rng, number, rows, sd, slope_sd=0.0, slope=0.5, sigma=1.0, outlier=0.0):
    """Return normal responses in groups, with slopes if asked for, and one response far away if asked for."""
    g = np.repeat(np.arange(number), rows)
    x = rng.normal(size=len(g))
    b, s = sd * standardised(rng, number), slope_sd * rng.normal(size=number)
    y = 2 + slope * x + b[g] + s[g] * x + sigma * rng.normal(size=len(g))
    y[0] += outlier
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i:03d}" for i in g]})


def standardised(rng, number):
    """Return normal numbers with mean 0 and sd 1, so that a label does not hang on a lucky draw."""
    z = rng.normal(size=number)
    return (z - z.mean()) / z.std(ddof=1)


def choices(rng, number, rows, sd):
    """Return responses of 0 and 1 in groups."""
    data = groups(rng, number, rows, 0.0)
    b = sd * standardised(rng, number)
    eta = 0.2 + 0.5 * data["x"].to_numpy() + np.repeat(b, rows)
    return data.assign(y=rng.binomial(1, expit(eta)))


def counts(rng, number, rows, sd, shape=0.0):
    """Return counts in groups, negative binomial ones if there is a shape."""
    data = groups(rng, number, rows, 0.0)
    mean = np.exp(1 + 0.3 * data["x"].to_numpy() + np.repeat(sd * standardised(rng, number), rows))
    return data.assign(y=rng.poisson(mean * (rng.gamma(shape, 1 / shape, len(mean)) if shape else 1.0)))


def times(rng, number, columns):
    """Return Weibull times with many predictors."""
    X = rng.normal(size=(number, columns))
    data = pd.DataFrame(X, columns=[f"x{j}" for j in range(columns)])
    return data.assign(y=np.exp(1 + X @ np.full(columns, 0.3)) / gamma(1.5) * rng.weibull(2, number))


def without_variation(rng, number, rows):
    """Return groups whose means are nearer to one another than chance brings them: REML has an sd of 0."""
    data = groups(rng, number, rows, 0.0)
    centred = data["y"] - data.groupby("g")["y"].transform("mean") + data["y"].mean()
    return data.assign(y=centred + 0.02 * rng.normal(size=len(data)))


def separated(rng):
    """Return 0 and 1 that a predictor tells apart: the likelihood rises without end."""
    x = np.sort(rng.normal(size=40))
    return pd.DataFrame({"x": x, "y": (x > 0.1).astype(int)})


def redundant(rng):
    """Return two predictors of which only the sum is known."""
    data = groups(rng, 20, 6, 1.0)
    return data.assign(z=-2 * data["x"] + 1)


def wrong_coefficient(point, sds):
    """Return the fit with its slope a posterior sd off."""
    beta = np.array(point.beta)
    beta[1] += sds["beta[x]"]
    return replace(point, beta=beta)


def wrong_sigma(point, sds):
    """Return the fit with its sigma two posterior sds too large."""
    return replace(point, sigma=point.sigma + 2 * sds["sigma"])


def wrong_sd(point, sds):
    """Return the fit with an sd that is two posterior sds too large."""
    sd = np.sqrt(point.covariances[0][0, 0]) + 2 * sds["sd_g[Intercept]"]
    first = np.array(point.covariances[0])
    first[0, 0] = sd**2
    return replace(point, covariances=(first, *point.covariances[1:]))


def normal(mu, sigma):
    return bmm.Prior("Normal", mu=mu, sigma=sigma)


def half(sigma):
    return bmm.Prior("HalfNormal", sigma=sigma)


WIDE = {"sd": half(20), "sigma": half(20)}
G, PLAIN = "y ~ x + (1 | g)", "y ~ x"
SD, X, S = "sd_g[Intercept]", "beta[x]", "sigma"


def _cases() -> list[Case]:
    C = Case
    many = lambda r: groups(r, 150, 8, 1.0)  # noqa: E731
    some = lambda r: groups(r, 20, 6, 1.0)  # noqa: E731
    return [
        C("none", "slope, 150 groups", G, many, X),
        C("none", "sigma, 150 groups", G, many, S, seed=2),
        C("none", "sd, 150 groups", G, many, SD, seed=3, priors=WIDE),
        C("none", "slope, correlated slopes", "y ~ x + (x | g)", lambda r: groups(r, 120, 8, 1.0, 0.6), X, seed=4),
        C("none", "slope, counts", G, lambda r: counts(r, 100, 8, 0.5), X, "poisson", seed=5),
        C("none", "sd, counts", G, lambda r: counts(r, 200, 8, 0.5), SD, "poisson", seed=6),
        C("none", "slope, choices", G, lambda r: choices(r, 80, 30, 0.7), X, "bernoulli", seed=7),
        C("none", "linear model", PLAIN, many, X, seed=8),
        C("prior pull", "slope, tight prior", G, some, X, priors={"beta[x]": normal(-0.5, 0.1)}, seed=11),
        C("prior pull", "sd, tight prior", G, lambda r: groups(r, 60, 6, 1.0), SD, priors={"sd": half(0.1)}, seed=12),
        C("prior pull", "sigma, tight prior", G, some, S, priors={"sigma": half(0.15)}, seed=13),
        C("prior pull", "sd, prior above", G, lambda r: groups(r, 60, 6, 1.0), SD,
          priors={"sd": bmm.Prior("Gamma", alpha=400, beta=200)}, seed=14),
        C("prior pull", "slope of choices", G, lambda r: choices(r, 30, 20, 0.5), X, "bernoulli",
          {"beta[x]": normal(-1, 0.1)}, 15),
        C("prior pull", "shape of counts", G, lambda r: counts(r, 40, 10, 0.5, 3.0), "shape", "negbinomial",
          {"shape": bmm.Prior("Gamma", alpha=400, beta=40)}, 16),
        C("boundary", "sd, 12 groups alike", G, lambda r: without_variation(r, 12, 5), SD, seed=21),
        C("boundary", "sd, 30 groups alike", G, lambda r: without_variation(r, 30, 4), SD, seed=22),
        C("boundary", "sd, 6 groups alike", G, lambda r: without_variation(r, 6, 8), SD, seed=23),
        C("boundary", "correlation, no slopes", "y ~ x + (x | g)", lambda r: without_variation(r, 15, 6),
          "corr_g[Intercept, x]", seed=24),
        C("boundary", "sd of slopes", "y ~ x + (x || g)", lambda r: without_variation(r, 15, 6), "sd_g[x]", seed=25),
        C("skew", "sd, 12 groups", G, lambda r: groups(r, 12, 4, 1.0), SD, seed=31, priors=WIDE),
        C("skew", "sd, 14 groups", G, lambda r: groups(r, 14, 3, 1.2), SD, seed=32, priors=WIDE),
        C("skew", "sigma, 8 rows", "y ~ 1", lambda r: groups(r, 8, 1, 0.0), S, seed=33, priors={"sigma": half(50)}),
        C("skew", "sigma, 6 rows", "y ~ 1", lambda r: groups(r, 6, 1, 0.0), S, seed=34, priors={"sigma": half(50)}),
        C("skew", "sd of counts, 15 groups", G, lambda r: counts(r, 15, 5, 0.8), SD, "poisson", {"sd": half(10)}, 35),
        C("skew", "shape, many predictors", "y ~ " + " + ".join(f"x{j}" for j in range(8)),
          lambda r: times(r, 60, 8), "shape", "weibull", {"shape": bmm.Prior("HalfNormal", sigma=50)}, 36),
        C("few groups", "sd, 4 groups", G, lambda r: groups(r, 4, 10, 1.0), SD, seed=41, priors=WIDE),
        C("few groups", "sd, 5 groups", G, lambda r: groups(r, 5, 10, 1.0), SD, seed=42, priors=WIDE),
        C("few groups", "sd, 6 groups", G, lambda r: groups(r, 6, 8, 1.0), SD, seed=43, priors=WIDE),
        C("few groups", "sd of counts, 5 groups", G, lambda r: counts(r, 5, 20, 0.8), SD, "poisson",
          {"sd": half(10)}, 44),
        C("few groups", "sd of choices, 6 groups", G, lambda r: choices(r, 6, 40, 1.0), SD, "bernoulli",
          {"sd": half(10)}, 45),
        C("Laplace bias", "sd, 120 pairs of choices", G, lambda r: choices(r, 120, 2, 2.0), SD, "bernoulli",
          {"sd": half(10)}, 51),
        C("Laplace bias", "sd, 200 pairs of choices", G, lambda r: choices(r, 200, 2, 2.0), SD, "bernoulli",
          {"sd": half(10)}, 52),
        C("Laplace bias", "sd, 150 threes of choices", G, lambda r: choices(r, 150, 3, 2.5), SD, "bernoulli",
          {"sd": half(10)}, 53),
        C("Laplace bias", "sd, 250 pairs of choices", G, lambda r: choices(r, 250, 2, 2.5), SD, "bernoulli",
          {"sd": half(10)}, 54),
        C("flat likelihood", "redundant predictors", "y ~ x + z + (1 | g)", redundant, X, seed=61),
        C("flat likelihood", "separated choices", PLAIN, separated, X, "bernoulli", seed=62),
        C("flat likelihood", "nu of normal data", PLAIN, lambda r: groups(r, 30, 2, 0.0), "nu", "student", seed=63),
        C("wrong random structure", "slopes left out", G, lambda r: groups(r, 60, 8, 1.0, 0.8), X, seed=71),
        C("wrong random structure", "groups left out", PLAIN, lambda r: groups(r, 60, 8, 1.0), X, seed=72),
        C("wrong random structure", "groups left out: sigma", PLAIN, lambda r: groups(r, 60, 8, 1.0), S, seed=73),
        C("outlier", "slope", G, lambda r: groups(r, 100, 6, 1.0, outlier=25.0), X, seed=81),
        C("outlier", "sigma", G, lambda r: groups(r, 100, 6, 1.0, outlier=25.0), S, seed=82),
        C("outlier", "intercept", G, lambda r: groups(r, 100, 6, 1.0, outlier=40.0), "beta[Intercept]", seed=83),
        C("conflict", "slope falsified", G, some, X, seed=91, tamper=wrong_coefficient),
        C("conflict", "sigma falsified", G, many, S, seed=92, tamper=wrong_sigma),
        C("conflict", "sd falsified", G, many, SD, seed=93, tamper=wrong_sd),
        C("conflict", "draws moved by 1 sd", G, some, X, seed=95, spoil=1.0),
        C("conflict", "draws of counts moved by 1 sd", G, lambda r: counts(r, 60, 8, 0.5), X, "poisson", seed=96,
          spoil=-1.0),
        C("conflict", "slope of choices falsified", G, lambda r: choices(r, 60, 20, 0.7), X, "bernoulli", seed=94,
          tamper=wrong_coefficient),
    ]  # fmt: skip


CASES = _cases()
