"""What `print` shows of a model, a maximised fit and a posterior: plain text in the layout of lme4's summary()."""

from collections.abc import Sequence
from weakref import WeakSet

import numpy as np
import pandas as pd

from bayesmm.design.parameters import (
    by_levels,
    coefficients,
    free_auxiliaries,
    variance_entries,
    variance_parameters,
)
from bayesmm.design.residual.of_family import FAMILYS, residual_title
from bayesmm.design.summed import is_summed
from bayesmm.display.text_tables import (
    LINE_WIDTH,
    NAME_LEAST,
    ceiled,
    column,
    count,
    number,
    p_text,
    shorten,
    table,
    wrap,
)
from bayesmm.evaluation.checks import Check, run_checks, verdict
from bayesmm.evaluation.checks.point import remarks
from bayesmm.families.links import LINKS
from bayesmm.inference.text import linear_sections
from bayesmm.posterior.convergence import ESS_LIMIT, R_HAT_LIMIT
from bayesmm.posterior.draws import (
    describe,
    draws_of,
    variable,
)
from bayesmm.posterior.point_estimates import singular_parts
from bayesmm.reporting.own_lines import auxiliary_lines, response_rows
from bayesmm.reporting.residual_lines import fit_residual_lines, residual_lines
from bayesmm.reporting.sampling_lines import sampler, sampling_lines

CORRELATION_COLUMNS = 6  # of a random-effects table; a block with more terms has the rest in varcorr()
ABBREVIATION = 6  # characters of a coefficient's name over the matrix of correlations, as lme4 has it
POSTERIOR_DIGITS = 3  # significant digits of the smallest posterior sd: the Monte Carlo error hides the rest
FORMULA_WIDTH = 450  # columns of a formula, five lines; one may be 20,000 characters long
NOTED = WeakSet()  # designs whose notes a print has shown
MARK = "*"  # beside a row whose R-hat or ESS fails its check

TITLES = {"REML": " fit by REML", "ML": " fit by maximum likelihood", "MAP": ": mode of the marginal posterior (MAP)"}


def render_model(model) -> str:
    """Return what ``print(model)`` shows: formula, sizes, priors, messages."""
    design = model.design
    family = family_lines(design) or [f"Family: {design.family.name}"]
    lines = [*header(design, f"{kind(design)}, not fitted"), *family, sizes(design), ""]
    return "\n".join([*lines, "Priors:", str(model.priors), *messages(design)])


