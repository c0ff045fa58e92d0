"""What the priors do: power-scaling against exact posteriors, densities of draws, overlap, prior predictive checks."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import ndtri

import bayesmm as bmm
from bayesmm.errors import PriorError
from bayesmm.evaluation.prior_sensitivity import sensitivity as module
from bayesmm.evaluation.prior_sensitivity.draw_densities import _each, _laplace, integrated_log_likelihood, log_prior
from bayesmm.evaluation.prior_sensitivity.sensitivity import CONFLICT, FIXED, NOTHING, STRONG
from bayesmm.results import Fit

CHAINS, DRAWS = 4, 1000


def tree_of(**variables):
    """Return a tree with these draws: name -> (dimensions, array)."""
    posterior = {name: (("chain", "draw", *dims), values) for name, (dims, values) in variables.items()}
    return xr.DataTree.from_dict({"posterior": xr.Dataset(posterior)})


# ----------------------------------------------------------------------------------------------------------------------
# the mean of 20 normal responses with known sd: its posterior, and the power-scaled ones, are normal

Y = np.random.default_rng(0).normal(5, 1, 20)


def moments(prior_mean, prior_sd, prior_weight=1.0, data_weight=1.0):
    precision = prior_weight / prior_sd**2 + data_weight * len(Y)
    mean = (prior_weight * prior_mean / prior_sd**2 + data_weight * Y.sum()) / precision
    return mean, precision**-0.5


def conjugate(prior_mean, prior_sd):
    """Return the fit: draws at the posterior's quantiles, in random order."""
    priors = {"Intercept_centred": bmm.Prior("Normal", mu=prior_mean, sigma=prior_sd), "sigma": 1.0}
    mean, sd = moments(prior_mean, prior_sd)
    quantiles = np.random.default_rng(1).permutation(ndtri((np.arange(CHAINS * DRAWS) + 0.5) / (CHAINS * DRAWS)))
    beta = (mean + sd * quantiles).reshape(CHAINS, DRAWS, 1)
    own = tree_of(beta=(("coef",), beta), sigma=((), np.ones((CHAINS, DRAWS))))
    return Fit(bmm.Model("y ~ 1", {"y": Y}, priors=priors), own)


def exact(prior_mean, prior_sd, which):
    """Return the sensitivity from the exact distribution functions: Kallioinen et al. (2024)."""
    base, found = moments(prior_mean, prior_sd), []
    # the range of the 4,000 draws: the distance is relative to the area under the distribution functions there
    x = np.linspace(*(base[0] + base[1] * ndtri([0.5 / (CHAINS * DRAWS), 1 - 0.5 / (CHAINS * DRAWS)])), 20_001)
    for weight in (0.99, 1.01):
        other = moments(prior_mean, prior_sd, **{f"{which}_weight": weight})
        sides = []
        for sign in (1, -1):
            P, Q = (stats.norm.cdf(sign * (x - m) / s) for m, s in (base, other))
            mixed = np.log2((P + Q) / 2)
            both = np.trapezoid(P * (np.log2(P) - mixed) + Q * (np.log2(Q) - mixed), x)
            sides.append(np.sqrt(both / np.trapezoid(P + Q, x)))
        found.append(max(sides) / abs(np.log2(weight)))
    return np.mean(found)


@pytest.mark.parametrize(
    ("prior_mean", "prior_sd", "diagnosis"),
    [(0, 0.5, CONFLICT), (0, 50, NOTHING), (5, 0.05, STRONG)],
)
def test_a_conjugate_mean_has_the_known_sensitivity_and_diagnosis(prior_mean, prior_sd, diagnosis):
    row = conjugate(prior_mean, prior_sd).sensitivity().table.loc["beta[Intercept]"]
    for which, key in (("prior", "prior"), ("data", "likelihood")):
        # weighted draws instead of distribution functions, with smoothed weights
        assert row[key] == pytest.approx(exact(prior_mean, prior_sd, which), rel=0.05, abs=0.003)
    assert row["diagnosis"] == diagnosis


def test_a_fixed_parameter_is_named_as_such_and_further_quantities_are_added():
    fit = conjugate(0, 0.5)
    beta = fit.tree["posterior"]["beta"].values[..., 0]
    found = fit.sensitivity({"twice": 2 * beta}).table
    assert list(found.index) == ["beta[Intercept]", "sigma", "twice"]
    assert found["diagnosis"]["sigma"] == FIXED
    assert found["prior"]["twice"] == pytest.approx(found["prior"]["beta[Intercept]"], rel=1e-9)  # no unit


