"""Formulas of a family's parameters, "zi ~ z": glmmTMB's fits, an exact posterior, and all that is done with them."""

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
CRITERION, IN_SE, SD = 1e-4, 1e-3, 1e-3


def salamanders():
    """Return the counts, with the levels in glmmTMB's order."""
    data = pd.read_csv(HERE / "data" / "salamanders.csv")
    species = ["GP", "PR", "DM", "EC-A", "EC-L", "DES-L", "DF"]
    return data.assign(
        spp=pd.Categorical(data["spp"], categories=species),
        mined=pd.Categorical(data["mined"], categories=["yes", "no"]),
    )


@pytest.mark.parametrize(
    ("name", "family", "parameter"),
    [
        ("k10_sal_zinb2_x", "zero_inflated_negbinomial", "zi"),
        ("k10_sal_hurdle_nb2", "hurdle_negbinomial", "hu"),
    ],
)
def test_maximum_is_that_of_glmmtmb(name, family, parameter):
    own = REFERENCES[name]
    formula = ("count ~ spp + mined + (1 | site)", f"{parameter} ~ mined")
    point = bmm.Model(formula, salamanders(), family).maximize()
    assert point.converged and point.npar == own["npar"]
    assert point.criterion == pytest.approx(own["criterion"], abs=CRITERION)
    ours = point.fixef()
    for value, se, found in zip(own["fixef"].values(), own["fixef_se"].values(), ours["estimate"], strict=True):
        assert found == pytest.approx(value, abs=IN_SE * se)
    np.testing.assert_allclose(ours["se"], list(own["fixef_se"].values()), rtol=5e-3)
    (level, change), (level_se, change_se) = own["zi_fixef"].values(), own["zi_fixef_se"].values()
    share, parameters = 1 / (1 + np.exp(-level)), point.parameters
    assert parameters[parameter] == pytest.approx(share, abs=IN_SE * level_se * share * (1 - share))
    assert parameters[f"logit_{parameter}[mined[T.no]]"] == pytest.approx(change, abs=IN_SE * change_se)
    assert np.log(parameters["shape"]) == pytest.approx(own["disp_fixef"]["(Intercept)"], abs=1e-3)
    sd = own["varcorr_cond"]["site"]["sd"]["(Intercept)"]
    assert np.sqrt(point.covariances[0][0, 0]) == pytest.approx(sd, rel=SD)
    np.testing.assert_allclose(point.predict()["estimate"][:5], own["predict_response_rows1to5"], rtol=2e-3)
    new = salamanders().iloc[:5]
    np.testing.assert_allclose(point.predict(new)["estimate"], point.predict()["estimate"][:5], rtol=1e-12)


