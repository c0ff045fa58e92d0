"""The density that independent draws are weighted by: the batch against single values, and against PyMC."""

import numpy as np
import pytest
from importance_cases import CASES, case

from bayesmm.likelihood.batch import log_likelihoods
from bayesmm.likelihood.crossproducts import Factor, cross_products
from bayesmm.likelihood.gaussian import FixedPrior, evaluate, log_likelihood
from bayesmm.likelihood.problem import sampled_names
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.unconstrained import log_density, log_jacobian, mode, natural

POINTS = 20


# --- the batch of likelihoods -----------------------------------------------------------------------------------------


def crossed(levels):
    """Return cross-products of two crossed factors, one with a slope, and three fixed columns, with weights."""
    rng = np.random.default_rng(1)
    n = 6 * levels
    factors = [
        Factor(
            rng.permutation(np.arange(n) % (levels + 1)), np.column_stack([np.ones(n), rng.normal(size=n)]), levels + 1
        ),
        Factor(rng.permutation(np.arange(n) % levels), np.ones((n, 1)), levels),
    ]
    return cross_products(factors, rng.normal(size=(n, 3)), rng.normal(size=n), rng.uniform(0.5, 2, n))


def random_values(cp, draws):
    """Return T, sigma, mean of `draws` draws, and sds: of a normal prior, of a value that was drawn, of a flat one."""
    rng = np.random.default_rng(2)
    T = np.concatenate([np.tril(rng.normal(size=(draws, q, q))).reshape(draws, -1) for q in cp.q], axis=1)
    mean = np.column_stack([np.full(draws, 0.2), rng.normal(size=draws), np.zeros(draws)])
    return T, rng.uniform(0.5, 2, draws), mean, np.array([0.9, 0.0, np.inf])


def one_by_one(cp, T, sigma, mean, sd):
    flat = ~np.isfinite(sd)
    out = []
    for t, s, m in zip(T, sigma, mean, strict=True):
        prior = FixedPrior(m, np.where(flat, 1.0, sd / s), np.where(flat, 0.0, 1.0))
        out.append(log_likelihood(cp, evaluate(cp, t, float(s), prior), int(flat.sum())))
    return np.array(out)


@pytest.mark.parametrize("levels", [5, 45])  # a small rest, and one that LAPACK factorises
def test_batch_equals_the_single_evaluations(levels):
    cp = crossed(levels)
    values = random_values(cp, POINTS)
    # the same operations: only the order in which sums are rounded may differ
    np.testing.assert_allclose(log_likelihoods(cp, *values), one_by_one(cp, *values), rtol=1e-11)


@pytest.mark.parametrize("levels", [5, 45])
def test_a_draw_without_a_factorisation_has_density_0_and_leaves_the_others_alone(levels):
    cp = crossed(levels)
    T, *others = random_values(cp, POINTS)
    good = log_likelihoods(cp, T, *others)
    T = T.copy()
    T[3, -1] = np.inf
    found = log_likelihoods(cp, T, *others)
    assert found[3] == -np.inf
    np.testing.assert_array_equal(np.delete(found, 3), np.delete(good, 3))


def test_a_draw_without_a_factor_leaves_the_others_alone():
    cp, (T, *others) = crossed(45), random_values(crossed(45), POINTS)  # 45: through LAPACK
    good, bad = log_likelihoods(cp, T, *others), T.copy()
    bad[3, -1] = np.nan
    found = log_likelihoods(cp, bad, *others)
    assert np.isfinite(good).all()
    assert found[3] == -np.inf
    np.testing.assert_array_equal(np.delete(found, 3), np.delete(good, 3))


# --- the density in the coordinates of the draws ----------------------------------------------------------------------


def around_mode(goal, reml, points=POINTS):
    centre, search = mode(goal, reml)
    return centre + 0.5 * np.random.default_rng(3).normal(size=(points, goal.size)), search


def natural_point(goal, x):
    """Return the free natural parameters at one x: sds, correlations within parts, sigma, coefficients."""
    at, out = natural(goal, x[None]), []
    for shape, sds, C in zip(goal.posterior.shapes, at.draws.sds, at.draws.factors, strict=True):
        R = C[0] @ C[0].T
        out += [*sds[0][goal.free[shape.sds]], *(R[i, j] for i, j in shape.pairs)]
    return np.array([*out, *at.draws.sigma[goal.free[[goal.posterior.log_sigma]]], *at.sampled[0]])


