"""The formulas of parameters besides the mean, ``sigma ~ f + (1 | g)``: fixed part and group terms.

Standard library only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bayesmm.errors import listing, suggest
from bayesmm.formula.additions import other_parameter
from bayesmm.formula.expansion import Term, Work, check_no_smooth, expand
from bayesmm.formula.expressions import Column, Expr, column_nodes, text_of
from bayesmm.formula.functions import Context, Signature
from bayesmm.formula.grouping import Bar, bars_of
from bayesmm.formula.parser import read
from bayesmm.formula.tokens import quote, underline


@dataclass(frozen=True, slots=True)
class Scale:
    """The formula of a parameter besides the mean, ``sigma ~ f``.

    Attributes
    ----------
    text : str
        As it was given.
    name : str
        The parameter.
    intercept : bool
    terms : tuple of Term
    """

    text: str = field(compare=False)
    name: str
    intercept: bool
    terms: tuple[Term, ...]


def scales_of(
    texts: Sequence[str], names: frozenset, known: frozenset, residuals: Mapping[str, Signature],
    parameters: Sequence[str],
) -> tuple[tuple[Scale, ...], tuple[Bar, ...]]:  # fmt: skip
    """Return the formulas of parameters besides the mean, and all of their group terms."""
    found: dict[str, Scale] = {}
    bars: list[Bar] = []
    for text in texts:
        context, sides = Context(text, names, known, residuals), read(text, known, several=True)
        left, work = sides.response, Work(context)
        if not isinstance(left, Column) or left.name not in parameters or sides.condition is not None:
            own = listing(parameters, len(parameters))
            message = f"a further formula is of a parameter, as in sigma ~ f, and the parameters are {own}"
            near = suggest(left.name, parameters) if isinstance(left, Column) else ""
            raise context.error(left.span, f"{message}{other_parameter(left) or near}")
        if left.name in found:
            raise context.error(left.span, f"{left.name} has two formulas; give it one, with all of its terms")
        part = expand(sides.right, work)
        check_no_smooth(part.terms, f"is not possible in the formula of {left.name}; write ns(x, df = 4) there", work)
        if part.offsets or part.specific:
            what = text_of(part.offsets[0]) if part.offsets else "cs()"
            message = f"the formula of {left.name} has {what}, and it can have fixed and random "
            raise context.error((0, len(text)), f"{message}effects only, as in {left.name} ~ f + (1 | g)")
        own = bars_of(part.groups, work, left.name)
        for bar in own:
            if bar.weights:
                message = f"{bar.label} is not possible in the formula of {left.name}; write (1 | g) there"
                raise context.error(bar.span, message)
        bars += own
        found[left.name] = Scale(text, left.name, part.intercept is not False, part.terms)
    return tuple(found.values()), tuple(bars)


def factors_of_parameters(scales: Sequence[Scale], bars: Sequence[Bar]) -> Iterator[tuple[str, list[Expr]]]:
    """Yield each parameter with what stands on the right side of its formula: the factors of terms, and their columns.

    Grouping factors are not among them: see `check_groups`.
    """
    for scale in scales:
        terms = (*scale.terms, *(term for bar in bars if bar.of == scale.name for term in bar.terms))
        factors = [expr for term in terms for expr in term.factors]
        yield scale.name, [*factors, *(node for expr in factors for node in column_nodes(expr))]


def check_groups(formula, bars: Sequence[Bar], texts: Mapping[str, str]) -> None:
    """Refuse a response that groups the effects of a parameter, and a structure of terms that are correlated."""
    names = tuple(dict.fromkeys(node.name for node in column_nodes(formula.response)))
    for bar in bars:
        if names == bar.columns:
            message = f"the response {quote(names[0])} also groups the effects of {bar.of}; take it out there"
            raise underline(texts[bar.of], bar.span, message)
    for bar in (*formula.bars, *bars):
        if bar.key and (bar.by is not None or bar.relation or bar.weights):
            message = f"terms that are correlated over formulas have a plain factor, as in (1 | {bar.key} | g)"
            raise underline(texts.get(bar.of, formula.text), bar.span, message)
