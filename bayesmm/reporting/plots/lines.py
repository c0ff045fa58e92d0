"""The regression of each group over its data, with the posterior's band."""

import numpy as np
import pandas as pd

from bayesmm.display.figures import ACCENT, INK, LIGHT, drawn, heading, key, label_edges, panels, plain, title
from bayesmm.errors import listing
from bayesmm.formula.formula import column_nodes
from bayesmm.posterior.predict import predict
from bayesmm.posterior.residuals import thinned
from bayesmm.reporting.plots.chosen import check_single, factor, largest, of_posterior, said, share_of

SHOWN_LEVELS = 20  # panels of one figure
POINTS = 25  # of a line
FEW_LEVELS = 9  # with larger panels
WIDE, NARROW = (3.0, 2.3, 3), (2.0, 1.75, 5)  # width and height of a panel in inches, panels in a row


@drawn
@of_posterior
def plot_lines(fit, group: str | None = None, x: str | None = None):
    """Draw the mean response of each group along a predictor over the group's data, and that of an average group.

    The band holds the mean with probability 0.95. Other predictors are held at the group's mean, or its most frequent
    level; the effects of other grouping factors at 0, unless every group lies within one of their levels. Of more than
    20 levels those with the most rows are drawn.

    Parameters
    ----------
    fit : Fit
    group : str, optional
        The grouping factor; the first of the design if not given.
    x : str, optional
        A numeric column of the data; one with a random slope of the factor, else the first in the formula.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the model has no such factor or no such predictor, or its random effects were not kept.
    """
    check_single(fit.design, "plot_lines")
    k = factor(fit.design, group)
    block, x = fit.design.blocks[k], predictor(fit.design, k, x)
    levels = largest(block, SHOWN_LEVELS)
    grid = line_data(fit.design, block, levels, x)
    few = thinned(fit)
    own = predict(few, grid, groups=[block.group, *around(fit.design, k, levels)]).numbers().to_frame()
    average = predict(few, grid, groups="population").numbers().to_frame()["mean"].to_numpy()
    figure, axes = panels(len(levels), *(WIDE if len(levels) <= FEW_LEVELS else NARROW))
    observed = fit.design.y if fit.design.trials is None else fit.design.y / fit.design.trials
    for i, (ax, g) in enumerate(zip(axes, levels, strict=True)):
        part, rows = slice(i * POINTS, (i + 1) * POINTS), block.index == g
        along = grid[x].to_numpy()[part]
        ax.fill_between(along, own["lower"].iloc[part], own["upper"].iloc[part], color=LIGHT, linewidth=0)
        ax.plot(along, average[part], color=ACCENT, linestyle="--", linewidth=1.1)
        ax.plot(along, own["mean"].iloc[part], color=INK, linewidth=1.6)
        ax.plot(fit.design.frame[x].to_numpy()[rows], observed[rows], linestyle="none", **_dots(rows.sum()))
        heading(ax, block.levels[g], 9)
    seen = np.isin(block.index, levels)
    _same_scales(axes, fit.design.frame[x].to_numpy()[seen], observed[seen])
    label_edges(axes, plain(x), share_of(fit.design) + plain(fit.design.response), shared=True)
    entries = {"observed": ("o", INK), "mean of the group": ("-", INK), "95 % band": ("s", LIGHT)}
    key(figure, entries | {"average group, random effects 0": ("--", ACCENT)})
    title(figure, f"Regressions: {said(block, len(levels))}", fit.design.formula.text)
    return axes


def predictor(design, k: int, x: str | None) -> str:
    """Return the numeric column to draw along: the one asked for, one with a random slope, or the formula's first.

    Raises
    ------
    ValueError
    """
    left = (design.formula.response, *design.formula.limits)
    outside = {node.name for expr in left for node in column_nodes(expr)}
    outside |= {name for block in design.blocks for name in block.factors}
    numeric = [c for c in design.frame if c not in outside and _is_number(design.frame[c])]
    used = [c for c in numeric if any(c == name or c in name for name in design.coefficients)]
    sloped = [c for c in numeric if c in design.blocks[k].columns]
    if not numeric:
        raise ValueError("the model has no numeric predictor to draw lines along")
    if x is not None and x not in numeric:
        raise ValueError(f"x is {x!r}; lines are drawn along one of {listing(numeric)}")
    return x or (sloped or used or numeric)[0]


def around(design, k: int, levels: np.ndarray) -> list[str]:
    """Return the other factors in one level of which each of these levels lies, as a pupil in a school."""
    index = design.blocks[k].index
    others = [design.blocks[i] for i in design.factors if i != k]
    return [o.group for o in others if all(np.ptp(o.index[index == g]) == 0 for g in levels)]


def line_data(design, block, levels: np.ndarray, x: str) -> pd.DataFrame:
    """Return the rows to predict, `POINTS` for each level: x from end to end of its rows, the rest typical of them."""
    parts = []
    for g in levels:
        rows = design.frame[block.index == g]
        typical = {name: _typical(rows[name]) for name in design.frame}
        part = pd.DataFrame({name: [value] * POINTS for name, value in typical.items()})
        part = part.astype({name: design.frame[name].dtype for name in design.frame if name not in (x, *_means(rows))})
        ends = (
            (rows[x].min(), rows[x].max()) if rows[x].nunique() > 1 else (design.frame[x].min(), design.frame[x].max())
        )
        part[x] = np.linspace(*ends, POINTS)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _means(rows: pd.DataFrame) -> list[str]:
    """Return the columns that are held at their means."""
    return [c for c in rows if _is_measured(rows[c])]


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _is_measured(column: pd.Series) -> bool:
    return _is_number(column) and column.nunique() > 1


def _typical(column: pd.Series) -> object:
    """Return the mean of a numeric column, the most frequent value of any other (or of one with a single value).

    NaN where there is none, as of the second ends of a level without interval-censored rows.
    """
    common = column.mode()
    return float(column.mean()) if _is_measured(column) else common.iloc[0] if len(common) else np.nan


def _dots(count: int) -> dict[str, object]:
    return {"marker": "o", "markersize": 2.6 if count <= 60 else 1.2, "color": INK, "alpha": 0.7, "markeredgewidth": 0}


def _same_scales(axes, x: np.ndarray, y: np.ndarray) -> None:
    """Give all panels one scale, that of the data in them."""
    for low, high, set_limits in ((x.min(), x.max(), "set_xlim"), (y.min(), y.max(), "set_ylim")):
        margin = 0.06 * (high - low or 1.0)
        for ax in axes:
            getattr(ax, set_limits)(low - margin, high + margin)
