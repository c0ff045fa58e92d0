"""Laplace's approximation with random effects of parameters, against dense NumPy, differences, and both graphs."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

import bayesmm as bmm
from bayesmm.estimation import together
from bayesmm.estimation.glmm import Warm, criterion_of, make_problem
from bayesmm.likelihood.coordinates import factors, values
from bayesmm.likelihood.problem import orthonormal_columns
from bayesmm.likelihood.several_laplace import joint_laplace
from bayesmm.priors import prior_design
from bayesmm.sampling.joint import integrated_block, joint_posterior

N, G, H = 72, 6, 4


def data(seed=3):
    rng = np.random.default_rng(seed)
    x, g, h = rng.normal(size=N), np.arange(N) % G, np.arange(N) // G % H
    b, s = 0.5 * rng.normal(size=G), 0.4 * rng.normal(size=G)
    eta = 0.4 + 0.3 * x + b[g]
    zero = rng.random(N) < special.expit(-0.7 + s[g])
    return pd.DataFrame({
        "x": x, "g": g.astype(str), "h": h.astype(str), "y": eta + np.exp(s[g]) * rng.normal(size=N),
        "count": np.where(zero, 0, rng.poisson(np.exp(eta))), "share": rng.beta(2, 3, N), "size": rng.gamma(2, 1, N),
        "skewed": eta + rng.gamma(2, 1, N),
    })  # fmt: skip


def problem_of(formula, family="gaussian"):
    """Return a model, the problem of its maximisation, and its function."""
    model = bmm.Model(formula, data(), family)
    problem = make_problem(model.design, orthonormal_columns(model.design))
    size = sum(len(block.levels) * len(block.columns) for block in model.design.blocks)
    return model, problem, criterion_of(problem, 1, Warm(np.zeros(size)))


CASES = [
    (("y ~ x + (1 | g)", "sigma ~ x + (1 | g)"), "gaussian"),
    (("y ~ x + (x | p | g)", "sigma ~ 1 + (x | p | g)"), "gaussian"),
    (("count ~ x + (1 | g)", "zi ~ 1 + (1 | h)"), "zero_inflated_poisson"),
    (("count ~ x + (1 | p | g)", "zi ~ x + (1 | p | g)", "shape ~ 1 + (1 | h)"), "zero_inflated_negbinomial"),
    (("share ~ x", "phi ~ 0 + h + (1 | g)"), "beta"),
    (("skewed ~ x + (1 | h)", "alpha ~ 1 + (1 | g)"), "skew_normal"),
    (("size ~ x + (1 | g)", "shape ~ x + (1 | h)"), "gamma"),
]


@pytest.mark.parametrize(("formula", "family"), CASES, ids=[f"{f}-{k}" for k, (_, f) in enumerate(CASES)])
def test_the_gradient_is_that_of_the_value(formula, family):
    """Differences of fourth order with steps of 1e-3 leave 1e-8 of values of some hundreds."""
    _, problem, function = problem_of(formula, family)
    rng = np.random.default_rng(2)
    size = problem.parts[2].stop
    x = 0.2 * rng.normal(size=size)
    x[problem.parts[1]] += (
        0.6 * np.concatenate([np.eye(len(problem.bases[k])).ravel() for k in problem.order])[problem.free]
    )
    x[problem.parts[2]] += problem.moved(problem.aux)
    value, slope = function(x)
    assert np.isfinite(value)
    steps = 1e-3 * np.eye(size)
    found = [
        (8 * (function(x + h)[0] - function(x - h)[0]) - function(x + 2 * h)[0] + function(x - 2 * h)[0]) for h in steps
    ]
    np.testing.assert_allclose(slope, np.array(found) / 12e-3, rtol=2e-6, atol=2e-6)


def dense(design, beta, log_sigma, Sigmas):
    """Return Laplace's approximation of a location-scale model, from a dense Hessian that is written out by hand."""
    columns, roots = [], []
    for block, Sigma in zip(design.blocks, Sigmas, strict=True):
        q = len(block.columns)
        Z = np.zeros((2, design.n, len(block.levels), q))
        for j in range(q):
            of_sigma = int(bool(block.predictors) and block.predictors[j] == "sigma")
            Z[of_sigma, np.arange(design.n), block.index, j] = block.Z[:, j]
        columns.append(Z.reshape(2, design.n, -1))
        roots.append(np.kron(np.eye(len(block.levels)), np.linalg.cholesky(Sigma)))
    A, B = (np.hstack([Z[m] @ L for Z, L in zip(columns, roots, strict=True)]) for m in (0, 1))

    def parts(u):
        r, tau = design.y - design.X @ beta - A @ u, log_sigma + B @ u
        return r, tau, np.square(r) * np.exp(-2 * tau)

    def negative(u):
        _, tau, square = parts(u)
        return 0.5 * u @ u + (0.5 * np.log(2 * np.pi) + tau + 0.5 * square).sum()

    def gradient(u):
        r, tau, square = parts(u)
        return u - A.T @ (r * np.exp(-2 * tau)) + B.T @ (1 - square)

    def hessian(u):
        r, tau, square = parts(u)
        w, cross = np.exp(-2 * tau), 2 * r * np.exp(-2 * tau)
        mixed = (A * cross[:, None]).T @ B
        return np.eye(len(u)) + (A * w[:, None]).T @ A + mixed + mixed.T + 2 * (B * square[:, None]).T @ B

    found = optimize.minimize(
        negative, np.zeros(A.shape[1]), jac=gradient, hess=hessian, method="trust-exact", tol=1e-12
    )
    u = found.x - np.linalg.solve(hessian(found.x), gradient(found.x))
    return -negative(u) - 0.5 * np.linalg.slogdet(hessian(u))[1]


