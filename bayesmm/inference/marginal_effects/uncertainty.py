"""From quantities to tables: intervals and probabilities of posterior draws; standard errors and tests of estimates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.relations import is_related
from bayesmm.estimation.estimates import Estimates
from bayesmm.families.links import LINKS, Link
from bayesmm.inference.checks import estimated
from bayesmm.inference.kenward_roger import kenward_roger
from bayesmm.inference.linear import linear_summary
from bayesmm.inference.marginal_effects.quantities import Quantities
from bayesmm.inference.satterthwaite import satterthwaite
from bayesmm.inference.tails import t_tail
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.convergence import quantiles, sds_of_draws
from bayesmm.posterior.mean_slopes import covariance_root
from bayesmm.posterior.predict import check_choice

DDF = ("satterthwaite", "kenward-roger", "none")


@dataclass(frozen=True, eq=False)
class Spread:
    """How precisely the coefficients are estimated.

    Attributes
    ----------
    root : (p, r) or (p + a + s, r) float64
        root root' is the covariance of what quantities have derivatives in; rows of 0 for columns that were left out of
        the estimation.
    df : callable
        The degrees of freedom of a contrast of shape (p,).
    words : str
        For the notes: where the degrees of freedom come from.
    normal : bool
        There are none: z instead of t.
    joint : callable
        The denominator degrees of freedom of an F test of contrasts of shape (q, p), and what F is multiplied by.
    """

    root: Floats
    df: Callable[[Floats], float]
    words: str
    normal: bool
    joint: Callable[[Floats], tuple[float, float]]


def spread_of(point: Estimates, ddf: str | None) -> Spread:
    """Return the covariance of the coefficients and the degrees of freedom of contrasts of them.

    Parameters
    ----------
    point : PointFit
    ddf : {"satterthwaite", "kenward-roger", "none"}, optional
        None: Satterthwaite's for a Gaussian model by REML or ML; the residual ones without random effects; none (z) for
        other families, structured residuals, known covariances of levels, and the mode of a posterior.

    Raises
    ------
    ValueError
        For an unknown method.
    DataError
        For a family or a size that the method is not for.
    """
    if ddf is not None:
        ddf = ddf.lower() if isinstance(ddf, str) else ddf  # in capitals, as R writes it
        check_choice("ddf", ddf, DDF)
    likelihood = point.design.family.gaussian and point.method in ("REML", "ML")
    structured = bool(point.design.residual.parts) or is_related(point.design)  # no degrees of freedom are known
    if ddf == "none" or (ddf is None and (structured or not likelihood)):
        return Spread(covariance_root(point), lambda contrast: np.inf, "", True, lambda rows: (np.inf, 1.0))
    if likelihood and not point.design.blocks:
        found = linear_summary(point)
        root = point.scaled.root * (found.sigma / point.sigma)
        df = float(found.df_resid)
        return Spread(root, lambda contrast: df, "the residual degrees of freedom", False, lambda rows: (df, 1.0))
    if ddf == "kenward-roger":
        own = kenward_roger(point)
        return _of_estimated(point, own, "Kenward-Roger's degrees of freedom and standard errors", own.f_test)
    own = satterthwaite(point)
    return _of_estimated(point, own, "Satterthwaite's degrees of freedom", lambda rows: (own.df_of_rows(rows), 1.0))


def _of_estimated(point: Estimates, own, words: str, joint: Callable[[Floats], tuple[float, float]]) -> Spread:
    """Return the spread of all coefficients, given that of the ones that could be estimated."""
    kept = estimated(point.design)
    full = np.zeros((point.design.p, own.root.shape[1]))
    full[kept] = own.root
    return Spread(full, lambda contrast: own.df(contrast[kept]), words, False, lambda rows: joint(rows[:, kept]))


# ----------------------------------------------------------------------------------------------------------------------
# of a maximised model


@dataclass(frozen=True, eq=False)
class Estimates:
    """Estimates with their standard errors and degrees of freedom, (r,) each; NaN where they are not defined."""

    values: Floats
    se: Floats
    df: Floats


def estimates(quantities: Quantities, spread: Spread) -> Estimates:
    """Return the quantities with standard errors by the delta method; linear models' variance parameters are held."""
    J = quantities.jacobian
    with np.errstate(over="ignore", invalid="ignore"):
        variance = np.square(J @ spread.root).sum(axis=1)
    df = [spread.df(row) if v > 0 else np.inf for row, v in zip(J, variance, strict=True)]
    missing = np.where(quantities.defined, 0.0, np.nan)
    return Estimates(quantities.values[0] + missing, np.sqrt(variance) + missing, np.array(df, dtype=float) + missing)


