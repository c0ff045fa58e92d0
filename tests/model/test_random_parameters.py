"""Random effects in formulas of parameters, ("y ~ x + (1 | g)", "sigma ~ 1 + (1 | g)"), and what is done with them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError
from bayesmm.reporting.plots.shrinkage import everything_else
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler

HERE = Path(__file__).parents[1]
REFERENCES = json.loads((HERE / "reference" / "random_parameters.json").read_text())
CRITERION, IN_SE, SD, MODES = 1e-4, 1e-3, 1e-3, 1e-4
SHARED = ("y ~ x + (1 | p | g)", "sigma ~ x + (1 | p | g)")


def salamanders():
    """Return the counts, with the levels in glmmTMB's order."""
    data = pd.read_csv(HERE / "data" / "salamanders.csv")
    return data.assign(mined=pd.Categorical(data["mined"], categories=["yes", "no"]))


def normals(groups=8, each=12, seed=4):
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(groups), each), rng.normal(size=groups * each)
    b, s = rng.normal(size=groups), rng.normal(size=groups)
    y = 1 + 0.5 * x + 0.6 * b[g] + np.exp(0.2 * x + 0.5 * (0.8 * b + 0.6 * s)[g]) * rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in g], "f": np.where(g % 2, "p", "q"), "w": 1.0 + g})


@pytest.mark.parametrize(
    ("name", "formula", "family", "parameter"),
    [
        ("k10_sal_zip_zire", ("count ~ mined + (1 | site)", "zi ~ 1 + (1 | spp)"), "zero_inflated_poisson", "zi"),
        ("k10_sal_hurdle_poisson", ("count ~ mined + (1 | site)", "hu ~ mined + (1 | site)"), "hurdle_poisson", "hu"),
    ],
)
def test_maximum_is_that_of_glmmtmb(name, formula, family, parameter):
    own = REFERENCES[name]
    point = bmm.Model(formula, salamanders(), family).maximize()
    assert point.converged and point.npar == own["npar"] and point.method == "ML"
    assert point.criterion == pytest.approx(own["criterion"], abs=CRITERION)
    table = point.fixef()
    for value, se, found in zip(own["fixef"].values(), own["fixef_se"].values(), table["estimate"], strict=True):
        assert found == pytest.approx(value, abs=IN_SE * se)
    np.testing.assert_allclose(table["se"], list(own["fixef_se"].values()), rtol=1e-3)
    level, *changes = own["zi_fixef"].values()
    level_se, *changes_se = own["zi_fixef_se"].values()
    assert special.logit(point.parameters[parameter]) == pytest.approx(level, abs=IN_SE * level_se)
    for change, se in zip(changes, changes_se, strict=True):
        assert point.parameters[f"logit_{parameter}[mined[T.no]]"] == pytest.approx(change, abs=IN_SE * se)
    ((group, of_zeros),) = own["varcorr_zi"].items()
    sds = (own["varcorr_cond"]["site"]["sd"]["(Intercept)"], of_zeros["sd"]["(Intercept)"])
    for label, sd in zip(("sd_site[Intercept]", f"sd_{parameter}_{group}[Intercept]"), sds, strict=True):
        assert point.parameters[label] == pytest.approx(sd, rel=SD)
    modes = point.ranef().set_index(["grpvar", "grp"])["condval"]
    known = own["ranef_zi"][group]
    found = [modes[f"{parameter}_{group}", level] for level in known["level"]]
    np.testing.assert_allclose(found, np.ravel(known["value"]), atol=MODES)
    if parameter == "zi":  # of a hurdle model glmmTMB predicts otherwise in this version
        np.testing.assert_allclose(point.predict()["estimate"][:5], own["predict_response_rows1to5"], rtol=1e-4)


def test_parts_of_a_hurdle_that_share_no_effects_have_the_sum_of_two_likelihoods():
    data = salamanders()
    whole = bmm.Model(("count ~ mined + (1 | site)", "hu ~ mined + (1 | site)"), data, "hurdle_poisson").maximize()
    zero = data.assign(zero=(data["count"] == 0).astype(int))
    parts = [
        bmm.Model("zero ~ mined + (1 | site)", zero, "bernoulli").maximize(),
        bmm.Model("count ~ mined + (1 | site)", data[data["count"] > 0], "truncated_poisson").maximize(),
    ]
    assert whole.loglik == pytest.approx(sum(part.loglik for part in parts), abs=1e-6)
    assert whole.parameters["sd_hu_site[Intercept]"] == pytest.approx(
        parts[0].parameters["sd_site[Intercept]"], rel=1e-4
    )


