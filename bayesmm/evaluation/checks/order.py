"""Residuals in the order of a time: whether neighbours within a group are alike."""

import math

import numpy as np
import pandas as pd

from bayesmm.design.records import Block, Design
from bayesmm.display.text_tables import apart
from bayesmm.errors import listing, suggest
from bayesmm.evaluation.checks.check import Check
from bayesmm.evaluation.checks.fitted import Fitted
from bayesmm.formula.formula import quoted_name
from bayesmm.runtime.streams import stream

NAME = "autocorrelation"
FEWEST = 4  # rows of a group's series, in the median; of fewer an intercept leaves nothing
PERMUTATIONS, FEWEST_PERMUTATIONS = 499, 199  # the least p of these, 1 / 200, is below the limit
MOST_NUMBERS = 5_000_000  # residuals in all permutations: about a second
P_LIMIT = 0.01
LEAST = 0.25  # autocorrelation below which standard errors are wrong by little, sqrt((1 + r) / (1 - r)) < 1.3; ours
MOST_ROWS = 20_000  # of more, unless asked for, the orders would take a second at each print


def autocorrelation(fitted: Fitted, time: object = None) -> Check:
    """Return the check of neighbouring residuals within the groups.

    Parameters
    ----------
    fitted : Fitted
    time : str or array, optional
        The column of the model, or the values of its rows, that orders them; else a column that is one, see `time_of`.

    Notes
    -----
    The lag-1 autocorrelation of the Pearson residuals within the levels of a factor, less its mean over random orders
    of the residuals within each level, which is below 0 because each has a mean of its own; p is the share of these
    orders with as large a value.
    """
    design = fitted.design
    if fitted.trouble:
        return Check(NAME, True, math.nan, P_LIMIT, fitted.trouble)
    if design.family.nominal:
        return Check(NAME, True, math.nan, P_LIMIT, "judged where responses have an order")
    if design.residual.correlated is not None:
        many = "a single response" if design.responses else f"a model without {design.residual.text}"
        return Check(NAME, True, math.nan, P_LIMIT, f"judged for {many}")
    name, values = time_of(design) if time is None else given_time(design, time)
    if values is None:
        return Check(NAME, True, math.nan, P_LIMIT, "judged where a column orders the rows of each group: time=")
    block = series_of(design, values)
    if block is None:
        return Check(NAME, True, math.nan, P_LIMIT, f"{name} orders the rows of no grouping factor, {FEWEST} rows each")
    r, p = lag_one(np.nan_to_num(fitted.pearson), block.index, values)
    found = f"residuals of {block.group} that follow each other in {name} have a correlation of {r:.2f}"
    value, limit = apart(p, P_LIMIT, 2, "g")
    found += f", p = {value} (limit {limit})"
    if p >= P_LIMIT:
        return Check(NAME, True, p, P_LIMIT, found)
    if not r >= LEAST:
        found += f"; below {LEAST} it changes standard errors by little"
        return Check(NAME, True, p, P_LIMIT, found)
    sloped = name in block.columns
    shown = quoted_name(name)
    advice = (
        f"bend the course of {name}, bs({shown}, df=4)" if sloped else f"give it a slope, ({shown} | {block.group})"
    )
    if design.family.gaussian:
        term = "ar" if np.array_equal(values, np.rint(values)) else "car"
        advice += f", model it by {term}({shown}, {block.group})"
    return Check(NAME, True, p, P_LIMIT, f"{found}: {advice}, or add what they have in common.", note=True)


def given_time(design: Design, time: object) -> tuple[str, np.ndarray]:
    """Return the name and the values of a time that a user names or gives; a ValueError for what is none."""
    if isinstance(time, str):
        if time not in design.frame:
            known = listing(design.frame.columns)
            near = suggest(time, design.frame.columns)
            raise ValueError(f"time names {time!r}, which is no column of the model ({known}){near}; give its values")
        name, series = time, design.frame[time]
    else:
        name, series = "time", pd.Series(np.asarray(time))
    if len(series) != design.n:
        raise ValueError(
            f"time should have a value for each of the {design.n:,} rows of the model, not {len(series):,}"
        )
    numbers = series.to_numpy()
    if numbers.dtype.kind == "M":
        numbers = numbers.astype(np.int64)
    if numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
        raise ValueError(f"{name!r} should hold dates or finite numbers, by which the rows can be ordered")
    return name, numbers.astype(float)


def time_of(design: Design) -> tuple[str, np.ndarray | None]:
    """Return a numeric predictor that takes the same few values, each once, in the groups of a factor: a time.

    Numbers that only label a grouping factor, as of items that every subject sees once, have no order.
    """
    for name in design.frame.columns if design.n <= MOST_ROWS else ():
        values = design.frame[name].to_numpy()
        if any(name in block.factors for block in design.blocks):
            continue
        if name == design.response or values.dtype.kind not in "iuf" or len(np.unique(values)) > design.n / FEWEST:
            continue
        if series_of(design, values.astype(float)) is not None:
            return name, values.astype(float)
    return "", None


def series_of(design: Design, values: np.ndarray) -> Block | None:
    """Return the factor with the fewest levels of which each has a value once only, and enough rows."""
    for block in sorted(design.blocks, key=lambda each: len(each.levels)):
        once = len(np.unique(np.column_stack([block.index, values]), axis=0)) == len(values)
        if once and np.median(np.bincount(block.index)) >= FEWEST:
            return block
    return None


def lag_one(residuals: np.ndarray, group: np.ndarray, time: np.ndarray) -> tuple[float, float]:
    """Return the lag-1 autocorrelation within groups, less its mean over random orders, and its p-value."""
    order = np.lexsort((time, group))
    e, g = residuals[order], group[order]
    pairs = np.flatnonzero(g[1:] == g[:-1])
    number = max(FEWEST_PERMUTATIONS, min(PERMUTATIONS, MOST_NUMBERS // len(e)))
    rng, scale = stream(0, "orders of the residuals"), np.sum(e**2) * len(pairs) / len(e)
    observed = np.sum(e[pairs] * e[pairs + 1]) / scale
    drawn = np.empty(number)
    for k in range(number):
        mixed = e[np.lexsort((rng.random(len(e)), g))]
        drawn[k] = np.sum(mixed[pairs] * mixed[pairs + 1]) / scale
    return float(observed - drawn.mean()), float((1 + np.sum(drawn >= observed)) / (1 + number))
