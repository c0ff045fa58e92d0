"""Data of two factors, and what compares results with sums written out by hand."""

import numpy as np
import pandas as pd
from invented import CHAINS, DRAWS
from scipy import stats

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # the same sums in another order


def flat(result):
    return result.draws.reshape(CHAINS * DRAWS, -1)


def factorial(seed=3, n=60, balanced=False):
    """Return two factors, a number, an exposure and groups; responses of several kinds."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.tile([f"g{i}" for i in range(6)], n // 6), "x": rng.uniform(0.5, 4, n)})
    data["a"] = np.repeat(["p", "q", "r"], n // 3)
    data["b"] = np.tile(["u", "v"], n // 2) if balanced else rng.choice(["u", "v"], n, p=[0.7, 0.3])
    data["time"], data["w"] = rng.uniform(1, 3, n), rng.uniform(0.5, 2, n)
    data["y"] = data["x"] + (data["a"] == "q") + 0.5 * (data["b"] == "v") + rng.normal(size=n)
    effect = np.tile(np.linspace(-2, 2, 6), n // 6)
    data["hit"] = (rng.random(n) < stats.logistic.cdf(0.5 * data["x"] - 1 + effect)).astype(int)
    data["count"] = rng.poisson(np.exp(0.3 * data["x"]) * data["time"])
    return data
