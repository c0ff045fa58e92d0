"""Options of the command line that several commands share; nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

EngineOption = Annotated[
    Literal["duckdb", "polars"] | None,
    typer.Option(
        help="Who reads DATA, which may then be larger than the memory: a file, a pattern such as "
        "[bold]'data/*.parquet'[/bold] or a folder. Only sums leave the engine.",
        rich_help_panel="Model",
    ),
]
MissingOption = Annotated[
    Literal["drop", "error"],
    typer.Option(help="Rows with missing values: drop them and say so, or refuse.", rich_help_panel="Model"),
]
DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A CSV or Parquet file, [bold]-[/bold] for stdin, or the name of a data set (see [bold]bayesmm "
        "datasets[/bold]).",
    ),
]
DelimiterOption = Annotated[
    str | None,
    typer.Option(
        metavar="CHAR",
        help="What is between the columns of DATA: one character, [bold]tab[/bold] or [bold]whitespace[/bold]; a comma "
        "if not given, a tab in .tsv, a semicolon beside decimal commas.",
        rich_help_panel="Data",
    ),
]
DecimalOption = Annotated[
    Literal[".", ","] | None, typer.Option(help="The decimal mark of DATA.", rich_help_panel="Data")
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


def _be_silent(context: typer.Context, quiet: bool) -> bool:
    if quiet:
        from bayesmm.runtime.progress import silent

        context.with_resource(silent())
    return quiet


QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=_be_silent,
        help="Say nothing of what is going on, read or written: results and warnings alone.",
        rich_help_panel="Output",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.", rich_help_panel="Output")
]


def number(text: str, least: int) -> typer.models.OptionInfo:
    """Return the option of a whole number of `least` or more."""
    return typer.Option(metavar="N", min=least, help=text, rich_help_panel="Sampling")
