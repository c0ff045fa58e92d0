"""The tables of reproduced results: for the terminal (rich) and for docs/published.md (Markdown)."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bayesmm.cli.reproduce.quantities import label
from bayesmm.cli.reproduce.run import EXPLAINED, FAILED, REPRODUCED, Result, Row
from bayesmm.display.text_tables import shorten

STYLES = {REPRODUCED: "green", EXPLAINED: "yellow", FAILED: "bold red"}
LABEL_WIDTH = 48  # columns of a quantity's name
DIGITS = 4  # significant digits of a posterior
DASH = "–"


def heading(result: Result) -> str:
    """Return the title of a result and where it was printed, with rich's markup."""
    p = result.published
    where = f"document {p.document}" if p.document else ""
    where += p.source
    where += f", lines {p.lines[0]}-{p.lines[1]}" if p.lines else ""
    formulas = "  against  ".join(p.formulas)
    lines = [f"[bold]{escape(p.title)}[/bold]", f"[dim]{escape(p.name)}{' · ' if where else ''}{escape(where)}[/dim]"]
    return "\n".join([*lines, escape(formulas) + (f"   ({p.estimator})" if len(p.formulas) == 1 else "")])


def model_table(result: Result) -> Table:
    """Return the table of one result: a row for each printed number."""
    table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=False)
    sampled = any(row.mean is not None for row in result.rows)
    for name in ("quantity", "printed", "maximised", *(("posterior mean", "95 % interval", "") if sampled else ())):
        table.add_column(name, justify="left" if name in ("quantity", "") else "right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    reasons = reasons_of([result])
    for row in result.rows:
        cells = [shorten(row.label, LABEL_WIDTH), row.printed, row.shown, *(_posterior(row) if sampled else ())]
        mark = f" [{reasons.index(row.reason) + 1}]" if row.reason else ""
        table.add_row(*map(Text, cells), Text(row.verdict + mark, style=STYLES[row.verdict]))
    return table


def _posterior(row: Row) -> list[str]:
    if row.mean is None:
        return [DASH, DASH, ""]
    return [f"{row.mean:.{DIGITS}g}", f"{row.lower:.{DIGITS}g} to {row.upper:.{DIGITS}g}", row.agreement]


def reasons_of(results: Iterable[Result]) -> list[str]:
    """Return the distinct reasons, in the order of the rows."""
    return list(dict.fromkeys(row.reason for result in results for row in result.rows if row.reason))


def footnotes(result: Result) -> list[str]:
    """Return the reasons with their numbers, the file's note, and what the model said about the data."""
    lines = [f"[{i}] {reason}" for i, reason in enumerate(reasons_of([result]), start=1)]
    if not result.published.numbers:
        lines.append("No number was printed: there is nothing to compare.")
    lines += [result.published.note] if result.published.note else []
    lines += [f"Not fitted: {result.absent}."] if result.absent else []
    return [*lines, *result.notes]


def summary_table(results: list[Result]) -> Table:
    """Return the table over all results, the totals last; repetitions on other data are not counted in them."""
    table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=False)
    table.add_column("result", no_wrap=True)
    table.add_column("document", no_wrap=True)
    for name in ("numbers", REPRODUCED, EXPLAINED, FAILED, "seconds"):
        table.add_column(name, justify="right")
    for result in results:
        p = result.published
        verdicts = [_count(result, verdict) for verdict in (REPRODUCED, EXPLAINED, FAILED)]
        seconds = "" if result.absent else f"{result.seconds + result.sampling_seconds:.2f}"
        table.add_row(Text(p.name), Text(p.document), str(len(p.numbers)), *verdicts, seconds)
    table.add_section()
    for name, own in groups(results).items():
        counted = [result for result in own if not result.published.repeats]
        totals = [str(sum(result.count(verdict) for result in counted)) for verdict in (REPRODUCED, EXPLAINED, FAILED)]
        numbers = sum(len(result.published.numbers) for result in counted)
        seconds = sum(result.seconds + result.sampling_seconds for result in own)
        table.add_row(name, "", str(numbers), *totals, f"{seconds:.2f}", style="bold")
    return table


def groups(results: list[Result]) -> dict[str, list[Result]]:
    """Return what is counted together: the documents' results and one's own, and the classics; none that is empty."""
    found = {
        "all": [result for result in results if not result.published.source],
        "classics": [result for result in results if result.published.source],
    }
    return {name: own for name, own in found.items() if own}


def _count(result: Result, verdict: str) -> Text:
    if result.absent:
        return Text("no data" if verdict == REPRODUCED else "", style="dim")
    count = result.count(verdict)
    return Text(str(count) if count or verdict == REPRODUCED else DASH, style=STYLES[verdict] if count else "dim")


def expected(result: Result) -> tuple[int, int, int]:
    """Return how many numbers are reproduced, explained and not; for data not at hand what the file says of them."""
    if result.absent:
        explained = len(result.published.explained)
        return len(result.published.numbers) - explained, explained, 0
    return result.count(REPRODUCED), result.count(EXPLAINED), result.count(FAILED)


def markdown(results: list[Result]) -> str:
    """Return the counts of all results as a Markdown table, then what is explained, by reason: for a page in docs/."""
    found = groups(results)
    parts = [_documents(found["all"])] if "all" in found else []
    return "\n".join(parts + ([_classics(found["classics"])] if "classics" in found else []))


def _documents(results: list[Result]) -> str:
    counted = [result for result in results if not result.published.repeats]
    lines = ["| result | document | numbers | reproduced | explained |", "|---|---|---:|---:|---:|"]
    for result in counted:
        p, (good, explained, _) = result.published, expected(result)
        lines.append(
            f"| [{p.title}](../models/{p.name}.toml) | {p.document} | {len(p.numbers)} | {good} | {explained or DASH} |"
        )
    totals = [sum(column) for column in zip(*map(expected, counted), strict=True)]
    numbers = sum(len(result.published.numbers) for result in counted)
    lines.append(f"| **all** | | **{numbers}** | **{totals[0]}** | **{totals[1]}** |")
    if totals[2]:
        lines += ["", f"NOT reproduced: {totals[2]}."]
    return "\n".join([*lines, "", *_explained_list(counted), ""])


def _classics(results: list[Result]) -> str:
    lines = ["| classic | printed by | numbers | reproduced | explained |", "|---|---|---:|---:|---:|"]
    for result in results:
        p, (good, explained, _) = result.published, expected(result)
        link = f"[{p.title}](../models/classics/{p.name}.toml)"
        lines.append(f"| {link} | {p.source} | {len(p.numbers)} | {good} | {explained or DASH} |")
    good, explained, failed = [sum(column) for column in zip(*map(expected, results), strict=True)]
    numbers = sum(len(result.published.numbers) for result in results)
    lines.append(f"| **classics** | | **{numbers}** | **{good}** | **{explained}** |")
    if failed:
        lines += ["", f"NOT reproduced: {failed}."]
    return "\n".join([*lines, "", *_explained_list(results), ""])


def _explained_list(results: list[Result]) -> list[str]:
    """Return a line for each reason: how many numbers it explains, and which of which result."""
    places: dict[str, dict[str, list[str]]] = {}
    for result in results:
        for place, explanation in result.published.explained.items():
            places.setdefault(explanation.reason, {}).setdefault(result.published.name, []).append(label(place))
    return [f"- {sum(map(len, found.values()))}: {reason} {_which(found)}" for reason, found in places.items()]


def _which(found: dict[str, list[str]]) -> str:
    return "; ".join(f"`{name}`: {', '.join(labels)}" for name, labels in found.items()) + "."
