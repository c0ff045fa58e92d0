"""Reference fits of smooths, multi-membership and structured covariances, with their data, and dense formulas."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


@cache
def structures() -> dict[str, dict]:
    """Return the reference fits by name."""
    return json.loads((HERE / "reference" / "structures.json").read_text())


def table(name: str) -> pd.DataFrame:
    """Return a data set of the tests."""
    return pd.read_csv(HERE / "data" / f"{name}.csv")


def wide(block) -> np.ndarray:
    """Return the columns of all effects of a block, (n, G q), level by level."""
    same = block.index[:, None] == np.arange(len(block.levels))
    return (same[:, :, None] * block.Z[:, None, :]).reshape(len(block.Z), -1)


def dense(design, covariances, sigma: float, reml: bool) -> float:
    """Return the REML criterion or the ML deviance by the n x n covariance matrix (Bates et al. 2015, eq. 34, 41)."""
    V = sigma**2 * np.eye(design.n)
    for block, Sigma in zip(design.blocks, covariances, strict=True):
        Z = wide(block)
        V += Z @ np.kron(np.eye(len(block.levels)), Sigma) @ Z.T
    inverse = np.linalg.inv(V)
    A = design.X.T @ inverse @ design.X
    r = design.y - design.X @ np.linalg.solve(A, design.X.T @ inverse @ design.y)
    p = design.p if reml else 0
    total = (design.n - p) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ inverse @ r
    return total + (np.linalg.slogdet(A)[1] if reml else 0.0)
