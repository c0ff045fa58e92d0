"""Two sets of draws of the same posterior."""

import numpy as np
from arviz_stats import ess, mcse


def compare_draws(one, other, label):
    """Assert that two sets of draws have the same mean, sd and 5 and 95 % quantiles, within 5 Monte Carlo errors."""
    pairs = [
        (np.mean, "mean"),
        (np.std, "sd"),
        (lambda x: np.quantile(x, 0.05), 0.05),
        (lambda x: np.quantile(x, 0.95), 0.95),
    ]
    for statistic, kind in pairs:
        error = np.hypot(*(mcse_of(draws, kind) for draws in (one, other)))
        assert abs(statistic(one) - statistic(other)) < 5 * error, (label, kind)


def mcse_of(draws, kind):
    method = {"mean": dict(method="mean"), "sd": dict(method="sd")}.get(kind, dict(method="quantile", prob=kind))
    assert float(ess(draws, method="bulk")) > 1000
    return float(mcse(draws, **method))
