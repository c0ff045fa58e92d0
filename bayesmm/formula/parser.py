"""From tokens to a tree: the recursive-descent parser. The grammar is in the docstring of `bayesmm.formula.formula`.

The parser knows only what stands where; what functions and terms mean is decided in `functions` and `expansion`.
Standard library only.
"""

from dataclasses import dataclass, replace

from bayesmm.errors import FormulaError
from bayesmm.formula.cursor import EXAMPLE, Cursor, bar_in_call, bare_bar, missing_operand, unexpected
from bayesmm.formula.expressions import (
    COMPARISONS,
    PRECEDENCE,
    UNARY_PRECEDENCE,
    Call,
    Column,
    Expr,
    Number,
    Operation,
    Span,
    Symbol,
    Text,
)
from bayesmm.formula.tokens import MAX_DEPTH, Token

MAX_PARTS = 2_000  # operands of one sum or product: no more than there may be terms
MAX_OPERATORS = 100  # in one arithmetic expression, commas included: trees stay shallow enough for plain recursion
LEVELS = (("+", "-"), ("*", "/"), (":",))  # of the operators between terms, loosest first; R's precedences
_POWER_ADVICE = "a power of a column's values is written I(x^2)"
BARS = {"|": "us", "||": "diag"}  # the covariance structure that each bar means
ONE_BAR = (
    "a group term has one bar, as in (x | g); a name between two, (x | p | g), correlates the effects of several "
    "predictors: of formulas of parameters, of the responses of mvbind(), of categories without an order"
)
_CONSTANTS = {"TRUE": "TRUE", "True": "TRUE", "FALSE": "FALSE", "False": "FALSE"}


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands of one precedence from left to right; ``operators[k]`` stands before ``operands[k]``.

    In front of the first, where none is written, stands the first of its level in `LEVELS`.
    """

    operators: tuple[str, ...]
    operands: tuple["Node", ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Power:
    """``base^exponent`` among terms; the exponent is a literal number."""

    base: "Node"
    exponent: Number
    span: Span


@dataclass(frozen=True, slots=True)
class Group:
    """``(left | factor)``, ``(left || factor)`` or ``cs(left | factor)``: `covariance` is the structure's name.

    In ``(left | key | factor)`` the key is that of the effects that this term's are correlated with.
    """

    left: "Node"
    factor: "Node"
    covariance: str
    span: Span
    key: str = ""


@dataclass(frozen=True, slots=True)
class Specific:
    """``cs(terms)`` without a bar: terms with an effect on each threshold of an ordered response."""

    left: "Node"
    span: Span


Node = Expr | Chain | Power | Group | Specific
RESPONSES = "mvbind"  # the function that several responses are arguments of
SPECIFIC = "cs"  # what it is called; before the bracket of a group term the same word is a covariance structure


@dataclass(frozen=True, slots=True)
class Sides:
    """The tree of a formula: the response, what stands after its bar (or None), and the right-hand side."""

    response: Expr
    condition: Expr | None
    right: Node


def read(text: str, structures: frozenset[str] = frozenset(), several: bool = False) -> Sides:
    """Return the tree of a formula, in which these names may stand before the bracket of a group term.

    One of several formulas, and one of several responses, may have group terms of two bars, ``(1 | p | g)``.

    Raises
    ------
    FormulaError
        Where the text does not follow the grammar, or goes beyond one of the limits.
    """
    cursor = Cursor(text, structures, several)
    if len(cursor.tokens) == 1:
        raise FormulaError(f"the formula is empty; write one such as {EXAMPLE}")
    _check_brackets(cursor)
    _check_tilde(cursor)
    response, condition = _response(cursor)
    cursor.several = several or (isinstance(response, Call) and response.function == RESPONSES)
    if cursor.token.kind == "end":
        raise cursor.error(cursor.token.span, "nothing stands to the right of '~'; for a mean alone write y ~ 1")
    right = _terms(cursor)
    if cursor.token.kind != "end":
        raise bare_bar(cursor) if cursor.token.is_("|", "||") else unexpected(cursor)
    return Sides(response, condition, right)


def _check_brackets(cursor: Cursor) -> None:
    """Pair all brackets first, so that the parser's recursion is bounded before it starts."""
    opened: list[Token] = []
    for token in cursor.tokens:
        if token.is_("("):
            opened.append(token)
            if len(opened) > MAX_DEPTH:
                raise cursor.error(
                    token.span, f"brackets are nested too deeply; at most {MAX_DEPTH} may be open at once"
                )
        elif token.is_(")"):
            if not opened:
                raise cursor.error(token.span, "')' closes a bracket that was never opened; delete it or add the '('")
            opened.pop()
    if opened:
        raise cursor.error(opened[-1].span, "the bracket opened here is never closed; add a ')'")


