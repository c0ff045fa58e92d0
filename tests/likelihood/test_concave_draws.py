"""Draws by tangents: which densities they are for, and the hardest levels."""

import numpy as np
import pytest
from densities import FAMILIES, auxiliaries, codes, responses
from hypothesis import given, settings
from hypothesis import strategies as st
from other_densities import CASES, LOG_DENSITIES, data

from bayesmm.families.families import get_family
from bayesmm.families.links import LINKS
from bayesmm.likelihood.conditional_quadrature import draw_effects
from bayesmm.likelihood.quadrature import grouped
from bayesmm.likelihood.response_kernels import derivatives

CONCAVE = [(name, link) for name in FAMILIES for link in get_family(name).concave_links]


@pytest.mark.parametrize(("family", "link"), CONCAVE)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 1.0, 10.0, 30.0]))
@settings(max_examples=50, deadline=None)
def test_a_family_is_concave_where_it_says_so(family, link, seed, scale):
    rng = np.random.default_rng(seed)
    eta, aux = scale * rng.normal(size=20), auxiliaries(family, rng)
    y, size = responses(family, rng, 20)
    for i in range(20):
        value, _, curvature, _ = derivatives(*codes(family, link), y[i], size[i], eta[i], aux)
        assert curvature <= 1e-9 * (1 + abs(value))  # rounding


@pytest.mark.parametrize(
    ("family", "link"), [(name, link) for name, link in CASES if link in get_family(name).concave_links]
)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_its_log_density_as_scipy_has_it_lies_above_its_chords(family, link, seed):
    y, size, eta, aux = data(family, link, np.random.default_rng(seed), 30)
    low, value, high = (
        LOG_DENSITIES[family](y, size, LINKS[link].inverse(eta + step), aux) for step in (-0.02, 0.0, 0.02)
    )
    assert (low + high <= 2 * value + 1e-10 * (1 + np.abs(value))).all()  # of rounding


def test_draws_with_two_equal_answers_and_large_effects():
    """Sweeps are slowest there: a single one is off by 0.1 sd.

    Means and sds of 200,000 draws against a grid: 5 standard errors, and 0.002 sd.
    """
    D, Z = 200_000, np.array([[1.0, 4.0], [1.0, -2.8]])
    L, eta = np.array([[4.0, 0.0], [2.0, 2.5]]), np.array([1.0, -2.4])
    data = grouped(*codes("bernoulli", "logit"), np.ones(2), np.eye(2), Z, np.zeros(2, dtype=int), 1)
    rng = np.random.default_rng(1)
    drawn = draw_effects(data, np.tile(eta, (D, 1)), np.tile(L, (D, 1, 1)), np.zeros((D, 3)), rng)[:, 0]
    line = np.linspace(-7, 9, 801)
    u = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    b = u @ L.T
    p = np.exp(-0.5 * (u**2).sum(axis=1) - np.logaddexp(0, -(eta + b @ Z.T)).sum(axis=1))
    p /= p.sum()
    mean = p @ b
    spread = np.sqrt(p @ (b - mean) ** 2)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=(5 / np.sqrt(D) + 0.002) * spread.min())
    assert drawn.std(axis=0) == pytest.approx(spread, rel=5 / np.sqrt(2 * D) + 0.002)


@pytest.mark.parametrize("small", [1e-9, 1.1e-8, 0.01, 1.0])
@pytest.mark.parametrize(("family", "aux"), [("bernoulli", 0.0), ("poisson", 0.0), ("gamma", 2.0)])
def test_draws_at_parameters_that_vary_are_those_of_a_grid(family, aux, small):
    """Searches begin at the modes of the middle of the draws, which may be far off; each half is looked at by itself.

    40,000 draws each: 5 standard errors.
    """
    D, rng = 40_000, np.random.default_rng(9)
    y = np.array([1.0, 1.0, 0.0, 1.0, 1.0]) + (family == "gamma")
    link = "logit" if family == "bernoulli" else "log"
    data = grouped(*codes(family, link), y, np.ones((5, 1)), np.ones((5, 1)), np.zeros(5, dtype=int), 1)
    beta, sds = np.array([[-1.5], [2.0]]), np.array([small, 3.0])
    of = rng.permutation(np.repeat([0, 1], D))
    own = np.tile([aux, 0.0, 0.0], (2 * D, 1))
    drawn = draw_effects(data, beta[of], sds[of][:, None, None], own, rng, concave=True)[:, 0, 0]
    u = np.linspace(-9, 9, 20_001)
    for half in (0, 1):
        eta = beta[half, 0] + sds[half] * u
        kernel = {
            "bernoulli": lambda y, eta: y * eta - np.logaddexp(0, eta),
            "poisson": lambda y, eta: y * eta - np.exp(eta),
            "gamma": lambda y, eta: -aux * (eta + y * np.exp(-eta)),
        }[family]
        log_p = -0.5 * u**2 + sum(kernel(one, eta) for one in y)
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        mean = p @ u
        sd = np.sqrt(p @ (u - mean) ** 2)
        found = drawn[of == half] / sds[half]
        assert found.mean() == pytest.approx(mean, abs=5 * sd / np.sqrt(D))
        assert found.std() == pytest.approx(sd, rel=5 / np.sqrt(D))  # of a fourth moment up to that of 2 sds


@pytest.mark.parametrize("q", [1, 2])
def test_draws_are_as_independent_as_they_are_said_to_be(q):
    D, rng = 20_000, np.random.default_rng(2)
    Z, y = np.column_stack([np.ones(6), rng.normal(size=6)])[:, :q], np.array([1.0, 1, 1, 0, 1, 1])
    data = grouped(*codes("bernoulli", "logit"), y, np.ones((6, 1)), Z, np.zeros(6, dtype=int), 1)
    drawn = draw_effects(data, np.zeros((D, 1)), np.tile(2 * np.eye(q), (D, 1, 1)), np.zeros((D, 3)), rng)[:, 0]
    for j in range(q):
        r = np.corrcoef(drawn[1:, j], drawn[:-1, j])[0, 1]
        assert abs(r) < 5 / np.sqrt(D)
