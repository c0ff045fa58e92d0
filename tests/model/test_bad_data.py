"""The text of every error, warning and note on names that the data do not have, and on missing values."""

import numpy as np
import pandas as pd
import pytest
from bad_data import F, base, columns, design, put, refused, said, silent

from bayesmm.errors import FormulaError


def test_the_base_data_give_no_cause_to_say_anything():
    made = silent()
    assert (made.n, made.p, len(made.blocks[0].levels)) == (24, 2, 6)


# ----------------------------------------------------------------------------------------------------------------------
# A: names that the data do not have


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        # A01, A02, A03
        (
            "y ~ xx + (1|g)",
            "column 'xx' is not in the data; did you mean 'x'? (columns: g, x, y)\n  y ~ xx + (1|g)\n      ^^",
        ),
        (
            "y ~ x + (1|gg)",
            "grouping factor 'gg' is not in the data; did you mean 'g'? (columns: g, x, y)\n  y ~ x + (1|gg)\n       "
            "      ^^",
        ),
        (
            "yy ~ x + (1|g)",
            "response 'yy' is not in the data; did you mean 'y'? (columns: g, x, y)\n  yy ~ x + (1|g)\n  ^^",
        ),
        (
            "y ~ X + (1|g)",
            "column 'X' is not in the data; did you mean 'x'? (columns: g, x, y)\n  y ~ X + (1|g)\n      ^",
        ),
        # A09: a variable of the caller is no column
        ("y ~ np + (1|g)", "column 'np' is not in the data (columns: g, x, y)\n  y ~ np + (1|g)\n      ^^"),
        (
            "y | weights(ww) ~ x",
            "weights column 'ww' is not in the data (columns: g, x, y)\n  y | weights(ww) ~ x\n              ^^",
        ),
    ],
)
def test_a_name_without_a_column_is_underlined(formula, text):
    refused(text, formula, error=FormulaError)


def test_a_name_of_the_index_is_told_from_a_column():
    refused(
        "grouping factor 'g' is not in the data; it names the index, and data.reset_index() makes that a column "
        "(columns: x, y)"
        "\n  y ~ x + (1|g)\n             ^",
        "y ~ x + (1|g)",
        lambda d: d.groupby("g").mean(),
        error=FormulaError,
    )


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        # A14
        ("y ~ log(k)", "log(k) is not finite in rows [0, 1, 2, 3, 7, ...] (15 in all), where k is 0 or negative"),
        ("log(k) ~ x", "log(k) is not finite in rows [0, 1, 2, 3, 7, ...] (15 in all), where k is 0 or negative"),
        ("y ~ sqrt(k)", "sqrt(k) is not finite in rows [0, 1, 2, 7, 8, ...] (12 in all), where k is negative"),
        ("y ~ I(1/k)", "1/k is not finite in rows [3, 10, 17], where k is 0"),
        ("y ~ exp(big)", "exp(big) is not finite in row [3], where big is too large"),
        ("y ~ I((0 - 1)^(k/2))", "(0 - 1)^(k/2) is not finite in rows [0, 2, 4, 6, 7, ...] (14 in all)"),
        ("y ~ I(big * big * 1e300)", "big * big * 1e+300 is not finite in row [3]"),
    ],
)
def test_a_calculation_that_is_not_finite_names_its_rows(formula, text):
    k = np.arange(24)
    refused(text, formula, columns(k=k % 7 - 3, big=np.where(k == 3, 1e5, 1.0)))


# ----------------------------------------------------------------------------------------------------------------------
# B: missing and not finite


GAP = "1 of 24 rows has missing values ({}: 1): row [{}]; it is left out"


@pytest.mark.parametrize(
    ("change", "column", "row"),
    [
        (put("y", 3, np.nan), "y", 3),  # B01
        (put("x", 3, np.nan), "x", 3),  # B02
        (put("g", 3, None), "g", 3),  # B03
        (put("g", 3, np.nan), "g", 3),
        (lambda d: d.assign(x=d["x"].astype("Float64").where(d.index != 2, pd.NA)), "x", 2),  # B07
        (lambda d: d.assign(g=d["g"].astype("category").where(d.index != 5)), "g", 5),
    ],
)
def test_rows_with_a_gap_are_left_out_with_a_word(change, column, row):
    made = said("warning", GAP.format(column, row), change=change)
    assert made.n == 23 and row not in made.rows
    assert made.blocks[0].levels == tuple(f"g{i}" for i in range(6))  # never a level "nan"


