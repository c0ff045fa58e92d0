"""The text of every error, warning and note on data that are wrong, odd or incomplete, before any sampling."""

import decimal
import unicodedata

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bayesmm.design.design import make_design
from bayesmm.errors import DataError, FormulaError
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse

F = "y ~ x + (1|g)"


def base():
    """Return 24 rows: six groups of four, a number that varies within them, a response with little to remark on."""
    k = np.arange(24)
    return pd.DataFrame(
        {
            "g": np.repeat([f"g{i}" for i in range(6)], 4),
            "x": np.round(np.sin(3.0 * k), 3),
            "y": np.round(40 + 5 * np.cos(7.0 * k), 3),
        }
    )


def design(formula=F, change=None, transforms=(), **options):
    frame = base()
    changed = change(frame) if change else None
    data = frame if changed is None else changed
    return make_design(parse(formula, transforms), data, transforms=dict(transforms), **options)


def put(column, rows, value):
    """Return a change that writes `value` into some rows."""

    def change(d):
        d[column] = d[column].astype(object) if value is None else d[column]
        d.loc[rows, column] = value

    return change


def columns(**new):
    """Return a change that sets columns; functions are called with the frame."""
    return lambda d: d.assign(**new)


def refused(text, formula=F, change=None, error=DataError, **options):
    with pytest.raises(error) as caught:
        design(formula, change, **options)
    assert str(caught.value) == text
    assert not text.split("\n")[0].endswith(".")  # one sentence, without a final stop


def said(level, text, formula=F, change=None, **options):
    """Check that exactly this is said, and return the design."""
    made = design(formula, change, **options)
    assert [(message.level, message.text) for message in made.messages] == [(level, text)]
    return made


def silent(formula=F, change=None, **options):
    """Check that nothing is said, and return the design."""
    made = design(formula, change, **options)
    assert [message.text for message in made.messages] == []
    return made


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


# ----------------------------------------------------------------------------------------------------------------------
# C: size


@pytest.mark.parametrize(
    ("formula", "change", "text"),
    [
        (F, lambda d: d.iloc[:0], "the data have no rows; a model needs at least two"),  # C01
        (F, lambda d: d.iloc[:1], "1 row can be used; a model needs at least two"),  # C02
        (F, lambda d: d.assign(x=d["x"].where(d.index == 1)), "1 row of 24 can be used; a model needs at least two"),
        (
            F,  # C04
            columns(g="a"),
            "grouping factor 'g' has one level ('a'); its standard deviation cannot be estimated from fewer than two",
        ),
    ],
)
def test_too_few_rows_or_levels_are_refused(formula, change, text):
    refused(text, formula, change)


@pytest.mark.parametrize(
    ("formula", "change", "name", "levels"),
    [
        (F, lambda d: d.iloc[[1, 5]], "g", 2),  # C03
        (F, columns(g=range(24)), "g", 24),  # C06
        ("y ~ 1 + (1|x)", columns(x=np.arange(24) / 10), "x", 24),  # D04
    ],
)
def test_one_row_in_each_level_is_refused_beside_a_residual(formula, change, name, levels):
    import bayesmm as bmm

    text = (
        f"grouping factor '{name}' has one row in each of its {levels} levels, so its effect cannot be told apart from "
        "the residual; there must be fewer levels than rows, or known variances: weights of 1 / se^2 with "
        "priors={'sigma': 1}"
    )
    with pytest.raises(DataError) as caught:
        bmm.Model(formula, change(base()))
    assert str(caught.value) == text


def test_two_to_four_levels_are_few():  # C05
    text = (
        "the standard deviation of 'g' rests on {} levels, so the prior has much weight; compare it with the posterior"
    )
    said("warning", text.format(2), change=columns(g=list("ab") * 12))
    said("warning", text.format(4), change=columns(g=list("abcd") * 6))
    silent(change=columns(g=np.arange(24) % 5))
    several = (
        "the standard deviations of 'g' rest on 2 levels, so the prior has much weight; compare it with the posterior"
    )
    said("warning", several, "y ~ x + (x|g)", columns(g=list("ab") * 12))


def test_as_many_random_effects_as_rows_rest_on_the_priors():  # C08
    text = (
        "(x | g) has 12 random effects for 12 rows, so their standard deviations and the residual's are told "
        "apart by "
        "the priors alone"
    )
    pairs = [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21]
    said("warning", text, "y ~ x + (x|g)", lambda d: d.iloc[pairs])
    silent("y ~ x + (x||g)", lambda d: d.iloc[pairs])  # six of each kind, twelve rows: lme4's rule counts per term


