"""Estimated marginal means and their pairwise contrasts.

Searle, Speed & Milliken (1980, The American Statistician 34(4), 216-221): the means of the predictions over a grid of
all levels of the factors, as R's emmeans has them (Lenth).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from bayesmm.design.records import Design
from bayesmm.design.variables import read_variable
from bayesmm.errors import listing
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.marginal_effects.comparisons import tests_record
from bayesmm.inference.marginal_effects.plot import plot_averages
from bayesmm.inference.marginal_effects.predictions import means_record
from bayesmm.inference.marginal_effects.quantities import (
    Estimand,
    Quantities,
    averaging,
    checked_estimand,
    difference,
    evaluate,
    taken,
)
from bayesmm.inference.marginal_effects.result import Averages, labelled, quantity_words, render, title_of
from bayesmm.inference.marginal_effects.rows import (
    Predictor,
    check_variable,
    checked_values,
    grid,
    label_count,
    level_codes,
    names_of,
    predictors,
    value_text,
)
from bayesmm.inference.marginal_effects.uncertainty import (
    ADJUST,
    ADJUSTMENTS,
    adjusted_half_widths,
    estimates,
    spread_of,
    statistic,
)
from bayesmm.posterior.draws import CI_PROB
from bayesmm.posterior.predict import check_choice
from bayesmm.runtime.messages import count

WEIGHTS = ("equal", "proportional")
METHODS = {
    "tukey": "Tukey's method",
    "holm": "Holm's method, with Bonferroni's intervals",
    "bonferroni": "Bonferroni's method",
}
FEW = 2  # distinct numbers that are all taken as the levels of a variable that is asked for, as emmeans does


@dataclass(frozen=True, eq=False)
class MarginalMeans:
    """Estimated marginal means.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns of levels (those of `by` first), then for a posterior mean, sd, lower, upper, median; for a maximised
        model estimate, se, df (not with z), lower, upper.
    draws : array, shape (chains, draws, rows), or None
    title : str
    notes : tuple of str
    fit : Fit or PointFit
    estimand : Estimand
    ddf : str or None
    quantities : Quantities
    by, variables : tuple of str
        What the pairs are formed within, and of what.
    """

    table: pd.DataFrame
    draws: np.ndarray | None
    title: str
    notes: tuple[str, ...]
    fit: object
    estimand: Estimand
    ddf: str | None
    quantities: Quantities
    by: tuple[str, ...]
    variables: tuple[str, ...]

    def pairs(self, adjust: str | None = None) -> Averages:
        """Return all pairwise differences within the levels of `by`; see `marginal_effects.means.pairs`."""
        return pairs(self, adjust)

    @property
    def null(self) -> None:
        """What no difference is: means have none."""
        return None

    def plot(self):
        """Draw the means with their intervals; see `bayesmm.inference.marginal_effects.plot.plot_averages`."""
        return plot_averages(self)

    def __str__(self) -> str:
        return render(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.display.html import table_html

        return table_html([self.title, *self.notes], self.table)


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
) -> MarginalMeans:
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
    kind : {"linear", "mean"}
        "linear": means of the linear predictor. "mean": means of the predicted means, on the scale of the response
        (what emmeans gives after ``regrid``; not the transformed mean of its ``type = "response"``).
    groups : {"population", "averaged"}
        Random effects 0, or averaged over (for kind="mean").
    ddf : {"satterthwaite", "kenward-roger", "none"}, optional
        Degrees of freedom for a PointFit; None: Satterthwaite's for a Gaussian model, z for others.
    ci_prob : float

    Returns
    -------
    MarginalMeans
        ``.pairs()`` has the pairwise contrasts.

    Raises
    ------
    ValueError
        An argument is none of its choices or names no variable or level of the model, or the grid would not fit in
        memory.
    DataError
        For degrees of freedom that the model is not for.
    """
    estimand = checked_estimand(fit, kind, groups, ci_prob)
    if groups == "conditional":
        raise ValueError("estimated marginal means have no groups; use groups='population' or groups='averaged'")
    check_choice("weights", weights, WEIGHTS)
    known = predictors(fit.design)
    asked, within = names_of(variables, "variables"), [] if by is None else names_of(by, "by")
    if set(asked) & set(within):
        raise ValueError(f"variables and by must name different variables; they are {variables!r} and {by!r}")
    columns = _columns(fit.design, known, [*within, *asked], at or {})
    frame = grid(columns, fit.design.p + len(columns))
    own = {name: columns[name] for name in (*within, *asked)}
    keys = grid(own, 1)
    cell = np.arange(len(frame)) // (len(frame) // len(keys))
    others = [name for name in columns if name not in own and known[name].factor]
    A = averaging(cell, _weights(fit.design, known, frame, others, weights), len(keys))
    found = evaluate(fit, estimand, frame, A)
    inside = f" within {listing(within)}" if within else ""
    title = title_of(fit, f"Estimated marginal means of {listing(asked)}{inside}, {quantity_words(fit, estimand)}")
    held = {name: values for name, values in columns.items() if name not in {*own, *others}}
    notes = [f"{_over(columns, others, weights)}{_held(held, at or {})}."]
    shown = means_record(fit, estimand, found, (keys, None), ddf, title, notes)
    record = (fit, estimand, ddf, found, tuple(within), tuple(asked))
    return MarginalMeans(shown.table, shown.draws, shown.title, shown.notes, *record)


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
                raise ValueError(f"{name!r} holds numbers; give the values to ask for, at={{{name!r}: [...]}}")
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
        return "No other factors to average over"
    levels = listing(f"{name} ({count(len(columns[name]), 'level')})" for name in others)
    return f"Averaged over {levels}, {'all counted the same' if weights == 'equal' else 'by their frequencies'}"


