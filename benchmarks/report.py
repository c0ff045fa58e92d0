"""Print the tables of whatever is in benchmarks/results/: `python -m benchmarks.report [--markdown]`."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import (
    BASELINE,
    CONTESTANTS,
    GRADIENT,
    MAXIMISATION,
    SAMPLING,
    Contestant,
    baseline,
    entrants,
)
from benchmarks.measures import Spread, ratios, spread
from benchmarks.models import CASES, Case

RESULTS = Path(__file__).parent / "results"
BLANK = "–"
# One-minute load, less the run's own, above which times mean little: another process as busy as this one.
BUSY = 1.0
WIDTH = 180  # columns of a table that goes to a file
Record = dict[str, object]


@dataclass(frozen=True)
class Table:
    """A table as texts, with lines under it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="for docs/benchmarks.md")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    args = parser.parse_args()
    records = load(args.results)
    if not records:
        print(f"No results in {args.results}; make bench makes some.", file=sys.stderr)
        return 1
    found = list(tables(records))
    print(markdown(found, about(records))) if args.markdown else show(found, about(records))
    return 0


def load(folder: Path) -> list[Record]:
    """Return the records of a folder, those of models and contestants that there are no longer left out."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [record for record in records if record["case"] in CASES and record["contestant"] in CONTESTANTS]


def tables(records: list[Record]) -> Iterable[Table]:
    """Yield a table for each model and kind of contestant that has results."""
    for caches in ("warm", "cold"):
        for case in CASES.values():
            mine = [record for record in records if record["case"] == case.name and record["caches"] == caches]
            for kind, make in MAKERS.items():
                of_kind = [record for record in mine if CONTESTANTS[record["contestant"]].kind == kind]
                if of_kind:
                    yield make(case, of_kind, ", caches of compiled code empty" if caches == "cold" else "")


# --- the three tables -------------------------------------------------------------------------------------------------


def sampling_table(case: Case, records: list[Record], suffix: str = "") -> Table:
    """Return who sampled how fast: times and effective draws, and their ratios to `baseline`."""
    header = (
        "", "runs", "wall, s", "x wall", "cpu, s", "hot, s", "min ESS", "ESS/s", "/ ESS/s", "peak, MiB", "R-hat",
        "divergent",
    )  # fmt: skip
    base = baseline(case, SAMPLING)
    wall, ess = by_repetition(records, base, "seconds"), by_repetition(records, base, "ess_per_second")

    def row(name: str, done: list[Record]) -> tuple[str, ...]:
        return (
            str(len(done)),
            told(values(done, "seconds"), seconds),
            ratio_text(ratios(by_repetition(done, name, "seconds"), wall)),
            told(values(done, "seconds_cpu"), seconds),
            told(values(done, "seconds_hot"), seconds),
            told(values(done, "min_ess"), count),
            told(values(done, "ess_per_second"), significant),
            ratio_text(ratios(ess, by_repetition(done, name, "ess_per_second"))),
            told(values(done, "peak_mib"), count),
            maximum(done, "r_hat", "{:.3f}"),
            maximum(done, "divergences", "{:.0f}"),
        )

    settings = records[0]["settings"]
    tune = "" if settings["tune"] is None else f"({settings['tune']} + "
    title = f"{case.title}{suffix}: {settings['chains']} x {tune}{settings['draws']}{')' if tune else ''} draws"
    return Table(title, header, rows(case, SAMPLING, records, row, len(header), wall), notes(case, records))


def maximisation_table(case: Case, records: list[Record], suffix: str = "") -> Table:
    """Return who maximised how fast, hot calls compared, and how far from the best criterion it ended."""
    header = ("", "runs", "first call, s", "hot, s", "x hot", "criterion - best", "peak, MiB")
    hot = by_repetition(records, BASELINE[MAXIMISATION], "seconds_hot")
    same_model = [record for record in records if record["contestant"] not in case.notes]
    best = min(values(same_model, "criterion"), default=math.nan)

    def row(name: str, done: list[Record]) -> tuple[str, ...]:
        gap = [] if name in case.notes else [value - best for value in values(done, "criterion")]
        return (
            str(len(done)),
            told(values(done, "seconds"), seconds),
            told(values(done, "seconds_hot"), seconds),
            ratio_text(ratios(by_repetition(done, name, "seconds_hot"), hot)),
            f"{max(gap):.1e}" if gap else BLANK,
            told(values(done, "peak_mib"), count),
        )

    said = notes(case, records) + phases(records)
    return Table(f"{case.title}{suffix}: REML", header, rows(case, MAXIMISATION, records, row, len(header), {}), said)


def gradient_table(case: Case, records: list[Record], suffix: str = "") -> Table:
    """Return the time of a gradient with each row once and repeated."""
    header = ("", "runs", "rows once, µs", f"rows x {case.copies}, µs", "ratio")

    def row(name: str, done: list[Record]) -> tuple[str, ...]:
        once, repeated, ratio = ([record["gradient"][key] for record in done] for key in ("once", "repeated", "ratio"))
        micro = [told([1e6 * value for value in times], significant) for times in (once, repeated)]
        return (str(len(done)), *micro, told(ratio, "{:.2f}".format))

    title = f"{case.title}{suffix}: one value and gradient"
    return Table(title, header, rows(case, GRADIENT, records, row, len(header), {}), notes(case, records))


def rows(
    case: Case,
    kind: str,
    records: list[Record],
    row: Callable[[str, list[Record]], tuple[str, ...]],
    columns: int,
    baseline: dict[int, float],
) -> tuple[tuple[str, ...], ...]:
    """Return the rows: what `row` makes of the finished runs, or what became of the others, or why there are none."""
    out, ran = [], {one.name for one in entrants(case)}
    for contestant in (one for one in CONTESTANTS.values() if one.kind == kind):
        mine = [record for record in records if record["contestant"] == contestant.name]
        done = [record for record in mine if record["status"] == "done"]
        label = contestant.title + (" *" if contestant.name in case.notes else "")
        if done:
            out.append((label, *row(contestant.name, done)))
        elif mine or contestant.name not in ran:
            out.append(_unfinished(case, contestant, label, mine[-1:], columns, baseline))
    return tuple(out)


def _unfinished(
    case: Case, contestant: Contestant, label: str, last: list[Record], columns: int, baseline: dict[int, float]
) -> tuple[str, ...]:
    """Return the row of a contestant without a finished run; a time limit still bounds the ratio from below."""
    cells = [label, "0"] + [BLANK] * (columns - 2)
    if contestant.name in case.absent:
        cells[2] = "not run"
    elif last[0]["status"] == "timeout":
        cells[2] = f"> {last[0]['limit']:.0f}"
        if baseline:
            cells[3] = f"> {significant(last[0]['limit'] / max(baseline.values()))}"
    else:
        cells[2] = str(last[0]["status"])
    return tuple(cells)


def notes(case: Case, records: list[Record]) -> tuple[str, ...]:
    """Return what is to be known about the contestants of a table."""
    kind = CONTESTANTS[records[0]["contestant"]].kind
    ran, out = {record["contestant"] for record in records}, []
    for name, contestant in CONTESTANTS.items():
        if contestant.kind != kind:
            continue
        if name in case.notes and name in ran:
            out.append(f"* {contestant.title}: {case.notes[name]}")
        if name in case.absent:
            out.append(f"{contestant.title}: {case.absent[name]}")
        mine = [record for record in records if record["contestant"] == name]
        other = [record for record in mine if record["status"] in ("failed", "not available")]
        out += [f"{contestant.title}: {other[-1]['message']}"] if other else []
    return tuple(out)


def phases(records: list[Record]) -> tuple[str, ...]:
    """Return where the first call of bayesmm spent its time."""
    mine = [record for record in records if record["contestant"] == BASELINE[MAXIMISATION]]
    done = [record for record in mine if record["status"] == "done"]
    if not done:
        return ()
    times = {key: spread([record["phases"][key] for record in done]).median for key in ("build", "maximize", "rows")}
    return (
        f"bayesmm's first call: design {seconds(times['build'])} s, maximize() {seconds(times['maximize'])} s; "
        f"in a hot one, a pass over the rows takes {seconds(times['rows'])} s",
    )


MAKERS = {SAMPLING: sampling_table, MAXIMISATION: maximisation_table, GRADIENT: gradient_table}


# --- numbers and texts ------------------------------------------------------------------------------------------------


def values(records: Iterable[Record], key: str) -> list[float]:
    """Return the numbers of the finished runs that have one."""
    return [record[key] for record in records if record["status"] == "done" and record.get(key) is not None]


def by_repetition(records: Iterable[Record], contestant: str, key: str) -> dict[int, float]:
    """Return the numbers of one contestant's finished runs by repetition."""
    mine = [record for record in records if record["contestant"] == contestant and record["status"] == "done"]
    return {record["repetition"]: record[key] for record in mine if record.get(key) is not None}


