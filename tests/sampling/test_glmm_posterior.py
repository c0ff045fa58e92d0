"""The posterior of generalised models with the random effects integrated out: graph, sampling, and what Fit says."""

import numpy as np
import pandas as pd
import pytest
from compared_draws import compare_draws
from references import frame

import bayesmm as bmm
from bayesmm.likelihood.marginal import generalised
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.posterior import log_posterior
from bayesmm.likelihood.quadrature import prepare
from bayesmm.likelihood.quadrature_likelihood import quadrature_likelihood, quadrature_words
from bayesmm.posterior.draws import posterior_residuals
from bayesmm.priors import prior_design
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.graph.marginal_glmm import build_marginal_glmm
from bayesmm.sampling.graph.size import kept_variables
from bayesmm.sampling.graph.tree import data_groups

ESOPH = "ncases ~ ncontrols + (1 + ncontrols | agegp)"
SHORT = dict(draws=60, tune=100, chains=2, seed=3, progress=False)


def small(family="negbinomial"):
    """Return a model with two groups, so that the integral over their effects is one over a plane."""
    rng = np.random.default_rng(1)
    y = rng.poisson(2, 12) if family != "gamma" else rng.gamma(2, 1, 12)
    data = pd.DataFrame({"y": y, "x": rng.normal(1, 1, 12), "g": ["a", "b"] * 6})
    return bmm.Model("y ~ x + (1 | g)", data, family)


def density(graph):
    """Return the graph's log density as a function of the unconstrained values by name."""
    with without_compiler():
        return graph.compile_logp(sum=True, mode=PYTHON)


POINT = {"_Intercept_centred": 0.6, "_slopes": np.array([0.2]), "sd_g_log__": np.array([-0.3])}


@pytest.mark.parametrize("family", ["negbinomial", "poisson"])
def test_the_marginal_graph_is_the_explicit_one_integrated(family):
    model = small(family)
    point = POINT | ({"shape_log__": np.array(0.8)} if family == "negbinomial" else {})
    explicit, marginal = model.graph("explicit", centred=False), build_marginal_glmm(model.design, model.priors, 25)
    assert {v.name for v in marginal.value_vars} == {v.name for v in explicit.value_vars} - {"_z_g"}
    line = np.linspace(-6.5, 6.5, 41)
    logp = density(explicit)
    grid = np.array([[logp(point | {"_z_g": np.array([[a], [b]])}) for a in line] for b in line])
    truth = np.logaddexp.reduce(grid.ravel()) + 2 * np.log(line[1] - line[0])
    # the trapezoid rule is exact here to 1e-9, and 25 nodes to 1e-8
    assert float(density(marginal)(point)) == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("family", ["negbinomial", "poisson", "gamma"])
def test_the_compiled_posterior_is_the_graph_s(family):
    model = small(family)
    shape = {} if family == "poisson" else {"shape_log__": np.array(0.8)}
    posterior = generalised(model.design, model.priors).posterior
    x = np.array([-0.3, *(0.8 for _ in shape), 0.6, 0.2])
    value, gradient = posterior(x)
    assert value == pytest.approx(float(density(model.graph("marginal"))(POINT | shape)), rel=1e-10)
    for j, slope in enumerate(gradient):
        step = 1e-5 * np.eye(len(x))[j]
        near, far = (posterior(x + m * step)[0] - posterior(x - m * step)[0] for m in (1, 2))
        assert slope == pytest.approx((8 * near - far) / 12e-5, abs=1e-6)  # rounding: 1e-16 of 30, over 1e-5


def test_the_compiled_posterior_rejects_what_overflows():
    model = small()
    posterior = generalised(model.design, model.priors).posterior
    for x in ([800.0, 0.8, 0.6, 0.2], [0.0, 800.0, 0.6, 0.2], [0.0, 0.8, 1e200, 0.2], [-800.0, -800.0, 0.6, 0.2]):
        value, gradient = posterior(np.array(x))
        assert not np.isnan(value)
        assert np.isfinite(gradient).all()


def test_more_nodes_are_the_same_posterior():
    model = bmm.Model(ESOPH, frame("esoph"), "poisson")
    own, rng = generalised(model.design, model.priors), np.random.default_rng(0)
    words = quadrature_words(prepare(prior_design(model.design, model.priors)), own_parameters(model.design), 25)
    exact = log_posterior(own.posterior.coordinates, quadrature_likelihood(), words)
    # around the posterior: log sds, correlation, intercept at the mean, slope
    points = np.array([0.2, -3.9, 0.3, 0.7, 0.01]) + rng.normal(size=(20, 5)) * np.array([0.35, 0.6, 0.5, 0.5, 0.015])
    gaps = [own.posterior(x)[0] - exact(x)[0] for x in points]
    assert np.abs(gaps).max() < 1e-2  # 4.3e-3 is the most in 400 posterior draws


@pytest.fixture(scope="module")
def esoph():
    return bmm.fit(ESOPH, frame("esoph"), "poisson", **SHORT)