def test_names_blocks_and_priors():
    model = bmm.Model((SHARED[0], "sigma ~ x + (1 + x | p | g) + (1 | f)"), normals())
    shared, other = model.design.blocks
    assert shared.columns == ("Intercept", "sigma_Intercept", "sigma_x") and shared.partition == ((0, 1, 2),)
    assert shared.predictors == ("", "sigma", "sigma")
    assert (other.group, other.columns, other.predictors) == ("sigma_f", ("Intercept",), ("sigma",))
    assert model.priors["sd_g[sigma_Intercept]"].parameters["sigma"] == 1.0
    assert model.priors["sd_g[Intercept]"].parameters["sigma"] == pytest.approx(
        model.priors["sigma"].parameters["sigma"]
    )
    assert model.priors["sd_g[sigma_x]"].parameters["sigma"] == pytest.approx(1 / normals()["x"].std(ddof=1), rel=0.02)
    assert {"corr_g", "sd_sigma_f[Intercept]", "log_sigma[x]"} <= set(model.priors)
    assert not model.family.gaussian and model.effects() == "explicit"
    with pytest.raises(ValueError, match="REML is defined for gaussian models"):
        model.maximize("REML")


def test_a_name_between_bars_that_stands_alone_is_remarked_on():
    model = bmm.Model(("y ~ x + (1 | p | g)", "sigma ~ 1 + (1 | q | g)"), normals())
    assert [block.name for block in model.design.blocks] == ["g", "sigma_g"]
    assert any("'p'" in message.text and "no effect" in message.text for message in model.design.messages)


def test_a_block_of_two_predictors_is_estimated_as_one():
    """With the correlation at 0 it is the model of two blocks; the larger one is no worse, and a test compares both."""
    data = normals()
    apart = bmm.Model((SHARED[0].replace("p |", ""), SHARED[1].replace("p |", "")), data).maximize()
    together = bmm.Model(SHARED, data).maximize()
    assert together.npar == apart.npar + 1 and together.criterion < apart.criterion
    table = bmm.lrt(apart, together).table
    assert table["Chisq"].iloc[-1] == pytest.approx(apart.criterion - together.criterion, abs=1e-6)
    without = bmm.Model(("y ~ x + (1 | g)", "sigma ~ x"), data)
    assert bmm.lrt(without.maximize("ML"), apart).table["Df"].iloc[-1] == 1


@pytest.mark.slow
def test_a_profile_ends_where_the_deviance_is_that_of_its_interval():
    apart = bmm.Model((SHARED[0].replace("p |", ""), SHARED[1].replace("p |", "")), normals()).maximize()
    curve = apart.profile("sd_sigma_g[Intercept]", level=0.95)
    assert curve.estimate == pytest.approx(apart.parameters["sd_sigma_g[Intercept]"], rel=1e-6)
    held = curve.table["zeta"].abs().max()  # the deviance at the ends is that of the interval
    assert held == pytest.approx(stats.norm.ppf(0.975), abs=1e-4) and curve.lower < curve.estimate < curve.upper


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bmm.Model(SHARED, normals()).sample(draws=150, tune=300, chains=2, seed=1, progress=False)


def by_hand(fit, index):
    """Return mean and sd of each row for every draw, (draws, n), at levels `index` of g."""
    posterior, data = fit.tree["posterior"].dataset.stack(s=("chain", "draw")).transpose("s", ...), normals()
    beta, b = posterior["beta"].to_numpy(), posterior["b_g"].to_numpy()[:, index]
    mu = beta[:, :1] + beta[:, 1:] * data["x"].to_numpy() + b[..., 0]
    slope = posterior["log_sigma"].to_numpy() * data["x"].to_numpy()
    return mu, posterior["sigma"].to_numpy()[:, None] * np.exp(slope + b[..., 1])


