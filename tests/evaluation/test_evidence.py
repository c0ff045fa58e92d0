"""The evidence equals numerical integration, closed forms and the Savage-Dickey ratio; Bayes factors follow from it."""

import functools

import numpy as np
import pandas as pd
import pytest
from invented import invented
from scipy import integrate, stats
from scipy.special import logsumexp

import bayesmm as bmm
from bayesmm.errors import DataError, PriorError
from bayesmm.evaluation.bayes_factors import widened
from bayesmm.evaluation.evidence import solved
from bayesmm.evaluation.integral import coordinates_of, integral, marginal_of

NORMAL, HALF = "Normal", "HalfStudentT"


def rows(seed=5, groups=8, each=5):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat([f"g{i}" for i in range(groups)], each)})
    data["x"], data["w"] = rng.normal(size=len(data)), rng.uniform(0.5, 2, len(data))
    effects = np.repeat(rng.normal(0, 0.8, (groups, 2)), each, axis=0)
    data["y"] = 1 + 0.7 * data["x"] + effects[:, 0] + effects[:, 1] * data["x"] + rng.normal(size=len(data))
    data["k"] = rng.poisson(np.exp(0.3 + 0.2 * data["x"] + 0.5 * effects[:, 0]))
    return data


DATA = rows()
SAME = (DATA["g"].to_numpy()[:, None] == DATA["g"].to_numpy()).astype(float)  # whether two rows are of one group
PRIORS = {
    "Intercept": bmm.Prior(NORMAL, mu=0.5, sigma=3),
    "beta": bmm.Prior(NORMAL, mu=0.2, sigma=1.5),
    "sd": bmm.Prior(HALF, nu=3, sigma=1.2),
    "sigma": bmm.Prior("Exponential", lam=0.8),
}
GAUSSIAN_PRIORS = {name: prior for name, prior in PRIORS.items() if name != "sd"}


@functools.cache
def plain(formula):
    return bmm.Model(formula, DATA, priors=PRIORS).sample(draws=1000, tune=500, seed=1, progress=False)


def fitted(formula, family="gaussian", priors=PRIORS, **arguments):
    model = bmm.Model(formula, DATA, family, priors, **arguments)
    return model.sample(draws=1000, tune=500, seed=1, progress=False)


def normal_density(V):
    """Return log N(y; X m, V + X S X') of the data under PRIORS, for covariance matrices of the rows, (..., n, n)."""
    X = np.column_stack([np.ones(len(DATA)), DATA["x"]])
    V, r = V + X @ np.diag([9.0, 2.25]) @ X.T, DATA["y"].to_numpy() - X @ [0.5, 0.2]
    quad = np.linalg.solve(V, np.broadcast_to(r[:, None], (*V.shape[:-1], 1)))[..., 0] @ r
    return -0.5 * (len(r) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + quad)


def agrees(found, expected, most=0.03):
    """Both estimates are within five of their errors, which are small enough to say something."""
    assert found.se < most
    assert found.trouble is None
    assert abs(found.log_evidence - expected) < 5 * found.se, (found, expected)
    assert abs(found.importance - expected) < 5 * found.importance_se, (found, expected)


# Against numerical integration


def test_the_evidence_of_an_intercept_model_is_its_integral_over_a_grid():
    fit = fitted("y ~ x + (1 | g)", weights="w")
    own = np.diag(1 / DATA["w"])
    grid = np.linspace(-8, 3, 67)  # log sd and log sigma: the trapezoidal rule, from nothing to nothing
    square = np.exp(2 * grid)[:, None, None]
    total = np.array([normal_density(v * SAME + square * own) for v in square[:, 0, 0]])
    sd, sigma = stats.t(3, scale=1.2), stats.expon(scale=1 / 0.8)
    total += (np.log(2) + sd.logpdf(np.exp(grid)) + grid)[:, None] + (sigma.logpdf(np.exp(grid)) + grid)
    agrees(fit.evidence(seed=1), logsumexp(total) + 2 * np.log(grid[1] - grid[0]))


