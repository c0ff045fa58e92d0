"""The mode of a posterior and its shape there, and the density in units of both."""

import json

import numpy as np
import pytest
from importance_cases import case

import bayesmm as bmm
from bayesmm.likelihood.compiled import from_python, pointers
from bayesmm.likelihood.whitened import Whitened, expansion, whitened_density
from bayesmm.sampling.marginal import centre, units
from bayesmm.sampling.mode import Mode, coarse, find_mode, find_modes

MEAN, SCALE = np.array([3.0, -200.0, 1e-3]), np.array([1.0, 1e3, 1e-4])
ROOT = SCALE[:, None] * np.array([[1.0, 0, 0], [0.9, 0.4, 0], [-0.5, 0.5, 0.7]])  # correlations up to 0.9


def normal(x):
    """Return the log density of a normal distribution, without its constant, and the gradient."""
    inverse = np.linalg.inv(ROOT @ ROOT.T)
    return -0.5 * (x - MEAN) @ inverse @ (x - MEAN), -inverse @ (x - MEAN)


def two_modes(x):
    """Return a mixture of N(-6, 1) and, with a tenth of the mass, N(6, 0.5)."""
    one, other = -0.5 * (x + 6) ** 2, -0.5 * ((x - 6) / 0.5) ** 2 + np.log(0.1 / 0.5)
    value = np.logaddexp(one, other)
    return float(value[0]), -np.exp(one - value) * (x + 6) - np.exp(other - value) * (x - 6) / 0.25


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e4])
def test_the_mode_and_shape_of_a_normal_density_of_any_units(size):
    found = find_mode(normal, MEAN + ROOT @ [5.0, -3.0, 4.0], size * SCALE)
    assert np.abs(np.linalg.solve(ROOT, found.x - MEAN)).max() < 0.01
    # exactly normal: what is left is the rounding of differences of 1e-6 sds, at the smallest of the units
    np.testing.assert_allclose(np.linalg.solve(ROOT, found.factor), np.eye(3), atol=1e-4)
    assert found.value == pytest.approx(0, abs=1e-4)
    assert found.distance(found.x + ROOT[:, 0]) == pytest.approx(1, rel=1e-3)


def test_each_mode_is_found_once_the_highest_first():
    found = find_modes(two_modes, [np.array([at]) for at in (5.0, -3.0, -9.0, 8.0)], np.ones(1))
    assert [mode.x[0] for mode in found] == pytest.approx([-6, 6], abs=0.01)
    assert [mode.factor[0, 0] for mode in found] == pytest.approx([1, 0.5], rel=1e-3)


def test_no_mode_is_found_from_where_the_density_is_0():
    assert find_mode(lambda x: (-np.inf, 0 * x), np.zeros(2), np.ones(2)) is None
    assert find_modes(lambda x: (-np.inf, 0 * x), [np.zeros(2)], np.ones(2)) == ()


@pytest.mark.parametrize("name", ["correlated", "three coefficients", "sampled coefficient"])
def test_the_mode_of_a_model_is_a_stationary_point_whatever_the_start(name):
    model, own, _ = case(name)
    middle = centre(own, model.priors)
    found = [find_mode(own.posterior, start, units(own, model.priors)) for start in (middle, middle + 1.0)]
    for mode in found:
        assert np.abs(mode.factor.T @ own.posterior(mode.x)[1]).max() < 0.01
    assert found[0].distance(found[1].x) < 0.03  # a hundredth of an sd each from the mode, in up to 8 directions


def test_the_whitened_density_is_that_of_x_and_what_is_stored_is_x():
    _, own, _ = case("three coefficients")
    d, rng = own.posterior.size, np.random.default_rng(1)
    centre_, factor = 0.1 * rng.normal(size=d), np.tril(rng.normal(size=(d, d)))
    at = Whitened(own.posterior, centre_, factor)
    z, gradient, value, stored = 0.1 * rng.normal(size=d), np.zeros(d), np.zeros(1), np.zeros(d)
    x = centre_ + factor @ z
    assert from_python(whitened_density(), 5)(d, *pointers(z, gradient, value, at.words)) == 0
    expected, slope = own.posterior(x)
    assert value[0] == pytest.approx(expected, rel=1e-13)  # x itself is rounded
    np.testing.assert_allclose(gradient, factor.T @ slope, rtol=1e-9, atol=1e-9 * np.abs(slope).max())
    assert from_python(expansion(), 5)(d, d, *pointers(z, stored, at.words)) == 0
    np.testing.assert_allclose(stored, x, rtol=1e-14, atol=1e-15)
    assert from_python(whitened_density(), 5)(d + 1, *pointers(z, gradient, value, at.words)) != 0


@pytest.mark.filterwarnings("ignore:chains=1")
@pytest.mark.parametrize(
    ("own", "expected"), [({}, 200), ({"effects": "explicit"}, 200), ({"effects": "explicit", "sampler": "pymc"}, 1000)]
)
def test_how_long_a_sampler_tunes_if_nobody_says(own, expected):
    model, *_ = case("no random effects")
    fit = model.sample(20, chains=1, seed=1, progress=False, **own)
    assert json.loads(fit.tree.attrs["bayesmm"])["tune"] == expected


def test_coordinates_of_the_sampler_do_not_depend_on_last_digits():
    """Chains of the same data by other sums begin alike: a difference of 1e-12 in their metric is none."""
    rng = np.random.default_rng(4)
    factor = np.linalg.cholesky(np.cov(rng.normal(size=(4, 30)) * [[1e-3], [1.0], [50.0], [1e6]]))
    mode = Mode(np.array([0.123, -4.56, 789.0, 3.2e7]), factor, 0.0)
    moved = Mode(mode.x * (1 + 1e-13), factor * (1 + 1e-13), 0.0)
    x, own = coarse(mode)
    for one, other in zip((x, own), coarse(moved), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(np.linalg.solve(factor, x - mode.x)).max() < 1e-4  # sds
    np.testing.assert_allclose(np.linalg.solve(factor, own), np.eye(4), atol=1e-4)


@pytest.mark.parametrize("s", [1.0, 1e-2, 1e-4, 1e-5])
def test_chains_are_short_also_where_the_search_for_the_mode_comes_from_afar(s):
    """Where beta is wrong sigma seems large and the Hessian is indefinite; in its metric differences are none."""
    rng, g = np.random.default_rng(1), np.arange(160) % 8
    x, e = rng.normal(size=(2, 160))
    model = bmm.Model("y ~ x + (1 | g)", {"y": 2 * x + rng.normal(size=8)[g] + s * e, "x": x, "g": g})
    fit = model.sample(300, chains=2, effects="explicit", seed=3, progress=False)
    assert fit.tree["sample_stats"]["n_steps"].mean() < 10  # 200 to 400 in such a metric
    assert fit.summary()["ess_bulk"].min() > 400
