"""Censored responses against R: survreg() without random effects, and adaptive quadrature with them.

The numbers are in tests/reference/survival.json, and where they come from in its README. R's linear predictor of a
Weibull time is the logarithm of its scale, and ours that of its mean, which is log Gamma(1 + 1 / shape) more.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln

import bayesmm as bmm

HERE = Path(__file__).parents[1]
REFERENCES = json.loads((HERE / "reference" / "survival.json").read_text())
FORMULAS = {
    "kidney_exponential": ("time | cens(1 - status) ~ age + sex + disease", "exponential"),
    "kidney_weibull": ("time | cens(1 - status) ~ age + sex + disease", "weibull"),
    "kidney_lognormal": ("time | cens(1 - status) ~ age + sex + disease", "lognormal"),
    "kidney_weibull_frailty": ("time | cens(1 - status) ~ age + sex + (1 | id)", "weibull"),
    "kidney_lognormal_frailty": ("time | cens(1 - status) ~ age + sex + (1 | id)", "lognormal"),
    "tobit_fixed": ("y | cens(cens) ~ x", "gaussian"),
    "tobit_ri": ("y | cens(cens) ~ x + (1 | g)", "gaussian"),
    "interval_gauss": ("lo | cens(2 * (hi > lo), hi) ~ x", "gaussian"),
    "interval_ri": ("lo | cens(2 * (hi > lo), hi) ~ x + (1 | g)", "gaussian"),
}
# The reference has 61 nodes; with 25 what is left of a Weibull frailty of two rows is about 1e-6.
NODES = 25


@cache
def table(name):
    """Return the data of a reference, its factors in R's order of levels."""
    reference = REFERENCES[name]
    data = pd.read_csv(HERE / "data" / reference["data"].replace("_dev", ""))
    for column, levels in reference["levels"].items():
        data[column] = pd.Categorical(data[column], levels)
    return data


@cache
def model(name):
    formula, family = FORMULAS[name]
    return bmm.Model(formula, table(name), family)


def coefficients(point, family):
    """Return the coefficients as R has them, and 1 / shape or sigma."""
    beta, scale = np.array(point.beta), 1.0
    if family == "weibull":
        scale = 1 / point.auxiliaries["shape"]
        beta[0] -= gammaln(1 + scale)
    elif family != "exponential":
        scale = point.auxiliaries["sigma"]
    return beta, scale


def check(point, reference, name, criterion, fixef, sigma, sd):
    beta, scale = coefficients(point, FORMULAS[name][1])
    assert point.criterion == pytest.approx(criterion, abs=1e-4)
    assert np.abs((beta - fixef) / list(reference["fixef_se"].values())).max() < 1e-3
    assert scale == pytest.approx(sigma, rel=1e-3)
    if sd is not None:
        assert point.varcorr()["sdcor"].iloc[0] == pytest.approx(sd, rel=1e-3)


@pytest.mark.parametrize("name", FORMULAS)
def test_estimates_are_rs(name):
    reference = REFERENCES[name]
    frailty = "random_sd" in reference
    point = model(name).maximize(nagq=NODES if frailty else 1)
    sigma = reference["residual_scale_sigma" if frailty else "scale_sigma"]
    given = reference["criterion"], list(reference["fixef"].values()), sigma, reference.get("random_sd")
    check(point, reference, name, *given)
    assert point.npar == reference["npar"]
    se = np.sqrt(np.diag(point.beta_cov))
    ours, theirs = se[1:], np.array(list(reference["fixef_se"].values()))[1:]
    if FORMULAS[name][1] != "weibull":  # whose first one is of another intercept
        ours, theirs = se, np.array(list(reference["fixef_se"].values()))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    if frailty:
        modes = point.ranef().set_index("grp")["condval"]
        found = modes[reference["modes"]["levels"]].to_numpy()
        # the reference has posterior means of a skewed density, or modes: they agree to a few hundredths of an sd
        np.testing.assert_allclose(found, reference["modes"]["value"], atol=0.05)


@pytest.mark.parametrize("name", [name for name, own in REFERENCES.items() if "laplace" in own])
def test_laplaces_approximation_is_rs(name):
    own = REFERENCES[name]["laplace"]
    point = model(name).maximize()
    if np.allclose(own["fixef"], list(REFERENCES[name]["fixef"].values()), rtol=0, atol=1e-7):
        # R's is the value at the maximum of the exact likelihood, and ours is the maximum
        assert own["criterion"] - 0.01 < point.criterion < own["criterion"] + 1e-4
        return
    check(point, REFERENCES[name], name, own["criterion"], own["fixef"], own["sigma"], own["random_sd"])


def test_which_references_are_left_out():
    assert set(FORMULAS) == set(REFERENCES)
