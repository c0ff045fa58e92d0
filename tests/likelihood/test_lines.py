"""The arithmetic of a line of nodes: elementary functions, kernels without branches, and products of many factors."""

import math

import numba
import numpy as np
import pytest
from densities import codes

from bayesmm.families.families import FAMILIES
from bayesmm.likelihood.compiled import pointers
from bayesmm.likelihood.exponential import exponential, log_above_one, logarithm
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.level_sums import WANTED
from bayesmm.likelihood.quadrature import _likelihood, evaluate, grouped, rule, told

SMOOTH = [family for family in FAMILIES.values() if family.kernels.smooth]


@numba.njit(error_model="numpy")
def _elementary(x, out):
    for i in range(x.size):
        out[0, i], out[1, i], out[2, i] = exponential(x[i]), logarithm(math.exp(x[i])), log_above_one(math.exp(x[i]))


def test_exponentials_and_logarithms_are_those_of_numpy():
    x = np.concatenate([np.linspace(-700, 700, 4001), np.linspace(-1, 1, 4001), np.logspace(-17, 0, 100)])
    out = np.empty((3, len(x)))
    _elementary(x, out)
    assert out[0] == pytest.approx(np.exp(x), rel=2e-14)  # the polynomial's first term left out is 7e-15
    assert out[1] == pytest.approx(np.log(np.exp(x)), rel=1e-15, abs=4e-16)
    assert out[2] == pytest.approx(np.log1p(np.exp(x)), rel=1e-15)


@pytest.mark.parametrize("family", SMOOTH, ids=lambda family: family.name)
def test_kernels_without_branches_are_the_others(family):
    """Value, slope and the derivatives in the parameters, wherever a node has a share that counts."""
    kernels, aux = family.kernels, np.array([0.7, 3.0])
    for y in (0.5, 1.0, 12.0):
        for eta in np.linspace(-40, 40, 161):
            found = kernels.smooth(kernels.row_link, y, 1.0, eta, aux)
            value, slope, _, _ = kernels.row(kernels.row_link, y, 1.0, eta, aux)
            scores = kernels.row_score(kernels.row_link, y, 1.0, eta, aux)
            assert found == pytest.approx((value, slope, *scores), rel=1e-11, abs=1e-13)  # p = odds (1 - p) rounds


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_a_level_of_many_rows_is_that_of_a_dense_grid(weight):
    """The product of 3,000 factors overflows many times; rows of weight 3 have no product."""
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=3000), np.linspace(-0.5, 0.7, 4001)
    y = (rng.random(3000) < 1 / (1 + np.exp(-x))).astype(float)
    data = grouped(
        *codes("bernoulli", "logit"), y, x[:, None], np.ones((3000, 1)), np.zeros(3000, dtype=int), 1,
        weights=np.full(3000, weight),
    )  # fmt: skip
    eta = x[:, None] + u
    f = weight * (y @ eta - np.logaddexp(0, eta).sum(axis=0)) - 0.5 * u**2
    exact = np.logaddexp.reduce(f) + np.log((u[1] - u[0]) / np.sqrt(2 * np.pi))
    # 3,000 terms near 1 round to 1e-13 each time, the rule to 1e-13 of a density that is close to normal
    assert evaluate(data, np.ones(1), np.eye(1), np.zeros(0), LATTICE).value == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("k", [LATTICE, 5])
@pytest.mark.parametrize(("family", "link"), [("bernoulli", "logit"), ("negbinomial", "log"), ("bernoulli", "probit")])
def test_a_value_without_derivatives_is_that_with_them(family, link, k):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 24).astype(float)
    data = grouped(*codes(family, link), y, np.ones((24, 1)), np.ones((24, 1)), np.repeat(np.arange(4), 6), 4)
    with_them = evaluate(data, np.ones(1), np.eye(1), np.ones(1), k)
    given = told(data, 1 if family == "negbinomial" else 0, k)
    given[WANTED] = 0
    found = [np.zeros(1), np.zeros(1), np.zeros((1, 1)), np.zeros(3), np.zeros((4, 1))]
    parameters = np.ones(1), np.eye(1), np.array([1.0, 0.0, 0.0])
    assert _likelihood()(*pointers(data.words, given, *rule(k, 1), *parameters, *found)) == 1
    assert found[0][0] == with_them.value  # the same arithmetic
    assert not found[1].any() and not found[2].any()
