"""A model of a lazy frame gives what the same table in memory gives: estimates, draws, tables, files."""

import numpy as np
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError, FitFileError
from tests.lazy_frames import engines, lazy, messy

FORMULA = "y ~ x*f + ns(z, df = 4) + C(h, Sum) + offset(o) + (1 + x | g) + (1 | g:s) + (0 + h | s)"
SMALL = "y ~ x + f + (1 + x | g) + (1 | s)"


def relative(found, expected):
    found, expected = (np.asarray(values, dtype=float) for values in (found, expected))
    assert (np.isnan(found) == np.isnan(expected)).all()
    size = np.nanmax(np.abs(expected), axis=0)
    return float(np.max(np.nanmax(np.abs(found - expected), axis=0) / np.where(size > 0, size, 1.0)))


@pytest.fixture(scope="module")
def pair():
    """Return a model of a table in memory, and one of the same table by Polars, lazily."""
    table = messy(1200)
    return bmm.Model(SMALL, table), bmm.Model(SMALL, lazy("polars", table))


@pytest.fixture(scope="module")
def fits(pair):
    return [model.sample(draws=300, chains=2, seed=4, sampler="importance", progress=False) for model in pair]


@pytest.mark.parametrize(
    ("method", "engine"),
    [  # of ML one engine, the others in the slow tests
        pytest.param(method, *of.values, marks=(*of.marks, *[pytest.mark.slow] * (method == "ML" and k > 0)))
        for method in ("REML", "ML")
        for k, of in enumerate(engines())
    ],
)
def test_estimates_are_those_of_the_table(engine, method):
    table = messy()
    whole = bmm.Model(FORMULA, table, weights="w").maximize(method)
    own = bmm.Model(FORMULA, lazy(engine, table), weights="w").maximize(method)
    assert own.criterion == pytest.approx(whole.criterion, rel=1e-10)
    # the search ends where the criterion is flat to 1e-16, so estimates agree to about 1e-8 of their standard errors
    for column in ("estimate", "se"):
        assert relative(own.fixef()[column], whole.fixef()[column]) < 1e-8
    assert relative(own.varcorr().sdcor, whole.varcorr().sdcor) < 1e-6
    assert list(own.ranef().grp) == list(whole.ranef().grp)
    assert relative(own.ranef().condval, whole.ranef().condval) < 1e-6
    assert relative(own.ranef().condsd, whole.ranef().condsd) < 1e-6
    assert own.singular == whole.singular and own.npar == whole.npar


def test_columns_far_from_0_lose_no_digits():
    table = messy().dropna()
    far = table.assign(x=table.x + 2e6, y=table.y + 2e6)  # a mean of 1e6 standard deviations
    first, second = (bmm.Model("y ~ x + f + (1 | g)", lazy("polars", data)).maximize() for data in (table, far))
    assert second.criterion == pytest.approx(first.criterion, rel=1e-10)
    assert relative(second.fixef().estimate["x":"x"], first.fixef().estimate["x":"x"]) < 1e-8
    assert relative(second.fixef().se["x":"x"], first.fixef().se["x":"x"]) < 1e-8
    assert relative(second.varcorr().sdcor, first.varcorr().sdcor) < 1e-7


def test_an_exact_fit_is_refused():
    table = messy(400).dropna().assign(y=lambda data: 2 * data.x + 1)
    with pytest.raises(DataError, match="fit the 397 rows of 'y' exactly"):
        bmm.Model("y ~ x + (1 | g)", lazy("polars", table)).maximize()


def test_the_marginal_mode_is_that_of_the_table(pair):
    whole, own = (model.maximize("MAP") for model in pair)
    assert relative(own.varcorr().sdcor, whole.varcorr().sdcor) < 1e-6
    assert relative(own.fixef().estimate, whole.fixef().estimate) < 1e-8


def test_independent_draws_are_the_same(fits):
    whole, own = (fit.tree["posterior"].to_dataset() for fit in fits)
    assert set(own.data_vars) == set(whole.data_vars)
    for name in whole.data_vars:
        assert relative(own[name], whole[name]) < 1e-6, name


def test_the_first_draws_of_nuts_are_the_same(pair):
    # A trajectory doubles a difference every few steps: sums that differ by 1e-14 give other chains after some hundred.
    whole, own = (
        model.sample(draws=10, tune=20, chains=2, seed=5, progress=False).tree["posterior"].to_dataset()
        for model in pair
    )
    for name in whole.data_vars:
        assert relative(own[name], whole[name]) < 1e-6, name


