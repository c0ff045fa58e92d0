"""The sleep study's model and fits, each made once, and crossed groups: what simulations start from."""

import functools

import pandas as pd
from references import frame

import bayesmm as bmm

SLEEP = "Reaction ~ Days + (Days | Subject)"
LIMIT = 5.5  # standard errors: exceeded by one of some thousand entries with a probability below 1e-4


@functools.cache
def sleep_model():
    return bmm.Model(SLEEP, frame("sleepstudy"))


@functools.cache
def sleep_point():
    return sleep_model().maximize()


@functools.cache
def sleep_fit():
    return sleep_model().sample(seed=1, progress=False)


def crossed(rng, groups=6, items=4):
    """Return rows of crossed factors with weights and an offset."""
    data = pd.DataFrame([(f"g{g}", f"i{i}") for g in range(groups) for i in range(items)], columns=["g", "i"])
    x, w = rng.normal(size=len(data)), rng.uniform(0.5, 2, len(data))
    return data.assign(x=x, w=w, o=rng.normal(size=len(data)), y=rng.normal(size=len(data)))
