"""Effects of each threshold, cs(x): no linear predictor has them, and nothing that is computed from one is 0 then."""

import numpy as np
import pandas as pd
import pytest
from invented import invented
from scipy import special

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.posterior.residuals import replicates_of_new_groups
from bayesmm.results import Fit


def table():
    rng, n = np.random.default_rng(0), 120
    data = pd.DataFrame({"x": rng.normal(10, 1, n), "f": rng.choice(["a", "b"], n), "g": np.arange(n) % 12})
    latent = 0.5 * (data["x"] - 10) + rng.logistic(size=n)
    return data.assign(o=np.digitize(latent, [-1, 1]) + 1)


@pytest.fixture(scope="module")
def point():
    return bmm.Model("o ~ cs(f) + x", table(), "cumulative").maximize()


ASKED = {
    "means": lambda p: bmm.emmeans(p, "f"),
    "means within": lambda p: bmm.emmeans(p, "x", by="f", at={"x": [9, 10]}),
    "comparisons": lambda p: bmm.comparisons(p, "f", kind="linear"),
    "rows": lambda p: bmm.predictions(p, kind="linear"),
    "predict": lambda p: p.predict(kind="linear"),
}


@pytest.mark.parametrize("name", ASKED)
def test_no_linear_predictor_has_the_effect_of_a_threshold(point, name):
    """Contrasts of f were 0 with a standard error of 0."""
    with pytest.raises(DataError, match=r"f has an effect on each threshold, by cs\(f\).*use kind='mean'"):
        ASKED[name](point)


def test_common_effects_beside_it_are_there(point):
    beta = point.fixef().loc["x", "estimate"]
    means = bmm.emmeans(point, "x", at={"x": [9, 10]}).pairs().table
    assert means["estimate"].iloc[0] == pytest.approx(-beta)
    assert bmm.slopes(point, "x", kind="linear").table["estimate"].iloc[0] == pytest.approx(beta, rel=1e-6)
    assert bmm.comparisons(point, "x", kind="linear").table["estimate"].iloc[0] == pytest.approx(beta)


def test_mean_categories_know_of_the_effects_and_their_errors(point):
    """By hand: the likelihood's Hessian by differences, and the delta method."""
    frame, family = table(), special.expit
    f, x, y = (frame["f"] == "b").to_numpy(float), frame["x"].to_numpy(), point.design.y.astype(int)
    k = len(point.residual["threshold"])
    at = np.concatenate([point.beta, point.residual["threshold"], point.residual["cs"]])

    def shares(v, f, x):
        thresholds = v[1 : 1 + k] - v[1 + k :] * np.reshape(f, (-1, 1)) - v[0] * np.reshape(x, (-1, 1))
        ends = np.column_stack([np.zeros(len(thresholds)), family(thresholds), np.ones(len(thresholds))])
        return np.diff(ends, axis=1)

    def value(v):
        return -np.log(shares(v, f, x)[np.arange(len(y)), y - 1]).sum()

    steps = 1e-4 * np.eye(len(at))
    H = [[value(at + a + b) - value(at + a - b) - value(at - a + b) + value(at - a - b) for b in steps] for a in steps]
    covariance = np.linalg.inv(np.array(H) / 4e-8)
    found = bmm.emmeans(point, "f", kind="mean").table
    for level, row in zip((0.0, 1.0), found.itertuples(), strict=True):
        means = [shares(at + sign * h, level, x.mean()) @ np.arange(1, k + 2) for h in steps for sign in (1, -1)]
        slope = (np.array(means[::2]) - np.array(means[1::2])).ravel() / 2e-4
        assert row.se == pytest.approx(np.sqrt(slope @ covariance @ slope), rel=1e-4)


def test_a_posterior_refuses_it_too_and_replicates_have_the_effects():
    """The replicated responses are made of a linear predictor and thresholds, in which the effects of f are."""
    model = bmm.Model("o ~ cs(f) + x", table(), "sratio")
    fit = drawn(model)
    with pytest.raises(DataError, match="on each threshold"):
        fit.predict(kind="linear")
    with pytest.raises(DataError, match="on each threshold"):
        bmm.emmeans(fit, "f")
    first = replicates_of_new_groups(fit) == 1
    b = (table()["f"] == "b").to_numpy()
    np.testing.assert_allclose(first[:, b].mean(), special.expit(3.0), atol=0.02)  # 24,000 draws: an error of 0.002
    np.testing.assert_allclose(first[:, ~b].mean(), special.expit(-3.0), atol=0.02)


def drawn(model):
    """Return a posterior of one value: b has a first threshold that is 6 higher than that of a."""
    fit = invented(model)
    values = {"beta": [0.0], "threshold": [-3.0, 0.0], "cs": [-6.0, 0.0]}
    posterior = fit.tree["posterior"].to_dataset()
    for name, value in values.items():
        posterior[name] = posterior[name].copy(data=np.broadcast_to(value, posterior[name].shape))
    fit.tree["posterior"] = type(fit.tree)(dataset=posterior)
    assert isinstance(fit, Fit)
    return fit


def test_an_analysis_of_variance_says_what_it_leaves_out(point):
    table_of_x = bmm.anova(point)
    assert list(table_of_x.table.index) == ["x"]
    assert "cs(f) has no row; bmm.lrt compares models with and without it" in " ".join(str(table_of_x).split())
    alone = bmm.Model("o ~ cs(f)", table(), "cumulative").maximize()
    with pytest.raises(DataError, match=r"cs\(f\) has effects on each threshold.*bmm.lrt"):
        bmm.anova(alone)


def test_an_analysis_of_variance_names_the_formula_of_sigma():
    data = table().assign(y=lambda d: d["x"] + d["o"])
    found = bmm.anova(bmm.Model(["y ~ x", "sigma ~ f + (1 | g)"], data).maximize())
    assert "sigma ~ f + (1 | g) has no row" in str(found)
