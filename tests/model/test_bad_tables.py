"""The text of every error, warning and note on tables, the types of their columns, and their names."""

import decimal
import unicodedata

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from bad_data import F, base, columns, design, refused, said, silent

from bayesmm.design.design import make_design
from bayesmm.errors import DataError, FormulaError
from bayesmm.formula.formula import parse

# ----------------------------------------------------------------------------------------------------------------------
# G: containers and types


HOLDS = "; expected only numbers, text, true/false values, categories or dates"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            columns(x=pd.Series([1, "2", 3.0, None] * 6, dtype=object)),  # G01
            "column 'x' mixes types: int (6), str (6), float (6), missing (6)" + HOLDS,
        ),
        (columns(x=pd.Series([True, 2] * 12, dtype=object)), "column 'x' mixes types: bool (12), int (12)" + HOLDS),
        (columns(g=pd.Series([[1]] * 24)), "column 'g' holds objects: list (24)" + HOLDS),  # G19
        (columns(g=pd.Series([b"a", b"b"] * 12)), "column 'g' holds objects: bytes (24)" + HOLDS),
        (
            columns(x=pd.date_range("2020", periods=24)),  # G10
            "'x' holds dates where numbers or levels are expected; convert them, for instance to days since the "
            "first date",
        ),
        (
            columns(x=pd.timedelta_range("1h", periods=24)),  # G11
            "'x' holds durations where numbers or levels are expected; convert them, for instance to hours",
        ),
        (columns(x=lambda d: d["x"] + 1j), "'x' holds complex numbers where numbers or levels are expected"),
        (
            columns(g=lambda d: d["x"] + 1j),
            "grouping factor 'g' holds complex numbers; expected labels or whole numbers",
        ),
        (
            columns(g=pd.Series([2**70, 1] * 12, dtype=object)),
            "column 'g' holds whole numbers too large for 64 bits; identifiers can be text",
        ),
        (
            lambda d: d.set_axis(pd.MultiIndex.from_product([["a"], d.columns]), axis=1),  # G14
            "the column names are nested in 2 levels (a pandas MultiIndex); flatten them to one name per column",
        ),
    ],
)
def test_columns_that_can_not_be_read_are_refused(change, text):
    refused(text, change=change)


TABLE = "data must be a pandas, polars or pyarrow table, or a dict of equally long one-dimensional columns"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: None, TABLE + ", not None"),
        (lambda d: d.to_dict("records"), TABLE + ", not a list; pandas.DataFrame(data) may make a table of it"),  # G08
        (lambda d: d.to_numpy(), TABLE + ", not a ndarray; pandas.DataFrame(data) may make a table of it"),
        (lambda d: pl.from_pandas(d).lazy(), TABLE + ", not a LazyFrame; call .collect() on it first"),
        (lambda d: "data.csv", TABLE + ", not an object of type str"),
        (
            lambda d: {"y": [1, 2, 3], "x": [1, 2], "g": list("abc")},
            "the columns of the dict differ in length (y: 3, x: 2, g: 3)",
        ),
        (
            lambda d: {"y": 1.0, "x": 2.0, "g": "a"},
            "column 'y' of the dict is no one-dimensional column of values; " + TABLE,
        ),
        (
            lambda d: {"y": np.ones((3, 2)), "x": [1, 2, 3]},
            "column 'y' of the dict is no one-dimensional column of values; " + TABLE,
        ),
    ],
)
def test_what_is_no_table_is_refused(change, text):
    with pytest.raises(DataError) as caught:
        make_design(parse(F), change(base()))
    assert str(caught.value) == text


