"""A figure of predictions: bands along a number, a panel for each combination of the other columns; else a row each."""

import json

import numpy as np
import pandas as pd

from bayesmm.display.figures import (
    ACCENT,
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

COLUMNS_WIDTH = 80  # letters of the names of the columns beside rows
WIDE, MIDDLE = 0.95, 0.5  # probabilities of the two intervals
# Rows that an observed share of responses of 0 and 1 is of, at least; and how many shares a panel has, at most; ours
BIN, MOST_BINS = 10, 8
KINDS = {"mean": "mean response", "response": "new responses", "linear": "linear predictor"}
NEW = {
    "sample": "The effects of new groups are drawn from their distribution.",
    "zero": "New groups are average ones, with effects of 0.",
}


@drawn
def plot_predictions(found, ax=None):
    """Draw predictions with their 50 % and 95 % intervals.

    Parameters
    ----------
    found : Predictions
        Rows over three or more values of a number (the first such column) become bands, a panel for each combination of
        the other columns, of at most 12; all else a row each.
    ax : matplotlib.axes.Axes, optional
        Where to draw if there is one panel; a new figure if not given.

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
    if parts is None or len(parts) > PANELS:
        figure, axes = draw_rows(found, table, ax)
    else:
        figure, axes = draw_bands(found, table[x], parts, ax)
    lines = parts is not None and len(parts) <= PANELS
    entries = {
        ("share of new responses that are 1" if shares(found) else "posterior mean"): ("-" if lines else "o", INK)
    }
    entries |= {} if shares(found) else {"50 % interval": ("band", GREY), "95 % interval": ("band", LIGHT)}
    if lines and found.observed is not None and any(len(rows) >= BIN for rows in parts.values()):
        entries |= {f"observed shares, of {BIN} rows or more": ("D", ACCENT)}
    title(figure, f"Predictions: {name_of(found)}", notes=notes_of(found))
    key(figure, entries)
    return axes


def shares(found) -> bool:
    """Return whether these are new responses of 0 and 1, whose intervals are 0, 1, or both of them."""
    return found.kind == "response" and settings_of(found).get("binary", False)


def name_of(found) -> str:
    """Return what the figure is of, for its title."""
    binary = settings_of(found).get("binary", False) and found.kind == "mean"
    return "probability of the response 1" if binary else KINDS[found.kind]


def settings_of(found) -> dict:
    """Return how predictions were made: kind, groups, new_levels, seed."""
    return json.loads(found.tree.attrs["bayesmm"])


def notes_of(found) -> list[str]:
    """Return what stands under the title: what new groups are, and what the columns of one value are held at."""
    settings = settings_of(found)
    notes = [NEW[settings["new_levels"]]] if settings["new_levels"] in NEW else []
    held = [name for name in found.table if name in settings.get("columns", []) and found.table[name].nunique() == 1]
    shown = [f"{name} = {value_text(found.table[name].iloc[0])}" for name in held]
    return [*notes, f"Held: {', '.join(shown)}."] if shown else notes


def what_of(found) -> str:
    """Return what an axis shows: "mean of y", "new y"."""
    of = plain(settings_of(found).get("response", ""))
    if found.kind == "linear" or not of:
        return KINDS[found.kind]
    if settings_of(found).get("binary", False):
        return f"probability that {of} is 1" if found.kind == "mean" else f"share of {of} = 1"
    return f"mean of {of}" if found.kind == "mean" else f"{of}, new responses"


def combinations(others: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return each combination of the other columns' values, in words, with its rows; one without a name if there is no
    other column.
    """
    if not len(others.columns):
        return {"": np.arange(len(others))}
    names = row_names(others.apply(lambda column: [f"{column.name} = {value_text(value)}" for value in column]))
    if len(set(names)) < len(others.drop_duplicates()):  # numbers that differ beyond what is shown of them
        names = row_names(others.apply(lambda column: [f"{column.name} = {value}" for value in column]))
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names)}


