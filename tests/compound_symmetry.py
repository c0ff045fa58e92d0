"""A toy covariance structure, by one record: compound symmetry, one sd shared by all columns and one correlation.

Its numbers are held against dense formulas (V = Z Sigma Z' + sigma^2 I), and against (1 | g) + (1 | g:f), which is the
same model where the correlation is not negative: sd^2 r is the variance of g, sd^2 (1 - r) that of g:f.
"""

import numpy as np
import pandas as pd

from bayesmm.design.covariance.structure import Covariance, Entry

# ----------------------------------------------------------------------------------------------------------------------
# the toy: compound symmetry, and the same with an sd for each column


def lowest(q: int) -> float:
    """Return the correlation below which q effects cannot all have the same one."""
    return -1 / (q - 1)


def shared(q: int) -> tuple[Entry, ...]:
    """Return one sd and one correlation."""
    pairs = tuple((i, j) for i in range(q) for j in range(i + 1, q))
    sd = Entry("sd", tuple((i,) for i in range(q)))
    return (sd, Entry("corr", pairs, bounds=(lowest(q), 1.0))) if pairs else (sd,)


def each(q: int) -> tuple[Entry, ...]:
    """Return an sd for each column and one correlation, which has a default prior of its own."""
    pairs = tuple((i, j) for i in range(q) for j in range(i + 1, q))
    sds = [Entry("sd", ((i,),)) for i in range(q)]
    own = {"lower": 0.0, "upper": 0.9}
    return (*sds, Entry("corr", pairs, "all pairs", (lowest(q), 1.0), "Uniform", own))


def correlation_factor(r, q: int):
    """Return the factor of the matrix of ones and r: column by column, what a row has left of 1."""
    L, taken, row = np.zeros((q, q)), 0.0, np.arange(q)
    for j in range(q):
        own = (1 - taken) ** 0.5
        below = (r - taken) / own
        L = own * np.diag((row == j) * 1.0) + below * np.outer(row > j, row == j) + L
        taken = taken + below**2
    return L


def shared_factor(values, q: int):
    return values[0] * correlation_factor(values[1] if q > 1 else 0.0, q)


def each_factor(values, q: int):
    L = correlation_factor(values[q], q)
    return sum(values[i] * (np.diag(np.arange(q) == i) * 1.0) @ L for i in range(q))


def tex(symbols) -> str:
    return rf"{symbols[0]}^{{2}} ((1 - {symbols[-1]}) I + {symbols[-1]} J)"


CS = Covariance(name="toy", words="compound symmetry", entries=shared, factor=shared_factor, tex=tex)
CSH = Covariance(name="toyh", words="one correlation", entries=each, factor=each_factor, tex=tex)


# ----------------------------------------------------------------------------------------------------------------------
# data and dense formulas


def made(groups: int = 12, repeats: int = 2, seed: int = 3) -> pd.DataFrame:
    """Return rows of three treatments f in each group, `repeats` times, an uneven column x, and groups h across."""
    rng, q = np.random.default_rng(seed), 3
    g = np.repeat(np.arange(groups), q * repeats)
    f = np.tile(np.repeat(np.arange(q), repeats), groups)
    x, h = rng.normal(5, 20, len(g)), rng.integers(4, size=len(g))
    b = rng.multivariate_normal(np.zeros(q), 1.4**2 * (0.6 * np.eye(q) + 0.4), size=groups)
    y = 2 + 0.5 * f + 0.05 * x + b[g, f] + rng.normal(size=4)[h] + 0.8 * rng.normal(size=len(g))
    counts = rng.poisson(np.exp(0.5 + 0.5 * b[g, f]))
    names = {"g": g, "f": f, "h": h}
    return pd.DataFrame({"y": y, "x": x, "k": counts} | {n: [f"{n}{i}" for i in v] for n, v in names.items()})


def symmetric(sd: float, r: float, q: int) -> np.ndarray:
    """Return sd^2 ((1 - r) I + r J)."""
    return sd**2 * ((1 - r) * np.eye(q) + r)


def dense(design, covariances, sigma: float, reml: bool) -> float:
    """Return the REML criterion or the ML deviance by the n x n covariance matrix (Bates et al. 2015, eq. 34, 41)."""
    V = sigma**2 * np.eye(design.n)
    for block, Sigma in zip(design.blocks, covariances, strict=True):
        same = block.index[:, None] == block.index
        V += same * (block.Z @ Sigma @ block.Z.T)
    inverse = np.linalg.inv(V)
    A = design.X.T @ inverse @ design.X
    r = design.y - design.X @ np.linalg.solve(A, design.X.T @ inverse @ design.y)
    p = design.p if reml else 0
    total = (design.n - p) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ inverse @ r
    return total + (np.linalg.slogdet(A)[1] if reml else 0.0)