def test_tables_are_the_same(pair, fits):
    for whole, own in (fits, [model.maximize() for model in pair]):
        assert relative(own.icc().table.iloc[:, 0], whole.icc().table.iloc[:, 0]) < 1e-6
        first, second = (one.r2().table.loc[["r2_marginal", "r2_conditional"]] for one in (own, whole))
        assert relative(first.iloc[:, 0], second.iloc[:, 0]) < 1e-6
        means = [bmm.emmeans(one, "f").table for one in (own, whole)]
        assert list(means[0].index) == list(means[1].index)
        assert relative(*(table.select_dtypes("number") for table in means)) < 1e-6


def test_a_likelihood_ratio_is_the_same():
    table = messy(1200).dropna()
    small = [bmm.Model("y ~ x + (1 + x | g) + (1 | s)", data) for data in (table, lazy("polars", table))]
    large = [bmm.Model(SMALL, data) for data in (table, lazy("polars", table))]
    whole, own = (bmm.lrt(a.maximize(), b.maximize()).table for a, b in zip(small, large, strict=True))
    assert relative(own[["logLik", "Chisq", "Pr(>Chisq)"]], whole[["logLik", "Chisq", "Pr(>Chisq)"]]) < 1e-6


def test_prints_and_comparison(pair, fits):
    point = pair[1].maximize()
    text = str(point)
    assert "Number of obs: 1197 (sums by Polars)" in text and "Scaled residuals" not in text
    assert "REML criterion" in text and "Fixed effects" in text
    assert "sums by Polars" in str(fits[1])
    assert relative(fits[1].compare().table["mean"], fits[0].compare().table["mean"]) < 1e-6


@pytest.mark.parametrize(
    "use",
    [
        lambda fit, point: point.residuals,
        lambda fit, point: point.fitted,
        lambda fit, point: point.predict(),
        lambda fit, point: fit.predict(),
        lambda fit, point: fit.loo(),
        lambda fit, point: point.simulate(seed=1),
        lambda fit, point: point.bootstrap(2, seed=1),
    ],
)
def test_what_needs_rows_says_so_in_one_sentence(pair, fits, use):
    with pytest.raises(DataError, match="Polars gave sums alone") as caught:
        use(fits[1], pair[1].maximize())
    assert "\n" not in str(caught.value)


def test_predictions_of_new_rows(pair, fits):
    new = messy(1200).dropna().head(7)
    for whole, own in (fits, [model.maximize() for model in pair]):
        assert relative(_means(own.predict(new)), _means(whole.predict(new))) < 1e-6


def _means(predictions):
    return getattr(predictions, "to_frame", lambda: predictions)().select_dtypes("number").iloc[:, 0]


def test_saved_and_loaded(fits, tmp_path):
    path = tmp_path / "fit.nc"
    fits[1].save(path)
    again = bmm.load(path)
    assert again.design.n == 1197
    assert again.fixef().equals(fits[1].fixef())
    assert again.model.maximize().criterion == fits[1].model.maximize().criterion
    assert str(again) == str(fits[1])


def test_parts_add_up(pair, tmp_path):
    table = messy(1200)
    parts = [
        bmm.accumulate(SMALL, lazy("polars", part))
        for part in (table.iloc[:500], table.iloc[500:700], table.iloc[700:])
    ]
    parts[1].save(tmp_path / "second.nc")
    whole = parts[0] + bmm.load_accumulated(tmp_path / "second.nc") + parts[2]
    point, expected = bmm.Model(SMALL, whole).maximize(), pair[0].maximize()
    assert point.criterion == pytest.approx(expected.criterion, rel=1e-10)
    assert relative(point.fixef().estimate, expected.fixef().estimate) < 1e-8
    assert list(point.ranef().grp) == list(expected.ranef().grp)
    assert relative(point.ranef().condval, expected.ranef().condval) < 1e-6


def test_parts_of_one_level_each_are_federated(pair):
    table = messy(1200).dropna()
    parts = [bmm.accumulate("y ~ x + (1 | s)", lazy("polars", own)) for _, own in table.groupby("s")]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    point = bmm.Model("y ~ x + (1 | s)", whole).maximize()
    expected = bmm.Model("y ~ x + (1 | s)", table).maximize()
    assert point.criterion == pytest.approx(expected.criterion, rel=1e-10)


