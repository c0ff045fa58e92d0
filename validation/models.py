"""The models of the calibration: each draws its parameters and its data, by `simulated`, and says how to fit them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from bayesmm.families.families import FAMILIES
from validation.categories import DRAWS as CATEGORIES
from validation.categories import with_all
from validation.simulated import (
    CORRELATION,
    COUNTS,
    GROUPS,
    HALF,
    LKJ,
    PREDICTOR,
    RESPONSES,
    ROWS,
    SCALE,
    SD,
    Rng,
    Truth,
    codes,
    fixed_part,
    intercepts,
    response,
    table,
)

FEW_ROWS = 4  # of a group, for families: densities that are not compiled into the likelihood take most of the time
CENTRAL, FAMILY, STRUCTURE = "central", "family", "structure"


@dataclass(frozen=True)
class Simulated:
    """One data set: the values of the parameters by their labels, their priors by place, the table, further values.

    Attributes
    ----------
    values : mapping
        Also of the first group's effect, ``b_<factor>``.
    new : float or None
        The response of a row of groups that are not in the table.
    eta : array or None
        The linear predictor of the rows, random effects and all.
    """

    values: Mapping[str, float]
    priors: Mapping[str, object]
    data: pd.DataFrame
    new: float | None = None
    eta: np.ndarray | None = None


@dataclass(frozen=True)
class Case:
    """A model of the calibration.

    Attributes
    ----------
    draw : callable
        ``draw(rng)`` gives a `Simulated`.
    options : mapping
        Of `bmm.Model`, besides formula, data, family and priors.
    log_density : callable or None
        ``log_density(y, eta, own)`` of the rows, by SciPy; own is sigma or the family's first parameter. Then the
        log likelihood at the parameters, effects included, is one of the quantities that are ranked.
    """

    name: str
    kind: str
    formula: object
    draw: Callable[[Rng], Simulated]
    family: str = "gaussian"
    options: Mapping[str, object] = field(default_factory=dict)
    log_density: Callable | None = None


def done(truth: Truth, data: pd.DataFrame, **more: object) -> Simulated:
    """Return the record of a data set."""
    return Simulated(truth.values, truth.priors, data, **more)


# ----------------------------------------------------------------------------------------------------------------------
# every family: random intercepts


def of_family(family: str, rows: int = FEW_ROWS) -> Case:
    """Return the model of a family: a predictor, random intercepts of 8 groups of 4 rows, or so many."""
    trials = family in RESPONSES and RESPONSES[family].trials
    formula = "y | trials(n) ~ x + (1 | g)" if trials else "y ~ x + (1 | g)"

    def draw(rng: Rng) -> Simulated:
        truth, data = Truth(rng), table(rng)
        data = data[data["t"] < rows].assign(x=lambda d: d["x"] - d["x"].mean()).reset_index(drop=True)
        if family == "cumulative":
            return ordered(truth, data)
        if family in CATEGORIES:
            return done(*with_all(rng, family, data))
        eta = fixed_part(truth, data, RESPONSES[family].centre) + intercepts(truth, data["g"], "g")
        return done(truth, response(truth, data, eta, family))

    return Case(family, FAMILY, formula, draw, family)


def ordered(truth: Truth, data: pd.DataFrame) -> Simulated:
    """Draw ordered categories: thresholds are ascending numbers of one normal distribution."""
    eta = truth.take("beta[x]", HALF) * data["x"].to_numpy() + intercepts(truth, data["g"], "g")
    labels = [f"threshold[{k}|{k + 1}]" for k in (1, 2, 3)]
    cuts = np.sort([truth.take(label, THRESHOLD, "threshold") for label in labels])
    truth.values.update(zip(labels, cuts, strict=True))
    latent = eta + truth.rng.logistic(size=len(eta))
    return done(truth, data.assign(y=1 + (latent[:, None] > cuts).sum(axis=1)))


# ----------------------------------------------------------------------------------------------------------------------
# the central models


def with_slopes(family: str) -> Callable[[Rng], Simulated]:
    """Return a generator of correlated random intercepts and slopes."""

    def draw(rng: Rng) -> Simulated:
        truth, data = Truth(rng), table(rng)
        centre, spread = (COUNTS, HALF_SD) if family == "poisson" else (RESPONSES[family].centre, SD)
        fixed = fixed_part(truth, data, centre)
        sds = [truth.take(f"sd_g[{term}]", spread) for term in ("Intercept", "x")]
        r = truth.take("corr_g[Intercept, x]", LKJ, "corr_g")
        z = rng.normal(size=(GROUPS + 1, 2)) @ np.array([[1.0, r], [0.0, np.sqrt(1 - r**2)]]) * sds
        truth.values["b_g"] = z[0, 0]
        own, x = codes(data["g"]), data["x"].to_numpy()
        eta = fixed + z[own, 0] + z[own, 1] * x
        data = response(truth, data, eta, family)
        there = truth.values["beta[Intercept]"] + truth.values["beta[x]"] * PREDICTOR + z[-1] @ [1, PREDICTOR]
        return done(truth, data, new=new_row(truth, there, family), eta=eta)

    return draw


def with_intercepts(family: str, *factors: str) -> Callable[[Rng], Simulated]:
    """Return a generator of random intercepts of these columns; "g/h" is nested."""

    def draw(rng: Rng) -> Simulated:
        truth, data = Truth(rng), table(rng)
        if factors == ("g", "g:h"):
            data["h"] = np.array(list("uvw"))[data["t"] // 2]
            keep = (data["t"] != 5) | (data["s"] == "p")  # not balanced
            data = data[keep].assign(x=lambda d: d["x"] - d["x"].mean()).reset_index(drop=True)
        columns = {"g": data["g"], "h": data["h"], "g:h": data["g"] + ":" + data["h"]}
        eta = fixed_part(truth, data, RESPONSES[family].centre)
        there = truth.values["beta[Intercept]"] + truth.values["beta[x]"] * PREDICTOR
        for name in factors:
            eta = eta + intercepts(truth, columns[name], name)
            there += truth.values[f"sd_{name}[Intercept]"] * rng.normal()
        data = response(truth, data, eta, family)
        return done(truth, data, new=new_row(truth, there, family), eta=eta)

    return draw


def new_row(truth: Truth, eta: float, family: str) -> float:
    """Draw the response of one more row."""
    own = {name: truth.values[name] for name in RESPONSES[family].own}
    return float(RESPONSES[family].draw(truth.rng, np.array([eta]), own)[0])


# ----------------------------------------------------------------------------------------------------------------------
# structures of random effects and of residuals


def structured(make: Callable[[Truth, pd.DataFrame], pd.DataFrame]) -> Callable[[Rng], Simulated]:
    """Return a generator for a function that draws what a structure has and returns the table with its response."""

    def draw(rng: Rng) -> Simulated:
        truth = Truth(rng)
        return done(truth, make(truth, table(rng)))

    return draw


def by_level(truth: Truth, data: pd.DataFrame, root: np.ndarray, place: np.ndarray, name: str = "g") -> np.ndarray:
    """Return the effects of the rows: of each level of g a vector with the covariance root root', taken at `place`."""
    b = truth.rng.normal(size=(GROUPS, len(root))) @ root.T
    truth.values[f"b_{name}"] = b[0, 0]
    return b[codes(data["g"]), place]


