"""The start of a search is Henderson's method of moments: its equations, written out densely."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.estimation.moments import LEAST, MOST, relative_sds
from bayesmm.likelihood.problem import orthogonal_problem


def table(n: int, levels: tuple[int, ...], sds: tuple[float, ...], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, y, own = rng.normal(size=n), rng.normal(size=n), {}
    for name, G, sd in zip("ghk", levels, sds, strict=False):
        own[name] = rng.integers(0, G, n)
        y = y + sd * rng.normal(size=G)[own[name]] + 0.5 * sd * rng.normal(size=G)[own[name]] * x
    return pd.DataFrame({"x": x, "y": y, "w": rng.uniform(0.5, 2, n)} | {k: v.astype(str) for k, v in own.items()})


def dense(problem) -> np.ndarray:
    """Solve the equations of the module, each column of Z by itself, W in its square root."""
    cp, design = problem.cp, problem.design
    root = np.sqrt(np.ones(design.n) if design.weights is None else design.weights)
    r, columns, of = problem.response * root, [], []
    for k in cp.order:
        Z, index = problem.columns[k].Z, design.blocks[k].index
        for j in range(Z.shape[1]):
            for g in range(len(design.blocks[k].levels)):
                columns.append(np.where(index == g, Z[:, j], 0.0) * root)
                of.append((k, j))
    Z, names = np.array(columns).T, list(dict.fromkeys(of))
    squares = np.diag(Z.T @ Z)
    of = np.array([names.index(one) for one in of])
    M, right = np.zeros((len(names) + 1,) * 2), np.zeros(len(names) + 1)
    for j in range(len(names)):
        own = of == j
        M[j, -1], right[j] = own.sum(), ((Z[:, own].T @ r) ** 2 / squares[own]).sum()
        M[-1, j], right[-1] = squares[own].sum(), r @ r
        for k in range(len(names)):
            M[j, k] = ((Z[:, own].T @ Z[:, of == k]) ** 2 / squares[own][:, None]).sum()
    M[-1, -1] = design.n
    found = np.linalg.solve(M, right)
    variance = (r @ r - M[-1, :-1] @ np.maximum(found[:-1], 0)) / design.n
    return np.clip(np.sqrt(np.maximum(found[:-1], 0) / variance), LEAST, MOST)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(
    "formula",
    ["y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g) + (1 | h) + (1 | k)", "y ~ (x | h) + (x || g)"],
)
def test_moments_are_those_of_dense_columns(formula, weights):
    data = table(200, (12, 7, 4), (1.0, 0.6, 0.9))
    problem = orthogonal_problem(bmm.Model(formula, data, weights=weights and data[weights]).design)
    np.testing.assert_allclose(relative_sds(problem.cp), dense(problem), rtol=1e-9)


def test_levels_with_one_pattern_count_as_often_as_they_are():
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 4), "y": [1.0, 2, 3, 4, 9, 8, 7, 6] * 3})
    problem = orthogonal_problem(bmm.Model("y ~ 1 + (1 | g)", data).design)
    assert len(problem.cp.leading.count) < 6
    np.testing.assert_allclose(relative_sds(problem.cp), dense(problem), rtol=1e-9)


def test_a_search_that_starts_at_moments_takes_few_evaluations():
    data = table(4000, (300, 80), (0.5, 0.8))
    point = bmm.Model("y ~ x + (1 | g) + (1 | h)", data).maximize()
    far = bmm.Model("y ~ x + (1 | g) + (1 | h)", data).maximize(start={"sd_g[Intercept]": 3.0, "sd_h[Intercept]": 3.0})
    evaluations = [int(one.message.split(", ")[1].split()[0]) for one in (point, far)]
    assert point.criterion == pytest.approx(far.criterion, rel=1e-12)
    assert evaluations[0] < evaluations[1]
