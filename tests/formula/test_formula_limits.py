"""No formula takes long or ends in anything but an answer or a `FormulaError`: limits, worst cases, random texts."""

import contextlib
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bayesmm.errors import FormulaError
from bayesmm.formula.formula import columns_of, parse, quoted_name, text_of

LIMIT = 0.050  # seconds, for the random texts, which take 1 ms or less
EXTREME = 0.250  # seconds, for 20,000 characters of the worst kind: twice the slowest; a square law would take many
QUIET_PACE = 0.003  # seconds that `pace` takes on the machine of these limits when nothing else runs


def pace():
    """Return the processor seconds of a fixed piece of plain Python."""
    start, counts = time.thread_time(), {}
    for i in range(25_000):
        word = str(i % 97)
        counts[word] = counts.get(word, 0) + len(word)
    return time.thread_time() - start


def seconds(function, enough):
    """Return the processor seconds of a call: the best of up to five, as soon as one is good `enough`.

    Processor time of this thread leaves out the time for which other programs had the core, the best of several leaves
    out pauses of the collector and a cold cache, and where the core itself is slow (shared, throttled) the time is
    divided by how much slower it runs plain Python at that moment. A call that is truly slow is slow by all three.
    """
    best = float("inf")
    for _ in range(5):
        start = time.thread_time()
        function()
        taken = time.thread_time() - start
        best = min(best, taken if taken < enough else taken / max(1.0, pace() / QUIET_PACE))
        if best < enough:
            break
    return best


def attempt(text):
    with contextlib.suppress(FormulaError):
        parse(text, transforms=["f"])


def repeated(part, count, joint="+"):
    return joint.join([part] * count)


def numbered(pattern, count, joint="+"):
    return joint.join(pattern.format(i) for i in range(count))


EXTREMES = {
    "a*b*...*p": "*".join("abcdefghijklmnop"),
    "one term 10,000 times": repeated("a", 9_990),
    "one factor 10,000 times": repeated("a", 9_990, "*"),
    "2,000 terms": numbered("a{}", 1_999),
    "2,000 factors": numbered("a{}", 1_999, ":"),
    "many terms of many factors": f"({numbered('a{}', 1_000, ':')})*({repeated('(b+c+d+e+f+g)^6', 3, '*')})",
    "a power of a sum": "(a+b+c+d+e+f+g+h+i+j)^10",
    "powers of powers": "(" * 50 + "a+b+c+d+e+f+g+h+i+j" + ")^10" * 50,
    "many powers": repeated("((a+b+c+d+e+f+g+h+i)^9|g)", 700),
    "a product of sums": f"({numbered('a{}', 300)}):({numbered('b{}', 300)})",
    "2,000 terms taken away": f"{numbered('a{}', 1_400)}-({numbered('a{}', 1_400)})",
    "one term too many taken away": f"{numbered('a{}', 1_400)}-b",
    "many group terms": numbered("(1|g{})", 1_800),
    "many group terms on one factor": numbered("(0+x{}|g)", 1_300),
    "deep nesting": "(1|" + numbered("g{}", 3_000, "/") + ")",
    "many nestings": repeated("(1|" + numbered("g{}", 60, "/") + ")", 80),
    "5,000 brackets": "(" * 5_000 + "x" + ")" * 5_000,
    "open brackets": "(" * 19_990,
    "closed brackets": ")" * 19_990,
    "long arithmetic": f"I({repeated('a', 9_000)})",
    "much arithmetic": numbered(f"I({repeated('a', 99)}+b{{}})", 95),
    "many minus signs": f"I({'-' * 19_900}x)",
    "many signs": "-" * 19_900 + "x",
    "a tower of powers": f"I({repeated('a', 9_000, '^')})",
    "many calls": numbered("log(a{})", 1_800),
    "deep calls": repeated("log(", 58, "") + "x" + ")" * 58,
    "many offsets": numbered("offset(a{})", 1_400),
    "many arguments": f"log({repeated('x', 9_000, ',')})",
    "many keywords": f"bs(x,{repeated('df=1', 3_000, ',')})",
    "many numbers": f"bs(x,knots=c({repeated('1', 9_000, ',')}))",
    "a long name": "a" * 19_900,
    "a long unknown function": "q" * 19_900 + "(x)",
    "a name of accents": "a" + "\u0301" * 19_900,
    "an open back-tick": "`" + "a\\" * 9_900,
    "many back-ticks": "`a`" * 6_600,
    "an open quote": "I(x == '" + "\\'" * 9_900,
}


