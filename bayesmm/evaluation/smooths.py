"""Smooths of a fit: effective degrees of freedom, and curves with pointwise and simultaneous bands.

With C = [X Z], weights W of the rows and D the penalty, V = (C'WC + D)^-1 is the covariance of the coefficients given
the variance parameters, and the effective degrees of freedom of a smooth are the sum over its columns of the diagonal
of V C'WC (Wood 2017, Generalized Additive Models, section 6.1.2). Of families other than the Gaussian W is
slope^2 / variance, as in Fisher's scoring; of a censored response it is the observed information. A band of
simultaneous coverage is estimate +- c se, c the quantile of max |deviation| / se over the curve (Ruppert, Wand &
Carroll 2003, Semiparametric Regression, section 6.5).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.parameters import block_parameters
from bayesmm.design.smooth_places import CurvePlace, curve_places, curve_values
from bayesmm.display.frames import Tabled
from bayesmm.errors import DataError
from bayesmm.evaluation.checks.fitted import Fitted, of_fit, of_point
from bayesmm.likelihood.orthogonal import root_mean_square, square_root
from bayesmm.posterior.draws import CI_PROB, block_draws, describe, draws_of, variable
from bayesmm.runtime.arguments import check_probability
from bayesmm.runtime.streams import stream
from bayesmm.runtime.threads import few_threads

Array = np.ndarray
MOST_COLUMNS = 4000  # of [X Z], which is dense here: 128 MB and some seconds
POINTS, SIDE = 100, 40  # of a curve, and of each side of a surface
SIMULATED = 10_000  # curves from which the band of a maximised model is taken


@few_threads
def smooths(fitted, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Return the smoothing sds and the effective degrees of freedom of a model's smooths.

    Parameters
    ----------
    fitted : Fit or PointFit
    ci_prob : float
        Probability of the intervals of a Fit.

    Returns
    -------
    pandas.DataFrame
        Columns smooth, part (of the penalty), edf, and of the sd estimate, or mean, sd, lower, upper, ess_bulk,
        ess_tail and r_hat. edf is that of the whole smooth, its columns without a penalty included; of a Fit at the
        posterior means. NaN where residuals are correlated, or there are more than 4,000 coefficients and effects.

    Raises
    ------
    DataError
        The model has no smooth.
    """
    check_probability("ci_prob", ci_prob)
    design, posterior = fitted.design, hasattr(fitted, "tree")
    places = _checked_places(design)
    known = of_fit(fitted) if posterior else of_point(fitted)
    inverse = _Inverse(known) if _is_dense(known) else None
    rows, parameters = [], []
    for place in places:
        edf = np.nan if inverse is None else inverse.edf(place)
        own = block_parameters(place.block, design.blocks[place.block])
        for part, parameter in zip(design.blocks[place.block].parts, own, strict=True):
            rows.append({"smooth": place.name, "part": part.text, "edf": edf})
            parameters.append(parameter)
    if posterior:
        return pd.concat([pd.DataFrame(rows), describe(draws_of(fitted, parameters), ci_prob)], axis=1)
    sds = [np.sqrt(fitted.covariances[p.block][p.terms[0], p.terms[0]]) for p in parameters]
    return pd.DataFrame(rows).assign(estimate=sds)


def _checked_places(design) -> list[CurvePlace]:
    places = list(curve_places(design))
    if not places:
        raise DataError("the model has no smooth; a smooth curve is s(x), one for each level of f s(x, by = f)")
    return places


def _is_dense(fitted: Fitted) -> bool:
    design = fitted.design
    size = design.p + sum(len(block.levels) * len(block.columns) for block in design.blocks)
    return size <= MOST_COLUMNS and design.residual.correlated is None


class _Inverse:
    """The inverse of M = L'C'WCL + I, of coefficients and effects in units of their sds, at a fit's parameters."""

    def __init__(self, fitted: Fitted) -> None:
        design = fitted.design
        self.kept = [j for j in range(design.p) if j not in design.aliased]
        X = design.X[:, self.kept]
        if design.family.ordered:  # the thresholds move together as an intercept does
            X = np.column_stack([X, np.ones(design.n)])
        sizes = root_mean_square(X)
        parts, self.roots, self.at = [X / sizes], [np.diag(1 / sizes)], [X.shape[1]]
        for block, Sigma in zip(design.blocks, fitted.covariances, strict=True):
            root, G = square_root(Sigma), len(block.levels)
            levels = np.eye(G) if block.relation is None else block.relation.root
            wide = levels[block.index][:, :, None] * (block.Z @ root)[:, None, :]
            parts.append(wide.reshape(design.n, -1))
            self.roots.append(root)
            self.at.append(self.at[-1] + G * len(root))
        C = np.hstack(parts) * np.sqrt(fitted.information)[:, None]
        penalty = np.repeat([0.0, 1.0], [self.at[0], self.at[-1] - self.at[0]])
        try:
            self.inverse = np.linalg.inv(C.T @ C + np.diag(penalty))
        except np.linalg.LinAlgError:
            raise DataError(
                "the rows say nothing about a combination of the coefficients at these estimates, so that its curves "
                "have no standard errors or degrees of freedom; leave terms out"
            ) from None

    def _columns(self, place: CurvePlace) -> tuple[Array, Array]:
        """Return the places of a curve's columns without and with a penalty."""
        start, end = self.at[place.block], self.at[place.block + 1]
        return np.array([self.kept.index(j) for j in place.fixed if j in self.kept], dtype=int), np.arange(start, end)

    def edf(self, place: CurvePlace) -> float:
        """Return the effective degrees of freedom of a curve."""
        fixed, penalised = self._columns(place)
        return float(len(fixed) + (1 - np.diag(self.inverse)[penalised]).sum())

    def covariance(self, place: CurvePlace) -> Array:
        """Return the covariance matrix of a curve's coefficients, those without a penalty first; 0 for aliased ones."""
        fixed, penalised = self._columns(place)
        both, p, q = np.concatenate([fixed, penalised]), len(place.fixed), len(penalised)
        root = np.zeros((p + q, len(both)))
        known = [i for i, j in enumerate(place.fixed) if j in self.kept]
        root[known, range(len(fixed))] = np.diag(self.roots[0])[fixed]
        root[p:, len(fixed) :] = self.roots[place.block + 1]
        return root @ self.inverse[np.ix_(both, both)] @ root.T


