"""Predictions over a grid of values, of given rows, and averaged over rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bayesmm.design.records import Design
from bayesmm.display.text_tables import value_text
from bayesmm.errors import listing
from bayesmm.formula.responses import RESPONSE
from bayesmm.inference.marginal_effects.averages import Averages, Origin, means_record
from bayesmm.inference.marginal_effects.quantities import (
    Estimand,
    Quantities,
    averaging,
    check_linear,
    checked_estimand,
    concatenated,
    evaluate,
    no_unit,
)
from bayesmm.inference.marginal_effects.result import quantity_words, title_of
from bayesmm.inference.marginal_effects.rows import (
    Groups,
    Predictor,
    check_variable,
    checked_values,
    column_names,
    data_rows,
    grid,
    groups_of,
    names_of,
    predictors,
    with_values,
)
from bayesmm.posterior.draws import CI_PROB
from bayesmm.posterior.predict import check_choice
from bayesmm.runtime.messages import count
from bayesmm.runtime.other_names import says_other_names

WEIGHTS = ("equal", "model")


@says_other_names
def predictions(
    fit,
    at: Mapping[str, object] | None = None,
    newdata: object = None,
    by: str | Sequence[str] | bool | None = None,
    kind: str = "mean",
    groups: str = "population",
    weights: str = "equal",
    ddf: str | None = None,
    ci_prob: float = CI_PROB,
) -> Averages:
    """Predict over a grid of values, or average the predictions of rows.

    Parameters
    ----------
    fit : Fit or PointFit
    at : mapping of str to value or values, optional
        Without `by`: a grid of all combinations of these values, every other variable at its mean or its most frequent
        level. With `by`: the rows, each taking every combination of the values in turn (counterfactual).
    newdata : table, optional
        The rows to predict or to average over; those of the fit if not given.
    by : str, list of str or True, optional
        Average over the rows with equal values of these columns; True: over all of them.
    kind : {"mean", "linear"}
        On the scale of the response (for a binomial response the probability), or of the link.
    groups : {"population", "averaged", "conditional"}
        The random effects: 0, averaged over (E g^-1(X beta + Z b_new)), or those of each row's groups (of a posterior).
    weights : {"equal", "model"}
        Of the rows of the fit in averages: one each, or the prior weight times the trials.
    ddf : {"satterthwaite", "kenward-roger", "none"}, optional
        Degrees of freedom for a PointFit; None: Satterthwaite's for a Gaussian model, z for others.
    ci_prob : float

    Returns
    -------
    Averages

    Raises
    ------
    ValueError
        An argument is none of its choices, names no variable or level of the model, or the result would not fit in
        memory.
    DataError
        The rows lack a column, or have values that the model cannot read.

    Notes
    -----
    The offset is that of the row. On a grid its variables are at their means, as in emmeans, unless `at` gives them: a
    rate per unit of exposure z is at={"z": 1}. Of a maximised model, standard errors are by the delta method in the
    coefficients with the variance parameters held, and intervals of means are made on the scale of the link.
    """
    estimand = checked_estimand(fit, kind, groups, ci_prob)
    check_linear(fit, estimand, None)
    values = _at(fit.design, predictors(fit.design), at or {}, estimand)
    if by is None or by is False:
        if values and newdata is not None:
            raise ValueError("at makes a grid and newdata gives rows; for rows that take the values of at, add by=True")
        found, keys, index, note = _rows(fit, estimand, newdata) if not values else _typical(fit, estimand, values)
    else:
        found, keys, index, note = _averaged(fit, estimand, values, newdata, by, weights)
    title = title_of(fit, f"Predicted {quantity_words(fit, estimand)}")
    origin = Origin(fit, estimand, ddf, found)
    return means_record(origin, (keys, index), title, [note])


def _at(
    design: Design, known: Mapping[str, Predictor], at: Mapping[str, object], estimand: Estimand
) -> dict[str, np.ndarray]:
    """Return the values asked for; with the groups' own effects, levels of grouping factors too."""
    if not isinstance(at, Mapping):
        raise ValueError(f"at must be a dict of variables and their values, such as {{'x': [0, 1]}}, not {at!r}")
    extra = grouping(design, known) if estimand.groups == "conditional" else {}
    return {name: checked_values(check_variable(design, {**known, **extra}, name), v) for name, v in at.items()}


