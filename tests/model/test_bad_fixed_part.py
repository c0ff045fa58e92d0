"""The text of every error, warning and note on the columns of the fixed part."""

import numpy as np
import pandas as pd
import pytest
from bad_data import F, base, columns, design, put, refused, said, silent

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
    ("values", "level", "text"),
    [
        (["0", "1", "2"], "note", "all its levels read as numbers"),  # as read on purpose, dtype=str
        (["0", "10", "20"], "warning", "all its levels read as numbers"),
        (["0,5", "1,5", "2,5"], "warning", "all its levels read as numbers"),
        (["0.5", "1.5", "?"], "warning", "2 of its 3 levels read as numbers (not '?')"),
    ],
)
def test_numbers_written_as_text_are_no_slope(values, level, text):
    enters = "it enters as a factor with 2 columns, and pandas.to_numeric makes it a number"
    assert said(level, f"'x' is text, but {text}; {enters}", change=columns(x=values * 8)).p == 3
    silent("y ~ factor(x) + (1|g)", columns(x=values * 8))  # asked for


def test_text_with_few_numbers_in_it_is_a_factor():
    silent(change=columns(x=["0", "low", "high"] * 8))
