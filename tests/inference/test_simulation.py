"""Simulated responses and the posterior predictive, against formulas written here anew."""

import numpy as np
import pandas as pd
import pytest
from other_densities import example, typical
from references import frame
from sleep_study import LIMIT, SLEEP, crossed, sleep_fit, sleep_model, sleep_point

import bayesmm as bmm
from bayesmm.families.families import FAMILIES
from bayesmm.families.links import LINKS

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

TRUTH = {
    "Intercept": 250.0, "beta[Days]": 10.0, "sd_Subject[Intercept]": 25.0, "sd_Subject[Days]": 6.0,
    "corr_Subject[Intercept, Days]": -0.4, "sigma": 20.0,
}  # fmt: skip


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


DRAWS = 1500  # of each family; the limits are in their standard errors
HEAVY = ("lognormal", "shifted_lognormal")  # few draws say little of the error of their variance


# ordered categories are simulated in tests/model/test_ordered_response.py
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.ordered])
def test_every_family_has_its_mean_and_variance(name):
    """Without random effects (sd 0) the rows are independent, with the family's mean and variance."""
    rng, family = np.random.default_rng(3), FAMILIES[name]
    own, y = dict(zip(family.auxiliaries, typical(family), strict=True)), example(family, rng, 30, 5)
    if "loglogistic" in name:
        own["shape"] = 9.0  # a fourth moment is finite above 4, and known from draws above 8
    data = pd.DataFrame({"y": y, "x": np.linspace(-1, 1, 30), "g": np.arange(30) % 6, "n": 5})
    model = bmm.Model("y ~ x + (1 | g)", data, name, trials="n" if family.support.trials else None)
    given = {"Intercept": 0.3, "beta[x]": 0.4, "sd_g[Intercept]": 0.0, **own}
    n = 4000 if name in HEAVY else DRAWS
    draws = model.simulate(given, n, seed=1).to_numpy().T
    mu = LINKS[model.family.link].inverse(0.3 + 0.4 * data["x"].to_numpy())
    size = 5 if family.support.trials else 1
    mean = size * family.expected(mu, tuple(own.values()))
    variance = size**2 * family.scattered(mu, size, tuple(own.values()))
    if name == "student":
        variance = np.full(30, 0.8**2 * 6 / 4)  # sigma^2 nu / (nu - 2); the family's is for weights of residuals
    assert (np.abs(draws.mean(axis=0) - mean) < LIMIT * np.sqrt(variance / n)).all()
    squares = (draws - mean) ** 2
    assert (np.abs(squares.mean(axis=0) - variance) < LIMIT * squares.std(axis=0) / np.sqrt(n)).all()
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
