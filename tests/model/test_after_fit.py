"""Wrong and odd use of what comes after a fit: one true sentence, before any long work."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.evaluation.variance.explained import _frame
from bayesmm.inference.marginal_effects.result import table_lines, tail_note

RNG = np.random.default_rng(1)
ROWS, LEVELS = 80, 10
X = RNG.normal(size=ROWS)
GROUP = np.arange(ROWS) % LEVELS
DATA = pd.DataFrame(
    {"y": X + RNG.normal(size=LEVELS)[GROUP] + RNG.normal(size=ROWS), "x": X, "x2": 2 * X, "g": GROUP.astype(str)}
)


@pytest.fixture(scope="module")
def model():
    return bmm.Model("y ~ x + (1 | g)", DATA)


@pytest.fixture(scope="module")
def fit(model):
    return model.sample(60, 100, 2, seed=1, progress=False)


def inverse_model(sd=0.8):
    """Return a model whose groups differ so much, with the sd that is given, that some new ones have no mean."""
    rng = np.random.default_rng(2)
    rate = np.maximum(1.5 + sd * rng.normal(size=LEVELS)[GROUP], 0.2)
    data = DATA.assign(y=rng.gamma(20, 1 / rate / 20), x=rng.uniform(size=ROWS))
    return bmm.Model("y ~ x + (1 | g)", data, family="gamma", link="inverse")


@pytest.mark.parametrize("use", [bmm.prior_check, lambda m: bmm.power(m, {}, groups=[5], test="x")])
@pytest.mark.parametrize("what", ["point", "text"])
def test_what_is_no_model_is_named(model, use, what):
    given = model.maximize() if what == "point" else "y ~ x + (1 | g)"
    with pytest.raises(TypeError, match=rf"expected a Model, as bmm.Model.* gives it, not {type(given).__name__}"):
        use(given)


def test_prior_draws_are_checked_before_the_graph_is_built(model, monkeypatch):
    monkeypatch.setattr(bmm.Model, "graph", lambda *a, **k: pytest.fail("the graph was built first"))
    for use in (lambda: bmm.prior_check(model, draws=0), lambda: model.prior_predictive(0)):
        with pytest.raises(ValueError, match="draws should be a whole number of at least 1, not 0"):
            use()


def test_power_of_an_aliased_coefficient_does_not_ask_for_more_groups():
    aliased = bmm.Model("y ~ x + x2 + (1 | g)", DATA)
    truth = aliased.maximize().parameters
    with pytest.raises(DataError, match=r"beta\[x2\] cannot be told apart .* in the data of the model") as caught:
        bmm.power(aliased, {**truth, "beta[x2]": 0.0}, groups=[5], test="x2", simulations=2, seed=1)
    assert "more groups" not in str(caught.value)


def test_power_over_a_posterior_says_so(model, fit):
    shown = str(bmm.power(model, fit, groups=[5], test="x", simulations=2, seed=1, progress=False))
    assert shown.startswith("Power by simulation: how often beta[x], drawn from the posterior, is found to differ")


def test_a_constant_quantity_is_not_fixed_by_a_prior(fit):
    constant = np.ones((2, 60))
    found = fit.sensitivity({"ratio": constant})
    assert found.table.loc["ratio", "diagnosis"] == "constant"
    with pytest.raises(ValueError, match=r"'sigma' is already there; give it another name"):
        fit.sensitivity({"sigma": constant})
    with pytest.raises(ValueError, match="the draws of 'a' should be numbers, not function"):
        fit.sensitivity({"a": lambda tree: tree})


def test_nothing_but_coefficients_is_left_to_sample():
    fixed = bmm.Model("y ~ x", DATA, priors={"sigma": 1.0})
    with pytest.raises(ValueError, match="effects='explicit'"):
        fixed.sample(10, 10, 1, seed=1, progress=False)
    draws = fixed.sample(300, 200, 2, seed=1, progress=False, effects="explicit").fixef()
    design = np.column_stack([np.ones(ROWS), X])
    exact = np.linalg.solve(design.T @ design, design.T @ DATA["y"])  # the priors are far wider than this likelihood
    assert draws["mean"].to_numpy() == pytest.approx(exact, abs=5 * draws["sd"].max() / np.sqrt(200))


def test_a_model_without_variables_says_so():
    point = bmm.Model("y ~ 1 + (1 | g)", DATA).maximize()
    with pytest.raises(ValueError, match="'x' is no variable of the model, which has none besides its grouping fac"):
        bmm.slopes(point, "x")


def test_bootstrap_of_an_aliased_coefficient_leaves_its_row_blank():
    shown = str(bmm.Model("y ~ x + x2 + (1 | g)", DATA).maximize().bootstrap(3, seed=1, progress=False))
    assert "beta[x2] cannot be estimated: its row is blank." in " ".join(shown.split())
    assert "a parameter has no estimate" not in shown


def test_new_groups_without_a_mean_are_explained():
    posterior = inverse_model().sample(100, 200, 2, seed=1, progress=False)
    with pytest.raises(DataError, match="so that the model cannot give such data; use groups='conditional'"):
        posterior.posterior_predictive(seed=1, groups="new")


def test_a_constant_fixed_part_has_no_variance():
    data = pd.DataFrame({"y": RNG.normal(size=150), "g": np.arange(150) % 15})
    assert bmm.Model("y ~ 1 + (1 | g)", data).maximize().r2().variances.loc["fixed part", "estimate"] == 0


@pytest.mark.filterwarnings("error")
def test_infinite_variances_are_described_without_a_warning():
    """Student's t has an infinite variance for nu of 2 or less."""
    some = np.r_[np.arange(1.0, 61.0), np.full(40, np.inf)]  # the smallest 2.5 % of 100 end with the third
    found = _frame({"residual": some, "all": np.full(100, np.inf)}, (2, 50), "part")
    assert found["mean"].tolist() == [np.inf, np.inf]
    assert found["sd"].isna().all()
    assert found.loc["residual", ["lower", "upper"]].tolist() == [3.0, np.inf]


