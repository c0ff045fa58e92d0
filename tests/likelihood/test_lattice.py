"""The integrals over a level's random effects where it is a plateau, beside dense grids in NumPy.

What is far from normal is a level whose rows are all of one kind while the sd of the effects is large: its density is
flat to one side of the mode and falls within a fraction of the prior's sd to the other.
"""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from densities import codes

import bayesmm as bmm
from bayesmm.evaluation.checks import quadrature as check
from bayesmm.families.links import LINKS
from bayesmm.likelihood.conditional_quadrature import draw_effects
from bayesmm.likelihood.lattice import FINE, LATTICE
from bayesmm.likelihood.pointwise import integrated, sorted_rows
from bayesmm.likelihood.quadrature import evaluate, grouped
from bayesmm.posterior.means import averaged
from benchmarks.quadrature import compared, covariance, dense, grid, simulated

# What is asked of a posterior: its mean to 0.02 posterior sds, its sd to 2 %.
MEAN, RATIO = 0.02, 0.02


def by_rule(case, sd, rule=LATTICE):
    return evaluate(case.data, np.zeros(0), np.linalg.cholesky(covariance(sd, case.q)), np.zeros(0), rule).value


@pytest.mark.parametrize(("sd", "groups", "rows"), [(0.5, 26, 3), (8.0, 300, 7), (16.0, 300, 20)])
def test_the_posterior_of_an_sd_is_that_of_a_dense_grid(sd, groups, rows):
    case = simulated(sd, groups, rows, 1)
    sds, exact = grid(case)
    row = compared(sds, exact, np.array([by_rule(case, value) for value in sds]))
    assert row.error < 0.02  # 3e-3 is the docstring's promise
    assert abs(row.shift) < MEAN
    assert abs(row.ratio - 1) < RATIO
    if sd > 1:  # with the 15 nodes that were once taken, the sd is 0.6 to 0.9 of the true one
        assert abs(compared(sds, exact, np.array([by_rule(case, value, 15) for value in sds])).ratio - 1) > 5 * RATIO


@pytest.mark.parametrize(("sd", "groups", "rows"), [(0.5, 26, 7), (8.0, 26, 7), (16.0, 100, 20)])
def test_two_random_effects_are_those_of_a_dense_grid(sd, groups, rows):
    case = simulated(sd, groups, rows, 2)
    for factor in (0.7, 1.4):
        exact = dense(case, factor * sd)
        assert by_rule(case, factor * sd) == pytest.approx(exact, abs=0.01)
        assert by_rule(case, factor * sd, FINE) == pytest.approx(exact, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [2.0, 8.0, 16.0])
@pytest.mark.parametrize("groups", [26, 300])
def test_the_posterior_with_two_random_effects_is_that_of_a_dense_grid(sd, groups):
    case = simulated(sd, groups, 7, 2)
    sds, exact = grid(case)
    row = compared(sds, exact, np.array([by_rule(case, value) for value in sds]))
    assert row.error < 0.02
    assert abs(row.shift) < MEAN
    assert abs(row.ratio - 1) < RATIO


def pure_groups(pure=12, mixed=2, rows=6):
    """Return levels with successes only, as many without, and some with half of them."""
    y = np.concatenate([np.ones(pure * rows), np.zeros(pure * rows), np.arange(mixed * rows) % 2])
    return pd.DataFrame({"y": y, "g": [f"g{i:02d}" for i in np.repeat(np.arange(2 * pure + mixed), rows)]})


