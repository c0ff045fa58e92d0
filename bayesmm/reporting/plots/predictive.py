"""Responses that the model expects, before it has seen the data and after, with the observed ones over them."""

import numpy as np

from bayesmm.display.figures import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    drawn,
    heading,
    key,
    label_edges,
    marker,
    panels,
    plain,
    title,
)
from bayesmm.families.support import Support
from bayesmm.posterior.density import density
from bayesmm.posterior.predict import predict
from bayesmm.posterior.residuals import replicates, thinned
from bayesmm.reporting.plots.chosen import check_single, factor, largest, of_posterior, said, share_of
from bayesmm.runtime.arguments import check_seed
from bayesmm.runtime.streams import stream

MEAN_BINS = 30  # of the histogram of prior predictive means
SHOWN_LEVELS = 12  # panels of a figure by group
GRID = 200  # points of a density
MARGIN = 0.25  # of the range of responses, on each side of it: room for a density to fall off
BANDED = 200  # replicated densities that a band is taken from
FEWEST_ROWS = 10  # for a density, or for a share; of fewer rows each response is drawn
MOST_BARS = 40  # of a rootogram; of more counts several share a bar, but 0 has its own
SHARE_BINS = 10


@drawn
@of_posterior
def plot_predictive(fit, group: str | None = None, seed: int = 0, ax=None):
    """Draw the observed responses over those that the fitted model gives for the same rows.

    Of a continuous response the densities, with the band that 95 % of the replicated ones stay in at each place. Of
    counts a rootogram: how often each count was observed, as bars, and how often it is expected, with 95 % intervals,
    on a scale of square roots (Kleiber & Zeileis 2016, The American Statistician 70(3)). Of a response of 0 and 1 the
    observed share in each tenth of the fitted probabilities.

    Parameters
    ----------
    fit : Fit
    group : str, optional
        A grouping factor to draw by, a panel for each level; of more than 12 those with the most rows.
    seed : int
    ax : matplotlib.axes.Axes, optional
        Where to draw, without a `group`; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the model has no such factor, its random effects were not kept, or the response is censored.
    """
    check_seed(seed, optional=False)
    if fit.design.limits is not None and fit.design.limits.censored.any():
        raise ValueError("draws of a censored response are not censored, so they do not compare; use plot_survival")
    design, replicated = fit.design, replicates(fit, seed)
    trials = 1.0 if design.trials is None else design.trials
    counted = design.family.discrete and (design.trials is None or len(np.unique(design.trials)) == 1)
    observed, drawn = (design.y, replicated) if counted else (design.y / trials, replicated / trials)
    draw = draw_counts if counted else draw_densities
    if design.family.support.binary:
        draw, drawn = draw_shares, predict(thinned(fit)).draws.reshape(-1, design.n)
    parts, names, about = [np.arange(design.n)], [""], ""
    if design.responses:
        if group is not None:
            check_single(design, "a figure by group")
        parts = [np.flatnonzero(design.response_codes == k) for k in range(len(design.responses))]
        names = list(design.responses)
    if group is not None:
        block = design.blocks[factor(design, group)]
        levels = largest(block, SHOWN_LEVELS)
        parts, names = [np.flatnonzero(block.index == g) for g in levels], [block.levels[g] for g in levels]
        about = f", by {said(block, len(levels))}"
    single = len(parts) == 1 and group is None
    if ax is not None and not single:
        what = "leave ax= out" if design.responses else "so leave ax= or group= out"
        each = "several responses have one for each" if design.responses else "a figure by group has one for each level"
        raise ValueError(f"ax= is for one panel; {each}, {what}")
    size = (6.6, 3.4) if single else (3.1, 2.1)
    figure, axes = panels(len(parts), *size, columns=3, ax=ax)
    for panel, rows, each in zip(axes, parts, names, strict=True):
        draw(panel, observed[rows], drawn[:, rows])
        heading(panel, each, 9)
    name = ("" if counted else share_of(design)) + plain(design.response)
    label_edges(axes, "fitted probability" if draw is draw_shares else name, HEIGHTS[draw], draw is draw_shares)
    key(figure, entries_for(draw, [len(rows) for rows in parts]))
    title(figure, f"Posterior predictive check{about}", design.formula.text)
    return axes


