"""Probabilities of censored and truncated responses: against SciPy, against differences, and far out in the tails.

The kernels are called as they stand, without a compiler.
"""

import math

import numpy as np
import pytest
from densities import differences
from hypothesis import given, settings
from hypothesis import strategies as st
from observed_densities import CASES, MEAN, distribution, log_probability, parameters, predictor, value
from scipy import special, stats

from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.limits import Limits
from bayesmm.families.links import LINKS
from bayesmm.families.observed import as_observed
from bayesmm.families.special import log_normal_cdf
from bayesmm.families.tails import log1mexp, log_beta_tails, log_gamma_tails

SEEDS = st.integers(0, 10**6)


def test_these_are_all_the_families_with_tails():
    assert {(f.name, link) for f in FAMILIES.values() if f.tails is not None for link in f.links} == set(CASES)


@pytest.mark.parametrize(("name", "link"), CASES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(SEEDS)
def test_tails_are_scipys(name, link, seed):
    family, rng = get_family(name, link), np.random.default_rng(seed)
    aux, eta = parameters(name, rng), predictor(link, rng)
    y = value(name, link, rng, eta, aux, outside=rng.uniform(-3, 8))
    below, above = family.tails.values(LINKS[link].code, y, eta, aux)
    known = distribution(name, MEAN[link](eta), aux)
    with np.errstate(all="ignore"):
        wanted = known.logcdf(y), known.logsf(y)
    for found, expected in zip((below[0], above[0]), wanted, strict=True):
        if expected > -600:  # SciPy's own lose their digits where a probability is none any more
            assert found == pytest.approx(expected, rel=2e-9, abs=1e-12)


@pytest.mark.parametrize(("name", "link"), CASES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS)
def test_derivatives_of_the_tails(name, link, seed):
    family, rng = get_family(name, link), np.random.default_rng(seed)
    aux, eta = parameters(name, rng), predictor(link, rng)
    y, code = value(name, link, rng, eta, aux, outside=rng.uniform(-2, 4)), LINKS[link].code
    found, scores = family.tails.values(code, y, eta, aux), family.tails.score(code, y, eta, aux)
    for side in (0, 1):
        size = 1 + np.abs(found[side]).max()
        for k in (1, 2, 3):

            def lower(e, k=k, side=side):
                return np.array([family.tails.values(code, y, at, aux)[side][k - 1] for at in np.atleast_1d(e)])

            slope = differences(lower, np.array([eta]), h=4e-3)[0]
            assert found[side][k] == pytest.approx(slope, rel=3e-6, abs=3e-7 * size)
        for m in range(len(family.parameters)):

            def moved(a, m=m, side=side):
                other = aux.copy()
                other[m] = a
                return family.tails.values(code, y, eta, other)[side][0]

            slope = differences(moved, aux[m], h=4e-3 * min(aux[m], 1.0))
            assert scores[side][m] == pytest.approx(slope, rel=3e-6, abs=3e-8 * size)


def observed_values(family, link, y, size, eta, aux):
    return np.array([family.kernels.density(LINKS[link].code, y, size, at, aux) for at in np.atleast_1d(eta)]).T


def a_row(name, link, rng):
    """Return a random row, (family, y, size, eta, aux), and its log density by SciPy."""
    base, aux, eta = get_family(name, link), parameters(name, rng), predictor(link, rng)
    known = distribution(name, MEAN[link](eta), aux)
    a, b = sorted(value(name, link, rng, eta, aux, outside=rng.uniform(-1, 2)) for _ in range(2))
    b = b + (1.0 if base.discrete else 0.1) if b - a < 0.01 else b
    start = 0.0 if base.support.positive or base.discrete else a - 5.0
    low = rng.choice([-np.inf, max(a - rng.uniform(0.5, 3), start) if a > start else -np.inf])
    low = float(np.floor(low))
    low = -np.inf if low <= 0 and (base.support.positive or base.discrete) else low
    high = rng.choice([np.inf, float(np.ceil(b + rng.uniform(0.5, 3)))])
    kind = rng.choice(["none", "left", "right", "interval"])
    other = {"none": np.nan, "left": low, "right": high, "interval": b}[kind]
    with np.errstate(all="ignore"):
        exact = known.logpmf(a) if base.discrete else known.logpdf(a)
    region = {"left": (low, a), "right": (a, high), "interval": (a, b)}
    part = exact if kind == "none" else log_probability(known, *region[kind])
    limits = Limits(np.array([other]), np.array([low]), np.array([high]))
    truncated = low > -np.inf or high < np.inf
    if not truncated:
        return as_observed(base, True, False), a, float(Limits(limits.other).size[0]), eta, aux, part
    whole = log_probability(known, low, high)
    return as_observed(base, kind != "none", True), a, float(limits.size[0]), eta, aux, part - whole


@pytest.mark.parametrize(("name", "link"), CASES)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(SEEDS)
def test_censored_and_truncated_rows_are_scipys(name, link, seed):
    rng = np.random.default_rng(seed)
    family, y, size, eta, aux, expected = a_row(name, link, rng)
    found = family.kernels.density(LINKS[link].code, y, size, eta, aux)
    # SciPy's differences of two probabilities lose digits that ours keep
    if expected > -30:
        assert found[0] == pytest.approx(expected, rel=1e-8, abs=1e-9)
    for k in (1, 2, 3):
        slope = differences(
            lambda e, k=k: observed_values(family, link, y, size, e, aux)[k - 1], np.array([eta]), h=4e-3
        )
        assert found[k] == pytest.approx(slope[0], rel=1e-5, abs=1e-6 * (1 + np.abs(found).max()))
    score = family.kernels.score(LINKS[link].code, y, size, eta, aux)
    for m in range(len(family.parameters)):

        def moved(a, m=m):
            other = aux.copy()
            other[m] = a
            return observed_values(family, link, y, size, eta, other)[0, 0]

        slope = differences(moved, aux[m], h=4e-3 * min(aux[m], 1.0))
        assert score[m] == pytest.approx(slope, rel=1e-5, abs=1e-6 * (1 + abs(found[0])))


@pytest.mark.parametrize("width", [1e-1, 1e-3, 1e-6, 1e-10])
@pytest.mark.parametrize("name", ["gaussian", "student", "lognormal", "weibull", "gamma"])
def test_an_interval_becomes_a_density(name, width):
    family = get_family(name)
    link, aux, eta, y = LINKS[family.link].code, np.array([0.8, 5.0]), 0.3, 2.0
    found = as_observed(family, True, False).kernels.density(link, y, y + width, eta, aux)
    middle = family.kernels.density(link, y + width / 2, 1.0, eta, aux)
    # of a smooth density the middle of an interval is off by width^2 / 24 of its curvature, here up to 20
    shift = math.log((y + width) - y)
    np.testing.assert_allclose(found, np.add(middle, [shift, 0, 0, 0]), rtol=1e-9, atol=3 * width**2 + 1e-9)


@pytest.mark.parametrize("z", [-1e6, -1e3, -40.0, -5.0, 0.0, 5.0, 40.0, 1e3])
def test_the_normal_tail_far_out(z):
    """Derivatives of log Phi by its asymptotic series (Abramowitz & Stegun 26.2.12)."""
    family = as_observed(get_family("gaussian"), True, False)
    left = family.kernels.density(0, z, -math.inf, 0.0, np.array([1.0, 0.0]))
    assert np.isfinite(left).all()
    assert left[0] == pytest.approx(special.log_ndtr(z), rel=1e-14)
    assert left[1:] == pytest.approx([-log_normal_cdf(z)[1], log_normal_cdf(z)[2], -log_normal_cdf(z)[3]], rel=1e-14)
    if z <= -40:  # phi / Phi = t + 1/t - 2/t^3 + ..., whose derivative is 1 - 1/t^2 + 6/t^4
        t = -z
        assert left[1] == pytest.approx(-(t + 1 / t - 2 / t**3 + 10 / t**5), rel=1e-9)
        assert left[2] == pytest.approx(-(1 - 1 / t**2 + 6 / t**4 - 50 / t**6), rel=1e-7)


def test_incomplete_gamma_and_beta_functions_in_logarithms():
    rng = np.random.default_rng(3)
    for a, x in np.exp(rng.uniform(-3, 8, (300, 2))):
        below, above = log_gamma_tails(a, x)
        p, q = special.gammainc(a, x), special.gammaincc(a, x)
        for found, expected in ((below, p), (above, q)):
            if expected > 1e-280:
                assert math.exp(found) == pytest.approx(expected, rel=5e-12)
    for a, b in np.exp(rng.uniform(-2, 6, (200, 2))):
        x = rng.beta(a, b)
        if not 1e-12 < x < 1 - 1e-12:
            continue
        found = log_beta_tails(a, b, x, 1 - x, math.log(x), math.log1p(-x))
        expected = special.betainc(a, b, x), special.betaincc(a, b, x)
        np.testing.assert_allclose(np.exp(found), expected, rtol=2e-11)
    assert log1mexp(0.0) == -math.inf
    assert log1mexp(-1e-20) == pytest.approx(math.log(1e-20))


def test_tails_where_scipy_has_nothing_left():
    """A tail of exp(-2000) and the like, by the first terms of its asymptotic series."""
    a, x = 2.5, 2000.0
    series = 1 + (a - 1) / x + (a - 1) * (a - 2) / x**2
    assert log_gamma_tails(a, x)[1] == pytest.approx(
        (a - 1) * math.log(x) - x - math.lgamma(a) + math.log(series), rel=1e-12
    )
    nu, z = 4.0, -1e60  # Student's tail is nu^(nu / 2) / (nu B(nu / 2, 1 / 2)) |z|^-nu
    tail = -nu * math.log(-z) + nu / 2 * math.log(nu) - math.log(nu) - special.betaln(nu / 2, 0.5)
    found = get_family("student").tails.values(0, z, 0.0, np.array([1.0, nu]))[0]
    assert found[0] == pytest.approx(tail, rel=1e-12)
    assert get_family("poisson").tails.values(1, 3.0, 8.0, np.zeros(2))[0][0] == pytest.approx(
        stats.poisson.logpmf(3, math.exp(8.0)) + math.log1p(3 / math.exp(8.0) + 6 / math.exp(16.0)), rel=1e-9
    )


def test_a_truncated_poisson_is_the_truncated_poisson():
    ours, there = as_observed(get_family("poisson"), False, True), get_family("truncated_poisson")
    limits = Limits(np.array([np.nan]), np.array([0.0]), np.array([np.inf]))
    for eta in (-6.0, -1.0, 2.0):
        for y in (1.0, 4.0):
            found = ours.kernels.density(1, y, float(limits.size[0]), eta, np.zeros(2))
            assert found == pytest.approx(there.kernels.density(1, y, 1.0, eta, np.zeros(2)), rel=1e-8, abs=1e-12)