def test_groups_of_one_kind_each_have_the_posterior_of_a_dense_grid():
    """Intercept ~ N(0, 5), sd ~ HalfNormal(10): mean 16.4, sd 5.2, 5 % 9.0, and by 15 nodes 16.05, 5.99, 8.11."""
    data = pure_groups()
    design = bmm.Model("y ~ 1 + (1 | g)", data, "bernoulli").design
    rows = grouped(*codes("bernoulli", "logit"), design.y, design.X, design.blocks[0].Z, design.blocks[0].index, 26)
    intercepts, sds = np.linspace(-15, 15, 31), np.linspace(0.5, 45, 60)
    u = np.linspace(-9, 9, 4001)
    counts, values = np.array([6, 0, 3])[:, None], np.empty((2, 31, 60))
    for (i, b), (j, sd) in product(enumerate(intercepts), enumerate(sds)):
        eta = b + sd * u
        level = np.exp(counts * eta - 6 * np.logaddexp(0, eta) - 0.5 * u**2).sum(axis=1) * (u[1] - u[0])
        values[0, i, j] = np.array([12, 12, 2]) @ (np.log(level) - 0.5 * np.log(2 * np.pi))
        values[1, i, j] = evaluate(rows, np.array([b]), np.array([[sd]]), np.zeros(0), LATTICE).value
    prior = -0.5 * (intercepts[:, None] / 5) ** 2 - 0.5 * (sds / 10) ** 2
    moments = []
    for log_p in values + prior:
        weight = np.exp(log_p - log_p.max()).sum(axis=0)
        weight /= weight.sum()
        mean = weight @ sds
        moments.append([mean, np.sqrt(weight @ (sds - mean) ** 2), np.interp(0.05, weight.cumsum(), sds)])
    assert moments[1] == pytest.approx(moments[0], abs=MEAN * moments[0][1])
    assert moments[0] == pytest.approx([16.38, 5.21, 8.99], abs=0.5)  # of a grid that is coarser here
    inside = values[0] + prior > (values[0] + prior).max() - 20  # elsewhere the grid in u ends before the density does
    assert np.abs(values[1] - values[0])[inside].max() < 1e-3


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize(("family", "link"), [("bernoulli", "logit"), ("poisson", "log"), ("binomial", "probit")])
def test_the_gradient_on_a_plateau(family, link, q):
    """By central differences of the finer rule, which err by 1e-7 of the third derivative."""
    x = np.tile([-0.5, 0.0, 0.5], 4)
    y = np.repeat([1.0, 0.0, 1.0, 0.0], 3) if family != "poisson" else np.repeat([0.0, 4.0, 0.0, 1.0], 3)
    Z = np.column_stack([np.ones(12), x])[:, :q]
    data = grouped(*codes(family, link), y, np.column_stack([np.ones(12), x]), Z, np.repeat(np.arange(4), 3), 4)
    beta, L = np.array([0.3, -0.2]), (6.0 if family != "poisson" else 3.0) * np.array([[1.0, 0.0], [0.4, 0.7]])[:q, :q]
    found = evaluate(data, beta, L, np.zeros(0), LATTICE)
    for j, b in product(range(2), range(2)):
        places = [(beta, found.d_beta, (b,))] + ([(L, found.d_L, (j, b))] if b <= j < q else [])
        for parameter, slope, place in places:
            ends = []
            for side in (1, -1):
                moved = parameter.copy()
                moved[place] += side * 1e-4
                at = (moved, L) if parameter is beta else (beta, moved)
                ends.append(evaluate(data, *at, np.zeros(0), FINE).value)
            assert slope[place] == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=2e-4)


def test_draws_of_the_effects_on_a_plateau():
    """A level of six successes with an sd of 16: half a normal density, with a step of width 1/16 at its left end."""
    D, u = 20_000, np.linspace(-2, 9, 20_001)
    data = grouped(
        *codes("bernoulli", "logit"), np.ones(6), np.ones((6, 1)), np.ones((6, 1)), np.zeros(6, dtype=int), 1
    )
    drawn = draw_effects(
        data, np.zeros((D, 1)), np.full((D, 1, 1), 16.0), np.zeros((D, 2)), np.random.default_rng(0)
    ).ravel()
    p = np.exp(-6 * np.logaddexp(0, -16 * u) - 0.5 * u**2)
    p /= p.sum()
    for prob in (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999):  # shares of draws are binomial: 5 errors
        quantile = 16 * np.interp(prob, p.cumsum(), u)
        assert (drawn < quantile).mean() == pytest.approx(prob, abs=5 * np.sqrt(prob * (1 - prob) / D))