@pytest.mark.parametrize("kind", EXTREMES)
def test_no_formula_takes_long(kind):
    text = f"y~{EXTREMES[kind]}"
    assert len(text) <= 20_000
    assert seconds(lambda: attempt(text), EXTREME) < EXTREME


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("y ~ " + "x" * 20_000, "the formula has 20,004 characters; at most 20,000 are read"),
        ("y ~ " + "(" * 61 + "x" + ")" * 61, "brackets are nested too deeply; at most 60 may be open at once"),
        ("y ~ " + "(" * 5_000, "brackets are nested too deeply; at most 60 may be open at once"),
        ("y ~ " + "*".join("abcdefghijklmnop"), "the formula expands to more than 2,000 terms; write out"),
        ("y ~ " + numbered("a{}", 2_001), "more than 2,000 parts are joined by + or -"),
        (f"y ~ {numbered('a{}', 1_500)} + ({numbered('b{}', 501)})", "the formula expands to more than 2,000 terms"),
        (
            f"y ~ {numbered('a{}', 1_500)} + ({numbered('b{}', 501)} | g)",
            "the formula expands to more than 2,000 terms",
        ),
        (
            "y ~ " + numbered("(0+a{}|g)", 1_000) + "+" + numbered("(0+b{}|g/h/k)", 400),
            "the formula expands to more",
        ),
        (f"y ~ ({numbered('a{}', 300)}):({numbered('b{}', 300)})", "the products take more than 50,000 steps"),
        ("y ~ (1 | " + numbered("g{}", 61, "/") + ")", "more than 60 grouping factors are nested here"),
        (f"y ~ I({repeated('a', 102)})", "more than 100 operators and commas in one expression"),
        (f"y ~ I({'-' * 101}a)", "more than 100 operators and commas in one expression"),
        (f"{repeated('a', 102)} ~ x", "more than 100 operators and commas in one expression"),
        (f"y ~ f({repeated('a', 102, ',')})", "more than 100 operators and commas in one expression"),
        ("y ~ poly(x, 20001)", "found '20001' where a whole number from 1 to 20,000 is expected"),
    ],
    ids=lambda value: value[:40],
)
def test_limits(text, beginning):
    with pytest.raises(FormulaError) as caught:
        parse(text, ["f"])
    assert str(caught.value).startswith(beginning)


def test_what_stays_within_the_limits_is_read():
    assert len(parse("y ~ " + "*".join("abcdefghij")).terms) == 2**10 - 1
    assert len(parse(f"y ~ ({numbered('a{}', 60)})^2").terms) == 60 + 60 * 59 // 2
    assert len(parse(f"y ~ {numbered('a{}', 2_000)}").terms) == 2_000
    assert len(parse("y ~ (1 | " + numbered("g{}", 60, "/") + ")").bars) == 60
    assert len(parse(f"y + 1 ~ {numbered('I(a{}^2 - b + 1)', 60)}").terms) == 60  # each of its own, the count is fresh
    assert parse(f"y ~ I({repeated('a', 101)})").terms[0].label == f"I({repeated('a', 101, ' + ')})"


def deepest():
    # The deepest trees that the limits admit, of each kind of recursion.
    yield "y ~ " + "(" * 60 + "x" + ")" * 60
    yield "y ~ " + "(a:" * 60 + "x" + ")" * 60
    yield "y ~ " + "(a + b)*(" * 59 + "x" + ")" * 59
    yield "y ~ " + "log(" * 60 + "x" + ")" * 60
    yield "y ~ I(" + "-" * 100 + "x)"
    yield "y ~ I(" + "^".join(["a"] * 101) + ")"
    yield "y ~ I(" + "(-" * 59 + "-" * 41 + "x" + ")" * 60
    yield "y ~ " + "f(1, k = -" * 50 + "x" + ")" * 50


