"""Runs of many fits that end early, by Ctrl-C, a lost worker or a fit that fails: what was finished is kept."""

import concurrent.futures
import pickle
import time
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest

import bayesmm as bmm
from bayesmm.inference.simulation import repeat
from bayesmm.runtime.stopping import check_stopped, stopped_by
from bayesmm.sampling import nuts

FORMULA = "Reaction ~ Days + (Days | Subject)"
QUICK = dict(how="sample", sampler="importance", seed=1, draws=100, chains=2, progress=False)


def frames(m=4):
    """Return sleepstudy with a few responses changed, m times."""
    data, rng = bmm.load_dataset("sleepstudy"), np.random.default_rng(3)
    return {k: data.assign(Reaction=data["Reaction"] + (data["Days"] == 4) * rng.normal(0, 20)) for k in "abcdef"[:m]}


@pytest.fixture
def ctrl_c(monkeypatch):
    """Return a function: Ctrl-C comes when so many tasks are done."""

    def after(number, module):
        @contextmanager
        def counter(*_):
            done = []

            def advance():
                done.append(1)
                if len(done) == number:
                    raise KeyboardInterrupt

            yield advance

        monkeypatch.setattr(f"{module}.counter", counter)

    return after


def test_running_tasks_are_told_to_stop():
    def task(i):
        for _ in range(1000 if i else 0):
            check_stopped()
            time.sleep(0.01)
        return i

    def advance():
        raise KeyboardInterrupt

    began = time.monotonic()
    found, ended = repeat.repeated(task, 5, 1, advance)
    assert found == {0: 0} and isinstance(ended, KeyboardInterrupt)
    assert time.monotonic() - began < 5  # seconds; the second alone takes ten if nobody tells it
    check_stopped()  # this thread was told nothing


def test_a_sampler_stops_when_its_thread_is_told():
    class Handle:
        looks = 0

        def wait(self, timeout):
            self.looks += 1
            assert self.looks < 3, "nobody stops it"
            raise TimeoutError

        def abort(self):
            return "the draws so far"

    told = Event()
    told.set()
    with stopped_by(told):  # told nothing, it would wait for ever
        assert nuts.wait(Handle(), SimpleNamespace(show=lambda: None)) == ("the draws so far", True)


def test_an_error_of_a_task_keeps_the_others_results():
    def task(i):
        if i == 3:
            raise ZeroDivisionError("by hand")
        return i

    found, ended = repeat.repeated(task, 6, 1, lambda: None)
    assert {0, 1, 2} <= set(found) and 3 not in found and isinstance(ended, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):  # nothing to keep
        repeat.repeated(lambda i: 1 / 0, 6, 1, lambda: None)


def test_imputations_are_checked_before_the_first_fit(monkeypatch):
    def fitted(*_, **__):
        raise AssertionError("a fit began")

    monkeypatch.setattr(bmm.Model, "sample", fitted)
    tables = frames(3)
    tables["c"] = tables["c"].assign(Reaction="fast")
    with pytest.raises(bmm.DataError, match=r"the imputation 'c' has no fit: .*Reaction") as caught:
        bmm.fit_multiple(FORMULA, tables, **QUICK)
    assert "\n" not in str(caught.value)
    tables["c"] = tables["b"].assign(Days=list("abc") * 60)
    with pytest.raises(bmm.DataError, match="the imputations 'a' and 'c' have different parameters"):
        bmm.fit_multiple(FORMULA, tables, **QUICK)


def failing(monkeypatch, bad, error):
    """Have the fits of some imputations, by their number, fail."""
    original, begun = bmm.Model.sample, []

    def sample(self, **options):
        begun.append(1)
        if len(begun) in bad:
            raise error
        return original(self, **options)

    monkeypatch.setattr(bmm.Model, "sample", sample)


def test_a_failed_imputation_leaves_the_others_pooled(monkeypatch):
    whole = bmm.fit_multiple(FORMULA, {k: v for k, v in frames(3).items() if k != "b"}, cores=1, **QUICK)
    failing(monkeypatch, {2}, RuntimeError("the sampler died"))
    said = "only 2 imputations of 3 are pooled .'b': RuntimeError: the sampler died."
    with pytest.warns(bmm.BayesmmWarning, match=said):
        found = bmm.fit_multiple(FORMULA, frames(3), cores=1, **QUICK)
    assert list(found.fits) == ["a", "c"] and list(found.missing) == ["b"]
    assert found.summary().equals(whole.summary())
    assert "Imputation b is not among them: RuntimeError: the sampler died." in str(found)


