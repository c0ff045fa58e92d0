"""Simulated responses, the posterior predictive, the bootstrap and power, against formulas written here anew."""

import functools
import time

import numpy as np
import pandas as pd
import pytest
from references import frame

import bayesmm as bmm
from bayesmm.families.families import FAMILIES
from bayesmm.families.links import LINKS
from bayesmm.inference.simulation import repeat
from bayesmm.inference.simulation.groups import outer_factor, resized
from bayesmm.posterior.simulate import simulator
from bayesmm.runtime.streams import stream

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

SLEEP = "Reaction ~ Days + (Days | Subject)"
TRUTH = {
    "Intercept": 250.0, "beta[Days]": 10.0, "sd_Subject[Intercept]": 25.0, "sd_Subject[Days]": 6.0,
    "corr_Subject[Intercept, Days]": -0.4, "sigma": 20.0,
}  # fmt: skip
LIMIT = 5.5  # standard errors: exceeded by one of some thousand entries with a probability below 1e-4


@functools.cache
def sleep_model():
    return bmm.Model(SLEEP, frame("sleepstudy"))


@functools.cache
def sleep_point():
    return sleep_model().maximize()


@functools.cache
def sleep_fit():
    return sleep_model().sample(seed=1, progress=False)


def crossed(rng, groups=6, items=4):
    """Return rows of crossed factors with weights and an offset."""
    data = pd.DataFrame([(f"g{g}", f"i{i}") for g in range(groups) for i in range(items)], columns=["g", "i"])
    x, w = rng.normal(size=len(data)), rng.uniform(0.5, 2, len(data))
    return data.assign(x=x, w=w, o=rng.normal(size=len(data)), y=rng.normal(size=len(data)))


def check_moments(draws, mean, covariance):
    """Compare (draws, n) normal draws with their mean (n,) and covariance (n, n)."""
    N, variances = len(draws), np.diag(covariance)
    assert (np.abs(draws.mean(axis=0) - mean) < LIMIT * np.sqrt(variances / N)).all()
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / N)  # of an entry of a sample covariance
    assert (np.abs(np.cov(draws.T) - covariance) < LIMIT * error).all()


# ----------------------------------------------------------------------------------------------------------------------
# simulate


def test_moments_are_those_of_the_dense_marginal_distribution():
    """X beta + offset, and Z Sigma Z' over both factors + sigma^2 / w."""
    data = crossed(np.random.default_rng(2))
    model = bmm.Model("y ~ x + offset(o) + (1 + x | g) + (1 | i)", data, weights="w")
    given = {
        "beta[Intercept]": 1.0, "beta[x]": -2.0, "sd_g[Intercept]": 1.5, "sd_g[x]": 0.5,
        "corr_g[Intercept, x]": 0.6, "sd_i[Intercept]": 0.7, "sigma": 1.2,
    }  # fmt: skip
    draws = model.simulate(given, 6000, seed=1).to_numpy().T
    Z = np.column_stack([np.ones(24), data["x"]])
    Sigma = np.array([[1.5**2, 0.6 * 1.5 * 0.5], [0.6 * 1.5 * 0.5, 0.5**2]])
    same_g, same_i = (np.equal.outer(*[data[name].to_numpy()] * 2) for name in "gi")
    covariance = same_g * (Z @ Sigma @ Z.T) + same_i * 0.7**2 + np.diag(1.2**2 / data["w"])
    check_moments(draws, 1 - 2 * data["x"] + data["o"], covariance)


