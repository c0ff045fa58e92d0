"""The marginal mode against the n x n normal density and scipy's priors: nothing of the package."""

import numpy as np
import pytest
from references import frame
from scipy import stats
from scipy.optimize import minimize

import bayesmm as bmm
from bayesmm.estimation.map import nowhere
from bayesmm.estimation.maximize import maximize

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def data():
    """Eight subjects: small enough for a dense covariance, and far from a normal posterior."""
    full = frame("sleepstudy")
    return full[full["Subject"].isin(sorted(full["Subject"].unique())[:8])].assign(
        Subject=lambda d: d["Subject"].astype(str)
    )


def dense_log_posterior(data, parameters, sds, corr_eta, sigma_prior, beta_mean, beta_sd):
    """Return log p(y | sd, rho, sigma) + log priors, natural scales, centred intercept and slope integrated out."""
    sd0, sd1, rho, sigma = parameters
    if min(sd0, sd1, sigma) <= 0 or abs(rho) >= 1:
        return -np.inf
    y, days = data["Reaction"].to_numpy(), data["Days"].to_numpy(dtype=float)
    X = np.column_stack([np.ones(len(y)), days - days.mean()])
    same = data["Subject"].to_numpy()[:, None] == data["Subject"].to_numpy()[None, :]
    Z = np.column_stack([np.ones(len(y)), days])
    Sigma = np.array([[sd0**2, rho * sd0 * sd1], [rho * sd0 * sd1, sd1**2]])
    V = same * (Z @ Sigma @ Z.T) + sigma**2 * np.eye(len(y)) + (X * np.square(beta_sd)) @ X.T
    value = stats.multivariate_normal(X @ beta_mean, V).logpdf(y)
    value += sds[0].logpdf(sd0) + sds[1].logpdf(sd1) + sigma_prior.logpdf(sigma)
    return value + (corr_eta - 1) * np.log(1 - rho**2)  # LKJ(eta) on a 2 x 2 correlation matrix, to a constant