def test_gaps_are_counted_per_column_and_rows_named_with_their_labels():
    def change(d):
        d.loc[[1, 3, 5, 7, 9, 11], "x"] = np.nan
        d.loc[3, "y"] = np.nan
        return d.set_axis([f"r{i}" for i in range(24)])

    said(
        "warning",
        "6 of 24 rows have missing values (y: 1, x: 6): rows [1, 3, 5, 7, 9, ...] (6 in all), labelled "
        "['r1', 'r3', 'r5', 'r7', 'r9', ...]; they are left out",
        change=change,
    )


def test_gaps_can_be_refused():
    text = "1 of 24 rows has missing values (x: 1): row [3]; missing='drop' leaves such rows out"
    refused(text, change=put("x", 3, np.nan), missing="error")
    refused("missing is 'omit'; expected 'drop' or 'error'", missing="omit")
    refused("missing is 'dropp'; did you mean 'drop'?; expected 'drop' or 'error'", missing="dropp")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (put("y", 3, np.inf), "'y' is infinite in row [3]; expected finite numbers"),  # B04
        (put("x", [3, 4], -np.inf), "'x' is infinite in rows [3, 4]; expected finite numbers"),  # B05
        (columns(x=np.nan), "column 'x' has no value in any of the 24 rows"),  # B06
        (columns(g=None), "column 'g' has no value in any of the 24 rows"),
        (
            lambda d: d.assign(x=d["x"].where(d.index < 12), y=d["y"].where(d.index >= 12)),
            "no row is complete: 24 of 24 rows have missing values (y: 12, x: 12)",
        ),
    ],
)
def test_what_is_infinite_or_all_missing_is_refused(change, text):
    refused(text, change=change)


def test_an_infinity_in_a_row_that_is_left_out_does_not_matter():
    assert design(change=lambda d: d.assign(x=d["x"].where(d.index != 3, np.inf), y=d["y"].where(d.index != 3))).n == 23


def test_a_gap_in_a_column_that_is_not_used_does_not_matter():
    assert silent(change=columns(unused=np.nan)).n == 24  # B08


@pytest.mark.parametrize(
    ("formula", "column", "values", "text"),
    [
        (
            F,
            "x",
            [9 if k % 5 == 0 else k % 4 for k in range(24)],
            "is 9 in 5 of 24 rows and its next largest value is 3",
        ),
        (
            F,
            "x",
            [9 if k > 21 else k % 5 + 1 for k in range(24)],
            "is 9 in 2 of 24 rows and its next largest value is 5",
        ),
        (F, "x", [99.0] + [1.5, 2.5] * 11 + [3], "is 99 in 1 of 24 rows and its next largest value is 3"),
        (
            "y ~ log(x + 1000)",
            "x",
            [-999] + [1, 2] * 11 + [3],
            "is -999 in 1 of 24 rows and its next smallest value is 1",
        ),
        (F, "y", [-99] * 3 + list(base()["y"][3:]), "is -99 in 3 of 24 rows and its next smallest value is 35.01"),
    ],
)
def test_a_number_that_may_stand_for_a_missing_value_is_noted(formula, column, values, text):  # B09
    said(
        "note",
        f"'{column}' {text}; is {text.split()[1]} a code for a missing value?",
        formula,
        columns(**{column: values}),
    )


@pytest.mark.parametrize(
    "x",
    [
        range(9, 33),  # a 9 among the others
        [k % 10 for k in range(24)],  # the largest of whole numbers without a gap
        [9] + [k % 4 for k in range(23)],  # one count of 9
        [9, 0] * 12,  # nothing that varies besides
    ],
)
def test_a_nine_that_may_be_one_is_no_code(x):  # B09
    silent(change=columns(x=x))


@pytest.mark.parametrize("level", ["", "NA", "nan", " NA"])
def test_a_level_that_looks_missing_is_named(level):  # B10
    text = f"'g' has a level {level!r}, which looks like a missing value; it is treated as any other level"
    made = said("note", text, change=put("g", slice(0, 3), level))
    assert level in made.blocks[0].levels


def test_a_remark_is_made_once():
    made = said(
        "note",
        "'g' has a level '', which looks like a missing value; it is treated as any other level",
        "y ~ g:x + (1|g) + (1|g:p)",
        lambda d: d.assign(g=d["g"].where(d["g"] != "g0", ""), p=[1, 1, 2, 2] * 6),
    )
    assert len(made.blocks) == 2
