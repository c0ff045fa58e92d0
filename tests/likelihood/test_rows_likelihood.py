"""The likelihood of generalised models without random effects, against SciPy's densities and finite differences."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

import bayesmm as bmm
from bayesmm.families.families import FAMILIES
from bayesmm.likelihood.coordinates import values
from bayesmm.likelihood.marginal import generalised
from bayesmm.likelihood.rows_likelihood import same_of

N = 40


def data():
    """Return rows with repeated predictors, so that rows of canonical links are merged."""
    rng = np.random.default_rng(5)
    x = np.repeat(rng.normal(size=N // 2), 2)
    return pd.DataFrame({
        "x": x, "yes": rng.integers(0, 2, N), "count": rng.poisson(np.exp(0.3 * x)), "size": rng.gamma(2, 1, N),
        "share": rng.beta(2, 3, N), "n": rng.integers(3, 9, N), "w": rng.integers(1, 4, N), "o": rng.normal(size=N),
    }).assign(k=lambda d: rng.binomial(d["n"], 0.4), alike=lambda d: np.where(d.index < 1, 1.5, 1.25))  # fmt: skip


DENSITIES = {  # of y given the mean and the family's parameter
    "bernoulli": lambda y, mu, aux, n: stats.bernoulli.logpmf(y, mu),
    "binomial": lambda y, mu, aux, n: stats.binom.logpmf(y, n, mu),
    "poisson": lambda y, mu, aux, n: stats.poisson.logpmf(y, mu),
    "negbinomial": lambda y, mu, aux, n: stats.nbinom.logpmf(y, aux[0], aux[0] / (aux[0] + mu)),
    "gamma": lambda y, mu, aux, n: stats.gamma.logpdf(y, aux[0], scale=mu / aux[0]),
    "beta": lambda y, mu, aux, n: stats.beta.logpdf(y, mu * aux[0], (1 - mu) * aux[0]),
    "student": lambda y, mu, aux, n: stats.t.logpdf(y, aux[1], mu, aux[0]),
}
INVERSE = {
    "logit": special.expit, "probit": special.ndtr, "log": np.exp, "identity": lambda eta: eta,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
}  # fmt: skip
CASES = [
    ("yes", "bernoulli", "logit", {}), ("yes", "bernoulli", "logit", {"weights": "w"}),
    ("yes", "bernoulli", "probit", {}), ("k", "binomial", "logit", {"trials": "n"}),
    ("k", "binomial", "cloglog", {"trials": "n"}), ("count", "poisson", "log", {}),
    ("count", "poisson", "log", {"weights": "w"}), ("count", "negbinomial", "log", {}),
    ("count", "negbinomial", "log", {"weights": "w"}), ("size", "gamma", "log", {"weights": "w"}),
    ("x", "student", "identity", {"weights": "w"}), ("alike", "gamma", "log", {}),
    ("size", "gamma", "log", {}), ("share", "beta", "logit", {}), ("x", "student", "identity", {}),
]  # fmt: skip


@pytest.mark.parametrize(("response", "family", "link", "further"), CASES)
def test_the_posterior_is_scipys_density_and_the_priors_and_its_gradient_that_of_it(response, family, link, further):
    table = data()
    predictor = "o" if response == "x" else "x"
    model = bmm.Model(f"{response} ~ {predictor} + offset(0.1 * o)", table, family, link=link, **further)
    own = generalised(model.design, model.priors)
    c, auxiliaries = own.posterior.coordinates, len(model.family.auxiliaries)
    x = np.concatenate([np.full(auxiliaries, 0.4), [0.2, -0.3]])
    value, slope = own.posterior(x)
    scalars = values(c, x[None])[0]
    beta = own.bases.fixed.inverse @ scalars[auxiliaries:]
    mean = INVERSE[link](model.design.X @ beta + model.design.offset)
    rows = DENSITIES[family](table[response].to_numpy(), mean, scalars, table["n"].to_numpy())
    weights = table["w"] if "weights" in further else np.ones(N)
    priors = sum(model.priors[place].logpdf(v) for place, v in zip(own.places, scalars, strict=True))
    assert value == pytest.approx((weights * rows).sum() + priors + x[:auxiliaries].sum(), rel=1e-11)
    steps = 1e-5 * np.eye(len(x))
    rises = [(own.posterior(x + h)[0] - own.posterior(x - h)[0]) / 2e-5 for h in steps]
    np.testing.assert_allclose(slope, rises, rtol=1e-6, atol=1e-6)  # central differences of values of about 100
    np.testing.assert_allclose(own.posterior.many(np.array([x]))[0], value, rtol=1e-13)


@pytest.mark.parametrize("family", ["gamma", "student", "negbinomial", "weibull"])
@pytest.mark.parametrize("y", [[3.0], [2.0, 2.0, 2.0], [1.0, 4.0, 2.0, 4.0, 7.0]])
def test_a_few_responses_have_the_constants_of_all(family, y):
    own, rng = FAMILIES[family], np.random.default_rng(1)
    data = SimpleNamespace(y=np.array(y), weight=rng.uniform(1, 2, len(y)))
    same = same_of(own.kernels, data)
    assert len(same.y) <= (2 if own.kernels.constant_in else len(set(y)))
    for aux in ((0.7, 3.0, 0.0), (30.0, 8.0, 0.0)):
        kernel = own.kernels.row_constant or (lambda *row: (0.0, 0.0, 0.0))
        found = sum(w * np.array(kernel(0, v, 1.0, 0.0, aux)) for v, w in zip(*same, strict=True))
        expected = sum(w * np.array(kernel(0, v, 1.0, 0.0, aux)) for v, w in zip(data.y, data.weight, strict=True))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_many_rows_of_one_kind_neither_overflow_nor_lose_digits():
    """2^2,000 overflows; the product of 1 + exp(-|eta|) is taken in parts."""
    table = pd.DataFrame({"y": np.arange(2000) % 2, "x": np.linspace(-1e-3, 1e-3, 2000)})
    own = generalised((model := bmm.Model("y ~ x", table, "bernoulli")).design, model.priors)
    prior = sum(model.priors[place].logpdf(0.0) for place in own.places)
    assert own.posterior(np.zeros(2))[0] - prior == pytest.approx(-2000 * np.log(2), rel=1e-13)
    assert np.isfinite(own.posterior(np.array([800.0, 0.0]))[0])


@pytest.mark.parametrize("sampler", ["auto", "importance"])
def test_a_logistic_regression_has_the_exact_posterior(sampler):
    """Of one coefficient: the integral over a grid."""
    table, prior = (
        pd.DataFrame({"y": [1, 0, 0, 1, 1, 1, 0, 1], "x": [0.3, -1, 0.5, 1.2, 2, 0.1, -0.4, -0.8]}),
        (0.5, 1.5),
    )
    priors = {"beta[x]": bmm.Prior("Normal", mu=prior[0], sigma=prior[1])}
    fit = bmm.fit("y ~ 0 + x", table, "bernoulli", priors, sampler=sampler, seed=3, draws=2000, progress=False)
    grid = np.linspace(-8, 12, 4001)
    eta = np.outer(grid, table["x"])
    logs = (table["y"].to_numpy() * eta - np.logaddexp(0, eta)).sum(axis=1) + stats.norm(*prior).logpdf(grid)
    density = np.exp(logs - logs.max())
    mean = integrate.trapezoid(grid * density, grid) / integrate.trapezoid(density, grid)
    sd = np.sqrt(integrate.trapezoid((grid - mean) ** 2 * density, grid) / integrate.trapezoid(density, grid))
    row = fit.summary().loc["beta[x]"]
    ess = float(row["ess_bulk"])
    assert ess > 1000 and abs(row["mean"] - mean) < 5 * sd / np.sqrt(ess) and row["sd"] == pytest.approx(sd, rel=0.1)


def test_it_loads_neither_pytensor_nor_pymc():
    code = """
import sys, pandas as pd, bayesmm as bmm
table = pd.DataFrame({"y": [1, 0, 1, 1, 0, 0] * 5, "x": range(30)})
fit = bmm.fit("y ~ x", table, "bernoulli", draws=50, chains=2, seed=1)
assert fit.tree["posterior"].sizes["draw"] == 50
print(sorted({"pytensor", "pymc"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
