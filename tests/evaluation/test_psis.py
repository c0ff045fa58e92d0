"""Pareto-smoothed importance sampling of many points at once: ArviZ's numbers, which come point by point."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from bayesmm.evaluation.psis import smoothed

ROUNDING = 1e-10  # sums of 4,000 terms in another order; the largest difference seen is 6e-14


def likelihoods(draws, spread):
    """Return log likelihoods (draws, 40) as of normal residuals; the last four with the same draws taken repeatedly."""
    rng = np.random.default_rng(draws)
    values = -spread * np.square(rng.normal(size=(draws, 40))) - 1
    values[:, 36:] = values[rng.integers(0, draws // 4, size=draws), 36:]
    return values


@pytest.mark.parametrize("draws", [25, 100, 401, 4000])
@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("efficiency", [1.0, 0.6])
def test_points_are_those_of_arviz(draws, spread, efficiency):
    values = likelihoods(draws, spread)
    found = smoothed(values, efficiency)
    weights, k = array_stats.psislw(values.T, r_eff=efficiency)
    np.testing.assert_allclose(found.k, k, rtol=ROUNDING, atol=ROUNDING)
    distinct = slice(0, 36)  # the order of equal weights is arbitrary
    np.testing.assert_allclose(found.log_weights[distinct], weights[distinct], atol=ROUNDING)
    np.testing.assert_allclose(np.sort(found.log_weights, axis=1), np.sort(weights, axis=1), atol=ROUNDING)
    elpd, _, p = array_stats.loo(values.T[:, None], r_eff=efficiency)
    np.testing.assert_allclose(found.elpd, elpd, atol=ROUNDING)
    np.testing.assert_allclose(found.lpd - found.elpd, p, atol=ROUNDING)


def test_a_shape_that_cannot_be_estimated_is_infinite_and_leaves_the_weights():
    """One draw has nearly all the weight, and a quarter of the tail less than 1e-308: ArviZ has k = 0.03, elpd NaN."""
    values = -50 * np.square(np.random.default_rng(0).normal(size=(4000, 200))) - 1
    found = smoothed(values, 1.0)
    without = np.isinf(found.k)
    assert without.sum() == 4 and np.isfinite(found.elpd).all()
    raw = -np.logaddexp.reduce(-values, axis=0) + np.log(4000)  # the harmonic mean, of plain importance sampling
    np.testing.assert_allclose(found.elpd[without], raw[without], rtol=ROUNDING)


def test_what_has_no_tail_is_refused():
    with pytest.raises(ValueError, match="20 draws are too few"):
        smoothed(np.random.default_rng(0).normal(size=(20, 3)), 1.0)
    with pytest.raises(ValueError, match="same likelihood in all draws"):
        smoothed(np.zeros((100, 3)), 1.0)
