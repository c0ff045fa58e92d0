"""The joint density of parameters and random effects, against SciPy's densities; its metric, and its draws."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import bayesmm as bmm
from bayesmm.likelihood.coordinates import factors, values
from bayesmm.likelihood.recentred import replaced
from bayesmm.priors import prior_design
from bayesmm.sampling.joint import covariance_factor, effects_of, joint_posterior, ready, spherical_where

N, G, H = 60, 5, 4
FORMULA = "{} ~ x + (x | g) + (1 | h)"


def data():
    """Return rows of which some are equal, so that those of canonical links are merged."""
    rng = np.random.default_rng(3)
    x = np.tile(rng.normal(size=N // 4).round(1), 4)
    g, h = np.tile(np.arange(N // 4) % G, 4), np.tile(np.arange(N // 4) % H, 4)
    return pd.DataFrame({
        "x": x, "g": g, "h": h, "yes": rng.integers(0, 2, N), "count": rng.poisson(np.exp(0.3 * x)),
        "size": rng.gamma(2, 1, N), "n": rng.integers(3, 9, N), "w": rng.integers(1, 4, N), "o": 0.1 * x,
    }).assign(k=lambda d: rng.binomial(d["n"], 0.4))  # fmt: skip


DENSITIES = {
    "bernoulli": lambda d, eta, aux: stats.bernoulli.logpmf(d["yes"], special.expit(eta)),
    "binomial": lambda d, eta, aux: stats.binom.logpmf(d["k"], d["n"], special.expit(eta)),
    "poisson": lambda d, eta, aux: stats.poisson.logpmf(d["count"], np.exp(eta)),
    "gamma": lambda d, eta, aux: stats.gamma.logpdf(d["size"], aux[0], scale=np.exp(eta) / aux[0]),
}
CASES = [
    ("yes", "bernoulli", {}), ("yes", "bernoulli", {"weights": "w"}), ("k", "binomial", {"trials": "n"}),
    ("count", "poisson", {}), ("size", "gamma", {"link": "log"}),
]  # fmt: skip


def expected(model, own, c, x, centred):
    """Return the joint log density at x from SciPy's, log priors and log Jacobian by `values` and `factors`."""
    scalars, t = values(c, x[None])[0], len(x) - 2 * G - H
    sds, C, table = scalars[:3], factors(c, x[None]), data()
    auxiliaries = len(model.family.auxiliaries)
    gamma = scalars[3 + auxiliaries : 5 + auxiliaries]
    eta, total, at = own.X @ gamma + own.offset, 0.0, t
    for block, L, flag in zip(own.blocks, (sds[:2, None] * C[0][0], sds[2:, None] * C[1][0]), centred, strict=True):
        q = len(L)
        e = x[at : at + len(block.levels) * q].reshape(-1, q)
        at += e.size
        # e = A z with z = L^-1 b: rows of L of centred columns, of the identity of the others
        A = np.where(np.broadcast_to(flag, q)[:, None], L, np.eye(q))
        total += stats.multivariate_normal(np.zeros(q), A @ A.T).logpdf(e).sum()
        eta = eta + (block.Z * np.linalg.solve(A, e.T).T.dot(L.T)[block.index]).sum(axis=1)
    weights = 1 if model.design.weights is None else model.design.weights
    return total + (weights * DENSITIES[model.family.name](table, eta, scalars[3:])).sum()


@pytest.mark.parametrize(
    "centred", [(False, False), (True, True), (True, False), ((True, False), True), ((False, True), False)]
)
@pytest.mark.parametrize(("response", "family", "further"), CASES)
def test_the_joint_density_is_that_of_rows_and_effects_and_its_gradient_is_its_own(response, family, further, centred):
    model = bmm.Model(FORMULA.format(response) + " + offset(o)", data(), family, **further)
    own = prior_design(model.design, model.priors)
    posterior = joint_posterior(model.design, own, model.priors, centred)
    c, rng = posterior.coordinates, np.random.default_rng(1)
    x, y = 0.4 * rng.normal(size=(2, posterior.size))
    y[: posterior.size - 2 * G - H] = x[: posterior.size - 2 * G - H]  # the priors cancel
    difference = expected(model, own, c, x, centred) - expected(model, own, c, y, centred)
    assert posterior(x)[0] - posterior(y)[0] == pytest.approx(difference, rel=1e-10, abs=1e-9)
    value, slope = posterior(x)
    steps = 1e-5 * np.eye(len(x))
    rises = [(posterior(x + h)[0] - posterior(x - h)[0]) / 2e-5 for h in steps]
    np.testing.assert_allclose(slope, rises, rtol=1e-6, atol=1e-6)  # central differences of values of about 100
    assert posterior.many(x[None])[0] == pytest.approx(value, rel=1e-13)


