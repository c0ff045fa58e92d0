"""The two passes over the rows: means of the base columns, then the cross-products of what is left of them.

Centred first, because raw squares of a column far from 0 have no digits left for its spread. A query has the sums of
some hundred products; more are asked for in several queries, each of which passes over the rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from math import prod
from operator import add

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.design.summed import LevelSums, PairSums
from bayesmm.design.transforms import LARGEST
from bayesmm.engines.complete import Complete
from bayesmm.engines.frames import collected
from bayesmm.engines.levels import ColumnLevels, Groups
from bayesmm.errors import DataError
from bayesmm.runtime.memory import BYTES, too_much
from bayesmm.runtime.progress import working

MOST_SUMS = 400  # in one query
# Numbers that a query gives, 80 MB, up to which the sums of all rows are taken from those by level.
MOST_CELLS = 10_000_000
LARGEST_SHORT, LARGEST_KEY = 2**31 - 1, 2**62  # of several columns as one whole number, and of each of them
CHANGED = 1e-6  # relative: a mean of centred columns, or a sum over levels, that is no rounding
# Bytes of a pair of levels while it is read: keys, codes, sums, and their copies.
PAIR_BYTES = 12 * BYTES
MEAN_ROUNDING = 1e-13  # of a mean, relative: sums of up to 1e10 rows, which engines add in parts
WEIGHT, LOG_WEIGHT, KEY, ALL = "w", "log_w", "key", "cross-products of all rows"


@dataclass(frozen=True, eq=False)
class Prepared:
    """The complete rows with what is summed over them.

    Attributes
    ----------
    engine : str
    frame : narwhals LazyFrame
        The columns of the model as they are, the base columns b0, b1, ..., and the weight w where there is one.
    n : int
    names : tuple of str
        Of the base columns.
    has_weights : bool
    """

    engine: str
    frame: nw.LazyFrame
    n: int
    names: tuple[str, ...]
    has_weights: bool

    @property
    def m(self) -> int:
        """Number of base columns."""
        return len(self.names)


def prepared(
    engine: str, complete: Complete, names: Sequence[str], exprs: Sequence[nw.Expr], weight: nw.Expr | None
) -> Prepared:
    """Return the rows with the base columns, the first of which is that of ones."""
    own = {f"b{j}": expr for j, expr in enumerate(exprs) if j}
    frame = complete.frame.with_columns(b0=nw.lit(1.0), **own)
    if weight is not None:
        frame = frame.with_columns(w=weight)
    return Prepared(engine, frame, complete.n, tuple(names), weight is not None)


@dataclass(frozen=True, eq=False)
class Means:
    """Mean, least and greatest value of each base column, (m,)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def means(rows: Prepared, known: Mapping[int, tuple[float, float, float]]) -> Means:
    """Return the means of the base columns; the `known` have mean, least and greatest value already.

    Raises
    ------
    DataError
        A column is not finite in some rows, or the number of rows changed.
    """
    asked = [j for j in range(1, rows.m) if j not in known]
    found = np.ones((3, rows.m))
    for j, ends in known.items():
        found[:, j] = ends
    if asked:
        found[:, asked] = _asked_means(rows, asked)
    mean, low, high = found
    large = np.maximum(np.abs(low), np.abs(high)) > LARGEST
    if large.any():
        what, most = rows.names[int(large.argmax())], float(np.abs([low, high]).max())
        raise DataError(f"{what} is as large as {most:.3g}; expected values below {LARGEST:g}")
    return Means(np.where(low == high, low, mean), low, high)


def _asked_means(rows: Prepared, asked: Sequence[int]) -> np.ndarray:
    """Return means, least and greatest values of some base columns, (3, number)."""
    sums = [
        expr.alias(f"{what}{j}")
        for j in asked
        for what, expr in (
            ("sum", nw.col(f"b{j}").sum()),
            ("low", nw.col(f"b{j}").min()),
            ("high", nw.col(f"b{j}").max()),
            ("known", nw.col(f"b{j}").count()),
        )
    ]
    with working(f"pass 1, means of {len(asked)} columns by {rows.engine}"):
        table = collected(rows.engine, "average the columns", rows.frame.select(nw.len().alias("n"), *sums))
    _check_n(rows, int(table["n"][0]))
    found = np.array([[float(table[f"{what}{j}"][0]) for j in asked] for what in ("sum", "low", "high")])
    counts = np.array([int(table[f"known{j}"][0]) for j in asked])  # a sum leaves out NULL
    bad = ~np.isfinite(found).all(axis=0) | (counts < rows.n)
    if bad.any():
        raise DataError(f"{rows.names[asked[int(bad.argmax())]]} is not finite in some rows; expected finite numbers")
    found[0] /= rows.n
    return found


