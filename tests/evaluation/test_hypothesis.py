"""Hypotheses about a posterior, against conjugate models whose posteriors and priors are normal."""

import functools

import numpy as np
import pytest
from invented import draws, invented
from scipy import stats

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@functools.cache
def data():
    rng = np.random.default_rng(1)
    x, z = rng.normal(3, 1, 60), rng.normal(size=60)
    return {"x": x, "z": z, "g": [f"g{k % 6}" for k in range(60)], "y": 0.4 * x + rng.normal(size=60)}


PRIORS = {
    "beta[x]": bmm.Prior("Normal", mu=0.1, sigma=0.5),
    "beta[z]": bmm.Prior("Normal", mu=0, sigma=2),
    "Intercept": bmm.Prior("Normal", mu=0, sigma=3),
    "sigma": 1,
}


@functools.cache
def conjugate():
    """Return a fit with sigma known, and the mean and covariance of its normal posterior."""
    model = bmm.Model("y ~ x + z", data(), priors=PRIORS)
    X, y = model.design.X, model.design.y
    precision = np.diag([1 / 9, 4, 1 / 4])
    cov = np.linalg.inv(X.T @ X + precision)
    mean = cov @ (X.T @ y + precision @ np.array([0, 0.1, 0]))
    return model.sample(draws=4000, chains=4, seed=1, sampler="importance", progress=False), mean, cov


def test_a_direction_and_its_bayes_factor():
    """P(x > 0.3) of a normal posterior and of its normal prior; Monte Carlo errors of 16,000 draws, five of them."""
    fit, mean, cov = conjugate()
    row = fit.hypothesis({"x": 1}, greater=0.3).table.iloc[0]
    p, prior = stats.norm.sf(0.3, mean[1], np.sqrt(cov[1, 1])), stats.norm.sf(0.3, 0.1, 0.5)
    assert row["probability"] == pytest.approx(p, abs=5 * row["mcse"])
    assert row["mcse"] == pytest.approx(np.sqrt(p * (1 - p) / 16000), rel=0.3)
    assert row["prior"] == pytest.approx(prior, rel=1e-9)
    assert row["odds"] == pytest.approx(row["probability"] / (1 - row["probability"]))
    assert row["evidence_ratio"] == pytest.approx(row["odds"] / (prior / (1 - prior)), rel=1e-9)


def test_a_weighted_sum():
    fit, mean, cov = conjugate()
    w = np.array([0, 2, -1])
    row = fit.hypothesis({"x": 2, "z": -1}, between=(0.5, 1.0)).table.iloc[0]
    after = stats.norm(w @ mean, np.sqrt(w @ cov @ w))
    before = stats.norm(0.2, np.sqrt(4 * 0.25 + 4))
    assert row["probability"] == pytest.approx(after.cdf(1) - after.cdf(0.5), abs=5 * row["mcse"])
    assert row["prior"] == pytest.approx(before.cdf(1) - before.cdf(0.5), rel=1e-9)
    less = fit.hypothesis({"x": 2, "z": -1}, less=0.5).table.iloc[0]
    assert less["probability"] == pytest.approx(after.cdf(0.5), abs=5 * less["mcse"])


def test_savage_and_dickeys_ratio():
    """The two normal densities at the point; a kernel density is good to some 5 % at its top."""
    fit, mean, cov = conjugate()
    for at in (mean[2], 0.5):
        expected = stats.norm.pdf(at, mean[2], np.sqrt(cov[2, 2])) / stats.norm.pdf(at, 0, 2)
        found = fit.hypothesis({"z": 1}, equal=at)
        if at == mean[2]:
            assert found.table["evidence_ratio"].item() == pytest.approx(expected, rel=0.09)
    assert "Savage-Dickey" in str(found) and "probability" not in found.table


