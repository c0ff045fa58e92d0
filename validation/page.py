"""docs/validation.md: the records as tables and pictures. No number on it is typed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from validation import calibration, exact, new_groups, pictures, prints, references, samplers, speed, verdicts
from validation.labelled import EXPECTED
from validation.models import CASES, CENTRAL, FAMILY, UNCOVERED
from validation.records import Record, made_by

GOOD, BAD = "ok", "🔴 **FAILED**"
Row = Sequence[object]
# what stands under the two pictures of the calibration
HISTOGRAMS = "Bands: 99 % of a uniform bin's counts; bars outside are red."
CURVES = (
    "A line for each quantity; bands: 99 % of uniform ranks, all points together; lines that leave it are red (one in "
    "a hundred does by chance)."
)


def write(records: Sequence[Record], folder: Path) -> Path:
    """Write the page and its pictures to a folder and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    of = {name: [record for record in records if record.section == name] for name in SECTIONS}
    parts = [top(records)] + [
        "\n\n".join([f"## {module.TITLE}", *lines(of[name], folder)])
        for name, (module, lines) in SECTIONS.items()
        if of[name]
    ]
    path = folder / "validation.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def table(header: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table; a bar in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def verdict(record: Record) -> str:
    """Return how a record ended, in words and, if it failed, in red."""
    return GOOD if record.ok else f"{BAD}: {record.words}"


def number(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:.3g}"


def top(records: Sequence[Record]) -> str:
    """Return the head of the page: what it is, when and where it was made, and what came of it."""
    failed = [record for record in records if not record.ok]
    made = made_by()
    dates = sorted({str(record.made["date"]) for record in records})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    machines = sorted({str(record.made["machine"]) for record in records})
    libraries = ", ".join(f"{name} {version}" for name, version in records[-1].made["libraries"].items())
    lines = [
        "# Validation",
        "Made by `make validate` of what its checks have found; no number on this page is typed. Every check that "
        "fails is "
        "red here, and the command ends with exit status 1. What a check does is in the file of its section, in "
        "`validation/`; with the same versions and seeds it finds the same.",
        f"**{len(records)} cells, {len(failed)} failed"
        + (": " + "; ".join(f"{record.section}, {record.cell}" for record in failed) if failed else "")
        + f".** Made {when}, {sum(record.seconds for record in records) / 60:.0f} minutes of one processor in all, "
        f"on {'; '.join(machines)}. bayesmm {made['version']}, {libraries}.",
    ]
    return "\n\n".join(lines + commits(records))


def commits(records: Sequence[Record]) -> list[str]:
    """Return which state of the code the records are of; a warning where they are of several, or of an older one."""
    of = Counter(str(record.made["commit"]) for record in records)
    now = str(made_by()["commit"])
    said = f"The package's code at commit {now}." if now else ""
    older = {commit: many for commit, many in of.items() if commit != now}
    if older:
        listed = ", ".join(f"{many} at {commit or 'an unknown commit'}" for commit, many in older.items())
        said += f" **Of other states of the code are: {listed}**; `make validate ARGS=--fresh` does all anew."
    return [said] if said else []


# ----------------------------------------------------------------------------------------------------------------------
# the sections


def of_references(records: list[Record], folder: Path) -> list[str]:
    total = sum(record.numbers.get("numbers", 0) for record in records)
    rows = []
    for record in records:
        for kind, own in record.numbers.get("kinds", {}).items():
            unit, limit = references.KINDS[kind]
            state = GOOD if own["largest"] <= limit else BAD
            rows.append((f"`{record.cell}`", kind, own["numbers"], number(own["largest"]), f"{unit}, {limit:g}", state))
    left = [
        f"`{r.cell}`: {many} models ({why})"
        for r in records
        for why, many in r.numbers.get("left out", {}).items()
        if many
    ]
    lines = [
        f"{total:,} numbers that R packages gave (lme4, nlme, glmmTMB, mgcv, ordinal, survival, lmerTest, pbkrtest: "
        "`tests/reference/README.md`) and ours of the same models.",
        table(("file", "kind", "numbers", "largest error", "measured in, at most", ""), rows),
        *(f"`{record.cell}`: {verdict(record)}" for record in records if not record.ok),
    ]
    return lines + (["Not here: " + "; ".join(left) + "."] if left else [])


