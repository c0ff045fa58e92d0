"""Meta-analysis by weights: one row in each level beside a residual that is known, against the exact posterior.

Eight schools (Rubin 1981, Journal of Educational Statistics 6(4)): y_i ~ N(mu, tau^2 + se_i^2).
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SE = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
FORMULA = "y ~ 1 + (1 | school)"
PRIORS = {"sigma": 1, "Intercept": bmm.Prior("Normal", mu=0, sigma=20), "sd": bmm.Prior("HalfNormal", sigma=10)}


def schools(se=SE):
    return pd.DataFrame({"y": Y, "w": 1 / se**2 * np.ones(8), "school": list("ABCDEFGH")})


def exact():
    """Return mean and sd of (mu, tau): tau on a grid, mu in closed form given it."""
    tau = np.linspace(1e-3, 60, 6000)
    precision = 1 / (tau[:, None] ** 2 + SE**2)
    v = 1 / (precision.sum(axis=1) + 1 / 20**2)
    m = v * (precision @ Y)
    log_p = stats.halfnorm.logpdf(tau, scale=10) + stats.norm.logpdf(0, 0, 20) - stats.norm.logpdf(0, m, np.sqrt(v))
    log_p += stats.norm.logpdf(Y, 0, 1 / np.sqrt(precision)).sum(axis=1)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = np.array([p @ m, p @ tau])
    return mean, np.sqrt([p @ (v + m**2) - mean[0] ** 2, p @ tau**2 - mean[1] ** 2]), tau[np.argmax(log_p)]


def test_the_mode_is_the_grids():
    point = bmm.Model(FORMULA, schools(), weights="w", priors=PRIORS).maximize("MAP")
    assert point.varcorr().sdcor[0] == pytest.approx(exact()[2], abs=0.011)  # a step of the grid is 0.01


@pytest.mark.parametrize("effects", ["marginal", pytest.param("explicit", marks=pytest.mark.slow)])
def test_the_posterior_is_the_grids(effects):
    model = bmm.Model(FORMULA, schools(), weights="w", priors=PRIORS)
    fit = model.sample(draws=2500, seed=1, effects=effects, target_accept=0.95, progress=False)
    table, (mean, sd, _) = fit.summary().loc[["beta[Intercept]", "sd_school[Intercept]"]], exact()
    assert (table["ess_bulk"] > 1000).all()
    assert (np.abs(table["mean"] - mean) < 5 * sd / np.sqrt(table["ess_bulk"])).all()
    # five standard errors of an sd from this many draws, half as much again for a kurtosis above the normal's
    assert (np.abs(table["sd"] / sd - 1) < 5 * 1.5 / np.sqrt(2 * table["ess_bulk"])).all()


def test_the_residual_is_estimated_where_known_variances_differ():
    """sigma^2 / w_i + tau^2 are two numbers where the weights differ: REML's criterion by the dense formula."""
    point = bmm.Model(FORMULA, schools(), weights="w").maximize()
    V = np.diag(point.sigma**2 * SE**2 + point.varcorr().vcov[0])
    one, inverse = np.ones(8), np.linalg.inv(V)
    r = Y - (one @ inverse @ Y) / (one @ inverse @ one)
    dense = 7 * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + np.log(one @ inverse @ one) + r @ inverse @ r
    assert point.criterion == pytest.approx(dense, abs=1e-8)


def test_one_row_for_each_level_is_refused_where_nothing_tells_it_from_the_residual():
    with pytest.raises(bmm.DataError, match="cannot be told apart from the residual; there must be fewer levels"):
        bmm.Model(FORMULA, schools(se=3.0), weights="w")
    known = bmm.Model(FORMULA, schools(se=3.0), weights="w", priors={"sigma": 1})
    assert known.maximize("MAP").converged
    with pytest.raises(bmm.DataError, match=r"known variances: y \| se\(se\)"):
        known.maximize()  # REML estimates sigma, whatever its prior says
    with pytest.raises(bmm.DataError, match="cannot be told apart"):
        known.with_priors(None)


def test_maximum_likelihood_says_that_it_estimates_what_is_fixed(recwarn):
    """Without a word a meta-analysis got an estimated residual sd of 0.78 beside its known 1."""
    model = bmm.Model(FORMULA, schools(), weights="w", priors=PRIORS)
    assert model.maximize("MAP").sigma == 1 and not [w for w in recwarn if "estimate" in str(w.message)]
    with pytest.warns(
        bmm.BayesmmWarning, match=r"also what the priors hold fixed \(sigma = 1\); maximize\('MAP'\) and "
    ):
        assert model.maximize().sigma < 0.9