def test_a_name_that_occurs_twice_is_refused_if_it_is_used():  # G15
    def repeat(d):
        return pd.concat([d, d[["x"]], d[["x"]]], axis=1)

    refused(
        "column 'x' occurs 3 times in the data; keep one of them\n  y ~ x + (1|g)\n      ^",
        change=repeat,
        error=FormulaError,
    )
    silent("y ~ 1 + (1|g)", repeat)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: pl.from_pandas(d),  # G07
        lambda d: pa.Table.from_pandas(d),
        lambda d: d.to_dict("list"),
        lambda d: {name: d[name].to_numpy() for name in d},
        lambda d: {name: pl.Series(d[name].to_list()) for name in d},
        lambda d: d.convert_dtypes(),  # G03, G06
        lambda d: d.convert_dtypes(dtype_backend="pyarrow"),
        lambda d: d.astype({"g": "category"}),
        lambda d: d.astype({"g": object}),
        lambda d: d.astype({"x": pd.SparseDtype(float)}),  # G18
        lambda d: d.set_axis([7] * 24),  # G13
        lambda d: d.set_axis(pd.MultiIndex.from_product([range(6), range(4)])),
        lambda d: pl.from_pandas(d).with_columns(pl.col("g").cast(pl.Categorical)),
        lambda d: pl.from_pandas(d).with_columns(pl.col("g").cast(pl.Enum([f"g{i}" for i in range(6)]))),
        lambda d: pa.Table.from_pandas(d).set_column(0, "g", pa.array(d["g"]).dictionary_encode()),
        lambda d: d.assign(unused=[[1]] * 24, also=pd.Series([1, "1"] * 12, dtype=object)),
        lambda d: d.rename(columns={}).assign(**{"1": 0}).rename(columns={"1": 1}),  # G16: unused
    ],
)
def test_every_container_gives_the_same_design(change):
    made, expected = silent(change=change), design()
    np.testing.assert_array_equal(made.X, expected.X)
    np.testing.assert_array_equal(made.y, expected.y)
    np.testing.assert_array_equal(made.blocks[0].index, expected.blocks[0].index)
    assert made.blocks[0].levels == expected.blocks[0].levels


@pytest.mark.parametrize(
    ("x", "values"),
    [
        (pd.array(range(24), dtype="Int64"), range(24)),  # G03
        (np.arange(24, dtype=np.float16), range(24)),  # G17
        (np.arange(24, dtype=np.uint8), range(24)),
        (pd.array([True, False] * 12, dtype="boolean"), [1, 0] * 12),  # G04
        (np.array([True, False] * 12), [1, 0] * 12),  # G05
        (pd.Series([True, False] * 12, dtype=object), [1, 0] * 12),
    ],
)
def test_every_kind_of_number_is_one_column(x, values):
    made = silent(change=columns(x=x))
    np.testing.assert_array_equal(made.X[:, 1], list(values))
    assert made.coefficients == ("Intercept", "x")


@pytest.mark.parametrize(
    "change",
    [
        lambda d, ids: d.assign(g=pd.array(ids, dtype="Int64")),
        lambda d, ids: pl.DataFrame({"y": d["y"], "x": d["x"], "g": ids}),
        lambda d, ids: pa.table({"y": d["y"], "x": d["x"], "g": ids}),
        lambda d, ids: {"y": d["y"], "x": d["x"], "g": ids},
    ],
)
def test_long_identifiers_stay_apart_beside_a_gap(change):
    ids = [2**60 + k // 4 for k in range(23)] + [None]  # as floats they would all be one
    made = design(change=lambda d: change(d, ids))
    assert made.n == 23 and made.blocks[0].levels == tuple(str(2**60 + k) for k in range(6))


@pytest.mark.parametrize("convert", [float, decimal.Decimal, int])
def test_objects_that_are_all_numbers_are_read_as_numbers(convert):  # G02
    x = pd.Series([convert(k) for k in range(24)], dtype=object)
    text = "'x' is a column of Python objects; all its values are numbers and are read so"
    np.testing.assert_array_equal(said("note", text, change=columns(x=x)).X[:, 1], range(24))


def test_missing_booleans_are_missing():  # G04
    made = design(change=columns(x=pd.array([True, False, None] * 8, dtype="boolean")))
    assert made.n == 16 and made.messages[0].text.startswith("8 of 24 rows have missing values (x: 8)")


def test_unused_levels_of_a_fixed_factor_are_left_out():  # G09
    f = pd.Categorical(list("ab") * 12, categories=list("abc"))
    made = said("note", "1 level of 'f' has no row ('c') and is left out", "y ~ f + (1|g)", columns(f=f))
    assert made.coefficients == ("Intercept", "f[T.b]")


def test_dates_are_fine_as_groups():  # G12
    made = silent(change=columns(g=np.repeat(pd.date_range("2020-01-30", periods=6), 4)))
    assert made.blocks[0].levels[:3] == ("2020-01-30", "2020-01-31", "2020-02-01")


def test_rows_are_named_by_position_and_label():  # G13
    def change(d):
        d.loc[4, "x"] = np.inf
        return d.set_axis(pd.MultiIndex.from_product([range(6), range(4)]))

    refused("'x' is infinite in row [4], labelled [(1, 0)]; expected finite numbers", change=change)


def test_a_number_can_be_the_name_of_a_column():  # G16
    assert silent("y ~ `2019` + (1|g)", lambda d: d.rename(columns={"x": 2019})).coefficients == ("Intercept", "2019")


# ----------------------------------------------------------------------------------------------------------------------
# H: names


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("`my x`", "my x"),  # H01
        ("längd", "längd"),  # H02
        ("µ", "µ"),
        ("a.b", "a.b"),  # H04
        ("sigma", "sigma"),  # H05
        ("chain", "chain"),  # H07
        ("mu", "mu"),  # H09
        ("`1|g`", "1|g"),  # H10
        ("C", "C"),  # H11
        ("np", "np"),
        ("class", "class"),
        ("`a/b`", "a/b"),  # H13
        ("`a\\`b`", "a`b"),
        ("a__b", "a__b"),
        ("`x:y`", "x:y"),
        ("`<script>`", "<script>"),
        ("v0", "v0"),
    ],
)
def test_any_name_can_be_a_column_s(written, name):
    made = silent(f"y ~ {written} + (1|g)", lambda d: d.rename(columns={"x": name}))
    assert made.coefficients == ("Intercept", name)
    assert list(made.frame.columns) == ["y", name, "g"]