def _check_tilde(cursor: Cursor) -> None:
    tildes = [token for token in cursor.tokens if token.is_("~")]
    if not tildes:
        equals = [token for token in cursor.tokens if token.is_("=")]
        place = equals[0].span if equals else (cursor.tokens[0].span[0], cursor.tokens[-1].span[1])
        found = "'=' where '~' is expected" if equals else "no '~' between the response and the terms"
        raise cursor.error(place, f"the formula has {found}; write one such as {EXAMPLE}")
    if len(tildes) > 1:
        raise cursor.error(tildes[1].span, f"a formula has one '~' and this is the second; write one such as {EXAMPLE}")
    if cursor.tokens[0].is_("~"):
        message = f"the formula has no response; write its column before the '~', as in {EXAMPLE}"
        raise cursor.error(tildes[0].span, message)


def _response(cursor: Cursor) -> tuple[Expr, Expr | None]:
    response = _arithmetic(cursor)
    condition = None
    if cursor.token.is_("|"):
        cursor.next()
        condition = _arithmetic(cursor)
    if not cursor.token.is_("~"):
        raise unexpected(cursor)
    cursor.next()
    return response, condition


# Terms ----------------------------------------------------------------------------------------------------------------


def _terms(cursor: Cursor, level: int = 0) -> Node:
    """Read the operands of one level of `LEVELS`; a lone operand without a minus is returned as it is."""
    if level == len(LEVELS):
        return _power(cursor)
    operators = LEVELS[level]
    used = [_signs(cursor) if level == 0 and cursor.token.is_(*operators) else operators[0]]
    operands = [_terms(cursor, level + 1)]
    while cursor.token.is_(*operators):
        used.append(_signs(cursor) if level == 0 else cursor.next().text)
        operands.append(_terms(cursor, level + 1))
        if len(operands) > MAX_PARTS:
            message = f"more than {MAX_PARTS:,} parts are joined by {' or '.join(operators)}"
            raise cursor.error(operands[-1].span, message)
    if len(operands) == 1 and used[0] != "-":
        return operands[0]
    return Chain(tuple(used), tuple(operands), (operands[0].span[0], operands[-1].span[1]))


def _signs(cursor: Cursor) -> str:
    """Read the signs in front of a term and return their product: ``+ -1`` is ``- 1``."""
    sign = "+"
    while cursor.token.is_("+", "-"):
        sign = sign if cursor.next().text == "+" else "+-"[sign == "+"]
    return sign


def _power(cursor: Cursor) -> Node:
    base = _operand(cursor)
    if not cursor.token.is_("^"):
        return base
    cursor.next()
    token = cursor.token
    if token.kind != "number":
        raise cursor.error(token.span, f"the power of terms is a whole number, as in (a + b)^2; {_POWER_ADVICE}")
    exponent = _number(cursor.next())
    if cursor.token.is_("^"):
        raise cursor.error(cursor.token.span, f"terms take one power only, as in (a + b)^2; {_POWER_ADVICE}")
    return Power(base, exponent, (base.span[0], exponent.span[1]))


def _operand(cursor: Cursor) -> Node:
    token = cursor.token
    cursor.operators = 0
    if token.is_("("):
        return _bracketed(cursor)
    if cursor.at_structure():
        return _structured(cursor)
    if token.kind == "name" and token.text == SPECIFIC and cursor.tokens[cursor.position + 1].is_("("):
        return _specific(cursor)
    if token.kind in ("name", "column", "number", "text"):
        return _atom(cursor)
    raise missing_operand(cursor, "a term")


def _bracketed(cursor: Cursor) -> Node:
    start = cursor.next().span[0]
    if cursor.token.is_("|", "||"):
        raise cursor.error(cursor.token.span, "nothing stands before the bar; a random intercept is written (1 | g)")
    inner = _terms(cursor)
    if cursor.token.is_("|", "||"):
        covariance = BARS[cursor.next().text]
        if cursor.token.is_(")"):
            message = "no grouping factor stands after the bar; write its column, as in (1 | g)"
            raise cursor.error(cursor.token.span, message)
        inner = Group(inner, _terms(cursor), covariance, (0, 0))
        if cursor.token.is_("|", "||"):
            inner = _keyed(cursor, inner)
    if not cursor.token.is_(")"):
        raise unexpected(cursor)
    stop = cursor.next().span[1]
    return replace(inner, span=(start, stop)) if isinstance(inner, Chain | Group) else inner


