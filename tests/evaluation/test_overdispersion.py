"""R^2 and ICC with an effect for each observation, and the mean at which a response's variance is taken.

Nakagawa, Johnson & Schielzeth (2017), J. R. Soc. Interface 14(134): with additive overdispersion the residual variance
is sigma_e^2 + ln(1 + 1 / lambda) for Poisson counts with a log link, and lambda = exp(beta_0 + sigma_tau^2 / 2) by the
estimates of the null model, sigma_tau^2 the sum of the variances of all random effects, those of observations too.
"""

import functools

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

FORMULA = "y ~ x + (1 | brood) + (1 | row)"


@functools.cache
def counts():
    """Return overdispersed counts in 30 broods."""
    rng, brood = np.random.default_rng(7), np.arange(30).repeat(8)
    x = rng.normal(size=240)
    eta = 0.5 + 0.6 * x + 0.8 * rng.normal(size=30)[brood] + 0.7 * rng.normal(size=240)
    names = [f"b{k}" for k in brood]
    return pd.DataFrame({"y": rng.poisson(np.exp(eta)), "x": x, "brood": names, "row": [f"r{k}" for k in range(240)]})


@functools.cache
def point():
    return bmm.Model(FORMULA, counts(), "poisson").maximize()


def variances(of):
    p = of.parameters
    return p["sd_brood[Intercept]"] ** 2, p["sd_row[Intercept]"] ** 2


def expected(mean):
    """Return the shares by the paper's formulas."""
    brood, row = variances(point())
    fixed = np.var(point().beta[1] * counts()["x"], ddof=1)
    residual = row + np.log(1 + 1 / mean)
    total = fixed + brood + residual
    r2 = {"r2_marginal": fixed / total, "r2_conditional": (fixed + brood) / total}
    return r2, {"icc[brood]": brood / (brood + residual), "icc_unadjusted[brood]": brood / total}, residual


def test_observation_level_effects_are_residual():
    eta = point().beta[0] + point().beta[1] * counts()["x"]
    r2, icc, residual = expected(np.exp(eta + sum(variances(point())) / 2).mean())
    assert point().r2().table["estimate"].to_dict() == pytest.approx(r2, rel=1e-10)  # the same sums
    found = point().icc()
    assert found.table["estimate"].to_dict() == pytest.approx(icc, rel=1e-10)
    parts = found.variances["estimate"]
    assert list(parts.index) == ["fixed part", "brood", "residual", "overdispersion in the residual"]
    assert parts["residual"] == pytest.approx(residual, rel=1e-10)
    assert parts["overdispersion in the residual"] == pytest.approx(variances(point())[1], rel=1e-10)
    text = " ".join(str(found).split())
    assert "The effects of 'row', one for each row, are overdispersion" in text
    assert "The mean response is that of all rows, in new groups; mean='null' takes" in text


def test_the_mean_of_the_null_model():
    null = bmm.Model("y ~ 1 + (1 | brood) + (1 | row)", counts(), "poisson").maximize()
    mean = np.exp(null.beta[0] + sum(variances(null)) / 2)
    r2, icc, _ = expected(mean)
    found = point().r2(mean="null")
    assert found.table["estimate"].to_dict() == pytest.approx(r2, rel=1e-10)
    assert point().icc(mean="null").table["estimate"].to_dict() == pytest.approx(icc, rel=1e-10)
    assert f"The mean response, {mean:.4g}, is that of the model without predictors" in " ".join(str(found).split())
    with pytest.raises(ValueError, match="mean must be one of rows, null, not 'nul'; did you mean 'null'"):
        point().r2(mean="nul")


