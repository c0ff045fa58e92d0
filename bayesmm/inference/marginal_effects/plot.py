"""A figure of marginal quantities: lines with bands along a number, a panel each; all else points with intervals."""

from dataclasses import replace

import numpy as np
import pandas as pd

from bayesmm.display.figures import (
    GREY,
    INK,
    LIGHT,
    begin_at_zero,
    drawn,
    finite_ends,
    heading,
    key,
    label_edges,
    marker,
    name_axes,
    off_the_edge,
    panels,
    plain,
    title,
)
from bayesmm.display.rows_or_lines import LABELLED_ROWS, PANELS, makes_a_line, rows_high
from bayesmm.display.text_tables import value_text
from bayesmm.inference.marginal_effects.result import NO_OTHERS, origin_words, quantity_words
from bayesmm.inference.marginal_effects.rows import label_count

WORDS = 80  # letters of the name of an axis
AVERAGED = {"Average slopes": "slope", "Average logarithms of ratios": "log ratio"}  # in titles; all else is compared
MARGIN = 0.04  # of the range of values, on each side of it


@drawn
def plot_averages(result):
    """Draw the rows of a result with their intervals.

    Parameters
    ----------
    result : Averages or MarginalMeans
        Means over three or more values of a number (the first such column) become lines with bands, a panel for
        each combination of the other labels, of at most 12; all else points, a row each.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If there is no row.
    """
    table = result.table
    if table.empty:
        raise ValueError("there is nothing to draw: the table has no rows")
    size = label_count(table)
    labels, values = table.iloc[:, :size], table.iloc[:, size:]
    centre, values = values.columns[0], values[[values.columns[0], "lower", "upper"]]
    along = next((name for name in labels if makes_a_line(labels[name])), None)
    interval = f"{100 * result.origin.estimand.ci_prob:g} % interval"
    lines = [] if along is None or result.null is not None else _lines(labels.drop(columns=along))
    if 0 < len(lines) <= PANELS:
        figure, axes = panels(len(lines), *((6.0, 3.6) if len(lines) == 1 else (3.1, 2.6)))
        _draw_lines(axes, values, labels[along].to_numpy(dtype=float), lines)
        key(figure, {str(centre): ("-", INK), interval: ("s", LIGHT)})
        label_edges(axes, plain(along), plain(_what(result), WORDS), shared=True)
    else:
        figure, axes = panels(1, wide=6.0, high=rows_high(len(table)))
        _draw_points(axes[0], values, labels, result.null)
        own = len(values) <= LABELLED_ROWS and not set(labels) <= {"variable", "contrast"}
        name_axes(axes[0], plain(_what(result), WORDS), plain(", ".join(map(str, labels)), WORDS) if own else "")
        key(figure, {centre: ("o", INK), interval: ("-", GREY)})
    if result.null is None and _counts(result):
        for ax in axes:
            begin_at_zero(ax.set_ylim if 0 < len(lines) <= PANELS else ax.set_xlim, finite_ends(values))
    head, _, formula = result.title.partition(": ")
    over = result.notes[0].removeprefix(NO_OTHERS).lstrip(";. ")  # what was averaged over, and what is held
    title(figure, head, formula, [over[0].upper() + over[1:]] if over and result.null is None else ())
    return axes


def _what(result) -> str:
    """Return what the numbers are; of means transformed back not what contrasts of them are of."""
    fit, estimand, words = result.origin.fit, result.origin.estimand, origin_words(result.origin)
    if result.null is None:
        own = (quantity_words(fit, replace(estimand, kind=kind)) for kind in ("mean", "linear"))
        return next((means for means in own if means in result.title), words)
    if result.origin.ratio:
        return words
    pairs = "contrast" in result.table and result.table["contrast"].astype(str).str.contains(" - ", regex=False).all()
    other = "difference" if pairs else "contrast"
    return f"{next((one for head, one in AVERAGED.items() if result.title.startswith(head)), other)}, {words}"


def _counts(result) -> bool:
    """Return whether the numbers are means of counts, or such linear predictors transformed back."""
    fit = result.origin.fit
    return fit.design.family.support.counts and _what(result).startswith("mean of ")


def _lines(others: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Return each combination of labels with its rows; one without a name if there are no other labels."""
    if not len(others.columns):
        return [("", np.arange(len(others)))]
    names = _names(others.apply(lambda column: [f"{column.name} = {value_text(value)}" for value in column]))
    return [(name, np.flatnonzero(names == name)) for name in dict.fromkeys(names)]


def _names(labels: pd.DataFrame) -> np.ndarray:
    rows = labels.itertuples(index=False, name=None)
    return np.array([", ".join(map(value_text, row)) for row in rows], dtype=object)


def _draw_lines(axes, values: pd.DataFrame, x: np.ndarray, lines: list[tuple[str, np.ndarray]]) -> None:
    """Draw a line with its band in a panel each, to one scale: bands in one panel would hide one another."""
    shown = finite_ends(values)
    for ax, (name, rows) in zip(axes, lines, strict=True):
        order = rows[np.argsort(x[rows])]
        centre, lower, upper = off_the_edge(values.to_numpy()[order].T, shown)
        ax.fill_between(x[order], lower, upper, color=LIGHT, linewidth=0)
        ax.plot(x[order], centre, color=INK, linewidth=1.6)
        heading(ax, name, 9)
    ends = shown, (x.min(), x.max())
    for ax in axes:
        for (low, high), limits in zip(ends, (ax.set_ylim, ax.set_xlim), strict=True):
            limits(low - MARGIN * (high - low), high + MARGIN * (high - low))


def _draw_points(ax, values: pd.DataFrame, labels: pd.DataFrame, null: float | None) -> None:
    rows = np.arange(len(values))[::-1]
    names = _names(labels) if len(labels.columns) else labels.index
    if null == 1 and (values > 0).all(axis=None):  # ratios, of which 2 and 1/2 are as far from 1
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if null is not None:
        ax.axvline(null, color=GREY, linewidth=0.8, linestyle=":")
    ax.hlines(rows, values["lower"], values["upper"], color=GREY, linewidth=1.8)
    ax.plot(values.iloc[:, 0], rows, linestyle="none", **marker("o", INK) | {"markersize": 4})
    few = len(values) <= LABELLED_ROWS
    ax.set_yticks(rows if few else [], [plain(name) for name in names] if few else [])
    ax.set_ylim(-1, len(values))
