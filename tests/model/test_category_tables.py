"""Categories without an order: codes are no numbers, coefficients stand once, priors are at the means."""

import numpy as np
import pandas as pd
import pytest
from invented import invented

import bayesmm as bmm
from bayesmm.design.parameters import coefficients, variance_parameters
from bayesmm.errors import DataError, PriorError
from bayesmm.evaluation import compare_reml_text
from bayesmm.posterior.draws import posterior_residuals
from bayesmm.posterior.residuals import residuals_of_new_groups
from bayesmm.reporting import tables, words


def table(origin=0.0):
    rng, n = np.random.default_rng(3), 60
    data = pd.DataFrame({"x": rng.normal(size=n), "g": [f"g{i % 6}" for i in range(n)]})
    data["choice"] = rng.choice(["bus", "car", "train"], n)
    return data.assign(x=data["x"] + origin)


def model(formula="choice ~ x", **given):
    return bmm.Model(formula, table(**given), "categorical")


@pytest.fixture(scope="module")
def point():
    return model().maximize()


def test_codes_in_a_column_s_order_have_no_correlation(point):
    check = next(each for each in point.checks(time="x") if each.name == "autocorrelation")
    assert check.message == "judged where responses have an order"


def test_codes_have_no_place_among_replicates():
    fit = invented(model())
    for ask in (residuals_of_new_groups, posterior_residuals):
        with pytest.raises(DataError, match="without an order"):
            ask(fit)


@pytest.mark.parametrize("name", ["fitted", "residuals", "scaled_residuals"])
def test_a_code_is_no_fitted_value(point, name):
    with pytest.raises(DataError, match="not defined for categories without an order"):
        getattr(point, name)


def test_rows_have_no_expected_code(point):
    with pytest.raises(DataError, match=r"without an order; predict\(\) has the probability of each"):
        point.augment()


def test_an_analysis_of_variance_is_refused(point):
    """It said that there was nothing to test."""
    with pytest.raises(DataError, match=r"a coefficient for each category.*bmm\.lrt"):
        bmm.anova(point)
    assert bmm.lrt(point, model("choice ~ 1").maximize()).table["Df"].iloc[1] == 2


def test_each_coefficient_stands_once(point):
    labels = ["mu[car]", "mu[train]", "beta_mu[x, car]", "beta_mu[x, train]"]
    assert list(point.confint(method="wald").index) == labels
    summary = point.summary()
    assert list(summary.index) == labels
    tidy = point.tidy()
    assert list(tidy["term"]) == list(point.fixef().index) and set(tidy["effect"]) == {"fixed"}
    np.testing.assert_allclose(tidy["estimate"], point.fixef()["estimate"])
    np.testing.assert_allclose(summary.loc["beta_mu[x, car]", "estimate"], point.fixef().loc["mucar_x", "estimate"])
    assert "mucar_x" in str(bmm.table([point]))


def test_the_posterior_does_not_depend_on_where_a_predictor_is_0():
    """The prior of the log odds is at the means: the mode has the same probabilities, and the same slopes."""
    near, far = (model(origin=origin) for origin in (0.0, 20.0))
    assert str(near.priors) == str(far.priors)
    one, other = near.maximize("MAP"), far.maximize("MAP")
    np.testing.assert_allclose(one.predict(), other.predict(), atol=1e-9)
    shift = one.fixef().loc["mucar_Intercept", "estimate"] - other.fixef().loc["mucar_Intercept", "estimate"]
    assert shift == pytest.approx(20 * one.fixef().loc["mucar_x", "estimate"], rel=1e-6)


@pytest.mark.slow
def test_each_sampler_has_the_same_posterior():
    """Of a predictor about 20; NUTS on the compiled density, on the graph, and independent draws."""
    far = model(origin=20.0)
    fits = [far.sample(seed=1, progress=False, sampler=sampler) for sampler in ("auto", "pymc", "importance")]
    first, *others = [fit.summary() for fit in fits]
    for other in others:
        error = 4.5 * first["sd"] * np.sqrt(1 / first["ess_bulk"] + 1 / other["ess_bulk"])
        assert (np.abs(first["mean"] - other["mean"]) < error).all()
    near = model().sample(seed=1, progress=False)
    np.testing.assert_allclose(fits[0].predict().draws.mean((0, 1)), near.predict().draws.mean((0, 1)), atol=1e-9)


def test_the_prior_is_said_where_it_is():
    far = model(origin=20.0)
    assert "on the logit scale of choice at the predictors' means" in str(far.priors)
    assert r"\mu_{\text{car}} + \sum_{k} \delta_{k,\text{car}} \bar{x}_{k} &\sim" in far.equation()
    assert "for mu[car] at the predictors' means" in words.prior_sentence(far.priors, far.design)
    assert "units" not in str(model("choice ~ x + (1 | g)").priors) and "mucar " not in str(
        model("choice ~ x + (1 | g)").priors
    )


def test_priors_of_all_coefficients_have_a_name():
    with pytest.raises(PriorError, match="did you mean 'beta_mu'"):
        model().with_priors({"beta": bmm.Prior("Normal", mu=0, sigma=1)})


def test_the_prior_check_has_the_share_of_each_category():
    check = bmm.prior_check(model(), draws=50, seed=1)
    assert list(check.table.index) == [f"share of {name}" for name in ("bus", "car", "train")]
    np.testing.assert_allclose(check.table["observed"], table()["choice"].value_counts(normalize=True).sort_index())
    assert check.table[["median", "lower", "upper"]].to_numpy().max() <= 1


def test_the_report_names_the_coefficients_and_no_mean_of_codes():
    design = model("choice ~ x + (1 | g)").design
    said = words.model_sentence(design)
    assert "with the fixed effects Intercept, x for the log odds of each category beside bus" in said
    rows = dict(tables.data_table(design).rows)
    assert rows["Fixed effects, each category"] == "Intercept, x" and "mean" not in rows["Response"]


def test_what_is_no_category_is_called_by_its_name():
    with pytest.raises(DataError, match="the categorical family needs categories, or"):
        model("x ~ 1")


def test_a_comparison_has_coefficients_under_their_title():
    """They stood under "Variance parameters"."""
    own = model("choice ~ x + (1 | g)").design
    parts = {
        title: int(mask.sum())
        for title, mask in compare_reml_text.parts_of(own, variance_parameters(own) + coefficients(own))
    }
    assert parts == {"Variance parameters": 2, "Log odds beside bus": 4}


def test_a_bayes_factor_is_not_of_maximised_fits(point):
    with pytest.raises(TypeError, match=r"'a' is a maximised fit; bmm\.compare_models compares the AIC"):
        bmm.bayes_factors({"a": point, "b": point})
