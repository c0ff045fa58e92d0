"""Penalised bases: what makes a spline natural, a penalty right and a basis the same on other rows."""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayesmm as bmm
from bayesmm.design import smooths
from bayesmm.design.design import encode
from bayesmm.errors import DataError, FormulaError

RNG = np.random.default_rng(5)
X = np.round(RNG.uniform(-3, 7, 90), 2)
FRAME = pd.DataFrame(
    {"x": X, "z": RNG.normal(size=90), "f": RNG.choice(["a", "b", "c"], 90), "g": RNG.choice(list("pqrstu"), 90)}
)
FRAME["y"] = np.sin(FRAME["x"]) + 0.3 * RNG.normal(size=90)
FRAME["few"], FRAME["one"], FRAME["yes"] = np.arange(90) % 4, 1.0, X > 0
FRAME["two"] = np.arange(90) % 2


@pytest.mark.parametrize("basis", smooths.BASES)
def test_curves_have_mean_zero_and_the_penalty_is_the_identity(basis):
    smooth = smooths.learn_smooth("s(x)", "s", [X], [9], basis)
    fixed, (Z,) = smooths.smooth_columns(smooth, [X])
    assert fixed.shape == (90, 1) and Z.shape == (90, 7)
    assert_allclose(np.hstack([fixed, Z]).mean(axis=0), 0, atol=1e-9 * np.abs(Z).max())
    slope = np.polyfit(X, fixed[:, 0], 1)
    assert_allclose(fixed[:, 0], np.polyval(slope, X), atol=1e-8 * np.abs(fixed).max())  # a straight line, rising
    assert slope[0] > 0


@pytest.mark.parametrize("basis", smooths.BASES)
def test_straight_lines_beyond_the_data(basis):
    smooth = smooths.learn_smooth("s(x)", "s", [X], [9], basis)
    margin = 0.02 * np.ptp(X) if basis == "ps" else 0.0  # P-splines' knots go a little beyond the data
    for end, sign in ((X.max() + margin, 1), (X.min() - margin, -1)):
        at = end + sign * np.array([0.0, 1.0, 2.0, 5.0])
        columns = np.hstack([smooths.smooth_columns(smooth, [at])[0], *smooths.smooth_columns(smooth, [at])[1]])
        assert_allclose(np.diff(columns, axis=0)[2], 3 * np.diff(columns, axis=0)[1], rtol=1e-6, atol=1e-6)


def test_the_cubic_penalty_is_the_integral_of_the_squared_second_derivative():
    knots = np.array([0.0, 0.7, 1.0, 2.5, 3.0])
    S = smooths._penalty(smooths.Margin("cr", tuple(knots)), 5)
    at = np.linspace(0, 3, 300_001)
    second = np.gradient(np.gradient(smooths._cubic(knots, at), at, axis=0), at, axis=0)[2:-2]
    integral = (second[:, :, None] * second[:, None, :]).sum(axis=0) * (at[1] - at[0])
    assert_allclose(S, integral, rtol=2e-3, atol=2e-3)  # of a step of 1e-5, and the two ends left out
    assert_allclose(smooths._cubic(knots, knots), np.eye(5), atol=1e-12)


def test_a_thin_plate_spline_of_full_rank_interpolates():
    x = np.sort(RNG.uniform(0, 1, 12))
    smooth = smooths.learn_smooth("s(x)", "s", [x], [12], "tp")
    fixed, (Z,) = smooths.smooth_columns(smooth, [x])
    y = RNG.normal(size=12)
    C = np.column_stack([np.ones(12), fixed, Z])
    assert_allclose(C @ np.linalg.solve(C, y), y, atol=1e-6)


def test_columns_do_not_depend_on_unit_and_origin_of_the_variable():
    for basis in smooths.BASES:
        one = smooths.learn_smooth("s(x)", "s", [X], [8], basis)
        other = smooths.learn_smooth("s(x)", "s", [1000 * X + 5e4], [8], basis)
        a, b = (smooths.smooth_columns(s, [v])[1][0] for s, v in ((one, X), (other, 1000 * X + 5e4)))
        ratio = np.linalg.norm(b) / np.linalg.norm(a)  # the penalty's size may change: sd takes it up
        assert_allclose(b @ b.T, ratio**2 * a @ a.T, rtol=1e-6, atol=1e-7 * ratio**2 * np.abs(a @ a.T).max())


def test_a_surface_has_three_penalties_and_contains_products():
    model = bmm.Model("y ~ t2(x, z)", FRAME)
    (block,) = model.design.blocks
    assert [(part.text, len(part.columns)) for part in block.parts] == [("both", 9), ("first", 6), ("second", 6)]
    assert model.design.p == 4
    C = np.column_stack([model.design.X, block.Z])
    assert np.linalg.matrix_rank(C) == 25  # 5 x 5 functions
    target = FRAME["x"] * FRAME["z"] + FRAME["x"]  # without a penalty
    fitted = model.design.X @ np.linalg.lstsq(model.design.X, target)[0]
    assert_allclose(fitted, target, atol=1e-8)


def test_other_rows_get_the_same_columns_and_a_warning_beyond():
    design = bmm.Model("y ~ f + s(x, by = f, k = 6) + t2(x, z) + (1 | g)", FRAME).design
    again = encode(design.spec, FRAME.iloc[:7])
    assert_allclose(again.X, design.X[:7], atol=1e-10)
    for one, block in zip(again.blocks, design.blocks, strict=True):
        assert_allclose(one.Z, block.Z[:7], atol=1e-10 * np.abs(block.Z).max())
    assert again.messages == ()
    beyond = encode(design.spec, FRAME.iloc[:2].assign(x=99.0)).messages
    assert "s(x):f is evaluated beyond the data of the fit" in beyond[0].text


