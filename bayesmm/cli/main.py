"""The command ``bayesmm``. Everything heavy is imported inside the commands, so that help answers at once."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bayesmm.cli.asked import Asked, Beside, as_data_errors
from bayesmm.cli.fits import CHECKS_FAILED, compare, predict, report, show
from bayesmm.cli.options import (
    DataArgument,
    DecimalOption,
    DelimiterOption,
    EngineOption,
    FamilyOption,
    FormulaArgument,
    JsonOption,
    LinkOption,
    MissingOption,
    OutOption,
    OverwriteOption,
    PriorOption,
    QuietOption,
    ReportOption,
    SamplerOption,
    SaveOption,
    StoreOption,
    TrialsOption,
    WeightsOption,
    number,
)
from bayesmm.cli.shell_words import in_shell
from bayesmm.errors import BayesmmWarning, DataError, FitFileError, FormulaError, MissingExtra, PriorError
from bayesmm.runtime.extras import check_extra
from bayesmm.runtime.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from bayesmm.evaluation.compare_reml import Comparison
    from bayesmm.results import Fit, PointFit

WRONG_INPUT = 2  # also what the parser of the options leaves with
INTERRUPTED = 130  # 128 + SIGINT, the shells' convention

OTHERS = "2 wrong input, one line on stderr; 3 the checks of the result failed; 130 Ctrl-C"
EXIT_CODES = f"[dim]Exit codes: 0 fine; {OTHERS}.[/dim]"
EVERY_CODE = f"[dim]Exit codes: 0 fine; 1 reproduce alone: some numbers are not reproduced; {OTHERS}.[/dim]"

app = typer.Typer(
    help="Bayesian mixed-effects models from an lme4 formula, the posterior beside the REML fit.",
    epilog=f"Try:  [bold]bayesmm fit sleepstudy 'Reaction ~ Days + (Days | Subject)'[/bold]\n\n{EVERY_CODE}",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,  # what is not caught is a mistake of ours: its plain traceback is what we need
)


@app.command(epilog=EXIT_CODES)
def fit(
    data: DataArgument,
    formula: FormulaArgument,
    family: FamilyOption = "gaussian",
    link: LinkOption = None,
    prior: PriorOption = None,
    trials: TrialsOption = None,
    weights: WeightsOption = None,
    missing: MissingOption = "drop",
    engine: EngineOption = None,
    delimiter: DelimiterOption = None,
    decimal: DecimalOption = None,
    draws: Annotated[int, number("Draws kept of each chain.", least=1)] = 1000,
    tune: Annotated[int | None, number("Warm-up draws of each chain, thrown away: 200 or 1000.", least=0)] = None,
    chains: Annotated[int, number("Independent chains.", least=1)] = 4,
    seed: Annotated[int | None, number("The same seed gives the same draws.", least=0)] = None,
    sampler: SamplerOption = "auto",
    out: OutOption = None,
    save: SaveOption = None,
    store: StoreOption = None,
    report: ReportOption = None,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> int:
    """Sample the [bold]posterior[/bold] and set it beside the REML fit.

    Prints the verdict of the checks, the table of the model, the comparison.
    With --out also writes the fit (fit.nc), tables (CSV) and figures (PNG).
    """
    from bayesmm.cli import output as cli_output

    own = dict(family=family, link=link, trials=trials, weights=weights, missing=missing)
    beside = Beside.of(json=json, quiet=quiet)
    asked = Asked(data, formula, prior, engine, delimiter, decimal, beside, own)
    asked.check()
    if out is not None:
        check_extra("matplotlib", "the figures of --out need", "plots")
    with cli_output.prepared(out, cli_output.FIT_FILES, overwrite) as folder:
        kept = cli_output.prepare_file(save, overwrite)
        page = cli_output.prepare_report(report, overwrite)
        model = asked.model()
        with as_data_errors():  # an argument out of range, or a density that is not finite at the start
            result = model.sample(draws=draws, tune=tune, chains=chains, seed=seed, sampler=sampler, store=store)
        return _delivered(result, kept=kept, folder=folder, page=page, json=json, beside=beside)


def _delivered(
    result: Fit, *, kept: Path | None, folder: Path | None, page: Path | None, json: bool, beside: Beside
) -> int:
    """Save, print and write a fit, and return the exit code.

    In this order because sampling may have taken an hour: what has been drawn is safe before anything else is tried.
    """
    from bayesmm.cli import output as cli_output

    try:
        if kept is not None:
            result.save(kept, overwrite=True)
        written = [] if folder is None else [cli_output.write_draws(folder, result)]
    finally:  # also where the disk is full
        if not json:
            print(result)
    comparison = result.compare()
    _print_fit(result, comparison, json)
    if folder is not None:
        beside.say_written(written + cli_output.write_fit(folder, result, comparison))
    if page is not None:
        beside.say_written([cli_output.write_report(page, result, comparison)])
    checks = result.checks()
    if any(check.name == "interrupted" and not check.ok for check in checks):
        return INTERRUPTED
    return 0 if all(check.ok for check in checks) else CHECKS_FAILED


@app.command(epilog=EXIT_CODES)
def maximize(
    data: DataArgument,
    formula: FormulaArgument,
    method: Annotated[
        Literal["REML", "ML", "MAP"] | None,
        typer.Option(
            help="Restricted or full maximum likelihood, or the mode of the marginal posterior; REML if not given, and "
            "ML for families with a link.",
            case_sensitive=False,
            rich_help_panel="Model",
        ),
    ] = None,
    family: FamilyOption = "gaussian",
    link: LinkOption = None,
    prior: PriorOption = None,
    trials: TrialsOption = None,
    weights: WeightsOption = None,
    missing: MissingOption = "drop",
    engine: EngineOption = None,
    delimiter: DelimiterOption = None,
    decimal: DecimalOption = None,
    nagq: Annotated[
        int,
        typer.Option(
            metavar="K",
            help="Quadrature nodes for each random effect of a family with a link; 1 is Laplace's approximation.",
            rich_help_panel="Model",
        ),
    ] = 1,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> int:
    """Fit by [bold]REML[/bold] or ML, as lme4 does.

    Prints the summary in lme4's layout. With --out also writes its tables (CSV).
    """
    from bayesmm.cli import output as cli_output

    own = dict(family=family, link=link, trials=trials, weights=weights, missing=missing)
    beside = Beside.of(json=json, quiet=quiet)
    asked = Asked(data, formula, prior, engine, delimiter, decimal, beside, own)
    asked.check()
    with cli_output.prepared(out, cli_output.POINT_FILES, overwrite) as folder:
        model = asked.model()
        with as_data_errors():  # a method that the family has not
            point = model.maximize(method=method, nagq=nagq)
        _print_fit(point, None, json)
        if folder is not None:
            beside.say_written(cli_output.write_point(folder, point))
    return 0 if point.converged else CHECKS_FAILED


for command in (show, predict, compare, report):
    app.command(epilog=EXIT_CODES)(command)


@app.command(
    epilog="[dim]Exit codes: 0 every number is reproduced or explained; 1 some are not, and are listed; 2 wrong input, "
    "one line on stderr.[/dim]"
)
def reproduce(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES", help="TOML files, folders of them, or names of bundled results; all of these if none."
        ),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample/--no-sample", help="Draw from the posteriors too, or only maximise.")
    ] = True,
    data_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where to look first for data that may not be part of the package."),
    ] = None,
    brief: Annotated[bool, typer.Option("--brief", help="Print the summary alone.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the summary alone, as Markdown.")] = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> int:
    """Compute [bold]published results[/bold] anew, number by number.

    For each number: what was printed, what the maximised model gives, what the posterior says, and the verdict.
    """
    from bayesmm.cli.reproduce.command import run

    return run(
        files or [],
        sample=sample,
        out=out,
        overwrite=overwrite,
        data_dir=data_dir,
        brief=brief,
        as_markdown=markdown,
        json=json,
        beside=Beside.of(json=json, quiet=quiet),
    )


@app.command()
def warmup(quiet: QuietOption = False, json: JsonOption = False) -> int:
    """Compile everything ahead of the first fit: for images, CI, and whoever does not want to wait then.

    Once for a machine and a version, some minutes; what has been compiled already is left as it is.
    """
    from bayesmm.cli.warmup import warm_up

    seconds = warm_up()
    if json:
        from bayesmm.cli import documents

        print(documents.text(seconds=seconds))
    else:
        Beside.of(json=json, quiet=quiet).say(f"Compiled, and kept on disk: {seconds:.0f} s")
    return 0


@app.command("datasets")
def list_datasets(quiet: QuietOption = False, json: JsonOption = False) -> int:
    """List the data sets that DATA can name."""
    if json:
        from bayesmm.cli import documents

        print(documents.text(datasets=documents.of_datasets()))
        return 0
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from bayesmm.example_data.table import DATASETS

    table = Table("name", "rows", "what it is", box=SIMPLE_HEAD, header_style="dim")
    for row in DATASETS.values():
        details = f"{', '.join(row.columns)}\n{row.source}\nlicence: {row.licence}"
        table.add_row(f"[bold]{row.name}[/bold]", f"{row.rows:,}", f"{row.description}\n[dim]{details}[/dim]\n")
    Console().print(table)
    return 0


def _show_version(asked: bool) -> None:
    if asked:
        print(f"bayesmm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def _print_fit(found: Fit | PointFit, comparison: Comparison | None, json: bool) -> None:
    """Print a maximised fit, or the comparison of a posterior that is printed already; or the document of either."""
    if json:
        from bayesmm.cli import documents

        print(documents.text(**documents.of_fit(found, comparison)))
    else:
        print(found if comparison is None else f"\n{comparison}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments : list of str, optional
        The words after ``bayesmm``; by default those of the process.

    Returns
    -------
    int
        0; 2 for wrong input, after one line on stderr (a formula and the line under it may follow); 3 if the checks of
        the result failed; 130 after Ctrl-C.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            words = sys.argv[1:] if arguments is None else arguments
            return app(args=words or ["--help"], prog_name="bayesmm", standalone_mode=False) or 0
        except typer.TyperException as error:
            _complain(" ".join(error.format_message().split()))
            return error.exit_code
        except FormulaError as error:
            _complain(str(error))
        except (DataError, FitFileError, MissingExtra, PriorError, OSError) as error:
            _complain(in_shell(" ".join(str(error).split())))
        return WRONG_INPUT


def _complain(sentence: str) -> None:
    print(f"bayesmm: {sentence}", file=sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
    """Print a warning as one sentence, without the place in the code that Python would add."""
    if issubclass(category, BayesmmWarning):
        _complain(f"warning: {in_shell(str(message))}")
    else:
        _complain(f"{category.__name__}: {message}")
