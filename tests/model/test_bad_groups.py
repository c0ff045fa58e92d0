"""The text of every error, warning and note on too few or too many rows and levels, and on groups."""

import numpy as np
import pandas as pd
import pytest
from bad_data import F, base, columns, refused, said, silent

from bayesmm.design.design import make_design
from bayesmm.errors import DataError
from bayesmm.formula.formula import parse

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
        "the residual; there must be fewer levels than rows, or known variances: y | se(se) for their "
        "standard errors"
    )
    with pytest.raises(DataError) as caught:
        bmm.Model(formula, change(base()))
    assert str(caught.value) == text


def test_two_to_four_levels_are_few():  # C05
    text = (
        "'g' has {} levels, too few to learn {} of its effects: in a posterior the prior has much weight; give sd_g "
        "an informative one, or make g a fixed effect"
    )
    one, more = "the standard deviation", "standard deviations"
    said("warning", text.format(2, one), change=columns(g=list("ab") * 12))
    said("warning", text.format(4, one), change=columns(g=list("abcd") * 6))
    silent(change=columns(g=np.arange(24) % 5))
    said("warning", text.format(2, more), "y ~ x + (x|g)", columns(g=list("ab") * 12))


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
