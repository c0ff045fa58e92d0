"""Advice in notes is possible for the term that it is about: smooths, structures, names between two bars, zeros."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.design.parameters import Parameter
from bayesmm.evaluation.checks.fitted import of_point
from bayesmm.evaluation.checks.model import few_groups, say_bound
from bayesmm.evaluation.checks.point import effective_parameters
from bayesmm.evaluation.checks.terms import centring, factor_text, movers, smaller, terms_text, without_correlation
from bayesmm.evaluation.prior_marginals import PriorMarginal


def table(n=96, groups=8):
    rng, g = np.random.default_rng(0), np.arange(n) % groups
    data = pd.DataFrame({"x": rng.normal(size=n), "f": rng.choice(["a", "b", "c"], n), "g": [f"g{i}" for i in g]})
    return data.assign(s=np.where(g % 2, "p", "q"), y=rng.normal(size=n), y2=rng.normal(size=n), k=rng.poisson(2, n))


ADVICE = {
    "smooth": ("y ~ s(x)", "gaussian", "", "write x in place of s(x)"),
    "curves": ("y ~ s + s(x, by = s)", "gaussian", "", "if no curve of s(x):s bends, write s:x in their place"),
    "surface": ("y ~ t2(x, y2, k = 4)", "gaussian", "", "compare it with s(x) + s(y2)"),
    "one column": ("y ~ x + (1 | g)", "gaussian", "", "leave the term out"),
    "free": ("y ~ x + (x | g)", "gaussian", "write || for |", "leave the term out, write || for |"),
    "independent": ("y ~ x + (x || g)", "gaussian", "", "leave the term out"),
    "structure": (
        "y ~ cs(0 + f | g)", "gaussian", "write diag() in place of cs()",
        "leave the term out, write diag() in place of cs()",
    ),
    "two formulas": (
        ("k ~ x + (1 | p | g)", "zi ~ (1 | p | g)"), "zero_inflated_poisson",
        "leave p and its bar out, as in (1 | g)", "leave the term out, leave p and its bar out, as in (1 | g)",
    ),
    "responses": (
        "mvbind(y, y2) ~ x + (1 | p | g)", "gaussian", "leave p and its bar out, as in (1 | g)",
        "leave the term out, leave p and its bar out, as in (1 | g)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ADVICE)
def test_advice_is_possible_for_the_term(name):
    formula, family, apart, whole = ADVICE[name]
    formula = list(formula) if isinstance(formula, tuple) else formula
    design = bmm.Model(formula, table(), family).design
    assert (without_correlation(design, 0), smaller(design, 0)) == (apart, whole)


def test_the_advice_itself_is_a_formula():
    for formula in ("y ~ diag(0 + f | g)", "y ~ x", "mvbind(y, y2) ~ x + (1 | g)"):
        assert bmm.Model(formula, table()).design.n


@pytest.mark.parametrize(
    ("term", "centred", "numbers", "indicators"),
    [
        ("x | g", True, ["x"], []),
        ("center(x) | g", False, [], []),
        ("scale(x) | g", False, [], []),
        ("f | g", False, [], ["f[T.b]", "f[T.c]"]),  # text cannot be centred
        ("f + x | g", True, ["x"], ["f[T.b]", "f[T.c]"]),
        ("x | gr(g, by = s)", True, ["x:s[p]"], []),
    ],
)
def test_center_is_advised_where_it_changes_something(term, centred, numbers, indicators):
    data = table()
    design = bmm.Model(f"y ~ x + ({term})", data.assign(x=data["x"] + 5)).design
    assert (centring(design, 0) != "") == centred
    assert movers(design, 0, 0) == (numbers, indicators)
    assert movers(design, 0, 1) == ([], [])  # a slope is what it is


def test_three_terms_are_not_called_two():
    three, two = (bmm.Model(f"y ~ {term}", table()).design.blocks[0] for term in ("cs(0 + f | g)", "(x | g)"))
    assert terms_text(three, (0, 1)) == "terms" and terms_text(two, (0, 1)) == "two terms"


def test_a_parameter_of_the_family_at_its_bound():
    """No extra zeros: it was said that the data would have no scatter of their own there."""
    design = bmm.Model("k ~ x", table(), "zero_inflated_poisson").design
    own = next(own for own in design.family.parameters if own.name == "zi")
    marginal = PriorMarginal("zi", bmm.Prior("Uniform", lower=0, upper=1), None, None)
    said = say_bound(design, Parameter("auxiliary", "zi", -1, (), own.bounds), marginal, 0.0, np.zeros(5), 0.9, "")
    assert said.endswith("do not show that it differs from 0, where the family is the poisson; fit that.")
    said = say_bound(design, Parameter("auxiliary", "zi", -1, (), own.bounds), marginal, 1.0, np.zeros(5), 0.9, "")
    assert said.endswith("the data do not show that it differs from 1.")
    sigma = bmm.Model("y ~ x", table()).design
    marginal = PriorMarginal("sigma", None, None, None)
    found = say_bound(sigma, Parameter("sigma", "sigma", -1, ()), marginal, 0.0, [], 0.9, "")
    assert "look for rows that determine each other" in found


def test_the_smoothing_sd_at_0_is_a_straight_line():
    design = bmm.Model("y ~ s(x)", table()).design
    marginal = PriorMarginal("sd_s(x)", None, None, None)
    said = say_bound(design, Parameter("sd", "sd_s(x)", 0, (0,)), marginal, 0.0, np.ones(3), 0.9, "")
    assert "the data do not show that s(x) bends" in said and "levels" not in said


def test_few_groups_of_a_formula_of_sigma():
    data = table(groups=3)
    model = bmm.Model(["y ~ x", "sigma ~ (1 | g)"], data)
    design = model.design
    assert factor_text(design.blocks[0]) == ("g", " in the formula of sigma")
    fit = type("F", (), {"design": design, "model": model})
    message = few_groups(type("I", (), {"fit": fit})).message
    assert "make g a fixed effect in the formula of sigma" in message


def test_effects_of_zeros_are_not_tied_to_the_coefficients_of_the_mean():
    """Their part of the effective number is q less the trace of Sigma^-1 V, between 0 and q for each level."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(15), 20)
    zero = rng.random(300) < 1 / (1 + np.exp(-1.5 * rng.normal(size=15)))[g]
    data = pd.DataFrame({"g": [f"g{i}" for i in g], "k": np.where(zero, 0, rng.poisson(3, 300))})
    point = bmm.Model(["k ~ 1", "zi ~ (1 | g)"], data, "zero_inflated_poisson").maximize()
    Sigma, V = point.covariances[0], point.conditional[0]
    expected = 1 + 15 - sum(np.trace(np.linalg.solve(Sigma, own)) for own in V)
    assert 5 < expected < 16
    assert effective_parameters(point, of_point(point)) == pytest.approx(expected, rel=1e-9)


def test_why_groups_were_not_judged():
    def said(*given):
        checks = bmm.Model(*given).maximize().checks()
        return next(check.message for check in checks if check.name == "influential groups")

    data = table().assign(c=lambda d: d["f"])
    assert "coefficients of the mean, of which the model has none" in said("c ~ x", data, "categorical")
    assert said("mvbind(y, y2) ~ x + (1 | g)", data) == "judged for a single response"


@pytest.mark.parametrize(
    ("term", "noted"), [("ident(x | g)", True), ("ar1(x | g)", True), ("ident(0 + f | g)", False), ("(x || g)", False)]
)
def test_columns_of_other_units_with_one_sd_are_noted(term, noted):
    messages = [message.text for message in bmm.Model(f"y ~ x + {term}", table()).design.messages]
    assert any("one sd, whatever their units" in text for text in messages) == noted
