"""Rubin's rules: estimates of multiply imputed data as one, with Barnard and Rubin's degrees of freedom.

Of m imputations with estimates Q_l and squared standard errors U_l, Q = mean Q_l has the variance T = U + (1 + 1/m) B,
with U = mean U_l and B the variance of the Q_l (Rubin 1987, *Multiple Imputation for Nonresponse in Surveys*, section
3.3). The share of T that the missing values make is lambda = (1 + 1/m) B / T. With nu the degrees of freedom that the
complete data would give, those of t = Q / sqrt(T) are 1 / (1 / nu_m + 1 / nu_obs), nu_m = (m - 1) / lambda^2 and
nu_obs = (nu + 1) / (nu + 3) nu (1 - lambda) (Barnard & Rubin 1999, Biometrika 86, 948-955). R's mice has the same in
`pool()`, but that it takes the residual degrees of freedom for nu.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bayesmm.design.parameters import free_auxiliaries, variance_parameters
from bayesmm.estimation.estimates import Estimates
from bayesmm.families.family import Auxiliary
from bayesmm.inference.habits import summary
from bayesmm.inference.marginal_effects.uncertainty import quantile
from bayesmm.inference.tails import t_tail
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.point_estimates import estimate

COLUMNS = ("estimate", "se", "df", "t", "p", "lower", "upper", "lambda", "fmi")


def rubin(estimates: Floats, variances: Floats, df: Floats, ci_prob: float = 0.95) -> pd.DataFrame:
    """Return estimates of m imputations as one.

    Parameters
    ----------
    estimates, variances : (m, k) float64
        The estimates of each imputation, and their squared standard errors.
    df : (k,) float64
        The degrees of freedom of the complete data; infinite for z.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        k rows: `COLUMNS`. lambda is the share of the variance that the missing values make, fmi the fraction of missing
        information, (r + 2 / (df + 3)) / (1 + r) with r = lambda / (1 - lambda).
    """
    m = len(estimates)
    with np.errstate(divide="ignore", invalid="ignore"):
        within, between = variances.mean(axis=0), (1 + 1 / m) * estimates.var(axis=0, ddof=1)
        total = within + between
        share = between / total
        observed = np.where(np.isinf(df), np.inf, (df + 1) / (df + 3) * df * (1 - share))
        own = 1 / (share**2 / (m - 1) + 1 / observed)
        r = between / within
        fmi = (r + 2 / (own + 3)) / (1 + r)
        mean, se = estimates.mean(axis=0), np.sqrt(total)
        t = mean / se
    half = quantile((1 + ci_prob) / 2, own) * se
    values = (mean, se, own, t, t_tail(t, own), mean - half, mean + half, share, fmi)
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def pooled_summary(points: Sequence[Estimates], df_com: float | str | None, ci_prob: float) -> pd.DataFrame:
    """Return every parameter of maximised fits of m imputations as one: index parameter, `COLUMNS`.

    What has standard errors (coefficients, thresholds, coefficients of formulas of parameters) goes by Rubin's rules,
    and so do the family's parameters by their links (logarithm, logit), from which they are transformed back. Sds and
    correlations are those of the averages of the covariance matrices; these have no standard errors.

    Parameters
    ----------
    points : sequence of PointFit
        With the same parameters.
    df_com : float, "residual" or None
        Degrees of freedom of the complete data: a number; rows less parameters, as mice has them; or those that a fit's
        own tests have, averaged: Satterthwaite's, n - p of a linear model, none with z.
    ci_prob : float
    """
    tables = [summary(point, ci_prob) for point in points]
    estimates, errors = (np.stack([table[name].to_numpy(float) for table in tables]) for name in ("estimate", "se"))
    if df_com == "residual":
        df = np.full(estimates.shape[1], np.mean([point.design.n - point.npar for point in points]))
    elif df_com is not None:
        df = np.full(estimates.shape[1], float(df_com))
    else:
        own = [table["df"] if "df" in table else pd.Series(np.inf, table.index) for table in tables]
        df = np.mean([each.fillna(np.inf).to_numpy() for each in own], axis=0)
    family = _on_their_links(points, tables[0].index, estimates, errors)
    found = rubin(estimates, errors**2, df, ci_prob).set_index(tables[0].index)
    for own in family:  # back from the real line; they have no test
        value, rate = own.moved(found.loc[own.name, "estimate"])
        ends = [own.moved(found.loc[own.name, end])[0] for end in ("lower", "upper")]
        found.loc[own.name, ["estimate", "se", "t", "p", "lower", "upper"]] = (
            value, rate * found.loc[own.name, "se"], np.nan, np.nan, *ends,
        )  # fmt: skip
    without = ~np.isfinite(errors).all(axis=0)
    found.loc[without, list(COLUMNS[1:])] = np.nan
    average = averaged(points)
    for parameter in variance_parameters(average.design):
        if without[found.index.get_loc(parameter.label)]:
            found.loc[parameter.label, "estimate"] = estimate(average, parameter)
    return found


def on_links(points: Sequence[Estimates]) -> tuple[Auxiliary, ...]:
    """Return the family's parameters that all fits have on the real line, with a standard error there."""
    if any(point.joint is None for point in points):
        return ()
    own = free_auxiliaries(points[0].design)
    return tuple(one for one in own if all(np.isfinite(point.joint.errors[one.name]) for point in points))


def _on_their_links(points: Sequence[Estimates], index: pd.Index, estimates: Floats, errors: Floats) -> list[Auxiliary]:
    """Put the family's parameters on the real line where all fits have their errors there; return which they are."""
    for own in (found := list(on_links(points))):
        at = index.get_loc(own.name)
        estimates[:, at] = [point.link(own) for point in points]
        errors[:, at] = [point.joint.errors[own.name] for point in points]
    return found


def averaged(points: Sequence[Estimates]) -> Estimates:
    """Return the first fit with the averages of all covariance matrices, of sigma^2 and of the other parameters.

    Those of a family are averaged on their links, as `pooled_summary` has them; where one has no error there, as they
    are, or by their reciprocals if the family becomes another at infinity, so that one of 1e9 counts as 0.
    """
    first = points[0]
    covariances = tuple(np.mean(each, axis=0) for each in zip(*(point.covariances for point in points), strict=True))
    inverted = {each.name for each in first.design.family.parameters if each.limit and each.limit_at == np.inf}
    own = {name: np.array([point.auxiliaries[name] for point in points]) for name in first.auxiliaries}
    own = {name: float(1 / np.mean(1 / x) if name in inverted else np.mean(x)) for name, x in own.items()}
    residual = {name: np.mean([point.residual[name] for point in points], axis=0) for name in first.residual}
    shared = [name for name in first.levels if all(name in point.levels for point in points)]
    levels = {name: float(np.mean([point.levels[name] for point in points])) for name in shared}
    sigma = float(np.sqrt(np.mean([point.sigma**2 for point in points])))
    linked = {
        each.name: float(each.moved(np.mean([point.link(each) for point in points]))[0]) for each in on_links(points)
    }
    sigma = linked.get("sigma", sigma)
    return replace(
        first,
        beta=np.mean([point.beta for point in points], axis=0),
        covariances=covariances,
        sigma=sigma,
        auxiliaries=own | ({"sigma": sigma} if "sigma" in own else {}) | linked,
        residual=residual,
        levels=levels,
    )
