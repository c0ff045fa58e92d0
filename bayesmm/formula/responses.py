"""Several responses in one formula, ``mvbind(y1, y2) ~ x + (1 | p | g)``: read as a formula of stacked rows.

Each response of a row becomes a row of its own. Every coefficient, and every random effect, is one of a response: the
terms are crossed with a factor that says which response a row is, which the design makes (`bayesmm.design.responses`).
Group terms with a name between two bars, as in the R package brms, have effects that are correlated over the responses;
those without have a covariance matrix for each response. Standard library only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bayesmm.errors import listing
from bayesmm.formula.expansion import Part, Term
from bayesmm.formula.expressions import SMOOTHS, Call, Column, Expr, literal, text_of
from bayesmm.formula.functions import Context
from bayesmm.formula.grouping import Bar
from bayesmm.formula.parser import RESPONSES
from bayesmm.formula.tokens import quote

RESPONSE, ROW = "response", ".row"  # columns of stacked rows: which response, and which row of the table
MOST = 10  # 45 correlations
_USAGE = "mvbind() takes columns of the data, as in mvbind(y1, y2) ~ x"


@dataclass(frozen=True, slots=True)
class Responses:
    """What stands inside ``mvbind( )``.

    Attributes
    ----------
    columns : tuple of Column
        Two or more.
    rescor : bool
        Whether the residuals of a row's responses are correlated.
    """

    columns: tuple[Column, ...]
    rescor: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)


def is_several(expr: Expr) -> bool:
    """Return whether the left side of a formula is ``mvbind( )``."""
    return isinstance(expr, Call) and expr.function == RESPONSES


def responses_of(call: Call, context: Context) -> tuple[Column, Responses]:
    """Return the column of stacked rows that has the values, and the responses.

    Raises
    ------
    FormulaError
        They are no two or more different columns, or what stands beside them is not ``rescor = TRUE`` or ``FALSE``.
    """
    for one in call.arguments:
        if not isinstance(one, Column):
            advice = f"make {text_of(one)} a column first" if isinstance(one, Call) else "each of them a name"
            raise context.error(one.span, f"{_USAGE}; {advice}")
        if one.name in (RESPONSE, ROW):
            raise context.error(one.span, _reserved(one.name))
    if len(call.arguments) < 2:
        raise context.error(call.span, f"{_USAGE}, two or more; for a single response write y1 ~ x")
    if len(call.arguments) > MOST:
        raise context.error(call.span, f"mvbind() has {len(call.arguments)} responses, and it can have {MOST} at most")
    twice = [one for k, one in enumerate(call.arguments) if one in call.arguments[:k]]
    if twice:
        raise context.error(
            twice[0].span, f"the response {quote(twice[0].name)} stands twice in mvbind(); name it once"
        )
    rescor = True
    for key, value in call.keywords:
        if key != "rescor" or len(call.keywords) > 1:
            raise context.error(value.span, f"{_USAGE}, and rescor = FALSE for residuals that are not correlated")
        rescor = literal(value)
        if not isinstance(rescor, bool):
            message = "rescor is TRUE, so that the residuals of a row's responses are correlated, or FALSE"
            raise context.error(value.span, message)
    columns = tuple(call.arguments)
    return Column(f"{RESPONSES}({', '.join(c.name for c in columns)})", call.span), Responses(columns, rescor)


def _reserved(name: str) -> str:
    return f"with mvbind() the column {quote(name)} says which response a row is of; rename yours"


def crossed(terms: tuple[Term, ...], intercept: bool, context: Context) -> tuple[Term, ...]:
    """Return the terms of the fixed part with a coefficient for each response; there is no other intercept then."""
    found = [Term((Column(RESPONSE),))] if intercept else []
    for term in terms:
        alone = term.factors[0]
        smooth = isinstance(alone, Call) and alone.function in SMOOTHS and alone.function not in context.transforms
        found.append(Term((_by_response(alone, context),)) if smooth else Term((Column(RESPONSE), *term.factors)))
    return tuple(found)


def _by_response(call: Call, context: Context) -> Call:
    """Return the smooth with a curve for each response."""
    if call.function != "s" or any(key == "by" for key, _ in call.keywords) or len(call.arguments) > 3:
        said = "is possible for one response; with mvbind() a smooth is s(x), which has a curve for each response"
        raise context.error(call.span, f"{text_of(call, quoted=True)} {said}")
    return replace(call, keywords=(*call.keywords, ("by", Column(RESPONSE))))


def bars_of_responses(bars: Iterable[Bar], context: Context) -> tuple[Bar, ...]:
    """Return the group terms with effects of each response: of a name's correlated over them, of others apart.

    Raises
    ------
    FormulaError
        A name stands in two group terms, or one of them has a known covariance of levels.
    """
    seen: dict[str, Bar] = {}
    for bar in bars:
        if bar.relation:
            message = f"gr({bar.label}, cov = {bar.relation}) is possible for one response, and here are several"
            raise context.error(bar.span, message)
        other = bar if not bar.key else seen.setdefault(bar.key, bar)
        if other is not bar and other.columns != bar.columns:
            what = f"{quote(bar.key)} names group terms of {listing(one.label for one in (other, bar))}"
            raise context.error(bar.span, f"{what}; give each a name of its own")
        if other is not bar:
            message = f"{quote(bar.key)} names two group terms of {bar.label}; write one, with all its effects"
            raise context.error(bar.span, message)
    return tuple(_of_responses(bar, context) for bar in bars)


def _of_responses(bar: Bar, context: Context) -> Bar:
    if bar.key and bar.weights:
        message = f"the effects of {bar.label} are independent; leave {quote(bar.key)} and a bar out"
        raise context.error(bar.span, message)
    if not bar.key and bar.by is not None:
        message = f"gr({bar.label}, by = {bar.by.name}) needs a name for what the responses share"
        raise context.error(bar.span, f"{message}, as in (1 | p | gr({bar.label}, by = {bar.by.name}))")
    if not bar.key and not bar.weights:
        return replace(bar, by=Column(RESPONSE))
    terms = ([Term((Column(RESPONSE),))] if bar.intercept else []) + [
        Term((Column(RESPONSE), *term.factors)) for term in bar.terms
    ]
    independent = "diag" if bar.weights else bar.covariance
    return replace(bar, intercept=False, terms=tuple(terms), covariance=independent)


def check_alone(part: Part, columns: Iterable[Column], own: Responses, context: Context) -> None:
    """Refuse what several responses cannot have: a response on the right side, and names of the stacked rows.

    Raises
    ------
    FormulaError
    """
    for column in columns:
        if column.name in own.names:
            message = f"the response {quote(column.name)} also stands on the right side; take it out there"
            raise context.error(column.span, message)
        if column.name in (RESPONSE, ROW):
            raise context.error(column.span, _reserved(column.name))
    for call in part.offsets:
        if call.function in context.residuals:
            message = f"{text_of(call)} is for one response; the residuals of mvbind() are correlated within a row"
            raise context.error(call.span, message)


def check_additions(names: Iterable[str], expr: Expr | None, context: Context) -> None:
    """Refuse what stands after the bar of the responses, weights excepted."""
    other = [name for name in names if name != "weights"]
    if other:
        message = f"{other[0]}() is possible for one response; mvbind() may have weights() after its bar"
        raise context.error(expr.span, message)
