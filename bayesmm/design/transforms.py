"""The evaluation of a formula's expressions on the data: arithmetic and the functions of the closed table.

NumPy only, and nothing is looked up by name but data columns, the table of functions and the user's own. What a
function learns from the data of the fit (means, knots, levels) is kept per expression and used again for later data.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.design.bases import Basis, RawPolynomial, columns_of_basis, learn_polynomial, learn_spline
from bayesmm.design.coding import Factor, Levels, Numbers
from bayesmm.design.factors import factor_value, remedy
from bayesmm.design.series import aligned, as_numbers, has_index
from bayesmm.design.smooth_rows import MAY_BEND, SmoothRows, fixed_columns, learn_rows, straight_levels
from bayesmm.design.smooths import beyond
from bayesmm.design.state import Centring, Scope
from bayesmm.design.variables import KIND_NAMES, NUMERIC, Variable, observed_levels
from bayesmm.errors import DataError, listing, suggest
from bayesmm.formula.formula import (
    FUNCTIONS,
    SMOOTHS,
    Call,
    Column,
    Expr,
    Number,
    Operation,
    Text,
    arguments_of,
    literal,
    text_of,
)
from bayesmm.runtime.messages import count, label_text, warning

LARGEST = 1e150  # beyond its square a double overflows (1.8e308), and sums of squares are what every fit is made of
SMALLEST = 1e-100  # a column nowhere larger: its coefficient's variance, in units of y^2 / x^2, may overflow; ours
EXACT = 2.0**53  # up to which every whole number is a float64
LOST_SHARE = 1e-8  # of the range of whole numbers beyond, which rounding may take: seven digits are left; ours


def evaluate(expr: Expr, scope: Scope) -> Numbers | Factor:
    """Return the value of an expression of the formula for every row.

    Raises
    ------
    DataError
        A value is not finite, too large, of the wrong kind, or a level that the data of the fit do not have.
    """
    match expr:
        case Column(name) if scope.variables[name].kind not in NUMERIC:
            return factor_value(expr, scope.variables[name], scope)
        case Call(function) if function in ("C", "factor"):
            return _called_factor(expr, scope)
        case Call(function) if function in ("poly", "bs", "ns"):
            return _basis(expr, scope)
        case Call(function) if function in SMOOTHS:
            return fixed_columns(smooth_rows(expr, scope), expr)
    return Numbers(numeric(expr, scope)[:, None])


def numeric(expr: Expr, scope: Scope) -> np.ndarray:
    """Return the value of an expression that gives one number per row, shape (n,)."""
    match expr:
        case Number(value):
            return np.full(len(scope.rows), value)
        case Column(name):
            return _number_column(expr, scope.variables[name], scope)
        case Operation():
            result = _operation(expr, scope)
        case Call():
            result = _call(expr, scope)
        case _:
            raise DataError(f"{text_of(expr)} is no number; expected a column or a calculation with columns")
    _check_finite(expr, result, scope)
    return result


# ----------------------------------------------------------------------------------------------------------------------
# columns


def _number_column(expr: Column, variable: Variable, scope: Scope) -> np.ndarray:
    if variable.kind not in NUMERIC:
        raise DataError(f"'{expr.name}' holds {KIND_NAMES[variable.kind]} where numbers are expected{remedy(variable)}")
    known = scope.state(expr, lambda: variable.kind)
    if isinstance(known, Levels):
        had = f"'{expr.name}' had levels ({listing(map(label_text, known.labels))}) in the data of the fit"
        raise DataError(f"{had} and holds {KIND_NAMES[variable.kind]} now; expected the same kind")
    return _as_floats(expr.name, variable.values)


def _as_floats(name: str, values: np.ndarray) -> np.ndarray:
    """Return values as float64, of which whole numbers beyond 2^53 keep their first 53 bits.

    Raises
    ------
    DataError
        That is too coarse for their differences, which are what a model is fitted to.
    """
    floats = values.astype(np.float64)
    if values.dtype.kind not in "iu" or not len(values) or np.abs(floats).max() <= EXACT:
        return floats
    least = values.min()
    exact = values.astype(np.uint64) - least.astype(np.uint64)  # modulo 2^64, as the differences are below it
    spread, lost = int(exact.max()), np.abs(floats - np.float64(least) - exact).max()
    if lost > LOST_SHARE * spread:
        raise DataError(
            f"'{name}' holds whole numbers from {int(least):,} to {int(values.max()):,}, which as floating-point "
            f"numbers are known to the nearest {np.spacing(np.abs(floats).max()):,.0f}, too coarse for their "
            f"differences; subtract one of them from all first, as in data[{name!r}] - data[{name!r}].min()"
        )
    return floats


def check_columns(scope: Scope) -> None:
    """Raise a DataError for a numeric column with infinite values or with values that overflow when squared."""
    for name, variable in scope.variables.items():
        if variable.kind != "number" or variable.values.dtype != np.float64:
            continue
        infinite = np.isinf(variable.values)
        if infinite.any():
            raise DataError(f"'{name}' is infinite in {scope.rows.text(infinite)}; expected finite numbers")
        _check_size(f"'{name}'", variable.values, scope)


def _check_size(what: str, values: np.ndarray, scope: Scope) -> None:
    large = np.abs(values) > LARGEST
    if large.any():
        raise DataError(
            f"{what} is as large as {np.max(np.abs(values)):.3g} in {scope.rows.text(large)}; expected values below "
            f"{LARGEST:g}, whose squares a computer can hold"
        )
    largest = np.max(np.abs(values), initial=0.0)
    if scope.learning and 0 < largest < SMALLEST:
        raise DataError(
            f"{what} is nowhere larger than {largest:.3g}; expected values above {SMALLEST:g}, so take another unit"
        )


# ----------------------------------------------------------------------------------------------------------------------
# factors


def _called_factor(call: Call, scope: Scope) -> Factor:
    given = arguments_of(call)
    inner = given.get("x", given.get("f"))
    if isinstance(inner, Column):
        variable = scope.variables[inner.name]
    else:
        values = numeric(inner, scope)
        variable = Variable(text_of(inner), "number", values, (), np.zeros(len(values), dtype=bool))
    return factor_value(call, variable, scope)


# ----------------------------------------------------------------------------------------------------------------------
# arithmetic and functions of one number per row

_ARITHMETIC: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "+": np.add,
        "-": np.subtract,
        "*": np.multiply,
        "/": np.divide,
        "^": np.power,
        "==": np.equal,
        "!=": np.not_equal,
        "<": np.less,
        "<=": np.less_equal,
        ">": np.greater,
        ">=": np.greater_equal,
    }
)
_ONE_NUMBER: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "I": np.positive,
        "log": np.log,
        "log2": np.log2,
        "log10": np.log10,
        "log1p": np.log1p,
        "exp": np.exp,
        "expm1": np.expm1,
        "sqrt": np.sqrt,
        "abs": np.abs,
    }
)
_CENTRING = ("center", "scale", "standardize")


def _operation(expr: Operation, scope: Scope) -> np.ndarray:
    if any(isinstance(operand, Text) for operand in expr.operands):
        return _equals_text(expr, scope)
    operands = [numeric(operand, scope) for operand in expr.operands]
    if len(operands) == 1:
        return np.negative(operands[0])
    with np.errstate(all="ignore"):  # what is not finite becomes a DataError with its rows
        return _ARITHMETIC[expr.operator](*operands).astype(np.float64)


def _equals_text(expr: Operation, scope: Scope) -> np.ndarray:
    """Return ``f == "a"`` as 1 and 0."""
    text = next(operand.value for operand in expr.operands if isinstance(operand, Text))
    other = next((operand for operand in expr.operands if not isinstance(operand, Text)), None)
    if not isinstance(other, Column):
        raise DataError(f'{text_of(expr)} compares with a text what is no column; expected something like f == "a"')
    seen = observed_levels(scope.variables[other.name])
    if scope.learning and text not in seen.labels:
        levels = listing(map(label_text, seen.labels))
        raise DataError(
            f"{label_text(text)} is no level of '{other.name}'{suggest(text, seen.labels)} (levels: {levels})"
        )
    same = np.array([label == text for label in seen.labels] + [False])[seen.codes]
    return (same if expr.operator == "==" else ~same).astype(np.float64)


def _call(call: Call, scope: Scope) -> np.ndarray:
    if call.function in scope.transforms:
        return _user_function(call, scope)
    if call.function not in FUNCTIONS:
        raise DataError(f"{text_of(call)} calls '{call.function}', which is not among the transforms that are given")
    x = numeric(arguments_of(call)["x"], scope)
    if call.function in _CENTRING:
        centring = scope.state(call, lambda: _learn_centring(call, x))
        return (x - centring.mean) / centring.sd
    with np.errstate(all="ignore"):
        return _ONE_NUMBER[call.function](x)


def _learn_centring(call: Call, x: np.ndarray) -> Centring:
    if call.function == "center":
        return Centring(float(x.mean()), 1.0)
    if x.min() == x.max():
        raise DataError(f"{text_of(call)} divides by the standard deviation, which is 0: all values are {x[0]:g}")
    return Centring(float(x.mean()), float(x.std(ddof=1)))


def _user_function(call: Call, scope: Scope) -> np.ndarray:
    """Call one of the user's own functions with arrays (of labels, for a factor) and constants."""
    arguments = [_free_argument(argument, scope) for argument in call.arguments]
    keywords = {key: _free_argument(argument, scope) for key, argument in call.keywords}
    given = scope.transforms[call.function](*arguments, **keywords)
    if has_index(given):  # a Series made of an array has the places as its labels
        given = aligned(f"the values of {text_of(call)}", given, pd.RangeIndex(len(scope.rows)))
    values = as_numbers(given)
    if values.shape != (len(scope.rows),) or values.dtype.kind not in "biuf":
        raise DataError(
            f"{text_of(call)} gave an array of shape {values.shape} and type {values.dtype}; "
            f"expected one number for each of the {count(len(scope.rows), 'row')}"
        )
    return values.astype(np.float64)


