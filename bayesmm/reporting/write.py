"""Write a report: one HTML file that needs nothing else, neither a network nor a script."""

from collections.abc import Sequence
from pathlib import Path

from bayesmm.display.html import MARK, rendered
from bayesmm.errors import DataError
from bayesmm.evaluation.compare_reml import Comparison, compare
from bayesmm.reporting.content import gather
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.extras import check_report_packages
from bayesmm.runtime.paths import as_path
from bayesmm.runtime.progress import working
from bayesmm.storage.atomic_write import write_bytes
from bayesmm.storage.files import check_target

HEAD = 4096  # bytes of a file in which the mark of a report stands


@working("writing the report")
def report(
    fits,
    path: str | Path = "report.html",
    *,
    title: str | None = None,
    overwrite: bool = False,
    comparisons: Sequence[Comparison] | None = None,
) -> Path:
    """Write a report of one or more fits as one HTML file.

    Verdict, model, data, priors, estimates beside the maximised fit, comparison, random effects, fit to the data,
    sampler diagnostics, a methods paragraph, and how to get the same numbers again. The numbers are those of
    ``fit.summary()`` and ``fit.compare()``. The file holds its figures and loads nothing.

    Parameters
    ----------
    fits : Fit or sequence of Fit
        Several are set side by side first, then described one by one.
    path : path
        An earlier report there is replaced; any other file only with `overwrite`.
    title : str, optional
        The formula, or the number of models, if not given.
    overwrite : bool
        Replace whatever file is there.
    comparisons : sequence of Comparison, optional
        What ``fit.compare()`` returned for each fit, if it is at hand already.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If there is no fit, or the comparisons are not one for each fit.
    FitFileError
        If the file cannot be written, or is there and is no report.
    """
    check_bool("overwrite", overwrite)
    several = tuple(fits) if isinstance(fits, Sequence) else (fits,)
    check_fits(several)
    if comparisons is not None and len(comparisons) != len(several):
        raise DataError(f"there are {len(comparisons)} comparisons for {len(several)} fits; expected one for each")
    target = check_report(path, overwrite)
    made = [compare(fit) for fit in several] if comparisons is None else list(comparisons)
    write_bytes(rendered("report.html", page=gather(several, made, title)).encode(), target)
    return target


def check_fits(fits: Sequence[object]) -> None:
    """Raise DataError unless there is a fit, and all are posteriors."""
    if not fits:
        raise DataError("there is no fit to report; expected one or more that Model.sample() returned")
    for place, fit in enumerate(fits, start=1):
        if not (hasattr(fit, "tree") and hasattr(fit, "model")):
            raise DataError(
                f"item {place} of the report is {type(fit).__name__}; expected a Fit, which Model.sample() returns"
            )


def check_report(path: str | Path, overwrite: bool = False) -> Path:
    """Return the path if a report may be written there.

    Raises
    ------
    FitFileError
        Its folder does not exist or cannot be written to, or it is another file than a report.
    MissingExtra
        Jinja2 or Matplotlib is not installed.
    """
    check_report_packages()
    return check_target(path, overwrite or is_report(as_path(path)))


def is_report(path: Path) -> bool:
    """Return whether a file is a report that this package has written."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return MARK.encode() in file.read(HEAD)
