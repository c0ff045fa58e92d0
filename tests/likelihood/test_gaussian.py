"""The core against an independent source: the dense multivariate normal formula, and central differences."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from bayesmm.likelihood import crossproducts, gaussian_lanes
from bayesmm.likelihood.crossproducts import Factor, cross_products
from bayesmm.likelihood.gaussian import FixedPrior, conditional, evaluate, log_likelihood, pack, unpack

# The dense formula inverts an n x n matrix of condition up to 1e5 here: relative errors of about 1e-16 x 1e5, with
# work.
DENSE_RTOL = 1e-9
# Central differences: step 1e-6, so errors of 1e-12 (curvature) and 1e-16 x |log p| / 1e-6 (rounding) on values of
# order 1-1000.
DIFFERENCE_RTOL, STEP = 2e-5, 1e-6


def dense_log_likelihood(factors, X, r, weights, Ts, sigma, prior, integrate_flat):
    """Return log p by the n x n covariance matrix, flat columns by generalised least squares."""
    V = np.diag(1 / (np.ones(len(r)) if weights is None else weights))
    for factor, T in zip(factors, Ts, strict=True):
        V = V + dense_Z(factor) @ np.kron(np.eye(factor.n_levels), T @ T.T) @ dense_Z(factor).T
    proper = prior.D > 0
    V = sigma**2 * (V + X[:, proper] @ np.diag(prior.lam[proper] ** 2) @ X[:, proper].T)
    e, flat = r - X @ prior.mean, X[:, ~proper]
    information = flat.T @ np.linalg.solve(V, flat)
    e = e - flat @ np.linalg.solve(information, flat.T @ np.linalg.solve(V, e))
    value = multivariate_normal(np.zeros(len(r)), V).logpdf(e)
    if integrate_flat:
        value += 0.5 * flat.shape[1] * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(information)[1]
    return value


def dense_Z(factor):
    q = factor.Z.shape[1]
    Z = np.zeros((len(factor.index), factor.n_levels * q))
    for a in range(q):
        Z[np.arange(len(Z)), factor.index * q + a] = factor.Z[:, a]
    return Z


@st.composite
def problems(draw):
    """Draw a random design: 0 to 3 factors, nested or crossed, unbalanced, maybe weighted, maybe with a singular T."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, K = draw(st.integers(20, 45)), draw(st.integers(0, 3))
    nested, rounded = draw(st.booleans()), draw(st.booleans())
    factors, outer = [], None
    for _ in range(K):
        raw = rng.integers(0, draw(st.integers(2, 9)), n)
        if nested and outer is not None:
            raw = outer * 10 + raw % 3
        index = np.unique(raw, return_inverse=True)[1]
        outer, q = index, draw(st.integers(1, 3))
        slopes = rng.normal(size=(n, q - 1))
        Z = np.column_stack([np.ones(n), np.round(slopes) if rounded else slopes])
        factors.append(Factor(index, Z, index.max() + 1))
    p = draw(st.integers(0, 3))
    n_proper = draw(st.integers(0, p))
    X, proper = rng.normal(size=(n, p)), np.arange(p) < n_proper
    prior = FixedPrior(rng.normal(size=p), np.where(proper, rng.uniform(0, 3, p), 1.0), proper * 1.0)
    Ts = [np.tril(rng.normal(size=(f.Z.shape[1],) * 2)) for f in factors]
    size = draw(st.sampled_from([1.0, 1e-3, 30.0]))
    Ts = [size * T for T in Ts]
    if factors and draw(st.booleans()):
        Ts[0][-1] = 0.0  # a standard deviation of 0
    if factors and draw(st.booleans()):
        Ts[-1][-1, -1] = 0.0  # a correlation of +-1
    weights = rng.uniform(0.5, 2, n) if draw(st.booleans()) else None
    return factors, X, 2 * rng.normal(size=n), weights, Ts, 1.3, prior


def value_at(cp, T, sigma, prior, integrate_flat):
    value = evaluate(cp, T, sigma, prior, integrate_flat=integrate_flat)
    return log_likelihood(cp, value, int((prior.D == 0).sum()) if integrate_flat else 0), value


@settings(max_examples=150, deadline=None, derandomize=True)
@given(problems(), st.booleans())
def test_value_equals_dense_formula(problem, integrate_flat):
    factors, X, r, weights, Ts, sigma, prior = problem
    cp = cross_products(factors, X, r, weights)
    ours, _ = value_at(cp, pack(tuple(Ts[k] for k in cp.order)), sigma, prior, integrate_flat)
    dense = dense_log_likelihood(factors, X, r, weights, Ts, sigma, prior, integrate_flat)
    assert ours == pytest.approx(dense, rel=DENSE_RTOL, abs=DENSE_RTOL)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(problems(), st.booleans())