def test_wrong_quantities_are_refused():
    fit = conjugate(0, 50)
    with pytest.raises(ValueError, match=r"'a' have the shape \(3,\); those of the fit are 4 chains of 1000 draws"):
        fit.sensitivity({"a": np.zeros(3)})
    with pytest.raises(ValueError, match="must be a mapping of names to draws"):
        fit.sensitivity(fit.r2())
    with pytest.raises(ValueError, match="'a' are not all finite"):
        fit.sensitivity({"a": np.full((CHAINS, DRAWS), np.inf)})


def test_a_few_draws_are_not_weighted():
    fit = conjugate(0, 50)
    few = fit.tree["posterior"].to_dataset().isel(draw=slice(0, 20))
    with pytest.raises(ValueError, match="at least 100; the fit has 80"):
        Fit(fit.model, xr.DataTree.from_dict({"posterior": few})).sensitivity()


def test_flat_priors_have_no_weight_to_change():
    fit = conjugate(0, 50)
    flat = bmm.Model("y ~ 1", {"y": Y}, priors={"Intercept_centred": bmm.Prior("Flat"), "sigma": 1.0})
    row = Fit(flat, fit.tree).sensitivity().table.loc["beta[Intercept]"]
    assert row["prior"] == 0
    assert row["likelihood"] > 0.05


def test_the_print_says_what_to_do():
    text = str(conjugate(0, 0.5).sensitivity())
    assert "Prior-data conflict for beta[Intercept]" in text
    assert "0.05" in text
    assert "Strong prior / weak likelihood for beta[Intercept]" in str(conjugate(5, 0.05).sensitivity())
    assert "No quantity depends noticeably on the priors." in str(conjugate(0, 50).sensitivity())
    assert max(map(len, text.splitlines())) <= 100


# ----------------------------------------------------------------------------------------------------------------------
# sleepstudy


@pytest.fixture(scope="module")
def sleepstudy():
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"))
    return model.sample(draws=1000, tune=500, chains=2, seed=1, progress=False)


def test_default_priors_of_the_sleep_study_are_not_flagged(sleepstudy):
    found = sleepstudy.sensitivity()
    # the LKJ prior is of the correlation at the mean of Days, which REML puts at 0.75: 0.06 beside a threshold of 0.05
    correlation = "corr_Subject[Intercept, Days]"
    assert (found.table["diagnosis"].drop(correlation) == NOTHING).all()
    assert found.table.loc[correlation, "prior"] < 0.1
    assert (found.table["likelihood"] > 0.05).all()
    assert "exactly" in str(found)


def test_a_conflicting_prior_of_a_slope_is_flagged():
    priors = {"beta[Days]": bmm.Prior("Normal", mu=0, sigma=2)}
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"), priors=priors)
    fit = model.sample(draws=1000, tune=500, chains=2, seed=1, keep_effects=False, progress=False)
    assert fit.sensitivity().table["diagnosis"]["beta[Days]"] == CONFLICT


def test_large_problems_take_fewer_draws_and_give_the_same(sleepstudy, monkeypatch):
    every = sleepstudy.sensitivity(sleepstudy.icc().draws).table
    monkeypatch.setattr(module, "MOST_REST", -1)
    monkeypatch.setattr(module, "DRAWS", 1000)  # of the usual 400 the distance of a correlation errs by three quarters
    few = sleepstudy.sensitivity(sleepstudy.icc().draws).table
    assert list(few.index) == list(every.index)
    assert not few["likelihood"].equals(every["likelihood"])
    np.testing.assert_allclose(few["likelihood"], every["likelihood"], rtol=0.5)  # 1,000 draws instead of 2,000


# ----------------------------------------------------------------------------------------------------------------------
# densities of draws


