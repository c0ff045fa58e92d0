"""Figures of a posterior beside the maximised fit, legible in grey.

Matplotlib is loaded at the first figure. Names from the data are never read as mathematics (``$``), are cut, and keep a
leading underscore (which matplotlib would hide). Every function returns the axes, to be changed or shown.
"""

from functools import partial
from pathlib import Path

import numpy as np

from bayesmm.compare import AGREE, Comparison, marginal_mode
from bayesmm.density import density, support_of
from bayesmm.drawing import ACCENT, GREY, INK, LIGHT, chain_ink, key, marker, panels, per, plain, png, title, view
from bayesmm.errors import listing
from bayesmm.io import slug, write_bytes
from bayesmm.points import estimate
from bayesmm.tables import Parameter, draws_of, effect_draws, is_constant, variance_parameters

PANELS = 12  # parameters of one figure; more would be too small to read
LABELLED_LEVELS = 40  # levels of a caterpillar that still have room for their names
TALL = 7.0  # inches of a caterpillar without names
DRAWN_LEVELS = 400  # rows of a caterpillar; of more levels, every k-th by rank is drawn
FOREST_ROWS = 40  # parameters of the comparison's figure
TRACE_POINTS = 1000  # draws of a chain that a trace of this width can show
RANK_BINS = 20  # of a rank plot: Vehtari et al. (2021), section 4.4
MEAN_BINS = 30  # of the histogram of prior predictive means
BAND = 0.99  # probability of the band that a rank of a converged chain stays in, bin by bin


def plot_variances(fit, point=None):
    """Draw the posterior density of each standard deviation, correlation and sigma, with the maximised fits marked.

    Parameters
    ----------
    fit : Fit
    point : PointFit, optional
        The fit to mark; REML if not given.

    Returns
    -------
    array of matplotlib.axes.Axes
    """
    point = fit.model.maximize() if point is None else point
    mode = marginal_mode(fit.model)
    every = variance_parameters(fit.design)
    parameters = every[:PANELS]
    figure, axes = panels(len(parameters), width=3.3, height=2.4)
    for ax, parameter, draws in zip(axes, parameters, draws_of(fit, parameters), strict=True):
        marks = [estimate(point, parameter), np.nan if mode is None else estimate(mode, parameter)]
        draw_density(ax, parameter, draws.ravel(), marks)
        ax.set_title(plain(parameter.label), fontsize=10, loc="left")
        ax.set_xlabel(unit(fit.design, parameter))
    entries = {"posterior density": ("s", LIGHT), "posterior mean": ("o", INK), "95 % interval": ("band", INK)}
    entries |= {point.method: ("-", ACCENT)} | ({} if mode is None else {"MAP": ("--", INK)})
    key(figure, entries)
    title(figure, "Variance components" + omitted(len(every) - len(parameters)), fit.design.formula.text)
    return axes


def draw_density(ax, parameter: Parameter, draws: np.ndarray, marks: list[float]) -> None:
    """Draw one density with its mean and interval under it, the point estimate solid and the MAP dashed over it."""
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    if np.ptp(draws) == 0:
        ax.axvline(draws[0], color=INK, linewidth=5, solid_capstyle="butt")
        ax.text(0.5, 0.5, " held fixed by its prior", transform=ax.transAxes, fontsize=8)
        return
    grid, height = density(draws, support_of(parameter.kind))
    ax.fill_between(grid, height, color=LIGHT, linewidth=0)
    ax.plot(grid, height, color=GREY, linewidth=1)
    lower, upper = np.quantile(draws, [0.025, 0.975])
    base = -0.07 * height.max()
    ax.hlines(base, lower, upper, color=INK, linewidth=2.5)
    ax.plot(draws.mean(), base, **marker("o", INK))
    for value, (style, ink) in zip(marks, (("-", ACCENT), ("--", INK)), strict=True):
        if np.isfinite(value):
            ax.axvline(value, ymin=0.1, linestyle=style, color=ink, linewidth=1.6)
    view(ax, draws, marks)
    ax.set_ylim(2 * base, 1.05 * height.max())


def unit(design, parameter: Parameter) -> str:
    """Return the unit of a variance parameter: that of the response, per unit of the predictor of a slope."""
    if parameter.kind == "corr":
        return "correlation"
    term = "Intercept" if parameter.kind == "sigma" else design.blocks[parameter.block].columns[parameter.terms[0]]
    return f"sd, in units of {plain(design.response)}{per(term)}"


def omitted(count: int) -> str:
    """Return the remark that parameters were left out of a figure."""
    return f" (the first {PANELS}; {count:,} more in fit.varcorr())" if count > 0 else ""


