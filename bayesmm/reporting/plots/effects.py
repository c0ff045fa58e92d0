"""The random effects of a grouping factor, sorted, with the conditional modes of the maximised fit over them."""

import numpy as np

from bayesmm.display.figures import ACCENT, GREY, INK, drawn, heading, key, marker, name_axes, panels, plain, title
from bayesmm.posterior.draws import draws_by_term
from bayesmm.reporting.plots.chosen import factor, maximised, of_posterior
from bayesmm.reporting.plots.labels import units

LABELLED_LEVELS = 40  # levels of a caterpillar that still have room for their names
TALL = 7.0  # inches of a caterpillar without names
DRAWN_LEVELS = 400  # rows of a caterpillar; of more levels, every k-th by rank is drawn


@drawn
@of_posterior
def plot_effects(fit, point=None, group: str | None = None):
    """Draw the random effects of one factor, sorted, with the conditional modes of the maximised fit over them.

    Parameters
    ----------
    fit : Fit
    point : PointFit, optional
        The fit whose conditional modes (BLUPs) are drawn; REML if not given, none where the model has no maximum.
    group : str, optional
        The grouping factor; the first of the design if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the model has no such factor.
    """
    k = factor(fit.design, group)
    point, block = maximised(fit) if point is None else point, fit.design.blocks[k]
    step = -(-len(block.levels) // DRAWN_LEVELS)
    rows = -(-len(block.levels) // step)
    height = 0.19 * rows + 0.8 if rows <= LABELLED_LEVELS else TALL
    figure, axes = panels(len(block.columns), wide=4.4, high=max(height, 2.0))
    for i, (ax, draws) in enumerate(zip(axes, draws_by_term(fit, k), strict=True)):
        caterpillar(ax, draws, None if point is None else point.modes[k][:, i], block.levels, step)
        heading(ax, block.columns[i], 10)
        name_axes(ax, f"deviation, {units(fit.design, block.columns[i])}")
    entries = {"posterior mean": ("o", INK), "95 % interval": ("-", GREY)}
    key(figure, entries if point is None else entries | {f"{point.method} mode": ("D", ACCENT)})
    drawn = "" if step == 1 else f", {rows} of them drawn at even ranks"
    text = f"Random effects of {plain(block.group)}: {len(block.levels):,} levels, sorted{drawn}"
    title(figure, text, fit.design.formula.text)
    return axes


def caterpillar(ax, draws: np.ndarray, modes: np.ndarray | None, levels: tuple[str, ...], step: int) -> None:
    """Draw the (levels, chains, draws) of one term, sorted by posterior mean; names only where there is room."""
    means = draws.mean(axis=(1, 2))
    chosen = np.argsort(means)[::step]
    lower, upper = np.quantile(draws[chosen], [0.025, 0.975], axis=(1, 2))
    rows, many = np.arange(len(chosen)), len(chosen) > LABELLED_LEVELS
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.hlines(rows, lower, upper, color=GREY, linewidth=0.7 if many else 1.8)
    if modes is not None:
        ax.plot(modes[chosen], rows, linestyle="none", **marker("D", ACCENT) | {"markersize": 1.6 if many else 6})
    ax.plot(means[chosen], rows, linestyle="none", **marker("o", INK) | {"markersize": 1.2 if many else 3.2})
    ax.set_ylim(-1, len(chosen))
    ax.set_yticks([] if many else rows, [] if many else [plain(levels[i], 40) for i in chosen])
    if many:
        ax.set_ylabel("levels, from the lowest to the highest", fontsize=9)
