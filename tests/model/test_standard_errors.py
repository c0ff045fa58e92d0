"""Meta-analysis: known standard errors, alone and with a residual beside them.

The thirteen BCG vaccine trials (Colditz et al. 1994): log risk ratios and sampling variances as metafor's dat.bcg gives
them; its numbers by REML, ML and DerSimonian & Laird are those of metafor 3.8-1 (rma), to all digits.
"""

import re

import numpy as np
import pandas as pd
import pytest
from invented import draws, invented
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError, PriorError
from bayesmm.evaluation.graph_vs_reml import check_consistency
from bayesmm.evaluation.likelihood_vs_reml import check_likelihood

Y = [-0.8893113339, -1.5853886572, -1.3480731483, -1.44155119, -0.2175473222, -0.7861155858, -1.6208982236,
     0.0119523335, -0.4694176487, -1.3713448035, -0.3393588283, 0.4459134006, -0.0173139482]  # fmt: skip
V = [0.325584765, 0.1945811214, 0.4153679654, 0.0200100319, 0.0512101722, 0.0069056185, 0.2230172476, 0.0039615793,
     0.0564342105, 0.0730247936, 0.012412214, 0.5325058452, 0.0714046597]  # fmt: skip
LATITUDE = [44, 55, 42, 52, 13, 44, 19, 13, 27, 42, 18, 33, 33]
FORMULA, JOINT = "yi | se(se) ~ 1 + (1 | trial)", "yi | se(se, sigma = TRUE) ~ 1"


@pytest.fixture(scope="module")
def data():
    trial = [f"t{i:02}" for i in range(13)]
    return pd.DataFrame({"yi": Y, "se": np.sqrt(V), "latitude": LATITUDE, "trial": trial})


@pytest.mark.parametrize(
    ("method", "criterion", "mean", "se", "tau"),
    [
        ("REML", 26.9696921888581, -0.714532342156786, 0.179781516110322, 0.559681389847266),
        ("ML", 25.3301526970267, -0.711199135474494, 0.171896808783286, 0.529176848773146),
    ],
)
@pytest.mark.parametrize("formula", [FORMULA, JOINT])
def test_the_estimates_are_those_of_metafor(data, formula, method, criterion, mean, se, tau):
    point = bmm.Model(formula, data).maximize(method)
    assert point.converged and point.npar == 2
    assert point.criterion == pytest.approx(criterion, rel=1e-9)
    assert point.fixef()["estimate"].item() == pytest.approx(mean, rel=1e-6)
    assert point.fixef()["se"].item() == pytest.approx(se, rel=1e-6)
    found = point.sigma if formula == JOINT else np.sqrt(point.covariances[0][0, 0])
    assert found == pytest.approx(tau, rel=1e-6)
    assert ("Residual" in set(point.varcorr()["grp"])) == (formula == JOINT)  # a known sigma is no estimate


def test_knapp_and_hartungs_tests_are_those_of_metafor(data):
    """rma(yi, vi, mods = ~ ablat, test = "knha"), metafor 3.8-1."""
    table = bmm.Model("yi | se(se) ~ latitude + (1 | trial)", data).maximize().fixef(ddf="knapp-hartung")
    np.testing.assert_allclose(table["estimate"], [0.251468210056105, -0.0291017250133156], rtol=1e-6)
    np.testing.assert_allclose(table["se"], [0.283925283745506, 0.0082014174110223], rtol=1e-6)
    np.testing.assert_allclose(table["p"], [0.39473707236119, 0.00456505153985998], rtol=1e-5)
    assert (table["df"] == 11).all()
    with pytest.raises(DataError, match="the model has no known standard errors"):
        bmm.Model("yi ~ latitude", data).maximize().fixef(ddf="knapp-hartung")


def test_heterogeneity_is_that_of_metafor(data):
    point = bmm.Model(FORMULA, data).maximize()
    found = bmm.heterogeneity(point)
    assert found.table.loc["I2", "REML"] == pytest.approx(0.922213845058241, rel=1e-7)
    assert found.table.loc["H2", "REML"] == pytest.approx(12.8557582097833, rel=1e-6)
    assert (found.Q, found.df) == (pytest.approx(152.233007934529, rel=1e-9), 12)
    assert found.p == pytest.approx(1.99676e-26, rel=1e-4)
    w = 1 / np.array(V)  # DerSimonian & Laird (1986, eq. 8)
    tau2 = (found.Q - 12) / (w.sum() - np.square(w).sum() / w.sum())
    assert found.table.loc["tau", "DL"] == pytest.approx(np.sqrt(tau2), rel=1e-9)
    spread = np.hypot(0.179781516110322, 0.559681389847266)
    assert found.prediction.loc["REML", "pi_upper"] == pytest.approx(-0.714532342 + 1.959963985 * spread, rel=1e-6)
    assert "Cochran's Q = 152.2 on 12 df" in str(found)


def test_no_heterogeneity_is_an_estimate_of_0(data):
    same = data.assign(yi=-0.7 + 0.1 * data["se"] * np.resize([1, -1], 13))
    for formula in (FORMULA, JOINT):
        point = bmm.Model(formula, same).maximize()
        fixed = np.average(same["yi"], weights=1 / np.array(V))  # the common-effect estimate
        assert point.fixef()["estimate"].item() == pytest.approx(fixed, rel=1e-6)
        assert point.fixef()["se"].item() == pytest.approx(np.sum(1 / np.array(V)) ** -0.5, rel=1e-6)


