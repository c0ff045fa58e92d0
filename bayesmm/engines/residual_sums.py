"""The sums of a model whose residuals have a structure, by the engine: by stratum, by lags, and of whole series."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.design.sum_sets import LAGS, LENGTHS, STRATA, ResidualSums
from bayesmm.design.summed import LevelSums, PairSums
from bayesmm.engines.frames import asked, collected
from bayesmm.engines.levels import Groups
from bayesmm.engines.passes import MOST_SUMS, WEIGHT, Prepared
from bayesmm.errors import DataError
from bayesmm.runtime.memory import BYTES, too_much
from bayesmm.runtime.progress import working

MOST_KINDS = 60  # of strata, of steps to the row before, of lengths of series: each has sums of its own
KIND = "kind"  # the column that tells them apart


@dataclass(frozen=True, eq=False)
class Layout:
    """What sums are asked for.

    Attributes
    ----------
    groups : tuple of Groups
    places : list of list of str
        The columns of each grouping factor.
    left : list of list of int
        The base columns that each factor's Z is made of.
    levels : tuple of LevelSums
    pairs : tuple of PairSums
        Of the rows as independent ones: whose levels and pairs these are.
    """

    groups: tuple[Groups, ...]
    places: list[list[str]]
    left: list[list[int]]
    levels: tuple[LevelSums, ...]
    pairs: tuple[PairSums, ...]


@dataclass(frozen=True, eq=False)
class _Kinds:
    """Rows with what is multiplied and the number of their kind.

    Attributes
    ----------
    rows : Prepared
    keys : (K,) float64
        The values of the column `kind`, sorted.
    sides : tuple of (str, str)
        For each set of a kind the names of the columns that are multiplied, "v" or "p" before a base column's number.
    """

    rows: Prepared
    keys: np.ndarray
    sides: tuple[tuple[str, str], ...]


def by_stratum(rows: Prepared, layout: Layout, kind: nw.Expr, X: np.ndarray, names: Sequence[str]) -> ResidualSums:
    """Return the sums of each stratum.

    Parameters
    ----------
    rows : Prepared
        Centred.
    layout : Layout
    kind : Expr
        The number of each row's stratum, from 0.
    X : (K, k) float64
        The columns of sigma's formula in each.
    names : sequence of str
        Of these, an intercept's too.
    """
    frame = _whole(rows).with_columns(kind=kind)
    keys, count = _counted(rows, frame)
    if len(keys) != len(X):
        raise DataError("the data changed while they were read: the strata of sigma's formula are others than before")
    sets = _sets(_Kinds(replace(rows, frame=frame), keys, (("v", "v"),)), layout)
    inverse = count
    if rows.has_weights:
        inverses = frame.select(KIND, inverse=1.0 / nw.col(WEIGHT)).group_by(KIND).agg(nw.col("inverse").sum())
        table = collected(rows.engine, "sum the weights", inverses)
        inverse = table["inverse"].astype(float)[np.argsort(table[KIND].astype(float))]
    return ResidualSums(STRATA, X, count, inverse, tuple(names), *sets)


def by_error(rows: Prepared, layout: Layout, se: nw.Expr) -> ResidualSums:
    """Return the sums of the rows of each standard error, beside which a residual is estimated."""
    frame = _whole(rows).with_columns(kind=se)
    keys, count = _counted(rows, frame)
    sets = _sets(_Kinds(replace(rows, frame=frame), keys, (("v", "v"),)), layout)
    return ResidualSums(STRATA, keys[:, None], count, count, (), *sets)


def by_lag(rows: Prepared, layout: Layout, series: str, time: nw.Expr, text: str) -> ResidualSums:
    """Return the sums of the first rows of each series, and of the others with the ones before them, by the steps.

    Raises
    ------
    DataError
        Times are not whole or stand twice in a series; a series lies in several levels of a factor; there are too many
        different steps; or the engine has no windows.
    """
    _check_nested(rows, layout, series, text)
    frame = _whole(rows).with_columns(t=time)
    _check_whole(rows, frame, text)

    def lagged() -> nw.LazyFrame:
        before = {f"p{j}": nw.col(f"v{j}").shift(1).over(series, order_by="t") for j in range(rows.m)}
        return frame.with_columns(before_t=nw.col("t").shift(1).over(series, order_by="t"), **before)

    frame = asked(rows.engine, f"find the rows before others, which {text} needs", lagged)
    first, gap, zero = nw.col("before_t").is_null(), nw.col("t") - nw.col("before_t"), nw.lit(0.0)
    step = nw.when(gap == 0.0).then(nw.lit(-1.0)).otherwise(gap)  # a time that stands twice; first rows have 0
    own = {f"p{j}": nw.when(first).then(zero).otherwise(nw.col(f"p{j}")) for j in range(rows.m)}
    frame = frame.with_columns(kind=nw.when(first).then(zero).otherwise(step), **own)
    keys, count = _counted(rows, frame)
    if (keys < 0).any():
        raise DataError(f"{text}: a time stands twice in a series; expected each time once")
    if len(keys) < 2:
        raise DataError(f"{text}: every series has one row, so that there is no correlation to estimate")
    sets = _sets(_Kinds(replace(rows, frame=frame), keys, (("v", "v"), ("p", "v"), ("p", "p"))), layout)
    kept = np.r_[0, 3 : 3 * len(keys)]  # first rows have none before them
    weighted, levels, pairs = sets
    own = weighted[kept], tuple(one[kept] for one in levels), tuple(one[kept] for one in pairs)
    return ResidualSums(LAGS, keys[1:, None], count[1:], np.zeros(0), (), *own)


def by_length(rows: Prepared, layout: Layout, series: str, text: str, total: np.ndarray) -> ResidualSums:
    """Return the sums of all rows, whose products are `total`, (m, m), and of the sums of series by their length."""
    _check_nested(rows, layout, series, text)
    frame = _whole(rows)
    factors = list(dict.fromkeys([place for own in layout.places for place in own if place != series]))
    sums = [nw.col(f"v{j}").sum() for j in range(rows.m)]
    summed = frame.group_by(series, *factors).agg(nw.len().alias("length"), *sums)
    summed = summed.with_columns(kind=nw.col("length").cast(nw.Float64))
    keys, count = _counted(rows, summed)
    if keys.max() < 2:
        raise DataError(
            f"{text}: every series has one row, so there is no correlation to estimate; gr= must be a column whose "
            "values stand in several rows"
        )
    weighted, levels, pairs = _sets(_Kinds(replace(rows, frame=summed), keys, (("v", "v"),)), layout)
    return ResidualSums(
        LENGTHS,
        keys[:, None],
        count,
        np.zeros(0),
        (),
        np.concatenate([total[None], weighted]),
        tuple(np.concatenate([one.products[None], own]) for one, own in zip(layout.levels, levels, strict=True)),
        tuple(np.concatenate([one.products[None], own]) for one, own in zip(layout.pairs, pairs, strict=True)),
    )


# ----------------------------------------------------------------------------------------------------------------------
# checks


def _whole(rows: Prepared) -> nw.LazyFrame:
    """Return the rows with v0, v1, ...: the base columns times the roots of the weights."""
    root = nw.col(WEIGHT).sqrt() if rows.has_weights else None
    return rows.frame.with_columns(
        **{f"v{j}": nw.col(f"b{j}") if root is None else nw.col(f"b{j}") * root for j in range(rows.m)}
    )


def _counted(rows: Prepared, frame: nw.LazyFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the kinds that occur, (K,), and how many rows of the frame are of each."""
    counted = frame.group_by(KIND).agg(nw.len().alias("n"))
    cells = collected(rows.engine, "count the kinds of rows", counted.select(nw.len().alias("kinds")))
    if int(cells["kinds"][0]) > MOST_KINDS:
        raise DataError(
            f"the residuals have {int(cells['kinds'][0]):,} kinds of rows or series, each with sums of its own; "
            f"expected at most {MOST_KINDS}"
        )
    table = collected(rows.engine, "count the kinds of rows", counted)
    order = np.argsort(table[KIND].astype(float))
    return table[KIND].astype(float)[order], table["n"].astype(float)[order]


