"""What formulas mean: terms against R's answers, group terms, both sides, and what a design asks of a formula."""

import doctest

import formulaic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmm.formula import formula as fm
from bayesmm.formula.formula import Call, Column, Number, Text, parse


def labels(terms):
    return [term.label for term in terms]


def fixed(right):
    formula = parse(f"y ~ {right}")
    return int(formula.intercept), labels(formula.terms)


def bars(right):
    return [str(bar) for bar in parse(f"y ~ {right}").bars]


# R's answer to  with(attributes(terms(~ <text>)), list(intercept, term.labels)) ; worked out by hand from the algorithm
# of its C code: variables are numbered in the order of the text, a term is a set of them, the sort by order is stable.
R_TERMS = {
    "1": (1, []),
    "0": (0, []),
    "a": (1, ["a"]),
    "a + b": (1, ["a", "b"]),
    "a + a": (1, ["a"]),
    "0 + a": (0, ["a"]),
    "a - 1": (0, ["a"]),
    "-1 + a": (0, ["a"]),
    "a + -1": (0, ["a"]),
    "a + 0": (0, ["a"]),
    "0 + a + 1": (1, ["a"]),
    "a - 1 + 1": (1, ["a"]),
    "a - 0": (1, ["a"]),
    "(a - 1)": (0, ["a"]),
    "a + (b - 1)": (0, ["a", "b"]),
    "a:b": (1, ["a:b"]),
    "a:a": (1, ["a"]),
    "b:a + a:b": (1, ["b:a"]),
    "b + a:b": (1, ["b", "b:a"]),
    "a:b + b": (1, ["b", "a:b"]),
    "a*b": (1, ["a", "b", "a:b"]),
    "a*b*c": (1, ["a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"]),
    "c + a*b*c": (1, ["c", "a", "b", "a:b", "c:a", "c:b", "c:a:b"]),
    "a + b:c + d": (1, ["a", "d", "b:c"]),
    "a*b + c:d*e": (1, ["a", "b", "e", "a:b", "c:d", "c:d:e"]),
    "(a + b):c": (1, ["a:c", "b:c"]),
    "(a + b)*c": (1, ["a", "b", "c", "a:c", "b:c"]),
    "a*(b + c:d)": (1, ["a", "b", "c:d", "a:b", "a:c:d"]),  # a cross is left, right, then their products
    "(a + b + c)^2": (1, ["a", "b", "c", "a:b", "a:c", "b:c"]),
    "(a + b + c + d)^3": (
        1,
        ["a", "b", "c", "d", "a:b", "a:c", "a:d", "b:c", "b:d", "c:d", "a:b:c", "a:b:d", "a:c:d", "b:c:d"],
    ),
    "(a + b + c)**2": (1, ["a", "b", "c", "a:b", "a:c", "b:c"]),
    "(a + b + c)^2 - a:b": (1, ["a", "b", "c", "a:c", "b:c"]),
    "(a + b)^9": (1, ["a", "b", "a:b"]),
    "(a + b:c + d)^2": (1, ["a", "d", "a:d", "b:c", "a:b:c", "b:c:d"]),
    "(a + b:c + d)^3": (1, ["a", "d", "a:d", "b:c", "a:b:c", "b:c:d", "a:b:c:d"]),
    "(a*b)^2": (1, ["a", "b", "a:b"]),
    "a*b - a": (1, ["b", "a:b"]),
    "a*b - b:a": (1, ["a", "b"]),
    "a + b - (a + b)": (1, []),
    "b - b + a*b": (1, ["a", "b", "b:a"]),  # b was the first variable, a is the first term
    "a/b": (1, ["a", "a:b"]),
    "a/b/c": (1, ["a", "a:b", "a:b:c"]),
    "a/(b + c)": (1, ["a", "a:b", "a:c"]),
    "(a + b)/c": (1, ["a", "b", "a:b:c"]),
    "a/b:c": (1, ["a", "a:b:c"]),
    "a*b/c": (1, ["a", "b", "a:b", "a:b:c"]),
    "log(a) + b:log(a)": (1, ["log(a)", "log(a):b"]),
    "offset(z) + a": (1, ["a"]),
    "a + I(a^2) + poly(b, 2)": (1, ["a", "I(a^2)", "poly(b, 2)"]),
}


@pytest.mark.parametrize(("right", "answer"), R_TERMS.items(), ids=R_TERMS)
def test_terms_are_those_of_r(right, answer):
    assert fixed(right) == answer


