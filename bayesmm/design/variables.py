"""One column of the data, brought to one of a few kinds, and its values as the levels of a factor."""

import datetime
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Number
from typing import Literal

import numpy as np
import pandas as pd

from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import Message, label_text, note

Kind = Literal["number", "boolean", "text", "category", "ordered", "date", "duration", "complex"]

# how a sentence names a kind
KIND_NAMES: Mapping[str, str] = {
    "number": "numbers",
    "boolean": "true/false values",
    "text": "text",
    "category": "categories",
    "ordered": "ordered categories",
    "date": "dates",
    "duration": "durations",
    "complex": "complex numbers",
}
NUMERIC = ("number", "boolean")


@dataclass(frozen=True, eq=False)
class Variable:
    """One column of the data in one of a few kinds.

    Attributes
    ----------
    name : str
        As the formula writes it.
    kind : str
        A key of `KIND_NAMES`.
    values : array, shape (n,)
        Numbers as float64, or as int64 (uint64 where that is too small) if they are stored as whole numbers; true/false
        values as bool; all else as int64 codes into `levels`, -1 where missing.
    levels : tuple of str
        Labels in order; empty for numbers and true/false values.
    missing : bool array, shape (n,)
    """

    name: str
    kind: Kind
    values: np.ndarray
    levels: tuple[str, ...]
    missing: np.ndarray

    def take(self, kept: np.ndarray) -> "Variable":
        """Return the variable with these rows only; its levels stay."""
        return replace(self, values=self.values[kept], missing=self.missing[kept])


def read_variable(name: str, series: pd.Series) -> tuple[Variable, list[Message]]:
    """Bring one column to one of a few kinds.

    Parameters
    ----------
    name : str
    series : pandas.Series
        Of any dtype; its index is ignored.

    Returns
    -------
    variable : Variable
    messages : list of Message

    Raises
    ------
    DataError
        The column mixes types, holds things that are no values, or two of its categories have the same label.
    """
    variable, said = _read(name, series)
    halves = [label for label in variable.levels if not is_writable(label)]
    if halves:
        raise DataError(
            f"column '{name}' has the level {halves[0]!r}, which holds half of a character (a lone surrogate) and "
            "cannot be written as text; decode the file by its right encoding"
        )
    return variable, said


