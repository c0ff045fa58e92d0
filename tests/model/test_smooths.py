"""Models with smooths against mgcv's numbers, dense formulas, and one another."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from invented import draws, invented
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from structure_references import dense, structures, table

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning, DataError
from bayesmm.evaluation.graph_vs_reml import check_consistency
from bayesmm.evaluation.smooths import _Inverse, curves
from bayesmm.likelihood.problem import orthogonal_problem
from bayesmm.posterior.parameter_values import parameter_values

CYCLE, SIMULATED = table("mcycle"), table("smooths")
WITH_GROUPS = "y ~ f + s(x, bs = 'cr', k = 10) + (1 | g)"
BY_GROUPS = "y ~ f + s(x, by = f, bs = 'cr', k = 10) + (1 | g)"
MODELS = {
    "k05_mcycle_cr_reml": ("accel ~ s(times, bs = 'cr', k = 20)", CYCLE),
    "k05_mcycle_ps_reml": ("accel ~ s(times, bs = 'ps', k = 20)", CYCLE),
    "k05_mcycle_tp_reml": ("accel ~ s(times, k = 20)", CYCLE),
    "k05_mcycle_tp_ml": ("accel ~ s(times, k = 20)", CYCLE),
    "k05_sim_by_re_reml": (BY_GROUPS, SIMULATED),
    "k05_sim_re_ml": (WITH_GROUPS, SIMULATED),
}


def names_of_mgcv(design) -> list[str]:
    """Return what mgcv calls the smooths and the random intercepts of a design."""
    names = [block.group.replace("f[", "f").replace("]", "") for block in design.blocks]
    return [name if block.smooth else f"s({name})" for name, block in zip(names, design.blocks, strict=True)]


# ----------------------------------------------------------------------------------------------------------------------
# REML and ML


@pytest.mark.parametrize("name", MODELS)
def test_the_maximum_is_that_of_mgcv(name):
    # criterion to 1e-9: mgcv's own convergence; sds to 1e-5 relative: where the criterion is flat to 1e-10; edf and
    # fitted values follow them
    reference, (formula, data) = structures()[name], MODELS[name]
    method = reference["estimator"]
    point = bmm.Model(formula, data).maximize(method)
    assert point.converged
    assert_allclose(point.criterion, reference["dense_mixed_model"]["minus2ll"], rtol=1e-9)
    assert_allclose(dense(point.design, point.covariances, point.sigma, method == "REML"), point.criterion, rtol=1e-9)
    wanted = reference["dense_mixed_model"]["sd"]
    sds = [np.sqrt(S[0, 0]) for S in point.covariances]
    assert_allclose(sds, [wanted[key] for key in names_of_mgcv(point.design)], rtol=1e-4)
    assert_allclose(point.sigma, wanted["residual"], rtol=1e-5)
    rows = np.array(reference["fitted_rows"]) - 1
    assert_allclose(point.fitted[rows], reference["fitted_link"], atol=1e-4 * point.sigma)
    known = reference["edf_smooths"]
    edf = dict(zip(known["labels"], np.atleast_1d(known["edf"]), strict=True))
    own = point.smooths()
    labels = [label.replace("f[", "f").replace("]", "") for label in own["smooth"]]
    assert_allclose(own["edf"], [edf[label] for label in labels], rtol=1e-4)
    if method == "REML":  # with ML mgcv takes another sigma for them
        se = point.predict(data, se=True)["se"].to_numpy()[rows]
        assert_allclose(se, reference["fitted_link_se_bayes"], rtol=1e-3)


def test_ml_is_that_of_gamm_too():
    reference = structures()["k05_sim_re_gamm_ml"]
    point = bmm.Model(WITH_GROUPS, SIMULATED).maximize("ML")
    assert_allclose(point.criterion, reference["criterion"], rtol=1e-8)
    assert_allclose(point.smooths()["edf"] + 3, reference["edf"], rtol=1e-4)  # theirs with the three coefficients


def test_the_poisson_model_is_that_of_mgcv():
    # mgcv has the coefficients at their joint mode with the effects, as glmer with nAGQ = 0, which is a little higher
    reference = structures()["k05_sim_poisson_ml"]
    model = bmm.Model("cnt ~ f + s(x, bs = 'cr', k = 12)", SIMULATED, family="poisson")
    point = model.maximize("ML")
    assert 2 * reference["gam_score"] - 0.02 < point.criterion <= 2 * reference["gam_score"]
    assert_allclose(point.linear[np.array(reference["fitted_rows"]) - 1], reference["fitted_link"], atol=0.01)
    assert_allclose(point.smooths()["edf"], reference["edf_smooths"]["edf"], rtol=5e-3)


def test_gradient_in_theta():
    problem = orthogonal_problem(bmm.Model(BY_GROUPS, SIMULATED).design)
    x, weights = np.array([0.7, 1.2, 0.4, 0.9]), np.random.default_rng(1).normal(size=problem.n_packed)
    ours = problem.gradient(weights, x)
    steps = 1e-6 * np.eye(4)
    differences = [weights @ (problem.packed(x + h) - problem.packed(x - h)) / 2e-6 for h in steps]
    assert_allclose(ours, differences, rtol=1e-7, atol=1e-9)


def test_a_straight_line_has_no_wiggles_and_is_the_linear_model():
    data = SIMULATED.assign(y=2 * SIMULATED["x"] + 0.1 * np.random.default_rng(2).normal(size=240))
    point = bmm.Model("y ~ s(x)", data).maximize()
    line = bmm.Model("y ~ x", data).maximize()
    if point.covariances[0][0, 0] == 0:
        assert point.singular
    assert point.smooths()["edf"][0] < 2.5
    assert_allclose(point.fitted, line.fitted, atol=0.1)


def test_curves_and_bands_of_a_maximised_model():
    point = bmm.Model("accel ~ s(times, k = 20)", CYCLE).maximize()
    (curve,) = curves(point)
    t = curve.table
    assert (t["lower_all"] <= t["lower"]).all() and (t["upper"] <= t["upper_all"]).all()
    predicted = point.predict(t[["times"]])["estimate"].to_numpy()
    assert_allclose(t["estimate"] + point.beta[0], predicted, rtol=1e-8)
    assert curve.edf == pytest.approx(structures()["k05_mcycle_tp_reml"]["edf_smooths"]["edf"], rel=1e-4)
    ratio = ((t["upper_all"] - t["estimate"]) / t["se"]).to_numpy()
    assert np.ptp(ratio) < 1e-6 and 2.5 < ratio[0] < 3.5  # above 1.96, as every point is in it


def test_profile_intervals_hold_the_estimates():
    point = bmm.Model(WITH_GROUPS, SIMULATED).maximize("ML")
    table, found = point.confint(), point.parameters
    for place in ("sd_g[Intercept]", "sd_s(x)[smooth]", "sigma", "beta[s(x)]"):
        assert table.loc[place, "lower"] < found[place] < table.loc[place, "upper"]


def test_the_print_has_a_line_for_a_smooth():
    point = bmm.Model(BY_GROUPS, SIMULATED).maximize()
    text = str(point)
    assert "groups: g, 12" in text and text.count("smooth") >= 3
    assert len(point.varcorr()) == 5
    assert list(point.varcorr()["var1"])[:4] == ["Intercept", "smooth", "smooth", "smooth"]
    assert list(point.coef()) == ["g"]


# ----------------------------------------------------------------------------------------------------------------------
# predictions, simulations, files


def test_predictions_have_the_curve_also_of_the_population():
    point = bmm.Model(WITH_GROUPS, SIMULATED).maximize()
    own, average = (point.predict(groups=groups)["estimate"].to_numpy() for groups in ("conditional", "population"))
    g = point.design.blocks[0]
    assert_allclose(own - average, point.modes[0][g.index, 0], atol=1e-9)
    with pytest.warns(BayesmmWarning, match="s\\(x\\) is evaluated beyond the data of the fit"):
        point.predict(SIMULATED.head(2).assign(x=9.0))
    new = SIMULATED.head(3).assign(g="new")
    assert_allclose(point.predict(new, new_levels="zero")["estimate"], average[:3], atol=1e-9)


def test_draws_give_the_same_curve(tmp_path):
    model = bmm.Model(BY_GROUPS, SIMULATED)
    fit = invented(model)
    eta = draws(fit, "beta") @ model.design.X.T
    for block in model.design.blocks:
        b = draws(fit, f"b_{block.name}")
        eta = eta + np.einsum("sij,ij->si", b[:, block.index], block.Z)
    assert_allclose(fit.predict(kind="linear").draws.reshape(-1, model.design.n), eta, rtol=1e-10)
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    new = SIMULATED.sample(20, random_state=1)
    assert_allclose(again.predict(new, kind="linear").draws, fit.predict(new, kind="linear").draws, rtol=1e-12)
    few = list(curves(fit))
    assert [curve.place.name for curve in few] == ["s(x):f[a]", "s(x):f[b]", "s(x):f[c]"]
    assert_allclose(few[0].table["estimate"].mean(), few[0].table["estimate"].mean())
    assert len(fit.smooths()) == 3 and fit.smooths()["edf"].between(1, 9).all()


def test_other_data_keep_the_knots_and_simulations_have_the_spread():
    model = bmm.Model("y ~ s(x, k = 6) + (1 | g)", SIMULATED)
    fewer = model.with_data(SIMULATED[SIMULATED["x"] < 0.6])
    assert_allclose(fewer.design.blocks[1].Z, model.design.blocks[1].Z[(SIMULATED["x"] < 0.6).to_numpy()], atol=1e-12)
    values = dict.fromkeys((p for p in model.maximize().parameters), 0.0)
    values |= {"sd_s(x)[smooth]": 2.0, "sigma": 0.1}
    drawn = model.simulate(values, draws=4000, seed=1).to_numpy()
    Z = model.design.blocks[1].Z
    assert_allclose(np.cov(drawn), 4 * Z @ Z.T + 0.01 * np.eye(240), atol=0.15 * 4 * (Z @ Z.T).max())


def test_new_groups_keep_the_curves_that_are_known():
    """A curve is a part of the mean: the mean of many simulations is the population's, whatever the groups."""
    model = bmm.Model(WITH_GROUPS, SIMULATED)
    point, fit = model.maximize(), invented(model)
    average = point.predict(groups="population")["estimate"].to_numpy()
    spread = np.hypot(point.parameters["sd_g[Intercept]"], point.parameters["sigma"])
    for drawn in (point.simulate(1000, seed=1), model.simulate(point, 1000, seed=2)):
        # in each of the 240 rows within 5 standard errors
        assert np.abs(drawn.mean(axis=1) - average).max() < 5 * spread / np.sqrt(1000)
    curve = fit.predict(kind="linear", groups="population").draws.reshape(-1, model.design.n)
    sd = np.sqrt(draws(fit, "sd_g")[:, 0] ** 2 + draws(fit, "sigma") ** 2)
    y = fit.posterior_predictive(groups="new", seed=1)["posterior_predictive"]["y"].to_numpy().reshape(curve.shape)
    z = ((y - curve) / sd[:, None]).mean(axis=0) * np.sqrt(len(y))  # a standard normal number for each row
    assert np.abs(z).max() < 5
    other = bmm.Model(WITH_GROUPS, SIMULATED[SIMULATED["x"] < 0.6])  # with knots of its own
    assert parameter_values(other.design, point)(None).curves == {}
    assert set(parameter_values(model.with_data(SIMULATED.iloc[::2]).design, point)(None).curves) == {1}