def _check_n(rows: Prepared, n: int) -> None:
    if n != rows.n:
        raise DataError(f"the data changed while they were read: {rows.n:,} rows, then {n:,}")


def centred(rows: Prepared, shift: np.ndarray) -> Prepared:
    """Return the rows with the base columns less their means."""
    own = {f"b{j}": nw.col(f"b{j}") - float(shift[j]) for j in range(1, rows.m) if shift[j]}
    frame = rows.frame.with_columns(**own) if own else rows.frame
    return Prepared(rows.engine, frame, rows.n, rows.names, rows.has_weights)


@dataclass(frozen=True, eq=False)
class Products:
    """What the second pass gives.

    Attributes
    ----------
    plain, weighted : (m, m) float64
        Sums of the products of the base columns over all rows, and these weighted.
    log_weights, inverse : float
        The sum of log w, and the mean of 1 / w.
    levels : tuple of LevelSums
    pairs : tuple of PairSums
    """

    plain: np.ndarray
    weighted: np.ndarray
    log_weights: float
    inverse: float
    levels: tuple[LevelSums, ...]
    pairs: tuple[PairSums, ...]


def products(
    rows: Prepared, groups: Sequence[Groups], places: Sequence[Sequence[str]], left: Sequence[Sequence[int]]
) -> Products:
    """Return the sums of the products of centred base columns: of all rows, by level, and by pair of levels.

    Parameters
    ----------
    rows : Prepared
    groups : sequence of Groups
    places : sequence of sequence of str
        The columns of each grouping factor.
    left : sequence of sequence of int
        The base columns that each factor's Z is made of.
    """
    keys = [dict(zip(own, one.columns, strict=True)) for own, one in zip(places, groups, strict=True)]
    through = None if rows.has_weights else _through(rows, groups)
    every = [(i, j) for i in range(rows.m) for j in range(i, rows.m)]
    plain = np.zeros((0, 0)) if through is not None else _totals(rows, every, weighted=False)
    levels = []
    for k, one in enumerate(groups):
        own, sums = _level_products(rows, one, keys[k], left[k], every if k == through else ())
        levels.append(own)
        plain = sums if k == through else plain
    pairs = tuple(
        _pair_products(rows, (j, k), (groups[j], groups[k]), (keys[j], keys[k]), (left[j], left[k]))
        for j, k in combinations(range(len(groups)), 2)
    )
    if not rows.has_weights:
        return Products(plain, plain, 0.0, 1.0, tuple(levels), pairs)
    weighted = _totals(rows, every, weighted=True)
    frame = rows.frame.select(log_w=nw.col(WEIGHT).log(), inverse=1.0 / nw.col(WEIGHT))
    table = collected(rows.engine, "sum the weights", frame.select(nw.col(LOG_WEIGHT).sum(), nw.col("inverse").sum()))
    log_weights, inverse = float(table[LOG_WEIGHT][0]), float(table["inverse"][0]) / rows.n
    return Products(plain, weighted, log_weights, inverse, tuple(levels), pairs)


def _through(rows: Prepared, groups: Sequence[Groups]) -> int | None:
    """Return the factor whose sums by level give those of all rows too, so that these need no query of their own."""
    few = [k for k, one in enumerate(groups) if len(one.count) * rows.m * (rows.m + 1) / 2 <= MOST_CELLS]
    return min(few, key=lambda k: len(groups[k].count), default=None)