def test_the_evidence_of_correlated_slopes_counts_the_correlation():
    priors = PRIORS | {"sigma": 1.0, "sd_g[Intercept]": 0.8, "corr": bmm.Prior("LKJ", eta=2.5)}
    fit = fitted("y ~ x + (x | g)", priors=priors)
    Z = np.column_stack([np.ones(len(DATA)), DATA["x"]])
    grids = np.linspace(-8, 3, 67), np.linspace(-6, 6, 61)

    def density(log_sd, z):
        s, r = np.exp(log_sd), np.tanh(z)
        covariance = 0.8 * s * r
        Sigma = np.moveaxis(np.array([[0.64 + 0 * r, covariance], [covariance, s * s + 0 * r]]), 2, 0)
        # LKJ in two dimensions: (1 + r) / 2 has a Beta(eta, eta) distribution
        prior = np.log(2) + stats.t.logpdf(s, 3, scale=1.2) + stats.beta.logpdf((1 + r) / 2, 2.5, 2.5) - np.log(2)
        return normal_density(Z @ Sigma @ Z.T * SAME + np.eye(len(DATA))) + prior + log_sd + np.log1p(-r * r)

    total = np.array([density(a, grids[1]) for a in grids[0]])
    agrees(fit.evidence(seed=2), logsumexp(total) + sum(np.log(grid[1] - grid[0]) for grid in grids))


def test_the_evidence_of_counts_is_a_nest_of_integrals():
    priors = {"Intercept": bmm.Prior(NORMAL, mu=0.2, sigma=1), "sd": bmm.Prior(HALF, nu=3, sigma=0.7)}
    fit = fitted("k ~ 1 + (1 | g)", "poisson", priors)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    counts = [DATA["k"].to_numpy()[DATA["g"] == g] for g in DATA["g"].unique()]
    beta, log_sd = np.linspace(-3, 3, 61), np.linspace(-8, 2.5, 64)
    eta = beta[:, None, None] + np.exp(log_sd)[:, None] * nodes  # (beta, log sd, node)
    total = 0.0
    for k in counts:
        at = sum(stats.poisson.logpmf(one, np.exp(eta)) for one in k)
        total = total + logsumexp(at, axis=2, b=weights / np.sqrt(2 * np.pi))
    total = total + stats.norm.logpdf(beta, 0.2, 1)[:, None]
    total = total + np.log(2) + stats.t.logpdf(np.exp(log_sd), 3, scale=0.7) + log_sd
    agrees(fit.evidence(seed=3), logsumexp(total) + np.log(beta[1] - beta[0]) + np.log(log_sd[1] - log_sd[0]))


# Against closed forms


def test_with_every_variance_fixed_the_evidence_is_a_normal_density():
    model = bmm.Model("y ~ x + (1 | g)", DATA, priors=PRIORS | {"sd": 0.9, "sigma": 1.1})
    fit = model.sample(draws=100, seed=1, sampler="importance")
    found = fit.evidence()
    assert found.log_evidence == pytest.approx(normal_density(0.81 * SAME + 1.21 * np.eye(len(DATA))), rel=1e-10)
    assert (found.se, found.coordinates) == (0.0, 0)
    assert "Exact" in str(found)


def test_without_random_effects_it_is_an_integral_over_sigma():
    fit = fitted("y ~ x", priors=GAUSSIAN_PRIORS)
    peak = normal_density(1.4 * np.eye(len(DATA)))

    def density(sigma):
        return np.exp(normal_density(sigma**2 * np.eye(len(DATA))) - peak) * 0.8 * np.exp(-0.8 * sigma)

    area = integrate.quad(density, 0.5, 5, epsabs=0, epsrel=1e-9)[0]  # beyond, less than 1e-12 of it
    agrees(fit.evidence(seed=4), np.log(area) + peak)


