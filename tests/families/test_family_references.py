"""Fits of other packages: glmmTMB 1.1.5 (Laplace's approximation, polished by Newton's method), on data in tests/data.

cbpp is lme4's (contagious bovine pleuropneumonia); salamanders are those of glmmTMB (Price et al. 2016), with rounded
columns; tweedie.csv was simulated. A log likelihood agrees to 1e-4, a coefficient to 1e-3 of its standard error, an sd
and a parameter to 1e-3.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm

DATA = Path(__file__).parents[1] / "data"


def salamanders():
    frame = pd.read_csv(DATA / "salamanders.csv")
    return frame.assign(mined=pd.Categorical(frame["mined"], ["yes", "no"]))


def cbpp():
    return pd.read_csv(DATA / "cbpp.csv", dtype={"herd": str, "period": str})


def holds(point, deviance, coefficients, errors, sds, **parameters):
    assert point.converged
    assert point.criterion == pytest.approx(deviance, abs=2e-4)
    assert (np.abs(point.beta - coefficients) < 1e-3 * np.array(errors)).all()
    np.testing.assert_allclose(np.sqrt(np.diag(point.beta_cov)), errors, rtol=1e-3)
    found = [np.sqrt(np.diag(Sigma)) for Sigma in point.covariances]
    np.testing.assert_allclose(np.concatenate([[], *found]), sds, rtol=1e-3, atol=1e-4)
    assert {name: point.auxiliaries[name] for name in parameters} == pytest.approx(parameters, rel=1e-3)


def test_a_beta_binomial_model():
    """Of herds, which have no variance beside that of the rows: glmmTMB's sd is 3e-6."""
    point = bmm.Model("incidence | trials(size) ~ period + (1 | herd)", cbpp(), "betabinomial").maximize()
    coefficients = [-1.31877315662388, -0.96888531923525, -1.25092924788824, -1.47252066070741]
    errors = [0.232612358407284, 0.406448102153528, 0.456832039807831, 0.510861127916806]
    holds(point, 176.08329363042, coefficients, errors, [0.0], phi=10.8426588061026)


def test_counts_with_a_variance_proportional_to_the_mean():
    point = bmm.Model("count ~ mined + cover + (1 | site)", salamanders(), "nbinom1").maximize()
    coefficients = [-1.18542335605463, 1.95863769176582, -0.0791149879797405]
    errors = [0.226579663390385, 0.292137507331808, 0.141149945012229]
    holds(point, 1724.29679313002, coefficients, errors, [0.428718692455057], phi=2.78687417145862)


def test_generalised_poisson_counts():
    """There the variance is phi times the mean, here 1 + phi times."""
    point = bmm.Model("count ~ mined + (1 | site)", salamanders(), "genpois").maximize()
    coefficients, errors = [-1.16874734558299, 1.89710295827184], [0.217762172964776, 0.254415295237948]
    holds(point, 1725.60769986355, coefficients, errors, [0.455614836191089], phi=3.13051503630502)


def test_zero_inflated_counts():
    point = bmm.Model("count ~ mined + (1 | site)", salamanders(), "zero_inflated_poisson").maximize()
    coefficients, errors = [-0.935604958375199, 2.16152511781156], [0.225550880276865, 0.27464275305876]
    zi = 1 / (1 + np.exp(0.468178497234357))  # given on the logit scale
    holds(point, 1922.70230746006, coefficients, errors, [0.533257210342459], zi=zi)


def test_tweedie_amounts():
    """Simulated; the power is 1 + plogis(psi) there."""
    point = bmm.Model("y ~ x + (1 | g)", pd.read_csv(DATA / "tweedie.csv"), "tweedie").maximize()
    coefficients, errors = [0.519454116929584, 0.413759612989329], [0.133497605559065, 0.0835470170192085]
    parameters = {"phi": 1.77589860371722, "power": 1.2634405276993}
    holds(point, 753.536569526174, coefficients, errors, [0.464430755407673], **parameters)


