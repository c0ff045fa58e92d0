"""Ordered responses from the formula to the report: R's ordinal, an exact posterior, predictions, files, bad input."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError

HERE = Path(__file__).parents[1]
REFERENCES = json.loads((HERE / "reference" / "row_parameters.json").read_text())
# -2 log likelihood, and estimates in standard errors and relative to an sd: the issue's
CRITERION, IN_SE, SD = 1e-4, 1e-3, 1e-3
NAMES = {"tempwarm": "temp[T.warm]", "contactyes": "contact[T.yes]", "x": "x"}


def wine():
    return pd.read_csv(HERE / "data" / "wine.csv")


@pytest.mark.parametrize(
    ("name", "link", "nagq"),
    [
        ("k09_wine_judge_laplace_logit", "logit", 1),
        ("k09_wine_judge_laplace_probit", "probit", 1),
        ("k09_wine_judge_laplace_cloglog", "cloglog", 1),
        ("k09_wine_judge_agq7", "logit", 7),
        ("k09_wine_judge_agq11", "logit", 11),
        ("k09_sim2f_logit", "logit", 1),
        ("k09_sim2f_probit", "probit", 1),
    ],
)
def test_maximum_is_that_of_clmm(name, link, nagq):
    own, crossed = REFERENCES[name], "sim2f" in name
    formula = "y ~ x + (1 | a) + (1 | b)" if crossed else "rating ~ temp + contact + (1 | judge)"
    data = pd.read_csv(HERE / "data" / "ordered_crossed.csv") if crossed else wine()
    point = bmm.Model(formula, data, "cumulative", link=link).maximize(nagq=nagq)
    assert point.converged and point.npar == own["npar"]
    assert point.criterion == pytest.approx(own["criterion"], abs=CRITERION)
    ses = own["se_thresholds_then_fixef"]
    for label, value in own["thresholds"].items():
        found = point.parameters[f"threshold[{label}]"]
        assert point.own_se[f"threshold[{label}]"] == pytest.approx(ses[label], rel=2e-3)
        assert found == pytest.approx(value, abs=IN_SE * ses[label])
    table = point.fixef()
    for label, value in own["fixef"].items():
        assert table.loc[NAMES[label], "estimate"] == pytest.approx(value, abs=IN_SE * ses[label])
        assert table.loc[NAMES[label], "se"] == pytest.approx(ses[label], rel=2e-3)
    sds = [np.sqrt(covariance[0, 0]) for covariance in point.covariances]
    np.testing.assert_allclose(sds, list(own["random_sd"].values()), rtol=SD)
    if "levels" in own.get("modes", {}):
        values = np.ravel(own["modes"]["value"])
        np.testing.assert_allclose(point.modes[0][: len(values), 0], values, atol=2e-3)


def test_without_random_effects_it_is_clm():
    own = REFERENCES["k09_wine_clm_logit"]
    point = bmm.Model("rating ~ temp * contact", wine(), "cumulative").maximize()
    assert point.criterion == pytest.approx(own["criterion"], abs=CRITERION)
    assert list(point.residual["threshold"]) == pytest.approx(list(own["alpha"].values()), abs=1e-3)
    assert list(point.beta) == pytest.approx(list(own["beta"].values()), abs=1e-3)
    np.testing.assert_allclose(point.fixef()["se"], list(own["coef_se"].values())[4:], rtol=2e-3)
    probabilities = point.predict()
    assert list(probabilities) == ["1", "2", "3", "4", "5"]
    fitted = [row[k - 1] for row, k in zip(probabilities.to_numpy(), wine()["rating"], strict=True)]
    np.testing.assert_allclose(fitted[:5], own["fitted_prob_rows1to5"], atol=1e-4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)


@pytest.fixture(scope="module")
def three():
    """Return a model of two coordinates, and 60 rows of it: two thresholds, no coefficients."""
    rng = np.random.default_rng(2)
    return bmm.Model("k ~ 1", pd.DataFrame({"k": rng.choice([1, 2, 3], 60, p=[0.3, 0.5, 0.2])}), "cumulative")


def on_grid(model, t):
    """Return log prior times likelihood of the two thresholds on a grid, (m, m); -inf where they are not in order."""
    sigma = model.priors["threshold[1|2]"].parameters["sigma"]
    low, high = np.meshgrid(t, t, indexing="ij")
    counts = np.bincount(model.design.y.astype(int))[1:]
    F = [1 / (1 + np.exp(-v)) for v in (low, high)]
    with np.errstate(all="ignore"):
        log_p = counts[0] * np.log(F[0]) + counts[1] * np.log(F[1] - F[0]) + counts[2] * np.log(1 - F[1])
        log_p += stats.t.logpdf(low, 3, 0, sigma) + stats.t.logpdf(high, 3, 0, sigma)
    return np.where(high > low, log_p, -np.inf)


def test_posterior_is_that_of_a_grid(three):
    """Both thresholds on a grid of 0.01: means, sds and quantiles within 4.5 Monte Carlo errors."""
    t = np.arange(-4, 5, 0.01)
    log_p = on_grid(three, t)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    fit = three.sample(seed=1, progress=False)
    found = fit.summary()
    for label, axis in (("threshold[1|2]", 1), ("threshold[2|3]", 0)):
        marginal = p.sum(axis=axis)
        mean, sd = marginal @ t, np.sqrt(marginal @ t**2 - (marginal @ t) ** 2)
        error = sd / np.sqrt(found.loc[label, "ess_bulk"])
        assert found.loc[label, "mean"] == pytest.approx(mean, abs=4.5 * error)
        assert found.loc[label, "sd"] == pytest.approx(sd, rel=4.5 / np.sqrt(2 * found.loc[label, "ess_bulk"]))
        for end, share in (("lower", 0.025), ("upper", 0.975)):
            exact = t[np.searchsorted(np.cumsum(marginal), share)]
            assert found.loc[label, end] == pytest.approx(exact, abs=0.02 + 4.5 * 2.5 * error)


def test_evidence_is_that_of_a_grid(three):
    """The prior of ordered thresholds is that of equal ones in order: its constant is 2!."""
    t = np.arange(-8, 9, 0.02)
    p = 2 * np.exp(on_grid(three, t)).sum() * 0.02**2
    found = three.sample(draws=500, seed=2, progress=False).evidence(seed=1)
    assert found.log_evidence == pytest.approx(np.log(p), abs=0.05)
    other = three.with_priors({"threshold[1|2]": bmm.Prior("Normal", mu=-1, sigma=1)})
    with pytest.raises(ValueError, match="different priors"):
        other.sample(draws=100, seed=2, progress=False).evidence()


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = bmm.Model("rating ~ temp + contact + (1 | judge)", wine(), "cumulative")
        return model.sample(draws=400, chains=2, seed=3, progress=False)


def test_all_that_is_done_with_a_posterior(fit, tmp_path):
    text = str(fit)
    assert "Thresholds:" in text and "threshold[4|5]" in text and "Intercept  " not in text.split("Fixed effects")[1]
    found = fit.compare()
    assert {p.label for p in found.parameters} >= {"threshold[1|2]", "beta[temp[T.warm]]", "sd_judge[Intercept]"}
    point = fit.model.maximize(nagq=7)
    means = fit.summary()["mean"]
    for label in ("threshold[1|2]", "threshold[4|5]", "beta[temp[T.warm]]"):
        assert means[label] == pytest.approx(point.parameters[label], abs=0.8)
    predictions = fit.predict()
    assert predictions.draws.shape == (2, 400, 72, 5) and predictions.categories == ("1", "2", "3", "4", "5")
    np.testing.assert_allclose(predictions.draws.sum(axis=3), 1.0, atol=1e-12)
    frame = predictions.to_frame()
    assert frame.index.nlevels == 2 and frame.loc[(0, "2")]["mean"] == pytest.approx(
        predictions.draws[:, :, 0, 1].mean()
    )
    numbers = predictions.numbers().to_frame()["mean"]
    assert numbers.between(1, 5).all() and "expected" not in numbers.name
    draws = fit.predict(kind="response", seed=1).draws
    assert set(np.unique(draws)) <= {1, 2, 3, 4, 5}
    assert draws.mean() == pytest.approx(wine()["rating"].mean(), abs=0.15)
    new = pd.DataFrame({"temp": ["cold", "warm"], "contact": ["no", "yes"], "judge": [1, 99]})
    assert fit.predict(new, new_levels="sample", seed=1).draws.shape == (2, 400, 2, 5)
    averaged = fit.predict(groups="averaged").draws
    np.testing.assert_allclose(averaged.sum(axis=3), 1.0, atol=1e-6)
    assert np.isfinite(fit.loo().elpd) and np.isfinite(fit.loo(by="judge").elpd)
    shares = fit.r2().table["mean"]
    assert shares["r2_conditional"] > shares["r2_marginal"] > 0.1
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.summary()["mean"], fit.summary()["mean"])
    np.testing.assert_array_equal(again.predict().draws, predictions.draws)


@pytest.mark.slow
def test_a_report_is_written(fit, tmp_path):
    fit.report(tmp_path / "report.html")
    assert "threshold[1|2]" in (tmp_path / "report.html").read_text()


def test_simulations_come_back(fit):
    table = fit.model.simulate(fit.model.maximize(), draws=3, seed=1)
    assert table.dtypes.eq(np.int64).all() and table.to_numpy().min() >= 1 and table.to_numpy().max() <= 5
    big = pd.concat([wine()] * 30, ignore_index=True).assign(judge=np.repeat(np.arange(270), 8))
    known = {
        "beta[temp[T.warm]]": 1.0, "sd_judge[Intercept]": 0.8,
        **dict(zip([f"threshold[{k}|{k + 1}]" for k in range(1, 5)], (-1.5, 0.0, 1.0, 2.5), strict=True)),
    }  # fmt: skip
    model = bmm.Model("rating ~ temp + (1 | judge)", big, "cumulative")
    y = model.simulate(known, seed=4)["sim_1"]
    found = model.with_data(big.assign(rating=y.to_numpy())).maximize().parameters
    for label, value in known.items():  # 2,160 rows: about four standard errors
        assert found[label] == pytest.approx(value, abs=0.45)


def test_labels_of_an_ordered_categorical():
    data = wine()
    words = pd.Categorical(data["rating"].map(dict(enumerate("abcde", 1))), categories=list("zabcdef"), ordered=True)
    model = bmm.Model("rating ~ temp", data.assign(rating=words), "cumulative")
    assert model.design.categories == tuple("abcde") and list(model.maximize().predict()) == list("abcde")
    assert "no row of 'rating' is 'z', 'f'" in str([m.text for m in model.design.messages])
    plain = bmm.Model("rating ~ temp", data, "cumulative").maximize()
    np.testing.assert_allclose(model.maximize().beta, plain.beta, rtol=1e-10)
    other = data.assign(rating=pd.Categorical(words.astype(object), categories=list("edcba"), ordered=True))
    assert model.with_data(other).design.y.tolist() == model.design.y.tolist()  # by label, not by place


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y.astype(str), "whose order is not known"),
        (lambda y: pd.Categorical(y.astype(str)), "holds categories, whose order is not known"),
        (lambda y: y - 1, "is 0 in rows"),
        (lambda y: y + 0.5, "is 1.5 in"),
        (lambda y: y.replace({3: 4}), "is never 3"),
        (lambda y: y > 2, "true/false"),
        (lambda y: y * 0 + 1, "one category"),
        (lambda y: y * 1000, "at most 100 categories"),
    ],
)
def test_responses_that_are_not_ordered_categories(change, said):
    data = wine().sort_values("rating", ignore_index=True)
    with pytest.raises(DataError, match=said):
        bmm.Model("rating ~ temp", data.assign(rating=change(data["rating"])), "cumulative")


def test_what_an_ordered_response_has_not():
    with pytest.raises(DataError, match="leave '0 \\+' out"):
        bmm.Model("rating ~ 0 + temp", wine(), "cumulative")
    with pytest.raises(FormulaError, match="the parameters are"):
        bmm.Model(("rating ~ temp", "lower ~ temp"), wine(), "cumulative")
    model = bmm.Model("rating ~ temp", wine(), "cumulative")
    with pytest.raises(ValueError, match="REML is defined for gaussian"):
        model.maximize("REML")
    point = model.maximize()
    with pytest.raises(ValueError, match="se=True"):
        point.predict(se=True)
    assert point.predict(kind="linear", se=True).shape == (72, 2)
    with pytest.raises(DataError, match="only that of the first threshold"):
        point.profile("threshold[2|3]")
    assert "threshold[1|2]" in point.confint().index and "threshold[2|3]" not in point.confint().index


@pytest.mark.slow
def test_where_a_predictor_has_its_zero_does_not_matter():
    """Thresholds are where the predictors are 0; their prior is as wide as the distance to the data."""
    data = wine().assign(x=np.linspace(-1, 1, 72) + wine()["rating"] / 5)
    near = bmm.Model("rating ~ x + (1 | judge)", data, "cumulative")
    far = bmm.Model("rating ~ x + (1 | judge)", data.assign(x=data["x"] + 2000), "cumulative")
    a, b = near.maximize(), far.maximize()
    assert a.criterion == pytest.approx(b.criterion, abs=1e-6)
    assert a.beta[0] == pytest.approx(b.beta[0], rel=1e-4)
    one, other = (m.sample(draws=500, seed=2, progress=False).summary().loc["beta[x]"] for m in (near, far))
    assert one["mean"] == pytest.approx(other["mean"], abs=0.15 * one["sd"])


def test_priors_of_thresholds():
    """All of them by their class, one by its place; they are at the predictors' means."""
    model = bmm.Model("rating ~ temp", wine(), "cumulative")
    assert model.priors["threshold[4|5]"] == bmm.Prior("StudentT", nu=3, mu=0, sigma=2.5)
    assert list(model.priors)[-4:] == [f"threshold[{k}|{k + 1}]" for k in range(1, 5)]
    assert "at the predictors' means" in str(model.priors)
    narrow, first = bmm.Prior("Normal", mu=0, sigma=1), bmm.Prior("Normal", mu=-2, sigma=0.5)
    chosen = model.with_priors({"threshold": narrow, "threshold[1|2]": first})
    assert chosen.priors["threshold[1|2]"] == first and chosen.priors["threshold[3|4]"] == narrow
    pulled, free = (m.maximize("MAP").parameters for m in (chosen, model))
    assert abs(pulled["threshold[4|5]"]) < abs(free["threshold[4|5]"])
    with pytest.raises(bmm.PriorError, match="threshold"):
        model.with_priors({"threshold[5|6]": narrow})