def test_the_posterior_and_the_graph_have_the_same_likelihood(data):
    model = bmm.Model("yi | se(se) ~ latitude + (1 | trial)", data)
    point = model.maximize()
    assert check_consistency(model.design, point).ok and check_likelihood(model.design, point).ok
    joint = bmm.Model("yi | se(se, sigma = TRUE) ~ latitude", data)
    assert check_consistency(joint.design, joint.maximize()).ok


def test_draws_log_likelihoods_and_predictions_have_the_rows_own_sds(data):
    from bayesmm.posterior.log_likelihood import by_level, conditional, split_by

    model = bmm.Model(FORMULA, data)
    fit = invented(model)
    fit.tree["posterior"]["sigma"][:] = 1.0  # as every sampler keeps it
    eta = fit.predict(kind="linear").draws.reshape(-1, 13)
    np.testing.assert_allclose(conditional(fit), stats.norm.logpdf(Y, eta, np.sqrt(V)), rtol=1e-10)
    total = np.sqrt(draws(fit, "sd_trial") ** 2 + np.array(V))
    expected = stats.norm.logpdf(Y, draws(fit, "beta"), total)
    np.testing.assert_allclose(by_level(fit, split_by(fit.design, "trial")), expected, rtol=1e-9)
    new = pd.DataFrame({"se": [0.1, 3.0], "trial": ["t00", "t01"]})
    point = model.maximize()
    found = point.predict(new, se=True)
    np.testing.assert_allclose(np.square(found["sd"]) - np.square(found["se"]), [0.01, 9.0], rtol=1e-9)
    joint = bmm.Model(JOINT, data).maximize()
    around = joint.simulate(4000, seed=1).std(axis=1)  # the sd of 4,000 numbers has an error of 1.1 %
    np.testing.assert_allclose(around, np.sqrt(joint.sigma**2 + np.array(V)), rtol=0.05)


def test_prints_equation_and_figure(data):
    import matplotlib.pyplot as plt

    model = bmm.Model(FORMULA, data)
    assert r"\mathcal{N}(\mu_{i},\ \,{\text{se}}_{i}^{2})" in model.equation()
    assert "Residual" not in str(model.maximize())
    fit = invented(model)
    ax = bmm.plots.forest(fit, ax=plt.subplots()[1])[0]
    assert bmm.plots.forest(fit)[0].figure is not ax.figure
    assert [text.get_text() for text in ax.get_yticklabels()][-3:] == ["t12", "pooled", "new study"]
    assert len(ax.collections[1].get_offsets()) == 13
    bmm.plots.plot_variances(fit)  # with REML's estimates, which have no profiles here
    plt.close("all")
    with pytest.raises(TypeError, match="the posterior of each study"):
        bmm.plots.forest(model.maximize())
    with pytest.raises(TypeError, match="expected a Fit or a PointFit"):
        bmm.heterogeneity(model)
    with pytest.raises(DataError, match="no known standard errors"):
        bmm.plots.forest(invented(bmm.Model("yi ~ latitude", data)))


@pytest.mark.parametrize(
    ("formula", "change", "error", "said"),
    [
        (FORMULA, {"se": 0.0}, DataError, "13 of 13 standard errors are 0"),
        (FORMULA, {"se": -1.0}, DataError, "standard errors are negative"),
        (FORMULA, {"se": np.inf}, DataError, "infinite"),
        (FORMULA, {"se": list("abcdefghijklm")}, DataError, "'se' holds text where numbers are expected"),
        ("yi | se(sei) ~ 1", {}, FormulaError, "column 'sei' is not in the data"),
        ("yi | se() ~ 1", {}, FormulaError, "se() lacks its argument x"),
        ("yi | se(se, sigma = 2) ~ 1", {}, FormulaError, "TRUE or FALSE is expected"),
        ("yi | se(se, tau = TRUE) ~ 1", {}, FormulaError, "se() has no argument 'tau'"),
        ("yi | se(se) + se(se) ~ 1", {}, FormulaError, "se() stands twice"),
        ("yi | se(se) + weights(latitude) ~ 1", {}, FormulaError, "both say how exact a row is"),
        ("yi ~ 1 + se(se)", {}, FormulaError, "se() stands after the bar of the response"),
        (("yi | se(se) ~ 1", "sigma ~ latitude"), {}, DataError, "leave one of the two out"),
    ],
)
def test_bad_inputs_are_one_clear_sentence(data, formula, change, error, said):
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(formula, data.assign(**change))


def test_what_cannot_be_is_said(data):
    with pytest.raises(DataError, match=re.escape("leave it out")):
        bmm.Model("yi | se(se) ~ 1", data.assign(yi=1), family="poisson")
    with pytest.raises(PriorError, match="sigma"):
        bmm.Model(FORMULA, data, priors={"sigma": bmm.Prior("HalfNormal", sigma=1)})
    with pytest.raises(DataError, match=re.escape("estimates sigma, and se(se) gives the sds of rows")):
        bmm.Model(FORMULA, data).maximize().confint()
    with pytest.raises(DataError, match="weights"):
        bmm.Model(FORMULA, data, weights="latitude")
    with pytest.raises(DataError, match="no known standard errors"):
        bmm.heterogeneity(bmm.Model("yi ~ latitude", data).maximize())


def test_files_keep_it(data, tmp_path):
    fit = invented(bmm.Model(FORMULA, data))
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert again.design.residual.sigma == "known"
    np.testing.assert_array_equal(again.design.residual.rows[:, 0], np.sqrt(V))
