"""Densities in parts: what depends on the linear predictor (`row`), and what does not, which is summed once a row."""

import time

import densities
import numpy as np
import other_densities
import pytest

from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.links import LINKS
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.pointwise import integrated, log_densities, sorted_rows
from bayesmm.likelihood.quadrature import evaluate, grouped
from bayesmm.likelihood.response_kernels import score_auxiliary
from bayesmm.likelihood.row_functions import codes

IN_PARTS = [family for family in FAMILIES.values() if family.kernels.row is not None]
BY_ADDRESS = [family for family in IN_PARTS if not family.inlined]
G, EACH = 4, 5
N = G * EACH


def of_row_link(family):
    """Return the family with the link that its parts are for."""
    link = next(link.name for link in LINKS.values() if link.code == family.kernels.row_link)
    return get_family(family.name, link)


def table(family, n=N):
    """Return random (y, size, eta, aux) of a family."""
    rng = np.random.default_rng(7)
    if (family.name, family.link) in densities.CASES:
        return *densities.responses(family.name, rng, n), rng.uniform(-2, 2, n), densities.auxiliaries(family.name, rng)
    return other_densities.data(family.name, family.link, rng, n)


def by_name(cases):
    return pytest.mark.parametrize("family", [*map(of_row_link, cases)], ids=lambda family: family.name)


def test_which_families_are_called_by_address():
    """One with a `smooth` kernel or a canonical link is known by number; constants of others depend on parameters."""
    assert [family for family in FAMILIES.values() if family.inlined and family.kernels.row is None] == []
    assert {"tweedie", "von_mises"} <= {family.name for family in BY_ADDRESS}
    assert [family.name for family in BY_ADDRESS if family.kernels.constant is not None] == []


@by_name(IN_PARTS)
def test_the_parts_add_up_to_the_density(family):
    kernels, (y, size, eta, aux) = family.kernels, table(family)
    for row in zip(y, size, eta, strict=True):
        given, rest = (kernels.row_link, *row, aux), np.zeros(3)
        for part in (kernels.row_constant, kernels.constant):
            rest[:] += 0.0 if part is None else np.append(part(*given), [0.0, 0.0])[:3]
        first, whole = np.array(kernels.row(*given)), np.array(kernels.density(*given))
        first[0] += rest[0]
        # of terms up to a few hundred
        np.testing.assert_allclose(first, whole, rtol=1e-12, atol=1e-12)
        scores = np.array(kernels.row_score(*given)) + rest[1:]
        np.testing.assert_allclose(scores, kernels.score(*given), rtol=1e-12, atol=1e-11)


@by_name(BY_ADDRESS)
@pytest.mark.parametrize("k", [LATTICE, 7])
@pytest.mark.parametrize("by", [0, 3], ids=["the same parameters", "of each row"])
def test_the_integral_has_each_constant_once(family, k, by):
    """Where the random effects have no variance it is the sum of the rows' densities."""
    (y, size, eta, aux), weights = table(family), np.arange(1.0, N + 1) % 3 + 1
    own = np.tile(aux, (N, 1)) * np.linspace(1.0, 1.1, N)[:, None] if by else aux
    data = grouped(
        *codes(family), y, eta[:, None], np.ones((N, 1)), np.repeat(np.arange(G), EACH), G,
        size=size, weights=weights, by=by,
    )  # fmt: skip
    found = evaluate(data, np.ones(1), np.zeros((1, 1)), own if by else aux[: len(family.parameters)], k)
    rows = log_densities(*codes(family), y, size, weights, eta[None], own[None])[0]
    assert found.value == pytest.approx(rows.sum(), rel=1e-11)
    scores = np.array([
        w * np.array(score_auxiliary(*codes(family), *row, a))
        for w, *row, a in zip(weights, y, size, eta, np.broadcast_to(own, (N, 3)), strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(found.d_aux, scores if by else scores.sum(axis=0), rtol=1e-10, atol=1e-9)


@by_name(BY_ADDRESS)
def test_levels_and_rows_left_out_have_each_constant_once(family):
    y, size, eta, aux = table(family)
    data = sorted_rows(*codes(family), y, size, np.ones(N), np.ones((N, 1)), np.arange(0, N + 1, EACH))
    levels, single = integrated(data, eta[None], np.zeros((1, 1, 1)), aux[None], rows=True)
    rows = log_densities(*codes(family), y, size, np.ones(N), eta[None], aux[None])
    np.testing.assert_allclose(single, rows, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(levels[0], rows.reshape(G, EACH).sum(axis=1), rtol=1e-10)


def test_a_power_beyond_its_bounds_has_no_density_at_once():
    """Differences in the power near 2 ask for it, and its series would have no end."""
    numbers, aux = codes(FAMILIES["tweedie"]), np.tile([0.7, 2.0019, 0.0], (1000, 1))
    began = time.process_time()
    many = log_densities(*numbers, np.full(10, 2.0), np.ones(10), np.ones(10), np.full((1000, 10), 0.7), aux)
    assert (many == -np.inf).all()
    assert time.process_time() - began < 5  # with all terms of the series minutes, without them 10 ms