def test_gradient_equals_central_differences(problem, integrate_flat):
    factors, X, r, weights, Ts, sigma, prior = problem
    cp = cross_products(factors, X, r, weights)
    T = pack(tuple(Ts[k] for k in cp.order))
    lower = pack(tuple(np.tril(np.ones((q, q))) for q in cp.q)) > 0
    p0, value = value_at(cp, T, sigma, prior, integrate_flat)

    def slope(move):
        ahead, behind = (value_at(cp, *move(s * STEP), integrate_flat)[0] for s in (1, -1))
        return (ahead - behind) / (2 * STEP)

    def unit(n, i):
        return np.arange(n) == i

    expected, got = [], []
    for i in np.flatnonzero(lower):
        expected.append(slope(lambda h, i=i: (T + h * unit(len(T), i), sigma, prior)))
        got.append(value.d_T[i])
    for j in range(cp.p):
        expected.append(slope(lambda h, j=j: (T, sigma, prior._replace(mean=prior.mean + h * unit(cp.p, j)))))
        got.append(value.d_mean[j])
        if prior.D[j]:
            expected.append(slope(lambda h, j=j: (T, sigma, prior._replace(lam=prior.lam + h * unit(cp.p, j)))))
            got.append(value.d_lam[j])
    scale = 1 + np.abs(expected) + 1e-4 * abs(p0)
    assert np.all(np.abs(np.subtract(got, expected)) <= DIFFERENCE_RTOL * scale)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(problems())
def test_conditional_equals_dense_formula(problem):
    """The fixed coefficients and b given T, sigma: the mixed-model equations solved densely (Henderson 1975)."""
    factors, X, r, weights, Ts, sigma, prior = problem
    cp = cross_products(factors, X, r, weights)
    got = conditional(cp, pack(tuple(Ts[k] for k in cp.order)), sigma, prior, given_fixed=False)
    Lambda = [np.kron(np.eye(f.n_levels), T) for f, T in zip(factors, Ts, strict=True)]
    design = np.hstack([*(dense_Z(f) @ Lam for f, Lam in zip(factors, Lambda, strict=True)), X * prior.lam])
    w = np.ones(len(r)) if weights is None else weights
    n_effects = design.shape[1] - X.shape[1]
    M = design.T @ (design * w[:, None]) + np.diag(np.concatenate([np.ones(n_effects), prior.D]))
    inverse, condition = np.linalg.inv(M), np.linalg.cond(M) if M.size else 1.0
    u, at = inverse @ design.T @ (w * (r - X @ prior.mean)), 0
    tolerance = dict(rtol=1e-6, atol=1e-8 * (1 + condition * 1e-6))  # the dense inverse loses cond(M) x 1e-16
    for f, Lam, k in zip(factors, Lambda, range(len(factors)), strict=True):
        place = cp.order.index(k)
        rows = slice(at, at + f.size)
        np.testing.assert_allclose(got.modes[place].ravel(), Lam @ u[rows], **tolerance)
        cov = sigma**2 * Lam @ inverse[rows, rows] @ Lam.T
        q = f.Z.shape[1]
        blocks = np.stack([cov[g * q : (g + 1) * q, g * q : (g + 1) * q] for g in range(f.n_levels)])
        np.testing.assert_allclose(got.covariances[place], blocks, **tolerance)
        at += f.size
    np.testing.assert_allclose(got.fixed, prior.mean + prior.lam * u[at:], **tolerance)
    np.testing.assert_allclose(
        got.fixed_cov, sigma**2 * inverse[at:, at:] * np.outer(prior.lam, prior.lam), **tolerance
    )


def test_sigma_is_profiled_at_its_maximum():
    rng = np.random.default_rng(1)
    factor = Factor(np.repeat(np.arange(5), 4), np.ones((20, 1)), 5)
    cp = cross_products([factor], np.ones((20, 1)), rng.normal(size=20))
    prior, T = FixedPrior(np.zeros(1), np.ones(1), np.zeros(1)), np.array([0.7])
    best, value = value_at(cp, T, None, prior, True)
    for factor in (0.99, 1.01):  # 1 % away costs about nu x 1e-4 = 2e-3: far above rounding
        assert value_at(cp, T, value.sigma * factor, prior, True)[0] < best - 1e-4


def test_balanced_levels_share_one_pattern():
    rng = np.random.default_rng(2)
    G, days = 40, np.tile(np.arange(5.0), 40)
    Z = np.column_stack([np.ones(5 * G), days])
    r, index = rng.normal(size=5 * G), np.repeat(np.arange(G), 5)
    cp = cross_products([Factor(index, Z, G)], Z, r)
    assert len(cp.leading.count) == 1
    assert cp.leading.count[0] == G
    shaken = rng.permutation(5 * G)  # another order of the rows rounds differently, and must not split the pattern
    cp = cross_products([Factor(index[shaken], Z[shaken], G)], Z[shaken], r[shaken])
    assert len(cp.leading.count) == 1