def _check_whole(rows: Prepared, frame: nw.LazyFrame, text: str) -> None:
    broken = nw.when(nw.col("t").floor() == nw.col("t")).then(nw.lit(0.0)).otherwise(nw.lit(1.0))
    table = collected(rows.engine, "check the times", frame.select(broken=broken).select(nw.col("broken").sum()))
    if float(table["broken"][0]) > 0:
        raise DataError(f"{text}: the times are not whole numbers in some rows")


def _check_nested(rows: Prepared, layout: Layout, series: str, text: str) -> None:
    """Refuse series that lie in several levels of a grouping factor: then effects of two levels go together."""
    number = _distinct(rows, [series])
    for own, places in zip(layout.groups, layout.places, strict=True):
        if places != [series] and _distinct(rows, list(dict.fromkeys([series, *places]))) != number:
            raise DataError(
                f"{text}: some series lie in several levels of '{':'.join(own.grouping.factors)}', whose sums are not "
                "known level by level; collect the frame, or leave this factor out"
            )


def _distinct(rows: Prepared, places: Sequence[str]) -> int:
    counted = rows.frame.group_by(*places).agg(nw.len().alias("n")).select(nw.len().alias("n"))
    return int(collected(rows.engine, "count the series", counted)["n"][0])


# ----------------------------------------------------------------------------------------------------------------------
# sums


