"""A few draws that diverged lead to a second run with smaller steps, which is reported."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from bayesmm.reporting.sampling_lines import second_run
from bayesmm.sampling.second_run import CAREFUL, FEW, better, divergences

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
def test_the_first_run_stays_where_the_second_is_nobetter(second, why):
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


@pytest.mark.parametrize(("target", "times"), [(0.9, 1), (0.95, 0)])
def test_who_names_another_target_gets_one_run(monkeypatch, target, times):
    from bayesmm.sampling import sample

    monkeypatch.setattr(sample, "_sampled", lambda *_, **__: run(3))
    monkeypatch.setattr(sample, "recovered", lambda tree, *_, **__: tree)
    monkeypatch.setattr("bayesmm.sampling.recovery.check_memory", lambda *_, **__: None)
    asked_again = []
    monkeypatch.setattr(sample, "better", lambda tree, *_, **__: asked_again.append(1) or tree)
    model = SimpleNamespace(design=None, effects=lambda _: "explicit")
    asked = dict(draws=10, tune=None, chains=4, seed=1, sampler="auto", effects="auto", centred="auto")
    tree = sample.sample(model, asked | dict(target_accept=target, keep_effects=True), progress=False, cores=None)
    assert divergences(tree) == (3, 0.003) and len(asked_again) == times


def test_a_sampler_without_a_record_of_divergences_has_none():
    assert divergences(xr.DataTree()) == (0, 0.0)
