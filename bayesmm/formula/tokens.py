"""The text of a formula cut into tokens, and the error that underlines a place in it. Standard library only."""

import math
import re
import unicodedata
from typing import NamedTuple

from bayesmm.errors import FormulaError
from bayesmm.formula.expressions import Span

MAX_CHARACTERS = 20_000  # hundreds of terms; bounds reading at about 0.1 s, whoever wrote the formula
MAX_DEPTH = 60  # brackets within brackets; five Python frames each, so a third of the default recursion limit
SHOWN_COLUMNS = 96  # characters: an error shows this much of a longer line, one row of a usual terminal
SHOWN_NAME = 40  # a name in a sentence is cut after this many characters
SHOWN_SENTENCE = 1_000  # so is the sentence: longer than any with names of ordinary length

# Pasted from word processors and web pages in place of the characters of the keyboard.
LOOKALIKES = {
    **dict.fromkeys("∼～˜〜", "~"),
    **dict.fromkeys("−–—‐‑－", "-"),
    **dict.fromkeys("×∗＊·⋅", "*"),
    **dict.fromkeys("∣│｜ǀ", "|"),
    **dict.fromkeys("‖∥", "||"),
    **dict.fromkeys("“”„«»＂", '"'),
    **dict.fromkeys("‘’‚′＇", "'"),
    **dict.fromkeys("´‵｀", "`"),
    "＋": "+",
    "∕": "/",
    "÷": "/",
    "／": "/",
    "∶": ":",
    "：": ":",
    "ˆ": "^",
    "（": "(",
    "）": ")",
    "，": ",",
    "＝": "=",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
}
_FOREIGN = {
    "$": "columns are written by their name alone, as in y ~ x rather than data$y ~ data$x",
    **dict.fromkeys("[]", "columns are written by their name alone, without an index, and brackets are round"),
    **dict.fromkeys("{}", "brackets are round"),
    "%": "a %in% b is written a:b, and other operators between % signs are not supported",
    "&": "make the joined condition a column of the data first",
    "!": "make the negated condition a column of the data first, or compare with !=",
    "#": "a formula has no comments",
    "@": "columns are written by their name alone",
}
_TOKEN = re.compile(
    r"""(?P<blank>\s+)
      | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?L?)
      | (?P<name>(?:[^\W\d]|\.)[\w.]*)
      | (?P<column>`(?:\\.|[^`\\])*`)
      | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<operator>\|\||\*\*|::|==|!=|<=|>=|[~+\-*/:^|(),=<>])""",
    re.VERBOSE | re.DOTALL,
)
_SPELLED = {"**": "^"}
_NAME_PART = re.compile(r"[\w.]*")
_ESCAPED = re.compile(r"\\([\\`\"'])")


class Token(NamedTuple):
    """One token: `kind` is name, column (it stood in back-ticks), number, text, operator or end; `text` is unquoted."""

    kind: str
    text: str
    span: Span

    def is_(self, *operators: str) -> bool:
        """Say whether this is one of these operators."""
        return self.text in operators and self.kind == "operator"


