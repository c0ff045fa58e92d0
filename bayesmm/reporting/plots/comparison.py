"""The posterior beside the maximised fit, a row for each parameter."""

import numpy as np

from bayesmm.display.figures import ACCENT, GREY, INK, LIGHT, drawn, key, marker, panels, plain, title
from bayesmm.display.text_tables import broken
from bayesmm.evaluation.compare_reml import Comparison, compare
from bayesmm.evaluation.compare_reml_verdicts import AGREE
from bayesmm.reporting.plots.chosen import check_posterior

FOREST_ROWS = 40  # parameters of the figure
REACH = (
    6.0  # posterior sds from the mean; an estimate beyond is marked at the edge, so that the intervals stay readable
)


@drawn
def plot_comparison(comparison, ax=None):
    """Draw the posterior interval and the point estimates of every parameter, in posterior standard deviations.

    Parameters
    ----------
    comparison : Comparison or Fit
        A fit is compared with its own maximised fit.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Plot
    """
    if not isinstance(comparison, Comparison):
        check_posterior("plot_comparison", comparison)
        comparison = compare(comparison)
    if comparison.point is None:
        raise ValueError(f"plot_comparison sets a posterior beside a maximised fit: {comparison.absent}")
    table, method = comparison.table[comparison.table["sd"] > 0].head(FOREST_ROWS), comparison.method
    figure, axes = panels(1, wide=9.6, high=0.36 * len(table) + 1.0, ax=ax)
    panel, rows = axes[0], np.arange(len(table))[::-1]
    scaled = table[["lower", "upper", "point", "map"]].sub(table["mean"], axis=0).div(table["sd"], axis=0)
    panel.axvspan(-AGREE, AGREE, color=LIGHT, alpha=0.6, linewidth=0)
    panel.hlines(rows, scaled["lower"], scaled["upper"], color=GREY, linewidth=5)
    panel.plot(np.zeros(len(rows)), rows, linestyle="none", **marker("o", INK))
    far = mark(panel, scaled["point"].to_numpy(), rows, "D", ACCENT)
    has_map = bool(table["map"].notna().any())
    if has_map:
        far |= mark(panel, scaled["map"].to_numpy(), rows, "x", INK)
    label_rows(panel, table, rows, method)
    panel.set_xlabel("distance from the posterior mean, in posterior standard deviations")
    entries = {"posterior mean": ("o", INK), "95 % interval": ("band", GREY), method: ("D", ACCENT)}
    entries |= {"MAP": ("x", INK)} if has_map else {}
    entries |= {"farther out": (">", GREY)} if far else {}
    key(figure, entries | {f"{method} here: agrees": ("s", LIGHT)})
    more = len(comparison.table) - len(table)
    title(figure, f"Posterior and {method}" + (f" ({more:,} more parameters in the table)" if more else ""))
    return panel


def mark(ax, at: np.ndarray, rows: np.ndarray, how: str, colour: str) -> bool:
    """Mark the estimates of one method, those out of reach by an arrow at the edge; return whether there are any."""
    out = np.abs(at) > REACH
    ax.plot(at[~out], rows[~out], linestyle="none", **marker(how, colour))
    for sign, arrow in ((-1, "<"), (1, ">")):
        there = out & (np.sign(at) == sign)
        ax.plot(np.full(there.sum(), sign * REACH), rows[there], linestyle="none", **marker(arrow, colour))
    return bool(out.any())


def label_rows(ax, table, rows: np.ndarray, method: str) -> None:
    """Name the parameters on the left; on the right write both answers as numbers, and the verdict."""
    ax.set_yticks(rows, ["\n".join(broken(plain(label, 200), 44)) for label in table["parameter"]])
    ax.set_ylim(-0.7, len(rows) - 0.1)
    right = ax.twinx()
    right.spines[["top", "right", "left"]].set_visible(False)
    right.set_ylim(ax.get_ylim())
    texts = [
        f"{number(row.point)} | {number(row.mean)} ({number(row.lower)}, {number(row.upper)})  {row.verdict}"
        for row in table.itertuples()
    ]
    right.set_yticks([*rows, len(rows) - 0.3], [*texts, f"{method} | mean (95 % interval)  verdict"])
    right.tick_params(length=0, labelsize=8)


def number(value: float) -> str:
    """Return a number with three significant digits."""
    return "-" if np.isnan(value) else f"{value:.3g}"
