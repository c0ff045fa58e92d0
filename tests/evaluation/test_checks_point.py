"""The checks of a maximised model: against dense formulas, refits, and data that have what is looked for."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from influence import dfbetas
from invented import draws, invented
from scipy import stats

import bayesmm as bmm
from bayesmm.evaluation.checks.fitted import of_fit, of_point
from bayesmm.evaluation.checks.groups import _Parts, judged_terms, moves_of_terms
from bayesmm.evaluation.checks.order import P_LIMIT, lag_one, time_of
from bayesmm.evaluation.checks.point import effective_parameters

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@functools.cache
def data():
    rng, group = np.random.default_rng(1), np.repeat(np.arange(30), 8)
    x, effect = rng.normal(size=240), 0.5 * rng.normal(size=30)[group]
    mean = np.exp(1 + 0.4 * x + effect)
    noise = np.empty((30, 8))
    noise[:, 0] = rng.normal(size=30)
    for t in range(1, 8):  # AR(1)
        noise[:, t] = 0.6 * noise[:, t - 1] + 0.8 * rng.normal(size=30)
    return pd.DataFrame(
        {
            "x": x,
            "g": [f"g{k:02}" for k in group],
            "t": np.tile(np.arange(8), 30),
            "right": rng.poisson(mean),
            "wide": rng.poisson(mean * rng.gamma(1, 1, size=240)),
            "empty": rng.poisson(mean) * (rng.random(240) > 0.3),
            "n": np.full(240, 12),
            "hits": rng.binomial(12, stats.logistic.cdf(x + 1.5 * rng.normal(size=240))),
            "chained": x + effect + noise.ravel(),
            "white": x + effect + rng.normal(size=240),
            "sloped": x + effect + 0.6 * rng.normal(size=30)[group] * x + rng.normal(size=240),
        }
    )


def fit(formula, family="gaussian", table=None, **options):
    return bmm.Model(formula, data() if table is None else table, family, **options).maximize()


def found(point, name, **options):
    return {check.name: check for check in point.checks(**options)}[name]


# ----------------------------------------------------------------------------------------------------------------------
# dispersion and zeros


def test_without_random_effects_it_is_pearsons_chi2_over_n_less_p():
    """R: sum(residuals(m, "pearson")^2) / df.residual(m), by Fisher's scoring written out."""
    y, X, beta = data()["wide"].to_numpy(), np.column_stack([np.ones(240), data()["x"]]), np.array([1.0, 0.0])
    for _ in range(50):
        mu = np.exp(X @ beta)
        beta = beta + np.linalg.solve(X.T @ (mu[:, None] * X), X.T @ (y - mu))
    expected = np.sum((y - mu) ** 2 / mu) / 238
    check = found(fit("wide ~ x", "poisson"), "dispersion")
    assert check.value == pytest.approx(expected, rel=1e-7)
    assert check.note and "use family='negbinomial'" in check.message


def test_of_successes():
    """The same with the binomial's variance; its remedy is an effect of each row."""
    point = fit("hits ~ x", "binomial", trials="n")
    p = point.fitted
    check = found(point, "dispersion")
    assert check.value == pytest.approx(np.sum((data()["hits"] - 12 * p) ** 2 / (12 * p * (1 - p))) / 238, rel=1e-9)
    assert check.note and "(1 | row)" in check.message


@pytest.mark.parametrize(
    ("family", "formula"), [("poisson", "right ~ x + (1 | g)"), ("gaussian", "sloped ~ x + (x | g)")]
)
def test_effective_parameters_are_the_trace_of_the_dense_hat_matrix(family, formula):
    point = fit(formula, family)
    design, block, fitted = point.design, point.design.blocks[0], of_point(point)
    G, q = len(block.levels), len(block.columns)
    Z = np.zeros((design.n, G * q))
    for i in range(design.n):
        Z[i, block.index[i] * q : block.index[i] * q + q] = block.Z[i]
    M, W = np.hstack([design.X, Z]), np.diag(fitted.information)
    P = np.zeros((len(M.T), len(M.T)))
    P[design.p :, design.p :] = np.kron(np.eye(G), np.linalg.inv(point.covariances[0]))
    hat = np.linalg.solve(M.T @ W @ M + P, M.T @ W @ M)
    # beta_cov of a Poisson model is from the Hessian in all parameters, here from the information: 1 % of its part
    assert effective_parameters(point, fitted) == pytest.approx(
        np.trace(hat), rel=1e-6 if family == "gaussian" else 2e-3
    )


def test_a_right_model_has_no_notes():
    point = fit("right ~ x + (1 | g)", "poisson")
    assert not [check.name for check in point.checks() if check.note or not check.ok]
    assert "Note" not in str(point)


def test_zeros_are_counted_beside_those_of_the_model():
    """Expected: the sum of exp(-mu); 5 standard errors of 400 simulations."""
    point = fit("empty ~ x + (1 | g)", "poisson")
    check = found(point, "zeros")
    expected, zeros = np.exp(-point.fitted).sum(), int((data()["empty"] == 0).sum())
    said = float(check.message.split("expects ")[1].split(",")[0])
    assert said == pytest.approx(expected, abs=5 * np.sqrt(expected / 400) + 0.05)
    assert check.message.startswith(f"{zeros} zeros") and check.note
    printed = " ".join(str(point).split())
    assert printed.count("Note, ") == 1  # a part of the note on the dispersion
    assert f"{found(point, 'dispersion').message} There are {check.message}" in printed