def many_columns(number):
    rng = np.random.default_rng(1)
    return lambda d: d.assign(**{f"p{k}": rng.normal(size=24) for k in range(number)})


def test_more_coefficients_than_rows_leave_directions_to_the_prior():  # C09
    formula = "y ~ {} + (1|g)"
    text = "the fixed part has 31 coefficients for 24 rows: in at least 7 directions the posterior is the prior"
    made = said("warning", text, formula.format(" + ".join(f"p{k}" for k in range(30))), many_columns(30))
    assert len(made.aliased) == 7
    text = (
        "the fixed part has 24 coefficients for 24 rows, which leaves no row to estimate the residual standard "
        "deviation from"
    )
    said("warning", text, formula.format(" + ".join(f"p{k}" for k in range(23))), many_columns(23))


def test_a_million_groups_are_built_and_the_memory_of_their_draws_is_said():  # C12
    rows = np.arange(1_000_000)
    frame = {"y": np.cos(rows * 1.0), "g": rows // 2}
    made = make_design(parse("y ~ 1 + (1|g)"), frame)
    assert len(made.blocks[0].levels) == 500_000
    (message,) = made.messages
    assert message.level == "warning"
    assert message.text == "'g' has 500,000 random effects: 4,000 draws of them take 16 GB of memory"


@pytest.mark.parametrize(
    ("rows", "levels", "text"),
    [
        (60_000, 30_000, "30,000 columns for 60,000 rows (14 GB), 29,999 of them for 'f'"),
        (60_000, 10_000, "10,000 columns for 60,000 rows (4.8 GB), 9,999 of them for 'f'"),
    ],
)
def test_a_matrix_that_is_too_large_is_refused_before_it_is_made(rows, levels, text):
    frame = {"y": np.cos(np.arange(rows) * 1.0), "f": [f"n{k % levels}" for k in range(rows)]}
    with pytest.raises(DataError) as caught:
        make_design(parse("y ~ f"), frame)
    assert str(caught.value) == (
        f"the fixed part has {text}; at most 20,000 columns and 4 GB are possible, and a factor with many levels may "
        f"be a "
        "grouping factor, (1 | f)"
    )


# ----------------------------------------------------------------------------------------------------------------------
# D: groups


def test_codes_are_fine_as_groups():  # D02
    assert silent(change=columns(g=np.repeat(range(101, 107), 4))).blocks[0].levels[0] == "101"
    assert silent(change=columns(g=np.repeat([1.0, 2, 3, 4, 5, 6], 4))).blocks[0].levels[0] == "1"


def test_numbers_with_decimals_are_odd_as_groups():  # D03
    text = (
        "grouping factor 'g' has numbers with decimals as levels (0.3, 0.30000000000000004, 1.5 and 3 more); values "
        "that "
        "differ in the last digit are different levels"
    )
    said("warning", text, change=columns(g=np.repeat([1.5, 2.5, 0.1 + 0.2, 0.3, 7, 8], 4)))


def test_mostly_single_rows_are_said():  # D04
    text = (
        "20 of the 22 levels of 'g' have one row, where the effect of the level and the residual are seen only together"
    )
    said("warning", text, change=columns(g=[f"k{i}" for i in range(22)] + ["k0", "k1"]))


def test_nested_and_combined_factors_have_the_levels_that_occur():  # D06, D14
    frame = columns(p=[1, 1, 2, 2] * 6)
    assert [len(block.levels) for block in silent("y ~ x + (1|g/p)", frame).blocks] == [6, 12]
    assert [len(block.levels) for block in silent("y ~ x + (1|g:p)", frame).blocks] == [12]


def test_mixed_types_are_refused_with_counts():  # D16
    text = (
        "column 'g' mixes types: int (12), str (12); expected only numbers, text, true/false values, categories or "
        "dates"
    )
    refused(text, change=columns(g=pd.Series([1, "1"] * 12, dtype=object)))


def test_unused_categories_of_a_group_are_left_out():  # D17
    levels = ["z", "q", *(f"g{i}" for i in range(6))]
    made = said(
        "note",
        "2 levels of 'g' have no row ('z', 'q') and are left out",
        change=lambda d: d.assign(g=pd.Categorical(d["g"], categories=levels)),
    )
    assert made.blocks[0].levels == tuple(levels[2:])


def test_labels_that_would_be_the_same_are_refused():  # D18
    text = "two categories of 'g' are both written '1' (int and str); rename one of them"
    refused(text, change=columns(g=pd.Categorical([1, "1"] * 12)))
    text = "two levels of 'a:b' are both written 'x:y:z'; rename the levels that contain a colon"
    refused(text, "y ~ x + (1|a:b)", columns(a=["x:y", "x"] * 12, b=["z", "y:z"] * 12))


def test_fully_independent_columns_of_a_factor_differ_from_lme4():  # A20
    made = said(
        "note",
        "(f || g) makes all its effects independent, also the 2 columns of one term among themselves; lme4 "
        "before version "
        "2 keeps those correlated",
        "y ~ f + (f||g)",
        columns(f=list("abc") * 8),
    )
    assert made.blocks[0].partition == ((0,), (1,), (2,))
    silent("y ~ x + (x||g)")
    silent("y ~ f + (f|g)", columns(f=list("abc") * 8))


# ----------------------------------------------------------------------------------------------------------------------
# E: the fixed part

LEFT = columns(f=["left", "right"] * 12)
COMBINATION = (
    "{} of the {} columns of the fixed part {} of others ({}); in the posterior none is left out, and the "
    "priors decide what the data cannot tell apart; REML and ML give NaN for them"
)


@pytest.mark.parametrize(
    ("formula", "change", "relation"),
    [
        ("y ~ x + x2", columns(x2=lambda d: d["x"]), "x2 = x"),  # E01
        ("y ~ x + x2", columns(x2=lambda d: 3 - 2 * d["x"]), "x2 = 3 - 2 x"),
        ("y ~ x + x2", columns(x2=lambda d: 1e-9 * d["x"]), "x2 = 1e-09 x"),
        ("y ~ 0 + x + x2", columns(x2=lambda d: 0.5 * d["x"]), "x2 = 0.5 x"),
    ],
)
def test_a_copy_of_a_column_is_found_and_its_relation_said(formula, change, relation):
    made = design(formula, change)
    assert COMBINATION.format(1, made.p, "is a combination", relation) in [m.text for m in made.messages]
    assert {m.level for m in made.messages if "combination" in m.text} == {"warning"}
    assert made.aliased == (made.p - 1,)


def test_a_sum_of_columns_is_found_and_its_relation_said():  # E02
    a, b = np.arange(24) % 5, np.arange(24) % 7
    made = said(
        "warning",
        COMBINATION.format(1, 4, "is a combination", "c = a + b"),
        "y ~ a + b + c + (1|g)",
        columns(a=a, b=b, c=a + b),
    )
    assert made.aliased == (3,) and made.p == 4
    text = COMBINATION.format(2, 5, "are combinations", "c = a + b, d = -1 + a - 2 b")
    said("warning", text, "y ~ a + b + c + d", columns(a=a, b=b, c=a + b, d=a - 2 * b - 1))


def test_empty_cells_of_an_interaction_are_named():  # E03
    frame = columns(f=list("aab") * 8, h=list("uvv") * 8)
    made = design("y ~ f*h + (1|g)", frame)
    assert [(m.level, m.text) for m in made.messages] == [
        ("warning", "no row has f = 'b' with h = 'u', so 'f:h' has effects that the data say nothing about"),
        ("warning", COMBINATION.format(1, 4, "is a combination", "f[T.b]:h[T.v] = f[T.b]")),
    ]
    assert made.aliased == (3,)
    several = design("y ~ f:h", columns(f=list("abcdefgh") * 3, h=list("abcdefgh") * 3)).messages
    assert several[0].text.startswith("the fixed part has 65 coefficients for 24 rows")
    diagonal = design("y ~ f*h", columns(f=list("abc") * 8, h=list("abc") * 8)).messages
    assert diagonal[0].text == (
        "6 combinations have no row (f = 'a' with h = 'b'; f = 'a' with h = 'c'; f = 'b' with h = 'a'; f = 'b' with "
        "h = 'c'; "
        "f = 'c' with h = 'a'; and 1 more), so 'f:h' has effects that the data say nothing about"
    )
    silent("y ~ f*h", columns(f=list("aabb") * 6, h=list("uv") * 12))


@pytest.mark.parametrize(
    ("formula", "change", "text"),
    [
        (F, columns(y=1.5), "the response 'y' is constant (1.5); a model needs one that varies"),  # E04
        (
            F,
            columns(x=2),
            "'x' is constant (2), so its effect cannot be told apart from the intercept's; leave it out",
        ),  # E05
        (
            "y ~ 1 + (x|g)",
            columns(x=2),
            "'x' is constant (2), so its effect cannot be told apart from the intercept's; leave it out",
        ),
        ("y ~ 0 + z + (1|g)", columns(z=0), "'z' is 0 in every row, so that it can have no effect; leave it out"),
        ("y ~ x + (0 + z|g)", columns(z=0.0), "'z' is 0 in every row, so that it can have no effect; leave it out"),
        (
            F,
            columns(x=lambda d: d["x"] * 1e-160),
            "'x' is nowhere larger than 1e-160; expected values above 1e-100, so take another unit",
        ),
        ("y ~ f", columns(f="a"), "factor 'f' has one level ('a'); at least two are needed to compare"),  # E06
        ("y ~ scale(x)", columns(x=2), "scale(x) divides by the standard deviation, which is 0: all values are 2"),
        (
            "y ~ poly(x, 3)",
            columns(x=lambda d: d.index % 3),
            "poly(x, 3) has degree 3, which must be below the number of distinct values of its variable, 3",
        ),
        ("y ~ bs(x, df = 2)", None, "bs(x, df = 2) has df = 2, which must be at least 3"),
        ("y ~ bs(x, df = 5, knots = 0)", None, "bs(x, df = 5, knots = 0) has both df and knots; give one of them"),
        ("y ~ ns(x, knots = 7)", None, "ns(x, knots = 7) has a knot outside the boundary, -1 to 1"),
        ("y ~ bs(x)", columns(x=2), "bs(x) needs a variable that varies, and all its values are 2"),
        ("y ~ I(f == 'lef')", LEFT, "'lef' is no level of 'f'; did you mean 'left'? (levels: 'left', 'right')"),
        ("y ~ I(g + 1)", None, "'g' holds text where numbers are expected"),
        (
            "y ~ C(f, Treatment('Left'))",
            LEFT,
            "the reference level 'Left' is no level of 'f'; did you mean 'left'? (levels: 'left', 'right')",
        ),
        (
            F,  # E10
            put("y", 3, 1e308),
            "'y' is as large as 1e+308 in row [3]; expected values below 1e+150, whose squares a computer can hold",
        ),
        (
            "y ~ exp(x)",
            put("x", 3, 600.0),
            "exp(x) is as large as 3.77e+260 in row [3]; expected values below 1e+150, whose squares a computer can "
            "hold",
        ),
    ],
)
def test_what_can_not_be_in_the_fixed_part_is_refused(formula, change, text):
    refused(text.replace("-1 to 1", f"{base()['x'].min():g} to {base()['x'].max():g}"), formula, change)


def test_a_constant_without_an_intercept_is_the_intercept():
    assert silent("y ~ 0 + x + (1|g)", columns(x=1.0)).coefficients == ("x",)


def test_scales_far_apart_are_noted():  # E07
    text = (
        "the scales of the predictors lie far apart or far from 1 (standard deviations: x: {}); results stay on your "
        "scales"
    )
    x = base()["x"].std(ddof=0)
    said("note", text.format(f"{x * 1e10:.3g}"), change=columns(x=lambda d: d["x"] * 1e10))
    said("note", text.format(f"{x * 1e-10:.3g}"), change=columns(x=lambda d: d["x"] * 1e-10))


def test_years_and_large_responses_are_fine():  # E08, E09
    silent(change=columns(x=2015 + np.arange(24) % 4))
    silent(change=columns(y=lambda d: d["y"] * 1e12))


def test_columns_that_are_nearly_the_same_are_named():  # E11
    near = columns(x2=lambda d: d["x"] + 0.01 * np.cos(np.arange(24)))
    r = np.corrcoef(base()["x"], near(base())["x2"])[0, 1]
    ratio = (1 + r) / (1 - r)  # of the eigenvalues of a correlation matrix of two
    assert r > 0.9999
    said(
        "warning",
        f"x, x2 are nearly linearly dependent (r = {r:.6g}, condition number {ratio:.2g}), so their separate effects "
        f"are "
        "uncertain and rest on the priors",
        "y ~ x + x2 + (1|g)",
        near,
    )
    silent("y ~ x + x2 + (1|g)", columns(x2=lambda d: d["x"] + np.cos(np.arange(24))))


def test_a_value_far_from_all_others_is_noted():  # E12
    made = design(change=put("x", 5, 1900.0))
    (message,) = made.messages
    assert message.level == "note"
    assert message.text.startswith("'x' is 1900 in row [5], ")
    assert message.text.endswith(
        " times further from the median than nine tenths of the values; is it a typing or unit error?"
    )


def test_far_out_is_measured_from_the_middle_of_the_values():
    year = np.where(np.arange(24) == 5, 20150, 2015 + np.arange(24) % 4)  # seen from 0 that is only ten times too far
    (message,) = (m for m in design(change=columns(x=year)).messages if "further" in m.text)
    assert message.text.startswith("'x' is 20150 in row [5], ")


def test_the_coding_of_an_ordered_factor_is_noted():  # E13
    order = pd.Categorical(list("lmh") * 8, categories=list("lmh"), ordered=True)
    said(
        "note",
        "'f' is ordered, so it is coded by polynomial contrasts over its 3 levels (f[.L], ...) as in R; C(f, "
        "Treatment) compares "
        "each level with the first",
        "y ~ f + (1|g)",
        columns(f=order),
    )
    silent("y ~ C(f, Treatment) + (1|g)", columns(f=order))


def test_a_fixed_factor_with_many_levels_may_be_a_group():  # E14
    rows = np.arange(600)
    frame = pd.DataFrame({"y": 40 + np.cos(7.0 * rows), "f": [f"n{k}" for k in rows % 60]})
    text = "factor 'f' has 60 levels and enters with 59 columns; a grouping factor is written (1 | f)"
    said("warning", text, "y ~ f", lambda d: frame)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["0", "1", "2"], "all its levels read as numbers"),
        (["0,5", "1,5", "2,5"], "all its levels read as numbers"),
        (["0.5", "1.5", "?"], "2 of its 3 levels read as numbers (not '?')"),
    ],
)
def test_numbers_written_as_text_are_no_slope(values, text):
    enters = "it enters as a factor with 2 columns, and pandas.to_numeric makes it a number"
    assert said("warning", f"'x' is text, but {text}; {enters}", change=columns(x=values * 8)).p == 3
    silent("y ~ factor(x) + (1|g)", columns(x=values * 8))  # asked for