def quantile(probability: Floats | float, df: Floats) -> Floats:
    """Return quantiles of Student's t, normal where the degrees of freedom are infinite."""
    from scipy.special import ndtri, stdtrit

    finite = np.where(np.isfinite(df), df, 1.0)
    return np.where(np.isinf(df), ndtri(probability), stdtrit(finite, probability)) + 0 * np.where(np.isinf(df), 0, df)


def point_means(found: Estimates, spread: Spread, ci_prob: float, link: Link | None) -> pd.DataFrame:
    """Return a table of means: estimate, se, df (not with z), lower and upper.

    Intervals are symmetric on the scale of the link, if one is given, and transformed back, so that they stay in the
    range of a mean; the inverse link, which changes its sign at 0, is replaced by the logarithm.
    """
    link = LINKS["log"] if link is not None and link.name == "inverse" else link
    half = quantile((1 + ci_prob) / 2, found.df) * found.se
    lower, upper = found.values - half, found.values + half
    if link is not None and link.name != "identity":
        with np.errstate(all="ignore"):  # a mean at the end of its range has no finite value on the link's scale
            eta = link.function(found.values)
            wide = half / np.abs(link.slope(eta))
            lower, upper = link.inverse(eta - wide), link.inverse(eta + wide)
    columns = {"estimate": found.values, "se": found.se}
    columns |= {} if spread.normal else {"df": found.df}
    return pd.DataFrame(columns | {"lower": lower, "upper": upper})


def transformed(table: pd.DataFrame, link: Link) -> pd.DataFrame:
    """Return the table of means for one of linear predictors, by the inverse of a link; the se by the delta method."""
    with np.errstate(all="ignore"):
        ends = np.sort([link.inverse(table[name].to_numpy()) for name in ("lower", "upper")], axis=0)
        eta = table["estimate"].to_numpy()
        se = np.abs(link.slope(eta)) * table["se"]
        return table.assign(estimate=link.inverse(eta), se=se, lower=ends[0], upper=ends[1])


def point_tests(found: Estimates, spread: Spread, ci_prob: float, null: float = 0.0) -> pd.DataFrame:
    """Return a table of differences: estimate, se, df (not with z), t or z, two-sided p, lower and upper."""
    half = quantile((1 + ci_prob) / 2, found.df) * found.se
    columns = {"estimate": found.values, "se": found.se}
    columns |= {} if spread.normal else {"df": found.df}
    t = statistic(found, null)
    columns |= {"z" if spread.normal else "t": t, "p": t_tail(t, found.df)}
    return pd.DataFrame(columns | {"lower": found.values - half, "upper": found.values + half})


def statistic(found: Estimates, null: float = 0.0) -> Floats:
    """Return t or z; NaN for what is 0 whatever the data."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(found.se > 0, (found.values - null) / found.se, np.nan)


def exponentiated(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of ratios for one of their logarithms: the tests stay, the se is that of the delta method."""
    with np.errstate(over="ignore"):  # a coefficient that goes to infinity has an infinite ratio
        ratio = np.exp(table["estimate"])
        bounds = {name: np.exp(table[name]) for name in ("lower", "upper")}
        return table.assign(estimate=ratio, se=ratio * table["se"], **bounds)


# ----------------------------------------------------------------------------------------------------------------------
# of a posterior


def drawn(values: Floats, ci_prob: float, null: float | None = None) -> pd.DataFrame:
    """Return mean, sd and equal-tailed interval of draws (s, r), with `null` the probability of direction, and median.

    The probability of direction, `pd`, is the larger of the shares of draws above and below `null` (Makowski,
    Ben-Shachar, Chen & Lüdecke 2019, Frontiers in Psychology 10:2767). The median exists where the mean does not: with
    a log link, over new groups whose sd has a posterior with a heavy tail.
    """
    lower, median, upper = quantiles(values, [(1 - ci_prob) / 2, 0.5, (1 + ci_prob) / 2])
    with np.errstate(invalid="ignore"):  # of draws that are infinite on both sides there is no mean
        mean = values.mean(axis=0)
    table = pd.DataFrame({"mean": mean, "sd": sds_of_draws(values), "lower": lower, "upper": upper})
    if null is not None:
        shares = np.maximum((values > null).mean(axis=0), (values < null).mean(axis=0))
        table["pd"] = np.where(np.isnan(values).any(axis=0), np.nan, shares)
    return table.assign(median=median)
