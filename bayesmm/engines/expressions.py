"""A formula's expressions as narwhals' lazy ones: elementary arithmetic that every engine has.

What `bayesmm.design.transforms` computes from arrays is said here to an engine. States (means, knots, levels) have been
learned before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.design.bases import Basis, Polynomial, RawPolynomial, Spline, columns_of_basis
from bayesmm.design.coding import Levels
from bayesmm.design.state import Centring, State
from bayesmm.design.variables import NUMERIC
from bayesmm.errors import DataError
from bayesmm.formula.formula import Call, Column, Expr, Number, Operation, Text, arguments_of, text_of

MOST_POWER = 12  # whole powers up to which x^k is a product, exact on every engine


def _log1p(x: nw.Expr) -> nw.Expr:
    """log(1 + x) with all its digits: Kahan's, whose division cancels the rounding of 1 + x."""
    u = x + 1.0
    return nw.when(u == 1.0).then(x).otherwise(u.log() * x / (u - 1.0))


def _expm1(x: nw.Expr) -> nw.Expr:
    """exp(x) - 1 with all its digits: Kahan's."""
    u = x.exp()
    far = nw.when(u - 1.0 == -1.0).then(nw.lit(-1.0)).otherwise((u - 1.0) * x / u.log())
    return nw.when(u == 1.0).then(x).otherwise(far)


