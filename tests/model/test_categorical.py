"""Categories without an order: direct maxima, Laplace's approximation written out, a grid, predictions, bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from invented import invented
from scipy import optimize, special, stats

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError
from bayesmm.estimation.glmm import Warm, criterion_of, make_problem
from bayesmm.posterior.draws import prior_own_draws, residual_draws


def table(n=160, groups=16, seed=1):
    """Return rows of three categories whose log odds have effects of x and of the group."""
    rng = np.random.default_rng(seed)
    g, x, b = np.arange(n) % groups, rng.normal(size=n), rng.normal(size=(groups, 2)) * [0.9, 0.6]
    eta = np.column_stack([np.zeros(n), 0.3 + 0.8 * x + b[g, 0], -0.4 - 0.6 * x + b[g, 1]])
    y = [rng.choice(["no", "some", "yes"], p=p) for p in special.softmax(eta, axis=1)]
    return pd.DataFrame({"y": y, "x": x, "f": rng.choice(["u", "v"], n), "g": [f"g{i}" for i in g]})


def codes(data):
    return pd.Categorical(data["y"]).codes


def log_p(eta, y):
    """Return the log probability of each row for the log odds (n, K - 1)."""
    whole = np.column_stack([np.zeros(len(eta)), eta])
    return whole[np.arange(len(y)), y] - special.logsumexp(whole, axis=1)


def test_maximum_is_that_of_the_likelihood():
    data = table()
    y, X = codes(data), np.column_stack([np.ones(160), data["x"], data["f"] == "v"]).astype(float)
    best = optimize.minimize(lambda v: -2 * log_p(X @ v.reshape(2, 3).T, y).sum(), np.zeros(6), tol=1e-10)
    point = bmm.Model("y ~ x + f", data, "categorical").maximize()
    assert point.converged and point.npar == 6
    assert point.criterion == pytest.approx(best.fun, abs=1e-7)
    found = point.fixef()
    names = [f"mu{c}_{name}" for c in ("some", "yes") for name in ("Intercept", "x", "f[T.v]")]
    assert list(found.index) == names
    np.testing.assert_allclose(found["estimate"], best.x, atol=2e-5)
    p = point.predict()
    assert list(p) == ["no", "some", "yes"]
    np.testing.assert_allclose(np.log(p.to_numpy()[np.arange(160), y]).sum(), -best.fun / 2, atol=1e-6)
    hessian = [[second(lambda v: -log_p(X @ v.reshape(2, 3).T, y).sum(), best.x, a, b) for a in range(6)]
               for b in range(6)]  # fmt: skip
    np.testing.assert_allclose(found["se"], np.sqrt(np.diag(np.linalg.inv(hessian))), rtol=2e-3)


def second(function, x, a, b, h=1e-3):
    e = h * np.eye(len(x))
    return (function(x + e[a] + e[b]) - function(x + e[a] - e[b]) - function(x - e[a] + e[b])
            + function(x - e[a] - e[b])) / (4 * h * h)  # fmt: skip


def laplace(v, data, offset=0.0):
    """Return log p(y) by Laplace's approximation, written out: v are coefficients (2, 2) and the logs of two sds."""
    y, X = codes(data), np.column_stack([np.ones(len(data)), data["x"]])
    Z = np.kron(pd.get_dummies(data["g"]).to_numpy(float)[:, None, :], np.eye(2)[None])  # (n, 2, 2 G)
    Z, sd = Z.reshape(len(data), 2, -1), np.tile(np.exp(v[4:]), data["g"].nunique())
    A, fixed, u = Z * sd, X @ v[:4].reshape(2, 2).T + np.reshape(offset, (-1, 1)), np.zeros(len(sd))
    for _ in range(50):
        p = special.softmax(np.column_stack([np.zeros(len(y)), fixed + A @ u]), axis=1)[:, 1:]
        s = np.eye(3)[y][:, 1:] - p
        D = np.einsum("ik,kl->ikl", p, np.eye(2)) - np.einsum("ik,il->ikl", p, p)
        H = np.einsum("ika,ikl,ilb->ab", A, D, A) + np.eye(len(u))
        step = np.linalg.solve(H, np.einsum("ika,ik->a", A, s) - u)
        u = u + step
        if np.abs(step).max() < 1e-11:
            break
    return log_p(fixed + A @ u, y).sum() - 0.5 * u @ u - 0.5 * np.linalg.slogdet(H)[1]