def test_what_cannot_be_is_said():
    model = bmm.Model(WITH_GROUPS, SIMULATED)
    point = model.maximize()
    for asked in (point.r2, point.icc):
        with pytest.raises(DataError, match="knows no smooths"):
            asked()
    with pytest.raises(DataError, match="knows no smooths"):
        point.fixef(ddf="containment")
    with pytest.raises(DataError, match="a covariance has a structure"):
        point.fixef(ddf="kenward-roger")
    with pytest.raises(DataError, match="s\\(x\\) has penalised effects too"):
        bmm.anova(point)
    with pytest.raises(DataError, match="smooths have their own"):
        bmm.emmeans(point, "f")
    with pytest.raises(DataError, match="the model has no smooth"):
        bmm.Model("y ~ x + (1 | g)", SIMULATED).maximize().smooths()


def test_figures_are_drawn(headless, tmp_path):
    point = bmm.Model("y ~ f + s(x, by = f) + (1 | g)", SIMULATED).maximize()
    assert len(bmm.plots.smooths(point)) == 3
    fit = invented(bmm.Model("accel ~ s(times)", CYCLE))
    found = bmm.plots.smooths(fit)
    assert len(found) == 1 and found.save(tmp_path / "a" / "smooths.png").stat().st_size > 1000