def test_both_parameterisations_differ_by_the_jacobian_of_the_effects():
    model = bmm.Model(FORMULA.format("count"), data(), "poisson")
    own = prior_design(model.design, model.priors)
    flat, spherical = (joint_posterior(model.design, own, model.priors, (flag, flag)) for flag in (True, False))
    x = 0.3 * np.random.default_rng(2).normal(size=flat.size)
    sds, C = values(flat.coordinates, x[None])[0], factors(flat.coordinates, x[None])
    L, M, t = sds[:2, None] * C[0][0], sds[2], flat.size - 2 * G - H
    b = x.copy()
    b[t : t + 2 * G] = (x[t : t + 2 * G].reshape(G, 2) @ L.T).ravel()
    b[t + 2 * G :] *= M
    jacobian = G * np.log(np.diag(L)).sum() + H * np.log(M)
    assert flat(b)[0] + jacobian == pytest.approx(spherical(x)[0], rel=1e-12)


@pytest.mark.parametrize("centred", [(True, False), (False, True), (True, True), (False, False)])
def test_effects_of_draws_are_those_of_their_coordinates(centred):
    rng = np.random.default_rng(6)
    L = np.tril(rng.normal(size=(5, 2, 2))) + 2 * np.eye(2)
    z = rng.normal(size=(5, 3, 2))
    b = np.einsum("nab,ngb->nga", L, z)
    e = np.where(centred, b, z)
    np.testing.assert_allclose(effects_of(e, L, centred), b, rtol=1e-12)
    np.testing.assert_allclose(spherical_where([L[0]], [b[0]], [centred]), e[0].ravel(), rtol=1e-12)


def test_a_centred_block_without_variance_has_no_density():
    model = bmm.Model("count ~ 1 + (1 | g)", data(), "poisson")
    own = prior_design(model.design, model.priors)
    x = np.zeros(2 + G)
    x[0] = -1000.0  # an sd of 0 to a computer
    assert joint_posterior(model.design, own, model.priors, [True])(x)[0] == -np.inf
    assert np.isfinite(joint_posterior(model.design, own, model.priors, [False])(x)[0])


@pytest.mark.parametrize("flag", [True, False])
def test_the_metric_is_the_covariance_of_the_effects_at_their_mode(flag):
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"g": np.repeat(np.arange(6), 30), "h": np.tile(np.arange(5), 36)})
    table["y"] = rng.poisson(np.exp(0.6 * rng.normal(size=6)[table["g"]] + 0.5 * rng.normal(size=5)[table["h"]] + 1))
    model = bmm.Model("y ~ 1 + (1 | g) + (1 | h)", table, "poisson")
    found = ready(model.design, model.priors, lambda rule: [flag, flag], {})
    x, posterior = found.middle, found.model.posterior
    assert np.abs(posterior(x)[1][3:]).max() < 1e-3  # a stationary point of the effects
    h = 1e-4 * np.eye(len(x))[3:]
    H = np.array([(posterior(x + step)[1] - posterior(x - step)[1])[3:] / 2e-4 for step in h])
    y, D = replaced(x, found.at.recentred)  # what is whitened
    np.testing.assert_allclose(found.at.centre, y, rtol=1e-14, atol=1e-14)
    root = np.linalg.solve(D, found.at.factor)
    cov = root @ root.T
    given = np.linalg.inv(np.linalg.inv(cov)[3:, 3:])  # of the effects, given the parameters
    np.testing.assert_allclose(given, np.linalg.inv(-H), rtol=1e-4, atol=1e-7)
    # where the parameters move the effects move along their mode
    step = 1e-3 * np.linalg.cholesky(cov[:3, :3])[:, 0]
    moved = x + np.concatenate([step, cov[3:, :3] @ np.linalg.solve(cov[:3, :3], step)])
    assert np.abs(np.linalg.cholesky(given).T @ posterior(moved)[1][3:]).max() < 1e-4


@pytest.mark.slow
def test_draws_are_those_with_the_effects_integrated_out():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(30), 8)
    x = rng.normal(size=240)
    y = rng.random(240) < special.expit(0.5 * x + rng.normal(size=30)[g])
    model = bmm.Model("y ~ x + (1 | g)", pd.DataFrame({"y": y.astype(int), "x": x, "g": g}), "bernoulli")
    own = dict(draws=2000, seed=1, progress=False)
    one, other = (model.sample(effects=effects, **own).summary() for effects in ("explicit", "marginal"))
    assert min(one["ess_bulk"].min(), other["ess_bulk"].min()) > 1000
    error = np.hypot(one["sd"] / np.sqrt(one["ess_bulk"]), other["sd"] / np.sqrt(other["ess_bulk"]))
    assert (np.abs(one["mean"] - other["mean"]) < 5 * error).all()
    assert np.allclose(one["sd"], other["sd"], rtol=0.12)  # 5 errors of an sd of 2,000 draws


def test_an_indefinite_curvature_still_has_a_metric():
    definite = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(covariance_factor(definite), np.linalg.cholesky(np.linalg.inv(definite)), rtol=1e-12)
    factor = covariance_factor(np.array([[1.0, 3.0], [3.0, 1.0]]))  # eigenvalues 4 and -2
    assert np.isfinite(factor).all() and (np.diag(factor) > 0).all()
