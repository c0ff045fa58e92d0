"""Densities, derivatives, distribution functions and draws of the families beside those of `tests/densities.py`.

The kernels are called as they stand, without a compiler; `test_other_families.py` holds the compiled ones to PyTensor.
"""

import numpy as np
import pytest
from densities import MEAN, differences
from hypothesis import given, settings
from hypothesis import strategies as st
from other_densities import CASES, LOG_DENSITIES, data, parameters
from scipy import special, stats

from bayesmm.families.families import get_family
from bayesmm.families.links import LINKS

# A list of what is checked at a point: seeds, from which the point follows, so that hypothesis can go back to one.
SEEDS = st.integers(0, 10**6)


def kernel_values(family, y, size, eta, aux):
    """Return the kernel's density and derivatives for arrays of eta, (4, n)."""
    link = LINKS[family.link].code
    return np.array([family.kernels.density(link, y, size, at, aux) for at in np.atleast_1d(eta)]).T


@pytest.mark.parametrize(("name", "link"), CASES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS)
def test_densities_are_scipys(name, link, seed):
    family, rng = get_family(name, link), np.random.default_rng(seed)
    y, size, eta, aux = data(name, link, rng, 4)
    expected = LOG_DENSITIES[name](y, size, MEAN[link](eta), aux)
    found = [kernel_values(family, *row, aux)[0, 0] for row in zip(y, size, eta, strict=True)]
    # a log density is known to 1e-15 of the size of its terms, here up to a few hundred
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=2e-11)


