"""Heterogeneity of a meta-analysis: tau, I^2, H^2, Cochran's Q and the interval of a new study's effect.

With w_i = 1 / se_i^2, P = W - WX (X'WX)^-1 X'W, k studies and p coefficients: Q = y'Py; the typical sampling variance
is s^2 = (k - p) / tr(P), I^2 = tau^2 / (tau^2 + s^2), H^2 = 1 + tau^2 / s^2 (Higgins & Thompson 2002, Statistics in
Medicine 21, eq. 9 and 10, as metafor has them); DerSimonian & Laird's (1986) tau^2 is (Q - (k - p)) / tr(P), or 0. With
several levels tau^2 is the sum of their variances (Nakagawa & Santos 2012).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.records import Design
from bayesmm.design.relations import columns_of_rows
from bayesmm.design.residual import standard_errors
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import table as text_table
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.posterior.draws import CI_PROB, factor_draws, tree_sizes, variable

Array = np.ndarray
TAIL = 1.959963984540054  # standard normal quantile of 0.975


@dataclass(frozen=True, repr=False)
class Heterogeneity(Tabled):
    """How far the effects of studies lie apart.

    Attributes
    ----------
    table : pandas.DataFrame
        Index: tau of each level, of all together where there are several, I2 and H2; columns: the maximised fit's
        method, DL (of a single level), and of a posterior mean, sd, lower, upper (95 % equal-tailed). I2 is a share.
    Q, df, p : float
        Cochran's test that all studies have one effect, besides what the predictors explain.
    prediction : pandas.DataFrame
        Index: the maximised fit's method and "posterior"; columns estimate, lower, upper, of the pooled effect, and
        pi_lower, pi_upper, of a new study's: 95 %, at the means of the predictors.
    """

    table: pd.DataFrame
    Q: float
    df: int
    p: float
    prediction: pd.DataFrame

    def __repr__(self) -> str:
        lines = text_table(["", *map(str, self.table.columns)], _cells(self.table))
        lines += ["", "Pooled effect, its 95 % interval, and that of a new study's effect:"]
        lines += text_table(["", "estimate", "lower", "upper", "new lower", "new upper"], _cells(self.prediction))
        return "\n".join([*lines, "", f"Cochran's Q = {self.Q:.4g} on {self.df} df, p = {self.p:.2g}"])


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [[str(name), *map(_text, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"


def heterogeneity(fitted) -> Heterogeneity:
    """Return the heterogeneity of a meta-analysis, ``y | se(se) ~ 1 + (1 | study)``.

    Parameters
    ----------
    fitted : Fit or PointFit
        Of a posterior the REML fit is taken too, so that both stand side by side.

    Returns
    -------
    Heterogeneity

    Raises
    ------
    DataError
        The model's formula has no ``se()``.
    TypeError
        It is no fit.
    """
    if not (hasattr(fitted, "tree") or isinstance(fitted, Estimates)):
        raise TypeError(f"expected a Fit or a PointFit, from sample() or maximize(), not {type(fitted).__name__}")
    design = fitted.design
    se = known_errors(design)
    point = fitted.model.maximize() if hasattr(fitted, "tree") else fitted
    Q, df, trace = _cochran(design, se)
    typical, names = df / trace if df else np.nan, _names(design)
    columns = {point.method: _rows(_point_variances(point), typical)}
    if len(names) == 1:
        columns["DL"] = _rows(np.array([[max(0.0, (Q - df) / trace)]]) if df else np.full((1, 1), np.nan), typical)
    table = pd.DataFrame({name: values[:, 0] for name, values in columns.items()})
    prediction = {point.method: _normal(point)}
    if hasattr(fitted, "tree"):
        draws = _rows(draw_variances(fitted), typical)
        ends = np.quantile(draws, [(1 - CI_PROB) / 2, (1 + CI_PROB) / 2], axis=1)
        found = [draws.mean(axis=1), draws.std(axis=1, ddof=1), *ends]
        table = table.assign(**dict(zip(("mean", "sd", "lower", "upper"), found, strict=True)))
        prediction["posterior"] = _mixture(fitted)
    taus = [f"tau[{name}]" for name in names] if len(names) > 1 else []
    table.index = pd.Index([*taus, "tau", "I2", "H2"])
    heads = ["estimate", "lower", "upper", "pi_lower", "pi_upper"]
    from scipy.special import chdtrc

    p = float(chdtrc(df, Q)) if df else np.nan
    return Heterogeneity(table, Q, df, p, pd.DataFrame.from_dict(prediction, orient="index", columns=heads))


def known_errors(design: Design) -> Array:
    """Return the known standard errors of the rows, (n,); a DataError if the model has none."""
    for part in design.residual.parts:
        if part.structure.name == standard_errors.NAME:
            return part.rows
    for part in design.residual.parts:
        if part.structure.sigma == "known":
            raise DataError(
                f"Q and I2 are for estimates that are independent, y | se(se), and {part.text} has their covariances; "
                "the sds of the effects are those of varcorr()"
            )
    raise DataError(
        "the model has no known standard errors, which a meta-analysis is of; they are named in the formula, "
        "y | se(se) ~ 1 + (1 | study)"
    )


def _cochran(design: Design, se: Array) -> tuple[float, int, float]:
    """Return Q, its degrees of freedom and tr(P)."""
    X = design.X[:, [j for j in range(design.p) if j not in design.aliased]] / se[:, None]
    y = (design.y - design.offset) / se
    q = np.linalg.qr(X)[0]
    r = y - q @ (q.T @ y)
    trace = float(((1 - np.square(q).sum(axis=1)) / se**2).sum())
    return float(r @ r), len(y) - X.shape[1], trace


def _names(design: Design) -> list[str]:
    return [block.group for block in design.blocks] + (["sigma"] if design.residual.sigma == "joint" else [])


def _rows(variances: Array, typical: float) -> Array:
    """Return tau of each level, tau, I2 and H2, (rows, draws), for variances (levels, draws)."""
    total = variances.sum(axis=0)
    parts = np.sqrt(variances) if len(variances) > 1 else variances[:0]
    return np.vstack([parts, np.sqrt(total), total / (total + typical), 1 + total / typical])


def _point_variances(point) -> Array:
    made = zip(point.design.blocks, point.covariances, strict=True)
    blocks = [_mean_variance(columns_of_rows(block), S[None]) for block, S in made]
    own = [np.array([point.sigma**2])] if point.design.residual.sigma == "joint" else []
    return np.array([*blocks, *own]).reshape(-1, 1)


def draw_variances(fit) -> Array:
    """Return the variance of each level of each draw, (levels, draws)."""
    blocks = []
    for block in fit.design.blocks:
        L = factor_draws(fit, block)
        blocks.append(_mean_variance(columns_of_rows(block), L @ L.transpose(0, 2, 1)))
    own = [np.square(variable(fit.tree, "sigma").ravel())] if fit.design.residual.sigma == "joint" else []
    return np.array([*blocks, *own]).reshape(-1, int(np.prod(tree_sizes(fit.tree))))


def _mean_variance(Z: Array, Sigma: Array) -> Array:
    """Return the mean over rows of z' Sigma z, (draws,): of an intercept its variance."""
    return np.einsum("ij,sjk,ik->s", Z, Sigma, Z) / len(Z)