RESPONSES = {
    "gaussian": ({"sigma": 0.5}, lambda rng, n: rng.normal(size=n)),
    "student": ({"sigma": 0.5, "nu": 9.0}, lambda rng, n: rng.normal(size=n)),
    "poisson": ({}, lambda rng, n: rng.poisson(3, n)),
    "negbinomial": ({"shape": 2.0}, lambda rng, n: rng.poisson(3, n)),
    "bernoulli": ({}, lambda rng, n: rng.integers(0, 2, n)),
    "binomial": ({}, lambda rng, n: rng.integers(0, 5, n)),
    "gamma": ({"shape": 2.0}, lambda rng, n: rng.gamma(2, size=n)),
    "beta": ({"phi": 4.0}, lambda rng, n: rng.beta(2, 2, n)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_mean_and_variance(name):
    """Without random effects (sd 0) the rows are independent, with the family's mean and variance."""
    own, respond = RESPONSES[name]
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"y": respond(rng, 30), "x": np.linspace(-1, 1, 30), "g": np.arange(30) % 6, "n": 5})
    model = bmm.Model("y ~ x + (1 | g)", data, name, trials="n" if name == "binomial" else None)
    given = {"Intercept": 0.3, "beta[x]": 0.4, "sd_g[Intercept]": 0.0, **own}
    draws = model.simulate(given, 4000, seed=1).to_numpy().T
    mu = LINKS[model.family.link].inverse(0.3 + 0.4 * data["x"].to_numpy())
    size = 5 if name == "binomial" else 1
    variance = size * model.family.variance(mu, tuple(own.values()))
    if name == "student":
        variance = np.full(30, 0.5**2 * 9 / 7)  # sigma^2 nu / (nu - 2); the family's is for weights of residuals
    assert (np.abs(draws.mean(axis=0) - size * mu) < LIMIT * np.sqrt(variance / 4000)).all()
    squares = (draws - size * mu) ** 2
    assert (np.abs(squares.mean(axis=0) - variance) < LIMIT * squares.std(axis=0) / np.sqrt(4000)).all()
    assert (draws.dtype == np.int64) == model.family.discrete


def test_random_effects_enter_on_the_scale_of_the_link():
    """Poisson with log-normal means: E y = exp(eta + s^2 / 2), Var y = E y + (E y)^2 (exp(s^2) - 1)."""
    data = pd.DataFrame({"y": [1, 2, 0] * 8, "g": np.repeat(np.arange(8), 3)})
    given = {"Intercept": 1.0, "sd_g[Intercept]": 0.5}
    draws = bmm.Model("y ~ 1 + (1 | g)", data, "poisson").simulate(given, 4000, seed=4).to_numpy()
    mean = np.exp(1 + 0.125)
    clusters = draws.reshape(8, 3, -1).mean(axis=1).ravel()  # independent of each other
    assert clusters.mean() == pytest.approx(mean, abs=LIMIT * clusters.std() / np.sqrt(clusters.size))
    between = mean**2 * (np.exp(0.25) - 1)  # the covariance of two rows of a level
    products = ((draws[::3] - mean) * (draws[1::3] - mean)).ravel()
    assert products.mean() == pytest.approx(between, abs=LIMIT * products.std() / np.sqrt(products.size))


def test_the_kth_response_of_a_seed_is_always_the_same():
    few, many = (sleep_model().simulate(TRUTH, k, seed=5) for k in (2, 6))
    pd.testing.assert_frame_equal(few, many.iloc[:, :2])
    assert list(many.columns) == [f"sim_{k}" for k in range(1, 7)]
    assert not np.allclose(many["sim_1"], many["sim_2"])
    assert not np.allclose(few["sim_1"], sleep_model().simulate(TRUTH, 1, seed=6)["sim_1"])


def test_rows_keep_their_labels():
    data = frame("sleepstudy").set_index(pd.Index([f"row {k}" for k in range(180)]))
    data.loc["row 7", "Days"] = np.nan
    drawn = bmm.Model(SLEEP, data).simulate(TRUTH, seed=1)
    assert len(drawn) == 179 and "row 7" not in drawn.index and drawn.index[7] == "row 8"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: 3, "parameters should be a mapping of places to numbers, .* a PointFit or a Fit, not int"),
        (lambda t: {k: v for k, v in t.items() if k != "sigma"}, "parameters has no value for sigma; all are needed"),
        (lambda t: t | {"sigm": 1}, "names 'sigm', which the model has not; did you mean 'sigma'?"),
        (lambda t: t | {"Days": 1}, r"names 'Days', which the model has not; did you mean 'beta\[Days\]'?"),
        (lambda t: t | {"beta[Intercept]": 1}, r"has both 'Intercept' and 'beta\[Intercept\]'"),
        (lambda t: t | {"sigma": 0}, r"parameters\['sigma'\] should be above 0, not 0"),
        (lambda t: t | {"sd_Subject[Days]": -1}, "is a standard deviation, which is 0 or more, not -1"),
        (lambda t: t | {"corr_Subject[Intercept, Days]": 1.2}, "is a correlation, which is between -1 and 1"),
        (lambda t: t | {"beta[Days]": np.nan}, "should be a finite number, not nan"),
        (lambda t: t | {"beta[Days]": "1"}, "should be a finite number, not '1'"),
    ],
)
def test_wrong_parameters_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        sleep_model().simulate(change(TRUTH))