@pytest.mark.parametrize(("left", "answer"), R_TERMS.items(), ids=R_TERMS)
def test_the_left_side_of_a_group_term_expands_in_the_same_way(left, answer):
    if "offset" in left or answer == (0, []):
        return  # no part of a group term: errors, tested there
    (bar,) = parse(f"y ~ u + ({left} | g)").bars
    assert (int(bar.intercept), labels(bar.terms)) == answer


VARIABLES = st.sampled_from("abcd")


def joined(parts):
    def build(pair, symbol):
        return f"({pair[0]}) {symbol} ({pair[1]})"

    return st.builds(build, st.tuples(parts, parts), st.sampled_from("++:*/"))


@given(st.recursive(VARIABLES, joined, max_leaves=8))
def test_products_of_sums_are_those_of_formulaic(right):
    # An oracle by other hands; it knows the same algebra but not R's order, so sets are compared.
    expected = {frozenset(str(term).split(":")) for term in formulaic.Formula(right) if str(term) != "1"}
    assert {frozenset(label.split(":")) for label in fixed(right)[1]} == expected


# Group terms ----------------------------------------------------------------------------------------------------------

GROUPS = {
    "(1|g)": ["(1 | g)"],
    "(x|g)": ["(x | g)"],
    "(1 + x|g)": ["(x | g)"],
    "(x||g)": ["(x || g)"],
    "(0+x|g)": ["(0 + x | g)"],
    "(-1+x|g)": ["(0 + x | g)"],
    "(x-1|g)": ["(0 + x | g)"],
    "(x*z|g)": ["(x + z + x:z | g)"],
    "(z*x||g)": ["(z + x + z:x || g)"],
    "(log(x)|g)": ["(log(x) | g)"],
    "(C(f, Sum)|g)": ["(C(f, Sum) | g)"],
    "(1|a/b)": ["(1 | a)", "(1 | a:b)"],
    "(x|a/b)": ["(x | a)", "(x | a:b)"],
    "(x||a/b/c)": ["(x || a)", "(x || a:b)", "(x || a:b:c)"],
    "(1|a:b)": ["(1 | a:b)"],
    "(1|b:a)": ["(1 | b:a)"],
    "(1|a:b/c)": ["(1 | a:b)", "(1 | a:b:c)"],
    "(1|a/b:c)": ["(1 | a)", "(1 | a:b:c)"],
    "(1|a/(b/c))": ["(1 | a)", "(1 | a:b)", "(1 | a:b:c)"],
    "(1|(a/b))": ["(1 | a)", "(1 | a:b)"],
    "(1|g) + (0+x|g)": ["(1 | g)", "(0 + x | g)"],
    "(1|g) + (0+x|g) + (0+z|g)": ["(1 | g)", "(0 + x | g)", "(0 + z | g)"],
    "(1|a) + (x|b)": ["(1 | a)", "(x | b)"],
    "(1|a) + (1|a:b)": ["(1 | a)", "(1 | a:b)"],
    "(1|factor(g)) + (1|C(h)) + (1|as.factor(k))": ["(1 | g)", "(1 | h)", "(1 | k)"],
    "((1|g))": ["(1 | g)"],
    "(x + (1|g))": ["(1 | g)"],
    "x": [],
}


@pytest.mark.parametrize(("right", "answer"), GROUPS.items(), ids=GROUPS)
def test_group_terms(right, answer):
    assert bars(right) == answer


def test_a_bar_keeps_columns_labels_and_the_brackets_that_it_came_from():
    text = "y ~ 0 + (x || Sex/IndID)"
    first, second = parse(text).bars
    assert (first.group, second.group) == ((Column("Sex"),), (Column("Sex"), Column("IndID")))
    assert (first.label, second.label) == ("Sex", "Sex:IndID")
    assert not first.correlated and first.intercept
    assert text[slice(*first.span)] == text[slice(*second.span)] == "(x || Sex/IndID)"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("y ~ x + (1|a/b)", "y ~ x + (1|a) + (1|a:b)"),
        ("y~x+(x|g)", "y ~ 1 + x +\n    (1 + x | g)"),
        ("y ~ (a+b)**2", "y ~ a*b"),
        ("y ~ np.log(x) + numpy.sqrt(z)", "y ~ log(x) + sqrt(z)"),
        ("y ~ as.factor(f) + `x`", "y ~ factor(f) + x"),
        ("y ~ poly(x, 2, raw=T)", "y ~ poly(x, 2, raw = True)"),
        ("y ~ I((x)) + I(+x) + 1L", "y ~ I(x)"),
        ('y ~ C(f, "contr.sum")', "y ~ C(f, contr.sum())"),
        ("y ~ I(x**2)", "y ~ I(x^2)"),
    ],
)
def test_two_spellings_of_one_formula(one, other):
    assert parse(one) == parse(other)
    assert hash(parse(one)) == hash(parse(other))


