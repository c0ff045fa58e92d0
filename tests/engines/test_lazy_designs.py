"""A lazy frame's design is that of the same table in memory: names, levels, cross-products, default priors."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import bayesmm as bmm
from bayesmm.design.covariance.structures import parse_formula
from bayesmm.design.design import make_design
from bayesmm.engines.design import lazy_design
from bayesmm.errors import DataError, FormulaError
from bayesmm.families.families import get_family
from bayesmm.priors import resolve_priors
from tests.lazy_frames import engines, installed, lazy, messy

FORMULAS = (
    "y ~ x*f + ns(z, df = 4) + C(h, Sum) + offset(o) + (1 + x | g) + (1 | g:s) + (0 + h | s)",
    "y ~ 0 + f + poly(z, 3) + I(x^2) + scale(log(x)):h + yes + (1 | g/s)",
    "y ~ bs(z, df = 6) + I(z > 5) + I(h == 'u') + factor(g) + (1 | s)",
    "y ~ f*h + log2(x) + sqrt(z) + abs(o) + exp(o / 10) + (x || g)",
    "y ~ center(x) * C(f, Treatment('b')) + offset(o) + offset(z) + (f | s)",
)
GAUSSIAN = get_family("gaussian")


def second_moments(X, weights):
    w = np.ones(len(X)) if weights is None else weights
    return X.T @ (X * w[:, None])


@pytest.fixture(params=engines())
def engine(request):
    return request.param


@pytest.mark.parametrize(
    ("formula", "weights"),
    [  # with weights and without in turn, the other way round in the slow tests
        pytest.param(formula, weights, marks=[pytest.mark.slow] * (k % 2 == (weights is None)))
        for k, formula in enumerate(FORMULAS)
        for weights in (None, "w")
    ],
)
def test_a_lazy_design_is_that_of_the_table(engine, formula, weights):
    table, parsed = messy(), parse_formula(formula)
    whole = make_design(parsed, table, family=GAUSSIAN, weights=weights)
    own = lazy_design(parsed, lazy(engine, table), GAUSSIAN, weights=weights)
    assert (own.n, own.coefficients, own.aliased) == (whole.n, whole.coefficients, whole.aliased)
    found = own.X.weighted_rows.T @ own.X.weighted_rows
    expected = second_moments(whole.X, whole.weights)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # sums in another order differ by some 1e-14 of the norms; spline pieces through points by 1e-12
    assert np.abs(found - expected).max(initial=0, where=scale > 0) <= 1e-10 * scale.max()
    assert (np.abs(found - expected) <= 1e-10 * scale).all()
    left = whole.y - whole.offset
    target = own.y - own.offset
    assert target.mean() == pytest.approx(left.mean(), rel=1e-12)
    assert target.std(1) == pytest.approx(left.std(ddof=1), rel=1e-12)
    for mine, its in zip(own.blocks, whole.blocks, strict=True):
        assert (mine.name, mine.levels, mine.columns, mine.parts) == (its.name, its.levels, its.columns, its.parts)
        assert (mine.counts == its.counts).all()
    for mine, its in zip(own.spec.groupings, whole.spec.groupings, strict=True):
        assert (mine.cells == its.cells).all() and mine.factor_levels == its.factor_levels


@pytest.mark.parametrize(
    ("engine", "formula"),
    [  # priors follow from the numbers that the test above compares
        pytest.param(*of.values, formula, marks=(*of.marks, *[pytest.mark.slow] * (of.values[0] != "polars" and k > 0)))
        for of in engines()
        for k, formula in enumerate(FORMULAS)
    ],
)
def test_default_priors_are_those_of_the_table(engine, formula):
    table, parsed = messy(), parse_formula(formula)
    whole = resolve_priors(make_design(parsed, table, family=GAUSSIAN), GAUSSIAN, None)
    own = resolve_priors(lazy_design(parsed, lazy(engine, table), GAUSSIAN), GAUSSIAN, None)
    assert list(own) == list(whole)
    for place, prior in whole.items():
        assert (own[place].distribution, own[place].at) == (prior.distribution, prior.at)
        for name, value in prior.parameters.items():
            assert own[place].parameters[name] == pytest.approx(value, rel=1e-9, abs=1e-9), (place, name)


def test_levels_mean_the_same_on_every_engine(engine):
    rng, n = np.random.default_rng(1), 400
    table = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "whole": rng.integers(-3, 12, n),
            "text": rng.choice(["10", "9", "b", "Ä", "a b"], n),
            "yes": rng.random(n) < 0.5,
            "kind": pd.Categorical(rng.choice(["lo", "hi"], n)),
        }
    )
    formula = parse_formula("y ~ text + kind + (1 | whole) + (1 | yes:text)")
    whole = make_design(formula, table, family=GAUSSIAN)
    own = lazy_design(formula, lazy(engine, table), GAUSSIAN)
    assert own.coefficients == whole.coefficients
    assert [block.levels for block in own.blocks] == [block.levels for block in whole.blocks]


@pytest.mark.parametrize("gap", [None, float("nan")])
@pytest.mark.parametrize("of", ["polars", *(["duckdb"] if installed("duckdb") else [])])
def test_null_and_nan_are_missing_values(of, gap):
    table = pl.from_pandas(messy(300).dropna())
    values = pl.Series("z", [gap, *table["z"].to_list()[1:]], dtype=pl.Float64)
    whole = table.with_columns(values)
    if of == "duckdb":
        import duckdb

        data = duckdb.connect().from_arrow(whole.to_arrow())
    else:
        data = whole.lazy()
    own = lazy_design(parse_formula("y ~ z + (1 | g)"), data, GAUSSIAN)
    assert own.n == len(table) - 1
    assert any("1 of" in m.text and "z: 1" in m.text for m in own.messages)
    with pytest.raises(DataError, match=r"missing values \(z: 1\); missing='drop'"):
        lazy_design(parse_formula("y ~ z + (1 | g)"), data, GAUSSIAN, missing="error")


def frame(**columns):
    n = 60
    rng = np.random.default_rng(2)
    own = {"y": rng.normal(size=n), "x": rng.normal(size=n), "g": np.arange(n) % 6, "w": np.ones(n)}
    return pl.DataFrame(own | columns).lazy()


@pytest.mark.parametrize(
    ("formula", "columns", "said"),
    [
        ("y ~ x + (1 | g)", {"x": [float("inf"), *range(59)]}, "'x' is infinite in some rows"),
        ("y ~ x + (1 | g)", {"x": [1e200, *range(59)]}, "'x' is as large as 1e\\+200"),
        ("y ~ log(x) + (1 | g)", {"x": list(range(60))}, "log\\(x\\) is not finite"),
        ("y ~ x + (1 | g)", {"x": [2.0] * 60}, "'x' is constant \\(2\\), so its effect cannot be told apart"),
        ("y ~ x + (1 | g)", {"y": [2.0] * 60}, "constant"),
        ("y ~ x + (1 | g)", {"g": [1] * 60}, "grouping factor 'g' has one level"),
        ("y ~ x + (1 | g)", {"g": [0.5, 1.5] * 30}, "numbers with decimals as levels"),
        ("y ~ x + (1 | g)", {"g": [None] * 60}, "column 'g' has no value in any of the 60 rows"),
        ("y ~ f + (1 | g)", {"f": ["a"] * 60}, "factor 'f' has one level"),
        ("y ~ x + (1 | g)", {"y": ["a"] * 60}, "'y' holds text where"),
        ("sigma ~ x; y ~ x", {}, "."),
    ],
)
def test_bad_data_are_one_sentence(formula, columns, said):
    parsed = parse_formula(formula) if "sigma" not in formula else parse_formula(("y ~ x + (1 | g)", "sigma ~ x"))
    with pytest.raises(DataError, match=said) as caught:
        lazy_design(parsed, frame(**columns), GAUSSIAN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("w", "said"), [(-1.0, "negative, missing or infinite in 1 row"), (None, "in 1 row"), (float("inf"), "in 1 row")]
)
def test_bad_weights_are_one_sentence(w, said):
    with pytest.raises(DataError, match=said):
        lazy_design(parse_formula("y ~ x + (1 | g)"), frame(w=[w] + [1.0] * 59), GAUSSIAN, weights="w")


def test_rows_of_weight_0_are_left_out():
    own = lazy_design(parse_formula("y ~ x + (1 | g)"), frame(w=[0.0] + [1.0] * 59), GAUSSIAN, weights="w")
    assert own.n == 59
    assert "1 row of weight 0 is left out" in {m.text for m in own.messages}


def test_an_absent_column_is_underlined():
    with pytest.raises(FormulaError, match="'q' is not in the data"):
        lazy_design(parse_formula("y ~ q + (1 | g)"), frame(), GAUSSIAN)


def test_whatever_needs_a_row_says_so():
    own = lazy_design(parse_formula("y ~ x + (1 | g)"), frame(), GAUSSIAN)
    for use in (np.asarray, np.square, lambda X: X.sum(), lambda X: X[0], lambda X: X * 2, list):
        with pytest.raises(DataError, match="Polars gave sums alone"):
            use(own.X)
    with pytest.raises(DataError, match="Polars gave sums alone"):
        own.frame["x"]


def test_a_source_that_changes_between_the_passes_is_refused(monkeypatch):
    from bayesmm.engines import design

    moved = design.means

    def other(rows, known):
        found = moved(rows, known)
        found.mean[1:] += 1.0
        return found

    monkeypatch.setattr(design, "means", other)
    with pytest.raises(DataError, match="the data changed while they were read"):
        lazy_design(parse_formula("y ~ x + (1 | g)"), frame(), GAUSSIAN)


def test_an_engine_that_fails_is_one_sentence(tmp_path):
    path = tmp_path / "gone.parquet"
    frame().collect().write_parquet(path)
    scan = pl.scan_parquet(path)
    scan.collect_schema()
    path.unlink()
    with pytest.raises(DataError, match=r"^Polars could not ") as caught:
        lazy_design(parse_formula("y ~ x + (1 | g)"), scan, GAUSSIAN)
    assert "\n" not in str(caught.value)


def test_what_is_null_after_a_calculation_is_no_number():
    duckdb = pytest.importorskip("duckdb")
    table = messy(6000).dropna()
    table.loc[table.index[-1], "z"] = 0.0  # in no small table, by which a formula is tried
    made = duckdb.connect(config={"ieee_floating_point_ops": False, "error_on_division_by_zero": False})
    with pytest.raises(DataError, match=r"I\(x/z\) is not finite in some rows"):
        lazy_design(parse_formula("y ~ I(x / z) + (1 | g)"), made.from_df(table), GAUSSIAN)


def test_small_values_keep_their_digits_and_units_do_not_matter():
    table = messy(400).dropna().assign(t=lambda d: 1e-12 * d["x"], u=lambda d: 1e-9 * d["z"])
    for formula in ("y ~ log1p(t) + expm1(t) + (1 | g)", "y ~ poly(u, 2) + (1 | g)"):
        one, own = (bmm.Model(formula, data).maximize() for data in (table, lazy("polars", table)))
        np.testing.assert_allclose(own.fixef()["estimate"], one.fixef()["estimate"], rtol=1e-7)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_an_enum_of_polars_is_what_it_is_in_memory(family):
    rng = np.random.default_rng(2)
    levels = pl.Enum(["low", "mid", "high"])
    table = pl.DataFrame(
        {"e": rng.choice(["low", "mid", "high"], 200), "g": rng.integers(0, 8, 200), "y": rng.poisson(2.0, 200)}
    )
    table = table.with_columns(pl.col("e").cast(levels))
    one, own = (bmm.Model("y ~ e + (1 | g)", data, family).maximize() for data in (table, table.lazy()))
    assert own.design.coefficients == one.design.coefficients == ("Intercept", "e[T.mid]", "e[T.high]")
    np.testing.assert_allclose(own.beta, one.beta, rtol=1e-5)


def test_what_a_comparison_hides_must_be_finite(engine):
    table = messy(900).dropna().reset_index(drop=True)
    table.loc[len(table) - 1, "z"] = 0.0  # in no small table, by which a formula is tried
    for formula in ("y ~ I(x / z > 1) + (1 | g)", "y ~ I(1 / (x / z)) + (1 | g)", "y ~ exp(-(x / z)) + (1 | g)"):
        with pytest.raises(DataError, match=r"x/z\)? is not finite in some rows"):
            lazy_design(parse_formula(formula), lazy(engine, table), GAUSSIAN)


def test_weights_that_learn_are_those_of_the_table(engine):
    table, formula = messy(600).dropna(), parse_formula("y | weights(exp(scale(x)) * (z > 1)) ~ z + (1 | g)")
    whole = make_design(formula, table, family=GAUSSIAN)
    own = lazy_design(formula, lazy(engine, table), GAUSSIAN)
    assert own.n == whole.n < len(table)
    np.testing.assert_allclose(own.X.sums.sum_log_weights, np.log(whole.weights).sum(), rtol=1e-10)
    with pytest.raises(DataError, match="weights 'scale\\(x\\)' are negative, missing or infinite"):
        lazy_design(parse_formula("y | weights(scale(x)) ~ z + (1 | g)"), lazy(engine, table), GAUSSIAN)


def test_values_whose_squares_overflow_are_refused_also_when_calculated():
    with pytest.raises(DataError, match=r"exp\(x\) is as large as"):
        lazy_design(parse_formula("y ~ exp(x) + (1 | g)"), frame(x=[400.0, *np.linspace(0, 1, 59)]), GAUSSIAN)


@pytest.mark.parametrize("name", ["(response)", "(offset)"])
def test_a_predictor_may_be_called_as_a_part_of_the_model_is(name):
    table = messy(200).rename(columns={"x": name}).dropna()
    formula = parse_formula(f"y ~ `{name}` + offset(o) + (1 | g)")
    own, whole = (
        lazy_design(formula, pl.DataFrame(table).lazy(), GAUSSIAN),
        make_design(formula, table, family=GAUSSIAN),
    )
    assert own.y.std(1) == pytest.approx(whole.y.std(ddof=1), rel=1e-12)
    assert own.offset.std(1) == pytest.approx(np.std(whole.offset, ddof=1), rel=1e-12)
    np.testing.assert_allclose(own.X.weighted_rows.T @ own.X.weighted_rows, whole.X.T @ whole.X, rtol=1e-10)
