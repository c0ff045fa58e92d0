"""Designs with several kinds of terms at once, where each kind alone is tested elsewhere."""

import numpy as np
import pandas as pd
import pytest
from invented import draws, invented
from scipy.special import gamma

import bayesmm as bmm
from bayesmm.cli.documents import of_fit as document
from bayesmm.errors import DataError
from bayesmm.evaluation.checks.fitted import of_fit
from bayesmm.evaluation.loo_again import _loses_levels
from bayesmm.evaluation.prior_sensitivity.draw_densities import integrated_log_likelihood
from bayesmm.inference.simulation.groups import outer_factor
from bayesmm.inference.simulation.power import _sized, sizes_of
from bayesmm.reporting.gallery import lines
from bayesmm.reporting.plots.chosen import factor

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
MEMBERS = "y ~ x + (1 | mm(m1, m2)) + (1 | g)"
N = 60


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    first = rng.integers(0, 4, N)
    return pd.DataFrame({
        "g": np.repeat([f"g{k}" for k in range(6)], N // 6), "a": np.repeat(["a", "b"], N // 2),
        "m1": [f"m{k}" for k in first], "m2": [f"m{k}" for k in (first + 1) % 4], "x": rng.normal(size=N),
        "f": np.tile(list("pqr"), N // 3), "y": rng.normal(size=N), "k": rng.poisson(2.0, N), "t": rng.weibull(1.5, N),
        "c": np.where(rng.uniform(size=N) < 0.3, "right", "none"), "o": rng.integers(1, 5, N),
    })  # fmt: skip


def test_slopes_of_censored_rows_have_each_rows_own_shape(data):
    # of a Weibull variable with mean mu, z = (t gamma(1 + 1/s) / mu)^s: the slope of log S is s z, of log f s (z - 1)
    fit = invented(bmm.Model(("t | cens(c) ~ x + (1 | g)", "shape ~ x"), data, "weibull"))
    found = of_fit(fit)
    x, slopes = data["x"].to_numpy(), draws(fit, "log_shape")
    middle = draws(fit, "shape").ravel() * np.exp(slopes.reshape(-1) * x.mean())  # posterior means are at the mean of x
    shape = middle.mean() * np.exp(slopes.mean() * (x - x.mean()))
    z = (data["t"].to_numpy() * gamma(1 + 1 / shape) / np.exp(found.eta)) ** shape
    np.testing.assert_allclose(found.slopes[:, 0], shape * (z - (data["c"] == "none")), rtol=1e-8)


def test_figures_are_of_the_factor_that_they_name(data, headless):
    design = bmm.Model(MEMBERS, data).design
    assert [design.blocks[factor(design, group)].group for group in (None, "g")] == ["g", "g"]
    with pytest.raises(ValueError, match="group is 'h'; the grouping factors of this model are g"):
        factor(design, "h")
    with pytest.raises(ValueError, match="no grouping factor that puts each row into one level"):
        factor(bmm.Model("y ~ x + (1 | mm(m1, m2))", data).design, None)
    assert "level of g " in lines(invented(bmm.Model(MEMBERS, data)))[0].caption


@pytest.mark.parametrize(("groups", "by"), [(12, None), (12, "g"), ({"g": 12}, None)])
def test_more_groups_are_of_the_factor_that_is_named(data, groups, by):
    model = bmm.Model(MEMBERS, data)
    sizes = sizes_of(model.design, groups, None, by)
    design = _sized(model, sizes, (12,), 0, 1)
    assert design.n == 2 * N and {block.group: len(block.labels) for block in design.blocks}["g"] == 12
    assert model.design.blocks[outer_factor(model.design, by if by else "g")].group == "g"


def test_an_ordered_response_is_augmented_by_its_mean_category(data):
    model = bmm.Model("o ~ x + (1 | g)", data, "cumulative")
    point = model.maximize()
    own = point.augment()
    shares = point.predict().to_numpy()
    np.testing.assert_allclose(own[".fitted"], shares @ [1, 2, 3, 4], rtol=1e-12)
    np.testing.assert_allclose(own[".resid"], data["o"] - own[".fitted"], atol=1e-12)
    fixed = point.predict(groups="population").to_numpy() @ [1, 2, 3, 4]
    np.testing.assert_allclose(own[".fixed"], fixed, rtol=1e-12)


def test_a_lazy_frame_is_refused_by_predict_and_not_by_the_table(data):
    pl = pytest.importorskip("polars")
    point = bmm.Model("y ~ x + (1 | g)", data).maximize()
    with pytest.raises((DataError, TypeError)) as said:
        point.predict(pl.from_pandas(data).lazy())
    with pytest.raises(said.type) as caught:
        point.augment(pl.from_pandas(data).lazy())
    assert str(caught.value) == str(said.value)


def test_the_likelihood_of_a_curve_alone_is_integrated(data):
    fit = invented(bmm.Model("k ~ s(x, k = 4)", data, "poisson"))
    values, said = integrated_log_likelihood(fit)
    assert "quadrature" in said and np.isfinite(values).all()


def test_a_member_in_no_row_is_a_lost_level(data):
    block = bmm.Model("y ~ x + (x || mm(m1, m2))", data).design.blocks[0]
    without = ~(data[["m1", "m2"]] == "m0").any(axis=1).to_numpy()
    assert _loses_levels(block, without) and not _loses_levels(block, np.arange(N) > 0)


def test_random_effects_have_the_same_order_in_both_fits(data):
    model = bmm.Model("y ~ x + (1 | a) + (1 | g)", data)
    assert list(invented(model).tidy("ran_vals")["group"]) == list(model.maximize().tidy("ran_vals")["group"])


def test_the_advice_of_loo_names_what_is_possible(data):
    nested = data.assign(b=data["g"])
    said = str(invented(bmm.Model("k ~ x + (1 | a/b)", nested, "poisson")).loo(integrated=False, refit=False))
    assert "by='a'" not in said and "by='a:b'" in said


@pytest.mark.parametrize(
    ("formulas", "family"), [(("y ~ x", "sigma ~ f"), "gaussian"), (("k ~ x", "shape ~ f"), "negbinomial")]
)
def test_other_data_may_lack_a_level_of_a_parameters_formula(data, formulas, family):
    other = bmm.Model(formulas, data, family).with_data(data[data["f"] != "r"])
    assert other.design.residual.parameters[0].terms == ("f[T.q]", "f[T.r]")
    with pytest.raises(DataError, match=r"columns that depend on others in these data .*; use sample\(\)"):
        other.maximize()
    with pytest.raises(DataError, match="columns that depend on others"):
        bmm.Model((formulas[0], formulas[1].replace("f", "f + g2")), data.assign(g2=data["f"]), family)


def test_prior_predictions_of_a_lazy_frame_need_its_rows(data):
    pl = pytest.importorskip("polars")
    model = bmm.Model("y ~ x + (1 | g)", pl.from_pandas(data).lazy())
    for use in (model.prior_predictive, lambda: bmm.prior_check(model)):
        with pytest.raises(DataError, match="this needs the rows of the data, of which Polars gave sums alone"):
            use()


def test_a_document_counts_members_and_no_curves(data):
    point = bmm.Model("y ~ s(x, k = 5) + (1 | mm(m1, m2)) + (1 | g)", data).maximize()
    assert document(point)["model"]["groups"] == {"mm(m1, m2)": 4, "g": 6}


def test_new_members_have_the_variance_of_known_ones(data):
    rows = pd.DataFrame({"x": 0.5, "m1": ["m0", "new", "m0"], "m2": ["m1", "newer", "new"]})
    point = bmm.Model("z ~ x + (1 | mm(m1, m2))", data.assign(z=data["y"] + 2.0 * (data["m1"] == "m0"))).maximize()
    sds = point.predict(rows, groups="population", se=True)["sd"]
    np.testing.assert_allclose(sds, sds.iloc[0], rtol=1e-12)
    assert sds.iloc[0] > 1.1 * point.sigma
    counts = bmm.Model("k ~ x + (1 | mm(m1, m2))", data.assign(k=data["k"] + 9 * (data["m1"] == "m0")), "poisson")
    averaged = counts.maximize()
    assert averaged.parameters["sd_mm(m1, m2)[Intercept]"] > 0.3
    means = averaged.predict(rows, groups="averaged")["estimate"]
    np.testing.assert_allclose(means, means.iloc[0], rtol=1e-12)
    assert means.iloc[0] > 1.01 * averaged.predict(rows, groups="population")["estimate"].iloc[0]


def test_two_ordered_categories_have_the_edf_of_yes_and_no(data):
    rng = np.random.default_rng(3)
    own = data.assign(v=np.linspace(0, 6, N)).assign(yes=lambda d: (np.sin(d.v) + 0.5 * rng.normal(size=N) > 0) * 1)
    both = (("yes ~ s(v, k = 6)", "bernoulli"), ("I(yes + 1) ~ s(v, k = 6)", "cumulative"))
    edf = [bmm.Model(formula, own, family).maximize().smooths()["edf"].sum() for formula, family in both]
    assert edf[0] == pytest.approx(edf[1], rel=1e-4)  # the searches end a little apart


def test_a_response_of_sd_one_is_as_good_as_any_other():
    rng = np.random.default_rng(4)
    g, f = np.repeat(np.arange(10), 6), np.tile(list("ab"), 30)
    y = rng.normal(size=10)[g] + np.where(f == "a", 0.5, 1.0) * rng.normal(size=60)
    table = pd.DataFrame(
        {"y": (y - y.mean()) / y.std(), "g": g.astype(str), "f": f, "c": np.tile(["none"] * 9 + ["right"], 6)}
    )
    formula = "y | cens(c) ~ 1 + (1 | g); sigma ~ 0 + f"
    one, other = (bmm.Model(formula, table.assign(y=table["y"] * by)).maximize() for by in (1.0, 1.3))
    known = (table["c"] == "none").sum()  # a density is in units of the response, a probability is not
    assert one.loglik == pytest.approx(other.loglik + known * np.log(1.3), abs=1e-6)
    assert one.parameters["sd_g[Intercept]"] == pytest.approx(other.parameters["sd_g[Intercept]"] / 1.3, rel=1e-4)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_an_offset_moves_the_thresholds_and_nothing_else(data, link):
    first, moved = (
        bmm.Model("o ~ x + offset(far) + (1 | g)", data.assign(far=far), "cumulative", link=link).maximize()
        for far in (0.0 * data["x"], 0.0 * data["x"] + 1000.0)
    )
    assert moved.loglik == pytest.approx(first.loglik, abs=1e-6) and moved.converged
    assert moved.parameters["beta[x]"] == pytest.approx(first.parameters["beta[x]"], abs=1e-4)


def test_correlations_of_terms_with_dots_keep_their_names(data):
    point = bmm.Model("y ~ `x.one` + (`x.one` | g)", data.rename(columns={"x": "x.one"})).maximize()
    assert "cor Intercept, x.one (g)" in bmm.table(point).to_frame().index
