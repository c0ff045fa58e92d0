"""What stands inside other calculations, checked: a comparison or a quotient hides what is not finite inside it."""

from collections.abc import Iterator, Sequence

import narwhals.stable.v2 as nw

from bayesmm.design.transforms import LARGEST
from bayesmm.engines.complete import Complete
from bayesmm.engines.expressions import CENTRING, Columns, indicator, number
from bayesmm.engines.frames import collected
from bayesmm.errors import DataError
from bayesmm.formula.formula import FUNCTIONS, Call, Expr, Operation, Text, arguments_of, text_of

# Whatever has an operand that is not finite is not finite itself, so that checking it is enough.
OPEN_OPERATORS = ("+", "-", "*")
OPEN_FUNCTIONS = ("I", "abs", "sqrt", "log", "log2", "log10", "log1p", *CENTRING)


def check_finite(engine: str, complete: Complete, exprs: Sequence[Expr], columns: Columns) -> None:
    """Raise a DataError for a calculation inside another one that is infinite or no number in some rows.

    As of a table in memory, ``x / z`` in ``I(x / z > 1)`` must be finite, although the comparison always is. The
    outermost calculations are not looked at here: they are base columns, whose ends are known.
    """
    hidden = list(dict.fromkeys(node for expr in exprs for node in _hidden(expr)))
    if not hidden:
        return
    values = complete.frame.select(*(number(node, columns).alias(f"v{k}") for k, node in enumerate(hidden)))
    # NULL and NaN are neither: where a condition is unknown, what stands otherwise is taken
    sizes = [nw.col(f"v{k}").abs() for k in range(len(hidden))]
    good = [indicator(size < float("inf")).alias(f"g{k}") for k, size in enumerate(sizes)]
    small = [indicator(size <= LARGEST).alias(f"s{k}") for k, size in enumerate(sizes)]
    marked = values.select(*good, *small)
    names = [f"{what}{k}" for what in "gs" for k in range(len(hidden))]
    table = collected(engine, "check the calculations", marked.select(*(nw.col(name).sum() for name in names)))
    for k, node in enumerate(hidden):
        if int(table[f"g{k}"][0]) < complete.n:
            raise DataError(f"{text_of(node)} is not finite in some rows; expected finite numbers")
        if int(table[f"s{k}"][0]) < complete.n:
            raise DataError(f"{text_of(node)} is in some rows beyond {LARGEST:g}, whose square a computer can hold")


def _hidden(expr: Expr, inside: bool = False) -> Iterator[Expr]:
    """Yield the calculations in an expression whose value another one may hide."""
    if isinstance(expr, Operation) and any(isinstance(part, Text) for part in expr.operands):
        return
    if isinstance(expr, Operation | Call) and inside:
        yield expr
    if isinstance(expr, Operation):
        for part in expr.operands:
            yield from _hidden(part, inside=expr.operator not in OPEN_OPERATORS)
    elif isinstance(expr, Call) and expr.function in FUNCTIONS and "x" in arguments_of(expr):
        yield from _hidden(arguments_of(expr)["x"], inside=expr.function not in OPEN_FUNCTIONS)