def is_writable(text: str) -> bool:
    """Return whether a text is one: half of a UTF-16 character, which Python lets pass, can be written nowhere."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(name: str, series: pd.Series) -> tuple[Variable, list[Message]]:
    dtype, types = series.dtype, pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        return _category(name, series), []
    if isinstance(dtype, pd.SparseDtype):
        return _read(name, series.sparse.to_dense())
    if isinstance(dtype, pd.IntervalDtype):
        return _category(name, series.astype("category")), []
    if isinstance(dtype, pd.PeriodDtype):
        return replace(_category(name, series.astype("category")), kind="date"), []
    if types.is_bool_dtype(dtype):
        return _boolean(name, series), []
    if types.is_complex_dtype(dtype):
        return _labelled(name, "complex", series, str), []
    if types.is_datetime64_any_dtype(dtype):
        return _labelled(name, "date", series, date_label), []
    if types.is_timedelta64_dtype(dtype):
        return _labelled(name, "duration", series, str), []
    if types.is_numeric_dtype(dtype) and not (isinstance(dtype, pd.ArrowDtype) and "decimal" in str(dtype)):
        return _number(name, series), []
    return _objects(name, series)


def _category(name: str, series: pd.Series) -> Variable:
    codes = series.cat.codes.to_numpy().astype(np.int64)
    levels = tuple(value_label(category) for category in series.cat.categories)
    twice = [label for label, times in Counter(levels).items() if times > 1]
    if twice:
        types = " and ".join(_type_name(c) for c in series.cat.categories if value_label(c) == twice[0])
        said = f"two categories of '{name}' are both written {label_text(twice[0])} ({types})"
        raise DataError(f"{said}; rename one of them")
    return Variable(name, "ordered" if series.cat.ordered else "category", codes, levels, codes < 0)


def _type_name(value: object) -> str:
    return type(value).__name__.removesuffix("_")


def _boolean(name: str, series: pd.Series) -> Variable:
    missing = series.isna().to_numpy(dtype=bool)
    values = series.astype("boolean").to_numpy(dtype=bool, na_value=False)
    return Variable(name, "boolean", values, (), missing)


def _number(name: str, series: pd.Series) -> Variable:
    """Keep whole numbers whole, also beside missing values: identifiers may need all of their 64 bits."""
    missing = series.isna().to_numpy(dtype=bool)
    if not pd.api.types.is_integer_dtype(series.dtype):
        return Variable(name, "number", series.to_numpy(dtype=np.float64, na_value=np.nan), (), missing)
    unsigned = pd.api.types.is_unsigned_integer_dtype(series.dtype)
    values = series.to_numpy(dtype=np.uint64 if unsigned else np.int64, na_value=0)
    small = not unsigned or not len(values) or values.max() <= np.iinfo(np.int64).max
    return Variable(name, "number", values.astype(np.int64 if small else np.uint64), (), missing)


def _labelled(name: str, kind: Kind, series: pd.Series, label: Callable[[object], str]) -> Variable:
    """Code a column by the sorted labels of its values."""
    codes, distinct = pd.factorize(series)
    labels = [label(value) for value in distinct]
    levels = sorted(set(labels))
    place = {text: k for k, text in enumerate(levels)}
    rank = np.array([place[text] for text in labels] + [-1], dtype=np.int64)  # the last one for a code of -1
    return Variable(name, kind, rank[codes], tuple(levels), codes < 0)


def _objects(name: str, series: pd.Series) -> tuple[Variable, list[Message]]:
    """Sort out a column of Python objects (and of pandas' text types)."""
    if pd.api.types.infer_dtype(series, skipna=True) == "string":
        return _labelled(name, "text", series, str), []
    series = series.astype(object)
    content = pd.api.types.infer_dtype(
        series, skipna=True
    )  # once more: a dictionary of pyarrow shows its values only now
    if content == "string":
        return _labelled(name, "text", series, str), []
    if content == "boolean":
        return _boolean(name, series), []
    if content == "empty":
        return _number(name, series.astype(np.float64)), []
    if content in ("datetime", "datetime64", "date"):
        return _labelled(name, "date", series, date_label), []
    return _plain_objects(name, series)


def _plain_objects(name: str, series: pd.Series) -> tuple[Variable, list[Message]]:
    """Take objects that are all of one plain kind, or say what the column holds."""
    present = [value for value in series if not _is_missing(value)]
    if all(isinstance(value, Number | np.number) and not isinstance(value, bool | np.bool_) for value in present):
        if any(isinstance(value, complex | np.complexfloating) for value in present):
            return _labelled(name, "complex", series, str), []
        said = f"'{name}' is a column of Python objects; all its values are numbers and are read so"
        return _number(name, _plain_numbers(name, series, present)), [note(said)]
    if all(isinstance(value, datetime.timedelta | np.timedelta64) for value in present):
        return _labelled(name, "duration", series, str), []
    times = Counter(_type_name(value) for value in present).most_common()
    gaps = len(series) - len(present)
    holds = listing([f"{kind} ({n:,})" for kind, n in times] + ([f"missing ({gaps:,})"] if gaps else []))
    what = "mixes types" if len(times) > 1 else "holds objects"
    expected = "expected only numbers, text, true/false values, categories or dates"
    raise DataError(f"column '{name}' {what}: {holds}; {expected}")


def _plain_numbers(name: str, series: pd.Series, present: list[object]) -> pd.Series:
    if not all(isinstance(value, int | np.integer) for value in present):
        return pd.Series([np.nan if _is_missing(value) else float(value) for value in series], dtype=np.float64)
    try:
        return whole_numbers(series)
    except OverflowError:
        raise DataError(f"column '{name}' holds whole numbers too large for 64 bits; identifiers can be text") from None


def whole_numbers(series: pd.Series) -> pd.Series:
    """Return a column of Python integers as 64-bit ones, missing values beside them.

    Raises
    ------
    OverflowError
        A number needs more bits.
    """
    return pd.Series(pd.array([pd.NA if _is_missing(value) else int(value) for value in series], dtype="Int64"))


def _is_missing(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling one may not even be compared
    known = value is None or value is pd.NA or value is pd.NaT or value is np.ma.masked
    return known or bool(isinstance(value, float) and value != value)


def value_label(value: object) -> str:
    """Return the label of a level: whole numbers without a decimal point, dates in ISO form."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if np.isfinite(value) and value == int(value) else repr(float(value))
    return date_label(value) if isinstance(value, datetime.date | np.datetime64) else str(value)


def date_label(value: object) -> str:
    """Return a date in ISO form, with its time of day unless that is midnight."""
    stamp = pd.Timestamp(value)
    return stamp.date().isoformat() if stamp == stamp.normalize() and stamp.tz is None else stamp.isoformat(sep=" ")


# ----------------------------------------------------------------------------------------------------------------------
# levels


@dataclass(frozen=True, eq=False)
class Observed:
    """A column read as the levels of a factor.

    Attributes
    ----------
    codes : int64 array, shape (n,)
        Places in `labels`; -1 where missing.
    labels : tuple of str
        Only the levels that occur: numbers in numeric order, categories in theirs, the rest sorted.
    unused : tuple of str
        Categories that no row has.
    """

    codes: np.ndarray
    labels: tuple[str, ...]
    unused: tuple[str, ...]


def observed_levels(variable: Variable) -> Observed:
    """Return the levels that occur in a column and every row's place among them."""
    values = variable.values
    if variable.kind in NUMERIC:
        distinct, codes = np.unique(values[~variable.missing], return_inverse=True)
        full = np.full(len(values), -1, dtype=np.int64)
        full[~variable.missing] = codes
        return Observed(full, _number_labels(distinct), ())
    used = np.bincount(values[values >= 0], minlength=len(variable.levels)) > 0
    if used.all():
        return Observed(values, variable.levels, ())
    place = np.append(np.where(used, np.cumsum(used) - 1, -1), -1)
    labels = np.array(variable.levels, dtype=object)
    return Observed(place[values], tuple(labels[used]), tuple(labels[~used]))


def _number_labels(distinct: np.ndarray) -> tuple[str, ...]:
    """Return the labels of sorted distinct numbers; the usual case, whole numbers, without a call per number."""
    whole = distinct.dtype != np.float64 and distinct.dtype != bool
    return tuple(map(str if whole else value_label, distinct.tolist()))