def test_random_effects_of_each_category_by_laplace_written_out():
    """At the estimates the same value, and no direction in which it rises."""
    data = table()
    point = bmm.Model("y ~ x + (1 | g)", data, "categorical").maximize()
    sds = point.varcorr()["sdcor"].to_numpy()
    assert list(point.varcorr()["grp"]) == ["musome_g", "muyes_g"]
    v = np.concatenate([point.fixef()["estimate"], np.log(sds)])
    assert point.loglik == pytest.approx(laplace(v, data), abs=1e-6)
    h = 1e-4
    slopes = [(laplace(v + h * e, data) - laplace(v - h * e, data)) / (2 * h) for e in np.eye(6)]
    np.testing.assert_allclose(slopes, 0, atol=2e-3)
    assert set(point.ranef()["grpvar"]) == {"musome_g", "muyes_g"} and len(point.ranef()) == 32


def test_shares_of_variance_are_those_of_each_log_odds():
    """Hedeker (2003): variances beside pi^2 / 3, of the fixed part that of its values over the rows."""
    data = table()
    point = bmm.Model("y ~ x + (1 | g)", data, "categorical").maximize()
    found, (some, yes) = point.icc().table["estimate"], np.square(point.varcorr()["sdcor"])
    np.testing.assert_allclose(found["icc[musome_g]"], some / (some + np.pi**2 / 3), rtol=1e-12)
    fixed = np.var(point.fixef().loc["muyes_x", "estimate"] * data["x"], ddof=1)
    share = point.r2().table["estimate"]["r2_marginal[muyes]"]
    assert share == pytest.approx(fixed / (fixed + yes + np.pi**2 / 3), rel=1e-10)
    assert "Hedeker 2003" in str(point.r2())
    together = bmm.Model("y ~ x + (1 | p | g)", data, "categorical").maximize()
    assert list(together.icc().table.index)[::2] == ["icc[musome_g]", "icc[muyes_g]"]
    assert list(bmm.Model("y ~ x", data, "categorical").maximize().r2().table.index) == ["r2[musome]", "r2[muyes]"]


def test_an_offset_is_added_to_all_log_odds():
    """The likelihood by SciPy; in a model with effects Laplace's written out, and predictions that have it."""
    data = table().assign(z=np.random.default_rng(7).normal(size=160))
    y, X, z = codes(data), np.column_stack([np.ones(160), data["x"]]), data["z"].to_numpy()
    best = optimize.minimize(lambda v: -2 * log_p(X @ v.reshape(2, 2).T + z[:, None], y).sum(), np.zeros(4), tol=1e-10)
    point = bmm.Model("y ~ x + offset(z)", data, "categorical").maximize()
    assert point.criterion == pytest.approx(best.fun, abs=1e-7)
    np.testing.assert_allclose(point.fixef()["estimate"], best.x, atol=2e-5)
    p = point.predict(data.iloc[:5]).to_numpy()
    eta = X[:5] @ best.x.reshape(2, 2).T + z[:5, None]
    np.testing.assert_allclose(p, special.softmax(np.column_stack([np.zeros(5), eta]), axis=1), atol=1e-5)
    mixed = bmm.Model("y ~ x + offset(z) + (1 | g)", data, "categorical")
    assert "{\\text{z}}_{i}" in mixed.equation() and mixed.priors["mu[some]"].parameters["mu"] == pytest.approx(
        -z.mean()
    )
    fitted = mixed.maximize()
    v = np.concatenate([fitted.fixef()["estimate"], np.log(fitted.varcorr()["sdcor"])])
    assert fitted.loglik == pytest.approx(laplace(v, data, z), abs=1e-6)