def test_levels_that_a_part_lacks_are_aligned(pair):
    table = messy(1200).dropna()
    formula = "y ~ x*f + (1 | g)"
    parts = [
        bmm.accumulate(formula, lazy("polars", own)) for own in (table[table.f != "c"], table[table.f != "a"][::2])
    ]
    rows = np.concatenate([np.flatnonzero(table.f != "c"), np.flatnonzero(table.f != "a")[::2]])
    point, expected = (
        bmm.Model(formula, parts[0] + parts[1]).maximize(),
        bmm.Model(formula, table.iloc[rows]).maximize(),
    )
    assert point.criterion == pytest.approx(expected.criterion, rel=1e-10)
    assert relative(point.fixef().estimate, expected.fixef().estimate) < 1e-8


def test_parts_that_learned_other_numbers_are_refused():
    table = messy(600)
    parts = [bmm.accumulate("y ~ scale(x) + (1 | g)", lazy("polars", own)) for own in (table[:300], table[300:])]
    with pytest.raises(DataError, match="like=first"):
        parts[0] + parts[1]
    second = bmm.accumulate("y ~ scale(x) + (1 | g)", lazy("polars", table[300:]), like=parts[0])
    assert (parts[0] + second).n == parts[0].n + parts[1].n
    other = bmm.accumulate("y ~ x + (1 | g)", lazy("polars", table[300:]))
    with pytest.raises(DataError, match="different models"):
        parts[0] + other


def test_damaged_sums_are_not_read(tmp_path):
    path = tmp_path / "sums.nc"
    bmm.accumulate("y ~ x + (1 | g)", lazy("polars", messy(300))).save(path)
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    with pytest.raises(FitFileError, match="damaged"):
        bmm.load_accumulated(path)
    with pytest.raises(FitFileError, match="exists already"):
        bmm.accumulate("y ~ x + (1 | g)", lazy("polars", messy(300))).save(path)


@pytest.mark.parametrize("family", ["poisson", "bernoulli"])
def test_other_families_from_the_table_of_distinct_rows(family):
    rng = np.random.default_rng(6)
    table = messy(2000)[["f", "g"]].dropna()
    eta = 0.3 * (table.f == "a") + 0.1 * (table.g % 5)
    table["y"] = rng.poisson(np.exp(eta)) if family == "poisson" else (rng.random(len(table)) < 0.2 + 0.1 * eta) * 1
    own, whole = (bmm.Model("y ~ f + (1 | g)", data, family).maximize() for data in (lazy("polars", table), table))
    assert own.loglik == pytest.approx(whole.loglik, rel=1e-10)
    assert relative(own.fixef().estimate, whole.fixef().estimate) < 1e-6
    assert own.design.n == len(table) and own.bic == pytest.approx(whole.bic, rel=1e-10)


def test_more_rows_than_are_taken_are_weighted_and_a_warning_says_what_that_changes(monkeypatch):
    from bayesmm.engines import design

    monkeypatch.setattr(design, "MOST_TAKEN", 100)
    table = messy(2000)[["f", "g"]].dropna().assign(y=lambda t: t.g % 3)
    model = bmm.Model("y ~ f + (1 | g)", lazy("polars", table), "poisson")
    (said,) = [m.text for m in model.design.messages if "distinct rows stand for" in m.text]
    assert "BIC, residuals, checks" in said
    own, whole = model.maximize(), bmm.Model("y ~ f + (1 | g)", table, "poisson").maximize()
    assert own.loglik == pytest.approx(whole.loglik, rel=1e-10) and own.design.n < len(table)
    with pytest.raises(DataError, match=r"s\(g.*is centred over all rows.*use ns\(\)"):
        bmm.Model("y ~ s(g, k = 4)", lazy("polars", table), "poisson")


def test_a_table_of_nearly_all_rows_is_refused(monkeypatch):
    from bayesmm.engines import distinct

    monkeypatch.setattr(distinct, "FEW", 10)
    table = messy(500).assign(y=1)
    with pytest.raises(DataError, match=r"of the .* rows differ in the columns of the model"):
        bmm.Model("y ~ x + (1 | g)", lazy("polars", table), "poisson")
