"""Expressions of a formula as plain records: the inside of a function, the left side of ``~``, one factor of a term.

Every record carries the `span` of characters that it was read from, for error messages; spans take no part in equality,
so ``log(x)`` read at two places is one and the same variable. Standard library only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the data, by its exact name (never case-folded, never Unicode-normalised)."""

    name: str
    span: Span = field(default=(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A literal number; never negative (``-2`` is an `Operation`) and always finite."""

    value: float
    span: Span = field(default=(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A literal text, such as a factor's level."""

    value: str
    span: Span = field(default=(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A word that is no column: ``TRUE``, ``FALSE``, or the name of a contrast such as ``Sum`` in ``C(f, Sum)``."""

    name: str
    span: Span = field(default=(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the table `FUNCTIONS`, or one of the user's, applied to arguments as they were written."""

    function: str
    arguments: tuple["Expr", ...]
    keywords: tuple[tuple[str, "Expr"], ...] = ()
    span: Span = field(default=(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Operation:
    """``+ - * / ^`` or a comparison of two operands, which gives 1 or 0; ``-`` also of one operand."""

    operator: str
    operands: tuple["Expr", ...]
    span: Span = field(default=(0, 0), compare=False, repr=False)


Expr = Column | Number | Text | Symbol | Call | Operation

SMOOTHS = ("s", "t2")  # functions that are penalised smooths of their variables
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
# R's precedences (its help page "Syntax"): a larger number binds tighter; '^' is right-associative.
PRECEDENCE = {**dict.fromkeys(COMPARISONS, 1), "+": 2, "-": 2, "*": 3, "/": 3, "^": 5}
UNARY_PRECEDENCE = 4
_ATOM_PRECEDENCE = 6
_TIGHT = ("/", "^")  # R deparses a/b and a^b without blanks
_PLAIN_NAME = re.compile(r"(?:[^\W\d]|\.(?![0-9]))[\w.]*")
_RESERVED = (".", "TRUE", "FALSE", "True", "False")


def text_of(expr: Expr, quoted: bool = False) -> str:
    """Return the canonical text of an expression, spaced as R's ``deparse`` does it.

    Parameters
    ----------
    expr : Expr
        The expression.
    quoted : bool
        False (the form for labels) writes a column's name as it is, and of a smooth its variables only, ``s(x):f``;
        True puts names that need them into back-ticks, so that the text reads back as the same expression.

    Returns
    -------
    str
        For instance ``"log(x + 1)"``, ``"I(x^2)"``, ``"I(ncontrols/10)"``, ``"poly(x, 2, raw = TRUE)"``.
    """
    match expr:
        case Column(name):
            return quoted_name(name) if quoted else name
        case Number(value):
            return _number_text(value)
        case Text(value):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case Symbol(name):
            return name
        case Call(function, arguments, keywords):
            parts = [text_of(argument, quoted) for argument in arguments]
            if function in SMOOTHS and not quoted:
                by = [f":{text_of(value)}" for key, value in keywords if key == "by"]
                return "".join([f"{function}({', '.join(parts)})", *by])
            parts += [f"{key} = {text_of(value, quoted)}" for key, value in keywords]
            return f"{function}({', '.join(parts)})"
        case Operation(operator, (operand,)):
            return operator + _wrapped(operand, UNARY_PRECEDENCE, quoted)
        case Operation(operator, (left, right)):
            return _binary_text(operator, left, right, quoted)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def quoted_name(name: str) -> str:
    """Return a column's name as a formula writes it: in back-ticks where it is not a plain name."""
    if _PLAIN_NAME.fullmatch(name) and name not in _RESERVED:
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def column_nodes(expr: Expr) -> Iterator[Column]:
    """Yield every `Column` of an expression, from left to right, repeats included."""
    waiting = [expr]
    while waiting:
        match waiting.pop():
            case Column() as column:
                yield column
            case Operation(_, operands):
                waiting += reversed(operands)
            case Call(_, arguments, keywords):
                waiting += reversed((*arguments, *(value for _, value in keywords)))


def literal(expr: Expr) -> float | str | bool | tuple[float, ...] | None:
    """Return the Python value of a literal argument, or None where the expression is not a literal.

    Parameters
    ----------
    expr : Expr
        A number, signed or not; a text; ``TRUE`` or ``FALSE``; ``c(...)`` of numbers.

    Returns
    -------
    float, str, bool, tuple of float, or None
    """
    match expr:
        case Number(value) | Text(value):
            return value
        case Symbol("TRUE" | "FALSE" as name):
            return name == "TRUE"
        case Operation("-", (Number(value),)):
            return -value
        case Call("c", (_, *_) as arguments, ()):
            values = tuple(literal(argument) for argument in arguments)
            return values if all(type(value) is float for value in values) else None
    return None


def _binary_text(operator: str, left: Expr, right: Expr, quoted: bool) -> str:
    rank = PRECEDENCE[operator]
    # Brackets where the tree differs from what the bare text would read back as: (a^b)^c, a - (b - c), (a < b) < c.
    left_rank = rank + 1 if operator == "^" or operator in COMPARISONS else rank
    right_rank = UNARY_PRECEDENCE if operator == "^" else rank + 1
    blank = "" if operator in _TIGHT else " "
    return f"{_wrapped(left, left_rank, quoted)}{blank}{operator}{blank}{_wrapped(right, right_rank, quoted)}"


def _wrapped(expr: Expr, lowest: int, quoted: bool) -> str:
    text = text_of(expr, quoted)
    return text if _precedence(expr) >= lowest else f"({text})"


def _precedence(expr: Expr) -> int:
    match expr:
        case Operation(_, (_,)):
            return UNARY_PRECEDENCE
        case Operation(operator, _):
            return PRECEDENCE[operator]
    return _ATOM_PRECEDENCE


def _number_text(value: float) -> str:
    """Return the shortest text that reads back as `value`, fixed or scientific, whichever is shorter (R's rule)."""
    number = Decimal(repr(value)).normalize()
    _, digits, exponent = number.as_tuple()
    power = len(digits) - 1 + exponent
    mantissa = str(digits[0]) + ("." + "".join(map(str, digits[1:])) if len(digits) > 1 else "")
    scientific = f"{mantissa}e{power:+03d}"
    fixed = f"{number:f}"
    return fixed if len(fixed) <= len(scientific) else scientific