def gaussian(truth: Truth, data: pd.DataFrame, *effects: np.ndarray, sd: object = 1.0) -> pd.DataFrame:
    """Return the table with a normal response about the fixed part and these effects, its sd in units of sigma."""
    eta = fixed_part(truth, data) + sum(effects, np.zeros(len(data)))
    return data.assign(y=eta + truth.take("sigma", SCALE) * sd * truth.rng.normal(size=len(data)))


def diagonal(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    slope = truth.take("sd_g[x]", SD) * truth.rng.normal(size=GROUPS)
    return gaussian(truth, data, intercepts(truth, data["g"], "g"), slope[codes(data["g"])] * data["x"].to_numpy())


def compound_symmetry(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    sds = np.array([truth.take(f"sd_g[f[{k}]]", SD) for k in "abc"])
    r = truth.take("corr_g[cs(0 + f)]", CS)
    root = np.linalg.cholesky(np.outer(sds, sds) * (r + (1 - r) * np.eye(3)))
    return gaussian(truth, data, by_level(truth, data, root, codes(data["f"])))


def autoregressive(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    sd = truth.take("sd_g[ar1(0 + factor(t))]", SD)
    r = truth.take("corr_g[ar1(0 + factor(t)), lag 1]", CORRELATION)
    root = sd * np.linalg.cholesky(r ** np.abs(np.subtract.outer(np.arange(ROWS), np.arange(ROWS))))
    return gaussian(truth, data, by_level(truth, data, root, data["t"].to_numpy()))


def identity(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    root = truth.take("sd_g[ident(0 + f)]", SD) * np.eye(3)
    return gaussian(truth, data, by_level(truth, data, root, codes(data["f"])))


def by_factor(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    sds = np.array([truth.take(f"sd_g[Intercept:s[{k}]]", SD) for k in "pq"])
    return gaussian(truth, data, (sds[np.arange(GROUPS) % 2] * truth.rng.normal(size=GROUPS))[codes(data["g"])])


def related(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    return gaussian(
        truth, data, (truth.take("sd_g[Intercept]", SD) * RELATED @ truth.rng.normal(size=GROUPS))[codes(data["g"])]
    )


def members(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    one = truth.rng.integers(0, GROUPS, len(data))
    other = (one + 1 + truth.rng.integers(0, GROUPS - 1, len(data))) % GROUPS
    one[:GROUPS] = np.arange(GROUPS)
    other[:GROUPS] = (one[:GROUPS] + 1) % GROUPS
    u = truth.take("sd_mm(m1, m2)[Intercept]", SD) * truth.rng.normal(size=GROUPS)
    data = data.assign(m1=[f"m{i}" for i in one], m2=[f"m{i}" for i in other])
    return gaussian(truth, data, (u[one] + u[other]) / 2)


def known_errors(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    se = truth.rng.uniform(0.3, 1.0, len(data))
    eta = fixed_part(truth, data) + intercepts(truth, data["g"], "g")
    return data.assign(se=se, y=eta + se * truth.rng.normal(size=len(data)))


def errors_and_sigma(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    se = truth.rng.uniform(0.3, 1.0, len(data))
    data = gaussian(truth, data, intercepts(truth, data["g"], "g"))
    return data.assign(se=se, y=data["y"] + se * truth.rng.normal(size=len(data)))


def weights(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    w = truth.rng.uniform(0.5, 2.0, len(data))
    return gaussian(truth, data.assign(w=w), intercepts(truth, data["g"], "g"), sd=1 / np.sqrt(w))


def in_series(name: str, correlations: Callable[[float, np.ndarray], np.ndarray], prior: object, times: object):
    """Return a generator of residuals correlated within the series of g."""

    def make(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
        when = np.tile(times, GROUPS)
        rho = truth.take(name, prior)
        root = np.linalg.cholesky(correlations(rho, np.abs(np.subtract.outer(times, times))))
        e = (truth.rng.normal(size=(GROUPS, ROWS)) @ root.T).ravel()
        eta = fixed_part(truth, data)
        return data.assign(t=when, y=eta + truth.take("sigma", SCALE) * e)

    return make


def unstructured(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Residuals of three visits: uniform on the correlation matrices, which drawing again gives."""
    pairs, R = [(0, 1), (0, 2), (1, 2)], np.eye(3)
    while True:
        for i, j in pairs:
            R[i, j] = R[j, i] = truth.take(f"unstr[{i}, {j}]", WHOLE)
        if np.linalg.eigvalsh(R)[0] > 0:
            break
    e = (truth.rng.normal(size=(2 * GROUPS, 3)) @ np.linalg.cholesky(R).T).ravel()
    visit, series = np.tile(np.arange(3), 2 * GROUPS), np.repeat(np.arange(2 * GROUPS), 3)
    eta = fixed_part(truth, data)
    return data.assign(visit=visit, series=series, y=eta + truth.take("sigma", SCALE) * e)


def by_stratum(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    log = np.array([0.0, *(truth.take(f"log_sigma[f[T.{k}]]", HALF) for k in "bc")])
    return gaussian(truth, data, intercepts(truth, data["g"], "g"), sd=np.exp(log[codes(data["f"])]))


def by_covariate(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    slope = truth.take("log_sigma[x]", HALF)
    return gaussian(truth, data, intercepts(truth, data["g"], "g"), sd=np.exp(slope * data["x"].to_numpy()))


def censored(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    data = gaussian(truth, data, intercepts(truth, data["g"], "g"))
    return data.assign(c=np.where(data["y"] > 0.8, 1, 0), y=np.minimum(data["y"], 0.8))


def truncated(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Counts above 0 by `trunc(lb = 1)`."""
    eta = fixed_part(truth, data, COUNTS) + intercepts(truth, data["g"], "g")
    y = truth.rng.poisson(np.exp(eta))
    while (y == 0).any():
        y[y == 0] = truth.rng.poisson(np.exp(eta[y == 0]))
    return data.assign(y=y)


def formula_of_zi(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    eta = fixed_part(truth, data, COUNTS) + intercepts(truth, data["g"], "g")
    zi = truth.take("zi", ZI)
    share = expit(np.log(zi / (1 - zi)) + truth.take("logit_zi[x]", HALF) * data["x"].to_numpy())
    return data.assign(y=np.where(truth.rng.uniform(size=len(data)) < share, 0, truth.rng.poisson(np.exp(eta))))


# the priors of what the structures have besides sds
CS, WHOLE = (type(SD)("Uniform", lower=low, upper=1) for low in (-0.5, -1))
POSITIVE = type(SD)("Uniform", lower=0.05, upper=0.95)
COSY = type(SD)("Uniform", lower=-0.15, upper=0.9)
ZI = type(SD)("Uniform", lower=0.1, upper=0.6)
HALF_SD = type(SD)("HalfNormal", sigma=0.4)
THRESHOLD = type(SD)("Normal", mu=0, sigma=1.5)
TIMES, UNEVEN = np.arange(6.0), np.array([0.0, 0.4, 1.0, 2.5, 3.0, 4.2])
# a known covariance of the 8 levels, two families of 4 with a correlation of a half, and its factor
KNOWN = np.kron(np.eye(2), 0.5 + 0.5 * np.eye(4))
RELATED = np.linalg.cholesky(KNOWN)
LEVELS = [f"g{i}" for i in range(GROUPS)]


def power_of(rho: float, distance: np.ndarray) -> np.ndarray:
    return rho**distance


def same_for_all(rho: float, distance: np.ndarray) -> np.ndarray:
    return np.where(distance == 0, 1.0, rho)


def _structure(name: str, formula: object, make: Callable, family: str = "gaussian", **options: object) -> Case:
    return Case(name, STRUCTURE, formula, structured(make), family, options)


def _cases() -> list[Case]:
    normal = stats.norm.logpdf
    matrices = {"A": pd.DataFrame(KNOWN, LEVELS, LEVELS)}
    return [
        Case("gaussian, correlated slopes", CENTRAL, "y ~ x + (x | g)", with_slopes("gaussian"), log_density=normal),
        Case("gaussian, crossed", CENTRAL, "y ~ x + (1 | g) + (1 | h)", with_intercepts("gaussian", "g", "h"),
             log_density=normal),
        Case("gaussian, nested, unbalanced", CENTRAL, "y ~ x + (1 | g/h)", with_intercepts("gaussian", "g", "g:h"),
             log_density=normal),
        Case("bernoulli, intercepts", CENTRAL, "y ~ x + (1 | g)", with_intercepts("bernoulli", "g"), "bernoulli",
             log_density=lambda y, eta, own: stats.bernoulli.logpmf(y, expit(eta))),
        Case("poisson, correlated slopes", CENTRAL, "y ~ x + (x | g)", with_slopes("poisson"), "poisson",
             log_density=lambda y, eta, own: stats.poisson.logpmf(y, np.exp(eta))),
        Case("negbinomial, intercepts", CENTRAL, "y ~ x + (1 | g)", with_intercepts("negbinomial", "g"), "negbinomial",
             log_density=lambda y, eta, own: stats.nbinom.logpmf(y, own, own / (own + np.exp(eta)))),
        *(of_family(family) for family in FAMILIES if family in {*RESPONSES, *CATEGORIES, "cumulative"}),
        Case("poisson, crossed", STRUCTURE, "y ~ x + (1 | g) + (1 | h)", with_intercepts("poisson", "g", "h"),
             "poisson"),
        Case("poisson, nested", STRUCTURE, "y ~ x + (1 | g/h)", with_intercepts("poisson", "g", "g:h"), "poisson"),
        _structure("uncorrelated slopes", "y ~ x + (x || g)", diagonal),
        _structure("cs()", "y ~ x + cs(0 + f | g)", compound_symmetry),
        _structure("ar1()", "y ~ x + ar1(0 + factor(t) | g)", autoregressive),
        _structure("ident()", "y ~ x + ident(0 + f | g)", identity),
        _structure("gr(by)", "y ~ x + (1 | gr(g, by = s))", by_factor),
        _structure("gr(cov)", "y ~ x + (1 | gr(g, cov = A))", related, matrices=matrices),
        _structure("mm()", "y ~ x + (1 | mm(m1, m2))", members),
        _structure("se()", "y | se(se) ~ x + (1 | g)", known_errors),
        _structure("se(sigma = TRUE)", "y | se(se, sigma = TRUE) ~ x + (1 | g)", errors_and_sigma),
        _structure("weights", "y ~ x + (1 | g)", weights, weights="w"),
        _structure("ar()", "y ~ x + ar(t, g)", in_series("ar", power_of, CORRELATION, TIMES)),
        _structure("car()", "y ~ x + car(t, g)", in_series("car", power_of, POSITIVE, UNEVEN)),
        _structure("cosy()", "y ~ x + cosy(g)", in_series("cosy", same_for_all, COSY, TIMES)),
        _structure("unstr()", "y ~ x + unstr(visit, series)", unstructured),
        _structure("sigma by stratum", ("y ~ x + (1 | g)", "sigma ~ f"), by_stratum),
        _structure("sigma by covariate", ("y ~ x + (1 | g)", "sigma ~ x"), by_covariate),
        _structure("censored", "y | cens(c) ~ x + (1 | g)", censored),
        _structure("trunc()", "y | trunc(lb = 1) ~ x + (1 | g)", truncated, "poisson"),
        _structure("formula of zi", ("y ~ x + (1 | g)", "zi ~ x"), formula_of_zi, "zero_inflated_poisson"),
    ]  # fmt: skip


CASES = {case.name: case for case in _cases()}
UNCOVERED = tuple(family for family in FAMILIES if family not in CASES)  # said on the page
# What has neither a calibration nor an exact posterior, said there too
PARTS_UNCOVERED = ("random effects of parameters", "mvbind()", "disc", "cs() of thresholds", "toep()")
