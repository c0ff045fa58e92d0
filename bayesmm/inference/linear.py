"""Linear models without random effects: what R's summary.lm and anova.lm say of a least-squares fit."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import check_gaussian, estimated
from bayesmm.inference.hypotheses import hypotheses
from bayesmm.inference.tails import f_tail, t_tail
from bayesmm.likelihood.crossproducts import Floats

RESIDUALS = "Residuals"  # the last row of an analysis of variance
QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class LinearSummary:
    """A least-squares fit.

    Attributes
    ----------
    coefficients : pandas.DataFrame
        Index coef; estimate, se, t, p (two-sided, Student t). NaN for a column that depends on earlier ones.
    sigma : float
        Residual standard error, sqrt(RSS / df_resid), whether the fit is by REML or by ML.
    df_resid : int
    r2, adj_r2 : float
        Share of the weighted sum of squares (about the mean, with an intercept) that is explained; and adjusted for
        the number of coefficients.
    F, F_p : float
        Test of all coefficients but the intercept; NaN where there is none.
    F_df : tuple of int
        Its degrees of freedom.
    residuals : (5,) float64
        Minimum, quartiles and maximum of the residuals, on the scale of the response, times sqrt(weight).
    """

    coefficients: pd.DataFrame
    sigma: float
    df_resid: int
    r2: float
    adj_r2: float
    F: float
    F_df: tuple[int, int]
    F_p: float
    residuals: Floats


def linear_summary(point: Estimates) -> LinearSummary:
    """Return what R's ``summary(lm(...))`` says of a linear model.

    Parameters
    ----------
    point : PointFit
        Of a model without random effects, by REML or ML.

    Returns
    -------
    LinearSummary

    Raises
    ------
    DataError
        If the model has random effects, another family, or is the mode of a posterior.
    """
    check_linear(point)
    design = point.design
    rank, intercept = len(estimated(design)), int(design.has_intercept)
    df = design.n - rank
    r = point.residuals * np.sqrt(_weights(point))
    sigma = float(np.sqrt(r @ r / df))
    explained, model_df = _explained(point), rank - intercept
    F = explained / model_df / sigma**2 if model_df else np.nan
    r2 = explained / (explained + r @ r)
    return LinearSummary(
        _coefficients(point, sigma, df),
        sigma,
        df,
        float(r2),
        float(1 - (1 - r2) * (design.n - intercept) / df),
        float(F),
        (model_df, df),
        float(f_tail(F, model_df, df)) if model_df else np.nan,
        np.quantile(r, QUARTILES),
    )


def check_linear(point: Estimates) -> None:
    """Raise a DataError unless the fit is that of a Gaussian model without random effects."""
    check_gaussian(point, "the summary of a linear model")
    if point.design.blocks:
        raise DataError(
            f"the summary of a linear model is for a formula without bars, and this one has {len(point.design.blocks)} "
            "grouping factor(s); print the fit, or use fixef() and varcorr()"
        )


def _weights(point: Estimates) -> Floats:
    weights = point.design.weights
    return np.ones(point.design.n) if weights is None else weights


def _explained(point: Estimates) -> float:
    """Return the sum of squares of the fitted values, about their weighted mean with an intercept; no offset."""
    w, fitted = _weights(point), point.fitted - point.design.offset
    if point.design.has_intercept:
        fitted = fitted - np.average(fitted, weights=w)
    # with the intercept alone the fitted values are their mean, to rounding
    return float(w @ fitted**2) if len(estimated(point.design)) > point.design.has_intercept else 0.0


def _coefficients(point: Estimates, sigma: float, df: int) -> pd.DataFrame:
    se = np.sqrt(np.diag(point.beta_cov)) * (sigma / point.sigma)
    t = point.beta / se
    table = {"estimate": point.beta, "se": se, "t": t, "p": t_tail(t, df)}
    return pd.DataFrame(table, index=pd.Index(point.design.coefficients, name="coef"))


def sums_of_squares(point: Estimates, kind: str = "I") -> pd.DataFrame:
    """Return the analysis of variance of a linear model, as R's anova.lm (type I) and car's Anova.

    Parameters
    ----------
    point : PointFit
    kind : {"I", "II", "III"}

    Returns
    -------
    pandas.DataFrame
        Index term (in the formula's order, ``Residuals`` last); columns Df, Sum Sq, Mean Sq, F value, Pr(>F).
    """
    check_linear(point)
    kept, tested = estimated(point.design), hypotheses(point, kind)
    df = np.array([*(len(one.columns) for one in tested), point.design.n - len(kept)])
    r = point.residuals * np.sqrt(_weights(point))
    ss = np.array([*(np.sum((one.rows @ point.beta[kept]) ** 2) for one in tested), r @ r])
    ms = ss / df
    F = np.append(ms[:-1] / ms[-1], np.nan)
    p = f_tail(F, df, df[-1])
    table = {"Df": df, "Sum Sq": ss, "Mean Sq": ms, "F value": F, "Pr(>F)": p}
    return pd.DataFrame(table, index=pd.Index([*(one.label for one in tested), RESIDUALS], name="term"))
