"""Printed pieces of the inference: p-values, tables, the summary of a linear model."""

import numpy as np
import pandas as pd

from bayesmm.display.text_tables import column, number, p_text, shorten, table
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.linear import linear_summary

WHOLE = ("npar", "Df", "model")  # columns of counts
DECIMALS = {"AIC": 1, "BIC": 1, "logLik": 2, "deviance": 2, "Chisq": 4, "F value": 4, "DenDF": 3}


def frame_lines(frame: pd.DataFrame) -> list[str]:
    """Return a table of tests as text: counts whole, p-values by `p_text`, the rest with sensible digits."""
    texts = [_cells(str(name), frame[name].to_numpy(dtype=float)) for name in frame.columns]
    rows = [[shorten(name), *cells] for name, *cells in zip(frame.index, *texts, strict=True)]
    return table(["", *map(str, frame.columns)], rows)


def _cells(name: str, values: np.ndarray) -> list[str]:
    if name.startswith("Pr("):
        return [p_text(p) for p in values]
    if name in WHOLE:
        return [number(v, 0) for v in values]
    if name in DECIMALS:
        return [number(v, DECIMALS[name]) for v in values]
    return column(values)


def linear_sections(point: Estimates) -> list[list[str]]:
    """Return the sections of R's summary(lm()): residuals, coefficients, standard error, R^2 and F."""
    found = linear_summary(point)
    residuals = table(["Min", "1Q", "Median", "3Q", "Max"], [column(found.residuals)], left=0)
    frame = found.coefficients
    sections = [["Residuals:", *residuals]]
    if len(frame):
        numbers = column([*frame["estimate"], *frame["se"]])
        n = len(frame)
        rows = [
            [shorten(name), *(text or "NaN" for text in (numbers[j], numbers[n + j], number(row.t, 3), p_text(row.p)))]
            for j, (name, row) in enumerate(zip(frame.index, frame.itertuples(), strict=True))
        ]
        sections.append(["Coefficients:", *table(["", "Estimate", "Std. Error", "t value", "Pr(>|t|)"], rows)])
    last = [f"Residual standard error: {found.sigma:.4g} on {found.df_resid} degrees of freedom"]
    if found.F_df[0]:
        last += [
            f"Multiple R-squared: {found.r2:.4f}, adjusted R-squared: {found.adj_r2:.4f}",
            f"F-statistic: {found.F:.4g} on {found.F_df[0]} and {found.F_df[1]} DF, p-value: {p_text(found.F_p)}",
        ]
    return [*sections, last]
