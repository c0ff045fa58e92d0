"""Errors of formulas, word for word and caret for caret; `formula_errors.txt` has them as a person sees them."""

import re
from pathlib import Path

import pytest

from bayesmm.errors import FormulaError, suggest
from bayesmm.formula.formula import parse, underline

BLOCKS = Path(__file__).with_name("formula_errors.txt").read_text(encoding="utf-8").strip().split("\n\n")
CATALOGUE = [re.fullmatch(r"\[(\w+)\] (.*\n  (.*)\n .*)", block).groups() for block in BLOCKS]


def error_of(text, transforms=()):
    with pytest.raises(FormulaError) as caught:
        parse(text, transforms)
    return str(caught.value)


@pytest.mark.parametrize(
    ("message", "text"), [row[1:] for row in CATALOGUE], ids=[f"{row[0]} {row[2]}" for row in CATALOGUE]
)
def test_errors(message, text):
    assert error_of(text) == message


def test_the_catalogue_is_one_sentence_each():
    assert len({text for _, _, text in CATALOGUE}) == len(CATALOGUE)
    for _, message, text in CATALOGUE:
        sentence, formula, carets = message.split("\n")
        assert formula.strip() == text.strip()
        assert re.fullmatch(r" +\^+", carets)
        assert len(carets) <= len(formula) + 1  # at most the gap behind the end
        assert not re.search(r"[.!;,: ]$|\. [A-Z]|  ", sentence.removesuffix(" ..."))


def suggestions():
    ends = r"(?: for the power of its values|(?:, or (.+))? without their correlation)?$"
    for kind, message, _ in CATALOGUE:
        found = re.search(r"; write ([(IRx].*?)" + ends, message.split("\n")[0])
        if found and kind in ("A07", "A10", "D11", "group") and " one " not in found[0]:
            yield from filter(None, found.groups())


def test_what_an_error_says_to_write_is_a_formula():
    written = list(suggestions())
    assert len(written) > 20
    for right in written:
        assert parse(f"some_response ~ {right}").text.endswith(right)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "the formula is None, not text; write one such as 'y ~ x + (1 | g)'"),
        (123, "the formula is of type int, not text; write one such as 'y ~ x + (1 | g)'"),
        (b"y ~ x", "the formula is of type bytes, not text; write one such as 'y ~ x + (1 | g)'"),
        ("", "the formula is empty; write one such as y ~ x + (1 | g)"),
        (" \n\t", "the formula is empty; write one such as y ~ x + (1 | g)"),
    ],
)
def test_a_formula_is_text(value, sentence):
    assert error_of(value) == sentence


def test_the_user_s_functions_are_among_the_choices():
    assert "cbind, hill, and your own" in error_of("y ~ hil(x)", ["hill"])
    assert error_of("y ~ hil(x)", ["hill"]).split("\n")[0].endswith("; did you mean 'hill'?")
    assert error_of("y ~ log(hill(poly(x, 2)))", ["hill"]).startswith("poly() gives several columns")
    assert error_of("y ~ hill(2)", ["hill"]).startswith("'hill(2)' names no column")


@pytest.mark.parametrize("name", ["log", "np.log", "as.factor", "C", "c", "offset"])
def test_the_user_s_functions_have_names_of_their_own(name):
    expected = f"transforms: '{name}' is already a function of formulas; give yours another name"
    assert error_of("y ~ x", [name]) == expected


# The line and the carets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "carets"),
    [
        ("längd ~ µ x", "  längd ~ µ x", "            ^"),
        ("y ~ データ x", "  y ~ データ x", "             ^"),  # characters of two columns
        ("y ~ データ + `長さ`^2", "  y ~ データ + `長さ`^2", "               ^^^^^^^^"),
        ("y ~ e\u0301 x", "  y ~ e\u0301 x", "        ^"),  # a combining accent takes no column
        ("y ~\n  x + z) +\n  (1 | g)", "    x + z) +", "         ^"),  # of several lines the one with the place
        ("y ~ x +\n  \n", "  y ~ x +", "         ^"),  # the end is behind the last sign
        ("y ~\tx z", "  y ~ x z", "        ^"),
        ("y ~ x\x1b[31m", "  y ~ x\ufffd[31m", "       ^"),  # no escape sequence reaches a terminal
        ("y ~ \u202ex", "  y ~ \ufffdx", "      ^"),  # nor a change of the direction of writing
        ("y ~ x\ud800", "  y ~ x\ufffd", "       ^"),  # nor half a character, which cannot be printed
    ],
)
def test_carets_stand_under_the_place(text, shown, carets):
    assert error_of(text).split("\n")[1:] == [shown, carets]


def test_of_a_long_line_the_surroundings_are_shown():
    text = "y ~ " + " + ".join(f"x{i}" for i in range(500)) + " + ? + " + "z" * 500
    _, shown, carets = error_of(text).split("\n")
    assert shown.startswith("  ...") and shown.endswith("...") and len(shown) < 110
    assert shown[carets.index("^")] == "?" and carets.strip() == "^"


def test_a_long_name_is_cut():
    assert len(error_of("y ~ " + "q" * 15_000 + "(x)")) < 1_000
    assert len(error_of("y ~ a + " + "q" * 9_000 + " " + "r" * 9_000)) < 1_000
    assert len(error_of("y ~ a*b - " + "q" * 15_000)) < 1_000
    assert len(error_of("y ~ (1 | g) + (" + "q" * 9_000 + " | g)")) < 1_500
    assert len(error_of("y ~ (1 | " + "q" * 9_000 + " + " + "r" * 9_000 + ")")) < 1_000


def test_line_breaks_in_names_stay_out_of_the_sentence():
    assert error_of("y ~ `a\nb`^2").count("\n") == 2
    assert error_of("`a\nb` ~ `a\nb`").count("\n") == 2
    assert error_of("y ~ offset(`a\nb`) + offset(`a\nb`)").count("\n") == 2
    assert error_of("y ~ (1 | `a\nb`) + (x | `a\nb`)").count("\n") == 2


def test_other_modules_underline_in_the_same_way():
    error = underline("y ~ xx + (1 | g)", (4, 6), "column 'xx' is not in the data; did you mean 'x'?")
    assert isinstance(error, FormulaError)
    assert str(error) == "column 'xx' is not in the data; did you mean 'x'?\n  y ~ xx + (1 | g)\n      ^^"


@pytest.mark.parametrize(
    ("word", "choices", "said"),
    [
        ("batch", ["batch"], ""),
        ("batch", ["batch", "Batch"], "; did you mean 'Batch'?"),
        ("batch", ["batch", "batches"], "; did you mean 'batches'?"),
        ("Batch", ["cask", "batch"], "; did you mean 'batch'?"),
        ("zz", ["cask", "batch"], ""),
    ],
)
def test_a_suggestion_is_never_what_was_given(word, choices, said):
    assert suggest(word, choices) == said