def test_unbalanced_levels_keep_their_own_patterns():
    index = np.repeat([0, 1, 2], [3, 3, 4])
    cp = cross_products([Factor(index, np.ones((10, 1)), 3)], np.ones((10, 1)), np.arange(10.0))
    assert cp.leading.count.tolist() == [2.0, 1.0]
    assert cp.pattern.tolist() == [0, 0, 1]


def test_rows_repeated_equal_weights():
    rng = np.random.default_rng(3)
    index, X, r = rng.integers(0, 4, 30), rng.normal(size=(30, 2)), rng.normal(size=30)
    index = np.unique(index, return_inverse=True)[1]
    factor, prior = Factor(index, np.ones((30, 1)), 4), FixedPrior(np.zeros(2), np.ones(2), np.zeros(2))
    twice = Factor(np.tile(index, 2), np.ones((60, 1)), 4)
    a = evaluate(cross_products([factor], X, r, np.full(30, 2.0)), np.array([0.4]), 1.0, prior)
    b = evaluate(cross_products([twice], np.tile(X, (2, 1)), np.tile(r, 2)), np.array([0.4]), 1.0, prior)
    assert a.logdet == pytest.approx(b.logdet, rel=1e-12)  # the same sums, in another order
    assert a.quad == pytest.approx(b.quad, rel=1e-12)


@pytest.mark.parametrize("levels", [30, 60])  # a rest below and above the size from which LAPACK takes over
def test_crossed_factors_with_a_large_rest(levels):
    rng = np.random.default_rng(levels)
    n = 4 * levels
    factors = []
    for G in (levels + 5, levels):
        index = np.unique(rng.permutation(np.arange(n) % G), return_inverse=True)[1]
        factors.append(Factor(index, np.ones((n, 1)), index.max() + 1))
    X, r = rng.normal(size=(n, 2)), rng.normal(size=n)
    prior, Ts = (
        FixedPrior(np.zeros(2), np.array([1.0, 1.0]), np.array([1.0, 0.0])),
        [np.array([[0.8]]), np.array([[0.3]])],
    )
    cp = cross_products(factors, X, r)
    ours, _ = value_at(cp, pack(tuple(Ts[k] for k in cp.order)), 1.1, prior, True)
    assert ours == pytest.approx(dense_log_likelihood(factors, X, r, None, Ts, 1.1, prior, True), rel=DENSE_RTOL)


def test_pack_and_unpack_are_inverse():
    matrices = (np.arange(4.0).reshape(2, 2), np.array([[7.0]]), np.arange(9.0).reshape(3, 3))
    for a, b in zip(matrices, unpack(pack(matrices), (2, 1, 3)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("q", "p"), [(1, 1), (2, 2), (3, 2)])
def test_patterns_side_by_side_are_patterns_one_by_one(q, p, monkeypatch):
    """Many patterns of one factor, of one or two levels, in blocks of which the last is not full; proper and flat."""
    rng = np.random.default_rng(q)
    levels = gaussian_lanes.MANY + 37
    index = np.repeat(np.arange(levels), 4)
    n = len(index)
    Z = np.column_stack([np.ones(n), rng.normal(size=(n, q - 1))])
    Z[4 * (levels - 1) :] = Z[:4]
    X = rng.normal(size=(n, p))
    X[4 * (levels - 1) :] = X[:4]
    cp = cross_products([Factor(index, Z, levels)], X, rng.normal(size=n))
    assert cp.side_by_side
    assert cp.leading.count.max() == 2
    T = np.tril(rng.normal(size=(q, q)))
    T[-1] *= 0.0 if q == 3 else 1.0  # a standard deviation of 0
    prior = FixedPrior(rng.normal(size=p), np.r_[np.full(p - 1, 0.7), 1.0], np.r_[np.ones(p - 1), 0.0])
    found = evaluate(cp, T.ravel(), 1.3, prior)
    copied = pickle.loads(pickle.dumps(cp))
    assert "words" not in vars(copied)  # they have addresses of this process
    monkeypatch.setattr(gaussian_lanes, "MANY", np.inf)
    monkeypatch.setattr(crossproducts, "MANY", np.inf)
    expected = evaluate(copied, T.ravel(), 1.3, prior)
    for ours, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-10, atol=1e-13 * n)  # sums of n numbers, some of which cancel
    T[0, 0] = np.nan
    assert not evaluate(cp, T.ravel(), 1.3, prior).ok
