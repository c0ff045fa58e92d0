"""What expressions learn of all rows, by aggregations: means and standard deviations, orthogonal polynomials, knots."""

from collections.abc import Iterator, Sequence

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.design.bases import Basis, Polynomial, RawPolynomial, Spline, learn_spline
from bayesmm.design.state import Centring, State
from bayesmm.engines.complete import Complete
from bayesmm.engines.expressions import BASES, CENTRING, Columns, number, polynomials
from bayesmm.engines.frames import collected
from bayesmm.engines.order_statistics import quantiles
from bayesmm.errors import DataError
from bayesmm.formula.formula import Call, Expr, Operation, arguments_of, literal, text_of

NO_NORM = 1e-14  # relative: what is left of a polynomial by rounding where x has too few distinct values


def nested(expr: Expr) -> Iterator[Expr]:
    """Yield an expression and all that stand in it, the innermost first."""
    parts: Sequence[Expr] = ()
    if isinstance(expr, Operation):
        parts = expr.operands
    elif isinstance(expr, Call):
        parts = expr.arguments
    for part in parts:
        yield from nested(part)
    yield expr


def learn_states(engine: str, complete: Complete, exprs: Sequence[Expr], columns: Columns) -> dict[Expr, State]:
    """Return what the calls among expressions learn from the rows; those inside them learn first."""
    states: dict[Expr, State] = {}
    for expr in (node for whole in exprs for node in nested(whole)):
        if not isinstance(expr, Call) or expr in states or expr.function not in (*CENTRING, *BASES):
            continue
        own = Columns(columns.places, columns.kinds, columns.levels, columns.labels, states)
        x = number(arguments_of(expr)["x"], own)
        frame = complete.frame.select(x=x)
        learn = _centring if expr.function in CENTRING else _basis
        states[expr] = learn(engine, frame, complete.n, expr)
    return states


def _summary(engine: str, frame: nw.LazyFrame, n: int, what: str) -> tuple[float, float, float, float]:
    """Return mean, sd, least and greatest value of the column x; centred before it is squared."""
    x = nw.col("x")
    first = collected(
        engine, f"average {what}", frame.select(x.sum().alias("sum"), x.min().alias("low"), x.max().alias("high"))
    )
    low, high, about = (float(first[name][0]) for name in ("low", "high", "sum"))
    about /= n
    if not np.isfinite([low, high, about]).all():
        raise DataError(f"{what} is not finite in some rows")
    centred = frame.select(d=x - about).with_columns(dd=nw.col("d") * nw.col("d"))
    second = collected(engine, f"average {what}", centred.select(nw.col("d").sum(), nw.col("dd").sum()))
    left, squares = float(second["d"][0]), float(second["dd"][0])
    return about + left / n, float(np.sqrt(max(squares - left**2 / n, 0.0) / (n - 1))), low, high


def _centring(engine: str, frame: nw.LazyFrame, n: int, call: Call) -> Centring:
    mean, sd, low, high = _summary(engine, frame, n, text_of(arguments_of(call)["x"]))
    if call.function == "center":
        return Centring(mean, 1.0)
    if low == high:
        raise DataError(f"{text_of(call)} divides by the standard deviation, which is 0: all values are {low:g}")
    return Centring(mean, sd)


def _basis(engine: str, frame: nw.LazyFrame, n: int, call: Call) -> Basis:
    options = {key: literal(value) for key, value in arguments_of(call).items() if key != "x"}
    mean, _, low, high = _summary(engine, frame, n, text_of(arguments_of(call)["x"]))
    if call.function == "poly":
        degree = int(options.get("degree", 1))
        if options.get("raw", False):
            return RawPolynomial(degree)
        return _polynomial(engine, frame, n, degree, mean, text_of(call))
    return _spline(engine, frame, n, call, options, (low, high))


def _polynomial(engine: str, frame: nw.LazyFrame, n: int, degree: int, mean: float, name: str) -> Polynomial:
    """Return the orthonormal polynomials, by one scan for each degree."""
    centres, norms, x = [mean], [float(n)], nw.col("x")
    for k in range(1, degree + 1):
        P = polynomials(x, Polynomial(tuple(centres), tuple(norms)))[k]
        squares = frame.with_columns(s=P * P).with_columns(xs=(x - mean) * nw.col("s"))
        table = collected(engine, f"compute {name}", squares.select(nw.col("s").sum(), nw.col("xs").sum()))
        norm = float(table["s"][0])
        # in units of x squared, as is norm / norms[-1]
        least = NO_NORM * norms[1] / n if k > 1 else (NO_NORM * mean) ** 2
        if not norm > least * norms[-1]:
            raise DataError(
                f"{name} has degree {degree}, which must be below the number of distinct values of its variable"
            )
        norms.append(norm)
        if k < degree:
            centres.append(mean + float(table["xs"][0]) / norm)
    return Polynomial(tuple(centres), tuple(norms))


def _spline(
    engine: str, frame: nw.LazyFrame, n: int, call: Call, options: dict[str, object], ends: tuple[float, float]
) -> Spline:
    """Return a spline basis; without knots of the user's they are at quantiles of x within the boundary."""
    natural, knots, boundary = call.function == "ns", options.get("knots"), options.get("Boundary.knots")
    df = int(options["df"]) if "df" in options else None
    degree, intercept = int(options.get("degree", 3)), bool(options.get("intercept", False))
    own = dict(degree=degree, intercept=intercept, boundary=boundary, natural=natural)
    x, smallest = np.array(ends), (1 if natural else degree) + intercept
    if isinstance(knots, float):
        knots = (knots,)
    if knots is not None or df is None or df <= smallest:
        return learn_spline(text_of(call), x, df=df, knots=knots, **own)
    if boundary is not None:
        inside = frame.filter((nw.col("x") >= min(boundary)) & (nw.col("x") <= max(boundary)))
        found = inside.select(nw.len().alias("n"), nw.col("x").min().alias("low"), nw.col("x").max().alias("high"))
        table = collected(engine, f"count the rows within the boundary of {text_of(call)}", found)
        frame, n, ends = inside, int(table["n"][0]), (float(table["low"][0]), float(table["high"][0]))
    shares = np.linspace(0, 1, df - smallest + 2)[1:-1]
    return learn_spline(text_of(call), x, knots=quantiles(engine, frame, "x", shares, n, ends), **own)
