"""The text of expressions: R's spacing, reading back what was written, precedences, and names left as they are."""

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmm.formula import formula as fm
from bayesmm.formula.formula import Call, Column, Number, Operation, Symbol, Text, parse

# Expressions and their text -------------------------------------------------------------------------------------------

# What R prints for deparse(quote(...)): no blanks around / and ^ only; needless brackets are not kept here.
R_DEPARSE = {
    "log(x+1)": "log(x + 1)",
    "I(x^2)": "I(x^2)",
    "I(ncontrols / 10)": "I(ncontrols/10)",
    "I((N-1.5)*(P-2))": "I((N - 1.5) * (P - 2))",
    "poly(x,2,raw=TRUE)": "poly(x, 2, raw = TRUE)",
    "I(-x^2)": "I(-x^2)",
    "I((-x)^2)": "I((-x)^2)",
    "I(x^-2)": "I(x^-2)",
    "I(a-(b-c))": "I(a - (b - c))",
    "I((a-b)-c)": "I(a - b - c)",
    "I(a/(b*c))": "I(a/(b * c))",
    "I(a/b*c)": "I(a/b * c)",
    "I(a^b^c)": "I(a^b^c)",
    "I((a^b)^c)": "I((a^b)^c)",
    "I(a- -b)": "I(a - -b)",
    "I(-(a+b))": "I(-(a + b))",
    "I(x>=3)": "I(x >= 3)",
    "I((a<b)==c)": "I((a < b) == c)",
    "I(f=='it\"s')": 'I(f == "it\\"s")',
    "C(f,Treatment('b'))": 'C(f, Treatment("b"))',
    "C(f, contr.sum)": "C(f, contr.sum)",
    "bs(x,df=5,Boundary.knots=c(0,1e5))": "bs(x, df = 5, Boundary.knots = c(0, 1e+05))",
    "I(x*100000)": "I(x * 1e+05)",
    "I(x*123456)": "I(x * 123456)",
    "I(x*0.0001)": "I(x * 1e-04)",
    "I(x*0.25)": "I(x * 0.25)",
    "I(`my x`/2)": "I(my x/2)",
}


@pytest.mark.parametrize(("written", "answer"), R_DEPARSE.items(), ids=R_DEPARSE)
def test_labels_are_spaced_as_r_deparses_them(written, answer):
    assert [term.label for term in parse(f"y ~ {written}").terms] == [answer]