def test_the_bayes_factor_of_a_coefficient_is_its_savage_dickey_ratio():
    """p(y | beta = 0) / p(y) is the posterior density of beta at 0 over the prior's (Dickey 1971)."""
    fit = plain("y ~ x + (1 | g)")
    null = fitted("y ~ 1 + (1 | g)", priors={name: prior for name, prior in PRIORS.items() if name != "beta"})
    found = bmm.bayes_factors({"with": fit, "without": null}, seed=1)
    # given the variances the density of beta at 0 is normal: its mean over the draws, no kernel needed
    X, y = np.column_stack([np.ones(len(DATA)), DATA["x"]]), DATA["y"].to_numpy()
    posterior, at = fit.tree["posterior"], []
    sds, sigmas = posterior["sd_g"].to_numpy().reshape(-1)[::4], posterior["sigma"].to_numpy().reshape(-1)[::4]
    for sd, sigma in zip(sds, sigmas, strict=True):
        precision = np.linalg.inv(sd**2 * SAME + sigma**2 * np.eye(len(y)))
        C = np.linalg.inv(X.T @ precision @ X + np.diag([1 / 9, 1 / 2.25]))
        m = C @ (X.T @ precision @ y + np.array([0.5 / 9, 0.2 / 2.25]))
        at.append(stats.norm.pdf(0, m[1], np.sqrt(C[1, 1])))
    ratio = np.log(np.mean(at)) - stats.norm.logpdf(0, 0.2, 1.5)
    error = np.std(at) / np.mean(at) / np.sqrt(len(at) / 3)  # draws of NUTS: a third of them counts, at least
    assert error < 0.1
    both = np.hypot(found.table["se_log_bayes_factor"].max(), error)
    log_factor = found.table["log_evidence"]["without"] - found.table["log_evidence"]["with"]
    assert abs(log_factor - ratio) < 5 * both


# The bridge itself


def test_the_bridge_between_two_normal_densities_is_the_ratio_of_their_constants():
    rng = np.random.default_rng(0)
    gaps, errors = [], []
    for _ in range(200):
        own, proposed = rng.normal(0.3, 1.0, (4, 250)), rng.normal(0, 1.3, 1000)

        def ratio(x):
            return 2.5 - 0.5 * (x - 0.3) ** 2 - stats.norm.logpdf(x, 0, 1.3)

        value, se = solved(ratio(own), ratio(proposed))
        gaps.append(value - 2.5 - 0.5 * np.log(2 * np.pi))
        errors.append(se)
    gaps, errors = np.array(gaps), np.array(errors)
    assert abs(gaps.mean()) < 5 * gaps.std() / np.sqrt(200)
    assert gaps.std() == pytest.approx(errors.mean(), rel=0.25)  # an sd from 200 values: 5 % of error itself


def test_another_proposal_gives_the_same_evidence():
    fit = plain("y ~ x + (x | g)")
    model = marginal_of(fit)
    other = integral(model.posterior, coordinates_of(fit, model), np.random.default_rng(9))
    found = fit.evidence(seed=8)
    assert other.pareto_k < 0.7
    assert abs(found.log_evidence - other.log_value) < 5 * np.hypot(found.se, other.se)
    assert fit.evidence(seed=8).log_evidence == found.log_evidence
    assert fit.evidence(seed=9).log_evidence != found.log_evidence


def test_draws_that_are_none_of_the_posterior_are_seen():
    fit = invented(bmm.Model("y ~ x + (1 | g)", DATA, priors=PRIORS))
    with pytest.raises(ValueError, match="80 draws, and 100 are needed"):
        fit.evidence()
    real = plain("y ~ x + (1 | g)")
    moved = real.tree.copy()
    moved["posterior"] = moved["posterior"].to_dataset().assign(sd_g=3 * real.tree["posterior"]["sd_g"])
    found = type(real)(real.model, moved).evidence(seed=1)
    assert "apart" in found.trouble
    assert "NOT RELIABLE" in str(found)


# What there is no evidence of


def test_improper_priors_are_refused_by_name():
    fit = fitted("y ~ x + (1 | g)", priors={"beta": bmm.Prior("Flat")})
    with pytest.raises(PriorError, match=r"the prior of beta\[x\] is Flat\(\), which is improper"):
        fit.evidence()
    proper = plain("y ~ x + (1 | g)")
    with pytest.raises(PriorError, match="improper"):
        bmm.bayes_factors({"a": proper, "b": fit})


def test_models_without_a_density_of_few_coordinates_are_refused():
    crossed = invented(bmm.Model("k ~ x + (1 | g) + (1 | w)", DATA.assign(w=[*"ab"] * 20), "poisson"))
    tree = crossed.tree
    more = type(crossed)(crossed.model, tree.isel(draw=np.tile(np.arange(tree["posterior"].sizes["draw"]), 2)))
    with pytest.raises(ValueError, match=r"the evidence cannot be computed: .* this model has 1 of g and 1 of w$"):
        more.evidence()