def test_text_with_few_numbers_in_it_is_a_factor():
    silent(change=columns(x=["0", "low", "high"] * 8))


# ----------------------------------------------------------------------------------------------------------------------
# F: the response of a Gaussian model


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (
            lambda d: d["y"].astype(str),  # F14
            "the response 'y' holds text, and the gaussian family needs numbers; the texts read as numbers, so "
            "convert them with "
            "pandas.to_numeric(data['y'])",
        ),
        (list("ab") * 12, "the response 'y' holds text, and the gaussian family needs numbers"),
        (
            pd.Categorical(list("ab") * 12),
            "the response 'y' holds categories, and the gaussian family needs numbers",
        ),  # F16
        (
            pd.date_range("2020", periods=24),  # F17
            "the response 'y' holds dates, and the gaussian family needs numbers; convert them, for instance to days "
            "since the "
            "first date",
        ),
        (lambda d: d["y"] + 1j, "the response 'y' holds complex numbers, and the gaussian family needs numbers"),  # F21
    ],
)
def test_a_response_of_another_kind_is_refused(y, text):
    refused(text, change=columns(y=y))


def test_a_response_of_two_columns_is_another_family_s():
    text = "the response cbind(y, x) counts successes and failures, and the gaussian family needs one number per row"
    refused(text, "cbind(y, x) ~ 1 + (1|g)")


