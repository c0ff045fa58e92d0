"""Tail probabilities, from scipy.special alone: scipy.stats takes half a second to import."""

import numpy as np
from scipy.special import betainc, chdtrc, erfc, fdtrc

from bayesmm.likelihood.crossproducts import Floats


def t_tail(t: Floats, df: Floats | float) -> Floats:
    """Return the two-sided p-values of Student's t; normal where the degrees of freedom are infinite."""
    t, df = np.broadcast_arrays(np.abs(np.asarray(t, dtype=float)), np.asarray(df, dtype=float))
    finite = np.where(np.isfinite(df), df, 1.0)
    return np.where(np.isinf(df), erfc(t / np.sqrt(2)), betainc(finite / 2, 0.5, finite / (finite + t**2)))


def f_tail(F: Floats, df1: Floats | float, df2: Floats | float) -> Floats:
    """Return the upper tail of F; chi-square where the denominator's degrees of freedom are infinite."""
    F, df1, df2 = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (F, df1, df2)))
    finite = np.where(np.isfinite(df2), df2, 1.0)
    return np.where(np.isinf(df2), chdtrc(df1, df1 * F), fdtrc(df1, finite, F))


def chi2_tail(x: Floats | float, df: Floats | float) -> Floats:
    """Return the upper tail of chi-square."""
    return chdtrc(df, x)
