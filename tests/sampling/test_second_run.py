"""A few draws that diverged lead to a second run with smaller steps, which is reported."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from bayesmm.posterior.convergence import bfmi
from bayesmm.reporting.sampling_lines import longer_run, second_run
from bayesmm.sampling.second_run import CAREFUL, FEW, better, divergences, longer, worth_more

SETTINGS = {"target_accept": 0.9, "seed": 3}


def run(diverged, interrupted=False, draws=1000, target_accept=0.9):
    """Return the tree of a run of so many draws of which some diverged."""
    flags = np.zeros((4, draws // 4), dtype=bool)
    flags.flat[:diverged] = True
    tree = xr.DataTree.from_dict({"sample_stats": xr.Dataset({"diverging": (("chain", "draw"), flags)})})
    tree.attrs["bayesmm"] = json.dumps({"interrupted": interrupted, "target_accept": target_accept, "was": diverged})
    return tree


def kept(first, second):
    """Return the record of the run that is kept, and with which settings there was another."""
    asked = []

    def again(settings):
        asked.append(settings)
        return second

    return json.loads(better(first, again, SETTINGS, say=False).attrs["bayesmm"]), asked


@pytest.mark.parametrize("first", [run(0), run(int(1000 * FEW) + 1), run(3, interrupted=True)])
def test_one_run_where_none_diverged_or_so_many_that_smaller_steps_are_no_cure(first):
    record, asked = kept(first, None)
    assert not asked and "runs" not in record


def test_the_second_run_has_smaller_steps_and_the_same_seed_and_is_reported():
    record, asked = kept(run(3), run(1, target_accept=CAREFUL))
    assert asked == [{"target_accept": CAREFUL, "seed": 3}]
    assert record["was"] == 1 and record["runs"] == {"first": {"divergences": 3, "target_accept": 0.9}}
    text = "Sampled twice, as 3 draws diverged with target_accept=0.9: these are the draws with target_accept=0.99."
    assert " ".join(" ".join(second_run(record)).split()) == text


@pytest.mark.parametrize("second, why", [(run(3), "had 3"), (run(0, interrupted=True), "was stopped")])
def test_the_first_run_stays_where_the_second_is_no_better(second, why):
    record, _ = kept(run(3), second)
    assert record["was"] == 3
    assert f"with 0.99 the second run {why}, so these are the draws of the first." in " ".join(
        " ".join(second_run(record)).split()
    )


def test_ctrl_c_before_a_draw_of_the_second_run_leaves_the_first():
    def again(settings):
        raise KeyboardInterrupt

    record = json.loads(better(run(3), again, SETTINGS, say=False).attrs["bayesmm"])
    assert record["was"] == 3 and "the second run was stopped" in " ".join(" ".join(second_run(record)).split())


@pytest.mark.parametrize(("target", "times"), [(0.9, [1, 9]), (0.95, [])])
def test_who_names_another_target_gets_one_run(monkeypatch, target, times):
    from bayesmm.sampling import sample

    monkeypatch.setattr(sample, "_sampled", lambda *_, **__: run(3))
    monkeypatch.setattr(sample, "recovered", lambda tree, *_, **__: tree)
    monkeypatch.setattr("bayesmm.sampling.recovery.check_memory", lambda *_, **__: None)
    asked_again = []
    monkeypatch.setattr(sample, "better", lambda tree, *_, **__: asked_again.append(1) or tree)
    monkeypatch.setattr(sample, "longer", lambda tree, *_, rows, say: asked_again.append(rows) or tree)
    model = SimpleNamespace(design=SimpleNamespace(n=9), effects=lambda _, compiled: "explicit")
    asked = dict(draws=10, tune=None, chains=4, seed=1, sampler="auto", effects="auto", centred="auto")
    tree = sample.sample(model, asked | dict(target_accept=target, keep_effects=True), progress=False, cores=None)
    assert divergences(tree) == (3, 0.003) and asked_again == times


def test_a_sampler_without_a_record_of_divergences_has_none():
    assert divergences(xr.DataTree()) == (0, 0.0)


def chains(ess, draws=1000, seed=1, diverging=(), n_steps=7):
    """Return the tree of four chains, autoregressive with so many independent draws among 4,000, and white noise."""
    rng, rho = np.random.default_rng(seed), (4000 - ess) / (4000 + ess)
    noise = rng.normal(size=(2, 4, draws))
    x = np.zeros((4, draws))
    for t in range(draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * noise[0, :, t]
    flags = np.zeros((4, draws), dtype=bool)
    flags[0, list(diverging)] = True
    dims, labels = ("chain", "draw"), {"chain": np.arange(4), "draw": np.arange(draws)}
    stats = {"diverging": (dims, flags), "n_steps": (dims, np.full((4, draws), n_steps)), "energy": (dims, noise[1])}
    posterior = xr.Dataset({"x": (dims, x), "b": ((*dims, "g"), noise[1][..., None])}, labels)
    tree = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": xr.Dataset(stats, labels)})
    tree.attrs["bayesmm"] = json.dumps({"interrupted": False, "target_accept": 0.9, "draws": draws})
    return tree


def run_longer(first, second):
    asked = []

    def again(settings):
        asked.append(settings)
        return second

    return longer(first, again, SETTINGS, rows=100, say=False), asked


def test_chains_that_nearly_mix_run_three_times_as_long_and_every_third_draw_is_kept():
    first, second = chains(250), chains(250, 3000)
    found, asked = run_longer(first, second)
    assert asked == [{"target_accept": 0.9, "seed": 3, "draws": 3000}]
    np.testing.assert_array_equal(found["posterior"]["x"], second["posterior"]["x"][:, 2::3])
    np.testing.assert_array_equal(found["posterior"]["draw"], np.arange(1000))
    record = json.loads(found.attrs["bayesmm"])
    assert record["draws"] == 1000 and record["longer"]["draws"] == 3000 and 100 <= record["longer"]["ess"] < 400
    np.testing.assert_allclose(record["longer"]["e_bfmi"], bfmi(second["sample_stats"]["energy"].to_numpy()))
    assert abs(bfmi(found["sample_stats"]["energy"].to_numpy()) - record["longer"]["e_bfmi"]).min() > 1e-3
    record["longer"] |= {"ess": 350, "r_hat": 1.0123}
    text = " ".join(" ".join(longer_run(record)).split())
    assert text == (
        "Sampled for longer, as R-hat was up to 1.012 and ESS was down to 350: these are 1 in 3 of 3,000 draws of each "
        "chain."
    )


def test_chains_that_mix_or_are_far_from_it_run_once():
    for ess in (2000, 20):
        first = chains(ess)
        found, asked = run_longer(first, None)
        assert found is first and not asked


def test_few_draws_and_much_work_are_no_reason_for_more():
    assert worth_more(chains(250), 100) and not worth_more(chains(250, 500), 100)
    assert not worth_more(chains(250, n_steps=700), 100_000)


def test_draws_that_diverge_are_no_reason_for_more_and_a_longer_run_that_does_is_dropped():
    first = chains(250, diverging=[1])
    assert run_longer(first, None) == (first, [])
    found, _ = run_longer(chains(250), chains(250, 3000, diverging=[3]))
    assert found["posterior"].sizes["draw"] == 1000
    record = json.loads(found.attrs["bayesmm"])
    assert record["longer"]["dropped"] == "had 1 divergent draw" and "e_bfmi" not in record["longer"]
    text = " ".join(" ".join(longer_run(record)).split())
    assert text.endswith("that run had 1 divergent draw, so these are the draws of the one before.")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_who_stops_the_longer_run_keeps_the_first(stop):
    def again(settings):
        raise stop

    first, second = chains(250), chains(250, 600)
    second.attrs["bayesmm"] = json.dumps({"interrupted": True, "target_accept": 0.9, "draws": 3000})
    for found in (longer(first, again, SETTINGS, rows=100, say=False), run_longer(first, second)[0]):
        np.testing.assert_array_equal(found["posterior"]["x"], first["posterior"]["x"])
        assert json.loads(found.attrs["bayesmm"])["longer"]["dropped"] == "was stopped"
