"""Bad inputs of censored and truncated responses: what is said, and what is said without stopping."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError


def table():
    rng, n = np.random.default_rng(1), 12
    data = pd.DataFrame({"y": np.round(rng.exponential(3, n) + 0.1, 2), "x": rng.normal(size=n)})
    data["g"], data["c"], data["k"] = list("aabbccddeeff"), ["none", "right"] * 6, rng.poisson(4, n) + 1.0
    data["typo"], data["flag"], data["status"] = ["rigth", "none"] * 6, [True, False] * 6, [1, 0] * 6
    data["way"], data["end"], data["before"] = ["interval", "none"] * 6, data["y"] + 1, data["y"] - 1
    data["gap"] = data["end"].where(data.index != 2)
    data["gap elsewhere"] = data["end"].where(data.index != 1)
    data["right"], data["left"], data["three"], data["half"] = "right", "left", [3, 0] * 6, data["k"] + 0.5
    data["missing"], data["cap"] = data["c"].where(data.index != 3), ["Right", "none"] * 6
    data["date"], data["entry"] = pd.date_range("2020-01-01", periods=n), data["y"] / 2
    data["late"], data["zero"] = data["y"] + 0.5, 0.0
    return data


DATA = table()
ERRORS = [
    # the formula
    ("y | cens() ~ x", "weibull", FormulaError, "cens() lacks its argument c; it is written cens(c, y2)"),
    ("y | cens(c, end, x) ~ x", "weibull", FormulaError, "cens() is given 3 arguments and takes 2"),
    ("y | cens(c) + cens(c) ~ x", "weibull", FormulaError, "cens() stands twice"),
    ("y | trunc() ~ x", "weibull", FormulaError, "trunc() has no limit; write trunc(lb = 0), trunc(ub = 10) or both"),
    ("y | trunc(low = 1) ~ x", "weibull", FormulaError, "trunc() has no argument 'low'"),
    ("y ~ cens(c)", "weibull", FormulaError, "cens() stands on the left, as in y | cens(c) ~ x"),
    ("y ~ trunc(lb = 0) + x", "weibull", FormulaError, "trunc() stands on the left"),
    ("y | cens('right') ~ x", "weibull", FormulaError, "write right without the quotes"),
    ("y | status ~ x", "weibull", FormulaError, "write y | cens(1 - status) ~ x"),
    ("y | event(status) ~ x", "weibull", FormulaError, "write y | cens(1 - status) ~ x"),
    ("Surv(y, status) ~ x", "weibull", FormulaError, "written time | cens(1 - status)"),
    ("y | var(k) ~ x", "gaussian", FormulaError, "known variances v are given as y | se(sqrt(v)) ~ x"),
    ("y | rate(k) ~ x", "poisson", FormulaError, "as offset(log(t))"),
    ("k ~ x; zi ~ x", "poisson", DataError, "zi is a parameter of families with more zeros"),
    ("y | cens(nowhere) ~ x", "weibull", FormulaError, "censoring column 'nowhere' is not in the data"),
    ("y | cens(way, nowhere) ~ x", "weibull", FormulaError, "second end 'nowhere' is not in the data"),
    ("y | trunc(lb = Inf) ~ x", "weibull", FormulaError, "limit 'Inf' is not in the data"),
    # how the rows are censored
    ("y | cens(typo) ~ x", "weibull", DataError, "'typo' is 'rigth' in rows [0, 2, 4, 6, 8, ...] (6 in all)"),
    ("y | cens(typo) ~ x", "weibull", DataError, "did you mean 'right'?"),
    ("y | cens(cap) ~ x", "weibull", DataError, "did you mean 'right'?"),
    ("y | cens(three) ~ x", "weibull", DataError, "is 3 in rows [0, 2, 4, 6, 8, ...] (6 in all); expected none, left"),
    ("y | cens(y) ~ x", "weibull", DataError, "expected none, left, right or interval, or 0, -1, 1 or 2"),
    ("y | cens(flag) ~ x", "weibull", DataError, "do not say whether true is an event or a censored row"),
    ("y | cens(date) ~ x", "weibull", DataError, "'date' holds dates; expected none, left, right or interval"),
    ("y | cens(right) ~ x", "weibull", DataError, "right-censored in every row, so that every mean far above"),
    ("y | cens(left) ~ x", "gaussian", DataError, "left-censored in every row, so that every mean far below"),
    ("y | cens(way) ~ x", "weibull", DataError, "its second end is not given; write y | cens(c, y2) ~ ..."),
    ("y | cens(way, before) ~ x", "weibull", DataError, "'before' is below the response 'y' in rows [0, 2,"),
    ("y | cens(way, gap) ~ x", "weibull", DataError, "'gap' is missing in row [2], interval-censored"),
    ("y | cens(way, g) ~ x", "weibull", DataError, "'g' holds text where numbers are expected"),
    ("k | cens(way, half) ~ x", "poisson", DataError, "'half' is no whole number in rows"),
    # limits
    ("y | trunc(lb = 1) ~ x", "weibull", DataError, "is below lb of trunc(lb = 1) in rows [4, 8, 11]"),
    ("y | trunc(ub = 2) ~ x", "weibull", DataError, "is above ub of trunc(ub = 2) in rows [0, 2, 5, 9, 10]"),
    ("y | trunc(lb = 5, ub = 1) ~ x", "gaussian", DataError, "trunc(lb = 5, ub = 1) leaves no value in rows [0, 1, 2"),
    ("y | trunc(lb = y, ub = y) ~ x", "weibull", DataError, "leaves no value"),
    ("y | trunc(lb = late) ~ x", "weibull", DataError, "is below lb of trunc(lb = late)"),
    ("y | trunc(ub = 0) ~ x", "weibull", DataError, "above ub of trunc(ub = 0)"),
    ("y | trunc(lb = g) ~ x", "weibull", DataError, "'g' holds text where numbers are expected"),
    ("k | trunc(lb = 1.2, ub = 1.8) ~ x", "poisson", DataError, "leaves no value"),
    ("k | trunc(lb = 4) ~ x", "poisson", DataError, "is below lb of trunc(lb = 4)"),
    # families and other structures
    ("k | cens(c) ~ x", "genpois", DataError, "the genpois family has none; take one of these, or leave it out"),
    ("k | trunc(lb = 1) ~ x", "zero_inflated_poisson", DataError, "needs a family whose probabilities below and above"),
    ("y | cens(c) + se(k) ~ x", "gaussian", DataError, "the censored gaussian family with the identity link has none"),
    ("y | cens(c) ~ x + ar(time = status, gr = g)", "gaussian", DataError, "the censored gaussian family"),
    ("y | cens(c) + trials(k) ~ x", "weibull", DataError, "trials belong to the binomial family"),
    ("zero | cens(c) ~ x", "weibull", DataError, "is 0 or less in rows"),
]


@pytest.mark.parametrize(("formula", "family", "error", "said"), ERRORS)
def test_what_is_refused(formula, family, error, said):
    with pytest.raises(error) as caught:
        bmm.Model(formula, DATA, family)
    assert said in str(caught.value)


NOTES = [
    ("y | cens(status) ~ x", "weibull", "censored weibull", "where 1 is the event write cens(1 - status)"),
    ("y | cens(c, end) ~ x", "weibull", "censored weibull", "so 'end' has no part"),
    ("y | cens(way, y) ~ x", "weibull", "weibull", "6 intervals of 'y' with two equal ends"),
    ("y | cens(0 * status) ~ x", "weibull", "weibull", "no row of 'y' is censored by cens(0 * status)"),
    ("y | cens(missing) ~ x", "weibull", "censored weibull", "1 of 12 rows has missing values (missing: 1)"),
    ("y | trunc(lb = 0) ~ x", "weibull", "weibull", "shuts out no value that a weibull response can have"),
    ("k | trunc(lb = 0) ~ x", "poisson", "poisson", "shuts out no value that a poisson response can have"),
    ("y | cens(c) + weights(k) ~ x", "gaussian", "censored gaussian", "and do not divide the residual variance"),
]


@pytest.mark.parametrize(("formula", "family", "label", "said"), NOTES)
def test_what_is_noted(formula, family, label, said):
    model = bmm.Model(formula, DATA, family)
    assert model.family.label == label
    assert any(said in message.text for message in model.design.messages)


def test_a_second_end_may_be_missing_where_no_row_has_one():
    model = bmm.Model("y | cens(way, `gap elsewhere`) ~ x", DATA, "weibull")
    assert model.design.n == 12
    np.testing.assert_array_equal(model.design.limits.other[::2], DATA["end"][::2])


def test_what_is_known_of_the_rows():
    data = DATA.assign(way=["interval", "none", "left", "right"] * 3, first=DATA["y"].where(DATA.index != 0, 0.0))
    limits = bmm.Model("first | cens(way, end) + trunc(lb = 0.01, ub = 99) ~ x", data, "weibull").design.limits
    y = bmm.Model("first | cens(way, end) ~ x", data, "weibull").design.y
    np.testing.assert_array_equal(limits.other[:4], [0.01, np.nan, 0.01, 99])  # an interval from 0 on is left-censored
    assert y[0] == data["end"][0]
    assert (limits.low == 0.01).all()
    assert (limits.high == 99).all()


def test_words_numbers_and_categories_are_the_same():
    codes = DATA["c"].map({"none": 0, "right": 1})
    given = {"text": DATA["c"], "category": DATA["c"].astype("category"), "number": codes, "float": codes.astype(float)}
    found = {
        kind: bmm.Model("y | cens(how) ~ x", DATA.assign(how=values), "weibull").design.limits.other
        for kind, values in given.items()
    }
    for other in found.values():
        np.testing.assert_array_equal(other, found["text"])


def test_reml_has_no_censored_form():
    with pytest.raises(ValueError, match="not for the censored gaussian family with the identity link; use 'ML'"):
        bmm.Model("y | cens(c) ~ x", DATA).maximize("REML")
