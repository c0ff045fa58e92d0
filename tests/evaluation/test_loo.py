"""Cross-validation: the log likelihoods equal dense formulas and grids, their sums equal what refitting gives."""

import warnings

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from invented import invented
from scipy import stats
from scipy.special import logsumexp

import bayesmm as bmm
from bayesmm.cli.reproduce.run import predictive_difference
from bayesmm.errors import DataError
from bayesmm.evaluation import loo as loo_module
from bayesmm.evaluation.information_criteria import criteria_of_models
from bayesmm.families.links import LINKS
from bayesmm.posterior.draws import factor_draws
from bayesmm.posterior.log_likelihood import by_level, by_row, conditional, split_by, split_of_rows
from bayesmm.results import Fit

# The values are sums of some tens of logarithms; the formulas share no step with the code, and agree to rounding.
EXACT = dict(rtol=1e-9, atol=1e-9)


def frame(seed=3):
    rng = np.random.default_rng(seed)
    n = 60
    data = pd.DataFrame(
        {"g": np.repeat([f"g{i}" for i in range(5)], 12), "p": np.tile(np.repeat(["a", "b", "c"], 4), 5)}
    )
    data["c"] = rng.permutation(np.tile(["u", "v", "w"], 20))
    data["x"], data["w"] = rng.normal(size=n), rng.uniform(0.5, 2, n)
    data["y"] = 2 + data["x"] + rng.normal(size=n)
    data["k"], data["m"] = rng.poisson(2, n), rng.integers(1, 9, n)
    data["s"] = rng.binomial(data["m"], 0.4)
    data["e"] = rng.gamma(2, 1, n)
    data["q"] = rng.beta(2, 3, n)
    data["one"] = rng.integers(0, 2, n)
    return data.sample(frac=1, random_state=1).reset_index(drop=True)


def fit_of(formula, family="gaussian", **arguments):
    return invented(bmm.Model(formula, frame(), family, **arguments))


def parameters(fit, s):
    """Return beta, the covariance matrix and the effects of each block, and the auxiliaries, of one draw."""
    posterior = fit.tree["posterior"].to_dataset().stack(draws=("chain", "draw")).isel(draws=s)
    beta, design = posterior["beta"].to_numpy(), fit.design
    factors = [factor_draws(fit, block)[s] for block in design.blocks]
    effects = [posterior[f"b_{block.name}"].to_numpy() for block in design.blocks]
    return beta, [L @ L.T for L in factors], effects, [float(posterior[name]) for name in design.family.auxiliaries]


def predictor(fit, s, held):
    beta, _, effects, _ = parameters(fit, s)
    eta = fit.design.X @ beta + fit.design.offset
    for k in held:
        block = fit.design.blocks[k]
        eta = eta + (block.Z * effects[k][block.index]).sum(axis=1)
    return eta


DENSITIES = {
    "gaussian": lambda y, mu, size, w, a: stats.norm.logpdf(y, mu, a[0] / np.sqrt(w)),
    "student": lambda y, mu, size, w, a: w * stats.t.logpdf(y, a[1], mu, a[0]),
    "poisson": lambda y, mu, size, w, a: w * stats.poisson.logpmf(y, mu),
    "negbinomial": lambda y, mu, size, w, a: w * stats.nbinom.logpmf(y, a[0], a[0] / (a[0] + mu)),
    "bernoulli": lambda y, mu, size, w, a: w * stats.bernoulli.logpmf(y, mu),
    "binomial": lambda y, mu, size, w, a: w * stats.binom.logpmf(y, size, mu),
    "gamma": lambda y, mu, size, w, a: w * stats.gamma.logpdf(y, a[0], scale=mu / a[0]),
    "beta": lambda y, mu, size, w, a: w * stats.beta.logpdf(y, mu * a[0], (1 - mu) * a[0]),
}
RESPONSES = {
    "gaussian": "y",
    "student": "y",
    "poisson": "k",
    "negbinomial": "k",
    "bernoulli": "one",
    "binomial": "s | trials(m)",
    "gamma": "e",
    "beta": "q",
}


