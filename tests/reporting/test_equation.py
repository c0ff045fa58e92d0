import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser

import bayesmm as bmm
from bayesmm.reporting.latex import escape


def lines_of(model):
    latex = model.equation()
    first, *lines, last = latex.split("\n")
    assert (first, last) == (r"\begin{aligned}", r"\end{aligned}")
    assert all(line.endswith(r" \\") for line in lines[:-1])
    assert not lines[-1].endswith("\\")
    lines = [line.removesuffix(r" \\") for line in lines]
    assert all(line.count("&") - line.count(r"\&") == 1 for line in lines)  # one place to align at
    return lines


def render(line):
    """Set both sides of the sign of alignment with matplotlib's own reader of TeX, which knows no unbalanced brace."""
    for side in line.replace(r"\&", "").split("&"):
        if side.strip():
            MathTextParser("agg").parse(f"${side.strip()}$")


@pytest.fixture(scope="module")
def sleepstudy():
    return bmm.load_dataset("sleepstudy")


def test_the_equation_of_sleepstudy_line_by_line(sleepstudy):
    priors = {
        "Intercept": bmm.Prior("Normal", mu=250, sigma=100),
        "beta[Days]": bmm.Prior("StudentT", nu=3, mu=0, sigma=12.3456),
        "sd_Subject": bmm.Prior("HalfNormal", sigma=1e6),
        "sd_Subject[Days]": bmm.Prior("InverseGamma", alpha=1, beta=2.5, on="variance"),
        "corr_Subject": bmm.Prior("LKJ", eta=2),
        "sigma": bmm.Prior("Fixed", value=25),
    }
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, priors=priors)
    assert lines_of(model) == [
        r"{\text{Reaction}}_{i} &\sim \mathcal{N}(\mu_{i},\ \sigma^{2})",
        r"\mu_{i} &= \beta_{\text{Intercept}} + \beta_{\text{Days}}\,{\text{Days}}_{i} + "
        r"b_{\text{Intercept},\text{Subject}[i]} + b_{\text{Days},\text{Subject}[i]}\,{\text{Days}}_{i}",
        r"(b_{\text{Intercept},g},\ b_{\text{Days},g})^{\top} &\sim "
        r"\mathcal{N}(0,\ S_{\text{Subject}} R_{\text{Subject}} S_{\text{Subject}}), \quad g \in \text{Subject}",
        r"S_{\text{Subject}} &= \mathrm{diag}(s_{\text{Subject},\text{Intercept}},\ s_{\text{Subject},\text{Days}})",
        r"\beta_{\text{Intercept}} &\sim \mathrm{Normal}(\mu = 250,\ \sigma = 100)",
        r"\beta_{\text{Days}} &\sim \mathrm{StudentT}(\nu = 3,\ \mu = 0,\ \sigma = 12.35)",
        r"s_{\text{Subject},\text{Intercept}} &\sim \mathrm{HalfNormal}(\sigma = 1 \times 10^{6})",
        r"s_{\text{Subject},\text{Days}}^{2} &\sim \mathrm{InverseGamma}(\alpha = 1,\ \beta = 2.5)",
        r"R_{\text{Subject}} &\sim \mathrm{LKJ}(\eta = 2)",
        r"\sigma &= 25",
    ]


def test_the_default_prior_of_the_intercept_is_at_the_means_of_the_predictors(sleepstudy):
    lines = lines_of(bmm.Model("Reaction ~ Days", sleepstudy))
    assert any(line.startswith(r"\beta_{\text{Intercept}} + \sum_{k} \beta_{k} \bar{x}_{k} &\sim") for line in lines)
    lines = lines_of(bmm.Model("Reaction ~ 1", sleepstudy))
    assert any(line.startswith(r"\beta_{\text{Intercept}} &\sim \mathrm{Normal}") for line in lines)


def test_every_prior_of_the_model_has_its_line(sleepstudy):
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    likelihood_predictor_effects, at_the_means = 4, 2
    lines = lines_of(model)
    assert len(lines) == likelihood_predictor_effects + at_the_means + len(model.priors)
    effects = r"b_{\text{Intercept},g} + 4.5\,b_{\text{Days},g},\ b_{\text{Days},g}"
    assert any(line.startswith(rf"({effects})^{{\top}} &\sim \mathcal{{N}}(0,\ \bar{{S}}") for line in lines)
    assert any(line.startswith(r"\bar{s}_{\text{Subject},\text{Days}} &\sim") for line in lines)


def test_a_coefficient_with_its_prior_at_the_means_is_written_out(sleepstudy):
    lines = lines_of(bmm.Model("Reaction ~ Days + I(Days^2)", sleepstudy))
    sum_ = r"\gamma_{\text{Days}} &= \beta_{\text{Days}} + 9\,\beta_{\text{I(Days}"
    assert any(line.startswith(sum_) for line in lines)
    assert any(line.startswith(r"\gamma_{\text{Days}} &\sim \mathrm{Normal}") for line in lines)


