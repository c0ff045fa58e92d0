"""Sums, products and powers of terms multiplied out, as R's ``terms()`` does it. Standard library only.

While it is expanded a term is an integer whose set bits are its factors' places in the order of their first appearance;
a product of two terms is then their bitwise or (R's own representation), and equal terms are equal integers.
"""

from dataclasses import dataclass, field

from bayesmm.errors import FormulaError, listing
from bayesmm.formula.expressions import SMOOTHS, Call, Expr, Number, Span, column_nodes, text_of
from bayesmm.formula.functions import Context, checked, checked_residual, gives
from bayesmm.formula.parser import Chain, Group, Node, Power, Specific
from bayesmm.formula.tokens import brief, quote

MAX_TERMS = 2_000  # in one formula; a design matrix beyond that is not read by anyone
MAX_STEPS = 50_000  # products and factors written while expanding one formula: about 10 ms
MAX_TERM_POWER = 10  # of (a + b)^p, where no term can have more factors than the sum has terms

_ELSEWHERE = {
    "offset": "stands between '+' signs and is not multiplied",
    "weights": "stands on the left, as in y | weights(w) ~ x",
    "trials": "stands on the left, as in y | trials(n) ~ x",
    "cens": "stands on the left, as in y | cens(c) ~ x",
    "trunc": "stands on the left, as in y | trunc(lb = 0) ~ x",
    "response": "stands on the left, as in cbind(successes, failures) ~ x",
}

_Masks = dict[int, None]  # an ordered set


@dataclass(frozen=True, slots=True)
class Term:
    """A product of factors, never empty: ``a:b:log(x)``."""

    factors: tuple[Expr, ...]

    @property
    def label(self) -> str:
        """The term as R writes it, ``"a:b:log(x)"``."""
        return ":".join(text_of(factor) for factor in self.factors)


@dataclass(frozen=True, slots=True)
class Part:
    """One expanded sum: `intercept` is None where the text does not mention it; the rest is as written.

    Among the `offsets` stand the calls of residual structures too.
    """

    intercept: bool | None
    terms: tuple[Term, ...]
    groups: tuple[Group, ...]
    offsets: tuple[Call, ...]
    specific: tuple[Specific, ...] = ()


@dataclass(slots=True)
class Work:
    """The count of what was expanded so far in one formula: it changes, and lives as long as one parse."""

    context: Context
    terms: int = 0
    steps: int = 0

    def spend(self, steps: int, span: Span) -> None:
        """Count some steps of work before they are done."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            message = f"the products take more than {MAX_STEPS:,} steps to multiply out; write fewer or smaller ones"
            raise self.error(span, message)

    def keep(self, terms: int, span: Span) -> None:
        """Count some finished terms."""
        self.terms += terms
        self.check(self.terms, span)

    def check(self, terms: int, span: Span) -> None:
        """Refuse more than `MAX_TERMS` terms."""
        if terms > MAX_TERMS:
            message = f"the formula expands to more than {MAX_TERMS:,} terms; write out the interactions that are meant"
            raise self.error(span, message)

    def error(self, span: Span, message: str) -> FormulaError:
        """Return the error that underlines a place of the formula."""
        return self.context.error(span, message)


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum while it is expanded: as `Part`, with the terms as bits."""

    intercept: bool | None
    masks: _Masks
    groups: list[Group]
    offsets: list[Call]
    specific: list[Specific] = field(default_factory=list)


def expand(node: Node, work: Work) -> Part:
    """Multiply out one right-hand side, or the left side of one group term.

    Parameters
    ----------
    node : Node
        The tree.
    work : Work
        The formula's count, which is shared by all its parts.

    Returns
    -------
    Part
        Terms sorted by the number of factors and otherwise in the order of the text, factors in the order in which the
        part first names them, without repeats.

    Raises
    ------
    FormulaError
        For what is no term, a removed term that is not there, a power of a single term, more than `MAX_TERMS` terms.
    """
    variables: dict[Expr, int] = {}
    found = _sum(node, variables, work)
    work.keep(len(found.masks), node.span)
    work.spend(sum(mask.bit_count() for mask in found.masks), node.span)
    terms = _terms(found.masks, variables)
    for term in terms:
        if len(term.factors) > 1:
            check_no_smooth((term,), "is not multiplied; a curve for each level of f is s(x, by = f)", work)
    return Part(found.intercept, terms, tuple(found.groups), tuple(found.offsets), tuple(found.specific))


