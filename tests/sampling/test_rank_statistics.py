"""Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788) of the samplers of generalised models.

Parameters are drawn from the prior, data from the model; then the rank of each parameter among its posterior draws is
uniform, whatever the shape of the posterior.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm

SETS, DRAWS, BINS = 200, 99, 10
# Of 10 parameters in all, each with a chi-squared test: one run in a thousand has one below.
LEAST_P = 1e-4
SD, BETA = 0.7, 1.0
PRIORS = {"sd": bmm.Prior("HalfNormal", sigma=SD), "beta": bmm.Prior("Normal", mu=0, sigma=BETA)} | {
    "Intercept": bmm.Prior("Normal", mu=0, sigma=BETA, at="zero")
}
ONE, TWO = "y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | h)"
CASES = {
    "independent draws, yes or no": (ONE, "bernoulli", {"sampler": "importance"}),
    "marginal NUTS, counts": (ONE, "poisson", {"effects": "marginal"}),
    "joint NUTS, counts": (TWO, "poisson", {"effects": "explicit"}),
    "joint NUTS, yes or no": (TWO, "bernoulli", {"effects": "explicit"}),
}


def simulated(rng, family, factors):
    """Return parameters drawn from the priors (intercept, slope, sds), and data."""
    g, h = np.repeat(np.arange(8), 10), np.tile(np.arange(5), 16)
    x, beta, sds = rng.normal(size=80), BETA * rng.normal(size=2), np.abs(SD * rng.normal(size=factors))
    eta = beta[0] + beta[1] * x + sds[0] * rng.normal(size=8)[g]
    if factors == 2:
        eta += sds[1] * rng.normal(size=5)[h]
    y = rng.poisson(np.exp(eta)) if family == "poisson" else rng.binomial(1, 1 / (1 + np.exp(-eta)))
    return np.array([*beta, *sds]), pd.DataFrame({"y": y, "x": x, "g": g, "h": h})


def ranks_of(formula, family, how):
    """Return the ranks of all parameters among DRAWS draws, (sets, parameters)."""
    factors, out = formula.count("|"), []
    for number in range(SETS):
        rng = np.random.default_rng([number, len(how), factors])
        truth, data = simulated(rng, family, factors)
        model = bmm.Model(formula, data, family, PRIORS)
        posterior = model.sample(500, chains=2, seed=number, progress=False, **how).tree["posterior"].to_dataset()
        beta = posterior["beta"].to_numpy().reshape(-1, 2)
        sds = [posterior[name].to_numpy().reshape(-1, 1) for name in ("sd_g", "sd_h")[:factors]]
        draws = np.hstack([beta, *sds])[rng.permutation(1000)[:DRAWS]]  # nearly independent ones
        out.append((draws < truth).sum(axis=0))
    return np.array(out)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ranks_are_uniform(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of data without variation, which the prior allows
        ranks = ranks_of(*CASES[name])
    counts = np.array([np.histogram(column, BINS, (0, DRAWS + 1))[0] for column in ranks.T])
    p = stats.chisquare(counts, axis=1).pvalue
    assert (p > LEAST_P).all(), f"p-values {p}, counts {counts.tolist()}"
