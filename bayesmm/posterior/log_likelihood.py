r"""The log likelihood of a posterior's draws, point by point: given the random effects, or with them integrated out.

Given the random effects, the points are the rows. With them integrated out, the points are the levels of one grouping
factor, whose effects and those of all factors nested in it are averaged over N(0, Sigma); or again the rows, each given
the other rows of its level. Factors that are crossed with it, or that it is nested in, are held at their draws: given
those, a level's rows do not depend on the rows of the other levels, which is what leaving one level out needs.

For a Gaussian model, with r = y_g - X beta - (effects that are held), Lambda = blockdiag(L) / sigma over the effects of
the level, M = Lambda'Z'WZ Lambda + I and u = M^-1 Lambda'Z'Wr,

    log p(y_g) = -1/2 [ n log 2 pi sigma^2 - sum log w + log|M| + (r'Wr - r'WZ Lambda u) / sigma^2 ],

and with V the covariance matrix of y_g, log p(y_i | the others) is that of a normal variable with the variance
1 / [V^-1]_ii, at the distance [V^-1 r]_i / [V^-1]_ii from its mean (Sundararajan & Keerthi 2001, Neural Computation
13(5)). M = C C' is factored leaf by leaf, since the levels of one factor share no row; then a draw takes little more
than its rows do. Other families take adaptive quadrature.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bayesmm.design.predictors import check_of_mean
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.structure import residual_weights
from bayesmm.errors import listing, suggest
from bayesmm.likelihood.pointwise import integrated, log_densities, sorted_rows
from bayesmm.likelihood.quadrature import MAX_COEFFICIENTS
from bayesmm.likelihood.row_functions import codes
from bayesmm.posterior.auxiliaries import auxiliaries_at, auxiliary_draws
from bayesmm.posterior.draws import factor_draws, residual_draws, tree_sizes
from bayesmm.posterior.predict import CHUNK, check_draws, linear, rows_of
from bayesmm.posterior.series_likelihood import given_series, of_series

Array = np.ndarray
LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Split:
    """Which random effects go with a level that is left out: positions in ``design.blocks``.

    Attributes
    ----------
    outer : int
        The factor whose levels are left out.
    inner : tuple of int
        That factor and those nested in it: integrated out.
    held : tuple of int
        All others: held at their draws.
    """

    outer: int
    inner: tuple[int, ...]
    held: tuple[int, ...]


# ----------------------------------------------------------------------------------------------------------------------
# which factors


def split_by(design: Design, by: str) -> Split:
    """Return what goes with a level of the grouping factor `by`.

    Raises
    ------
    ValueError
        The model has no such factor, or the family's effects cannot be integrated out there.
    """
    check_of_mean(design, "leaving out whole groups", "use loo() without by=")
    names = {design.blocks[k].group: k for k in design.factors}
    if by not in names:
        near = suggest(by, names) if isinstance(by, str) else ""
        raise ValueError(
            f"by must be a grouping factor of the model ({listing(names) or 'it has none'}), not {by!r}{near}"
        )
    split = split_of(design, names[by])
    if not design.family.gaussian:
        _check_quadrature(design, split)
    return split


def split_of_rows(design: Design) -> Split:
    """Return the factor in which all others are nested, or there is only one; smooths may be held beside it.

    Raises
    ------
    ValueError
        There is none, or the family's effects cannot be integrated out there.
    """
    check_of_mean(design, "leaving out rows with the random effects integrated out", "use integrated=False")
    smooth = [k for k, block in enumerate(design.blocks) if block.smooth]
    for k in (*design.groups, *smooth):
        split = split_of(design, k)
        if set(split.held) <= set(smooth):
            if not design.family.gaussian:
                _check_quadrature(design, split)
            return split
    names = [block.group for block in design.blocks]
    raise ValueError(
        f"rows are left out with the random effects integrated out where all factors are nested in one, and "
        f"{listing(names)} are not; use integrated=False, or by= with one of them"
    )


def split_of(design: Design, outer: int) -> Split:
    """Return what goes with a level of a block, by its number; a ValueError where its effects' covariance is known."""
    inner = tuple(j for j, block in enumerate(design.blocks) if j == outer or nested(block, design.blocks[outer]))
    related = [design.blocks[j] for j in inner if design.blocks[j].relation is not None]
    if related:
        raise ValueError(
            f"the levels of {related[0].group!r} have a known covariance, so that one cannot be left out with its "
            "effect integrated out; use loo() without by= and integrated="
        )
    return Split(outer, inner, tuple(j for j in range(len(design.blocks)) if j not in inner))