def test_a_mean_beyond_its_interval_is_explained():
    table = pd.DataFrame({"mean": [771.2, 2.0], "sd": [18000.0, 1.0], "lower": [0.8, 1.0], "upper": [79.5, 3.0]})
    assert "The mean of 1 row is outside its interval" in tail_note(table)[0]
    assert tail_note(table.iloc[1:]) == []
    assert tail_note(table.drop(columns="mean")) == []  # of a maximised model


def test_a_bootstrap_sample_without_a_mean_is_one_that_failed():
    found = inverse_model().maximize().bootstrap(60, seed=1, progress=False)
    assert 0 < found.failed < 60
    assert len(found.draws) == 60 - found.failed


@pytest.mark.parametrize("sd", [0.8, 0.02])
def test_a_mean_over_new_groups_does_not_exist_with_an_inverse_link_however_small_their_sd(sd):
    """1 / eta has no mean where eta is normal: its density at 0 is above 0."""
    model = inverse_model(sd)
    point, posterior = model.maximize(), model.sample(20, 200, 2, seed=1, progress=False)
    for use in (
        lambda: point.predict(groups="averaged"),
        lambda: posterior.predict(groups="averaged"),
        lambda: bmm.predictions(point, by=True, groups="averaged"),
        lambda: bmm.slopes(posterior, "x", groups="averaged"),
    ):
        with pytest.raises(ValueError, match=r"with the inverse link .* does not exist .* groups='population'"):
            use()
    alone = bmm.Model("y ~ x", model.design.frame, family="gamma", link="inverse").maximize()
    own = alone.predict()["estimate"].to_numpy()
    assert alone.predict(groups="averaged")["estimate"].to_numpy() == pytest.approx(own, rel=1e-12)  # no groups


def test_power_counts_the_data_sets_without_a_mean_as_failed():
    model = inverse_model()
    truth = model.maximize().parameters
    found = bmm.power(model, truth, groups=[5, 20], test="x", simulations=60, seed=1, progress=False)
    assert (found.table["simulations"] + found.table["failed"]).tolist() == [60, 60]
    assert 0 < found.table["failed"].iloc[0] < found.table["failed"].iloc[1]
    assert "could not be simulated or fitted" in " ".join(str(found).split())


def test_power_of_an_impossible_truth_is_refused_before_the_run(monkeypatch):
    model = inverse_model()
    truth = {**model.maximize().parameters, "beta[Intercept]": -5.0}
    monkeypatch.setattr("bayesmm.inference.simulation.power_tests.refitted", lambda *a: pytest.fail("the run began"))
    with pytest.raises(DataError, match=r"linear predictor is not above 0 in .* rows, where the inverse link gives no"):
        bmm.power(model, truth, groups=[5], test="x", simulations=20, seed=1, progress=False)


def test_more_draws_than_there_are_can_not_be_predicted_from(fit):
    with pytest.raises(ValueError, match=r"draws is 121, and the posterior has 120 draws; .*at most 120"):
        fit.posterior_predictive(draws=121, seed=1)
    assert fit.posterior_predictive(draws=120, seed=1)["posterior_predictive"].sizes["draw"] == 60


def test_averages_of_a_posterior_have_medians_and_print_them_where_the_mean_tells_nothing(fit):
    shown = bmm.predictions(fit, at={"x": [0.0, 1.0]})
    assert list(shown.table.columns) == ["x", "mean", "sd", "lower", "upper", "median"]
    assert shown.table["median"].to_numpy() == pytest.approx(np.median(shown.draws.reshape(-1, 2), axis=0), rel=1e-12)
    assert "median" not in str(shown)
    assert bmm.slopes(fit, "x").table.columns[-1] == "median"
    table = pd.DataFrame(
        {"mean": [771.2, 2.0], "sd": [18000.0, 1.0], "lower": [0.8, 1.0], "upper": [79.5, 3.0], "median": [7.25, 2.0]}
    )
    assert "7.2" in "".join(table_lines(table))
    assert "read the median and the interval" in tail_note(table)[0]
    assert "median" not in "".join(table_lines(table.iloc[1:]))


def test_shares_and_averages_say_from_how_many_draws_and_that_the_sampling_was_interrupted(fit):
    record = json.loads(fit.tree.attrs["bayesmm"])
    tree = fit.tree.copy()
    tree.attrs["bayesmm"] = json.dumps(record | {"interrupted": True})
    stopped = replace(fit, tree=tree)
    for use in (lambda f: f.r2(), lambda f: f.icc(), lambda f: bmm.slopes(f, "x")):
        text = str(use(fit))
        assert "Intervals: 95 % equal-tailed, from 120 draws.\n" in text + "\n"
        assert "from 120 draws of a sampling that was interrupted." in " ".join(str(use(stopped)).split())
    assert "draws" not in str(fit.model.maximize().icc())