def densities(fit, s, eta):
    """Return the log density of every row by scipy."""
    design = fit.design
    weights = np.ones(design.n) if design.weights is None else design.weights
    mu = LINKS[design.family.link].inverse(eta)
    return DENSITIES[design.family.name](design.y, mu, design.trials, weights, parameters(fit, s)[3])


@pytest.mark.parametrize("family", DENSITIES)
def test_the_rows_given_their_effects_have_scipys_densities(family):
    fit = fit_of(f"{RESPONSES[family]} ~ x + offset(w) + (x | g) + (1 | c)", family, weights="w")
    found = conditional(fit)
    for s in (0, 33, 79):
        np.testing.assert_allclose(found[s], densities(fit, s, predictor(fit, s, (0, 1))), **EXACT)


# Gaussian models: one multivariate normal distribution for each level


def covariance(fit, s, inner):
    """Return the covariance matrix of all rows given the effects that are held."""
    design, (_, Sigma, _, (sigma,)) = fit.design, parameters(fit, s)
    V = np.diag(sigma**2 / (np.ones(design.n) if design.weights is None else design.weights))
    for k in inner:
        block = design.blocks[k]
        V = V + block.Z @ Sigma[k] @ block.Z.T * (block.index[:, None] == block.index)
    return V


GAUSSIAN = (
    ("y ~ x + (x | g)", "g", (0,), ()),
    ("y ~ x + (x || g)", "g", (0,), ()),
    ("y ~ x + (x | g) + (1 | g:p)", "g", (0, 1), ()),
    ("y ~ x + (1 | g) + (x | g:p) + (1 | g:p:c)", "g", (0, 1, 2), ()),
    ("y ~ x + (x | g) + (1 | g:p)", "g:p", (1,), (0,)),
    ("y ~ x + (1 | g) + (x | c)", "g", (0,), (1,)),
    ("y ~ x + (1 | g) + (x | c)", "c", (1,), (0,)),
)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(("formula", "by", "inner", "held"), GAUSSIAN)
def test_a_gaussian_level_has_the_dense_normal_density(formula, by, inner, held, weights):
    fit = fit_of(formula, weights=weights)
    split = split_by(fit.design, by)
    assert (split.inner, split.held) == (inner, held)
    found, block = by_level(fit, split), fit.design.blocks[split.outer]
    for s in (0, 41):
        V, mean = covariance(fit, s, inner), predictor(fit, s, held)
        for g in range(len(block.levels)):
            rows = block.index == g
            dense = stats.multivariate_normal.logpdf(fit.design.y[rows], mean[rows], V[np.ix_(rows, rows)])
            np.testing.assert_allclose(found[s, g], dense, **EXACT)


@pytest.mark.parametrize(
    "formula", ["y ~ x + (x | g)", "y ~ x + (x | g) + (1 | g:p)", "y ~ x + (1 | g) + (x | g:p) + (1 | g:p:c)"]
)
def test_a_gaussian_row_given_the_others_has_the_ratio_of_two_normal_densities(formula):
    fit = fit_of(formula, weights="w")
    split, y = split_of_rows(fit.design), fit.design.y
    found = by_row(fit, split)
    for s in (0, 41):
        V, mean = covariance(fit, s, split.inner), predictor(fit, s, ())
        whole = stats.multivariate_normal.logpdf(y, mean, V)
        for i in (0, 17, 59):
            others = np.arange(len(y)) != i
            rest = stats.multivariate_normal.logpdf(y[others], mean[others], V[np.ix_(others, others)])
            np.testing.assert_allclose(found[s, i], whole - rest, rtol=1e-8)  # a difference of two sums of 60


# Other families: grids


def on_grid(fit, s, rows, without=None):
    """Return log p(y of some rows) with the one or two effects of their level on a grid, by the trapezoidal rule."""
    block = fit.design.blocks[0]
    L, eta = factor_draws(fit, block)[s], predictor(fit, s, tuple(range(1, len(fit.design.blocks))))
    axis = np.linspace(-9, 9, 2001 if L.shape[0] == 1 else 361)  # of N(0, 1); the rule's error is far below rounding
    u = np.stack(np.meshgrid(*[axis] * len(L), indexing="ij"), axis=-1).reshape(-1, len(L))
    total = stats.norm.logpdf(u).sum(axis=1) + len(L) * np.log(axis[1] - axis[0])
    for i in np.flatnonzero(rows):
        at = np.broadcast_to(eta[:, None], (len(eta), 1))[i] + u @ L.T @ block.Z[i]
        if i != without:
            total = total + row_density(fit, s, i, at)
    return logsumexp(total)


