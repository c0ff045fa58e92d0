"""The posterior of the variance parameters, beside the maximised fit and beside the priors."""

import numpy as np
import pandas as pd

from bayesmm.design.parameters import Parameter, coefficients, variance_parameters
from bayesmm.display.figures import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    drawn,
    heading,
    key,
    marker,
    name_axes,
    panels,
    plain,
    title,
    view,
)
from bayesmm.errors import DataError
from bayesmm.evaluation.compare_reml import marginal_mode
from bayesmm.evaluation.prior_marginals import PriorMarginal, draws_on_prior_scale, prior_marginal
from bayesmm.inference.checks import has_profile
from bayesmm.inference.profile import ends, is_later_threshold
from bayesmm.posterior.density import density, support_of
from bayesmm.posterior.draws import CI_PROB, draws_of
from bayesmm.posterior.point_estimates import estimate
from bayesmm.reporting.plots.chosen import maximised, of_posterior
from bayesmm.reporting.plots.labels import units
from bayesmm.runtime.arguments import check_bool

PANELS = 12  # parameters of one figure; more would be too small to read
LARGEST, SMALLEST = 1e12, 1e-12  # of draws that a density is drawn of, and of their width
GRID = 400  # points of a prior density
UPPER_BAR, LOWER_BAR = -0.09, -0.22  # where intervals are drawn, in greatest heights of the density over them


@drawn
@of_posterior
def plot_variances(fit, point=None, intervals: bool | pd.DataFrame = True):
    """Draw the posterior density of each standard deviation, correlation and sigma, with the maximised fits marked.

    Parameters
    ----------
    fit : Fit
    point : PointFit, optional
        The fit to mark; REML (of a generalised model ML) if not given, none where the model has no maximum.
    intervals : bool or DataFrame
        Whether to draw the point fit's 95 % profile intervals, or the table of ``point.confint()`` to take them from.

    Returns
    -------
    Plot
    """
    if not isinstance(intervals, pd.DataFrame):
        check_bool("intervals", intervals)
    point = maximised(fit) if point is None else point
    mode = marginal_mode(fit.model)
    every = variance_parameters(fit.design)
    parameters = every[:PANELS]
    limits = profile_limits(point, parameters, intervals)
    figure, axes = panels(len(parameters), wide=3.3, high=2.4)
    for ax, parameter, draws in zip(axes, parameters, draws_of(fit, parameters), strict=True):
        marks = [np.nan if one is None else estimate(one, parameter) for one in (point, mode)]
        draw_density(ax, parameter, draws.ravel(), marks, limits.get(parameter.label))
        heading(ax, parameter.label, 10)
        name_axes(ax, unit(fit.design, parameter))
    entries = {"posterior density": ("s", LIGHT), "posterior mean and 95 % interval": ("band", INK)}
    entries |= ({} if point is None else {point.method: ("-", ACCENT)}) | (
        {"its 95 % profile interval": ("|-|", ACCENT)} if limits else {}
    )
    key(figure, entries | ({} if mode is None else {"MAP": ("--", INK)}))
    title(figure, "Variance components" + omitted(len(every) - len(parameters)), fit.design.formula.text)
    return axes


def profile_limits(point, parameters: list[Parameter], intervals: bool | pd.DataFrame) -> dict[str, tuple]:
    """Return the ends of the profile interval of each parameter by label; none where there is none to be had."""
    if isinstance(intervals, pd.DataFrame):
        known = [parameter.label for parameter in parameters if parameter.label in intervals.index]
        return {label: (intervals["lower"][label], intervals["upper"][label]) for label in known}
    if not intervals or point is None or point.method == "MAP" or not has_profile(point.design):
        return {}
    known = [parameter for parameter in parameters if not is_later_threshold(point.design, parameter)]
    try:
        found = ends(point, known, CI_PROB)
    except DataError:  # what stands beside a covariance with a structure has none
        return {}
    pairs = zip(known, found, strict=True)
    return {one.label: own for one, own in pairs if not np.isnan(own).any()}


def draw_density(ax, parameter: Parameter, draws: np.ndarray, marks: list[float], limits: tuple | None) -> None:
    """Draw one density with its mean and interval under it, and the profile interval under those.

    `marks` are the point estimate, drawn as a solid line, and the MAP, drawn dashed.
    """
    if np.ptp(draws) == 0:
        draw_fixed(ax, draws[0])
        return
    if beyond(ax, draws):
        return
    top = draw_posterior(ax, support_of(parameter), draws)
    for value, (style, ink) in zip(marks, (("-", ACCENT), ("--", INK)), strict=True):
        if np.isfinite(value):
            ax.plot([value, value], [0, 1.05 * top], linestyle=style, color=ink, linewidth=1.6)
    if limits is not None:
        ax.plot(limits, [LOWER_BAR * top] * 2, color=ACCENT, linewidth=1.2, marker="|", markersize=8)
    view(ax, draws, marks, limits or ())
    ax.set_ylim((LOWER_BAR - 0.09) * top, 1.05 * top)