def _totals(rows: Prepared, pairs: Sequence[tuple[int, int]], weighted: bool) -> np.ndarray:
    """Return the sums of products over all rows, (m, m)."""
    out, what = np.zeros((rows.m, rows.m)), "weighted cross-products of all rows" if weighted else ALL
    for own, table in _queries(rows, what, pairs, {}, weighted):
        _check_n(rows, int(table["n"][0]))
        for k, (i, j) in enumerate(own):
            out[i, j] = out[j, i] = float(table[f"p{k}"][0])
    return out


def _queries(
    rows: Prepared, what: str, pairs: Sequence[tuple[int, int]], keys: Mapping[str, ColumnLevels], weighted: bool
) -> Iterator[tuple[Sequence[tuple[int, int]], dict[str, np.ndarray]]]:
    """Yield the sums of products p0, p1, ... of pairs of base columns by the values of the keys, some at a time.

    Each product is a column before it is summed: not every engine takes an expression inside an aggregation. That of
    the column of ones with itself is the number of rows, which is counted anyway.
    """
    frame, key, split = _grouping(rows.frame, keys)
    for start in range(0, len(pairs), MOST_SUMS):
        own = pairs[start : start + MOST_SUMS]
        columns = {f"p{k}": _product(*pair, weighted) for k, pair in enumerate(own) if weighted or pair != (0, 0)}
        summed = frame.select(*key, *(column.alias(name) for name, column in columns.items()))
        sums = [nw.len().alias("n"), *(nw.col(name).sum() for name in columns)]
        summed = summed.group_by(*key).agg(*sums) if key else summed.select(*sums)
        with working(f"pass 2, {what} by {rows.engine}"):
            table = collected(rows.engine, f"sum the {what}", summed)
        counted = {f"p{k}": table["n"].astype(float) for k in range(len(own)) if f"p{k}" not in columns}
        yield own, split(table) | counted


def _product(i: int, j: int, weighted: bool) -> nw.Expr:
    product = nw.col(f"b{i}") * nw.col(f"b{j}") if i else nw.col(f"b{j}")
    return product * nw.col(WEIGHT) if weighted else product


