"""A residual structure that no module of the package names, defined here by one record, from its formula to a file.

Strata, as nlme's varIdent: the residual sd is sigma in the first level of a factor and sigma exp(delta_k) in the k-th.
Everything is held against dense formulas: V = Z Sigma Z' + diag(sigma^2 d^2 / w), with NumPy and SciPy alone.
"""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from fake_fits import posterior_near
from invented import draws, invented
from scipy import optimize, stats
from strata import STRATA, table

import bayesmm as bmm
from bayesmm.design.residual.reals import from_reals, to_reals
from bayesmm.design.residual.structure import (
    ResidualParameter,
    ResidualStructure,
    ResidualTerm,
    residual_weights,
)
from bayesmm.design.residual.structures import STRUCTURES, registered
from bayesmm.errors import DataError, FormulaError, PriorError
from bayesmm.evaluation.graph_vs_reml import check_consistency
from bayesmm.likelihood.problem import integrate
from bayesmm.posterior.draws import posterior_residuals
from bayesmm.reporting.mathml import mathml

FORMULA = "y ~ x + (1 | g) + strata(f)"
TRUTH = {
    "beta[Intercept]": 3.0,
    "beta[x]": 0.7,
    "sd_g[Intercept]": 1.2,
    "sigma": 1.0,
    "delta[b]": 0.7,
    "delta[c]": -0.7,
}


@pytest.fixture(autouse=True, scope="module")
def known():
    with registered(STRATA):
        yield


@pytest.fixture(scope="module")
def data():
    return table()


@pytest.fixture(scope="module")
def model(data):
    return bmm.Model(FORMULA, data)


@pytest.fixture(scope="module")
def point(model):
    return model.maximize()


def relative(frame, delta):
    """Return d of each row for (..., 2) deltas, by a table of levels."""
    delta = np.asarray(delta)
    ratios = np.concatenate([np.ones((*delta.shape[:-1], 1)), np.exp(delta)], axis=-1)
    return ratios[..., pd.Categorical(frame["f"], ["a", "b", "c"]).codes]


# ----------------------------------------------------------------------------------------------------------------------
# maximised: V written out


