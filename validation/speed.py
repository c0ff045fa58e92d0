"""Speed beside other libraries: the newest tables of docs/benchmarks.md, which `make bench` has written."""

import re

from validation.records import ROOT, Finding, Settings

TITLE = "Speed"
SHORT_CELLS = ()
SOURCE = ROOT / "docs" / "benchmarks.md"
COLUMNS = ("", "wall, s", "first call, s", "x wall", "x hot", "min ESS", "ESS/s")  # of those tables, what is taken
TABLE = re.compile(r"^\*\*(?P<title>.+?)\*\*\n\n(?P<table>(?:\|.*\n)+)", re.MULTILINE)


def cells() -> tuple[str, ...]:
    """Return the one cell."""
    return ("benchmarks",)


def check(cell: str, settings: Settings) -> Finding:
    """Return the tables of the newest run; no time is measured here."""
    text = SOURCE.read_text(encoding="utf-8")
    newest = text.split("<!-- make bench -->")[1]
    heading = re.findall(r"^## (.+)$", text.split("<!-- make bench -->")[0], re.MULTILINE)[-1]
    tables = [{"title": match["title"], "rows": cut(match["table"])} for match in TABLE.finditer(newest)]
    return Finding(bool(tables), "" if tables else "no table found", {"of": heading, "tables": tables})


def cut(table: str) -> list[list[str]]:
    """Return the rows of a Markdown table, the header first, with the columns that are taken."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    rows = [rows[0], *rows[2:]]
    places = [i for i, name in enumerate(rows[0]) if name in COLUMNS]
    return [[row[i] for i in places] for row in rows]