def test_a_response_that_looks_like_another_family_s_is_said():
    yes = "the response 'y' is true/false, and the gaussian family takes it as 1 and 0; did you mean a bernoulli model?"
    made = said("warning", yes, change=columns(y=lambda d: d["y"] > 40))  # F15
    assert set(made.y) == {0.0, 1.0} and made.y.dtype == np.float64
    two = "the response 'y' has only two values (0 and 1), which the gaussian family takes as a scale"  # F23
    said("note", two, change=columns(y=lambda d: (d["y"] > 40) * 1))
    counts = (
        "the response 'y' holds whole numbers from 0 to 4; if these are counts, the gaussian family is an approximation"
    )
    said("note", counts, change=columns(y=np.arange(24) % 5))
    silent(change=columns(y=np.arange(24) % 5 - 2))  # negative: no counts
    silent(change=columns(y=np.arange(24) % 5 + 300))  # large: milliseconds, points


KNOWN_FAMILIES = "(families: gaussian, student, poisson, negbinomial, bernoulli, binomial, gamma, beta)"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gausian", f"family 'gausian' is not known; did you mean 'gaussian'? {KNOWN_FAMILIES}"),  # F20
        ("zebra", f"family 'zebra' is not known {KNOWN_FAMILIES}"),
        (3, f"family 3 is not known {KNOWN_FAMILIES}"),
    ],
)
def test_an_unknown_family_is_refused(name, text):
    refused(text, family=name)
    with pytest.raises(DataError):
        get_family(name)


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


