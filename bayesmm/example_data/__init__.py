"""The data sets that the examples and the tests use: `load_dataset` reads one, `datasets` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bayesmm.errors import DataError, listing, suggest
from bayesmm.example_data.table import DATASETS, Dataset
from bayesmm.runtime.extras import need

if TYPE_CHECKING:  # pandas and pooch are loaded by the functions: the command line's help must not wait for them
    from os import PathLike

    import pandas as pd

# A course page answers in well under a second; ten cover a slow line without leaving a person before a dead screen.
TIMEOUT_SECONDS = 10

__all__ = ["DATASETS", "Dataset", "datasets", "load_dataset"]


def load_dataset(name: str) -> pd.DataFrame:
    """Read a data set by name.

    Parameters
    ----------
    name : str
        One of the names in the table of `datasets`. ``"immune_original"`` is fetched at its first use, checked against
        its SHA-256, and kept in the user's cache folder.

    Returns
    -------
    pandas.DataFrame
        Numbers as int64 or float64; labels as categories of text (not ordered in the sense of contrasts), listed in
        the order that R gives them.

    Raises
    ------
    DataError
        There is no data set of this name, or the fetched file is not the one that is expected.
    OSError
        The download failed; the message names the address and the bundled twin.
    """
    if not isinstance(name, str) or name not in DATASETS:
        names = listing(DATASETS, limit=len(DATASETS))
        raise DataError(
            f"no data set is called {name!r} (there are {names}; bmm.datasets() describes them)"
            f"{suggest(str(name), DATASETS)}"
        )
    record = DATASETS[name]
    return _read(_fetch(record) if record.address else Path(__file__).parent / f"{name}.csv", record)


def read_dataset(path: str | PathLike[str], name: str) -> pd.DataFrame:
    """Read a copy of a data set that lies elsewhere, as `load_dataset` reads its own.

    Parameters
    ----------
    path : path
        A CSV file.
    name : str
        The data set that it is a copy of.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        The data set has a checksum and the file has another.
    """
    from hashlib import sha256

    record = DATASETS[name]
    if record.sha256 and sha256(Path(path).read_bytes()).hexdigest() != record.sha256:
        raise DataError(f"the file {path} is not {name}: its SHA-256 should be {record.sha256}")
    return _read(path, record)


def datasets() -> pd.DataFrame:
    """List the data sets.

    Returns
    -------
    pandas.DataFrame
        One row per data set: name, rows, columns (their names), description, source, licence.
    """
    import pandas as pd

    fields = ("name", "rows", "columns", "description", "source", "licence")
    table = pd.DataFrame([[getattr(row, field) for field in fields] for row in DATASETS.values()], columns=fields)
    return table.assign(columns=table["columns"].map(", ".join))


def _read(path: str | PathLike[str], record: Dataset) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_csv(path, dtype=dict.fromkeys(record.factors, "str"), encoding="utf-8")
    return frame.assign(**{name: pd.Categorical(frame[name], _levels(frame[name])) for name in record.factors})


def _levels(labels: pd.Series) -> list[str]:
    """Return the distinct labels, by the number they begin with and then by their text.

    Whole numbers come out in numerical order ("9" before "10"), bands by where they begin ("40-79" before "120+"), and
    words alphabetically: the order that these factors have in R.
    """

    def key(label: str) -> tuple[int, str]:
        digits = label[: len(label) - len(label.lstrip("0123456789"))]
        return int(digits or 0), label

    return sorted(labels.dropna().unique().tolist(), key=key)


def _fetch(record: Dataset) -> str:
    """Return the path of the record's file in the user's cache, fetched and checked if it is not there yet."""
    pooch = need("pooch", "a data set that is downloaded needs", "download")
    advice = "load_dataset('immune') is a bundled twin of it"
    try:
        return pooch.retrieve(
            record.address,
            known_hash=f"sha256:{record.sha256}",
            fname=f"{record.name}.csv",
            path=pooch.os_cache("bayesmm"),
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS),
        )
    except OSError as error:  # no network, no such page (requests raises OSErrors), or no right to write to the cache
        reason = type(error).__name__
        raise OSError(f"{record.name} could not be fetched from {record.address} ({reason}); {advice}") from error
    except ValueError as error:  # pooch's word for a file with another checksum; it has deleted the file
        message = f"the file at {record.address} is not {record.name} (its SHA-256 is not {record.sha256}); {advice}"
        raise DataError(message) from error
