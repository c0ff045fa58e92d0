"""Three answers for each group: its own regression, the mixed model's, and the regression of all rows together."""

import numpy as np

from bayesmm.design.parameters import coefficients
from bayesmm.design.predictors import linear_predictor
from bayesmm.design.residual.independent import whitened
from bayesmm.display.figures import ACCENT, GREY, INK, drawn, key, marker, name_axes, panels, plain, title
from bayesmm.errors import DataError
from bayesmm.families.links import LINKS
from bayesmm.families.support import Support
from bayesmm.posterior.draws import block_draws, draws_of, mean_effects, mean_own, variable
from bayesmm.posterior.means import slope_of
from bayesmm.reporting.plots.chosen import factor, largest, of_posterior, said
from bayesmm.reporting.plots.labels import units

SHOWN_LEVELS = 60  # arrows that can still be told apart
NAMED_LEVELS = 25
SCORING_STEPS = 25  # of Fisher scoring; a likelihood with a maximum takes fewer than 10
SETTLED = 1e-8  # relative change of the linear predictor at which scoring has arrived
WILDEST = 30.0  # a linear predictor beyond it means a maximum at infinity: all responses 0, or 1
FAR = 3.0  # own estimates farther out than this many ranges of the partially pooled ones are drawn at the edge
SHORTEST = 0.03  # of the figure's extent: a shorter arrow would be all head
COVERED = 2.448  # sqrt of the 95 % quantile of chi-squared with 2 degrees of freedom


@drawn
@of_posterior
def plot_shrinkage(fit, group: str | None = None, ax=None):
    """Draw how far the coefficients of each group are drawn from its own regression towards the others'.

    No pooling: the regression of the group's own rows (of a generalised model by maximum likelihood), everything else
    of the model at its posterior mean. Partial pooling: the posterior mean of fixed and random part. Complete pooling:
    the regression of all rows without random effects. The intercept is that at the means of the other terms; estimates
    far off the scale are named at its edge. Of a factor with several terms the first two are drawn, with the
    ellipse that holds 95 % of the groups; of one with a single term no pooling across, partial pooling upwards. Of more
    than 60 levels those with the most rows are drawn.

    Parameters
    ----------
    fit : Fit
    group : str, optional
        The grouping factor; the first of the design if not given.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the model has no such factor, its random effects were not kept, the response is censored or truncated, or
        a parameter of the family differs from row to row or has the factor's effects.
    """
    if fit.design.family.observed:
        why = f"the response is {fit.design.family.observed}, so the rows of a level have no regression of their own"
        raise ValueError(f"{why}; use plot_effects")
    k = factor(fit.design, group)
    if why := no_regressions(fit.design, fit.design.blocks[k]):
        raise ValueError(f"{why}, so the rows of a level have no regression of their own; use plot_effects")
    block, levels = fit.design.blocks[k], largest(fit.design.blocks[k], SHOWN_LEVELS)
    centre = fixed_part(fit, block)
    partial = centre + block_draws(fit, block).mean(axis=(0, 1))[levels]
    own = own_regressions(fit, k, levels)
    pooled = complete_pooling(fit, block)
    A = at_means(block)  # an intercept where a predictor is 0, perhaps far from all data, would hide what is pooled
    own, partial, pooled, centre = own @ A.T, partial @ A.T, A @ pooled, A @ centre
    figure, axes = panels(1, wide=6.4, high=4.8, ax=ax)
    draw = _draw_plane if len(block.columns) > 1 else _draw_line
    names = [plain(block.levels[g], 20) for g in levels]
    key(figure, draw(axes[0], fit, k, own, partial, pooled, centre, names))
    if len(levels) <= NAMED_LEVELS:
        _name_levels(axes[0], partial, names)
    none = int((~np.isfinite(own[:, :2]).all(axis=1)).sum())
    left = f"; {none} with no estimate of its own" if none else ""
    title(figure, f"Shrinkage: {said(block, len(levels))}{left}", fit.design.formula.text)
    return axes


def no_regressions(design, block) -> str:
    """Return why the levels of a block have no regressions by mean and variance; "" where they have."""
    if any(block.predictors):
        own = ", ".join(dict.fromkeys(filter(None, block.predictors)))
        return f"the effects of {block.group} are of {own}"
    return f"{design.residual.text or 'a threshold'} differs from row to row" if design.residual.by_row else ""


def at_means(block) -> np.ndarray:
    """Return the matrix that takes coefficients to those with the intercept at the means of the other terms, (q, q)."""
    A = np.eye(len(block.columns))
    if block.columns[0] == "Intercept":
        A[0, 1:] = block.Z[:, 1:].mean(axis=0)
    return A


def term_names(block) -> list[str]:
    """Return what the coefficients of a block are called, the intercept with the place that it is at."""
    names = [plain(column) for column in block.columns]
    if names[0] == "Intercept" and len(names) > 1:
        names[0] = f"Mean at average {names[1]}" if len(names) == 2 else "Mean at the averages of the other terms"
    return names


