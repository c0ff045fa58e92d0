"""Files of published results: a model, its data, and the numbers that were printed. models/README.md has the format."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bayesmm.cli.reproduce.digits import Printed, read_printed
from bayesmm.errors import DataError, FitFileError, listing, suggest
from bayesmm.runtime.paths import as_path, read_file

ESTIMATORS = ("OLS", "REML", "ML", "Laplace")
PROGRAMS = ("lm", "lme4", "nlme", "lmtest")
COLUMN_TYPES = ("factor", "number")
OPERATORS = ("==", "!=", "<=", ">=", "<", ">")
# The sections of [published]: those that are one number, and those that are tables of numbers with names of their own.
NUMBERS = (
    "criterion", "logLik", "AIC", "BIC", "deviance", "variance", "sigma", "nobs", "df", "R2", "R2_adjusted",
    "chisq", "p", "gradient", "gradient_limit",
)  # fmt: skip
TABLES = (
    "F", "residuals", "levels", "coefficients", "correlations", "random", "coef", "anova", "first", "second",
    "parameters",
)  # fmt: skip
SECTIONS = NUMBERS + TABLES
# key -> (its type, whether every file has it)
KEYS: Mapping[str, tuple[type, bool]] = MappingProxyType(
    {
        "title": (str, True),
        "data": (dict, True),
        "document": (str, False),
        "source": (str, False),
        "section": (str, False),
        "lines": (list, False),
        "formula": (str, False),
        "formulas": (list, False),
        "family": (str, False),
        "link": (str, False),
        "estimator": (str, False),
        "program": (str, False),
        "note": (str, False),
        "repeats": (str, False),
        "matrices": (dict, False),
        "priors": (dict, False),
        "start": (dict, False),
        "nagq": (int, False),
        "published": (dict, False),
        "explained": (list, False),
    }
)
DATA_KEYS = ("name", "file", "columns", "filter")
TYPE_NAMES = {
    str: "a text",
    list: "a list",
    dict: "a table",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}

_FILTER = re.compile(
    rf"(?P<column>[A-Za-z_.][\w.]*|`[^`]+`)\s*(?P<operator>{'|'.join(OPERATORS)})\s*"
    r"(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<quote>['\"])(?P<text>[^'\"]*)(?P=quote))"
)

Place = tuple[str, ...]  # where a number stands below [published]: ("coefficients", "Days", "se")


@dataclass(frozen=True)
class Filter:
    """A condition on the rows: those are kept whose `column` is equal to, below, ... `value`."""

    column: str
    operator: str
    value: float | str


@dataclass(frozen=True)
class Data:
    """Which data: a data set's name, or else a file beside the one that names it."""

    name: str
    file: Path | None
    columns: Mapping[str, str]
    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Explanation:
    """Why the exact value of a number is not the one printed, and what it is."""

    reason: str
    right: Printed


@dataclass(frozen=True)
class Published:
    """A published result.

    Attributes
    ----------
    name : str
        The file's name without its suffix.
    title, document, section : str
    source : str
        Of a classic, which is no result of the documents and is counted apart: where its numbers were printed.
    lines : tuple of int
        First and last line of the print in the document; empty if not said.
    formulas : tuple of str
        One; or two, for a comparison of two models by their likelihoods.
    family : str
    link : str or None
    estimator : {"OLS", "REML", "ML", "Laplace"}
    program : {"lm", "lme4", "nlme", "lmtest"}
        Whose conventions the print follows, where they differ: BIC, degrees of freedom, residuals.
    note : str
    repeats : str
        Name of the file whose numbers these are, on other data; they are not counted again.
    data : Data
    matrices : mapping of str to Path
        Files of the covariances of levels that the formula names: a column of labels, then one for each of them.
    priors : tuple of str
        As the command line's ``--prior``: ``"sd=HalfNormal(sigma=10)"``.
    start : mapping of str to float
        Where the optimiser starts, by place: for a model with more than one maximum.
    nagq : int
        Nodes of the quadrature of a generalised model; 1 is Laplace's approximation.
    numbers : mapping of tuple to Printed
        Place below [published] -> the number.
    explained : mapping of tuple to Explanation
        For the places whose exact value is another one.
    """

    name: str
    title: str
    source: str
    document: str
    section: str
    lines: tuple[int, ...]
    formulas: tuple[str, ...]
    family: str
    link: str | None
    estimator: str
    program: str
    note: str
    repeats: str
    data: Data
    matrices: Mapping[str, Path]
    priors: tuple[str, ...]
    start: Mapping[str, float]
    nagq: int
    numbers: Mapping[Place, Printed]
    explained: Mapping[Place, Explanation]