def normals(n=80, seed=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": stats.t(4).rvs(n, random_state=rng) * np.exp(0.2 + 0.5 * x)})


def test_a_formula_of_sigma_of_a_student_is_that_of_scipy():
    """-2 log likelihood at the maximum, and that no step of 0.1 in any direction goes below it."""
    data = normals()
    point = bmm.Model(("y ~ 1", "sigma ~ x"), data, "student").maximize()
    assert set(point.parameters) == {"beta[Intercept]", "sigma", "nu", "log_sigma[x]"}

    def deviance(mu, sigma, nu, slope):
        scale = sigma * np.exp(slope * data["x"])
        return -2 * stats.t.logpdf(data["y"], nu, mu, scale).sum()

    best = [point.parameters[name] for name in ("beta[Intercept]", "sigma", "nu", "log_sigma[x]")]
    assert point.criterion == pytest.approx(deviance(*best), abs=1e-9)
    for j in range(4):
        for step in (-0.02, 0.02):
            moved = [value + step * (i == j) for i, value in enumerate(best)]
            assert deviance(*moved) > point.criterion
    profile = point.confint().loc["log_sigma[x]"]
    for end in profile:  # where the deviance, minimised over the others, is 3.84 more
        from scipy.optimize import minimize

        least = minimize(lambda v, end=end: deviance(v[0], np.exp(v[1]), np.exp(v[2]), end), [best[0], 0.2, 1.4]).fun
        assert least - point.criterion == pytest.approx(3.8415, abs=0.02)


def test_cells_without_an_intercept_are_the_same_model():
    data = normals().assign(f=np.where(normals()["x"] > 0, "p", "q"))
    one = bmm.Model(("y ~ x", "sigma ~ f"), data, "student").maximize()
    other = bmm.Model(("y ~ x", "sigma ~ 0 + f"), data, "student").maximize()
    assert one.criterion == pytest.approx(other.criterion, abs=1e-7) and one.npar == other.npar
    assert "sigma" not in other.parameters
    logs = [other.parameters[f"log_sigma[f[{level}]]"] for level in "pq"]
    assert np.exp(logs[0]) == pytest.approx(one.parameters["sigma"], rel=1e-4)
    assert logs[1] - logs[0] == pytest.approx(one.parameters["log_sigma[f[T.q]]"], abs=1e-4)


def test_posterior_is_that_of_a_grid():
    """A Poisson mean is 3; its extra zeros have a level and a slope: both on a grid of 400 x 400."""
    rng = np.random.default_rng(9)
    z = np.repeat([0.0, 1.0], 40)
    y = np.where(rng.uniform(size=80) < np.where(z > 0, 0.6, 0.2), 0, rng.poisson(3.0, 80))
    priors = {"Intercept": float(np.log(3.0))}
    model = bmm.Model(("y ~ 1", "zi ~ z"), pd.DataFrame({"y": y, "z": z}), "zero_inflated_poisson", priors)
    fit = model.sample(seed=4, progress=False)
    zi, slope = np.meshgrid(np.linspace(0.001, 0.7, 500), np.linspace(-2, 6, 500), indexing="ij")
    log_p = stats.norm.logpdf(slope, 0, model.priors["logit_zi[z]"].parameters["sigma"])
    middle = zi / (zi + (1 - zi) * np.exp(-0.5 * slope))  # zi at the mean of z, whose prior is uniform
    log_p += np.log(middle * (1 - middle) / (zi * (1 - zi)))
    for value in (0.0, 1.0):
        odds = zi / (1 - zi) * np.exp(slope * value)
        share = odds / (1 + odds)
        for count in np.unique(y[z == value]):
            times = ((y == count) & (z == value)).sum()
            log_p += times * np.log(share * (count == 0) + (1 - share) * stats.poisson.pmf(count, 3.0))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    summary = fit.summary()
    for label, grid in (("zi", zi), ("logit_zi[z]", slope)):
        mean = (p * grid).sum()
        sd, ess = np.sqrt((p * grid**2).sum() - mean**2), summary.loc[label, "ess_bulk"]
        assert summary.loc[label, "mean"] == pytest.approx(mean, abs=4.5 * sd / np.sqrt(ess))
        assert summary.loc[label, "sd"] == pytest.approx(sd, rel=4.5 / np.sqrt(2 * ess))


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = salamanders().iloc[:200]
        model = bmm.Model("count ~ mined + (1 | site); zi ~ mined", data, "zero_inflated_poisson")
        return model.sample(draws=300, chains=2, seed=5, progress=False)


@pytest.mark.slow
def test_all_that_is_done_with_a_posterior(fit, tmp_path):
    text = str(fit)
    assert ("zi ~ mined:" in text and "logit_zi[mined[T.yes]]" in text) or "logit_zi[mined[T.no]]" in text
    assert any(p.label.startswith("logit_zi") for p in fit.compare().parameters)
    means = fit.predict().draws.reshape(600, -1)
    beta = fit.tree["posterior"]["beta"].to_numpy().reshape(600, -1)
    b = fit.tree["posterior"]["b_site"].to_numpy().reshape(600, -1)[:, fit.design.blocks[0].index]
    zi = fit.tree["posterior"]["zi"].to_numpy().reshape(600, 1)
    change = fit.tree["posterior"]["logit_zi"].to_numpy().reshape(600, 1)
    odds = zi / (1 - zi) * np.exp(change * fit.design.X[:, 1])
    np.testing.assert_allclose(means, np.exp(beta @ fit.design.X.T + b) / (1 + odds), rtol=1e-10)
    zeros = (fit.predict(kind="response", seed=2).draws == 0).mean(axis=(0, 1))
    assert zeros.mean() == pytest.approx((fit.design.y == 0).mean(), abs=0.05)
    assert np.isfinite(fit.loo().elpd) and np.isfinite(fit.loo(by="site").elpd)
    with pytest.raises(DataError, match="zi ~ mined"):
        fit.r2()
    fit.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bmm.load(tmp_path / "fit.nc").predict().draws, fit.predict().draws)
    fit.report(tmp_path / "report.html")