def test_the_null_model_keeps_offset_trials_weights_and_random_slopes():
    data = counts().assign(e=lambda d: np.exp(d["x"] / 3), w=1.0 + np.arange(240) % 2)
    for formula, null in (
        ("y ~ x + I(x^2) + offset(log(e)) + (x | brood)", "y ~ 1 + offset(log(e)) + (x | brood)"),
        ("y ~ 0 + x + offset(log(e)) + (1 | brood)", "y ~ 1 + offset(log(e)) + (1 | brood)"),
    ):
        fit = bmm.Model(formula, data, "negbinomial", weights="w").maximize()
        other = bmm.Model(null, data, "negbinomial", weights="w").maximize()
        p, q = fit.covariances[0], other.covariances[0]
        Z = fit.design.blocks[0].Z
        share = data["w"] / data["w"].sum()
        mean = share @ (data["e"] * np.exp(other.beta[0] + np.einsum("ni,ij,nj->n", Z, q, Z) / 2))
        residual = np.log(1 + 1 / mean + 1 / fit.auxiliaries["shape"])
        brood = share @ np.einsum("ni,ij,nj->n", Z, p, Z)
        found = fit.icc(mean="null").table["estimate"]["icc[brood]"]
        assert found == pytest.approx(brood / (brood + residual), rel=1e-6)  # two searches for the null model's maximum


def test_the_mean_has_no_part_in_a_logistic_residual():
    data = counts().assign(y=lambda d: np.minimum(d["y"], 6), n=6)
    fit = bmm.Model("y / n ~ x + (1 | brood) + (1 | row)", data, "binomial").maximize()
    brood, row = variances(fit)
    for mean in ("rows", "null"):
        assert fit.icc(mean=mean).table["estimate"]["icc[brood]"] == pytest.approx(
            brood / (brood + row + np.pi**2 / 3), rel=1e-10
        )
        assert "mean response" not in str(fit.icc(mean=mean))


def test_with_nothing_but_observation_level_effects_the_two_r2_are_one():
    fit = bmm.Model("y ~ x + (1 | row)", counts(), "poisson").maximize()
    r2 = fit.r2().table["estimate"]
    assert r2["r2_conditional"] == r2["r2_marginal"] < 1
    with pytest.raises(ValueError, match="no grouping factor but one with a level for each row"):
        fit.icc()


def test_a_factor_of_one_row_each_with_a_slope_is_no_observation_level_effect():
    """Its effects are not a constant overdispersion, and count as before."""
    fit = bmm.Model("y ~ x + (0 + x | row) + (1 | brood)", counts(), "poisson").maximize()
    assert "icc[row]" in fit.icc().table.index


def test_beside_known_variances_one_row_each_is_no_overdispersion():
    """A meta-analysis: the effects are what studies differ by, and icc is tau^2 / (tau^2 + mean of se^2)."""
    rng, se = np.random.default_rng(1), np.linspace(0.5, 1.5, 20)
    data = {
        "y": 2 * rng.normal(size=20) + se * rng.normal(size=20),
        "w": 1 / se**2,
        "study": [f"s{k}" for k in range(20)],
    }
    priors = {"sigma": 1, "sd": bmm.Prior("HalfNormal", sigma=10), "Intercept": bmm.Prior("Normal", mu=0, sigma=10)}
    fit = bmm.Model("y ~ 1 + (1 | study)", data, weights="w", priors=priors).maximize("MAP")
    tau2 = fit.parameters["sd_study[Intercept]"] ** 2
    found = fit.icc().table["estimate"]["icc[study]"]
    assert found == pytest.approx(tau2 / (tau2 + np.mean(se**2)), rel=1e-10)


@pytest.mark.slow
def test_the_bayesian_r2_of_these_groups_does_not_count_them_as_explained():
    """For each draw, with E mu = exp(eta + s^2 / 2) and Var mu = (exp(s^2) - 1) E mu^2 over the row's own effect."""
    fit = bmm.fit(FORMULA, counts(), family="poisson", draws=60, tune=300, chains=2, seed=1, progress=False)
    posterior, index = fit.tree["posterior"], fit.design.blocks[0].index
    beta = posterior["beta"].values.reshape(120, 2)
    b = posterior["b_brood"].values.reshape(120, -1)
    s2 = posterior["sd_row"].values.reshape(120, 1) ** 2
    mu = np.exp(beta @ fit.design.X.T + b[:, index] + s2 / 2)
    within = (mu + (np.exp(s2) - 1) * mu**2).mean(axis=1)
    between = mu.var(axis=1, ddof=1)
    found = fit.r2().draws["bayes_r2_conditional"].ravel()
    np.testing.assert_allclose(found, between / (between + within), rtol=1e-8)