def _grouping(
    frame: nw.LazyFrame, keys: Mapping[str, ColumnLevels]
) -> tuple[nw.LazyFrame, list[str], Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]:
    """Return a frame, what to group it by, and what gives the values of the keys in a result.

    Several columns of whole numbers are grouped by as one, of 32 bits where these are enough: engines need less memory
    for it and are quicker (DuckDB, 1e8 rows in 5e6 pairs, 1 GB: 9 s of processor time in place of 23).
    """
    ends = {place: (own.values[0], own.values[-1]) for place, own in keys.items()}
    whole = all(type(end) is int and abs(end) < LARGEST_KEY for pair in ends.values() for end in pair)
    spans = [high - low + 1 for low, high in ends.values()] if whole else []
    if len(keys) < 2 or not whole or prod(spans) > LARGEST_KEY:
        return frame, list(keys), lambda table: table
    strides = [prod(spans[k + 1 :]) for k in range(len(spans))]
    one = [
        (nw.col(place).cast(nw.Int64) - low) * stride
        for (place, (low, _)), stride in zip(ends.items(), strides, strict=True)
    ]

    def split(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        key = table[KEY].astype(np.int64)
        parts = zip(ends.items(), strides, spans, strict=True)
        return table | {place: key // stride % span + low for (place, (low, _)), stride, span in parts}

    narrow = nw.Int32 if prod(spans) <= LARGEST_SHORT else nw.Int64
    return frame.with_columns(reduce(add, one).cast(narrow).alias(KEY)), [KEY], split


def _level_products(
    rows: Prepared,
    groups: Groups,
    keys: Mapping[str, ColumnLevels],
    left: Sequence[int],
    others: Sequence[tuple[int, int]],
) -> tuple[LevelSums, np.ndarray]:
    """Return the products of some base columns with all, summed by the levels of a grouping factor.

    With them the sums over all levels of these products and of those of `others`, pairs of base columns, (m, m).
    """
    m, G, name = rows.m, len(groups.grouping.levels), ":".join(groups.grouping.factors)
    need = too_much(2.0 * BYTES * G * len(left) * m)
    if need:
        raise DataError(f"the sums of {G:,} levels of '{name}' with {m} columns need {need}")
    ordered = [(min(i, j), max(i, j)) for i in left for j in range(m)]
    pairs = list(dict.fromkeys([*ordered, *others]))
    out, place, total = np.zeros((G, len(left), m)), {i: k for k, i in enumerate(left)}, np.zeros((m, m))
    count = np.zeros(G, dtype=np.int64)
    for own, table in _queries(rows, f"cross-products of '{name}'", pairs, keys, rows.has_weights):
        index = groups.index([table[column] for column in keys])
        count[index] = table["n"]
        for k, (i, j) in enumerate(own):
            total[i, j] = total[j, i] = table[f"p{k}"].sum()
            if i in place:
                out[index, place[i], j] = table[f"p{k}"]
            if j in place:
                out[index, place[j], i] = table[f"p{k}"]
    _check_n(rows, int(count.sum()))
    return LevelSums(np.array(left, dtype=np.int64), count, out), total


def _pair_products(
    rows: Prepared,
    blocks: tuple[int, int],
    groups: tuple[Groups, Groups],
    keys: tuple[Mapping[str, ColumnLevels], Mapping[str, ColumnLevels]],
    left: tuple[Sequence[int], Sequence[int]],
) -> PairSums:
    """Return the products of the Z columns of two blocks, summed by the pairs of their levels that occur."""
    names = " and ".join(f"'{':'.join(one.grouping.factors)}'" for one in groups)
    numbers, both = len(left[0]) * len(left[1]), {**keys[0], **keys[1]}
    most = min(rows.n, len(groups[0].grouping.levels) * len(groups[1].grouping.levels))
    if too_much(PAIR_BYTES * float(most) + 3 * BYTES * numbers * float(most)):
        frame, key, _ = _grouping(rows.frame, both)
        counted = frame.group_by(*key).agg(nw.len().alias("n")).select(nw.len().alias("pairs"))
        found = int(collected(rows.engine, f"count the pairs of {names}", counted)["pairs"][0])
        need = too_much(PAIR_BYTES * float(found) + 3 * BYTES * numbers * float(found))
        if need:
            raise DataError(f"the {found:,} pairs of levels of {names} that occur need {need}")
    pairs = list(dict.fromkeys((min(i, j), max(i, j)) for i in left[0] for j in left[1]))
    at = {pair: k for k, pair in enumerate(pairs)}
    queries = list(_queries(rows, f"cross-products of {names}", pairs, both, rows.has_weights))
    (_, table), *more = queries
    if more:
        raise DataError(f"the effects of {names} have too many products for one query")
    first, second = (one.index([table[column] for column in own]) for one, own in zip(groups, keys, strict=True))
    _check_n(rows, int(table["n"].astype(np.int64).sum()))
    order = np.argsort(first * len(groups[1].grouping.levels) + second)  # no pair stands twice
    products = np.empty((len(order), len(left[0]), len(left[1])))
    for a, i in enumerate(left[0]):
        for b, j in enumerate(left[1]):
            products[:, a, b] = table[f"p{at[min(i, j), max(i, j)]}"][order]
    return PairSums(blocks, first[order], second[order], products)


def check_unchanged(rows: Prepared, shift: np.ndarray, found: Products) -> None:
    """Raise a DataError where the sums of the second pass do not fit those of the first, or one another.

    `shift`, (m,), are the means of the first pass, which are known to some digits of themselves.
    """
    sizes, rounding = np.sqrt(np.diag(found.plain)), MEAN_ROUNDING * rows.n * np.abs(shift)
    if (np.abs(found.plain[0, 1:]) > CHANGED * np.sqrt(rows.n) * sizes[1:] + rounding[1:]).any():
        raise DataError(
            "the data changed while they were read: the means of the first pass are not those of the second"
        )
    for own in found.levels:
        whole = own.products.sum(axis=0)
        size = np.sqrt(np.outer(np.diag(found.weighted)[own.left], np.diag(found.weighted)))
        if (np.abs(whole - found.weighted[own.left]) > CHANGED * size).any():
            raise DataError("the data changed while they were read: the sums over levels are not those of all rows")