@pytest.mark.slow
def test_both_samplings_of_the_same_model_agree():
    """Effects integrated out and written out: means within five Monte Carlo errors."""
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(15), 12)
    x = rng.normal(size=180)
    mu = np.exp(0.5 + 0.4 * x + 0.5 * rng.normal(size=15)[g])
    y = rng.negative_binomial(2 * np.exp(0.5 * x), 1 / (1 + mu / (2 * np.exp(0.5 * x))))
    model = bmm.Model(("y ~ x + (1 | g)", "shape ~ x"), pd.DataFrame({"y": y, "x": x, "g": g}), "negbinomial")
    found = [model.sample(draws=800, seed=1, progress=False, effects=way).summary() for way in ("marginal", "explicit")]
    for label in ("beta[x]", "shape", "log_shape[x]", "sd_g[Intercept]"):
        one, other = (table.loc[label] for table in found)
        error = np.hypot(one["sd"] / np.sqrt(one["ess_bulk"]), other["sd"] / np.sqrt(other["ess_bulk"]))
        assert one["mean"] == pytest.approx(other["mean"], abs=5 * error)


def test_a_likelihood_ratio_test_of_a_formula():
    data = salamanders()
    small, large = (
        bmm.Model(formula, data, "zero_inflated_poisson").maximize()
        for formula in ("count ~ mined + (1 | site)", ("count ~ mined + (1 | site)", "zi ~ mined"))
    )
    table = bmm.lrt(small, large).table
    assert table["Df"].iloc[-1] == 1
    assert table["Chisq"].iloc[-1] == pytest.approx(small.criterion - large.criterion, abs=1e-6)


@pytest.mark.parametrize(
    ("formula", "family", "error", "said"),
    [
        (("count ~ mined", "zi ~ mined"), "poisson", DataError, "it has no parameters besides the mean"),
        (("count ~ mined", "sigma ~ mined"), "negbinomial", FormulaError, "the parameters are 'shape'|are shape"),
        (("count ~ mined", "shape ~ 1"), "negbinomial", DataError, "names no column"),
        (
            ("count ~ mined", "shape ~ cover + I(2 * cover)"),
            "negbinomial",
            DataError,
            "depend",
        ),
        (("count ~ mined", "shape ~ 0 + cover"), "negbinomial", DataError, "no intercept"),
        (("count ~ mined", "shape ~ mined", "shape ~ cover"), "negbinomial", FormulaError, "two formulas"),
        (("count ~ mined", "shape ~ nothing"), "negbinomial", FormulaError, "not in the data"),
    ],
)
def test_formulas_that_are_none(formula, family, error, said):
    with pytest.raises(error, match=said):
        bmm.Model(formula, salamanders(), family)


@pytest.fixture(scope="module")
def covered():
    """Return a model whose variable `cover` is in the formula of a parameter only."""
    return bmm.Model("count ~ mined + (1 | site); zi ~ cover", salamanders(), "zero_inflated_poisson")


