"""The posterior of a model with strata, from the sampler to a file, against a dense grid."""

import numpy as np
import pytest
from strata import STRATA, table

import bayesmm as bmm
from bayesmm.design.residual.structures import registered


@pytest.fixture(autouse=True, scope="module")
def known():
    with registered(STRATA):
        yield


@pytest.fixture(scope="module")
def small():
    frame = table(groups=8, each=6, seed=3)
    return frame.assign(f=frame["f"].where(frame["f"] != "c", "a"))


@pytest.fixture(scope="module")
def sampled(small):
    return bmm.Model("y ~ 1 + (1 | g) + strata(f)", small).sample(2000, seed=1, progress=False)


def grid_posterior(frame, priors):
    """Return means and sds of (sd, sigma, delta) by their marginal posterior on a grid; beta is integrated out."""
    axes = [np.linspace(-3, 1.8, 45), np.linspace(-0.8, 0.9, 45), np.linspace(-0.6, 1.8, 45)]
    log_s, log_sigma, delta = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    same = frame["g"].to_numpy()[:, None] == frame["g"].to_numpy()
    b = priors["Intercept_centred"].parameters
    outer, r = b["sigma"] ** 2 * np.ones(same.shape), frame["y"].to_numpy() - b["mu"]
    second, value = (frame["f"] == "b").to_numpy(), np.empty(len(delta))
    for part in np.array_split(np.arange(len(delta)), 60):
        d = np.exp(log_sigma[part, None] + delta[part, None] * second)
        V = np.exp(2 * log_s[part])[:, None, None] * same + outer + np.square(d)[:, :, None] * np.eye(len(r))
        L = np.linalg.cholesky(V)
        quad = np.square(np.linalg.solve(L, r[:, None])[..., 0]).sum(axis=1)
        value[part] = -0.5 * quad - np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    value += priors["sd_g[Intercept]"].logpdf(np.exp(log_s)) + log_s + priors["sigma"].logpdf(np.exp(log_sigma))
    value += log_sigma + priors["delta[b]"].logpdf(delta)
    weight = np.exp(value - value.max())
    values = np.array([np.exp(log_s), np.exp(log_sigma), delta])
    mean = values @ weight / weight.sum()
    return mean, np.sqrt(np.square(values - mean[:, None]) @ weight / weight.sum())


@pytest.mark.slow
def test_the_posterior_is_that_of_a_dense_grid(small, sampled):
    mean, sd = grid_posterior(small, sampled.model.priors)
    found = sampled.summary().loc[["sd_g[Intercept]", "sigma", "delta[b]"]]
    error = found["sd"] / np.sqrt(found["ess_bulk"])
    assert (np.abs(found["mean"] - mean) < 4 * error).all()  # 4 Monte Carlo standard errors
    np.testing.assert_allclose(found["sd"], sd, rtol=0.1)  # about 4 errors of an sd from 1,000 effective draws


@pytest.mark.slow
def test_a_sampled_fit_goes_all_the_way(sampled, small, tmp_path):
    assert all(check.ok for check in sampled.checks())
    compared = sampled.compare(consistency="graph")
    assert compared.consistency.ok and set(compared.table["verdict"]) <= {"agree", "skew", "few groups", "prior pull"}
    assert np.isfinite(sampled.loo().elpd) and np.isfinite(sampled.loo(by="g").elpd)
    page = sampled.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "delta[b]" in page and "strata(f)" in page
    sampled.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    new = small.head(3).drop(columns="y")
    first, second = (one.predict(new, kind="response", seed=4).draws for one in (sampled, again))
    np.testing.assert_array_equal(first, second)