@pytest.mark.parametrize("text", list(deepest()), ids=range(8))
def test_the_deepest_formulas_leave_half_of_the_stack(text):
    def below(levels, function):
        return function() if levels == 0 else below(levels - 1, function)

    def use():
        formula = parse(text, ["f"])
        assert hash(formula) == hash(parse(text, ["f"])) and columns_of(formula)
        assert text_of(formula.response) == "y" and repr(formula) and [term.label for term in formula.terms]

    frames = sum(1 for _ in frames_of_the_caller())
    assert sys.getrecursionlimit() >= 1_000
    below(max(0, 450 - frames), use)  # 450 frames of the caller: more than a notebook or a test runner has


def frames_of_the_caller():
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


# Random texts ---------------------------------------------------------------------------------------------------------

ALPHABET = [
    "y",
    "x",
    "z",
    "g",
    "f",
    "my x",
    "`my x`",
    "`",
    "µ",
    "データ",
    "a.b",
    ".",
    "..",
    "_",
    "0",
    "1",
    "2",
    "2x",
    "1e5",
]
ALPHABET += [
    ".5",
    "1e999",
    "~",
    "+",
    "-",
    "*",
    "/",
    ":",
    "::",
    "^",
    "**",
    "|",
    "||",
    "(",
    ")",
    ",",
    "=",
    "==",
    "!=",
    "<",
]
ALPHABET += [
    "<=",
    ">",
    ">=",
    " ",
    "\n",
    "\t",
    '"a"',
    "'b'",
    '"',
    "'",
    "\\",
    "TRUE",
    "F",
    "I",
    "log",
    "poly",
    "C",
    "Sum",
]
ALPHABET += [
    "factor",
    "offset",
    "weights",
    "cbind",
    "c",
    "bs",
    "np.log",
    "df",
    "raw",
    "%in%",
    "$",
    "[",
    "{",
    "\x00",
    "\ud800",
]
ALPHABET += [
    "log(",
    "(1|",
    "(x||",
    "|g)",
    "y ~ ",
    " + (1 | g)",
    "C(f, ",
    "poly(x, ",
    "offset(",
    "^2",
    "I(",
    "weights(w)",
    "−",
]
TOKENS = st.lists(st.sampled_from(ALPHABET), max_size=80).map("".join)
SPACED = st.lists(st.sampled_from(ALPHABET), max_size=40).map(" ".join)
AFTER_TILDE = st.lists(st.sampled_from(ALPHABET), max_size=30).map(lambda parts: "y ~ " + "".join(parts))


def check(text):
    assert seconds(lambda: attempt(text), LIMIT) < LIMIT
    try:
        formula = parse(text, transforms=["f"])
    except FormulaError as error:
        sentence, *place = str(error).split("\n")
        assert sentence and len(place) in (0, 2)
        assert str(error).encode()  # printable anywhere
        assert all(char.isprintable() or char == "\n" for char in str(error))
        return
    for name in columns_of(formula):
        assert parse(f"{quoted_name(name)} ~ 1").response.name == name
    for term in formula.terms:
        for factor in term.factors:
            again = parse(f"some_response ~ {text_of(factor, quoted=True)}", transforms=["f"])
            assert again.terms[0].factors == (factor,)


@settings(deadline=None, max_examples=1_000)
@given(TOKENS | SPACED | AFTER_TILDE | st.text(max_size=60))
@example("y ~ (((((")
@example("y ~ I(x == 'a\\')")
def test_random_texts_raise_nothing_but_formula_errors_and_end_soon(text):
    check(text)


GOOD = "log(y) | weights(w) ~ a*b + poly(x, 2, raw = TRUE) + I((x - 1)^2) + C(f, Sum) + (1 + x | g/h) + offset(n)"


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_good_formula_with_a_few_changes_does_too(data):
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 6)))
        text = text[:start] + data.draw(st.sampled_from(ALPHABET) | st.text(max_size=2)) + text[stop:]
    check(text)
