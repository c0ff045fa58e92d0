"""The commands about saved fits: show, predict, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bayesmm.cli.asked import Beside, as_data_errors
from bayesmm.cli.delimited import text_format
from bayesmm.cli.options import DecimalOption, DelimiterOption, EngineOption, JsonOption, QuietOption
from bayesmm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.results import Fit

CHECKS_FAILED = 3
FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FIT",
        help="What [bold]bayesmm fit --save FIT[/bold] has written, or with [bold]--out DIR[/bold] DIR/fit.nc.",
    ),
]


def show(file: FileArgument, quiet: QuietOption = False, json: JsonOption = False) -> int:
    """Print a [bold]saved fit[/bold], the verdict of its checks first."""
    from bayesmm.cli import documents

    result = _loaded(file)
    print(documents.text(**documents.of_fit(result)) if json else result)
    return 0 if all(check.ok for check in result.checks()) else CHECKS_FAILED


def predict(
    file: FileArgument,
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="The rows to predict: a CSV or Parquet file, [bold]-[/bold] for stdin."),
    ],
    kind: Annotated[
        Literal["mean", "response", "linear"],
        typer.Option(help="The mean, a new response with its scatter, or the linear predictor."),
    ] = "mean",
    groups: Annotated[
        Literal["conditional", "population", "averaged"],
        typer.Option(
            help="With the random effects of each row's levels, for an average group (effects of 0), or averaged over "
            "all groups that there may be."
        ),
    ] = "conditional",
    new_levels: Annotated[
        Literal["error", "sample", "zero"],
        typer.Option(help="Levels that the fit has not seen: refuse them, draw their effects, or take them as 0."),
    ] = "error",
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="The same seed gives the same draws.")] = None,
    ci_prob: Annotated[float, typer.Option(metavar="P", help="Probability of the intervals.")] = 0.95,
    to: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A Parquet or CSV file to write them into, some rows at a time."),
    ] = None,
    engine: EngineOption = None,
    delimiter: DelimiterOption = None,
    decimal: DecimalOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> int:
    """Predict the rows of DATA by a [bold]saved fit[/bold]: CSV with mean, sd, lower, upper, a row per category."""
    from bayesmm.cli.lazy_files import read_by
    from bayesmm.formula.roles import roles

    if engine is not None and to is None:
        raise DataError("--engine reads the rows in parts, and needs --to FILE, into which they are written")
    result = _loaded(file)
    frame, _ = read_by(engine, data, text_format(delimiter, decimal, frozenset(roles(result.design.formula))))
    asked = dict(kind=kind, groups=groups, new_levels=new_levels, seed=seed)
    with as_data_errors():
        if to is not None:
            path = result.predict_to(to, frame, overwrite=overwrite, ci_prob=ci_prob, **asked)
            _say_path(path, json=json, quiet=quiet)
        else:
            _print_predictions(result.predict(frame, **asked).to_frame(ci_prob=ci_prob), json)
    return 0


def _print_predictions(table: pd.DataFrame, json: bool) -> None:
    """Print predictions as CSV, or as JSON."""
    from bayesmm.cli import documents

    table = table.rename_axis(["row", *table.index.names[1:]]).reset_index()
    text = documents.text(predictions=documents.rows(table)) if json else table.to_csv(index=False)
    print(text, end="\n" if json else "")


def compare(
    files: Annotated[list[str], typer.Argument(metavar="FITS", help="Two or more saved fits of the same data.")],
    by: Annotated[
        str | None,
        typer.Option(metavar="FACTOR", help="Leave out the levels of this grouping factor, not single rows."),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> int:
    """Compare [bold]saved fits[/bold] by leave-one-out predictions, the best first."""
    from bayesmm.evaluation.loo_compare import compare_models

    if len(files) < 2:
        raise DataError("compare needs two saved fits or more, and has one")
    names = _short_names(files)
    with as_data_errors():
        found = compare_models({name: _loaded(file) for name, file in zip(names, files, strict=True)}, by=by)
    if json:
        from bayesmm.cli import documents

        print(documents.text(**documents.of_models(found)))
    else:
        print(found)
    return 0


def report(
    file: FileArgument,
    page: Annotated[
        str | None, typer.Argument(metavar="HTML", help="Where to write it; beside the fit, by its name, if not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> int:
    """Write everything about a [bold]saved fit[/bold] into one HTML file, which needs nothing else."""
    from bayesmm.cli import documents

    result = _loaded(file)
    path = result.report(page or Path(file).with_suffix(".html"), overwrite=overwrite)
    checks = result.checks()
    _say_path(path, json=json, quiet=quiet, checks=documents.of_checks(checks))
    return 0 if all(check.ok for check in checks) else CHECKS_FAILED


def _say_path(path: Path, *, json: bool, quiet: bool, **parts: object) -> None:
    """Say which file has been written, or print the document that says it."""
    if json:
        from bayesmm.cli import documents

        print(documents.text(written=[str(path)], **parts))
    else:
        Beside.of(json=json, quiet=quiet).say(f"Written: {path}")


def _loaded(file: str) -> Fit:
    from bayesmm.runtime.progress import working

    with working("loading the fit"):
        from bayesmm.loading import load

        return load(file)


def _short_names(files: list[str]) -> list[str]:
    """Return the names of the files without folder and suffix, or the paths where these would be equal."""
    names = [Path(file).stem for file in files]
    return names if len(set(names)) == len(names) else files
