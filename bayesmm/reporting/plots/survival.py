"""The distribution of a censored response without a model, over the one that the fit gives the same rows."""

import numpy as np

from bayesmm.display.figures import ACCENT, INK, LIGHT, drawn, heading, key, label_edges, panels, plain, title
from bayesmm.errors import listing
from bayesmm.posterior.survival import Survival, fitted_survival, observed_survival
from bayesmm.reporting.plots.chosen import of_posterior

POINTS = 80  # of a fitted curve
MOST_PANELS = 12
MOST_MARKS = 400  # of censored rows that are marked
MARGIN = 0.03  # of the range, on each side


@drawn
@of_posterior
def plot_survival(fit, by: str | None = None, ax=None):
    """Draw P(Y > t) as the data alone give it over the posterior of the same, the mean over the rows.

    The steps are Kaplan & Meier's estimate, or Turnbull's where rows are left- or interval-censored; a mark is a
    right-censored row. The fitted curve is of the response before it was censored, with the band that holds it with
    probability 0.95 at each t; of a truncated response both are within the outermost limits of the rows.

    Parameters
    ----------
    fit : Fit
        Of a model with ``cens()`` or ``trunc()``.
    by : str, optional
        A column of the model with a panel for each of its values, at most 12.
    ax : matplotlib.axes.Axes, optional
        Where to draw, without `by`; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the response is neither censored nor truncated, the model has no such column or one of too many values, or
        the random effects were not kept.
    """
    design = fit.design
    if design.limits is None:
        raise ValueError(
            f"the response {design.response!r} is neither censored nor truncated; use plot_predictive, or write "
            "y | cens(c) ~ x"
        )
    parts, names = parts_of(design, by)
    if ax is not None and by is not None:
        raise ValueError("ax= is for one panel; a figure by a column has several, so leave ax= or by= out")
    figure, axes = panels(len(parts), *((6.6, 3.4) if by is None else (3.1, 2.3)), columns=3, ax=ax)
    first, last = _range(design)
    grid = np.linspace(first, last, POINTS)
    for panel, rows, each in zip(axes, parts, names, strict=True):
        curves = fitted_survival(fit, grid, rows)
        panel.fill_between(grid, *np.quantile(curves, [0.025, 0.975], axis=0), color=LIGHT, linewidth=0)
        panel.plot(grid, curves.mean(axis=0), color=INK, linewidth=1.2, linestyle="--")
        weights = None if design.weights is None else design.weights[rows]
        draw_steps(panel, observed_survival(design.y[rows], design.limits[rows], weights), first, last)
        _draw_marks(panel, design, rows)
        panel.set_ylim(-0.02, 1.02)
        heading(panel, each, 9)
    label_edges(axes, plain(design.response), f"P({plain(design.response, 20)} > t)", shared=True)
    steps = {"the data alone (Kaplan-Meier, Turnbull)": ("-", ACCENT), "a right-censored row": ("|", ACCENT)}
    key(figure, steps | {"fitted, mean": ("--", INK), "95 % of its draws": ("s", LIGHT)})
    about = "" if by is None else f", by {plain(by)}"
    title(figure, f"Observed and fitted distribution of {plain(design.response)}{about}", design.formula.text)
    return axes


def parts_of(design, by: str | None) -> tuple[list[np.ndarray], list[str]]:
    """Return the rows of each value of a column, (n,) bool, and what they are called; all rows for None."""
    if by is None:
        return [np.ones(design.n, dtype=bool)], [""]
    columns = list(design.frame.columns)
    if by not in columns:
        raise ValueError(f"by is {by!r}; the columns of this model are {listing(columns, len(columns))}")
    values = design.frame[by].to_numpy()
    found = list(dict.fromkeys(sorted(values)))
    if len(found) > MOST_PANELS:
        raise ValueError(f"by = {by!r} has {len(found):,} values, and there is room for {MOST_PANELS} panels")
    return [values == value for value in found], [str(value) for value in found]


def _range(design) -> tuple[float, float]:
    """Return the values between which the curves are drawn."""
    low, high = design.limits.known(design.y)
    ends = np.concatenate([low, high])
    ends = ends[np.isfinite(ends)]
    first, last = (0.0 if design.family.support.positive else ends.min()), ends.max()
    margin = MARGIN * (last - first)
    return (first if design.family.support.positive else first - margin), last + margin


def draw_steps(ax, found: Survival, first: float, last: float) -> None:
    """Draw an estimate as a line that steps down, straight across a cell in which it is not known where."""
    x, y, share = [first], [1.0], 1.0
    for start, end, after in zip(found.start, found.end, found.share, strict=True):
        x += [max(start, first), min(end, last)]
        y += [share, after]
        share = after
    ax.plot([*x, last], [*y, share], color=ACCENT, linewidth=1.6)


def _draw_marks(ax, design, rows: np.ndarray) -> None:
    y, other = design.y[rows], design.limits.other[rows]
    right = y[other == (design.limits.high[rows] if design.limits.truncated else np.inf)]
    if not len(right) or len(right) > MOST_MARKS:
        return
    weights = None if design.weights is None else design.weights[rows]
    found = observed_survival(y, design.limits[rows], weights)
    at = np.searchsorted(found.end, right, side="right") - 1
    height = np.where(at >= 0, found.share[np.maximum(at, 0)], 1.0) if len(found.share) else np.ones(len(right))
    ax.plot(right, height, linestyle="none", marker="|", markersize=7, color=ACCENT, markeredgewidth=1.0)
