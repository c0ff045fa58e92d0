"""A column of any kind as a Series, and a Series brought into the order of a table's rows by its labels."""

from collections.abc import Mapping, Sequence

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from bayesmm.design.variables import whole_numbers
from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import labels_text


def aligned(what: str, values: pd.Series, index: pd.Index | None) -> pd.Series:
    """Return a Series in the order of the rows of a table, as pandas puts a Series into a frame.

    Parameters
    ----------
    what : str
        What a message calls the values: "the weights".
    values : pandas.Series
    index : pandas.Index or None
        The labels of the table's rows; None where they have none, so that places count.

    Returns
    -------
    pandas.Series
        As it came where the two indexes are the same, label for label: labels that occur twice do no harm then.

    Raises
    ------
    DataError
        A row has no value or a value no row, or a label occurs twice in an index of another order.
    """
    if index is None or values.index.equals(index):
        return values
    own, rows = values.index.to_flat_index(), index.to_flat_index()
    for whose, labels in ((what, own), ("the data", rows)):
        if not labels.is_unique:
            twice = labels_text(labels[labels.duplicated()].unique())
            raise DataError(
                f"the index of {what} is not that of the data, and {whose} have labels that occur more than once "
                f"({twice}), so that a label does not say which row is meant; .to_numpy() gives the values by position"
            )
    place = own.get_indexer(rows)
    lacking, extra = rows[place < 0], own[rows.get_indexer(own) < 0]
    if len(lacking) or len(extra):
        gaps = [f"it has no label {labels_text(lacking)}"] * (len(lacking) > 0)
        gaps += [f"the data have no label {labels_text(extra)}"] * (len(extra) > 0)
        raise DataError(
            f"the index of {what} does not fit that of the data: {', and '.join(gaps)}; "
            "expected the same labels in any order, or values without an index (.to_numpy()) in the order of the rows"
        )
    return values.iloc[place]


def has_index(values: object) -> bool:
    """Return whether values are a Series with labels of its own."""
    return isinstance(nw.to_native(values, pass_through=True), pd.Series)


def dimensions(values: object) -> int:
    """Return how many dimensions values have: 0 for one value, 1 for a column, 2 or more for a table."""
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        return 0
    if hasattr(values, "ndim"):
        return values.ndim
    if nw.dependencies.is_into_series(values):
        return 1
    return 1 + any(isinstance(value, list | tuple | np.ndarray) and value is not np.ma.masked for value in values)


def as_series(what: str, values: Sequence[object]) -> pd.Series:
    """Return a column as a Series; what is masked is missing.

    What is no array is looked at value by value, so that 1 and "1" stay apart.
    """
    values = nw.to_native(values, pass_through=True)
    if isinstance(values, pd.Series):
        return values
    if nw.dependencies.is_into_series(values):
        return from_narwhals(nw.from_native(values, series_only=True))
    if isinstance(values, np.ndarray) and values.dtype.names is not None:
        raise DataError(f"{what} are a structured array ({listing(values.dtype.names)}); give one of its fields")
    if isinstance(values, np.ma.MaskedArray):
        return _unmasked(values)
    if isinstance(values, np.ndarray | pd.Categorical | pd.api.extensions.ExtensionArray | pd.Index):
        return pd.Series(values)
    series = pd.Series([None if value is np.ma.masked else value for value in values], dtype=object)
    if pd.api.types.infer_dtype(series, skipna=True) != "integer":
        return _inferred(series)
    try:
        return whole_numbers(series)
    except OverflowError:
        return series  # to be refused with its name


def _inferred(series: pd.Series) -> pd.Series:
    try:
        return series.infer_objects()
    except UnicodeEncodeError:  # pandas' texts are UTF-8, which half a character is not: to be refused with its name
        return series


def _unmasked(values: np.ma.MaskedArray) -> pd.Series:
    """Return a masked array as a Series with missing values; whole numbers stay whole, as identifiers must."""
    mask, data = np.ma.getmaskarray(values), np.ma.getdata(values)
    if data.dtype.kind in "iu":
        return pd.Series(pd.arrays.IntegerArray(data.copy(), mask))
    if data.dtype.kind == "f":
        return pd.Series(np.where(mask, np.nan, data))
    return pd.Series(data.astype(object)).mask(mask, None).infer_objects()


def from_narwhals(series: nw.Series) -> pd.Series:
    """Return a polars or pyarrow column as a pandas Series, without pyarrow or polars' own conversion."""
    if isinstance(series.dtype, nw.Decimal):
        series = series.cast(nw.Float64)
    if series.dtype.is_numeric() and not (series.dtype.is_integer() and series.null_count()):
        return pd.Series(series.to_numpy())
    values = series.to_list()
    if series.dtype.is_integer():
        return pd.Series(pd.array(values, dtype="UInt64" if series.dtype.is_unsigned_integer() else "Int64"))
    if isinstance(series.dtype, nw.Enum):
        return pd.Series(pd.Categorical(values, categories=list(series.dtype.categories)))
    return pd.Series(values, dtype=object)


def as_numbers(values: object) -> np.ndarray:
    """Return values as an array; what is masked in numbers becomes NaN, as its fill value is none of the data."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "biuf":
        return np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values)