# ----------------------------------------------------------------------------------------------------------------------
# I: weights and offsets


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([1, 2, 3], "3 weights for 24 rows; expected one weight for each row of the data"),  # I01
        (np.ones((24, 2)), "weights of shape (24, 2) for 24 rows; expected one weight for each row of the data"),
        ([-1] + [1] * 23, "the weights are negative in row [0]; expected numbers of 0 or more"),  # I02
        ([1, np.nan] + [1] * 22, "the weights are missing in row [1]; expected numbers of 0 or more"),
        ([1, np.inf] + [1] * 22, "the weights are infinite in row [1]; expected numbers of 0 or more"),
        (
            [-1, None] + [1] * 22,
            "the weights are negative, missing or infinite in rows [0, 1]; expected numbers of 0 or more",
        ),
        (
            [1e200] + [1] * 22 + [1e-200],
            "the weights are outside 1e-100 to 1e+100 in rows [0, 23]; take another unit",
        ),
        ("w", "the weights 'w' are negative in rows [0, 1]; expected numbers of 0 or more"),
        ("g", "the weights 'g' hold text; expected numbers of 0 or more"),
        ("ww", "the weights column 'ww' is not in the data; did you mean 'w'? (columns: g, x, y, w)"),
        (np.zeros(24), "0 rows of 24 can be used; a model needs at least two"),
    ],
)
def test_weights_that_are_none_are_refused(weights, text):
    refused(text, change=columns(w=[-1, -2] + [1] * 22), weights=weights)


