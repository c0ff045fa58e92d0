"""Short runs into a store, and stores whose draws are made by NumPy."""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from fake_fits import RECORD
from saved_fits import tree_of

import bayesmm as bmm
from bayesmm.storage import store
from bayesmm.storage.files import plain
from bayesmm.storage.store_reading import read_store

ROOT = Path(__file__).parents[2]
SLEEP = "Reaction ~ Days + (Days | Subject)"
SHORT = dict(draws=150, tune=60, chains=2, cores=2, seed=3, progress=False)
WORK = TemporaryDirectory()  # of stores that are made once
ASKED = dict(draws=150, keep_effects=True)


def sleep(formula=SLEEP, **arguments):
    return bmm.Model(formula, bmm.load_dataset("sleepstudy"), **arguments)


def run_of(fit):
    return json.loads(fit.tree.attrs["bayesmm"])


def contents(path):
    return {entry: entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


def command(folder):
    bmm.load_dataset("sleepstudy").to_csv(folder / "sleep.csv", index=False)
    return ["fit", str(folder / "sleep.csv"), SLEEP, "--store", str(folder / "fit.zarr"), "--draws", "100"]


def empty_store(path, chains=2, draws=60, length=16, model=None):
    """Return draws made by NumPy, and a store that has none of them yet."""
    model = sleep() if model is None else model
    tree = tree_of(model, chains=chains, draws=draws)
    run = RECORD | {"chains": chains, "draws": draws, "effects": "explicit", "warnings": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "chunk_length", lambda _: length)
        target = store.create(path, model, tree.isel(chain=[0], draw=[0]), run | {"asked": plain(ASKED)})
    return tree, target


def add(target, tree, at, n=10):
    """Add some draws of every chain."""
    for k in range(len(target.done)):
        part = tree.isel(chain=k, draw=slice(at, at + n))
        found = {(g, name): v.to_numpy() for g in store.GROUPS for name, v in part[g].data_vars.items()}
        store.append(target, k, found)
        store.write(target, k)


def fake_store(path, model=None, **asked):
    """Write a store of draws made by NumPy, and return these; nothing is sampled, nothing was integrated out."""
    if model is not None:
        return made_store(path, model=model, **asked)
    folder, tree = usual_store(tuple(asked.items()))
    shutil.copytree(folder, path)
    return tree


@cache
def usual_store(asked):
    """Return a store of the usual model, to be copied, and its draws."""
    folder = Path(WORK.name) / str(len(list(Path(WORK.name).iterdir())))
    return folder, made_store(folder, **dict(asked))


def made_store(path, chains=2, draws=60, length=16, upto=None, end=True, model=None):
    tree, target = empty_store(path, chains, draws, length, model)
    for at in range(0, draws if upto is None else upto, 10):
        add(target, tree, at)
    if end:
        store.close(target, {"interrupted": False, "seconds": 1.5, "warnings": []})
    return tree


def same(path, tree, n=None):
    read = bmm.load(path).tree
    for group in store.GROUPS:
        for name, values in tree[group].data_vars.items():
            assert np.array_equal(read[group][name].to_numpy(), values.to_numpy()[:, :n]), name
    return read


def refused(path, match):
    with pytest.raises(bmm.FitFileError, match=match) as caught:
        read_store(path)
    assert "\n" not in str(caught.value)
