"""Smooths written out: directions that the rows know apart, against dense formulas; and draws."""

import numpy as np
import pandas as pd
import pytest
from compared_draws import compare_draws

import bayesmm as bmm
from bayesmm.priors import prior_design
from bayesmm.sampling.joint import as_generalised, ready

FORMULA = "y ~ s(x) + (1 | g)"


def curve(family, rows=300, groups=20, height=0.0, seed=1):
    rng = np.random.default_rng(seed)
    x, g = rng.uniform(0, 1, rows), rng.integers(0, groups, rows)
    eta = height * np.sin(6 * x) + 0.5 * rng.normal(size=groups)[g] + 0.5
    y = rng.poisson(np.exp(eta)) if family == "poisson" else eta + 0.7 * rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str)})


def at_mode(model, centred=False):
    return ready(model.design, model.priors, lambda rule: [centred] * len(model.design.blocks), {})


def test_the_information_and_the_slopes_are_those_of_the_rows():
    model = bmm.Model(FORMULA, curve("gaussian"), priors={"sigma": 0.7})
    found, own = at_mode(model).at.recentred.smooths, prior_design(as_generalised(model.design), model.priors)
    X, Z, precision = own.X / 0.7, own.blocks[1].Z / 0.7, np.diag([gamma_precision(model, p) for p in own.coefficients])
    U = np.linalg.solve(X.T @ X + precision, X.T @ Z)
    information = np.linalg.eigvalsh(Z.T @ Z - Z.T @ X @ U)
    # central differences of gradients of numbers of about 1e3
    np.testing.assert_allclose(np.sort(found.information), information, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.slopes @ found.slopes.T, U @ U.T, rtol=1e-5, atol=1e-6)


def gamma_precision(model, name):
    place = "Intercept_centred" if name == "Intercept" else f"beta[{name}]"
    return 1 / model.priors[place].parameters["sigma"] ** 2


def test_only_smooths_in_units_of_their_sd_are_turned():
    model = bmm.Model(FORMULA, curve("poisson"), "poisson")
    assert len(at_mode(model).at.recentred.smooths.known) == model.design.blocks[1].Z.shape[1]
    assert len(at_mode(model, centred=True).at.recentred.smooths.known) == 0
    held = bmm.Model(FORMULA, curve("poisson"), "poisson", priors={"sd_s(x)": 0.5})
    assert len(at_mode(held).at.recentred.smooths.known) == 0  # there is no sd to be tied to


def test_a_curve_that_is_hardly_there_passes_its_checks():
    """270 of 4,000 draws diverged, and the smallest ESS was 31, with its columns as they are."""
    fit = bmm.Model(FORMULA, curve("poisson"), "poisson").sample(seed=1, progress=False)
    assert all(check.ok for check in fit.checks()) and fit.summary()["ess_bulk"].min() > 800


@pytest.mark.parametrize("formula", [FORMULA, "y ~ s(x) + s(g2, k=4) + (1 | g)"])
def test_draws_are_those_with_the_curves_integrated_out(formula):
    data = curve("gaussian", height=0.5)
    data["g2"] = data["g"].astype(int) % 4
    model = bmm.Model(formula, data)
    one, other = (
        model.sample(2000, seed=1, effects=e, progress=False).tree["posterior"] for e in ("explicit", "marginal")
    )
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        for place in np.ndindex(one[name].shape[2:]):
            compare_draws(one[name].to_numpy()[(..., *place)], other[name].to_numpy()[(..., *place)], (name, place))
