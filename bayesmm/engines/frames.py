"""A lazy frame of any engine: which columns a model uses, and what a query gives.

Columns get names of our own (c0, c1, ...), so that no engine's rules for names matter. A query is short and gives few
rows; whatever an engine says when it fails becomes one sentence.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.design.frames import Table, find_columns
from bayesmm.errors import DataError, listing
from bayesmm.formula.formula import Formula, underline
from bayesmm.formula.roles import roles

ENGINES = {
    "polars": "Polars",
    "duckdb": "DuckDB",
    "dask": "Dask",
    "pyspark": "Spark",
    "pyspark[connect]": "Spark",
    "ibis": "Ibis",
    "sqlframe": "SQLFrame",
}
INTERRUPTED = re.compile("^InterruptException|query interrupted", re.IGNORECASE)
ONE_CASE = ("duckdb", "pyspark", "pyspark[connect]", "ibis", "sqlframe")  # of SQL: x and X are one name
TWICE = re.compile("duplicate output name '([^']*)'|column with name '([^']*)' has more than one")
HIDDEN_NANS = (
    "; DuckDB looks for NaN only where the statistics of a Parquet file leave room for it, and so may miss them: open "
    "the file with read_parquet(..., can_have_nan = true)"
)


@dataclass(frozen=True, eq=False)
class Opened:
    """The columns of a lazy frame that a model uses.

    Attributes
    ----------
    frame : narwhals LazyFrame
        With these columns alone, c0, c1, ...
    engine : str
        As a sentence names it.
    places : mapping of str to str
        The name in the formula -> that in `frame`.
    dtypes : mapping of str to DType
        By the name in the formula.
    """

    frame: nw.LazyFrame
    engine: str
    places: Mapping[str, str]
    dtypes: Mapping[str, nw.dtypes.DType]

    @property
    def kinds(self) -> dict[str, str]:
        """What each column holds, a key of `KIND_NAMES`."""
        return {name: kind_of(name, dtype, self.engine) for name, dtype in self.dtypes.items()}


def is_lazy(data: object) -> bool:
    """Return whether `data` is a lazy frame: a LazyFrame of Polars, a relation of DuckDB, a frame of Dask or Spark."""
    return isinstance(nw.from_native(data, pass_through=True), nw.LazyFrame)


def open_frame(formula: Formula, data: object, weights: str | None, also: Sequence[str] = ()) -> Opened:
    """Return the columns of a lazy frame that a formula, and the weights beside it, name, and `also` these.

    Raises
    ------
    FormulaError, DataError
        A column is not in the frame, or holds what is no number and no label.
    """
    frame = nw.from_native(data)
    engine = ENGINES.get(frame.implementation.value, str(frame.implementation.value))
    keys = column_names(frame, engine)
    places = roles(formula)

    def complain(name: str, said: str) -> Exception:
        if name not in places:
            return DataError(f"the {'weights ' if name == weights else ''}column '{name}' {said}")
        role, span, text = places[name]
        return underline(text, span, f"{role} '{name}' {said}")

    names = list(dict.fromkeys([*places, *([weights] if weights is not None else []), *also]))
    found = find_columns(names, Table(tuple(keys), 0, None, lambda j: None), complain)
    given = {name: keys[j] for name, j in found.items()}
    for name, key in given.items():
        others = same_name(frame, keys, key)
        if others:
            raise complain(name, f"differs from {others} in case alone, which {engine} does not tell apart; rename one")
    schema = asked(engine, "tell its columns", frame.collect_schema)
    own = {name: f"c{k}" for k, name in enumerate(given)}
    picked = frame.select(*(nw.col(given[name]).alias(place) for name, place in own.items()))
    return Opened(picked, engine, own, {name: schema[column] for name, column in given.items()})


def column_names(frame: nw.LazyFrame, engine: str) -> list:
    """Return the names of all columns as the engine has them: narwhals tells of columns with one name a single one.

    Raises
    ------
    DataError
        Two columns have one name, and the engine can then do nothing with the frame.
    """
    if frame.implementation.is_polars():
        try:
            return list(frame.collect_schema())
        except Exception as error:  # polars need not be installed; what is no column twice is asked once more, below
            found = TWICE.search(str(error))
            if found:
                raise DataError(_occurs(found[1] or found[2], 2)) from error
            return list(asked(engine, "tell its columns", frame.collect_schema))
    keys = list(nw.to_native(frame).columns)
    for key in keys:
        if frame.implementation.is_dask() and keys.count(key) > 1:
            raise DataError(_occurs(key, keys.count(key)))
    return keys


def _occurs(name: object, times: int) -> str:
    return f"column '{name}' occurs {times} times in the data; keep one of them"


def same_name(frame: nw.LazyFrame, keys: Sequence, key: object) -> str:
    """Return the columns whose names are that of `key` but for the case, where the engine takes them for one."""
    if frame.implementation.value not in ONE_CASE:
        return ""
    return listing(f"'{other}'" for other in keys if other != key and str(other).lower() == str(key).lower())


def kind_of(name: str, dtype: nw.dtypes.DType, engine: str) -> str:
    """Return what a column of a type holds, a key of `KIND_NAMES`; a DataError for anything else."""
    if dtype == nw.Boolean:
        return "boolean"
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, nw.Enum):  # an Enum of Polars is no ordered factor, as of its tables in memory
        return "category" if engine == ENGINES["polars"] else "ordered"
    if dtype == nw.Categorical:
        return "category"
    if dtype == nw.String:
        return "text"
    if dtype in (nw.Date, nw.Datetime):
        return "date"
    if dtype == nw.Duration:
        return "duration"
    raise DataError(
        f"column '{name}' holds values of type {dtype}; expected numbers, text, true/false values, categories or dates"
    )


# ----------------------------------------------------------------------------------------------------------------------
# queries


def asked(engine: str, what: str, question):
    """Return what an engine answers; a DataError in one sentence where it fails."""
    try:
        return question()
    except MemoryError as error:
        raise DataError(f"{engine} could not {what}: there is not enough memory") from error
    except Exception as error:  # engines have none in common (duckdb.Error, PolarsError, Py4JJavaError, pandas' own in
        # Dask's workers), and none need be installed; only the engine runs in here: expressions are made before
        if _is_interruption(error):
            raise KeyboardInterrupt from error
        raise DataError(f"{engine} could not {what}: {first_sentence(error)}") from error


def _is_interruption(error: BaseException | None) -> bool:
    """Return whether Ctrl-C ended a query: some engines say it by an error of their own (DuckDB: Query interrupted)."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or INTERRUPTED.search(f"{type(error).__name__}: {error}"):
            return True
        error = error.__cause__ or error.__context__
    return False


def first_sentence(error: Exception) -> str:
    """Return the first line of what an engine said."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    bare = not lines or isinstance(error, KeyError)  # whose text is a name alone
    return " ".join([*([type(error).__name__] if bare else []), *lines[:1]]).rstrip(".")


def collected(engine: str, what: str, frame: nw.LazyFrame) -> dict[str, np.ndarray]:
    """Return the result of a query, column by column: numbers as they come, all else as Python objects.

    Raises
    ------
    DataError
        The engine failed; `what` is what it could not do.
    """
    streaming = {"engine": "streaming"} if frame.implementation.is_polars() else {}
    table = asked(engine, what, lambda: frame.collect(**streaming))
    return {name: values_of(table[name]) for name in table.columns}


def values_of(series: nw.Series) -> np.ndarray:
    """Return a column: numbers as they come, all else as Python objects."""
    if series.dtype == nw.Boolean or not series.dtype.is_numeric() or series.dtype.is_decimal():
        found = np.empty(len(series), dtype=object)
        found[:] = series.to_list()
        return found
    return series.to_numpy()
