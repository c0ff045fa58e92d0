"""The estimates of a maximised fit as users of statsmodels and R expect them: params, p-values, a table of all."""

import numpy as np
import pandas as pd

from bayesmm.design.parameters import coefficient_label, free_auxiliaries, residual_parameters
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import has_profile
from bayesmm.inference.degrees import t_table
from bayesmm.inference.marginal_effects.uncertainty import exponentiated as ratios
from bayesmm.inference.marginal_effects.uncertainty import quantile
from bayesmm.inference.ratios import check_exponentiated
from bayesmm.posterior.parameter_values import estimates
from bayesmm.posterior.point_estimates import estimate, standard_error
from bayesmm.runtime.arguments import check_probability

CI_PROB = 0.95


def coefficient_table(point: Estimates) -> pd.DataFrame:
    """Return the coefficients with the p-values that the model has.

    Those of a linear model are Student's t on the residual degrees of freedom, of a linear mixed model by REML or ML
    with Satterthwaite's, as R's lmerTest has them; of all others, of models with structures of the residuals or known
    covariances of levels, and of the mode of a posterior, z.

    Returns
    -------
    pandas.DataFrame
        Index coef; estimate, se, df (not with z), t or z, p.
    """
    if not point.design.family.gaussian or point.method == "MAP" or not has_profile(point.design):
        return with_z(point)
    return t_table(point, "satterthwaite")


def with_z(point: Estimates) -> pd.DataFrame:
    """Return the coefficients with z and its two-sided p, (p rows)."""
    return _tested(Estimates.fixef(point)[["estimate", "se"]])


def own_table(point: Estimates) -> pd.DataFrame:
    """Return the thresholds and the coefficients of formulas of parameters, by label: estimate, se, z, p."""
    found = [p for p in residual_parameters(point.design) if p.label in point.own_se]
    values = [(estimate(point, p), standard_error(point, p)) for p in found]
    return _tested(pd.DataFrame(values, index=[p.label for p in found], columns=["estimate", "se"], dtype=float))


def family_table(point: Estimates, ci_prob: float) -> pd.DataFrame:
    """Return the family's parameters besides the mean of a generalised fit, by label: estimate, se, lower, upper.

    The interval is about the link of the parameter (logarithm, logit), transformed back; se is the parameter's own.
    NaN where the likelihood is flat in it, as at a bound.
    """
    if point.joint is None:
        return pd.DataFrame(columns=["estimate", "se", "lower", "upper"], dtype=float)
    z, rows, errors = float(quantile((1 + ci_prob) / 2, np.inf)), {}, point.joint.errors
    for own in free_auxiliaries(point.design):
        value, error, at = point.auxiliaries[own.name], errors[own.name], point.link(own)
        ends = [own.moved(at + sign * z * error)[0] for sign in (-1, 1)]
        rows[own.name] = (value, own.moved(at)[1] * error, *ends)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "se", "lower", "upper"], dtype=float)


def _tested(table: pd.DataFrame) -> pd.DataFrame:
    from scipy.special import erfc

    z = table["estimate"] / table["se"]
    return table.assign(z=z, p=erfc(np.abs(z) / np.sqrt(2)))


def summary(point: Estimates, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Return every parameter with its estimate, the coefficients with standard error, test and Wald interval too.

    So are the thresholds of ordered categories, the coefficients of formulas of the family's parameters, and these
    parameters themselves, whose intervals are those of their link, transformed back, and which have no test.

    Parameters
    ----------
    point : PointFit
    ci_prob : float
        Probability of the intervals of the coefficients; those of variance parameters are by `confint()`, which
        profiles the likelihood.

    Returns
    -------
    pandas.DataFrame
        Index parameter, as in the `summary()` of a posterior; estimate, se, df (not with z), t or z, p, lower, upper.
    """
    check_probability("ci_prob", ci_prob)
    table = coefficient_table(point).iloc[: point.design.p]  # those of categories without an order are among own_table
    table = table.set_axis([coefficient_label(name) for name in table.index], axis=0)
    table[["lower", "upper"]] = wald(point, ci_prob).iloc[: point.design.p].to_numpy()
    if point.joint is not None:
        own, family = own_table(point), family_table(point, ci_prob)
        table = pd.concat([table, own.join(_intervals(own, ci_prob)), family.reindex(columns=table.columns)])
    values = estimates(point)
    others = pd.DataFrame({"estimate": values}).drop(index=table.index)
    return pd.concat([table, others]).loc[list(values)].rename_axis("parameter")


def wald(point: Estimates, ci_prob: float) -> pd.DataFrame:
    """Return intervals of the coefficients by the t or z of `coefficient_table`: index coef; lower, upper."""
    return _intervals(coefficient_table(point), ci_prob)


def _intervals(table: pd.DataFrame, ci_prob: float) -> pd.DataFrame:
    """Return the ends of the intervals of a table of coefficients, by its df; by z where it has none."""
    df = table["df"].to_numpy() if "df" in table else np.full(len(table), np.inf)
    half = quantile((1 + ci_prob) / 2, df) * table["se"]
    return pd.DataFrame({"lower": table["estimate"] - half, "upper": table["estimate"] + half})


def exponentiated(point: Estimates, ddf: str | None, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Return the exponentials of the coefficients: rate ratios with a log link, odds ratios with a logit link.

    Returns
    -------
    pandas.DataFrame
        As `fixef(ddf)`, the estimate and the ends of its interval (lower, upper, 95 %) exponentiated, se by the delta
        method; the tests are those of the coefficients.

    Raises
    ------
    ValueError
        For another link, where the exponential of a coefficient is nothing.
    """
    check_exponentiated(point.design)
    tests = coefficient_table(point) if ddf is None else t_table(point, ddf)
    table = Estimates.fixef(point) if ddf is None else tests
    return ratios(table.join(_intervals(tests, ci_prob)))