def test_correlations_that_can_not_hold_together_are_refused():
    rng = np.random.default_rng(1)
    data = pd.DataFrame(rng.normal(size=(90, 3)), columns=["y", "a", "b"]).assign(g=np.arange(90) % 9)
    model = bmm.Model("y ~ 1 + (a + b | g)", data)
    sds = {"Intercept": 0, "sigma": 1} | {f"sd_g[{term}]": 1.0 for term in ("Intercept", "a", "b")}
    corrs = {"corr_g[Intercept, a]": 0.9, "corr_g[Intercept, b]": 0.9, "corr_g[a, b]": -0.9}
    with pytest.raises(ValueError, match="the correlations of 'g' in parameters cannot hold together"):
        model.simulate(sds | corrs)
    model.simulate(sds | corrs | {"corr_g[a, b]": 0.62})  # 2 * 0.81 - 1: the least that can be


def test_a_link_without_a_mean_is_refused():
    data = pd.DataFrame({"y": np.linspace(1, 2, 12), "g": list("abcd") * 3})
    model = bmm.Model("y ~ 1 + (1 | g)", data, "gamma", link="inverse")
    with pytest.raises(bmm.DataError, match="the linear predictor is not above 0 in 12 of 12 rows"):
        model.simulate({"Intercept": -5.0, "sd_g[Intercept]": 0.1, "shape": 2.0}, seed=1)


def test_estimates_are_parameters():
    point = sleep_point()
    assert point.parameters["sd_Subject[Days]"] == pytest.approx(5.922, abs=1e-3)  # lme4's, as printed
    by_place, by_fit = (sleep_model().simulate(given, 2, seed=3) for given in (point.parameters, point))
    pd.testing.assert_frame_equal(by_place, by_fit)
    pd.testing.assert_frame_equal(by_fit, point.simulate(2, seed=3))
    with pytest.raises(bmm.DataError, match=r"only one of them has sd_Subject\[Days\]"):
        sleep_model().simulate(bmm.Model("Reaction ~ Days + (1 | Subject)", frame("sleepstudy")).maximize())


def test_kept_effects_are_the_conditional_modes():
    point = sleep_point()
    draws = point.simulate(3000, seed=2, effects="kept").to_numpy().T
    check_moments(draws, point.fitted, point.sigma**2 * np.eye(180))
    with pytest.raises(ValueError, match="effects must be one of new, kept, not 'keep'; did you mean 'kept'"):
        point.simulate(effects="keep")


def marginal_moments(fit, rows):
    """Return mean and variance of responses of new groups, over the posterior, for some rows."""
    post, X = fit.tree["posterior"], fit.design.X[rows]
    beta = post["beta"].to_numpy().reshape(-1, 2)
    sd, R = post["sd_Subject"].to_numpy().reshape(-1, 2), post["corr_Subject"].to_numpy().reshape(-1, 2, 2)
    Sigma = sd[:, :, None] * R * sd[:, None, :]
    within = np.einsum("ij,sjk,ik->si", X, Sigma, X) + post["sigma"].to_numpy().reshape(-1, 1) ** 2
    means = beta @ X.T
    return means.mean(axis=0), within.mean(axis=0) + means.var(axis=0)


def test_a_posterior_is_simulated_from_draw_by_draw():
    fit, rows = sleep_fit(), [0, 4, 9]
    draws = sleep_model().simulate(fit, 4000, seed=2).to_numpy().T[:, rows]
    mean, variance = marginal_moments(fit, rows)
    assert (np.abs(draws.mean(axis=0) - mean) < LIMIT * np.sqrt(variance / 4000)).all()
    assert draws.var(axis=0) == pytest.approx(variance, rel=LIMIT * np.sqrt(3 / 4000))  # a little heavier than normal


