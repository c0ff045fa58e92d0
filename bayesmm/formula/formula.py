r"""Formulas: the text of a mixed model, in the language of lme4, read into plain records.

    >>> formula = parse("Reaction ~ Days + (Days | Subject)")
    >>> [term.label for term in formula.terms], [bar.label for bar in formula.bars]
    (['Days'], ['Subject'])

The grammar is closed: a name is a column of the data and nothing else, a function is one of the table `FUNCTIONS` or of
the names given as `transforms` or `residuals`, and nothing in a formula is ever evaluated here or handed to an
evaluator of code.

    formulas    = formula , { ";" , parameter , "~" , terms } ;                     (* or one text for each *)
    formula     = ( response | "mvbind" , "(" , columns , ")" ) , "~" , terms ;   (* then "|" weights alone *)
    response    = arithmetic , [ "|" , addition , { "+" , addition } ] ;
    addition    = ( "weights" | "trials" ) , "(" , arithmetic , ")" | call ;      (* each once; cens, trunc, se *)

    terms       = [ sign ] , product , { sign , product } ;
    product     = interaction , { ( "*" | "/" ) , interaction } ;
    interaction = power , { ":" , power } ;
    power       = operand , [ ( "^" | "**" ) , number ] ;
    operand     = "0" | "1" | column | call | "(" , terms , ")" | group ;              (* a call may be a residual's *)
    group       = "(" , terms , bars , factors , ")" | structure , "(" , terms , bars , factors , ")" ;
    bars        = "|" | "||" | "|" , name , "|" ;    (* a name: correlated over several formulas, or responses *)
    factors     = factor , { ( "/" | ":" ) , factor } ;
    factor      = column | ( "factor" | "C" ) , "(" , column , ")" | "(" , factors , ")" ;

    call        = name , "(" , [ argument , { "," , argument } ] , ")" ;
    argument    = [ name , "=" ] , ( arithmetic | text | constant ) ;
    arithmetic  = side , [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) , side ] ;
    side        = sum | text ;                                (* a text only beside a column, in == and != *)
    sum         = scaled , { ( "+" | "-" ) , scaled } ;
    scaled      = signed , { ( "*" | "/" ) , signed } ;
    signed      = { sign } , raised ;
    raised      = atom , [ ( "^" | "**" ) , signed ] ;
    atom        = number | column | call | "(" , arithmetic , ")" ;

    column      = name | "`" , any characters , "`" ;         (* there \` and \\ stand for ` and \ *)
    structure   = name ;                                      (* one of the names given as `structures` *)
    name        = ( letter | "_" | "." ) , { letter | digit | "_" | "." | combining mark } ;
    number      = digits , [ "." , [ digits ] ] , [ exponent ] , [ "L" ] | "." , digits , [ exponent ] ;
    text        = "'" , any characters , "'" | '"' , any characters , '"' ;       (* there \ before a quote or \ *)
    constant    = "TRUE" | "FALSE" | the name of a contrast ;
    sign        = { "+" | "-" }- ;

Terms are expanded and ordered as R's ``terms()`` does it: main effects first, then interactions by their order, each in
the order of the text; a term's factors in the order in which the formula first names them; repeats once.

Limits, applied before the work that they bound: 20,000 characters, 60 open brackets, 2,000 terms (counted while
expanding), 100 operators in one arithmetic expression, powers up to 10. Standard library only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from bayesmm.errors import FormulaError
from bayesmm.formula.additions import BESIDE, additions_of
from bayesmm.formula.expansion import Term, Work, expand, specific_parts
from bayesmm.formula.expressions import (
    SMOOTHS,
    Call,
    Column,
    Expr,
    Number,
    Operation,
    Symbol,
    Text,
    column_nodes,
    literal,
    quoted_name,
    text_of,
)
from bayesmm.formula.functions import (
    FUNCTIONS,
    Context,
    Contrast,
    Parameter,
    Signature,
    arguments_of,
    check_transforms,
    checked,
    contrast_of,
    gives,
)
from bayesmm.formula.grouping import Bar, bars_of
from bayesmm.formula.of_parameters import Scale, check_groups, factors_of_parameters, scales_of
from bayesmm.formula.parser import BARS, SPECIFIC, Sides, read
from bayesmm.formula.repeats import check_offsets, check_smooths
from bayesmm.formula.responses import (
    Responses,
    bars_of_responses,
    check_additions,
    check_alone,
    crossed,
    is_several,
    responses_of,
)
from bayesmm.formula.texts import texts_of
from bayesmm.formula.tokens import quote, underline

__all__ = [
    "FUNCTIONS",
    "Bar",
    "Call",
    "Column",
    "Contrast",
    "Expr",
    "Formula",
    "Number",
    "Operation",
    "Parameter",
    "Signature",
    "Symbol",
    "Term",
    "Text",
    "arguments_of",
    "column_nodes",
    "columns_of",
    "contrast_of",
    "gives",
    "literal",
    "parse",
    "quoted_name",
    "text_of",
    "underline",
]


SCALES = ("sigma",)  # parameters that may have a formula of their own, where nobody names others


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula that was read; two formulas are equal where they say the same, however they are spaced.

    Attributes
    ----------
    text : str
        The text as it was given; the spans of all records refer to it.
    response : Expr
        The left side: one value per row, ``cbind(successes, failures)``, or ``successes / trials`` of a binomial.
    intercept : bool
        Whether the fixed part has an intercept.
    terms : tuple of Term
        The fixed part, expanded and in R's order.
    bars : tuple of Bar
        The group terms, in the order of the text, ``a/b`` expanded; those of the formulas of parameters last.
    offsets : tuple of Expr
        What stands inside each ``offset( )``, to be added to the linear predictor (on the scale of the link).
    weights : Expr or None
        What stands inside ``y | weights( )``.
    trials : Expr or None
        What stands inside ``y | trials( )``.
    residuals : tuple of Call
        The residual structures that the formula names: known standard errors, correlations.
    scales : tuple of Scale
        The formulas of sigma and of other parameters of the family.
    cens, trunc : Call or None
        What says how the response is censored, ``y | cens(c, y2)``, and truncated, ``y | trunc(lb = 0)``.
    several : Responses or None
        The columns of ``mvbind(y1, y2)``: all else is the formula of their stacked rows, see `responses`.
    """

    text: str = field(compare=False)
    response: Expr
    intercept: bool
    terms: tuple[Term, ...]
    bars: tuple[Bar, ...]
    offsets: tuple[Expr, ...]
    weights: Expr | None
    trials: Expr | None
    residuals: tuple[Call, ...] = ()
    scales: tuple[Scale, ...] = ()
    cens: Call | None = None
    trunc: Call | None = None
    several: Responses | None = None

    @property
    def limits(self) -> tuple[Call, ...]:
        """How the response is known: the calls of cens() and trunc() that there are."""
        return tuple(call for call in (self.cens, self.trunc) if call is not None)

    @property
    def smooths(self) -> tuple[Call, ...]:
        """The penalised smooths among the terms, ``s(x)`` and ``t2(x, z)``."""
        alone = (term.factors[0] for term in self.terms if len(term.factors) == 1)
        return tuple(expr for expr in alone if isinstance(expr, Call) and expr.function in SMOOTHS)


