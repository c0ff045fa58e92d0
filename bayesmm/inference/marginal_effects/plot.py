"""A figure of marginal quantities: a line with its band over a number, points with intervals for all else."""

import numpy as np
import pandas as pd

from bayesmm.display.figures import (
    CHAIN_INKS,
    CHAIN_STYLES,
    GREY,
    INK,
    LIGHT,
    key,
    marker,
    name_axes,
    panels,
    plain,
    title,
)
from bayesmm.inference.marginal_effects.rows import label_count, value_text

LINE_POINTS = 3  # values of a number from which they make a line
TALL = 9.0  # inches of the longest figure
LABELLED_ROWS = 40  # rows that still have room for their names
BAND = 0.15  # opacity of an interval under a line


def plot_averages(result):
    """Draw the rows of a result with their intervals.

    Parameters
    ----------
    result : Averages or MarginalMeans
        Means over three or more values of a number (the first such column) become lines, one for each combination of
        the other labels, if there are no more than four; all else points, a row each.

    Returns
    -------
    matplotlib.axes.Axes

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
    along = next((name for name in labels if _makes_a_line(labels[name])), None)
    lines = [] if along is None or result.null is not None else _lines(labels.drop(columns=along))
    if 0 < len(lines) <= len(CHAIN_STYLES):
        figure, (ax,) = panels(1, wide=6.0, high=3.6)
        _draw_lines(ax, values, labels[along].to_numpy(dtype=float), lines)
        entries = zip(lines, CHAIN_STYLES, CHAIN_INKS, strict=False)
        shown = {label: (style, ink) for (label, _), style, ink in entries if label}
        key(figure, shown | {"interval": ("s", LIGHT)})
        name_axes(ax, plain(along))
    else:
        figure, (ax,) = panels(1, wide=6.0, high=min(TALL, 0.24 * len(table) + 0.9))
        _draw_points(ax, values, labels, result.null)
        key(figure, {centre: ("o", INK), "interval": ("-", GREY)})
    head, _, formula = result.title.partition(": ")
    title(figure, head, formula)
    return ax


def _makes_a_line(column: pd.Series) -> bool:
    return column.dtype.kind in "iuf" and column.nunique() >= LINE_POINTS


def _lines(others: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Return each combination of labels with its rows."""
    names = _names(others.apply(lambda column: [f"{column.name} = {value_text(value)}" for value in column]))
    return [(name, np.flatnonzero(names == name)) for name in dict.fromkeys(names)]


def _names(labels: pd.DataFrame) -> np.ndarray:
    rows = labels.itertuples(index=False, name=None)
    return np.array([", ".join(map(value_text, row)) for row in rows], dtype=object)


def _draw_lines(ax, values: pd.DataFrame, x: np.ndarray, lines: list[tuple[str, np.ndarray]]) -> None:
    for (_, rows), style, ink in zip(lines, CHAIN_STYLES, CHAIN_INKS, strict=False):
        order = rows[np.argsort(x[rows])]
        centre, lower, upper = values.to_numpy()[order].T
        ax.fill_between(x[order], lower, upper, color=ink, alpha=BAND, linewidth=0)
        ax.plot(x[order], centre, linestyle=style, color=ink, linewidth=1.6)


def _draw_points(ax, values: pd.DataFrame, labels: pd.DataFrame, null: float | None) -> None:
    rows = np.arange(len(values))[::-1]
    names = _names(labels) if len(labels.columns) else labels.index
    if null is not None:
        ax.axvline(null, color=GREY, linewidth=0.8, linestyle=":")
    ax.hlines(rows, values["lower"], values["upper"], color=GREY, linewidth=1.8)
    ax.plot(values.iloc[:, 0], rows, linestyle="none", **marker("o", INK) | {"markersize": 4})
    few = len(values) <= LABELLED_ROWS
    ax.set_yticks(rows if few else [], [plain(name) for name in names] if few else [])
    ax.set_ylim(-1, len(values))
