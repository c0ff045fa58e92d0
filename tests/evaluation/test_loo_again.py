"""Points with a high Pareto k from the posterior without them: densities equal dense formulas, numbers equal refits."""

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from invented import invented
from scipy import stats
from scipy.special import logsumexp
from test_loo import RESPONSES, covariance, fit_of, frame

import bayesmm as bmm
from bayesmm.evaluation.integral import coordinates_of, marginal_of, without
from bayesmm.evaluation.loo_again import again
from bayesmm.likelihood.coordinates import values
from bayesmm.posterior.log_likelihood import by_level, by_row, split_by, split_of_rows
from bayesmm.priors import coefficient_prior, prior_design
from bayesmm.results import Fit
from bayesmm.sampling.marginal import as_tree
from bayesmm.storage.runs import Run, no_stats


@pytest.fixture(scope="module")
def sleep():
    data, run = bmm.load_dataset("sleepstudy"), dict(seed=1, progress=False)
    return {
        "parallel": bmm.fit("Reaction ~ Days + (1 | Subject)", data, **run),
        "slopes": bmm.fit("Reaction ~ Days + (Days | Subject)", data, **run),
    }


@pytest.fixture
def few_draws(monkeypatch):
    """Let the 80 draws of an invented fit be enough."""
    monkeypatch.setattr("bayesmm.evaluation.integral.LEAST_DRAWS", 10)


def dense(fit, s, rows):
    """Return log p(y of some rows | sds, correlations, sigma): one normal density, coefficients integrated out."""
    design, prior = fit.design, coefficient_prior(fit.model.priors, fit.design)
    columns = prior_design(design, fit.model.priors).X
    V = covariance(fit, s, range(len(design.blocks))) + (columns * prior.sd**2) @ columns.T
    return stats.multivariate_normal.logpdf(
        design.y[rows], (columns @ prior.mean + design.offset)[rows], V[np.ix_(rows, rows)]
    )


@pytest.mark.parametrize(
    "formula", ["y ~ x + offset(w) + (x | g)", "y ~ x + (x || g) + (1 | c)", "y ~ 0 + c + (1 | g:p)", "y ~ x"]
)
def test_without_rows_a_gaussian_posterior_lacks_their_density_given_the_others(formula, few_draws):
    fit = fit_of(formula, weights="w")
    model = marginal_of(fit)
    x = coordinates_of(fit, model)
    kept = fit.design.frame["x"].to_numpy() < 0.3 if formula == "y ~ x" else fit.design.blocks[0].index != 1
    found = model.posterior.many(x) - without(fit, model, kept).many(x)
    for s in (0, 41):
        expected = dense(fit, s, np.full(60, True)) - dense(fit, s, kept)
        np.testing.assert_allclose(found[s], expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("family", "bar"), [("poisson", "(x | g)"), ("negbinomial", "(1 | g)"), ("binomial", "(1 | g)")]
)
def test_without_a_level_another_familys_posterior_lacks_its_integral(family, bar, few_draws):
    fit = fit_of(f"{RESPONSES[family]} ~ x + {bar}", family, weights="w")
    model = marginal_of(fit)
    x = coordinates_of(fit, model)
    levels = by_level(fit, split_by(fit.design, "g"))
    for g in (0, 4):
        found = model.posterior.many(x) - without(fit, model, fit.design.blocks[0].index != g).many(x)
        # the same nodes, summed in another order; with slopes those of other axes: the error of seven nodes
        np.testing.assert_allclose(found, levels[:, g], rtol=1e-6 if "x" in bar else 1e-8)


