"""What a notebook shows of a model, a maximised fit, a posterior, a comparison, a table of tests: HTML fragments."""

from bayesmm.display.html import rendered
from bayesmm.display.html_tables import TEXT_WIDTH, Table, frame_table, name
from bayesmm.display.text_tables import wrap
from bayesmm.evaluation.checks import run_checks, verdict
from bayesmm.evaluation.compare_reml_text import bridge_lines, laplace_lines, overall
from bayesmm.reporting import tables
from bayesmm.reporting.summary import (
    TITLES,
    criterion_lines,
    family_lines,
    integral,
    kind,
    point_remarks,
    sampling_line,
    sizes,
)


def fragment(lines: list[str], shown: list[Table], formula: str = "", latex: str = "") -> str:
    """Return lines, formula, equation and tables as HTML.

    Parameters
    ----------
    lines : list of str
        Sentences; the first is the headline.
    shown : list of Table
    formula : str
    latex : str
        For the MathJax of the notebook.
    """
    first, *others = lines
    return rendered(
        "notebook.html", headline=first, lines=others, tables=shown, formula=name(formula, TEXT_WIDTH), latex=latex
    )


def joined(lines: list[str]) -> str:
    """Return wrapped lines as one sentence again."""
    return " ".join(line.strip() for line in lines)


def model_html(model) -> str:
    """Return a model: formula, sizes, equation, priors, remarks on the data."""
    design = model.design
    said = [f"{message.level.capitalize()}: {message.text}" for message in design.messages]
    lines = [f"{kind(design)}, not fitted", *family_lines(design), sizes(design), *said]
    return fragment(lines, [tables.prior_rows(model.priors)], design.formula.text, model.equation())


def point_html(point) -> str:
    """Return a maximised fit: criterion, variance components, coefficients, remarks."""
    design = point.design
    title = f"{kind(design)}{TITLES[point.method]}{integral(point)}"
    components = point.varcorr().fillna({"var1": "", "var2": ""}).set_index("grp")
    shown = [frame_table(components, "Variance components", "grp")] if len(components) else []
    if design.p:
        shown.append(frame_table(point.fixef(), "Fixed effects"))
    lines = [title, *family_lines(design), sizes(design), criterion(point), *point_remarks(point)]
    return fragment([line for line in lines if line], shown, design.formula.text)


def criterion(point) -> str:
    """Return the REML criterion or the information criteria in one line."""
    lines = criterion_lines(point)
    if len(lines) == 1:
        return lines[0]
    names, values = (line.split() for line in lines)
    return ", ".join(f"{key} {value}" for key, value in zip(names, values, strict=True))


def fit_html(fit) -> str:
    """Return a posterior: the verdict of the checks, variance components, coefficients."""
    first, *failed = verdict(run_checks(fit)).split("\n")
    posterior = tables.posterior_of(fit)
    is_beta = posterior.index.str.startswith("beta[")
    parts = (("Variance components", ~is_beta), ("Fixed effects", is_beta))
    shown = [tables.posterior_table(caption, posterior[mask]) for caption, mask in parts if mask.any()]
    lines = [
        first,
        *(line.strip() for line in failed),
        *family_lines(fit.design),
        sizes(fit.design),
        sampling_line(fit),
    ]
    return fragment(lines, shown, fit.design.formula.text)


def comparison_html(comparison) -> str:
    """Return a comparison: the verdict, both tables, the causes."""
    failed = [check.name for check in comparison.checks if not check.ok]
    lines = [overall(comparison.table, comparison.point.method)]
    if failed:
        lines.insert(0, f"CHECKS FAILED ({', '.join(failed)}): the differences below may be the sampler's.")
    lines += [f"{parameter}: {verdict_}; {cause}." for parameter, verdict_, cause in tables.causes(comparison)]
    lines += [joined(found) for found in (laplace_lines(comparison), bridge_lines(comparison.bridge)) if found]
    return fragment(lines, tables.estimates(comparison), comparison.point.design.formula.text)


def table_html(lines: list[str], frame) -> str:
    """Return a data frame under some sentences, such as a table of tests.

    Parameters
    ----------
    lines : list of str
        The headline, then notes.
    frame : DataFrame
    """
    return fragment([joined(wrap(line)) for line in lines], [frame_table(frame, "Tests")])
