"""Random effects of each threshold, (cs(1) | g), and discriminations of sequential and adjacent categories.

Against Laplace's approximation written out, likelihoods by SciPy, a grid, and models of the steps as 0 and 1.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

import bayesmm as bmm
from bayesmm.design.parameters import variance_parameters
from bayesmm.errors import DataError, FormulaError

N, G = 240, 16
FAMILIES = ("sratio", "acat")


def table(seed=1):
    """Return rows of three categories by two steps, whose thresholds have effects of the group each."""
    rng = np.random.default_rng(seed)
    g, x, b = np.arange(N) % G, rng.normal(size=N), rng.normal(size=(G, 2)) * [0.9, 0.7]
    stops = rng.random((N, 2)) < special.expit([-0.5, 0.6] - 0.8 * x[:, None] - b[g])
    y = np.where(stops[:, 0], 1, np.where(stops[:, 1], 2, 3))
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i:02d}" for i in g]})


DATA = table()
Y = DATA["y"].to_numpy()
X = DATA["x"].to_numpy()
INDEX = pd.Categorical(DATA["g"]).codes


def pieces(name, s):
    """Return log p of each row at threshold - predictor, (n, 2), its gradient (n, 2) and its Hessian (n, 2, 2)."""
    if name == "sratio":
        reached, stops = Y[:, None] >= [1, 2], Y[:, None] == [1, 2]
        F = special.expit(s)
        value = np.where(stops, -np.logaddexp(0, -s), np.where(reached, -np.logaddexp(0, s), 0)).sum(axis=1)
        H = np.zeros((len(s), 2, 2))
        H[:, [0, 1], [0, 1]] = -F * (1 - F) * reached
        return value, stops - F * reached, H
    logs = np.column_stack([np.zeros(len(s)), np.cumsum(-s, axis=1)])
    p, above = special.softmax(logs, axis=1), np.array([[0, 1, 1], [0, 0, 1]])  # of Y > 1, of Y > 2
    means = p @ above.T
    H = means[:, :, None] * means[:, None, :] - np.einsum("ic,kc,lc->ikl", p, above, above)
    return logs[np.arange(len(s)), Y - 1] - special.logsumexp(logs, axis=1), means - above[:, Y - 1].T, H


def laplace(name, tau, beta, Sigma):
    """Return log p(y) by Laplace's approximation: the effects, of covariance Sigma, are taken from the thresholds."""
    A = np.zeros((N, 2, 2 * G))
    for k in (0, 1):
        A[np.arange(N), k, 2 * INDEX] = -np.linalg.cholesky(Sigma)[k, 0]
        A[np.arange(N), k, 2 * INDEX + 1] = -np.linalg.cholesky(Sigma)[k, 1]
    fixed, u = np.asarray(tau) - beta * X[:, None], np.zeros(2 * G)
    for _ in range(50):
        _, slope, curve = pieces(name, fixed + A @ u)
        H = np.eye(2 * G) - np.einsum("ika,ikl,ilb->ab", A, curve, A)
        step = np.linalg.solve(H, np.einsum("ika,ik->a", A, slope) - u)
        u = u + step
        if np.abs(step).max() < 1e-11:
            break
    return pieces(name, fixed + A @ u)[0].sum() - 0.5 * u @ u - 0.5 * np.linalg.slogdet(H)[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_effects_of_each_threshold_by_laplace_written_out(name):
    """At the estimates the same value, and no direction in which it rises."""
    point = bmm.Model("y ~ x + (cs(1) | g)", DATA, name).maximize()
    assert point.converged and point.npar == 6
    (Sigma,), tau, (beta,) = point.covariances, point.residual["threshold"], point.beta
    assert point.loglik == pytest.approx(laplace(name, tau, beta, Sigma), abs=1e-7)

    def moved(v):
        L = np.linalg.cholesky(Sigma) + np.array([[v[3], 0], [v[4], v[5]]])
        return laplace(name, tau + v[:2], beta + v[2], L @ L.T)

    slopes = [(moved(1e-4 * e) - moved(-1e-4 * e)) / 2e-4 for e in np.eye(6)]
    np.testing.assert_allclose(slopes, 0, atol=2e-3)
    assert list(point.varcorr()["var1"][:2]) == ["cs[1|2]_Intercept", "cs[2|3]_Intercept"]
    b = point.ranef().pivot(index="grp", columns="term", values="condval")
    pd.testing.assert_frame_equal(point.coef()["g"], tau - b, check_names=False)
    levels = point.coef()["g"].to_numpy()[INDEX]  # the thresholds of each row's level, by which it is predicted
    chosen = np.log(point.predict().to_numpy()[np.arange(N), Y - 1])
    np.testing.assert_allclose(chosen, pieces(name, levels - beta * X[:, None])[0], rtol=1e-8)


def test_effects_of_steps_are_those_of_a_binary_response_of_each():
    """With independent effects and a slope for each step the likelihood is a product of two."""
    whole = bmm.Model("y ~ cs(x) + (cs(1) || g)", DATA, "sratio").maximize()
    one = bmm.Model("stop ~ x + (1 | g)", DATA.assign(stop=(Y == 1) * 1), "bernoulli").maximize()
    rest = DATA[Y > 1]
    two = bmm.Model("stop ~ x + (1 | g)", rest.assign(stop=(rest["y"] == 2) * 1), "bernoulli").maximize()
    assert whole.criterion == pytest.approx(one.criterion + two.criterion, abs=1e-6)
    np.testing.assert_allclose(whole.varcorr()["sdcor"], [p.varcorr()["sdcor"].iloc[0] for p in (one, two)], atol=1e-4)
    np.testing.assert_allclose(whole.residual["threshold"], [one.beta[0], two.beta[0]], atol=1e-4)
    np.testing.assert_allclose(whole.residual["cs"], [-one.beta[1], -two.beta[1]], atol=1e-4)


def test_slopes_of_each_threshold_beside_a_common_intercept():
    model = bmm.Model("y ~ x + (cs(x) | g)", DATA, "acat")
    assert model.design.blocks[0].columns == ("Intercept", "cs[1|2]_x", "cs[2|3]_x")
    alone = bmm.Model("y ~ x + (0 + cs(x) || g)", DATA, "acat").maximize()
    assert list(alone.varcorr()["var1"]) == ["cs[1|2]_x", "cs[2|3]_x"]
    np.testing.assert_allclose(  # a common effect of the level, of which both thresholds have the same
        alone.coef()["g"][["cs[1|2]_x", "cs[2|3]_x"]].to_numpy(),
        alone.ranef().pivot(index="grp", columns="term", values="condval").to_numpy(),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_discrimination_is_the_likelihood_written_out(name):
    def deviance(v):
        scale = np.exp(v[3] * X)[:, None]
        return -2 * pieces(name, scale * (v[:2] - v[2] * X[:, None]))[0].sum()

    best = optimize.minimize(deviance, np.zeros(4), tol=1e-12)
    point = bmm.Model(("y ~ x", "disc ~ x"), DATA, name).maximize()
    assert point.converged and point.criterion == pytest.approx(best.fun, abs=1e-8)
    found = [*point.residual["threshold"], *point.beta, *point.residual["log_disc"]]
    np.testing.assert_allclose(found, best.x, atol=2e-5)
    p = point.predict().to_numpy()
    assert np.log(p[np.arange(N), Y - 1]).sum() == pytest.approx(-best.fun / 2, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_posterior_with_a_discrimination_is_that_of_a_grid(name):
    """Thresholds at the means, a slope and the log discrimination: 19 points of each over all that was drawn."""
    fit = bmm.Model(("y ~ x", "disc ~ x"), DATA, name).sample(draws=2000, seed=3, progress=False)
    labels, priors, m = ("threshold[1|2]", "threshold[2|3]", "beta[x]", "log_disc[x]"), fit.model.priors, X.mean()
    tree = fit.tree["posterior"].to_dataset()
    draws = np.column_stack([tree[k].to_numpy().reshape(8000, -1) for k in ("threshold", "beta", "log_disc")])
    draws[:, :2] -= draws[:, 2:3] * m
    axes = [np.linspace(v.min() - v.std(), v.max() + v.std(), 19) for v in draws.T]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 4)

    def prior(label, at):
        own = priors[label].parameters
        if "nu" in own:
            return stats.t(own["nu"], own.get("mu", 0.0), own["sigma"]).logpdf(at)
        return stats.norm(own.get("mu", 0.0), own["sigma"]).logpdf(at)

    logs = sum(prior(label, grid[:, k]) for k, label in enumerate(labels))
    for i, (t1, t2, beta, delta) in enumerate(grid):
        s = np.exp(delta * X)[:, None] * (np.array([t1, t2]) - beta * (X - m)[:, None])
        logs[i] += pieces(name, s)[0].sum()
    w = special.softmax(logs)
    grid[:, :2] += grid[:, 2:3] * m  # as they are reported: where x is 0
    means = w @ grid
    sds = np.sqrt(w @ np.square(grid - means))
    own = fit.summary().loc[list(labels)]
    np.testing.assert_allclose((own["mean"] - means) / sds, 0, atol=0.1)  # of 2,000 effective draws 0.02 sds
    np.testing.assert_allclose(own["sd"], sds, rtol=0.08)


def test_random_effects_of_a_discrimination():
    point = bmm.Model(("y ~ x", "disc ~ 1 + (1 | g)"), DATA, "sratio").maximize()
    assert point.converged and list(point.varcorr()["grp"]) == ["disc_g"]
    plain = bmm.Model("y ~ x", DATA, "sratio").maximize()
    assert point.criterion <= plain.criterion + 1e-6


@pytest.mark.parametrize(
    ("formula", "family", "said"),
    [
        ("y ~ x + (cs(1) | g)", "cumulative", "thresholds have to ascend in every level; families .* sratio, acat"),
        ("y ~ x + (cs(1) | g)", "categorical", r"has effects of its own; write \(1 \| g\) without"),
        ("y ~ x + (cs(1) | g)", "poisson", "poisson family has no thresholds"),
    ],
)
def test_families_without_effects_of_thresholds_say_so(formula, family, said):
    with pytest.raises(DataError, match=said):
        bmm.Model(formula, DATA, family)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ x + (1 + cs(1) | g)", "an intercept of each threshold leaves none for all of them"),
        ("y ~ x + (cs(1) | g) + (1 | g)", "both give"),
        ("y ~ x + (cs(1) + cs(x) | g)", "a group term has one cs()"),
        ("y ~ x + (x + cs(x) | g)", "stands in cs"),
        ("y ~ x + (cs(1) | gr(g, by = x))", "a plain factor"),
        ("y ~ x + (cs(1) | mm(g, x))", "a plain factor"),
        ("y ~ x + (cs(s(x)) | g)", "cannot vary over groups"),
        ("y ~ x + (0 + cs(0) | g)", "names no effects"),
        ("y ~ x + ar1(cs(1) | g)", "a plain bar"),
        ("y ~ x + (cs((1 | x)) | g)", "has terms in it"),
    ],
)
def test_group_terms_with_cs_that_mean_nothing(formula, said):
    with pytest.raises((FormulaError, DataError), match=said.replace("(", r"\(").replace(")", r"\)")):
        bmm.Model(formula, DATA, "sratio")


