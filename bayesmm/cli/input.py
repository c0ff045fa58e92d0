"""What the command line reads: DATA, and the texts of ``--prior``. Nothing here evaluates anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bayesmm.cli.delimited import (
    AS_USUAL,
    STDIN,
    Format,
    check_one_column,
    checked_file,
    header,
    read_stdin,
    read_table,
)
from bayesmm.errors import DataError, FormulaError, PriorError, listing, suggest
from bayesmm.example_data import load_dataset
from bayesmm.example_data.table import DATASETS
from bayesmm.runtime.paths import as_path

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.priors import Prior

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


def read_data(data: str, how: Format = AS_USUAL) -> tuple[pd.DataFrame, str]:
    """Read a CSV or Parquet file, stdin, or a bundled data set.

    Parameters
    ----------
    data : str
        "-" for stdin; a path if it has a folder or a suffix in it; else a name of `datasets`.
    how : Format
        Delimiter and decimal mark.

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
    if data == STDIN:
        frame, what = read_stdin(how), "stdin"
    elif (path := as_path(data, "DATA", DataError)).name != data or path.suffix:
        frame, what = read_table(checked_file(path, how), how), f"the file {data}"
    else:
        frame = load_dataset(_checked_name(data, how))
        what = f"the {'downloaded' if DATASETS[data].address else 'bundled'} data set {data}"
        if path.exists():
            what += f" (for the file of that name write ./{data})"
    return frame, f"Data: {what}, {len(frame):,} rows of {listing(frame.columns, limit=8)}."


def used_columns(formula: str, family: str, *beside: str | None) -> frozenset[str]:
    """Return the columns that the formula of a family's model names, and those beside it.

    Raises
    ------
    FormulaError, DataError
        As the model itself would of such a formula, and of such a family.
    """
    from bayesmm.design.covariance.structures import parse_formula
    from bayesmm.families.families import get_family
    from bayesmm.formula.roles import roles

    return frozenset(roles(parse_formula(formula, family=get_family(family)))) | {name for name in beside if name}


def check_early(
    data: str, formula: str, engine: str | None = None, how: Format = AS_USUAL, **beside: str | None
) -> None:
    """Raise what is wrong with the name of the data, or with those of its columns, before anything heavy is imported.

    What cannot be told so early is left to `read_data` and to the model, and all that an engine reads.

    Parameters
    ----------
    data, formula : str
    engine : str or None
    how : Format
    **beside : str or None
        Columns that are named beside the formula: trials, weights.

    Raises
    ------
    DataError, FormulaError
        With the sentences that would come later.
    """
    from bayesmm.formula.formula import parse
    from bayesmm.formula.roles import absent, missing_column

    if engine is not None or data == STDIN:
        return
    path = as_path(data, "DATA", DataError)
    if path.name != data or path.suffix:
        columns = header(checked_file(path, how), how)
    else:
        columns = list(DATASETS[_checked_name(data, how)].columns)
    if columns is None:
        return
    try:
        wrong = missing_column(parse(formula), columns)
    except FormulaError:  # also of what a formula may hold that is not known here, such as a residual structure
        return
    if wrong is not None:
        check_one_column(data, columns, blanks=True)
        raise wrong
    for what, name in beside.items():
        if name is not None and name not in columns:
            raise DataError(f"the {what} column '{name}' {absent(name, columns)}")


def _checked_name(data: str, how: Format) -> str:
    if data not in DATASETS:
        raise DataError(
            f"{data!r} is neither a file (.csv, .parquet) nor a data set (there are {listing(DATASETS)})"
            f"{suggest(data, DATASETS)}"
        )
    if how.given:
        raise DataError(f"{how.given} is for delimited text, and {data} is a data set of the package")
    return data


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
