"""The average information against its dense formula, and the search that steps by it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from test_gaussian import dense_Z, problems

import bayesmm as bmm
from bayesmm.estimation import optimizer
from bayesmm.likelihood.average_information import average_information, rows_curvature
from bayesmm.likelihood.crossproducts import cross_products
from bayesmm.likelihood.gaussian import FixedPrior, evaluate, pack
from bayesmm.likelihood.gaussian_likelihood import room_for

# Of sums of n = 45 products of numbers about 1 and of an inverse of condition up to 1e5.
RTOL = 1e-8


def dense_derivatives(factors, Ts, order):
    """Return V_i for each entry of the packed T, (n, n) each; None above the diagonals."""
    out = []
    for k in order:
        Z, T = dense_Z(factors[k]), Ts[k]
        for a in range(len(T)):
            for b in range(len(T)):
                E = np.zeros_like(T)
                E[a, b] = 1.0
                own = np.kron(np.eye(factors[k].n_levels), E @ T.T + T @ E.T)
                out.append(Z @ own @ Z.T if b <= a else None)
    return out


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems())
def test_average_information_equals_the_dense_formula(problem):
    """Gilmour, Thompson & Cullis (1995), with P by an n x n inverse, and sigma profiled out."""
    factors, X, r, weights, Ts, *_ = problem
    cp, p = cross_products(factors, X, r, weights), X.shape[1]
    prior, nu = FixedPrior(np.zeros(p), np.ones(p), np.zeros(p)), len(r) - p
    V = np.diag(1 / (np.ones(len(r)) if weights is None else weights))
    for factor, T in zip(factors, Ts, strict=True):
        V = V + dense_Z(factor) @ np.kron(np.eye(factor.n_levels), T @ T.T) @ dense_Z(factor).T
    W = np.linalg.inv(V)
    P = W - W @ X @ np.linalg.solve(X.T @ W @ X, X.T @ W)
    sigma = np.sqrt(r @ P @ r / nu)
    V_i = dense_derivatives(factors, Ts, cp.order)
    moved = np.array([np.zeros(len(r)) if v is None else v @ P @ r for v in V_i]).reshape(len(V_i), len(r))
    slopes = moved @ P @ r
    expected = (moved @ P @ moved.T - np.outer(slopes, slopes) / (nu * sigma**2)) / sigma**2
    packed, solution = pack(tuple(Ts[k] for k in cp.order)), room_for(cp)
    evaluate(cp, packed, None, prior, solution=solution)
    found = average_information(cp, packed, prior.lam, sigma, nu, solution)
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=RTOL * np.abs(expected).max(initial=1.0))


def test_the_bend_of_the_covariance_is_that_of_a_quadratic_form():
    """Where the criterion is tr(G T T'), its derivatives are 2 G T and 2 G in the rows of each column."""
    rng = np.random.default_rng(1)
    T, half = np.tril(rng.normal(size=(3, 3))), rng.normal(size=(3, 3))
    G = half @ half.T
    slopes = np.tril(2 * G @ T)
    found = rows_curvature(T.ravel(), slopes.ravel(), (3,))
    np.testing.assert_allclose(found, np.kron(2 * G, np.eye(3)), rtol=1e-10, atol=1e-10)
    assert not rows_curvature(T.ravel(), -slopes.ravel(), (3,)).round(10).any()  # a falling bend is left out


def crossed(singular: bool) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 1500
    a, b, x = rng.integers(0, 60, n), rng.integers(0, 50, n), rng.normal(size=n)
    effects = 0.0 if singular else 0.5 * rng.normal(size=60)[a] + 0.3 * x * rng.normal(size=60)[a]
    return pd.DataFrame(dict(y=1 + x + effects + 0.3 * rng.normal(size=50)[b] + rng.normal(size=n), x=x, a=a, b=b))


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("singular", [False, True], ids=["inside", "on the boundary"])
def test_the_optimum_is_that_of_l_bfgs(singular, method, monkeypatch):
    """Both stop where the gradient is about 1e-6; at a boundary the criterion is flat to second order."""
    model = bmm.Model("y ~ x + (x | a) + (1 | b)", crossed(singular))
    ours = model.maximize(method=method)
    monkeypatch.setattr(optimizer, "curved_minimum", lambda search, start: (start, False))
    other = model.maximize(method=method)
    assert ours.criterion == pytest.approx(other.criterion, abs=1e-8)
    assert ours.singular == other.singular == singular
    assert ours.optimum.evaluations < other.optimum.evaluations / (1 if singular else 2)
    np.testing.assert_allclose(ours.varcorr()["vcov"], other.varcorr()["vcov"], rtol=1e-7, atol=1e-7)


def test_a_search_remembers_its_last_points():
    calls = []

    def criterion(x):
        calls.append(x.copy())
        return float(x @ x), 2 * x

    search = optimizer.Search(criterion)
    for at in (1.0, 2.0, 1.0, 2.0):
        assert search(np.array([at]))[0] == at**2
    assert len(calls) == search.evaluations == 2
