"""The rows of a lazy frame, some thousand at a time, for what sums cannot give: predictions of all rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from bayesmm.design.spec import DesignSpec
from bayesmm.engines.complete import complete_rows
from bayesmm.engines.expressions import Columns, number
from bayesmm.engines.frames import ENGINES, asked, collected, column_names, open_frame, same_name, values_of
from bayesmm.engines.weights import weighted_rows
from bayesmm.errors import DataError, listing
from bayesmm.formula.formula import Formula
from bayesmm.formula.roles import WEIGHTS, roles
from bayesmm.runtime.memory import BYTES, too_much

READ = "give the rows"


@dataclass(frozen=True, eq=False)
class LazyRows:
    """Rows that an engine gives one batch after another.

    Attributes
    ----------
    engine : str
    frame : narwhals LazyFrame
        With columns of our own names.
    names : mapping of str to str
        These -> the names in the data.
    response : bool
        Whether the last column is the response.
    """

    engine: str
    frame: nw.LazyFrame
    names: dict[str, str]
    response: bool

    def batches(self, size: int) -> Iterator[tuple[pd.DataFrame, np.ndarray | None]]:
        """Yield the rows, at most `size` at a time, in the engine's order, with their response where that is known."""
        for batch in _batches(self.engine, self.frame, size):
            y = batch.pop("y").to_numpy(dtype=float) if self.response else None
            yield batch.rename(columns=self.names), y


def own_rows(spec: DesignSpec, data: object, also: Sequence[str] | None) -> LazyRows:
    """Return the rows that a linear model was fitted to: those without gaps, and of a weight above 0.

    Parameters
    ----------
    spec : DesignSpec
    data : lazy frame
        That of the model.
    also : sequence of str or None
        Columns that are wanted besides those of the formula.
    """
    formula, arguments = spec.formula, spec.arguments
    weights = arguments.weights
    opened = open_frame(formula, data, weights, also or ())
    needed = [name for name, (role, _, _) in roles(formula).items() if role != WEIGHTS and name != weights]
    complete = complete_rows(opened, needed, "drop")
    kept = weighted_rows(formula, opened, complete, weights).rows
    columns = Columns(opened.places, opened.kinds, {}, {}, spec.states)
    frame = kept.frame.with_columns(y=number(formula.response, columns))
    return LazyRows(opened.engine, frame, {place: name for name, place in opened.places.items()}, True)


def other_rows(formula: Formula, data: object, also: Sequence[str] | None) -> LazyRows:
    """Return the rows of any lazy frame, with the columns of a formula that it has."""
    frame = nw.from_native(data)
    engine = ENGINES.get(frame.implementation.value, str(frame.implementation.value))
    schema = [str(key) for key in column_names(frame, engine)]
    absent = [name for name in also or () if name not in schema]
    if absent:
        raise DataError(f"columns= names {listing(absent)}, and the data have {listing(schema, 12)}")
    wanted = dict.fromkeys([*(name for name in roles(formula) if name in schema), *(also or ())])
    if not wanted:
        raise DataError(f"the data have no column of the model (columns: {listing(schema, 12)})")
    for name in wanted:
        others = same_name(frame, schema, name)
        if schema.count(name) > 1 or others:
            what = f"differs from {others} in case alone" if others else f"occurs {schema.count(name)} times"
            raise DataError(f"column '{name}' {what} in the data; {engine} needs names that differ")
    places = {f"c{k}": name for k, name in enumerate(wanted)}
    return LazyRows(engine, frame.select(*(nw.col(n).alias(p) for p, n in places.items())), places, False)


# ----------------------------------------------------------------------------------------------------------------------
# how each engine gives its rows one after another: narwhals has no word for it


def _batches(engine: str, frame: nw.LazyFrame, size: int) -> Iterator[pd.DataFrame]:
    give = _GIVE.get(frame.implementation.value, _whole)
    parts = iter(asked(engine, READ, lambda: give(engine, frame, size)))
    while True:
        part = asked(engine, READ, lambda: next(parts, None))
        if part is None:
            return
        for start in range(0, len(part), size):
            yield part.iloc[start : start + size].reset_index(drop=True)


def _table(native: object) -> pd.DataFrame:
    frame = nw.from_native(native, eager_only=True)
    return pd.DataFrame({name: values_of(frame[name]) for name in frame.columns})


def _of_polars(engine: str, frame: nw.LazyFrame, size: int) -> Iterator[pd.DataFrame]:
    return map(_table, frame.to_native().collect_batches(chunk_size=size, engine="streaming"))


def _of_duckdb(engine: str, frame: nw.LazyFrame, size: int) -> Iterator[pd.DataFrame]:
    import pyarrow

    relation = frame.to_native()
    read = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    return (_table(pyarrow.Table.from_batches([batch])) for batch in read(size))


def _of_dask(engine: str, frame: nw.LazyFrame, size: int) -> Iterator[pd.DataFrame]:
    return (_table(part.compute()) for part in frame.to_native().partitions)


def _of_ibis(engine: str, frame: nw.LazyFrame, size: int) -> Iterator[pd.DataFrame]:
    import pyarrow

    batches = frame.to_native().to_pyarrow_batches(chunk_size=size)
    return (_table(pyarrow.Table.from_batches([batch])) for batch in batches)


def _of_spark(engine: str, frame: nw.LazyFrame, size: int) -> Iterator[pd.DataFrame]:
    native = frame.to_native()
    rows, columns = native.toLocalIterator(prefetchPartitions=True), native.columns
    while part := list(islice(rows, size)):
        yield pd.DataFrame.from_records(part, columns=columns)


def _whole(engine: str, frame: nw.LazyFrame, size: int) -> Iterator[pd.DataFrame]:
    """Give all rows at once: SQLFrame has no other way."""
    n = int(collected(engine, "count the rows", frame.select(nw.len().alias("n")))["n"][0])
    need = too_much(4.0 * BYTES * n * len(frame.collect_schema()))
    if need:
        raise DataError(f"{engine} gives all {n:,} rows at once, which need {need}; give their files to another engine")
    yield pd.DataFrame(collected(engine, READ, frame))


_GIVE: dict[str, Callable[[str, nw.LazyFrame, int], Iterator[pd.DataFrame]]] = {
    "polars": _of_polars,
    "duckdb": _of_duckdb,
    "dask": _of_dask,
    "ibis": _of_ibis,
    "pyspark": _of_spark,
    "pyspark[connect]": _of_spark,
}
