"""Residuals with parameters, and structured covariances, in compiled code: against the dense normal density."""

from dataclasses import replace
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from residual_density import PRIORS, TERMS, dense, density, moments, parameters_at, residual_covariance, table

import bayesmm as bmm
from bayesmm.design.covariance.structure import factor_of
from bayesmm.design.covariance.structures import STRUCTURES
from bayesmm.design.parameters import residual_labels
from bayesmm.evaluation.integral import without
from bayesmm.likelihood.coordinates import factors, values
from bayesmm.likelihood.marginal import marginal, searched_likelihood
from bayesmm.likelihood.posterior import Parameters
from bayesmm.likelihood.problem import integrate
from bayesmm.likelihood.varying import varies
from bayesmm.likelihood.varying_draws import recover_varying


def slopes(function, at, step=1e-5):
    """Return central differences in every number of Parameters, those of L below its diagonals too."""
    flat, ends = np.concatenate(at), np.cumsum([len(part) for part in at])[:-1]
    steps = step * np.eye(len(flat))
    found = [
        (function(Parameters(*np.split(flat + h, ends))) - function(Parameters(*np.split(flat - h, ends))))
        for h in steps
    ]
    return np.array(found) / (2 * step)


def lower(L, sizes):
    """Return packed factors with zeros above the diagonals."""
    parts = np.split(L, np.cumsum(np.square(sizes))[:-1]) if len(sizes) else [L]
    return np.concatenate(
        [np.empty(0), *(np.tril(own.reshape(q, q)).ravel() for own, q in zip(parts, sizes, strict=False))]
    )


