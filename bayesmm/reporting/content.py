"""Everything that a report shows, gathered once as plain data; the templates set it and compute nothing."""

from dataclasses import dataclass

from bayesmm.display.html_tables import TEXT_WIDTH, Figure, Table, name
from bayesmm.evaluation.checks import verdict
from bayesmm.evaluation.checks.check_html import check_table
from bayesmm.evaluation.compare_reml_html import causes, estimates
from bayesmm.evaluation.compare_reml_text import agreement, consistency_lines, laplace_lines
from bayesmm.reporting import tables, words
from bayesmm.reporting.equation import equation
from bayesmm.reporting.gallery import effect_figures, figures
from bayesmm.reporting.mathml import mathml
from bayesmm.runtime.version import __version__

TITLE_WIDTH = 200  # characters of a title
FACTORS = 6  # grouping factors with a figure of their effects


@dataclass(frozen=True)
class Verdict:
    """What is to be known before anything else: did the checks pass, do the two answers agree.

    The state is "failed" (a check), "doubtful" (a disagreement without a known cause, no optimum) or "passed".
    """

    state: str
    opening: str
    more: tuple[str, ...]
    agreement: str


@dataclass(frozen=True)
class Part:
    """One fit of a report. The names say what the sections show; `number` is 0 where there is one fit alone."""

    number: int
    title: str
    formula: str
    family: str
    kind: str
    verdict: Verdict
    equation: str
    latex: str
    data: Table
    messages: tuple[tuple[str, str], ...]
    priors: Table
    estimates: tuple[Table, ...]
    reading: str
    explained: Table
    explanations: tuple[str, ...]
    causes: tuple[tuple[str, str, str], ...]
    remarks: tuple[str, ...]
    effects: tuple[tuple[str, Table | None, tuple[Figure, ...]], ...]
    residuals: Table | None
    checks: Table
    figures: dict[str, tuple[Figure, ...]]
    methods: str
    call: str
    versions: tuple[tuple[str, str], ...]
    references: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    version: str
    beside: tuple[Table, ...]
    caution: str
    parts: tuple[Part, ...]


def gather(fits, comparisons, title: str | None = None) -> Page:
    """Gather the report of these fits.

    Parameters
    ----------
    fits : sequence of Fit
    comparisons : sequence of Comparison
        One for each fit.
    title : str, optional
        The formula of the only fit, or the number of fits, if not given.
    """
    several = len(fits) > 1
    heading = title or (f"{len(fits)} models compared" if several else fits[0].design.formula.text)
    parts = [
        part(i if several else 0, fit, comparison)
        for i, (fit, comparison) in enumerate(zip(fits, comparisons, strict=True), start=1)
    ]
    beside = tables.beside(fits, comparisons) if several else ()
    caution = words.caution(comparisons) if several else ""
    return Page(name(heading, TITLE_WIDTH), __version__, tuple(beside), caution, tuple(parts))


def part(number: int, fit, comparison) -> Part:
    """Gather what a report says about one fit."""
    design, latex = fit.design, equation(fit.design, fit.model.priors, fit.model.family)
    posterior = tables.posterior_of(fit)
    explained, explanations = tables.explained_table(fit)
    return Part(
        number=number,
        title=name(design.formula.text, TITLE_WIDTH),
        formula=name(design.formula.text, TEXT_WIDTH),
        family=design.family.label,
        kind=words.kind_line(design),
        verdict=opening(comparison),
        equation=mathml(latex),
        latex=latex,
        data=tables.data_table(design),
        messages=tuple((message.level, message.text) for message in design.messages),
        priors=tables.prior_rows(fit.model.priors),
        estimates=tuple(estimates(comparison, posterior)),
        reading=words.reading(comparison),
        explained=explained,
        explanations=explanations,
        causes=tuple(causes(comparison)),
        remarks=remarks(comparison),
        effects=tuple(effects(fit, comparison.point, k) for k in design.factors),
        residuals=tables.residual_table(fit),
        checks=check_table(comparison.checks),
        figures=figures(fit, comparison),
        methods=words.methods(fit, comparison),
        call=words.call(fit),
        versions=tuple(words.versions(fit).items()),
        references=tuple(words.references(fit)),
    )


def opening(comparison) -> Verdict:
    """Return the verdict on the draws and on the comparison."""
    first, *more = verdict(list(comparison.checks)).split("\n")
    point = comparison.point
    lost = point is not None and not point.converged
    doubtful = (comparison.table["verdict"] == "disagree").any() or lost
    failed = not all(check.ok for check in comparison.checks)
    state = "failed" if failed else "doubtful" if doubtful else "passed"
    said = f"{point.method}: {point.message}. {agreement(comparison)}" if lost else agreement(comparison)
    return Verdict(state, words.signs(first), tuple(line.strip() for line in more), said)


def remarks(comparison) -> tuple[str, ...]:
    """Return what the comparison knows beyond its table."""
    lines = (laplace_lines(comparison), consistency_lines(comparison.consistency))
    return tuple(" ".join(part.strip() for part in found) for found in lines if found)


def effects(fit, point, k: int) -> tuple[str, Table | None, tuple[Figure, ...]]:
    """Return the name of a factor with its table and its figures, none of the factors after the first few."""
    group = name(fit.design.blocks[k].group)
    if k >= FACTORS:
        return group, None, ()
    return group, tables.effects_table(fit, k), effect_figures(fit, point, k)
