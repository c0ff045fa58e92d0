"""The functions that a formula may call: a fixed table of names and argument kinds, and the check of calls against it.

Nothing is evaluated here. The table is closed: a name that is not in it, and not among the user's own, is an error.
Standard library only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from bayesmm.errors import FormulaError, listing, suggest
from bayesmm.formula.elsewhere import ELSEWHERE, LEVEL_ADVICE
from bayesmm.formula.expressions import (
    SMOOTHS,
    Call,
    Column,
    Expr,
    Number,
    Operation,
    Span,
    Symbol,
    Text,
    column_nodes,
    literal,
)
from bayesmm.formula.tokens import brief, quote, underline

MAX_POWER = 10  # a literal power beyond this leaves the range where a float column keeps its digits
MAX_COLUMNS = 20_000  # no basis may be asked for more columns than a design matrix can hold


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: `kind` is column (a row-wise expression), labels, series (a column whose values tell rows apart),
    visits (a column as a factor), matrix (one that is given beside the formula), whole, numbers, logical, basis or
    contrast.

    `default` is None where the argument must be given, and an empty text where leaving it out has a meaning of its own.
    """

    name: str
    kind: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and gives.

    `gives` is ``"column"`` (one number per row), ``"columns"`` (a basis of several), ``"factor"``, ``"smooth"``, or the
    name of a place in the formula: ``"offset"``, ``"weights"``, ``"trials"``, ``"cens"``, ``"trunc"``, ``"response"``.
    `advice` says what to write for a usual misuse.
    """

    parameters: tuple[Parameter, ...]
    gives: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """What ``C(f, ...)`` asks for: the kind of coding, a value of `CONTRASTS`, and a reference level or None."""

    kind: str
    reference: str | float | None = None


_X = Parameter("x", "column")
_ONE = Signature((_X,), "column")
_DF = Parameter("df", "whole", "")
_KNOTS = Parameter("knots", "numbers", "")
_ENDS = (Parameter("intercept", "logical", "FALSE"), Parameter("Boundary.knots", "numbers", ""))
_CENTER_ADVICE = "center(x) subtracts the mean, scale(x) also divides by the standard deviation"
_SCALE = Signature((_X,), "column", _CENTER_ADVICE)
_K, _BS = Parameter("k", "numbers", ""), Parameter("bs", "basis", "")

_CENS_ADVICE = "c is none, left, right or interval in each row, and of an interval y and y2 are the ends"
_TRUNC_ADVICE = "as in y | trunc(lb = 0, ub = 10) ~ x; at least one of the two is given"

FUNCTIONS: Mapping[str, Signature] = MappingProxyType(
    {
        "I": _ONE,
        "log": Signature((_X,), "column", "for other bases there are log2(x) and log10(x)"),
        "log2": _ONE,
        "log10": _ONE,
        "log1p": _ONE,
        "exp": _ONE,
        "expm1": _ONE,
        "sqrt": _ONE,
        "abs": _ONE,
        "center": Signature((_X,), "column", _CENTER_ADVICE),
        "scale": _SCALE,
        "standardize": _SCALE,
        "poly": Signature((_X, Parameter("degree", "whole", "1"), Parameter("raw", "logical", "FALSE")), "columns"),
        "bs": Signature((_X, _DF, _KNOTS, Parameter("degree", "whole", "3"), *_ENDS), "columns"),
        "ns": Signature((_X, _DF, _KNOTS, *_ENDS), "columns"),
        "s": Signature((_X, _K, _BS, Parameter("by", "labels", "")), "smooth"),
        "t2": Signature((_X, Parameter("z", "column"), _K, _BS), "smooth"),
        "factor": Signature((Parameter("x", "labels"),), "factor", LEVEL_ADVICE),
        "C": Signature((Parameter("f", "labels"), Parameter("contr", "contrast", "")), "factor", LEVEL_ADVICE),
        "offset": Signature((_X,), "offset"),
        "weights": Signature((_X,), "weights"),
        "trials": Signature((_X,), "trials"),
        "cens": Signature((Parameter("c", "column"), Parameter("y2", "column", "")), "cens", _CENS_ADVICE),
        "trunc": Signature((Parameter("lb", "column", ""), Parameter("ub", "column", "")), "trunc", _TRUNC_ADVICE),
        "cbind": Signature((Parameter("successes", "column"), Parameter("failures", "column")), "response"),
    }
)

# Spellings of one and the same function; nothing of NumPy is ever looked up.
_NUMPY = ("log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs")
_ROW_WISE = ("I", *_NUMPY)  # these alone may be applied to a constant, as in I(x/log(2))
_EXPECTED = {
    "series": "a column of the data",
    "visits": "a column of the data",
    "matrix": "the name of a matrix that is given as matrices={'V': ...}",
    "whole": f"a whole number from 1 to {MAX_COLUMNS:,}",
    "numbers": "a number or c(...) of numbers",
    "logical": "TRUE or FALSE",
    "basis": "one of 'tp', 'cr' and 'ps' in quotes",
}
ALIASES: Mapping[str, str] = MappingProxyType(
    {f"{prefix}.{name}": name for prefix in ("np", "numpy") for name in _NUMPY} | {"as.factor": "factor"}
)

# Spellings (R's functions, R's short names inside C(), patsy's and formulaic's) -> the kind of coding.
CONTRASTS: Mapping[str, str] = MappingProxyType(
    {
        spelling: kind
        for kind in ("Treatment", "Sum", "Helmert", "Poly", "Diff", "SAS")
        for spelling in (kind, f"contr.{kind.lower()}", kind.lower())
    }
    | {"contr.SAS": "SAS", "contr.sdif": "Diff"}
)

_KINDS = listing(dict.fromkeys(CONTRASTS.values()))


@dataclass(frozen=True, slots=True)
class Context:
    """What a check needs to know: the formula's text, for its errors, and the names of the user's own functions.

    `structures` are the names of the covariance structures, which stand before group terms, `residuals` the residual
    structures with their arguments.
    """

    text: str
    transforms: frozenset[str] = frozenset()
    structures: frozenset[str] = frozenset()
    residuals: Mapping[str, Signature] = MappingProxyType({})

    def error(self, span: Span, message: str) -> FormulaError:
        """Return the error that underlines a place of the formula."""
        return underline(self.text, span, message)

    def source(self, span: Span) -> str:
        """Return the text of a place for a sentence."""
        return brief(self.text[slice(*span)])


def gives(expr: Expr) -> str:
    """Return what a checked expression stands for: ``"column"``, or what its function's `Signature` says."""
    return FUNCTIONS[expr.function].gives if isinstance(expr, Call) and expr.function in FUNCTIONS else "column"