def test_independent_effects_have_a_line_each_and_no_correlation(sleepstudy):
    lines = lines_of(bmm.Model("Reaction ~ Days + (Days || Subject)", sleepstudy))
    assert (
        r"b_{\text{Days},g} &\sim \mathcal{N}(0,\ s_{\text{Subject},\text{Days}}^{2}), \quad g \in \text{Subject}"
        in lines
    )
    assert not any("LKJ" in line or "diag" in line for line in lines)


def test_independent_parts_of_a_correlated_factor_are_named(sleepstudy):
    data = sleepstudy.assign(z=np.sqrt(sleepstudy["Days"]))
    lines = lines_of(bmm.Model("Reaction ~ Days + (Days | Subject) + (0 + z | Subject)", data))
    between = r"R_{\text{Subject}} &= 0 \text{ between } \text{Intercept},\ \text{Days} \mid \text{z}"
    assert between in lines


def test_weights_and_offsets_are_in_the_equation(sleepstudy):
    data = sleepstudy.assign(w=1.0 + sleepstudy["Days"])
    lines = lines_of(bmm.Model("Reaction ~ Days + offset(log(w))", data, weights="w"))
    assert lines[0].endswith(r"\mathcal{N}(\mu_{i},\ \sigma^{2} / w_{i})")
    assert lines[1].endswith(r" + {\text{log(w)}}_{i}")


def test_a_long_predictor_goes_on_in_the_next_line():
    random = np.random.default_rng(1)
    data = pd.DataFrame({"y": random.normal(size=40)} | {f"x{k}": random.normal(size=40) for k in range(9)})
    lines = lines_of(bmm.Model("y ~ " + " + ".join(f"x{k}" for k in range(9)), data))
    predictor = [line for line in lines if line.startswith((r"\mu_{i} &=", r"&\quad + "))]
    assert [line.count(r"\beta_") for line in predictor] == [4, 4, 2]


def test_flat_priors_and_functions_are_said(sleepstudy):
    def own(name, dims=None):
        raise AssertionError("not called to write the equation")

    priors = {"beta": bmm.Prior("Flat"), "sigma": own}
    lines = lines_of(bmm.Model("Reaction ~ Days", sleepstudy, priors=priors))
    assert r"p(\beta_{\text{Days}}) &\propto 1" in lines
    assert r"\sigma &\sim \text{a distribution given as a function}" in lines


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Days", r"\text{Days}"),
        ("a_b", r"\text{a\_b}"),
        ("100%", r"\text{100\%}"),
        ("$x$", r"\text{\$x\$}"),
        ("#&{}", r"\text{\#\&\{\}}"),
        ("I(x^2)", r"\text{I(x}{\wedge}\text{2)}"),
        ("~", r"{\sim}"),
        (r"\input{x}", r"{\backslash}\text{input\{x\}}"),
        ("längd µ", r"\text{längd µ}"),
        ("two\nlines\tand tabs", r"\text{two lines and tabs}"),
        ("", r"\text{ }"),
        ("<b>x</b>", r"{<}\text{b}{>}\text{x}{<}\text{/b}{>}"),  # no tag where it stands in a page of HTML
        ("^^5cinput a", r"{\wedge}{\wedge}\text{5cinput a}"),  # TeX's other way to write a backslash
        ("a\x00b\x1b", "\\text{a\ufffdb\ufffd}"),
    ],
)
def test_names_are_escaped(name, expected):
    assert escape(name) == expected
    render(escape(name))


@given(st.text(alphabet=st.sampled_from("ab _^~\\{}$%&#[]()\"'<>/|:.,;*+-=1é"), max_size=12))
def test_any_name_is_readable_and_balanced(name):
    escaped = escape(name)
    depth = 0
    for position, character in enumerate(escaped):
        if escaped[position - 1 : position] != "\\":
            depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"<[A-Za-z/!?]", escaped)  # what begins a tag: HTML Living Standard, 13.2.5.6
    render(escaped)


def test_every_line_of_a_model_with_hostile_names_is_readable():
    random = np.random.default_rng(2)
    names = ["$y_1$", "50%_of^x", r"\end{aligned}", "g{&}#"]
    data = pd.DataFrame(random.normal(size=(60, 3)), columns=names[:3])
    data[names[3]] = np.repeat([f"level_{k}" for k in range(6)], 10)
    response, x, z, g = (f"`{name}`" for name in names)
    lines = lines_of(bmm.Model(f"{response} ~ {x} * {z} + ({x} | {g})", data))
    assert len(lines) > 10
    for line in lines:
        render(line)


def test_effects_of_two_factors_have_symbols_of_their_own():
    random = np.random.default_rng(1)
    data = pd.DataFrame({"y": random.normal(size=40), "s1": list("abcd") * 10, "s2": [*"aaaaabbbbb"] * 4})
    lines = lines_of(bmm.Model("y ~ 1 + (1 | s1) + (1 | s2)", data))
    for name in ("s1", "s2"):  # their levels have names in common
        assert any(line.startswith(rf"b_{{\text{{Intercept}},g}}^{{(\text{{{name}}})}} &\sim") for line in lines)
        assert rf"b_{{\text{{Intercept}},\text{{{name}}}[i]}}^{{(\text{{{name}}})}}" in lines[1]
    left = [line.split("&")[0] for line in lines]
    assert len(set(left)) == len(left)  # no symbol is given two meanings
    for line in lines:
        render(line)
