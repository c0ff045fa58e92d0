"""Shares of the categories of an ordered response beside the probabilities that a fit gives them."""

import numpy as np

from bayesmm.design.ordered import check_order
from bayesmm.display.figures import INK, LIGHT, drawn, heading, key, label_edges, marker, panels, plain, title
from bayesmm.posterior.categories_plot import PROBABILITY, category_key, ink, limits
from bayesmm.reporting.plots.chosen import of_posterior
from bayesmm.reporting.plots.survival import parts_of
from bayesmm.runtime.arguments import check_bool

BAR = 0.36  # half the distance between two values
BELOW = "share at or below"


@drawn
@of_posterior
def plot_categories(fit, by: str | None = None, cumulative: bool = False, ax=None):
    """Draw the shares of the categories in the data beside the fitted probabilities, the means over the same rows.

    Parameters
    ----------
    fit : Fit
        Of a model of ordered categories.
    by : str, optional
        A column of the model: two bars for each of its values, at most 12; with `cumulative` a panel.
    cumulative : bool
        Whether to draw the shares of each category and those below as steps, with 95 % intervals, in place of bars.
    ax : matplotlib.axes.Axes, optional
        Where to draw if there is one panel; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the response has no categories, or none with an order for cumulative shares, the model no
        such column or one of too many values, or an `ax` for several panels.
    """
    check_bool("cumulative", cumulative)
    design = fit.design
    if not design.categories:
        raise ValueError(f"the response {design.response!r} has no ordered categories; use plot_predictive")
    if cumulative:
        check_order(design, "the share at or below a category")
    parts, names = parts_of(design, by)
    draws = fit.predict().draws
    own = np.ones(design.n) if design.weights is None else design.weights
    known = np.eye(len(design.categories))[design.y.astype(int) - 1] * own[:, None]
    shares = [known[rows].sum(axis=0) / own[rows].sum() for rows in parts]
    fitted = [
        limits(np.average(draws[:, :, rows], axis=2, weights=own[rows])[:, :, None], cumulative) for rows in parts
    ]
    draw = _steps if cumulative else _bars
    figure, axes = draw(shares, [[each[0] for each in one] for one in fitted], names, design, by, ax)
    about = "" if by is None else f", by {plain(by)}"
    title(figure, f"Observed and fitted categories of {plain(design.response)}{about}", design.formula.text)
    return axes


def _bars(shares: list, fitted: list, names: list, design, by: str | None, ax):
    """Draw two stacked bars for each value."""
    figure, axes = panels(1, max(3.6, 1.5 * len(names) + 1.2), 3.6, ax=ax)
    at = np.arange(len(names), dtype=float)
    for side, values in ((-BAR / 2, shares), (BAR / 2, [mean for _, mean, _ in fitted])):
        start = np.zeros(len(names))
        for k in range(len(design.categories)):
            own = np.array([value[k] for value in values])
            look = dict(color=ink(k, len(design.categories)), edgecolor="white", linewidth=0.6)
            axes[0].bar(at + side, own, bottom=start, width=BAR * 0.94, **look)
            start = start + own
        for place in at + side:
            axes[0].text(place, 1.01, "data" if side < 0 else "fit", ha="center", va="bottom", fontsize=8)
    axes[0].set_xticks(at, [plain(name) for name in names] if by is not None else [""])
    axes[0].set_ylim(0, 1.08)
    label_edges(axes, "" if by is None else plain(by), PROBABILITY)
    category_key(figure, design.categories, False)
    return figure, axes


def _steps(shares: list, fitted: list, names: list, design, by: str | None, ax):
    """Draw a panel of cumulative shares for each value."""
    if ax is not None and len(names) > 1:
        raise ValueError(f"a cumulative figure by a column has {len(names)} panels; leave ax= out")
    figure, axes = panels(len(names), *((5.0, 3.4) if by is None else (3.1, 2.3)), ax=ax)
    at = np.arange(len(design.categories))
    for panel, share, (low, mean, high), name in zip(axes, shares, fitted, names, strict=True):
        panel.vlines(at, low, high, color=LIGHT, linewidth=7)
        panel.plot(at, mean, drawstyle="default", color=INK, linewidth=1.2, linestyle="--")
        panel.plot(at, np.cumsum(share), linestyle="none", **marker("o", INK) | {"markersize": 4})
        panel.set_xticks(at, [plain(label, 12) for label in design.categories])
        panel.set_ylim(0, 1.03)
        heading(panel, name, 9)
    label_edges(axes, plain(design.response), BELOW, shared=True)
    key(figure, {"data": ("o", INK), "fitted, mean": ("--", INK), "95 % interval": ("band", LIGHT)})
    return figure, axes