# ----------------------------------------------------------------------------------------------------------------------
# posterior predictive


def test_the_posterior_predictive_of_these_groups_is_that_of_predict():
    fit = sleep_fit()
    drawn = fit.posterior_predictive(seed=1)["posterior_predictive"]["y"]
    assert drawn.dims == ("chain", "draw", "obs") and drawn.shape == (4, 1000, 180)
    ours, other = drawn.to_numpy().reshape(-1, 180), fit.predict(kind="response", seed=99).draws.reshape(-1, 180)
    error = np.sqrt((ours.var(axis=0) + other.var(axis=0)) / 4000)  # the noise is new in each draw
    assert (np.abs(ours.mean(axis=0) - other.mean(axis=0)) < LIMIT * error).all()
    assert ours.var(axis=0) == pytest.approx(other.var(axis=0), rel=LIMIT * np.sqrt(2 * 3 / 4000))


def test_the_posterior_predictive_of_new_groups_has_their_spread():
    fit, rows = sleep_fit(), [0, 4, 9, 100]
    drawn = fit.posterior_predictive(seed=1, groups="new")["posterior_predictive"]["y"]
    mean, variance = marginal_moments(fit, rows)
    values = drawn.to_numpy().reshape(-1, 180)[:, rows]
    assert (np.abs(values.mean(axis=0) - mean) < LIMIT * np.sqrt(variance / 4000)).all()
    assert values.var(axis=0) == pytest.approx(variance, rel=LIMIT * np.sqrt(3 / 4000))


def test_arviz_reads_it():
    import arviz as az
    import matplotlib as mpl

    mpl.use("Agg")
    tree = sleep_fit().posterior_predictive(200, seed=1)
    assert tree["posterior_predictive"].sizes == {"chain": 4, "draw": 50, "obs": 180}
    np.testing.assert_array_equal(tree["observed_data"]["y"], sleep_model().design.y)
    az.plot_ppc_dist(tree, num_samples=5)
    az.plot_ppc_tstat(tree, t_stat="mean")


def test_the_posterior_predictive_without_kept_effects():
    fit = sleep_model().sample(draws=20, tune=200, seed=1, progress=False, keep_effects=False)
    with pytest.raises(ValueError, match=r"keep_effects=False, so the effects of Subject are not known.*groups='new'"):
        fit.posterior_predictive()
    assert fit.posterior_predictive(groups="new", seed=1)["posterior_predictive"].sizes["obs"] == 180
    with pytest.raises(ValueError, match="groups must be one of conditional, new, not 'old'"):
        fit.posterior_predictive(groups="old")


# ----------------------------------------------------------------------------------------------------------------------
# bootstrap


@functools.cache
def sleep_bootstrap():
    return sleep_point().bootstrap(400, seed=1, progress=False)


def test_the_bootstrap_finds_the_standard_errors_of_reml():
    """Of the coefficients of balanced data they are exact at the estimated variances."""
    table = sleep_bootstrap().table
    expected = sleep_point().fixef()["se"].to_numpy()
    assert table.loc[["beta[Intercept]", "beta[Days]"], "se"].to_numpy() == pytest.approx(
        expected, rel=5 / np.sqrt(800)
    )
    coefficients = table.loc[["beta[Intercept]", "beta[Days]"]]
    assert (coefficients["bias"].abs() < LIMIT * coefficients["se"] / 20).all(), "they are unbiased"
    assert ((table["lower"] < table["estimate"]) & (table["estimate"] < table["upper"])).all()


def test_the_residual_sd_has_its_exact_spread():
    """sigma^2 (n - 2 * 18) / sigma^2 is chi-squared where no sd is near 0: sd(sigma) = sigma / sqrt(2 * 144)."""
    table = sleep_bootstrap().table
    assert table.loc["sigma", "se"] == pytest.approx(sleep_point().sigma / np.sqrt(288), rel=5 / np.sqrt(800))


