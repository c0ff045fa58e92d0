"""The rows of a lazy frame that miss no value, and what is to say of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.engines.frames import Opened, collected
from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import Message, count, have, warning
from bayesmm.runtime.progress import working


def gap(opened: Opened, name: str) -> nw.Expr:
    """Return whether a column has no value in a row: NULL or NaN."""
    column = nw.col(opened.places[name])
    return column.is_null() | column.is_nan() if opened.dtypes[name].is_float() else column.is_null()


@dataclass(frozen=True, eq=False)
class Complete:
    """The rows of a frame that miss no value.

    Attributes
    ----------
    frame : narwhals LazyFrame
    n, total : int
        Their number, and that of all rows.
    said : tuple of Message
    ends : mapping of str to tuple of float
        Sum, least and greatest value of numeric columns, where these are known already.
    """

    frame: nw.LazyFrame
    n: int
    total: int
    said: tuple[Message, ...]
    ends: Mapping[str, tuple[float, float, float]] = MappingProxyType({})


def complete_rows(opened: Opened, names: Sequence[str], missing: str) -> Complete:
    """Return the rows that have a value in each of these columns, with what is to say of the others.

    Raises
    ------
    DataError
        A column has no value at all, no row is complete, fewer than two are, or `missing` is "error" and one is not.
    """
    whole = _without_gaps(opened, names)
    if whole is not None:
        return whole
    lost = {name: nw.when(gap(opened, name)).then(nw.lit(1)).otherwise(nw.lit(0)) for name in names}
    marked = opened.frame.with_columns(*(expr.alias(f"gap_{opened.places[name]}") for name, expr in lost.items()))
    marks = [nw.col(f"gap_{opened.places[name]}") for name in names]
    some = marked.with_columns(any_gap=nw.when(_total(marks) > 0).then(nw.lit(1)).otherwise(nw.lit(0)))
    sums = [*(mark.sum() for mark in marks), nw.col("any_gap").sum()]
    table = collected(opened.engine, "count the missing values", some.select(nw.len().alias("rows"), *sums))
    total, gone = int(table["rows"][0]), int(np.nan_to_num(table["any_gap"].astype(float))[0])
    if total == 0:
        raise DataError("the data have no rows; a model needs at least two")
    gaps = {name: int(table[f"gap_{opened.places[name]}"][0]) for name in names}
    frame = some.filter(nw.col("any_gap") == 0).select(*opened.places.values()) if gone else opened.frame
    return Complete(frame, total - gone, total, _said(gaps, total, gone, missing))


def _without_gaps(opened: Opened, names: Sequence[str]) -> Complete | None:
    """Return all rows if none has a gap, None if that is not sure: one cheap query, which finds sums and ends too."""
    dtypes = opened.dtypes  # a kind is not known of every column without values
    numbers = [name for name in names if dtypes[name].is_numeric() or dtypes[name] == nw.Boolean]
    known = [nw.col(opened.places[name]).count().alias(f"known_{opened.places[name]}") for name in names]
    frame = opened.frame.with_columns(*_as_floats(opened, numbers))
    asked = frame.select(nw.len().alias("rows"), *known, *_sums_and_ends(opened, numbers))
    with working(f"looking for missing values by {opened.engine}"):
        table = collected(opened.engine, "look for missing values", asked)
    n = int(table["rows"][0])
    if n < 2 or any(int(table[f"known_{opened.places[name]}"][0]) < n for name in names):
        return None
    ends = _read_ends(opened, numbers, table)
    if not np.isfinite(list(ends.values())).all():  # a sum that is no number: NaN somewhere, or infinities
        return None
    return Complete(opened.frame, n, n, (), ends)


def sums_and_ends(opened: Opened, complete: Complete, names: Sequence[str]) -> Mapping[str, tuple[float, float, float]]:
    """Return sum, least and greatest value of numeric columns in complete rows."""
    if all(name in complete.ends for name in names):
        return complete.ends
    frame = complete.frame.select(*_as_floats(opened, names)).select(*_sums_and_ends(opened, names))
    with working(f"pass 1, means by {opened.engine}"):
        return _read_ends(opened, names, collected(opened.engine, "average the columns", frame))


def _as_floats(opened: Opened, names: Sequence[str]) -> list[nw.Expr]:
    """Return numeric columns as float64: the sum of an int32 column stays one on some engines."""
    return [nw.col(opened.places[name]).cast(nw.Float64) for name in names]


def _sums_and_ends(opened: Opened, names: Sequence[str]) -> list[nw.Expr]:
    columns = [(opened.places[name], nw.col(opened.places[name])) for name in names]
    return [
        expr.alias(f"{what}_{place}")
        for place, column in columns
        for what, expr in (("sum", column.sum()), ("low", column.min()), ("high", column.max()))
    ]


def _read_ends(opened: Opened, names: Sequence[str], table: Mapping[str, np.ndarray]) -> dict:
    """Return what `_sums_and_ends` asked for."""
    places = ((name, opened.places[name]) for name in names)
    return {
        name: tuple(float(table[f"{what}_{place}"][0]) for what in ("sum", "low", "high")) for name, place in places
    }


def _total(exprs: Sequence[nw.Expr]) -> nw.Expr:
    total = exprs[0]
    for expr in exprs[1:]:
        total = total + expr
    return total


def _said(gaps: Mapping[str, int], total: int, gone: int, missing: str) -> tuple[Message, ...]:
    """Return what is to say about the rows with gaps."""
    for name, number in gaps.items():
        if number == total:
            raise DataError(f"column '{name}' has no value in any of the {count(total, 'row')}")
    columns = listing(f"{name}: {number:,}" for name, number in gaps.items() if number)
    text = f"{gone:,} of {count(total, 'row')} {have(gone)} missing values ({columns})"
    if gone == total:
        raise DataError(f"no row is complete: {text}")
    if gone and missing == "error":
        raise DataError(f"{text}; missing='drop' leaves such rows out")
    if total - gone < 2:
        left = "" if not gone else f" of {total:,}"
        raise DataError(f"{count(total - gone, 'row')}{left} can be used; a model needs at least two")
    return (warning(f"{text}; {'it is' if gone == 1 else 'they are'} left out"),) if gone else ()
