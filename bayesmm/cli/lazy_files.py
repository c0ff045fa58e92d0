"""DATA of the command line that an engine reads: a file, a pattern such as 'data/*.parquet', or a folder of them."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from bayesmm.cli.delimited import AS_USUAL, BLANKS, STDIN, Format, is_parquet, is_text
from bayesmm.cli.input import read_data
from bayesmm.engines.frames import first_sentence
from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import count
from bayesmm.runtime.paths import as_path

# What pandas.read_csv takes for a missing value (its documented default na_values), and so every engine here.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
NAMES = ".parquet, .pq, .csv, .tsv or .txt, these three also followed by .gz or .zst"
NOT_BY_ENGINES = (".bz2", ".xz", ".zip")


def read_by(engine: str | None, data: str, how: Format = AS_USUAL) -> tuple[object, str]:
    """Return the table that DATA names, lazily where an engine is to read it, and a sentence saying which was taken."""
    return read_data(data, how) if engine is None else read_lazily(data, engine, how)


def read_lazily(data: str, engine: str, how: Format = AS_USUAL) -> tuple[object, str]:
    """Return the files that DATA names as a lazy frame of an engine, and a sentence saying which were taken.

    Parameters
    ----------
    data : str
        A file, a pattern, or a folder, of Parquet or of CSV files.
    engine : {"duckdb", "polars"}
    how : Format
        Delimiter and decimal mark of CSV files.

    Raises
    ------
    DataError
        It is stdin, which an engine cannot read more than once; there is no such file, the files are of two kinds, the
        engine is not installed, or it cannot read them.
    """
    if data == STDIN:
        raise DataError("--engine reads DATA more than once, which stdin cannot be; name a file, or leave out --engine")
    paths = _files(data)
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise DataError(f"{data} has both Parquet and CSV files; name one kind, such as '{Path(data).name}/*.parquet'")
    (kind,) = kinds
    if kind == "Parquet" and how.given:
        raise DataError(f"{how.given} is for delimited text, and {data} is Parquet")
    names = [str(path) for path in paths]
    try:
        frame = _duckdb(names, kind, how) if engine == "duckdb" else _polars(names, kind, how)
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
        inside = (each for each in path.rglob("*") if ".txt" not in each.suffixes)  # a README is no table
        found = sorted(each for each in inside if each.is_file() and _kind(each))
        if not found:
            raise DataError(f"the folder {data} has no file whose name ends in {NAMES}")
        return found
    found = sorted(map(Path, glob(data, recursive=True))) if not path.is_file() else [path]
    if not found:
        raise DataError(f"there is no file {data}, and no file that this pattern names")
    strange = [str(each) for each in found if not _kind(each)]
    if strange:
        raise DataError(f"{listing(strange, 3)} should be Parquet or CSV: named {NAMES}")
    return found


def _kind(path: Path) -> str:
    if is_parquet(path.name):
        return "Parquet"
    return "CSV" if is_text(path.name) and not path.name.lower().endswith(NOT_BY_ENGINES) else ""


def _duckdb(paths: list[str], kind: str, how: Format) -> object:
    import duckdb

    connection = duckdb.connect()
    if kind == "CSV":
        own = {"delimiter": _delimiter(paths, how), "decimal": how.mark} if how.given else {}
        return connection.read_csv(paths, na_values=list(MISSING), **own)  # it finds out what was not given
    # without can_have_nan DuckDB trusts the files' statistics, and misses NaN in columns without NULL
    query = "SELECT * FROM read_parquet($paths, can_have_nan = true, union_by_name = true)"
    return connection.sql(query, params={"paths": paths})


def _polars(paths: list[str], kind: str, how: Format) -> object:
    import polars

    if kind == "CSV":
        own = dict(separator=_delimiter(paths, how), decimal_comma=how.mark == ",")
        return polars.scan_csv(paths, null_values=list(MISSING), infer_schema_length=10_000, **own)
    return polars.scan_parquet(paths)


def _delimiter(paths: list[str], how: Format) -> str:
    found = {how.between(path) for path in paths}
    if len(found) > 1 or found == {BLANKS}:
        raise DataError("--engine takes one character between the columns of all files; name it by --delimiter")
    return found.pop()