@pytest.mark.parametrize(
    ("formula", "family", "priors"),
    [
        ("y ~ x + (x + w | g)", "gaussian", None),
        ("y ~ x + (x | g) + (1 | c)", "gaussian", {"beta": bmm.Prior("Laplace", mu=0, b=2), "sd_c": 1.5}),
        ("y ~ x + (1 | g)", "student", {"sd": bmm.Prior("Uniform", lower=0.1, upper=3)}),
    ],
)
def test_the_coordinates_of_draws_are_those_that_give_the_draws(formula, family, priors, few_draws):
    fit = fit_of(formula, family, priors=priors)
    if "w |" in formula:  # correlations of all pairs, one set for all draws
        R = np.array([[1, 0.5, -0.3], [0.5, 1, 0.4], [-0.3, 0.4, 1]])
        other = fit.tree["posterior"].to_dataset()
        other["corr_g"] = other["corr_g"].copy(data=np.broadcast_to(R, other["corr_g"].shape))
        fit = Fit(fit.model, xr.DataTree.from_dict({"posterior": other}))
    model = marginal_of(fit)
    x = coordinates_of(fit, model)
    run = xr.Dataset({"x": (("chain", "draw", "coordinate"), x[None])}, {"chain": [0], "draw": np.arange(len(x))})
    found = as_tree(model, Run(run, no_stats(), interrupted=False))["posterior"].to_dataset().isel(chain=0)
    posterior = fit.tree["posterior"].to_dataset().stack(s=("chain", "draw"))
    for block in (b for b in fit.design.blocks if b.name != "c"):  # a ridge of 1e-12 in the factor of the correlations
        for name in (f"sd_{block.name}", f"corr_{block.name}")[: 1 + block.correlated]:
            expected = posterior[name].transpose("s", ...).to_numpy()
            np.testing.assert_allclose(found[name].to_numpy(), expected, rtol=1e-9, atol=1e-9)
    if model.integrated is None or model.integrated.sampled:
        sampled = values(model.posterior.coordinates, x)[:, -1]  # beta[x] is the same at the means
        np.testing.assert_allclose(sampled, posterior["beta"].to_numpy()[1], rtol=1e-10)


def test_high_points_are_marked_where_nothing_is_computed_again(sleep):
    pair = {name: sleep[name] for name in ("slopes", "parallel")}
    plain, mended = (bmm.compare_models(pair, refit=refit) for refit in (False, None))
    assert plain.table["k_high"]["slopes"] > 0
    assert mended.table["k_high"].sum() == 0
    assert "The order of the models and their weights cannot be trusted" in " ".join(str(plain).split())
    assert "computed from the posterior without them" in " ".join(str(mended).split())
    whole = sum(mended.loos["slopes"].table["elpd"])
    assert mended.table["elpd"]["slopes"] == pytest.approx(whole) != plain.table["elpd"]["slopes"]
    assert mended.loos["slopes"].estimate.pareto_k.max() < 0.7  # what ArviZ's functions are given


def test_the_print_says_how_each_high_point_was_computed(sleep):
    text = " ".join(str(sleep["slopes"].loo()).split())
    assert "with a k above 0.5 were computed from independent draws of the posterior without each of them" in text
    assert "reliable; Monte Carlo error of elpd" in text
    text = " ".join(str(sleep["slopes"].loo(refit=False)).split())
    assert "use integrated=True, or refit=True, which samples the model again without each of them" in text


def test_long_work_is_not_begun_unasked(sleep, monkeypatch):
    monkeypatch.setattr("bayesmm.evaluation.loo_again.WORK", 1.0)
    assert set(sleep["slopes"].loo().table["method"]) == {"importance"}
    assert "independent draws" in set(sleep["slopes"].loo(refit=True).table["method"])


def test_the_kinds_stand_beside_one_another(sleep):
    found = sleep["slopes"].loo_table()
    assert list(found.table.index) == ["rows, effects drawn", "rows, effects integrated", "levels of Subject"]
    # one number by two ways: each with its own Monte Carlo error
    gap, error = found.table["elpd"].iloc[0] - found.table["elpd"].iloc[1], found.table["mcse"].iloc[:2]
    assert abs(gap) < 5 * np.hypot(*error) < 1.5
    assert "levels of Subject: for predictions of groups that are not in the data" in str(found)
    crossed = fit_of("y ~ x + (1 | g) + (1 | c)").loo_table()
    assert list(crossed.refused) == ["rows, effects integrated"]
    assert "not in the table, because" in str(crossed)
    alone = fit_of("y ~ x").loo_table()
    assert list(alone.table.index) == ["rows"]
    assert "comparable" not in str(alone)


def test_a_point_without_its_groups_other_rows_is_not_refitted():
    data = frame().assign(c=["only"] + ["u", "v"] * 29 + ["u"])
    fit = invented(bmm.Model("k ~ x + (1 | g) + (1 | c)", data, "poisson"))
    k = np.where(np.arange(60) == 0, np.inf, 0.0)
    assert again(fit, None, None, k, limit=0.7, refit=True) == {}


# Refitting

MODELS = {
    "sleepstudy": ("sleepstudy", "Reaction ~ Days + (Days | Subject)", "gaussian", "Subject"),
    "esoph, normal": ("esoph", "ncases ~ ncontrols + (ncontrols | agegp)", "gaussian", "agegp"),
    "esoph, counts": ("esoph", "ncases ~ ncontrols + (ncontrols | agegp)", "poisson", "agegp"),
}


@pytest.fixture(scope="module", params=MODELS)
def posterior_of(request):
    name, formula, family, by = MODELS[request.param]
    return bmm.Model(formula, bmm.load_dataset(name), family).sample(seed=1, progress=False), by


