"""DATA of the command line that an engine reads: a file, a pattern such as 'data/*.parquet', or a folder of them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from glob import glob
from itertools import chain, islice, zip_longest
from pathlib import Path

from bayesmm.cli.delimited import (
    AS_USUAL,
    BLANKS,
    FIRST,
    STDIN,
    Format,
    check_decimals,
    check_one_column,
    is_parquet,
    is_text,
    unpacked,
)
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

SEPARATORS = (";", "\t", "|")  # of a header without a comma


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
        It is stdin, which an engine cannot read more than once; there is no such file, the files are of two kinds or
        have no column in common, one is empty, the engine is not installed, or it cannot read them.
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
    names, read = [str(path) for path in paths], _duckdb if engine == "duckdb" else _polars
    try:
        columns = _columns(paths, kind, engine, how)
        if kind == "CSV":
            _check_text(paths[0], columns, how)
        frame = read(names, kind, columns, how)
    except ImportError:
        raise DataError(f"--engine {engine} needs the package {engine}: pip install 'bayesmm[{engine}]'") from None
    except _errors(engine) as error:
        raise DataError(f"{data} cannot be read by {engine}: {first_sentence(error)}") from error
    which = f"the file {data}" if len(paths) == 1 else f"{count(len(paths), f'{kind} file')} of {data}"
    left = f" Not in all files, and left out: {listing(columns.alone)}." if columns.alone else ""
    return frame, f"Data: {which}, read by {engine}.{left}"


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


# ----------------------------------------------------------------------------------------------------------------------
# the columns of several files: aligned by their names, those alone that all files have


@dataclass(frozen=True)
class _Columns:
    """What is known of files before an engine reads them.

    Attributes
    ----------
    of_each : tuple of tuple of str
        The names of each file's columns.
    separator : str
        Of CSV.
    """

    of_each: tuple[tuple[str, ...], ...]
    separator: str = ","

    @property
    def common(self) -> list[str]:
        """The columns that all files have."""
        known = set(self.of_each[0]).intersection(*self.of_each[1:])
        return [name for name in self.of_each[0] if name in known]

    @property
    def alone(self) -> list[str]:
        """The columns that only some files have."""
        return [name for name in dict.fromkeys(chain(*self.of_each)) if name not in set(self.common)]


def _columns(paths: list[Path], kind: str, engine: str, how: Format) -> _Columns:
    """Return the names of the columns of each file.

    Raises
    ------
    DataError
        A file is empty, or no text, or has a column twice, or no column is in all of them.
    """
    if kind == "CSV":
        lines = [_first_line(path) for path in paths]
        separator = _delimiter(paths, how)
        if separator == "," and "," not in lines[0]:
            separator = next((mark for mark in SEPARATORS if mark in lines[0]), ",")
        found = _Columns(tuple(tuple(next(csv.reader([line], delimiter=separator))) for line in lines), separator)
        for path, names in zip(paths, found.of_each, strict=True):
            for name in names:
                if names.count(name) > 1:
                    raise DataError(f"{path}: column '{name}' occurs {names.count(name)} times; keep one of them")
    else:
        found = _Columns(tuple(_parquet_columns(str(path), engine) for path in paths))
    if not found.common:
        raise DataError(f"no column is in all of the {len(paths):,} files: {listing(found.alone)}")
    return found


def _check_text(path: Path, columns: _Columns, how: Format) -> None:
    """Raise a DataError where the first lines of a file show another delimiter or decimal mark."""
    check_one_column(str(path), columns.of_each[0], blanks=False)
    if how.decimal is None:
        with io.TextIOWrapper(unpacked(path, path.suffix.lower()), encoding="utf-8-sig", newline="") as file:
            lines = list(islice(csv.reader(file, delimiter=columns.separator), 1, 1 + FIRST))
        texts = zip_longest(*([each if each not in MISSING else "" for each in line] for line in lines), fillvalue="")
        named = zip(columns.of_each[0], texts, strict=False)
        check_decimals(str(path), ((name, values) for name, values in named if how.uses(name)))


def _first_line(path: Path) -> str:
    with io.TextIOWrapper(unpacked(path, path.suffix.lower()), encoding="utf-8-sig") as file:
        try:
            line = file.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(f"{path} is no text in UTF-8; write it in that encoding") from None
    if not line:
        raise DataError(f"{path} is empty; expected a line with the names of the columns")
    return line


def _delimiter(paths: list[Path], how: Format) -> str:
    found = {how.between(path.name) for path in paths}
    if len(found) > 1 or found == {BLANKS}:
        raise DataError("--engine takes one character between the columns of all files; name it by --delimiter")
    return found.pop()


def _parquet_columns(path: str, engine: str) -> tuple[str, ...]:
    if engine == "duckdb":
        import duckdb

        return tuple(duckdb.connect().read_parquet(path).columns)
    import polars

    return tuple(polars.read_parquet_schema(path))


def _duckdb(paths: list[str], kind: str, columns: _Columns, how: Format) -> object:
    import duckdb

    connection = duckdb.connect()
    if kind == "CSV":
        # by position where no union by name is asked for, with a column's values under another's name
        own = dict(na_values=list(MISSING), delimiter=columns.separator, header=True, union_by_name=True)
        found = connection.read_csv(paths, **own, **({"decimal": how.mark} if how.decimal else {}))
    else:
        # without can_have_nan DuckDB trusts the files' statistics, and misses NaN in columns without NULL
        query = "SELECT * FROM read_parquet($paths, can_have_nan = true, union_by_name = true)"
        found = connection.sql(query, params={"paths": paths})
    if not columns.alone:
        return found
    return found.project(", ".join('"' + name.replace('"', '""') + '"' for name in columns.common))


def _polars(paths: list[str], kind: str, columns: _Columns, how: Format) -> object:
    import polars

    if kind == "CSV":
        own = dict(null_values=list(MISSING), infer_schema_length=10_000, separator=columns.separator)
        own["decimal_comma"] = how.mark == ","
        parts = [polars.scan_csv(path, **own) for path in paths]
        types = _types(parts, columns.common)
        if len(set(columns.of_each)) == 1:
            return polars.scan_csv(paths, schema_overrides=types, **own)
        parts = [polars.scan_csv(path, schema_overrides=types, **own) for path in paths]
    else:
        schemas = [polars.read_parquet_schema(path) for path in paths]
        if all(schema == schemas[0] for schema in schemas):
            return polars.scan_parquet(paths)
        parts = [polars.scan_parquet(path) for path in paths]
    return polars.concat([part.select(columns.common) for part in parts], how="vertical_relaxed")


def _types(parts: list, names: list[str]) -> dict[str, object]:
    """Return the type of each column in CSV files: Polars takes that of the first file for all, without values text."""
    import polars

    schemas, types = [part.collect_schema() for part in parts], {}
    for name in names:
        found = {schema[name] for schema in schemas}
        if len(found) > 1:
            texts = [part for part, schema in zip(parts, schemas, strict=True) if schema[name] == polars.String]
            if not any(part.select(polars.col(name).count()).collect().item() for part in texts):
                found -= {polars.String}  # files without a value
        numbers = {polars.Int64, polars.Float64}
        types[name] = found.pop() if len(found) == 1 else polars.Float64 if found <= numbers else polars.String
    return types
