"""Parameters that differ from row to row: their map and its derivatives, in NumPy and compiled, in every likelihood."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.design.parameters import free_auxiliaries
from bayesmm.design.residual.of_family import own_of_rows, row_thresholds
from bayesmm.estimation.glmm import Warm, criterion_of, make_problem
from bayesmm.likelihood.laplace import laplace
from bayesmm.likelihood.lattice import FINE, LATTICE
from bayesmm.likelihood.marginal import generalised
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.quadrature import evaluate, prepare
from bayesmm.priors import prior_design
from bayesmm.sampling.joint import joint_posterior

MODELS = {
    "thresholds": ("k ~ x + (1 | g)", "cumulative", "logit"),
    "log": (("r ~ x + (1 | g)", "sigma ~ x"), "student", "identity"),
    "two": (("r ~ x + (1 | g)", "sigma ~ x", "nu ~ z"), "student", "identity"),
    "logit": (("n ~ x + (1 | g)", "zi ~ x + z"), "zero_inflated_negbinomial", "log"),
    "cells": (("n ~ x + (1 | g)", "shape ~ 0 + f"), "negbinomial", "log"),
    "identity": (("r ~ x + (1 | g)", "alpha ~ z"), "skew_normal", "identity"),
    "disc": (("k ~ x + (1 | g)", "disc ~ z"), "cumulative", "probit"),
    "nominal": ("k ~ x + cs(z) + (1 | g)", "cumulative", "logit"),
    "equidistant": ("k ~ x + (1 | g)", "cumulative(equidistant)", "cloglog"),
    "sequential": ("k ~ x + cs(z) + (1 | g)", "sratio", "cloglog"),
    "adjacent": ("k ~ x + (1 | g)", "acat", "logit"),
    "many": ("m ~ x + cs(z) + (1 | g)", "acat", "logit"),
}


def table(seed=3, groups=7, each=6):
    rng = np.random.default_rng(seed)
    n, g = groups * each, np.tile(np.arange(groups), each)
    x, z, b = rng.normal(size=n), rng.normal(size=n), rng.normal(size=groups) * 0.7
    eta = 0.5 * x + b[g]
    latent = eta + rng.logistic(size=n)
    return pd.DataFrame(
        {
            "x": x, "z": z, "f": np.where(rng.uniform(size=n) < 0.5, "p", "q"), "g": [f"g{i}" for i in g],
            "k": 1 + (latent[:, None] > np.array([-1.0, 0.2, 1.5])).sum(axis=1),
            "r": eta + rng.standard_t(5, n),
            "m": 1 + (latent[:, None] > np.array([-2.0, -1.0, -0.3, 0.2, 1.5])).sum(axis=1),
            "n": rng.negative_binomial(2, 2 / (2 + np.exp(eta))) * (rng.uniform(size=n) < 0.8),
        }
    )  # fmt: skip


def model(name, random=True):
    formula, family, link = MODELS[name]
    one = isinstance(formula, str)
    first = formula if one else formula[0]
    first = first if random else first.replace(" + (1 | g)", "")
    return bmm.Model(first if one else (first, *formula[1:]), table(), family, link=link)


def natural(own, rng):
    """Return some values of a model's own parameters."""
    values = [own_value(parameter, rng) for parameter in own.scalars]
    others = 0.1 * rng.normal(size=own.V.shape[2] - own.thresholds)  # so small that all thresholds ascend
    rest = np.concatenate(
        [np.cumsum(rng.uniform(0.3, 1.0, own.thresholds)) - 1.5, others * (1 if own.thresholds else 4)]
    )
    return np.concatenate([values, rest])