def row_density(fit, s, i, eta):
    design = fit.design
    size = None if design.trials is None else design.trials[i]
    weight = 1.0 if design.weights is None else design.weights[i]
    mu = LINKS[design.family.link].inverse(eta)
    return DENSITIES[design.family.name](design.y[i], mu, size, weight, parameters(fit, s)[3])


@pytest.mark.parametrize("family", ["poisson", "binomial", "student"])
@pytest.mark.parametrize("bar", ["(1 | g)", "(x | g)", "(1 | g) + (1 | c)"])
def test_a_level_of_another_family_has_the_integral_on_a_grid(family, bar):
    fit = fit_of(f"{RESPONSES[family]} ~ x + {bar}", family, weights="w" if family == "poisson" else None)
    found, block = by_level(fit, split_by(fit.design, "g")), fit.design.blocks[0]
    for s, g in ((0, 0), (50, 3)):
        # quadrature with 15 or 7 x 7 nodes: what 12 rows leave is near to normal, except for Student's t with 2 modes
        np.testing.assert_allclose(
            found[s, g], on_grid(fit, s, block.index == g), atol=0.05 if family == "student" else 5e-3
        )


@pytest.mark.parametrize(("family", "bar"), [("poisson", "(1 | g)"), ("binomial", "(x | g)")])
def test_a_row_of_another_family_given_the_others_has_the_ratio_of_two_integrals(family, bar):
    fit = fit_of(f"{RESPONSES[family]} ~ x + {bar}", family)
    found, block = by_row(fit, split_of_rows(fit.design)), fit.design.blocks[0]
    for s, i in ((0, 0), (50, 31)):
        rows = block.index == block.index[i]
        expected = on_grid(fit, s, rows) - on_grid(fit, s, rows, without=i)
        np.testing.assert_allclose(found[s, i], expected, atol=2e-2)  # the nodes are those of the whole level


# What cannot be asked for


@pytest.mark.parametrize(
    ("formula", "family", "arguments", "words"),
    [
        (
            "y ~ x + (x | g)",
            "gaussian",
            {"by": "G"},
            "by must be a grouping factor of the model \\(g\\), not 'G'; did you",
        ),
        ("y ~ x", "gaussian", {"by": "g"}, "it has none"),
        ("y ~ x + (1 | g) + (1 | c)", "gaussian", {"integrated": True}, "g, c are not; use integrated=False, or by="),
        ("k ~ x + (1 | g) + (1 | g:p)", "poisson", {"by": "g"}, "1 of g and 1 of g:p; use by='g:p' or by=None"),
        ("k ~ x + (1 | g) + (1 | g:p)", "poisson", {"integrated": True}, "use by='g:p' or by=None"),
    ],
)
def test_what_can_not_be_left_out_is_said(formula, family, arguments, words):
    with pytest.raises(ValueError, match=words):
        fit_of(formula, family).loo(**arguments)


def test_a_fit_without_its_effects_can_leave_out_levels_but_not_rows():
    fit = fit_of("y ~ x + (x | g)")
    tree = xr.DataTree.from_dict({"posterior": fit.tree["posterior"].to_dataset().drop_vars("b_g")})
    bare = Fit(fit.model, tree)
    assert bare.loo(by="g").elpd == fit.loo(by="g").elpd
    assert bare.loo(integrated=True).held == ()
    with pytest.raises(ValueError, match="keep_effects=False"):
        bare.loo()


def test_a_likelihood_that_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 1e4)
    with pytest.raises(ValueError, match="60 points need"):
        fit_of("y ~ x + (x | g)").loo()


# The whole, on real posteriors


@pytest.fixture(scope="module")
def sleep():
    data = bmm.load_dataset("sleepstudy")
    run = dict(seed=1, progress=False)
    return {
        "parallel": bmm.fit("Reaction ~ Days + (1 | Subject)", data, **run),
        "slopes": bmm.fit("Reaction ~ Days + (Days | Subject)", data, **run),
    }


