"""The models of the calibration: each draws its parameters and its data, by `simulated`, and says how to fit them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from bayesmm.families.families import FAMILIES
from validation.categories import DRAWS as CATEGORIES
from validation.categories import ascending, discriminating, of_each_threshold, with_all
from validation.simulated import (
    CORRELATION,
    COUNTS,
    GROUPS,
    HALF,
    LKJ,
    PREDICTOR,
    RESPONSES,
    SD,
    Rng,
    Truth,
    codes,
    fixed_part,
    intercepts,
    response,
    table,
)
from validation.structures import (
    COSY,
    KNOWN,
    LEVELS,
    POSITIVE,
    RESIDUAL_V,
    TIMES,
    UNEVEN,
    autoregressive,
    by_covariate,
    by_factor,
    by_stratum,
    censored,
    compound_symmetry,
    correlated,
    diagonal,
    effects_of_sigma,
    errors_and_sigma,
    formula_of_zi,
    identity,
    in_series,
    known_errors,
    known_residuals,
    many_groups,
    many_groups_alike,
    many_levels,
    members,
    power_of,
    related,
    same_for_all,
    smooth,
    smooth_of_counts,
    toeplitz,
    truncated,
    two_responses,
    unstructured,
    weights,
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
    """Draw ordered categories: where a logistic variable falls between thresholds."""
    eta = truth.take("beta[x]", HALF) * data["x"].to_numpy() + intercepts(truth, data["g"], "g")
    cuts = ascending(truth)
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
        z = rng.normal(size=(GROUPS + 1, 2)) @ correlated(r) * sds
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
# structures of random effects and of residuals: `structures`


def structured(make: Callable[[Truth, pd.DataFrame], pd.DataFrame]) -> Callable[[Rng], Simulated]:
    """Return a generator for a function that draws what a structure has and returns the table with its response."""

    def draw(rng: Rng) -> Simulated:
        truth = Truth(rng)
        return done(truth, make(truth, table(rng)))

    return draw


def of_categories(name: str, formula: object, make: Callable, family: str) -> Case:
    """Return a model of four categories, all of which have rows."""
    return Case(name, STRUCTURE, formula, lambda rng: done(*with_all(rng, family, table(rng), make)), family)


HALF_SD = type(SD)("HalfNormal", sigma=0.4)


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
        _structure("many crossed levels", "y ~ x + (1 | g) + (1 | h)", many_levels),
        _structure("many groups, yes/no", "y ~ x + (1 | g)", many_groups, "bernoulli"),
        _structure("many groups, all but alike", "y ~ x + (1 | g)", many_groups_alike, "bernoulli"),
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
        _structure("s()", "y ~ s(x, k = 6)", smooth),
        _structure("s() of counts in groups", "y ~ s(x, k = 6) + (1 | g)", smooth_of_counts, "poisson"),
        _structure("fcor()", "y ~ x + fcor(V)", known_residuals, matrices={"V": RESIDUAL_V}),
        _structure("toep()", "y ~ x + toep(0 + factor(t) | g)", toeplitz),
        _structure("mvbind()", "mvbind(y1, y2) ~ x + (1 | p | g)", two_responses),
        _structure("effects of sigma", ("y ~ x + (1 | g)", "sigma ~ (1 | g)"), effects_of_sigma),
        of_categories("disc", ("y ~ x + (1 | g)", "disc ~ x"), discriminating, "cumulative"),
        of_categories("cs() of thresholds", "y ~ cs(x) + (1 | g)", of_each_threshold, "acat"),
        _structure("formula of zi", ("y ~ x + (1 | g)", "zi ~ x"), formula_of_zi, "zero_inflated_poisson"),
    ]  # fmt: skip


CASES = {case.name: case for case in _cases()}
UNCOVERED = tuple(family for family in FAMILIES if family not in CASES)  # said on the page
