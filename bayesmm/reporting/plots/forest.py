"""The forest plot of a meta-analysis: each study as published and as shrunken by the model, and the pooled effect."""

import numpy as np

from bayesmm.display.figures import ACCENT, GREY, INK, drawn, key, marker, name_axes, panels, plain, title
from bayesmm.evaluation.variance.heterogeneity import TAIL, draw_variances, known_errors, new_study, pooled
from bayesmm.posterior.draws import variable
from bayesmm.posterior.predict import predict
from bayesmm.runtime.streams import stream

ROW, HEAD = 0.3, 1.9  # inches of a study, and of title, pooled effect and axis
SQUARES = (3.0, 10.0)  # points: the least and the most exact study
MOST = 150  # studies that have room in one figure


@drawn
def forest(fit, ax=None):
    """Draw a meta-analysis: estimates with their 95 % intervals, shrunken ones, the pooled effect and a new study's.

    Parameters
    ----------
    fit : Fit
        Of a formula with ``se()``. With predictors, the pooled effect is that at their means.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    DataError
        The formula has no ``se()``.
    TypeError
        It is no posterior.
    ValueError
        There are more studies than a figure has room for.
    """
    if not hasattr(fit, "tree"):
        raise TypeError(f"a forest plot has the posterior of each study, from sample(), not a {type(fit).__name__}")
    design, se = fit.design, known_errors(fit.design)
    if design.n > MOST:
        raise ValueError(f"a forest plot has room for {MOST} studies, and the model has {design.n:,}")
    figure, axes = panels(1, wide=7.2, high=ROW * design.n + HEAD, ax=ax)
    ax, rows = axes[0], np.arange(design.n, 0, -1) + 1.5
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    _studies(ax, design.y - design.offset, se, rows + 0.14)
    draws = shrunken(fit, se)
    lower, middle, upper = np.quantile(draws, 0.025, axis=0), draws.mean(axis=0), np.quantile(draws, 0.975, axis=0)
    ax.hlines(rows - 0.16, lower, upper, color=ACCENT, linewidth=1.6)
    ax.plot(middle, rows - 0.16, linestyle="none", **marker("D", ACCENT) | {"markersize": 4})
    _pooled(ax, fit)
    ax.set_ylim(-0.6, design.n + 2.2)
    where = "" if design.p == 1 and design.has_intercept else ", at the predictors' means"
    ax.set_yticks([*rows, 1.0, 0.2], [*_labels(design), f"pooled{where}", "new study"])
    name_axes(ax, plain(design.response))
    handles = {
        "study, 95 % interval": ("s", INK),
        "shrunken": ("D", ACCENT),
        "pooled": ("d", INK),
        "new study": ("-", INK),
    }
    key(figure, handles)
    title(figure, f"Forest plot: {design.n} studies", design.formula.text)
    return axes


def _studies(ax, y: np.ndarray, se: np.ndarray, rows: np.ndarray) -> None:
    """Draw what was published, a square the larger the more exact it is."""
    ax.hlines(rows, y - TAIL * se, y + TAIL * se, color=GREY, linewidth=1.1)
    share = np.ones(len(se)) if np.ptp(se) == 0 else (1 / se - (1 / se).min()) / np.ptp(1 / se)
    sizes = SQUARES[0] + share * (SQUARES[1] - SQUARES[0])
    ax.scatter(y, rows, s=sizes**2, marker="s", color=INK, zorder=3, linewidths=0)


def _pooled(ax, fit) -> None:
    """Draw the pooled effect as a diamond as wide as its interval, and below it the interval of a new study."""
    mu = pooled(fit)
    (low, high), middle = np.quantile(mu, [0.025, 0.975]), mu.mean()
    ax.fill([low, middle, high, middle], [1.0, 1.28, 1.0, 0.72], color=INK, zorder=3, linewidth=0)
    ends = new_study(mu, np.sqrt(draw_variances(fit).sum(axis=0)))
    ax.hlines(0.2, *ends, color=INK, linewidth=1.6)
    ax.vlines(ends, 0.05, 0.35, color=INK, linewidth=1.6)
    ax.axhline(1.7, color=GREY, linewidth=0.6)
    ax.axvline(middle, color=INK, linewidth=0.6, linestyle="--")


def shrunken(fit, se: np.ndarray) -> np.ndarray:
    """Return draws of the effect of each study, (draws, n): of one with a residual of its own, that residual too."""
    design = fit.design
    eta = predict(fit, kind="linear").draws.reshape(-1, design.n) - design.offset
    if design.residual.sigma != "joint":
        return eta
    sigma = variable(fit.tree, "sigma").reshape(-1, 1)
    share = sigma**2 / (sigma**2 + se**2)
    z = stream(0, "shrunken effects").standard_normal(eta.shape)
    return eta + share * (design.y - design.offset - eta) + np.sqrt(share) * se * z


def _labels(design) -> list[str]:
    """Return the name of each row: its level, where a factor has one for each row, or its label in the table."""
    for block in design.blocks:
        if len(block.levels) == design.n:
            return [plain(block.levels[g], 24) for g in block.index]
    return [plain(str(label), 24) for label in design.row_labels]