def test_the_prior_at_the_means_is_seen_through():
    """The default prior of an intercept is at the predictors' means: Intercept + 3 x has that prior, and x's twice."""
    model = bmm.Model("y ~ x", data())
    fit = invented(model)
    mu, b = model.priors["Intercept_centred"].parameters, model.priors["beta[x]"].parameters
    centre = np.mean(data()["x"])
    at = fit.hypothesis({"Intercept": 1, "x": centre}, greater=mu["mu"] + 1).table["prior"].item()
    assert at == pytest.approx(stats.norm.sf(1, scale=mu["sigma"]), rel=1e-6)
    zero = fit.hypothesis({"Intercept": 1}, greater=mu["mu"] + 1).table["prior"].item()
    sd = np.hypot(mu["sigma"], centre * b["sigma"])
    assert zero == pytest.approx(stats.norm.sf(1 + centre * b["mu"], scale=sd), rel=1e-6)


def test_other_priors_by_draws_that_are_even_in_probability():
    """The sum of two Student t (numerically, by a convolution) and a standard deviation (in closed form)."""
    t = bmm.Prior("StudentT", nu=3, mu=0, sigma=1)
    priors = PRIORS | {"beta[x]": t, "beta[z]": t, "sd": bmm.Prior("HalfNormal", sigma=2), "sigma": 1}
    fit = invented(bmm.Model("y ~ x + z + (1 | g)", data(), priors=priors))
    grid = np.linspace(-400, 400, 160001)
    sf = np.sum(stats.t.pdf(grid, 3) * stats.t.sf(1.5 - grid, 3)) * (grid[1] - grid[0])
    row = fit.hypothesis({"x": 1, "z": 1}, greater=1.5).table.iloc[0]
    assert row["prior"] == pytest.approx(sf, abs=0.01)  # 16,384 draws: 4 standard errors of 0.003 at most
    sd = fit.hypothesis({"sd_g[Intercept]": 1}, less=1).table.iloc[0]
    assert sd["prior"] == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=1e-4)
    assert sd["probability"] == (draws(fit, "sd_g") < 1).mean()


def test_without_a_proper_prior_there_are_odds_alone():
    fit = invented(bmm.Model("y ~ x", data(), priors={"beta[x]": bmm.Prior("Flat")}))
    found = fit.hypothesis({"x": 1}, greater=0)
    assert np.isnan(found.table["evidence_ratio"].item()) and np.isfinite(found.table["odds"].item())
    assert "Without an evidence ratio: Flat() has no distribution" in str(found)
    with_corr = invented(bmm.Model("y ~ x + (x | g)", data()))
    assert np.isfinite(with_corr.hypothesis({"corr_g[Intercept, x]": 1}, greater=0).table["odds"].item())


def test_what_is_rare_is_said():
    fit, *_ = conjugate()
    found = fit.hypothesis({"x": 1}, greater=-5)
    assert found.table["odds"].item() == np.inf and "Only 0 of 16,000 draws are on one side" in str(found)
    assert "beyond nearly all draws" in str(fit.hypothesis({"x": 1}, equal=40))


def test_print():
    text = str(conjugate()[0].hypothesis({"x": 2, "z": -1}, greater=0.5))
    assert " 2 x - z > 0.5" in text and "posterior odds over prior odds" in text
    assert max(map(len, text.split("\n"))) <= 100


@pytest.mark.parametrize(
    ("weights", "asked", "message"),
    [
        ({"x": 1}, {}, "give one of greater, less, between and equal.*, not none"),
        ({"x": 1}, {"greater": 0, "less": 1}, "not greater, less"),
        ({"x": 1}, {"between": (2, 1)}, "between should be two numbers, the lower first, not .2, 1."),
        ({"x": 1}, {"greater": np.nan}, "greater should be a finite number, not nan"),
        ({"X": 1}, {"greater": 0}, "'X' is no parameter of the model; did you mean 'x'"),
        ({"x": "a"}, {"greater": 0}, "the weight of 'x' should be a finite number, not 'a'"),
        ({}, {"greater": 0}, "should be about weights by parameter"),
        ("x > 0", {"greater": 0}, "should be about weights by parameter"),
    ],
)
def test_what_is_wrong_is_said(weights, asked, message):
    with pytest.raises(ValueError, match=message):
        conjugate()[0].hypothesis(weights, **asked)
