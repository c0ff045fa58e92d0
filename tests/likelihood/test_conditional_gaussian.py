"""Exact conditional draws against the conditional mean and covariance."""

import numpy as np
import pytest
from scipy.linalg import block_diag

from bayesmm.likelihood.conditional_gaussian import recover
from bayesmm.likelihood.crossproducts import Factor, cross_products
from bayesmm.likelihood.gaussian import FixedPrior, conditional, pack

DRAWS = 20_000


@pytest.fixture(scope="module")
def problem():
    """Two crossed factors, one with a correlated slope; fixed columns: normal prior, sampled, flat."""
    rng = np.random.default_rng(1)
    n = 60
    X = rng.normal(size=(n, 3))
    factors = [
        Factor(rng.permutation(np.arange(n) % 6), np.column_stack([np.ones(n), rng.normal(size=n)]), 6),
        Factor(rng.permutation(np.arange(n) % 4), np.ones((n, 1)), 4),
    ]
    cp = cross_products(factors, X, rng.normal(size=n), rng.uniform(0.5, 2, n))
    Ts = [np.array([[0.8, 0.0], [0.3, 0.5]]), np.array([[0.6]])]
    return cp, pack(tuple(Ts[k] for k in cp.order)), 1.4, np.array([0.2, -1.0, 0.0]), np.array([0.9, 0.0, np.inf])


@pytest.fixture(scope="module")
def exact(problem):
    cp, T, sigma, mean, sd = problem
    flat = ~np.isfinite(sd)
    prior = FixedPrior(mean, np.where(flat, 1.0, sd / sigma), np.where(flat, 0.0, 1.0))
    return conditional(cp, T, sigma, prior, given_fixed=False)


@pytest.fixture(scope="module")
def draws(problem):
    cp, T, sigma, mean, sd = problem
    tiled = (np.tile(T, (DRAWS, 1)), np.full(DRAWS, sigma), np.tile(mean, (DRAWS, 1)))
    return recover(cp, *tiled, sd, np.random.default_rng(2))


def check_moments(sample, mean, covariance):
    """Independent draws: means within 5 standard errors, covariances within 5 of their (Wishart) standard errors."""
    sds = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(sample.mean(axis=0) - mean) <= 5 * sds / np.sqrt(DRAWS) + 1e-12)
    error = np.sqrt((covariance**2 + np.outer(sds, sds) ** 2) / DRAWS)
    assert np.all(np.abs(np.cov(sample.T) - covariance) <= 5 * error + 1e-12)


def test_fixed_coefficients(draws, exact):
    check_moments(draws.fixed, exact.fixed, exact.fixed_cov)
    assert np.ptp(draws.fixed[:, 1]) == 0  # the one that was sampled keeps its draw


def test_random_effects(draws, exact):
    for sample, mean, covariance in zip(draws.effects, exact.modes, exact.covariances, strict=True):
        for level in range(sample.shape[1]):
            check_moments(sample[:, level], mean[level], np.atleast_2d(covariance[level]))


def test_joint_distribution(problem, draws):
    """Sums over factors only come out right if the draws are joint ones: the variance of a linear predictor."""
    cp, T, sigma, mean, sd = problem
    from bayesmm.likelihood.gaussian import unpack

    combined = draws.effects[0][:, 0, 0] + draws.effects[1][:, 0, 0] + draws.fixed[:, 0]
    separate = sum(np.var(part) for part in (draws.effects[0][:, 0, 0], draws.effects[1][:, 0, 0], draws.fixed[:, 0]))
    flat = ~np.isfinite(sd)
    prior = FixedPrior(mean, np.where(flat, 1.0, sd / sigma), np.where(flat, 0.0, 1.0))
    blocks = unpack(T, cp.q)
    q, m = cp.q[0], len(cp.rest.z)
    G = cp.n_levels[0]
    A = np.zeros((G * q + m, G * q + m))
    for g in range(G):
        p, rows = cp.pattern[g], slice(g * q, (g + 1) * q)
        A[rows, rows] = cp.leading.A[p]
        span = slice(cp.leading.start[p], cp.leading.start[p + 1])
        A[rows, G * q + cp.leading.columns[span]] = cp.leading.coupling[span].T
    A[:, : G * q] = A[: G * q].T
    A[: G * q, G * q :] = A[G * q :, : G * q].T
    A[G * q :, G * q :] = cp.rest.A
    Lambda = np.zeros_like(A)
    Lambda[: G * q, : G * q] = np.kron(np.eye(G), blocks[0])
    others = [np.kron(np.eye(levels), T_k) for T_k, levels in zip(blocks[1:], cp.n_levels[1:], strict=True)]
    Lambda[G * q :, G * q :] = block_diag(*others, np.diag(prior.lam))
    D = np.concatenate([np.ones(len(A) - 3), prior.D])
    covariance = sigma**2 * Lambda @ np.linalg.inv(Lambda.T @ A @ Lambda + np.diag(D)) @ Lambda.T
    pick = np.zeros(len(A))
    pick[[0, G * q, len(A) - 3]] = 1.0
    expected = pick @ covariance @ pick
    assert abs(expected - separate) > 0.05 * expected  # or the test could not tell joint draws from separate ones
    assert np.var(combined) == pytest.approx(expected, rel=5 * np.sqrt(2 / DRAWS))


def test_effects_can_be_left_out(problem):
    cp, T, sigma, mean, sd = problem
    tiled = (np.tile(T, (5, 1)), np.full(5, sigma), np.tile(mean, (5, 1)))
    without = recover(cp, *tiled, sd, np.random.default_rng(3), keep_effects=False)
    assert without.effects == ()
    assert without.fixed.shape == (5, 3)
