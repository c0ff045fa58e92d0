"""Files: written whole or not at all, with names and cells that are safe whatever the data are called."""

import hashlib
import os
import re
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from bayesmm.errors import FitFileError
from bayesmm.runtime.paths import followed, special_kind

# A spreadsheet runs such a cell, also with the full-width signs: OWASP, "CSV injection".
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
SLUG_LENGTH = 40  # characters of a name that a file name keeps, beside the hash that makes it unique


def write_bytes(data: bytes, path: str | Path, *, durable: bool = True) -> None:
    """Write a file so that it is there whole or, if anything fails, as it was before.

    Parameters
    ----------
    data : bytes
    path : path
        Of a file, or a link to one; its directory must exist.
    durable : bool
        Wait until it is on the disk, so that a power failure does no harm either.

    Raises
    ------
    OSError
        The disk is full, the directory does not exist or cannot be written to; nothing is left behind.
    FitFileError
        It is a device, a named pipe, a socket or a folder, which are left as they are.
    """
    path = followed(Path(path))  # a link stays, and what it leads to is written
    kind = special_kind(path)
    if kind:
        raise FitFileError(f"{path} is {kind}; expected the name of a file")
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"  # unique, so that two writers never mix
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            if path.exists():  # a file that others may not read stays one
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give the name of a file to write in pieces, which takes the place of `path` at the end, durably.

    If anything fails, Ctrl-C too, it is removed and `path` is as it was before. A process that is killed leaves the
    piece behind, under a name that begins with a dot and ends in .tmp.

    Raises
    ------
    OSError, FitFileError
        As for `write_bytes`.
    """
    path = followed(Path(path))
    kind = special_kind(path)
    if kind:
        raise FitFileError(f"{path} is {kind}; expected the name of a file")
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        if path.exists():
            os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tables(result, directory: str | Path, extra: Mapping[str, pd.DataFrame] | None = None) -> list[Path]:
    """Write the tables of a fit as CSV files, with all digits.

    Parameters
    ----------
    result : Fit or PointFit
        Its fixef, varcorr, ranef and coef are written, the last once for each grouping factor.
    directory : path
        An existing directory.
    extra : mapping, optional
        Further tables by file name, such as ``{"comparison": comparison.table}``.

    Returns
    -------
    list of Path

    Raises
    ------
    OSError
        As for `write_bytes`.
    """
    tables = {"fixef": result.fixef(), "varcorr": result.varcorr(), "ranef": result.ranef()}
    tables |= {f"coef_{slug(group)}": table for group, table in result.coef().items()}
    tables |= dict(extra or {})
    paths = []
    for name, table in tables.items():
        paths.append(Path(directory) / f"{name}.csv")
        write_bytes(csv_text(table).encode(), paths[-1])
    return paths


def csv_text(table: pd.DataFrame, header: bool = True) -> str:
    """Return a table as CSV, in which no text is a formula to a spreadsheet; an index of integers is left out."""
    safe = table.rename(columns=safe_cell).rename_axis(index=safe_cell)
    for i, column in enumerate(table.columns):
        if not pd.api.types.is_numeric_dtype(table[column]):
            safe.isetitem(i, table[column].map(safe_cell))
    labelled = not pd.api.types.is_integer_dtype(table.index)
    if labelled:
        safe.index = table.index.map(safe_cell).rename(safe_cell(table.index.name))
    # RFC 4180's line ends: with another, the writer leaves a carriage return inside a cell unquoted, which starts a row
    return safe.to_csv(index=labelled, header=header, lineterminator="\r\n")


def safe_cell(cell: object) -> object:
    """Return a cell's text with ``'`` before it if a spreadsheet would run it; numbers, also as text, stay."""
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and not is_number(cell):
        return f"'{cell}"
    return cell


def is_number(text: str) -> bool:
    """Return whether the text is a plain number, such as the level ``-1.5``."""
    return re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", text) is not None


def slug(name: str) -> str:
    """Return a name for a file: ASCII letters and digits and, where that loses anything, a hash of the whole name."""
    kept = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:SLUG_LENGTH]
    return kept if kept and kept == name else f"{kept or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