def test_one_fit_alone_is_in_the_error(monkeypatch):
    failing(monkeypatch, {1, 3}, MemoryError("no room"))
    with pytest.raises(
        bmm.UnfinishedError, match=r"only 1 imputation of 3 has a fit.*'a': MemoryError: no room"
    ) as got:
        bmm.fit_multiple(FORMULA, frames(3), cores=1, **QUICK)
    assert list(got.value.finished) == ["b"] and got.value.finished["b"].fixef().shape[0] == 2
    assert list(pickle.loads(pickle.dumps(bmm.UnfinishedError("a", 3))).__dict__.values()) == [3]


def test_no_fit_at_all_is_the_first_ones_sentence(monkeypatch):
    failing(monkeypatch, {1, 2, 3}, ValueError("draws should be more"))
    with pytest.raises(bmm.DataError, match=r"^the imputation 'a' has no fit: draws should be more$"):
        bmm.fit_multiple(FORMULA, frames(3), cores=1, **QUICK)


def test_ctrl_c_keeps_what_is_fitted(ctrl_c):
    ctrl_c(2, "bayesmm.many")
    with pytest.warns(bmm.BayesmmWarning, match=r"imputations of 6 are pooled .*the run was interrupted before"):
        found = bmm.fit_multiple(FORMULA, frames(6), cores=1, **QUICK)
    assert list(found.fits)[:2] == ["a", "b"] and "f" in found.missing
    fits = bmm.fit_many(FORMULA, frames(6), cores=1, **QUICK)
    assert fits.interrupted and list(fits)[:2] == ["a", "b"] and "f" in fits.unfinished
    assert repr(fits).endswith(f"interrupted: {6 - len(fits)} not finished")
    with pytest.raises(bmm.DataError, match="'f' has no fit: the run was interrupted"):
        fits["f"]
    with pytest.raises(KeyError):
        fits["z"]


def test_a_fit_that_was_stopped_halfway_is_not_finished(monkeypatch):
    original = bmm.Model.sample

    def stopped(self, **options):
        fit = original(self, **options)
        fit.tree.attrs["bayesmm"] = fit.tree.attrs["bayesmm"].replace('"interrupted": false', '"interrupted": true')
        return fit

    monkeypatch.setattr(bmm.Model, "sample", stopped)
    with pytest.raises(KeyboardInterrupt):
        bmm.fit_many(FORMULA, frames(1), cores=1, **QUICK)


class Failing:
    """An executor whose workers are all lost after the first parts."""

    def __init__(self, good):
        self.left = good

    def submit(self, function, *arguments):
        future = Future()
        self.left -= 1
        if self.left < 0:
            raise concurrent.futures.BrokenExecutor("all workers died")
        future.set_result(function(*arguments))
        return future


def test_lost_workers_take_no_finished_fit_along():
    with pytest.raises(bmm.UnfinishedError, match="all workers died; 1 of 3 data sets were finished") as got:
        bmm.fit_many(FORMULA, frames(3), progress=False, executor=Failing(1))
    assert list(got.value.finished) == ["a"] and isinstance(got.value.__cause__, concurrent.futures.BrokenExecutor)
    with pytest.warns(
        bmm.BayesmmWarning, match="only 2 imputations of 3 are pooled .*ended by BrokenExecutor: all workers died"
    ):
        pooled = bmm.fit_multiple(FORMULA, frames(3), progress=False, executor=Failing(2))
    assert list(pooled.fits) == ["a", "b"]
    model = bmm.Model(FORMULA, frames(1)["a"])
    point = model.maximize()
    with pytest.raises(bmm.UnfinishedError, match="3 of 64 samples were finished") as got:
        point.bootstrap(64, seed=1, progress=False, executor=Failing(3))
    assert got.value.finished.draws.equals(point.bootstrap(3, seed=1, progress=False).draws)
    with pytest.raises(bmm.UnfinishedError, match="3 of 8 simulations were finished") as got:
        bmm.power(model, point, [8], simulations=8, seed=1, progress=False, executor=Failing(3))
    assert got.value.finished.table["simulations"].sum() == 3 and got.value.finished.interrupted


def test_a_wrong_argument_is_an_error_at_once():
    with pytest.raises(TypeError, match="drws"):
        bmm.fit_multiple(FORMULA, frames(2), drws=3, **QUICK)
