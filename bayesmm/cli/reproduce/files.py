"""What ``bayesmm reproduce --out DIR`` writes: a CSV file for each result, the summary as CSV and JSON, and a page."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from bayesmm.cli.reproduce.page import INDEX, index
from bayesmm.cli.reproduce.published import Published
from bayesmm.cli.reproduce.run import EXPLAINED, FAILED, REPRODUCED, Result
from bayesmm.storage.atomic_write import csv_text, write_bytes

SUMMARY_CSV, SUMMARY_JSON = "summary.csv", "summary.json"
COLUMNS = ("quantity", "printed", "maximised", "mean", "lower", "upper", "agreement", "verdict", "reason")


def file_names(published: list[Published]) -> list[str]:
    """Return the names of the files that are written for these results."""
    return [*(f"{p.name}.csv" for p in published), SUMMARY_CSV, SUMMARY_JSON, INDEX]


def row_table(result: Result) -> pd.DataFrame:
    """Return the rows of a result, all digits of the computed numbers."""
    rows = [
        (r.label, r.printed, r.value, r.mean, r.lower, r.upper, r.agreement, r.verdict, r.reason) for r in result.rows
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"mean": float, "lower": float, "upper": float})


def summary_frame(results: list[Result]) -> pd.DataFrame:
    """Return a row for each result with the numbers of its verdicts."""
    rows = []
    for result in results:
        p = result.published
        verdicts = [result.count(verdict) for verdict in (REPRODUCED, EXPLAINED, FAILED)]
        unchecked = len(p.numbers) if result.absent else 0
        words = p.name, p.title, p.source, p.document, p.repeats
        rows.append((*words, len(p.numbers), *verdicts, unchecked, result.seconds))
    names = (
        "result",
        "title",
        "source",
        "document",
        "repeats",
        "numbers",
        "reproduced",
        "explained",
        "not_reproduced",
        "unchecked",
    )
    return pd.DataFrame(rows, columns=[*names, "seconds"])


def write_results(results: list[Result], folder: Path) -> list[Path]:
    """Write the files and return them.

    Raises
    ------
    OSError
        The disk is full or the folder has gone; each file is there whole or not at all.
    """
    contents = {f"{result.published.name}.csv": csv_text(row_table(result)) for result in results}
    contents[SUMMARY_CSV] = csv_text(summary_frame(results))
    contents[SUMMARY_JSON] = json.dumps([record(result) for result in results], indent=1, allow_nan=False)
    contents[INDEX] = index(results)
    for name, content in contents.items():
        write_bytes(content.encode(), folder / name)
    return [folder / name for name in contents]


def record(result: Result) -> dict[str, object]:
    """Return a result with all its rows as values of JSON."""
    p = result.published
    names = ("name", "title", "source", "document", "section", "formulas", "repeats")
    fields = {name: getattr(p, name) for name in names}
    rows = [asdict(row) | {"value": row.value if pd.notna(row.value) else None} for row in result.rows]
    return {**fields, "absent": result.absent, "notes": result.notes, "rows": rows}
