"""Names that users of statsmodels and R know: they work, or the error says what to write."""

import copy
import functools
import re

import numpy as np
import pytest
from factorial_data import EXACT
from references import frame
from scipy import stats

import bayesmm as bmm
from bayesmm.runtime.other_names import ATTRIBUTES

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy")).maximize()


@pytest.fixture(scope="module")
def counts(data):
    return bmm.Model("count ~ a * b + x + (1 | g)", data, "poisson").maximize()


def test_lmertests_numbers_of_the_sleep_study(sleep):
    """lmerTest: Days 10.467, se 1.546, df 17, t 6.771, p 3.27e-06."""
    assert (sleep.AIC, sleep.BIC) == (sleep.aic, sleep.bic)
    assert sleep.params["Days"] == pytest.approx(10.467, abs=5e-4)
    assert sleep.pvalues["Days"] == pytest.approx(3.27e-6, rel=5e-3)
    row = sleep.summary().loc["beta[Days]"]
    np.testing.assert_allclose(row[["se", "df", "t"]].astype(float), [1.5458, 17, 6.7715], rtol=1e-4)
    half = stats.t.ppf(0.975, row["df"]) * row["se"]
    np.testing.assert_allclose(
        sleep.conf_int().loc["Days"], [row["estimate"] - half, row["estimate"] + half], rtol=1e-9
    )
    half = sleep.conf_int(alpha=0.1).loc["Days", "upper"] - row["estimate"]
    assert half == pytest.approx(stats.t.ppf(0.95, 17) * row["se"], rel=1e-4)


def test_summary_has_every_parameter_of_a_posteriors(sleep):
    table = sleep.summary()
    assert list(table.index) == list(sleep.parameters)
    np.testing.assert_array_equal(table["estimate"], list(sleep.parameters.values()))
    assert table.loc["sigma", ["se", "p"]].isna().all()


def test_a_linear_model_is_r_s_summary_lm(linear):
    np.testing.assert_allclose(linear.conf_int(), linear.confint(), rtol=1e-9)
    known = 2 * stats.t.sf(np.abs(linear.summary()["t"].dropna()), 60 - 7)
    np.testing.assert_allclose(linear.pvalues, known, rtol=1e-7)


def test_other_families_and_modes_have_z(counts, data):
    np.testing.assert_allclose(counts.pvalues, counts.fixef()["p"], **EXACT)
    mode = bmm.Model("y ~ a + (1 | g)", data).maximize("MAP")
    assert "z" in mode.summary() and "df" not in mode.summary()


def test_rate_ratios(counts):
    table, own = counts.fixef(exponentiate=True), counts.fixef()
    np.testing.assert_allclose(table["estimate"], np.exp(own["estimate"]), **EXACT)
    np.testing.assert_allclose(table["upper"], np.exp(own["estimate"] + stats.norm.ppf(0.975) * own["se"]), rtol=1e-9)
    np.testing.assert_allclose(table["p"], own["p"], **EXACT)


def test_odds_ratios_of_a_posterior(logit):
    table = logit.fixef(exponentiate=True)
    beta = logit.tree["posterior"]["beta"].to_numpy().reshape(-1, 4)
    np.testing.assert_allclose(table["mean"], np.exp(beta).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(table["lower"], np.quantile(np.exp(beta), 0.025, axis=0), rtol=1e-12)


def test_the_logarithm_of_a_response_has_ratios_too(data):
    point = bmm.Model("log(time) ~ a", data).maximize()
    assert point.fixef(exponentiate=True)["estimate"].iloc[1] == pytest.approx(np.exp(point.beta[1]))
    known = point.fixef(ddf="satterthwaite", exponentiate=True)
    assert known["df"].tolist() == [57.0] * 3


def test_no_ratio_is_said(linear, logit):
    for call in (lambda: linear.fixef(exponentiate=True), lambda: linear.fixef("satterthwaite", exponentiate=True)):
        with pytest.raises(ValueError, match="has the identity link; its coefficients are differences"):
            call()
    with pytest.raises(ValueError, match="exponentiate should be True or False"):
        logit.fixef(exponentiate="yes")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f, p: p.predict(type="response"), r"predict\(\) has no argument 'type'; here it is kind="),
        (lambda f, p: f.predict(re_form=None), "here it is groups=: re_form=None is groups='conditional'"),
        (lambda f, p: p.simulate(nsim=3), "here it is draws="),
        (lambda f, p: bmm.emmeans(p, "a", type="response"), r"emmeans\(\) has no argument 'type'"),
        (lambda f, p: bmm.predictions(p, re_formula=None), r"predictions\(\) has no argument 're_formula'"),
        (lambda f, p: bmm.slopes(p, "x", alpha=0.1), "here it is ci_prob="),
        (lambda f, p: p.predict(bogus=1), r"predict\(\) has no argument 'bogus' \(arguments: data, "),
        (lambda f, p: p.predict(grups="population"), "has no argument 'grups'; did you mean 'groups'"),
        (lambda f, p: f.model.sample(iter=2000, warmup=3), "here it is draws= of each chain, which come after tune="),
        (lambda f, p: f.compare(5), "compare.. takes a maximised fit, as maximize.. gives, not int"),
        (lambda f, p: bmm.plots.plot_prior_predictive(f), "of a Model, before any fit, not of a Fit; give fit.model"),
    ],
)
def test_arguments_of_other_packages_are_translated(call, said, logit, linear):
    with pytest.raises(TypeError, match=said):
        call(logit, linear)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resid", "here it is residuals"),
        ("llf", "here it is loglik"),
        ("cov_params", "vcov"),
        ("nothing", "'nothing'$"),
    ],
)
def test_attributes_of_other_packages_are_translated(sleep, logit, name, said):
    for fit in (sleep, logit):
        with pytest.raises(AttributeError, match=said):
            getattr(fit, name)