def test_the_data_of_a_curve_are_those_of_its_level():
    table = FRAME.assign(x=np.where(FRAME["f"] == "b", np.clip(FRAME["x"], 0.2, 0.4), FRAME["x"]))
    design = bmm.Model("y ~ f + s(x, by = f, k = 5)", table).design
    at = pd.DataFrame({"y": 0.0, "x": [0.6, 0.6, 0.3], "f": ["a", "b", "b"]})
    (said,) = encode(design.spec, at).messages
    assert "beyond the data of the fit of b, x from 0.2 to 0.4, in row [1]: it goes on as a straight line" in said.text
    surface = bmm.Model("y ~ t2(x, z, k = 4)", FRAME).design
    (said,) = encode(surface.spec, FRAME.iloc[:2].assign(x=99.0)).messages
    assert "x from " in said.text and "z from " in said.text and "without a bend" in said.text


def test_a_level_whose_rows_cannot_bend_its_curve_is_named():
    table = FRAME.assign(x=np.where(FRAME["f"] == "b", 0.3, FRAME["x"]))
    said = " ".join(message.text for message in bmm.Model("y ~ f + s(x, by = f, k = 5)", table).design.messages)
    assert "the rows of f[b] have fewer than 3 values of x: what s(x):f bends there is not in the data" in said


@pytest.mark.parametrize("centres", [np.linspace(-1, 1, 600), np.random.default_rng(1).normal(size=600)])
def test_the_largest_eigenvectors_are_those_of_all(centres, monkeypatch):
    A = np.abs(centres[:, None] - centres) ** 3 / 12
    some = smooths._largest(A, 10)
    monkeypatch.setattr(smooths, "ALL_OF", 1000)
    every = smooths._largest(A, 10)
    assert_allclose(np.abs(np.sum(some * every, axis=0)), 1, atol=1e-10)  # their signs are the linear algebra's


def test_a_curve_for_each_level_and_a_number_that_multiplies_one():
    design = bmm.Model("y ~ f + s(x, by = f, k = 5)", FRAME).design
    assert [block.group for block in design.blocks] == ["s(x):f[a]", "s(x):f[b]", "s(x):f[c]"]
    assert design.coefficients[3:] == ("s(x):f[a]", "s(x):f[b]", "s(x):f[c]")
    assert not design.blocks[0].Z[FRAME["f"] != "a"].any()
    varying = bmm.Model("y ~ x + s(x, by = z, k = 5)", FRAME).design
    assert varying.coefficients[2:] == ("s(x):z[1]", "s(x):z[2]")
    assert_allclose(varying.X[:, 2] / FRAME["z"], varying.X[0, 2] / FRAME["z"][0])  # a constant times z


FORMULAS = [
    ("y ~ s(x, z)", FormulaError, "s() is of 1 variable and is given 2 without a name"),
    ("y ~ s()", FormulaError, "s() lacks its argument x"),
    ("y ~ s(x, bs = 'cc')", FormulaError, "where one of 'tp', 'cr' and 'ps' in quotes is expected"),
    ("y ~ s(x, bs = cr)", FormulaError, "where one of 'tp', 'cr' and 'ps' in quotes is expected"),
    ("y ~ s(x):f", FormulaError, "s() is not multiplied; a curve for each level of f is s(x, by = f)"),
    ("y ~ f * s(x)", FormulaError, "s() is not multiplied"),
    ("y ~ (s(x) | g)", FormulaError, "s() cannot vary over groups"),
    ("y ~ log(s(x))", FormulaError, "s() gives a smooth, which cannot stand inside arithmetic"),
    ("s(y) ~ x", FormulaError, "cannot be the response"),
    ("y ~ s(x) + s(x, k = 5)", FormulaError, "two smooths are called s(x)"),
    ("y ~ te(x, z)", FormulaError, "a smooth surface is t2(x, z)"),
    ("y ~ s(x, m = 2)", FormulaError, "s() has no argument 'm'"),
    ("y ~ s('x')", FormulaError, "for the column write x without the quotes"),
    ("y ~ t2(x)", FormulaError, "t2() lacks its argument z"),
    ("y ~ s(y)", FormulaError, "the response 'y' also stands on the right side"),
    (("y ~ x", "sigma ~ s(x)"), FormulaError, "s() is not possible in the formula of sigma"),
    ("y ~ s(f)", DataError, "s(f) is a smooth of numbers, and 'f' holds text"),
    ("y ~ s(x, k = 500)", DataError, "must not be above the number of distinct values of its variable"),
    ("y ~ s(few)", DataError, "the number of distinct values of its variable, 4"),
    ("y ~ s(one)", DataError, "the variable of s(one) is constant, and a curve needs at least 3; leave it out"),
    ("y ~ s(two)", DataError, "the variable of s(two) has 2 distinct values, and a curve needs at least 3; write it"),
    ("y ~ t2(x, x)", DataError, "t2(x, x) has one variable twice; a surface is of two, a curve s(x)"),
    ("y ~ t2(x, z, k = 30)", DataError, "30 x 30 = 900 basis functions, which must not be more than the distinct"),
    ("y ~ s(x, k = 2)", DataError, "needs at least 3, and at most"),
    ("y ~ s(x, k = 3, bs = 'ps')", DataError, "needs at least 4"),
    ("y ~ s(x, k = 2.5)", DataError, "expected a whole number"),
    ("y ~ s(x, k = c(3, 4))", DataError, "expected a whole number"),
    ("y ~ s(nix)", FormulaError, "is not in the data"),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "error", "said"), FORMULAS)
def test_bad_smooths_are_one_clear_sentence(formula, error, said):
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(formula, FRAME)