def crossed(family="gaussian", n=60, **more):
    rng = np.random.default_rng(2)
    data = {"x": rng.normal(2, 1, n), "g": np.arange(n) % 6, "h": np.arange(n) // 6 % 5, "w": rng.uniform(0.5, 2, n)}
    data["y"] = rng.poisson(3, n) if family == "poisson" else rng.normal(3, 1, n)
    return bmm.Model("y ~ x + (x | g) + (1 | h)", data, family, **more)


def random_draws(model, draws=5):
    """Return a fit with draws that are nobody's posterior."""
    rng, shape = np.random.default_rng(3), (1, draws)
    r = rng.uniform(-0.8, 0.8, shape)
    corr = np.stack([np.ones(shape), r, r, np.ones(shape)], axis=-1).reshape(*shape, 2, 2)
    variables = {
        "beta": (("coef",), rng.normal(0.5, 0.2, (*shape, 2))),
        "sd_g": (("g_term",), rng.uniform(0.2, 1, (*shape, 2))),
        "corr_g": (("g_term", "g_term_bis"), corr),
    }
    if any(block.name == "h" for block in model.design.blocks):
        variables["sd_h"] = (("h_term",), rng.uniform(0.2, 1, (*shape, 1)))
    for name in model.design.family.auxiliaries:
        variables[name] = ((), rng.uniform(0.5, 2, shape))
    return Fit(model, tree_of(**variables))


@pytest.mark.parametrize("place", ["Intercept_centred", "Intercept"])
def test_the_log_prior_is_the_sum_over_the_places(place):
    priors = {
        place: bmm.Prior("Normal", mu=3, sigma=2),
        "beta[x]": bmm.Prior("StudentT", nu=4, mu=1, sigma=3),
        "sd_g": bmm.Prior("HalfNormal", sigma=2),
        "sd_h": bmm.Prior("InverseGamma", alpha=3, beta=2, on="variance"),
        "corr_g": bmm.Prior("LKJ", eta=3),
        "sigma": bmm.Prior("Exponential", lam=2),
    }
    fit = random_draws(crossed(priors=priors))
    p = {name: fit.tree["posterior"][name].values[0] for name in fit.tree["posterior"]}
    at = p["beta"][:, 0] + (p["beta"][:, 1] * fit.design.X[:, 1].mean() if place == "Intercept_centred" else 0)
    expected = (
        stats.norm(3, 2).logpdf(at)
        + stats.t(4, 1, 3).logpdf(p["beta"][:, 1])
        + stats.halfnorm(scale=2).logpdf(p["sd_g"]).sum(axis=1)
        + stats.invgamma(3, scale=2).logpdf(p["sd_h"][:, 0] ** 2)
        + np.log(2 * p["sd_h"][:, 0])
        + 2 * np.log1p(-(p["corr_g"][:, 0, 1] ** 2))
        + stats.expon(scale=0.5).logpdf(p["sigma"])
    )
    found = log_prior(fit) - expected
    np.testing.assert_allclose(found - found[0], 0, atol=1e-10)  # up to the constant of LKJ


def test_a_prior_that_is_a_function_has_no_density_here():
    def own(name, dims):
        raise AssertionError("never called")

    with pytest.raises(PriorError, match="the prior of sigma is a function"):
        random_draws(crossed(priors={"sigma": own}), 100).sensitivity()


def test_the_log_likelihood_is_that_of_a_dense_normal_distribution():
    fit = random_draws(crossed(weights="w"))
    design, p = fit.design, {name: fit.tree["posterior"][name].values[0] for name in fit.tree["posterior"]}
    found, how = integrated_log_likelihood(fit)
    assert "exactly" in how
    for s, value in enumerate(found):
        V = np.diag(p["sigma"][s] ** 2 / design.weights)
        for block in design.blocks:
            R = p["corr_g"][s] if block.name == "g" else np.eye(1)
            sds = p[f"sd_{block.name}"][s]
            same = block.index[:, None] == block.index
            V += same * (block.Z @ (R * np.outer(sds, sds)) @ block.Z.T)
        assert value == pytest.approx(stats.multivariate_normal(design.X @ p["beta"][s], V).logpdf(design.y), rel=1e-9)


def test_laplaces_approximation_is_near_to_quadrature_where_both_are_possible():
    data = crossed("poisson").design.frame
    fit = random_draws(bmm.Model("y ~ x + (x | g)", data, "poisson"))
    exact_values, how = integrated_log_likelihood(fit)
    assert "quadrature" in how
    # six groups of ten counts; a wrong covariance matrix or a missing determinant is off by more than 1
    np.testing.assert_allclose(_each(fit, _laplace(fit)), exact_values, atol=0.1)
    assert "Laplace" in integrated_log_likelihood(random_draws(crossed("poisson")))[1]


# ----------------------------------------------------------------------------------------------------------------------
# overlap


def test_the_overlap_of_two_normal_densities_is_known():
    # equal sds d apart: 2 Phi(-d / 2)
    fit = conjugate(0, 50)
    mean, sd = moments(0, 50)
    for shift in (0.0, 1.0, 2.5):
        priors = {"Intercept_centred": bmm.Prior("Normal", mu=mean + shift * sd, sigma=sd), "sigma": 1.0}
        found = Fit(bmm.Model("y ~ 1", {"y": Y}, priors=priors), fit.tree).prior_overlap()
        # the kernel density is wider than the normal one by its bandwidth, a fifth of the sd
        assert found.table["overlap"]["Intercept_centred"] == pytest.approx(2 * stats.norm.cdf(-shift / 2), abs=0.02)
    assert np.isnan(found.table["overlap"]["sigma"])  # fixed


def test_the_overlap_of_correlations_and_sds_with_draws_of_their_own_prior_is_one():
    model = crossed(priors={"corr_g": bmm.Prior("LKJ", eta=2), "sd_g": bmm.Prior("HalfNormal", sigma=2)})
    rng, shape = np.random.default_rng(0), (4, 1000)
    fit = random_draws(model)
    r = 2 * rng.beta(2, 2, shape) - 1
    corr = np.stack([np.ones(shape), r, r, np.ones(shape)], axis=-1).reshape(*shape, 2, 2)
    own = {name: (var.dims[2:], np.repeat(var.values[:, :1], 1000, 1).repeat(4, 0)) for name, var in
           fit.tree["posterior"].data_vars.items()}  # fmt: skip
    own |= {
        "corr_g": (("g_term", "g_term_bis"), corr),
        "sd_g": (("g_term",), np.abs(rng.normal(0, 2, (*shape, 2)))),
    }
    overlap = Fit(model, tree_of(**own)).prior_overlap()
    # 4,000 draws: a kernel density is off by 3 % of the area
    assert overlap.table["overlap"]["corr_g[Intercept, x]"] > 0.95
    assert overlap.table["overlap"]["sd_g[x]"] > 0.95
    assert "corr_g[Intercept, x]" in str(overlap)


def test_an_improper_prior_has_no_overlap():
    flat = bmm.Model("y ~ 1", {"y": Y}, priors={"Intercept_centred": bmm.Prior("Flat"), "sigma": 1.0})
    found = Fit(flat, conjugate(0, 50).tree).prior_overlap()
    assert np.isnan(found.table["overlap"]).all()
    assert "Flat" in str(found)


# ----------------------------------------------------------------------------------------------------------------------
# prior predictive check


def test_default_priors_allow_for_the_data():
    check = bmm.prior_check(crossed(), draws=200, seed=1)
    assert check.surprising == []
    assert list(check.table.index) == ["mean", "sd", "min", "max"]
    assert check.table["observed"]["mean"] == pytest.approx(crossed().design.y.mean())
    assert "The priors allow for the data" in str(check)


def test_priors_in_the_wrong_place_are_named():
    priors = {"Intercept_centred": bmm.Prior("Normal", mu=-50, sigma=1)}
    check = bmm.prior_check(crossed(priors=priors), draws=200, seed=1)
    assert "mean" in check.surprising
    assert check.table["below"]["mean"] > 0.99
    assert check.outside > 0.9
    assert "hardly allow for the observed mean" in str(check)


def test_counts_have_a_share_of_zeros_and_shares_of_successes_are_shares():
    rng = np.random.default_rng(0)
    data = {"y": rng.integers(0, 4, 40), "g": np.arange(40) % 8}
    counts = bmm.prior_check(bmm.Model("y ~ 1 + (1 | g)", data, "poisson"), draws=100, seed=1)
    assert counts.table["observed"]["share of zeros"] == np.mean(data["y"] == 0)
    shares = bmm.prior_check(bmm.Model("y ~ 1 + (1 | g)", data, "binomial", trials=4), draws=100, seed=1)
    assert shares.table["observed"]["max"] == data["y"].max() / 4
    assert shares.table["upper"].max() <= 1
    ones = bmm.prior_check(bmm.Model("z ~ 1", {"z": data["y"] > 1}, "bernoulli"), draws=100, seed=1)
    assert list(ones.table.index) == ["mean"]


def test_improper_priors_predict_nothing():
    with pytest.raises(PriorError, match="is flat"):
        bmm.prior_check(bmm.Model("y ~ 1", {"y": Y}, priors={"Intercept_centred": bmm.Prior("Flat")}), seed=1)