def _free_argument(expr: Expr, scope: Scope) -> object:
    constant = literal(expr)
    if constant is not None:
        return constant
    if isinstance(expr, Column) and scope.variables[expr.name].kind not in NUMERIC:
        seen = observed_levels(scope.variables[expr.name])
        return np.array(seen.labels, dtype=object)[seen.codes]
    return numeric(expr, scope)


def _basis(call: Call, scope: Scope) -> Numbers:
    given = arguments_of(call)
    x = numeric(given["x"], scope)
    options = {key: literal(value) for key, value in given.items() if key != "x"}
    basis = scope.state(call, lambda: _learn_basis(call, x, options))
    if not scope.learning and call.function == "bs":
        _say_beyond(call, x, basis.boundary, scope)
    with np.errstate(all="ignore"):
        columns = columns_of_basis(x, basis)
    _check_finite(call, np.abs(columns).max(axis=1), scope)
    return Numbers(columns, tuple(str(k + 1) for k in range(columns.shape[1])))


def smooth_rows(call: Call, scope: Scope) -> SmoothRows:
    """Return the columns of a smooth, ``s(x, by = f)`` or ``t2(x, z)``, for every row.

    Raises
    ------
    DataError
        A variable holds no numbers, or has fewer distinct values than the smooth has basis functions.
    """
    given, x = arguments_of(call), []
    for argument in (given[name] for name in ("x", "z") if name in given):
        if isinstance(argument, Column) and scope.variables[argument.name].kind not in NUMERIC:
            name, kind = argument.name, KIND_NAMES[scope.variables[argument.name].kind]
            found = f"{text_of(call)} is a smooth of numbers, and '{name}' holds {kind}"
            raise DataError(f"{found}; write {name} as it is, or (1 | {name})" if scope.learning else found)
        x.append(numeric(argument, scope))
    if len(x) > 1 and given["x"] == given["z"]:
        raise DataError(
            f"{text_of(call)} has one variable twice; a surface is of two, a curve s({text_of(given['x'])})"
        )
    by = evaluate(given["by"], scope) if "by" in given else None
    smooth = scope.state(call, lambda: learn_rows(call, given, x, by))
    rows = SmoothRows(call, smooth, x, by)
    if scope.learning:
        few = [f"{text_of(given['by'])}[{label}]" for label in straight_levels(rows)]
        if few:
            said = f"the rows of {listing(few)} have fewer than {MAY_BEND} values of {text_of(given['x'])}"
            scope.say(warning(f"{said}: what {text_of(call)} bends there is not in the data"))
    else:
        _say_beyond_data(rows, [text_of(given[name]) for name in ("x", "z") if name in given], scope)
    return rows


