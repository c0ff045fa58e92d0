"""Knapp and Hartung's tests of the coefficients of a meta-analysis (2003, Statistics in Medicine 22, 2693-2710).

With known standard errors and few studies the Wald tests take the heterogeneity as if it were known. The standard
errors are multiplied by the root of r'V^-1 r / (n - p), whose expectation is 1, and the tests are Student's t on n - p
degrees of freedom: metafor's test = "knha".
"""

import numpy as np
import pandas as pd

from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.variance.heterogeneity import known_errors
from bayesmm.inference.checks import estimated
from bayesmm.inference.tails import t_tail

KNAPP_HARTUNG = "knapp-hartung"
MOST_ROWS = 5000  # of a dense matrix


def knapp_hartung(point: Estimates) -> pd.DataFrame:
    """Return the coefficients with Knapp and Hartung's standard errors, degrees of freedom and p-values.

    Returns
    -------
    pandas.DataFrame
        Index coef; estimate, se, df, t, p.

    Raises
    ------
    DataError
        The model has no known standard errors, correlated residuals, or more rows than a dense matrix is for.
    """
    design = point.design
    se = known_errors(design)
    if design.residual.correlated is not None or design.n > MOST_ROWS or point.method not in ("REML", "ML"):
        raise DataError(
            f"ddf={KNAPP_HARTUNG!r} is for a meta-analysis by REML or ML of at most {MOST_ROWS:,} rows whose residuals "
            "are independent; use the Wald tests of fixef()"
        )
    sigma = point.sigma if design.residual.sigma == "joint" else 0.0
    V = np.diag(np.square(se) + sigma**2)
    for block, Sigma in zip(design.blocks, point.covariances, strict=True):
        levels = np.eye(len(block.levels)) if block.relation is None else block.relation.K
        V += levels[np.ix_(block.index, block.index)] * (block.Z @ Sigma @ block.Z.T)
    r = design.y - design.offset - design.X @ np.nan_to_num(point.beta)
    df = design.n - len(estimated(design))
    scale = np.sqrt(r @ np.linalg.solve(V, r) / df) if df else np.nan
    table = pd.DataFrame(index=pd.Index(design.coefficients, name="coef"))
    table["estimate"], table["se"] = point.beta, scale * np.sqrt(np.diag(point.beta_cov))
    table["df"], table["t"] = float(df), table["estimate"] / table["se"]
    table["p"] = t_tail(table["t"].to_numpy(), table["df"].to_numpy())
    return table
