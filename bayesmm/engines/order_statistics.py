"""Medians and other order statistics of a column that is too long to be sorted here.

Rows are counted in bins, and a bin that holds a wanted rank in bins of its own, until its values are few enough to be
taken over. The result is exact: what sorting all values would give.
"""

from collections.abc import Sequence

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.engines.frames import collected

BINS = 4096
FEW = 20_000  # values that are taken over and sorted
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
    binned = frame.with_columns(bin=((x - low) * (BINS / (high - low))).floor())
    summed = binned.group_by("bin").agg(nw.len().alias("rows"), x.min().alias("low"), x.max().alias("high"))
    table = collected(engine, "count the rows in bins", summed)
    order = np.argsort(table["bin"])
    bins, rows = table["bin"][order], table["rows"][order].astype(np.int64)
    lows, highs, before = table["low"][order], table["high"][order], np.concatenate([[0], np.cumsum(rows)])
    found: list[float] = []
    place = np.searchsorted(before, ranks, side="right") - 1
    for k in dict.fromkeys(place.tolist()):
        own = [rank - int(before[k]) for rank, at in zip(ranks, place, strict=True) if at == k]
        part = binned.filter(nw.col("bin") == float(bins[k])).select(x)
        found += _ranked(engine, part, column, own, int(rows[k]), (float(lows[k]), float(highs[k])), rounds - 1)
    return found


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