def of_prints(records: list[Record], folder: Path) -> list[str]:
    rows, absent = [], 0
    for record in records:
        own = record.numbers
        if own["absent"]:
            absent += own["printed"]
            continue
        rows.append((own["title"], own["printed"], own["reproduced"], own["explained"], verdict(record)))
    total = sum(row[1] for row in rows)
    return [
        f"{total:,} numbers as they were printed (`models/`, `bayesmm reproduce`), computed anew and compared digit by "
        f"digit; {sum(row[2] for row in rows):,} are reproduced, {sum(row[3] for row in rows)} were misprints or "
        f"ends of a "
        "search that its file explains"
        + (f"; {absent} more are of data that may not be redistributed and were not at hand." if absent else "."),
        table(("result", "printed", "reproduced", "explained", ""), rows),
    ]


def z_of(records: Iterable[Record]) -> np.ndarray:
    """Return all z-scores of the exact posteriors."""
    found = [z for record in records for own in record.numbers.get("z", {}).values() for *_, z in own]
    return np.array(found, dtype=float)


def p_of(records: Iterable[Record]) -> np.ndarray:
    """Return the chi-squared tests' p-values of the calibration."""
    return np.array([own[0] for record in records for own in record.numbers.get("p", {}).values()])


def of_exact(records: list[Record], folder: Path) -> list[str]:
    z = z_of(records)
    if not len(z):
        return [verdict(record) for record in records]
    rows = []
    for record in records:
        own = z_of([record])
        samplers_ = ", ".join(
            {"nutpie": "NUTS", "importance": "independent"}[name] for name in record.numbers.get("z", {})
        )
        if len(own):
            row = (len(own), number(own.std()), number(np.abs(own).max()), number(record.numbers["quadrature"]))
        else:
            row = ("–",) * 4
        rows.append((record.cell, samplers_, *row, verdict(record)))
    normal = stats.kstest(z, "norm").pvalue
    beyond = ", ".join(
        f"{np.mean(np.abs(z) > at):.2%} beyond {at} ({2 * stats.norm.sf(at):.2%})" for at in (1.96, 2.58, 3.29)
    )
    image = pictures.distances(z, folder)
    return [
        f"{len(records)} small models whose posterior is computed by quadrature, with SciPy's densities and "
        f"matrices that "
        "are written out, beside 4 x 1,000 draws of each sampler: mean, sd, and 5, 50 and 95 % quantiles of every "
        f"parameter. A distance is in Monte Carlo standard errors and may be at most {exact.FARTHEST}. Of all "
        f"{len(z):,}: "
        f"mean {z.mean():.2f}, sd {z.std():.2f} (0 and 1 if all is right), {beyond} in brackets: of a normal "
        f"distribution; Kolmogorov-Smirnov p = {normal:.2g} (numbers of one model are not independent).",
        *([f"![Distances from exact posteriors]({image})"] if image else []),
        table(("model", "samplers", "numbers", "sd of distances", "farthest", "error of quadrature, sds", ""), rows),
    ]


def _of_ranks(record: Record) -> str:
    """Return how a calibration ended; where chance decided, with the p-values of the second data sets."""
    again = record.numbers.get("again p", {})
    said = "; ".join(f"{name}: {number(p)} in as many other data sets" for name, p in again.items())
    return (GOOD if record.ok else BAD) + (f" ({said})" if said else "")


def of_calibration(records: list[Record], folder: Path) -> list[str]:
    rows = []
    for record in records:
        p = record.numbers.get("p", {})
        ranks = record.numbers.get("ranks", {})
        sets = max((len(own) for own in ranks.values()), default=0)
        worst = min(p, key=lambda name: min(p[name])) if p else "–"
        least = (number(p[worst][0]), number(p[worst][1])) if p else ("–", "–")
        kind = CASES[record.cell].kind
        rows.append((record.cell, kind, sets, record.numbers.get("tried", 0) - sets, len(ranks), worst, *least,
                     _of_ranks(record)))  # fmt: skip
    p = p_of(records)
    uniform = f"{stats.kstest(p, 'uniform').pvalue:.2g}" if len(p) else "–"
    one, other = pictures.central_ranks(records, folder), pictures.all_ranks(records, folder)
    counts = {kind: sorted({row[2] for row in rows if row[1] == kind}) for kind in (CENTRAL, FAMILY, "structure")}
    run = "; ".join(
        f"{kind}: {own[0]}" + (f" to {own[-1]}" if own[-1] > own[0] else "") for kind, own in counts.items() if own
    )
    lines = [
        "Parameters are drawn from the priors and data from the model, by NumPy alone; the rank of each value among 99 "
        "posterior draws is uniform if the posterior is right (Talts et al. 2018). Ranked are all parameters, the "
        "first group's effect, a product of two sds, and for the central models the log likelihood and the response of "
        f"a new group. **Data sets run: {run}.** The full number is 1,000 for the central models and 200 for the "
        "others. Two tests for each quantity: chi-squared in bins, and the "
        "simultaneous band of the ECDF (Säilynoja, Bürkner & Vehtari 2022); a cell fails if one of them has p below "
        f"{calibration.LEAST_P:g} and, in as many other data sets, below {calibration.CONFIRMED:g}. The chi-squared "
        f"p-values of all {len(p)} quantities are uniform with p = {uniform} "
        "(quantities of one model are not independent, so this is a rough measure).",
        *([f"![Rank histograms of the central models]({one})", HISTOGRAMS] if one else []),
        *([f"![ECDF differences of families and structures]({other})", CURVES] if other else []),
        table(("model", "kind", "data sets", "left out", "quantities", "least p: of", "chi-squared", "ECDF", ""), rows),
    ]  # fmt: skip
    missing = [*sorted(set(UNCOVERED))] + [name for name in CASES if name not in {record.cell for record in records}]
    return lines + ([f"Not here: {', '.join(missing)}."] if missing else [])


