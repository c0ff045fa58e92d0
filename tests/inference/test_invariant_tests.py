"""Standard errors and tests of terms know neither where a predictor has its zero nor its unit."""

import functools

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
SECONDS = 86_400.0  # of a day


@functools.cache
def counts():
    rng, group = np.random.default_rng(5), np.repeat(np.arange(20), 12)
    x, effect = np.tile(np.linspace(0, 5.5, 12), 20), 0.4 * rng.normal(size=20)[group]
    zero = rng.random(240) < 1 / (1 + np.exp(2 - 0.5 * x))
    f = rng.integers(0, 3, 240)
    eta = 0.3 + 0.1 * x + 0.3 * f + effect
    return pd.DataFrame(
        {
            "x": x,
            "f": np.array(["a", "b", "c"])[f],
            "g": [f"g{k:02}" for k in group],
            "y": np.where(zero, 0, rng.poisson(np.exp(eta))),
            "rating": 1 + np.digitize(eta + rng.logistic(size=240), [0.0, 1.0, 2.0]),
            "size": eta + rng.normal(size=240),
        }
    )


def in_seconds():
    """The same rows with x as a time since 1970."""
    return counts().assign(x=lambda table: 1.6e9 + SECONDS * table["x"])


def test_standard_errors_of_means_do_not_know_where_a_parameter_s_predictor_has_its_zero():
    formulas = ("y ~ x + f + (1 | g)", "zi ~ x")
    near, far = (bmm.Model(formulas, table, "zero_inflated_poisson").maximize() for table in (counts(), in_seconds()))
    for kind in ("mean", "linear"):
        one, other = (bmm.emmeans(point, "f", kind=kind).table for point in (near, far))
        np.testing.assert_allclose(other[["estimate", "se"]], one[["estimate", "se"]], rtol=1e-4)
    one, other = (bmm.slopes(point, "x").table for point in (near, far))
    np.testing.assert_allclose(other[["estimate", "se"]] * SECONDS, one[["estimate", "se"]], rtol=1e-4)


@pytest.mark.parametrize("weight", [1e-10, 1e-6, 1e6, 1e10])
def test_the_unit_of_prior_weights_is_that_of_sigma_squared_alone(weight):
    """Weights of one over a squared standard error are as small or large as the response's unit makes them."""
    one, other = (
        bmm.Model("size | weights(w) ~ x + f + (x | g)", counts().assign(w=w)).maximize() for w in (1.0, weight)
    )
    assert other.converged and other.singular == one.singular
    assert other.loglik == pytest.approx(one.loglik, abs=1e-6)
    assert other.sigma == pytest.approx(one.sigma * np.sqrt(weight), rel=1e-6)
    np.testing.assert_allclose(other.covariances[0], one.covariances[0], rtol=1e-4)
    for ddf in ("satterthwaite", "kenward-roger"):
        np.testing.assert_allclose(other.fixef(ddf=ddf), one.fixef(ddf=ddf), rtol=1e-4)


@pytest.mark.parametrize(
    "formula",
    [("size | weights(w) ~ x + (1 | g)", "sigma ~ f"), "size | weights(w) ~ x + ar(t, g)"],
)
def test_so_it_is_where_the_residual_has_parameters(formula):
    table = counts().assign(t=np.tile(np.arange(12), 20))
    one, other = (bmm.Model(formula, table.assign(w=w)).maximize() for w in (1.0, 1e3))
    assert other.loglik == pytest.approx(one.loglik, abs=1e-6)
    assert other.sigma == pytest.approx(one.sigma * np.sqrt(1e3), rel=1e-5)
    for name, values in one.residual.items():
        np.testing.assert_allclose(other.residual[name], values, rtol=1e-4)


def test_profiles_do_not_know_the_unit_of_prior_weights():
    one, other = (
        bmm.Model("size | weights(w) ~ x + (1 | g)", counts().assign(w=w)).maximize("ML").confint() for w in (1.0, 1e10)
    )
    other.loc["sigma"] /= 1e5
    np.testing.assert_allclose(other, one, rtol=1e-5)
    groups = sorted(set(counts()["g"]))
    known = {"K": pd.DataFrame(np.eye(20), index=groups, columns=groups)}
    for w in (1.0, 1e10):
        model = bmm.Model("size | weights(w) ~ x + (1 | gr(g, cov = K))", counts().assign(w=w), matrices=known)
        assert not model.maximize().singular