def test_predictions_and_densities_are_those_written_by_hand(fit):
    index = fit.design.blocks[0].index
    mu, sd = by_hand(fit, index)
    np.testing.assert_allclose(fit.predict().draws.reshape(mu.shape), mu, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fit.predict(normals()).draws.reshape(mu.shape), mu, rtol=1e-12, atol=1e-12)
    density = stats.norm(mu, sd).logpdf(normals()["y"].to_numpy())
    expected = special.logsumexp(density, axis=0).sum() - density.shape[1] * np.log(len(density))
    assert fit.loo().elpd == pytest.approx(expected, abs=3 * 12)  # lpd less p_loo: about 11 parameters
    from bayesmm.posterior.log_likelihood import conditional

    np.testing.assert_allclose(conditional(fit), density, rtol=1e-10, atol=1e-10)
    new = fit.predict(kind="response", seed=3).draws.reshape(mu.shape)
    z = ((new - mu) / sd).ravel()
    assert abs(z.mean()) < 5 / np.sqrt(z.size) and z.std() == pytest.approx(1, abs=5 / np.sqrt(2 * z.size))


def test_a_new_level_has_effects_on_both_predictors(fit):
    """The sd of its responses over draws is that of new levels, drawn from the covariance matrix of the same draw."""
    new = normals().iloc[[0, 1]].assign(g="new", x=0.0)
    with pytest.raises(DataError, match="not in the data of the fit"):
        fit.predict(new)
    drawn = [fit.predict(new, kind="response", new_levels="sample", seed=s).draws.reshape(-1, 2) for s in range(40)]
    linear = [fit.predict(new, new_levels="sample", seed=s).draws.reshape(-1, 2) for s in range(40)]
    left = np.concatenate(drawn) - np.concatenate(linear)
    values = fit.tree["posterior"].dataset
    sigma, sd = (values[name].to_numpy().reshape(300, -1) for name in ("sigma", "sd_g"))
    expected = np.mean(np.square(sigma) * np.exp(2 * np.square(sd[:, 1:])))  # E exp(2 b) = exp(2 sd^2)
    assert np.mean(np.square(left)) == pytest.approx(expected, rel=0.35)  # heavy tails
    both = np.square(left)
    assert stats.spearmanr(both[:, 0], both[:, 1]).statistic > 0.05  # rows of one level share its sd
    at_zero = fit.predict(new, new_levels="zero").draws
    np.testing.assert_allclose(at_zero, fit.predict(new, groups="population").draws)


def test_tables_prints_and_files(fit, tmp_path):
    labels = {"sd_g[Intercept]", "sd_g[sigma_Intercept]", "corr_g[Intercept, sigma_Intercept]", "sigma", "log_sigma[x]"}
    assert labels <= set(fit.summary().index)
    assert set(fit.ranef()["term"]) == {"Intercept", "sigma_Intercept"}
    assert list(fit.varcorr()["var1"]) == ["Intercept", "sigma_Intercept", "Intercept", None]
    values = fit.coef()["g"]
    assert values["sigma_Intercept"].mean() == pytest.approx(np.log(fit.summary()["mean"]["sigma"]), abs=0.5)
    assert r"\log \sigma_{i}" in fit.model.equation() and "b_{" in fit.model.equation()
    assert "sigma ~ x + (1 | p | g)" in str(fit).replace("\n  ", " ")
    comparison = fit.compare()
    assert set(comparison.table["verdict"]) <= {
        "agree", "prior pull", "boundary", "skew", "few groups", "Laplace", "disagree",
    }  # fmt: skip
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.predict().draws, fit.predict().draws)
    assert again.design.blocks[0].predictors == ("", "sigma")


@pytest.mark.slow
def test_the_report_has_the_effects_of_both_predictors(fit, tmp_path):
    fit.report(tmp_path / "report.html")
    assert "sigma_Intercept" in (tmp_path / "report.html").read_text()


def test_what_a_shrinkage_figure_takes_off_has_no_effects_of_a_parameter():
    model = bmm.Model(("y ~ x + (1 | g)", "sigma ~ 1 + (1 | g)"), normals())
    fit = model.sample(draws=30, chains=2, tune=50, seed=1, progress=False)
    slope = float(fit.tree["posterior"]["beta"].mean(("chain", "draw"))[1])
    np.testing.assert_allclose(everything_else(fit, 0), slope * normals()["x"], rtol=1e-12)