# ----------------------------------------------------------------------------------------------------------------------
# curves


@dataclass(frozen=True, eq=False)
class Curve(Tabled):
    """A smooth along its variable, or over its two, on the scale of the link.

    Attributes
    ----------
    place : CurvePlace
    table : pandas.DataFrame
        A column for each variable; estimate, se, the pointwise interval lower and upper and the simultaneous one,
        lower_all and upper_all.
    observed : list of arrays
        The values of the variables in the rows.
    edf : float
        NaN where it is not known.
    """

    place: CurvePlace
    table: pd.DataFrame
    observed: list[Array]
    edf: float


@few_threads
def curves(fitted, ci_prob: float = CI_PROB) -> Iterator[Curve]:
    """Yield the curves of a fit's smooths, and of its surfaces, over the range of the data.

    Parameters
    ----------
    fitted : Fit or PointFit
    ci_prob : float
        Of the bands.

    Raises
    ------
    DataError
        The model has no smooth, or a maximised one has none of a covariance matrix that is dense.
    ValueError
        The effects of a posterior were not kept.
    """
    check_probability("ci_prob", ci_prob)
    places, posterior = _checked_places(fitted.design), hasattr(fitted, "tree")
    known = of_fit(fitted) if posterior else of_point(fitted)
    inverse = _Inverse(known) if _is_dense(known) else None
    if inverse is None and not posterior:
        raise DataError("bands of a maximised model need independent residuals and at most 4,000 effects; use sample()")
    for place in places:
        observed = curve_values(fitted.design, place)
        at = _grid(place)
        columns = place.columns(at)
        if posterior:
            values = columns @ _coefficient_draws(fitted, place).T
            statistics = _of_draws(values, ci_prob)
        else:
            statistics = _of_normal(columns, _estimates(fitted, place), inverse.covariance(place), ci_prob, place.name)
        table = pd.DataFrame(dict(zip(place.variables, at, strict=True)) | statistics)
        yield Curve(place, table, observed, np.nan if inverse is None else inverse.edf(place))


def _grid(place: CurvePlace) -> list[Array]:
    size = POINTS if len(place.variables) == 1 else SIDE
    sides = [np.linspace(*margin.ends, size) for margin in place.smooth.margins]
    return [side.ravel() for side in np.meshgrid(*sides, indexing="ij")]


def _coefficient_draws(fit, place: CurvePlace) -> Array:
    """Return the draws of a curve's coefficients, (draws, fixed + penalised)."""
    beta = variable(fit.tree, "beta")[..., list(place.fixed)]
    b = block_draws(fit, fit.design.blocks[place.block])[:, :, 0]
    return np.concatenate([beta, b], axis=-1).reshape(-1, len(place.fixed) + b.shape[-1])


def _estimates(point, place: CurvePlace) -> Array:
    return np.concatenate([np.nan_to_num(point.beta[list(place.fixed)]), point.modes[place.block][0]])


def _of_draws(values: Array, ci_prob: float) -> dict[str, Array]:
    """Return estimate, se and bands of curves, (points, draws)."""
    mean, se = values.mean(axis=1), values.std(axis=1, ddof=1)
    lower, upper = np.quantile(values, [(1 - ci_prob) / 2, (1 + ci_prob) / 2], axis=1)
    pointwise = {"estimate": mean, "se": se, "lower": lower, "upper": upper}
    return pointwise | _simultaneous(values - mean[:, None], mean, se, ci_prob)


def _of_normal(columns: Array, coefficients: Array, V: Array, ci_prob: float, name: str) -> dict[str, Array]:
    from scipy.special import ndtri

    mean, half = columns @ coefficients, columns @ square_root(V)
    se = np.sqrt(np.square(half).sum(axis=1))
    z = ndtri((1 + ci_prob) / 2)
    around = half @ stream(0, "simultaneous band", name).standard_normal((half.shape[1], SIMULATED))
    pointwise = {"estimate": mean, "se": se, "lower": mean - z * se, "upper": mean + z * se}
    return pointwise | _simultaneous(around, mean, se, ci_prob)


def _simultaneous(around: Array, mean: Array, se: Array, ci_prob: float) -> dict[str, Array]:
    """Return the simultaneous band by deviations, (points, draws), from the mean curve."""
    known = se > 0
    ratio = np.abs(around[known]) / se[known, None]
    c = np.quantile(ratio.max(axis=0), ci_prob) if known.any() else 0.0
    return {"lower_all": mean - c * se, "upper_all": mean + c * se}