def dense(frame, theta, slope, weighted, reml):
    """Return -2 log likelihood (ML, REML) with beta at its best; theta: the entries of L, log sigma, delta."""
    n, q = len(frame), 2 if slope else 1
    L = np.zeros((q, q))
    L[np.tril_indices(q)] = theta[: q * (q + 1) // 2]
    X = np.column_stack([np.ones(n), frame["x"]])
    Z = np.column_stack([np.where(frame["g"] == g, 1.0, 0.0)[:, None] * X[:, :q] for g in frame["g"].unique()])
    sd = np.exp(theta[-3]) * relative(frame, theta[-2:]) / (np.sqrt(frame["w"]) if weighted else 1.0)
    V = Z @ np.kron(np.eye(Z.shape[1] // q), L @ L.T) @ Z.T + np.diag(np.square(sd))
    inverse = np.linalg.inv(V)
    information = X.T @ inverse @ X
    beta = np.linalg.solve(information, X.T @ inverse @ frame["y"])
    r = frame["y"] - X @ beta
    value = np.linalg.slogdet(V)[1] + r @ inverse @ r + n * np.log(2 * np.pi)
    if reml:
        value += np.linalg.slogdet(information)[1] - 2 * np.log(2 * np.pi)
    return value, beta, np.linalg.inv(information)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("slope", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_maximum_is_that_of_the_dense_likelihood(method, slope, weighted):
    data = table(slope=float(slope))
    formula = "y ~ x + (x | g) + strata(f)" if slope else FORMULA
    found = bmm.Model(formula, data, weights="w" if weighted else None).maximize(method)
    own = slope, weighted, method == "REML"
    start = _theta(found, slope) + np.resize([0.1, -0.1], 6 if slope else 4)  # not far away, to save time
    best = optimize.minimize(lambda t: dense(data, t, *own)[0], start, method="BFGS", options={"gtol": 1e-6})
    value, beta, covariance = dense(data, best.x, *own)
    assert found.converged and not found.singular
    # the dense optimum is known to where BFGS with differences of the criterion stops, 1e-4 of its curvature
    assert found.criterion == pytest.approx(value, abs=1e-7)
    assert dense(data, _theta(found, slope), *own)[0] == pytest.approx(found.criterion, abs=1e-9)  # the same function
    np.testing.assert_allclose(found.beta, beta, atol=1e-4)
    np.testing.assert_allclose(found.beta_cov, covariance, atol=1e-5)
    np.testing.assert_allclose(found.residual["delta"], best.x[-2:], atol=1e-4)
    assert found.sigma == pytest.approx(np.exp(best.x[-3]), rel=1e-4)
    assert found.npar == 2 + (3 if slope else 1) + 1 + 2


def _theta(found, slope):
    L = np.linalg.cholesky(found.covariances[0])
    return np.array([*L[np.tril_indices(2 if slope else 1)], np.log(found.sigma), *found.residual["delta"]])


def test_with_a_mean_for_each_stratum_reml_gives_each_its_own_variance(data):
    # closed form: without random effects the strata are separate samples, s_k^2 = SS_k / (n_k - 1)
    point = bmm.Model("y ~ 0 + f + strata(f)", data).maximize()
    expected = data.groupby("f")["y"].std(ddof=1).to_numpy()
    np.testing.assert_allclose(point.sigma * np.exp([0.0, *point.residual["delta"]]), expected, rtol=1e-6)
    np.testing.assert_allclose(point.fixef()["se"], expected / np.sqrt(data.groupby("f").size()), rtol=1e-6)
    assert "Residual, strata(f): delta[b]" in str(point)  # not the summary of least squares


def test_equal_strata_give_the_model_without_the_structure(data):
    # at delta = 0 the dense likelihood is that of the plain model; the likelihood ratio has two degrees of freedom
    plain, found = (bmm.Model(text, data).maximize("ML") for text in ("y ~ x + (1 | g)", FORMULA))
    theta = [np.sqrt(plain.covariances[0][0, 0]), np.log(plain.sigma), 0.0, 0.0]
    assert dense(data, theta, False, False, False)[0] == pytest.approx(plain.criterion, abs=1e-9)
    assert found.npar == plain.npar + 2 and found.loglik > plain.loglik
    assert re.search(r"\n 2 +6 .* 2 +\S+$", str(bmm.lrt(plain, found)))


def test_a_search_may_start_anywhere(model, point):
    again = model.maximize(start={"delta[b]": -2.0, "delta[c]": 2.0, "sigma": 0.3, "sd_g[Intercept]": 3.0})
    assert again.criterion == pytest.approx(point.criterion, abs=1e-9)
    np.testing.assert_allclose(again.residual["delta"], point.residual["delta"], atol=1e-6)
    with pytest.raises(ValueError, match=re.escape("the places are sd_g[Intercept], sigma, delta[b], delta[c]")):
        model.maximize(start={"delta[d]": 1.0})
    with pytest.raises(ValueError, match=re.escape("start['delta[b]'] must be a number between -inf and inf")):
        model.maximize(start={"delta[b]": float("nan")})


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_stratum_of_one_row_has_no_sd_of_its_own(data, method):
    # of one row: its coefficient's part fits it exactly, REML does not change with its sd and ML has no maximum
    frame = pd.concat([data[data["f"] != "c"], data[data["f"] == "c"].head(1)])
    with pytest.raises(DataError, match=re.escape("the data do not determine delta[c] of strata(f)")):
        bmm.Model(FORMULA, frame).maximize(method)


def test_the_graph_has_the_same_likelihood(model, point):
    found = check_consistency(model.design, point)
    assert found.ok and abs(found.gap) < 1e-5  # where a search by differences ends


def test_the_estimates_by_place(model, point):
    assert list(point.parameters) == list(TRUTH)
    assert point.parameters["delta[b]"] == point.residual["delta"][0]
    assert list(point.varcorr()["grp"]) == ["g", "Residual"]
    text = str(point)
    assert re.search(r"Residual, strata\(f\): delta\[b\] 0\.\d+, delta\[c\] -0\.\d+", text)


def test_the_residuals_are_in_units_of_the_sd_of_their_row(data, point):
    expected = point.residuals / (point.sigma * relative(data, point.residual["delta"]))
    np.testing.assert_allclose(point.scaled_residuals, expected, rtol=1e-12)


def test_predictions_of_new_rows_have_the_sd_of_their_stratum(data, point):
    new = data.iloc[[0, 5, 30]].drop(columns="y").assign(f=["a", "b", "c"])
    found = point.predict(new, se=True)
    variance = np.square(point.sigma * relative(new, point.residual["delta"]))
    np.testing.assert_allclose(np.square(found["sd"]) - np.square(found["se"]), variance, rtol=1e-9)
    np.testing.assert_allclose(
        point.predict(new.drop(columns="f"))["estimate"], found["estimate"]
    )  # the mean needs none
    assert len(point.predict(new.head(0), se=True)) == 0
    with pytest.raises(DataError, match="column 'f', which the model needs, is not in the data"):
        point.predict(new.drop(columns="f"), se=True)


def test_standard_errors_of_predictions_are_those_of_the_dense_formula(data, point):
    # Henderson's equations: var([beta; b] | y) = ([X Z]' R^-1 [X Z] + diag(0, 1 / s^2))^-1
    groups = pd.get_dummies(data["g"]).reindex(columns=data["g"].unique()).to_numpy(float)
    XZ = np.column_stack([np.ones(len(data)), data["x"], groups])
    precision = 1 / np.square(point.sigma * relative(data, point.residual["delta"]))
    prior = np.diag([0.0, 0.0, *np.full(groups.shape[1], 1 / point.covariances[0][0, 0])])
    covariance = np.linalg.inv((XZ.T * precision) @ XZ + prior)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", XZ, covariance, XZ))
    np.testing.assert_allclose(point.predict(se=True)["se"], expected, rtol=1e-7)


def test_the_same_model_of_other_data_keeps_its_strata(model):
    other = table(seed=2)
    again = model.with_data(other[other["f"] != "c"])
    assert again.design.residual.parameters[0].terms == ("b", "c") and not again.design.residual.rows[:, 1].any()
    assert dict(again.priors) == dict(model.priors)


# ----------------------------------------------------------------------------------------------------------------------
# simulated


def test_simulated_responses_scatter_as_their_stratum_does(data, model, point):
    simulated = model.simulate(TRUTH | {"sd_g[Intercept]": 0.0, "beta[x]": 0.0}, draws=400, seed=1).to_numpy()
    expected = relative(data, [0.7, -0.7])
    for value in np.unique(expected):  # the sd of m numbers has a relative error of 1 / sqrt(2 m), here below 0.7 %
        assert simulated[expected == value].std() == pytest.approx(value, rel=0.03)
    again = point.simulate(400, seed=1, effects="kept").to_numpy() - point.linear[:, None]
    own = point.sigma * relative(data, point.residual["delta"])
    np.testing.assert_allclose((again / own[:, None]).std(), 1.0, rtol=0.02)
    with pytest.raises(ValueError, match=re.escape("parameters has no value for delta[c]")):
        model.simulate({name: value for name, value in TRUTH.items() if name != "delta[c]"})


# ----------------------------------------------------------------------------------------------------------------------
# a posterior: what is computed from draws, whatever they are


@pytest.fixture(scope="module")
def fit(model):
    return invented(model)


def sds_of(fit, frame):
    return draws(fit, "sigma")[:, None] * relative(frame, draws(fit, "delta"))


def test_the_log_likelihood_of_rows_and_levels_is_that_of_their_normal_distribution(data, fit):
    from bayesmm.posterior.log_likelihood import by_level, by_row, conditional, split_by

    design, sd = fit.design, sds_of(fit, data)
    eta = fit.predict(kind="linear").draws.reshape(len(sd), -1)
    np.testing.assert_allclose(conditional(fit), stats.norm.logpdf(data["y"], eta, sd), rtol=1e-11)
    split = split_by(design, "g")
    levels, rows = by_level(fit, split), by_row(fit, split)
    fixed = draws(fit, "beta") @ design.X.T
    for s in (0, 17):
        for g in (0, 7):
            own = np.flatnonzero(design.blocks[0].index == g)
            V = np.diag(sd[s, own] ** 2) + draws(fit, "sd_g")[s, 0] ** 2
            r = data["y"].to_numpy()[own] - fixed[s, own]
            assert levels[s, g] == pytest.approx(stats.multivariate_normal.logpdf(r, cov=V), rel=1e-10)
            P = np.linalg.inv(V)
            alone = stats.norm.logpdf(P @ r / np.diag(P), scale=np.diag(P) ** -0.5)  # Sundararajan & Keerthi (2001)
            np.testing.assert_allclose(rows[s, own], alone, rtol=1e-9)


def test_nested_factors_integrate_out_with_the_strata_too(data):
    from bayesmm.posterior.log_likelihood import by_level, split_by

    frame = data.assign(h=[f"{g}{i // 4 % 2}" for i, g in enumerate(data["g"])])
    fit = invented(bmm.Model("y ~ x + (1 | g) + (1 | h) + strata(f)", frame))
    found, sd, design = by_level(fit, split_by(fit.design, "g")), sds_of(fit, frame), fit.design
    h, own = design.blocks[1].index, np.flatnonzero(design.blocks[0].index == 3)
    for s in (0, 17):
        inner = draws(fit, "sd_h")[s, 0] ** 2 * (h[own][:, None] == h[own])
        V = np.diag(sd[s, own] ** 2) + draws(fit, "sd_g")[s, 0] ** 2 + inner
        r = frame["y"].to_numpy()[own] - draws(fit, "beta")[s] @ design.X[own].T
        assert found[s, 3] == pytest.approx(stats.multivariate_normal.logpdf(r, cov=V), rel=1e-10)


def test_the_integrated_likelihood_of_each_draw_is_that_of_all_levels(fit):
    from bayesmm.evaluation.prior_sensitivity.draw_densities import integrated_log_likelihood
    from bayesmm.posterior.log_likelihood import by_level, split_by

    np.testing.assert_allclose(
        integrated_log_likelihood(fit)[0], by_level(fit, split_by(fit.design, "g")).sum(axis=1), rtol=1e-9
    )


def test_predicted_responses_need_the_stratum_and_scatter_by_it(data, fit):
    new = pd.concat([data.head(1)] * 300).assign(f=np.repeat(["a", "b", "c"], 100)).drop(columns="y")
    around = fit.predict(new, kind="response", seed=1).draws - fit.predict(new, kind="linear").draws
    scaled = around.reshape(-1, 300) / sds_of(fit, new)
    np.testing.assert_allclose(scaled.reshape(-1, 3, 100).std(axis=(0, 2)), 1.0, rtol=0.05)  # 8,000 numbers each
    assert fit.predict(new.drop(columns="f")).draws.shape == (2, 40, 300)
    assert fit.predict(new.head(0), kind="response").draws.shape == (2, 40, 0)
    with pytest.raises(DataError, match="column 'f', which the model needs, is not in the data"):
        fit.predict(new.drop(columns="f"), kind="response")
    with pytest.raises(DataError, match="'z'"):
        fit.predict(new.assign(f="z"), kind="response")


def test_the_residual_variance_is_the_mean_over_the_rows(data, fit):
    expected = np.square(sds_of(fit, data)).mean(axis=1)
    frame = fit.r2().variances
    assert frame.loc["residual", "mean"] == pytest.approx(expected.mean())


def test_posterior_residuals_have_each_parameter_at_its_mean(data, fit):
    beta, b = draws(fit, "beta").mean(axis=0), draws(fit, "b_g").mean(axis=0)[:, 0]
    fitted = fit.design.X @ beta + b[fit.design.blocks[0].index]
    sd = draws(fit, "sigma").mean() * relative(data, draws(fit, "delta").mean(axis=0))
    np.testing.assert_allclose(posterior_residuals(fit), (data["y"] - fitted) / sd, rtol=1e-11)


def test_labels_tables_and_figures_know_the_parameters(model, headless):
    fit = posterior_near(model)
    assert list(fit.summary().index[2:6]) == ["sd_g[Intercept]", "sigma", "delta[b]", "delta[c]"]
    assert list(fit.varcorr()["grp"]) == ["g", "Residual"]
    assert "Residual, strata(f):" in str(fit)
    compared = fit.compare(consistency=False).table.set_index("parameter")
    assert compared.loc["delta[b]", "point"] == pytest.approx(compared.loc["delta[b]", "mean"], abs=0.01)
    assert compared["map"].isna().all()
    assert {"delta[b]", "delta[c]"} <= set(fit.prior_overlap().table.index)
    assert {"delta[b]", "delta[c]"} <= set(fit.sensitivity().table.index)


def test_a_fit_is_saved_and_loaded(model, tmp_path):
    fit = posterior_near(model)
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.tree["posterior"]["delta"], fit.tree["posterior"]["delta"])
    np.testing.assert_array_equal(again.design.residual.rows, model.design.residual.rows)
    assert dict(again.model.priors) == dict(model.priors)


def test_a_fit_of_other_data_is_loaded_with_the_strata_it_learned(model, tmp_path):
    other = table(seed=2)
    posterior_near(model.with_data(other[other["f"] != "a"])).save(tmp_path / "fit.nc")
    assert bmm.load(tmp_path / "fit.nc").design.residual.parameters[0].terms == ("b", "c")


# ----------------------------------------------------------------------------------------------------------------------
# priors and the equation


def test_each_number_has_a_prior(model, data):
    assert list(model.priors)[-3:] == ["sigma", "delta[b]", "delta[c]"]
    chosen = {"delta": bmm.Prior("Normal", mu=0, sigma=2), "delta[c]": 0.5}
    own = bmm.Model(FORMULA, data, priors=chosen).priors
    assert own["delta[b]"] == chosen["delta"] and own["delta[c]"].parameters["value"] == 0.5
    with pytest.raises(PriorError, match=re.escape("did you mean 'delta[c]'?")):
        bmm.Model(FORMULA, data, priors={"delta[d]": 1.0})
    with pytest.raises(PriorError, match="it is a parameter of the residual, not a standard deviation"):
        bmm.Model(FORMULA, data, priors={"delta": bmm.Prior("HalfNormal", sigma=1, on="variance")})


def test_a_prior_stays_within_the_support_of_its_parameter(data):
    rho = ResidualParameter("rho", r"\rho", "Uniform", {"lower": -1.0, "upper": 1.0}, "correlation", None, (-1.0, 1.0))
    between = ResidualStructure(
        name="between", signature=STRATA.signature, parameters=lambda arguments: (rho,), rows=STRATA.rows,
        relative_sd=lambda library, rows, values: library.exp(values["rho"] * rows[:, 0]), tex=STRATA.tex,
    )  # fmt: skip
    with registered(between):
        assert list(bmm.Model("y ~ x + between(f)", data).priors)[-1] == "rho"
        with pytest.raises(PriorError, match="but its values are from -1 to 1"):
            bmm.Model("y ~ x + between(f)", data, priors={"rho": bmm.Prior("Normal", mu=0, sigma=1)})
        point = bmm.Model("y ~ x + between(f)", data).maximize()
        assert point.converged and -1 < point.parameters["rho"] < 1


def test_the_equation_says_how_the_variance_varies(model, data):
    text = model.equation()
    assert r"\mathcal{N}(\mu_{i},\ \sigma^{2}\,e^{2 \delta_{\text{f}[i]}})" in text
    assert r"\delta_{\text{b}} &\sim \mathrm{Normal}(\mu = 0,\ \sigma = 1)" in text
    assert r"e^{2 \delta_{\text{f}[i]}} / w_{i})" in bmm.Model(FORMULA, data, weights="w").equation()
    assert mathml(text).startswith("<math ")


# ----------------------------------------------------------------------------------------------------------------------
# what cannot be


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (
            "y ~ x + strata(f) + strata(g)",
            "a model has one residual structure, and here are 'strata(f)' and 'strata(g)'",
        ),
        ("y ~ x:strata(f)", "stands between '+' signs and is part of no term"),
        ("y ~ log(strata(f))", "stands between '+' signs and is part of no term"),
        ("y ~ x - strata(f)", "strata() is not taken away with '-'"),
        ("y ~ x + (strata(f) | g)", "strata() has no groups"),
        ("y ~ x + strata(f, g)", "takes 1; it is written strata(f)"),
        ("y ~ x + strata()", "strata() lacks its argument f"),
        ("y ~ x + strata(k)", "column 'k' is not in the data"),
        ("y ~ x + strat(f)", "did you mean 'strata'?"),
    ],
)
def test_what_no_formula_says(data, formula, said):
    with pytest.raises(FormulaError, match=re.escape(said)):
        bmm.Model(formula, data)


def test_the_structure_judges_its_columns_and_the_family(data):
    with pytest.raises(DataError, match=re.escape("write strata(factor(x))")):
        bmm.Model("y ~ 1 + strata(x)", data)
    with pytest.raises(DataError, match="the poisson family with the log link has none of its kind"):
        bmm.Model("z ~ x + strata(f)", data.assign(z=1 + np.arange(len(data)) % 5), family="poisson")


def test_rows_without_a_stratum_are_left_out(data):
    gaps = data.assign(f=data["f"].where(np.arange(len(data)) != 3))
    assert bmm.Model(FORMULA, gaps).design.n == len(data) - 1


def test_a_group_may_have_the_name_of_a_parameter(data):
    design = bmm.Model("y ~ x + (1 | delta) + strata(f)", data.rename(columns={"g": "delta"})).design
    assert design.blocks[0].name == "delta_" and design.coords["delta_term"] == ("b", "c")


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("the marginal MAP", lambda m: m.maximize("MAP")),
        ("sampler='importance'", lambda m: m.sample(sampler="importance")),
        ("effects='marginal'", lambda m: m.sample(effects="marginal")),
        ("effects='marginal'", lambda m: m.graph("marginal")),
        ("a profile likelihood", lambda m: m.maximize("ML").profile("sigma")),
        ("an analysis of variance", lambda m: bmm.anova(m.maximize())),
        ("cross-products", lambda m: integrate(m.design, m.priors)),
    ],
)  # fmt: skip
def test_what_the_parameters_are_not_known_to_is_refused(model, what, call):
    with pytest.raises(DataError, match=re.escape(what)) as caught:
        call(model)
    assert "is not possible with the residuals of strata(f)" in str(caught.value)


