"""The user's table, whatever its kind: columns found by name and read once, rows with gaps left out.

Only the columns that the model names are read, and they are copied: the caller may change the table afterwards.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from bayesmm.design.series import aligned, as_series, dimensions, from_narwhals, has_index
from bayesmm.design.summed import Elsewhere, absent_rows
from bayesmm.design.variables import NUMERIC, Variable, is_writable
from bayesmm.errors import DataError, listing
from bayesmm.formula.roles import absent
from bayesmm.runtime.messages import Message, Rows, count, have, warning

ACCEPTED = "a pandas, polars or pyarrow table, or a dict of equally long one-dimensional columns"


@dataclass(frozen=True, eq=False)
class Table:
    """The columns of the user's data, not yet read.

    Attributes
    ----------
    names : tuple
        The column names as the data have them (text, or numbers in pandas).
    n : int
        Number of rows.
    index : pandas.Index or None
        Of pandas' frames, and of a dict of pandas' Series: that of the first.
    read : callable
        Position of a column -> pandas Series, in the order of the index.
    positional : bool
        Whether what has no index itself can belong to the rows by its position: not where the Series of a dict have
        their labels in different orders.
    """

    names: tuple[object, ...]
    n: int
    index: pd.Index | None
    read: Callable[[int], pd.Series]
    positional: bool = True

    @property
    def labels(self) -> np.ndarray | None:
        """Row labels, shape (n,), where the data have their own."""
        index = self.index
        if index is None or (isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1):
            return None
        return index.to_flat_index().to_numpy(dtype=object)

    @property
    def index_names(self) -> tuple[object, ...]:
        """The names of the parts of the index, which are no columns."""
        return () if self.index is None else tuple(self.index.names)

    def column(self, what: str, values: Sequence[object]) -> pd.Series:
        """Return values as a Series in the order of the rows: by labels where both have them, else by position.

        Raises
        ------
        DataError
            Their index does not fit that of the data, or they have none and position does not say which row is meant.
        """
        series = as_series(what, values)
        if has_index(values):
            return aligned(what, series, self.index)
        if not self.positional:
            raise DataError(
                f"{what} have no index, and the Series of the data have their labels in different orders, so that it "
                "is not clear which row a value belongs to; bring the Series into one order, or give one frame"
            )
        return series


def open_table(data: object) -> Table:
    """Return the columns of `data`, none of them read yet.

    Raises
    ------
    DataError
        `data` is no table, its columns differ in length, or its column names are nested.
    """
    if isinstance(data, Elsewhere):
        raise absent_rows(data.sums.engine)
    if isinstance(data, Mapping):
        return _open_mapping(data)
    data = nw.to_native(data, pass_through=True)
    if isinstance(data, pd.DataFrame):
        return _open_pandas(data)
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise DataError(f"data must be {ACCEPTED}, not {_kind_of(data)}") from None
    return Table(tuple(frame.columns), len(frame), None, lambda j: from_narwhals(frame.get_column(frame.columns[j])))


def _kind_of(data: object) -> str:
    """Return what was given instead of a table, and the way from there to one."""
    name = type(data).__name__
    if name == "LazyFrame":
        return "a LazyFrame; call .collect() on it first"
    if isinstance(data, list | np.ndarray):
        return f"a {name}; pandas.DataFrame(data) may make a table of it"
    return "None" if data is None else f"an object of type {name}"


def _open_pandas(data: pd.DataFrame) -> Table:
    if isinstance(data.columns, pd.MultiIndex):
        nested = f"the column names are nested in {data.columns.nlevels} levels (a pandas MultiIndex)"
        raise DataError(f"{nested}; flatten them to one name per column")
    return Table(tuple(data.columns), len(data), data.index, lambda j: data.iloc[:, j])


def _open_mapping(data: Mapping[object, object]) -> Table:
    lengths = {}
    for name, column in data.items():
        if dimensions(column) != 1:
            raise DataError(
                f"column {name!r} of the dict is no one-dimensional column of values; data must be {ACCEPTED}"
            )
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"the columns of the dict differ in length ({listing(f'{k}: {v:,}' for k, v in lengths.items())})"
        )
    names, columns = list(data), list(data.values())
    indexes = [as_series("", column).index for column in columns if has_index(column)]
    one_order = all(index.equals(indexes[0]) for index in indexes)
    table = Table(
        tuple(names),
        max(lengths.values(), default=0),
        indexes[0] if indexes else None,
        lambda j: table.column(f"the values of column {names[j]!r}", columns[j]),
        one_order,
    )
    return table


def values_beside(table: Table, what: str, values: object, *, single: bool = False) -> pd.Series:
    """Return weights or trials that are given beside a table as values, not as the name of a column.

    Parameters
    ----------
    table : Table
    what : {"weights", "trials"}
    values : Series, array or list of length n
        A Series goes by its labels where the table has labels too, all else by position. What is masked is missing.
    single : bool
        Whether one number may stand for all rows.

    Raises
    ------
    DataError
        They are not one value for each row, or their index does not fit that of the table.
    """
    values = values[()] if type(values) is np.ndarray and values.ndim == 0 else values
    if single and isinstance(values, Real):
        return pd.Series(np.full(table.n, values))
    if dimensions(values) != 1:
        shape = f"{what} of type {type(values).__name__}"
        shape = f"{what} of shape {values.shape}" if isinstance(values, np.ndarray) and values.ndim else shape
    elif (has_index(values) and table.index is not None) or len(values) == table.n:
        return table.column(f"the {what}", values)
    else:
        shape = count(len(values), what.removesuffix("s"), what)
    expected = "one number of trials" if what == "trials" else "one weight"
    raise DataError(f"{shape} for {count(table.n, 'row')}; expected {expected} for each row of the data")


# ----------------------------------------------------------------------------------------------------------------------
# names


def find_columns(names: Iterable[str], table: Table, complain: Callable[[str, str], DataError]) -> dict[str, int]:
    """Return where each name of the formula is in the table.

    A name is taken literally. Only where no column has it, the spelling of accents is set aside (Unicode's canonical
    composition, NFC), as files written on macOS need.

    Parameters
    ----------
    names : iterable of str
    table : Table
    complain : callable
        ``(name, sentence) -> error`` to raise, which knows the place of the name in the formula.

    Raises
    ------
    DataError
        The error made by `complain`: a name is not in the data, or more than one column has it.
    """
    places: dict[str, list[int]] = {}
    composed: dict[str, list[int]] = {}
    for j, key in enumerate(table.names):
        places.setdefault(str(key), []).append(j)
        composed.setdefault(unicodedata.normalize("NFC", str(key)), []).append(j)
    found = {}
    for name in names:
        if not is_writable(name):
            raise complain(name, "holds half of a character (a lone surrogate), which cannot be written; rename it")
        at = places.get(name) or composed.get(unicodedata.normalize("NFC", name), [])
        if len(at) > 1:
            raise complain(name, f"occurs {len(at)} times in the data; keep one of them")
        if not at:
            hint = (
                "; it names the index, and data.reset_index() makes that a column" if name in table.index_names else ""
            )
            raise complain(name, absent(name, [*places], hint))
        found[name] = at[0]
    return found


# ----------------------------------------------------------------------------------------------------------------------
# rows


def complete_rows(variables: Sequence[Variable], rows: Rows, missing: str) -> tuple[np.ndarray, list[Message]]:
    """Return which rows have every variable (bool, shape (n,)), and the message on the others.

    Parameters
    ----------
    variables : sequence of Variable
    rows : Rows
    missing : {"drop", "error"}

    Raises
    ------
    DataError
        A variable is missing everywhere, no row is complete, or `missing` is "error" and a row is not.
    """
    for variable in variables:
        if variable.missing.all():
            raise DataError(f"column '{variable.name}' has no value in any of the {count(len(rows), 'row')}")
    lost = _incomplete(variables, len(rows))
    if lost.all():
        raise DataError(f"no row is complete: {missing_text(variables, rows, where=False)}")
    if lost.any() and missing == "error":
        raise DataError(f"{missing_text(variables, rows)}; missing='drop' leaves such rows out")
    if not lost.any():
        return ~lost, []
    number = int(lost.sum())
    return ~lost, [warning(f"{missing_text(variables, rows)}; {'it is' if number == 1 else 'they are'} left out")]


def missing_text(variables: Sequence[Variable], rows: Rows, where: bool = True) -> str:
    """Return ``2 of 24 rows have missing values (x: 2): rows [3, 7]``, or nothing where no value is missing."""
    lost = _incomplete(variables, len(rows))
    if not lost.any():
        return ""
    number = int(lost.sum())
    columns = listing(f"{v.name}: {int(v.missing.sum()):,}" for v in variables if v.missing.any())
    said = f"{number:,} of {count(len(rows), 'row')} {have(number)} missing values ({columns})"
    return f"{said}: {rows.text(lost)}" if where else said


def _incomplete(variables: Sequence[Variable], n: int) -> np.ndarray:
    lost = np.zeros(n, dtype=bool)
    for variable in variables:
        lost |= variable.missing
    return lost


def to_pandas(variables: Iterable[Variable], rows: Rows) -> pd.DataFrame:
    """Return the variables as a pandas frame that gives the same variables when it is read again."""
    index = pd.Index(rows.positions if rows.labels is None else rows.labels)
    return pd.DataFrame({v.name: _to_series(v) for v in variables}).set_axis(index)


def _to_series(v: Variable) -> pd.Series | np.ndarray:
    if v.kind in NUMERIC:
        return v.values.copy()
    if v.kind in ("category", "ordered"):
        return pd.Categorical.from_codes(v.values, list(v.levels), ordered=v.kind == "ordered")
    return np.array(v.levels, dtype=object)[v.values]
