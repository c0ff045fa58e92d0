"""The tables of a report: numbers that fit.summary() and fit.compare() have, as text with sensible digits."""

import numpy as np
import pandas as pd

from bayesmm.design.parameters import by_levels, coefficients, specific_columns, variance_parameters
from bayesmm.design.summed import is_summed
from bayesmm.display.html_tables import MISSING, Table, filled, name
from bayesmm.display.text_tables import column
from bayesmm.errors import DataError
from bayesmm.evaluation.compare_reml_html import BOUNDS, QUALITY, diagnosed
from bayesmm.evaluation.compare_reml_text import POSTERIOR_DIGITS
from bayesmm.evaluation.variance.explained import SHARE_DECIMALS, icc, r2
from bayesmm.posterior.draws import describe, describe_effects, draws_of, posterior_residuals
from bayesmm.priors import Priors
from bayesmm.priors.table import at_the_means, sentence
from bayesmm.runtime.messages import count as counted

TABLE_LEVELS = 120  # levels of a factor whose effects have a table; of more, fit.ranef() has them
PRIOR_ROWS = 200  # of the table of priors
UNIT_WIDTH = 200  # letters of the unit of a prior: a page has room for names that a terminal cuts
QUARTILES = ("min", "25 %", "median", "75 %", "max")


def posterior_of(fit) -> pd.DataFrame:
    """Return the rows of ``fit.summary()`` that are no random effects, without those of thousands of effects."""
    parameters = coefficients(fit.design) + variance_parameters(fit.design)
    table = describe(draws_of(fit, parameters))
    return table.set_index(pd.Index([parameter.label for parameter in parameters], dtype=object))


def posterior_table(caption: str, frame: pd.DataFrame) -> Table:
    """Return rows of ``fit.summary()`` as a table."""
    statistics = ["mean", "sd", "lower", "upper"]
    values = frame[statistics].to_numpy(dtype=float)
    texts = np.array(column(values.ravel(), POSTERIOR_DIGITS, _varying(frame))).reshape(values.shape)
    rows, marked = [], set()
    for i, label in enumerate(frame.index):
        quality, failed = diagnosed(frame.iloc[i])
        marked |= {i} if failed else set()
        rows.append((name(label), *filled([*texts[i], *quality])))
    return Table(caption, ("", "mean", "sd", *BOUNDS, *QUALITY), tuple(rows), marked=frozenset(marked))


def explained_table(fit) -> tuple[Table, tuple[str, ...]]:
    """Return the shares of variance of ``fit.r2()`` and ``fit.icc()``, and what each of them means."""
    if len(fit.design.groups) < len(fit.design.blocks):  # what r2() says
        return Table("Variance explained", ("",), ()), ("R^2 and the intraclass correlation know no smooths.",)
    headers = ("", "mean", "sd", *BOUNDS, *QUALITY)
    found, refused = [], []
    for function in (r2, icc) if fit.design.blocks else (r2,):
        try:
            found.append(function(fit))
        except DataError as error:  # of a parameter with a formula, of a family
            said = f"{error}."
            refused.append(said[0].upper() + said[1:])
    if not found:
        rows = (("not defined", *[""] * (len(headers) - 1)),)
        return Table("Variance explained", headers, rows), tuple(dict.fromkeys(refused))
    rows, marked = [], set()
    for label, row in pd.concat([shares.table for shares in found]).iterrows():
        quality, failed = diagnosed(row)
        marked |= {len(rows)} if failed else set()
        texts = (f"{row[statistic]:.{SHARE_DECIMALS}f}" for statistic in ("mean", "sd", "lower", "upper"))
        rows.append((name(label), *texts, *quality))
    says = dict.fromkeys(text for shares in found for text in shares.says)
    return Table("Variance explained", headers, tuple(rows), marked=frozenset(marked)), (*says, *refused)


