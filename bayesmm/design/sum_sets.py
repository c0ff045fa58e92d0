"""Several sets of sums, of which the parameters of the residuals make one: see `bayesmm.design.summed_residual`."""

from dataclasses import dataclass

import numpy as np

STRATA, LAGS, LENGTHS = "strata", "lags", "lengths"


@dataclass(frozen=True, eq=False)
class ResidualSums:
    """Sets of sums, S of them.

    Attributes
    ----------
    kind : {"strata", "lags", "lengths"}
    keys : (K, k) float64
        What tells the K kinds of rows or series apart: the columns of sigma's formula without its intercept; the steps
        to the row before; the number of rows of a series.
    count : (K,) float64
        Rows of each stratum, rows with such a step, series of such a length.
    inverse : (K,) float64
        Sum of 1 / w over the rows of each stratum; of the others nothing, (0,).
    names : tuple of str
        Of the columns of sigma's formula, its intercept's too.
    weighted : (S, m, m) float64
    levels : tuple of (S, G, l, m) float64
        For each block of the design.
    pairs : tuple of (S, pairs, l_first, l_second) float64
        For each two of them.
    basis : ((k, k) float64, tuple of int) or None
        R and the order of the `TermBasis` of the columns of sigma's formula; None of others, and from a file.
    sizes : tuple of float
        `FormulaColumns.sizes` of them; nothing of others, and from a file.
    """

    kind: str
    keys: np.ndarray
    count: np.ndarray
    inverse: np.ndarray
    names: tuple[str, ...]
    weighted: np.ndarray
    levels: tuple[np.ndarray, ...]
    pairs: tuple[np.ndarray, ...]
    basis: tuple[np.ndarray, tuple[int, ...]] | None = None
    sizes: tuple[float, ...] = ()
