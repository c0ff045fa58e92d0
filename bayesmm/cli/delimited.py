"""Delimited text and Parquet, as the command line takes them: by the name of a file, or of stdin by what it holds."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bayesmm.errors import DataError, listing
from bayesmm.runtime.paths import special_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

STDIN, BLANKS = "-", r"\s+"
TEXT, PARQUET, COMPRESSED = (".csv", ".tsv", ".txt"), (".parquet", ".pq"), (".gz", ".bz2", ".xz", ".zip", ".zst")
SUFFIXES = ".csv, .tsv or .txt, also followed by .gz, .bz2, .xz, .zip or .zst, or in .parquet or .pq"
# The first bytes of each kind: RFC 1952, the bzip2 and .xz formats, PKWARE's APPNOTE 4.3.7, RFC 8878, Apache Parquet.
MAGIC = {
    b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"PK\x03\x04": ".zip", b"\x28\xb5\x2f\xfd": ".zst",
    b"PAR1": ".parquet",
}  # fmt: skip
NAMED = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "whitespace": BLANKS}
PARTS = "\"'.-+_\n\r"  # of numbers, names and quoted texts
LIKELY = ";\t|,"  # what a header that is one column may be divided by
# A number in figures, perhaps with a decimal comma or commas between thousands, as a text has it.
COMMA_NUMBER = re.compile(r"\s*[+-]?(\d+(,\d+)*|,\d+)([eE][+-]?\d+)?\s*")
FIRST = 200  # texts of a column that are looked at before all are


@dataclass(frozen=True)
class Format:
    r"""How the texts of a table are written.

    Attributes
    ----------
    delimiter : str or None
        One character, or ``\s+`` for any blanks; None if it was not given.
    decimal : str or None
        The decimal mark; None if it was not given.
    columns : set of str or None
        The columns that matter; all do if not given.
    """

    delimiter: str | None = None
    decimal: str | None = None
    columns: frozenset[str] | None = None

    @property
    def given(self) -> str:
        """The option that was given; empty if none was."""
        return "--delimiter" if self.delimiter else "--decimal" if self.decimal else ""

    def between(self, name: str) -> str:
        """Return what divides the columns of a file: a semicolon beside decimal commas, as in R's read.csv2."""
        if self.delimiter:
            return self.delimiter
        return "\t" if _plain(name).endswith(".tsv") else ";" if self.decimal == "," else ","

    def uses(self, column: object) -> bool:
        """Return whether a column matters."""
        return self.columns is None or str(column) in self.columns

    @property
    def mark(self) -> str:
        """The decimal mark."""
        return self.decimal or "."


AS_USUAL = Format()


def text_format(delimiter: str | None, decimal: str | None, columns: frozenset[str] | None = None) -> Format:
    """Return the format that --delimiter and --decimal name, for the columns that matter.

    Raises
    ------
    DataError
        The delimiter is no single character, one that numbers or names are made of, or also the decimal mark.
    """
    if delimiter is not None:
        character = NAMED.get(delimiter.lower(), delimiter)
        if delimiter.lower() not in NAMED and (len(character) != 1 or character.isalnum() or character in PARTS):
            raise DataError(
                f"--delimiter should be one character that is no part of numbers or names, such as ';', or one of "
                f"{listing(NAMED)}, not {delimiter!r}"
            )
        delimiter = BLANKS if character == " " else character
        if delimiter == decimal:
            raise DataError(f"--delimiter and --decimal are both {decimal!r}; expected two different characters")
    return Format(delimiter, decimal, columns)


def is_parquet(name: str) -> bool:
    """Return whether a file is Parquet, by its name."""
    return name.lower().endswith(PARQUET)


def is_text(name: str) -> bool:
    """Return whether a file is delimited text, perhaps compressed, by its name."""
    return _plain(name).endswith(TEXT) or name.lower().endswith(".zip")


def _plain(name: str) -> str:
    """Return a name in small letters without the suffix of a compression."""
    name = name.lower()
    return next((name.removesuffix(suffix) for suffix in COMPRESSED if name.endswith(suffix)), name)


def checked_file(path: Path, how: Format = AS_USUAL) -> Path:
    """Return the path; a DataError where it is no file, or no kind of table that is read."""
    if not (is_text(path.name) or is_parquet(path.name)):
        raise DataError(f"{path} should be a CSV or Parquet file: its name should end in {SUFFIXES}")
    kind = special_kind(path)
    if kind:
        raise DataError(f"{path} is {kind}; expected a CSV or Parquet file")
    if not path.is_file():
        from bayesmm.example_data.table import DATASETS

        bundled = f"; the bundled data set is called '{path.stem}'" if path.stem in DATASETS else ""
        raise DataError(f"there is no file {path}{bundled}")
    if is_parquet(path.name) and how.given:
        raise DataError(f"{how.given} is for delimited text, and {path} is a Parquet file")
    return path