def draw_posterior(ax, support: tuple[float, float], draws: np.ndarray) -> float:
    """Draw a posterior density with its mean and 95 % interval under it; return its greatest height."""
    bare(ax)
    grid, height = density(np.clip(draws, *support), support)
    top = float(height.max())
    ax.fill_between(grid, height, color=LIGHT, linewidth=0)
    ax.plot(grid, height, color=GREY, linewidth=1)
    ax.axhline(0, color=GREY, linewidth=0.6)
    lower, upper = np.quantile(draws, [0.025, 0.975])
    ax.hlines(UPPER_BAR * top, lower, upper, color=INK, linewidth=2.5)
    ax.plot(draws.mean(), UPPER_BAR * top, **marker("o", INK))
    return top


def beyond(ax, draws: np.ndarray) -> bool:
    """Return whether draws are beyond a picture, and say so in it: of a parameter with a formula, at 0 far from all."""
    with np.errstate(over="ignore", invalid="ignore"):
        fine = np.abs(draws).max() < LARGEST and np.ptp(draws) > SMALLEST
    if not fine:
        bare(ax)
        ax.set_xticks([])
        ax.text(0.5, 0.5, "beyond a picture's numbers", transform=ax.transAxes, fontsize=8, ha="center")
    return not fine


def draw_fixed(ax, value: float) -> None:
    """Draw a parameter that has one value."""
    bare(ax)
    ax.axvline(value, color=INK, linewidth=5, solid_capstyle="butt")
    ax.text(0.5, 0.5, " held fixed by its prior", transform=ax.transAxes, fontsize=8)


def bare(ax) -> None:
    """Take away the axis of heights, which say nothing."""
    ax.set_yticks([])
    ax.locator_params(axis="x", nbins=6)
    ax.spines["left"].set_visible(False)


def unit(design, parameter: Parameter) -> str:
    """Return the unit of a parameter: that of the response or its link's scale, of a slope per unit."""
    if parameter.kind in ("corr", "auxiliary", "residual"):
        return "correlation" if parameter.kind == "corr" else ""
    if parameter.kind == "coefficient":
        return units(design, design.coefficients[parameter.terms[0]])
    if parameter.kind == "sigma":
        return f"sd, in units of {plain(design.response)}"
    block = design.blocks[parameter.block]
    return f"sd, {units(design, 'Intercept' if block.smooth else block.columns[parameter.terms[0]])}"


def omitted(count: int, where: str = "fit.varcorr()") -> str:
    """Return the remark that parameters were left out of a figure."""
    return f" (the first {PANELS}; {count:,} more in {where})" if count > 0 else ""


@drawn
@of_posterior
def plot_priors(fit):
    """Draw the prior density of each parameter over its posterior density: what the data have changed.

    The panel says how wide the posterior's middle half is, as a share of the prior's. Correlations of an LKJ prior have
    their marginal density, 2 Beta(a, a) - 1 with a = eta - 1 + q / 2 for q terms (Lewandowski, Kurowicka & Joe 2009,
    Journal of Multivariate Analysis 100(9)). An intercept with its prior at the predictors' means is drawn there.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    Plot
    """
    every = coefficients(fit.design) + variance_parameters(fit.design)
    parameters = every[:PANELS]
    figure, axes = panels(len(parameters), wide=3.3, high=2.2)
    for ax, parameter in zip(axes, parameters, strict=True):
        marginal = prior_marginal(fit.design, fit.model.priors, parameter)
        draws = draws_on_prior_scale(fit, parameter, marginal).ravel()
        draw_prior(ax, parameter, draws, marginal)
        heading(ax, marginal.label, 10)
        name_axes(ax, unit(fit.design, parameter))
    entries = {"prior density": ("--", ACCENT), "posterior density": ("s", LIGHT)}
    key(figure, entries | {"posterior mean and 95 % interval": ("band", INK)})
    title(
        figure,
        "Priors and posteriors" + omitted(len(every) - len(parameters), "fit.summary()"),
        fit.design.formula.text,
    )
    return axes


def draw_prior(ax, parameter: Parameter, draws: np.ndarray, marginal: PriorMarginal) -> None:
    """Draw one posterior density with its prior over it, in a window that has the middle of both."""
    if np.ptp(draws) == 0:
        draw_fixed(ax, draws[0])
        return
    if beyond(ax, draws):
        return
    top = draw_posterior(ax, support_of(parameter), draws)
    remark = "its prior has no density to draw"
    if marginal.quantile is not None:
        ends = [marginal.quantile(p) for p in (0.1, 0.25, 0.75, 0.9)]
        view(ax, draws, [ends[0], ends[3]], cut=False)
        width = np.subtract(*np.quantile(draws, [0.75, 0.25]))
        remark = f"posterior {share(width / (ends[2] - ends[1]))} as wide as the prior"
    else:
        view(ax, draws, [])
    if marginal.density is not None:
        grid = np.linspace(*np.clip(ax.get_xlim(), *support_of(parameter)), GRID)[1:-1]
        height = marginal.density(grid)
        ax.plot(grid, height, color=ACCENT, linestyle="--", linewidth=1.6)
        top = max(top, float(height.max()))
        remark = remark if marginal.quantile is not None else "its prior is flat"
    ax.set_ylim((UPPER_BAR - 0.1) * top, 1.2 * top)
    ax.text(0.99, 0.97, remark, transform=ax.transAxes, fontsize=7.5, ha="right", va="top")


def share(ratio: float) -> str:
    """Return a ratio of widths as a percentage, or as a multiple from 2 on."""
    return f"{100 * ratio:.2g} %" if ratio < 1 else f"{ratio:.2g} times"