def test_the_table_is_made_of_the_draws():
    found = sleep_bootstrap()
    days = found.draws["beta[Days]"]
    row = found.summary(0.8).loc["beta[Days]"]
    assert row["bias"] == pytest.approx(days.mean() - sleep_point().beta[1]) and row["se"] == pytest.approx(days.std())
    assert (row["lower"], row["upper"]) == pytest.approx(tuple(np.quantile(days, [0.1, 0.9])))
    assert list(found.draws.columns) == list(sleep_fit().summary().index[:6])


def test_refits_do_not_depend_on_the_processors():
    one, two = (sleep_point().bootstrap(12, seed=4, cores=cores, progress=False) for cores in (1, 3))
    pd.testing.assert_frame_equal(one.draws, two.draws)
    response = simulator(sleep_point())(stream(4, "bootstrap", 4))
    refit = sleep_model().with_data(frame("sleepstudy").assign(Reaction=response)).maximize()
    assert one.draws.loc[4, "beta[Days]"] == pytest.approx(refit.beta[1], rel=1e-6)


def test_a_bootstrap_does_not_share_its_numbers_with_simulated_data():
    """The first refit of a bootstrap was that of the first response simulated with the same seed."""
    point = sleep_point()
    first = point.bootstrap(2, seed=1, progress=False).draws.loc[0, "sigma"]
    data = frame("sleepstudy").assign(Reaction=point.simulate(1, seed=1)["sim_1"])
    assert sleep_model().with_data(data).maximize().sigma != pytest.approx(first, rel=1e-3)


def test_the_print_says_how_many_refits_are_singular():
    point = bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy").iloc[:60]).maximize()
    found = point.bootstrap(40, seed=1, progress=False)
    assert 0 < found.singular.sum() < 40
    assert f"{found.singular.sum()} of the 40 refits are singular" in str(found)
    assert "All converged. With fewer than 200 refits the ends" in " ".join(str(found).split())


def test_what_can_not_be_fitted_is_counted():
    """A single success in each simulated response, or none: some have no maximum, none stops the bootstrap."""
    data = pd.DataFrame({"y": np.r_[np.ones(3), np.zeros(27)], "g": np.arange(30) % 10})
    found = bmm.Model("y ~ 1 + (1 | g)", data, "bernoulli").maximize().bootstrap(30, seed=1, progress=False)
    assert len(found.draws) + found.failed == 30
    assert "bernoulli" not in str(found) and "refits" in str(found)


@pytest.mark.parametrize("method", ["ML", "MAP"])
def test_refits_are_by_the_same_method(method):
    point = sleep_model().maximize(method)
    found = point.bootstrap(2, seed=1, progress=False)
    data = frame("sleepstudy").assign(Reaction=simulator(point)(stream(1, "bootstrap", 0)))
    expected = sleep_model().with_data(data).maximize(method)
    assert found.draws.loc[0, "sigma"] == pytest.approx(expected.sigma, rel=1e-6)


def test_an_interrupted_bootstrap_keeps_what_is_done():
    done = []

    def advance():
        done.append(1)
        if len(done) == 5:
            raise KeyboardInterrupt

    def square(i):
        time.sleep(0.01)
        return i * i

    results, interrupted = repeat.repeated(square, 1000, 2, advance)
    assert interrupted and 5 <= len(results) < 100
    assert all(value == i * i for i, value in results.items())


def test_an_interrupted_bootstrap_says_so(monkeypatch):
    def stopped(task, number, cores, advance):
        return {i: task(i) for i in range(3)}, True

    monkeypatch.setattr("bayesmm.inference.simulation.bootstrap.repeated", stopped)
    found = sleep_point().bootstrap(50, seed=1, progress=False)
    assert len(found.draws) == 3 and "3 refits, seed 1, interrupted: 50 were asked for" in str(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": 1}, "samples should be a whole number of at least 2, not 1"),
        ({"cores": 0}, "cores should be a whole number of at least 1"),
        ({"seed": -1}, "seed should be None or a whole number"),
    ],
)
def test_wrong_arguments_of_a_bootstrap(given, said):
    with pytest.raises(ValueError, match=said):
        sleep_point().bootstrap(**given)


