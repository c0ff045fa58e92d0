"""Posteriors where the residual has parameters, or covariances a structure: a grid, the explicit graph, the mode."""

import numpy as np
import pytest
from compared_draws import compare_draws
from numpy.testing import assert_allclose
from residual_density import correlation, dense, table
from scipy.special import logsumexp

import bayesmm as bmm
from bayesmm.design.covariance.structure import factor_of, searched
from bayesmm.design.parameters import part_parameters
from bayesmm.errors import DataError
from bayesmm.evaluation.integral import coordinates_of, marginal_of
from bayesmm.likelihood.posterior import Parameters
from bayesmm.likelihood.problem import integrate

NARROW = {"Intercept": bmm.Prior("Normal", mu=0, sigma=3), "beta": bmm.Prior("Normal", mu=0, sigma=2)}
APART = {"sigma": bmm.Prior("LogNormal", mu=0, sigma=0.2)}
MODELS = {
    "ar": ("y ~ x + (1 | g) + ar(t, g)", "sigma ~ f"),
    "car": "y ~ x + car(time, g)",
    "cosy": "y ~ x + cosy(g)",
    "unstr": ("y ~ x + unstr(t, g)", "sigma ~ x"),
    "joint": "y | se(se, sigma = TRUE) ~ x + (1 | g)",
    "cs": "y ~ x + (1 | h) + cs(0 + f | g)",
    "ar1": "y ~ x + ar1(0 + v | g)",
    "toep": ("y ~ x + (1 | h) + toep(0 + v | g)", "sigma ~ f"),
}


def model_of(kind, groups=12):
    return bmm.Model(MODELS[kind], table(5, groups=groups), priors=NARROW)


def by_grid(model):
    """Return means and sds of sigma and ar, and the log evidence, by a grid; the coefficients are integrated out."""
    log_sigma, rho = np.meshgrid(np.linspace(-1.2, 1.6, 90), np.linspace(-1, 1, 92)[1:-1], indexing="ij")
    frame, X, logs = model.design.frame, model.design.X, np.empty(log_sigma.size)
    outer = 9 * np.outer(X[:, 0], X[:, 0])
    sigma = np.exp(log_sigma.ravel())
    for i, r in enumerate(rho[0]):
        own = np.arange(i, log_sigma.size, rho.shape[1])
        C = correlation(frame, "ar(", {"ar": r})
        for k in own:
            V = sigma[k] ** 2 * C + outer
            logs[k] = -0.5 * (np.linalg.slogdet(2 * np.pi * V)[1] + model.design.y @ np.linalg.solve(V, model.design.y))
    logs += model.priors["sigma"].logpdf(sigma) + log_sigma.ravel() - np.log(2)  # uniform from -1 to 1
    cell = (log_sigma[1, 0] - log_sigma[0, 0]) * (rho[0, 1] - rho[0, 0])
    points, weights = np.array([sigma, rho.ravel()]), np.exp(logs - logsumexp(logs))
    mean = points @ weights
    return mean, np.sqrt(np.square(points - mean[:, None]) @ weights), logsumexp(logs) + np.log(cell)


def test_independent_draws_and_the_evidence_are_those_of_a_grid():
    model = bmm.Model("y ~ 1 + ar(t, g)", table(2, groups=10), priors={"Intercept": NARROW["Intercept"]})
    fit = model.sample(2000, sampler="importance", seed=1, progress=False)
    mean, sd, evidence = by_grid(model)
    found = fit.summary().loc[["sigma", "ar"]]
    assert_allclose(found["mean"], mean, atol=4 * sd.max() / np.sqrt(4000))
    assert_allclose(found["sd"], sd, rtol=0.06)
    assert fit.evidence(seed=1).log_evidence == pytest.approx(evidence, abs=0.03)


@pytest.mark.parametrize("kind", ["ar", "unstr", "joint", "toep"])
def test_draws_have_the_coordinates_that_they_came_from(kind):
    fit = model_of(kind).sample(200, 1, 2, sampler="importance", seed=3, progress=False)
    found = marginal_of(fit)
    lp = found.posterior.many(coordinates_of(fit, found))
    if "lp" in fit.tree["sample_stats"]:
        assert_allclose(lp, fit.tree["sample_stats"]["lp"].to_numpy().ravel(), rtol=1e-6, atol=1e-6)
    assert np.isfinite(lp).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(MODELS))