def test_two_categories_are_a_binary_response():
    data = table().query("y != 'some'")
    one = bmm.Model("y ~ x + (1 | g)", data, "categorical").maximize()
    other = bmm.Model("y ~ x + (1 | g)", data, "bernoulli").maximize()
    assert one.criterion == pytest.approx(other.criterion, abs=1e-6)
    np.testing.assert_allclose(one.fixef()["estimate"], other.fixef()["estimate"], atol=1e-3)
    np.testing.assert_allclose(one.varcorr()["sdcor"], other.varcorr()["sdcor"], rtol=1e-3)


def test_effects_that_are_correlated_over_categories():
    """A name between two bars makes the effects of one level one vector: one more parameter."""
    data = table()
    alone, together = (bmm.Model(f"y ~ x + ({bar})", data, "categorical") for bar in ("1 | g", "1 | p | g"))
    assert len(together.design.blocks) == 1 and together.design.blocks[0].correlated
    one, other = alone.maximize(), together.maximize()
    assert other.npar == one.npar + 1 and other.loglik >= one.loglik - 1e-6


def test_the_posterior_of_log_odds_is_that_of_a_grid():
    rng, t = np.random.default_rng(2), np.arange(-5, 5, 0.02)
    data = pd.DataFrame({"y": rng.choice(["a", "b", "c"], 40, p=[0.3, 0.2, 0.5])})
    model = bmm.Model("y ~ 1", data, "categorical")
    sigma, counts = model.priors["mu[b]"].parameters["sigma"], np.bincount(codes(data))
    pairs = np.array(np.meshgrid(t, t, indexing="ij")).reshape(2, -1).T
    whole = np.column_stack([np.zeros(len(pairs)), pairs])
    density = (whole - special.logsumexp(whole, axis=1, keepdims=True)) @ counts
    density += stats.t.logpdf(pairs, 3, 0, sigma).sum(axis=1)
    p = np.exp(density - density.max())
    p /= p.sum()
    found = model.sample(seed=1, progress=False).fixef()
    for j, label in enumerate(("mub_Intercept", "muc_Intercept")):
        mean = p @ pairs[:, j]
        sd, ess = np.sqrt(p @ pairs[:, j] ** 2 - mean**2), found.loc[label, "ess_bulk"]
        assert found.loc[label, "mean"] == pytest.approx(mean, abs=4.5 * sd / np.sqrt(ess))
        assert found.loc[label, "sd"] == pytest.approx(sd, rel=4.5 / np.sqrt(2 * ess))


@pytest.mark.slow
def test_all_that_is_done_with_categories_without_an_order(tmp_path):
    data = table(96, 8)
    model = bmm.Model("y ~ x + (1 | g)", data, "categorical")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.sample(draws=200, tune=300, chains=2, seed=1, progress=False)
        p = fit.predict()
        assert p.draws.shape == (2, 200, 96, 3)
        np.testing.assert_allclose(p.draws.sum(axis=-1), 1, atol=1e-12)
        new = fit.predict(data.iloc[:2].assign(g="new"), new_levels="sample", seed=1)
        assert new.draws.shape == (2, 200, 2, 3)
        assert np.isfinite(fit.loo().elpd)
        fit.save(tmp_path / "fit.nc")
        again = bmm.load(tmp_path / "fit.nc")
        pd.testing.assert_frame_equal(again.fixef(), fit.fixef())
        np.testing.assert_allclose(again.predict().draws, p.draws)
        assert model.simulate(fit, draws=2, seed=1).shape == (96, 2)
        assert "- \\log P(" in model.equation() and "beta_mu[x, some]" in str(fit)
        assert len(p.plot()) == 8  # a panel for each group
        one, other = fit.icc(), fit.r2()
        sds = fit.tree["posterior"]["sd_musome_g"].to_numpy()[..., 0]
        np.testing.assert_allclose(one.draws["icc[musome_g]"], sds**2 / (sds**2 + np.pi**2 / 3), rtol=1e-12)
        assert list(other.table.index[:2]) == ["r2_marginal[musome]", "r2_conditional[musome]"]
    for ask in (p.numbers, lambda: fit.predict(kind="linear"), lambda: bmm.emmeans(fit, "x")):
        with pytest.raises((DataError, ValueError), match="without an order"):
            ask()
    with pytest.raises((DataError, ValueError), match="without an order"):
        p.plot(cumulative=True)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ 0 + x", "leave '0 \\+' out"),
        ("y ~ cs(x)", "effects of its own"),
        ("y ~ s(x)", "a predictor each"),
        ("y ~ x + z", "depend on others"),
    ],
)
def test_formulas_that_categories_without_an_order_cannot_have(formula, said):
    data = table().assign(z=lambda d: 2 * d["x"])
    with pytest.raises(DataError, match=said):
        bmm.Model(formula, data, "categorical")


