"""What threads ask for at the same time is made once: compiled functions are known by their addresses."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

import bayesmm as bmm
from bayesmm.likelihood.compiled import once

THREADS = 4


def at_once(work):
    """Return what `work` gives in threads that begin together."""
    together = Barrier(THREADS)

    def begin(number):
        together.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_threads_have_the_same_thing():
    @once
    def thing():
        time.sleep(0.02)  # as compilation, in which other threads go on
        return object()

    assert len(set(map(id, at_once(lambda number: thing())))) == 1


def test_families_known_by_their_address_are_fitted_by_threads():
    """With a function for each thread one of them had the address of what was gone: a crash."""
    rng = np.random.default_rng(0)
    data = {"y": rng.poisson(2, 80) * rng.integers(0, 2, 80), "g": np.arange(80) % 8}

    def fit(number):
        return bmm.Model("y ~ 1 + (1 | g)", data, "zero_inflated_poisson").maximize().loglik

    assert len(set(at_once(fit))) == 1