# ----------------------------------------------------------------------------------------------------------------------
# power


def two_level(groups=20, rows=5):
    """Return balanced data with a treatment of every second group."""
    g = np.repeat(np.arange(groups), rows)
    return pd.DataFrame({"g": g, "x": g % 2, "y": np.random.default_rng(0).normal(size=len(g))})


TREATMENT = {"Intercept": 0.0, "beta[x]": 1.0, "sd_g[Intercept]": 0.8, "sigma": 1.0}


def exact_power(groups, effect, rows=5, level=0.05):
    """Return the power of the t test of two groups of cluster means: noncentral t with groups - 2 degrees."""
    from scipy.stats import nct, t

    noncentral = effect / np.sqrt((0.8**2 + 1 / rows) * 4 / groups)
    quantile = t.ppf(1 - level / 2, groups - 2)
    return nct.sf(quantile, groups - 2, noncentral) + nct.cdf(-quantile, groups - 2, noncentral)


@functools.cache
def treatment_power():
    model = bmm.Model("y ~ x + (1 | g)", two_level())
    return bmm.power(model, TREATMENT, [20, 40], simulations=100, seed=1, progress=False)


def test_power_is_that_of_the_noncentral_t():
    """Of balanced data the test is exact but for sds estimated as 0."""
    for row in treatment_power().table.itertuples():
        expected = exact_power(row.groups, 1.0)
        assert abs(row.power - expected) < 4 * np.sqrt(expected * (1 - expected) / 100)


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "groups", "simulations"), [(0.0, [20], 2000), (0.8, [20, 60], 400)])
def test_power_over_many_simulations(effect, groups, simulations):
    """Without an effect the test rejects as often as its level says."""
    model, truth = bmm.Model("y ~ x + (1 | g)", two_level()), TREATMENT | {"beta[x]": effect}
    found = bmm.power(model, truth, groups, simulations=simulations, seed=2, progress=False)
    for row in found.table.itertuples():
        expected = exact_power(row.groups, effect)
        assert abs(row.power - expected) < 4 * np.sqrt(expected * (1 - expected) / simulations)


def test_intervals_are_wilsons():
    row, z = treatment_power().table.iloc[0], 1.959963984540054
    p, n = row["power"], 100
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (row["lower"], row["upper"]) == pytest.approx((centre - half, centre + half))


def test_whole_levels_are_copied():
    model = bmm.Model("y ~ x + (1 | g)", two_level(6).assign(z=np.arange(30.0)))
    design = resized(model, 0, 15, seed=1)
    block = design.blocks[0]
    assert len(block.levels) == 15 and (np.bincount(block.index) == 5).all()
    of_level = [design.X[block.index == k, 1] for k in range(15)]
    assert all(np.ptp(x) == 0 for x in of_level), "a level's rows stay together"
    assert sum(x[0] for x in of_level) in (6, 7, 8, 9), "two whole copies, and three levels more"


def test_inner_levels_are_copied_with_the_outer_ones():
    pastes = frame("pastes")
    model = bmm.Model("strength ~ 1 + (1 | batch/cask)", pastes)
    k = outer_factor(model.design, None)
    assert model.design.blocks[k].group == "batch"
    design = resized(model, k, 25, seed=1)
    sizes = {block.group: len(block.levels) for block in design.blocks}
    assert sizes == {"batch": 25, "batch:cask": 75}, "three casks in each batch"
    labels = pastes.assign(cask=pastes["batch"].astype(str) + pastes["cask"].astype(str))
    own = bmm.Model("strength ~ 1 + (1 | batch) + (1 | cask)", labels)
    design = resized(own, outer_factor(own.design, None), 25, seed=1)
    assert {block.group: len(block.levels) for block in design.blocks} == {"batch": 25, "cask": 75}


def test_crossed_levels_stay_what_they_are():
    data = crossed(np.random.default_rng(0))
    model = bmm.Model("y ~ x + (1 | g) + (1 | i)", data, weights="w")
    with pytest.raises(ValueError, match="by should name the grouping factor whose levels are counted, one of g, i"):
        outer_factor(model.design, None)
    design = resized(model, outer_factor(model.design, "g"), 13, seed=1)
    assert {block.group: len(block.levels) for block in design.blocks} == {"g": 13, "i": 4}
    assert set(design.weights) <= set(data["w"])


