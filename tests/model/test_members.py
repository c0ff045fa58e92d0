"""Multi-membership, (1 | mm(s1, s2, weights = cbind(w1, w2))): dense formulas, lme4's and brms' conventions."""

import re

import numpy as np
import pytest
from invented import draws, invented
from numpy.testing import assert_allclose
from structure_references import dense, structures, table

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError

DATA = table("members")
FORMULA = "y ~ x + (1 | mm(s1, s2, weights = cbind(w1, w2)))"


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_the_maximum_is_the_reference(method):
    reference = structures()[f"k07_mm_gauss_{method.lower()}"]
    point = bmm.Model(FORMULA, DATA).maximize(method)
    assert point.converged and point.npar == 4
    assert_allclose(point.criterion, reference["criterion"], rtol=1e-9)
    assert_allclose(dense(point.design, point.covariances, point.sigma, method == "REML"), point.criterion, rtol=1e-9)
    assert_allclose(point.beta, list(reference["fixef"].values()), rtol=1e-5)
    assert_allclose(np.sqrt(np.diag(point.beta_cov)), list(reference["fixef_se"].values()), rtol=1e-5)
    assert_allclose(np.sqrt(point.covariances[0][0, 0]), reference["random_sd"]["school"], rtol=1e-5)
    assert_allclose(point.sigma, reference["residual_sd"], rtol=1e-5)
    table = point.ranef()
    own = table[table["term"] == "Intercept"].set_index("grp")["condval"]
    assert_allclose(own[list(reference["blups"])], list(reference["blups"].values()), atol=1e-4)
    assert len(point.varcorr()) == 2 and "mm(s1, s2), 18" in str(point)
    assert point.coef()["mm(s1, s2)"].shape == (18, 2)


def test_laplace_is_the_reference():
    reference = structures()["k07_mm_poisson"]
    formula = FORMULA.replace("y ~", "cnt ~")
    point = bmm.Model(formula, DATA, family="poisson").maximize("ML")
    assert_allclose(point.criterion, reference["criterion"], rtol=1e-7)
    assert_allclose(point.beta, list(reference["fixef"].values()), rtol=1e-3)
    assert_allclose(np.sqrt(point.covariances[0][0, 0]), reference["random_sd"]["school"], rtol=1e-3)


def test_weights_are_equal_where_none_are_given_and_are_scaled():
    plain = bmm.Model("y ~ x + (1 | mm(s1, s2))", DATA).design.blocks[0]
    assert_allclose(plain.Z.sum(axis=1), 1)
    assert set(np.unique(plain.Z)) == {0.0, 0.5, 1.0}
    doubled = bmm.Model("y ~ x + (1 | mm(s1, s2, weights = cbind(2 * w1, 2 * w2)))", DATA).design
    assert_allclose(doubled.blocks[0].Z, bmm.Model(FORMULA, DATA).design.blocks[0].Z)
    assert "sum to 2 to 2, and are divided by their sum" in doubled.messages[0].text
    kept = bmm.Model("y ~ x + (1 | mm(s1, s2, weights = cbind(2 * w1, w2), scale = FALSE))", DATA).design.blocks[0]
    assert_allclose(kept.Z.sum(axis=1), 2 * DATA["w1"] + DATA["w2"])


def test_one_member_of_weight_1_is_the_plain_factor():
    data = DATA.assign(none=0.0, all=1.0)
    point = bmm.Model("y ~ x + (1 | mm(s1, s2, weights = cbind(all, none)))", data).maximize()
    plain = bmm.Model("y ~ x + (1 | s1)", data).maximize()
    assert_allclose(point.criterion, plain.criterion, rtol=1e-10)
    assert_allclose(point.sigma, plain.sigma, rtol=1e-6)


def test_beside_another_factor_and_with_slopes():
    point = bmm.Model("y ~ x + (x || mm(s1, s2)) + (1 | hood)", DATA).maximize()
    assert_allclose(dense(point.design, point.covariances, point.sigma, True), point.criterion, rtol=1e-9)
    assert list(point.varcorr()["grp"]) == ["hood", "mm(s1, s2)", "mm(s1, s2)", "Residual"]
    assert list(point.varcorr()["var1"])[1:3] == ["Intercept", "x"]
    assert set(point.ranef()["term"]) == {"Intercept", "x"}


