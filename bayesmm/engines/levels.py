"""The levels of columns and of grouping factors, from a lazy frame: values that occur, with how many rows each has."""

from collections.abc import Sequence
from dataclasses import dataclass

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from bayesmm.design.spec import Grouping
from bayesmm.design.variables import value_label
from bayesmm.engines.complete import Complete, sums_and_ends
from bayesmm.engines.frames import Opened, collected
from bayesmm.errors import DataError
from bayesmm.runtime.memory import BYTES, too_much

# Bytes of a level while it is read: its label as a Python object twice, its row count and code.
LEVEL_BYTES = 30 * BYTES


@dataclass(frozen=True, eq=False)
class ColumnLevels:
    """The distinct values of one column.

    Attributes
    ----------
    values : tuple
        As the engine gives them: numbers by size, categories in their order, all else by their labels.
    labels : tuple of str
    count : (L,) int64
        Rows of each.
    """

    values: tuple
    labels: tuple[str, ...]
    count: np.ndarray

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the places of values, (k,) int64; -1 for what is no level."""
        first, last = self.values[0], self.values[-1]
        if type(first) is int and last - first == len(self.values) - 1 and values.dtype.kind == "i":  # without gaps
            return np.where((values >= first) & (values <= last), values.astype(np.int64) - first, -1)
        return pd.Index(list(self.values)).get_indexer(pd.Index(values))


@dataclass(frozen=True, eq=False)
class Groups:
    """The levels of a grouping factor.

    Attributes
    ----------
    grouping : Grouping
    columns : tuple of ColumnLevels
        Of each of its columns.
    count : (G,) int64
        Rows of each level.
    """

    grouping: Grouping
    columns: tuple[ColumnLevels, ...]
    count: np.ndarray

    def index(self, keys: Sequence[np.ndarray]) -> np.ndarray:
        """Return the levels, (k,) int64, that the values of the columns in k rows of a result are of.

        Raises
        ------
        DataError
            One is no level: the data are others than before.
        """
        codes = [own.codes(values) for own, values in zip(self.columns, keys, strict=True)]
        changed = "the data changed while they were read: a level came that was not there before"
        if any((own < 0).any() for own in codes):
            raise DataError(changed)
        if len(codes) == 1:  # its cells are its levels
            return codes[0]
        sizes = [len(own.labels) for own in self.columns]
        known, wanted = cell_numbers(list(self.grouping.cells.T), sizes), cell_numbers(codes, sizes)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        if (known[at] != wanted).any():
            raise DataError(changed)
        return at


def cell_numbers(codes: Sequence[np.ndarray], sizes: Sequence[int]) -> np.ndarray:
    """Return one number for each combination of codes, in their order, the first column slowest."""
    numbers = np.asarray(codes[0], dtype=np.int64)
    for own, size in zip(codes[1:], sizes[1:], strict=True):
        numbers = numbers * size + own
    return numbers


def column_levels(opened: Opened, complete: Complete, name: str) -> ColumnLevels:
    """Return the levels of a column.

    Raises
    ------
    DataError
        They are numbers with decimals, which are levels on no two engines alike, or too many for the memory.
    """
    _check_kind(opened, name)
    place = opened.places[name]
    _check_number(opened, complete, [name])
    counted = complete.frame.group_by(place).agg(nw.len().alias("rows"))
    table = collected(opened.engine, f"count the levels of '{name}'", counted)
    return _ordered(opened, name, table[place], table["rows"].astype(np.int64))


def _check_kind(opened: Opened, name: str) -> None:
    dtype = opened.dtypes[name]
    if dtype.is_decimal():
        raise DataError(
            f"'{name}' holds decimal numbers, which as levels differ between engines; cast them to whole numbers or to "
            "text"
        )
    if dtype == nw.Duration:
        raise DataError(f"'{name}' holds durations where levels are expected; convert them, for instance to hours")


def _check_number(opened: Opened, complete: Complete, names: Sequence[str]) -> None:
    """Refuse levels that may be too many for the memory: where that is possible they are counted first."""
    if too_much(LEVEL_BYTES * complete.n) is None or too_much(LEVEL_BYTES * _most(opened, complete, names)) is None:
        return
    places = [opened.places[name] for name in names]
    counted = complete.frame.group_by(*places).agg(nw.len().alias("rows")).select(nw.len().alias("levels"))
    what = f"count the levels of '{':'.join(names)}'"
    levels = int(collected(opened.engine, what, counted)["levels"][0])
    need = too_much(LEVEL_BYTES * levels)
    if need:
        raise DataError(f"'{':'.join(names)}' has {levels:,} levels, whose labels and sums need {need}")


def _most(opened: Opened, complete: Complete, names: Sequence[str]) -> float:
    """Return how many levels whole numbers may have at most, by their range: quicker than counting them."""
    if not all(opened.dtypes[name].is_integer() for name in names):
        return float("inf")
    ends = sums_and_ends(opened, complete, names)
    return float(np.prod([ends[name][2] - ends[name][1] + 1 for name in names]))


def _ordered(opened: Opened, name: str, values: np.ndarray, rows: np.ndarray) -> ColumnLevels:
    dtype = opened.dtypes[name]
    if dtype.is_float() and not (np.floor(values) == values).all():
        shown = next(value for value in values.tolist() if value != np.floor(value))
        raise DataError(
            f"'{name}' has numbers with decimals as levels ({shown:g}), which differ between engines in the last "
            "digit; round them to whole numbers, or cast them to text"
        )
    labels = np.array([value_label(value) for value in values.tolist()], dtype=object)
    if isinstance(dtype, nw.Enum):
        order = np.argsort(pd.Index(dtype.categories).get_indexer(pd.Index(values)))
    elif dtype.is_numeric() or dtype == nw.Boolean:
        order = np.argsort(values.astype(float) if dtype == nw.Boolean else values, kind="stable")
    else:
        order = np.argsort(labels, kind="stable")
    return ColumnLevels(tuple(values[order].tolist()), tuple(labels[order].tolist()), rows[order])


def groups_of(opened: Opened, complete: Complete, factors: tuple[str, ...], known: dict[str, ColumnLevels]) -> Groups:
    """Return the levels of a grouping factor, given those of its columns."""
    columns = tuple(known[name] for name in factors)
    labels = tuple(own.labels for own in columns)
    if len(factors) == 1:
        cells = np.arange(len(labels[0]))[:, None]
        return Groups(Grouping(factors, labels, cells, labels[0]), columns, columns[0].count)
    _check_number(opened, complete, factors)
    places = [opened.places[name] for name in factors]
    counted = complete.frame.group_by(*places).agg(nw.len().alias("rows"))
    table = collected(opened.engine, f"count the levels of '{':'.join(factors)}'", counted)
    codes = [own.codes(table[place]) for own, place in zip(columns, places, strict=True)]
    order = np.argsort(cell_numbers(codes, [len(part) for part in labels]), kind="stable")
    cells = np.column_stack([own[order] for own in codes]).astype(np.int64)
    parts = [np.array(part, dtype=object)[cells[:, k]] for k, part in enumerate(labels)]
    levels = tuple(map(":".join, zip(*parts, strict=True)))
    return Groups(Grouping(factors, labels, cells, levels), columns, table["rows"].astype(np.int64)[order])