def test_power_of_another_family():
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 10), "x": rng.normal(size=80), "y": rng.integers(0, 2, 80)})
    model = bmm.Model("y ~ x + (1 | g)", data, "bernoulli")
    given = {"Intercept": 0.0, "beta[x]": 1.5, "sd_g[Intercept]": 0.5}
    found = bmm.power(model, given, [4, 16], simulations=12, seed=1, progress=False)
    assert found.table["power"].iloc[1] > 0.9 and "z, maximum likelihood" in str(found)


def test_power_at_a_number_does_not_depend_on_the_other_numbers():
    model = bmm.Model("y ~ x + (1 | g)", two_level())
    given = dict(simulations=60, seed=1, progress=False)  # the power is near one half: a stroke of luck is unlikely
    both = bmm.power(model, TREATMENT, [10, 16], cores=2, **given).table
    alone = [bmm.power(model, TREATMENT, [k], cores=1, **given).table for k in (10, 16)]
    pd.testing.assert_frame_equal(both, pd.concat(alone, ignore_index=True))


def test_the_test_rejects_where_p_is_at_most_the_level():
    from bayesmm.inference.simulation.power import _test

    design = sleep_model().design
    p = sleep_point().fixef("satterthwaite").loc["Days", "p"]
    assert _test(design, 1, 1.01 * p)(design) and not _test(design, 1, 0.99 * p)(design)


def test_power_is_printed_and_drawn():
    import matplotlib as mpl

    mpl.use("Agg")
    found = treatment_power()
    text = str(found)
    assert "how often beta[x] = 1 is found to differ from 0" in text and "levels of g" in text
    ax = found.plot()
    np.testing.assert_array_equal(ax.lines[-1].get_xydata(), found.table[["groups", "power"]])
    assert ax.get_xlabel() == "levels of g"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"groups": [1, 5]}, ValueError, r"groups should be whole numbers of at least 2, such as .* not \[1, 5\]"),
        ({"groups": [2.5]}, ValueError, "groups should be whole numbers"),
        ({"groups": np.ma.masked_array([10, 20], [True, False])}, ValueError, "groups should be whole numbers"),
        ({"test": "z"}, ValueError, "test names 'z', which is no coefficient of the model"),
        ({"level": 1.0}, ValueError, "level must be a probability between 0 and 1"),
        ({"simulations": 0}, ValueError, "simulations should be a whole number of at least 1"),
        ({"by": "G"}, ValueError, "by names 'G', which is no grouping factor of the model; did you mean 'g'"),
        ({"parameters": {"Intercept": 0}}, ValueError, r"parameters has no value for beta\[x\]"),
    ],
)
def test_wrong_arguments_of_power(given, error, said):
    model = bmm.Model("y ~ x + (1 | g)", two_level())
    with pytest.raises(error, match=said):
        bmm.power(model, **({"parameters": TREATMENT, "groups": [4]} | given))


def test_power_needs_groups_that_only_group():
    with pytest.raises(bmm.DataError, match="the model has none"):
        bmm.power(bmm.Model("y ~ x", two_level()), {"Intercept": 0, "beta[x]": 1, "sigma": 1}, [4])
    data = two_level().assign(g=lambda d: d["g"].astype(float))
    model = bmm.Model("y ~ x + g + (1 | g)", data)
    with pytest.raises(bmm.DataError, match="the grouping factor 'g' is also a predictor"):
        bmm.power(model, TREATMENT | {"beta[g]": 0.0}, [4], test="x")


def test_a_coefficient_that_can_not_be_estimated_is_refused():
    data = two_level(20).assign(x=lambda d: (d["g"] == 3).astype(float))  # one group is treated
    with pytest.raises(bmm.DataError, match=r"with 2 groups beta\[x\] cannot be told apart"):
        bmm.power(bmm.Model("y ~ x + (1 | g)", data), TREATMENT, [2], seed=1, progress=False)