def test_a_bad_start_is_refused_whatever_the_weights():
    model = bmm.Model("size | weights(w) ~ x + (1 | g)", counts().assign(w=1e6))
    for start in ({"sigma": "a"}, ["sigma"]):
        with pytest.raises((ValueError, TypeError), match="start"):
            model.maximize(start=start)


@pytest.mark.parametrize("weight", [0.005, 101.0])
def test_weights_that_count_rows_are_no_unit(weight):
    """A profile of counts had the limits of other weights, or none, from a mean weight of 100 on."""
    point = bmm.Model("y | weights(w) ~ x + (1 | g)", counts().assign(w=weight), "poisson").maximize()
    lower, upper = point.confint().loc["beta[x]"]
    wald = point.confint(method="wald").loc["beta[x]"]
    np.testing.assert_allclose([lower, upper], wald, atol=0.1 * (wald["upper"] - wald["lower"]))


def test_kenward_roger_where_effects_are_those_of_coefficients():
    """Each group has its own fixed effect: REML knows nothing of the sd of the random ones."""
    point, plain = (bmm.Model(formula, counts()).maximize() for formula in ("size ~ g + x + (1 | g)", "size ~ g + x"))
    found = point.fixef(ddf="kenward-roger")
    assert np.isfinite(found["se"]).all() and found["df"]["x"] > 200
    assert found["se"]["x"] == pytest.approx(plain.fixef()["se"]["x"], rel=1e-4)
    table = counts().assign(h=lambda own: own["g"].str[-1])
    for times in (30, 3000):  # of an information of 0 rounding leaves more, the larger the sds of effects
        far = table.assign(
            size=lambda own, times=times: (
                own["size"]
                + times * np.random.default_rng(1).normal(size=20)[pd.Categorical(own["g"]).codes] * own["x"]
            )
        )
        found = bmm.Model("size ~ g + x + (x || g)", far).maximize().fixef(ddf="kenward-roger")
        assert np.isfinite(found["se"]).all() and found["df"]["x"] == pytest.approx(19, rel=1e-3)


def test_kenward_roger_where_levels_differ_by_far_more_than_their_rows():
    """A balanced design, in which the degrees of freedom are the levels less one whatever the variances."""
    rng, group, x = np.random.default_rng(0), np.repeat(np.arange(15), 8), np.tile(np.arange(8.0), 15)
    effects, noise = rng.normal(size=(15, 2)), rng.normal(size=120)
    for times in (30, 300, 3000):
        y = times * (effects[group, 0] + effects[group, 1] * x) + noise
        point = bmm.Model("y ~ x + (x | g)", pd.DataFrame({"x": x, "g": group, "y": y})).maximize()
        for ddf in ("kenward-roger", "satterthwaite"):
            np.testing.assert_allclose(point.fixef(ddf=ddf)["df"], 14, rtol=1e-4)


def test_type_iii_says_where_numbers_have_their_zero():
    near = bmm.Model("size ~ x * f + (1 | g)", counts()).maximize()
    far = bmm.Model("size ~ center(x) * f + (1 | g)", in_seconds()).maximize()
    assert "equal weights; f where x is 0" in " ".join(str(bmm.anova(near, type="III")).split())
    assert "f where center(x) is 0" in " ".join(str(bmm.anova(far, type="III")).split())
    powers = bmm.Model("size ~ x + I(x^2) + (1 | g)", counts()).maximize()
    assert "; x where x is 0" in " ".join(str(bmm.anova(powers, type="III")).split())
    for others in ("x + I((x - 5)^2)", "center(x) + I(x^2)", "x + I(center(x)^2)", "x + log(x + 1)"):
        point = bmm.Model(f"size ~ {others} + (1 | g)", counts()).maximize()  # powers of something else
        assert "where" not in str(bmm.anova(point, type="III"))
    assert "where" not in str(bmm.anova(near, type="II"))
    assert "where" not in str(bmm.anova(bmm.Model("size ~ x + f + (1 | g)", counts()).maximize(), type="III"))


def test_type_iii_of_ordered_categories():
    """Without an interaction the terms are those of type II; the constant is among the thresholds."""
    for table in (counts(), in_seconds()):
        point = bmm.Model("rating ~ x + f + (1 | g)", table, "cumulative").maximize()
        second, third = (bmm.anova(point, type=kind).table for kind in ("II", "III"))
        np.testing.assert_allclose(third, second, rtol=1e-6)