def _say_beyond_data(rows: SmoothRows, variables: Sequence[str], scope: Scope) -> None:
    codes = rows.by.codes if isinstance(rows.by, Factor) else None
    for k, (outside, ends) in enumerate(beyond(rows.smooth, rows.x, codes)):
        if not outside.any():
            continue
        of = f" of {rows.smooth.levels[k]}" if rows.smooth.reach else ""
        ranges = listing(
            [f"{name} from {low:g} to {high:g}" for name, (low, high) in zip(variables, ends, strict=True)]
        )
        where = f"the data of the fit{of}, {ranges}, in {scope.rows.text(outside)}"
        goes_on = "it goes on as a straight line there" if len(variables) == 1 else "it goes on without a bend there"
        scope.say(warning(f"{text_of(rows.call)} is evaluated beyond {where}: {goes_on}"))


def _learn_basis(call: Call, x: np.ndarray, options: Mapping[str, object]) -> Basis:
    name = text_of(call)
    degree = int(options.get("degree", 1 if call.function == "poly" else 3))
    if call.function == "poly":
        return RawPolynomial(degree) if options.get("raw", False) else learn_polynomial(name, x, degree)
    knots = options.get("knots")
    return learn_spline(
        name,
        x,
        df=int(options["df"]) if "df" in options else None,
        knots=(knots,) if isinstance(knots, float) else knots,
        degree=degree,
        intercept=bool(options.get("intercept", False)),
        boundary=options.get("Boundary.knots"),
        natural=call.function == "ns",
    )


