"""Estimated marginal means.

Searle, Speed & Milliken (1980, The American Statistician 34(4), 216-221): the means of the predictions over a grid of
all levels of the factors, as R's emmeans has them (Lenth).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bayesmm.design.records import Design
from bayesmm.design.variables import read_variable
from bayesmm.display.text_tables import value_text
from bayesmm.errors import listing
from bayesmm.families.links import LINKS
from bayesmm.formula.formula import quoted_name
from bayesmm.inference.marginal_effects.averages import Averages, Origin, means_record
from bayesmm.inference.marginal_effects.quantities import averaging, check_linear, checked_estimand, evaluate
from bayesmm.inference.marginal_effects.result import NO_OTHERS, quantity_words, title_of
from bayesmm.inference.marginal_effects.rows import (
    Predictor,
    check_variable,
    checked_values,
    grid,
    level_codes,
    names_of,
    predictors,
)
from bayesmm.inference.ratios import RATIOS
from bayesmm.posterior.draws import CI_PROB
from bayesmm.posterior.predict import check_choice
from bayesmm.runtime.messages import count
from bayesmm.runtime.other_names import says_other_names

WEIGHTS = ("equal", "proportional")
KINDS = ("linear", "mean", "response")
FEW = 2  # distinct numbers that are all taken as the levels of a variable that is asked for, as emmeans does


@says_other_names
def emmeans(
    fit,
    variables: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    at: Mapping[str, object] | None = None,
    weights: str = "equal",
    kind: str = "linear",
    groups: str = "population",
    ddf: str | None = None,
    ci_prob: float = CI_PROB,
) -> Averages:
    """Return the estimated marginal means of one or several factors.

    Parameters
    ----------
    fit : Fit or PointFit
    variables : str or list of str
        A mean for every combination of their levels. A variable that holds numbers needs its values in `at`, unless it
        has no more than two.
    by : str or list of str, optional
        Further variables, within whose levels the contrasts are formed.
    at : mapping of str to value or values, optional
        Values of numeric variables (their means if not given), or a choice of levels.
    weights : {"equal", "proportional"}
        How the levels of the other factors count: all the same, or by the frequency of their combinations in the data
        (with prior weights, by the sums of these).
    kind : {"linear", "mean", "response"}
        "linear": means of the linear predictor. "mean": means of the predicted means, on the scale of the response
        (what emmeans gives after ``regrid``). "response": means of the linear predictor, transformed back (its ``type =
        "response"``: with a log link geometric means); their differences are then ratios of means with a log link, odds
        ratios with a logit link, hazard ratios with a cloglog link, and on the scale of any other link.
    groups : {"population", "averaged"}
        Random effects 0, or averaged over (for kind="mean").
    ddf : {"satterthwaite", "kenward-roger", "none"}, optional
        Degrees of freedom for a PointFit; None: Satterthwaite's for a Gaussian model, z for others.
    ci_prob : float

    Returns
    -------
    Averages
        ``.pairs()`` has the pairwise contrasts, ``.contrast()`` others, within the levels of `by`.

    Raises
    ------
    ValueError
        An argument is none of its choices or names no variable or level of the model, or the grid would not fit in
        memory.
    DataError
        For degrees of freedom that the model is not for.
    """
    check_choice("kind", kind, KINDS)
    estimand = checked_estimand(fit, "linear" if kind == "response" else kind, groups, ci_prob)
    if kind == "response" and fit.design.family.mean is not None:
        raise ValueError(
            f"kind='response' transforms back to mu, which is not the mean of the family {fit.design.family.name}; use "
            "kind='mean'"
        )
    if groups == "conditional":
        raise ValueError("estimated marginal means have no groups; use groups='population' or groups='averaged'")
    check_choice("weights", weights, WEIGHTS)
    known = predictors(fit.design, strata=groups == "averaged")
    asked, within = names_of(variables, "variables"), [] if by is None else names_of(by, "by")
    if set(asked) & set(within):
        raise ValueError(f"variables and by must name different variables; they are {variables!r} and {by!r}")
    check_linear(fit, estimand, [*within, *asked])
    columns = _columns(fit.design, known, [*within, *asked], at or {})
    frame = grid(columns, fit.design.p + len(columns))
    own = {name: columns[name] for name in (*within, *asked)}
    keys = grid(own, 1)
    cell = np.arange(len(frame)) // (len(frame) // len(keys))
    others = [name for name in columns if name not in own and known[name].factor]
    A = averaging(cell, _weights(fit.design, known, frame, others, weights), len(keys))
    found = evaluate(fit, estimand, frame, A)
    inside = f" within {listing(within)}" if within else ""
    back = LINKS[fit.design.family.link] if kind == "response" else None
    what = quantity_words(fit, estimand if back is None else replace(estimand, kind="mean"))
    title = title_of(fit, f"Estimated marginal means of {listing(asked)}{inside}, {what}")
    held = {name: values for name, values in columns.items() if name not in {*own, *others}}
    notes = [f"{_over(columns, others, weights)}{_held(held, at or {})}."]
    if back is not None and back.name != "identity":
        notes.append(f"Means are taken on the {back.scale} and transformed back.")
    ratio = back is not None and back.name in RATIOS
    origin = Origin(fit, estimand, ddf, found, tuple(within), ratio)
    return means_record(origin, (keys, None), title, notes, back)


def _columns(
    design: Design, known: Mapping[str, Predictor], own: Sequence[str], at: Mapping[str, object]
) -> dict[str, np.ndarray]:
    """Return the values of every variable in the grid, those asked for first."""
    if not isinstance(at, Mapping):
        raise ValueError(f"at must be a dict of variables and their values, such as {{'x': [0, 1]}}, not {at!r}")
    given = {name: checked_values(check_variable(design, known, name), values) for name, values in at.items()}
    for name in own:
        predictor = check_variable(design, known, name)
        if name not in given and not predictor.factor:
            values = np.unique(predictor.values)
            if len(values) > FEW:
                raise ValueError(
                    f"{name!r} holds numbers; give the values to ask for, at={{{name!r}: [...]}}, or fit the model "
                    f"with C({quoted_name(name)}), a mean of each value"
                )
            given[name] = values.astype(float)
    left = [name for name in known if name not in own]
    return {
        name: given[name] if name in given else known[name].values if known[name].factor else _mean(known[name])
        for name in (*own, *left)
    }


def _mean(predictor: Predictor) -> np.ndarray:
    return np.array([predictor.typical], dtype=float)


def _weights(
    design: Design, known: Mapping[str, Predictor], frame: pd.DataFrame, others: Sequence[str], weights: str
) -> np.ndarray:
    """Return the weights of the rows of the grid by the combinations of the factors that are averaged over, (m,)."""
    if weights == "equal" or not others:
        return np.ones(len(frame))
    sizes = tuple(len(known[name].values) for name in others)
    rows = [level_codes(read_variable(name, design.frame[name])[0])[0] for name in others]
    counts = np.bincount(np.ravel_multi_index(rows, sizes), weights=design.weights, minlength=int(np.prod(sizes)))
    places = [pd.Index(known[name].values).get_indexer(frame[name]) for name in others]
    found = counts[np.ravel_multi_index(places, sizes)].astype(float)
    if not found.any():
        raise ValueError(f"no row of the data has the levels of {listing(others)} that at gives; use weights='equal'")
    return found


def _over(columns: Mapping[str, np.ndarray], others: Sequence[str], weights: str) -> str:
    """Return what the means are averaged over."""
    if not others:
        return NO_OTHERS
    levels = listing(f"{name} ({count(len(columns[name]), 'level')})" for name in others)
    return f"Averaged over {levels}, {'all counted the same' if weights == 'equal' else 'by their frequencies'}"


def _held(held: Mapping[str, np.ndarray], at: Mapping[str, object]) -> str:
    """Return at which values the numbers are held; over several that are given, the means are averaged."""
    parts = [
        f"{name} = {listing(map(value_text, values))} ({'given' if name in at else 'mean'})"
        for name, values in held.items()
    ]
    return f"; held: {listing(parts)}" if parts else ""
