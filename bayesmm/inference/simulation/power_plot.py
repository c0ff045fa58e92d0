"""The figure of a power curve."""

import numpy as np

from bayesmm.display.figures import GREY, INK, drawn, key, panels, plain, title

USUAL = 0.8  # the power that studies are commonly planned for (Cohen 1988, Statistical Power Analysis, section 2.4)
ROOM = 0.06  # of the width, beside the outermost points


@drawn
def plot_power(found, ax=None):
    """Draw the share of simulated data sets in which the test rejects, against the number of groups.

    Parameters
    ----------
    found : Power
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Plot
    """
    own = ax is None
    if own:
        figure, axes = panels(1, 7.7, 4.0)
        ax = axes[0]
    shown = found.table
    counted = list(shown.columns[: shown.columns.get_loc("power")])
    along = max(counted, key=lambda name: shown[name].nunique())
    x = shown[along].to_numpy()
    ax.axhline(USUAL, color=GREY, linestyle="--", linewidth=1)
    ax.axhline(found.level, color=GREY, linestyle=":", linewidth=1)
    ax.vlines(x, shown["lower"], shown["upper"], color=INK, linewidth=1.2)
    others = [name for name in counted if name != along]
    for values, part in shown.groupby(others) if others else [((), shown)]:
        ax.plot(part[along], part["power"], "-o", color=INK, markersize=5, linewidth=1)
        said = ", ".join(f"{name} {value:,}" for name, value in zip(others, values, strict=True))
        ax.annotate(
            plain(said), (part[along].iloc[-1], part["power"].iloc[-1]), (4, 2), textcoords="offset points", size=7
        )
    margin = ROOM * max(float(np.ptp(x)), 1.0)
    ax.set(xlim=(x.min() - margin, x.max() + margin), ylim=(0, 1.02), xticks=np.unique(x))
    label = {"groups": f"levels of {found.by}", "rows": "observations per row"}.get(along, f"levels of {along}")
    ax.set_xlabel(plain(label), fontsize=9)
    ax.set_ylabel("power: share of simulations that reject", fontsize=9)
    if own:
        lines = {
            "power": ("o", INK),
            "95 % interval": ("|-|", INK),
            f"power {USUAL:g}, the usual target": ("--", GREY),
            f"level of the test, {found.level:g}": (":", GREY),
        }
        key(figure, lines)
        size = "" if np.isnan(found.value) else f" if it is {found.value:.4g}"
        number = int(shown["simulations"].max())
        said = f"{number:,} simulations each; {found.method}, two-sided"
        title(figure, f"Power to find {plain(found.test)} different from 0{size}", said)
    return ax