def read_published(path: str | Path) -> Published:
    """Read a file of published results.

    Parameters
    ----------
    path : path
        A TOML file.

    Returns
    -------
    Published

    Raises
    ------
    DataError
        There is no such file, it is no TOML, a key is unknown or has the wrong type, or a number is not as printed.
    """
    path = as_path(path, "FILES", DataError)
    try:
        content = tomllib.loads(read_file(path).decode("utf-8"))
    except FitFileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # tomllib's, and the decoder's
        raise DataError(f"{path} is no TOML file: {error}") from error
    try:
        return _published(path, content)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error


def _published(path: Path, content: dict) -> Published:
    _check_keys(content)
    text = {key: content.get(key, "") for key in ("source", "document", "section", "note", "repeats")}
    numbers = dict(_numbers(content.get("published", {})))
    return Published(
        name=path.stem,
        title=content["title"],
        **text,
        lines=_lines(content.get("lines", [])),
        formulas=_formulas(content),
        family=content.get("family", "gaussian"),
        link=content.get("link"),
        estimator=_choice(content, "estimator", ESTIMATORS, "REML"),
        program=_choice(content, "program", PROGRAMS, "lme4"),
        data=_data(path, content["data"]),
        matrices=_matrices(path, content.get("matrices", {})),
        priors=tuple(
            f"{place}={_text(value, f'priors.{place}')}" for place, value in content.get("priors", {}).items()
        ),
        start=_start(content.get("start", {})),
        nagq=content.get("nagq", 1),
        numbers=MappingProxyType(numbers),
        explained=MappingProxyType(_explained(content.get("explained", []), numbers)),
    )


def _check_keys(content: dict) -> None:
    for key, value in content.items():
        if key not in KEYS:
            raise DataError(f"there is no key {key!r} (there are {listing(KEYS, 20)}){suggest(key, KEYS)}")
        _typed(value, KEYS[key][0], key)
    missing = [key for key, (_, needed) in KEYS.items() if needed and key not in content]
    if missing:
        raise DataError(f"the key {missing[0]!r} is missing")


def _typed(value: object, expected: type, key: str) -> None:
    if not isinstance(value, expected) or isinstance(value, bool):
        found = TYPE_NAMES.get(type(value), type(value).__name__)
        raise DataError(f"{key!r} should be {TYPE_NAMES[expected]}, and is {found}, {value!r}")


