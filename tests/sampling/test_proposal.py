"""The proposal of independent draws, their weights, and resampling."""

import numpy as np
import pytest
from scipy import stats

from bayesmm.sampling.importance import effective_number, resampled
from bayesmm.sampling.pareto import pareto_smoothed
from bayesmm.sampling.proposal import FREEDOM, Mixture, adapted, component_densities, draw, factor_of


def mixture():
    factors = np.array([[[1.0, 0.0], [0.5, 0.7]], [[2.0, 0.0], [-1.0, 1.5]]])
    return Mixture(np.array([0.3, 0.7]), np.array([[0.0, 1.0], [3.0, -2.0]]), factors)


def test_mixture_has_the_density_of_its_multivariate_ts():
    x = np.random.default_rng(0).normal(size=(50, 2)) * 3
    m = mixture()
    expected = [
        stats.multivariate_t(c, L @ L.T, df=FREEDOM).logpdf(x) for c, L in zip(m.centres, m.factors, strict=True)
    ]
    np.testing.assert_allclose(component_densities(m, x), np.log(m.shares)[:, None] + expected, rtol=1e-10)


def test_mixture_draws_from_its_components():
    m, n = mixture(), 40_000
    x = draw(m, n, np.random.default_rng(1))
    mean = m.shares @ m.centres
    scale = FREEDOM / (FREEDOM - 2)  # covariance of a t distribution: its scale matrix times nu / (nu - 2)
    parts = [s * (scale * L @ L.T + np.outer(c, c)) for s, c, L in zip(m.shares, m.centres, m.factors, strict=True)]
    covariance = sum(parts) - np.outer(mean, mean)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * np.sqrt(np.diag(covariance) / n))
    np.testing.assert_allclose(np.cov(x.T), covariance, rtol=0.06)  # 5 errors at a kurtosis of 9: 5 sqrt(8 / 40,000)


def test_adaptation_moves_to_the_target():
    wanted = stats.multivariate_t([4.0, -3.0], [[0.5, 0.3], [0.3, 1.0]], df=FREEDOM, seed=0)
    old, rng = mixture(), np.random.default_rng(2)

    def efficiency(proposal):
        x = draw(proposal, 4000, rng)
        log_w = wanted.logpdf(x) - np.logaddexp.reduce(component_densities(proposal, x))
        w = np.exp(log_w) / np.exp(log_w).sum()
        return x, w, 1 / np.square(w).sum() / len(x)

    x, w, before = efficiency(old)
    x, w, between = efficiency(adapted(old, x, w))
    after = efficiency(adapted(adapted(old, *efficiency(old)[:2]), x, w))[2]
    assert before < 0.4 < 0.8 < between <= after + 0.05 and after > 0.9


def test_pareto_k_of_weights_with_a_known_tail():
    rng = np.random.default_rng(0)
    for k in (0.3, 0.9):
        log_w = -k * np.log(rng.uniform(size=100_000))  # Pareto with shape k
        smoothed, found = pareto_smoothed(log_w)
        # the estimate rests on 3 sqrt(n) = 949 draws: standard error (1 + k) / sqrt(949) of 0.04 and 0.06
        assert found == pytest.approx(k, abs=0.25)
        assert np.exp(smoothed).sum() == pytest.approx(1)


def test_resampling_takes_each_draw_as_often_as_its_weight_rounded():
    rng = np.random.default_rng(1)
    weights = rng.lognormal(0, 1.5, 500)
    weights /= weights.sum()
    counts = np.bincount(resampled(weights, 300, rng), minlength=500)
    assert counts.sum() == 300
    assert np.all(counts >= np.floor(300 * weights)) and np.all(counts <= np.ceil(300 * weights))
    assert counts.max() > 1  # some weights are above 1 / 300


@pytest.mark.parametrize(("spread", "size"), [(0.5, 100), (1.5, 400)])  # no draw twice; many draws more than once
def test_effective_number_is_that_of_repeated_runs(spread, size):
    rng, runs = np.random.default_rng(2), 4000
    means, numbers = np.empty(runs), np.empty(runs)
    for run in range(runs):
        weights = rng.lognormal(0, spread, 1000)
        weights /= weights.sum()
        means[run] = rng.normal(size=1000)[resampled(weights, size, rng)].mean()
        numbers[run] = effective_number(weights, size)
    # a variance from 4,000 runs has a relative standard error of sqrt(2 / 4,000) = 2.2 %
    assert means.var() == pytest.approx(np.mean(1 / numbers), rel=0.11)
    assert (numbers.mean() == pytest.approx(size, rel=1e-3)) == (spread == 0.5)


def test_a_coordinate_that_curves_upwards_is_as_large_as_if_it_curved_downwards():
    """At the start of a search: with 1 in place of its curvature a correlation had 2,500 times its sd."""
    H = np.array([[9e4, 6e2], [6e2, -1e4]])
    L = factor_of(H)
    sds = np.sqrt(np.diag(L @ L.T))
    np.testing.assert_allclose(sds, [1 / 300, 0.1], rtol=0.05)  # 0.1: ten times 1 / sqrt(1e4), the most along a ridge