def parse(
    text: str | Sequence[str],
    transforms: Iterable[str] = (),
    structures: Iterable[str] = tuple(BARS.values()),
    residuals: Mapping[str, Signature] = MappingProxyType({}),
    parameters: Sequence[str] = SCALES,
    several: bool = False,
) -> Formula:
    """Read a formula.

    Parameters
    ----------
    text : str or sequence of str
        Such as ``"Reaction ~ Days + (Days | Subject)"``; line breaks are blanks. Of several formulas the first is that
        of the mean, the others are of a parameter each, ``"sigma ~ f"``; one text has semicolons between them.
    transforms : iterable of str
        Names of the user's own functions. A call of one gives one number per row and its arguments are free; the
        functions themselves are not needed here.
    structures : iterable of str
        Names of the covariance structures that may stand before the bracket of a group term, ``us(x | g)``.
    residuals : mapping of str to Signature
        The residual structures that a formula may name, with their arguments.
    parameters : sequence of str
        Names of the parameters that may have a formula of their own.
    several : bool
        Whether one formula is of several linear predictors, whose effects a name between two bars correlates.

    Returns
    -------
    Formula

    Raises
    ------
    FormulaError
        With one sentence that says what was found and what to write, and the place underlined.
    """
    names, known = frozenset(transforms), frozenset(structures)
    check_transforms(names, residuals)
    first, *others = texts_of(text)
    formula = _of_mean(first, names, known, residuals, several or bool(others))
    if not others:
        return formula
    if formula.several is not None:
        raise FormulaError(f"'{others[0]}' is of one response, and mvbind() has several, each with a sigma of its own")
    scales, bars = scales_of(others, names, known, residuals, parameters)
    texts = {scale.name: scale.text for scale in scales}
    check_groups(formula, bars, texts)
    for name, exprs in factors_of_parameters(scales, bars):
        _check_sides(formula.response, exprs, Context(texts[name], names, known, residuals))
    text = "; ".join([first, *others])
    return replace(formula, text=text, scales=(*formula.scales, *scales), bars=(*formula.bars, *bars))


