"""Random streams: no two uses of a seed share their numbers, and the package makes generators in one place."""

import ast
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import bayesmm
from bayesmm.posterior.effects import level_stream
from bayesmm.runtime import streams
from examples.pooled_vs_mixed import simulate_groups

PACKAGE = Path(bayesmm.__file__).parent
# Two places of one file, whose keys differ: data sets from (number of groups, 0) on and (0, 0) for the truth; the whole
# data as 0 and points from 1 on.
NUMBERED = {"power", "without a point"}
MAKERS = {"default_rng", "SeedSequence", "Generator", "RandomState", "PCG64", "Philox", "seed", "spawn"}


@cache
def calls():
    """Return (file, name of the called function, call) for every call of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                found.append((path.relative_to(PACKAGE).as_posix(), name, node))
    return found


def test_generators_are_made_in_one_place():
    others = {(file, name) for file, name, _ in calls() if name in MAKERS and file != "runtime/streams.py"}
    assert not others


def purposes():
    """Return where each purpose of a stream stands: a stream whose purpose is no constant is an error."""
    found = {}
    for file, name, call in calls():
        if name in ("stream", "derived_seed") and file != "runtime/streams.py" and len(call.args) > 1:
            if isinstance(call.args[1], ast.Call | ast.Name) and name == "stream":  # a stream of draws into a file
                continue
            assert isinstance(call.args[1], ast.Constant), (file, ast.unparse(call))
            found.setdefault(call.args[1].value, []).append((file, len(call.args)))
    return found


def test_each_place_has_a_purpose_of_its_own():
    found = purposes()
    assert len(found) >= 12
    for purpose, places in found.items():
        assert len(set(places)) == 1, (purpose, places)  # one file, and keys of one length
        assert len(places) == 1 or purpose in NUMBERED, (purpose, places)


def first_numbers(rng):
    return tuple(rng.integers(2**63, size=4).tolist())


@pytest.mark.parametrize("seed", [0, 1, 3, 2**32 + 5, 2**70])
def test_all_uses_of_a_seed_and_the_users_own_generator_differ(seed):
    every = [
        streams.stream(seed, purpose, *key) for purpose in purposes() for key in ((), (0,), (1,), (0, 0), ("", "a"))
    ]
    every += [streams.data_set(seed), streams.data_set(seed, 0), streams.data_set(seed, 1)]
    every += [streams.of_run(seed, 1, 0), streams.of_run(seed, 1, 1), streams.of_run(seed, 2)]
    drawn = [first_numbers(rng) for rng in every]
    # with a shared stream the first 256 bits are equal; by chance two of 80 are with a probability of 1e-73
    assert not [(a, b) for (a, x), (b, y) in combinations(enumerate(drawn), 2) if x == y]


def test_the_streams_of_the_leave_one_out_integrals_differ():
    """default_rng(3) was the stream of the whole data and default_rng([3, 0]) that of the data without point 0."""
    assert first_numbers(np.random.default_rng(3)) == first_numbers(np.random.default_rng([3, 0]))  # so they were one
    assert len({first_numbers(streams.stream(0, "without a point", i)) for i in range(50)}) == 50


def test_uniform_numbers_of_two_streams_are_uncorrelated():
    n = 100_000
    pairs = [("bootstrap", 0), ("bootstrap", 1), ("power", 0), ("responses", 0)]
    u = np.array([streams.stream(1, purpose, k).uniform(size=n) for purpose, k in pairs])
    assert np.abs(np.corrcoef(u) - np.eye(len(u))).max() < 5 / np.sqrt(n)  # 5 standard errors


def test_levels_with_names_that_run_together_differ():
    assert first_numbers(level_stream(1, "a", "bc")) != first_numbers(level_stream(1, "ab", "c"))


def test_derived_seeds_are_seeds_and_differ():
    seeds = [streams.derived_seed(1, "sampling without a point", i) for i in range(1000)]
    assert len(set(seeds)) == 1000  # of 2^31, where two of 1000 are equal with a probability of 2e-4
    assert all(0 <= seed <= 2**31 - 1 for seed in seeds)
    assert 1 + 1 not in seeds  # the seed of the user's next fit


def test_a_seed_gives_the_draws_that_it_always_gave():
    """The streams of `sample` and of simulated data were independent already, and are the same."""
    assert first_numbers(streams.of_run(7, 1, 2)) == first_numbers(np.random.default_rng([1, 7, 2]))
    assert first_numbers(streams.of_run(7, 2)) == first_numbers(np.random.default_rng([2, 7]))
    children = np.random.SeedSequence(7).spawn(3)
    assert first_numbers(streams.data_set(7, 2)) == first_numbers(np.random.default_rng(children[2]))
    assert first_numbers(streams.start(7)) == first_numbers(np.random.default_rng(7))
    assert simulate_groups(2, 5, 3).equals(simulate_groups(2, 5, 3))
