"""How many threads of linear algebra a small model has."""

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import bayesmm as bmm
from bayesmm.design import checks
from bayesmm.runtime import threads


def counts():
    return [pool["num_threads"] for pool in ThreadpoolController().info() if pool["user_api"] == "blas"]


@pytest.fixture(scope="module")
def model():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"))


@pytest.fixture
def two_threads():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        yield


def test_a_small_model_has_one_thread_and_gives_the_others_back(model, two_threads, monkeypatch):
    seen = []
    monkeypatch.setattr("bayesmm.estimation.maximize.check_method", lambda *given: seen.append(counts()) or "REML")
    model.maximize()
    assert seen and set(seen[0]) == {1}
    assert set(counts()) == {2}


def test_threads_are_given_back_after_an_error(model, two_threads):
    with pytest.raises(ValueError, match="method must be one of"):
        model.maximize("none")
    assert set(counts()) == {2}


def test_a_large_model_keeps_its_threads(two_threads, monkeypatch):
    crossed = np.random.default_rng(0)
    data = {"y": crossed.normal(size=60), "a": np.arange(60) % 12, "b": np.arange(60) % 10}
    design = bmm.Model("y ~ 1 + (1 | a) + (1 | b)", data).design
    assert threads._rows(design) == 11  # the ten levels of b, and the intercept
    monkeypatch.setattr(threads, "ONE_THREAD", 10)
    assert set(threads.few_threads(lambda given: counts())(design)) == {2}
    assert set(threads.few_threads(lambda given: counts())(None)) == {1}


def test_overlapping_users_give_back_what_was_there_before_the_first(two_threads):
    first, second = threads.one_thread(), threads.one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(counts()) == {1}  # the second one still needs it
    second.__exit__(None, None, None)
    assert set(counts()) == {2}


def test_the_first_argument_may_have_its_name(model):
    point = model.maximize()
    assert bmm.anova(point=point, ddf="satterthwaite").table.equals(bmm.anova(point, ddf="satterthwaite").table)


def test_a_matrix_is_small_by_its_columns(two_threads, monkeypatch):
    assert set(threads.few_threads(lambda X: counts())(np.ones((5000, 20)))) == {1}
    monkeypatch.setattr(threads, "ONE_THREAD", 10)
    assert set(threads.few_threads(lambda X: counts())(np.ones((5000, 20)))) == {2}


def test_a_small_design_is_checked_with_one_thread(two_threads, monkeypatch):
    seen = []
    looked = checks.dependent_columns
    monkeypatch.setattr(checks, "dependent_columns", lambda *given: seen.append(counts()) or looked(*given))
    bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"))
    assert set(seen[0]) == {1} and set(counts()) == {2}


def test_separation_is_looked_for_with_one_thread(two_threads, monkeypatch):
    seen, looked = [], np.linalg.matrix_rank
    monkeypatch.setattr(np.linalg, "matrix_rank", lambda *given: seen.append(counts()) or looked(*given))
    bmm.Model("y ~ x + (1 | g)", {"y": [0, 1, 3, 2, 1, 4], "x": [1, 2, 3, 4, 5, 7], "g": list("aabbcc")}, "poisson")
    assert seen and set(seen[0]) == {1} and set(counts()) == {2}


def test_no_more_processors_are_used_than_asked_for(monkeypatch):
    pools = []

    class Pool(threads.ThreadPoolExecutor):
        def __init__(self, workers):
            pools.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    data = {"y": [0, 1, 1, 0, 1, 1, 0, 1] * 3, "g": list("aabbccdd") * 3}
    model = bmm.Model("y ~ 1 + (1 | g)", data, "bernoulli")
    for cores, most in ((1, {1}), (2, {1, 2}), (None, {1, 2, 3})):
        pools.clear()
        model.sample(200, seed=1, sampler="importance", cores=cores, progress=False)
        assert pools and set(pools) <= most and max(pools) == max(most)
    assert threads.in_threads(lambda k: k + 1, range(4)) == [1, 2, 3, 4] and pools[-1] == 3