def test_the_size_of_the_test_of_dispersion():
    """Of 150 right models with 12 groups of 5 about 1 % have a note: 5 binomial standard errors above."""
    rng, notes = np.random.default_rng(5), 0
    group = np.repeat(np.arange(12), 5)
    for _ in range(150):
        y = rng.poisson(np.exp(0.5 + 0.7 * rng.normal(size=12)[group]))
        point = fit("y ~ 1 + (1 | g)", "poisson", {"y": y, "g": [f"g{k}" for k in group]})
        notes += found(point, "dispersion").note
    assert notes / 150 < 0.01 + 5 * np.sqrt(0.01 * 0.99 / 150)


def test_what_is_not_judged():
    for point in (fit("white ~ x"), bmm.Model("y ~ x", data().assign(y=data()["x"] > 0), "bernoulli", priors=None)):
        point = point if hasattr(point, "checks") else point.maximize("MAP")
        assert {found(point, name).status for name in ("dispersion", "zeros")} == {"not judged"}


# ----------------------------------------------------------------------------------------------------------------------
# order


def test_neighbours_that_are_alike_are_found():
    point = fit("chained ~ x + t + (1 | g)")
    check = found(point, "autocorrelation")
    assert check.note and "(t | g)" in check.message
    assert "Note, autocorrelation" in str(point)
    assert not found(fit("white ~ x + t + (1 | g)"), "autocorrelation").note
    named = found(fit("chained ~ x + (1 | g)"), "autocorrelation", time=data()["t"])
    assert named.note and "follow each other in time" in named.message


def test_a_small_p_of_a_small_autocorrelation_passes_and_says_why():
    rng, group = np.random.default_rng(3), np.repeat(np.arange(40), 60)
    noise = rng.normal(size=(40, 61))
    table = {"y": (noise[:, 1:] + 0.15 * noise[:, :-1]).ravel(), "t": np.tile(np.arange(60), 40), "g": group}
    point = fit("y ~ 1 + (1 | g)", table=table | {"g": [f"g{k}" for k in group]})
    check = found(point, "autocorrelation", time=table["t"])
    assert check.status == "passed" and check.value < P_LIMIT
    assert check.message.endswith("(limit 0.01); below 0.25 it changes standard errors by little")


def test_the_autocorrelation_is_the_sum_of_neighbours():
    """Written out for two groups of rows in another order; the mean over orders within a group is -1 / (m - 1)."""
    rng = np.random.default_rng(2)
    e, group = rng.normal(size=400), np.repeat([0, 1], 200)
    time = rng.permutation(400)
    products = 0.0
    for g in (0, 1):
        own = e[group == g][np.argsort(time[group == g])]
        e[group == g] -= own.mean()
        own = own - own.mean()
        products += np.sum(own[1:] * own[:-1])
    r, p = lag_one(e, group, time)
    # 398 pairs of 400 rows; the mean of 499 orders has a standard error of 1 / sqrt(400 * 499) = 0.0022
    assert r == pytest.approx(products / (np.sum(e**2) * 398 / 400) + 1 / 199, abs=0.011)
    assert 0.01 < p < 1


def test_days_are_a_time_and_a_covariate_is_none():
    sleep = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.load_dataset("sleepstudy"))
    assert time_of(sleep.design)[0] == "Days"
    assert "(Days | Subject)" in found(sleep.maximize(), "autocorrelation").message  # the slopes are missing
    assert time_of(bmm.Model("white ~ x + (1 | g)", data()).design) == ("", None)
    assert time_of(bmm.Model("white ~ x + (1 | g) + (1 | t)", data()).design) == ("", None)  # t numbers items


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("T", r"time names 'T', which is no column of the model"),
        ([1, 2], "240 rows of the model, not 2"),
        ("g", "'g' should hold dates"),
    ],
)
def test_what_is_no_time_is_said(time, message):
    with pytest.raises(ValueError, match=message):
        fit("white ~ x + (1 | g)").checks(time=time)


# ----------------------------------------------------------------------------------------------------------------------
# groups


def test_influence_is_that_of_the_dense_refit_with_the_variances_held():
    point = fit("white ~ x + (x | g)")
    block, Sigma = point.design.blocks[0], point.covariances[0]
    X, y = point.design.X, point.design.y
    same = block.index[:, None] == block.index[None, :]
    V = (block.Z @ Sigma @ block.Z.T) * same + point.sigma**2 * np.eye(240)
    moved, se = dfbetas(_Parts.of(of_point(point)), block), np.sqrt(np.diag(point.beta_cov))
    for g in (0, 7, 29):
        keep = block.index != g
        inverse = np.linalg.inv(V[np.ix_(keep, keep)])
        beta = np.linalg.solve(X[keep].T @ inverse @ X[keep], X[keep].T @ inverse @ y[keep])
        np.testing.assert_allclose(moved[g], (point.beta - beta) / se, rtol=1e-6, atol=1e-9)


