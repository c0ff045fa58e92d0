"""Many fits by an executor are those of threads, whatever its workers are, and also when one is lost."""

import concurrent.futures
import importlib.util
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.inference.simulation import repeat

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def point():
    return bmm.Model(FORMULA, bmm.load_dataset("sleepstudy")).maximize()


def executors():
    """Return the executors that are installed, each made when it is needed."""
    found = {"threads": lambda: ThreadPoolExecutor(2)}
    if importlib.util.find_spec("loky"):
        from loky import get_reusable_executor

        found["loky"] = lambda: get_reusable_executor(max_workers=2)
    return found


@pytest.mark.parametrize("name", executors())
def test_a_bootstrap_is_the_same_by_any_executor(name, point):
    expected = point.bootstrap(20, seed=1, progress=False).draws
    found = point.bootstrap(20, seed=1, progress=False, executor=executors()[name]()).draws
    assert found.equals(expected)


class Lossy:
    """An executor that loses a worker at the first part."""

    def __init__(self):
        self.pool, self.sent = ThreadPoolExecutor(2), 0

    def submit(self, function, *arguments):
        self.sent += 1
        if self.sent == 1:
            lost = concurrent.futures.Future()
            lost.set_exception(concurrent.futures.BrokenExecutor("a worker died"))
            return lost
        return self.pool.submit(function, *arguments)


def squares():
    return lambda i: i * i


def test_what_a_lost_worker_had_is_done_again():
    advanced, executor = [], Lossy()
    found, interrupted = repeat.run(squares, 100, None, lambda: advanced.append(1), executor)
    assert found == {i: i * i for i in range(100)} and not interrupted
    assert len(advanced) == 100 and executor.sent == 51


def test_an_executor_that_loses_all_is_an_error():
    class Lost(Lossy):
        def submit(self, function, *arguments):
            self.sent = 0
            return super().submit(function, *arguments)

    with pytest.raises(concurrent.futures.BrokenExecutor):
        repeat.run(squares, 10, None, lambda: None, Lost())


def test_executors_are_checked(point):
    with pytest.raises(ValueError, match="executor should be one of concurrent"):
        point.bootstrap(2, executor=3)
    with pytest.raises(ValueError, match="give one of them"):
        point.bootstrap(2, executor=ThreadPoolExecutor(1), cores=2)


def test_one_model_for_each_of_many_data_sets():
    table = bmm.load_dataset("sleepstudy")
    data = {f"half {k}": table[table.Subject.astype(int) % 2 == k] for k in (0, 1)} | {"none": table.head(1)}
    fits = bmm.fit_many(FORMULA, data, progress=False)
    assert list(fits) == ["half 0", "half 1"] and list(fits.failed) == ["none"]
    for label in fits:
        assert fits[label].criterion == bmm.Model(FORMULA, data[label]).maximize().criterion
    assert fits.fixef().loc[("half 0", "Days"), "estimate"] == fits["half 0"].fixef().estimate["Days"]
    with pytest.raises(DataError, match="'none' has no fit"):
        fits["none"]
    again = bmm.fit_many(FORMULA, data, progress=False, executor=ThreadPoolExecutor(2))
    assert again.varcorr().equals(fits.varcorr())
    assert repr(fits) == "2 fits, 1 failed (none)"


def test_seeds_belong_to_the_labels():
    table = bmm.load_dataset("sleepstudy")
    options = dict(how="sample", seed=3, draws=20, tune=20, chains=1, progress=False)
    with pytest.warns(bmm.BayesmmWarning):
        both = bmm.fit_many(FORMULA, {"b": table, "a": table}, **options)
        one = bmm.fit_many(FORMULA, {"a": table}, **options)
    assert both["a"].tree["posterior"]["beta"].equals(one["a"].tree["posterior"]["beta"])
    assert not both["b"].tree["posterior"]["beta"].equals(one["a"].tree["posterior"]["beta"])


@pytest.mark.parametrize(("change", "said"), [({"how": "guess"}, "how must be one of"), ({"data": {}}, "mapping of")])
def test_arguments_are_checked(change, said):
    with pytest.raises(ValueError, match=said):
        bmm.fit_many(**({"formula": FORMULA, "data": {"a": None}} | change))


@pytest.mark.parametrize("name", executors())
def test_power_is_the_same_by_any_executor(name, point):
    options = dict(groups=[6, 9], simulations=4, seed=2, progress=False)
    expected = bmm.power(bmm.Model(FORMULA, bmm.load_dataset("sleepstudy")), point, **options)
    model = bmm.Model(FORMULA, bmm.load_dataset("sleepstudy"))
    assert bmm.power(model, point, executor=executors()[name](), **options).table.equals(expected.table)
    with pytest.raises(ValueError, match="give one of them"):
        bmm.power(model, point, executor=ThreadPoolExecutor(1), cores=2, **options)


class Weighing(Lossy):
    """An executor that loses no worker and keeps how many bytes each part is."""

    def __init__(self):
        super().__init__()
        self.sent, self.bytes = 1, []

    def submit(self, function, *arguments):
        self.bytes.append(len(pickle.dumps(arguments)))
        return super().submit(function, *arguments)


def test_a_part_is_sent_with_its_own_tables_alone():
    table, executor = bmm.load_dataset("sleepstudy"), Weighing()
    fits = bmm.fit_many(FORMULA, dict.fromkeys(range(8), table), progress=False, executor=executor)
    assert len(fits) == len(executor.bytes) == 8
    assert max(executor.bytes) < 2 * len(pickle.dumps(table))