@pytest.mark.parametrize(
    "formula", [CASES[0][0], CASES[1][0], ("y ~ x + (1 | g) + (1 | h)", "sigma ~ x + (1 | g) + (1 | h)")]
)
def test_the_value_is_that_of_dense_matrices(formula):
    point = bmm.Model(formula, data()).maximize()
    design = point.design
    slopes = [value for part in point.residual.values() for value in part]
    rows = design.residual.rows
    log_sigma = np.log(point.auxiliaries["sigma"]) + (rows @ np.array(slopes) if rows.size else np.zeros(design.n))
    Sigmas = [Sigma + 1e-13 * np.eye(len(Sigma)) for Sigma in point.covariances]
    assert point.loglik == pytest.approx(dense(design, point.beta, log_sigma, Sigmas), abs=1e-7)


def test_effects_of_a_parameter_that_are_zero_leave_the_model_without_them():
    _, problem, function = problem_of(("count ~ x + (1 | g)", "zi ~ x + (1 | h)"), "zero_inflated_poisson")
    _, plain, other = problem_of(("count ~ x + (1 | g)", "zi ~ x"), "zero_inflated_poisson")
    x, y = np.zeros(problem.parts[2].stop), np.zeros(plain.parts[2].stop)
    places = np.arange(problem.parts[1].start, problem.parts[1].stop)
    (of_mean,) = [
        j for j in places if problem.factors(np.eye(len(x))[j][problem.parts[1]])[problem.order.index(0)].any()
    ]
    x[of_mean], y[plain.parts[1]] = (0.7 / own.bases[0][0, 0] for own in (problem, plain))
    x[problem.parts[2]], y[plain.parts[2]] = problem.moved(problem.aux), plain.moved(plain.aux)
    assert function(x)[0] == pytest.approx(other(y)[0], abs=1e-8)


@pytest.mark.parametrize("centred", [False, True])
def test_the_joint_density_is_that_of_scipy_and_its_gradient_is_its_own(centred):
    model = bmm.Model(("y ~ x + (1 | p | g)", "sigma ~ x + (1 | p | g) + (1 | h)"), data())
    assert integrated_block(model.design) is None
    own = prior_design(model.design, model.priors)
    posterior = joint_posterior(model.design, own, model.priors, (centred, centred))
    c, t = posterior.coordinates, posterior.size - 2 * G - H

    def expected(x):
        scalars, C, total, at = values(c, x[None])[0], factors(c, x[None]), 0.0, t
        sds = np.split(scalars[:3], [2])
        sigma, slope, gamma = scalars[3], scalars[4], scalars[5:7]
        eta, tau = own.X @ gamma, np.log(sigma) + slope * own.residual.rows[:, 0]
        for block, sd, R in zip(own.blocks, sds, C, strict=True):
            L = sd[:, None] * R[0]
            e = x[at : at + len(block.levels) * len(L)].reshape(-1, len(L))
            at += e.size
            total += stats.multivariate_normal(np.zeros(len(L)), L @ L.T if centred else np.eye(len(L))).logpdf(e).sum()
            products = block.Z * (e if centred else e @ L.T)[block.index]
            of_sigma = np.array(block.predictors) == "sigma"
            eta, tau = eta + products[:, ~of_sigma].sum(axis=1), tau + products[:, of_sigma].sum(axis=1)
        return total + stats.norm(eta, np.exp(tau)).logpdf(own.y).sum()

    x, y = 0.3 * np.random.default_rng(1).normal(size=(2, posterior.size))
    y[:t] = x[:t]  # the priors cancel
    assert posterior(x)[0] - posterior(y)[0] == pytest.approx(expected(x) - expected(y), rel=1e-10)
    rises = [(posterior(x + h)[0] - posterior(x - h)[0]) / 2e-5 for h in 1e-5 * np.eye(len(x))]
    np.testing.assert_allclose(posterior(x)[1], rises, rtol=1e-6, atol=1e-5)


def test_blocks_of_one_factor_are_one_factor_of_the_approximation():
    """The same value and derivatives as with a factor for each block, in their order; crossed factors stay apart."""
    formula = ("count ~ x + (x | g) + (1 | h)", "zi ~ 1 + (1 | g)", "shape ~ 1 + (1 | h)")
    model, problem, function = problem_of(formula, "zero_inflated_negbinomial")
    whole = together.together(problem)
    assert len(whole.several.layout.q) == 2 and len(problem.order) == 4
    rng = np.random.default_rng(4)
    x = 0.3 * rng.normal(size=problem.parts[2].stop)
    x[problem.parts[2]] += problem.moved(problem.aux)
    beta, free, logs = (x[part] for part in problem.parts)
    size = sum(len(block.levels) * len(block.columns) for block in model.design.blocks)
    given = problem.response, problem.offset + problem.fixed @ beta, problem.packed(free), problem.auxiliaries(logs)
    one, other = (
        f(*given, np.zeros(size)) for f in (together.laplace_of(problem), partial(joint_laplace, problem.several))
    )
    assert one.ok and function(x)[0] == pytest.approx(-2 * one.value, rel=1e-12)
    assert one.value == pytest.approx(other.value, rel=1e-11)
    for name in ("u", "d_fixed", "d_T", "d_aux"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-7, atol=1e-8)
