"""The text of every error, warning and note on the response, the weights and the offset."""

import numpy as np
import pandas as pd
import pytest
from bad_data import base, columns, refused, said, silent

from bayesmm.design.design import make_design
from bayesmm.errors import DataError
from bayesmm.families.families import FAMILIES, get_family
from bayesmm.formula.formula import parse

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


KNOWN_FAMILIES = f"(families: {', '.join(FAMILIES)}, or a bmm.Family)"


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
