"""What a notebook shows of a model, a maximised fit, a posterior, a comparison, a table of tests: HTML fragments."""

from bayesmm.design.parameters import coefficients, variance_parameters
from bayesmm.display.html import fragment
from bayesmm.display.html_tables import frame_table
from bayesmm.evaluation.checks import run_checks, verdict
from bayesmm.evaluation.compare_reml_html import CAPTIONS
from bayesmm.evaluation.compare_reml_text import parts_of
from bayesmm.reporting import tables
from bayesmm.reporting.equation import equation
from bayesmm.reporting.sampling_lines import sampling_lines
from bayesmm.reporting.summary import (
    TITLES,
    criterion_lines,
    family_lines,
    integral,
    kind,
    point_remarks,
    sizes,
)


def model_html(model) -> str:
    """Return a model: formula, sizes, equation, priors, remarks on the data."""
    design = model.design
    said = [f"{message.level.capitalize()}: {message.text}" for message in design.messages]
    lines = [f"{kind(design)}, not fitted", *family_lines(design), sizes(design), *said]
    return fragment(
        lines, [tables.prior_rows(model.priors)], design.formula.text, equation(design, model.priors, model.family)
    )


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
    parts = parts_of(fit.design, coefficients(fit.design) + variance_parameters(fit.design))
    shown = [tables.posterior_table(CAPTIONS.get(title, title), posterior[mask]) for title, mask in parts]
    lines = [
        first,
        *(line.strip() for line in failed),
        *family_lines(fit.design),
        sizes(fit.design),
        *sampling_lines(fit),
    ]
    return fragment(lines, shown, fit.design.formula.text)