def _keyed(cursor: Cursor, group: Group) -> Group:
    """Read what stands behind a second bar, ``(x | key | g)``: in one of several formulas, or of several responses."""
    bar, key = cursor.next(), group.factor
    if not cursor.several:
        raise cursor.error(bar.span, ONE_BAR)
    if not isinstance(key, Column) or bar.text != "|" or group.covariance != BARS["|"]:
        message = "of two bars each is single, and between them stands a name, as in (1 | p | g)"
        raise cursor.error(bar.span, f"{message}; terms with the same name in several formulas are correlated")
    if cursor.token.is_(")"):
        raise cursor.error(cursor.token.span, "no grouping factor stands after the bar; write (1 | p | g)")
    factor = _terms(cursor)
    if cursor.token.is_("|", "||"):
        raise cursor.error(cursor.token.span, "a group term has two bars at most, as in (1 | p | g)")
    return replace(group, factor=factor, key=key.name)


def _structured(cursor: Cursor) -> Group:
    """Read a group term with the name of its covariance structure before it."""
    name = cursor.next()
    group = _bracketed(cursor)
    if group.covariance != BARS["|"] or group.key:
        wanted = f"{name.text}(x | g)"
        raise cursor.error(group.span, f"a group term with a covariance structure has a single bar, as in {wanted}")
    return replace(group, covariance=name.text, span=(name.span[0], group.span[1]))


def _specific(cursor: Cursor) -> Specific:
    """Read the terms of cs()."""
    name, opening = cursor.next(), cursor.next()
    if cursor.token.is_(")"):
        raise cursor.error((name.span[0], cursor.token.span[1]), "cs() names no terms; write them in it, as in cs(x)")
    inner = _terms(cursor)
    if not cursor.token.is_(")"):
        raise unexpected(cursor)
    return Specific(inner, (name.span[0] if opening else 0, cursor.next().span[1]))


# Arithmetic -----------------------------------------------------------------------------------------------------------


def _arithmetic(cursor: Cursor, lowest: int = 0) -> Expr:
    """Read operands and operators that bind at least as tightly as `lowest` (precedence climbing)."""
    left = _arithmetic_operand(cursor)
    while cursor.token.kind == "operator" and PRECEDENCE.get(cursor.token.text, -1) >= lowest:
        operator = _operator(cursor)
        rank = PRECEDENCE[operator]
        right = _arithmetic(cursor, rank if operator == "^" else rank + 1)
        left = Operation(operator, (left, right), (left.span[0], right.span[1]))
        if operator in COMPARISONS and cursor.token.is_(*COMPARISONS):
            raise cursor.error(cursor.token.span, "comparisons do not chain; write I((a < b) * (b < c))")
    return left


def _arithmetic_operand(cursor: Cursor) -> Expr:
    token = cursor.token
    if token.is_("-", "+"):
        operator = _operator(cursor)
        operand = _arithmetic(cursor, UNARY_PRECEDENCE)
        return operand if operator == "+" else Operation("-", (operand,), (token.span[0], operand.span[1]))
    if token.is_("("):
        cursor.next()
        inner = _arithmetic(cursor)
        if not cursor.token.is_(")"):
            raise unexpected(cursor)
        cursor.next()
        return inner
    if token.kind in ("name", "column", "number", "text"):
        return _atom(cursor)
    raise missing_operand(cursor, "a column, a number or a function")


def _operator(cursor: Cursor) -> str:
    cursor.operators += 1
    if cursor.operators > MAX_OPERATORS:
        message = f"more than {MAX_OPERATORS} operators and commas in one expression; make it a column of the data"
        raise cursor.error(cursor.token.span, message)
    return cursor.next().text


# Atoms ----------------------------------------------------------------------------------------------------------------


def _atom(cursor: Cursor) -> Expr:
    token = cursor.next()
    if token.kind == "number":
        return _number(token)
    if token.kind == "text":
        return Text(token.text, token.span)
    if token.kind == "name" and cursor.token.is_("("):
        return _call(cursor, token)
    if token.kind == "name" and token.text == ".":
        raise cursor.error(token.span, "'.' for all other columns is not supported; name the columns, as in y ~ a + b")
    if token.kind == "name" and token.text in _CONSTANTS:
        return Symbol(_CONSTANTS[token.text], token.span)
    return Column(token.text, token.span)


def _number(token: Token) -> Number:
    return Number(float(token.text.rstrip("L")), token.span)


def _call(cursor: Cursor, name: Token) -> Call:
    opening = cursor.next()
    arguments: list[Expr] = []
    keywords: list[tuple[str, Expr]] = []
    while not (cursor.token.is_(")") and cursor.last is opening):
        if cursor.token.kind == "name" and cursor.tokens[cursor.position + 1].is_("="):
            key = cursor.next().text
            cursor.next()
            keywords.append((key, _arithmetic(cursor)))
        else:
            arguments.append(_arithmetic(cursor))
        if not cursor.token.is_(","):
            break
        _operator(cursor)
    if cursor.token.is_("|", "||"):
        raise bar_in_call(cursor, name)
    if not cursor.token.is_(")"):
        raise unexpected(cursor)
    return Call(name.text, tuple(arguments), tuple(keywords), (name.span[0], cursor.next().span[1]))
