"""Smooth curves and surfaces with their bands."""

import numpy as np

from bayesmm.display.figures import ACCENT, GREY, INK, LIGHT, drawn, heading, key, name_axes, panels, plain, title
from bayesmm.evaluation.smooths import Curve, curves
from bayesmm.posterior.draws import CI_PROB
from bayesmm.runtime.arguments import check_probability

PANEL = (3.4, 2.7, 3)  # width and height in inches, panels in a row
BAND = "#ececec"


@drawn
def smooths(fitted, ci_prob: float = CI_PROB):
    """Draw the smooths of a model: each curve over the range of its variable, on the scale of the link.

    A curve has the mean 0 over the rows. The inner band holds each point with probability 0.95, the outer one the
    whole curve; ticks at the bottom are the data. A surface t2(x, z) is drawn by its level lines over the data.

    Parameters
    ----------
    fitted : Fit or PointFit
    ci_prob : float
        Of the bands.

    Returns
    -------
    Plot

    Raises
    ------
    DataError
        The model has no smooth.
    ValueError
        If the random effects were not kept.
    """
    check_probability("ci_prob", ci_prob)
    found = list(curves(fitted, ci_prob))
    figure, axes = panels(len(found), *PANEL)
    for ax, curve in zip(axes, found, strict=True):
        (_curve if len(curve.place.variables) == 1 else _surface)(ax, curve)
        edf = "" if np.isnan(curve.edf) else f", edf {curve.edf:.3g}"
        heading(ax, f"{curve.place.name}{edf}", 9)
    share = f"{100 * ci_prob:g} %"
    entries = {"curve": ("-", INK), f"{share} of each point": ("s", LIGHT), f"{share} of the whole curve": ("s", BAND)}
    if any(len(curve.place.variables) == 1 for curve in found):
        key(figure, entries)
    title(figure, "Smooths", fitted.design.formula.text)
    return axes


def _curve(ax, curve: Curve) -> None:
    table, (name,) = curve.table, curve.place.variables
    x = table[name].to_numpy()
    ax.fill_between(x, table["lower_all"], table["upper_all"], color=BAND, linewidth=0)
    ax.fill_between(x, table["lower"], table["upper"], color=LIGHT, linewidth=0)
    ax.axhline(0.0, color=GREY, linewidth=0.6, linestyle=":")
    ax.plot(x, table["estimate"], color=INK, linewidth=1.6)
    (observed,) = curve.observed
    ax.plot(np.unique(observed), np.zeros(len(np.unique(observed))), "|", color=GREY, markersize=5, alpha=0.6,
            transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip
    name_axes(ax, plain(name), plain(curve.place.name))


def _surface(ax, curve: Curve) -> None:
    table, names = curve.table, curve.place.variables
    side = int(np.sqrt(len(table)))
    x, z, f = (table[name].to_numpy().reshape(side, side) for name in (*names, "estimate"))
    ax.plot(*curve.observed, ".", color=LIGHT, markersize=3)
    lines = ax.contour(x, z, f, levels=10, colors=INK, linewidths=0.9)
    ax.contour(x, z, f, levels=[0.0], colors=ACCENT, linewidths=1.4)
    ax.clabel(lines, fontsize=7)
    name_axes(ax, *(plain(name) for name in names))
