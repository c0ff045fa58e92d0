"""Confidence intervals of the parameters of a maximised fit."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from bayesmm.design.parameters import coefficient_label
from bayesmm.errors import listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.habits import family_table, own_table
from bayesmm.inference.linear import linear_summary
from bayesmm.inference.profile import ends, parameters_of
from bayesmm.runtime.arguments import check_probability
from bayesmm.runtime.threads import few_threads

METHODS = ("profile", "wald")


@few_threads
def confint(point: Estimates, level: float = 0.95, method: str = "profile") -> pd.DataFrame:
    """Return confidence intervals.

    Parameters
    ----------
    point : PointFit
        By REML or ML.
    level : float
        Probability of each interval.
    method : {"profile", "wald"}
        "profile": of every sd, correlation, parameter of the family (sigma) and coefficient, from the profiled ML
        deviance (also for a REML fit, as lme4 does). "wald": of the coefficients, of thresholds and of coefficients of
        formulas of the family's parameters, estimate +- z se, and of these parameters, the same on the scale of their
        link. Of a linear model both give Student's t intervals of the
        coefficients, which are exact.

    Returns
    -------
    pandas.DataFrame
        Index parameter (``sd_Subject[Days]``, ``sigma``, ``beta[Days]``); lower, upper.

    Raises
    ------
    ValueError
        For an unknown method, or a level that is no probability.
    DataError
        For a profile of the mode of a posterior.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {listing(METHODS)}, not {method!r}{suggest(str(method), METHODS)}")
    check_probability("level", level)
    if not (point.design.blocks or point.design.residual.parts) and point.design.family.gaussian:
        found = linear_summary(point)
        return _around(found.coefficients, float(stdtrit(found.df_resid, (1 + level) / 2)))
    if method == "wald":
        z = float(ndtri((1 + level) / 2))
        named = point.design.family.nominal and point.own_se  # whose coefficients are all in the second
        tables = [] if named else [_around(point.fixef(), z)]
        own = [_around(own_table(point), z, str)] if point.own_se else []
        family = family_table(point, level)[["lower", "upper"]].rename_axis("parameter")
        return pd.concat([*tables, *own, *([family] if len(family) else [])])
    parameters = parameters_of(point)
    found = ends(point, parameters, level)
    index = pd.Index([parameter.label for parameter in parameters], name="parameter")
    return pd.DataFrame(np.array(found), index=index, columns=["lower", "upper"])


def _around(table: pd.DataFrame, quantile: float, label: Callable[[str], str] = coefficient_label) -> pd.DataFrame:
    half = quantile * table["se"].to_numpy()
    estimate = table["estimate"].to_numpy()
    index = pd.Index([label(name) for name in table.index], name="parameter")
    return pd.DataFrame({"lower": estimate - half, "upper": estimate + half}, index=index)
