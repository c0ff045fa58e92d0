"""What the command line reads: DATA, and the texts of ``--prior``. Nothing here evaluates anything."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

from bayesmm.errors import DataError, FormulaError, PriorError, listing, suggest
from bayesmm.example_data import load_dataset
from bayesmm.example_data.table import DATASETS
from bayesmm.runtime.paths import as_path, special_kind

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.priors import Prior

CSV_SUFFIXES = (".csv", ".csv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf"
_WORD = r"[A-Za-z]\w*"
# A place may hold "=" between its brackets only, as in beta[I(x == 1)].
_PLACE = r"[^=\[]*[^=\[\s](?:\[.+\])?"
_PRIOR = re.compile(
    rf"(?P<place>{_PLACE})\s*=\s*(?:(?P<value>{_NUMBER})|(?P<name>{_WORD})\s*\((?P<arguments>[^()]*)\))\s*"
)
_ARGUMENT = re.compile(
    rf"\s*(?P<key>{_WORD})\s*=\s*(?:(?P<value>{_NUMBER})|(?P<quote>[\"']?)(?P<text>{_WORD})(?P=quote))\s*"
)


def read_data(data: str) -> tuple[pd.DataFrame, str]:
    """Read a CSV or Parquet file, or a bundled data set.

    Parameters
    ----------
    data : str
        A path if it has a folder or a suffix in it, else a name of `datasets`.

    Returns
    -------
    tuple of pandas.DataFrame and str
        The data, and a sentence saying which were taken.

    Raises
    ------
    DataError
        There is no such file or data set, or the file cannot be read as a table.
    OSError
        A data set could not be downloaded.
    """
    path = as_path(data, "DATA", DataError)
    if path.name != data or path.suffix:
        frame, what = _read_file(_checked_file(path)), f"the file {data}"
    else:
        frame = load_dataset(_checked_name(data))
        what = f"the {'downloaded' if DATASETS[data].address else 'bundled'} data set {data}"
        if path.exists():
            what += f" (for the file of that name write ./{data})"
    return frame, f"Data: {what}, {len(frame):,} rows of {listing(frame.columns, limit=8)}."


def check_early(data: str, formula: str, engine: str | None = None, **beside: str | None) -> None:
    """Raise what is wrong with the name of the data, or with those of its columns, before anything heavy is imported.

    What cannot be told so early is left to `read_data` and to the model, and all that an engine reads.

    Parameters
    ----------
    data, formula : str
    engine : str or None
    **beside : str or None
        Columns that are named beside the formula: trials, weights.

    Raises
    ------
    DataError, FormulaError
        With the sentences that would come later.
    """
    from bayesmm.formula.formula import parse
    from bayesmm.formula.roles import absent, missing_column

    if engine is not None:
        return
    path = as_path(data, "DATA", DataError)
    if path.name != data or path.suffix:
        columns = _header(_checked_file(path))
    else:
        columns = list(DATASETS[_checked_name(data)].columns)
    if columns is None:
        return
    try:
        wrong = missing_column(parse(formula), columns)
    except FormulaError:  # also of what a formula may hold that is not known here, such as a residual structure
        return
    if wrong is not None:
        raise wrong
    for what, name in beside.items():
        if name is not None and name not in columns:
            raise DataError(f"the {what} column '{name}' {absent(name, columns)}")


def _header(path: Path) -> list[str] | None:
    """Return the names of the columns of a file; None where only reading all of it can tell."""
    if not path.name.lower().endswith(CSV_SUFFIXES):
        return None
    try:
        with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rt", encoding="utf-8-sig") as file:
            columns = next(csv.reader(file), [])
    except (ValueError, OSError, EOFError, csv.Error):
        return None
    plain = all(columns) and len(set(columns)) == len(columns)  # pandas gives the others names of its own
    return columns if plain else None


def _checked_name(data: str) -> str:
    if data not in DATASETS:
        raise DataError(
            f"{data!r} is neither a file (.csv, .parquet) nor a data set (there are {listing(DATASETS)})"
            f"{suggest(data, DATASETS)}"
        )
    return data


def _checked_file(path: Path) -> Path:
    if not path.name.lower().endswith(CSV_SUFFIXES + PARQUET_SUFFIXES):
        raise DataError(
            f"{path} should be a CSV or Parquet file: its name should end in .csv, .csv.gz, .parquet or .pq"
        )
    kind = special_kind(path)
    if kind:
        raise DataError(f"{path} is {kind}; expected a CSV or Parquet file")
    if not path.is_file():
        bundled = f"; the bundled data set is called '{path.stem}'" if path.stem in DATASETS else ""
        raise DataError(f"there is no file {path}{bundled}")
    return path


def _read_file(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.name.lower().endswith(PARQUET_SUFFIXES):
            return pd.read_parquet(path)
        return pd.read_csv(path, encoding="utf-8-sig")
    except (ValueError, OSError) as error:  # ValueErrors from the parsers, OSErrors from gzip and from permissions
        raise DataError(f"{path} cannot be read as a table: {_first_sentence(error)}") from error


def _first_sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def read_priors(texts: list[str]) -> dict[str, Prior | float]:
    """Read the values of ``--prior``, such as ``beta[Days]=Normal(mu=0, sigma=5)`` or ``sigma=25``.

    Parameters
    ----------
    texts : list of str
        ``PLACE=Name(parameter=number, ...)`` or ``PLACE=number``, which fixes the parameter.

    Returns
    -------
    dict
        Place -> Prior, as ``Model(priors=...)`` takes it.

    Raises
    ------
    PriorError
        A text does not have this form, a place is given twice, or there is no such distribution.
    """
    from bayesmm.priors import Prior

    priors: dict[str, Prior | float] = {}
    for text in texts:
        found = _PRIOR.fullmatch(text.strip())
        if found is None:
            raise PriorError(
                f"the prior {text!r} should be PLACE=Name(parameter=number, ...) or PLACE=number, "
                "as in 'sd=HalfNormal(sigma=10)' or 'sigma=25'"
            )
        if found["place"] in priors:
            raise PriorError(f"the prior of {found['place']!r} is given twice")
        arguments = found["arguments"]
        priors[found["place"]] = (
            float(found["value"]) if arguments is None else Prior(found["name"], **_arguments(text, arguments))
        )
    return priors


def _arguments(text: str, arguments: str) -> dict[str, float | str]:
    values: dict[str, float | str] = {}
    for part in arguments.split(",") if arguments.strip() else []:
        found = _ARGUMENT.fullmatch(part)
        if found is None:
            raise PriorError(f"in the prior {text!r}, {part.strip()!r} should be parameter=number, as in sigma=10")
        if found["key"] in values or found["key"] == "distribution":
            raise PriorError(f"in the prior {text!r}, {found['key']} is given twice")
        values[found["key"]] = found["text"] if found["value"] is None else float(found["value"])
    return values