def refitted(fit, kept, density, seed):
    """Return log p(rows that are not kept | those that are) by sampling without them, and its Monte Carlo error."""
    # quick, and enough for errors below 0.2 and 0.3, where a mean of densities has a long tail too
    draws = 16_000 if fit.design.family.gaussian else 1500
    other = fit.model.with_data(fit.design.frame[kept]).sample(draws=draws, seed=seed, progress=False)
    values = density(Fit(fit.model, other.tree))
    p = np.exp(values - values.max())
    ess = float(arviz_stats.base.array_stats.ess(p.reshape(4, -1), method="mean"))
    assert ess > 400  # else its error would not be known
    return np.log(p.mean()) + values.max(), p.std() / p.mean() / np.sqrt(ess)


def level_densities(fit, by, g):
    """Return log p(y_g | parameters) of every draw: dense normal densities where there are such."""
    if not fit.design.family.gaussian:
        return by_level(fit, split_by(fit.design, by))[:, g]  # held against grids above
    block, design, posterior = fit.design.blocks[0], fit.design, fit.tree["posterior"].to_dataset()
    draws = posterior.stack(s=("chain", "draw")).transpose("s", ...)
    rows = block.index == g
    r = design.y[rows] - draws["beta"].to_numpy() @ design.X[rows].T
    sds, R = draws[f"sd_{block.name}"].to_numpy(), draws[f"corr_{block.name}"].to_numpy()
    Sigma = sds[:, :, None] * R * sds[:, None, :]
    V = block.Z[rows] @ Sigma @ block.Z[rows].T + draws["sigma"].to_numpy()[:, None, None] ** 2 * np.eye(rows.sum())
    quad = (r * np.linalg.solve(V, r[:, :, None])[:, :, 0]).sum(axis=1)
    return -0.5 * (rows.sum() * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + quad)


@pytest.mark.slow
def test_leaving_levels_out_equals_refitting_without_them(posterior_of):
    fit, by = posterior_of
    found, block = fit.loo(by=by), fit.design.blocks[0]
    assert (found.table["k_before"] > 0.5).any()
    assert (found.table["pareto_k"] < 0.7).all()
    exact = [
        refitted(fit, block.index != g, lambda view, g=g: level_densities(view, by, g), 100 + g)
        for g in range(len(block.levels))
    ]
    table = found.table.assign(exact=[e[0] for e in exact], error=[e[1] for e in exact])
    table["gap"] = table["elpd"] - table["exact"]
    error = np.hypot(table["error"], table["mcse"])
    assert (error < 0.2).all(), table  # else the next line would say nothing
    assert (table["gap"].abs() < 5 * error).all(), table


@pytest.mark.slow
def test_leaving_rows_out_equals_refitting_without_them(posterior_of):
    fit, _ = posterior_of
    given, whole = fit.loo(), fit.loo(integrated=True)
    assert (given.table["pareto_k"] < 0.7).all()
    assert (whole.table["pareto_k"] < 0.7).all()
    for i in np.flatnonzero(given.table["k_before"] > 0.7):  # by both ways
        split = split_of_rows(fit.design)
        exact, error = refitted(
            fit, np.arange(fit.design.n) != i, lambda view, i=i, split=split: by_row(view, split)[:, i], int(i)
        )
        for table in (given.table, whole.table):
            both = np.hypot(error, table["mcse"].iloc[i])
            assert both < 0.3
            assert abs(table["elpd"].iloc[i] - exact) < 5 * both, (i, table.iloc[i], exact)


@pytest.mark.slow
def test_points_without_a_density_of_few_coordinates_are_sampled_again():
    model = bmm.Model("ncases ~ ncontrols + (1 | agegp) + (1 | alcgp)", bmm.load_dataset("esoph"), "poisson")
    fit = model.sample(draws=500, tune=500, seed=1, progress=False)
    split = split_by(fit.design, "alcgp")
    k = np.array([0, 0, 0, 1.0])
    found = again(fit, split, "alcgp", k, limit=0.7, refit=True)[3]
    assert found.method == "refit"
    block = fit.design.blocks[1]
    other = model.with_data(fit.design.frame[block.index != 3]).sample(seed=5, progress=False)
    values = by_level(Fit(model, other.tree), split)[:, 3]
    exact = logsumexp(values) - np.log(len(values))
    assert found.elpd == pytest.approx(exact, abs=5 * np.sqrt(2) * found.mcse)
    assert found.mcse < 0.3
    assert again(fit, split, "alcgp", k, limit=0.7, refit=None) == {}