def test_what_effects_of_thresholds_are_called():
    """In the equation with one k for all; R^2, which has one linear predictor, says that there are several."""
    model = bmm.Model("y ~ x + (cs(1) | g)", DATA, "sratio")
    assert r"\tau_{k} - \eta_{i} - b_{\text{cs[k]\_Intercept},\text{g}[i]}" in model.equation()
    assert "on the logit scale" in str(model).split("sd_g[cs[1|2]_Intercept]")[1].split("\n")[0]
    with pytest.raises(DataError, match=r"not defined where cs\[1\|2\], cs\[2\|3\] have random effects"):
        model.maximize().r2()


@pytest.mark.parametrize(
    ("bar", "sds"),
    [("(cs(x) || g)", 3), ("(cs(1 + x) || g)", 4), ("(x + cs(1) || g)", 3), ("(cs(1) || g)", 2), ("(cs(x) | g)", 3)],
)
def test_each_column_of_independent_effects_has_one_sd(bar, sds):
    """Two terms of one key, with what they have in common beside cs(): its sds were counted twice."""
    design = bmm.Model(f"y ~ x + {bar}", DATA, "sratio").design
    (block,) = design.blocks
    labels = [parameter.label for parameter in variance_parameters(design) if parameter.kind == "sd"]
    assert len(block.columns) == sds and len(labels) == len(set(labels)) == sds
    assert sorted(column for part in block.parts for column in part.columns) == list(range(sds))