def arguments_of(call: Call, signature: Signature | None = None) -> dict[str, Expr]:
    """Match the arguments of a checked call to the names of its function's parameters, as R does.

    Parameters
    ----------
    call : Call
        A call of a function of the table `FUNCTIONS` (not one of the user's), or of another with this `signature`.
    signature : Signature, optional

    Returns
    -------
    dict of str to Expr
        Only the arguments that were given; `literal` reads the constants among them.
    """
    named, signature = dict(call.keywords), signature or FUNCTIONS[call.function]
    free = [parameter.name for parameter in signature.parameters if parameter.name not in named]
    return dict(zip(free, call.arguments, strict=False)) | named


def contrast_of(call: Call) -> Contrast:
    """Return the coding that a checked ``C(f, ...)`` or ``factor(f)`` asks for: treatment where it names none."""
    match arguments_of(call).get("contr"):
        case Symbol(name):
            return Contrast(CONTRASTS[name])
        case Call(function, arguments, keywords):
            values = [*arguments, *(value for _, value in keywords)]
            return Contrast(CONTRASTS[function], literal(values[0]) if values else None)
    return Contrast("Treatment")


def check_transforms(names: frozenset[str], residuals: Iterable[str] = ()) -> None:
    """Refuse user functions whose names the table, or a residual structure, already has."""
    for name in sorted(names & {*FUNCTIONS, *ALIASES, *residuals, "c"}):
        raise FormulaError(f"transforms: {quote(name)} is already a function of formulas; give yours another name")


def checked(expr: Expr, context: Context) -> Expr:
    """Return the expression with aliases and constants resolved, after every call and operand was checked.

    Raises
    ------
    FormulaError
        For an unknown function, a wrong number or kind of arguments, a text or ``TRUE`` where a number per row is
        expected, a basis or factor inside arithmetic, and a literal power beyond `MAX_POWER`.
    """
    match expr:
        case Column() | Number():
            return expr
        case Text(value):
            plain, named = value.isidentifier(), brief(value)
            how = f"{named} without the quotes" if plain else f"`{named}`, in back-ticks instead of quotes"
            message = f"a text in quotes is no column; for the column write {how}"
            raise context.error(expr.span, message)
        case Symbol(name):
            advice = "it is a value of arguments such as raw = TRUE, and a column of that name stands in back-ticks"
            raise context.error(expr.span, f"{name} cannot stand here: {advice}")
        case Operation():
            return _checked_operation(expr, context)
        case Call():
            return _checked_call(expr, context)
        case _:
            assert_never(expr)


