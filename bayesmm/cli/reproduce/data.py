"""The data of a published result: found, read, its columns typed, its rows chosen."""

import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.cli.input import read_data as read_table
from bayesmm.cli.reproduce.published import Data, Filter
from bayesmm.errors import DataError, listing, suggest
from bayesmm.example_data import DATASETS, load_dataset, read_dataset

FOLDER_VARIABLE = "BAYESMM_DATA"
# Where the tests too look for data that cannot be part of the repository: a folder beside the checkout, if it is one.
CHECKOUT = Path(__file__).parents[3]
BESIDE = CHECKOUT.parent / "shared" / "data" if (CHECKOUT / "pyproject.toml").is_file() else None

COMPARE: Mapping[str, Callable] = MappingProxyType(
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)


def read_data(data: Data, folder: Path | None = None) -> pd.DataFrame | None:
    """Return the rows and columns of a published result's data.

    Parameters
    ----------
    data : Data
    folder : Path, optional
        Where to look first for a data set that is not part of the package.

    Returns
    -------
    pandas.DataFrame or None
        None for a data set that is not part of the package and is in none of the places looked at; it is not fetched.

    Raises
    ------
    DataError
        There is no such data set or file, or a column is missing or cannot have its type.
    """
    frame = read_table(str(data.file))[0] if data.file is not None else _read_named(data.name, folder)
    if frame is None:
        return None
    for column, kind in data.columns.items():
        _check_column(frame, column)
        frame = frame.assign(**{column: _typed(frame[column], kind)})
    for condition in data.filters:
        frame = frame[_kept(frame, condition)]
    if not len(frame):
        raise DataError("no row is left by the filter of [data]")
    return frame


def read_matrix(file: Path) -> pd.DataFrame:
    """Return a table whose first column has the labels of its rows, and the others those of its columns."""
    frame = read_table(str(file))[0]
    return frame.set_axis(frame.iloc[:, 0].astype(str), axis=0).iloc[:, 1:]


def _cache() -> Path | None:
    """Return where downloaded data sets are; None where what fetches them is not installed."""
    try:
        import pooch
    except ModuleNotFoundError:
        return None
    return Path(pooch.os_cache("bayesmm"))


def _read_named(name: str, folder: Path | None) -> pd.DataFrame | None:
    if name not in DATASETS or not DATASETS[name].address:
        return load_dataset(name)
    found = [path for path in places(name, folder) if path.is_file()]
    return read_dataset(found[0], name) if found else None


def places(name: str, folder: Path | None) -> list[Path]:
    """Return where a data set that has to be fetched is looked for, in this order."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    folders = [folder, Path(chosen) if chosen else None, BESIDE, _cache()]
    return [place / f"{name}.csv" for place in folders if place is not None]


def _check_column(frame: pd.DataFrame, column: str) -> None:
    if column not in frame:
        names = [str(name) for name in frame.columns]
        raise DataError(f"the data have no column {column!r} (they have {listing(names)}){suggest(column, names)}")


def _typed(column: pd.Series, kind: str) -> pd.Series:
    """Return the column as labels (in R's order: numbers by size, texts by letter) or as numbers."""
    if kind == "factor":
        return column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    plain = column.astype(str) if isinstance(column.dtype, pd.CategoricalDtype) else column
    try:
        return pd.to_numeric(plain)
    except (ValueError, TypeError) as error:
        raise DataError(f"the column {column.name!r} cannot be read as numbers: {error}") from error


def _kept(frame: pd.DataFrame, condition: Filter) -> np.ndarray:
    _check_column(frame, condition.column)
    values = frame[condition.column]
    numeric = pd.api.types.is_numeric_dtype(values)
    if numeric == isinstance(condition.value, str):
        kind = "numbers" if numeric else "labels"
        right = "a number" if numeric else "a text in quotes"
        raise DataError(f"the column {condition.column!r} has {kind}: compare it with {right}, not {condition.value!r}")
    if not numeric and condition.operator not in ("==", "!="):
        raise DataError(f"labels such as those of {condition.column!r} can only be compared with == and !=")
    return COMPARE[condition.operator](values.to_numpy() if numeric else values.astype(str).to_numpy(), condition.value)