# ----------------------------------------------------------------------------------------------------------------------
# the posterior


@pytest.fixture(scope="module")
def fit():
    return bmm.Model("accel ~ s(times, k = 12)", CYCLE).sample(1000, 500, 4, seed=3, progress=False)


def log_density(design, sd: float, sigma: float, priors) -> float:
    """Return the log marginal posterior density of the sds, the coefficients and effects integrated out, dense."""
    block, X = design.blocks[0], design.X - design.X.mean(axis=0) * [0, 1]
    s = [priors["Intercept_centred"].parameters["sigma"], priors["beta[s(times)]"].parameters["sigma"]]
    m = X @ [priors["Intercept_centred"].parameters["mu"], 0.0]
    V = sd**2 * block.Z @ block.Z.T + sigma**2 * np.eye(design.n) + (X * np.square(s)) @ X.T
    r = design.y - m
    value = -0.5 * (np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r))
    return value + priors["sd_s(times)[smooth]"].logpdf(sd) + priors["sigma"].logpdf(sigma)


def test_the_marginal_mode_is_that_of_the_dense_density():
    model = bmm.Model("accel ~ s(times, k = 12)", CYCLE)
    point = model.maximize("MAP")
    best = minimize(lambda t: -log_density(model.design, *np.exp(t), model.priors), [6.0, 3.0], tol=1e-10)
    assert_allclose([np.sqrt(point.covariances[0][0, 0]), point.sigma], np.exp(best.x), rtol=1e-4)