def data_table(design) -> Table:
    """Return what was observed: the response, the rows, the grouping factors."""
    share = "" if design.trials is None else ", share of successes"
    whose = f" (sums by {design.X.sums.engine}; no row is here)" if is_summed(design) else ""
    of = f" in {design.table_rows.max() + 1:,} rows" if design.responses else ""
    rows = [
        *((f"Response{share}", f"{name(response)}: {spread}") for response, spread in _spreads(design)),
        ("Observations", f"{design.n:,}{of}{whose}"),
        *_fixed_rows(design),
    ]
    order = [k for k in by_levels(design) if k in design.groups]
    rows += [(f"Groups: {name(design.blocks[k].group)}", levels(design.blocks[k])) for k in order]
    smooths = [block.group for block in design.blocks if block.smooth]
    rows += [("Smooths", name(", ".join(smooths), 400))] if smooths else []
    if design.weights is not None and not whose:
        rows.append(("Weights", f"{design.weights.min():.4g} to {design.weights.max():.4g}"))
    if design.residual.text:
        rows.append(("Residuals" if design.family.gaussian else "Parameters", name(design.residual.text)))
    if design.categories:
        counts = np.bincount(design.y.astype(int))[1:]
        shown = (f"{label}: {number:,}" for label, number in zip(design.categories, counts, strict=False))
        rows.append(("Categories", name(", ".join(shown), 400)))
    return Table("What was observed", ("", "in the data"), tuple(rows), frozenset({0, 1}), frozenset({1}))


def _fixed_rows(design) -> list[tuple[str, str]]:
    """Return the fixed effects: of all rows, and those for each threshold or each category without an order."""
    own = specific_columns(design)
    if design.family.nominal:
        return [("Fixed effects, each category", name(", ".join(["Intercept", *own]), 400))]
    each = [("Fixed effects, each threshold", name(", ".join(own), 400))] if own else []
    common = f"{design.p}: {name(', '.join(design.coefficients), 400)}" if design.p else "none"
    return [("Fixed effects", common), *each] if design.p or not own else each


def _spreads(design) -> list[tuple[str, str]]:
    """Return each response with its range, its mean and its sd."""
    if is_summed(design):
        low, high = design.y.range
        said = f"{low:.4g} to {high:.4g}, mean {design.y.mean():.4g}, sd {design.y.std(1):.4g}"
        return [(design.response, said)]
    if design.family.nominal:
        return [(design.response, f"{len(design.categories)} categories without an order")]
    if design.responses:
        return [(own, _spread(design.y[design.response_codes == k])) for k, own in enumerate(design.responses)]
    return [(design.response, _spread(design.y if design.trials is None else design.y / design.trials))]


def _spread(y: np.ndarray) -> str:
    """Return the range, the mean and the sd of responses."""
    return f"{y.min():.4g} to {y.max():.4g}, mean {y.mean():.4g}, sd {y.std(ddof=1) if len(y) > 1 else 0:.4g}"


def levels(block) -> str:
    """Return how many levels a factor has and how many rows they have."""
    if block.members:
        return f"{len(block.members):,} levels, of which a row has several"
    rows = block.counts
    each = f"{rows.min():,}" if rows.min() == rows.max() else f"{rows.min():,} to {rows.max():,}"
    effects = ", ".join(block.columns)
    return f"{len(block.levels):,} levels with {each} rows each; random effects: {name(effects, 400)}"


def prior_rows(priors: Priors) -> Table:
    """Return every prior with what it says in words."""
    entries = priors.entries[:PRIOR_ROWS]
    rows = tuple((name(place.name), str(prior), sentence(place, prior, UNIT_WIDTH)) for place, prior in entries)
    hidden = len(priors.entries) - PRIOR_ROWS
    if hidden > 0:
        rows += ((f"... and {hidden:,} more", "", "print(model.priors) and model.priors have them"),)
    headers = ("parameter", "prior", "what it says")
    caption = "What is known before the data"
    said = at_the_means(priors.entries)
    caption += f" ({said})" if said else ""
    return Table(caption, headers, rows, frozenset({0, 1, 2}), frozenset({2}))


def effects_table(fit, k: int) -> Table | None:
    """Return the effects of one factor, a row for each level, or None where there are too many for a page."""
    block = fit.design.blocks[k]
    if block.smooth or block.members or len(block.levels) > TABLE_LEVELS or not has_effects(fit, k):
        return None
    frame = describe_effects(fit, k)
    texts = [spans(frame.iloc[j * len(block.levels) : (j + 1) * len(block.levels)]) for j in range(len(block.columns))]
    rows = tuple((name(level), *cells) for level, *cells in zip(block.levels, *texts, strict=True))
    headers = (name(block.group), *(name(term) for term in block.columns))
    return Table(f"{name(block.group)}: posterior mean (95 % interval) of each effect", headers, rows)


def _varying(frame: pd.DataFrame) -> pd.Series:
    """Return what sets the decimals of a posterior table: the sds, or the values where all are held fixed."""
    varying = frame["sd"][frame["sd"] > 0]
    return varying if len(varying) else frame["mean"]