def checked_residual(call: Call, context: Context) -> Call:
    """Return the call of a residual structure with its arguments checked."""
    return _with_arguments(call, context.residuals[call.function], context)


def one_column(expr: Expr, context: Context) -> Expr:
    """Return the checked expression, which must give one number per row."""
    result = checked(expr, context)
    if gives(result) != "column":
        kind = {"columns": "several columns", "factor": "a factor", "smooth": "a smooth"}.get(
            gives(result), f"the formula's {gives(result)}"
        )
        message = f"{result.function}() gives {kind}, which cannot stand inside arithmetic or another function"
        raise context.error(expr.span, message)
    return result


def _checked_operation(expr: Operation, context: Context) -> Operation:
    power = literal(expr.operands[1]) if expr.operator == "^" else 0.0
    if isinstance(power, float) and abs(power) > MAX_POWER:
        message = f"the power is {power:g}; literal powers go from -{MAX_POWER} to {MAX_POWER}"
        raise context.error(expr.operands[1].span, message)
    beside_text = [other for other in expr.operands if not isinstance(other, Text)]
    if len(beside_text) < len(expr.operands):
        if expr.operator not in ("==", "!=") or not (beside_text and isinstance(beside_text[0], Column)):
            message = "a text in quotes can only be compared with a column, as in x == 'text' or x != 'text'"
            raise context.error(expr.span, message)
    operands = [part if isinstance(part, Text) else one_column(part, context) for part in expr.operands]
    return replace(expr, operands=tuple(operands))


def _checked_call(call: Call, context: Context) -> Call:
    if call.function in context.transforms:
        return replace(
            call,
            arguments=tuple(_free_argument(value, context) for value in call.arguments),
            keywords=tuple((key, _free_argument(value, context)) for key, value in call.keywords),
        )
    name = ALIASES.get(call.function, call.function)
    if name in context.residuals:
        message = f"{name}() describes the residuals: it stands between '+' signs and is part of no term"
        raise context.error(call.span, message)
    if name not in FUNCTIONS:
        place = (call.span[0], call.span[0] + len(call.function))
        raise context.error(place, _unknown(call.function, context))
    return _with_arguments(replace(call, function=name), FUNCTIONS[name], context)


def _with_arguments(call: Call, signature: Signature, context: Context) -> Call:
    """Return the call with each of its arguments checked against the kind of its parameter."""
    name = call.function
    if name in SMOOTHS:
        _check_variables(call, signature, context)
    kinds = _kinds(call, signature, context)
    count = len(call.arguments)
    arguments = tuple(
        _argument(value, kind, context) for value, kind in zip(call.arguments, kinds[:count], strict=True)
    )
    keywords = zip(call.keywords, kinds[count:], strict=True)
    keywords = tuple((key, _argument(value, kind, context)) for (key, value), kind in keywords)
    result = replace(call, arguments=arguments, keywords=keywords)
    of_columns = name not in (*_ROW_WISE, "trials", "trunc") and "matrix" not in kinds
    if of_columns and next(column_nodes(result), None) is None:
        raise context.error(call.span, f"{name}() names no column of the data")
    return result


def _check_variables(call: Call, signature: Signature, context: Context) -> None:
    """Refuse a smooth of more variables than there can be: all that is not a variable is named."""
    variables = [p.name for p in signature.parameters if p.default is None]
    if len(call.arguments) > len(variables):
        usage = "a smooth curve is s(x, k = 10, bs = 'cr', by = f), a surface t2(x, z)"
        message = f"{call.function}() is of {len(variables)} variable{'s' * (len(variables) > 1)} and is given"
        raise context.error(call.span, f"{message} {len(call.arguments)} without a name; {usage}")


def _unknown(name: str, context: Context) -> str:
    if name in ELSEWHERE:
        return f"{quote(name)} is not a function that formulas know; {ELSEWHERE[name]}"
    if name in context.structures:
        return f"{quote(name)} is the covariance structure of a group term, which has a bar, as in {name}(x | g)"
    known = [*FUNCTIONS, *context.residuals, *sorted(context.transforms)]
    choices = f"{listing(known, limit=40)}, and your own, given as transforms={{{quote(name)}: function}}"
    return f"{quote(name)} is not a function that formulas know; they know {choices}{suggest(name, known)}"