def pooled(fit) -> Array:
    """Return the draws of the pooled effect at the means of the predictors, (draws,)."""
    return variable(fit.tree, "beta").reshape(-1, fit.design.p) @ fit.design.X.mean(axis=0)


def _normal(point) -> list[float]:
    """Return the pooled effect with its Wald interval, and that of a new study."""
    x = point.design.X.mean(axis=0)
    estimate, se = float(x @ np.nan_to_num(point.beta)), float(np.sqrt(x @ np.nan_to_num(point.beta_cov) @ x))
    spread = float(np.hypot(se, np.sqrt(_point_variances(point).sum())))
    return [estimate, estimate - TAIL * se, estimate + TAIL * se, estimate - TAIL * spread, estimate + TAIL * spread]


def _mixture(fit) -> list[float]:
    """Return the posterior of the pooled effect, and the interval of mu + tau z over the draws of mu and tau."""
    mu = pooled(fit)
    ends = np.quantile(mu, [(1 - CI_PROB) / 2, (1 + CI_PROB) / 2])
    return [float(mu.mean()), *ends.tolist(), *new_study(mu, np.sqrt(draw_variances(fit).sum(axis=0)))]


def new_study(mu: Array, tau: Array) -> list[float]:
    """Return the 95 % interval of mu + tau z, z ~ N(0, 1), over draws (draws,): the mixture's quantiles."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    low, high = (mu - 10 * tau).min() - 1e-9, (mu + 10 * tau).max() + 1e-9
    scale = np.maximum(tau, np.finfo(float).tiny)
    levels = (1 - CI_PROB) / 2, (1 + CI_PROB) / 2
    return [float(brentq(lambda q, p=p: ndtr((q - mu) / scale).mean() - p, low, high)) for p in levels]