# Bayes factors


@pytest.fixture(scope="module")
def two():
    return {"slopes": plain("y ~ x + (x | g)"), "none": fitted("y ~ x", priors=GAUSSIAN_PRIORS)}


def test_bayes_factors_are_differences_of_evidences(two):
    found = bmm.bayes_factors(two, seed=1)
    a, b = (found.evidences[name].log_evidence for name in ("slopes", "none"))
    assert list(found.table.index) == ["slopes", "none"]
    assert found.table["log_bayes_factor"]["none"] == pytest.approx(a - b)
    assert found.table["probability"].sum() == pytest.approx(1)
    assert found.table["probability"]["slopes"] == pytest.approx(1 / (1 + np.exp(b - a)))
    assert "The evidence averages the likelihood over the priors" in str(found)
    assert "default priors (corr" not in str(found)


def test_other_widths_of_the_priors_are_other_models(two):
    found = bmm.bayes_factors(two, seed=1)
    wide = PRIORS | {"sd": bmm.Prior(HALF, nu=3, sigma=2.4)}
    other = bmm.bayes_factors({"slopes": fitted("y ~ x + (x | g)", priors=wide), "none": two["none"]}, seed=2)
    error = 5 * np.hypot(found.table["se_log_bayes_factor"]["none"], other.table["se_log_bayes_factor"]["none"])
    gap = found.sensitivity[2.0]["none"] - other.table["log_bayes_factor"]["none"]
    assert abs(gap) < error < 0.2
    assert (
        abs(found.sensitivity[2.0]["none"] - found.sensitivity[1.0]["none"]) > error
    )  # so that the line above can fail
    assert "half and twice as wide" in str(found)


@pytest.mark.parametrize(
    "prior",
    [
        bmm.Prior("HalfNormal", sigma=2),
        bmm.Prior(HALF, nu=4, sigma=2),
        bmm.Prior("HalfCauchy", beta=2),
        bmm.Prior("Exponential", lam=2),
        bmm.Prior("Gamma", alpha=2, beta=0.5),
        bmm.Prior("InverseGamma", alpha=2, beta=0.5),
        bmm.Prior("LogNormal", mu=0.3, sigma=0.5),
        bmm.Prior("Uniform", lower=0.5, upper=3),
        bmm.Prior("HalfNormal", sigma=2, on="variance"),
        bmm.Prior("LogNormal", mu=0.3, sigma=0.5, on="variance"),
    ],
)
def test_a_wider_prior_is_that_of_a_multiple(prior):
    x = np.array([0.7, 1.0, 1.6])
    np.testing.assert_allclose(widened(prior, 2.0).logpdf(2 * x), prior.logpdf(x) - np.log(2), rtol=1e-12)


def test_what_can_not_be_compared_is_refused(two):
    with pytest.raises(ValueError, match="at least two"):
        bmm.bayes_factors({"a": two["none"]})
    fewer = bmm.Model("y ~ x", DATA.iloc[:-3], priors=GAUSSIAN_PRIORS).sample(draws=50, tune=50, seed=1, progress=False)
    with pytest.raises(DataError, match="different rows"):
        bmm.bayes_factors({"a": two["none"], "b": fewer})


def test_default_priors_are_named_in_the_warning():
    fit = bmm.fit("y ~ x + (1 | g)", DATA, seed=1, draws=200, tune=200, progress=False)
    assert fit.evidence(seed=1).scaled_priors == ("Intercept_centred", "beta[x]", "sd_g[Intercept]", "sigma")
    assert "were not made for this" in str(fit.evidence(seed=1))


def test_a_fit_without_its_effects_has_its_evidence():
    model = bmm.Model("y ~ x + (1 | g)", DATA, priors=PRIORS)
    bare = model.sample(draws=500, tune=500, seed=1, progress=False, keep_effects=False)
    whole = model.sample(draws=500, tune=500, seed=1, progress=False)
    assert bare.evidence(seed=3).log_evidence == whole.evidence(seed=3).log_evidence
