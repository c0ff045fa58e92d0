"""Products of dense matrices in place of a scatter: against the scatter, and against the normal density."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bayesmm.likelihood import crossproducts
from bayesmm.likelihood.conditional_gaussian import recover
from bayesmm.likelihood.crossproducts import Factor, cross_products
from bayesmm.likelihood.gaussian import FixedPrior, conditional, evaluate, log_likelihood

# rows of leading levels, times their coefficients, on both sides of what one product takes
SHAPES = [(1, 300, 1, 7), (2, 150, 1, 5), (2, 40, 2, 6), (3, 100, 1, 4)]


def problem(q, G, q2, H, seed=1):
    rng = np.random.default_rng(seed)
    n = 4 * G * q
    g, h = np.concatenate([np.arange(G), rng.integers(G, size=n - G)]), rng.integers(H, size=n)
    h[:H] = np.arange(H)
    X, Z = np.column_stack([np.ones(n), rng.normal(size=(n, 2))]), rng.normal(size=(n, q + q2))
    factors = [Factor(g, Z[:, :q], G), Factor(h, Z[:, q:], H)]
    T = np.concatenate([np.tril(rng.normal(size=(k, k))).ravel() for k in (q, q2)])
    # a prior for two columns, of which one has a mean; the last is flat
    prior = FixedPrior(np.array([0.3, 0.0, 0.0]), np.array([1.5, 0.7, 1.0]), np.array([1.0, 1.0, 0.0]))
    return factors, X, rng.normal(size=n) + X[:, 1], T, prior


def made_dense(monkeypatch, cp):
    scatter = cp.words.size
    monkeypatch.setattr(crossproducts, "LEAST_WORK", 0.0)
    monkeypatch.setattr(crossproducts, "LEAST_DENSITY", 0.0)
    dense = replace(cp)  # whose words are not made yet
    assert dense.densely_coupled
    assert dense.words.size == scatter + 2  # the addresses
    return dense


@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient_are_those_of_the_scatter(monkeypatch, shape):
    factors, X, r, T, prior = problem(*shape)
    cp = cross_products(factors, X, r)
    expected = evaluate(cp, T, 1.3, prior)
    found = evaluate(made_dense(monkeypatch, cp), T, 1.3, prior)
    for name in ("logdet", "quad", "d_T", "d_lam", "d_mean"):
        own, exact = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(own, exact, rtol=1e-10, atol=1e-10 * np.abs(exact).max())


def test_the_value_is_that_of_the_normal_density(monkeypatch):
    (f, g), X, r, T, prior = problem(2, 40, 1, 5)
    cp = made_dense(monkeypatch, cross_products([f, g], X, r))
    own = FixedPrior(prior.mean, prior.lam, np.ones(3))
    V = np.eye(len(r)) + (X * own.lam**2) @ X.T
    for factor, block in ((f, T[:4].reshape(2, 2)), (g, T[4:].reshape(1, 1))):
        V += (factor.Z @ block @ block.T @ factor.Z.T) * (factor.index[:, None] == factor.index)
    exact = multivariate_normal(np.zeros(len(r)), 1.3**2 * V).logpdf(r - X @ own.mean)
    assert log_likelihood(cp, evaluate(cp, T, 1.3, own), 0) == pytest.approx(exact, rel=1e-10)


def test_a_singular_factor_has_a_gradient(monkeypatch):
    factors, X, r, T, prior = problem(2, 150, 1, 5)
    cp = cross_products(factors, X, r)
    for zero in ([3], [0, 2, 3], [4]):
        at = T.copy()
        at[zero] = 0.0
        expected = evaluate(cp, at, 1.0, prior)
        found = evaluate(made_dense(monkeypatch, cp), at, 1.0, prior)
        np.testing.assert_allclose(found.d_T, expected.d_T, rtol=1e-9, atol=1e-9 * np.abs(expected.d_T).max())


def test_levels_of_one_pattern_count_as_many(monkeypatch):
    rng = np.random.default_rng(2)
    g, h = (grid.ravel() for grid in np.meshgrid(np.arange(60), np.arange(8), indexing="ij"))
    factors = [Factor(g, np.ones((480, 1)), 60), Factor(h, np.ones((480, 1)), 8)]
    cp = cross_products(factors, np.ones((480, 1)), rng.normal(size=480))
    assert len(cp.leading.count) == 1
    T, prior = np.array([0.7, 0.4]), FixedPrior(np.zeros(1), np.ones(1), np.zeros(1))
    expected, found = evaluate(cp, T, 1.0, prior), evaluate(made_dense(monkeypatch, cp), T, 1.0, prior)
    assert found.logdet == pytest.approx(expected.logdet, rel=1e-12)
    np.testing.assert_allclose(found.d_T, expected.d_T, rtol=1e-10)


def test_effects_and_draws_are_those_of_the_scatter(monkeypatch):
    factors, X, r, T, prior = problem(2, 150, 1, 5)
    cp = cross_products(factors, X, r)
    draws = np.tile(T, (5, 1)), np.full(5, 1.2), np.zeros((5, 3)), np.array([2.0, 1.0, np.inf])
    expected, exact = conditional(cp, T, 1.2, prior), recover(cp, *draws, np.random.default_rng(3))
    dense = made_dense(monkeypatch, cp)
    found, own = conditional(dense, T, 1.2, prior), recover(dense, *draws, np.random.default_rng(3))
    np.testing.assert_allclose(found.fixed, expected.fixed, rtol=1e-9)
    np.testing.assert_allclose(own.fixed, exact.fixed, rtol=1e-8)
    for a, b in zip(own.effects, exact.effects, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
