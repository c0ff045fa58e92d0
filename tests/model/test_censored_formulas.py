"""Censored responses whose sd or shape has a formula, against SciPy's maximum of the likelihood written out."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from scipy.special import gamma

import bayesmm as bmm

N = 120


def table():
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    y = 1 + 0.5 * x + np.exp(-0.5 + 0.6 * (x > 0)) * rng.normal(size=N)
    t = rng.weibull(2, N) * np.exp(0.3 * x)
    return pd.DataFrame({
        "x": x, "f": np.where(x > 0, "b", "a"), "y": np.minimum(y, 1.8), "high": np.where(y > 1.8, "right", "none"),
        "t": np.minimum(t, 1.5), "late": (t > 1.5).astype(int),
    })  # fmt: skip


def normal(v, d, second):
    mu, sd = v[0] + v[1] * d["x"], np.exp(v[2] + v[3] * second)
    return np.where(d["high"] == "right", stats.norm.logsf(d["y"], mu, sd), stats.norm.logpdf(d["y"], mu, sd)).sum()


def weibull(v, d, second):
    shape, mu = np.exp(v[2] + v[3] * second), np.exp(v[0] + v[1] * d["x"])
    scale = mu / gamma(1 + 1 / shape)
    beyond = -((d["t"] / scale) ** shape)
    return np.where(d["late"] == 1, beyond, stats.weibull_min.logpdf(d["t"], shape, scale=scale)).sum()


@pytest.mark.parametrize(("formula", "family", "written", "own"), [
    ("y | cens(high) ~ x; sigma ~ f", "gaussian", normal, "sigma"),
    ("t | cens(late) ~ x; shape ~ f", "weibull", weibull, "shape"),
])  # fmt: skip
def test_the_maximum_is_that_of_the_likelihood_written_out(formula, family, written, own):
    data = table()
    second = (data["f"] == "b").to_numpy()
    point = bmm.Model(formula, data, family).maximize()
    best = optimize.minimize(lambda v: -written(v, data, second), [0.5, 0.3, 0, 0], method="BFGS", tol=1e-9)
    assert point.loglik == pytest.approx(-best.fun, abs=1e-7)  # quadratic in an error of 1e-4
    found = point.parameters
    values = [*point.beta, np.log(found[own]), found[f"log_{own}[f[T.b]]"]]
    np.testing.assert_allclose(values, best.x, atol=1e-4)
