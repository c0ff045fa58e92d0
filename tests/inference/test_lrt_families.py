"""Likelihood ratios of nested families: one parameter of the larger one is at its bound in the smaller."""

import functools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import bayesmm as bmm
from bayesmm.families.families import get_family, limits_of
from bayesmm.inference.lrt import mixture_p

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@functools.cache
def data():
    rng, group = np.random.default_rng(1), np.repeat(np.arange(30), 8)
    x = rng.normal(size=240)
    mean = np.exp(1 + 0.4 * x + 0.5 * rng.normal(size=30)[group])
    return pd.DataFrame(
        {
            "x": x,
            "g": [f"g{k}" for k in group],
            "many": rng.poisson(mean * rng.gamma(2, 0.5, size=240)),  # more scatter than a Poisson
            "few": rng.binomial(10, 1 / (1 + np.exp(-x))),  # less
            "far": x + rng.standard_t(3, size=240),
            "above": rng.gamma(2, size=240),
        }
    )


def fit(formula, family="gaussian", **options):
    return bmm.Model(formula, data(), family).maximize(**options)


def negbinomial_loglik():
    """Return the maximum of the log likelihood of a negative binomial regression by scipy's density alone."""
    x, y = data()["x"].to_numpy(), data()["many"].to_numpy()

    def deviance(v):
        mean, shape = np.exp(v[0] + v[1] * x), np.exp(v[2])
        return -2 * stats.nbinom.logpmf(y, shape, shape / (shape + mean)).sum()

    return -optimize.minimize(deviance, [1.0, 0.4, 0.5], method="BFGS", options={"gtol": 1e-8}).fun / 2


def poisson_loglik():
    x, y = data()["x"].to_numpy(), data()["many"].to_numpy()
    found = optimize.minimize(lambda v: -2 * stats.poisson.logpmf(y, np.exp(v[0] + v[1] * x)).sum(), [1.0, 0.4])
    return -found.fun / 2


def test_poisson_against_negative_binomial_is_half_the_p_value():
    """Lawless (1987): half chi2(0), half chi2(1); the likelihoods by scipy's densities and optimiser."""
    table = bmm.lrt(fit("many ~ x", "negbinomial"), fit("many ~ x", "poisson")).table
    chisq = 2 * (negbinomial_loglik() - poisson_loglik())
    assert table["npar"].tolist() == [2, 3]
    assert table.loc[2, "Chisq"] == pytest.approx(chisq, rel=1e-7)  # BFGS stops at 1e-8 of the gradient
    assert table.loc[2, "Pr(mixture)"] == pytest.approx(stats.chi2.sf(chisq, 1) / 2, rel=1e-5)


def test_what_is_said_of_it():
    found = bmm.lrt(fit("many ~ x + (1 | g)", "poisson"), fit("many ~ x + (1 | g)", "negbinomial"))
    assert found.models == ("many ~ x + (1 | g) (poisson)", "many ~ x + (1 | g) (negbinomial)")
    assert any("1 / shape is 0 under the smaller model, at the boundary" in note for note in found.notes)


def test_counts_that_scatter_less_have_p_of_one():
    """The larger model's maximum is the smaller one: the whole of the mixture is at 0 or above."""
    row = bmm.lrt(fit("few ~ x", "poisson"), fit("few ~ x", "negbinomial")).table.loc[2]
    assert row["Chisq"] == pytest.approx(0, abs=1e-6)
    assert row["Pr(mixture)"] == 1
    assert mixture_p(1e-9, 1) == pytest.approx(1, abs=1e-4)  # rounding of the optimiser is no evidence


def test_student_against_gaussian():
    """The REML fit is refitted by ML; likelihoods by scipy's densities at the estimates."""
    gaussian, student = fit("far ~ x"), fit("far ~ x", "student")
    found = bmm.lrt(gaussian, student)
    y, X, aux = data()["far"].to_numpy(), student.design.X, student.auxiliaries
    residual = y - X @ np.linalg.lstsq(X, y)[0]
    normal = stats.norm.logpdf(residual, scale=residual.std()).sum()
    t = stats.t.logpdf(y, aux["nu"], loc=student.fitted, scale=aux["sigma"]).sum()
    assert found.table.loc[2, "Chisq"] == pytest.approx(2 * (t - normal), rel=1e-9)
    assert found.table.loc[2, "Pr(mixture)"] == pytest.approx(stats.chi2.sf(2 * (t - normal), 1) / 2, rel=1e-7)


def test_a_coefficient_beside_the_family():
    """One parameter at its bound and one that is not: the even mixture of chi2(1) and chi2(2)."""
    row = bmm.lrt(fit("many ~ 1", "poisson"), fit("many ~ x", "negbinomial")).table.loc[2]
    expected = (stats.chi2.sf(row["Chisq"], 1) + stats.chi2.sf(row["Chisq"], 2)) / 2
    assert row["Pr(mixture)"] == pytest.approx(expected, rel=1e-12)


def test_a_variance_and_a_family_have_no_simple_mixture():
    found = bmm.lrt(fit("many ~ x", "poisson"), fit("many ~ x + (1 | g)", "negbinomial"))
    assert np.isnan(found.table.loc[2, "Pr(mixture)"])
    assert any("1 random effect more and another parameter there is no simple mixture" in note for note in found.notes)


def test_the_wrong_way_round_is_not_nested():
    found = bmm.lrt(fit("many ~ x", "negbinomial"), fit("many ~ x + I(x^2) + I(x^3)", "poisson"))
    assert found.table.loc[2, ["Chisq", "Pr(>Chisq)", "Pr(mixture)"]].isna().all()
    assert any("its family negbinomial is no special case of poisson" in note for note in found.notes)


def test_families_apart_are_pointed_to_aic():
    with pytest.raises(bmm.DataError, match=r"gaussian and gamma.*neither is a special case.*bmm.compare_models"):
        bmm.lrt(fit("above ~ x"), fit("above ~ x", "gamma"))


def test_other_rules_of_integration_are_said():
    found = bmm.lrt(fit("many ~ 1 + (1 | g)", "poisson"), fit("many ~ x + (1 | g)", "poisson", nagq=7))
    assert any("by different rules" in note for note in found.notes)


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [
        ("poisson", "negbinomial", ("1 / shape is 0",)),
        ("gaussian", "student", ("1 / nu is 0",)),
        ("gamma", "gamma", ()),
        ("negbinomial", "poisson", None),
        ("gaussian", "gamma", None),
        ("binomial", "bernoulli", None),
    ],
)
def test_which_families_nest(small, large, expected):
    assert limits_of(get_family(small), get_family(large)) == expected


def test_another_link_is_another_family():
    assert limits_of(get_family("gaussian", "log"), get_family("student")) is None
    assert limits_of(get_family("gamma", "log"), get_family("gamma", "inverse")) is None


@pytest.mark.slow
def test_the_mixture_is_the_distribution_under_the_null():
    """Of 400 simulated Poisson regressions about 5 % have a mixture p below 0.05."""
    rng, below = np.random.default_rng(3), []
    x = rng.normal(size=400)
    for _ in range(400):
        table = {"x": x, "y": rng.poisson(np.exp(1 + 0.3 * x))}
        points = [bmm.Model("y ~ x", table, family).maximize() for family in ("poisson", "negbinomial")]
        below.append(bmm.lrt(*points).table.loc[2, "Pr(mixture)"] < 0.05)
    # four binomial standard errors are 0.044; with 400 rows the share is a little under its limit
    assert np.mean(below) == pytest.approx(0.05, abs=0.044)
