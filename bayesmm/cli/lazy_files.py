"""DATA of the command line that an engine reads: a file, a pattern such as 'data/*.parquet', or a folder of them."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from bayesmm.cli.input import CSV_SUFFIXES, PARQUET_SUFFIXES, read_data
from bayesmm.engines.frames import first_sentence
from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import count
from bayesmm.runtime.paths import as_path

# What pandas.read_csv takes for a missing value (its documented default na_values), and so every engine here.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip


def read_by(engine: str | None, data: str) -> tuple[object, str]:
    """Return the table that DATA names, lazily where an engine is to read it, and a sentence saying which was taken."""
    return read_data(data) if engine is None else read_lazily(data, engine)


def read_lazily(data: str, engine: str) -> tuple[object, str]:
    """Return the files that DATA names as a lazy frame of an engine, and a sentence saying which were taken.

    Parameters
    ----------
    data : str
        A file, a pattern, or a folder, of Parquet or of CSV files.
    engine : {"duckdb", "polars"}

    Raises
    ------
    DataError
        There is no such file, the files are of two kinds, the engine is not installed, or it cannot read them.
    """
    paths = _files(data)
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise DataError(f"{data} has both Parquet and CSV files; name one kind, such as '{Path(data).name}/*.parquet'")
    (kind,) = kinds
    names = [str(path) for path in paths]
    try:
        frame = _duckdb(names, kind) if engine == "duckdb" else _polars(names, kind)
    except ImportError:
        raise DataError(f"--engine {engine} needs the package {engine}: pip install 'bayesmm[{engine}]'") from None
    except _errors(engine) as error:
        raise DataError(f"{data} cannot be read by {engine}: {first_sentence(error)}") from error
    which = f"the file {data}" if len(paths) == 1 else f"{count(len(paths), f'{kind} file')} of {data}"
    return frame, f"Data: {which}, read by {engine}."


def _errors(engine: str) -> tuple[type[Exception], ...]:
    """Return what an engine raises for files that it cannot read."""
    if engine == "duckdb":
        from duckdb import Error
    else:
        from polars.exceptions import PolarsError as Error
    return Error, OSError


def _files(data: str) -> list[Path]:
    path = as_path(data, "DATA", DataError)
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.is_file() and _kind(each))
        if not found:
            raise DataError(f"the folder {data} has no file whose name ends in .parquet, .pq, .csv or .csv.gz")
        return found
    found = sorted(map(Path, glob(data, recursive=True))) if not path.is_file() else [path]
    if not found:
        raise DataError(f"there is no file {data}, and no file that this pattern names")
    strange = [str(each) for each in found if not _kind(each)]
    if strange:
        raise DataError(f"{listing(strange, 3)} should be Parquet or CSV: named .parquet, .pq, .csv or .csv.gz")
    return found


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(PARQUET_SUFFIXES):
        return "Parquet"
    return "CSV" if name.endswith(CSV_SUFFIXES) else ""


def _duckdb(paths: list[str], kind: str) -> object:
    import duckdb

    connection = duckdb.connect()
    if kind == "CSV":
        return connection.read_csv(paths, na_values=list(MISSING))
    # without can_have_nan DuckDB trusts the files' statistics, and misses NaN in columns without NULL
    query = "SELECT * FROM read_parquet($paths, can_have_nan = true, union_by_name = true)"
    return connection.sql(query, params={"paths": paths})


def _polars(paths: list[str], kind: str) -> object:
    import polars

    if kind == "CSV":
        return polars.scan_csv(paths, null_values=list(MISSING), infer_schema_length=10_000)
    return polars.scan_parquet(paths)