def row_names(table: pd.DataFrame) -> np.ndarray:
    """Return what each row is called: the values of its columns."""
    rows = table.itertuples(index=False, name=None)
    return np.array([", ".join(map(value_text, row)) for row in rows], dtype=object)


def columns_words(table: pd.DataFrame) -> str:
    """Return what the names of rows are values of, for their axis; nothing for rows with no columns that differ."""
    return plain(", ".join(map(str, table.columns)), COLUMNS_WIDTH)


def draw_bands(found, x: pd.Series, parts: dict[str, np.ndarray], ax):
    """Draw a panel for each combination; return the figure (the axes, if they were given) and the axes."""
    if ax is not None and len(parts) > 1:
        raise ValueError(f"these predictions need {len(parts)} panels, one for each combination; leave ax= out")
    one = len(parts) == 1
    figure, axes = panels(len(parts), *((6.0, 3.6) if one else (3.1, 2.3)), ax=ax)
    wide, middle = found.to_frame(WIDE), found.to_frame(MIDDLE)
    ends = finite_ends(wide["lower"], wide["upper"], wide["mean"])
    for panel, (name, rows) in zip(axes, parts.items(), strict=True):
        order = rows[np.argsort(x.to_numpy()[rows], kind="stable")]
        along = x.to_numpy()[order]
        for frame, ink in () if shares(found) else ((wide, LIGHT), (middle, GREY)):
            low, high = (off_the_edge(frame[end].iloc[order], ends) for end in ("lower", "upper"))
            panel.fill_between(along, low, high, color=ink, linewidth=0)
        panel.plot(along, off_the_edge(wide["mean"].iloc[order], ends), color=INK, linewidth=1.6)
        if found.observed is not None and len(order) >= BIN:
            parts_of = np.array_split(np.arange(len(order)), min(len(order) // BIN, MOST_BINS))
            at = [(along[part].mean(), found.observed[order[part]].mean()) for part in parts_of]
            panel.plot(*np.transpose(at), linestyle="none", **marker("D", ACCENT) | {"markersize": 4.5})
        heading(panel, name, 9)
    same = [(0.0, 1.0) if settings_of(found).get("binary", False) else ends, (x.min(), x.max())]
    for panel in axes:
        for (low, high), limits in zip(same, (panel.set_ylim, panel.set_xlim), strict=True):
            limits(low - 0.04 * (high - low), high + 0.04 * (high - low))
        if settings_of(found).get("counts", False):
            begin_at_zero(panel.set_ylim, ends)
    if one:
        name_axes(axes[0], str(x.name), what_of(found))
    else:
        label_edges(axes, str(x.name), what_of(found), shared=True)
    return figure, axes


def draw_rows(found, table: pd.DataFrame, ax):
    """Draw a row for each prediction; return the figure (the axes, if they were given) and the axes."""
    count = len(found.labels)
    figure, axes = panels(1, 6.0, rows_high(count), ax=ax)
    wide, middle, rows = found.to_frame(WIDE), found.to_frame(MIDDLE), np.arange(count)[::-1]
    for frame, ink in () if shares(found) else ((wide, LIGHT), (middle, GREY)):
        axes[0].hlines(rows, frame["lower"], frame["upper"], color=ink, linewidth=5)
    axes[0].plot(wide["mean"], rows, linestyle="none", **marker("o", INK) | {"markersize": 4})
    few = count <= LABELLED_ROWS
    names = row_names(table) if len(table.columns) else np.array([str(label) for label in found.labels])
    axes[0].set_yticks(rows if few else [], [name.replace("$", r"\$") for name in names] if few else [])
    axes[0].set_ylim(-1, count)
    if settings_of(found).get("counts", False):
        begin_at_zero(axes[0].set_xlim, finite_ends(wide["lower"], wide["upper"], wide["mean"]))
    name_axes(axes[0], what_of(found), columns_words(table) if few else "")
    return figure, axes