def spans(frame: pd.DataFrame) -> list[str]:
    """Return "mean (lower to upper)" for each row of a posterior table."""
    values = frame[["mean", "lower", "upper"]].to_numpy(dtype=float)
    texts = np.array(column(values.ravel(), POSTERIOR_DIGITS, _varying(frame))).reshape(values.shape)
    return [f"{mean} ({lower} to {upper})" for mean, lower, upper in texts]


def has_effects(fit, k: int) -> bool:
    """Return whether the random effects of a factor were kept."""
    return fit.design.blocks[k].names.effects in fit.tree["posterior"]


def residual_table(fit) -> Table | None:
    """Return the quartiles of the scaled residuals; None where effects were not kept, or categories have no order."""
    if (
        fit.design.family.nominal
        or is_summed(fit.design)
        or not all(has_effects(fit, k) for k in range(len(fit.design.blocks)))
    ):
        return None
    values = np.quantile(posterior_residuals(fit), [0, 0.25, 0.5, 0.75, 1])
    texts = tuple(column(values, scale=[1.0], digits=3))
    return Table("Scaled (Pearson) residuals at the posterior means", ("", *QUARTILES), (("residual", *texts),))


def beside(fits, comparisons) -> list[Table]:
    """Return the fits side by side: what they are, and every parameter of each.

    Parameters
    ----------
    fits : sequence of Fit
    comparisons : sequence of Comparison
        One for each fit.
    """
    headers = ("", *(f"Fit {i}" for i in range(1, len(fits) + 1)))
    words = frozenset(range(len(headers)))
    both = (
        "",
        *(text for i, c in enumerate(comparisons, 1) for text in (f"Fit {i}", f"Fit {i}, {c.method or 'no maximum'}")),
    )
    columns = [sizes(*pair) for pair in pairs(fits, comparisons)]
    return [
        Table("The models", headers, tuple(zip(*columns, strict=True)), words, words - {0}),
        Table("Posterior means with 95 % intervals, beside the maximised fits", both, shared_rows(comparisons)),
    ]


def pairs(fits, comparisons) -> list[tuple]:
    """Return the names of the rows of the first table (no fit), then each fit with its comparison."""
    return [(None, None), *zip(fits, comparisons, strict=True)]


def sizes(fit, comparison) -> tuple[str, ...]:
    """Return what a fit is, in the order of the rows; without a fit their names."""
    if fit is None:
        return ("Formula", "Family", "Observations", "Groups", "Maximised by", "log likelihood", "AIC", "Checks")
    design, point = fit.design, comparison.point
    order = [k for k in by_levels(design) if k in design.groups]
    groups = "; ".join(f"{name(design.blocks[k].group)}, {len(design.blocks[k].labels)}" for k in order)
    failed, notes = [check.name for check in comparison.checks if not check.ok], sum(c.note for c in comparison.checks)
    passed = f"passed, {counted(notes, 'note')}" if notes else "passed"
    return (
        name(design.formula.text, 500),
        f"{design.family.label} ({design.family.link} link)",
        f"{design.n:,}",
        groups or MISSING,
        *((MISSING,) * 3 if point is None else (point.method, f"{point.loglik:.2f}", f"{point.aic:.2f}")),
        f"FAILED: {', '.join(failed)}" if failed else passed,
    )


def shared_rows(comparisons) -> tuple[tuple[str, ...], ...]:
    """Return a row for each parameter of any fit: of each fit posterior and estimate, dashes where it has it not."""
    labels = list(dict.fromkeys(label for c in comparisons for label in c.table["parameter"]))
    found = [dict(zip(c.table["parameter"], spans_and_points(c), strict=True)) for c in comparisons]
    absent = (MISSING, MISSING)
    return tuple((name(label), *(text for cell in found for text in cell.get(label, absent))) for label in labels)


def spans_and_points(comparison) -> list[tuple[str, str]]:
    """Return for each parameter its posterior mean with the interval, and its estimate."""
    frame = comparison.table
    points = [
        filled(column([point], POSTERIOR_DIGITS, [sd] if sd > 0 else None))[0]
        for point, sd in zip(frame["point"], frame["sd"], strict=True)
    ]
    texts = [spans(frame.iloc[[i]])[0] for i in range(len(frame))]
    return list(zip(texts, points, strict=True))