def entries_for(draw, sizes: list[int]) -> dict[str, tuple[str, str]]:
    """Return the entries of the key; where all panels have too few rows for a density, those of single rows."""
    few = [size < FEWEST_ROWS for size in sizes]
    if draw is not draw_densities or not any(few):
        return KEYS[draw]
    single = {"an observed row": ("|", ACCENT), "density of the replicates": ("s", LIGHT)}
    return single if all(few) else {"an observed row, of few": ("|", ACCENT)} | KEYS[draw]


def draw_densities(ax, observed: np.ndarray, drawn: np.ndarray) -> None:
    """Draw the density of the observed responses, (n,), over the band of those of the replicates, (draws, n)."""
    outermost = np.quantile(drawn, [0.001, 0.999])
    low, high = min(outermost[0], observed.min()), max(outermost[1], observed.max())
    margin = MARGIN * (high - low)
    grid = np.linspace(low - margin, high + margin, GRID)
    if len(observed) < FEWEST_ROWS:  # too few for a density
        ax.fill_between(grid, density_at(grid, drawn.ravel()), color=LIGHT, linewidth=0)
        ax.plot(observed, np.zeros(len(observed)), linestyle="none", marker="|", markersize=14, color=ACCENT)
    else:
        heights = np.array([density_at(grid, values) for values in drawn[:BANDED]])
        ax.fill_between(grid, *np.quantile(heights, [0.025, 0.975], axis=0), color=LIGHT, linewidth=0)
        ax.plot(grid, heights.mean(axis=0), color=INK, linewidth=1.0, linestyle="--")
        ax.plot(grid, density_at(grid, observed), color=ACCENT, linewidth=1.8)
    ax.set_yticks([])
    ax.set_ylim(0)


