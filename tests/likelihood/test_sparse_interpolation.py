"""Polynomials in the place of a smooth function: against the function itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import polynomial

from bayesmm.likelihood.sparse_interpolation import MOST_DEGREE, interpolated, leja_points, products

MOST = 1500


def largest(terms):
    return np.abs(terms).max(axis=1)


def random_points(dimensions, number=300, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (number, dimensions))


def test_the_points_are_those_where_the_product_of_the_distances_is_largest():
    points, scales = leja_points()
    grid = np.linspace(-1, 1, 3333)
    assert len(points) == len(scales) == MOST_DEGREE + 1
    assert points[0] == 0
    for k in range(1, MOST_DEGREE + 1):
        nodes = polynomial.polyfromroots(points[:k])
        if k < 20:  # beyond, the powers lose the digits
            np.testing.assert_allclose(scales[k] * polynomial.polyval(points[k], nodes), 1, rtol=1e-6)
        h = scales[k] * np.prod(grid[:, None] - points[:k], axis=1)
        assert np.abs(h).max() < 1 + 1e-5  # of a grid that is finer than this one


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_a_smooth_function_is_met_within_the_tolerance(dimensions):
    def function(u):
        size = 1 + 0.3 * u.sum(axis=1) + 0.1 * u[:, 0] ** 2
        return np.column_stack([np.log(size + dimensions), np.exp(0.3 * u[:, -1]) / (size + dimensions)])

    found = interpolated(function, dimensions, largest, 1e-9, MOST)
    u = random_points(dimensions)
    assert found.left <= 1e-9
    # the rule for the end is no bound: what is left of a geometric series is a few times its last terms
    assert np.abs(found(u) - function(u)).max() < 1e-8


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000))
def test_a_polynomial_is_met_exactly(dimensions, seed):
    rng = np.random.default_rng(seed)
    slopes, weights = rng.uniform(0.2, 1, (5, dimensions)), rng.normal(size=(5, 3))

    def function(u):
        return (u @ slopes.T + 0.5) ** np.arange(5) @ weights

    found = interpolated(function, dimensions, largest, 1e-12, MOST)
    u = random_points(dimensions, seed=seed)
    np.testing.assert_allclose(found(u), function(u), atol=1e-10)


def test_a_direction_that_asks_for_more_gets_more():
    found = interpolated(lambda u: 1 / (1.5 + u[:, :1]) + 0.01 * np.sin(u[:, 1:2]), 2, largest, 1e-10, MOST)
    degrees = found.index.max(axis=0)
    assert degrees[0] > 2 * degrees[1]
    assert len(found.index) < 60  # all up to this degree would be hundreds


def test_the_terms_stand_on_one_another():
    found = interpolated(lambda u: np.exp(u.sum(axis=1, keepdims=True)), 3, largest, 1e-8, MOST)
    known = set(map(tuple, found.index.tolist()))
    assert len(known) == len(found.index)
    for nu in known:
        assert all((*nu[:i], nu[i] - 1, *nu[i + 1 :]) in known for i in range(3) if nu[i])


@pytest.mark.parametrize(
    "function",
    [lambda u: np.abs(u[:, :1] - 0.1), lambda u: np.where(u[:, :1] > 0.9, np.nan, u[:, :1])],
    ids=["a corner", "a hole"],
)
def test_there_is_none_for_what_is_not_smooth(function):
    assert interpolated(function, 2, largest, 1e-8, MOST) is None


def test_there_is_none_where_the_terms_are_too_many():
    def function(u):
        return np.exp(u.sum(axis=1, keepdims=True))

    assert interpolated(function, 3, largest, 1e-10, 100) is None
    assert interpolated(function, 3, largest, 1e-10, MOST) is not None


def test_products_are_those_of_one_variable_each():
    points, scales = leja_points()
    index, u = np.array([[0, 0], [2, 1], [0, 3]]), random_points(2, 5)
    h = [[scales[k] * np.prod(u[:, i, None] - points[:k], axis=1) for k in range(4)] for i in range(2)]
    expected = np.column_stack([h[0][a] * h[1][b] for a, b in index])
    np.testing.assert_allclose(products(index, u), expected, rtol=1e-12)