def test_simulations_have_the_spread_of_the_effects():
    """Of 60 groups with 40 rows, sds of groups have the sd of their effects on the log scale, within 5 errors."""
    g = np.repeat(np.arange(60), 40)
    data = pd.DataFrame({"y": np.random.default_rng(1).normal(size=len(g)), "g": g})
    model = bmm.Model(("y ~ 1 + (1 | g)", "sigma ~ 1 + (1 | g)"), data)
    values = {"beta[Intercept]": 0.0, "sd_g[Intercept]": 1.0, "sd_sigma_g[Intercept]": 0.8, "sigma": 2.0}
    logs = np.log(model.simulate(values, seed=1)["sim_1"].groupby(g).std())
    sd = np.hypot(0.8, 1 / np.sqrt(2 * 39))
    assert logs.std() == pytest.approx(sd, abs=5 * sd / np.sqrt(2 * 60))
    assert logs.mean() == pytest.approx(np.log(2.0), abs=5 * sd / np.sqrt(60))


@pytest.mark.slow
def test_the_posterior_is_that_of_a_grid():
    """Two parameters, the level and the sd of log sigma; the effects of three groups integrated out by a fine sum."""
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(3), 8)
    y = np.exp(np.array([-0.6, 0.1, 0.7]))[g] * rng.normal(size=24)
    priors = {"Intercept": 0.0, "sigma": bmm.Prior("LogNormal", mu=0, sigma=1), "sd": bmm.Prior("HalfNormal", sigma=1)}
    model = bmm.Model(("y ~ 1", "sigma ~ 1 + (1 | g)"), pd.DataFrame({"y": y, "g": g}), priors=priors)
    fit = model.sample(draws=2500, tune=800, seed=2, progress=False)
    level, sd = np.meshgrid(np.linspace(-3, 3, 241), np.linspace(1e-3, 5, 401), indexing="ij")
    z = np.linspace(-7, 7, 281)
    total = stats.norm.logpdf(level) + stats.norm.logpdf(sd)
    for k in range(3):
        tau = level[..., None] + sd[..., None] * z
        own = -8 * tau - 0.5 * np.square(y[g == k]).sum() * np.exp(-2 * tau) + stats.norm.logpdf(z)
        total = total + special.logsumexp(own, axis=-1)
    weights = np.exp(total - total.max())
    weights /= weights.sum()
    table = fit.summary()
    for label, values in (("sigma", np.exp(level)), ("sd_sigma_g[Intercept]", sd)):
        mean = (weights * values).sum()
        spread = np.sqrt((weights * np.square(values - mean)).sum())
        error = spread / np.sqrt(table.loc[label, "ess_bulk"])
        assert table.loc[label, "mean"] == pytest.approx(mean, abs=5 * error)
        assert table.loc[label, "sd"] == pytest.approx(spread, rel=0.15)


@pytest.mark.slow
def test_the_graph_has_the_density_of_the_compiled_posterior():
    model = bmm.Model((SHARED[0], "sigma ~ x + (1 | p | g) + (1 | f)"), normals())
    rng = np.random.default_rng(3)
    with without_compiler():
        graph = model.graph(centred=True)
        point = {name: value + 0.3 * rng.normal(size=np.shape(value)) for name, value in graph.initial_point().items()}
        variables = [graph[name] for name in ("beta", "sigma", "log_sigma", "b_g", "b_sigma_f")]
        outputs = graph.replace_rvs_by_values(variables)
        beta, sigma, slope, b, c = graph.compile_fn(
            outputs, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore"
        )(point)
        found = graph.compile_logp(vars=[graph["y"]], sum=True, mode=PYTHON)(point)
    data, (g, f) = normals(), (block.index for block in model.design.blocks)
    tau = np.log(sigma) + slope[0] * data["x"] + b[g, 1] + c[f, 0]
    expected = stats.norm(beta[0] + beta[1] * data["x"] + b[g, 0], np.exp(tau)).logpdf(data["y"]).sum()
    assert float(found) == pytest.approx(expected, rel=1e-10)