def density_at(grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the kernel density of the values on the grid; 0 everywhere for equal values, which have none."""
    if np.ptp(values) == 0:
        return np.zeros(len(grid))
    return np.interp(grid, *density(values), left=0.0, right=0.0)


def draw_counts(ax, observed: np.ndarray, drawn: np.ndarray) -> None:
    """Draw how often each count is among the observed responses, (n,), and among the replicates, (draws, n)."""
    top = int(max(observed.max(), np.quantile(drawn, 0.999)))
    wide = -(-(top + 1) // MOST_BARS)  # counts in one bar
    edges = np.append(0, np.arange(1, top + 1 + wide, wide)) - 0.5  # 0 alone: extra zeros are what is looked for
    found = np.histogram(observed, edges)[0]
    expected = np.array([np.histogram(values, edges)[0] for values in drawn])
    at, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    low, high = np.quantile(expected, [0.025, 0.975], axis=0)
    ax.bar(at, found, width=0.8 * widths, color=LIGHT, edgecolor=GREY, linewidth=0.7)
    ax.vlines(at, low, high, color=INK, linewidth=1.4)
    ax.plot(at, expected.mean(axis=0), linestyle="none", marker="o", markersize=3, color=INK)
    off = (found < low) | (found > high)
    ax.plot(at[off], found[off], linestyle="none", marker="D", markersize=4.5, color=ACCENT, markerfacecolor="white")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_yscale("function", functions=(_root, np.square))
    ax.set_ylim(0, 1.08 * max(found.max(), high.max(), 1))


def _root(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(values, 0.0))


def draw_shares(ax, observed: np.ndarray, means: np.ndarray) -> None:
    """Draw the share of ones, (n,), in bins of the fitted probabilities, (draws, n), with intervals."""
    fitted = means.mean(axis=0)
    bins = max(1, min(SHARE_BINS, len(observed) // FEWEST_ROWS))
    rng = stream(0, "replicated shares")
    replicated = rng.uniform(size=means.shape) < means
    for rows in np.array_split(np.argsort(fitted, kind="stable"), bins):
        at = fitted[rows].mean()
        low, high = np.quantile(replicated[:, rows].mean(axis=1), [0.025, 0.975])
        ax.vlines(at, low, high, color=LIGHT, linewidth=6)
        ax.plot(at, observed[rows].mean(), **marker("o", ACCENT) | {"markersize": 4})
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.9)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)


HEIGHTS = {
    draw_densities: "density",
    draw_counts: "rows (root scale)",
    draw_shares: "observed share of ones",
}
KEYS = {
    draw_densities: {"observed": ("-", ACCENT), "mean of the replicates": ("--", INK), "95 % of them": ("s", LIGHT)},
    draw_counts: {
        "observed": ("s", LIGHT),
        "expected, with 95 % interval": ("o", INK),
        "observed outside it": ("D", ACCENT),
    },
    draw_shares: {"observed": ("o", ACCENT), "95 % of the replicates": ("band", LIGHT), "equal": ("--", GREY)},
}


@drawn
def plot_prior_predictive(model, draws: int = 200, seed: int | None = None):
    """Draw what responses the priors expect, before they have seen any, with the observed ones over them.

    Parameters
    ----------
    model : Model
    draws : int
        Of the parameters, each with one response for every row.
    seed : int, optional

    Returns
    -------
    Plot
        First the sorted responses: the band that 95 % and 50 % of the draws fall in, point by point, and the observed
        ones. Then the mean of each draw, and the observed one. A response of 0 and 1 has the second panel only. Of a
        binomial, shares are drawn; counts are on a logarithmic axis from 1 on, and so are values above 0.

    Raises
    ------
    PriorError
        If a prior is improper.
    TypeError
        If it is given a fit.
    """
    if hasattr(model, "tree"):
        raise TypeError("plot_prior_predictive() is of a Model, before any fit, not of a Fit; give fit.model")
    design, size = model.design, 1.0 if model.design.trials is None else model.design.trials
    drawn = model.prior_predictive(draws, seed)["prior_predictive"]["y"].values[0] / size
    observed, name = design.y / size, plain(design.response)
    two_values = design.family.support.binary
    scale, more = _scale(design.family.support)
    figure, axes = panels(1 if two_values else 2, wide=4.6, high=3.0)
    if not two_values:
        draw_sorted(axes[0], drawn, observed)
        axes[0].set_ylabel(name)
        axes[0].set_yscale(scale, **more)
    axes[-1].set_xscale(scale, **more)
    draw_means(axes[-1], drawn.mean(axis=1), observed.mean(), scale)
    axes[-1].set_xlabel(f"mean of {name}")
    band = {} if two_values else {"95 % of prior draws": ("s", LIGHT), "50 %": ("s", GREY)}
    key(figure, band | ({"means of prior draws": ("s", LIGHT)} if two_values else {}) | {"observed": ("-", ACCENT)})
    known = design.limits is not None and design.limits.censored.any()
    about = ", censored responses being drawn as they stand" if known else ""
    title(figure, f"What the priors expect{about}", design.formula.text)
    return axes


def _scale(support: Support) -> tuple[str, dict[str, float]]:
    """Return the scale of the axis of responses, and its arguments."""
    if support.counts:
        return "symlog", {"linthresh": 1.0}
    return ("log", {}) if support.positive else ("linear", {})


def draw_sorted(ax, drawn: np.ndarray, observed: np.ndarray) -> None:
    """Draw the bands of the sorted draws, (draws, n), over their ranks, and the sorted observations, (n,)."""
    rank = (np.arange(len(observed)) + 0.5) / len(observed)
    ordered = np.sort(drawn, axis=1)
    for probability, ink in ((0.95, LIGHT), (0.5, GREY)):
        low, high = np.nanquantile(ordered, [(1 - probability) / 2, (1 + probability) / 2], axis=0)
        ax.fill_between(rank, low, high, color=ink, linewidth=0)
    ax.plot(rank, np.sort(observed), color=ACCENT, linewidth=1.8)
    ax.set_xlabel("share of rows up to this value")


def draw_means(ax, means: np.ndarray, observed: float, scale: str) -> None:
    """Draw the distribution of the means of all draws, (draws,), but the outermost, with the observed one marked."""
    inner = means[np.isfinite(means)]
    there, back = {"log": (np.log, np.exp), "symlog": (np.log1p, np.expm1)}.get(scale, (np.asarray, np.asarray))
    low, high = there(np.quantile(inner, [0.01, 0.99]))
    at = float(there(observed))
    edges = back(np.linspace(min(low, at), max(high, at), MEAN_BINS + 1))
    counts, _ = np.histogram(inner, edges)
    ax.stairs(counts, edges, fill=True, color=LIGHT)
    ax.axvline(observed, color=ACCENT, linewidth=1.8)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