def test_what_differs_is_not_equal():
    texts = ["y ~ x", "y ~ 0 + x", "y ~ x + (1|g)", "y ~ x + (x||g)", "y ~ x + (x|g)", "y | weights(w) ~ x"]
    texts += ["y ~ x + offset(z)", "log(y) ~ x", "y ~ X", "y ~ scale(x)", "y ~ standardize(x)", "y ~ x + (1|a:b)"]
    assert len({parse(text) for text in texts}) == len(texts)


# The left side, offsets, weights --------------------------------------------------------------------------------------

RESPONSES = ["y", "log(y)", "y/1000", "I(y^2)", "cbind(s, n - s)", "s/n", "post - pre", "-y", "scale(y)", "abs(y) > 2"]


@pytest.mark.parametrize("left", RESPONSES)
def test_responses_are_arithmetic(left):
    formula = parse(f"{left} ~ x")
    assert fm.text_of(formula.response) == left
    assert formula.weights is None


def test_offsets_and_weights_hold_what_stands_inside():
    formula = parse("y | weights(1/se^2) ~ x + offset(log(n)) + (1|g) + offset(x = m)")
    assert [fm.text_of(offset) for offset in formula.offsets] == ["log(n)", "m"]
    assert fm.text_of(formula.weights) == "1/se^2"
    assert labels(formula.terms) == ["x"]


def test_a_response_of_several_columns_may_share_one_with_the_right_side():
    assert fixed("x") == (1, ["x"])
    assert labels(parse("I(post - pre) ~ pre").terms) == ["pre"]


# Columns and their places -------------------------------------------------------------------------------------------


def test_columns_are_listed_once_in_the_order_of_the_text():
    formula = parse("log(y1/y2) | weights(w) ~ b + a:b + (1 + t | g:h) + offset(n) + I(a - z) + (0 + u | k)")
    assert fm.columns_of(formula) == ("y1", "y2", "w", "b", "a", "t", "g", "h", "n", "z", "u", "k")
    assert fm.columns_of(formula.response) == ("y1", "y2")
    assert fm.columns_of(parse("y ~ C(f, Sum) + poly(x, 2, raw = TRUE) + bs(z, knots = c(1, 2))")) == (
        "y",
        "f",
        "x",
        "z",
    )


def test_columns_of_an_expression_come_from_left_to_right():
    expr = only_factor("bs(a/b - log(c*a), 4, knots = c(1, 2))")
    assert [node.name for node in fm.column_nodes(expr)] == ["a", "b", "c", "a"]


def test_every_column_knows_its_place():
    text = "y | weights(w) ~ b*log(a) + (1 + t | g:h) + offset(n/m) +\n I(f == 'b')"
    formula = parse(text)
    nodes = [node for factor in formula.terms for part in factor.factors for node in fm.column_nodes(part)]
    nodes += [formula.response, formula.weights, *fm.column_nodes(formula.offsets[0]), *formula.bars[0].group]
    assert {node.name for node in nodes} == {"y", "w", "b", "a", "g", "h", "n", "m", "f"}
    assert all(text[slice(*node.span)] == node.name for node in nodes)


# What a design asks ---------------------------------------------------------------------------------------------------


def only_factor(right):
    return parse(f"y ~ {right}").terms[0].factors[0]


def test_arguments_are_matched_as_r_does_it():
    def given_to(right):
        return {name: fm.text_of(value) for name, value in fm.arguments_of(only_factor(right)).items()}

    assert given_to("poly(z, 2)") == {"x": "z", "degree": "2"}
    assert given_to("poly(degree = 3, z, TRUE)") == {"x": "z", "degree": "3", "raw": "TRUE"}
    assert given_to("ns(z, knots = c(-1, 2))") == {"x": "z", "knots": "c(-1, 2)"}
    assert given_to("log(x = z)") == {"x": "z"}


@pytest.mark.parametrize(
    ("written", "answer"),
    [("2", 2.0), ("-2.5", -2.5), ("'a'", "a"), ("TRUE", True), ("False", False), ("c(1, -2)", (1.0, -2.0))],
)
def test_literals_have_python_values(written, answer):
    value = fm.literal(parse(f"y ~ f(x, k = {written})", ["f"]).terms[0].factors[0].keywords[0][1])
    assert value == answer and type(value) is type(answer)