def test_weights_in_the_formula_are_checked_too():
    formula = "y | weights(w) ~ x + (1|g)"
    refused(
        "the weights 'w' are missing in row [1]; expected numbers of 0 or more",
        formula,
        columns(w=[1, None] + [1] * 22),
    )
    text = "weights are given twice, in the formula and as an argument; give them once"
    refused(text, formula, columns(w=1.0), weights="w")


def test_rows_of_weight_0_are_left_out_with_a_word():
    made = said("note", "2 rows of weight 0 are left out: rows [0, 1]", weights=[0, 0] + [1] * 22)
    assert made.n == 22
    said("note", "1 row of weight 0 is left out: row [0]", weights=[0] + [1] * 23)


@pytest.mark.parametrize(
    ("formula", "change", "text"),
    [
        (
            "y ~ x + offset(e)",
            columns(e=[np.inf] + [1] * 23),
            "'e' is infinite in row [0]; expected finite numbers",
        ),  # I03
        (
            "y ~ x + offset(log(e))",
            columns(e=[0, 0] + [1] * 22),
            "offset(log(e)): the exposure 'e' is 0 in rows [0, 1]; its logarithm needs values above 0",
        ),  # I04
        ("y ~ x + offset(g)", None, "'g' holds text where numbers are expected"),
        (
            "y ~ x + offset(e)",
            columns(e=lambda d: d["y"] - 5),
            "the response 'y' less its offset is constant (5); a model needs one that varies",
        ),
    ],
)
def test_offsets_that_are_none_are_refused(formula, change, text):
    refused(text, formula, change)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (
            lambda x: x[:3],
            "f(x) gave an array of shape (3,) and type float64; expected one number for each of the 24 rows",
        ),
        (
            lambda x: np.array(["a"] * 24),
            "f(x) gave an array of shape (24,) and type <U1; expected one number for each of the 24 rows",
        ),
        (
            lambda x: 1e200 + x,
            "f(x) is as large as 1e+200 in rows [0, 1, 2, 3, 4, ...] (24 in all); expected values below 1e+150, whose "
            "squares a computer can hold",
        ),
        (lambda x: x * np.nan, "f(x) is not finite in rows [0, 1, 2, 3, 4, ...] (24 in all)"),
    ],
)
def test_a_user_function_must_give_a_number_per_row(function, text):
    refused(text, "y ~ f(x)", transforms={"f": function})


def test_a_user_function_that_is_not_given_is_named():
    with pytest.raises(DataError) as caught:
        make_design(parse("y ~ f(x)", ["f"]), base())
    assert str(caught.value) == "f(x) calls 'f', which is not among the transforms that are given"
