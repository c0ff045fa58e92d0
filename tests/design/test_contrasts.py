"""Contrasts that are given beside the formula, against the same contrasts inside it and written out."""

import numpy as np
import pandas as pd
import pytest
from invented import invented

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
OWN = [[-0.5, -1 / 3], [0.0, 2 / 3], [0.5, -1 / 3]]


def data(n=60):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"a": rng.choice(list("pqr"), n), "b": rng.choice(list("uv"), n), "x": rng.normal(size=n)})
    table["g"] = [f"g{k % 8}" for k in range(n)]
    table["y"] = (table["a"] == "q") + table["x"] + rng.normal(size=n)
    return table


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        ("sum", "Sum"),
        ("contr.helmert", "Helmert"),
        ("Treatment", "Treatment"),
        ("poly", "Poly"),
        ("sas", "SAS"),
        ("diff", "Diff"),
    ],
)
def test_a_name_is_the_same_as_inside_the_formula(given, inside):
    ours = bmm.Model("y ~ a * b + (a | g)", data(), contrasts={"a": given}).design
    known = bmm.Model(f"y ~ C(a, {inside}) * b + (C(a, {inside}) | g)", data()).design
    np.testing.assert_array_equal(ours.X, known.X)
    np.testing.assert_array_equal(ours.blocks[0].Z, known.blocks[0].Z)
    assert ours.coefficients == tuple(name.replace(f"C(a, {inside})", "a") for name in known.coefficients)


def test_a_matrix_is_what_each_level_has_in_x():
    table = data()
    design = bmm.Model("y ~ a + x", table, contrasts={"a": OWN}).design
    assert design.coefficients == ("Intercept", "a[1]", "a[2]", "x")
    np.testing.assert_array_equal(design.X[:, 1:3], np.array(OWN)[table["a"].map({"p": 0, "q": 1, "r": 2})])
    frame = pd.DataFrame(OWN, index=["p", "q", "r"], columns=["ends", "middle"]).loc[["r", "p", "q"]]
    named = bmm.Model("y ~ a + x", table, contrasts={"a": frame}).design
    assert named.coefficients[1:3] == ("a[ends]", "a[middle]")
    np.testing.assert_array_equal(named.X, design.X)


def test_the_fit_is_the_same_and_so_are_what_is_made_of_it():
    """Another coding of the same space: likelihood, means, tests; the coefficient of `ends` is r - p."""
    own = bmm.Model("y ~ a * x + (1 | g)", data(), contrasts={"a": OWN}).maximize("ML")
    usual = bmm.Model("y ~ a * x + (1 | g)", data()).maximize("ML")
    assert own.loglik == pytest.approx(usual.loglik, rel=1e-9)
    ours, theirs = (bmm.emmeans(point, "a").table for point in (own, usual))
    np.testing.assert_allclose(ours["estimate"], theirs["estimate"], rtol=1e-6)
    ours, theirs = (bmm.anova(point, type=3).table for point in (own, usual))
    np.testing.assert_allclose(ours["F value"], theirs["F value"], rtol=1e-5)
    at = bmm.emmeans(own, "a", at={"x": 0}).contrast({"r - p": {"r": 1, "p": -1}}).table["estimate"].item()
    assert own.params["a[1]"] == pytest.approx(at, rel=1e-8)
    new = data().sample(frac=1, random_state=3)
    np.testing.assert_allclose(own.predict(new), usual.predict(new), rtol=1e-6)
    other = bmm.Model("y ~ a * x", data(), contrasts={"a": OWN}).with_data(new[new["a"] != "q"])
    assert other.design.coefficients == ("Intercept", "a[1]", "a[2]", "x", "a[1]:x", "a[2]:x")


def test_the_formula_is_stronger_and_ordered_factors_obey():
    table = data().assign(a=lambda d: pd.Categorical(d["a"], ordered=True))
    design = bmm.Model("y ~ a + C(b, Sum)", table, contrasts={"a": "sum"}).design
    assert design.coefficients == ("Intercept", "a[S.p]", "a[S.q]", "C(b, Sum)[S.u]")
    assert not any("polynomial" in message.text for message in design.messages)


@pytest.mark.parametrize("contrasts", [{"a": "sum"}, {"a": OWN}, {"a": pd.DataFrame(OWN, columns=["ends", "middle"])}])
def test_a_saved_fit_has_them_again(tmp_path, contrasts):
    fit = invented(bmm.Model("y ~ a + (1 | g)", data(), contrasts=contrasts))
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.design.X, fit.design.X)
    assert again.design.coefficients == fit.design.coefficients
    new = data().assign(g="g1")
    np.testing.assert_array_equal(again.predict(new).draws, fit.predict(new).draws)


@pytest.mark.parametrize(
    ("contrasts", "error", "message"),
    [
        ("sum", ValueError, "contrasts should be a dict of factors"),
        ({"a": "summ"}, ValueError, "contrasts.'a'. should be one of treatment, .*did you mean 'sum'"),
        ({"a": [[1, np.nan], [0, 1], [1, 1]]}, ValueError, "a matrix of finite numbers"),
        ({"a": 3}, ValueError, "a matrix of finite numbers"),
        ({"a": np.eye(3)}, bmm.DataError, "have 3 rows and 3 columns, and its 3 levels .* need 3 and 2"),
        ({"a": [[1, 1], [1, 1], [1, 0]]}, bmm.DataError, "do not tell its levels apart"),
        (
            {"a": pd.DataFrame(OWN, index=list("pqs"))},
            bmm.DataError,
            "the rows of the contrasts of 'a' are 'p', 'q', 's'",
        ),
        ({"A": "sum"}, bmm.DataError, "contrasts names 'A', which is no factor among the terms.*did you mean 'a'"),
        ({"x": "sum"}, bmm.DataError, "contrasts names 'x', which is no factor"),
    ],
)
def test_what_is_wrong_is_said(contrasts, error, message):
    with pytest.raises(error, match=message):
        bmm.Model("y ~ a + x", data(), contrasts=contrasts)
