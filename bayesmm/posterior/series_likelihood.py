"""The log likelihood of a posterior's draws where residuals are correlated: of rows given their series, and of levels.

Given the random effects, a row is taken given the other rows of its series; with P = C^-1 and e the residuals over the
sds of the rows, that is a normal variable at the distance [P e]_i / P_ii from its mean with the variance 1 / P_ii
(Sundararajan & Keerthi 2001; Buerkner, Gabry & Vehtari 2021, Computational Statistics 36). With the effects of a level
integrated out its rows have the covariance matrix V = Z Sigma Z' + D C D, which is small enough to be written out.
"""

from collections.abc import Callable

import numpy as np

from bayesmm.design.residual.structure import residual_weights
from bayesmm.errors import DataError
from bayesmm.posterior.draws import factor_draws, residual_draws, variable

Array = np.ndarray
LOG_2PI = float(np.log(2 * np.pi))
NUMBERS = 4_000_000  # of the matrices that are made at once: 32 MB


def given_series(fit, eta: Array) -> Array:
    """Return log p(y_i | beta, b, the other rows of its series) for linear predictors (draws, n)."""
    design, sd = fit.design, sds(fit)
    correlation = design.residual.correlation(design.residual.rows, residual_draws(fit))
    pull, precision = correlation.pulled((design.y - eta) / sd)
    return -0.5 * (LOG_2PI - np.log(precision) + np.square(pull) / precision) - np.log(sd)


def of_table_rows(fit, eta: Array) -> Array:
    """Return log p(all responses of a row | beta, b) of several responses, (draws, rows of the table)."""
    design, sd = fit.design, sds(fit)
    correlation = design.residual.correlation(design.residual.rows, residual_draws(fit))
    e, log_root = (design.y - eta) / sd, 0.0
    if correlation is not None:
        e, log_root = correlation.whitened(e), np.log(correlation.values[..., correlation.layout.diagonal])
    each = -0.5 * (LOG_2PI + np.square(e)) + log_root - np.log(sd)
    row = design.table_rows
    order = np.argsort(row, kind="stable")
    return np.add.reduceat(each[:, order], np.searchsorted(row[order], np.arange(row.max() + 1)), axis=1)


def sds(fit) -> Array:
    """Return the residual sd of each row, (draws, n)."""
    sigma, weights = variable(fit.tree, "sigma").reshape(-1, 1), residual_weights(fit.design, residual_draws(fit))
    return sigma / np.sqrt(np.ones(fit.design.n) if weights is None else weights)


def of_series(fit, split, single: bool) -> Callable[..., tuple[Array, Array]]:
    """Return the values of one level, as a function of (eta, rows, start); see `log_likelihood._integrated`.

    Raises
    ------
    DataError
        A series has rows in several levels.
    """
    design, sd = fit.design, sds(fit)
    correlation = design.residual.correlation(design.residual.rows, residual_draws(fit))
    outer = design.blocks[split.outer]
    if not np.array_equal(outer.index[correlation.layout.row], outer.index[correlation.layout.column]):
        raise DataError(
            f"a series of {design.residual.text} has rows in several levels of '{outer.group}', so that these are not "
            "independent of one another; use loo() without by="
        )
    blocks = [design.blocks[j] for j in split.inner]
    factors = [factor_draws(fit, block) for block in blocks]
    values = np.broadcast_to(correlation.values, (len(sd), correlation.values.shape[-1]))  # known ones are one set

    def value(eta: Array, rows: Array, start: Array) -> tuple[Array, Array]:
        levels, points = np.empty((len(eta), 1)), np.empty(eta.shape if single else (len(eta), 0))
        step = max(1, NUMBERS // len(rows) ** 2)
        for at in range(0, len(eta), step):
            part = slice(at, at + step)
            own = sd[part][:, rows]
            chosen = type(correlation)(correlation.layout, values[part])
            V = chosen.dense(rows) * own[:, :, None] * own[:, None, :]
            for block, L in zip(blocks, factors, strict=True):
                ZL = block.Z[rows] @ L[part]
                same = block.index[rows][:, None] == block.index[rows]
                V += same * (ZL @ ZL.transpose(0, 2, 1))
            levels[part, 0], points[part] = _densities(V, design.y[rows] - eta[part], single)
        return levels, points

    return value


def _densities(V: Array, r: Array, single: bool) -> tuple[Array, Array]:
    """Return log N(r; 0, V) of each draw, and if asked for of each element given the others, (draws, m)."""
    L = np.linalg.cholesky(V)
    z = np.linalg.solve(L, r[:, :, None])[..., 0]
    diagonal = np.diagonal(L, axis1=1, axis2=2)
    whole = -0.5 * (r.shape[1] * LOG_2PI + np.square(z).sum(axis=1)) - np.log(diagonal).sum(axis=1)
    if not single:
        return whole, np.empty((len(r), 0))
    P = np.linalg.inv(V)
    pull, precision = (P @ r[:, :, None])[..., 0], np.diagonal(P, axis1=1, axis2=2)
    return whole, -0.5 * (LOG_2PI - np.log(precision) + np.square(pull) / precision)