@pytest.mark.slow
def test_the_evidence_is_that_of_a_grid(fit):
    model, sds, sigmas = fit.model, np.exp(np.linspace(4, 9, 120)), np.linspace(16, 32, 80)
    logs = np.array([[log_density(model.design, sd, sigma, model.priors) for sigma in sigmas] for sd in sds])
    cells = np.gradient(sds)[:, None] * np.gradient(sigmas)
    grid = np.log((np.exp(logs - logs.max()) * cells).sum()) + logs.max() - 0.5 * model.design.n * np.log(2 * np.pi)
    assert fit.evidence(seed=1).log_evidence == pytest.approx(grid, abs=0.05)  # of the cells, and Monte Carlo
    assert fit.consistency().ok  # with flat priors the compiled density has its maximum at REML


@pytest.mark.slow
def test_the_graph_with_the_effects_written_out_has_its_mode_at_reml():
    model = bmm.Model("accel ~ s(times, k = 6)", CYCLE)
    assert check_consistency(model.design, model.maximize()).ok


@pytest.mark.slow
def test_the_posterior_is_that_of_a_grid(fit):
    priors, design, places = fit.model.priors, fit.design, ("sd_s(times)[smooth]", "sigma")
    table = fit.summary().loc[list(places)]
    ends = [(max(row["mean"] - 5 * row["sd"], 1e-3), row["mean"] + 10 * row["sd"]) for _, row in table.iterrows()]
    grid = [np.linspace(*end, 60) for end in ends]
    logs = np.array([[log_density(design, sd, sigma, priors) for sigma in grid[1]] for sd in grid[0]])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    for place, values, share in zip(places, grid, (weights.sum(axis=1), weights.sum(axis=0)), strict=True):
        mean = share @ values
        sd = np.sqrt(share @ np.square(values - mean))
        error = 4.5 * sd / np.sqrt(table.loc[place, "ess_bulk"]) + 0.01 * sd
        assert abs(table.loc[place, "mean"] - mean) < error
        assert table.loc[place, "sd"] == pytest.approx(sd, rel=0.1)


@pytest.mark.slow
def test_compare_report_and_loo(fit, tmp_path, headless):
    text = str(fit.compare())
    assert "sd_s(times)[smooth]" in text
    fit.report(tmp_path / "fit.html")
    assert "penalised smooth s(times)" in (tmp_path / "fit.html").read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        assert np.isfinite(fit.loo(refit=False).elpd)


def test_a_smooth_that_is_not_nested_is_called_as_it_is_written():
    one, by = (bmm.Model(formula, SIMULATED).maximize() for formula in (WITH_GROUPS, BY_GROUPS))
    text = " ".join(str(bmm.lrt(one, by)).split())
    assert "its smooth s(x) is not part of one of the other's" in text and "ident" not in text


def test_rows_that_say_nothing_leave_a_curve_without_degrees_of_freedom():
    point = bmm.Model("accel ~ s(times, k = 5)", CYCLE).maximize()
    silent = SimpleNamespace(design=point.design, covariances=point.covariances, information=np.zeros(point.design.n))
    with pytest.raises(DataError, match="say nothing about a combination of the coefficients"):
        _Inverse(silent)