def header(path: Path, how: Format) -> list[str] | None:
    """Return the names of the columns of a file; None where only reading all of it can tell.

    Raises
    ------
    DataError
        There is one column whose name another delimiter divides.
    """
    if is_parquet(path.name) or path.name.lower().endswith(".zst"):  # neither is read without heavy libraries
        return None
    between = how.between(path.name)
    try:
        with io.TextIOWrapper(unpacked(path, path.suffix.lower()), encoding="utf-8-sig") as file:
            columns = file.readline().split() if between == BLANKS else next(csv.reader(file, delimiter=between), [])
    except (*_errors(), csv.Error):
        return None
    plain = all(columns) and len(set(columns)) == len(columns)  # pandas gives the others names of its own
    return columns if plain else None


def check_one_column(what: str, columns: Sequence[object], *, blanks: bool) -> None:
    """Raise a DataError for a table that is one column which another delimiter, or `blanks`, would divide."""
    name = str(columns[0]) if len(columns) == 1 else ""
    found = next((each for each in LIKELY if each in name), None)
    if found is None and not (blanks and len(name.split()) > 1):
        return
    named, found = {"\t": "tab", None: "whitespace"}.get(found, found), "a blank" if found is None else repr(found)
    raise DataError(f"{what} has one column, {name!r}; if {found} is between its columns, add --delimiter '{named}'")


def check_decimals(what: str, columns: Iterable[tuple[str, Sequence[object]]]) -> None:
    """Raise a DataError where all that stands in a column of texts is numbers, some with a comma."""
    for name, values in columns:
        seen = [value for value in values[:FIRST] if isinstance(value, str) and value.strip()]
        if not seen or not all(map(COMMA_NUMBER.fullmatch, seen)):
            continue
        seen = [value for value in values if isinstance(value, str) and value.strip()]
        example = next((value.strip() for value in seen if "," in value), None)
        if example is not None and all(map(COMMA_NUMBER.fullmatch, seen)):
            raise DataError(
                f"{what}: column '{name}' has texts such as {example!r}; if the comma is a decimal mark, add --decimal "
                "',', if it is between thousands, remove it, and if these are labels, add --decimal ."
            )


def _checked(what: str, frame: pd.DataFrame, how: Format) -> pd.DataFrame:
    """Return a table that was read as text; a DataError where its delimiter or decimal mark is another."""
    first = frame.iloc[0, 0] if frame.shape[1] == 1 and len(frame) else None
    check_one_column(
        what, frame.columns, blanks=isinstance(first, str) and len(first.split()) == len(str(frame.columns[0]).split())
    )
    if how.decimal is None:
        texts = [j for j, kind in enumerate(frame.dtypes) if str(kind) in ("object", "str", "string")]
        named = ((str(frame.columns[j]), frame.iloc[:, j].tolist()) for j in texts if how.uses(frame.columns[j]))
        check_decimals(what, named)
    return frame


def read_table(path: Path, how: Format) -> pd.DataFrame:
    """Read a file as a table; a DataError with one sentence where that fails."""
    with _one_sentence(str(path)):
        if is_parquet(path.name):
            return _parquet(path)
        with unpacked(path, path.suffix.lower()) as stream:
            frame = _text(stream, path.name, how)
    return _checked(str(path), frame, how)


def read_stdin(how: Format) -> pd.DataFrame:
    """Read what stands in stdin: delimited text, perhaps compressed, or Parquet, told by its first bytes.

    Raises
    ------
    DataError
        Nothing is piped into it, or what is there is no table.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("DATA is - (stdin), into which nothing is piped; pipe a table into it, or name a file")
    content = sys.stdin.buffer.read()
    kind = next((suffix for magic, suffix in MAGIC.items() if content.startswith(magic)), "")
    if kind == ".parquet" and how.given:
        raise DataError(f"{how.given} is for delimited text, and stdin is Parquet")
    with _one_sentence("stdin"):
        if kind == ".parquet":
            return _parquet(io.BytesIO(content))
        with unpacked(io.BytesIO(content), kind) as stream:
            frame = _text(stream, "", how)
    return _checked("stdin", frame, how)


def _parquet(source: Path | IO[bytes]) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(source)


def _text(stream: IO[bytes], name: str, how: Format) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(stream, sep=how.between(name), decimal=how.mark, encoding="utf-8-sig")


def unpacked(source: Path | IO[bytes], suffix: str) -> IO[bytes]:
    """Return a stream of what a file holds, or what a compression has put into it."""
    match suffix:
        case ".gz":
            return gzip.open(source, "rb")
        case ".bz2":
            import bz2

            return bz2.open(source, "rb")
        case ".xz":
            import lzma

            return lzma.open(source, "rb")
        case ".zip":
            archive = zipfile.ZipFile(source)
            names = [each for each in archive.namelist() if not each.endswith("/") and not each.startswith("__MACOSX/")]
            if len(names) != 1:
                raise ValueError(f"the archive should hold one file, and has {len(names)}")
            return archive.open(names[0])
        case ".zst":
            import pyarrow

            opened = open(source, "rb") if isinstance(source, Path) else source
            return pyarrow.CompressedInputStream(opened, "zstd")
    return open(source, "rb") if isinstance(source, Path) else source


def _errors() -> tuple[type[Exception], ...]:
    """Return what readers raise for files that are broken; a RuntimeError for an archive with a password."""
    found = ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error
    lzma = sys.modules.get("lzma")  # where it is not there, no file of it was read
    return found if lzma is None else (*found, lzma.LZMAError)


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    try:
        yield
    except _errors() as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(f"{what} cannot be read as a table: {first}") from error