def underline(text: str, span: Span, message: str) -> FormulaError:
    """Return the error that says `message` and underlines the characters of `text` from ``span[0]`` to ``span[1]``.

    Parameters
    ----------
    text : str
        The whole formula.
    span : (int, int)
        First character and one past the last; an empty span points at the gap before ``span[0]``.
    message : str
        One sentence without a final stop.

    Returns
    -------
    FormulaError
        To be raised by the caller. Only the line of the place is shown, and of a long line only the surroundings; the
        carets fall under the place on a terminal also where characters are two columns wide or none.
    """
    first = text.rfind("\n", 0, span[0]) + 1
    last = text.find("\n", span[0])
    last = len(text) if last < 0 else last
    start, stop = span[0] - first, min(max(span[1], span[0] + 1), max(last, span[0] + 1)) - first
    line = text[first:last]
    cut = max(0, start - SHOWN_COLUMNS // 2) if len(line) > SHOWN_COLUMNS else 0
    shown = line[cut : cut + SHOWN_COLUMNS]
    before = ("..." if cut else "") + printable(shown[: start - cut])
    after = "..." if cut + SHOWN_COLUMNS < len(line) else ""
    place = printable(line[start : min(stop, cut + SHOWN_COLUMNS)])
    rest = printable(shown[stop - cut :]) + after
    carets = " " * _width(before) + "^" * max(1, _width(place))
    return FormulaError(f"{printable(message)[:SHOWN_SENTENCE]}\n  {before}{place}{rest}\n  {carets}")


def quote(text: str) -> str:
    """Return a piece of the user's text in quotes, as `brief` gives it."""
    return f"'{brief(text)}'"


def brief(text: str) -> str:
    """Return a piece of the user's text for a sentence: on one line, and cut where it is very long."""
    short = text if len(text) <= SHOWN_NAME else text[: SHOWN_NAME - 3] + "..."
    return " ".join(printable(short).split())


def printable(text: str) -> str:
    """Return the text with blanks of any kind as a blank and invisible or control characters as U+FFFD."""
    # Escape sequences, direction marks and lone surrogates must reach no terminal, log or page through an error.
    return "".join(" " if char.isspace() else "\ufffd" if _is_invisible(char) else char for char in text)


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char)[0] == "C"


def tokenize(text: str) -> tuple[Token, ...]:
    """Cut a formula into tokens; blanks of any kind separate and the last token is ``end``.

    Raises
    ------
    FormulaError
        Where the text is longer than `MAX_CHARACTERS`, holds a character without meaning, a name or text that is not
        closed, or a number beyond the range of a float.
    """
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    tokens, position = [], 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _bad_character(text, position)
        kind, stop = found.lastgroup, found.end()
        if kind == "operator":
            tokens.append(Token(kind, _SPELLED.get(found[0], found[0]), (position, stop)))
        elif kind == "name":
            stop = _with_marks(text, stop)
            tokens.append(Token(kind, text[position:stop], (position, stop)))
        elif kind != "blank":
            tokens.append(_literal(text, kind, (position, stop)))
        position = stop
    end = len(text.rstrip())
    return (*tokens, Token("end", "", (end, end)))


def _literal(text: str, kind: str, span: Span) -> Token:
    raw = text[span[0] : span[1]]
    if kind == "number" and math.isinf(float(raw.rstrip("L"))):
        raise underline(text, span, f"the number {quote(raw)} is too large")
    if kind in ("column", "text"):
        raw = _ESCAPED.sub(r"\1", raw[1:-1])
        if kind == "column" and not raw:
            raise underline(text, span, "the back-ticks hold no name; write a column's name between them, as in `my x`")
    return Token(kind, raw, span)


def _with_marks(text: str, stop: int) -> int:
    """Return where a name ends, with its combining marks (decomposed accents, Devanagari), which are no letters."""
    while stop < len(text) and unicodedata.category(text[stop])[0] == "M":
        stop = _NAME_PART.match(text, stop + 1).end()
    return stop


def _width(text: str) -> int:
    """Return the number of terminal columns of a printable text."""
    marks = sum(unicodedata.category(char) in ("Mn", "Me") for char in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(char) in "WF" for char in text)


def _bad_character(text: str, position: int) -> FormulaError:
    char, here = text[position], (position, position + 1)
    name = unicodedata.name(char, "unnamed character")
    if char == "`":
        return underline(text, here, "the back-tick opened here is never closed; a column's name stands between two")
    if char in "\"'":
        return underline(text, here, "the quote opened here is never closed")
    if char in LOOKALIKES:
        wanted = LOOKALIKES[char]
        return underline(text, here, f"'{char}' (U+{ord(char):04X} {name}) only looks like {wanted}; type {wanted}")
    if char in _FOREIGN:
        return underline(text, here, f"'{char}' has no meaning in a formula: {_FOREIGN[char]}")
    if _is_invisible(char):
        return underline(text, here, f"the formula holds an invisible character, U+{ord(char):04X} ({name}); delete it")
    advice = "write a column whose name holds it in back-ticks, as in `my x`"
    return underline(text, here, f"'{char}' (U+{ord(char):04X} {name}) has no meaning in a formula; {advice}")
