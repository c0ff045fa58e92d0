"""The one log posterior: on the natural scales, where the mode is sought, and in the coordinates of the samplers."""

import numpy as np
import pandas as pd
import pytest
from importance_cases import CASES, SLEEP, case, sleep_data
from scipy import stats

import bayesmm as bmm
from bayesmm.estimation.map import gaussian_goal, gaussian_start
from bayesmm.estimation.maximize import maximize
from bayesmm.likelihood.coordinates import FIXED, LOG, factors, values
from bayesmm.likelihood.marginal import marginal
from bayesmm.likelihood.posterior import PART
from bayesmm.likelihood.problem import integrate
from bayesmm.sampling.marginal import units
from bayesmm.sampling.mode import find_mode

POINTS = 8
BOUNDS = {
    "sd": bmm.Prior("Uniform", lower=0, upper=60),
    "sigma": bmm.Prior("Uniform", lower=400, upper=900, on="variance"),
    "beta[Days]": bmm.Prior("Uniform", lower=0, upper=30),
}


def own_case(name):
    if name != "bounds":
        return case(name)
    model = bmm.Model(SLEEP, sleep_data(), priors=BOUNDS)
    return model, marginal(model.design, model.priors, integrate(model.design, model.priors)), maximize(model.design)


def both(name):
    """Return the posterior of the samplers, what is minimised, and points around the mode in both coordinates."""
    model, own, reml = own_case(name)
    goal = gaussian_goal(own.integrated, model.priors, reml)
    start = gaussian_start(own.posterior.coordinates, own.places, own.integrated, model.priors, reml, False)
    centre = find_mode(own.posterior, start, units(own, model.priors)).x
    x = centre + 0.5 * np.random.default_rng(3).normal(size=(POINTS, len(centre)))
    return own, goal.posterior, x, on_natural_scales(own, goal.posterior, x)


def on_natural_scales(own, searched, x):
    c, other, out = own.posterior.coordinates, searched.coordinates, x.copy()
    for i, value in enumerate(values(c, x).T):
        if c.kind[i] != FIXED:
            out[:, other.at[i]] = np.log(value) if own.places[i] == "sigma" else value
    return out


def natural_point(own, x):
    """Return the free natural parameters at one x: scalars and correlations within parts."""
    c, pair = own.posterior.coordinates, 0
    out = list(values(c, x[None])[0][c.kind != FIXED])
    for C, pairs in zip(factors(c, x[None]), c.n_pairs, strict=True):
        rows, columns = c.row[pair : pair + pairs], c.column[pair : pair + pairs]
        out += [(C[0] @ C[0].T)[i, j] for i, j in zip(rows, columns, strict=True)]
        pair += pairs
    return np.array(out)


@pytest.mark.parametrize("name", [*CASES, "bounds"])
def test_the_two_differ_by_the_determinant_of_the_map(name):
    own, searched, x, y = both(name)
    constant = (own.posterior.coordinates.constant - searched.coordinates.constant)[0]  # of the LKJ priors
    h = 1e-5  # central differences: relative error about 1e-10 of each entry
    for one, other in zip(x, y, strict=True):
        steps = h * np.eye(len(one))
        columns = [(natural_point(own, one + s) - natural_point(own, one - s)) / (2 * h) for s in steps]
        jacobian = np.linalg.slogdet(np.array(columns))[1]
        value = searched(other)[0]
        assert np.isfinite(value)
        assert own.posterior(one)[0] - value == pytest.approx(jacobian + constant, abs=1e-6)


@pytest.mark.parametrize("name", [*CASES, "bounds"])
def test_the_gradient_on_the_natural_scales(name):
    _, searched, _, y = both(name)
    for point in (y[0], y[1], np.where(np.arange(y.shape[1]) == 0, -y[2], y[2])):  # the first sd below 0, if there is
        if not np.isfinite(searched(point)[0]):
            continue
        h = 1e-5 * np.maximum(1.0, np.abs(point))  # rounding 1e-16 * 1750 / h, curvature h^2
        steps = np.diag(h)
        slope = [(searched(point + s)[0] - searched(point - s)[0]) / (2 * h[i]) for i, s in enumerate(steps)]
        np.testing.assert_allclose(searched(point)[1], slope, rtol=1e-5, atol=1e-5)


def test_the_sign_of_a_standard_deviation_means_nothing_and_0_has_a_density():
    _, searched, _, y = both("three coefficients")
    c, point = searched.coordinates, y[0]
    sds = c.at[:3]
    other = point.copy()
    other[sds] *= -1
    assert searched(other)[0] == searched(point)[0]
    np.testing.assert_array_equal(searched(other)[1][sds], -searched(point)[1][sds])
    other[sds[2]] = 0.0
    assert np.isfinite(searched(other)[0])


