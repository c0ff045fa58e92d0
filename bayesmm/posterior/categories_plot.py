"""Figures of probabilities of categories: stacked ones, or cumulative ones with their intervals."""

import numpy as np
import pandas as pd

from bayesmm.display.figures import INK, LIGHT, drawn, heading, key, label_edges, name_axes, panels, plain, title
from bayesmm.display.rows_or_lines import LABELLED_ROWS, PANELS, makes_a_line, rows_high
from bayesmm.posterior.predictions_plot import columns_words, combinations, notes_of, row_names

PALEST, DARKEST = 0.93, 0.15  # of the greys of the categories, from the first to the last
WIDE = 0.95  # probability of the intervals
STYLES = ("-", "--", ":", "-.")
PROBABILITY, BELOW = "probability", "P(category or lower)"


@drawn
def plot_categories(found, ax=None, cumulative: bool = False):
    """Draw predicted probabilities of categories, stacked, or of each category and those below with intervals.

    Parameters
    ----------
    found : Predictions
        Of categories. Rows over three or more values of a number (the first such column) become areas or lines, a panel
        for each combination of the other columns, of at most 12; all else a bar each.
    ax : matplotlib.axes.Axes, optional
        Where to draw if there is one panel; a new figure if not given.
    cumulative : bool
        Whether to draw P(y <= category), with 95 % intervals, in place of the stacked means.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If there is no row to draw, or an `ax` for several panels.
    """
    table = found.table.loc[:, found.table.nunique() > 1].reset_index(drop=True)
    x = next((name for name in table if makes_a_line(table[name])), None)
    parts = None if x is None else combinations(table.drop(columns=x))
    low, mean, high = limits(found.draws, cumulative)
    if parts is None or len(parts) > PANELS:
        names = row_names(table) if len(table.columns) else np.array([str(label) for label in found.labels])
        figure, axes = draw_bars(names, columns_words(table), (low, mean, high), ax, cumulative)
    else:
        figure, axes = draw_areas(table[x], parts, (low, mean, high), ax, cumulative)
    category_key(figure, found.categories, cumulative)
    title(figure, "Predictions: probabilities of categories", notes=notes_of(found))
    return axes


def limits(draws: np.ndarray, cumulative: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lower ends, the means and the upper ends, (rows, K), of probabilities (chains, draws, rows, K)."""
    values = draws.reshape(-1, *draws.shape[2:])
    if cumulative:
        values = np.minimum(np.cumsum(values, axis=-1), 1.0)
    low, high = np.quantile(values, [(1 - WIDE) / 2, (1 + WIDE) / 2], axis=0)
    return low, values.mean(axis=0), high


def ink(k: int, count: int) -> str:
    """Return the grey of a category."""
    return f"{PALEST + (DARKEST - PALEST) * k / max(count - 1, 1):.3f}"


def style(k: int) -> str:
    """Return the line of a category: four of them, repeated."""
    return STYLES[k % len(STYLES)]


def category_key(figure, categories: tuple[str, ...], cumulative: bool) -> None:
    """Draw the legend of the categories."""
    if not cumulative:
        key(figure, {plain(name): ("s", ink(k, len(categories))) for k, name in enumerate(categories)})
        return
    lines = {f"{plain(name)} or lower": (style(k), INK) for k, name in enumerate(categories[:-1])}
    key(figure, lines | {"95 % interval": ("band", LIGHT)})


def draw_areas(x: pd.Series, parts: dict[str, np.ndarray], values: tuple, ax, cumulative: bool):
    """Draw a panel for each combination; return the figure (the axes, if they were given) and the axes."""
    if ax is not None and len(parts) > 1:
        raise ValueError(f"these predictions need {len(parts)} panels, one for each combination; leave ax= out")
    one = len(parts) == 1
    figure, axes = panels(len(parts), *((6.0, 3.6) if one else (3.1, 2.3)), ax=ax)
    for panel, (name, rows) in zip(axes, parts.items(), strict=True):
        order = rows[np.argsort(x.to_numpy()[rows], kind="stable")]
        along, (low, mean, high) = x.to_numpy()[order], (each[order] for each in values)
        if cumulative:
            for k in range(mean.shape[1] - 1):
                panel.fill_between(along, low[:, k], high[:, k], color=LIGHT, alpha=0.7, linewidth=0)
            for k in range(mean.shape[1] - 1):
                panel.plot(along, mean[:, k], color=INK, linewidth=1.4, linestyle=style(k))
        else:
            inks = [ink(k, mean.shape[1]) for k in range(mean.shape[1])]
            panel.stackplot(along, mean.T, colors=inks, edgecolor="white", linewidth=0.6)
        panel.set_ylim(0, 1)
        panel.set_xlim(x.min(), x.max())
        heading(panel, name, 9)
    label_edges(axes, plain(str(x.name)), BELOW if cumulative else PROBABILITY, shared=True)
    return figure, axes


def draw_bars(names: np.ndarray, what: str, values: tuple, ax, cumulative: bool):
    """Draw a bar for each row, `what` being what their names are of; return the figure (the axes, if they were given)
    and the axes.
    """
    low, mean, high = values
    count, last = mean.shape
    figure, axes = panels(1, 6.0, rows_high(count), ax=ax)
    rows = np.arange(count)[::-1].astype(float)
    if cumulative:
        axes[0].set_xlim(-0.02, 1.02)
        for k in range(last - 1):
            axes[0].hlines(rows, low[:, k], high[:, k], color=LIGHT, linewidth=5)
        for k in range(last - 1):
            axes[0].vlines(mean[:, k], rows - 0.3, rows + 0.3, color=INK, linewidth=1.6, linestyle=style(k))
    else:
        start = np.zeros(count)
        for k in range(last):
            axes[0].barh(rows, mean[:, k], left=start, height=0.8, color=ink(k, last), edgecolor="white", linewidth=0.6)
            start = start + mean[:, k]
        axes[0].set_xlim(0, 1)
    few = count <= LABELLED_ROWS
    axes[0].set_yticks(rows if few else [], [plain(name) for name in names] if few else [])
    axes[0].set_ylim(-0.6, count - 0.4)
    name_axes(axes[0], BELOW if cumulative else PROBABILITY, what if few else "")
    return figure, axes
