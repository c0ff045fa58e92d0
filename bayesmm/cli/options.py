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