def test_the_mode_of_the_posterior_is_a_maximum():
    """Of the density of coefficients, sd and thresholds at the means, on their natural scales."""
    from bayesmm.likelihood.lattice import FINE
    from bayesmm.likelihood.own_parameters import own_parameters
    from bayesmm.likelihood.quadrature import evaluate, prepare
    from bayesmm.priors import prior_design

    model = bmm.Model("rating ~ temp + (1 | judge)", wine(), "cumulative")
    design = prior_design(model.design, model.priors)
    own = own_parameters(design).sorted(np.argsort(design.blocks[0].index, kind="stable"))
    point = model.maximize("MAP")
    shift = model.design.X.mean(axis=0) @ point.beta

    def log_density(v):
        beta, sd, tau = v[:1], v[1], v[2:]
        value = evaluate(prepare(design), beta, np.array([[sd]]), own.rows(tau), FINE).value
        own_priors = [model.priors[f"threshold[{k}|{k + 1}]"].logpdf(t) for k, t in enumerate(tau, start=1)]
        others = model.priors["beta[temp[T.warm]]"].logpdf(beta[0]) + model.priors["sd_judge[Intercept]"].logpdf(sd)
        return value + others + sum(own_priors)

    best = np.array([*point.beta, np.sqrt(point.covariances[0][0, 0]), *(point.residual["threshold"] - shift)])
    h = 1e-4
    slopes = [(log_density(best + h * e) - log_density(best - h * e)) / (2 * h) for e in np.eye(len(best))]
    np.testing.assert_allclose(slopes, 0.0, atol=2e-4)