def _kinds(call: Call, signature: Signature, context: Context) -> list[str]:
    """Match arguments to parameters as R does, names first, then positions; return the kind of each, as written."""
    parameters, usage = {parameter.name: parameter for parameter in signature.parameters}, _usage(call, signature)
    named = [key for key, _ in call.keywords]
    for key, value in call.keywords:
        if key not in parameters:
            place = (context.text.rfind(key, call.span[0], value.span[0]), value.span[1])
            message = f"{call.function}() has no argument {quote(key)}; {usage}{suggest(key, parameters)}"
            raise underline(context.text, place, message)
        if named.count(key) > 1:
            raise context.error(call.span, f"{call.function}() is given {key} twice; {usage}")
    free = [name for name in parameters if name not in named]
    given = len(call.arguments) + len(named)
    if len(call.arguments) > len(free):
        message = f"{call.function}() is given {given} arguments and takes {len(parameters)}; {usage}"
        raise context.error(call.span, message)
    for name in free[len(call.arguments) :]:
        if parameters[name].default is None:
            raise context.error(call.span, f"{call.function}() lacks its argument {name}; {usage}")
    return [parameters[name].kind for name in [*free[: len(call.arguments)], *named]]


def _usage(call: Call, signature: Signature) -> str:
    parts = [f"{p.name} = {p.default}" if p.default else p.name for p in signature.parameters]
    usage = f"it is written {call.function}({', '.join(parts)})"
    return f"{usage}; {signature.advice}" if signature.advice else usage


def _argument(expr: Expr, kind: str, context: Context) -> Expr:
    """Return one argument checked against its parameter's kind."""
    value = literal(expr)
    match kind:
        case "column":
            return one_column(expr, context)
        case "labels":
            result = checked(expr, context)
            return result if isinstance(result, Call) and result.function == "factor" else one_column(expr, context)
        case "series" if isinstance(expr, Column):
            return expr
        case "visits" if isinstance(expr, Column):
            return Call("factor", (expr,), (), expr.span)
        case "matrix" if isinstance(expr, Column):
            return Symbol(expr.name, expr.span)
        case "whole" if isinstance(value, float) and value.is_integer() and 1 <= value <= MAX_COLUMNS:
            return expr
        case "numbers" if isinstance(value, float | tuple):
            return expr
        case "basis" if value in ("tp", "cr", "ps"):
            return expr
        case "logical" if isinstance(value, bool):
            return expr
        case "logical" if isinstance(expr, Column) and expr.name in ("T", "F"):
            return Symbol("TRUE" if expr.name == "T" else "FALSE", expr.span)
        case "contrast":
            return _contrast(expr, context)
    found = context.source(expr.span)
    found = found if found[:1] in ("'", '"') else f"'{found}'"
    raise context.error(expr.span, f"found {found} where {_EXPECTED[kind]} is expected")


def _contrast(expr: Expr, context: Context) -> Expr:
    """Return the second argument of ``C()``: a `Symbol`, or a `Call` of Treatment with its reference level."""
    match expr:
        case Column(name) | Text(name) | Call(name, (), ()) if name in CONTRASTS:
            return Symbol(name, expr.span)
        case Call(name, (level,), ()) | Call(name, (), (("reference", level),)) if CONTRASTS.get(name) == "Treatment":
            if isinstance(literal(level), str | float):
                return expr
            message = f"the reference of {name}() is a level, in quotes if it is a text, as in {name}('a')"
            raise context.error(level.span, message)
        case Call(name) if name in CONTRASTS:
            takes = "one argument, the reference level" if CONTRASTS[name] == "Treatment" else "no arguments"
            raise context.error(expr.span, f"{name}() takes {takes}; {LEVEL_ADVICE}")
        case Column(name) | Text(name) | Call(name):
            message = f"{quote(name)} is not a contrast; the contrasts are {_KINDS}{suggest(name, CONTRASTS)}"
            raise context.error(expr.span, message)
    raise context.error(expr.span, f"a contrast is expected here; the contrasts are {_KINDS}")


def _free_argument(expr: Expr, context: Context) -> Expr:
    """Return an argument of a user's function: any literal, or an expression that gives one number per row."""
    return expr if literal(expr) is not None else one_column(expr, context)