@pytest.mark.parametrize("name", CASES)
def test_jacobian_is_the_determinant_of_the_map(name):
    _, goal, reml = case(name)
    for x in around_mode(goal, reml, 4)[0]:
        h = 1e-5  # central differences: relative error about 1e-10 of each entry
        steps = h * np.eye(goal.size)
        columns = [(natural_point(goal, x + s) - natural_point(goal, x - s)) / (2 * h) for s in steps]
        expected = np.linalg.slogdet(np.array(columns))[1]
        assert log_jacobian(goal, natural(goal, x[None]))[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_search_has_the_same_density_and_its_gradient(name):
    _, goal, reml = case(name)
    points, search = around_mode(goal, reml)
    gaps = [-2 * value - search(x)[0] for value, x in zip(log_density(goal, points), points, strict=True)]
    assert np.ptp(gaps) < 1e-8 * abs(search(points[0])[0])  # rounding of a criterion of about 1,750
    for x in points[:3]:
        h = 1e-5  # rounding 1e-16 * 1750 / h, curvature h^2: both far below the tolerance
        slope = [(search(x + s)[0] - search(x - s)[0]) / (2 * h) for s in h * np.eye(goal.size)]
        np.testing.assert_allclose(search(x)[1], slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_density_is_pymcs_without_either_jacobian(name):
    model, goal, _ = case(name)
    graph = model.graph("marginal")
    with without_compiler():
        logp = graph.compile_logp(jacobian=False, mode=PYTHON)
        names = [name for name in graph.named_vars if name.startswith(("sd_", "corr_", "sigma"))]
        names += list(sampled_names(goal.posterior.integrated).values())
        names = [name for name in names if name in graph.named_vars and not name.endswith("__")]
        values = graph.compile_fn(
            graph.replace_rvs_by_values([graph[name] for name in names]),
            inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore",
        )  # fmt: skip
        start, rng, gaps = graph.initial_point(), np.random.default_rng(4), []
        for _ in range(POINTS):
            point = {key: value + 0.5 * rng.normal(size=np.shape(value)) for key, value in start.items()}
            x = coordinates(goal, dict(zip(names, values(point), strict=True)))
            ours = log_density(goal, x) - log_jacobian(goal, natural(goal, x))
            gaps.append(float(logp(point)) - ours[0] - of_pymcs_measure(goal, x))
    # up to a constant (of LKJ); what is left is rounding in log densities of up to about 1e4 in size
    assert np.ptp(gaps) < 1e-7


def of_pymcs_measure(goal, x):
    """Return log |d ours / d PyMC's|: its variables are Cholesky factors, and a variance where the prior is of it."""
    at, total = natural(goal, x), 0.0
    for shape, sds, C in zip(goal.posterior.shapes, at.draws.sds, at.draws.factors, strict=True):
        for part in shape.block.partition:  # dR / dC = prod c_ii^(q - 1 - i), i from 0, of rows below the first
            total += sum((len(part) - 1 - i) * np.log(C[0, j, j]) for i, j in enumerate(sorted(part)))
        places = [f"sd_{shape.block.name}[{column}]" for column in shape.block.columns]
        total -= sum(
            np.log(2 * s) for s, p in zip(sds[0], places, strict=True) if goal.posterior.priors[p].on == "variance"
        )
    return total


def coordinates(goal, values):
    """Return x, (1, d), of the graph's natural values: logs, and partial correlations by the factor of the matrix."""
    full = goal.fixed.copy()
    values = {name.removesuffix("_centred"): values.get(f"{name}_centred", value) for name, value in values.items()}
    for shape in goal.posterior.shapes:
        full[shape.sds] = np.log(values[f"sd_{shape.block.name}"])
        if shape.pairs:
            C = np.linalg.cholesky(values[f"corr_{shape.block.name}"])
            left = [C[i, j] / np.sqrt(1 - np.square(C[i, :j]).sum()) for i, j in shape.pairs]
            full[shape.corrs] = np.arctanh(left)
    if "sigma" in values:
        full[goal.posterior.log_sigma] = np.log(values["sigma"])
    sampled = sampled_names(goal.posterior.integrated).values()
    full[goal.posterior.log_sigma + 1 :] = [values[name] for name in sampled]
    return full[goal.free][None]