def test_influence_of_counts_is_about_that_of_a_refit():
    """One step of Newton's method with the sd held, beside a fit without the group that estimates it anew."""
    point = fit("right ~ x + (1 | g)", "poisson")
    moved, se = dfbetas(_Parts.of(of_point(point)), point.design.blocks[0]), np.sqrt(np.diag(point.beta_cov))
    for level in ("g03", "g11", "g20"):
        other = fit("right ~ x + (1 | g)", "poisson", data()[data()["g"] != level])
        g = point.design.blocks[0].levels.index(level)
        np.testing.assert_allclose(moved[g], (point.beta - other.beta) / se, atol=0.08)


def test_a_group_far_out_is_named():
    table = data().assign(x=lambda d: np.where(d["g"] == "g05", 6, 1) * d["x"])
    table["white"] += np.where(table["g"] == "g05", 2, 0) * table["x"]
    check = found(fit("white ~ x + (1 | g)", table=table), "influential groups")
    assert check.note and "without 'g05' of g, x would move by" in check.message


def test_crossed_factors_are_exact_too():
    """The dense refit again, with V of both factors; both are looked at."""
    table = data().assign(item=lambda d: d["t"].astype(str))
    point = fit("white ~ x + (1 | g) + (1 | item)", table=table)
    blocks, X, y = point.design.blocks, point.design.X, point.design.y
    V = point.sigma**2 * np.eye(240)
    for block, Sigma in zip(blocks, point.covariances, strict=True):
        V += Sigma[0, 0] * (block.index[:, None] == block.index[None, :])
    parts, se = _Parts.of(of_point(point)), np.sqrt(np.diag(point.beta_cov))
    for block in blocks:
        keep = block.index != 3
        inverse = np.linalg.inv(V[np.ix_(keep, keep)])
        beta = np.linalg.solve(X[keep].T @ inverse @ X[keep], X[keep].T @ inverse @ y[keep])
        np.testing.assert_allclose(dfbetas(parts, block)[3], (point.beta - beta) / se, rtol=1e-6, atol=1e-9)
    assert found(point, "influential groups").status in ("passed", "note")


def test_two_groups_are_too_few():
    two = data().assign(h=lambda d: d["g"] < "g15")
    assert found(fit("white ~ x + (1 | h)", table=two), "influential groups").status == "not judged"


# ----------------------------------------------------------------------------------------------------------------------
# the rest


def test_singular_and_stopped_fits():
    rng = np.random.default_rng(3)
    table = data().assign(y=rng.binomial(10, stats.logistic.cdf(data()["x"])))
    point = fit("y ~ x + (1 | g)", "negbinomial", table)
    assert found(point, "singular").note and "leave the term out" in found(point, "singular").message
    assert not found(point, "convergence").ok and "poisson" in found(point, "convergence").message
    assert fit("white ~ x").checks()[1].message == "the model has no random effects"


def test_every_check_has_its_source():
    checks = fit("right ~ x + (1 | g)", "poisson").checks()
    assert all(check.source for check in checks)
    assert {check.name for check in checks if check.source == "ours"} == {"convergence", "singular"}


def test_a_posterior_is_looked_at_at_its_means():
    fit_ = invented(bmm.Model("white ~ x + (x | g)", data()))
    fitted, beta, b = of_fit(fit_), draws(fit_, "beta"), draws(fit_, "b_g")
    block = fit_.design.blocks[0]
    eta = fit_.design.X @ beta.mean(axis=0) + np.einsum("ij,ij->i", block.Z, b.mean(axis=0)[block.index])
    np.testing.assert_allclose(fitted.eta, eta, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fitted.beta_cov, np.cov(beta.T), rtol=1e-12)
    sd, R = draws(fit_, "sd_g"), draws(fit_, "corr_g")
    np.testing.assert_allclose(fitted.covariances[0], np.mean(sd[:, :, None] * R * sd[:, None, :], axis=0), rtol=1e-9)
    assert {"autocorrelation", "influential groups"} <= {check.name for check in fit_.checks(time="x")}


def test_many_rows_have_orders_enough_for_the_limit():
    n, groups = 60_000, 6_000
    e = np.repeat(np.random.default_rng(0).normal(size=n // 2), 2)  # each twice: neighbours are alike
    r, p = lag_one(e, np.repeat(np.arange(groups), n // groups), np.tile(np.arange(n // groups), groups))
    assert r > 0.3 and p < P_LIMIT


def test_a_variance_that_rounding_leaves_below_zero_is_none():
    """As where columns nearly depend on others: its coefficient moves by nothing, and no warning comes from NumPy."""
    point = fit("white ~ x + (1 | g)", "gaussian")
    parts = _Parts.of(of_point(point))
    block, low = point.design.blocks[0], parts.cov.copy()
    low[1] = low[:, 1] = 0.0
    low[1, 1] = -1e-20
    assert (moves_of_terms(replace(parts, cov=low), block, judged_terms(point.design))[:, 1] == 0).all()