def _sets(kinds: _Kinds, layout: Layout) -> tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return the sums of all rows (S, m, m), by levels (S, G, l, m) and by pairs: the sets of a kind side by side."""
    m, K, sides = kinds.rows.m, len(kinds.keys), len(kinds.sides)
    size = sum(own.products.size for own in (*layout.levels, *layout.pairs))
    need = too_much(2.0 * BYTES * K * sides * size)
    if need:
        raise DataError(f"the sums of {K:,} kinds of rows by the levels of all factors need {need}")
    all_pairs = [(i, j) for i in range(m) for j in range(i, m)]
    weighted = np.zeros((K, sides, 1, m, m))
    _fill(kinds, "cross-products of residuals", all_pairs, (), weighted, lambda table: 0)
    levels = []
    for own, groups, places, left in zip(layout.levels, layout.groups, layout.places, layout.left, strict=True):
        out, at = np.zeros((K, sides, *own.products.shape)), {i: a for a, i in enumerate(left)}
        some = [(i, j) for a, i in enumerate(left) for j in range(m) if j not in left[:a]]
        index = _level_index(groups, places)
        _fill(kinds, f"cross-products of '{':'.join(groups.grouping.factors)}'", some, places, out, index, at)
        levels.append(out)
    pairs = []
    for own, (a, b) in zip(layout.pairs, combinations(range(len(layout.groups)), 2), strict=True):
        pairs.append(_pair_sets(kinds, layout, own, a, b))
    flat = lambda out: out.reshape(K * sides, *out.shape[2:])  # noqa: E731
    return flat(weighted)[:, 0], tuple(map(flat, levels)), tuple(map(flat, pairs))


def _level_index(groups: Groups, places: Sequence[str]):
    return lambda table: groups.index([table[place] for place in places])


def _pair_sets(kinds: _Kinds, layout: Layout, own: PairSums, a: int, b: int) -> np.ndarray:
    """Return the products of the Z columns of two blocks by the pairs of levels, (K, sides, pairs, l_a, l_b)."""
    left, groups, places = ([part[k] for k in (a, b)] for part in (layout.left, layout.groups, layout.places))
    width = len(groups[1].grouping.levels)
    known = own.first * width + own.second

    def index(table: Mapping[str, np.ndarray]) -> np.ndarray:
        first, second = (_level_index(g, p)(table) for g, p in zip(groups, places, strict=True))
        at = np.minimum(np.searchsorted(known, first * width + second), len(known) - 1)
        if (known[at] != first * width + second).any():
            raise DataError("the data changed while they were read: a pair of levels came that was not there before")
        return at

    K, sides, keys = len(kinds.keys), len(kinds.sides), list(dict.fromkeys([*places[0], *places[1]]))
    whole = np.zeros((K, sides, len(known), *own.products.shape[1:]))
    some = list(dict.fromkeys((min(i, j), max(i, j)) for i in left[0] for j in left[1]))
    values = dict.fromkeys(some)
    for pairs, table in _queries(kinds, "cross-products of pairs of levels", some, keys):
        kind, at = _kind_of(kinds, table), index(table)
        for n, pair in enumerate(pairs):
            values[pair] = [(kind, at, table[f"s{s}_{n}"]) for s in range(sides)]
    for x, i in enumerate(left[0]):
        for y, j in enumerate(left[1]):
            for s, (kind, at, found) in enumerate(values[min(i, j), max(i, j)]):
                whole[kind, s, at, x, y] = found
    return whole


def _fill(kinds: _Kinds, what: str, pairs, keys: Sequence[str], out: np.ndarray, index, at=None) -> None:
    """Put sums into an array (K, sides, levels, rows, m), on both sides of its diagonal; `at` says which row."""
    for own, table in _queries(kinds, what, pairs, keys):
        kind, level = _kind_of(kinds, table), index(table)
        for n, (i, j) in enumerate(own):
            for s in range(len(kinds.sides)):
                found = table[f"s{s}_{n}"]
                out[kind, s, level, i if at is None else at[i], j] = found
                if at is None or j in at:
                    out[kind, s, level, j if at is None else at[j], i] = found


def _kind_of(kinds: _Kinds, table: Mapping[str, np.ndarray]) -> np.ndarray:
    own = table[KIND].astype(float)
    at = np.minimum(np.searchsorted(kinds.keys, own), len(kinds.keys) - 1)
    if (kinds.keys[at] != own).any():
        raise DataError("the data changed while they were read: rows of another kind came")
    return at


def _queries(
    kinds: _Kinds, what: str, pairs: Sequence[tuple[int, int]], keys: Sequence[str]
) -> Iterator[tuple[Sequence[tuple[int, int]], dict[str, np.ndarray]]]:
    """Yield sums s0_0, ... of products by kind and keys: of two sides that differ, both ways added."""
    rows, step = kinds.rows, max(1, MOST_SUMS // len(kinds.sides))
    for start in range(0, len(pairs), step):
        own = pairs[start : start + step]
        products = {
            f"s{s}_{n}": _product(a, b, i, j) for n, (i, j) in enumerate(own) for s, (a, b) in enumerate(kinds.sides)
        }
        frame = rows.frame.select(KIND, *keys, **products)
        sums = frame.group_by(KIND, *keys).agg(*(nw.col(name).sum() for name in products))
        with working(f"pass 2, {what} by {rows.engine}"):
            table = collected(rows.engine, f"sum the {what}", sums)
        yield own, table


def _product(a: str, b: str, i: int, j: int) -> nw.Expr:
    one = nw.col(f"{a}{i}") * nw.col(f"{b}{j}")
    return one if a == b else one + nw.col(f"{b}{i}") * nw.col(f"{a}{j}")