def render_point(point) -> str:
    """Return what ``print(point)`` shows, in the layout of lme4's summary().

    Parameters
    ----------
    point : PointFit

    Returns
    -------
    str
        At most 100 columns wide; tables end after 20 rows (the accessors have everything).
    """
    design = point.design
    title = f"{kind(design)}{TITLES[point.method]}{integral(point)}"
    whole = not is_summed(design)
    least_squares = (
        whole and design.family.gaussian and point.method == "REML" and not (design.blocks or design.residual.text)
    )
    sections = [
        header(design, title, family_lines(design)) + messages(design, again=False),
        *(linear_sections(point) if least_squares else likelihood_sections(point)),
        point_remarks(point),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def likelihood_sections(point) -> list[list[str]]:
    """Return the sections of lme4's summary() between the formula and the remarks."""
    return [
        criterion_lines(point),
        residual_lines(point.design, "", lambda: point.scaled_residuals),
        [*point_random_lines(point), *auxiliary_lines(point), sizes(point.design)],
        point_fixed_lines(point),
        correlation_lines(point),
    ]


def render_fit(fit) -> str:
    """Return what ``print(fit)`` shows: the verdict of the checks first, then the sections of lme4's summary().

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    str
        At most 100 columns wide; tables end after 20 rows (the accessors have everything).
    """
    design = fit.design
    head = header(design, f"{kind(design)}: posterior by {sampler(fit.tree)}")
    family = family_lines(design) or [f"Family: {design.family.name}"]
    sections = [
        verdict_lines(run_checks(fit)) + messages(design, again=False),
        [*head, *family, *sampling_lines(fit), "Intervals: 95 % equal-tailed (lower, upper)"],
        fit_residual_lines(fit),
        [*fit_random_lines(fit), sizes(design)],
        fit_correlation_lines(fit),
        fit_family_lines(fit),
        fit_fixed_lines(fit),
    ]
    text = "\n\n".join("\n".join(section) for section in sections if section)
    footnote = f"{MARK} R-hat above {R_HAT_LIMIT} or ESS below {ESS_LIMIT}: do not rely on this row"
    return f"{text}\n\n{footnote}" if f" {MARK}\n" in f"{text}\n" else text


# What the three have in common


def verdict_lines(checks: list[Check]) -> list[str]:
    """Return the verdict of the checks, with the advice of each that failed and the notes under it."""
    first, *advice = verdict(checks).split("\n")
    return [first, *(line for text in advice for line in wrap(text, "    ", "  "))]


def kind(design) -> str:
    """Return what kind of model it is."""
    text = "linear mixed model" if design.blocks else "linear model"
    return text.capitalize() if design.family.linear else f"Generalised {text}"


def family_lines(design) -> list[str]:
    """Return the family and the link of a generalised model, nothing for a linear one."""
    return [] if design.family.linear else [f"Family: {design.family.label} ({design.family.link} link)"]


def on_scale(design) -> str:
    """Return on which scale effects are, where it is not that of the response: ", log scale"."""
    link = LINKS[design.family.link]
    return "" if link.name == "identity" else f", {link.scale}"


def header(design, title: str, more: Sequence[str] = ()) -> list[str]:
    """Return the title, what else is to be said of the model, and the formula."""
    return [title, *more, *wrap(f"Formula: {shorten(design.formula.text, FORMULA_WIDTH)}", " " * 9)]


def sizes(design) -> str:
    """Return the line of lme4's summary() with the numbers of observations and of groups."""
    blocks = [design.blocks[k] for k in by_levels(design) if k in design.groups]
    groups = [f"{shorten(block.group)}, {len(block.labels)}" for block in blocks]
    whose = f" (sums by {design.X.sums.engine})" if is_summed(design) else ""
    return "\n".join(wrap(f"Number of obs: {design.n}{whose}" + (f", groups: {'; '.join(groups)}" if groups else "")))


def messages(design, again: bool = True) -> list[str]:
    """Return the warnings and notes about the data; the notes only once for a design, unless `again`."""
    hide = not again and design in NOTED
    if not again:
        NOTED.add(design)
    said = [m for m in design.messages if not (hide and m.level == "note")]
    return [line for m in said for line in wrap(f"{m.level.capitalize()}: {m.text}")]


def group_name(block, i: int) -> str:
    """Return the grouping factor's name beside its first term, nothing beside the others."""
    return shorten(block.group) if i == 0 else ""


def residual_cells(design) -> list[str]:
    """Return the name of the residual's row: a student's sigma is its scale, which is less than its sd."""
    sigma = next(parameter for parameter in design.family.parameters if parameter.name == "sigma")
    return ["Residual", sigma.label]


def correlation_cells(block, correlation: np.ndarray) -> list[list[str]]:
    """Return the lower triangle of the correlations as text, a list per sd; blank where there is none by design."""
    part_of = {i: part for part in block.partition for i in part}
    width = min(len(block.sds) - 1, CORRELATION_COLUMNS)
    return [
        [number(correlation[i, j], 2) if j < i and j in part_of[i] else "" for j in range(width)] for _, i in block.sds
    ]


def with_correlations(headers: list[str], rows: list[list[str]], cells: list[list[str]]) -> tuple[list[str], list]:
    """Return headers and rows with the columns of correlations added; none if there is no correlation at all."""
    wide = max((len(row) for row in cells), default=0)
    if not any(cell for row in cells for cell in row):
        return headers, rows
    filled = [row + [""] * (wide - len(row)) for row in cells]
    return [*headers, "Corr", *[""] * (wide - 1)], [row + extra for row, extra in zip(rows, filled, strict=True)]


# The maximised fit


def integral(point) -> str:
    """Return how the random effects of a generalised model were integrated out, nothing where that is exact."""
    if point.design.family.gaussian or not point.design.blocks:
        return ""
    ways = {0: "random effects integrated out numerically", 1: "Laplace approximation"}
    return f" ({ways.get(point.nagq, f'adaptive Gauss-Hermite quadrature, nagq = {point.nagq}')})"


def criterion_lines(point) -> list[str]:
    """Return the REML criterion, or the information criteria of a maximum-likelihood fit."""
    if point.method == "REML":
        return [f"REML criterion at convergence: {point.criterion:.1f}"]
    if point.method == "MAP":
        return [f"-2 log marginal posterior density, up to a constant: {point.criterion:.1f}"]
    numbers = point.aic, point.bic, point.loglik, point.deviance
    values = [*(f"{v:.1f}" for v in numbers), str(point.design.n - point.npar)]
    return table(["AIC", "BIC", "logLik", "deviance", "df.resid"], [values], left=0)


def point_random_lines(point) -> list[str]:
    """Return the table of variances, standard deviations and correlations."""
    design, rows, cells, variances = point.design, [], [], []
    for k in by_levels(design):
        block, covariance = design.blocks[k], point.covariances[k]
        sds = np.sqrt(np.diag(covariance))
        with np.errstate(invalid="ignore"):
            cells += correlation_cells(block, covariance / np.outer(sds, sds))
        rows += [[group_name(block, i), shorten(term)] for i, (term, _) in enumerate(block.sds)]
        variances += [covariance[i, i] for _, i in block.sds]
    if any(own.name == "sigma" for own in free_auxiliaries(design)) and design.residual.sigma != "known":
        rows.append(residual_cells(design))
        cells.append([])
        variances.append(point.sigma**2)
    if design.responses:
        own = response_rows(point)
        rows, cells, variances = rows + own[0], cells + own[1], variances + own[2]
    if not rows:
        return []
    numbers = zip(column(variances), column(np.sqrt(variances)), strict=True)
    rows = [row + list(pair) for row, pair in zip(rows, numbers, strict=True)]
    headers, rows = with_correlations(["Groups", "Name", "Variance", "Std.Dev."], rows, cells)
    return ["Random effects:", *table(headers, rows, left=2)]


def point_fixed_lines(point) -> list[str]:
    """Return the table of the coefficients; a coefficient that cannot be estimated is NaN."""
    frame = point.fixef()
    if len(frame) == 0:
        return ["No fixed effects"]
    numbers = column([*frame["estimate"], *frame["se"]])
    n, ratio = len(frame), "t" if "t" in frame else "z"
    columns = [numbers[:n], numbers[n:], [number(value, 3) for value in frame[ratio]]]
    headers = ["", "Estimate", "Std. Error", f"{ratio} value"]
    if "p" in frame:
        columns.append([p_text(p) for p in frame["p"]])
        headers.append("Pr(>|z|)")
    rows = [
        [shorten(name), *("NaN" if text == "" else text for text in texts)]
        for name, *texts in zip(frame.index, *columns, strict=True)
    ]
    return ["Fixed effects:", *table(headers, rows)]


def correlation_lines(point) -> list[str]:
    """Return the lower triangle of the correlations of the coefficients, if there are two and they fit the line."""
    covariance = point.beta_cov
    kept = np.flatnonzero(np.diag(covariance) > 0)  # neither aliased nor fixed by its prior
    if len(kept) < 2:
        return []
    names = [shorten(point.design.coefficients[j]) for j in kept]
    if NAME_LEAST + (ABBREVIATION + 1) * (len(kept) - 1) > LINE_WIDTH - 2:
        return [f"Correlation of Fixed Effects: {len(kept)} coefficients are too many to print; see point.vcov"]
    sds = np.sqrt(np.diag(covariance)[kept])
    correlation = covariance[np.ix_(kept, kept)] / np.outer(sds, sds)
    heads = [name[:ABBREVIATION] for name in names]
    alike = len(set(heads)) < len(heads)
    if alike:  # names that differ only at their ends: numbers stand over the columns
        heads = [str(i + 1) for i in range(len(kept))]
        names = [f"{head} {name}" for head, name in zip(heads, names, strict=True)]
    rows = [
        [names[i], *(number(correlation[i, j], 3) if j < i else "" for j in range(len(kept) - 1))]
        for i in range(0 if alike else 1, len(kept))
    ]
    return ["Correlation of Fixed Effects:", *table(["", *heads[:-1]], rows)]


def point_remarks(point) -> list[str]:
    """Return what a reader must know: aliased coefficients, a singular fit, no convergence."""
    lines = []
    aliased = [shorten(point.design.coefficients[j]) for j in np.flatnonzero(np.isnan(point.beta))]
    if aliased:
        lines += wrap(f"NaN: {', '.join(aliased)} cannot be estimated, a linear combination of other coefficients")
    if point.singular:
        parts = [part for k in range(len(point.covariances)) for part in singular_parts(point, k)]
        lines += wrap(f"boundary (singular) fit: {'; '.join(parts) or 'a covariance matrix has not full rank'}")
    if not point.converged:
        lines += wrap(f"optimizer: {point.message}")
    said = remarks(point)
    return lines + [line for text in said for line in wrap(text)]


# The posterior


STATISTIC_HEADERS = ["mean", "sd", "lower", "upper"]
DIAGNOSTIC_HEADERS = ["ESS", "R-hat", ""]


def statistic_cells(frame: pd.DataFrame) -> tuple[list[list[str]], list[list[str]]]:
    """Return mean, sd and interval, and ESS, R-hat and mark, of the rows of a posterior table."""
    varying = frame["sd"][frame["sd"] > 0]
    varying = varying if len(varying) else frame["mean"]  # all are held fixed
    values = frame[STATISTIC_HEADERS].to_numpy()
    texts = np.array(column(values.ravel(), POSTERIOR_DIGITS, varying)).reshape(values.shape)
    ess = np.fmin(frame["ess_bulk"], frame["ess_tail"])
    failed = (frame["sd"] > 0) & ~((ess >= ESS_LIMIT) & ~(frame["r_hat"] > R_HAT_LIMIT))
    diagnostics = [
        [count(e), ceiled(r), MARK if bad else ""] for e, r, bad in zip(ess, frame["r_hat"], failed, strict=True)
    ]
    return texts.tolist(), diagnostics


def fit_random_lines(fit) -> list[str]:
    """Return the table of the standard deviations, with the posterior means of their correlations."""
    design = fit.design
    parameters = [p for p in variance_entries(design) if p.kind in ("sd", "sigma")]
    names, cells = [], []
    for k in by_levels(design):
        block = design.blocks[k]
        names += [[group_name(block, i), shorten(term)] for i, (term, _) in enumerate(block.sds)]
        cells += correlation_cells(block, mean_correlation(fit, block))
    if any(p.kind == "sigma" for p in parameters):
        names.append(residual_cells(design))
        cells.append([])
    if not names:
        return []
    statistics, diagnostics = statistic_cells(describe(draws_of(fit, parameters)))
    rows = [name + values for name, values in zip(names, statistics, strict=True)]
    headers, rows = with_correlations(["Groups", "Name", *STATISTIC_HEADERS], rows, cells)
    rows = [row + end for row, end in zip(rows, diagnostics, strict=True)]
    title = f"Random effects, standard deviations{on_scale(design)}:"
    return [title, *table([*headers, *DIAGNOSTIC_HEADERS], rows, left=2)]


def mean_correlation(fit, block) -> np.ndarray:
    """Return the posterior mean of a block's correlation matrix, the identity where it has no correlations."""
    if not any(len(part) > 1 for part in block.partition):
        return np.eye(len(block.columns))
    return variable(fit.tree, block.names.corr).mean(axis=(0, 1))


def fit_correlation_lines(fit) -> list[str]:
    """Return the table of the correlations with their intervals."""
    parameters = [p for p in variance_entries(fit.design) if p.kind == "corr"]
    if not parameters:
        return []
    blocks = [fit.design.blocks[p.block] for p in parameters]
    names = [
        [shorten(block.group), ", ".join(shorten(block.columns[i]) for i in p.terms)]
        for block, p in zip(blocks, parameters, strict=True)
    ]
    return ["Random effects, correlations:", *posterior_table(["Groups", "Names"], names, fit, parameters)]


def fit_family_lines(fit) -> list[str]:
    """Return the tables of the parameters of the family, and of the residual, that no other table has."""
    known, lines = variance_parameters(fit.design), []
    for title, kind in ((FAMILYS, "auxiliary"), (residual_title(fit.design), "residual")):
        parameters = [p for p in known if p.kind == kind]
        if parameters:
            names = [[shorten(p.label)] for p in parameters]
            lines += [*([""] if lines else []), f"{title}:", *posterior_table([""], names, fit, parameters)]
    return lines


def fit_fixed_lines(fit) -> list[str]:
    """Return the table of the coefficients."""
    parameters = coefficients(fit.design)
    if fit.design.family.nominal:  # they are those of the log odds
        return []
    if not parameters:
        return ["No fixed effects"]
    names = [[shorten(name)] for name in fit.design.coefficients]
    return [f"Fixed effects{on_scale(fit.design)}:", *posterior_table([""], names, fit, parameters)]


def posterior_table(headers: list[str], names: list[list[str]], fit, parameters: list) -> list[str]:
    """Return the lines of a table of parameters: names, mean, sd, interval, ESS, R-hat."""
    statistics, diagnostics = statistic_cells(describe(draws_of(fit, parameters)))
    rows = [name + values + end for name, values, end in zip(names, statistics, diagnostics, strict=True)]
    return table([*headers, *STATISTIC_HEADERS, *DIAGNOSTIC_HEADERS], rows, left=len(headers))
