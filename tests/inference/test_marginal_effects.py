"""Averaged predictions, comparisons and slopes, against sums written out by hand and numerical derivatives."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from factorial_data import EXACT, flat
from invented import CHAINS, DRAWS, draws, invented
from references import frame
from scipy import stats

import bayesmm as bmm
from bayesmm.inference.marginal_effects.uncertainty import drawn
from bayesmm.results import Fit

WIDTH = 100


@pytest.fixture(scope="module")
def logit_point(data):
    return bmm.Model("hit ~ a + x + (1 | g)", data, family="bernoulli").maximize()


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy")).maximize()


# ----------------------------------------------------------------------------------------------------------------------
# predictions


def test_a_grid_of_a_maximised_model_is_x_beta_with_its_standard_error(linear, data):
    found = bmm.predictions(linear, at={"a": ["q", "p"], "b": "v"}).table
    x = data["x"].mean()
    X = np.array([[1, 1, 0, 1, x, 1, 0], [1, 0, 0, 1, x, 0, 0]])  # Intercept, a q, a r, b v, x, q:v, r:v
    assert linear.design.coefficients[3:5] == ("b[T.v]", "x")
    rss, df = linear.residuals @ linear.residuals, len(data) - 7
    covariance = np.linalg.inv(linear.design.X.T @ linear.design.X) * rss / df
    se = np.sqrt(np.diag(X @ covariance @ X.T))
    np.testing.assert_allclose(found["estimate"], X @ linear.beta, **EXACT)
    np.testing.assert_allclose(found["se"], se, rtol=1e-7)  # sigma comes out of an optimiser
    np.testing.assert_allclose(found["upper"], X @ linear.beta + stats.t.ppf(0.975, df) * se, rtol=1e-7)
    assert found["a"].tolist() == ["q", "p"] and (found["df"] == df).all()


def test_what_a_grid_leaves_open_is_at_its_mean_or_most_frequent_level(data):
    point = bmm.Model("y ~ b + log(x)", data).maximize()
    found = bmm.predictions(point, at={"b": "u"})
    expected = point.beta @ [1, 0, np.log(data["x"].mean())]  # the mean of x, not of log(x)
    assert found.table["estimate"].item() == pytest.approx(expected, rel=1e-12)
    assert f"held: x = {data['x'].mean():.6g} (mean)" in str(found)
    assert "b = u (most frequent)" in str(bmm.predictions(point, at={"x": 1}))


def test_the_variables_of_an_offset_are_at_their_means_unless_they_are_given(data):
    point = bmm.Model("count ~ a + offset(log(time))", data, family="poisson").maximize()
    rate = np.exp(point.beta[0])
    found = bmm.predictions(point, at={"a": "p"}).table["estimate"].item()
    assert found == pytest.approx(rate * data["time"].mean(), rel=1e-12)
    assert bmm.predictions(point, at={"a": "p", "time": 1}).table["estimate"].item() == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("groups", ["population", "averaged", "conditional"])
def test_averages_over_the_rows_are_those_of_predict(logit, data, groups):
    each = logit.predict(data, groups=groups).draws.reshape(CHAINS * DRAWS, -1)
    within = bmm.predictions(logit, by="a", groups=groups)
    for k, level in enumerate(["p", "q", "r"]):
        np.testing.assert_allclose(flat(within)[:, k], each[:, data["a"] == level].mean(axis=1), **EXACT)
    over_all = bmm.predictions(logit, by=True, groups=groups)
    np.testing.assert_allclose(flat(over_all)[:, 0], each.mean(axis=1), **EXACT)
    assert within.table["mean"].to_numpy() == pytest.approx(flat(within).mean(axis=0))
    rows = bmm.predictions(logit, newdata=data.iloc[5:9], groups=groups)
    np.testing.assert_allclose(flat(rows), each[:, 5:9], **EXACT)
    assert list(rows.table.index) == [5, 6, 7, 8]


def test_with_by_every_row_takes_the_values_of_at(logit, data):
    found = bmm.predictions(logit, at={"a": ["r", "p"]}, by="b", newdata=data)
    assert found.table[["a", "b"]].to_numpy().tolist() == [["r", "u"], ["r", "v"], ["p", "u"], ["p", "v"]]
    set_to_p = logit.predict(data.assign(a="p"), groups="population").draws.reshape(CHAINS * DRAWS, -1)
    np.testing.assert_allclose(flat(found)[:, 3], set_to_p[:, data["b"] == "v"].mean(axis=1), **EXACT)


def test_rows_count_by_their_trials_and_weights_where_that_is_asked_for(data):
    trials = np.arange(len(data)) % 5 + 1
    table = data.assign(n=trials, k=np.minimum(data["count"], trials))
    fit = invented(bmm.Model("k / n ~ x + (1 | g)", table, family="binomial", weights="w"))
    each = fit.predict(groups="population").draws.reshape(CHAINS * DRAWS, -1)
    weighted = np.average(each, axis=1, weights=trials * data["w"])
    np.testing.assert_allclose(flat(bmm.predictions(fit, by=True, weights="model"))[:, 0], weighted, **EXACT)
    np.testing.assert_allclose(flat(bmm.predictions(fit, by=True))[:, 0], each.mean(axis=1), **EXACT)


def test_intervals_of_a_probability_stay_between_0_and_1(logit_point):
    found = bmm.predictions(logit_point, at={"x": [-30, 0, 30]}).table
    assert found["lower"].min() >= 0 and found["upper"].max() <= 1
    linear = bmm.predictions(logit_point, at={"x": [-30, 0, 30]}, kind="linear").table
    for name in ("estimate", "lower", "upper"):  # 1e-12: near 1 the logit of a probability has lost its digits
        np.testing.assert_allclose(found[name], stats.logistic.cdf(linear[name]), rtol=1e-8, atol=1e-12)


def test_predictions_need_no_effects_unless_they_condition_on_them(logit):
    bare = logit.tree["posterior"].to_dataset().drop_vars("b_g")
    fit = Fit(logit.model, type(logit.tree).from_dict({"posterior": bare}))
    for groups in ("population", "averaged"):
        np.testing.assert_array_equal(
            bmm.predictions(fit, by="a", groups=groups).draws, bmm.predictions(logit, by="a", groups=groups).draws
        )
    with pytest.raises(ValueError, match="keep_effects=False"):
        bmm.predictions(fit, by="a", groups="conditional")


# ----------------------------------------------------------------------------------------------------------------------
# comparisons


def test_an_average_comparison_of_a_logit_model_by_brute_force(logit, data):
    beta = draws(logit, "beta")  # Intercept, a q, a r, x
    for k, (level, column) in enumerate([("q", 1), ("r", 2)]):
        total = np.zeros(len(beta))
        for x in data["x"]:
            low = beta[:, 0] + beta[:, 3] * x
            total += stats.logistic.cdf(low + beta[:, column]) - stats.logistic.cdf(low)
        found = bmm.comparisons(logit, "a")
        np.testing.assert_allclose(flat(found)[:, k], total / len(data), **EXACT)
        row, expected = found.table.iloc[k], total / len(data)
        assert row["contrast"] == f"{level} - p" and row["variable"] == "a"
        assert row["sd"] == pytest.approx(expected.std(ddof=1))
        assert row["pd"] == max((expected > 0).mean(), (expected < 0).mean())


@pytest.mark.parametrize(
    ("how", "low", "high"),
    [
        (None, lambda x: x, lambda x: x + 1),
        (-0.5, lambda x: x, lambda x: x - 0.5),
        ((1, 3), lambda x: 1 + 0 * x, lambda x: 3 + 0 * x),
        ("sd", lambda x: x.mean() - x.std() / 2 + 0 * x, lambda x: x.mean() + x.std() / 2 + 0 * x),
    ],
)
def test_steps_of_a_number(logit, data, how, low, high):
    each = [
        logit.predict(data.assign(x=f(data["x"])), groups="conditional").draws.reshape(CHAINS * DRAWS, -1)
        for f in (low, high)
    ]
    found = bmm.comparisons(logit, {"x": how}, by="a", groups="conditional")
    for k, level in enumerate(["p", "q", "r"]):
        at = (data["a"] == level).to_numpy()
        np.testing.assert_allclose(flat(found)[:, k], (each[1] - each[0])[:, at].mean(axis=1), **EXACT)


def test_ratios_are_those_of_the_averages(logit, data):
    low, high = (
        logit.predict(data.assign(a=a), groups="population").draws.reshape(CHAINS * DRAWS, -1).mean(axis=1)
        for a in "pr"
    )
    ratio = bmm.comparisons(logit, {"a": ("p", "r")}, compare="ratio")
    np.testing.assert_allclose(flat(ratio)[:, 0], high / low, **EXACT)
    assert ratio.table["pd"].item() == max((high > low).mean(), (high < low).mean())
    logs = bmm.comparisons(logit, {"a": ("p", "r")}, compare="lnratio")
    np.testing.assert_allclose(flat(logs)[:, 0], np.log(high / low), **EXACT)
    assert ratio.table["contrast"].item() == "r / p" and logs.table["contrast"].item() == "log(r / p)"


def numerical_se(point, function):
    """Return the delta method's standard error with derivatives by central differences of the whole calculation.

    In the coefficients and in the variance of the random effects; their covariance: `test_joint_errors.py`.
    """
    covariance = point.joint.root @ point.joint.root.T
    gradient, steps, p = [], 1e-5 * np.sqrt(np.diag(covariance)), len(point.beta)

    def moved(at):
        own = replace(point.scaled, covariances=(point.scaled.covariances[0] + at[p:].reshape(1, 1),))
        return function(replace(point, beta=point.beta + at[:p], coordinates=own))

    for step in np.diag(steps):
        gradient.append((moved(step) - moved(-step)) / (2 * step.max()))
    return np.sqrt(np.array(gradient) @ covariance @ gradient)


@pytest.mark.parametrize("groups", ["population", "averaged"])
@pytest.mark.parametrize(
    ("compare", "of"),
    [
        ("difference", lambda high, low: high - low),
        ("ratio", lambda high, low: high / low),
        ("lnratio", lambda high, low: np.log(high / low)),
    ],
)
def test_standard_errors_are_those_of_the_delta_method(logit_point, data, groups, compare, of):
    def average(point, a):
        return point.predict(data.assign(a=a), groups=groups)["estimate"].mean()

    def function(point):
        return of(average(point, "q"), average(point, "p"))

    assert logit_point.varcorr()["sdcor"].item() > 0.5
    row = bmm.comparisons(logit_point, {"a": ("p", "q")}, compare=compare, groups=groups).table.iloc[0]
    assert row["estimate"] == pytest.approx(function(logit_point), rel=1e-9)
    # 1e-5: central differences of a step of 1e-5 standard errors lose six of sixteen digits
    assert row["se"] == pytest.approx(numerical_se(logit_point, function), rel=1e-5)
    log = np.log(row["estimate"]) if compare == "ratio" else row["estimate"]
    se = row["se"] / row["estimate"] if compare == "ratio" else row["se"]
    assert row["z"] == pytest.approx(log / se) and row["p"] == pytest.approx(2 * stats.norm.sf(abs(log / se)))
    upper = log + stats.norm.ppf(0.975) * se
    assert row["upper"] == pytest.approx(np.exp(upper) if compare == "ratio" else upper)


def test_a_slope_of_a_mixed_model_is_its_coefficient_with_its_degrees_of_freedom(sleep):
    for ddf in ("satterthwaite", "kenward-roger"):
        expected = sleep.fixef(ddf=ddf).loc["Days"]
        row = bmm.slopes(sleep, "Days", ddf=ddf).table.iloc[0]
        for name in ("estimate", "se", "df", "t", "p"):  # 1e-8: the error of a central difference is 4e-11
            assert row[name] == pytest.approx(expected[name], rel=1e-8)
        assert row["upper"] == pytest.approx(row["estimate"] + stats.t.ppf(0.975, row["df"]) * row["se"], rel=1e-9)
    z = bmm.slopes(sleep, "Days", ddf="none").table
    assert "df" not in z and z["p"].item() == pytest.approx(2 * stats.norm.sf(z["z"].item()))


@pytest.mark.parametrize("term", ["x + I(x^2)", "poly(x, 3)", "bs(x, df = 5)", "ns(x, df = 3)", "log(x)", "a * exp(x)"])
def test_slopes_are_derivatives_through_the_terms_of_the_formula(data, term):
    point, h = bmm.Model(f"y ~ {term}", data).maximize(), 1e-3
    inner = data[(data["x"] > data["x"].min() + 3 * h) & (data["x"] < data["x"].max() - 3 * h)]

    def at(step):
        return point.predict(inner.assign(x=inner["x"] + step))["estimate"].to_numpy()

    derivative = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)  # its error is of order h^4
    found = bmm.slopes(point, "x", newdata=inner, by="a").table
    expected = pd.Series(derivative).groupby(inner["a"].to_numpy()).mean()
    # 1e-6: the third derivative of a cubic spline jumps at its knots, between two of these points
    np.testing.assert_allclose(found["estimate"], expected, rtol=1e-6)


def test_the_slope_of_a_quadratic_by_its_formula(data):
    point = bmm.Model("y ~ x + I(x^2)", data).maximize()
    L = np.array([0, 1, 2 * data["x"].mean()])
    row = bmm.slopes(point, "x").table.iloc[0]
    assert row["estimate"] == pytest.approx(L @ point.beta, rel=1e-8)
    rss = point.residuals @ point.residuals / (len(data) - 3)
    assert row["se"] == pytest.approx(np.sqrt(L @ np.linalg.inv(point.design.X.T @ point.design.X) @ L * rss), rel=1e-6)


def test_what_is_0_whatever_the_data_has_no_test(data):
    row = bmm.slopes(bmm.Model("y ~ I(x > 2.5)", data).maximize(), "x").table.iloc[0]
    assert row["estimate"] == row["se"] == 0 and np.isnan(row["p"])


def test_no_step_of_a_slope_leaves_the_range_of_a_logarithm(data):
    table = data.assign(x=np.append(1e-9, data["x"].to_numpy()[1:]))
    point = bmm.Model("y ~ log(x)", table).maximize()
    found = bmm.slopes(point, "x", newdata=table.head(1)).table["estimate"].item()
    # the step is half of x there: the difference of logarithms over it is log(3) / x
    assert found == pytest.approx(point.beta[1] * np.log(3) * 1e9, rel=1e-6)


# ----------------------------------------------------------------------------------------------------------------------
# what is refused, and what is printed


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: bmm.comparisons(f, "X"), "'X' is no variable of the model; they are a, x; did you mean 'x'"),
        (lambda f: bmm.comparisons(f, "g"), "'g' is a grouping factor without a fixed effect"),
        (lambda f: bmm.comparisons(f, "hit"), "'hit' is the response"),
        (lambda f: bmm.comparisons(f, []), "must be a name or a list of names"),
        (lambda f: bmm.comparisons(f, {}), "names nothing to compare"),
        (lambda f: bmm.comparisons(f, {"a": ("p", "s")}), "'s' is no level of 'a' \\('p', 'q', 'r'\\)"),
        (lambda f: bmm.comparisons(f, {"a": "sd"}), "which has levels, must be 'reference', 'pairwise'"),
        (lambda f: bmm.comparisons(f, {"x": "pairwise"}), "which holds numbers, must be a step such as 1"),
        (lambda f: bmm.comparisons(f, {"x": 0}), "must be a step such as 1"),
        (lambda f: bmm.comparisons(f, {"x": (1, 2, 3)}), "must be a pair"),
        (lambda f: bmm.comparisons(f, "x", compare="odds"), "compare must be one of difference, ratio, lnratio"),
        (lambda f: bmm.comparisons(f, "x", kind="linear", compare="ratio"), "a ratio needs averages above 0"),
        (lambda f: bmm.slopes(f, "a"), "'a' has levels and no slope"),
        (lambda f: bmm.slopes(f, "x", newdata={"a": ["p"]}), "have no column 'x'"),
        (lambda f: bmm.slopes(f, "x", newdata={"a": ["p"], "x": ["1"]}), "does not hold numbers"),
        (lambda f: bmm.slopes(f, "x", newdata={"a": [], "x": []}), "there are no rows to average over"),
        (lambda f: bmm.predictions(f, at={"x": []}), "no value is given for 'x'"),
        (lambda f: bmm.predictions(f, at={"x": "low"}), "'low' is no finite number"),
        (lambda f: bmm.predictions(f, at={"x": True}), "True is no finite number"),
        (lambda f: bmm.predictions(f, at=3), "at must be a dict"),
        (lambda f: bmm.predictions(f, at={"x": 1}, newdata={"a": ["p"]}), "add by=True"),
        (lambda f: bmm.predictions(f, by="c"), "by names 'c', which is no column of the rows"),
        (lambda f: bmm.predictions(f, by=True, weights="mode"), "did you mean 'model'"),
        (lambda f: bmm.predictions(f, kind="response"), "kind must be one of mean, linear"),
        (lambda f: bmm.predictions(f, kind="linear", groups="averaged"), "kind must be 'mean'"),
        (lambda f: bmm.predictions(f, ci_prob=95), "must be a probability"),
        (lambda f: bmm.predictions(f, at={"x": 1}, groups="conditional"), "needs levels of g in at"),
        (lambda f: bmm.predictions(f, at={"x": 1, "g": "zz"}, groups="conditional"), "'zz' is no level of 'g'"),
        (
            lambda f: bmm.slopes(f, "x", newdata={"a": ["p"], "x": [1.0], "g": ["zz"]}, groups="conditional"),
            "the effects of 1 level of 'g' \\('zz'\\) are not known",
        ),
        (lambda f: bmm.emmeans(f, "a", by="a"), "must name different variables"),
        (lambda f: bmm.emmeans(f, "a", groups="conditional"), "have no groups"),
        (lambda f: bmm.emmeans(f, "a").pairs("tukeys"), "did you mean 'tukey'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(logit, call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call(logit)
    assert "\n" not in str(caught.value)


def test_a_maximised_model_has_no_groups_of_its_own_here(logit_point):
    with pytest.raises(ValueError, match="groups='conditional' needs a posterior here"):
        bmm.predictions(logit_point, by="a", groups="conditional")
    with pytest.raises(TypeError, match="expected a Fit or a PointFit"):
        bmm.predictions("fit")


def test_a_grid_that_does_not_fit_in_memory_is_refused(logit, monkeypatch):
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 1e6)
    with pytest.raises(ValueError, match=r"10,000 rows or results of .* need .* of free memory"):
        bmm.predictions(logit, at={"x": np.arange(10_000)})


def test_prints_say_what_was_averaged_and_fit_the_line(logit, logit_point, linear, sleep):
    results = [
        bmm.predictions(logit, by="a", groups="averaged"),
        bmm.comparisons(logit_point, ["a", "x"], compare="ratio"),
        bmm.comparisons(sleep, {"Days": "sd"}),
        bmm.emmeans(linear, ["a", "b"]),
        bmm.emmeans(linear, "a").pairs("holm"),
        bmm.slopes(logit, "x", by="g", groups="conditional"),
    ]
    for result in results:
        assert max(map(len, str(result).splitlines())) <= WIDTH
        assert result._repr_html_().startswith("<")
    assert "Averaged over 60 rows within a." in str(results[0]) and "groups='averaged'" in str(results[0])
    assert "probability of hit" in str(results[1]) and "z" in str(results[1]).splitlines()[1].split()
    assert "Satterthwaite's degrees of freedom" in str(results[2])
    assert "(logit scale)" in str(bmm.emmeans(logit, "a"))
    assert "Averaged over b (2 levels), all counted the same; held: x = " in str(results[4])
    assert "3 comparisons by Holm's method" in str(results[4])
    given = str(bmm.emmeans(linear, "a", by="b", at={"x": [1, 2]}))
    assert "means of a within b" in given and "No other factors to average over; held: x = 1, 2 (given)." in given


def test_columns_may_be_named_as_statistics_are(data):
    table = data.rename(columns={"x": "sd", "a": "mean", "b": "df"})
    found = bmm.emmeans(bmm.Model("y ~ mean + sd + df", table).maximize(), "mean", by="df")
    assert list(found.table.columns) == ["df", "mean", "estimate", "se", "df", "lower", "upper"]
    assert "u  p" in str(found) and "contrast" in str(found.pairs())
    matplotlib.use("Agg", force=True)
    assert [text.get_text() for text in found.plot()[0].get_yticklabels()][:2] == ["u, p", "u, q"]
    matplotlib.pyplot.close("all")


def test_figures_are_lines_over_a_number_and_points_for_all_else(linear, logit):
    matplotlib.use("Agg", force=True)
    found = bmm.predictions(linear, at={"x": [3, 1, 2], "b": ["u", "v"]})
    plot = found.plot()
    assert [ax.get_title(loc="left") for ax in plot] == ["b = u", "b = v"]  # bands in one panel would hide one another
    assert plot[0].get_ylim() == plot[1].get_ylim()
    lines = [ax.lines[0] for ax in plot]
    np.testing.assert_array_equal(lines[1].get_xdata(), [1, 2, 3])
    of_v = found.table[found.table["b"] == "v"].sort_values("x")
    np.testing.assert_array_equal(lines[1].get_ydata(), of_v["estimate"])
    (alone,) = bmm.predictions(linear, at={"x": [3, 1, 2]}).plot()  # nothing else to tell lines apart by
    np.testing.assert_array_equal(alone.lines[0].get_xdata(), [1, 2, 3])
    assert alone.get_title(loc="left") == ""
    means = bmm.emmeans(logit, "a")
    for result, null in ((means, None), (means.pairs(), 0.0), (bmm.comparisons(logit, "a", compare="ratio"), 1.0)):
        (ax,) = result.plot()
        np.testing.assert_array_equal(ax.lines[-1].get_xdata(), result.table["mean"])
        assert [line.get_xdata()[0] for line in ax.lines[:-1]] == ([] if null is None else [null])
        assert len(ax.get_yticklabels()) == len(result.table)
    with pytest.raises(ValueError, match="nothing to draw"):
        bmm.predictions(linear, newdata={"a": [], "b": [], "x": []}).plot()
    matplotlib.pyplot.close("all")


def test_draws_that_are_missing_have_no_probability_of_direction():
    """Differences of infinite means: most of them counted as neither above nor below."""
    values = np.column_stack([np.arange(-1.0, 9.0), [*np.arange(9.0), np.nan]])
    np.testing.assert_array_equal(drawn(values, 0.95, 0.0)["pd"], [0.8, np.nan])