def test_the_evidence_is_refused(fit):
    with pytest.raises(ValueError, match="the evidence cannot be computed"):
        fit.evidence()


def test_a_design_is_pickled(model):
    again = pickle.loads(pickle.dumps(model.design))
    assert again.residual.parts[0].structure == STRATA and again.residual.parameters == model.design.residual.parameters
    assert pickle.loads(pickle.dumps(bmm.Model("y ~ x", table()).design)).residual.parts == ()


def test_the_register_is_as_before_afterwards():
    assert set(STRUCTURES) == {"se", "ar", "car", "cosy", "unstr", "fcor", "strata"}
    with pytest.raises(ValueError, match="there is a residual structure 'strata' already"), registered(STRATA):
        pass


@pytest.mark.parametrize("support", [(-np.inf, np.inf), (0.0, np.inf), (-1.0, 1.0)])
def test_a_search_moves_over_all_real_numbers(support):
    own = ResidualParameter("a", "a", "Flat", {}, "", ("1", "2"), support)
    term, values = ResidualTerm(STRATA, "", (own,)), {"a": np.array([0.3, 0.9])}
    np.testing.assert_allclose(from_reals(term, to_reals(term, values))["a"], values["a"], rtol=1e-14)


def test_independent_residuals_keep_the_prior_weights_themselves(data):
    design = bmm.Model("y ~ x", data, weights="w").design
    assert residual_weights(design) is design.weights
