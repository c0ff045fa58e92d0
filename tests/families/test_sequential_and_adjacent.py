"""Sequential and adjacent categories: probabilities by definition, derivatives by differences, PyTensor, draws."""

import math

import numpy as np
import pytest
from scipy import special

from bayesmm.families import acat, cumulative, sratio
from bayesmm.families.families import get_family
from bayesmm.families.links import LINKS
from bayesmm.likelihood import response_kernels as response
from bayesmm.likelihood.row_functions import codes
from bayesmm.sampling.graph.interpreted import PYTHON

F = {"logit": special.expit, "probit": special.ndtr, "cloglog": lambda x: -np.expm1(-np.exp(x))}
ABOVE = {
    "logit": lambda x: special.expit(-x),
    "probit": lambda x: special.ndtr(-x),
    "cloglog": lambda x: np.exp(-np.exp(x)),
}
KINDS = [("sratio", "logit"), ("sratio", "probit"), ("sratio", "cloglog"), ("acat", "logit")]
KERNELS = {"sratio": (sratio.row_density, sratio.scores), "acat": (acat.density, acat.scores)}
THRESHOLDS = np.array([0.9, -1.1, 0.4, 2.3])  # they need not ascend
ETA = np.array([-3.0, -0.4, 0.0, 0.8, 3.1])


def expected(name, link, eta):
    """Return the probability of each category by the definition, (K,)."""
    steps = eta - THRESHOLDS
    if name == "sratio":
        reached = np.cumprod([1, *ABOVE[link](-steps)])
        return reached * [*F[link](-steps), 1]
    weights = np.exp([steps[:k].sum() for k in range(5)])
    return weights / weights.sum()


@pytest.mark.parametrize(("name", "link"), KINDS)
def test_densities_are_those_of_the_definition(name, link):
    family = get_family(name, link)
    for eta in ETA:
        p = expected(name, link, eta)
        np.testing.assert_allclose(family.probabilities(link, np.array(eta), tuple(THRESHOLDS)), p, rtol=1e-12)
        found = [response.log_density(*codes(family), k, 4.0, eta, THRESHOLDS) for k in range(1, 6)]
        np.testing.assert_allclose(found, np.log(p), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "link"), KINDS)
def test_derivatives_are_those_of_differences_of_either_family(name, link):
    (density, scores), code, h = KERNELS[name], LINKS[link].code, 1e-5
    for k in range(1, 6):
        for eta in ETA:
            found = np.array(response.derivatives(*codes(get_family(name, link)), k, 4.0, eta, THRESHOLDS))
            up, down = (np.array(density(code, float(k), 4.0, eta + s, THRESHOLDS)) for s in (h, -h))
            np.testing.assert_allclose(found[1:], ((up - down) / (2 * h))[:3], rtol=2e-8, atol=2e-8)
            out = np.full(4, np.nan)
            scores(code, float(k), 4.0, eta, THRESHOLDS, out)
            moved = [
                [density(code, float(k), 4.0, eta, THRESHOLDS + s * e)[0] for s in (h, -h)] for e in np.eye(4)
            ]  # fmt: skip
            np.testing.assert_allclose(out, [(a - b) / (2 * h) for a, b in moved], rtol=2e-8, atol=2e-8)


@pytest.mark.parametrize(("name", "link"), KINDS)
def test_pytensor_has_the_compiled_density_of_either_family(name, link):
    import pytensor
    import pytensor.tensor as pt

    family, rng = get_family(name, link), np.random.default_rng(3)
    y, eta = rng.integers(1, 6, 60).astype(float), rng.normal(size=60) * 2
    at, tau = pt.dvector(), [pt.dscalar() for _ in THRESHOLDS]
    inside, value = family.graph_density(link, pt.as_tensor_variable(y), at, 1.0, tau)
    slopes = [pytensor.grad(value.sum(), at), *(pytensor.grad(value.sum(), own) for own in tau)]
    found = pytensor.function([at, *tau], [inside, value, *slopes], mode=PYTHON)(eta, *THRESHOLDS)
    rows = list(zip(y, eta, strict=True))
    compiled = np.array([response.derivatives(*codes(family), k, 4.0, e, THRESHOLDS) for k, e in rows])
    assert found[0].all()
    np.testing.assert_allclose(found[1], compiled[:, 0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[2], compiled[:, 1], rtol=1e-9, atol=1e-9)
    out, total = np.empty(4), np.zeros(4)
    for k, e in rows:
        KERNELS[name][1](LINKS[link].code, k, 4.0, e, THRESHOLDS, out)
        total += out
    np.testing.assert_allclose(found[3:], total, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "link"), KINDS)