def natural(integrated, rng, size):
    """Return parameters of a model: factors of about `size`, and values inside the bounds of the residual's."""
    design, labels = integrated.problem.design, ["sigma"]
    own = [label for part in design.residual.parameters for label in residual_labels(part)]
    labels = [*labels, *(integrated.structure.own[1:])]
    assert sorted(labels[1:]) == sorted(own)
    bounded = {
        label for part in design.residual.parameters if np.isfinite(part.support[1]) for label in residual_labels(part)
    }
    positive = [rng.uniform(0.5, 1.5)] + [
        rng.uniform(0.05, 0.3) if p in bounded else rng.normal() * 0.4 for p in labels[1:]
    ]
    if design.residual.sigma == "known":
        positive[0] = 1.0
    sizes = [len(block.columns) for block in design.blocks]
    L = lower(size * rng.normal(size=int(np.square(sizes).sum())), sizes)
    coefficients = rng.normal(size=len(integrated.sampled))
    return labels, sizes, Parameters(L, np.array(positive), coefficients)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(TERMS)),
    st.sampled_from(["", "sigma ~ f", "sigma ~ 0 + f", "sigma ~ x", "se", "joint"]),
    st.sampled_from(["", " + (1 | g)", " + (x | g)", " + (1 | g) + (1 | h)", " + (x || g)"]),
    st.sampled_from([0.0, 0.7]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_value_and_gradient_are_those_of_the_dense_density(kind, scale, bars, size, weighted, flat, seed):
    if not kind and scale in ("", "se"):
        scale = "sigma ~ f"  # else nothing of the residual is estimated
    left = {"se": "y | se(se)", "joint": "y | se(se, sigma = TRUE)"}.get(scale, "y")
    formula = f"{left} ~ x{bars}{TERMS[kind]}"
    text = (formula, scale) if "~" in scale else formula
    weights = "w" if weighted and left == "y" else None
    priors = {**PRIORS, "Intercept": bmm.Prior("Flat")} if flat else PRIORS
    if kind == "unstr":  # other priors than the default leave the correlations as they are
        priors = {**priors, "unstr": bmm.Prior("Uniform", lower=-0.99, upper=1.0)}
    model = bmm.Model(text, table(seed), priors=priors, weights=weights)
    integrated = integrate(model.design, model.priors)
    labels, sizes, at = natural(integrated, np.random.default_rng(seed), size)
    value, found = searched_likelihood(integrated)(at)

    def expected(at):
        return dense(integrated, labels, at)

    assert value == pytest.approx(expected(at), rel=1e-9, abs=1e-9)
    theirs = np.split(slopes(expected, at), np.cumsum([len(part) for part in at])[:-1])
    np.testing.assert_allclose(lower(found.L, sizes), lower(theirs[0], sizes), rtol=1e-5, atol=2e-5)
    if model.design.residual.sigma != "known":
        np.testing.assert_allclose(found.positive[0], theirs[1][0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(found.positive[1:], theirs[1][1:], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(found.coefficients, theirs[2], rtol=1e-5, atol=2e-5)


# ----------------------------------------------------------------------------------------------------------------------
# structures of random effects, and any correlation matrix of residuals, as they are sampled


@pytest.mark.parametrize("name", ["cs", "ar1", "toep"])
@pytest.mark.parametrize("q", [1, 2, 3, 5])
def test_kernels_are_the_factors(name, q):
    covariance, rng = STRUCTURES[name], np.random.default_rng(q)
    entries = covariance.entries(q)
    values = np.array([rng.uniform(0.5, 2) if e.kind == "sd" else rng.uniform(-0.2, 0.7) for e in entries])
    L = np.zeros((q, q))
    covariance.kernel(values, L)
    np.testing.assert_allclose(L, factor_of(covariance, list(values), q), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["cs", "ar1", "toep"])
def test_kernels_have_values_where_a_correlation_is_1(name):
    """Compiled code would say on the terminal that it divides by zero; samplers come so far out by rounding."""
    entries = STRUCTURES[name].entries(3)
    values = np.array([0.5 if e.kind == "sd" else 1.0 for e in entries], dtype=complex)
    L = np.zeros((3, 3), dtype=complex)
    numba.njit(error_model="numpy")(STRUCTURES[name].kernel)(values, L)
    np.testing.assert_allclose((L @ L.T).real, np.full((3, 3), 0.25), rtol=1e-12)
    draws = np.zeros((3, 3, 2))
    STRUCTURES[name].kernel(np.stack([values.real] * 2, axis=1), draws)  # and of draws together
    np.testing.assert_allclose(draws[..., 1], L.real, atol=1e-12)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + cs(0 + v | g)",
        "y ~ x + toep(0 + v | g)",
        "y ~ x + (1 | h) + ar1(0 + v | h)",
        ("y ~ x + ar1(0 + v | h) + (x | g) + ar(t, g)", "sigma ~ f"),
        "y ~ x + (1 | h) + (1 | g) + unstr(t, g)",
        "y | se(se, sigma = TRUE) ~ x + cs(0 + f | g) + (1 | h)",
    ],
)
def test_the_posterior_and_its_gradient_are_those_of_the_dense_density(formula):
    """What is sampled becomes the matrices that `structure` says, and these the density."""
    model = bmm.Model(formula, table(3, groups=9), priors=PRIORS)
    found = marginal(model.design, model.priors, integrate(model.design, model.priors))
    integrated, c, posterior = found.integrated, found.posterior.coordinates, found.posterior
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = 0.5 * rng.normal(size=posterior.size)
        value, gradient = posterior(x)
        steps = [1e-5 * e for e in np.eye(len(x))]
        np.testing.assert_allclose(
            gradient, [(posterior(x + h)[0] - posterior(x - h)[0]) / 2e-5 for h in steps], rtol=1e-6, atol=1e-6
        )
        at = parameters_at(found, x)
        prior = log_density_of_priors(found, model.priors, values(c, x[None])[0], x)
        assert value - prior == pytest.approx(dense(integrated, found.structure.own, at), rel=1e-9)


def log_density_of_priors(found, priors, scalars, x):
    """Return the log prior with the Jacobian, by SciPy's densities and differences; LKJ(1) of three rows is uniform."""
    c, total = found.posterior.coordinates, 0.0
    own = found.structure.priors(priors)
    for i, place in enumerate(found.places):
        if own[place].distribution != "Fixed":
            h = np.zeros(len(x))
            h[c.at[i]] = 1e-6
            rate = (values(c, (x + h)[None])[0, i] - values(c, (x - h)[None])[0, i]) / 2e-6
            total += own[place].logpdf(scalars[i]) + np.log(rate)
    return total + log_density_of_matrices(c, found, own, x)


def log_density_of_matrices(c, found, priors, x):
    """Return the log density of the correlation matrices, LKJ, in the arc tangents of the partial correlations."""
    total, first = 0.0, 0
    for block, pairs in zip(found.blocks, c.n_pairs, strict=True):
        places = c.pair_at[first : first + pairs]
        first += pairs
        if not pairs:
            continue
        k = [b is block for b in found.blocks].index(True)

        def correlations(x, k=k):
            C = factors(c, x[None])[k][0]
            return (C @ C.T)[np.triu_indices(len(C), 1)]

        steps = [1e-6 * np.eye(len(x))[place] for place in places]
        J = np.array([(correlations(x + h) - correlations(x - h)) / 2e-6 for h in steps])
        C = factors(c, x[None])[k][0]
        total += priors[block.names.corr].logpdf(C @ C.T) + np.linalg.slogdet(J)[1]
    return total


# ----------------------------------------------------------------------------------------------------------------------
# what is made of it


def test_draws_of_effects_have_the_moments_of_the_dense_conditional():
    model = bmm.Model(("y ~ x + (x | g) + (1 | h) + ar(t, g)", "sigma ~ f"), table(8))
    integrated = integrate(model.design, model.priors)
    problem, design, draws = integrated.problem, integrated.problem.design, 20_000
    rng = np.random.default_rng(1)
    labels, sizes, at = natural(integrated, rng, 0.8)
    parts = [own.reshape(q, q) for own, q in zip(np.split(at.L, [4]), sizes, strict=True)]
    T = np.concatenate([(problem.scales[k][:, None] * parts[k] / at.positive[0]).ravel() for k in problem.cp.order])
    tiled = [np.tile(a, (draws, 1)) for a in (at.positive, T, np.zeros(2))]
    given = tiled[1], np.full(draws, at.positive[0]), tiled[2], integrated.sd
    found = recover_varying(problem.cp, integrated.varying, tiled[0], *given, rng=rng, keep_effects=True)
    columns, priors = [problem.fixed], [np.diag(integrated.sd**2)]
    ours = [found.fixed]
    for effects, k in zip(found.effects, problem.cp.order, strict=True):
        block = design.blocks[k]
        one_hot = np.eye(len(block.levels))[block.index]
        columns.append((one_hot[:, :, None] * block.Z[:, None, :]).reshape(design.n, -1))
        priors.append(np.kron(np.eye(len(block.levels)), parts[k] @ parts[k].T))
        ours.append((effects / problem.scales[k]).reshape(draws, -1))
    A, ours = np.hstack(columns), np.hstack(ours)
    P = np.zeros((A.shape[1],) * 2)
    for own, end in zip(priors, np.cumsum([len(own) for own in priors]), strict=True):
        P[end - len(own) : end, end - len(own) : end] = own
    gain = P @ A.T @ np.linalg.inv(A @ P @ A.T + residual_covariance(design, at.positive, labels))
    mean, covariance = gain @ problem.response, P - gain @ A @ P
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(ours.mean(axis=0) - mean), 5 * sd / np.sqrt(draws))
    error = 5 * np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / draws)  # of a covariance of normal draws
    np.testing.assert_array_less(np.abs(np.cov(ours.T) - covariance), error)


