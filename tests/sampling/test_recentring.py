"""Effects and the coefficients beside them in other coordinates: a change of variables, checked by differences."""

import numpy as np
import pandas as pd
import pytest
from test_nested_factors import counts, posterior_of

import bayesmm as bmm
from bayesmm.likelihood.compiled import from_python, pointers
from bayesmm.likelihood.recentred import NONE, Smooths, recentred_record, replaced
from bayesmm.likelihood.whitened import Whitened, expansion, whitened_density
from bayesmm.sampling.joint import ready


def crossed(rows=60, seed=2):
    rng = np.random.default_rng(seed)
    a, b, x = np.arange(rows) % 6, np.arange(rows) // 6 % 5, rng.normal(size=rows)
    eta = 1.5 + 0.3 * x + rng.normal(size=6)[a] + rng.normal(size=5)[b] + 0.5 * x * rng.normal(size=6)[a]
    y = rng.poisson(np.exp(eta))
    return pd.DataFrame(
        {"y": y, "x": x, "a": a.astype(str), "b": b.astype(str), "rank": np.digitize(eta, [0, 1, 2]) + 1}
    )


def found(formula, family, data=None, centred=True):
    """Return what is replaced in a model, its flags of centring all given or as the rule has them."""
    model = bmm.Model(formula, crossed() if data is None else data, family)
    flags = (lambda rule: rule()) if centred == "auto" else lambda rule: [centred] * len(model.design.blocks)
    return model, ready(model.design, model.priors, flags, {}).at


SLOPES = np.array([[0.3, -0.5], [0.2, 1.1]])


def columns_of(d, turned):
    """Return a record in which columns of the last 4 coordinates are replaced in every way that there is."""
    scaled = [(0, d - 4, 2, 2, 0.3, 1.0, -0.4), (0, d - 3, 2, 2, 0.6, 0.6, 0.2)]
    shifts = [(0, d - 4, 2, 2, 2, 0, -0.4, 1.7), (0, d - 4, 2, 2, 3, 0, 0.3, -1.0), (1, d - 3, 2, 2, 3, 1, 0.0, 0.5)]
    known, sds = np.array([d - 4, d - 2]), np.array([0, 1])
    smooths = Smooths(known, sds, np.array([0, 1]), np.array([2.0, 0.7]), np.array([3, 2]), SLOPES)
    return recentred_record([scaled[1]], shifts[2:], smooths) if turned else recentred_record(scaled, shifts)


@pytest.fixture(scope="module")
def posterior():
    return posterior_of(bmm.Model("y ~ x + (1 | region / site)", counts(), "poisson"), (True, False))


@pytest.mark.parametrize("turned", [False, True])
def test_the_density_is_that_of_x_with_the_jacobian_and_its_gradient_is_its_own(posterior, turned):
    d, rng, r = posterior.size, np.random.default_rng(1), columns_of(posterior.size, turned)
    centre, factor = 0.2 * rng.normal(size=d), np.tril(0.3 * rng.normal(size=(d, d)))
    at = Whitened(posterior, centre, factor, r)

    def value_at(z):
        gradient, value, x = np.zeros(d), np.zeros(1), np.zeros(d)
        assert from_python(whitened_density(), 5)(d, *pointers(z, gradient, value, at.words)) == 0
        assert from_python(expansion(), 5)(d, d, *pointers(z, x, at.words)) == 0
        return value[0], gradient, x

    z, h = 0.1 * rng.normal(size=d), 1e-5
    value, gradient, x = value_at(z)
    y, D = replaced(x, r)
    np.testing.assert_allclose(y, centre + factor @ z, rtol=1e-12, atol=1e-13)  # there and back
    assert value == pytest.approx(posterior(x)[0] - np.linalg.slogdet(D)[1], rel=1e-12)
    rises = [(replaced(x + h * one, r)[0] - replaced(x - h * one, r)[0]) / (2 * h) for one in np.eye(d)]
    np.testing.assert_allclose(D, np.transpose(rises), atol=1e-8)  # errors of h^2
    slopes = [(value_at(z + h * one)[0] - value_at(z - h * one)[0]) / (2 * h) for one in np.eye(d)]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-5)  # values of about 100, and moving nodes


def test_nothing_is_changed_where_nothing_is_replaced():
    x = np.arange(4.0)
    np.testing.assert_array_equal(replaced(x, NONE)[0], x)


def test_an_intercept_and_a_slope_are_beside_the_effects_of_every_factor_that_has_them():
    _, at = found("y ~ x + (x | a) + (1 | b)", "poisson")
    c, r = at.posterior.coordinates, at.recentred
    intercept, slope = c.at[-(2 + 12 + 5) :][:2]
    assert sorted(r.coefficient) == sorted([intercept, slope, intercept])
    assert list(r.scaled.levels) == [6, 6, 5] and list(r.scaled.step) == [2, 2, 1]


def test_in_units_of_a_correlated_sd_only_the_first_column_is_beside_a_coefficient():
    _, at = found("y ~ x + (x | a)", "poisson", centred=False)
    assert len(at.recentred.power) == 0 and len(at.recentred.coefficient) == 1
    model, at = found("y ~ x + (x || a)", "poisson", centred=False)
    # x is its mean and what it is about that, which the coefficients are of
    assert len(at.recentred.power) == 0
    np.testing.assert_allclose(sorted(at.recentred.share), sorted([1.0, 1.0, model.design.X[:, 1].mean()]), rtol=1e-9)


def test_thresholds_move_with_the_effects_of_a_rank():
    _, at = found("rank ~ x + (1 | a)", "cumulative")
    np.testing.assert_allclose(at.recentred.share, [-1.0], rtol=1e-9)  # of thresholds that ascend the first moves all
    _, at = found("rank ~ x + (1 | a)", "acat")
    np.testing.assert_allclose(at.recentred.share, [-1.0] * 3, rtol=1e-9)


def test_a_parameters_intercept_is_beside_the_effects_of_its_own():
    _, at = found(("y ~ x + (1 | a)", "zi ~ (1 | b)"), "zero_inflated_poisson", centred=True)
    r = at.recentred
    assert list(r.shifting.levels) == [6, 5] and len(set(r.coefficient)) == 2


def test_effects_without_a_coefficient_are_scaled_alone():
    _, at = found("y ~ 0 + x + (1 | a)", "poisson")
    assert len(at.recentred.coefficient) == 0
    np.testing.assert_array_equal(at.recentred.power, at.recentred.power_of_mean)


@pytest.mark.slow
@pytest.mark.parametrize("data", [6, 5])  # whose R-hat or ESS failed with regions in units of their sd
@pytest.mark.parametrize("family", ["poisson", "negbinomial"])
def test_counts_of_few_regions_pass_their_checks_at_the_defaults(data, family):
    counted = counts(238, 6, 5, data)
    fit = bmm.Model("y ~ x + offset(log(effort)) + (1 | region / site)", counted, family).sample(seed=1, progress=False)
    assert all(check.ok for check in fit.checks())
