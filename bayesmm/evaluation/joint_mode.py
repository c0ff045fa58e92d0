"""What a parameter's posterior mean is where all other parameters have given values: a mean beside a joint mode.

A mode of several parameters together lies elsewhere than the modes of each alone, also where every marginal is
symmetric: the fewer rows there are for each coefficient, the more an sd or a shape is moved by what is not known of the
coefficients (which is what REML is for; Cox & Reid 1987, JRSS B 49(1), section 3).
"""

import numpy as np

ROWS_FOR_EACH = 20  # draws for each term of the regression; with fewer nothing is said
REACH = 1.5  # times the typical distance of draws from their mean: a point farther off is not where the draws are


def means_given_others(draws: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the mean of each parameter given that all others are at a point, (k,); NaN where the draws do not say.

    Parameters
    ----------
    draws : (k, n)
    at : (k,)
        NaN leaves a parameter out of the others.

    Notes
    -----
    By least squares on the draws: the others' distances from the point, whitened, and the sum of their squares. The
    log-likelihood falls with that sum, so that what is left to a scale parameter goes with it.
    """
    used = np.isfinite(at) & (draws.std(axis=1) > 0)
    found = np.full(len(at), np.nan)
    for j in np.flatnonzero(used):
        others = np.flatnonzero(used & (np.arange(len(at)) != j))
        found[j] = _mean_at(draws[j], draws[others], at[others])
    return found


def _mean_at(values: np.ndarray, others: np.ndarray, at: np.ndarray) -> float:
    k, n = others.shape
    if k == 0 or n < ROWS_FOR_EACH * (k + 2):
        return float("nan")
    spread = np.atleast_2d(np.cov(others))
    if np.linalg.cond(spread / np.sqrt(np.outer(np.diag(spread), np.diag(spread)))) > 1 / np.sqrt(np.finfo(float).eps):
        return float("nan")
    root = np.linalg.cholesky(spread)
    z = np.linalg.solve(root, others - at[:, None])
    if np.linalg.norm(z.mean(axis=1)) > REACH * np.sqrt(k):
        return float("nan")
    terms = np.column_stack([np.ones(n), z.T, (z**2).sum(axis=0)])
    return float(np.linalg.lstsq(terms, values, rcond=None)[0][0])