@pytest.mark.parametrize("kind", ["ar", "car", "cosy", "unstr"])
def test_without_some_rows_it_is_the_posterior_of_the_others(kind):
    """Rows within a series, and a level of a factor: the density of the others is that of a part of V."""
    model = bmm.Model((f"y ~ x + (1 | g){TERMS[kind]}", "sigma ~ f"), table(4, groups=8), priors=PRIORS)
    found = marginal(model.design, model.priors, integrate(model.design, model.priors))
    fit, index = SimpleNamespace(design=model.design, model=model), model.design.blocks[0].index
    x = 0.3 * np.random.default_rng(1).normal(size=found.posterior.size)
    r, V, X = moments(found.integrated, found.integrated.structure.own, parameters_at(found, x))
    for kept in (index != 1, np.arange(model.design.n) % 5 != 0):
        difference = found.posterior(x)[0] - without(fit, found, kept)(x)[0]
        theirs = density(r, V, X) - density(r[kept], V[np.ix_(kept, kept)], X[kept])
        assert difference == pytest.approx(theirs, rel=1e-9)


def test_series_that_no_factor_holds_are_for_the_explicit_graph():
    frame = table(1)
    assert varies(bmm.Model("y ~ x + (1 | g) + ar(t, g)", frame).design)
    crossed = bmm.Model("y ~ x + (1 | h) + ar(t, g)", frame)
    assert not varies(crossed.design) and crossed.effects() == "explicit"
    assert not varies(bmm.Model("y ~ x + (1 | g)", frame).design)


def twice(library, rows, values):
    return 2 * library.exp(values["log_sigma"] @ rows.T)


def test_a_kernel_that_does_not_say_what_its_structure_says_is_not_used():
    design = bmm.Model(("y ~ x + (1 | g)", "sigma ~ f"), table(1)).design
    (part,) = design.residual.parts
    other = replace(part, structure=replace(part.structure, relative_sd=twice))
    assert varies(design)
    assert not varies(replace(design, residual=replace(design.residual, parts=(other,))))
