"""The page over all reproduced results: ``index.html`` of ``bayesmm reproduce --out DIR``."""

from urllib.parse import quote

from bayesmm.cli.reproduce.run import EXPLAINED, FAILED, REPRODUCED, Result, Row
from bayesmm.cli.reproduce.text import DIGITS, footnotes, groups, reasons_of
from bayesmm.display.html import rendered
from bayesmm.display.html_tables import MISSING, Table, name
from bayesmm.runtime.version import __version__

INDEX = "index.html"
COUNTED = (REPRODUCED, EXPLAINED, FAILED)


def index(results: list[Result]) -> str:
    """Return the page: the verdict over all, a table of the results, then each with its numbers.

    Parameters
    ----------
    results : list of Result
        In the order in which they are shown.
    """
    parts = [part(i, result) for i, result in enumerate(results, start=1)]
    return rendered(
        "index.html",
        title="Published results, fitted anew",
        version=__version__,
        state="failed" if any(result.count(FAILED) for result in results) else "passed",
        opening=opening(results),
        table=overview(results),
        parts=parts,
    )


def opening(results: list[Result]) -> str:
    """Return the verdict over all results, a sentence for each group; repetitions on other data are not counted."""
    said = {"all": "printed numbers", "classics": "numbers of classics"}
    return " ".join(_verdict(own, said[name]) for name, own in groups(results).items())


def _verdict(results: list[Result], what: str) -> str:
    counted = [result for result in results if not result.published.repeats]
    numbers = sum(len(result.published.numbers) for result in counted)
    counts = [f"{sum(result.count(verdict) for result in counted)} {verdict}" for verdict in COUNTED]
    absent = sum(len(result.published.numbers) for result in counted if result.absent)
    unchecked = f", {absent} not checked for want of the data" if absent else ""
    return f"Of {numbers} {what}: {', '.join(counts)}{unchecked}."


def overview(results: list[Result]) -> Table:
    """Return a row for each result with the numbers of its verdicts."""
    rows = []
    for result in results:
        p = result.published
        counts = [MISSING] * len(COUNTED) if result.absent else [str(result.count(verdict)) for verdict in COUNTED]
        seconds = MISSING if result.absent else f"{result.seconds + result.sampling_seconds:.2f}"
        rows.append((name(p.title), name(p.document or p.source) or MISSING, str(len(p.numbers)), *counts, seconds))
    marked = frozenset(i for i, result in enumerate(results) if result.count(FAILED))
    headers = ("result", "document", "numbers", *COUNTED, "seconds")
    return Table("All results", headers, tuple(rows), frozenset({0, 1}), marked=marked)


def part(number: int, result: Result) -> dict[str, object]:
    """Return one result: its heading, formulas, table, file of numbers and remarks."""
    p = result.published
    return {
        "id": f"result-{number}",
        "title": name(p.title, 200),
        "formulas": [name(formula, 500) for formula in p.formulas],
        "estimator": p.estimator,
        "file": quote(f"{p.name}.csv"),
        "table": numbers(result) if result.rows else None,
        "notes": footnotes(result),
    }


def numbers(result: Result) -> Table:
    """Return the printed numbers of a result beside the maximised ones and the posterior."""
    reasons = reasons_of([result])
    sampled = any(row.mean is not None for row in result.rows)
    more = ("posterior mean", "95 % interval", "agreement") if sampled else ()
    headers = ("quantity", "printed", "maximised", *more, "verdict")
    rows = tuple(
        (name(row.label), row.printed, row.shown, *(posterior(row) if sampled else ()), verdict(row, reasons))
        for row in result.rows
    )
    words = frozenset({0, len(headers) - 1} | ({len(headers) - 2} if sampled else set()))
    marked = frozenset(i for i, row in enumerate(result.rows) if row.verdict == FAILED)
    return Table("Every printed number", headers, rows, words, marked=marked)


def posterior(row: Row) -> tuple[str, str, str]:
    """Return the posterior of a printed number, dashes where it is of no parameter."""
    if row.mean is None:
        return MISSING, MISSING, MISSING
    return f"{row.mean:.{DIGITS}g}", f"{row.lower:.{DIGITS}g} to {row.upper:.{DIGITS}g}", row.agreement


def verdict(row: Row, reasons: list[str]) -> str:
    """Return the verdict with the number of its reason."""
    return f"{row.verdict} [{reasons.index(row.reason) + 1}]" if row.reason else row.verdict