def test_no_density_outside_the_support_of_a_prior():
    own, searched, _, y = both("bounds")
    at, point = searched.coordinates.at, y[0]
    for i, value in ((0, 61.0), (0, -61.0), (2, np.log(19.0)), (2, np.log(31.0)), (3, -1.0), (3, 31.0)):
        other = point.copy()
        other[at[i]] = value
        assert searched(other)[0] == -np.inf
        assert not searched(other)[1].any()
    assert own.places[2:] == ("sigma", "beta[Days]")


def test_a_start_is_inside_every_support_and_the_same_point_in_both():
    model, own, reml = own_case("bounds")
    searched = gaussian_goal(own.integrated, model.priors, reml).posterior
    for moved in (False, True):
        one, other = (
            gaussian_start(c, own.places, own.integrated, model.priors, reml, moved)
            for c in (own.posterior.coordinates, searched.coordinates)
        )
        np.testing.assert_allclose(on_natural_scales(own, searched, one[None])[0], other, rtol=1e-9)
        assert np.isfinite(searched(other)[0])


# --- precision, where cross-products have no digits left --------------------------------------------------------------

LEVELS, ROWS = 12, 5


def nearly_exact(within):
    """Return balanced groups whose rows differ by about `within`."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(LEVELS), ROWS)
    y = rng.normal(size=LEVELS)[g] + within * rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "g": [f"g{i:02}" for i in g]})


def closed_form(data, tau, sigma, prior):
    """Return log p(y | tau, sigma) of balanced groups, the mean with a normal prior integrated out.

    The covariance has the eigenvalues sigma^2 within groups, sigma^2 + J tau^2 between, and n s0^2 more for the mean.
    """
    y = data["y"].to_numpy().reshape(LEVELS, ROWS)
    means, n = y.mean(axis=1), y.size
    between = sigma**2 + ROWS * tau**2
    squares = [((y - means[:, None]) ** 2).sum(), ROWS * ((means - y.mean()) ** 2).sum()]
    squares += [n * (y.mean() - prior["mu"]) ** 2]
    sizes = [sigma**2, between, between + n * prior["sigma"] ** 2]
    freedom = [n - LEVELS, LEVELS - 1, 1]
    terms = (f * np.log(2 * np.pi * s) + q / s for f, s, q in zip(freedom, sizes, squares, strict=True))
    return -0.5 * sum(terms)


@pytest.mark.parametrize("within", [1.0, 1e-7])
def test_the_density_of_a_tiny_residual_is_right_to_the_last_digits(within):
    data = nearly_exact(within)
    sds, prior = bmm.Prior("HalfNormal", sigma=2), {"mu": 0.5, "sigma": 3.0}
    priors = {"sd": sds, "sigma": sds, "Intercept": bmm.Prior("Normal", **prior)}
    model = bmm.Model("y ~ 1 + (1 | g)", data, priors=priors)
    searched = gaussian_goal(integrate(model.design, model.priors), model.priors, model.maximize()).posterior
    tau, sigma = 0.9, 1.1 * within
    expected = closed_form(data, tau, sigma, prior) + sum(stats.halfnorm(scale=2).logpdf([tau, sigma]))
    # of about 1e3 in size; the rows keep 1e-16 / 1e-7 of the squares, cross-products 1e-16 / 1e-14
    assert searched(np.array([tau, np.log(sigma)]))[0] == pytest.approx(expected, abs=1e-5)


# --- many points ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 3 * PART + 1])
def test_many_points_are_those_one_by_one_whatever_the_threads(rows):
    _, own, _ = case("three coefficients")
    x = np.random.default_rng(1).normal(size=(rows, own.posterior.size))
    found = own.posterior.many(x)
    np.testing.assert_array_equal(found, np.concatenate([own.posterior.many(row[None]) for row in x]))
    assert own.posterior.many(x[:0]).shape == (0,)


def test_a_point_without_density_leaves_the_others_alone():
    """With 45 levels in the rest, which LAPACK factorises."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame(
        {"y": rng.normal(size=270), "g": np.arange(270) % 46, "h": rng.permutation(np.arange(270) % 45)}
    )
    model = bmm.Model("y ~ 1 + (1 | g) + (1 | h)", data.astype({"g": str, "h": str}))
    own = marginal(model.design, model.priors, model._integrated)
    x = rng.normal(size=(20, 3))
    good, bad = own.posterior.many(x), x.copy()
    bad[3], bad[7] = np.nan, 800.0
    found = own.posterior.many(bad)
    assert own.posterior.coordinates.kind.tolist() == [LOG] * 3
    assert np.isfinite(good).all() and found[3] == found[7] == -np.inf
    np.testing.assert_array_equal(np.delete(found, [3, 7]), np.delete(good, [3, 7]))
