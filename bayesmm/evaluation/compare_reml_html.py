"""A comparison as HTML tables: each parameter beside the maximised fit, and the causes where they differ."""

import numpy as np
import pandas as pd

from bayesmm.display.html import fragment, joined
from bayesmm.display.html_tables import Table, filled, name
from bayesmm.display.text_tables import ceiled, column, count, number
from bayesmm.evaluation.compare_reml_text import (
    BESIDE,
    COEFFICIENTS,
    POSTERIOR_DIGITS,
    VARIANCES,
    agreement,
    consistency_lines,
    design_of,
    laplace_lines,
    parts_of,
)
from bayesmm.posterior.convergence import ESS_LIMIT, R_HAT_LIMIT

NUMBERS = ("point", "se", "mean", "sd", "lower", "upper")  # columns of Comparison.table that are shown
CAPTIONS = {VARIANCES: "Variance components", COEFFICIENTS: "Fixed effects"}  # in HTML
BOUNDS = ("2.5 %", "97.5 %")
QUALITY = ("ESS", "R-hat")


def comparison_html(comparison) -> str:
    """Return a comparison: the verdict, both tables, the causes."""
    failed = [check.name for check in comparison.checks if not check.ok]
    lines = [agreement(comparison)]
    if failed:
        lines.insert(0, f"CHECKS FAILED ({', '.join(failed)}): the differences below may be the sampler's.")
    lines += [f"{parameter}: {verdict_}; {cause}." for parameter, verdict_, cause in causes(comparison)]
    lines += [
        joined(found) for found in (laplace_lines(comparison), consistency_lines(comparison.consistency)) if found
    ]
    title = "" if comparison.point is None else comparison.point.design.formula.text
    return fragment(lines, estimates(comparison), title)


def estimates(comparison, posterior: pd.DataFrame | None = None) -> list[Table]:
    """Return the tables of variances, of the family's parameters and of coefficients, beside the maximised fit.

    Parameters
    ----------
    comparison : Comparison
        Estimates, posterior means, sds and intervals, verdicts.
    posterior : DataFrame, optional
        The same parameters by label, for ESS and R-hat; without it these columns are left out.
    """
    found = parts_of(design_of(comparison), comparison.parameters)
    return [part(CAPTIONS.get(title, title), comparison, mask, posterior) for title, mask in found]


def part(caption: str, comparison, mask: np.ndarray, posterior: pd.DataFrame | None) -> Table:
    """Return the table of the parameters in a mask."""
    frame = comparison.table[mask]
    values = frame[list(NUMBERS)].to_numpy(dtype=float)
    texts = np.array(column(values.ravel(), POSTERIOR_DIGITS, frame["sd"][frame["sd"] > 0])).reshape(values.shape)
    beside = ("se",) if comparison.point is not None else BESIDE
    shown = [j for j, header in enumerate(NUMBERS) if header not in beside or np.isfinite(values[:, j]).any()]
    words = ("difference", "verdict") if comparison.point is not None else ()
    rows, marked = [], set()
    for i, row in enumerate(frame.itertuples()):
        quality, failed = ([], False) if posterior is None else diagnosed(posterior.loc[row.parameter])
        if failed or row.verdict == "disagree":
            marked.add(i)
        numbers = filled([*texts[i, shown], *quality, *([number(row.difference, 2)] if words else [])])
        rows.append((name(row.parameter), *numbers, *([row.verdict] if words else [])))
    named = {"point": comparison.method, "se": "SE", "lower": BOUNDS[0], "upper": BOUNDS[1]}
    quality = QUALITY if posterior is not None else ()
    headers = ("", *(named.get(NUMBERS[j], NUMBERS[j]) for j in shown), *quality, *words)
    wide = {0, len(headers) - 1} if words else {0}
    return Table(caption, headers, tuple(rows), frozenset(wide), marked=frozenset(marked))


def diagnosed(row: pd.Series) -> tuple[list[str], bool]:
    """Return the smaller ESS and R-hat, and whether they fail."""
    ess = float(np.fmin(row["ess_bulk"], row["ess_tail"]))
    failed = row["sd"] > 0 and not (ess >= ESS_LIMIT and not row["r_hat"] > R_HAT_LIMIT)
    return [count(ess), ceiled(row["r_hat"])], bool(failed)


def causes(comparison) -> list[tuple[str, str, str]]:
    """Return parameter, verdict and cause of every row that does not simply agree."""
    frame = comparison.table[~comparison.table["verdict"].isin(["agree", ""])]
    return [(name(row.parameter), row.verdict, row.cause) for row in frame.itertuples()]
