"""The command ``bayesmm``. Everything heavy is imported inside the commands, so that help answers at once."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bayesmm.cli.options import EngineOption, MissingOption
from bayesmm.errors import BayesmmWarning, DataError, FitFileError, FormulaError, PriorError
from bayesmm.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from bayesmm.model import Model
    from bayesmm.results import Fit

WRONG_INPUT = 2  # also what the parser of the options leaves with
CHECKS_FAILED = 3
INTERRUPTED = 130  # 128 + SIGINT, the shells' convention

EXIT_CODES = (
    "[dim]Exit codes: 0 fine; 2 wrong input, one line on stderr; 3 the checks of the result failed; 130 Ctrl-C.[/dim]"
)

app = typer.Typer(
    help="Bayesian mixed-effects models from an lme4 formula, the posterior beside the REML fit.",
    epilog=f"Try:  [bold]bayesmm fit sleepstudy 'Reaction ~ Days + (Days | Subject)'[/bold]\n\n{EXIT_CODES}",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,  # what is not caught is a mistake of ours: its plain traceback is what we need
)

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A CSV or Parquet file, or the name of a data set (see [bold]bayesmm datasets[/bold])."
    ),
]
FormulaArgument = Annotated[
    str,
    typer.Argument(metavar="FORMULA", help="As in lme4, in quotes: [bold]'y ~ x + (x | group)'[/bold]."),
]
FamilyOption = Annotated[
    str,
    typer.Option(
        help="Distribution of the response: gaussian, student, poisson, negbinomial, bernoulli, binomial, gamma, beta, "
        "or another of docs/families.md, such as zero_inflated_poisson.",
        rich_help_panel="Model",
    ),
]
LinkOption = Annotated[
    str | None, typer.Option(help="Link function, if not the family's first.", rich_help_panel="Model")
]
TrialsOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of the numbers of trials of a binomial.", rich_help_panel="Model"),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of prior weights; of a binomial's proportions, the numbers of trials.",
        rich_help_panel="Model",
    ),
]
PriorOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE=PRIOR",
        help="A prior in place of the default, as often as needed. Places: [bold]beta[/bold], [bold]sd[/bold], "
        "[bold]corr[/bold], [bold]sigma[/bold], or one parameter as in [bold]beta\\[Days][/bold], "
        "[bold]sd_Subject\\[Days][/bold]. Priors: [bold]'sd=HalfNormal(sigma=10)'[/bold]; a number fixes the "
        "parameter: [bold]sigma=25[/bold].",
        rich_help_panel="Model",
    ),
]
SamplerOption = Annotated[
    Literal["auto", "nutpie", "pymc", "importance"],
    typer.Option(
        help="Whose NUTS (auto: nutpie's), or independent draws by importance sampling: quicker, for few sds.",
        rich_help_panel="Sampling",
    ),
]
SaveOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Keep the fit in this netCDF file, for [bold]bayesmm show[/bold] and [bold]bayesmm.load()[/bold].",
        rich_help_panel="Output",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Write the draws into this new folder while they are made; what a killed run leaves there, "
        "[bold]bayesmm show[/bold] and [bold]bayesmm.load()[/bold] read.",
        rich_help_panel="Output",
    ),
]
ReportOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Write everything about the fit into this HTML file, which needs nothing else.",
        rich_help_panel="Output",
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Write the results into this folder.", rich_help_panel="Output"),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that are in it already.", rich_help_panel="Output")
]


def _number(text: str, least: int) -> typer.models.OptionInfo:
    return typer.Option(metavar="N", min=least, help=text, rich_help_panel="Sampling")


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
    draws: Annotated[int, _number("Draws kept of each chain.", least=1)] = 1000,
    tune: Annotated[int | None, _number("Warm-up draws of each chain, thrown away: 200 or 1000.", least=0)] = None,
    chains: Annotated[int, _number("Independent chains.", least=1)] = 4,
    seed: Annotated[int | None, _number("The same seed gives the same draws.", least=0)] = None,
    sampler: SamplerOption = "auto",
    out: OutOption = None,
    save: SaveOption = None,
    store: StoreOption = None,
    report: ReportOption = None,
    overwrite: OverwriteOption = False,
) -> int:
    """Sample the [bold]posterior[/bold] and set it beside the REML fit.

    Prints the verdict of the checks, the table of the model, the comparison.
    With --out also writes the fit (fit.nc), tables (CSV) and figures (PNG).
    """
    from bayesmm.cli import output as cli_output
    from bayesmm.cli.input import check_early

    check_early(data, formula, engine, trials=trials, weights=weights)
    own = dict(family=family, link=link, trials=trials, weights=weights, missing=missing, engine=engine)
    with cli_output.prepared(out, cli_output.FIT_FILES, overwrite) as folder:
        kept = cli_output.prepare_file(save, overwrite)
        page = cli_output.prepare_report(report, overwrite)
        model = _model(data, formula, prior, **own)
        try:
            result = model.sample(draws=draws, tune=tune, chains=chains, seed=seed, sampler=sampler, store=store)
        except ValueError as error:  # an argument out of range, or a density that is not finite at the start
            raise DataError(str(error)) from error
        return _delivered(result, kept=kept, folder=folder, page=page)


def _delivered(result: Fit, *, kept: Path | None, folder: Path | None, page: Path | None) -> int:
    """Save, print and write a fit, and return the exit code.

    In this order because sampling may have taken an hour: what has been drawn is safe before anything else is tried.
    """
    from bayesmm.cli import output as cli_output

    try:
        if kept is not None:
            result.save(kept, overwrite=True)
        written = [] if folder is None else [cli_output.write_draws(folder, result)]
    finally:  # also where the disk is full
        print(result)
    comparison = result.compare()
    print(f"\n{comparison}")
    if folder is not None:
        _say_written(written + cli_output.write_fit(folder, result, comparison))
    if page is not None:
        _say_written([cli_output.write_report(page, result, comparison)])
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
) -> int:
    """Fit by [bold]REML[/bold] or ML, as lme4 does.

    Prints the summary in lme4's layout. With --out also writes its tables (CSV).
    """
    from bayesmm.cli import output as cli_output
    from bayesmm.cli.input import check_early

    check_early(data, formula, engine, trials=trials, weights=weights)
    own = dict(family=family, link=link, trials=trials, weights=weights, missing=missing, engine=engine)
    with cli_output.prepared(out, cli_output.POINT_FILES, overwrite) as folder:
        model = _model(data, formula, prior, **own)
        try:
            point = model.maximize(method=method, nagq=nagq)
        except ValueError as error:  # a method that the family has not
            raise DataError(str(error)) from error
        print(point)
        if folder is not None:
            _say_written(cli_output.write_point(folder, point))
    return 0 if point.converged else CHECKS_FAILED


@app.command(epilog=EXIT_CODES)
def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What [bold]bayesmm fit --save FILE[/bold] has written.")],
) -> int:
    """Print a [bold]saved fit[/bold], the verdict of its checks first."""
    from bayesmm.loading import load

    result = load(file)
    print(result)
    return 0 if all(check.ok for check in result.checks()) else CHECKS_FAILED


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
    )


@app.command()
def warmup() -> int:
    """Compile everything ahead of the first fit: for images, CI, and whoever does not want to wait then.

    Once for a machine and a version, some minutes; what has been compiled already is left as it is.
    """
    from bayesmm.cli.warmup import warm_up

    print(f"Compiled, and kept on disk: {warm_up():.0f} s")
    return 0


@app.command("datasets")
def list_datasets() -> int:
    """List the data sets that DATA can name."""
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


def _model(data: str, formula: str, prior: list[str] | None, *, engine: str | None, **own: str | None) -> Model:
    from bayesmm.cli.input import read_priors
    from bayesmm.cli.lazy_files import read_by
    from bayesmm.runtime.progress import working

    with working("loading libraries and data"):
        from bayesmm.model import Model

        frame, taken = read_by(engine, data)
        print(taken, end="\n\n", flush=True)
        return Model(formula, frame, priors=read_priors(prior or []) or None, **own)


def _say_written(paths: list[Path]) -> None:
    print(f"\nWritten to {paths[0].parent}: {', '.join(path.name for path in paths)}")


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
        except (DataError, FitFileError, PriorError, OSError) as error:
            _complain(" ".join(str(error).split()))
        return WRONG_INPUT


def _complain(sentence: str) -> None:
    print(f"bayesmm: {sentence}", file=sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
    """Print a warning as one sentence, without the place in the code that Python would add."""
    if issubclass(category, BayesmmWarning):
        _complain(f"warning: {message}")
    else:
        _complain(f"{category.__name__}: {message}")