def _held(held: Mapping[str, np.ndarray], at: Mapping[str, object]) -> str:
    """Return at which values the numbers are held; over several that are given, the means are averaged."""
    parts = [
        f"{name} = {listing(map(value_text, values))} ({'given' if name in at else 'mean'})"
        for name, values in held.items()
    ]
    return f"; held: {listing(parts)}" if parts else ""


# ----------------------------------------------------------------------------------------------------------------------
# contrasts


def pairs(means: MarginalMeans, adjust: str | None = None) -> Averages:
    """Return the pairwise differences of marginal means, the first level less the second.

    Parameters
    ----------
    means : MarginalMeans
    adjust : {"tukey", "holm", "bonferroni", "none"}, optional
        Of p-values and intervals of a maximised model, for the comparisons within each combination of `by`; None:
        Tukey's, as in emmeans. Intervals with Holm's p-values are Bonferroni's. A posterior is not adjusted.

    Returns
    -------
    Averages
        Columns of `by`, contrast ("a - b"), and the statistics.

    Raises
    ------
    ValueError
        For an unknown adjustment, or any for a posterior.
    """
    fit, by = means.fit, list(means.by)
    if adjust is not None:
        check_choice("adjust", adjust, ADJUSTMENTS)
    if not isinstance(fit, Estimates) and adjust not in (None, "none"):
        raise ValueError("a posterior has no p-values to adjust; leave adjust out, and read the draws")
    labels = means.table.iloc[:, : len(by) + len(means.variables)]
    size = len(labels) // len(labels[by].drop_duplicates()) if by else len(labels)
    places = [(k + i, k + j) for k in range(0, len(labels), size) for i, j in combinations(range(size), 2)]
    first, second = np.array(places, dtype=np.int64).reshape(-1, 2).T
    found = difference(fit.design, taken(means.quantities, first), taken(means.quantities, second))
    names = [" ".join(map(value_text, row)) for row in labels[list(means.variables)].itertuples(index=False)]
    keys = labels[by].iloc[first].reset_index(drop=True)
    keys = keys.assign(contrast=[f"{names[i]} - {names[j]}" for i, j in places])
    title = title_of(fit, f"Contrasts of {listing(means.variables)}, {quantity_words(fit, means.estimand)}")
    shown = tests_record(fit, means.estimand, found, keys, means.ddf, title, [means.notes[0]])
    adjust = "tukey" if adjust is None else adjust
    if not isinstance(fit, Estimates) or adjust == "none" or size <= 2:
        return shown
    return _adjusted(shown, means, found, adjust, size)


def _adjusted(shown: Averages, means: MarginalMeans, found: Quantities, adjust: str, size: int) -> Averages:
    """Return contrasts with p-values and intervals for all comparisons of each family of `size` means."""
    spread = spread_of(means.fit, means.ddf)
    own, each = estimates(found, spread), size * (size - 1) // 2
    labels = label_count(shown.table)
    keys, table = shown.table.iloc[:, :labels], shown.table.iloc[:, labels:]
    t, p, half = statistic(own), table["p"].to_numpy(copy=True), np.empty(len(table))
    for at in range(0, len(p), each):
        part = slice(at, at + each)
        p[part] = ADJUST[adjust](p[part], t[part], own.df[part], size)
        family = type(own)(own.values[part], own.se[part], own.df[part])
        half[part] = adjusted_half_widths(family, adjust, means.estimand.ci_prob, size)
    table = labelled(keys, table.assign(p=p, lower=own.values - half, upper=own.values + half))
    words = {
        "tukey": "Tukey's method",
        "holm": "Holm's method, with Bonferroni's intervals",
        "bonferroni": "Bonferroni",
    }
    note = f"p-values and intervals adjusted for {each} comparisons by {words[adjust]}."
    return replace(shown, table=table, notes=(*shown.notes, note))