def estimates(sleep, by):
    return {name: fit.loo(by=by).estimate for name, fit in sleep.items()}


@pytest.mark.parametrize("by", [None, "Subject"])
def test_the_table_of_models_has_arvizs_numbers(sleep, by):
    comparison = bmm.compare_models(sleep, by=by)
    expected = arviz_stats.compare(estimates(sleep, by), round_to="none")
    assert list(comparison.table.index) == list(expected.index) == ["slopes", "parallel"]
    names = {
        "elpd": "elpd",
        "se": "se",
        "difference": "elpd_diff",
        "se_difference": "dse",
        "p_loo": "p",
        "weight": "weight",
    }
    for ours, theirs in names.items():
        np.testing.assert_allclose(comparison.table[ours], expected[theirs].astype(float), rtol=1e-12)
    own = [comparison.loos[name].table["elpd"].to_numpy() for name in ("slopes", "parallel")]
    difference = own[1] - own[0]
    assert comparison.table["difference"].iloc[1] == pytest.approx(difference.sum())
    assert comparison.table["se_difference"].iloc[1] == pytest.approx(np.sqrt(len(difference)) * difference.std())
    assert "slopes: Reaction ~ Days + (Days | Subject)" in str(comparison)


def test_arviz_reads_the_same_from_a_tree_with_our_log_likelihood(sleep):
    fit = sleep["slopes"]
    values = conditional(fit).reshape(4, 1000, -1)
    tree = fit.tree.copy()
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"y": (("chain", "draw", "obs"), values)}))
    with pytest.warns(UserWarning, match="shape parameter"):
        found = arviz_stats.loo(tree, var_name="y", pointwise=True)
    ours = fit.loo(refit=False)
    # ArviZ takes the efficiency of the draws over the random effects too: that moves the tail that is smoothed
    assert ours.elpd == pytest.approx(float(found.elpd), abs=0.5)
    assert ours.p_loo == pytest.approx(float(found.p), abs=0.5)


@pytest.mark.parametrize("by", [None, "Subject"])
def test_arviz_reads_the_log_likelihood_that_a_fit_gives(sleep, by):
    """ArviZ takes the efficiency of the draws over the random effects too: that moves the tail that is smoothed."""
    fit = sleep["slopes"]
    with pytest.warns(UserWarning, match="shape parameter"):
        found = arviz_stats.loo(fit.log_likelihood(by))
    assert float(found.elpd) == pytest.approx(fit.loo(by, refit=False).elpd, abs=0.5)
    assert "log_likelihood" not in fit.tree.children