@pytest.fixture(scope="module")
def drawn(covered):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return covered.sample(draws=100, chains=2, seed=5, progress=False)


def test_a_variable_of_a_formula_alone_has_slopes_comparisons_and_a_place_in_the_grid(drawn):
    data, population = salamanders(), {"groups": "population"}
    up, down = (drawn.predict(data.assign(cover=data["cover"] + h), **population).draws for h in (1e-4, -1e-4))
    slope = bmm.slopes(drawn, "cover")
    np.testing.assert_allclose(slope.draws[..., 0], ((up - down) / 2e-4).mean(axis=2), atol=1e-8)  # h^2
    high, low = (drawn.predict(data.assign(cover=value), **population).draws.mean() for value in (1.0, 0.0))
    assert bmm.comparisons(drawn, {"cover": (0, 1)}).table["mean"].iloc[0] == pytest.approx(high - low, rel=1e-9)
    rows = pd.DataFrame({"mined": ["yes", "no"], "cover": data["cover"].mean()})
    means = drawn.predict(rows, **population).draws.mean(axis=(0, 1))
    found = bmm.emmeans(drawn, "mined", kind="mean")
    np.testing.assert_allclose(found.table["mean"], means, rtol=1e-9)
    assert "held: cover" in str(found)
    np.testing.assert_allclose(bmm.predictions(drawn, at={"mined": ["yes", "no"]}).table["mean"], means, rtol=1e-9)


def test_of_a_maximised_fit_differences_in_a_variable_of_a_formula_have_errors(covered):
    point = covered.maximize()
    means = bmm.emmeans(point, "mined", kind="mean")
    assert "held at their estimates" not in str(means)  # their errors: tests/inference/test_joint_errors.py
    rows = pd.DataFrame({"mined": ["yes", "no"], "cover": salamanders()["cover"].mean()})
    expected = point.predict(rows, groups="population")["estimate"]
    np.testing.assert_allclose(means.table["estimate"], expected, rtol=1e-9)
    assert len(means.pairs().table) == 1 and np.isfinite(bmm.comparisons(point, "mined").table["se"]).all()
    grid = bmm.emmeans(point, "cover", at={"cover": [0, 1]}, kind="mean")
    for found in (bmm.slopes(point, "cover"), bmm.comparisons(point, "cover"), grid.pairs()):
        assert (found.table["se"] > 0).all()
    assert bmm.slopes(point, "cover", kind="linear").table["estimate"].iloc[0] == 0
    assert bmm.slopes(point, "cover", kind="linear").table["se"].iloc[0] == 0


def test_tables_and_prints_of_formulas(covered, drawn):
    point, label = covered.maximize(), "logit_zi[cover]"
    row = point.tidy().set_index("term").loc[label]
    value, se = point.parameters[label], point.own_se[label]
    assert row["effect"] == "auxiliary" and row["std.error"] == se and row["statistic"] == pytest.approx(value / se)
    assert row["p.value"] == pytest.approx(2 * stats.norm.sf(abs(value / se)), rel=1e-9)
    assert [row["conf.low"], row["conf.high"]] == pytest.approx(
        [value - 1.959964 * se, value + 1.959964 * se], abs=1e-6
    )
    titled = {block.split("\n")[0]: block for block in str(drawn).split("\n\n")}
    assert "\n zi " in titled["Family's parameters:"] and label not in titled["Family's parameters:"]
    assert label in titled["zi ~ cover:"] and "\n zi " not in titled["zi ~ cover:"]


def test_no_mean_depends_on_a_variable_of_sigma_alone():
    data = normals().assign(z=lambda d: np.arange(len(d)) % 3)
    point = bmm.Model(("y ~ x", "sigma ~ z"), data).maximize()
    with pytest.raises(ValueError, match="'z' is in sigma ~ z only, and no mean depends on it"):
        bmm.slopes(point, "z")