def grouping(design: Design, known: Mapping[str, Predictor]) -> dict[str, Predictor]:
    """Return the columns that only group, as variables with levels and nothing typical."""
    names = column_names(column for bar in design.formula.bars for column in bar.group)
    found = {}
    for name in (name for name in names if name not in known):
        levels = pd.unique(design.frame[name])
        found[name] = Predictor(name, True, levels, None)
    return found


def _rows(fit, estimand: Estimand, newdata: object) -> tuple[Quantities, pd.DataFrame, object, str]:
    """Predict rows one by one."""
    frame = data_rows(fit.design, newdata)
    n = len(frame)
    found = evaluate(fit, estimand, frame, averaging(np.arange(n), np.ones(n), n))
    return found, pd.DataFrame(index=pd.RangeIndex(n)), frame.index, f"{count(n, 'row')}, one prediction each."


def _typical(fit, estimand: Estimand, at: Mapping[str, np.ndarray]) -> tuple[Quantities, pd.DataFrame, None, str]:
    """Predict a grid, with typical values of what it leaves open."""
    known = predictors(fit.design)
    if estimand.groups == "conditional":
        missing = [name for name in grouping(fit.design, known) if name not in at]
        if missing:
            raise ValueError(f"groups='conditional' needs levels of {listing(missing)} in at; or use another groups=")
    if fit.design.responses and RESPONSE not in at:
        raise no_unit(fit.design, f"there is no typical one of the responses {listing(fit.design.responses)}")
    keys = grid(at, fit.design.p + len(known))
    held = {name: predictor for name, predictor in known.items() if name not in at}
    frame = with_values(keys, {name: predictor.typical for name, predictor in held.items()})
    n = len(frame)
    found = evaluate(fit, estimand, frame, averaging(np.arange(n), np.ones(n), n))
    return found, keys, None, f"A grid of {count(n, 'row')}{held_words(held)}."


def held_words(held: Mapping[str, Predictor]) -> str:
    """Return which variables are held at what: ``; held: x = 4.5 (mean), f = a (most frequent)``."""
    parts = [
        f"{name} = {value_text(predictor.typical)} ({'most frequent' if predictor.factor else 'mean'})"
        for name, predictor in held.items()
    ]
    return f"; held: {listing(parts)}" if parts else ""


# ----------------------------------------------------------------------------------------------------------------------
# averages over rows


def _averaged(
    fit, estimand: Estimand, at: Mapping[str, np.ndarray], newdata: object, by: object, weights: str
) -> tuple[Quantities, pd.DataFrame, object, str]:
    """Average over rows, as they are or with every combination of the values `at`."""
    names = [name for name in by_names(by) if name not in at]
    frame = data_rows(fit.design, newdata)
    rows = groups_of(frame, names)
    A = averaging(rows.codes, row_weights(fit.design, newdata, weights), len(rows.keys))
    combinations = grid(at, fit.design.p)
    parts = [evaluate(fit, estimand, with_values(frame, dict(row)), A) for row in _records(combinations)]
    keys = combinations.loc[np.repeat(combinations.index, len(rows.keys))].reset_index(drop=True)
    own = rows.keys.loc[np.tile(rows.keys.index, len(combinations))].reset_index(drop=True)
    said = over_words(frame, rows, weights)
    if at:
        said += f", each with {listing(at)} set to the value shown"
    index = None if names or at else ["average"]
    return concatenated(parts), pd.concat([keys, own], axis=1), index, f"Averaged over {said}."


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


def by_names(by: object) -> list[str]:
    """Return the columns that make the groups; none for None or True."""
    return [] if by is None or isinstance(by, bool) else names_of(by, "by")


def over_words(frame: pd.DataFrame, rows: Groups, weights: str) -> str:
    """Return what is averaged over: ``the 180 rows, within levels of f``."""
    within = f" within {listing(rows.keys.columns)}" if len(rows.keys.columns) else ""
    return f"{count(len(frame), 'row')}{within}{' by their weights' if weights == 'model' else ''}"


def row_weights(design: Design, newdata: object, weights: str) -> np.ndarray:
    """Return the weights of the rows in averages, (n,).

    Raises
    ------
    ValueError
        For an unknown choice, or the model's weights of other rows.
    """
    check_choice("weights", weights, WEIGHTS)
    if weights == "equal":
        return np.ones(len(data_rows(design, newdata)))
    if newdata is not None:
        raise ValueError("weights='model' are those of the rows of the fit, and newdata gives others")
    own = np.ones(design.n) if design.weights is None else design.weights
    return own if design.trials is None else own * design.trials