def test_counts_above_zero_of_a_hurdle_with_two_parts():
    """Parts without common parameters: the log likelihoods of zeros and of counts above them add up."""
    data = salamanders()
    above = bmm.Model("count ~ mined + (1 | site)", data[data["count"] > 0], "truncated_poisson").maximize()
    zeros = bmm.Model("zero ~ mined + (1 | site)", data.assign(zero=data["count"] == 0), "bernoulli").maximize()
    assert above.criterion + zeros.criterion == pytest.approx(1883.99416985928, abs=2e-4)
    coefficients, errors = [0.279327870362235, 0.959713211652848], [0.167165430639756, 0.181568437562983]
    holds(above, above.criterion, coefficients, errors, [0.212648523781882])
    coefficients, errors = [1.83393388229291, -2.35124046076166], [0.261682306274128, 0.34139303630911]
    holds(zeros, zeros.criterion, coefficients, errors, [0.635052455100609])


def test_negative_binomial_counts_above_zero_of_a_hurdle():
    data = salamanders()
    data["spp"] = pd.Categorical(data["spp"], ["GP", "PR", "DM", "EC-A", "EC-L", "DES-L", "DF"])
    above = bmm.Model("count ~ spp + mined + (1 | site)", data[data["count"] > 0], "truncated_negbinomial").maximize()
    zeros = bmm.Model("zero ~ mined", data.assign(zero=data["count"] == 0), "bernoulli").maximize()
    assert above.criterion + zeros.criterion == pytest.approx(1709.34699642843, abs=2e-4)
    coefficients = [
        -0.336163391023264, -0.510150653971086, 0.232746830517576, -0.212007143421243, 0.662100709003103,
        0.705606548183388, 0.0727904401407211, 1.0854035468399,
    ]  # fmt: skip
    errors = [
        0.292473637034389, 0.408564745873432, 0.246901406781651, 0.320055841380875, 0.240022198937733,
        0.235656816724222, 0.259612831725032, 0.218938238250075,
    ]  # fmt: skip
    holds(above, above.criterion, coefficients, errors, [0.0744961326130654], shape=1.51334466233923)


def test_a_hurdle_with_one_probability_is_its_two_parts():
    """hu is then the share of zeros, and the counts above them are a model of their own."""
    data = salamanders()
    whole = bmm.Model("count ~ mined + (1 | site)", data, "hurdle_poisson").maximize()
    above = bmm.Model("count ~ mined + (1 | site)", data[data["count"] > 0], "truncated_poisson").maximize()
    share = (data["count"] == 0).mean()
    zeros = len(data) * (share * np.log(share) + (1 - share) * np.log1p(-share))
    assert whole.auxiliaries["hu"] == pytest.approx(share, rel=1e-6)
    assert whole.criterion == pytest.approx(above.criterion - 2 * zeros, abs=1e-6)
    np.testing.assert_allclose(whole.beta, above.beta, atol=1e-5)


def test_without_random_effects_the_lognormal_is_least_squares_of_the_logarithm():
    rng = np.random.default_rng(1)
    x = rng.normal(size=50)
    y = np.exp(1 + 0.5 * x + 0.3 * rng.normal(size=50))
    point = bmm.Model("y ~ x", {"y": y, "x": x}, "lognormal").maximize()
    X = np.column_stack([np.ones(50), x])
    beta, rss = np.linalg.lstsq(X, np.log(y))[:2]
    np.testing.assert_allclose(point.beta, beta, rtol=1e-6)
    assert point.auxiliaries["sigma"] == pytest.approx(float(np.sqrt(rss[0] / 50)), rel=1e-5)
    loglik = -25 * (np.log(2 * np.pi * rss[0] / 50) + 1) - np.log(y).sum()
    assert point.loglik == pytest.approx(loglik, abs=1e-8)


def test_an_inverse_gaussian_mean_has_its_closed_form():
    y = np.random.default_rng(2).wald(2.0, 3.0, 60)
    point = bmm.Model("y ~ 1", {"y": y}, "inverse_gaussian").maximize()
    assert np.exp(point.beta[0]) == pytest.approx(y.mean(), rel=1e-6)  # Tweedie 1957
    assert point.auxiliaries["shape"] == pytest.approx(1 / np.mean(1 / y - 1 / y.mean()), rel=1e-5)