def maximum(records: list[Record], key: str, form: str) -> str:
    return form.format(max(values(records, key))) if values(records, key) else BLANK


def seconds(value: float) -> str:
    """Return seconds with two decimals, three digits where they are below 0.1 s."""
    return f"{value:.3g}" if value < 0.1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def count(value: float) -> str:
    return f"{value:,.0f}"


def significant(value: float) -> str:
    """Return two digits of a small number, all of the whole part of a large one."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def told(numbers: list[float], form: Callable[[float], str]) -> str:
    """Return the median of the runs."""
    found = spread(numbers)
    return form(found.median) if found else BLANK


def ratio_text(ratio: Spread | None) -> str:
    """Return "12 (9.8 to 15)": median and range over the repetitions."""
    if ratio is None:
        return BLANK
    if ratio.count == 1 or ratio.least == ratio.most:
        return significant(ratio.median)
    return f"{significant(ratio.median)} ({significant(ratio.least)} to {significant(ratio.most)})"


def about(records: list[Record]) -> tuple[str, ...]:
    """Return the machine and the versions, and a warning where runs differ in them or the machine was busy."""
    known = [record["environment"] for record in records if "environment" in record]
    if not known:
        return ()
    machines = {
        f"{e['processor']}, {e['cpus']} processors, {e['memory_gib']} GiB, {e['system']}, Python {e['python']}"
        + (f", {e['threads']} thread(s) for linear algebra" if e.get("threads") else "")
        for e in known
    }
    versions = {", ".join(f"{name} {number}" for name, number in e["versions"].items()) for e in known}
    out = [*sorted(machines), *sorted(versions)]
    if len(out) > 2:
        out.append("These results are of different machines or versions: do not compare them")
    busy = max(e["load"] for e in known) - min(e["cpus"] for e in known)
    if busy > BUSY:
        load = max(e["load"] for e in known)
        out.append(f"The machine was busy with other work (load up to {load:.1f}): times mean little")
    return tuple(out)


# --- output -----------------------------------------------------------------------------------------------------------

LEGEND = (
    "Medians over the runs; ratios, with their range, are to bayesmm's first row that ran, within each repetition.",
    "x wall: how many times longer; / ESS/s: how many times fewer effective draws a second; min ESS: worst parameter.",
)


def markdown(found: list[Table], environment: tuple[str, ...]) -> str:
    """Return the tables as Markdown."""
    out = [*LEGEND, "", *(f"{line}." for line in environment)]
    for table in found:
        out += ["", f"**{table.title}**", "", _line(table.header), "|---" + "|--:" * (len(table.header) - 1) + "|"]
        out += [_line(cells) for cells in table.rows]
        out += ["", *(f"{note}.  " for note in table.notes)] if table.notes else []
    return "\n".join(out)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


def show(found: list[Table], environment: tuple[str, ...]) -> None:
    """Print the tables to the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
    for line in (*LEGEND, *environment):
        console.print(line)
    for table in found:
        grid = Grid(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for j, name in enumerate(table.header):
            grid.add_column(name, justify="right" if j else "left", no_wrap=True)
        for cells in table.rows:
            grid.add_row(*cells)
        console.print(grid)
        for note in table.notes:
            console.print(f"  {note}")


if __name__ == "__main__":
    sys.exit(main())
