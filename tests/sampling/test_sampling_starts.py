"""Before a sampler draws: the memory it will need, why a start is bad, and draws from the prior."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from small_graphs import ERRORS, SHORT, graph_of

import bayesmm as bmm
from bayesmm.errors import PriorError
from bayesmm.likelihood.marginal import generalised
from bayesmm.priors import Prior
from bayesmm.runtime import memory
from bayesmm.sampling.graph import size
from bayesmm.sampling.graph.nuts import check_start, prior_predictive, sample_graph
from bayesmm.sampling.marginal import centre

# --- memory ----------------------------------------------------------------------------------------------------------


def test_draws_that_do_not_fit_are_refused_with_the_estimate(monkeypatch):
    wide = pd.DataFrame({"y": np.arange(20_000.0), "g": np.arange(20_000) // 2})
    graph = graph_of(wide, "y ~ 1 + (1 | g)", centred=True)
    monkeypatch.setattr(memory, "free_memory", lambda: 1e9)
    with pytest.raises(ValueError) as caught:
        sample_graph(graph, draws=1000, tune=1000, chains=4)
    # 10,000 effects, sd, sigma and the intercept: 8 bytes, twice, for 8,000 draws
    assert "4 chains of 1,000 draws after 1,000 of tuning, 10,003 numbers each, need 1.3 GB" in str(caught.value)
    assert "half of the 1 GB of free memory; the largest variable is b_g with 10,000 numbers" in str(caught.value)
    memory.refuse(size.numbers_per_draw(graph), 300, 50, 4)  # 8 * 2 * 1,400 * 10,003 = 0.22 GB


def test_the_estimate_counts_what_is_sampled_and_what_is_kept(frame):
    counted = size.numbers_per_draw(graph_of(frame, "y ~ x + (x | g)"))
    assert counted["_z_g"] == counted["b_g"] == 12
    assert counted["corr_g"] == 4
    assert counted["sigma"] == counted["_Intercept_centred"] == 1
    assert "X_data" not in counted


def test_free_memory_is_what_the_machine_or_the_container_has(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable:    3000 kB\n")
    monkeypatch.setattr(memory, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert memory.free_memory() == 3000 * 1024
    (tmp_path / "memory.max").write_text("2048000\n")
    (tmp_path / "memory.current").write_text("48000\n")
    assert memory.free_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() == 3000 * 1024


# --- a bad start -----------------------------------------------------------------------------------------------------


def observed(values, logp_of=pm.HalfNormal):
    with pm.Model(coords={"obs": [10, 20, 30, 40, 50, 60, 70]}) as model:
        scale = pm.HalfNormal("scale", 1)
        logp_of("y", scale, observed=np.asarray(values, dtype=float), dims="obs")
    return model


def test_a_bad_start_names_the_variable_and_the_rows():
    model = observed([1, -1, 2, 3, -1, 4, 5])
    with pytest.raises(
        ValueError, match=r"the log density of y is -inf in rows \[20, 50\]; check these data and priors"
    ):
        check_start(model)
    check_start(observed([1, 1, 2, 3, 1, 4, 5]))


def test_a_bad_start_names_priors_and_potentials_too():
    with pm.Model() as model:
        x = pm.Normal("x", 0, 1, initval=2.0)
        pm.Potential("wall", pm.math.switch(x > 1, -np.inf, 0.0))
        pm.Potential("hole", pm.math.log(1 - x))
        pm.Uniform("u", -1, 1, default_transform=None, initval=3.0)
    with pytest.raises(ValueError) as caught:
        check_start(model)
    for part in ("density of wall is -inf", "density of hole is not a number", "density of u is -inf"):
        assert part in str(caught.value)
    assert "density of x" not in str(caught.value)


def test_a_bad_gradient_names_the_variable():
    with pm.Model() as model:
        x = pm.Normal("x", 0, 1, initval=0.0)
        pm.Normal("other", 0, 1)
        pm.Potential("edge", pm.math.sqrt(abs(x)))  # 0 at 0, where its slope is infinite
    with pytest.raises(ValueError, match="the gradient with respect to x is not finite"):
        check_start(model)


@pytest.mark.parametrize("name", ["nutpie", "pymc"])
def test_a_sampler_that_can_not_start_says_why(name):
    with pytest.raises(ValueError, match=r"no chain can start, .* y is -inf in rows \[20\]"):
        sample_graph(observed([1, -1, 2, 3, 1, 4, 5]), sampler=name, **(SHORT | {"cores": 1}))


def test_the_start_of_a_mixed_model_is_good(graph):
    check_start(graph)


# --- prior predictive ------------------------------------------------------------------------------------------------


def test_a_shift_whose_prior_goes_beyond_the_least_response_starts_below_it():
    data = {"y": np.array([0.1, 0.4, 0.9, 1.4, 2.0, 3.1])}
    priors = {"ndt": bmm.Prior("Uniform", lower=0.0, upper=0.5)}  # the median is above 0.1
    model = bmm.Model("y ~ 1", data, "shifted_lognormal", priors)
    made = generalised(model.design, model.priors)
    assert np.isfinite(made.posterior(centre(made, model.priors))[0])


def test_prior_predictive_draws_parameters_and_data(frame):
    graph = graph_of(frame, "y ~ x + (x | g)", {"sigma": Prior("HalfNormal", sigma=2)})
    tree = prior_predictive(graph, 400, seed=1)
    assert {"prior", "prior_predictive"} <= set(tree.children)
    assert list(tree["prior"].data_vars) == ["beta", "sd_g", "corr_g", "b_g", "sigma"]
    assert tree["prior_predictive"]["y"].shape == (1, 400, 30)
    assert list(tree["prior"]["beta"]["coef"].values) == ["Intercept", "x"]
    mean = float(tree["prior"]["sigma"].mean())
    assert mean == pytest.approx(2 * np.sqrt(2 / np.pi), abs=ERRORS * 2 * 0.6 / np.sqrt(400))  # sd of |N| is 0.6 sigma
    prior, y = tree["prior"], tree["prior_predictive"]["y"].values[0]
    Z = graph["Z_g"].get_value()
    eta = prior["beta"].values[0] @ graph["X_data"].get_value().T
    eta += np.einsum("nj,dnj->dn", Z, prior["b_g"].values[0][:, graph["index_g"].get_value()])
    scaled = (y - eta) / prior["sigma"].values[0][:, None]
    assert scaled.std() == pytest.approx(1, rel=ERRORS / np.sqrt(2 * y.size))
    assert scaled.mean() == pytest.approx(0, abs=ERRORS / np.sqrt(y.size))
    again = prior_predictive(graph, 400, seed=1)
    xr.testing.assert_identical(again["prior"].to_dataset(), tree["prior"].to_dataset())
    xr.testing.assert_identical(again["prior_predictive"].to_dataset(), tree["prior_predictive"].to_dataset())


def test_nothing_can_be_drawn_from_an_improper_prior(frame):
    flat = {"beta": Prior("Flat"), "Intercept": Prior("Flat"), "sigma": Prior("HalfFlat")}
    flat |= {"sd_g[x]": Prior("HalfFlat", on="variance")}
    graph = graph_of(frame, "y ~ x + (x | g)", flat)
    with pytest.raises(PriorError, match="the prior of beta, sd_g, sigma is flat, so nothing can be drawn from it"):
        prior_predictive(graph)
    with pytest.raises(ValueError, match="draws should be a whole number of at least 1, not 0"):
        prior_predictive(graph, 0)
