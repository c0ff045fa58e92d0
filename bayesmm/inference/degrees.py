"""t tests of the coefficients with denominator degrees of freedom."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.errors import listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import estimated
from bayesmm.inference.containment import containment, small_sample_factor
from bayesmm.inference.kenward_roger import kenward_roger
from bayesmm.inference.knapp_hartung import KNAPP_HARTUNG, knapp_hartung
from bayesmm.inference.linear import linear_summary
from bayesmm.inference.satterthwaite import satterthwaite
from bayesmm.inference.tails import t_tail
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.runtime.threads import few_threads


def _by_satterthwaite(point: Estimates) -> tuple[Floats, Floats]:
    found = satterthwaite(point)
    return np.sqrt(np.diag(found.covariance)), np.array([found.df(row) for row in np.eye(len(found.covariance))])


def _by_kenward_roger(point: Estimates) -> tuple[Floats, Floats]:
    found = kenward_roger(point)
    return np.sqrt(np.diag(found.adjusted)), np.array([found.df(row) for row in np.eye(len(found.adjusted))])


def _by_containment(point: Estimates) -> tuple[Floats, Floats]:
    kept, df = estimated(point.design), containment(point)  # which says first what it is not for
    return np.sqrt(np.diag(point.beta_cov))[kept] * small_sample_factor(point), df[kept]


# name -> function of a Estimates that returns standard errors and degrees of freedom, (r,) each
METHODS: Mapping[str, Callable[[Estimates], tuple[Floats, Floats]]] = MappingProxyType(
    {"satterthwaite": _by_satterthwaite, "kenward-roger": _by_kenward_roger, "containment": _by_containment}
)


def known_method(ddf: str, also: tuple[str, ...] = ()) -> str:
    """Return the name of a method, in capitals as R writes it or not; a ValueError for an unknown one.

    `also` are possible besides.
    """
    name, known = ddf.lower() if isinstance(ddf, str) else ddf, [*METHODS, *also]
    if name not in known:
        raise ValueError(f"ddf must be one of {listing(known)}, not {ddf!r}{suggest(str(ddf), known)}")
    return name


@few_threads
def t_table(point: Estimates, ddf: str) -> pd.DataFrame:
    """Return the coefficients with degrees of freedom and two-sided p-values of Student's t.

    Parameters
    ----------
    point : PointFit
        Of a Gaussian model by REML or ML.
    ddf : {"satterthwaite", "kenward-roger", "containment", "knapp-hartung"}
        Knapp and Hartung's tests are for models with ``se()``, the others for all without parameters of the residual.
        Kenward-Roger's standard errors are those of its adjusted covariance; containment is nlme's rule, with nlme's
        factor sqrt(n / (n - p)) on the standard errors of an ML fit. For a linear model all three are the residual
        degrees of freedom n - p, with the standard errors of least squares.

    Returns
    -------
    pandas.DataFrame
        Index coef; estimate, se, df, t, p.

    Raises
    ------
    ValueError
        For an unknown method.
    DataError
        For a family, a size or a structure that the method is not for.
    """
    ddf = known_method(ddf, (KNAPP_HARTUNG,))
    if ddf == KNAPP_HARTUNG:
        return knapp_hartung(point)
    table = pd.DataFrame(index=pd.Index(point.design.coefficients, name="coef"))
    if not point.design.blocks:
        least_squares = linear_summary(point)
        coefficients = least_squares.coefficients.copy()
        coefficients.insert(2, "df", float(least_squares.df_resid))
        return coefficients
    kept, (se, df) = estimated(point.design), METHODS[ddf](point)
    table["estimate"] = point.beta
    for name, values in (("se", se), ("df", df)):
        table[name] = np.nan
        table.iloc[kept, table.columns.get_loc(name)] = values
    table["t"] = table["estimate"] / table["se"]
    table["p"] = t_tail(table["t"].to_numpy(), table["df"].to_numpy())
    return table
