"""R-hat and ESS of many parameters at once: the same as ArviZ's, one by one, and in time that allows thousands."""

import time

import numpy as np
import pytest
from arviz_stats.base import array_stats

from bayesmm.posterior import convergence
from bayesmm.posterior.convergence import (
    NAMES,
    TAIL,
    autocovariances,
    diagnostics,
    first_autocovariances,
    quantile,
    quantiles,
    sds_of_draws,
)
from bayesmm.posterior.draws import describe

# Of a ratio: sums of at most 4,000 terms of about 1 in another order; the largest seen is 1.4e-13.
ROUNDING = 1e-10


def autoregressive(rng, shape, phi):
    """Return (k, chains, draws) series of AR(1)."""
    draws = rng.normal(size=shape)
    for t in range(1, shape[2]):
        draws[:, :, t] += phi * draws[:, :, t - 1]
    return draws


def by_arviz(draws):
    """Return what ArviZ says of the same draws."""
    with np.errstate(all="ignore"):
        tail = array_stats.ess(draws, method="tail", prob=TAIL)
        found = array_stats.ess(draws, method="bulk"), tail, array_stats.rhat(draws)
    return dict(zip(NAMES, found, strict=True))


def assert_same(draws):
    """Hold the three against ArviZ's."""
    found, expected = diagnostics(draws), by_arviz(draws)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], rtol=ROUNDING, err_msg=name)


@pytest.mark.parametrize("chains", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("length", [4, 5, 6, 7, 8, 9, 11, 20, 21, 101, 250, 333])
@pytest.mark.parametrize("phi", [-0.9, 0.0, 0.5, 0.99])
def test_diagnostics_are_those_of_arviz(chains, length, phi):
    draws = autoregressive(np.random.default_rng(chains), (5, chains, length), phi)
    draws[1] = np.round(draws[1], 1)  # ties
    draws[2] = draws[2] > 0  # many of them
    draws[2, :, :2] = 0, 1  # and never one value alone
    draws[3] += np.arange(chains)[:, None]  # chains apart
    draws[4] = np.exp(3 * draws[4])  # a heavy tail
    assert_same(draws)


def test_of_draws_taken_twice_as_importance_sampling_does():
    rng = np.random.default_rng(5)
    pool = rng.normal(size=(6, 300))
    assert_same(np.stack([row[rng.integers(0, 300, size=(4, 250))] for row in pool]))


def test_chains_that_never_move_and_draws_that_are_infinite():
    draws = np.random.default_rng(6).normal(size=(4, 4, 100))
    draws[0] = np.arange(4)[:, None]  # each chain at a place of its own: a variance of 0, to rounding, within them
    draws[1, 0] = 0  # one chain alone is stuck
    draws[2, 0, 0], draws[3, 1, 5] = np.inf, -np.inf
    assert_same(draws[1:])
    assert diagnostics(draws)["r_hat"][0] > 1e6


def test_what_has_no_diagnostics_is_nan():
    draws = np.random.default_rng(7).normal(size=(3, 4, 100))
    draws[0] = 0.1  # held fixed
    draws[1, 2, 3] = np.nan
    for values in diagnostics(draws).values():
        assert list(np.isnan(values)) == [True, True, False]
    assert np.isnan(list(diagnostics(draws[:, :, :3]).values())).all()  # too few draws
    assert np.isnan(diagnostics(draws[:, :1])["r_hat"]).all()
    assert {len(values) for values in diagnostics(draws[:0]).values()} == {0}


def test_batches_change_nothing(monkeypatch):
    draws = np.random.default_rng(8).normal(size=(2, 50, 37)).transpose(2, 0, 1)  # a view, as of the effects
    whole = describe(draws)
    monkeypatch.setattr(convergence, "BATCH", 300)
    np.testing.assert_array_equal(describe(draws), whole)
    monkeypatch.setattr(convergence, "BLOCK", 7)
    np.testing.assert_array_equal(describe(draws), whole)


def test_few_lags_by_products_and_all_of_them_by_fourier_transform_agree():
    centred = autoregressive(np.random.default_rng(9), (3, 4, 60), 0.7)
    every = autocovariances(centred)
    np.testing.assert_allclose(first_autocovariances(centred, 8), every[:, :8], rtol=1e-12)
    slow = [(centred[0, :, lag:] * centred[0, :, : 60 - lag]).sum() / 240 for lag in range(60)]  # the definition
    np.testing.assert_allclose(every[0], slow, rtol=1e-9)


def test_quantiles_of_sorted_draws_are_numpys():
    draws = np.sort(np.random.default_rng(10).normal(size=(4, 101)), axis=1)
    draws[1, -1] = np.nan
    for probability in (0, 0.025, 0.31, 0.5, 0.975, 1):
        expected = np.quantile(draws, probability, axis=1)
        np.testing.assert_allclose(quantile(draws, probability), expected, rtol=1e-13)


def test_effects_are_not_diagnosed_one_by_one():
    draws = np.random.default_rng(11).normal(size=(300, 4, 250))
    diagnostics(draws[:2])
    began = time.process_time()
    diagnostics(draws)
    ours, began = time.process_time() - began, time.process_time()
    by_arviz(draws[:30])
    assert ours < 5 * (time.process_time() - began)  # of a tenth of them; one by one it would be ten times


def test_threads_change_nothing(monkeypatch):
    draws = np.random.default_rng(5).normal(size=(convergence.BLOCK * convergence.FOR_THREADS + 3, 2, 20))
    draws[7] = 1.0  # a chain that never moves warns in no thread
    together = convergence.in_batches(lambda batch: convergence.diagnose(batch)[0], draws)
    monkeypatch.setattr(convergence, "FOR_THREADS", 10**9)
    np.testing.assert_array_equal(together, convergence.in_batches(lambda batch: convergence.diagnose(batch)[0], draws))


def test_quantiles_of_draws_that_are_infinite():
    """As NumPy's, but infinite, and no number that is missing, between two infinite draws; without its warnings."""
    values = np.column_stack([np.arange(11.0), [*np.arange(7.0), *[np.inf] * 4]])
    found = quantiles(values, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(found[:, 0], np.quantile(values[:, 0], [0.05, 0.5, 0.95]), rtol=1e-15)
    np.testing.assert_array_equal(found[:, 1], [0.5, 5.0, np.inf])
    assert np.isnan(quantiles(np.array([[np.nan], [1.0]]), [0.5])).all()
    np.testing.assert_array_equal(np.isnan(sds_of_draws(values)), [False, True])