def test_auto_integrates_out_where_it_can(esoph):
    assert "random effects integrated out" in str(esoph)
    assert list(esoph.tree["posterior"]["b_agegp"].dims) == ["chain", "draw", "agegp", "agegp_term"]
    data = frame("esoph")
    assert bmm.Model("ncases ~ 1 + (1 | agegp) + (1 | alcgp)", data, "poisson").effects() == "explicit"
    assert bmm.Model("ncases ~ 1 + (1 | agegp)", data, "poisson").effects() == "marginal"
    with pytest.raises(ValueError, match="1 of agegp and 1 of alcgp; use effects='explicit'"):
        bmm.Model("ncases ~ 1 + (1 | agegp) + (1 | alcgp)", data, "poisson").graph("marginal")


def test_the_tree_is_that_of_the_explicit_graph(esoph):
    graph = esoph.model.graph("explicit", centred=False)
    names = {name for name in kept_variables(graph) if not name.endswith("_centred")}
    assert set(esoph.tree["posterior"].data_vars) == names
    for name, variable in esoph.tree["posterior"].data_vars.items():
        assert variable.dims == ("chain", "draw", *graph.named_vars_to_dims[name])
    for group, dataset in data_groups(graph).items():
        mine = esoph.tree[group].to_dataset()
        assert set(mine.data_vars) == set(dataset.data_vars) - {"y_data"}  # the response once more, before its checks
        for name in mine.data_vars:
            assert mine[name].dims == dataset[name].dims
            assert np.array_equal(mine[name].values, dataset[name].values)


def test_a_seed_is_a_fit_and_effects_can_be_left_out(esoph):
    again = bmm.fit(ESOPH, frame("esoph"), "poisson", **SHORT, keep_effects=False)
    assert "b_agegp" not in again.tree["posterior"]
    assert np.array_equal(again.tree["posterior"]["beta"], esoph.tree["posterior"]["beta"])


def test_tables_of_a_family_without_sigma(esoph):
    assert list(esoph.varcorr()["grp"]) == ["agegp"] * 3
    assert esoph.sigma().loc["sigma", ["mean", "sd"]].tolist() == [1.0, 0.0]
    assert "Residual" not in str(esoph)
    assert "standard deviations, log scale" in str(esoph)
    assert "sigma" not in esoph.summary().index


def test_tables_of_a_family_with_its_own_parameter():
    fit = small().sample(**SHORT)
    assert {"shape"} <= set(fit.summary().index)
    assert "Family's parameters:\n" in str(fit)
    assert list(fit.varcorr()["grp"]) == ["g"]
    comparison = fit.compare()
    row = comparison.table.set_index("parameter").loc["shape"]
    assert row["point"] == pytest.approx(fit.model.maximize().auxiliaries["shape"])
    assert "Consistency" not in str(comparison)


def test_the_residuals_are_pearson_s(esoph):
    design, post = esoph.design, esoph.tree["posterior"].mean(("chain", "draw"))
    block = design.blocks[0]
    eta = design.X @ post["beta"].values + (block.Z * post["b_agegp"].values[block.index]).sum(axis=1)
    mu = np.exp(eta)
    assert posterior_residuals(esoph) == pytest.approx((design.y - mu) / np.sqrt(mu))


def test_the_comparison_names_the_few_groups_and_laplace_s_error(esoph):
    comparison = esoph.compare()
    assert comparison.point.method == "ML"
    assert set(comparison.table["verdict"]) <= {"agree", "few groups", "skew", "prior pull"}
    verdicts = comparison.table.set_index("parameter")["verdict"]
    assert verdicts["sd_agegp[Intercept]"] == "few groups"
    assert verdicts["corr_agegp[Intercept, ncontrols]"] == "prior pull"  # LKJ(2): ML 0.66, MAP 0.28
    assert comparison.quadrature == pytest.approx(-152.510985, abs=1e-5)  # 25 nodes give the same six digits
    text = str(comparison)
    assert "Laplace's approximation of the log likelihood is -152.5361" in text
    assert "by quadrature it is -152.5110, 0.025 more" in " ".join(text.split())
    assert "agegp has 6 levels" in text


@pytest.mark.slow
def test_explicit_and_marginal_graphs_have_the_same_posterior():
    model = bmm.Model(ESOPH, frame("esoph"), "poisson")
    run = dict(draws=3000, chains=4, progress=False)
    fits = [
        model.sample(effects="marginal", seed=1, target_accept=0.95, **run),
        # places so narrow that 0.99 and 1,000 steps of tuning still give divergences
        model.sample(effects="explicit", seed=2, target_accept=0.995, tune=2000, centred=False, **run),
    ]
    assert not any(fit.tree["sample_stats"]["diverging"].any() for fit in fits)
    for name in ("beta", "sd_agegp", "corr_agegp", "b_agegp"):
        values = [fit.tree["posterior"][name].values for fit in fits]
        for place in np.ndindex(values[0].shape[2:]):
            one, other = (v[(..., *place)] for v in values)
            if name == "corr_agegp" and place != (1, 0):
                continue
            compare_draws(one, other, f"{name}{place}")