def own_value(parameter, rng):
    low, high = parameter.bounds
    return (
        rng.normal()
        if np.isinf(low)
        else low + (rng.uniform(0.2, 0.8) * (high - low) if np.isfinite(high) else rng.uniform(0.5, 4))
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_map_and_its_derivatives(name):
    own, rng = own_parameters(model(name).design), np.random.default_rng(1)
    values = natural(own, rng)
    free = own.free(values)
    np.testing.assert_allclose(own.natural(free), values, rtol=1e-12)
    w = rng.normal(size=own.rows(values).shape)
    finite = np.where(np.isfinite(own.rows(values)), w, 0.0)

    def total(at):
        rows = own.rows(at)
        return (finite * np.where(np.isfinite(rows), rows, 0.0)).sum()

    d_natural, h = own.pulled(values, finite), 1e-6
    eye = np.eye(len(values))
    differences = [(total(values + h * e) - total(values - h * e)) / (2 * h) for e in eye]
    np.testing.assert_allclose(d_natural, differences, rtol=1e-7, atol=1e-7)
    d_free = own.back(free, d_natural)
    differences = [(total(own.natural(free + h * e)) - total(own.natural(free - h * e))) / (2 * h) for e in eye]
    np.testing.assert_allclose(d_free, differences, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(own.forth(free, d_free), d_natural, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_the_map_is_that_of_draws_and_graphs(name):
    made = model(name)
    design, own, rng = made.design, own_parameters(made.design), np.random.default_rng(2)
    values, s = natural(own, rng), len(own.scalars)
    scalars = dict(zip([p.name for p in free_auxiliaries(design)], values, strict=False))
    rest = np.split(values[s:], np.cumsum([p.size for p in design.residual.parameters])[:-1])
    vectors = {p.name: part for p, part in zip(design.residual.parameters, rest, strict=True)}
    found = own_of_rows(design, scalars, vectors)
    if design.family.ordered:
        rows = row_thresholds(np, design.family, found, design.y)
        np.testing.assert_allclose(rows, own.rows(values), rtol=1e-12, atol=1e-14)
        return
    for m, column in enumerate(found):
        np.testing.assert_allclose(np.broadcast_to(column, design.n), own.rows(values)[:, m], rtol=1e-12)


def gradient_error(density, x, h=1e-5):
    """Return the largest error of a gradient beside central differences, relative to its size."""
    value, slope = density(x)
    assert np.isfinite(value)
    found = np.array([(density(x + h * e)[0] - density(x - h * e)[0]) / (2 * h) for e in np.eye(len(x))])
    return np.abs(found - slope).max() / (1 + np.abs(slope).max())


def spread(name):
    """Return how far from 0 points are drawn: thresholds with effects of their own must not cross in any row."""
    return 0.1 if name == "nominal" else 0.4


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_the_marginal_posterior(name, random):
    made = model(name, random)
    posterior = generalised(made.design, made.priors).posterior
    rng = np.random.default_rng(4)
    for _ in range(3):
        # the lattice leaves about 1e-5 of a level, whose nodes change with the parameters; see the next test but two
        h, error = (1e-3, 5e-3) if random else (1e-5, 1e-7)
        assert gradient_error(posterior, spread(name) * rng.normal(size=posterior.size), h) < error


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_the_joint_posterior(name, centred):
    made = model(name)
    posterior = joint_posterior(made.design, prior_design(made.design, made.priors), made.priors, [centred])
    rng = np.random.default_rng(5)
    for _ in range(3):
        assert gradient_error(posterior, spread(name) * rng.normal(size=posterior.size)) < 1e-7


@pytest.mark.parametrize("nagq", [1, 7])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_the_maximised_likelihood(name, nagq):
    problem = make_problem(model(name).design)
    criterion = criterion_of(problem, nagq, Warm(np.zeros(7)))
    start = np.concatenate([0.1 * np.ones(2 if problem.fixed.shape[1] > 1 else 1), [0.8], problem.moved(problem.aux)])
    rng = np.random.default_rng(6)
    for _ in range(3):
        assert gradient_error(criterion, start + 0.1 * rng.normal(size=len(start))) < 2e-6


@pytest.mark.parametrize("name", MODELS)
def test_the_integral_is_that_of_a_dense_grid(name):
    """log p(y | beta, L, own parameters) level by level over 4,001 points, and by 61 nodes and by both lattices."""
    from bayesmm.likelihood.pointwise import log_densities
    from bayesmm.likelihood.row_functions import codes

    design, rng = model(name).design, np.random.default_rng(7)
    own = own_parameters(design)
    values, beta, sd = natural(own, rng), 0.3 * np.ones(design.p), 0.8
    order = np.argsort(design.blocks[0].index, kind="stable")
    aux, u = own.rows(values), np.linspace(-9, 9, 4001)
    eta = (design.X @ beta + design.offset)[None] + sd * u[:, None]
    ones = np.ones(design.n)
    size = ones if design.size is None else design.size
    rows = log_densities(*codes(design.family), design.y, size, ones, eta, np.broadcast_to(aux, (len(u), *aux.shape)))
    total = 0.0
    for g in range(len(design.blocks[0].levels)):
        f = rows[:, design.blocks[0].index == g].sum(axis=1) - 0.5 * u**2 - 0.5 * np.log(2 * np.pi)
        total += f.max() + np.log(np.exp(f - f.max()).sum() * (u[1] - u[0]))
    exact, quick, fine = (evaluate(prepare(design), beta, np.array([[sd]]), aux[order], k) for k in (61, LATTICE, FINE))
    np.testing.assert_allclose([exact.value, quick.value, fine.value], total, atol=2e-4)
    assert fine.value == pytest.approx(total, abs=1e-6)
    for found, error in ((quick, 2e-3), (fine, 2e-5)):
        np.testing.assert_allclose(found.d_aux, exact.d_aux, atol=error)
        np.testing.assert_allclose(found.d_beta, exact.d_beta, atol=error)
        np.testing.assert_allclose(found.d_L, exact.d_L, atol=error)


def test_parameters_that_differ_in_no_row_are_scalars():
    """With coefficients of 0 every likelihood is that of the model without the formula."""
    by_row, plain = model("logit"), bmm.Model("n ~ x + (1 | g)", table(), "zero_inflated_negbinomial")
    values = np.array([1.7, 0.3])
    own, same = own_parameters(by_row.design), own_parameters(plain.design)
    rows = own.rows(np.concatenate([values, np.zeros(2)]))
    np.testing.assert_allclose(rows[:, :2], np.tile(values, (42, 1)), rtol=1e-15)
    beta, L = np.array([0.2, 0.4]), np.array([[0.6]])
    for k in (1, 9, LATTICE):
        one = evaluate(prepare(by_row.design), beta, L, rows, k)
        other = evaluate(prepare(plain.design), beta, L, values, k)
        assert one.value == pytest.approx(other.value, rel=1e-13)
        np.testing.assert_allclose(one.d_aux.sum(axis=0), other.d_aux, rtol=1e-10)
    problems = [make_problem(m.design) for m in (by_row, plain)]
    fixed = by_row.design.X @ beta
    found = [
        laplace(p.layout, p.response, fixed, p.packed(np.array([0.7])), aux, np.zeros(7))
        for p, aux in zip(problems, (rows, same.rows(values)), strict=True)
    ]
    assert found[0].value == pytest.approx(found[1].value, rel=1e-13)
    np.testing.assert_allclose(found[0].d_aux.sum(axis=0), found[1].d_aux, rtol=1e-9)


def test_laplace_knows_a_parameter_that_is_0():
    """The slant of a skew normal is 0 where it is normal, and its derivative is not."""
    problem = make_problem(bmm.Model("r ~ x + (1 | g)", table(), "skew_normal").design)
    criterion = criterion_of(problem, 1, Warm(np.zeros(7)))
    x = np.concatenate([np.zeros(2), [0.5], [0.1, 0.0]])
    assert gradient_error(criterion, x) < 1e-6


def test_a_parameter_below_0_has_a_density():
    """A slant of the skew normal may be negative, for rows that all have it as for those with a formula."""
    for formula in ("r ~ x", ("r ~ x", "alpha ~ z"), "r ~ x + (1 | g)"):
        made = bmm.Model(formula, table(), "skew_normal")
        marginal = generalised(made.design, made.priors)
        x = np.zeros(marginal.posterior.size)
        x[marginal.posterior.coordinates.at[marginal.places.index("alpha")]] = -1.0
        assert np.isfinite(marginal.posterior(x)[0])


def test_a_parameter_of_exactly_0_has_a_density():
    made = bmm.Model("r ~ x", table(), "skew_normal")
    marginal = generalised(made.design, made.priors)
    assert np.isfinite(marginal.posterior(np.zeros(marginal.posterior.size))[0])
