"""Adaptive Gauss-Hermite quadrature against dense grids, lme4's numbers, and central differences."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from densities import AUXILIARIES, CASES, FAMILIES, LINKS, codes, log_density, responses
from references import frame

import bayesmm as bmm
from bayesmm.likelihood.conditional_quadrature import draw_effects
from bayesmm.likelihood.quadrature import check_fits, evaluate, grouped, prepare, rule

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "glmm.json").read_text())["models"]
# lme4's own numbers have 9 decimals of a log likelihood of 150, and come from 101 nodes.
LOGLIK = 1e-7
# Central differences of fourth order with a step of 1e-5 (relative 1e-16 of a value near 100): 1e-9 is seen, and
# 2e-8 at one node.
SLOPE = 1e-7


def problem(family, link, q, seed=0, n=18, G=3):
    """Return rows of a small model as `grouped` takes them, and its parameters."""
    rng = np.random.default_rng([seed, q, FAMILIES.index(family), LINKS.index(link)])
    y, size = responses(family, rng, n)
    y = y / 6 if link == "inverse" else y  # a mean of 1/3, as the linear predictor has it
    X = np.column_stack([np.ones(n), rng.uniform(-1, 1, n)])
    Z = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, 2))])[:, :q]
    beta = np.array([3.0, 0.1]) if link == "inverse" else np.array([0.3, -0.2])
    L = np.tril(rng.uniform(0.2, 0.6, (q, q))) * (0.3 if link == "inverse" else 1.0)  # far from a mean below 0
    aux = np.array([0.8, 4.0])[: AUXILIARIES.get(family, 0)] if family == "student" else np.array([2.0])
    aux = aux[: AUXILIARIES.get(family, 0)]
    rows = dict(y=y, X=X, Z=Z, index=np.repeat(np.arange(G), n // G), n_levels=G, size=size)
    rows |= dict(weights=rng.uniform(0.5, 2, n), offset=rng.uniform(-0.1, 0.1, n))
    return rows, beta, L, aux


def dense(family, link, rows, beta, L, aux):
    """Return the log marginal likelihood by the trapezoid rule, which is spectrally exact for such integrands."""
    q = len(L)
    line = np.linspace(-7.5, 7.5, {1: 601, 2: 151, 3: 35}[q])
    u = np.array(list(product(line, repeat=q)))
    log_prior = -0.5 * (u**2).sum(axis=1) - 0.5 * q * np.log(2 * np.pi) + q * np.log(line[1] - line[0])
    total = 0.0
    for g in range(rows["n_levels"]):
        f = log_prior.copy()
        for i in np.flatnonzero(rows["index"] == g):
            eta = rows["offset"][i] + rows["X"][i] @ beta + u @ L.T @ rows["Z"][i]
            with np.errstate(all="ignore"):
                f += rows["weights"][i] * log_density(family, link, rows["y"][i], rows["size"][i], eta, aux)
        f[np.isnan(f)] = -np.inf  # no density: a mean below 0
        total += np.logaddexp.reduce(f)
    return total


@pytest.mark.parametrize("q", [1, 2, 3])
@pytest.mark.parametrize(("family", "link"), CASES)
def test_the_integral_is_that_of_a_dense_grid(family, link, q):
    rows, beta, L, aux = problem(family, link, q)
    data = grouped(*codes(family, link), **rows)
    truth = dense(family, link, rows, beta, L, aux)
    nodes = {1: 25, 2: 25, 3: 15}[q]
    # what is left of the quadrature: 1e-6 is seen, for the student family, whose densities are not log-concave
    assert evaluate(data, beta, L, aux, nodes).value == pytest.approx(truth, abs=2e-5 if q < 3 else 2e-4)
    assert evaluate(data, beta, L, aux, 1).value != pytest.approx(truth, abs=1e-9) or family == "gaussian"


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("q", [1, 2, 3])
@pytest.mark.parametrize(("family", "link"), CASES)
def test_the_gradient_is_that_of_the_sum_whatever_the_number_of_nodes(family, link, q, k):
    rows, beta, L, aux = problem(family, link, q, seed=1)
    if q == 2:
        L[1] = 0.0  # a standard deviation of 0: the derivative there is that from both sides
    data, below = grouped(*codes(family, link), **rows), np.tril_indices(q)
    x = np.concatenate([beta, L[below], aux])

    def at(x):
        filled = np.zeros((q, q))
        filled[below] = x[2 : 2 + len(below[0])]
        return evaluate(data, x[:2], filled, x[2 + len(below[0]) :], k)

    found = at(x)
    assert found.ok
    gradient = np.concatenate([found.d_beta, found.d_L[below], found.d_aux[: len(aux)]])
    h = 1e-5 * np.eye(len(x))
    for j, slope in enumerate(gradient):
        near, far = (at(x + m * h[j]).value - at(x - m * h[j]).value for m in (1, 2))
        assert slope == pytest.approx((8 * near - far) / 12e-5, abs=SLOPE, rel=SLOPE), j


CANONICAL = [("poisson", "log"), ("bernoulli", "logit"), ("binomial", "logit")]


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize(("family", "link"), CANONICAL)
def test_equal_rows_become_one(family, link, q):
    """Doubled rows are rows of weight 2, and both are what a dense grid says."""
    rows, beta, L, aux = problem(family, link, q, seed=2)
    twice = {k: np.concatenate([v, v]) for k, v in rows.items() if k != "n_levels"} | {"n_levels": rows["n_levels"]}
    heavy = rows | {"weights": 2 * rows["weights"]}
    data = [grouped(*codes(family, link), **given) for given in (twice, heavy)]
    assert [len(each.y) for each in data] == [len(rows["y"])] * 2
    both, one = (evaluate(each, beta, L, aux, 25) for each in data)
    assert both.value == pytest.approx(one.value, rel=1e-13)
    assert both.value == pytest.approx(dense(family, link, twice, beta, L, aux), abs=2e-5)


@pytest.mark.parametrize("factor", [1.0, 30.0, 300.0])
def test_binary_rows_without_weights_are_those_of_a_dense_grid(factor):
    """One logarithm serves many rows of weight 1; where a node is out of reach of its powers nothing is cut off."""
    rows, beta, L, aux = problem("bernoulli", "logit", 1, seed=3, n=90)
    rows |= dict(weights=np.ones(90))
    if factor > 1:  # each level of one kind, so that the mode is far from where the response changes
        rows["y"] = (rows["index"] % 2).astype(float)
    data = grouped(*codes("bernoulli", "logit"), **rows)
    found, truth = evaluate(data, beta, factor * L, aux, 61), dense("bernoulli", "logit", rows, beta, factor * L, aux)
    # a kink of the integrand: the rule is off by 1e-2, a power that is cut off by 1 or more
    assert found.value == pytest.approx(truth, abs=2e-5 if factor == 1 else 0.05)


def packed(model):
    """Return the model's design as data, and lme4's estimates of beta and L."""
    name = model["family"] if model["family"] != "binomial" else "binomial"
    design = bmm.Model(model["formula"], frame(model["data"]), name).design
    estimates = model["exact"]
    beta = [estimates[f"fixef.{'(Intercept)' if c == 'Intercept' else c}.est"] for c in _r_names(design.coefficients)]
    return prepare(design), np.array(beta), np.array([[estimates["vc.agegp.(Intercept).sd"]]])


def _r_names(coefficients):
    return [name.replace("[T.", "").replace("]", "") for name in coefficients]


@pytest.mark.parametrize(
    "name", ["x_esoph_ri", "x_esoph_ri_agq10", "x_esoph_ri_agq25", "x_esoph_binom", "x_esoph_binom_agq10"]
)
def test_lme4_s_numbers(name):
    model = REFERENCE[name]
    data, beta, L = packed(model)
    assert evaluate(data, beta, L, [], 25).value == pytest.approx(model["true_marginal_logLik_at_exact"], abs=LOGLIK)
    if "agq" not in name:
        assert evaluate(data, beta, L, [], 1).value == pytest.approx(model["exact"]["logLik"], abs=LOGLIK)


def test_without_variance_the_groups_do_not_matter():
    rows, beta, _, aux = problem("poisson", "log", 2)
    eta = rows["offset"] + rows["X"] @ beta
    plain = rows["weights"] @ log_density("poisson", "log", rows["y"], rows["size"], eta, aux)
    value = evaluate(grouped(*codes("poisson", "log"), **rows), beta, np.zeros((2, 2)), aux, 7).value
    assert value == pytest.approx(plain, abs=1e-10)  # of a sum near 40


@pytest.mark.parametrize(("family", "link"), CASES)
def test_wild_parameters_have_no_density_and_no_nan(family, link):
    rows, beta, L, aux = problem(family, link, 2)
    data = grouped(*codes(family, link), **rows)
    for b, factor in ((1e3, 1.0), (-1e3, 1.0), (1e300, 1.0), (0.3, 1e4), (0.3, 1e150), (np.nan, 1.0), (np.inf, 1.0)):
        with np.errstate(all="ignore"):
            found = evaluate(data, beta * 0 + b, factor * L, aux, 7)
        assert not np.isnan(found.value)
        for slopes in (found.d_beta, found.d_L, found.d_aux):
            assert np.isfinite(slopes).all()
            assert found.ok or not slopes.any()


def test_the_rule_integrates_polynomials():
    nodes, log_weights = rule(5, 2)
    weights = np.exp(log_weights - 0.5 * (nodes**2).sum(axis=1))
    assert weights.sum() == pytest.approx(1, rel=1e-13)
    assert weights @ (nodes[:, 0] ** 4 * nodes[:, 1] ** 2) == pytest.approx(3, rel=1e-12)


def test_what_it_is_not_for_is_said_in_a_sentence():
    data = frame("esoph").assign(other=np.arange(88) % 5)
    for formula, found in (
        ("ncases ~ 1 + (1 | agegp) + (1 | other)", "1 of agegp and 1 of other"),
        ("ncases ~ 1", "none"),
    ):
        design = bmm.Model(formula, data, "poisson").design
        with pytest.raises(ValueError, match=f"this model has {found}; use effects='explicit'"):
            check_fits(design)


@pytest.mark.parametrize(
    ("family", "link", "q", "sd", "concave"),
    [
        ("poisson", "log", 1, 3.0, True),
        ("poisson", "log", 2, 2.0, True),
        ("bernoulli", "logit", 2, 2.0, True),
        ("binomial", "probit", 1, 3.0, True),
        ("gamma", "log", 2, 1.0, True),
        ("negbinomial", "log", 2, 1.0, True),
        ("negbinomial", "log", 2, 1.0, False),
        ("negbinomial", "log", 1, 0.0, False),
        ("student", "identity", 1, 1.0, False),
    ],
)
def test_draws_of_the_random_effects_have_the_moments_of_a_dense_grid(family, link, q, sd, concave):
    rows, beta, L, aux = problem(family, link, q, seed=2, n=6, G=2)
    rows["y"] = np.zeros(6) if family == "poisson" else rows["y"]  # no event: the most skewed there is
    L = np.array([[sd]]) if q == 1 else np.array([[sd, 0.0], [0.4, 0.7]])
    data, D = grouped(*codes(family, link), **rows), 10_000
    both = np.zeros((D, 2))
    both[:, : len(aux)] = aux
    rng = np.random.default_rng(0)
    drawn = draw_effects(data, np.tile(beta, (D, 1)), np.tile(L, (D, 1, 1)), both, rng, concave=concave)
    line = np.linspace(-8, 8, 401 if q == 1 else 201)
    u = np.array(list(product(line, repeat=q)))
    for g in range(2):
        f = -0.5 * (u**2).sum(axis=1)
        for i in np.flatnonzero(rows["index"] == g):
            eta = rows["offset"][i] + rows["X"][i] @ beta + u @ L.T @ rows["Z"][i]
            f += rows["weights"][i] * log_density(family, link, rows["y"][i], rows["size"][i], eta, aux)
        p = np.exp(f - f.max())
        p, b = p / p.sum(), u @ L.T
        for j in range(q):
            mean = p @ b[:, j]
            spread = np.sqrt(p @ (b[:, j] - mean) ** 2)
            fourth = p @ (b[:, j] - mean) ** 4
            # the draws are independent, so that these are their standard errors; 5 of them
            assert drawn[:, g, j].mean() == pytest.approx(mean, abs=5 * spread / np.sqrt(D) + 1e-12)
            error = np.sqrt(max(fourth - spread**4, 0) / D)
            assert drawn[:, g, j].var() == pytest.approx(spread**2, abs=5 * error + 1e-12)
            for prob in (0.05, 0.95):  # the share of draws below a quantile is binomial
                below = p[b[:, j] <= np.quantile(drawn[:, g, j], prob)].sum()
                cell = p.max() if sd else 1.0  # the grid's own resolution
                assert below == pytest.approx(
                    prob, abs=5 * np.sqrt(prob * (1 - prob) / D) + 1.5 * cell * 201 ** (q - 1)
                )


def test_a_level_with_two_modes_has_draws():
    """An outlier makes f flat and convex between two modes, where the search for one must not end."""
    y = np.array([46.9, 48.2, 49.0, 50.9, 51.4, 68.3])  # the last one is the outlier
    data = grouped(*codes("student", "identity"), y, np.ones((6, 1)), np.ones((6, 1)), np.zeros(6, dtype=int), 1)
    rng, D = np.random.default_rng(0), 2000
    beta, L = rng.uniform(48, 54, (D, 1)), rng.uniform(1, 8, (D, 1, 1))
    aux = np.column_stack([rng.uniform(0.4, 2.0, D), rng.uniform(0.8, 3.0, D)])
    assert np.isfinite(draw_effects(data, beta, L, aux, rng)).all()


def test_the_same_stream_gives_the_same_draws():
    rows, beta, L, _ = problem("bernoulli", "logit", 2)
    data = grouped(*codes("bernoulli", "logit"), **rows)
    arguments = np.tile(beta, (3, 1)), np.tile(L, (3, 1, 1)), np.zeros((3, 2))
    first, second = (draw_effects(data, *arguments, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, draw_effects(data, *arguments, np.random.default_rng(6)))
