"""Quadrature with random effects of parameters: sums over a fine grid of effects, and models of one predictor."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import bayesmm as bmm
from bayesmm.estimation.glmm import Warm, criterion_of, make_problem
from bayesmm.likelihood.problem import orthonormal_columns

N, G = 60, 5
POINTS = 41  # of Gauss-Hermite rules that do not adapt: levels of 12 rows have wide densities


def table():
    rng = np.random.default_rng(11)
    g, x, b = np.arange(N) % G, rng.normal(size=N), rng.normal(size=(G, 2)) * [0.6, 0.5]
    zero = rng.random(N) < special.expit(-0.6 + b[g, 1])
    count = np.where(zero, 0, rng.poisson(np.exp(0.8 + 0.4 * x + b[g, 0])))
    odds = np.column_stack([np.zeros(N), 0.3 + b[g, 0], 0.5 * x + b[g, 1]])
    word = [rng.choice(["a", "b", "c"], p=p) for p in special.softmax(odds, axis=1)]
    return pd.DataFrame({"count": count, "word": word, "x": x, "g": [f"g{i}" for i in g]})


DATA = table()
X, INDEX = DATA["x"].to_numpy(), pd.Categorical(DATA["g"]).codes


def written_out(rows, L):
    """Return log p(y): `rows` (n,) at effects (2,) of all levels, summed over the tensor grid."""
    x, w = np.polynomial.hermite_e.hermegauss(POINTS)
    total = np.full((G, POINTS, POINTS), 0.0)
    for i in range(POINTS):
        for j in range(POINTS):
            total[:, i, j] = np.bincount(INDEX, rows(L @ [x[i], x[j]]), G)
    weights = np.log(w / w.sum())
    return special.logsumexp(total + weights[:, None] + weights, axis=(1, 2)).sum()


@pytest.mark.slow
def test_zero_inflation_with_effects_of_mean_and_zeros():
    formula = ("count ~ x + (1 | p | g)", "zi ~ 1 + (1 | p | g)")
    point = bmm.Model(formula, DATA, "zero_inflated_poisson").maximize(nagq=9)
    assert point.converged and point.nagq == 9
    (Sigma,), y = point.covariances, DATA["count"].to_numpy()

    def rows(b):
        zi = special.expit(special.logit(point.auxiliaries["zi"]) + b[1])
        p = (1 - zi) * stats.poisson.pmf(y, np.exp(point.beta[0] + point.beta[1] * X + b[0]))
        return np.log(np.where(y == 0, zi + p, p))

    expected = written_out(rows, np.linalg.cholesky(Sigma + 1e-13 * np.eye(2)))
    assert point.loglik == pytest.approx(expected, abs=1e-5)
    assert abs(bmm.Model(formula, DATA, "zero_inflated_poisson").maximize().loglik - expected) > 1e-3  # Laplace's


@pytest.mark.slow
def test_categories_with_an_effect_each():
    """At the estimates the sums over a fine grid, and no direction in which they rise."""
    point = bmm.Model("word ~ x + (1 | g)", DATA, "categorical").maximize(nagq=9)
    y = pd.Categorical(DATA["word"]).codes
    v = np.concatenate([point.fixef()["estimate"], point.varcorr()["sdcor"]])

    def value(v):
        fixed = np.column_stack([v[0] + v[1] * X, v[2] + v[3] * X])

        def rows(b):
            logs = np.column_stack([np.zeros(N), fixed + b])
            return logs[np.arange(N), y] - special.logsumexp(logs, axis=1)

        return written_out(rows, np.diag(v[4:]))

    assert point.loglik == pytest.approx(value(v), abs=1e-5)
    free = [k for k in range(6) if v[k] != 0.0]
    slopes = [(value(v + 1e-3 * e) - value(v - 1e-3 * e)) / 2e-3 for e in np.eye(6)[free]]
    np.testing.assert_allclose(slopes, 0, atol=1e-3)


def test_two_categories_are_a_binary_response_by_quadrature():
    data = DATA[DATA["word"] != "b"]
    one = bmm.Model("word ~ x + (1 | g)", data, "categorical").maximize(nagq=9)
    other = bmm.Model("word ~ x + (1 | g)", data, "bernoulli").maximize(nagq=9)
    assert one.criterion == pytest.approx(other.criterion, abs=1e-8)
    np.testing.assert_allclose(one.fixef()["estimate"], other.beta, atol=1e-5)


def test_the_gradient_is_that_of_the_value():
    """Differences of fourth order with another step than the criterion's own."""
    model = bmm.Model("count ~ x + (1 | p | g); shape ~ 1 + (1 | p | g)", DATA, "negbinomial")
    problem = make_problem(model.design, orthonormal_columns(model.design))
    function = criterion_of(problem, 5, Warm(np.zeros(2 * G)))
    x = np.concatenate([np.full(2, 0.1), 0.5 + np.zeros(problem.theta.size), problem.moved(problem.aux)])
    _, slope = function(x)
    h = 5e-3 * np.eye(len(x))
    found = [8 * (function(x + e)[0] - function(x - e)[0]) - function(x + 2 * e)[0] + function(x - 2 * e)[0] for e in h]
    np.testing.assert_allclose(slope, np.array(found) / 6e-2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("formula", "family", "said"),
    [
        (
            ("count ~ x + (1 | g)", "zi ~ 1 + (1 | h)"),
            "zero_inflated_poisson",
            "effects of one grouping factor, and there are others where zi has",
        ),
        ("word ~ x + (x | g)", "categorical", "at most 3 random effects for each level of g, and the model has 4"),
    ],
)
def test_what_it_is_not_for(formula, family, said):
    data = DATA.assign(h=[f"h{i % 4}" for i in range(N)])
    with pytest.raises(ValueError, match=rf"nagq = 5 needs {said}.*; use nagq=1"):
        bmm.Model(formula, data, family).maximize(nagq=5)