def test_columns_that_separate_ordered_categories_are_named():
    """No category reaches into another's values of x; a row between them mends it."""
    apart = pd.DataFrame({"k": [1, 1, 2, 2, 3, 3], "x": [1.0, 2, 3, 4, 5, 6], "z": [0.3, -1, 0.5, 1, -0.2, 0.1]})
    model = bmm.Model("k ~ x + z", apart, "cumulative")
    assert "separates 'k'" in " ".join(m.text for m in model.design.messages)
    point = model.maximize()
    assert not point.converged and "separate the responses" in point.message
    between = pd.concat([apart, pd.DataFrame({"k": [1, 3], "x": [5.5, 1.5], "z": [0.0, 0.4]})], ignore_index=True)
    fine = bmm.Model("k ~ x + z", between, "cumulative")
    assert "separates" not in " ".join(m.text for m in fine.design.messages) and fine.maximize().converged


def test_the_profile_of_the_first_threshold():
    """At its ends the deviance, minimised by SciPy over the other parameters, is 3.84 above the least."""
    from scipy.optimize import minimize

    data = wine()
    point = bmm.Model("rating ~ temp", data, "cumulative").maximize()
    x, y = (data["temp"] == "warm").to_numpy(float), data["rating"].to_numpy()

    def deviance(first, v):
        tau = np.concatenate([[-np.inf, first], first + np.cumsum(np.exp(v[1:])), [np.inf]])
        F = 1 / (1 + np.exp(-(tau[None] - v[0] * x[:, None])))
        p = F[np.arange(72), y] - F[np.arange(72), y - 1]
        return -2 * np.log(np.maximum(p, 1e-300)).sum()

    tau = point.residual["threshold"]
    start = [point.beta[0], *np.log(np.diff(tau))]
    assert deviance(tau[0], start) == pytest.approx(point.criterion, abs=1e-9)
    for end in point.confint().loc["threshold[1|2]"]:
        best = minimize(lambda v, end=end: deviance(end, v), start, method="Nelder-Mead", options={"maxiter": 4000})
        least = best.fun
        assert least - point.criterion == pytest.approx(3.8415, abs=0.01)


