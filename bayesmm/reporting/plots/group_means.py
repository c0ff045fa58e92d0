"""The mean response of every group beside what the fitted model gives for it: a predictive check for many groups."""

import numpy as np

from bayesmm.display.figures import ACCENT, GREY, INK, drawn, key, marker, name_axes, panels, plain, title
from bayesmm.posterior.residuals import replicates
from bayesmm.reporting.plots.chosen import check_single, factor, of_posterior, share_of
from bayesmm.runtime.arguments import check_seed

NAMED_LEVELS = 40  # of more the rows are too near for their names
WIDE, TALL, ROW = 6.6, 7.0, 0.19  # inches: of the figure, of one without names, of a named row
DRAWN_LEVELS = 400  # rows; of more levels every k-th by rank is drawn, and all that are outside
COVERED = (0.025, 0.975)


@drawn
@of_posterior
def plot_group_means(fit, group: str | None = None, seed: int = 0, ax=None):
    """Draw the observed mean of each level of a factor over the interval that holds 95 % of its replicated means.

    The replicates are new responses of the same rows and the same groups. Of a right model about one group in twenty
    lies outside, or fewer, because the groups' own effects follow their means.

    Parameters
    ----------
    fit : Fit
    group : str, optional
        The grouping factor; the first of the design if not given.
    seed : int
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the model has no such factor, or its random effects were not kept.
    """
    check_seed(seed, optional=False)
    design = fit.design
    check_single(design, "plot_group_means")
    if design.limits is not None and design.limits.censored.any():
        raise ValueError("means of censored responses are not those of the draws; use plot_survival(fit, by=...)")
    block = design.blocks[factor(design, group)]
    trials = 1.0 if design.trials is None else design.trials
    observed = means_by(block, (design.y / trials)[None])[0]
    replicated = means_by(block, replicates(fit, seed) / trials)
    low, high = np.quantile(replicated, COVERED, axis=0)
    outside = (observed < low) | (observed > high)
    step = -(-len(observed) // DRAWN_LEVELS)
    order = np.argsort(replicated.mean(axis=0), kind="stable")
    shown = order[(np.arange(len(order)) % step == 0) | outside[order]]
    few = len(shown) <= NAMED_LEVELS
    figure, axes = panels(1, wide=WIDE, high=max(1.6, ROW * len(shown) + 0.4) if few else TALL, ax=ax)
    draw_rows(axes[0], observed[shown], low[shown], high[shown])
    axes[0].set_yticks(np.arange(len(shown)) if few else [], [plain(block.levels[g], 40) for g in shown] if few else [])
    rows = "" if few else f"levels of {plain(block.group)}, from the lowest to the highest"
    name_axes(axes[0], f"mean {share_of(design)}{plain(design.response)} of the level's rows", rows)
    entries = {"observed": ("o", INK), "95 % of the replicated means": ("-", GREY)}
    key(figure, entries | ({"observed outside": ("D", ACCENT)} if outside.any() else {}))
    drawn = f", {len(shown):,} of them drawn" if step > 1 else ""
    text = f"Posterior predictive check of the means of {len(observed):,} levels of {plain(block.group)}{drawn}: "
    title(figure, f"{text}{outside.sum():,} outside their intervals", design.formula.text)
    return axes


def means_by(block, values: np.ndarray) -> np.ndarray:
    """Return the mean of each level's rows of values, (draws, n): (draws, levels)."""
    rows = np.bincount(block.index, minlength=len(block.levels))
    sums = [np.bincount(block.index, weights=each, minlength=len(block.levels)) for each in values]
    return np.array(sums) / np.maximum(rows, 1)


def draw_rows(ax, observed: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Draw a row for each level from below: its observed mean over the interval of the replicated ones, (levels,)."""
    rows, many = np.arange(len(observed)), len(observed) > NAMED_LEVELS
    out = (observed < low) | (observed > high)
    ax.hlines(rows, low, high, color=GREY, linewidth=0.7 if many else 4.0)
    size = {"markersize": 1.8 if many else 4.0}
    ax.plot(observed[~out], rows[~out], linestyle="none", **marker("o", INK) | size)
    ax.plot(observed[out], rows[out], linestyle="none", **marker("D", ACCENT) | {"markersize": 3.5 if many else 5.0})
    ax.set_ylim(-1, len(observed))