def specific_parts(nodes: tuple[Specific, ...], work: Work) -> list[tuple[str, bool, tuple[Term, ...]]]:
    """Multiply out what stands in cs(): its text, whether it has an intercept, and its terms; there may be one."""
    if len(nodes) > 1:
        raise work.error(nodes[1].span, "a formula has one cs(), with all of its terms, as in cs(x + z)")
    found = []
    for node in nodes:
        part = expand(node.left, work)
        check_no_smooth(part.terms, "is not possible in cs(); write ns(x, df = 4) there", work)
        if part.groups or part.offsets or part.specific:
            what = "random effects" if part.groups else text_of(part.offsets[0]) if part.offsets else "another cs()"
            raise work.error(node.span, f"cs() has {what} in it, and it can have fixed effects only, as in cs(x)")
        found.append((work.context.text[slice(*node.span)], part.intercept is not False, part.terms))
    return found


def check_no_smooth(terms: tuple[Term, ...], why: str, work: Work) -> None:
    """Refuse a smooth where none can stand."""
    for factor in (factor for term in terms for factor in term.factors):
        if isinstance(factor, Call) and factor.function in SMOOTHS and factor.function not in work.context.transforms:
            raise work.error(factor.span, f"{factor.function}() {why}")


def _terms(masks: _Masks, variables: dict[Expr, int]) -> tuple[Term, ...]:
    factors = tuple(variables)
    return tuple(Term(tuple(factors[place] for place in _bits(mask))) for mask in sorted(masks, key=int.bit_count))


def _bits(mask: int) -> list[int]:
    places = []
    while mask:
        lowest = mask & -mask
        places.append(lowest.bit_length() - 1)
        mask ^= lowest
    return places


# Sums -----------------------------------------------------------------------------------------------------------------


def _is_sum(node: Node) -> bool:
    return isinstance(node, Chain) and node.operators[0] in ("+", "-")


def _sum(node: Node, variables: dict[Expr, int], work: Work) -> _Sum:
    """Add up (and take away) what a sum holds, from left to right; as in R the last word on the intercept counts."""
    chain = node if _is_sum(node) else Chain(("+",), (node,), node.span)
    intercept, masks, groups, offsets, specific = None, {}, [], [], []
    for sign, operand in zip(chain.operators, chain.operands, strict=True):
        part = _summand(operand, variables, work)
        if sign == "-" and (part.groups or part.offsets or part.specific):
            others = [call.function for call in part.offsets if call.function != "offset"]
            others += ["cs" for _ in part.specific]
            what = f"{others[0]}()" if others else "a group term or an offset"
            raise work.error(operand.span, f"{what} is not taken away with '-'; leave it out instead")
        if part.intercept is not None:
            intercept = part.intercept == (sign == "+")
        groups += part.groups
        offsets += part.offsets
        specific += part.specific
        if sign == "+":
            masks |= part.masks
            work.check(len(masks), node.span)
        else:
            _remove(masks, part.masks, operand, variables, work)
    return _Sum(intercept, masks, groups, offsets, specific)


def _summand(node: Node, variables: dict[Expr, int], work: Work) -> _Sum:
    match node:
        case Number(value):
            if value not in (0, 1):
                raise _no_term(node, work)
            return _Sum(value == 1, {}, [], [])
        case Group():
            return _Sum(None, {}, [node], [])
        case Specific():
            return _Sum(None, {}, [], [], [node])
        case Call("offset"):
            return _Sum(None, {}, [], [checked(node, work.context)])
        case Call(function) if function in work.context.residuals:
            return _Sum(None, {}, [], [checked_residual(node, work.context)])
    if _is_sum(node):
        return _sum(node, variables, work)
    return _Sum(None, _product(node, variables, work), [], [])