@pytest.mark.parametrize("sd", [1.0, 16.0])
def test_levels_and_rows_left_out_on_a_plateau(sd):
    """One level of six successes, and one whose last row is the only failure."""
    y, u = np.array([1.0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]), np.linspace(-12, 12, 40_001)
    data = sorted_rows(
        *codes("bernoulli", "logit"), y, np.ones(12), np.ones(12), np.ones((12, 1)), np.array([0, 6, 12])
    )
    levels, rows = integrated(data, np.zeros((1, 12)), np.full((1, 1, 1), sd), np.zeros((1, 3)), rows=True)
    for g in range(2):
        own = y[6 * g : 6 * g + 6]
        log_p = own[:, None] * sd * u - np.logaddexp(0, sd * u)
        log_prior = -0.5 * u**2 + np.log((u[1] - u[0]) / np.sqrt(2 * np.pi))
        whole = np.logaddexp.reduce(log_p.sum(axis=0) + log_prior)
        assert levels[0, g] == pytest.approx(whole, abs=1e-4)
        for i in range(6):
            without = np.logaddexp.reduce(np.delete(log_p, i, axis=0).sum(axis=0) + log_prior)
            assert rows[0, 6 * g + i] == pytest.approx(whole - without, abs=1e-4)


@pytest.fixture(scope="module")
def fit():
    return bmm.Model("y ~ 1 + (1 | g)", pure_groups(), "bernoulli").sample(
        draws=60, tune=100, chains=2, seed=1, progress=False
    )


def test_a_posterior_by_too_few_nodes_fails_by_name_and_number(fit, monkeypatch):
    (good,) = check.integrals(fit)
    assert good.ok and good.name == "quadrature" and good.value < 0.01
    assert good.name in [one.name for one in fit.checks()]
    monkeypatch.setattr(check, "LATTICE", 15)  # what posteriors once went by
    (bad,) = check.integrals(fit)
    assert not bad.ok and bad.value > 0.1
    assert f"{bad.value:.2g} in log p (limit 0.02), most at draw" in bad.message


def test_a_maximum_by_too_few_nodes_says_how_far_it_is_off():
    model = bmm.Model("y ~ 1 + (1 | g)", pure_groups(mixed=8), "bernoulli")
    for nagq, way in ((1, "Laplace's approximation"), (5, "the quadrature with 5 nodes")):
        text = " ".join(str(model.maximize(nagq=nagq)).split())
        assert f"Note, integral: {way} may be off here: the log likelihood by it is -" in text
    easy = bmm.Model("ncases ~ ncontrols + (1 | agegp)", bmm.load_dataset("esoph"), "poisson")
    assert "integral" not in str(easy.maximize(nagq=7))


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("rule", [LATTICE, FINE])
def test_a_narrow_mode_beside_a_plateau_as_wide_as_the_prior_ends(q, rule):
    """As many nodes as the prior's sd is times as wide as the mode: 1e9 here. There is no value, and soon."""
    rng = np.random.default_rng(0)
    y, Z = rng.lognormal(size=12), np.column_stack([np.ones(12), rng.normal(size=12)])[:, :q]
    data = grouped(*codes("gaussian", "log"), y, np.ones((12, 1)), Z, np.repeat([0, 1, 2], 4), 3)
    for sd in (1.0, 1e8):
        found = evaluate(data, np.zeros(1), sd * np.eye(q), np.array([1.0]), rule)
        assert found.ok == (sd == 1.0)


@pytest.mark.parametrize("spread", [2.0, 16.0, 40.0])
def test_means_over_new_levels_are_those_of_a_dense_grid(spread):
    """With a fixed step of 0.2 they were off by 5e-4 and 8e-3 with the larger two."""
    z, eta = np.linspace(-9, 9, 20_001), spread * np.linspace(-1, 1, 7)[None]
    weights = np.exp(-0.5 * z**2)
    for link in ("logit", "probit", "cloglog"):
        inverse = LINKS[link].inverse
        exact = inverse(eta[..., None] + spread * z) @ weights / weights.sum()
        assert averaged(inverse, link, eta, np.full(eta.shape, spread)) == pytest.approx(exact, abs=2e-5)