def _text(value: object, key: str) -> str:
    """Return a prior's value as the command line has it: a distribution in text, or a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    _typed(value, str, key)
    return value


def _choice(content: dict, key: str, choices: tuple[str, ...], default: str) -> str:
    value = content.get(key, default)
    if value not in choices:
        raise DataError(f"{key!r} should be one of {listing(choices)}, not {value!r}{suggest(value, choices)}")
    return value


def _lines(value: list) -> tuple[int, ...]:
    if value and not (len(value) == 2 and all(type(line) is int for line in value)):
        raise DataError(f"'lines' should be the first and the last line, such as [172, 219], and is {value!r}")
    return tuple(value)


def _formulas(content: dict) -> tuple[str, ...]:
    if ("formula" in content) == ("formulas" in content):
        raise DataError("give one of 'formula' (a model) and 'formulas' (two models that are compared)")
    if "formula" in content:
        return (content["formula"],)
    formulas = content["formulas"]
    if len(formulas) != 2 or not all(isinstance(formula, str) for formula in formulas):
        raise DataError(f"'formulas' should be a list of two texts, and is {formulas!r}")
    return tuple(formulas)


def _data(path: Path, table: dict) -> Data:
    for key in table:
        if key not in DATA_KEYS:
            raise DataError(
                f"there is no key {key!r} in [data] (there are {listing(DATA_KEYS)}){suggest(key, DATA_KEYS)}"
            )
    if ("name" in table) == ("file" in table):
        raise DataError("[data] should have one of 'name' (a data set) and 'file' (a CSV or Parquet file)")
    for key in ("name", "file"):
        _typed(table.get(key, ""), str, f"data.{key}")
    columns, filters = table.get("columns", {}), table.get("filter", [])
    _typed(columns, dict, "data.columns")
    for column, kind in columns.items():
        if kind not in COLUMN_TYPES:
            raise DataError(f"the column {column!r} should be one of {listing(COLUMN_TYPES)}, not {kind!r}")
    filters = [filters] if isinstance(filters, str) else filters
    _typed(filters, list, "data.filter")
    file = path.parent / as_path(table["file"], "data.file", DataError) if "file" in table else None
    return Data(table.get("name", ""), file, MappingProxyType(dict(columns)), tuple(map(read_filter, filters)))


def _matrices(path: Path, table: dict) -> Mapping[str, Path]:
    for name, file in table.items():
        _typed(file, str, f"matrices.{name}")
    found = {name: path.parent / as_path(file, f"matrices.{name}", DataError) for name, file in table.items()}
    return MappingProxyType(found)


def read_filter(text: str) -> Filter:
    """Read a condition such as ``Time == 0`` or ``Sex != 'M'``: a column, a comparison, and a number or a quoted text.

    Raises
    ------
    DataError
        The text is no such condition. Nothing of it is evaluated.
    """
    found = _FILTER.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise DataError(
            f"the filter {text!r} should be a column, one of {listing(OPERATORS)}, and a number or a text in quotes, "
            'as in "Time == 0" or "Sex != \'M\'"'
        )
    value = found["text"] if found["number"] is None else float(found["number"])
    return Filter(found["column"].strip("`"), found["operator"], value)


def _start(table: dict) -> Mapping[str, float]:
    for place, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"'start.{place}' should be a number, and is {value!r}")
    return MappingProxyType({place: float(value) for place, value in table.items()})


def _numbers(table: dict, above: Place = ()) -> Iterator[tuple[Place, Printed]]:
    """Yield the place and the number of every entry below [published]."""
    for key, value in table.items():
        place, name = (*above, key), ".".join((*above, key))
        if not above and key not in SECTIONS:
            raise DataError(f"there is no section {key!r} (there are {listing(SECTIONS, 30)}){suggest(key, SECTIONS)}")
        if isinstance(value, dict) and (above or key in TABLES):
            yield from _numbers(value, place)
        elif isinstance(value, str) and (above or key in NUMBERS):
            yield place, read_printed(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            raise DataError(
                f'{name!r} should be a text, "{value}" as it was printed, so that its digits are known, and is a number'
            )
        else:
            found = TYPE_NAMES.get(type(value), type(value).__name__)
            raise DataError(
                f"{name!r} should be {'a table' if key in TABLES else 'a printed number in quotes'}, and is {found}"
            )


def _explained(entries: list, numbers: Mapping[Place, Printed]) -> dict[Place, Explanation]:
    explained: dict[Place, Explanation] = {}
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"reason", "right"} or not isinstance(entry["right"], dict):
            raise DataError(
                "every [[explained]] should have a 'reason' in words and the 'right' values, and nothing else"
            )
        _typed(entry["reason"], str, "explained.reason")
        for place, right in _numbers(entry["right"]):
            name = ".".join(place)
            if place not in numbers:
                raise DataError(f"[[explained]] has a right value for {name!r}, which is not under [published]")
            if place in explained:
                raise DataError(f"{name!r} is explained twice")
            explained[place] = Explanation(entry["reason"], right)
    return explained