def plot_effects(fit, point=None, group: str | None = None):
    """Draw the random effects of one factor, sorted, with the conditional modes of the maximised fit over them.

    Parameters
    ----------
    fit : Fit
    point : PointFit, optional
        The fit whose conditional modes (BLUPs) are drawn; REML if not given.
    group : str, optional
        The grouping factor; the first of the design if not given.

    Returns
    -------
    array of matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the model has no such factor.
    """
    groups = [block.group for block in fit.design.blocks]
    if not groups or (group is not None and group not in groups):
        raise ValueError(f"group is {group!r}; the grouping factors of this model are {listing(groups) or 'none'}")
    k = groups.index(group) if group is not None else 0
    point, block = fit.model.maximize() if point is None else point, fit.design.blocks[k]
    draws = effect_draws(fit, k).reshape(len(block.columns), len(block.levels), -1)
    step = -(-len(block.levels) // DRAWN_LEVELS)
    rows = -(-len(block.levels) // step)
    height = 0.19 * rows + 0.8 if rows <= LABELLED_LEVELS else TALL
    figure, axes = panels(len(block.columns), width=4.4, height=max(height, 2.0))
    for i, ax in enumerate(axes):
        caterpillar(ax, draws[i], point.modes[k][:, i], block.levels, step)
        ax.set_title(plain(block.columns[i]), fontsize=10, loc="left")
        ax.set_xlabel(f"deviation, in units of {plain(fit.design.response)}{per(block.columns[i])}")
    key(figure, {"posterior mean": ("o", INK), "95 % interval": ("-", GREY), f"{point.method} mode": ("D", ACCENT)})
    drawn = "" if step == 1 else f", {rows} of them drawn at even ranks"
    text = f"Random effects of {plain(block.group)}: {len(block.levels):,} levels, sorted{drawn}"
    title(figure, text, fit.design.formula.text)
    return axes


def caterpillar(ax, draws: np.ndarray, modes: np.ndarray, levels: tuple[str, ...], step: int) -> None:
    """Draw the effects of one term, sorted by posterior mean; names only where there is room."""
    means = draws.mean(axis=1)
    chosen = np.argsort(means)[::step]
    lower, upper = np.quantile(draws[chosen], [0.025, 0.975], axis=1)
    rows, many = np.arange(len(chosen)), len(chosen) > LABELLED_LEVELS
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.hlines(rows, lower, upper, color=GREY, linewidth=0.7 if many else 1.8)
    ax.plot(modes[chosen], rows, linestyle="none", **marker("D", ACCENT) | {"markersize": 1.6 if many else 6})
    ax.plot(means[chosen], rows, linestyle="none", **marker("o", INK) | {"markersize": 1.2 if many else 3.2})
    ax.set_ylim(-1, len(chosen))
    ax.set_yticks([] if many else rows, [] if many else [plain(levels[i], 16) for i in chosen])
    if many:
        ax.set_ylabel("levels, from the lowest to the highest", fontsize=9)


def plot_comparison(comparison: Comparison):
    """Draw the posterior interval and the point estimates of every parameter, in posterior standard deviations.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    matplotlib.axes.Axes
    """
    table, method = comparison.table[comparison.table["sd"] > 0].head(FOREST_ROWS), comparison.point.method
    figure, axes = panels(1, width=9.6, height=0.36 * len(table) + 1.0)
    ax, rows = axes[0], np.arange(len(table))[::-1]
    scaled = table[["lower", "upper", "point", "map"]].sub(table["mean"], axis=0).div(table["sd"], axis=0)
    ax.axvspan(-AGREE, AGREE, color=LIGHT, alpha=0.6, linewidth=0)
    ax.hlines(rows, scaled["lower"], scaled["upper"], color=GREY, linewidth=5)
    ax.plot(np.zeros(len(rows)), rows, linestyle="none", **marker("o", INK))
    ax.plot(scaled["point"], rows, linestyle="none", **marker("D", ACCENT))
    ax.plot(scaled["map"], rows, linestyle="none", **marker("x", INK))
    label_rows(ax, table, rows, method)
    ax.set_xlabel("distance from the posterior mean, in posterior standard deviations")
    entries = {"posterior mean": ("o", INK), "95 % interval": ("band", GREY), method: ("D", ACCENT), "MAP": ("x", INK)}
    key(figure, entries | {f"{method} here: agrees": ("s", LIGHT)})
    more = len(comparison.table) - len(table)
    title(figure, f"Posterior and {method}" + (f" ({more:,} more parameters in the table)" if more else ""))
    return ax


def label_rows(ax, table, rows: np.ndarray, method: str) -> None:
    """Name the parameters on the left; on the right write both answers as numbers, and the verdict."""
    ax.set_yticks(rows, [plain(label, 40) for label in table["parameter"]])
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


def plot_traces(fit):
    """Draw the trace and the ranks of the draws of each standard deviation, correlation and sigma, a row each.

    The ranks of converged chains are uniform: their steps stay in the band (Vehtari et al. 2021, section 4.4).

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    array of matplotlib.axes.Axes, (parameters, 2)
    """
    every = variance_parameters(fit.design)
    varying = [p for p, fixed in zip(every, is_constant(draws_of(fit, every)), strict=True) if not fixed]
    parameters = varying[:PANELS]
    figure, axes = panels(2 * len(parameters), width=4.8, height=1.5, columns=2)
    axes = axes.reshape(-1, 2)
    for (left, right), parameter, draws in zip(axes, parameters, draws_of(fit, parameters), strict=True):
        draw_trace(left, draws)
        draw_ranks(right, draws)
        left.set_title(plain(parameter.label), fontsize=10, loc="left")
        right.set_title("ranks of the draws, chain by chain", fontsize=9, loc="left", color=GREY)
    for ax, label in zip(axes[-1:].ravel(), ("draw", "rank among the draws of all chains"), strict=False):
        ax.set_xlabel(label)
    chains = [chain_ink(c) for c in range(min(fit.tree["posterior"].sizes["chain"], 4))]
    entries = {f"chain {c}": (ink["linestyle"], ink["color"]) for c, ink in enumerate(chains)}
    key(figure, entries | {f"{100 * BAND:.0f} % of the steps, if the chains agree": ("s", LIGHT)})
    text = "Traces of the variance parameters" + omitted(len(varying) - len(parameters))
    title(figure, text, fit.design.formula.text)
    return axes


def draw_trace(ax, draws: np.ndarray) -> None:
    """Draw the chains of one parameter over their length, thinned to what can be seen."""
    step = max(1, draws.shape[1] // TRACE_POINTS)
    for c, chain in enumerate(draws):
        ax.plot(np.arange(draws.shape[1])[::step], chain[::step], linewidth=0.5, alpha=0.8, **chain_ink(c))


def draw_ranks(ax, draws: np.ndarray) -> None:
    """Draw how many draws of each chain fall in each part of the ranks of all, with the band of uniform ranks."""
    from scipy.stats import binom, rankdata

    chains, n = draws.shape
    ranks = rankdata(draws, method="ordinal").reshape(draws.shape)
    edges = np.linspace(0, draws.size, RANK_BINS + 1)
    low, high = binom.ppf([(1 - BAND) / 2, (1 + BAND) / 2], n, 1 / RANK_BINS)
    ax.axhspan(low, high, color=LIGHT, linewidth=0)
    for c in range(chains):
        counts, _ = np.histogram(ranks[c] - 0.5, edges)
        ax.stairs(counts, edges, linewidth=1.1, baseline=None, **chain_ink(c))
    ax.set_ylim(0)
    ax.set_yticks([])


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
    array of matplotlib.axes.Axes
        First the sorted responses: the band that 95 % and 50 % of the draws fall in, point by point, and the observed
        ones. Then the mean of each draw, and the observed one. A response of 0 and 1 has the second panel only. Of a
        binomial, shares are drawn; counts are on a logarithmic axis from 1 on, and so are values above 0.

    Raises
    ------
    PriorError
        If a prior is improper.
    """
    design, size = model.design, 1.0 if model.design.trials is None else model.design.trials
    drawn = model.prior_predictive(draws, seed)["prior_predictive"]["y"].values[0] / size
    observed, name = design.y / size, plain(design.response)
    two_values = design.family.name == "bernoulli"
    scale, more = _scale(design.family.name)
    figure, axes = panels(1 if two_values else 2, width=4.6, height=3.0)
    if not two_values:
        draw_sorted(axes[0], drawn, observed)
        axes[0].set_ylabel(name)
        axes[0].set_yscale(scale, **more)
    axes[-1].set_xscale(scale, **more)
    draw_means(axes[-1], drawn.mean(axis=1), observed.mean(), scale)
    axes[-1].set_xlabel(f"mean of {name}")
    band = {} if two_values else {"95 % of prior draws": ("s", LIGHT), "50 %": ("s", GREY)}
    key(figure, band | ({"means of prior draws": ("s", LIGHT)} if two_values else {}) | {"observed": ("-", ACCENT)})
    title(figure, "What the priors expect", design.formula.text)
    return axes


def _scale(family: str) -> tuple[str, dict[str, float]]:
    """Return the scale of a family's responses and its arguments."""
    if family in ("poisson", "negbinomial"):
        return "symlog", {"linthresh": 1.0}
    return ("log", {}) if family == "gamma" else ("linear", {})


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


def save_figures(fit, directory: str | Path, comparison: Comparison | None = None) -> list[Path]:
    """Write the four kinds of figures as PNG files, a caterpillar for each grouping factor.

    Parameters
    ----------
    fit : Fit
    directory : path
        An existing directory.
    comparison : Comparison, optional
        The comparison to draw; found if not given.

    Returns
    -------
    list of Path
        The files written. A factor's name becomes letters, digits and, where that loses anything, a hash.
    """
    import matplotlib.pyplot as plt

    comparison = fit.compare(bridge=False) if comparison is None else comparison
    drawings = {
        "variance_components": lambda: plot_variances(fit, comparison.point),
        "comparison": lambda: plot_comparison(comparison),
        "traces": lambda: plot_traces(fit),
    }
    for block in fit.design.blocks:
        drawings[f"effects_{slug(block.group)}"] = partial(plot_effects, fit, comparison.point, block.group)
    paths = []
    for name, draw in drawings.items():
        figure = np.ravel(draw())[0].figure
        paths.append(Path(directory) / f"{name}.png")
        write_bytes(png(figure), paths[-1])
        plt.close(figure)
    return paths
