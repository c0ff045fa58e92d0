"""Residuals of a posterior: against the fitted values, and against the quantiles that they should have."""

import numpy as np

from bayesmm.display.figures import ACCENT, GREY, INK, LIGHT, drawn, key, name_axes, panels, plain, title
from bayesmm.posterior.draws import posterior_residuals
from bayesmm.posterior.residuals import (
    fitted_means,
    replicate_scores,
    replicates_of_new_groups,
    residuals_of_new_groups,
)
from bayesmm.reporting.plots.chosen import of_posterior
from bayesmm.runtime.arguments import check_seed
from bayesmm.runtime.streams import stream

BINS = 12  # of fitted values, for the line through the residuals' medians
FEWEST_IN_BIN = 8  # rows; a median of fewer says little
FEW_ROWS = 500  # up to which rows are drawn as large dots
SIMULATIONS = 999  # of a QQ envelope; its level is then exact to 1 / 1,000
ENVELOPE = 0.95  # probability that all residuals of a right model are in the envelope
POSITIONS = 400  # of the sorted residuals that are drawn and judged; more cannot be seen


def residual_name(fit) -> str:
    """Return what the residuals are called."""
    return "residual / its sd" if fit.design.family.normal else "quantile residual (normal score)"


@drawn
@of_posterior
def plot_residuals(fit, seed: int = 0, ax=None):
    """Draw the residuals against the fitted values, with the medians and the middle halves of bins of them.

    If the model holds, the medians stay near 0 and the spread is the same everywhere. A normal response has Pearson
    residuals at the posterior means. Others have quantile residuals, which are standard normal then: the places of the
    responses among those of new groups, over the means of an average group (`residuals.residuals_of_new_groups`).

    Parameters
    ----------
    fit : Fit
    seed : int
        Of the replicated responses of a generalised model.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the response is normal and the random effects were not kept.
    """
    check_seed(seed, optional=False)
    normal = fit.design.family.normal
    if normal:
        residuals, fitted = posterior_residuals(fit), fitted_means(fit)
    else:
        residuals = residuals_of_new_groups(fit, seed)
        fitted = fitted_means(fit, "population")
    figure, axes = panels(1, wide=7.0, high=3.6, ax=ax)
    (ax,) = axes
    size = 3.0 if len(fitted) <= FEW_ROWS else 1.5
    ax.plot(fitted, residuals, linestyle="none", marker="o", markersize=size, color=GREY, alpha=0.7, markeredgewidth=0)
    ax.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    at, quartiles = binned(fitted, residuals)
    if len(at) > 1:
        ax.plot(at, quartiles[1], color=ACCENT, linewidth=1.8, marker="o", markersize=3.5)
        for edge in quartiles[[0, 2]]:
            ax.plot(at, edge, color=INK, linewidth=1.0, linestyle="--")
    which = "posterior mean" if normal or not fit.design.blocks else "of an average group"
    name_axes(ax, f"fitted mean of {plain(fit.design.response)} ({which})", residual_name(fit))
    lines = {"median of a bin of rows": ("-", ACCENT), "middle half of the bin": ("--", INK)} if len(at) > 1 else {}
    key(figure, {"a row of the data": ("o", GREY)} | lines)
    title(figure, "Residuals and fitted values: the medians should stay near 0", fit.design.formula.text)
    return axes


def binned(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean x and the quartiles of the values, (3, bins), in bins of equally many rows along x."""
    count = min(BINS, len(x) // FEWEST_IN_BIN)
    parts = np.array_split(np.argsort(x, kind="stable"), max(count, 1))
    quartiles = np.array([np.quantile(values[part], [0.25, 0.5, 0.75]) for part in parts])
    return np.array([x[part].mean() for part in parts]), quartiles.T


@drawn
@of_posterior
def plot_qq(fit, seed: int = 0, ax=None):
    """Draw the sorted residuals against normal quantiles, with the envelope of simulated ones.

    All residuals of a right model stay inside the envelope with probability 0.95. Those of a normal response are scaled
    to an sd of 1, as the simulated normal ones are, because fitted random effects take away a part of their spread.
    Others are quantile residuals as in `plot_residuals`, and the envelope is that of replicated data, whose rows depend
    on each other within a group as the observed ones do.

    Parameters
    ----------
    fit : Fit
    seed : int
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the response is normal and the random effects were not kept.
    """
    from scipy.special import ndtri

    check_seed(seed, optional=False)
    scaled = fit.design.family.normal
    if scaled:
        residuals = posterior_residuals(fit)
        ordered, (low, high, places) = np.sort(residuals / residuals.std()), envelope(len(residuals), seed)
    else:
        replicated = replicates_of_new_groups(fit, seed)
        ordered, places = np.sort(residuals_of_new_groups(fit, seed, replicated)), positions(fit.design.n)
        low, high = limits(np.sort(replicate_scores(replicated, seed), axis=1)[:, places])
    x = ndtri((places + 0.5) / len(ordered))
    shown = ordered[places]
    outside = (shown < low) | (shown > high)
    figure, axes = panels(1, wide=5.2, high=4.2, ax=ax)
    (ax,) = axes
    ax.fill_between(x, low, high, color=LIGHT, linewidth=0)
    ax.plot(x, x, color=GREY, linewidth=0.9, linestyle="--")
    ax.plot(x[~outside], shown[~outside], linestyle="none", marker="o", markersize=2.5, color=INK)
    ax.plot(
        x[outside], shown[outside], linestyle="none", marker="D", markersize=4, color=ACCENT, markerfacecolor="white"
    )
    name_axes(ax, "normal quantile", f"{residual_name(fit)}{', scaled to sd 1' if scaled else ''}")
    entries = {"residual": ("o", INK)} | ({"outside the envelope": ("D", ACCENT)} if outside.any() else {})
    key(figure, entries | {f"holds all with probability {ENVELOPE}": ("s", LIGHT), "as expected": ("--", GREY)})
    found = f"{outside.sum():,} outside the envelope" if outside.any() else "all inside the envelope"
    thinned = "" if len(places) == len(ordered) else f" ({len(places)} of {len(ordered):,} drawn)"
    title(figure, f"Normal QQ of the residuals: {found}{thinned}", fit.design.formula.text)
    return axes


def envelope(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the envelope of n sorted normal numbers with an sd of 1, low and high, and the positions it is for."""
    places, rng = positions(n), stream(seed, "envelope")
    drawn = np.empty((SIMULATIONS, len(places)))
    for i in range(SIMULATIONS):
        sample = np.sort(rng.standard_normal(n))
        drawn[i] = (sample / sample.std())[places]
    return *limits(drawn), places


def positions(n: int) -> np.ndarray:
    """Return which of n sorted residuals are drawn and judged; the outermost five on each side always are."""
    ends = np.arange(min(n, 5))
    return np.unique(np.concatenate([np.linspace(0, n - 1, min(n, POSITIONS)).round(), ends, n - 1 - ends]).astype(int))


def limits(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of the envelope of simulations, (simulations, positions).

    The k-th lowest and highest of the simulations at each position, with k such that a share of `ENVELOPE` of them is
    inside everywhere: the rank envelope of Myllymaeki et al. (2017), Journal of the Royal Statistical Society B 79(2).
    """
    ordered, last = np.sort(drawn, axis=0), len(drawn) - 1
    ranks = drawn.argsort(axis=0).argsort(axis=0)
    depth = np.minimum(ranks, last - ranks).min(axis=1)
    k = int(np.quantile(depth, 1 - ENVELOPE, method="lower"))
    return ordered[k], ordered[last - k]