def limits(own: np.ndarray, partial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return between which values estimates are drawn where they are, (2,) each; those farther out are at the edge."""
    low, high = partial[:, :2].min(axis=0), partial[:, :2].max(axis=0)
    reach = FAR * np.maximum(high - low, 1e-12)
    known = own[np.isfinite(own[:, :2]).all(axis=1), :2]
    inside = np.concatenate([np.clip(known, low - reach, high + reach), partial[:, :2]])
    return inside.min(axis=0), inside.max(axis=0)


def draw_far(ax, own: np.ndarray, edge: np.ndarray, names: list[str]) -> bool:
    """Mark the estimates out of view, (levels, 2), with their names at the edge; return whether there are any."""
    far = np.isfinite(own).all(axis=1) & (own != edge).any(axis=1)
    ax.plot(*edge[far].T, linestyle="none", marker="*", markersize=8, color=ACCENT, markeredgewidth=0)
    for i in np.flatnonzero(far):
        said = ", ".join(f"{value:.3g}" for value in own[i])
        ax.annotate(f"{names[i]}: {said}", edge[i], (3, -9), textcoords="offset points", fontsize=6.5, color=ACCENT)
    return bool(far.any())


def _draw_plane(ax, fit, k: int, own, partial, pooled, centre, names) -> dict[str, tuple[str, str]]:
    block, own, partial = fit.design.blocks[k], own[:, :2], partial[:, :2]
    low, high = limits(own, partial)
    edge = np.clip(own, low, high)
    long = np.linalg.norm((edge - partial) / np.maximum(high - low, 1e-12), axis=1) > SHORTEST
    for start, end in zip(edge[long], partial[long], strict=True):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 0.8})
    near = (own == edge).all(axis=1)
    ax.plot(*own[near].T, linestyle="none", **marker("D", GREY) | {"markersize": 4.5})
    ax.plot(*partial.T, linestyle="none", **marker("o", INK) | {"markersize": 4.5})
    ax.plot(*ellipse(fit, block, centre[:2]).T, color=GREY, linewidth=1.0, linestyle="--")
    ax.plot(*centre[:2], linestyle="none", **marker("P", INK) | {"markersize": 13, "zorder": 1.5})
    ax.plot(*pooled[:2], linestyle="none", **marker("X", GREY) | {"markersize": 8, "markeredgecolor": "white"})
    far = draw_far(ax, own, edge, names)
    name_axes(
        ax, *(f"{n} ({units(fit.design, c)})" for n, c in zip(term_names(block), block.columns[:2], strict=False))
    )
    entries = {"no pooling (own regression)": ("D", GREY), "partial pooling (posterior mean)": ("o", INK)}
    entries |= {"fixed effects": ("P", INK), "complete pooling": ("X", GREY), "95 % of groups": ("--", GREY)}
    return entries | ({"own regression, off the scale": ("*", ACCENT)} if far else {})


def _draw_line(ax, fit, k: int, own, partial, pooled, centre, names) -> dict[str, tuple[str, str]]:
    block, own, partial = fit.design.blocks[k], own[:, :1], partial[:, :1]
    low, high = limits(own, partial)
    edge = np.clip(own, low, high)
    near = (own == edge).all(axis=1)
    ends = [low[0], high[0]]
    ax.plot(ends, ends, color=GREY, linestyle=":", linewidth=1)
    ax.axhline(centre[0], color=INK, linewidth=1.2)
    ax.axhline(pooled[0], color=GREY, linewidth=1.2, linestyle="--")
    ax.plot(own[near, 0], partial[near, 0], linestyle="none", **marker("o", INK) | {"markersize": 4.5})
    far = draw_far(ax, np.column_stack([own, partial]), np.column_stack([edge, partial]), names)
    ax.set_aspect("equal", adjustable="datalim")  # no shrinkage is then a line of 45 degrees
    name = plain(block.columns[0])
    own_name = f"{name} by the group's own regression ({units(fit.design, block.columns[0])})"
    name_axes(ax, own_name, f"{name} by partial pooling")
    entries = {"a group": ("o", INK), "no shrinkage": (":", GREY), "fixed effect": ("-", INK)}
    return entries | {"complete pooling": ("--", GREY)} | ({"off the scale": ("*", ACCENT)} if far else {})


def _name_levels(ax, at: np.ndarray, names: list[str]) -> None:
    """Write the levels' names at their partially pooled coefficients; of a single term these are heights only."""
    for place, name in zip(at, names, strict=True):
        if len(place) > 1:
            ax.annotate(name, place[:2], (4, 3), textcoords="offset points", fontsize=7, color=INK)


def fixed_part(fit, block) -> np.ndarray:
    """Return the posterior means of the fixed effects of a block's terms, (q,); 0 for a term without."""
    beta = draws_of(fit, coefficients(fit.design)).mean(axis=(1, 2))
    known = dict(zip(fit.design.coefficients, beta, strict=True))
    return np.array([known.get(column, 0.0) for column in block.columns])


def ellipse(fit, block, centre: np.ndarray) -> np.ndarray:
    """Return the ellipse that holds 95 % of the groups' first two coefficients, (points, 2), at the mean of Sigma."""
    q = len(block.columns)
    sds, R = variable(fit.tree, block.names.sd).reshape(-1, q), np.eye(q)
    if any(len(part) > 1 for part in block.partition):
        R = variable(fit.tree, block.names.corr).reshape(-1, q, q)
    A = at_means(block)
    covariance = (A @ (sds[:, :, None] * R * sds[:, None, :]).mean(axis=0) @ A.T)[:2, :2]
    variances, vectors = np.linalg.eigh(covariance)
    angle = np.linspace(0, 2 * np.pi, 181)
    circle = np.column_stack([np.cos(angle), np.sin(angle)]) * COVERED
    return centre + (circle * np.sqrt(np.maximum(variances, 0))) @ vectors.T


def own_regressions(fit, k: int, levels: np.ndarray) -> np.ndarray:
    """Return the coefficients of each level by its own rows alone, (levels, q); NaN where they have no maximum."""
    design, block = fit.design, fit.design.blocks[k]
    out = np.full((len(levels), len(block.columns)), np.nan)
    shift = everything_else(fit, k)
    own, residual = mean_own(fit)
    aux, design = [own[name] for name in design.family.auxiliaries], whitened(design, residual)
    for i, g in enumerate(levels):
        rows = np.flatnonzero(block.index == g)
        out[i] = regression(design, rows, block.Z[rows], shift[rows], aux)
    return out


def complete_pooling(fit, block) -> np.ndarray:
    """Return the coefficients of a block's terms in the regression of all rows without random effects, (q,)."""
    design = fit.design
    kept = [j for j in range(design.p) if j not in design.aliased]
    own = mean_own(fit)[0]
    aux = [own[name] for name in design.family.auxiliaries]
    found = regression(design, np.arange(design.n), design.X[:, kept], design.offset, aux)
    known = dict(zip((design.coefficients[j] for j in kept), found, strict=True))
    return np.array([known.get(column, 0.0) for column in block.columns])


def everything_else(fit, k: int) -> np.ndarray:
    """Return the linear predictor without the part of block k, fixed and random, at posterior means, (n,)."""
    design, block = fit.design, fit.design.blocks[k]
    beta, effects = draws_of(fit, coefficients(design)).mean(axis=(1, 2)), mean_effects(fit)
    effects[k] = np.zeros_like(effects[k])
    return linear_predictor(design, np.where(np.isin(design.coefficients, block.columns), 0.0, beta), effects)


def regression(design, rows: np.ndarray, Z: np.ndarray, shift: np.ndarray, aux: list[float]) -> np.ndarray:
    """Return the coefficients of the rows on the columns of Z by Fisher scoring, by mean and variance; NaN without one.

    McCullagh & Nelder (1989), section 2.5. Of a normal response this is weighted least squares, after one step. A
    family that knows its maximum is asked for that.
    """
    link, family, nothing = LINKS[design.family.link], design.family, np.full(Z.shape[1], np.nan)
    if np.linalg.matrix_rank(Z) < Z.shape[1]:
        return nothing
    size = np.ones(len(rows)) if design.trials is None else design.trials[rows]
    weights = 1.0 if design.weights is None else design.weights[rows]
    y = design.y[rows] / size
    if family.maximum is not None:
        return known_maximum(family, y - shift, Z, weights * np.ones(len(rows)), aux)
    eta = link.function(_start(family.support, y))
    for _ in range(SCORING_STEPS):
        mu, slope = link.inverse(eta), slope_of(family, eta, aux)
        with np.errstate(all="ignore"):
            root = np.sqrt(weights * slope**2 / family.scattered(mu, size, aux))
            target = root * (eta - shift + (y - family.expected(mu, aux)) / slope)
        if not (np.isfinite(root).all() and np.isfinite(target).all()):
            return nothing
        found = np.linalg.lstsq(root[:, None] * Z, target)[0]
        before, eta = eta, Z @ found + shift
        if link.name != "identity" and np.abs(eta).max() > WILDEST:
            return nothing
        if np.abs(eta - before).max() <= SETTLED * (1 + np.abs(eta).max()):
            return found
    return nothing


def known_maximum(family, y: np.ndarray, Z: np.ndarray, weights: np.ndarray, aux: list[float]) -> np.ndarray:
    """Return the coefficients of `Family.maximum`; NaN where it has none, as of rows that are fitted exactly."""
    try:
        return family.maximum(y, Z, weights, np.array(aux)).beta
    except DataError:
        return np.full(Z.shape[1], np.nan)


def _start(support: Support, y: np.ndarray) -> np.ndarray:
    """Return means to start from, inside their range."""
    if support.counts:
        return y + 0.5
    return 0.5 * y + 0.25 if support.successes else y