def of_new_groups(records: list[Record], folder: Path) -> list[str]:
    rows = [
        (record.cell, record.numbers["ranks"],
         *(f"{own['covered']:.3f} ({own['exact']:.2f})" for own in record.numbers.get("coverage", [])), verdict(record))
        for record in records
    ]  # fmt: skip
    return [
        "The share of equal-tailed intervals for the response of a row of a new group that cover it, in the data "
        "sets of the "
        "calibration; in brackets what it is if all is right (99 draws have whole ranks).",
        table(("model", "data sets", "50 %", "80 %", "95 %", ""), rows),
    ]


def of_samplers(records: list[Record], folder: Path) -> list[str]:
    pairs = list(dict.fromkeys(pair for record in records for pair in record.numbers.get("z", {})))
    rows = []
    for record in records:
        z = record.numbers.get("z", {})
        shown = [f"{np.abs(z[pair]).max():.1f} of {len(z[pair])}" if pair in z else "–" for pair in pairs]
        rows.append((record.cell, *shown, verdict(record)))
    return [
        "One posterior, three ways: effects integrated out and sampled by NUTS, independent draws, effects written "
        "out. "
        "Largest difference of mean, sd and quantiles of all parameters, in its standard error (at most "
        f"{samplers.FARTHEST}), and of how many.",
        table(("model", *pairs, ""), rows),
    ]


def of_verdicts(records: list[Record], folder: Path) -> list[str]:
    rows = [row for record in records for row in record.numbers.get("rows", [])]
    columns = list(dict.fromkeys([v for own in EXPECTED.values() for v in own] + [row["verdict"] for row in rows]))
    counts = Counter((row["label"], row["verdict"]) for row in rows)

    def cell(label: str, column: str) -> str:
        many = counts[label, column]
        right = column in EXPECTED[label]
        return "" if not many else f"**{many}**" if right else f"{many} (not meant)"

    grid = [(label, *(cell(label, column) for column in columns)) for label in EXPECTED]
    other = [
        f"- {row['label']}, {row['name']}: {row['verdict']}; {row['cause']}" for row in rows if not row["as meant"]
    ]
    return [
        f"{len(rows)} simulated cases whose cause is known because it was put there (`validation/labelled.py`), and "
        f"what "
        "`fit.compare()` says of the parameter in question. Bold: as meant. No conflict (a falsified estimate, or "
        f"falsified draws) may be called agreement, and at most {verdicts.MOST_CONFUSED} causes may be confused. "
        "A wrong random structure and an "
        "outlier are in both fits alike, so that these agree.",
        table(("cause that was put there", *columns), grid),
        *(verdict(record) + (f" ({record.words})" if record.ok else "") for record in records),
        *(["\n".join(other)] if other else []),
    ]


def of_speed(records: list[Record], folder: Path) -> list[str]:
    lines = ["Taken from [benchmarks](benchmarks.md), where it is said how they are run and to whom they are unfair."]
    for record in records:
        lines[0] += f" Of {record.numbers['of']}."
        for own in record.numbers["tables"]:
            lines.append(f"**{own['title']}**")
            header, *rows = own["rows"]
            lines.append(table(header, rows))
    return lines


SECTIONS = {
    "references": (references, of_references),
    "prints": (prints, of_prints),
    "exact": (exact, of_exact),
    "calibration": (calibration, of_calibration),
    "new_groups": (new_groups, of_new_groups),
    "samplers": (samplers, of_samplers),
    "verdicts": (verdicts, of_verdicts),
    "speed": (speed, of_speed),
}
