"""Average comparisons and slopes: what a change of one variable does to the predictions of the rows."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import sparse

from bayesmm.display.text_tables import value_text
from bayesmm.errors import listing
from bayesmm.inference.marginal_effects.averages import Averages, Origin, tests_record, within
from bayesmm.inference.marginal_effects.predictions import by_names, over_words, row_weights
from bayesmm.inference.marginal_effects.quantities import (
    Estimand,
    Quantities,
    averaging,
    check_linear,
    checked_estimand,
    concatenated,
    difference,
    evaluate,
    log_ratio,
)
from bayesmm.inference.marginal_effects.result import quantity_words, title_of
from bayesmm.inference.marginal_effects.rows import (
    Predictor,
    check_variable,
    checked_values,
    data_rows,
    groups_of,
    names_of,
    predictors,
    with_values,
)
from bayesmm.posterior.draws import CI_PROB
from bayesmm.posterior.predict import check_choice
from bayesmm.runtime.arguments import is_real
from bayesmm.runtime.other_names import says_other_names

COMPARE = ("difference", "ratio", "lnratio")
# The step of the central difference, in ranges of the variable: the cube root of the rounding unit, at which its two
# errors, rounding and curvature, are both about 4e-11 of a slope.
STEP = 6e-6
NEAR_ZERO = 0.5  # and no more than this share of a value, so that no step leaves the range of log(x) or sqrt(x)


@says_other_names
def comparisons(
    fit,
    variables: str | Sequence[str] | Mapping[str, object],
    by: str | Sequence[str] | None = None,
    compare: str = "difference",
    newdata: object = None,
    kind: str = "mean",
    groups: str = "population",
    weights: str = "equal",
    ddf: str | None = None,
    ci_prob: float = CI_PROB,
) -> Averages:
    """Compare average predictions with a variable at one value and at another, all else as in the rows.

    Parameters
    ----------
    fit : Fit or PointFit
    variables : str, list of str, or mapping of str to a contrast
        Of numbers: a step (1 if not given: x + 1 against x), "sd" (from half a standard deviation below the mean to
        half above), or (low, high). Of levels: "reference" (if not given: each against the first), "pairwise", or
        (low, high).
    by : str or list of str, optional
        Average within equal values of these columns; over all rows if not given.
    compare : {"difference", "ratio", "lnratio"}
        High less low; the average with high over that with low; the logarithm of that.
    newdata : table, optional
        The rows to average over; those of the fit if not given.
    kind, groups, weights, ddf, ci_prob
        As for `predictions`.

    Returns
    -------
    Averages
        Columns variable, contrast ("b - a"), those of `by`, and the statistics. Tests are of no difference; those of a
        ratio, and its interval, are of its logarithm.

    Raises
    ------
    ValueError
        As `predictions`, and for a contrast that does not fit its variable.
    DataError
        As `predictions`.
    """
    estimand = checked_estimand(fit, kind, groups, ci_prob)
    check_choice("compare", compare, COMPARE)
    known = predictors(fit.design)
    frame = data_rows(fit.design, newdata)
    rows = groups_of(frame, by_names(by))
    A = averaging(rows.codes, row_weights(fit.design, newdata, weights), len(rows.keys))
    wanted = variables if isinstance(variables, Mapping) else dict.fromkeys(names_of(variables, "variables"))
    if not wanted:
        raise ValueError("variables names nothing to compare")
    pairs = [(name, *_settings(check_variable(fit.design, known, name), frame, how)) for name, how in wanted.items()]
    check_linear(fit, estimand, list(wanted))
    parts, keys = [], []
    for name, values, which in pairs:
        at = [evaluate(fit, estimand, with_values(frame, {name: value}), A) for value, _ in values]
        for low, high in which:
            parts.append(_compared(fit, compare, at[high], at[low]))
            contrast = _contrast_words(compare, values[high][1], values[low][1])
            keys.append(rows.keys.assign(variable=name, contrast=contrast))
    table = pd.concat(keys, ignore_index=True)
    table = table[["variable", "contrast", *rows.keys.columns]]
    words = {"difference": "differences", "ratio": "ratios", "lnratio": "logarithms of ratios"}[compare]
    title = title_of(fit, f"Average {words}, {quantity_words(fit, estimand)}")
    note = f"Averages over {over_words(frame, rows, weights)}, all else as in the rows."
    origin = Origin(fit, estimand, ddf, concatenated(parts), within(table), compare == "ratio")
    return tests_record(origin, table, title, [note])


def _compared(fit, compare: str, high: Quantities, low: Quantities) -> Quantities:
    return difference(fit.design, high, low) if compare == "difference" else log_ratio(high, low)


def _contrast_words(compare: str, high: str, low: str) -> str:
    form = {"difference": "{} - {}", "ratio": "{} / {}", "lnratio": "log({} / {})"}[compare]
    return form.format(high, low)


# ----------------------------------------------------------------------------------------------------------------------
# contrasts

Settings = tuple[list[tuple[object, str]], list[tuple[int, int]]]  # values with their names; places of (low, high)


def _settings(predictor: Predictor, frame: pd.DataFrame, how: object) -> Settings:
    """Return the values that a variable takes in turn, and which of them are compared."""
    if isinstance(how, tuple | list):
        if len(how) != 2:
            raise ValueError(f"the contrast of {predictor.name!r} must be a pair (low, high), not {how!r}")
        values = [checked_values(predictor, value)[0] for value in how]
        return [(value, value_text(value)) for value in values], [(0, 1)]
    return _levels(predictor, how) if predictor.factor else _steps(predictor, frame, how)


def _levels(predictor: Predictor, how: object) -> Settings:
    if how not in (None, "reference", "pairwise"):
        raise ValueError(
            f"the contrast of {predictor.name!r}, which has levels, must be 'reference', 'pairwise' or a pair of "
            f"levels, not {how!r}"
        )
    values = [(level, value_text(level)) for level in predictor.values]
    pairs = list(combinations(range(len(values)), 2))
    return values, pairs if how == "pairwise" else [pair for pair in pairs if pair[0] == 0]


def _steps(predictor: Predictor, frame: pd.DataFrame, how: object) -> Settings:
    name, x = predictor.name, predictor.values.astype(float)
    if how == "sd":
        centre, half = x.mean(), x.std(ddof=1) / 2
        return [(centre - half, "(mean - sd/2)"), (centre + half, "(mean + sd/2)")], [(0, 1)]
    step = 1.0 if how is None else how
    if not is_real(step) or not np.isfinite(step) or step == 0:
        raise ValueError(
            f"the contrast of {name!r}, which holds numbers, must be a step such as 1, 'sd' or a pair (low, high), "
            f"not {how!r}"
        )
    own = numbers_of(frame, name)
    return [(own, name), (own + step, f"({name} {'+' if step > 0 else '-'} {abs(step):.6g})")], [(0, 1)]


def numbers_of(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column of numbers, float64; a ValueError in one sentence where it is none."""
    if name not in frame:
        raise ValueError(f"the rows have no column {name!r} (columns: {listing(frame.columns)})")
    if not pd.api.types.is_numeric_dtype(frame[name]):
        raise ValueError(f"the column {name!r} of the rows does not hold numbers, as it did in the fit")
    return frame[name].to_numpy(dtype=np.float64, na_value=np.nan)