BAD = [
    (("y ~ x", "sigma ~ (1 | p | g"), {}, FormulaError, "never closed"),
    (("y ~ x + (1 | p | g)", "sigma ~ (1 || p | g)"), {}, FormulaError, "each is single"),
    (("y ~ x + (1 | p | g)", "sigma ~ (1 | p | g | f)"), {}, FormulaError, "two bars at most"),
    (("y ~ x + (1 | p | g)", "sigma ~ (1 | p | )"), {}, FormulaError, "no grouping factor"),
    (("y ~ x + (1 | 2 | g)", "sigma ~ x"), {}, FormulaError, "between them stands a name"),
    (("y ~ x + cs(0 + f | p | g)", "sigma ~ x"), {}, FormulaError, "has a single bar"),
    ("y ~ x + (1 | p | g)", {}, FormulaError, "one bar"),
    (("y ~ x", "sigma ~ 1 + (1 | h)"), {}, FormulaError, "not in the data"),
    (("y ~ x", "sigma ~ 1 + (1 | y)"), {}, FormulaError, "the response 'y' also groups"),
    (("y ~ x", "sigma ~ (1 | g) + (x | g)"), {}, FormulaError, "both let Intercept vary"),
    (("y ~ x", "sigma ~ 1 | g"), {}, FormulaError, "stands in brackets"),
    (("y ~ x", "sigma ~ offset(x) + (1 | g)"), {}, FormulaError, "fixed and random effects only"),
    (("y ~ x", "sigma ~ (1 | mm(g, f))"), {}, FormulaError, "is not possible in the formula of sigma"),
    (("y ~ x", "sigma ~ s(x) + (1 | g)"), {}, FormulaError, "is not possible in the formula of sigma"),
    (("y ~ x + (1 | p | g)", "sigma ~ (1 | p | gr(g, by = f))"), {}, FormulaError, "a plain factor"),
    (("y ~ x", "sigma ~ (1 | g)"), {"weights": "w"}, DataError, "weights are not possible beside random effects"),
    (("y ~ x + ar(x, g)", "sigma ~ (1 | g)"), {}, DataError, "not possible beside random effects of sigma"),
    (("y | se(w) ~ x", "sigma ~ (1 | g)"), {}, DataError, "not possible beside random effects of sigma"),
    (("y ~ x", "sigma ~ 1 + (1 | one)"), {}, DataError, "has one level"),
    (("y ~ x", "sigma ~ 0 + x + (1 | g)"), {}, DataError, "no intercept"),
    (("y ~ x", "nu ~ 1 + (1 | g)"), {}, FormulaError, "the parameters are"),
    (("count ~ x", "zi ~ 1 + (1 | g)"), {"family": "poisson"}, DataError, "it has no parameters besides the mean"),
    (("y ~ x", "sigma ~ 1"), {}, DataError, "names no column"),
]


@pytest.mark.parametrize(("formula", "further", "error", "said"), BAD, ids=range(len(BAD)))
def test_formulas_that_are_none(formula, further, error, said):
    data = normals().assign(one="a", count=1)
    with pytest.raises(error, match=said):
        bmm.Model(formula, data, **further)


def test_what_is_not_possible_says_so(fit):
    point = fit.model.maximize()
    calls = [
        (lambda: point.predict(se=True), "se=True is not possible where sigma has random effects"),
        (lambda: fit.loo(by="g"), "leaving out whole groups is not possible"),
        (lambda: fit.loo(integrated=True), "leaving out rows with the random effects integrated out"),
        (lambda: fit.model.sample(effects="marginal", progress=False), "effects='marginal' is not possible"),
        (lambda: fit.model.sample(sampler="importance", progress=False), "not possible"),
        (lambda: point.fixef(ddf="kenward-roger"), "Roger's method is not possible where sigma has random effects"),
        (lambda: bmm.anova(point, ddf="satterthwaite"), "not possible where sigma has random effects"),
        (fit.consistency, "not possible where sigma has random effects"),
        (lambda: fit.r2(), "not defined where a parameter differs from row to row"),
        (lambda: fit.predict(groups=["sigma"]), "the grouping factors are g"),
    ]
    for call, said in calls:
        with pytest.raises((ValueError, DataError), match=said):
            call()
    assert str(point).startswith("Linear mixed model fit")
    zeros = bmm.Model(("count ~ mined", "zi ~ 1 + (1 | spp)"), salamanders(), "zero_inflated_poisson").maximize()
    with pytest.raises(ValueError, match="the mean depends on zi"):
        zeros.predict(groups="averaged")