def _say_beyond(call: Call, x: np.ndarray, boundary: tuple[float, float], scope: Scope) -> None:
    beyond = (x < boundary[0]) | (x > boundary[1])
    if beyond.any():
        where = f"the data of the fit, {boundary[0]:g} to {boundary[1]:g}"
        scope.say(
            warning(
                f"{text_of(call)} is evaluated beyond {where}, in {scope.rows.text(beyond)}: the end polynomials go on"
            )
        )


# ----------------------------------------------------------------------------------------------------------------------
# what is not finite


def _check_finite(expr: Call | Operation, values: np.ndarray, scope: Scope) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(f"{text_of(expr)} is not finite in {scope.rows.text(bad)}{_cause(expr, bad, scope)}")
    _check_size(text_of(expr), values, scope)


def _cause(expr: Call | Operation, bad: np.ndarray, scope: Scope) -> str:
    """Return ``, where x is 0 or negative`` if the argument or the divisor explains it."""
    if isinstance(expr, Operation):
        culprit = expr.operands[-1] if expr.operator == "/" else None
    else:
        culprit = None if expr.function in scope.transforms else arguments_of(expr)["x"]
    if culprit is None:
        return ""
    values = numeric(culprit, scope)[bad]
    signs = {"0": values == 0, "negative": values < 0, "0 or negative": values <= 0, "too large": values > 0}
    what = next((sign for sign, holds in signs.items() if holds.all()), "out of range")
    return f", where {text_of(culprit)} is {what}"
