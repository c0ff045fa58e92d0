"""Where the searches for the levels' modes begin: near their ends, which stay what they are."""

import numpy as np
import pandas as pd
import pytest
from densities import codes

import bayesmm as bmm
from bayesmm.likelihood.compiled import compiled
from bayesmm.likelihood.lattice import FINE, LATTICE
from bayesmm.likelihood.level_starts import begin, remember, size_of
from bayesmm.likelihood.marginal import generalised
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.posterior import log_posterior
from bayesmm.likelihood.quadrature import evaluate, grouped, prepare
from bayesmm.likelihood.quadrature_likelihood import quadrature_likelihood, quadrature_words

FACTOR = np.array([[0.8, 0.0], [0.3, 0.5]])


@compiled
def started(X, Z, start, L, beta, modes, then_L, then_beta, kept, out):
    """Set `out` to where searches with other parameters begin."""
    remember(X, Z, start, L, beta, modes, kept)
    begin(len(start) - 1, Z.shape[1], then_L, then_beta, kept, out, np.zeros(2 * Z.shape[1] ** 2))


def yes_or_no(q: int):
    rng = np.random.default_rng(1)
    index, x = np.repeat(np.arange(12), 9), rng.normal(size=108)
    Z, X = np.column_stack([np.ones(108), x])[:, :q], np.column_stack([np.ones(108), x])
    y = rng.binomial(1, 1 / (1 + np.exp(-x - rng.normal(size=12)[index]))).astype(float)
    return grouped(*codes("bernoulli", "logit"), y, X, Z, index, 12, offset=0.1 * x)


@pytest.mark.parametrize("q", [1, 2])
def test_a_search_begins_where_one_step_of_newton_s_method_leads(q):
    data, L, beta = yes_or_no(q), FACTOR[:q, :q], np.array([0.2, 0.7])
    u, level = evaluate(data, beta, L, np.zeros(0), FINE).modes, np.repeat(np.arange(12), np.diff(data.start))
    p = 1 / (1 + np.exp(-data.offset - data.X @ beta - np.einsum("ia,ab,ib->i", data.Z, L, u[level])))
    modes = np.concatenate([u.ravel(), data.weight * (data.y - p), data.weight * p * (1 - p)])

    def off(step: float) -> float:
        L_then, beta_then = L * (1 + step) + 0.3 * step * np.tril(np.ones((q, q))), beta + step
        out, kept = np.full(12 * q, np.nan), np.zeros(12 * size_of(2, q))
        started(data.X, data.Z, data.start, L, beta, modes, L_then, beta_then, kept, out)
        return np.abs(out.reshape(-1, q) - evaluate(data, beta_then, L_then, np.zeros(0), FINE).modes).max()

    assert off(0.0) < 1e-6
    # the error falls with the square of the distance
    assert off(0.1) < 0.02
    assert off(0.05) < 0.35 * off(0.1)


@pytest.mark.parametrize("family", ["bernoulli", "poisson", "negbinomial", "student", "beta"])
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (1 + x || g)"])
def test_a_posterior_that_has_settled_is_the_same(family, formula):
    model = bmm.Model(formula, rows(family), family=family)
    whole, rng = generalised(model.design, model.priors), np.random.default_rng(2)
    own = own_parameters(model.design).sorted(np.argsort(model.design.blocks[0].index, kind="stable"))
    x = 0.3 * rng.normal(size=whole.posterior.size) - 0.5
    # the lattice is good to 1e-5 of a level, less well with tails as heavy as Cauchy's; where it begins may move all of
    # that, and of the finer one next to nothing
    heavy = 50 if family == "student" else 1
    for rule, off in ((LATTICE, 1e-5 * heavy), (FINE, 1e-9 * heavy)):
        words = quadrature_words(prepare(model.design), own, rule)
        posterior = log_posterior(whole.posterior.coordinates, quadrature_likelihood(), words)
        settled = posterior.settled(x)
        assert not np.array_equal(settled.words, posterior.words)
        for spread in (0.0, 0.2, 2.0):
            at = x + spread * rng.normal(size=len(x))
            value, gradient = posterior(at)
            assert settled(at)[0] == pytest.approx(value, abs=off * 15)
            assert settled(at)[1] == pytest.approx(gradient, abs=off * 150)
            assert settled.many(at[None])[0] == pytest.approx(value, abs=off * 15)


def rows(family: str) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(15), 6), rng.normal(size=90)
    eta = 0.3 * x + 0.6 * rng.normal(size=15)[g]
    mean = 1 / (1 + np.exp(-eta))
    y = {
        "bernoulli": lambda: rng.binomial(1, mean),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "negbinomial": lambda: rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, 90)),
        "student": lambda: eta + rng.standard_t(3, 90),
        "beta": lambda: rng.beta(4 * mean, 4 * (1 - mean)),
    }[family]()
    return pd.DataFrame({"y": y, "x": x, "g": g})


def test_a_model_without_levels_settles_too():
    rng = np.random.default_rng(4)
    model = bmm.Model("y ~ x", pd.DataFrame({"y": rng.poisson(3, 40), "x": rng.normal(size=40)}), family="poisson")
    posterior, x = generalised(model.design, model.priors).posterior, np.array([0.5, 0.1])
    assert posterior.settled(x)(x)[0] == posterior(x)[0]