_COMPARISONS: Mapping[str, Callable] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_ARITHMETIC: Mapping[str, Callable] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
_ONE_NUMBER: Mapping[str, Callable[[nw.Expr], nw.Expr]] = {
    "I": lambda x: x,
    "log": lambda x: x.log(),
    "log2": lambda x: x.log() / np.log(2.0),
    "log10": lambda x: x.log() / np.log(10.0),
    "log1p": lambda x: _log1p(x),
    "exp": lambda x: x.exp(),
    "expm1": lambda x: _expm1(x),
    "sqrt": lambda x: x.sqrt(),
    "abs": lambda x: x.abs(),
}
CENTRING = ("center", "scale", "standardize")
FACTORS = ("C", "factor")
BASES = ("poly", "bs", "ns")


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns that a model uses, as the engine has them.

    Attributes
    ----------
    places : mapping of str to str
        The name in the formula -> the name in the frame.
    kinds : mapping of str to str
        The name in the formula -> a key of `bayesmm.design.variables.KIND_NAMES`.
    levels : mapping of str to tuple
        The values of a column that has levels, in their order, as the engine compares them.
    labels : mapping of str to tuple of str
        The labels of these.
    states : mapping of Expr to State
    """

    places: Mapping[str, str]
    kinds: Mapping[str, str]
    levels: Mapping[str, tuple]
    labels: Mapping[str, tuple[str, ...]]
    states: Mapping[Expr, State]

    def raw(self, name: str) -> nw.Expr:
        """Return a column as it is."""
        return nw.col(self.places[name])

    def indicator(self, name: str, label: str) -> nw.Expr:
        """Return 1.0 where a column has a level, 0.0 elsewhere: everywhere, if only other parts of the data have it."""
        if label not in self.labels[name]:
            return nw.lit(0.0)
        value = self.levels[name][self.labels[name].index(label)]
        return indicator(self.raw(name) == nw.lit(value))


def indicator(condition: nw.Expr) -> nw.Expr:
    """Return 1.0 where a condition holds, 0.0 elsewhere."""
    return nw.when(condition).then(nw.lit(1.0)).otherwise(nw.lit(0.0))


def number(expr: Expr, columns: Columns) -> nw.Expr:
    """Return an expression that gives one number for each row, as float64.

    Raises
    ------
    DataError
        It is no number, or calls a function of the user's own, which an engine cannot.
    """
    match expr:
        case Number(value):
            return nw.lit(float(value))
        case Column(name):
            if columns.kinds[name] not in NUMERIC:
                raise DataError(f"'{name}' holds no numbers where numbers are expected")
            return columns.raw(name).cast(nw.Float64)
        case Operation():
            return _operation(expr, columns)
        case Call():
            return _call(expr, columns)
    raise DataError(f"{text_of(expr)} is no number; expected a column or a calculation with columns")


def _operation(expr: Operation, columns: Columns) -> nw.Expr:
    if any(isinstance(operand, Text) for operand in expr.operands):
        return _equals_text(expr, columns)
    operands = [number(operand, columns) for operand in expr.operands]
    if len(operands) == 1:
        return operands[0] * -1.0
    if expr.operator == "^":
        return _power(expr.operands[1], *operands)
    if expr.operator in _COMPARISONS:
        return indicator(_COMPARISONS[expr.operator](*operands))
    return _ARITHMETIC[expr.operator](*operands)


def _power(exponent: Expr, base: nw.Expr, power: nw.Expr) -> nw.Expr:
    value = exponent.value if isinstance(exponent, Number) else None
    if value is not None and value == int(value) and 1 <= value <= MOST_POWER:
        return reduce(lambda product, _: product * base, range(int(value) - 1), base)
    return base ** (power if value is None else float(value))


def _equals_text(expr: Operation, columns: Columns) -> nw.Expr:
    text = next(operand.value for operand in expr.operands if isinstance(operand, Text))
    other = next((operand for operand in expr.operands if isinstance(operand, Column)), None)
    if other is None:
        raise DataError(f"{text_of(expr)} compares with what is no level of a column; expected something like f == 'a'")
    same = columns.indicator(other.name, text)
    return same if expr.operator == "==" else 1.0 - same


def _call(call: Call, columns: Columns) -> nw.Expr:
    if call.function not in (*CENTRING, *_ONE_NUMBER):
        raise DataError(f"{text_of(call)} cannot be computed by an engine; compute the column there, under a name")
    x = number(arguments_of(call)["x"], columns)
    if call.function in _ONE_NUMBER:
        return _ONE_NUMBER[call.function](x)
    state = columns.states[call]
    assert isinstance(state, Centring)
    return (x - state.mean) / state.sd


# ----------------------------------------------------------------------------------------------------------------------
# variables of several columns


def fields(expr: Expr, columns: Columns) -> list[tuple[str, nw.Expr]]:
    """Return the base columns of one variable: of a factor the indicator of each level, else the columns of a basis.

    Returns
    -------
    list of (str, Expr)
        What tells them apart, a level or a number, with the column.
    """
    name = factor_column(expr, columns)
    if name is not None:
        levels = columns.states[expr]
        assert isinstance(levels, Levels)
        return [(label, columns.indicator(name, label)) for label in levels.labels]
    if isinstance(expr, Call) and expr.function in BASES:
        x = number(arguments_of(expr)["x"], columns)
        return [(str(k + 1), column) for k, column in enumerate(basis_columns(x, columns.states[expr]))]
    return [("", number(expr, columns))]


def factor_column(expr: Expr, columns: Columns) -> str | None:
    """Return the column whose levels a variable has; None for numbers.

    Raises
    ------
    DataError
        For the levels of a calculation.
    """
    if isinstance(expr, Column):
        return expr.name if columns.kinds[expr.name] not in NUMERIC else None
    if not (isinstance(expr, Call) and expr.function in FACTORS):
        return None
    given = arguments_of(expr)
    inner = given.get("x", given.get("f"))
    if not isinstance(inner, Column):
        raise DataError(f"{text_of(expr)}: an engine gives the levels of columns only; compute it there, under a name")
    return inner.name


def basis_columns(x: nw.Expr, basis: Basis) -> list[nw.Expr]:
    """Return the columns of a basis at x."""
    if isinstance(basis, RawPolynomial):
        return [reduce(lambda product, _: product * x, range(k), x) for k in range(basis.degree)]
    if isinstance(basis, Polynomial):
        return [p / float(np.sqrt(norm)) for p, norm in zip(polynomials(x, basis)[1:], basis.norms[1:], strict=True)]
    return _spline(x, basis)


def polynomials(x: nw.Expr, basis: Polynomial) -> list[nw.Expr]:
    """Return P_0, P_1, ... of orthogonal polynomials by their recurrence: see `bayesmm.design.bases.Polynomial`."""
    found = [nw.lit(1.0)]
    for k, centre in enumerate(basis.centres):
        raised = (x - centre) * found[k] if k else x - centre
        found.append(raised - found[k - 1] * (basis.norms[k] / basis.norms[k - 1]) if k else raised)
    return found


def _spline(x: nw.Expr, basis: Spline) -> list[nw.Expr]:
    """Return the columns of a spline basis, a polynomial of the distance from the middle in each piece."""
    knots = np.unique(basis.knots)
    width = knots[-1] - knots[0]
    ends = np.concatenate([[knots[0] - width], knots, [knots[-1] + width]])  # the end pieces go on
    pieces = [_piece(low, high, basis) for low, high in pairwise(ends)]
    return [_chain(x, ends[1:-1], [(middle, C[:, j]) for middle, C in pieces]) for j in range(pieces[0][1].shape[1])]


def _piece(low: float, high: float, basis: Spline) -> tuple[float, np.ndarray]:
    """Return the middle of a piece, and the coefficients of each column, (degree + 1, k), of powers of x - middle.

    They are those of the polynomial through as many points.
    """
    degree = max(basis.degree, 1)
    at = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))  # Chebyshev's points: well conditioned
    middle, half = (low + high) / 2, (high - low) / 2
    C = np.linalg.solve(np.vander(at, degree + 1, increasing=True), columns_of_basis(middle + half * at, basis))
    return float(middle), C / half ** np.arange(degree + 1)[:, None]


def _chain(x: nw.Expr, ends: np.ndarray, pieces: list[tuple[float, np.ndarray]]) -> nw.Expr:
    """Return the polynomial of the piece that x is in."""
    values = [_horner(x - middle, coefficients) for middle, coefficients in pieces]
    found = values[-1]
    for end, value in zip(ends[::-1], values[-2::-1], strict=True):
        found = nw.when(x < float(end)).then(value).otherwise(found)
    return found


def _horner(x: nw.Expr, coefficients: np.ndarray) -> nw.Expr:
    total = x * 0.0 + float(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + float(c)
    return total
