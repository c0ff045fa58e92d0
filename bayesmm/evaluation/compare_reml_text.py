"""What ``print(comparison)`` shows: verdict, table, causes in words, and the consistency check."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesmm.design.residual.of_family import FAMILYS, residual_title
from bayesmm.display.text_tables import ROW_LIMIT, column, number, shorten, table, wrap
from bayesmm.errors import listing

POSTERIOR_DIGITS = 3  # significant digits of the smallest posterior sd: the Monte Carlo error hides the rest
NAMED = 5  # parameters in a sentence; the table has them all
VERDICT_WIDTH = 10  # columns of the longest verdict
NOT_COMPUTED = "-"
VARIANCE_COLUMNS = ("point", "map", "mode", "mean", "sd", "lower", "upper")
# What a consistency check has shown, by what it is of.
CHECKED = {
    "graph": "the density of the PyMC graph, with its priors flat and the effects and coefficients integrated out, "
    "has its maximum at the REML estimates {}.",
    "likelihood": "the density that is sampled, with its priors flat, has its maximum at the REML estimates {}. The "
    "PyMC graph was not looked at: fit.consistency('graph') does that.",
}
VARIANCES, COEFFICIENTS = "Variance parameters", "Coefficients"  # titles
BESIDE = ("point", "se", "map")  # columns of what stands beside the draws
COEFFICIENT_COLUMNS = ("point", "se", "map", "mean", "sd", "lower", "upper")


def render_comparison(comparison) -> str:
    """Return the comparison as text of at most 100 columns.

    Parameters
    ----------
    comparison : Comparison
    """
    frame, parts = comparison.table, parts_of(design_of(comparison), comparison.parameters)
    sections = [
        opening(comparison),
        *(part(f"{title}:", frame[mask], comparison.method) for title, mask in parts),
        legend(comparison),
        causes(frame),
        laplace_lines(comparison),
        consistency_lines(comparison.consistency),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def design_of(comparison):
    """Return the design of the maximised fit; None where there is none."""
    return None if comparison.point is None else comparison.point.design


def parts_of(design, parameters: Sequence) -> list[tuple[str, np.ndarray]]:
    """Return the parts of a table of parameters: title, and which of them, (k,) bool; those without any left out."""
    kinds = np.array([parameter.kind for parameter in parameters], dtype=object)
    titles = [
        (VARIANCES, ("sd", "corr", "sigma")),
        (FAMILYS, ("auxiliary",)),
        (FAMILYS if design is None else residual_title(design), ("residual",)),
        (COEFFICIENTS, ("coefficient",)),
    ]
    found = [(title, np.isin(kinds, of)) for title, of in titles]
    return [(title, mask) for title, mask in found if mask.any()]


def opening(comparison) -> list[str]:
    """Return the verdict on the whole, after a warning if the draws are no posterior yet, or the fit no optimum."""
    failed, point, trouble = [check.name for check in comparison.checks if not check.ok], comparison.point, []
    if failed:
        trouble += wrap(f"CHECKS FAILED ({', '.join(failed)}): the differences below may be the sampler's.")
    if point is not None and not point.converged:
        trouble += wrap(f"{point.method}: {point.message}")
    return [*trouble, *wrap(agreement(comparison))]


def agreement(comparison) -> str:
    """Return whether both answers agree, or why there is one alone, in one sentence."""
    if comparison.point is None:
        return f"The posterior stands alone: {comparison.absent}."
    return overall(comparison.table, comparison.method)


def overall(frame: pd.DataFrame, method: str) -> str:
    """Return how many parameters agree, and why the others do not, in one sentence."""
    counts = Counter(frame["verdict"])
    agreeing, total = counts.pop("agree", 0), len(frame)
    unexplained = counts.pop("disagree", 0)
    if agreeing == total:
        return f"Posterior and {method} agree on all {total} parameters."
    known = ", ".join(f"{verdict} ({n})" for verdict, n in counts.items())
    text = f"Posterior and {method} agree on {agreeing} of {total} parameters"
    if known:
        text += f"; where they differ the cause is known: {known}"
    if not unexplained:
        return text + "."
    names = [shorten(label) for label in frame["parameter"][frame["verdict"] == "disagree"]]
    return f"{text}; they DISAGREE without a known cause on {unexplained}: {listing(names, NAMED)}."


def part(title: str, frame: pd.DataFrame, method: str) -> list[str]:
    """Return the lines of a part of the parameters: with standard errors, or where there are none the modes.

    Without a method they are those of draws alone.
    """
    columns = COEFFICIENT_COLUMNS if title.startswith(COEFFICIENTS) or frame["se"].notna().any() else VARIANCE_COLUMNS
    columns = columns if method else tuple(name for name in columns if name not in BESIDE)
    values = frame[list(columns)].to_numpy(dtype=float)
    texts = np.array(column(values.ravel(), POSTERIOR_DIGITS, frame["sd"][frame["sd"] > 0])).reshape(values.shape)
    texts[:, [j for j, name in enumerate(columns) if name == "map" and np.isnan(values[:, j]).all()]] = NOT_COMPUTED
    headers = ["", *({"point": method, "se": "SE", "map": "MAP"}.get(name, name) for name in columns)]
    rows = [[shorten(label), *texts[i]] for i, label in enumerate(frame["parameter"])]
    if not method:
        return [title, *table(headers, rows)]
    for row, difference, verdict in zip(rows, frame["difference"], frame["verdict"], strict=True):
        row += [number(difference, 2), verdict.ljust(VERDICT_WIDTH)]  # words to the left, numbers to the right
    return [title, *table([*headers, "diff", "verdict".ljust(VERDICT_WIDTH)], rows)]


def legend(comparison) -> list[str]:
    """Return what the columns mean."""
    if comparison.point is None:
        return wrap("mode: of each parameter's posterior alone. Intervals are 95 % equal-tailed.", "")
    linear = comparison.point.design.family.gaussian
    of = "all variance parameters together" if linear else "all parameters but the random effects together"
    joint = f"MAP: the mode of the marginal posterior of {of}; mode: of each alone. "
    if comparison.table["map"].isna().all():
        joint = "mode: of each parameter's posterior alone. "
    text = f"diff = (mean - {comparison.method}) / sd. {joint}Intervals are 95 % equal-tailed."
    return wrap(text, "")


def causes(frame: pd.DataFrame) -> list[str]:
    """Return the cause of each verdict that is not agree."""
    rows = frame[~frame["verdict"].isin(["agree", ""])]
    if len(rows) == 0:
        return []
    lines = [
        line
        for row in rows.head(ROW_LIMIT).itertuples()
        for line in wrap(f"{shorten(row.parameter)}: {row.verdict}; {row.cause}.", " " * 5, " ")
    ]
    hidden = len(rows) - ROW_LIMIT
    return ["Why they differ:", *lines, *([f" ... and {hidden:,} more"] if hidden > 0 else [])]


def laplace_lines(comparison) -> list[str]:
    """Return what Laplace's approximation costs, where that is known."""
    exact = comparison.quadrature
    if math.isnan(exact):
        return []
    loglik = comparison.point.loglik
    return wrap(
        f"Laplace's approximation of the log likelihood is {loglik:.4f} at these estimates; by quadrature it is "
        f"{exact:.4f}, {abs(exact - loglik):.2g} {'more' if exact > loglik else 'less'}."
    )


def consistency_lines(found) -> list[str]:
    """Return the line that ties what is sampled to the function that was maximised, and says which was looked at."""
    if found is None:
        return []
    if math.isnan(found.criterion):
        return wrap(f"Consistency check {found.message}.")
    if not found.ok:
        return wrap(f"CONSISTENCY CHECK FAILED: {found.message}")
    gap = "0" if found.gap == 0 else f"{found.gap:.0e}"
    numbers = f"(criterion {found.criterion:.4f}, REML {found.point_criterion:.4f}, gap {gap})"
    return wrap(f"Consistency check: {CHECKED[found.of].format(numbers)}")