def test_what_is_no_literal_has_no_value():
    assert [fm.literal(only_factor(right)) for right in ("x", "log(x)", "I(-x)")] == [None] * 3
    assert fm.literal(Call("c", (Number(1.0), Text("a")))) is None


CONTRASTS = {
    "C(f)": ("Treatment", None),
    "factor(f)": ("Treatment", None),
    "C(f, Treatment)": ("Treatment", None),
    "C(f, contr.treatment)": ("Treatment", None),
    "C(f, Treatment('b'))": ("Treatment", "b"),
    "C(f, Treatment(reference='b'))": ("Treatment", "b"),
    "C(f, Treatment(reference=-2))": ("Treatment", -2.0),
    "C(factor(f), Sum)": ("Sum", None),
    "C(f, contr.sum)": ("Sum", None),
    "C(f, sum)": ("Sum", None),
    "C(f, 'contr.sum')": ("Sum", None),
    "C(f, contr.sum())": ("Sum", None),
    "C(f, contr=contr.helmert)": ("Helmert", None),
    "C(f, Helmert)": ("Helmert", None),
    "C(f, contr.poly)": ("Poly", None),
    "C(f, Poly)": ("Poly", None),
    "C(f, Diff)": ("Diff", None),
    "C(f, contr.SAS)": ("SAS", None),
    "C(f, SAS)": ("SAS", None),
}


@pytest.mark.parametrize(("written", "answer"), CONTRASTS.items(), ids=CONTRASTS)
def test_contrasts(written, answer):
    factor = only_factor(written)
    assert fm.contrast_of(factor) == fm.Contrast(*answer)
    assert fm.gives(factor) == "factor"
    assert fm.columns_of(factor) == ("f",)


def test_functions_say_what_they_give():
    kinds = {"x": "column", "log(x)": "column", "poly(x, 2)": "columns", "ns(x, 3)": "columns", "factor(x)": "factor"}
    assert {written: fm.gives(only_factor(written)) for written in kinds} == kinds
    assert fm.gives(parse("cbind(a, b) ~ x").response) == "response"


def test_users_add_functions_by_name():
    text = "logit(p) ~ hill(x, z/2, 'a', n = 3, up = TRUE) + log(hill(x)) + (np.sin(t) | g)"
    formula = parse(text, ["logit", "hill", "np.sin"])
    assert labels(formula.terms) == ['hill(x, z/2, "a", n = 3, up = TRUE)', "log(hill(x))"]
    assert fm.gives(formula.terms[0].factors[0]) == "column"
    assert fm.columns_of(formula) == ("p", "x", "z", "t", "g")
    assert parse("y ~ hill + hill(x)", {"hill": len}).terms[0].factors == (Column("hill"),)  # a column of the same name


def test_the_example_of_the_docstring():
    assert doctest.testmod(fm) == (0, 2)


# The formulas of the texts that the package reproduces
@pytest.mark.parametrize(
    ("text", "terms", "groups"),
    [
        ("Reaction ~ Days + (Days | Subject)", ["Days"], ["(Days | Subject)"]),
        (
            "IgG ~ Sex * Time + (1 + Time | FamID) + (1 + Time | Sex:IndID)",
            ["Sex", "Time", "Sex:Time"],
            ["(Time | FamID)", "(Time | Sex:IndID)"],
        ),
        ("Yield ~ N + P + I((N - 1.5) * (P - 2)) + (1 | Block)", ["N", "P", "I((N - 1.5) * (P - 2))"], ["(1 | Block)"]),
        (
            "Grade ~ Hours + (Hours | School) + (1 | School:Class)",
            ["Hours"],
            ["(Hours | School)", "(1 | School:Class)"],
        ),
        ("Glucose ~ Time + (Time - 1 | Patient)", ["Time"], ["(0 + Time | Patient)"]),
        ("strength ~ 1 + (1 | batch/cask)", [], ["(1 | batch)", "(1 | batch:cask)"]),
        (
            "ncases ~ I(ncontrols/10) + (1 + I(ncontrols/10) | agegp)",
            ["I(ncontrols/10)"],
            ["(I(ncontrols/10) | agegp)"],
        ),
        ("cbind(ncases, ncontrols - ncases) ~ alcgp + (1 | agegp)", ["alcgp"], ["(1 | agegp)"]),
    ],
)
def test_formulas_of_the_field(text, terms, groups):
    formula = parse(text)
    assert labels(formula.terms) == terms
    assert [str(bar) for bar in formula.bars] == groups