def test_predictions_and_simulations():
    model = bmm.Model(FORMULA, DATA)
    point, fit, Z = model.maximize(), invented(model), model.design.blocks[0].Z
    eta = model.design.X @ point.beta + Z @ point.modes[0][0]
    assert_allclose(point.predict()["estimate"], eta, rtol=1e-10)
    assert_allclose(point.predict(DATA.head(9))["estimate"], eta[:9], rtol=1e-8)
    ours = fit.predict(DATA.head(9), kind="linear").draws.reshape(-1, 9)
    b = draws(fit, "b_mm(s1, s2)")[:, 0]
    assert_allclose(ours, draws(fit, "beta") @ model.design.X[:9].T + b @ Z[:9].T, rtol=1e-8)
    with pytest.raises(DataError, match="'new' is no level of mm\\(s1, s2\\) in the data of the fit"):
        point.predict(DATA.head(2).assign(s1="new"), new_levels="zero")
    values = {"beta[Intercept]": 0.0, "beta[x]": 0.0, "sd_mm(s1, s2)[Intercept]": 2.0, "sigma": 0.5}
    drawn = model.simulate(values, draws=20_000, seed=1).to_numpy()
    V = 4 * Z @ Z.T + 0.25 * np.eye(len(Z))
    assert_allclose(np.cov(drawn), V, atol=0.06 * V.max())  # 6 standard errors of a variance


def test_files_and_tables(tmp_path):
    fit = invented(bmm.Model(FORMULA, DATA))
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert again.summary().equals(fit.summary())
    assert "b_mm(s1, s2)[sc01, Intercept]" in fit.summary().index and list(fit.ranef()["grp"])[:2] == ["sc01", "sc02"]
    assert r"\sum_{j} b_{\text{mm(s1, s2)},j}" in fit.model.equation()


BAD = [
    ("y ~ (1 | mm(s1))", FormulaError, "two of them at least"),
    ("y ~ (1 | mm(s1, s1))", FormulaError, "each once"),
    ("y ~ (1 | mm(s1, s2, weights = w1))", FormulaError, "the weights are a column for each of the members"),
    ("y ~ (1 | mm(s1, s2, weights = cbind(w1)))", FormulaError, "there are 2 members and 1 weights"),
    ("y ~ (1 | mm(s1, s2, scale = 3))", FormulaError, "scale is TRUE"),
    ("y ~ (1 | mm(s1, s2, w = 3))", FormulaError, "weights and scale = FALSE are all else"),
    ("y ~ mm(s1, s2)", FormulaError, "it stands after the bar of a group term"),
    ("y ~ (x | mm(s1, s2))", DataError, "of mm(s1, s2) they are independent, (x || mm(s1, s2))"),
    ("y ~ (1 | mm(s1, s9))", FormulaError, "grouping factor 's9' is not in the data"),
    ("y ~ (1 | mm(s1, s2, weights = cbind(x, w2)))", DataError, "are negative in rows"),
    ("y ~ (1 | mm(s1, s2, weights = cbind(0 * w1, 0 * w2)))", DataError, "are all 0 in rows"),
    ("y ~ (1 | mm(s1, s2)) + (1 | mm(s1, s2))", FormulaError, "leave one of them out"),
    ("y ~ (1 | mm(s1, s2) / hood)", FormulaError, "a grouping factor is a column, not mm(s1, s2)"),
    ("y ~ (1 | mm(same, same2))", DataError, "has one label ('a')"),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "error", "said"), BAD)
def test_bad_memberships_are_one_clear_sentence(formula, error, said):
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(formula, DATA.assign(same="a", same2="a"))


def test_columns_without_a_common_label_are_warned_of():
    said = bmm.Model("y ~ x + (1 | mm(s1, hood))", DATA).design.messages
    assert any("have no label in common" in message.text for message in said)


@pytest.mark.slow
def test_the_posterior_agrees_with_reml():
    fit = bmm.Model(FORMULA, DATA).sample(500, 300, 2, seed=1, progress=False)
    assert all(check.ok for check in fit.checks() if not check.note)
    table = fit.summary()
    reference = structures()["k07_mm_gauss_reml"]
    assert abs(table.loc["sigma", "mean"] - reference["residual_sd"]) < 0.3 * table.loc["sigma", "sd"]
    place = "sd_mm(s1, s2)[Intercept]"
    assert abs(table.loc[place, "mean"] - reference["random_sd"]["school"]) < 0.6 * table.loc[place, "sd"]
    assert "sd_mm(s1, s2)[Intercept]" in str(fit.compare())