# ----------------------------------------------------------------------------------------------------------------------
# slopes


@says_other_names
def slopes(
    fit,
    variables: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    newdata: object = None,
    kind: str = "mean",
    groups: str = "population",
    weights: str = "equal",
    ddf: str | None = None,
    ci_prob: float = CI_PROB,
) -> Averages:
    """Return average derivatives of the predictions in numeric variables.

    Parameters
    ----------
    fit : Fit or PointFit
    variables : str or list of str
    by : str or list of str, optional
        Average within equal values of these columns; over all rows if not given.
    newdata : table, optional
        The rows to average over; those of the fit if not given.
    kind, groups, weights, ddf, ci_prob
        As for `predictions`.

    Returns
    -------
    Averages
        Columns variable, those of `by`, and the statistics; in units of the prediction per unit of the variable.

    Raises
    ------
    ValueError
        As `predictions`, and for a variable with levels.
    DataError
        As `predictions`.

    Notes
    -----
    Central differences through the encoding of the formula, so that I(x^2), poly, bs and log have theirs. The step is
    6e-6 of the variable's range, at most half of a value other than 0.
    """
    estimand = checked_estimand(fit, kind, groups, ci_prob)
    known = predictors(fit.design)
    wanted = [check_variable(fit.design, known, name) for name in names_of(variables, "variables")]
    check_linear(fit, estimand, [predictor.name for predictor in wanted])
    for predictor in wanted:
        if predictor.factor:
            raise ValueError(f"{predictor.name!r} has levels and no slope; bmm.comparisons compares them")
    frame = data_rows(fit.design, newdata)
    rows = groups_of(frame, by_names(by))
    A = averaging(rows.codes, row_weights(fit.design, newdata, weights), len(rows.keys))
    found = concatenated([_slope(fit, estimand, frame, predictor, A) for predictor in wanted])
    keys = pd.concat([rows.keys.assign(variable=predictor.name) for predictor in wanted], ignore_index=True)
    title = title_of(fit, f"Average slopes, {quantity_words(fit, estimand)}")
    note = f"Derivatives averaged over {over_words(frame, rows, weights)}."
    keys = keys[["variable", *rows.keys.columns]]
    return tests_record(Origin(fit, estimand, ddf, found, within(keys)), keys, title, [note])


def _slope(fit, estimand: Estimand, frame: pd.DataFrame, predictor: Predictor, A: sparse.csr_array) -> Quantities:
    x = numbers_of(frame, predictor.name)
    h = np.full(len(x), STEP * (np.ptp(predictor.values.astype(float)) or 1.0))
    h = np.where(x == 0, h, np.minimum(h, NEAR_ZERO * np.abs(x)))
    up, down = x + h, x - h
    slope = (A @ sparse.diags_array(1 / (up - down))).tocsr()  # the steps that were taken, after rounding
    high, low = (
        evaluate(fit, estimand, with_values(frame, {predictor.name: at}), slope, quiet=True) for at in (up, down)
    )
    return difference(fit.design, high, low)
