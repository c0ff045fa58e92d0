"""Medians and other order statistics of a column that is too long to be sorted here.

Rows are counted in bins, and a bin that holds a wanted rank in bins of its own, until its values are few enough to be
taken over. The result is exact: what sorting all values would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.engines.frames import collected
from bayesmm.errors import DataError

BINS = 4096
NARROW = 65_536  # bins for two medians at once: of 1e8 normal rows some ten thousand are in the fullest
FEW = 20_000  # values that are taken over and sorted
MOST_TAKEN = 500_000  # the same, of two medians at once: 4 MB
MOST_ROUNDS = 12  # each has bins 4,096 times as narrow: doubles are told apart in five


def order_statistics(
    engine: str, frame: nw.LazyFrame, column: str, ranks: Sequence[int], n: int, ends: tuple[float, float]
) -> dict[int, float]:
    """Return the values that have these ranks, from 0, among the n values of a float column between `ends`."""
    wanted = sorted(set(ranks))
    if not wanted:
        return {}
    return dict(zip(wanted, _ranked(engine, frame, column, wanted, n, ends, MOST_ROUNDS), strict=True))


def _ranked(
    engine: str, frame: nw.LazyFrame, column: str, ranks: list[int], n: int, ends: tuple[float, float], rounds: int
) -> list[float]:
    low, high = ends
    x = nw.col(column)
    if low == high:
        return [low] * len(ranks)
    if n <= FEW or rounds == 0:
        values = np.sort(collected(engine, "give the values about a median", frame.select(x))[column])
        return [float(values[rank]) for rank in ranks]
    bins = _bins(engine, frame, column, ends, BINS)
    found: list[float] = []
    place = bins.of(ranks)
    for k in dict.fromkeys(place.tolist()):
        own = [rank - int(bins.before[k]) for rank, at in zip(ranks, place, strict=True) if at == k]
        inside = float(bins.low[k]), float(bins.high[k])
        part = frame.filter((x >= inside[0]) & (x <= inside[1])).select(x)
        found += _ranked(engine, part, column, own, int(bins.rows[k]), inside, rounds - 1)
    return found


@dataclass(frozen=True, eq=False)
class _Bins:
    """Bins of equal width with rows in them, sorted: their number of rows, least and greatest value, (b,)."""

    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def before(self) -> np.ndarray:
        """Rows in all bins before each, and in all, (b + 1,)."""
        return np.concatenate([[0], np.cumsum(self.rows)])

    def of(self, ranks: Sequence[int]) -> np.ndarray:
        """Return the bins that values of these ranks are in."""
        return np.searchsorted(self.before, ranks, side="right") - 1


def _bins(engine: str, frame: nw.LazyFrame, column: str, ends: tuple[float, float], number: int) -> _Bins:
    low, high = ends
    x = nw.col(column)
    binned = frame.with_columns(bin=((x - low) * (number / (high - low))).floor())
    summed = binned.group_by("bin").agg(nw.len().alias("rows"), x.min().alias("low"), x.max().alias("high"))
    table = collected(engine, "count the rows in bins", summed)
    order = np.argsort(table["bin"])
    return _Bins(table["rows"][order].astype(np.int64), table["low"][order], table["high"][order])


def median(engine: str, frame: nw.LazyFrame, column: str, n: int, ends: tuple[float, float]) -> float:
    """Return the median of the n values of a float column between `ends`, as NumPy has it."""
    middle = ((n - 1) // 2, n // 2)
    found = order_statistics(engine, frame, column, middle, n, ends)
    return (found[middle[0]] + found[middle[1]]) / 2


def quantiles(
    engine: str, frame: nw.LazyFrame, column: str, shares: Sequence[float], n: int, ends: tuple[float, float]
) -> list[float]:
    """Return quantiles by linear interpolation between order statistics, as NumPy has them."""
    at = [share * (n - 1) for share in shares]
    ranks = [rank for h in at for rank in (int(np.floor(h)), min(int(np.floor(h)) + 1, n - 1))]
    found = order_statistics(engine, frame, column, ranks, n, ends)
    return [
        found[int(np.floor(h))] + (found[min(int(np.floor(h)) + 1, n - 1)] - found[int(np.floor(h))]) * (h % 1)
        for h in at
    ]


def median_and_deviation(
    engine: str, frame: nw.LazyFrame, column: str, n: int, ends: tuple[float, float]
) -> tuple[float, float]:
    """Return the median of the n values of a float column between `ends`, and that of their distances from it.

    Both come from two queries where that is possible: rows are counted in narrow bins, which say between what both
    medians are, and the values of the bins in question are taken over.
    """
    ranks, x = ((n - 1) // 2, n // 2), nw.col(column)
    if ends[0] < ends[1] and n > FEW:
        bins = _bins(engine, frame, column, ends, NARROW)
        question = _in_question(bins, ranks)
        if bins.rows[question.wanted].sum() <= MOST_TAKEN:
            return _from_values(engine, frame, column, bins, question, ranks)
    found = median(engine, frame, column, n, ends)
    far = max(abs(ends[0] - found), abs(ends[1] - found))
    return found, median(engine, frame.select((x - found).abs().alias(column)), column, n, (0.0, far))


@dataclass(frozen=True, eq=False)
class _Question:
    """The bins, (b,) bool, whose values settle two medians.

    Attributes
    ----------
    middle : (b,) bool
        Where the median may be.
    away : (b,) bool
        Where values may be whose distance from it is the median one.
    nearer : int
        Rows whose distance is smaller for sure.
    """

    middle: np.ndarray
    away: np.ndarray
    nearer: int

    @property
    def wanted(self) -> np.ndarray:
        """Where values are taken over, (b,) bool."""
        return self.middle | self.away


def _in_question(bins: _Bins, ranks: tuple[int, int]) -> _Question:
    """Return the bins whose values settle two medians."""
    first, last = bins.of(ranks)
    middle = np.zeros(len(bins.rows), dtype=bool)
    middle[first : last + 1] = True
    low, high = bins.low[first], bins.high[last]
    near = np.maximum(np.maximum(bins.low - high, low - bins.high), 0.0)
    far = np.maximum(bins.high - low, high - bins.low)
    # distances are between these two, and so are the sorted ones between the sorted two
    least, most = _sorted_at(near, bins.rows, ranks[0]), _sorted_at(far, bins.rows, ranks[1])
    return _Question(middle, (near <= most) & (far >= least), int(bins.rows[far < least].sum()))


def _sorted_at(values: np.ndarray, rows: np.ndarray, rank: int) -> float:
    """Return what has a rank among values that stand for some rows each."""
    order = np.argsort(values, kind="stable")
    return float(values[order][np.searchsorted(np.cumsum(rows[order]), rank, side="right")])


def _from_values(
    engine: str, frame: nw.LazyFrame, column: str, bins: _Bins, question: _Question, ranks: tuple[int, int]
) -> tuple[float, float]:
    """Return both medians from the values of the bins in question."""
    wanted, x = question.wanted, nw.col(column)
    edges = np.flatnonzero(np.diff(np.r_[False, wanted, False].astype(int)))
    runs = [(float(bins.low[a]), float(bins.high[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    inside = frame.filter(reduce(or_, [(x >= low) & (x <= high) for low, high in runs])).select(x)
    values = np.sort(collected(engine, "give the values about a median", inside)[column])
    if len(values) != bins.rows[wanted].sum():
        raise DataError("the data changed while they were read: their values about the median are others than before")
    of, places = np.searchsorted(bins.low, values, side="right") - 1, np.array(ranks)
    found = float(values[question.middle[of]][places - bins.before[question.middle.argmax()]].mean())
    distances = np.sort(np.abs(values[question.away[of]] - found))
    return found, float(distances[places - question.nearer].mean())