def nested(inner: Block, outer: Block) -> bool:
    """Return whether every level of a factor occurs within a single level of another."""
    pairs = np.unique(inner.index * np.int64(len(outer.levels)) + outer.index)
    return len(pairs) == len(np.unique(inner.index))


def _check_quadrature(design: Design, split: Split) -> None:
    """Raise ValueError unless a single factor with few coefficients is integrated out."""
    inner = [design.blocks[j] for j in split.inner]
    if len(inner) == 1 and len(inner[0].columns) <= MAX_COEFFICIENTS:
        return
    counts = [f"{len(block.columns)} of {block.group}" for block in inner]
    alone = [
        design.blocks[j].group for j in design.factors
        if split_of(design, j).inner == (j,) and len(design.blocks[j].columns) <= MAX_COEFFICIENTS
    ]  # fmt: skip
    use = f"by={alone[0]!r} or " if alone else ""
    raise ValueError(
        f"a {design.family.name} model integrates the effects of one factor with at most {MAX_COEFFICIENTS} "
        f"coefficients out, and here they are {' and '.join(counts)}; use {use}by=None"
    )


# ----------------------------------------------------------------------------------------------------------------------
# the values


def conditional(fit) -> Array:
    """Return log p(y_i | beta, b, auxiliaries) of every draw and row, (draws, n)."""
    design, draws = fit.design, int(np.prod(tree_sizes(fit.tree)))
    rows = rows_of(design, None, range(len(design.blocks)))
    check_draws(fit, rows)
    if design.residual.correlated is not None:
        return given_series(fit, linear(fit, rows, "error", 0))
    density, out = _row_density(fit), np.empty((draws, design.n))
    step = max(1, CHUNK // draws)
    for at in range(0, design.n, step):
        part = slice(at, at + step)
        out[:, part] = density(linear(fit, rows.take(part), "error", 0), part)
    return out


def by_level(fit, split: Split) -> Array:
    """Return log p(y_g | beta, Sigma, auxiliaries, held effects) of every draw and level, (draws, G)."""
    return _integrated(fit, split, single=False)[0]


def by_row(fit, split: Split) -> Array:
    """Return log p(y_i | other rows of its level, beta, Sigma, auxiliaries, held effects), (draws, n)."""
    return _integrated(fit, split, single=True)[1]


def _row_density(fit) -> Callable[[Array, slice], Array]:
    """Return a function of linear predictors (draws, m) and the slice of their rows: their log densities."""
    design, own = fit.design, auxiliaries_at(fit)
    y, size, weight = design.y, _ones(design, design.size), _weights(fit)
    if design.family.gaussian:

        def gaussian(eta: Array, part: slice) -> Array:
            variance = np.square(own(part)[:, :1]) / weight[..., part]
            return -0.5 * (LOG_2PI + np.log(variance) + np.square(y[part] - eta) / variance)

        return gaussian
    numbers = codes(design.family)
    return lambda eta, part: log_densities(*numbers, y[part], size[part], weight[part], eta, own(part))


def _ones(design: Design, column: Array | None) -> Array:
    return np.ones(design.n) if column is None else column


def _weights(fit) -> Array:
    """Return the weights of the rows, (n,), or (draws, n) where they follow from parameters of the residual."""
    return _ones(fit.design, residual_weights(fit.design, residual_draws(fit)))


def _integrated(fit, split: Split, *, single: bool) -> tuple[Array, Array]:
    """Return the values of the levels, (draws, G), and of the rows if asked for, (draws, n)."""
    design, draws = fit.design, int(np.prod(tree_sizes(fit.tree)))
    rows = rows_of(design, None, split.held)
    check_draws(fit, rows.take(slice(0, 1)))  # whether the effects that are held were kept
    kind = _gaussian if design.family.gaussian else _generalised
    value = (of_series if design.residual.correlated is not None else kind)(fit, split, single)
    levels = np.empty((draws, len(design.blocks[split.outer].levels)))
    points = np.empty((draws, design.n if single else 0))
    for part, taken, start in _pieces(design, split, draws):
        found, alone = value(linear(fit, rows.take(taken), "error", 0), taken, start)
        levels[:, part] = found
        if single:
            points[:, taken] = alone
    return levels, points


def _pieces(design: Design, split: Split, draws: int) -> Iterator[tuple[slice, Array, Array]]:
    """Return some levels at a time, their rows in the order of the levels, and where each level starts among these.

    A Gaussian level is a matter of its own matrices; of the others as many are taken as fit a block of memory.
    """
    block = design.blocks[split.outer]
    order = np.argsort(block.index, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(block.index, minlength=len(block.levels)))])
    most, lo = (1 if design.family.gaussian else CHUNK // draws), 0
    while lo < len(block.levels):
        hi = max(lo + 1, int(np.searchsorted(start, start[lo] + most, side="right")) - 1)
        yield slice(lo, hi), order[start[lo] : start[hi]], start[lo : hi + 1] - start[lo]
        lo = hi


def _generalised(fit, split: Split, single: bool) -> Callable[..., tuple[Array, Array]]:
    """Return the values of some levels by quadrature, as a function of (eta, rows, start)."""
    design, block = fit.design, fit.design.blocks[split.outer]
    L, own = factor_draws(fit, block), auxiliaries_at(fit)
    y, size, weight = design.y, _ones(design, design.size), _ones(design, design.weights)
    numbers = codes(design.family)

    def value(eta: Array, rows: Array, start: Array) -> tuple[Array, Array]:
        data = sorted_rows(*numbers, y[rows], size[rows], weight[rows], block.Z[rows], start)
        return integrated(data, eta, L, own(rows), rows=single)

    return value


# ----------------------------------------------------------------------------------------------------------------------
# Gaussian models


@dataclass(frozen=True, eq=False)
class _Level:
    """The rows of one level and their random effects; "leaves" are the levels of the factor that has most columns.

    Attributes
    ----------
    leaf : (m,) int64
        Which of the L leaves each row is in. No two leaves share a row, so that M is block-diagonal in them.
    t : (m, q) float64
        Z of that factor, of the row's own leaf.
    Z : (m, R) float64
        Columns of all other factors, those of a level of a factor side by side.
    counts : tuple of int
        Levels of each of these factors.
    """

    leaf: Array
    t: Array
    Z: Array
    counts: tuple[int, ...]


def _gaussian(fit, split: Split, single: bool) -> Callable[..., tuple[Array, Array]]:
    """Return the values of one level in closed form, as a function of (eta, rows, start)."""
    design, sigma = fit.design, auxiliary_draws(fit)[:, 0]
    blocks = sorted((design.blocks[j] for j in split.inner), key=lambda block: len(block.levels) * len(block.columns))
    factors = [factor_draws(fit, block) / sigma[:, None, None] for block in blocks]
    weight = _weights(fit)

    def value(eta: Array, rows: Array, start: Array) -> tuple[Array, Array]:
        level = _level(blocks, rows)
        r, w = design.y[rows] - eta, weight[..., rows]
        levels, points = np.empty((len(r), 1)), np.empty(r.shape if single else (len(r), 0))
        (m, R), q = level.Z.shape, level.t.shape[1]
        step = max(1, CHUNK // ((q + R) * (m if single else (level.leaf.max() + 1) * q) + R**2))
        for at in range(0, len(r), step):
            part = slice(at, at + step)
            own, its = [factor[part] for factor in factors], w if w.ndim == 1 else w[part]
            levels[part, 0], points[part] = _closed_form(r[part], its, level, own, sigma[part], single)
        return levels, points

    return value


def _level(blocks: list[Block], rows: Array) -> _Level:
    """Return the columns of some rows; the leaves are those of the last block."""
    parts, counts = [np.empty((len(rows), 0))], []
    for block in blocks[:-1]:
        seen, local = np.unique(block.index[rows], return_inverse=True)
        Z = np.zeros((len(rows), len(seen), len(block.columns)))
        Z[np.arange(len(rows)), local.ravel()] = block.Z[rows]
        parts.append(Z.reshape(len(rows), -1))
        counts.append(len(seen))
    leaf = np.unique(blocks[-1].index[rows], return_inverse=True)[1].ravel()
    return _Level(leaf, blocks[-1].Z[rows], np.hstack(parts), tuple(counts))


def _times(A: Array, factors: list[Array], counts: tuple[int, ...]) -> Array:
    """Return A (draws or 1, K, R) times the block-diagonal matrix of every draw, which has each factor `counts` times.

    Shape (draws, K, R); the zeros of that matrix have no part in it. Without factors R is 0.
    """
    parts, at = [A[:, :, :0]] if not factors else [], 0
    for factor, n in zip(factors, counts, strict=True):
        q = factor.shape[1]
        part = A[:, :, at : at + n * q].reshape(len(A), A.shape[1] * n, q)
        parts.append((part @ factor).reshape(len(factor), A.shape[1], n * q))
        at += n * q
    return np.concatenate(parts, axis=2)


def _sums(values: Array, level: _Level) -> Array:
    """Return the sums of t times (..., m, k) values over the rows of each leaf, (..., L, q, k)."""
    order = np.argsort(level.leaf, kind="stable")
    start = np.searchsorted(level.leaf[order], np.arange(level.leaf.max() + 1))
    parts = (level.t[order, j, None] * values[..., order, :] for j in range(level.t.shape[1]))
    return np.stack([np.add.reduceat(part, start, axis=-2) for part in parts], axis=-2)


@dataclass(frozen=True, eq=False)
class _Eliminated:
    """The Cholesky factor of M of every draw, leaf by leaf and then the rest.

    Attributes
    ----------
    F : (draws, L, q, q) float64
        Of the leaves' blocks of M.
    K : (draws, L, q, q) float64
        F^-1 Lambda' of a leaf.
    B : (draws, L, q, R) float64
        F^-1 times the leaf's rows of M in the other columns.
    H : (draws, R, R) float64
        Of what is left of M there.
    """

    F: Array
    K: Array
    B: Array
    H: Array


def _eliminated(w: Array, level: _Level, factors: list[Array]) -> _Eliminated:
    *others, own = factors
    turned = own.transpose(0, 2, 1)[:, None]
    F = np.linalg.cholesky(turned @ _sums(w[..., None] * level.t, level) @ own[:, None] + np.eye(own.shape[1]))
    K = np.linalg.solve(F, turned)
    side, ZWZ = _sums(w[..., None] * level.Z, level), (level.Z.T * w[..., None, :]) @ level.Z
    L, q, R = side.shape[-3:]
    draws = len(w) if w.ndim > 1 else 1
    right = _times(side.reshape(draws, L * q, R), others, level.counts)
    B = K @ right.reshape(len(right), L, q, R)
    flat = B.reshape(len(B), L * q, R)
    S = _times(_times(ZWZ.reshape(draws, R, R), others, level.counts).transpose(0, 2, 1), others, level.counts)
    return _Eliminated(F, K, B, np.linalg.cholesky(S + np.eye(R) - flat.transpose(0, 2, 1) @ flat))


def _closed_form(
    r: Array, w: Array, level: _Level, factors: list[Array], sigma: Array, single: bool
) -> tuple[Array, Array]:
    """Return the log density of a level's residuals r (draws, m), and of each given the others if asked for.

    Weights w are (m,), or (draws, m).
    """
    known, draws = _eliminated(w, level, factors), len(r)
    own = (known.K @ _sums((r * w)[:, :, None], level))[..., 0]  # of C^-1 Lambda'Z'Wr, (draws, L, q)
    rest = _times(((r * w) @ level.Z)[:, None], factors[:-1], level.counts)[:, 0]
    rest = np.linalg.solve(known.H, (rest - np.einsum("slqr,slq->sr", known.B, own))[:, :, None])  # (draws, R, 1)
    diagonals = (np.diagonal(A, axis1=-2, axis2=-1) for A in (known.F, known.H))
    log_det = 2 * sum(np.log(A.reshape(draws, A[0].size)).sum(axis=1) for A in diagonals)
    fitted = np.square(own).sum(axis=(1, 2)) + np.square(rest).sum(axis=(1, 2))
    squares = np.square(r) @ w if w.ndim == 1 else (np.square(r) * w).sum(axis=1)
    quad = (squares - fitted) / np.square(sigma)
    value = -0.5 * (r.shape[1] * (LOG_2PI + 2 * np.log(sigma)) - np.log(w).sum(axis=-1) + log_det + quad)
    if not single:
        return value, np.empty((draws, 0))
    spread, effects = _of_rows(level, factors[:-1], known, own, rest)
    precision = w / np.square(sigma)[:, None] * (1 - w * spread)
    pull = w / np.square(sigma)[:, None] * (r - effects)
    return value, 0.5 * (np.log(precision) - LOG_2PI - np.square(pull) / precision)


def _of_rows(level: _Level, others: list[Array], known: _Eliminated, own: Array, rest: Array) -> tuple[Array, Array]:
    """Return the diagonal of Z Lambda M^-1 Lambda'Z', and Z Lambda u, (draws, m) each; a and h are C^-1 Lambda'Z'."""
    q = range(level.t.shape[1])
    a = [sum(known.K[:, level.leaf, j, i] * level.t[:, i] for i in q) for j in q]
    h = _times(level.Z[None], others, level.counts) - sum(a[j][:, :, None] * known.B[:, level.leaf, j] for j in q)
    h = np.linalg.solve(known.H, h.transpose(0, 2, 1))  # (draws, R, m)
    spread = sum(np.square(a[j]) for j in q) + np.square(h).sum(axis=1)
    return spread, sum(a[j] * own[:, level.leaf, j] for j in q) + (h * rest).sum(axis=1)
