"""The rows of a lazy frame that miss no value, and what is to say of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.engines.frames import Opened, collected
from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import Message, count, have, warning


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
    """

    frame: nw.LazyFrame
    n: int
    total: int
    said: tuple[Message, ...]


def complete_rows(opened: Opened, names: Sequence[str], missing: str) -> Complete:
    """Return the rows that have a value in each of these columns, with what is to say of the others.

    Raises
    ------
    DataError
        A column has no value at all, no row is complete, fewer than two are, or `missing` is "error" and one is not.
    """
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