def _remove(masks: _Masks, taken: _Masks, operand: Node, variables: dict[Expr, int], work: Work) -> None:
    for mask in taken:
        if mask not in masks:
            missing = _terms({mask: None}, variables)[0].label
            there = listing(brief(term.label) for term in _terms(masks, variables)) or "none"
            message = f"{quote(missing)} is taken away but is not among the terms before it ({there})"
            raise work.error(operand.span, message)
        del masks[mask]


# Products -------------------------------------------------------------------------------------------------------------


def _product(node: Node, variables: dict[Expr, int], work: Work) -> _Masks:
    """Return the terms of what may be multiplied: a factor, a product, a power, or a sum of those in brackets."""
    match node:
        case Power():
            return _power(node, variables, work)
        case Specific():
            raise work.error(node.span, "cs() stands between '+' signs and is not multiplied; write cs(x*z)")
        case Group():
            raise work.error(node.span, "a group term cannot be multiplied or divided; it stands between '+' signs")
        case Chain() if _is_sum(node):
            found = _sum(node, variables, work)
            if found.intercept is not None or found.groups or found.offsets:
                what = "0 or 1" if found.intercept is not None else "a group term or an offset"
                raise work.error(node.span, f"brackets that are multiplied hold only terms; take {what} out of them")
            return found.masks
        case Chain(operators, operands):
            masks = _product(operands[0], variables, work)
            for operator, operand in zip(operators[1:], operands[1:], strict=True):
                masks = _joined(operator, masks, _product(operand, variables, work), node.span, work)
            return masks
    return _factor(node, variables, work)


def _joined(operator: str, left: _Masks, right: _Masks, span: Span, work: Work) -> _Masks:
    """Return ``left:right``, ``left*right`` = left + right + left:right, ``left/right`` = left + all of left:right."""
    if operator == "/":
        every = 0
        for mask in left:
            every |= mask
        result = left | _crossed({every: None}, right, span, work)
    else:
        crossed = _crossed(left, right, span, work)
        result = left | right | crossed if operator == "*" else crossed
    work.check(len(result), span)
    return result


def _crossed(left: _Masks, right: _Masks, span: Span, work: Work) -> _Masks:
    work.spend(len(left) * len(right), span)
    return dict.fromkeys(one | other for one in left for other in right)


def _power(node: Power, variables: dict[Expr, int], work: Work) -> _Masks:
    base = _product(node.base, variables, work)
    power = node.exponent.value
    if len(base) < 2:
        raise work.error(node.span, _single_power(_terms(base, variables), power))
    if not power.is_integer() or not 2 <= power <= MAX_TERM_POWER:
        message = f"the power is {power:g}; terms take whole powers from 2 to {MAX_TERM_POWER}"
        raise work.error(node.exponent.span, message)
    result = base
    for _ in range(int(power) - 1):
        before, result = result, _crossed(base, result, node.span, work)  # the base outside: R's order within an order
        if list(result) == list(before):
            break  # every product is there already; further rounds change nothing
    return result


def _single_power(terms: tuple[Term, ...], power: float) -> str:
    if not terms:
        return "the brackets hold no term that could have a power"
    label, single = brief(terms[0].label), len(terms[0].factors) == 1
    base = label if single else f"({label})"
    values = f"I({label}^{power:g})" if single else f"I(({label.replace(':', ' * ')})^{power:g})"
    return f"{base}^{power:g} means {label} alone, as in R; write {values} for the power of its values"


# Factors --------------------------------------------------------------------------------------------------------------


def _factor(node: Expr, variables: dict[Expr, int], work: Work) -> _Masks:
    """Return a column or call as a term of its own, giving it a place if it is new."""
    if isinstance(node, Number):
        raise _no_term(node, work)
    factor = checked(node, work.context)
    if gives(factor) in _ELSEWHERE:
        raise work.error(node.span, f"{factor.function}() {_ELSEWHERE[gives(factor)]}")
    if next(column_nodes(factor), None) is None:
        raise work.error(node.span, f"{quote(text_of(factor))} names no column of the data, so it is no term")
    work.check(len(variables), node.span)
    return {1 << variables.setdefault(factor, len(variables)): None}


def _no_term(node: Number, work: Work) -> FormulaError:
    alone = "0 and 1 (without and with the intercept) are added or taken away"
    return work.error(node.span, f"a number is no term: {alone}, and arithmetic is wrapped, as in I(2 * x)")