def test_accents_may_be_composed_or_not():  # H02
    split = unicodedata.normalize("NFD", "längd")
    assert split != "längd"
    assert silent("y ~ längd", lambda d: d.rename(columns={"x": split})).coefficients == ("Intercept", "längd")
    assert silent(f"y ~ {split}", lambda d: d.rename(columns={"x": "längd"})).coefficients == ("Intercept", split)
    both = lambda d: d.assign(**{"längd": d["x"], split: d["x"] ** 2})  # noqa: E731
    np.testing.assert_array_equal(design("y ~ längd", both).X[:, 1], base()["x"])  # the exact name wins
    other = unicodedata.normalize("NFC", "ệ")
    variants = {unicodedata.normalize("NFD", other): 1.0, "ê\u0323": 2.0}
    with pytest.raises(FormulaError, match="occurs 2 times in the data"):
        design(f"y ~ {other}", lambda d: d.assign(**variants))


def test_characters_that_look_the_same_are_told_apart():  # H03
    refused(
        "column 'μ' is not in the data; did you mean 'µ', which is written with a different character (U+00B5 MICRO "
        "SIGN)? "
        "(columns: g, µ, y)\n  y ~ μ + (1|g)\n      ^",
        "y ~ μ + (1|g)",
        lambda d: d.rename(columns={"x": "µ"}),
        error=FormulaError,
    )


@pytest.mark.parametrize(
    ("formula", "where"),
    [
        ("y ~ Intercept + (1|g)", "the fixed part"),
        ("y ~ 0 + Intercept + (1|g)", "the fixed part"),
        ("y ~ 1 + (Intercept|g)", "(Intercept | g)"),
    ],
)
def test_a_column_named_intercept_is_refused(formula, where):  # H06
    text = f"a column is named 'Intercept', which in {where} is the name of the model's own intercept; rename it"
    refused(text, formula, lambda d: d.rename(columns={"x": "Intercept"}))


def test_two_coefficients_never_share_a_name():
    frame = columns(f=list("ab") * 12, **{"f[T.b]": lambda d: d["x"]})
    refused(
        "two terms of the fixed part are both named 'f[T.b]'; rename a column or a level", "y ~ f + `f[T.b]`", frame
    )


def test_a_group_named_as_a_dimension_gets_another_name_inside():  # H07, H08
    made = silent("y ~ chain + (1|draw)", lambda d: d.rename(columns={"x": "chain", "g": "draw"}))
    assert (made.blocks[0].group, made.blocks[0].name) == ("draw", "draw_")


def test_levels_are_kept_whole_and_cut_only_in_sentences():  # H17
    long = "c\n" + "d" * 10_000
    frame = columns(f=["a,]b", long] * 12)
    assert silent("y ~ f + (1|g)", frame).coefficients == ("Intercept", f"f[T.{long}]")
    cut = "'c\\n" + "d" * 38 + "...'"
    text = f"the reference level 'zz' is no level of 'f' (levels: 'a,]b', {cut})"
    refused(text, "y ~ C(f, Treatment('zz'))", frame)
