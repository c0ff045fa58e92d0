"""Quantile regression: a density with a corner, which has posteriors and no maximum that Newton's method finds."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.families.families import FAMILIES
from bayesmm.sampling.choose_graph import settled_effects

rng = np.random.default_rng(4)
GROUP = np.repeat(np.arange(8), 10)
X = rng.normal(size=80)
Y = 1 + 0.5 * X + 0.6 * rng.normal(size=8)[GROUP] + rng.standard_t(3, size=80)
DATA = {"y": Y, "x": X, "g": [f"g{i}" for i in GROUP]}


def model(formula="y ~ x + (1 | g)", quantile=0.9):
    return bmm.Model(formula, DATA, "asymmetric_laplace", {"quantile": quantile})


def test_mu_is_the_quantile():
    for q in (0.1, 0.5, 0.93):
        family, aux = FAMILIES["asymmetric_laplace"], (0.7, q)
        assert family.cdf(1.3, 1.3, None, aux) == pytest.approx(q, rel=1e-12)
        # of 200,000 draws a share has an sd of 0.001 at most
        assert (family.draw(rng, np.full(200_000, 1.3), None, aux) <= 1.3).mean() == pytest.approx(q, abs=5e-3)


def test_the_quantile_is_held_at_the_median_unless_another_is_asked_for():
    plain = bmm.Model("y ~ x", DATA, "asymmetric_laplace")
    assert plain.priors["quantile"].parameters == {"value": 0.5}
    assert model(quantile=0.9).priors["quantile"].parameters == {"value": 0.9}


@pytest.mark.parametrize("method", ["ML", "MAP"])
def test_there_is_no_maximum_to_be_found(method):
    with pytest.raises(DataError, match=r"has a corner and no curvature.*sample\(\) draws from the posterior"):
        model().maximize(method)


def test_what_goes_by_derivatives_says_so():
    with pytest.raises(DataError, match="has a corner; use effects='explicit'"):
        model().sample(effects="marginal", progress=False)
    with pytest.raises(ValueError, match="has a corner; use sampler='nutpie'"):
        model().sample(sampler="importance", progress=False)
    for own in (model(), model("y ~ x")):
        assert settled_effects(own.design, own.priors, "auto") == "explicit"


@pytest.mark.slow
def test_the_posterior_is_that_of_a_grid():
    """Of the intercept and the scale at the 0.8 quantile, with priors of this test."""
    priors = {
        "quantile": 0.8,
        "Intercept": bmm.Prior("Normal", mu=0, sigma=5),
        "sigma": bmm.Prior("Exponential", lam=1),
    }
    fit = bmm.Model("y ~ 1", DATA, "asymmetric_laplace", priors).sample(
        draws=2000, tune=1000, chains=4, seed=2, progress=False
    )
    beta, sigma = np.linspace(1, 3.5, 400)[:, None], np.linspace(0.2, 0.8, 300)[None, :]
    z = (Y[:, None, None] - beta) / sigma
    log_p = (np.log(0.16 / sigma) - z * (0.8 - (z < 0))).sum(axis=0) + stats.norm.logpdf(beta, 0, 5) - sigma
    p = np.exp(log_p - logsumexp(log_p))
    means = {"beta": (p * beta).sum(), "sigma": (p * sigma).sum()}
    for name, mean in means.items():
        draws = fit.tree["posterior"][name].to_numpy().ravel()
        sd = np.sqrt((p * ({"beta": beta, "sigma": sigma}[name] - mean) ** 2).sum())
        # 8,000 draws that are worth a few thousand: a Monte Carlo error of 0.02 sds
        assert draws.mean() == pytest.approx(mean, abs=0.1 * sd)
        assert draws.std() == pytest.approx(sd, rel=0.1)


@pytest.mark.slow
def test_everything_is_done_with_its_posterior(tmp_path):
    fit = model().sample(draws=300, tune=300, chains=2, seed=1, progress=False)
    assert "quantile  0.9" in str(fit)
    assert np.isfinite(fit.loo().elpd)
    new = {"x": [0.0, 1.0], "g": ["g0", "new"]}
    assert np.isfinite(fit.predict(new, new_levels="sample").draws).all()
    # the 0.9 quantile: about that share of the responses is below the linear predictor
    share = (Y[None] <= fit.predict(kind="linear").draws.reshape(-1, 80)).mean()
    assert 0.8 < share < 0.97
    assert fit.r2().table.notna().any(axis=None)
    assert len(bmm.emmeans(fit, "x", at={"x": [0.0, 1.0]}).table) == 2
    assert "asymmetric_laplace" in fit.report(tmp_path / "page.html").read_text(encoding="utf-8")
    fit.save(tmp_path / "fit.nc")
    assert bmm.load(tmp_path / "fit.nc").model.family == fit.model.family
