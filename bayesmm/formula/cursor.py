"""The place that the parser has come to, and the errors for what it finds there. Standard library only."""

from bayesmm.errors import FormulaError, listing, suggest
from bayesmm.formula.expressions import COMPARISONS, Span
from bayesmm.formula.functions import FUNCTIONS
from bayesmm.formula.tokens import Token, brief, quote, tokenize, underline

EXAMPLE = "y ~ x + (1 | g)"
_OUTSIDE = "arguments such as data or weights are given outside the text of the formula"
_MISPLACED = {
    "=": f"a comparison is ==, and {_OUTSIDE}",
    ",": _OUTSIDE,
    ":": "it joins terms and has no meaning in arithmetic, where a product is a * b",
    "::": "functions are written without their package",
    "|": "a bar stands only in a group term such as (1 | g)",
    "||": "a bar stands only in a group term such as (x || g)",
    "~": f"the formula is written without a function or brackets around it, as in {EXAMPLE}",
}


class Cursor:
    """The place that a parse has come to; it changes, and lives as long as one parse.

    `operators` counts those of the arithmetic expression that is being read; `structures` are the names that may stand
    before the bracket of a group term, and `several` says whether there are other formulas beside this one.
    """

    def __init__(self, text: str, structures: frozenset[str] = frozenset(), several: bool = False) -> None:
        self.text = text
        self.structures = structures
        self.several = several
        self.tokens = tokenize(text)
        self.position = 0
        self.operators = 0

    @property
    def token(self) -> Token:
        """The next token, not yet read."""
        return self.tokens[self.position]

    @property
    def last(self) -> Token:
        """The token read last."""
        return self.tokens[self.position - 1]

    def next(self) -> Token:
        """Read one token."""
        self.position += 1
        return self.last

    def at_structure(self) -> bool:
        """Return whether a group term with a covariance structure begins here, ``cs(x | g)``: the brackets pair."""
        if not (self.token.kind == "name" and self.token.text in self.structures):
            return False
        depth = 0
        for token in self.tokens[self.position + 1 :]:
            depth += token.is_("(") - token.is_(")")
            if depth == 0:
                return False
            if depth == 1 and token.is_("|", "||"):
                return True
        return False

    def error(self, span: Span, message: str) -> FormulaError:
        """Return the error that underlines a place of this text."""
        return underline(self.text, span, message)

    def source(self, span: Span) -> str:
        """Return the text of a place for a suggestion."""
        return brief(self.text[slice(*span)])


def missing_operand(cursor: Cursor, wanted: str) -> FormulaError:
    """Return the error for a token that stands where `wanted` is expected."""
    token = cursor.token
    place = f"after {quote(cursor.last.text)}" if cursor.position else "at the start"
    found = "the formula ends" if token.kind == "end" else f"found {quote(token.text)}"
    return cursor.error(token.span, f"{wanted} is expected {place}, but {found}")


def unexpected(cursor: Cursor) -> FormulaError:
    """Return the error for a token that stands where an operator or the end is expected."""
    token, last = cursor.token, cursor.last
    if token.kind in ("name", "column", "number", "text") or token.is_("("):
        return _missing_operator(cursor)
    if token.is_(*COMPARISONS):
        return cursor.error(token.span, f"a comparison is no term of its own; wrap it, as in I(x {token.text} 3)")
    if token.is_("::") and last.kind == "name":
        message = "functions are written without their package, as in ns(x, df = 4), and interactions as a:b"
        return cursor.error((last.span[0], token.span[1]), message)
    advice = _MISPLACED.get(token.text, "an operator such as + or the end is expected")
    return cursor.error(token.span, f"{quote(token.text)} cannot stand here; {advice}")


def _missing_operator(cursor: Cursor) -> FormulaError:
    token, last = cursor.token, cursor.last
    written = cursor.source((last.span[0], token.span[1]))
    found = f"unexpected {quote(token.text)} after {quote(last.text)}"
    if last.kind == "number" and last.span[1] == token.span[0] and token.kind == "name":
        advice = (
            f"did you mean the column `{written}` (back-ticks), or the product I({last.text} * {brief(token.text)})?"
        )
        return cursor.error(token.span, f"{found}, as a name cannot begin with a digit; {advice}")
    if last.text in FUNCTIONS and last.kind == "name" and token.kind != "operator":
        return cursor.error(token.span, f"{found}; did you mean {last.text}({cursor.source(token.span)})?")
    if last.kind in ("name", "number") and token.kind in ("name", "number"):
        advice = f"did you mean the column `{written}` (back-ticks), or {brief(last.text)} + {brief(token.text)}?"
        opened = cursor.tokens[cursor.tokens.index(last) - 1].is_("(")
        if opened and last.text in ("0", "1") and last.kind == "number":
            advice = f"did you mean ({last.text} | {brief(token.text)})?"
        return cursor.error(token.span, f"{found}; {advice}")
    return cursor.error(token.span, f"{found}; an operator such as + is missing between them")


def bar_in_call(cursor: Cursor, name: Token) -> FormulaError:
    """Return the error for ``x (1 | g)``, which reads as a call of `name`, or for ``log(x | g)``."""
    advice = "" if name.text in FUNCTIONS else f"; if {quote(name.text)} is a column, a + is missing after it"
    written_as_call = cursor.tokens[cursor.tokens.index(name) + 1].span[0] == name.span[1]
    if advice and written_as_call and cursor.structures:
        known = sorted(cursor.structures)
        message = f"{quote(name.text)} is no covariance structure, which are {listing(known)}"
        return cursor.error(name.span, f"{message}{suggest(name.text, known)}{advice}")
    message = f"a bar stands only in a group term such as (1 | g), not inside a function{advice}"
    return cursor.error(cursor.token.span, message)


def bare_bar(cursor: Cursor) -> FormulaError:
    """Return the error for ``y ~ x + 1 | g``: the last summand before the bar and what follows it, in brackets."""
    bar = cursor.next()
    left, right = _before(cursor, bar), (bar.span[1], _stop(cursor))
    factor = cursor.source(right) or "g"
    inner = cursor.source(left)
    named = inner.partition("(")[0].strip()
    if named in cursor.structures and inner.endswith(")"):
        wanted = f"{inner[:-1]} | {factor})"
    elif "|" in inner:
        wanted = f"{inner} + (1 {bar.text} {factor})"
    else:
        wanted = f"({inner} {bar.text} {factor})"
    return cursor.error((left[0], right[1]), f"a group term stands in brackets; write {wanted}")


def _before(cursor: Cursor, bar: Token) -> Span:
    """Return the place of the summand that ends before `bar`."""
    depth, first = 0, cursor.tokens.index(bar)
    while depth or not cursor.tokens[first - 1].is_("+", "-", "~"):
        first -= 1
        depth += cursor.tokens[first].is_(")") - cursor.tokens[first].is_("(")
    return cursor.tokens[first].span[0], cursor.tokens[cursor.tokens.index(bar) - 1].span[1]


def _stop(cursor: Cursor) -> int:
    """Return where the summand that begins here ends."""
    while not cursor.token.is_("+", "-", "|", "||", ")") and cursor.token.kind != "end":
        cursor.next()
    return cursor.last.span[1]
