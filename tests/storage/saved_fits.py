"""Fits of real models with draws made by NumPy, to be saved, compared and forged."""

import json
from functools import cache
from io import BytesIO

import numpy as np
import pandas as pd
import xarray as xr
from fake_fits import RECORD, fake_draws, fake_stats, fake_tree

import bayesmm as bmm
from bayesmm.results import Fit
from bayesmm.sampling.recovery import data_groups
from bayesmm.storage.files import checksums, record_checksum, sealed

SLEEP = "Reaction ~ Days + (Days | Subject)"
EVIL = "<script>alert(1)</script>"


def fit_of(formula=SLEEP, data=None, seed=0, chains=2, draws=40, record=RECORD, **arguments):
    """Return a fit of a real model with draws made by NumPy: nothing is sampled."""
    model = bmm.Model(formula, bmm.load_dataset("sleepstudy") if data is None else data, **arguments)
    return Fit(model, tree_of(model, seed, chains, draws, record))


def tree_of(model, seed=0, chains=2, draws=40, record=RECORD):
    variables = fake_draws(model.design, seed, chains, draws)
    if not model.design.p:
        del variables["beta"]
    tree = fake_tree(model.design, variables, fake_stats(chains, draws), record)
    groups = {name: node.to_dataset() for name, node in tree.children.items()} | data_groups(model.design)
    whole = xr.DataTree.from_dict(groups)
    whole.attrs.update(tree.attrs)
    return whole


def frame(n=120, seed=3):
    """Return a table with columns of every kind that a model takes, and names that no program likes."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2020-01-30", periods=6)
    return pd.DataFrame(
        {
            "y": rng.normal(10, 2, n) + np.repeat(rng.normal(0, 3, 12), n // 12),
            "x": rng.gamma(3, 1, n),
            "w": rng.uniform(0.5, 2, n),
            "f": rng.choice(["b", "a", "ö"], n),
            "o": pd.Categorical(rng.choice(["low", "mid", "high"], n), ["low", "mid", "high", "none"], ordered=True),
            "c": pd.Categorical(rng.choice(["z", "m", "a"], n), ["z", "m", "a"]),
            "t": rng.random(n) < 0.4,
            "id": np.repeat(np.arange(12) + 2**60, n // 12),
            "day": days[np.arange(n) % 6],
            "batch": np.repeat(["A/1", "A/2", 'B"]'], n // 3),
            "cask": np.tile(["a/b", "", " a", "ü\n"], n // 4),
            "my längd": rng.normal(size=n),
            EVIL: np.repeat([f"{EVIL}{i}" for i in range(12)], n // 12),
            "draw": np.tile(np.arange(8), n // 8),
        }
    )


def half(x):
    return x / 2


def assert_same(read, fit):
    """Compare everything that two fits are made of."""
    xr.testing.assert_identical(read.tree, fit.tree)
    assert read.tree.attrs == fit.tree.attrs
    assert_same_design(read.design, fit.design)
    assert repr(read.model) == repr(fit.model) and read.model.equation() == fit.model.equation()
    assert dict(read.model.priors) == dict(fit.model.priors)


def assert_same_design(read, design):
    assert list(map(str, read.row_labels)) == list(map(str, design.row_labels))  # two labels of a row are one text
    for name in ("y", "X", "offset", "rows"):
        assert np.array_equal(getattr(read, name), getattr(design, name)), name
    assert (read.weights is None) == (design.weights is None)
    assert design.weights is None or np.array_equal(read.weights, design.weights)
    for name in ("formula", "response", "coefficients", "coords", "messages", "aliased"):
        assert getattr(read, name) == getattr(design, name), name
    for one, other in zip(read.blocks, design.blocks, strict=True):
        assert np.array_equal(one.Z, other.Z) and np.array_equal(one.index, other.index)
        assert (one.levels, one.partition, one.name) == (other.levels, other.partition, other.name)
    assert list(read.frame.columns) == list(design.frame.columns) and list(read.frame.index) == list(read.row_labels)


def custom(name, dims):
    raise AssertionError("only a graph calls it")


@cache
def contents(file):
    """Return the record and the groups of a file: many forge the same one."""
    with xr.open_datatree(BytesIO(file), engine="h5netcdf") as opened:
        tree = opened.load()
    return tree.attrs["bayesmm"], {name: node.to_dataset() for name, node in tree.children.items()}


def forge(path, change=None, drop=None, replace=None):
    """Write a file anew with another record or other groups, and everything that protects it made right again."""
    text, whole = contents(path.read_bytes())
    record = json.loads(text)
    groups = {name: group for name, group in whole.items() if name != drop} | (replace or {})
    tree = xr.DataTree.from_dict(groups)
    record["arrays"] = checksums(tree)
    if change is not None:
        change(record)
    record["checksum"] = record_checksum(record)
    tree.attrs["bayesmm"] = json.dumps(record)
    path.write_bytes(sealed(tree.to_netcdf(engine="h5netcdf")))
