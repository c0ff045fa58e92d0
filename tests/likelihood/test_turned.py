"""Levels with a known covariance turned into independent ones: the likelihood against normal densities, written out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import bayesmm as bmm
from bayesmm.design.relations import MOST_TURNED, collapsed, expanded, is_turned
from bayesmm.estimation.reml import maximize_gaussian
from bayesmm.likelihood.marginal import marginal, searched_likelihood
from bayesmm.likelihood.posterior import Parameters
from bayesmm.likelihood.problem import integrate
from bayesmm.likelihood.turned import turn_of
from bayesmm.priors import prior_design

FORMULAS = {
    "alone": ("y ~ x + (1 | gr(g, cov = A))", {}),
    "weights": ("y ~ x + (1 | gr(g, cov = A))", {"weights": "w"}),
    "beside another": ("y ~ x + (1 | gr(g, cov = A)) + (x | h)", {}),
    "beside its own levels": ("y ~ x + (1 | gr(g, cov = A)) + (1 | g2)", {}),
    "slopes": ("y ~ x + (0 + x | gr(g, cov = A)) + (1 | h)", {"weights": "w"}),
    "a level without any": ("y ~ x + (0 + z | gr(g, cov = A))", {}),
    "known errors": ("y | se(w) ~ x + (1 | gr(g, cov = A))", {}),
}

STRUCTURED = {
    "beside cs()": ("y ~ x + (1 | gr(g, cov = A)) + cs(0 + f | h)", {}),
    "beside ar1()": ("y ~ x + ar1(0 + f | h) + (1 | gr(g, cov = A))", {}),
}


def data(seed=1, G=7, n=25):
    rng = np.random.default_rng(seed)
    own = np.concatenate([np.arange(G), rng.integers(G, size=n - G)])
    levels = np.array([f"level {i}" for i in rng.permutation(G)])
    root = rng.normal(size=(G, G + 2))
    frame = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "w": rng.uniform(0.5, 2, n)})
    frame["z"], f = np.where(own == 1, 0.0, rng.normal(size=n)), np.array(list("uvw"))[rng.permutation(n) % 3]
    frame = frame.assign(g=levels[own], g2=levels[own], h=rng.permutation(n) % 4, f=f)
    return frame, pd.DataFrame(root @ root.T / G, levels, levels)


def model_of(name, frame, A):
    formula, options = {**FORMULAS, **STRUCTURED}[name]
    return bmm.Model(formula, frame, matrices={"A": A}, **options)


def dense(model, L, sigma):
    """Return log p(y | L, sigma), the coefficients integrated out, by SciPy; L is a factor for each block."""
    design, priors = model.design, model.priors
    own = prior_design(design, priors)
    sds = [priors[place].parameters["sigma"] for place in ("Intercept_centred", "beta[x]")]
    V = own.X @ np.diag(np.square(sds)) @ own.X.T
    w = 1 / np.square(model.design.frame["w"]) if model.design.residual.parts else design.weights
    V += np.diag(sigma**2 / (np.ones(design.n) if w is None else w))
    for block, factor in zip(own.blocks, L, strict=True):
        K = np.eye(len(block.levels)) if block.relation is None else block.relation.K
        V += K[block.index][:, block.index] * (block.Z @ factor @ factor.T @ block.Z.T)
    mean = own.X @ [priors[place].parameters["mu"] for place in ("Intercept_centred", "beta[x]")]
    return stats.multivariate_normal.logpdf(design.y, mean, V)


@pytest.mark.parametrize("name", FORMULAS)
@given(seed=st.integers(0, 10_000), size=st.floats(0.05, 20), sigma=st.floats(0.1, 3))
@settings(max_examples=8, deadline=None)
def test_value_and_gradient_are_those_of_the_normal_density(name, seed, size, sigma):
    model = model_of(name, *data(seed, 2 + seed % 8))
    sigma = 1.0 if name == "known errors" else sigma
    rng, widths = np.random.default_rng(seed), [len(block.columns) for block in model.design.blocks]
    L = [size * np.tril(rng.uniform(0.2, 1, (q, q))) for q in widths]
    likelihood = searched_likelihood(integrate(model.design, model.priors))
    at = Parameters(np.concatenate([own.ravel() for own in L]), np.array([sigma]), np.zeros(0))
    value, slopes = likelihood(at)
    assert value == pytest.approx(dense(model, L, sigma), abs=1e-9 * max(1, abs(value)))

    if max(widths) == 1:  # central differences, whose error is the square of the step
        step = 1e-4 * size * np.eye(len(L))
        found = [
            (dense(model, [own + s for own, s in zip(L, e, strict=True)], sigma)
             - dense(model, [own - s for own, s in zip(L, e, strict=True)], sigma)) / (2e-4 * size)
            for e in step
        ]  # fmt: skip
        np.testing.assert_allclose(slopes.L, found, rtol=1e-5, atol=1e-5 / size)


def test_an_identity_matrix_is_the_model_of_independent_levels():
    frame, A = data()
    eye = pd.DataFrame(np.eye(len(A)), A.index, A.columns)
    found = model_of("beside another", frame, eye)
    plain = bmm.Model("y ~ x + (1 | g) + (x | h)", frame, priors=dict(found.priors.items()))
    x = np.random.default_rng(2).normal(size=(5, 5))
    one, other = (marginal(m.design, m.priors, integrate(m.design, m.priors)).posterior for m in (found, plain))
    np.testing.assert_allclose(one.many(x), other.many(x), rtol=1e-11)


def test_order_of_rows_and_matrix_and_labels_change_nothing():
    frame, A = data()
    x = np.random.default_rng(3).normal(size=(5, 2))

    def values(frame, A):
        model = model_of("weights", frame, A)
        return marginal(model.design, model.priors, integrate(model.design, model.priors)).posterior.many(x)

    named = {old: f"{i}" for i, old in enumerate(reversed(A.index))}
    renamed = frame.assign(g=frame["g"].map(named)), A.rename(index=named, columns=named)
    for other in ((frame.sample(frac=1, random_state=1), A.sample(frac=1, random_state=2)), renamed):
        np.testing.assert_allclose(values(*other), values(frame, A), rtol=1e-11)


def test_levels_that_are_nearly_one_keep_their_digits():
    """Two levels with a correlation of 1 - 1e-12: an eigenvalue of rounding, which may not become a factor."""
    frame, A = data(G=3)
    A.iloc[:, :] = np.array([[1, 1 - 1e-12, 0.2], [1 - 1e-12, 1, 0.2], [0.2, 0.2, 1]])
    model = model_of("alone", frame, A)
    likelihood = searched_likelihood(integrate(model.design, model.priors))
    value, _ = likelihood(Parameters(np.array([1.5]), np.array([0.7]), np.zeros(0)))
    assert value == pytest.approx(dense(model, [np.array([[1.5]])], 0.7), abs=1e-7)


def test_what_is_turned_and_what_is_not():
    frame, A = data()
    both = {"A": A, "B": pd.DataFrame(np.eye(4), range(4), range(4))}
    turned = {name: model_of(name, frame, A) for name in FORMULAS}
    assert all(is_turned(model.design) for model in turned.values())
    assert all(model.effects() == "marginal" for model in turned.values())
    many = pd.concat([frame] * 40).assign(i=np.arange(1000) // 2, y=np.arange(1000) ** 0.5)
    others = {
        "two matrices": bmm.Model("y ~ x + (1 | gr(g, cov = A)) + (1 | gr(h, cov = B))", frame, matrices=both),
        "residual parameters": bmm.Model(("y ~ x + (1 | gr(g, cov = A))", "sigma ~ x"), frame, matrices={"A": A}),
        "many other levels": bmm.Model("y ~ x + (1 | gr(g, cov = A)) + (1 | i)", many, matrices={"A": A}),
        "counts": bmm.Model("z ~ x + (1 | gr(g, cov = A))", frame.assign(z=1), "poisson", matrices={"A": A}),
    }
    for what, model in others.items():
        assert not is_turned(model.design), what
        assert model.effects() == "explicit", what


@pytest.mark.parametrize("least", [1.0, 1e-17, 0.0])
def test_turned_levels_have_the_covariance_and_no_row_in_common(least):
    """Also where the rows of a level say next to nothing, or nothing, of it."""
    _, A = data()
    N = np.random.default_rng(4).uniform(0.5, 5, len(A))
    N[2] *= least
    turn = turn_of(np.linalg.cholesky(A.to_numpy()), N)
    np.testing.assert_allclose(turn @ turn.T, A, atol=1e-13)
    products = turn.T @ np.diag(N) @ turn
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-11)
    assert MOST_TURNED == 2000  # what the documentation promises


@pytest.mark.parametrize("name", [*FORMULAS, *STRUCTURED])
def test_reml_is_that_of_the_expanded_design(name):
    """Its likelihood has a dense matrix of all levels; scaled weights too, which are another search."""
    frame, A = data(G=8, n=120)
    frame["y"] += frame["h"] + (frame["f"] == "u") * (frame["h"] % 2)
    for scale in (1.0, 1e10):
        design = model_of(name, frame.assign(w=frame["w"] * scale if name == "weights" else frame["w"]), A).design
        found = maximize_gaussian(design)
        other = collapsed(maximize_gaussian(expanded(design)), design, 1e-4)
        assert found.converged
        assert found.criterion == pytest.approx(other.criterion, abs=1e-7)
        sizes = [np.concatenate([own.ravel() for own in point.covariances]) for point in (found, other)]
        np.testing.assert_allclose(*sizes, atol=1e-4 * max(1.0, sizes[1].max()))
        for what in ("sigma", "beta", "loglik"):
            np.testing.assert_allclose(getattr(found, what), getattr(other, what), rtol=1e-4)
        for one, same in zip(found.modes, other.modes, strict=True):
            np.testing.assert_allclose(one, same, atol=1e-3)
        for one, same in zip(found.conditional, other.conditional, strict=True):
            np.testing.assert_allclose(one, same, atol=1e-3)


def test_the_mode_is_that_of_the_normal_density():
    frame, A = data(G=8, n=40)
    model = model_of("weights", frame, A)
    point = model.maximize("MAP")

    def criterion(v):
        priors = sum(np.atleast_1d(model.priors[p].logpdf(x))[0] for p, x in zip(PLACES, v, strict=True))
        return -2 * (dense(model, [np.array([[v[0]]])], v[1]) + priors)

    found = optimize.minimize(criterion, [0.5, 1.0], bounds=[(1e-6, None), (1e-3, None)], tol=1e-12)
    s, sigma = found.x
    np.testing.assert_allclose([np.sqrt(point.covariances[0][0, 0]), point.sigma], found.x, rtol=2e-4)
    assert criterion([np.sqrt(point.covariances[0][0, 0]), point.sigma]) <= found.fun + 1e-6
    block, w = model.design.blocks[0], model.design.weights
    Z = np.eye(len(block.levels))[block.index]
    V = s**2 * Z @ block.relation.K @ Z.T + np.diag(sigma**2 / w)
    r = model.design.y - model.design.X @ point.beta
    np.testing.assert_allclose(
        point.ranef()["condval"], s**2 * block.relation.K @ Z.T @ np.linalg.solve(V, r), atol=2e-3 * s
    )


PLACES = ("sd_g[Intercept]", "sigma")