def test_a_copy_is_made_as_ever(sleep):
    assert copy.copy(sleep).loglik == sleep.loglik


# ----------------------------------------------------------------------------------------------------------------------
# Wald tests of generalised models


def sum_to_zero(data):
    """Return the columns of a * b + x in the coding whose contrasts sum to 0, by term."""
    a = np.column_stack([(data["a"] == v) * 1.0 - (data["a"] == "r") for v in "pq"])
    b = ((data["b"] == "u") * 1.0 - (data["b"] == "v")).to_numpy()[:, None]
    return {"": np.ones((len(data), 1)), "a": a, "b": b, "x": data[["x"]].to_numpy(), "a:b": a * b}


def wald(beta, cov, at):
    return beta[at] @ np.linalg.solve(cov[np.ix_(at, at)], beta[at])


def test_type_iii_by_the_sum_to_zero_coding(counts, data):
    """Wald's statistic of a term's coefficients in that coding, by hand: beta* = A beta with X = X* A."""
    parts = sum_to_zero(data)
    other = np.column_stack(list(parts.values()))
    A = np.linalg.lstsq(other, counts.design.X)[0]
    beta, cov = A @ counts.beta, A @ counts.beta_cov @ A.T
    table, start = bmm.anova(counts, type=3).table, 0
    for term, columns in parts.items():
        at = np.arange(start, start + columns.shape[1])
        start += columns.shape[1]
        if term:
            chisq = wald(beta, cov, at)
            np.testing.assert_allclose(table.loc[term, ["Chisq", "Df"]].astype(float), [chisq, len(at)], rtol=1e-7)
            assert table.loc[term, "Pr(>Chisq)"] == pytest.approx(stats.chi2.sf(chisq, len(at)), rel=1e-6)


def test_type_ii_is_the_difference_of_two_quadratic_forms(counts):
    """Fox & Weisberg, car's Anova: all of the term and those that contain it, less those that contain it."""
    names = list(counts.design.coefficients)
    both = [k for k, name in enumerate(names) if ":" in name]
    table = bmm.anova(counts, type="II").table
    for term in "ab":
        own = [k for k, name in enumerate(names) if name.startswith(f"{term}[") and ":" not in name]
        chisq = wald(counts.beta, counts.beta_cov, own + both) - wald(counts.beta, counts.beta_cov, both)
        assert table.loc[term, "Chisq"] == pytest.approx(chisq, rel=1e-7)
    assert table.loc["x", "Chisq"] == pytest.approx(counts.fixef()["z"]["x"] ** 2, rel=1e-7)


def test_what_wald_tests_are_not_for(counts, data):
    with pytest.raises(bmm.DataError, match="ddf='satterthwaite' is for the gaussian family"):
        bmm.anova(counts, type=2, ddf="satterthwaite")
    with pytest.raises(bmm.DataError, match="mode of a posterior"):
        bmm.anova(bmm.Model("count ~ a", data, "poisson").maximize("MAP"), type=2)


def test_what_an_attribute_is_called_here_exists():
    for said in ATTRIBUTES.values():
        for name in re.findall(r"bmm\.([\w.]+)", said):
            assert functools.reduce(getattr, name.split("."), bmm)


def test_ratios_have_the_intervals_of_the_degrees_of_freedom_that_are_asked_for():
    point = bmm.Model("log(Reaction) ~ Days + (Days | Subject)", frame("sleepstudy").iloc[25::2]).maximize()
    table, ratios = point.fixef(ddf="kenward-roger"), point.fixef(ddf="kenward-roger", exponentiate=True)
    half = stats.t.ppf(0.975, table["df"]) * table["se"]
    np.testing.assert_allclose(ratios["upper"], np.exp(table["estimate"] + half), rtol=1e-9)
    np.testing.assert_allclose(ratios["df"], table["df"])


def test_a_mean_that_is_not_mu_is_not_transformed_back():
    data = frame("sleepstudy")
    point = bmm.Model("Reaction ~ Days + (1 | Subject)", data, "lognormal").maximize()
    with pytest.raises(ValueError, match="not the mean of the family lognormal; use kind='mean'"):
        bmm.emmeans(point, "Days", at={"Days": [0.0, 9.0]}, kind="response")


def test_what_other_packages_call_functions_and_arguments_here():
    with pytest.raises(
        AttributeError, match=r"no attribute 'lmer'; here it is bmm.Model\(formula, data\).maximize\(\)"
    ):
        bmm.lmer  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        bmm.nothing  # noqa: B018
    model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.load_dataset("sleepstudy"))
    with pytest.raises(TypeError, match="has no argument 'REML'; here it is the method, maximize"):
        model.maximize(REML=False)
    point = model.maximize()
    for name, here in (("isSingular", "singular"), ("drop1", "bmm.anova")):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; here it is {here}"):
            getattr(point, name)
    assert str(bmm.anova(point, ddf="Kenward-Roger")) == str(bmm.anova(point, ddf="kenward-roger"))
