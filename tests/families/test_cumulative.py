"""Ordered categories: the density of a row by SciPy, its derivatives by differences, and in PyTensor; what is drawn."""

import math

import numpy as np
import pytest
from scipy import special

from bayesmm.families.families import get_family
from bayesmm.families.links import LINKS
from bayesmm.likelihood import response_kernels as response
from bayesmm.likelihood.row_functions import codes
from bayesmm.sampling.graph.interpreted import PYTHON

DISTRIBUTIONS = {
    "logit": special.expit, "probit": special.ndtr, "cloglog": lambda x: -np.expm1(-np.exp(x)),
}  # fmt: skip
SURVIVAL = {
    "logit": lambda x: special.expit(-x),
    "probit": lambda x: special.ndtr(-x),
    "cloglog": lambda x: np.exp(-np.exp(x)),
}
THRESHOLDS = np.array([-1.1, 0.4, 0.9, 2.3])
INTERVALS = [(-math.inf, -0.7), (-0.7, 0.4), (0.4, 2.5), (2.5, math.inf)]


@pytest.mark.parametrize("link", DISTRIBUTIONS)
@pytest.mark.parametrize("interval", INTERVALS)
def test_density_is_the_difference_of_the_distribution_at_the_thresholds(link, interval):
    F, numbers, aux = DISTRIBUTIONS[link], codes(get_family("cumulative", link)), np.array(interval)
    for eta in (-2.0, -0.3, 0.0, 1.7):
        low, high = (end - eta for end in interval)
        p = SURVIVAL[link](low) - SURVIVAL[link](high) if low > 0 else F(high) - F(low)
        assert response.log_density(*numbers, 2.0, 1.0, eta, aux) == pytest.approx(math.log(p), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("link", DISTRIBUTIONS)
@pytest.mark.parametrize("interval", INTERVALS)
def test_derivatives_are_those_of_differences(link, interval):
    numbers, h = codes(get_family("cumulative", link)), 1e-5

    def at(eta, low, high):
        return np.array(response.derivatives(*numbers, 2.0, 1.0, eta, np.array([low, high])))

    for eta in (-3.0, -0.4, 0.8, 3.1):
        found = at(eta, *interval)
        slopes = (at(eta + h, *interval) - at(eta - h, *interval)) / (2 * h)
        np.testing.assert_allclose(found[1:], slopes[:3], rtol=2e-8, atol=2e-8)
        scores = response.score_auxiliary(*numbers, 2.0, 1.0, eta, np.array(interval))
        for m, end in enumerate(interval):
            moved = [np.array(interval), np.array(interval)]
            moved[0][m], moved[1][m] = end + h, end - h
            slope = 0.0 if math.isinf(end) else (at(eta, *moved[0])[0] - at(eta, *moved[1])[0]) / (2 * h)
            assert scores[m] == pytest.approx(slope, rel=2e-8, abs=2e-8)


@pytest.mark.parametrize("link", DISTRIBUTIONS)
def test_far_predictors_give_a_density_or_none(link):
    """Between thresholds 0.1 apart the logarithms of tails are exact: at 30 of the logistic it is eta less about 30."""
    numbers = codes(get_family("cumulative", link))
    for eta in (-1e308, -800.0, -40.0, 40.0, 800.0, 1e308, np.nan, np.inf, -np.inf):
        for interval in INTERVALS:
            found = response.derivatives(*numbers, 2.0, 1.0, eta, np.array(interval))
            assert np.isfinite(found).all() or found == (-np.inf, 0.0, 0.0, 0.0)
            assert np.isfinite(response.score_auxiliary(*numbers, 2.0, 1.0, eta, np.array(interval))).all()
    logit = codes(get_family("cumulative", "logit"))
    tail = -30.0 + math.log(math.exp(0.1) - 1.0)
    assert response.log_density(*logit, 2.0, 1.0, 30.0, np.array([0.0, 0.1])) == pytest.approx(tail, abs=1e-12)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_two_categories_are_a_binary_response(link):
    """1 is a failure and 2 a success with the linear predictor less the threshold: both distributions are symmetric."""
    ours, binary = codes(get_family("cumulative", link)), codes(get_family("bernoulli", link))
    for eta in (-2.0, 0.3, 1.9):
        for y, interval in ((0.0, (-math.inf, 0.8)), (1.0, (0.8, math.inf))):
            found = response.derivatives(*ours, y + 1, 1.0, eta, np.array(interval))
            np.testing.assert_allclose(found, response.derivatives(*binary, y, 1.0, eta - 0.8, np.zeros(3)), atol=1e-12)


@pytest.mark.parametrize("link", DISTRIBUTIONS)
def test_pytensor_has_the_compiled_density_and_its_slopes(link):
    import pytensor
    import pytensor.tensor as pt

    family, rng = get_family("cumulative", link), np.random.default_rng(3)
    y, eta = rng.integers(1, 6, 60).astype(float), rng.normal(size=60) * 2
    at, tau = pt.dvector(), [pt.dscalar() for _ in THRESHOLDS]
    inside, value = family.graph_density(link, pt.as_tensor_variable(y), at, 1.0, tau)
    slopes = [pytensor.grad(value.sum(), at), *(pytensor.grad(value.sum(), own) for own in tau)]
    found = pytensor.function([at, *tau], [inside, value, *slopes], mode=PYTHON)(eta, *THRESHOLDS)
    ends = np.concatenate([[-np.inf], THRESHOLDS, [np.inf]])
    aux = np.column_stack([ends[y.astype(int) - 1], ends[y.astype(int)]])
    numbers, rows = codes(family), list(zip(y, eta, aux, strict=True))
    compiled = np.array([response.derivatives(*numbers, k, 1.0, e, own) for k, e, own in rows])
    scores = np.array([response.score_auxiliary(*numbers, k, 1.0, e, own) for k, e, own in rows])
    assert found[0].all()
    np.testing.assert_allclose(found[1], compiled[:, 0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[2], compiled[:, 1], rtol=1e-9, atol=1e-9)
    for k in range(4):  # a threshold is the upper one of its category and the lower one of the next
        total = scores[y == k + 1, 1].sum() + scores[y == k + 2, 0].sum()
        assert found[3 + k] == pytest.approx(total, rel=1e-9, abs=1e-9)
    assert not pytensor.function([at, *tau], inside, mode=PYTHON, on_unused_input="ignore")(
        eta, *THRESHOLDS[::-1]
    ).any()


@pytest.mark.parametrize("link", DISTRIBUTIONS)
def test_probabilities_moments_and_draws_agree(link):
    family, rng, eta = get_family("cumulative", link), np.random.default_rng(5), np.array([-1.0, 0.2, 2.0])
    tau = tuple(THRESHOLDS)
    p = family.probabilities(link, eta, tau)
    expected = np.diff([np.zeros(3), *(DISTRIBUTIONS[link](t - eta) for t in tau), np.ones(3)], axis=0).T
    np.testing.assert_allclose(p, expected, atol=1e-14)
    k = np.arange(1, 6)
    np.testing.assert_allclose(family.mean(eta, tau), p @ k, atol=1e-13)
    np.testing.assert_allclose(family.variance(eta, tau), p @ k**2 - (p @ k) ** 2, atol=1e-13)
    np.testing.assert_allclose(
        family.cdf(np.array([0.0, 2.0, 5.0]), eta, None, tau), [0, p[1, :2].sum(), 1], atol=1e-14
    )
    draws = family.draw(rng, np.tile(eta, (40_000, 1)), None, tau)
    for j in range(3):  # five standard errors of a share
        np.testing.assert_allclose([(draws[:, j] == c).mean() for c in k], p[j], atol=5 * 0.5 / 200)


def test_a_link_is_kept_with_the_functions():
    one, other = get_family("cumulative", "probit"), get_family("cumulative", "logit")
    assert one.mean(0.0, (0.0, 1.0)) == pytest.approx(1 + 0.5 + (1 - LINKS["probit"].inverse(1.0)))
    assert one.mean(0.0, (0.0, 1.0)) != other.mean(0.0, (0.0, 1.0))
    assert get_family("cumulative", "probit") == one and one != other