def test_moments_and_draws_are_those_of_the_probabilities(name, link):
    family, rng, eta = get_family(name, link), np.random.default_rng(5), np.array([-1.0, 0.2, 2.0])
    tau, k = tuple(THRESHOLDS), np.arange(1, 6)
    p = np.array([expected(name, link, at) for at in eta])
    np.testing.assert_allclose(family.mean(eta, tau), p @ k, atol=1e-13)
    np.testing.assert_allclose(family.variance(eta, tau), p @ k**2 - (p @ k) ** 2, atol=1e-13)
    np.testing.assert_allclose(
        family.cdf(np.array([0.0, 2.0, 5.0]), eta, None, tau), [0, p[1, :2].sum(), 1], atol=1e-14
    )
    draws = family.draw(rng, np.tile(eta, (40_000, 1)), None, tau)
    for j in range(3):  # five standard errors of a share
        np.testing.assert_allclose([(draws[:, j] == c).mean() for c in k], p[j], atol=5 * 0.5 / 200)


def test_far_predictors_of_either_family():
    """Where a probability leaves the doubles its logarithm does not: acat at eta = 800 has 4 x 800 of it."""
    tau = np.zeros(4)
    assert response.log_density(*codes(get_family("acat")), 1.0, 4.0, 800.0, tau) == pytest.approx(-3200)
    assert response.log_density(*codes(get_family("acat")), 5.0, 4.0, 800.0, tau) == pytest.approx(0)
    assert response.log_density(*codes(get_family("sratio")), 1.0, 4.0, 800.0, tau) == pytest.approx(-800)
    assert response.log_density(*codes(get_family("sratio")), 5.0, 4.0, 800.0, tau) == pytest.approx(0)


def test_shares_give_the_thresholds_that_give_them():
    shares = np.array([0.1, 0.3, 0.05, 0.35, 0.2])
    for name, link in (*KINDS, ("cumulative", "probit")):
        family = get_family(name, link)
        tau = family.first_thresholds(link, shares)
        np.testing.assert_allclose(family.probabilities(link, np.array(0.0), tuple(tau)), shares, rtol=1e-10)


@pytest.mark.parametrize("link", F)
def test_the_density_with_a_discrimination(link):
    """F(disc (upper - eta)) - F(disc (lower - eta)), and its derivatives in all that it depends on."""
    family, h = get_family("cumulative", link).scaled, 1e-5
    numbers = codes(family)[0], LINKS[link].code

    def at(eta, *aux):
        return np.array(cumulative.scaled_density(LINKS[link].code, 2.0, 1.0, eta, aux))

    for aux in ((-0.7, 0.4, 1.6), (0.4, math.inf, 0.5), (-math.inf, -0.7, 2.2)):
        for eta in (-2.0, 0.3, 1.7):
            if numbers[1] == LINKS[family.link].code:
                found = response.derivatives(*numbers, 2.0, 1.0, eta, np.array(aux))
                np.testing.assert_allclose(found, at(eta, *aux), rtol=1e-12, atol=1e-13)
            low, high, disc = aux
            p = F[link](disc * (high - eta)) - F[link](disc * (low - eta))
            assert at(eta, *aux)[0] == pytest.approx(math.log(p), rel=1e-9)
            slopes = (at(eta + h, *aux) - at(eta - h, *aux)) / (2 * h)
            np.testing.assert_allclose(at(eta, *aux)[1:], slopes[:3], rtol=1e-7, atol=1e-7)
            scores = cumulative.scaled_score(LINKS[link].code, 2.0, 1.0, eta, aux)
            for m, own in enumerate(aux):
                moved = [[v + s * (j == m) for j, v in enumerate(aux)] for s in (h, -h)]
                slope = 0.0 if math.isinf(own) else (at(eta, *moved[0])[0] - at(eta, *moved[1])[0]) / (2 * h)
                assert scores[m] == pytest.approx(slope, rel=1e-7, abs=1e-7)
