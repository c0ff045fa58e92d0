"""Nested factors of a generalised model: the innermost effects integrated out, against SciPy's integrals and NUTS."""

import json

import numpy as np
import pandas as pd
import pytest
from compared_draws import compare_draws
from scipy import integrate, stats

import bayesmm as bmm
from bayesmm.likelihood.coordinates import factors, values
from bayesmm.priors import prior_design
from bayesmm.reporting.sampling_lines import sampling_lines
from bayesmm.sampling.joint import integrated_block, joint_posterior

REGIONS, SITES = 4, 2
FORMULA = "y ~ x + offset(log(effort)) + (1 | region / site)"


def counts(rows=40, regions=REGIONS, sites=SITES, seed=3):
    rng = np.random.default_rng(seed)
    region, site = np.arange(rows) % regions, np.arange(rows) // regions % sites
    x, effort = rng.normal(size=rows), np.exp(0.3 * rng.normal(size=rows))
    eta = 0.5 + 0.3 * x + 0.4 * rng.normal(size=regions)[region] + 0.5 * rng.normal(size=(regions, sites))[region, site]
    return pd.DataFrame({
        "y": rng.poisson(effort * np.exp(eta)), "x": x, "effort": effort, "yes": rng.integers(0, 2, rows),
        "region": [f"r{r}" for r in region], "site": [f"s{s}" for s in site],
    })  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return bmm.Model(FORMULA, counts(), "poisson")


def posterior_of(model, centred):
    k = integrated_block(model.design)
    return joint_posterior(model.design, prior_design(model.design, model.priors), model.priors, centred, k)


def expected(model, posterior, x, centred):
    """Return log p(y, e | x): a Poisson density of each row, integrated over the effect of each site by SciPy."""
    own, c = prior_design(model.design, model.priors), posterior.coordinates
    (sd, inner), gamma = values(c, x[None])[0][:2], values(c, x[None])[0][2:4]
    e, (region, site) = x[len(x) - REGIONS :], own.blocks
    assert all(C.shape == (1, 1, 1) for C in factors(c, x[None]))
    b = e if centred else sd * e
    eta = own.X @ gamma + own.offset + b[region.index]
    total = stats.norm(0, sd if centred else 1).logpdf(e).sum()
    for level in range(len(site.levels)):
        rows = site.index == level

        def density(v, rows=rows):
            return np.exp(stats.poisson.logpmf(own.y[rows], np.exp(eta[rows] + inner * v)).sum()) * stats.norm.pdf(v)

        total += np.log(integrate.quad(density, -9, 9, epsabs=0, epsrel=1e-11, limit=200)[0])
    return total


@pytest.mark.parametrize("centred", [False, True])
def test_the_density_is_an_integral_over_the_sites_and_its_gradient_is_its_own(model, centred):
    posterior = posterior_of(model, (centred, False))
    x, y = 0.4 * np.random.default_rng(1).normal(size=(2, posterior.size))
    y[: posterior.size - REGIONS] = x[: posterior.size - REGIONS]  # the priors cancel
    difference = expected(model, posterior, x, centred) - expected(model, posterior, y, centred)
    # the rule is meant to be within 1e-5 of a level's density, of which there are eight
    assert posterior(x)[0] - posterior(y)[0] == pytest.approx(difference, abs=1e-4)
    value, slope = posterior(x)
    rises = [(posterior(x + h)[0] - posterior(x - h)[0]) / 2e-5 for h in 1e-5 * np.eye(len(x))]
    # central differences of values of about 100; the nodes move with x, by which the rule errs
    np.testing.assert_allclose(slope, rises, rtol=1e-5, atol=1e-5)
    assert posterior.many(x[None])[0] == pytest.approx(value, rel=1e-13)


def test_the_innermost_of_nested_factors_is_integrated_out(model):
    assert model.design.blocks[integrated_block(model.design)].group == "region:site"


@pytest.mark.parametrize(("formula", "family"), [
    ("y ~ x + (1 | region) + (1 | site)", "poisson"),  # crossed
    ("y ~ x + (1 + x | region) + (1 + x + I(x ** 2) + I(x ** 3) | region:site)", "poisson"),  # too many for a rule
    ("x ~ yes + (1 | region / site)", "student"),  # a level's density may have two modes
])  # fmt: skip
def test_what_is_not_nested_or_not_for_quadrature_is_written_out(formula, family):
    assert integrated_block(bmm.Model(formula, counts(), family).design) is None


def test_a_fit_has_the_effects_of_both_factors_and_a_seed_is_a_fit(model):
    one, two = (model.sample(draws=50, tune=100, chains=2, seed=5, progress=False) for _ in range(2))
    names = [block.names.effects for block in model.design.blocks]
    assert [one.tree["posterior"][name].shape[2:] for name in names] == [(REGIONS, 1), (REGIONS * SITES, 1)]
    for name in names:
        np.testing.assert_array_equal(one.tree["posterior"][name], two.tree["posterior"][name])
    assert json.loads(one.tree.attrs["bayesmm"])["effects"] == "explicit"
    assert sampling_lines(one)[0].endswith("random effects sampled, those of region:site integrated out")
    written = model.sample(draws=20, tune=20, chains=2, seed=5, effects="explicit", progress=False)
    assert sampling_lines(written)[0].endswith("random effects sampled")
    without = model.sample(draws=50, tune=100, chains=2, seed=5, keep_effects=False, progress=False)
    assert not set(names) & set(without.tree["posterior"].data_vars)


def test_a_store_gives_the_same_draws(model, tmp_path):
    own = dict(draws=50, tune=100, chains=2, seed=5, progress=False)
    plain, stored = model.sample(**own), model.sample(**own, store=tmp_path / "fit.zarr")
    again = bmm.load(tmp_path / "fit.zarr")
    for name in plain.tree["posterior"].data_vars:
        np.testing.assert_array_equal(plain.tree["posterior"][name], stored.tree["posterior"][name])
        np.testing.assert_array_equal(plain.tree["posterior"][name], again.tree["posterior"][name])


@pytest.mark.slow
def test_all_draws_are_those_of_the_model_with_every_effect_written_out(model):
    integrated = model.sample(draws=2000, seed=1, progress=False)
    written = model.sample(draws=8000, seed=2, effects="explicit", target_accept=0.95, progress=False)
    for name in ("beta", "sd_region", "sd_region:site", "b_region", "b_region:site"):
        pair = [fit.tree["posterior"][name].to_numpy() for fit in (integrated, written)]
        for place in np.ndindex(pair[0].shape[2:]):
            compare_draws(*(draws[(..., *place)] for draws in pair), f"{name}{place}")