def test_responses_of_categories_without_an_order():
    data = table()
    assert bmm.Model("y ~ x", data, "categorical").design.categories == ("no", "some", "yes")
    order = pd.Categorical(data["y"], categories=["yes", "never", "some", "no"])
    design = bmm.Model("y ~ x", data.assign(y=order), "categorical").design
    assert design.categories == ("yes", "some", "no") and any("never" in str(m) for m in design.messages)
    numbered = bmm.Model("y ~ x", data.assign(y=codes(data) + 1), "categorical").design
    assert numbered.categories == ("1", "2", "3")
    with pytest.raises(DataError, match="one category"):
        bmm.Model("y ~ x", data.assign(y="no"), "categorical")


@pytest.mark.parametrize("bar", ["1 | g", "1 | p | g"])
def test_the_gradient_with_four_categories(bar):
    """Of three predictors with effects, with terms of third order in all three."""
    rng, data = np.random.default_rng(3), table(80, 8)
    data["y"] = np.where(rng.uniform(size=80) < 0.3, "maybe", data["y"])
    problem = make_problem(bmm.Model(f"y ~ x + ({bar})", data, "categorical").design)
    criterion = criterion_of(problem, 1, Warm(np.zeros(24)))
    x = np.concatenate([0.8 * np.ones(problem.theta.size), problem.moved(problem.aux)])
    for _ in range(2):
        at, h = x + 0.2 * rng.normal(size=len(x)), 1e-5
        slope = criterion(at)[1]
        found = [(criterion(at + h * e)[0] - criterion(at - h * e)[0]) / (2 * h) for e in np.eye(len(x))]
        np.testing.assert_allclose(slope, found, atol=2e-6 * (1 + np.abs(slope).max()))


def test_columns_that_separate_categories_are_named():
    x = np.tile([-1.0, 0.0, 1.0], 20) + np.linspace(-0.3, 0.3, 60)
    point = bmm.Model("y ~ x", pd.DataFrame({"y": ["a", "b", "c"] * 20, "x": x}), "categorical").maximize()
    assert not point.converged and "grow" in point.message and "beta_mu[x" in point.message


def test_other_data_of_categories_without_an_order():
    """The grouping factor is read again, and the categories are those of the first data."""
    data = table()
    model = bmm.Model("y ~ x + (1 | g)", data, "categorical")
    part = model.with_data(data.iloc[:90])
    assert part.design.n == 90 and part.design.categories == ("no", "some", "yes")
    assert part.maximize().converged
    with pytest.raises(FormulaError, match="grouping factor 'h' is not in the data"):
        bmm.Model("y ~ x + (1 | h)", data, "categorical")


def test_priors_at_the_means_move_the_log_odds_alone():
    """Three categories and two coefficients each: as many log odds as no other parameter has."""
    data = table()
    model = bmm.Model("y ~ x + f", data, "categorical")
    fit = invented(model)
    (_, found), known = prior_own_draws(fit), residual_draws(fit)
    np.testing.assert_array_equal(found["beta_mu"], known["beta_mu"])
    means = np.array([data["x"].mean(), (data["f"] == "v").mean()])
    moved = np.einsum("dck,c->dk", known["beta_mu"].reshape(-1, 2, 2), means)
    np.testing.assert_allclose(found["mu"], known["mu"] + moved, rtol=1e-12)


def test_the_mode_of_the_posterior_does_not_depend_on_where_a_predictor_has_its_zero():
    """The search ends at 1e-6 of an sd; the probabilities follow the parameters."""
    data = table()
    here, there = (bmm.Model("y ~ x + f", data.assign(x=data["x"] + far), "categorical") for far in (0, 50))
    first, other = (model.maximize("MAP").predict().to_numpy() for model in (here, there))
    np.testing.assert_allclose(first, other, atol=1e-5)