NAMES = st.one_of(
    st.sampled_from(["x", "a.b", ".x", "_z", "längd", "µ", "2x", "my x", "TRUE", ".", "a`b", "a\\", "1|g", "µg/l"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
)
NUMBERS = st.builds(Number, st.floats(0, 1e300, allow_subnormal=True) | st.integers(0, 10**6).map(float))
ARITHMETIC = ["+", "-", "*", "/"]


def compound(parts):
    return st.one_of(
        st.builds(lambda sign, *both: Operation(sign, both), st.sampled_from(ARITHMETIC), parts, parts),
        st.builds(lambda sign, *both: Operation(sign, both), st.sampled_from(["==", "<", ">="]), parts, parts),
        st.builds(lambda base, power: Operation("^", (base, power)), parts, parts.filter(small_power)),
        st.builds(lambda part: Operation("-", (part,)), parts),
        st.builds(lambda name, part: Call(name, (part,)), st.sampled_from(["log", "I", "scale", "f"]), parts),
        st.builds(lambda part, key: Call("f", (part,), ((key, ODD_TEXT), ("k", Symbol("TRUE")))), parts, KEYS),
        st.builds(lambda name, text: Operation("!=", (Column(name), Text(text))), NAMES, st.text(max_size=5)),
    )


def small_power(expr):
    value = fm.literal(expr)
    return not isinstance(value, float) or abs(value) <= 10  # larger literal powers are errors


ODD_TEXT = Text("\\\" '`\n\\")
KEYS = st.sampled_from(["by", "df", "a.b"])
EXPRESSIONS = st.recursive(st.builds(Column, NAMES) | NUMBERS, compound, max_leaves=12)


@given(EXPRESSIONS)
def test_quoted_text_reads_back_as_the_same_expression(expr):
    text = f"{fm.text_of(Call('f', (expr, Column('x'))), quoted=True)}"
    if any(not fm.columns_of(part) for part in calls(expr) if part.function == "scale"):
        return  # scale() of a constant is an error
    read = parse(f"y_ ~ {text}", transforms=["f"])
    assert read.terms[0].factors == (Call("f", (expr, Column("x"))),)
    assert fm.text_of(read.terms[0].factors[0], quoted=True) == text
    assert parse(f"f({fm.text_of(expr, quoted=True)}, x) ~ 1", transforms=["f"]).response == read.terms[0].factors[0]


def calls(expr):
    match expr:
        case Call(_, arguments, keywords):
            yield expr
            for part in (*arguments, *(value for _, value in keywords)):
                yield from calls(part)
        case Operation(_, operands):
            for part in operands:
                yield from calls(part)


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "^": operator.pow}


def value_of(expr):
    """Evaluate arithmetic on literals, as a design does on columns."""
    match expr:
        case Number(value):
            return value
        case Operation("-", (part,)):
            return -value_of(part)
        case Operation(sign, (left, right)):
            return OPERATORS[sign](value_of(left), value_of(right))
    raise AssertionError(expr)


def spelled(parts):
    both = st.tuples(parts, st.sampled_from(["+", "-", "*", "/", " - ", "* "]), parts).map("".join)
    powers = st.tuples(parts, st.sampled_from(["^", "^-"]), st.sampled_from("123")).map("".join)
    return both | powers | parts.map("-{}".format) | parts.map("({})".format)


@given(st.recursive(st.sampled_from(["2", "3", "0.5", "7"]), spelled, max_leaves=10))
def test_arithmetic_has_the_precedences_of_python(text):
    # R and Python agree on these operators, ^ for **, unary minus below the power and above the product.
    try:
        expected = eval(text.replace("^", "**"), {"__builtins__": {}})
    except (ZeroDivisionError, OverflowError):
        return
    if isinstance(expected, complex) or not math.isfinite(expected):
        return
    found = value_of(parse(f"y ~ I(x + ({text}))").terms[0].factors[0].arguments[0].operands[1])
    assert found == pytest.approx(expected, rel=1e-12)  # ints in Python, floats here: only the last digits may differ


# Names ----------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "my x": "`my x`",
    "längd": "längd",
    "la\u0308ngd": "la\u0308ngd",  # decomposed: another name than the composed one
    "µ": "µ",  # U+00B5; Python's own parser would read U+03BC
    "μ": "μ",
    "ﬁ": "ﬁ",  # a ligature, which NFKC would take apart
    "Ångström": "Ångström",
    "データ": "データ",
    "की": "की",  # with a combining vowel sign
    "a.b": "a.b",
    ".x": ".x",
    "_x": "_x",
    "a__b": "a__b",
    "x²": "x²",
    "sigma": "sigma",
    "Intercept": "Intercept",
    "chain": "chain",
    "mu": "mu",
    "C": "C",
    "np": "np",
    "class": "class",
    "lambda": "lambda",
    "T": "T",
    "log": "log",
    "1|g": "`1|g`",
    "2x": "`2x`",
    "a/b": "`a/b`",
    "a`b": "`a\\`b`",
    "a\\b": "`a\\b`",
    "a\\": "`a\\\\`",
    "TRUE": "`TRUE`",
    ".": "`.`",
    "<script>": "`<script>`",
    "a_$b^$": "`a_$b^$`",
    "two\nlines": "`two\nlines`",
    "🍎 kg": "`🍎 kg`",
    "y ~ x": "`y ~ x`",
    "()": "`()`",
}


@pytest.mark.parametrize(("name", "written"), COLUMNS.items(), ids=[ascii(name) for name in COLUMNS])
def test_names_are_taken_exactly(name, written):
    formula = parse(f"resp ~ {written} + ({written} | `g 1`:{written}) + offset({written})")
    assert formula.terms == (fm.Term((Column(name),)),)
    assert fm.columns_of(formula) == ("resp", name, "g 1")
    assert parse(f"{written} ~ z").response == Column(name)
    assert parse(f"{fm.quoted_name(name)} ~ z").response == Column(name)