@pytest.mark.parametrize(("name", "link"), CASES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(SEEDS)
def test_derivatives_in_eta_and_in_the_parameters(name, link, seed):
    family, rng = get_family(name, link), np.random.default_rng(seed)
    (y,), (size,), (eta,), aux = data(name, link, rng, 1)
    y += np.sign(y - eta) if not family.smooth else 0.0  # off the corner, as far as a difference goes
    found = kernel_values(family, y, size, eta, aux)[:, 0]
    # sixth-order differences with a step of 0.004 leave about (0.004 * rate)^6 of the size of the derivative, and 1e-15
    # / 0.004 of that of the value
    for k in (1, 2, 3):
        h = 1e-3 if name == "compois" else 4e-3  # with a large shape its rate is
        slope = differences(lambda e, k=k: kernel_values(family, y, size, e, aux)[k - 1], np.array([eta]), h=h)
        np.testing.assert_allclose(found[k], slope[0], rtol=2e-6, atol=2e-7 * (1 + np.abs(found).max()))
    score = family.kernels.score(LINKS[link].code, y, size, eta, aux)
    for m in range(len(family.parameters)):

        def value(a, m=m):
            moved = aux.copy()
            moved[m] = a
            return kernel_values(family, y, size, eta, moved)[0, 0]

        near = abs(y - aux[m]) if family.auxiliaries[m] == "ndt" else 1.0  # no density beyond y
        step = 4e-3 * min(abs(aux[m]), near, 1.0)
        assert score[m] == pytest.approx(differences(value, aux[m], h=step), rel=2e-6, abs=1e-7 * (1 + abs(found[0])))
    assert score[len(family.parameters) :] == (0.0,) * max(2 - len(family.parameters), 0)


@pytest.mark.parametrize(("name", "link"), CASES)
def test_moments_distribution_functions_and_draws(name, link):
    family, rng = get_family(name, link), np.random.default_rng(11)
    for _ in range(3):
        aux = parameters(family, rng)
        if name == "loglogistic" or family.support.proportion:  # integrals that come to an end
            aux[0] += 4.0
        own = tuple(aux[: len(family.parameters)])
        eta = rng.uniform(0.4, 1.2)
        mu, size = float(LINKS[link].inverse(np.array(eta))), 7.0 if family.support.trials else 1.0
        p, grid = _masses(family, mu, size, own, aux)
        assert p.sum() == pytest.approx(1.0, abs=2e-6)
        share = (grid - mu + np.pi) % (2 * np.pi) - np.pi + mu if family.support.angle else grid / size
        mean = float(family.expected(np.array(mu), own))
        assert (p * share).sum() == pytest.approx(mean, rel=5e-5)
        spread = float(family.scattered(np.array(mu), size, own))
        assert (p * (share - mean) ** 2).sum() == pytest.approx(spread, rel=2e-3)
        if family.discrete:
            np.testing.assert_allclose(family.cdf(grid, mu, size, own), np.cumsum(p), atol=1e-10)
            assert family.cdf(-1.0, mu, size, own) == 0
        drawn = family.draw(rng, np.full(4000, mu), np.full(4000, size) if size > 1 else None, own)
        at_zero = family.discrete or bool(family.support.atoms)
        _agree(drawn, lambda y, mu=mu, size=size, own=own: family.cdf(y, mu, size, own), at_zero, rng)
        if not family.discrete:
            at = np.quantile(drawn[~np.isin(drawn, family.support.atoms)], [0.1, 0.5, 0.9])
            h = 1e-5 * (at if family.support.nonnegative else np.ptp(at))
            slope = (family.cdf(at + h, mu, size, own) - family.cdf(at - h, mu, size, own)) / (2 * h)
            np.testing.assert_allclose(slope, np.exp(LOG_DENSITIES[name](at, size, mu, aux)), rtol=1e-5)


def _masses(family, mu, size, own, aux):
    """Return the probabilities of all responses, or what an integral over them adds up, and the responses."""
    grid, weight = _grid(family, mu, size, own)
    p = np.exp(LOG_DENSITIES[family.name](grid, size, np.full_like(grid, mu), aux)) * weight
    atoms = np.array(family.support.atoms)  # that have probabilities of their own
    if not len(atoms):
        return p, grid
    own = np.exp(LOG_DENSITIES[family.name](atoms, size, np.full(len(atoms), mu), aux))
    return np.append(own, p), np.append(atoms, grid)


def _grid(family, mu, size, own):
    """Return points and weights of a sum over all responses, or of an integral over them."""
    if family.name == "tweedie":
        t = np.linspace(-60, np.log(mu) + 8, 6_001)
        return np.exp(t), np.exp(t) * (t[1] - t[0])
    if family.support.trials:
        return np.arange(size + 1), 1.0
    sd = np.sqrt(float(family.scattered(np.array(mu), 1.0, own)))
    if family.discrete:
        return np.arange(float(int(60 * sd + 400))), 1.0
    if family.support.proportion:  # in the logit
        t = np.linspace(-60, 36, 100_001)
        return special.expit(t), special.expit(t) * special.expit(-t) * (t[1] - t[0])
    if family.support.angle:
        t = np.linspace(-np.pi, np.pi, 20_001)[1:]
        return t, t[1] - t[0]
    if family.support.positive or family.support.nonnegative:  # in the logarithm, by the trapezoidal rule
        t = np.linspace(-60, np.log(mu + 60 * sd) + 26, 200_001)
        return np.exp(t), np.exp(t) * (t[1] - t[0])
    t = np.linspace(mu - 40 * sd, mu + 60 * sd, 200_001)
    return t, t[1] - t[0]


def _agree(drawn, cdf, discrete, rng):
    """Hold draws to a distribution function by Kolmogorov and Smirnov; p is above 1e-4 but once in 10,000 runs."""
    at, whole = cdf(drawn), bool((drawn == np.rint(drawn)).all())
    if discrete:  # uniform where the place within a step is random (the residuals of Dunn & Smyth)
        before = np.where(np.isin(drawn, (0.0, 1.0)) & (not whole), np.nextafter(drawn, -1.0), drawn - 1)
        below = np.where(drawn == np.rint(drawn), cdf(before), at)
        at = below + rng.uniform(size=len(drawn)) * (at - below)
    assert stats.kstest(at, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(("name", "link"), CASES)
def test_a_mean_that_is_not_known_gives_no_response(name, link):
    family, rng = get_family(name, link), np.random.default_rng(3)
    aux = tuple(parameters(family, rng)[: len(family.parameters)])
    for trials in [np.array([4.0, 5.0])] if family.support.trials else [None]:
        drawn = family.draw(rng, np.array([np.nan, LINKS[link].inverse(0.8)]), trials, aux)
        assert np.isnan(drawn[0]) and np.isfinite(drawn[1])