@pytest.mark.parametrize(("link", "variance"), [("logit", np.pi**2 / 3), ("probit", 1.0), ("cloglog", np.pi**2 / 6)])
def test_the_residual_variance_is_that_of_the_latent_variable(link, variance):
    point = bmm.Model("rating ~ temp + (1 | judge)", wine(), "cumulative", link=link).maximize()
    own = point.covariances[0][0, 0]
    assert point.icc().table.loc["icc[judge]", "estimate"] == pytest.approx(own / (own + variance), rel=1e-9)


@pytest.mark.parametrize("bar", ["(temp | judge)", "(0 + bottle | judge)"])
def test_averages_over_new_groups_of_given_rows_are_those_of_the_fits_own(bar):
    """X has no intercept, and group terms have theirs."""
    data = wine().assign(bottle=lambda d: d["bottle"].astype(float))
    model, new = bmm.Model(f"rating ~ temp + {bar}", data, "cumulative"), data.assign(judge=99)
    point = model.maximize()
    np.testing.assert_allclose(
        point.predict(new, groups="averaged"), point.predict(groups="averaged"), rtol=1e-12, atol=1e-15
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = model.sample(draws=50, tune=50, chains=1, seed=3, progress=False)
    own = drawn.predict(groups="averaged")
    np.testing.assert_allclose(drawn.predict(new, groups="averaged").draws, own.draws, rtol=1e-12)
    numbers = own.numbers().draws.mean(axis=(0, 1))
    found = bmm.predictions(drawn, by="temp", groups="averaged").table.set_index("temp")["mean"]
    for level in ("cold", "warm"):
        assert found[level] == pytest.approx(numbers[(data["temp"] == level).to_numpy()].mean(), rel=1e-10)
    high, low = (
        drawn.predict(data.assign(temp=level), groups="averaged").numbers().draws.mean() for level in ("warm", "cold")
    )
    compared = bmm.comparisons(drawn, "temp", groups="averaged").table
    assert compared["mean"].iloc[0] == pytest.approx(high - low, rel=1e-9)


def test_tables_of_thresholds_have_what_the_print_has():
    """ordinal's standard errors, z and two-sided p, and Wald's interval."""
    own = REFERENCES["k09_wine_judge_laplace_logit"]
    point = bmm.Model("rating ~ temp + contact + (1 | judge)", wine(), "cumulative").maximize()
    rows = point.tidy(ci_prob=0.9).set_index("term")
    for label, value in own["thresholds"].items():
        row, se = rows.loc[f"threshold[{label}]"], own["se_thresholds_then_fixef"][label]
        assert row["effect"] == "auxiliary" and row["std.error"] == pytest.approx(se, rel=2e-3)
        assert row["statistic"] == pytest.approx(value / se, rel=4e-3)
        assert row["p.value"] == pytest.approx(2 * stats.norm.sf(abs(value / se)), rel=0.05)
        ends = value + stats.norm.ppf([0.05, 0.95]) * se
        assert [row["conf.low"], row["conf.high"]] == pytest.approx(list(ends), abs=4e-3 * se)
    assert rows.loc["sd__Intercept", ["std.error", "conf.low"]].isna().all()
    assert list(point.summary().index) == list(point.parameters)
    intervals = point.confint(method="wald", level=0.9)
    assert list(intervals.index[-4:]) == [f"threshold[{label}]" for label in own["thresholds"]]
    np.testing.assert_allclose(intervals.iloc[-4:], rows.iloc[-4:][["conf.low", "conf.high"]], rtol=1e-9)
    label = "threshold[1|2]"
    cell = bmm.table([point]).parameters[label][0]
    assert cell.endswith(")") and f"({point.own_se[label]:.3f})" in cell


def test_values_on_the_latent_scale_are_said_to_be_without_thresholds(fit):
    said = "latent scale, without the thresholds"
    assert said in str(bmm.emmeans(fit, "temp")) and said in str(bmm.emmeans(fit.model.maximize(), "temp"))
    assert said not in str(bmm.emmeans(fit, "temp", kind="mean")) and said not in str(bmm.emmeans(fit, "temp").pairs())


def test_rows_with_the_expected_numbers_of_their_categories(fit):
    point = fit.model.maximize()
    rows, expected = point.augment(), point.predict().to_numpy() @ [1, 2, 3, 4, 5]
    np.testing.assert_allclose(rows[".fitted"], expected, rtol=1e-12)
    np.testing.assert_allclose(rows[".resid"], wine()["rating"] - expected, rtol=1e-9, atol=1e-12)
    drawn = fit.augment(wine().head(3))
    np.testing.assert_allclose(drawn[".fitted"], fit.predict().numbers().draws[:, :, :3].mean(axis=(0, 1)), rtol=1e-12)
    assert list(drawn.columns[-2:]) == [".fitted", ".fixed"]