def test_arviz_labels_each_effect_with_its_own_level_and_term(sleep):
    """It takes the order of all dimensions, which that of the sds before the effects turned round."""
    fit = sleep["slopes"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the diagonal of the correlations does not vary
        table = arviz_stats.summary(fit.tree, round_to="none")
    b = fit.tree["posterior"]["b_Subject"].mean(("chain", "draw"))
    for level in ("308", "309", "372"):
        for term in ("Intercept", "Days"):
            expected = float(b.sel(Subject=level, Subject_term=term))
            assert float(table.loc[f"b_Subject[{level}, {term}]", "mean"]) == pytest.approx(expected, rel=1e-6)


def test_rows_by_integration_agree_with_rows_by_draws_and_have_fewer_high_k(sleep):
    draws, whole = sleep["slopes"].loo(refit=False), sleep["slopes"].loo(integrated=True, refit=False)
    # row 56, a residual of 5 sigma, has a k of 0.5 to 0.8 from seed to seed: sigma itself depends on it
    assert len(whole.unreliable) < len(draws.unreliable)
    assert set(whole.unreliable.index) <= {56}
    good = draws.table["pareto_k"].to_numpy() < 0.5
    gap = (draws.table["elpd"] - whole.table["elpd"])[good]
    assert np.abs(gap).max() < 0.1  # Monte Carlo error of a row with k = 0.5 and 4,000 draws: about 0.02
    assert abs(gap.sum()) < 1.0  # and of 170 of them
    assert "all 180 are at most 0.7" in str(sleep["parallel"].loo(integrated=True))


def test_a_likelihood_ratio_test_is_given_its_counterpart(sleep):
    table = bmm.compare_models(sleep).table
    gap, se = -table["difference"]["parallel"], table["se_difference"]["parallel"]
    text = predictive_difference([sleep["parallel"], sleep["slopes"]])
    assert f"second model less that of the first is {gap:+.1f} (SE {se:.1f})" in text
    assert gap > 0


def test_criteria_stand_beside_the_cross_validation(sleep):
    """Of the models maximised by ML; a parameter held fixed by its prior is another model, and there are none."""
    found = bmm.compare_models(sleep)
    points = {name: one.model.maximize("ML") for name, one in sleep.items()}
    pd.testing.assert_frame_equal(found.criteria.table, bmm.compare_models(points).table)
    assert "The same models maximised by ML, without their priors" in str(found)
    fixed = {name: bmm.Fit(one.model.with_priors({"sigma": 25}), one.tree) for name, one in sleep.items()}
    assert criteria_of_models(fixed) is None
    with pytest.raises(ValueError, match="'b' came from maximize"):
        bmm.compare_models({"a": sleep["slopes"], "b": points["parallel"]})


def test_the_print_says_what_is_left_out(sleep):
    text = str(sleep["slopes"].loo(by="Subject"))
    assert "One level of Subject at a time, with all its rows; effects integrated out: Subject." in text
    assert "This is for new levels of Subject; for new rows of the same groups use loo()." in text
    text = " ".join(str(fit_of("y ~ x + (1 | g) + (x | c)").loo(by="g")).split())
    assert "the effects of c are held at their draws" in text


def test_models_of_other_data_are_not_compared(sleep):
    data = bmm.load_dataset("sleepstudy")
    one = sleep["slopes"]
    fewer = invented(bmm.Model("Reaction ~ Days + (Days | Subject)", data.iloc[:-10]))
    other = invented(bmm.Model("log(Reaction) ~ Days + (Days | Subject)", data))
    counts = invented(
        bmm.Model("Reaction ~ Days + (1 | Subject)", data.assign(Reaction=data["Reaction"].round()), "poisson")
    )
    whole = invented(bmm.Model("Reaction ~ Days + (1 | Subject)", data.assign(Reaction=data["Reaction"].round())))
    for pair, words in (
        ((one, fewer), "different rows \\(180 and 170\\)"),
        ((one, other), "different responses"),
        ((counts, whole), "probability of a count"),
    ):
        with pytest.raises(DataError, match=words):
            bmm.compare_models(dict(zip("ab", pair, strict=True)))
    with pytest.raises(ValueError, match="at least two"):
        bmm.compare_models({"a": one})
    moved = invented(bmm.Model("Reaction ~ Days + (1 | Subject)", data.assign(Subject=np.roll(data["Subject"], 3))))
    with pytest.raises(DataError, match="different levels of 'Subject'"):
        bmm.compare_models({"a": one, "b": moved}, by="Subject")


def test_the_levels_of_a_factor_whose_name_is_no_path_have_a_log_likelihood():
    """A name with a stroke in it is no name of a dimension in a tree; its effects have another, which is taken."""
    data = frame().rename(columns={"g": "pen/row"})
    fit = invented(bmm.Model("y ~ x + (1 | `pen/row`)", data))
    name = fit.design.blocks[0].name
    assert "/" not in name
    found = fit.log_likelihood(by=fit.design.blocks[0].group)["log_likelihood"]["y"]
    assert found.dims[-1] == name and list(found[name].to_numpy()) == [f"g{i}" for i in range(5)]


def test_a_draw_without_an_integral_is_an_error_in_a_sentence(monkeypatch):
    """As of a truncated response, whose density far out may have no mode; a table of all kinds goes on without."""

    def no_mode(fit, split):
        raise ArithmeticError("the conditional density of the random effects has no mode at draw 48")

    monkeypatch.setattr(loo_module, "by_row", no_mode)
    fit = fit_of("k ~ x + (1 | g)", "poisson")
    with pytest.raises(DataError, match=r"cannot be integrated out: the conditional density .* at draw 48, which lies"):
        fit.loo(integrated=True)
    assert "cannot be integrated out" in " ".join(str(fit.loo_table(refit=False)).split())