CASES = {
    "half-normal": (
        {"sd_Subject[Intercept]": bmm.Prior("HalfNormal", sigma=10),
         "sd_Subject[Days]": bmm.Prior("HalfNormal", sigma=3),
         "corr": bmm.Prior("LKJ", eta=4), "sigma": bmm.Prior("HalfNormal", sigma=20)},
        [stats.halfnorm(scale=10), stats.halfnorm(scale=3)], 4.0, stats.halfnorm(scale=20),
    ),
    "gamma and exponential": (
        {"sd_Subject[Intercept]": bmm.Prior("Gamma", alpha=3, beta=0.1),
         "sd_Subject[Days]": bmm.Prior("Exponential", lam=0.5),
         "corr": bmm.Prior("LKJ", eta=1.5), "sigma": bmm.Prior("LogNormal", mu=3, sigma=0.3)},
        [stats.gamma(3, scale=10), stats.expon(scale=2)], 1.5, stats.lognorm(0.3, scale=np.exp(3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_mode_is_the_maximum_of_the_dense_posterior(data, case):
    priors, sds, eta, sigma_prior = CASES[case]
    priors = {
        **priors,
        "Intercept_centred": bmm.Prior("Normal", mu=280, sigma=30),
        "beta[Days]": bmm.Prior("Normal", mu=5, sigma=4),
    }
    point = bmm.Model(FORMULA, data, priors=priors).maximize("MAP")
    table = point.varcorr()["sdcor"].to_numpy()
    at = np.array([table[0], table[1], table[2], point.sigma])

    def objective(parameters):
        return -dense_log_posterior(
            data, parameters, sds, eta, sigma_prior, np.array([280.0, 5.0]), np.array([30.0, 4.0])
        )

    dense = minimize(
        objective, [20.0, 5.0, 0.1, 25.0], method="Nelder-Mead", options=dict(xatol=1e-6, fatol=1e-10, maxiter=4000)
    )
    # Nelder-Mead stops where the density changes by 1e-10, so a parameter of posterior sd s is found to about 1e-5 s
    np.testing.assert_allclose(at, dense.x, rtol=1e-3, atol=1e-3)
    assert objective(at) <= dense.fun + 1e-8
    assert point.converged


def test_coefficients_are_their_conditional_mean(data):
    model = bmm.Model(FORMULA, data, priors={"beta[Days]": bmm.Prior("Normal", mu=0, sigma=0.5)})
    point = model.maximize("MAP")
    y, days = data["Reaction"].to_numpy(), data["Days"].to_numpy(dtype=float)
    X, Z = np.column_stack([np.ones(len(y)), days - days.mean()]), np.column_stack([np.ones(len(y)), days])
    same = data["Subject"].to_numpy()[:, None] == data["Subject"].to_numpy()[None, :]
    V = same * (Z @ point.covariances[0] @ Z.T) + point.sigma**2 * np.eye(len(y))
    intercept = model.priors["Intercept_centred"].parameters
    precision = np.diag([intercept["sigma"] ** -2, 0.5**-2])
    gamma = np.linalg.solve(
        X.T @ np.linalg.solve(V, X) + precision,
        X.T @ np.linalg.solve(V, y) + precision @ np.array([intercept["mu"], 0.0]),
    )
    beta = [gamma[0] - days.mean() * gamma[1], gamma[1]]
    np.testing.assert_allclose(point.beta, beta, rtol=1e-8)  # two solutions of one well-conditioned linear system


def test_flat_priors_give_reml():
    """With flat priors on everything the marginal posterior is the REML likelihood."""
    flat = {"beta": bmm.Prior("Flat"), "Intercept": bmm.Prior("Flat"), "sd": bmm.Prior("HalfFlat"),
            "sigma": bmm.Prior("HalfFlat"), "corr": bmm.Prior("LKJ", eta=1)}  # fmt: skip
    model = bmm.Model(FORMULA, frame("sleepstudy"), priors=flat)
    reml, mode = model.maximize("REML"), model.maximize("MAP")
    np.testing.assert_allclose(mode.varcorr()["sdcor"], reml.varcorr()["sdcor"], rtol=1e-5)
    np.testing.assert_allclose(mode.fixef(), reml.fixef(), rtol=1e-6)


def test_non_normal_coefficient_is_at_its_joint_mode(data):
    """A Laplace prior with a tiny scale holds the slope at its own mode, 0: as if the slope were not in the model."""
    held = bmm.Model(FORMULA, data, priors={"beta[Days]": bmm.Prior("StudentT", nu=3, mu=7.0, sigma=1e-4)}).maximize(
        "MAP"
    )
    fixed = bmm.Model(FORMULA, data, priors={"beta[Days]": 7.0}).maximize("MAP")
    assert held.fixef().loc["Days", "estimate"] == pytest.approx(7.0, abs=1e-2)
    np.testing.assert_allclose(held.varcorr()["sdcor"], fixed.varcorr()["sdcor"], rtol=1e-3)


def test_fixed_parameters_stay(data):
    priors = {"sigma": 20.0, "sd_Subject[Days]": 5.0, "beta[Days]": 10.0}
    point = bmm.Model(FORMULA, data, priors=priors).maximize("MAP")
    assert point.sigma == pytest.approx(20.0, rel=1e-12)
    assert np.sqrt(point.covariances[0][1, 1]) == pytest.approx(5.0, rel=1e-12)
    assert point.fixef().loc["Days", "estimate"] == pytest.approx(10.0, rel=1e-12)
    assert "Correlation of Fixed Effects" not in str(point)  # one of the two has no variance to be correlated with


@pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
def test_mode_at_zero_under_a_prior_that_allows_it():
    """REML puts sd(Class) at 0 and a half-t prior leaves it there; the search must not get stuck beside it."""
    model = bmm.Model("Grade ~ Hours + (1 | School) + (1 | Class)", frame("schoolclass"))
    point = model.maximize("MAP")
    assert point.varcorr().set_index("grp").loc["Class", "sdcor"] == 0.0
    assert point.singular


def test_function_as_a_prior_has_no_closed_form(data):
    def prior(name, **kwargs):  # never called here
        raise AssertionError

    with pytest.raises(bmm.PriorError, match="the prior of sigma is a function"):
        bmm.Model(FORMULA, data, priors={"sigma": prior}).maximize("MAP")


@pytest.mark.parametrize(
    ("priors", "low", "high"),
    [
        ({"sd_Subject[Intercept]": bmm.Prior("Uniform", lower=0, upper=4)}, 0, 4),
        ({"sd_Subject[Intercept]": bmm.Prior("Uniform", lower=900, upper=1600, on="variance")}, 30, 40),
    ],
)
def test_the_search_begins_inside_a_prior_that_excludes_reml(data, priors, low, high):
    model = bmm.Model("Reaction ~ Days + (1 | Subject)", data, priors=priors)
    reml, point = model.maximize(), model.maximize("MAP")
    sd, before = np.sqrt(point.covariances[0][0, 0]), np.sqrt(reml.covariances[0][0, 0])
    assert not low < before < high
    assert low <= sd <= high
    assert np.isfinite(point.criterion)
    assert point.converged or "NOT converged" in point.message  # the mode is at an end, where the slope is not 0


def test_a_density_of_zero_where_the_search_begins_is_an_error(data):
    model = bmm.Model("Reaction ~ Days + (1 | Subject)", data, priors={"sigma": 1e-200})
    with pytest.raises(ValueError) as caught:
        model.maximize("MAP")
    assert str(caught.value) == (
        "the marginal posterior density is 0 or not finite wherever the search for its mode began, near the REML "
        f"estimates (sigma is 1e-200 (fixed), and its estimate is {maximize(model.design).sigma:.4g}); give priors "
        "that allow values near them"
    )


def test_the_priors_that_exclude_the_estimates_are_the_ones_that_are_named(data):
    model = bmm.Model("Reaction ~ Days + (1 | Subject)", data)
    reml = model.maximize()
    own = {
        "beta[Days]": bmm.Prior("Uniform", lower=500, upper=501),
        "sd_Subject[Intercept]": bmm.Prior("Uniform", lower=0, upper=1e-3),
        "sigma": bmm.Prior("HalfNormal", sigma=1),
    }
    said = str(nowhere(model.with_priors(own).priors, reml))
    assert "(beta[Days] is Uniform(lower=500, upper=501), and its estimate is " in said
    sd = np.sqrt(reml.covariances[0][0, 0])
    assert f"; sd_Subject[Intercept] is Uniform(lower=0, upper=0.001), and its estimate is {sd:.4g})" in said
    assert "sigma" not in said
    assert "(no single prior excludes the estimates)" in str(nowhere(model.priors, reml))