def test_the_posterior_is_that_of_the_explicit_graph(kind):
    model = model_of(kind)
    if kind in ("ar1", "toep"):  # with one row of each cell, sigma, the sd of an effect of its own, may be next to 0
        own = {"sd": bmm.Prior("LogNormal", mu=0, sigma=0.3), "log_sigma": bmm.Prior("Normal", mu=0, sigma=0.3)}
        model = model.with_priors({**NARROW, **APART, **(own if kind == "toep" else {})})
    run = dict(seed=2, progress=False, target_accept=0.95)
    ours, theirs = model.sample(2000, 1000, **run), model.sample(4000, 1500, effects="explicit", **run)
    assert ours.tree["posterior"].attrs is not None and model.effects() == "marginal"
    for name, values in ours.tree["posterior"].data_vars.items():
        one, other = values.to_numpy(), theirs.tree["posterior"][name].to_numpy()
        for place in np.ndindex(one.shape[2:]):
            own = (slice(None), slice(None), *place)
            if one[own].std() > 1e-12:  # the ones of correlation matrices
                compare_draws(one[own], other[own], f"{name}{place}")


# ----------------------------------------------------------------------------------------------------------------------
# the mode


def log_prior(model, found):
    """Return the log density of the priors of sds, correlations, sigma and the residual's parameters, by label."""
    own = [label for label in model.priors if label in found and not label.startswith("beta")]
    return sum(float(model.priors[label].logpdf(found[label])) for label in own)


def at_point(model, found):
    """Return the parameters of a fit, by label, as the likelihood takes them."""
    integrated, L = integrate(model.design, model.priors), [np.empty(0)]
    for k, block in enumerate(model.design.blocks):
        own = np.zeros((len(block.columns),) * 2)
        for part in block.parts:
            values = [found[p.label] for p in part_parameters(k, block, part)]
            columns, structure = list(part.columns), part.covariance
            filled = (
                np.diag(values)
                if structure.free
                else factor_of(structure, searched(structure, values, len(columns)), len(columns))
            )
            own[np.ix_(columns, columns)] = filled
        L.append(own.ravel())
    positive = np.array([found[label] for label in integrated.structure.own])
    return integrated, Parameters(np.concatenate(L), positive, np.zeros(0))


@pytest.mark.parametrize("kind", ["ar", "cosy", "joint", "ar1"])
def test_the_mode_is_that_of_the_dense_density(kind):
    """No parameter can be moved by half a percent to a higher density, priors on the natural scales."""
    model = model_of(kind, groups=14)
    point = model.maximize("MAP")

    def value(parameters):
        logs = log_prior(model, parameters)
        if logs == -np.inf:  # beyond an end of an interval
            return logs
        integrated, at = at_point(model, parameters)
        return dense(integrated, integrated.structure.own, at) + logs

    found = dict(point.parameters)
    for part in model.design.residual.formulas:  # the prior of sigma is at the means of its formula's columns
        found["sigma"] *= np.exp(point.residual["log_sigma"] @ part.rows.mean(axis=0))
    best = value(found)
    assert point.converged and np.isfinite(best)
    for label, own in found.items():
        for factor in (0.995, 1.005):
            if not label.startswith("beta"):
                assert value({**found, label: own * factor}) < best, label
    assert np.isfinite(point.loglik) and point.beta.shape == (2,)


# ----------------------------------------------------------------------------------------------------------------------
# all that is done with a fit


@pytest.mark.slow
def test_a_fit_goes_all_the_way(tmp_path):
    model = bmm.Model(("y ~ x + (1 | g) + ar(t, g)", "sigma ~ f"), table(5, groups=14))
    fit = model.sample(500, seed=1, progress=False)
    assert "integrated out" in str(fit)
    comparison = fit.compare()
    assert comparison.table["map"].notna().all()
    assert np.isfinite(fit.loo(by="g").elpd) and np.isfinite(fit.evidence(seed=1).log_evidence)
    assert np.isfinite(fit.predict(table(6).head(5), new_levels="sample", seed=1).to_frame()).all().all()
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert again.summary().equals(fit.summary())
    assert again.model.effects() == "marginal"
    assert model.simulate(fit, 2, seed=1).shape == (model.design.n, 2)
    fit.report(tmp_path / "fit.html")


def test_what_is_not_there_is_said():
    model = model_of("ar")
    with pytest.raises(DataError, match="a graph with effects='marginal' is not possible with the residuals of ar"):
        model.graph("marginal")
    assert model.graph("auto") is not None and "b_g" in {
        v.name for v in model.graph().deterministics + model.graph().free_RVs
    }
    own = bmm.Model(MODELS["ar"], table(5), priors={"sigma": lambda name: None})
    assert own.effects() == "explicit"
    with pytest.raises(DataError, match="effects='marginal' is not possible with the residuals of ar"):
        own.effects("marginal")
    crossed = bmm.Model("y ~ x + (1 | h) + ar(t, g)", table(5))
    assert crossed.effects() == "explicit"
