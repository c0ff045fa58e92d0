"""Means of responses over normal effects, beside closed forms: E mu^k = exp(k eta + k^2 s^2 / 2) with a log link."""

import numpy as np
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.evaluation.variance.averages import averages
from bayesmm.families.families import get_family
from bayesmm.posterior.means import mean_of, slope_of

ETA = np.array([[0.3, -1.0]])


def aux(family):
    """Return parameters of a family, (1, 1) each."""
    return tuple(np.full((1, 1), value) for value in (0.4, 1.5)[: len(family.parameters)])


@pytest.mark.parametrize("spread", [0.5, 3.0, 6.0])
@pytest.mark.parametrize("name", ["poisson", "tweedie", "inverse_gaussian", "zero_inflated_poisson"])
def test_of_families_whose_mean_is_a_multiple_of_mu(name, spread):
    family = get_family(name)
    exact = np.exp(ETA + spread**2 / 2) * (0.6 if name.startswith("zero") else 1.0)  # zi is 0.4
    around = np.full(ETA.shape, spread)
    np.testing.assert_allclose(mean_of(family, ETA, aux(family), around), exact, rtol=1e-12)
    np.testing.assert_allclose(slope_of(family, ETA, aux(family), around), exact, rtol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_of_counts_above_zero(spread):
    """By a rule of 400,001 nodes: 1e-10 is what the trapezoidal rule leaves of a function that is analytic about 0."""
    family, z = get_family("truncated_poisson"), np.linspace(-12, 12 + spread, 400_001)
    mu = np.exp(0.3 + spread * z)
    exact = np.trapezoid(mu / -np.expm1(-mu) * stats.norm.pdf(z), z)
    found = mean_of(family, np.array([0.3]), (), np.array([spread]))[0]
    assert found == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize("spread", [1.0, 3.0, 6.0])
@pytest.mark.parametrize(("name", "power"), [("inverse_gaussian", 3.0), ("tweedie", 1.5)])
def test_the_moments_of_r2_where_the_variance_is_a_power_of_mu(name, power, spread):
    family = get_family(name)
    own = aux(family)
    factor = family.variance(np.ones((1, 1)), own)
    found = averages(family, own, ETA, np.full(ETA.shape, spread))
    for k, moment, times in zip((1.0, 2.0, power), found, (1.0, 1.0, factor), strict=True):
        np.testing.assert_allclose(moment, times * np.exp(k * ETA + k**2 * spread**2 / 2), rtol=1e-9)


def test_the_variance_of_a_family_of_ones_own_may_be_any_function():
    own = bmm.Family(
        name="cubic", links=("log",), support="positive", log_density=lambda y, mu, n, aux: y * mu,
        variance=lambda mu, aux: mu**3, draw=lambda rng, mu, n, aux: mu,
    )  # fmt: skip
    assert own.proportional and not own.quadratic
    assert get_family("poisson").quadratic and not get_family("truncated_poisson").proportional