def _of_mean(
    text: str, names: frozenset, known: frozenset, residuals: Mapping[str, Signature], several: bool = False
) -> Formula:
    """Return the formula of the mean."""
    sides = read(text, known, several)
    context = Context(text, names, known, residuals)
    if is_several(sides.response):
        return _of_several(sides, context)
    response, additions = _response(sides.response, context), additions_of(sides.condition, context)
    work = Work(context)
    part = expand(sides.right, work)
    calls = tuple(call for call in part.offsets if call.function not in residuals)
    offsets = tuple(arguments_of(call)["x"] for call in calls)
    bars = bars_of(part.groups, work)
    sums = (part.intercept is not False, part.terms, bars, offsets)
    own = _residuals([call for call in part.offsets if call not in calls], context)
    beside = tuple(value for name, value in additions.items() if name in residuals)
    known = {name: additions.get(name) for name in ("weights", "trials", "cens", "trunc")}
    scales = tuple(Scale(own, SPECIFIC, *rest) for own, *rest in specific_parts(part.specific, work))
    formula = Formula(text, response, *sums, residuals=(*beside, *own), scales=scales, **known)
    check_offsets(calls, context)
    check_smooths(formula.smooths, context)
    right = (*_factors(formula), *scale_factors(formula), *_right_nodes(formula))
    _check_sides(response, [*right, *(node for expr in scale_factors(formula) for node in column_nodes(expr))], context)
    return formula


def _of_several(sides: Sides, context: Context) -> Formula:
    """Return the formula of several responses: that of their stacked rows."""
    response, several = responses_of(sides.response, context)
    additions, work = additions_of(sides.condition, context), Work(context)
    check_additions(additions, sides.condition, context)
    part = expand(sides.right, work)
    if part.specific:
        raise context.error(part.specific[0].span, "cs() is for ordered responses, and those of mvbind() are numbers")
    bars = bars_of(part.groups, work)
    offsets = tuple(arguments_of(call)["x"] for call in part.offsets if call.function == "offset")
    weights = additions.get("weights")
    plain = Formula(context.text, response, True, part.terms, bars, offsets, weights, None)
    check_alone(part, [*_right_nodes(plain), *(column_nodes(weights) if weights is not None else ())], several, context)
    check_offsets(part.offsets, context)
    check_smooths(plain.smooths, context)
    terms = crossed(part.terms, part.intercept is not False, context)
    return replace(plain, intercept=False, terms=terms, bars=bars_of_responses(bars, context), several=several)


def columns_of(part: Formula | Expr) -> tuple[str, ...]:
    """Return the names of the data columns of a formula or an expression, each once, in the order of the text."""
    nodes = _nodes(part) if isinstance(part, Formula) else column_nodes(part)
    return tuple(dict.fromkeys(node.name for node in sorted(nodes, key=lambda node: node.span)))


def scale_factors(formula: Formula) -> list[Expr]:
    """Return the variables of the formulas of sigma and other parameters, each once."""
    return list(dict.fromkeys(expr for scale in formula.scales for term in scale.terms for expr in term.factors))


def _nodes(formula: Formula) -> Iterator[Column]:
    if formula.several is not None:
        yield from formula.several.columns
    else:
        yield from column_nodes(formula.response)
    for expr in scale_factors(formula):
        yield from column_nodes(expr)
    for addition in (formula.weights, formula.trials, *formula.limits):
        if addition is not None:
            yield from column_nodes(addition)
    yield from _right_nodes(formula)


def _right_nodes(formula: Formula) -> Iterator[Column]:
    for expr in (*_factors(formula), *formula.offsets, *formula.residuals):
        yield from column_nodes(expr)
    for bar in formula.bars:
        yield from bar.group if bar.by is None else (*bar.group, bar.by)
        for weight in bar.weights:
            yield from column_nodes(weight)


def _factors(formula: Formula) -> Iterator[Expr]:
    for term in (*formula.terms, *(term for bar in formula.bars for term in bar.terms)):
        yield from term.factors


def _response(expr: Expr, context: Context) -> Expr:
    result = checked(expr, context)
    if gives(result) not in ("column", "response"):
        wanted = "a column or an expression of columns, such as log(y) or cbind(successes, failures)"
        raise context.error(expr.span, f"{quote(text_of(result))} cannot be the response, which is {wanted}")
    if not columns_of(result):
        raise context.error(expr.span, f"the response {quote(text_of(result))} names no column of the data")
    return result


def _residuals(calls: list[Call], context: Context) -> tuple[Call, ...]:
    """Return the residual structure on the right side of a formula, none or one."""
    for call in calls:
        if context.residuals[call.function].gives == BESIDE:
            message = f"{call.function}() stands after the bar of the response, as in y | {text_of(call)} ~ x"
            raise context.error(call.span, message)
    if len(calls) > 1:
        first, second = (text_of(call) for call in calls[:2])
        message = f"a model has one residual structure, and here are {quote(first)} and {quote(second)}; leave one out"
        raise context.error(calls[1].span, message)
    return tuple(calls)


def _check_sides(response: Expr, right: Iterable[Expr], context: Context) -> None:
    """Refuse a response that also stands on the right: alone in its column, or as the very same expression."""
    names = columns_of(response)
    for node in right:
        # A response of several columns may share one of them with the right side, as in I(post - pre) ~ pre.
        if node == response or (isinstance(node, Column) and names == (node.name,)):
            message = f"the response {quote(text_of(node))} also stands on the right side; take it out there"
            raise context.error(node.span, message)
