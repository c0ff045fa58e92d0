"""A toy covariance structure sampled: its graphs against dense formulas, and a fit to a file and back."""

import numpy as np
import pytest
from compound_symmetry import CS, made, symmetric
from fake_fits import posterior_near
from numpy.testing import assert_allclose
from scipy.stats import halfnorm, multivariate_normal, norm

import bayesmm as bmm
from bayesmm.design.covariance.structure import Covariance
from bayesmm.design.covariance.structures import registered
from bayesmm.evaluation.prior_sensitivity.draw_densities import log_prior as log_prior_of
from bayesmm.reporting.mathml import mathml
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.marginal import applies

FORMULA = "y ~ f + toy(0 + f | g)"
SD, CORR = "sd_g[toy(0 + f)]", "corr_g[toy(0 + f)]"
PRIORS = {
    "sd": bmm.Prior("HalfNormal", sigma=3), "sigma": bmm.Prior("HalfNormal", sigma=2),
    "beta": bmm.Prior("Normal", sigma=2), "Intercept": bmm.Prior("Normal", sigma=5),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _known():
    with registered(CS):
        yield


def model_of_few(formula: str = FORMULA) -> bmm.Model:
    """Return a model of 36 rows in 6 groups, every prior known in closed form."""
    return bmm.Model(formula, made(groups=6), priors=PRIORS)


def log_marginal(model: bmm.Model, sd: float, r: float, sigma: float) -> float:
    """Return log p(y | sd, r, sigma) by the n x n covariance matrix, coefficients and effects integrated out."""
    design, (block,) = model.design, model.design.blocks
    V = (block.index[:, None] == block.index) * (block.Z @ symmetric(sd, r, 3) @ block.Z.T)
    V += sigma**2 * np.eye(design.n) + design.X @ np.diag([5.0**2, 2.0**2, 2.0**2]) @ design.X.T
    return float(multivariate_normal(np.zeros(design.n), V).logpdf(design.y))


def log_prior(sd: float, sigma: float) -> float:
    """Return the log prior of sd and sigma; that of r is constant."""
    return float(halfnorm(scale=3).logpdf(sd) + halfnorm(scale=2).logpdf(sigma))


def log_densities(graph, points) -> np.ndarray:
    """Return the graph's log density, without Jacobians, at points of its own variables."""
    transforms = {rv.name: (graph.rvs_to_values[rv], graph.rvs_to_transforms[rv], rv) for rv in graph.free_RVs}
    with without_compiler():
        function = graph.compile_fn(graph.logp(jacobian=False), mode=PYTHON)
        out = []
        for point in points:
            values = {}
            for name, (value, transform, rv) in transforms.items():
                x = np.asarray(point[name], dtype=float)
                values[value.name] = (
                    x if transform is None else transform.forward(x, *rv.owner.inputs).eval(mode=PYTHON)
                )
            out.append(float(function(values)))
    return np.array(out)


def test_marginal_graph_is_the_dense_formula():
    model, rng = model_of_few(), np.random.default_rng(1)
    points = [
        (float(rng.uniform(0.5, 3)), float(rng.uniform(-0.45, 0.95)), float(rng.uniform(0.5, 2))) for _ in range(4)
    ]
    own = [{"_sd_g_0": sd, "_corr_g_0_1": r, "sigma": sigma} for sd, r, sigma in points]
    ours = log_densities(model.graph("marginal"), own)
    theirs = [log_marginal(model, *p) + log_prior(p[0], p[2]) - np.log(1.5) for p in points]
    assert_allclose(ours, theirs, rtol=1e-10)  # 36 rows: rounding of a log density of -60


def test_graphs_keep_the_sds_and_correlations_alone():
    from bayesmm.sampling.graph.size import kept_variables

    model = model_of_few()
    assert kept_variables(model.graph("marginal")) == ["sd_g", "corr_g", "sigma"]
    assert set(kept_variables(model.graph("explicit"))) == {"beta", "sd_g", "corr_g", "b_g", "sigma"}
    held = bmm.Model(FORMULA, made(groups=6), priors={CORR: 0.3, SD: 1.5}).graph("marginal")
    assert [v.name for v in held.free_RVs] == ["sigma"]


def test_where_it_is_sampled_is_asked_of_the_structure():
    model, plain = model_of_few(), model_of_few("y ~ f + (0 + f | g)")
    assert applies(plain.design, plain.priors, "marginal", "auto")
    assert not applies(model.design, model.priors, "marginal", "auto")


# ----------------------------------------------------------------------------------------------------------------------
# what is made of draws, here about the maximised fit


@pytest.fixture(scope="module")
def near() -> bmm.Fit:
    return posterior_near(model_of_few())


def test_draws_are_read_as_the_parameters_of_the_structure(near):
    posterior, table = near.tree["posterior"], near.summary()
    assert list(table.index[:6]) == ["beta[Intercept]", "beta[f[T.f1]]", "beta[f[T.f2]]", SD, CORR, "sigma"]
    assert_allclose(table.loc[SD, "mean"], posterior["sd_g"][..., 0].mean())
    assert_allclose(table.loc[CORR, "mean"], posterior["corr_g"][..., 0, 1].mean())
    assert list(near.varcorr()["grp"]) == list(near.model.maximize().varcorr()["grp"])
    assert len(near.varcorr()) == 3 + 3 + 1 and len(near.ranef()) == 18  # every sd and correlation; 6 groups of 3
    assert "toy(0 + f | g)" in str(near)


def test_log_prior_is_that_of_the_parameters_of_the_structure(near):
    posterior = near.tree["posterior"]
    sd, sigma, beta = (posterior[name].to_numpy() for name in ("sd_g", "sigma", "beta"))
    theirs = halfnorm(scale=3).logpdf(sd[..., 0]) + halfnorm(scale=2).logpdf(sigma) - np.log(1.5)
    theirs += norm(0, [5, 2, 2]).logpdf(beta).sum(axis=-1)
    assert_allclose(log_prior_of(near), theirs.ravel(), rtol=1e-10)


def test_the_equation_is_mathml_too(near):
    markup = mathml(near.model.equation())
    assert "Σ" in markup and "ρ" in markup


def test_comparison_prints_both_answers(near):
    comparison = near.compare(near.model.maximize(), consistency=False)
    assert {SD, CORR} <= set(comparison.table["parameter"]) and CORR in str(comparison)
    assert comparison.table["map"].isna().all()  # there is no marginal mode


def test_saved_and_loaded(near, tmp_path):
    near.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert again.summary().equals(near.summary()) and again.design.blocks[0].parts[0].covariance == CS


def test_a_fit_whose_structure_is_not_known_is_not_loaded(near, tmp_path):
    other = Covariance(name="other", words="other", entries=CS.entries, factor=CS.factor, tex=CS.tex)
    with registered(other):
        posterior_near(model_of_few("y ~ f + other(0 + f | g)")).save(tmp_path / "fit.nc")
    with pytest.raises(bmm.FitFileError) as caught:
        bmm.load(tmp_path / "fit.nc")
    said = "'other' is no covariance structure, which are ar1, cs, diag, ident, toep, toy, us"
    assert f"cannot be made by this version: {said}" in str(caught.value)


# ----------------------------------------------------------------------------------------------------------------------
# sampled, end to end


@pytest.fixture(scope="module")
def fit() -> bmm.Fit:
    return model_of_few().sample(1000, 500, 4, seed=4, progress=False)


def by_grid(model: bmm.Model) -> tuple[np.ndarray, np.ndarray]:
    """Return posterior means and sds of sd, r and sigma by the midpoints of a grid of 24 x 24 x 20."""
    sides = [
        (np.arange(n) + 0.5) / n * (high - low) + low for n, low, high in ((24, 0, 7), (24, -0.5, 1), (20, 0.8, 4))
    ]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    logs = np.array([log_marginal(model, *p) + log_prior(p[0], p[2]) for p in points])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    mean = weights @ points
    return mean, np.sqrt(weights @ np.square(points - mean))


@pytest.mark.slow
def test_posterior_is_that_of_the_grid(fit):
    table, (mean, sd) = fit.summary(), by_grid(fit.model)
    ours = table.loc[[SD, CORR, "sigma"]]
    error = 4.5 * ours["sd"] / np.sqrt(ours["ess_bulk"]) + 0.01 * sd  # Monte Carlo, and the grid's cells
    assert (np.abs(ours["mean"] - mean) < error).all()
    assert_allclose(ours["sd"], sd, rtol=0.1)


@pytest.mark.slow
def test_draws_keep_the_form(fit):
    R, sds = (fit.tree["posterior"][name].to_numpy() for name in ("corr_g", "sd_g"))
    assert_allclose(R[..., 0, 1], R[..., 1, 2], rtol=1e-12)
    assert_allclose(sds[..., 0], sds[..., 2], rtol=1e-12)
    assert fit.consistency("graph").ok  # the explicit graph's density has its mode at REML's criterion


@pytest.mark.slow
def test_predictions_and_simulations(fit):
    new = made(groups=7).tail(6)  # a group that the fit did not see
    design, means = fit.design, fit.tree["posterior"].mean(("chain", "draw"))
    eta = design.X @ means["beta"].to_numpy()
    eta += (design.blocks[0].Z * means["b_g"].to_numpy()[design.blocks[0].index]).sum(axis=1)
    assert_allclose(fit.predict().to_frame()["mean"], eta, rtol=1e-10)
    assert np.isfinite(fit.predict(new, new_levels="sample", seed=1).to_frame()).all().all()
    assert fit.model.simulate(fit, 2, seed=1).shape == (36, 2)
    assert np.isfinite(fit.loo(refit=False).elpd)


@pytest.mark.slow
def test_report(fit, tmp_path, headless):
    fit.report(tmp_path / "fit.html")
    page = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "compound symmetry" in page and "corr_g[toy(0 + f)]" in page
    assert "Lewandowski" not in page  # no LKJ prior, so no reference to it
