"""What the command line writes into ``--out DIR``: the draws, the tables, the figures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bayesmm.errors import DataError, FitFileError, listing
from bayesmm.runtime.paths import as_path

if TYPE_CHECKING:
    from bayesmm.evaluation.compare_reml import Comparison
    from bayesmm.results import Fit, PointFit

# The files that are written whatever the model is called; tables of coef and figures carry names of its factors.
TREE = "fit.nc"
POINT_FILES = ("fixef.csv", "varcorr.csv", "ranef.csv")
FIT_FILES = (TREE, "summary.csv", "comparison.csv", "checks.csv", *POINT_FILES)


@contextmanager
def prepared(folder: str | None, names: Iterable[str], overwrite: bool) -> Iterator[Path | None]:
    """Give the folder of ``--out``, ready; one that was made here and has stayed empty is gone at the end."""
    known = folder is None or Path(folder).exists()
    path = prepare(folder, names, overwrite)
    try:
        yield path
    finally:
        if path is not None and not known:
            with suppress(OSError):  # it holds something
                path.rmdir()


def prepare(folder: str | None, names: Iterable[str], overwrite: bool) -> Path | None:
    """Make the folder ready, so that nothing is found wrong with it after minutes of sampling.

    Parameters
    ----------
    folder : str or None
        The value of ``--out``; it is made if only its last part is missing.
    names : iterable of str
        The files that will be written.
    overwrite : bool
        Whether files of these names may be replaced.

    Returns
    -------
    Path or None
        The folder, or None if none was asked for.

    Raises
    ------
    DataError
        It cannot be made or written to, or holds one of the files already.
    """
    if folder is None:
        return None
    path = as_path(folder, "--out", DataError)
    try:
        path.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise DataError(f"--out {folder} cannot be written to: {error.strerror or error}") from error
    there = [name for name in names if (path / name).exists()]
    if there and not overwrite:
        raise DataError(f"--out {folder} already holds {listing(there, 3)}: name another folder or add --overwrite")
    return path


def prepare_file(file: str | None, overwrite: bool) -> Path | None:
    """Return the file of ``--save``, or None if none was asked for.

    Raises
    ------
    DataError
        It is there already, or cannot be written.
    """
    if file is None:
        return None
    from bayesmm.storage.files import check_target

    try:
        return check_target(file, overwrite)
    except FitFileError as error:
        raise DataError(f"--save {str(error).replace('overwrite=True', '--overwrite')}") from error


def prepare_report(file: str | None, overwrite: bool) -> Path | None:
    """Return the file of ``--report``, or None if none was asked for.

    Raises
    ------
    DataError
        It is there already and no report, or cannot be written.
    """
    if file is None:
        return None
    from bayesmm.reporting.write import check_report

    try:
        return check_report(file, overwrite)
    except FitFileError as error:
        raise DataError(f"--report {str(error).replace('overwrite=True', '--overwrite')}") from error


def write_report(path: Path, fit: Fit, comparison: Comparison) -> Path:
    """Write a posterior and its comparison as one HTML file and return the file; it may replace what is there."""
    from bayesmm.reporting.write import report

    return report(fit, path, overwrite=True, comparisons=[comparison])


def write_draws(folder: Path, fit: Fit) -> Path:
    """Write a posterior (netCDF) and return the file; the parameters are as in `write_fit`."""
    fit.save(folder / TREE, overwrite=True)
    return folder / TREE


def write_fit(folder: Path, fit: Fit, comparison: Comparison) -> list[Path]:
    """Write the tables (CSV) and the figures (PNG) of a posterior.

    Parameters
    ----------
    folder : Path
        An existing folder.
    fit : Fit
        The posterior.
    comparison : Comparison
        The posterior beside the maximised fit.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OSError
        The disk is full or the folder has gone; each file is there whole or not at all.
    """
    import pandas as pd

    from bayesmm.reporting.plots import save_figures
    from bayesmm.storage.atomic_write import write_tables

    checks = pd.DataFrame([asdict(check) for check in fit.checks()])
    extra = {"summary": fit.summary(), "comparison": comparison.table, "checks": checks}
    return [*write_tables(fit, folder, extra), *save_figures(fit, folder, comparison)]


def write_point(folder: Path, point: PointFit) -> list[Path]:
    """Write the tables (CSV) of a maximised fit; the parameters are as in `write_fit`."""
    from bayesmm.storage.atomic_write import write_tables

    return write_tables(point, folder)
