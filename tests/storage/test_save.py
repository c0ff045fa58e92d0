"""Fits in files: what is read is what was saved, or an error that says why not."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from fake_fits import RECORD, fake_draws, fake_stats, fake_tree
from test_atomic_write import full_disk

import bayesmm as bmm
from bayesmm.cli.main import main
from bayesmm.errors import BayesmmWarning
from bayesmm.results import Fit
from bayesmm.sampling.recovery import data_groups
from bayesmm.storage.atomic_write import write_bytes
from bayesmm.storage.files import (
    FORMAT,
    SEAL_LENGTH,
    changes,
    checksum,
    checksums,
    packed,
    read_fit,
    record_checksum,
    sealed,
)

ROOT = Path(__file__).parents[2]
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


@pytest.fixture(scope="module")
def fit():
    return fit_of()


@pytest.fixture
def saved(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    return tmp_path / "fit.nc"


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


def with_gaps():
    data = frame().set_index(pd.Index([f"r{i}" for i in range(120)]))
    data.loc["r5", "x"] = np.nan
    data.loc["r9", "f"] = None
    return data


def weights_with_zero():
    w = frame()["w"].to_numpy().copy()
    w[[3, 50]] = 0
    return w


def half(x):
    return x / 2


CASES = {
    "sleepstudy": dict(),
    "no groups": dict(formula="y ~ x * f", data=frame()),
    "no coefficients": dict(formula="y ~ 0 + (1 | f)", data=frame()),
    "interactions": dict(formula="y ~ x * f + o + c:x + (x || id) + (1 | f:c)", data=frame()),
    "splines": dict(formula="log(y + 20) ~ ns(x, df=3) + poly(w, 2) + scale(x) + (1 | id)", data=frame()),
    "weights and offset": dict(formula="y ~ x + offset(w) + (1 | id)", data=frame(), weights=weights_with_zero()),
    "weights by name": dict(formula="y ~ x + (1 | id)", data=frame(), weights="w"),
    "weights in the formula": dict(formula="y | weights(w) ~ x + (1 | id)", data=frame()),
    "nested": dict(formula="y ~ t + (1 | batch/cask)", data=frame()),
    "rows with labels, some left out": dict(formula="y ~ x + f + (1 | id)", data=with_gaps()),
    "rows with two labels": dict(formula="y ~ x + (1 | id)", data=frame().set_index(["batch", "cask"])),
    "rows with numbers": dict(formula="y ~ x + (1 | id)", data=frame().iloc[::-1]),
    "polars": dict(formula="y ~ x + c + (1 | day)", data=pl.from_pandas(frame())),
    "dict": dict(formula="y ~ x + (1 | id)", data=frame()[["y", "x", "id"]].to_dict("list")),
    "dates": dict(formula="y ~ x + (1 | day)", data=frame()),
    "names": dict(formula=f"y ~ `my längd` + (`my längd` | `{EVIL}`) + (1 | draw)", data=frame()),
    "big-endian": dict(
        formula="y ~ x + (1 | draw)", data={name: frame()[name].to_numpy().astype(">f8") for name in ("y", "x", "draw")}
    ),
    "priors": dict(
        priors={
            "beta": bmm.Prior("StudentT", nu=4, sigma=1 / 3),
            "Intercept": bmm.Prior("Flat"),
            "sd": bmm.Prior("InverseGamma", alpha=2, beta=300, on="variance"),
            "corr": bmm.Prior("LKJ", eta=1),
            "sigma": 25,
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_fit_comes_back_as_it_was(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        fit = fit_of(**CASES[case])
    fit.save(tmp_path / "fit.nc")
    assert_same(bmm.load(tmp_path / "fit.nc"), fit)


def assert_same(read, fit):
    """Compare everything that two fits are made of."""
    xr.testing.assert_identical(read.tree, fit.tree)
    assert read.tree.attrs == fit.tree.attrs
    assert_same_design(read.design, fit.design)
    assert repr(read.model) == repr(fit.model) and read.model.equation() == fit.model.equation()
    assert dict(read.model.priors) == dict(fit.model.priors)


@pytest.mark.parametrize("case", ["sleepstudy", "nested", "rows with labels, some left out"])
def test_it_gives_the_same_answers(case, tmp_path):
    fit = fit_of(**CASES[case])
    fit.save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc")
    assert str(read) == str(fit)
    for table in ("fixef", "varcorr", "ranef", "sigma"):
        pd.testing.assert_frame_equal(getattr(read, table)(), getattr(fit, table)())
    for factor, table in fit.coef().items():
        pd.testing.assert_frame_equal(read.coef()[factor], table)


def counts(n=60):
    rng = np.random.default_rng(5)
    size, g = rng.integers(3, 9, n), np.tile([f"g{i}" for i in range(6)], n // 6)
    y, p = rng.binomial(size, 0.5), rng.uniform(0.1, 0.9, n)
    return pd.DataFrame(
        dict(y=y, n=size, no=size - y, x=rng.normal(size=n), g=g, p=p, yes=np.where(y > 2, "yes", "no"))
    )


FAMILIES = {
    "poisson": dict(formula="y ~ x + offset(log(n)) + (1 | g)", family="poisson"),
    "negbinomial": dict(formula="y ~ x + (1 | g)", family="negbinomial"),
    "two levels": dict(formula="yes ~ x + (1 | g)", family="bernoulli", link="probit"),
    "binomial without trials": dict(formula="yes ~ x + (1 | g)", family="binomial"),
    "y / n": dict(formula="y / n ~ x + (1 | g)", family="binomial"),
    "cbind": dict(formula="cbind(y, no) ~ x + (1 | g)", family="binomial", link="cloglog"),
    "trials in the formula": dict(formula="y | trials(n) ~ x + (1 | g)", family="binomial"),
    "trials by name": dict(formula="y ~ x + (1 | g)", family="binomial", trials="n"),
    "one number of trials": dict(formula="y ~ x + (1 | g)", family="binomial", trials=9, weights="n"),
    "gamma": dict(formula="I(y + 1) ~ x + (1 | g)", family="gamma", link="log"),
    "beta": dict(formula="p ~ x + (1 | g)", family="beta"),
    "student": dict(formula="x ~ p + (1 | g)", family="student"),
}


@pytest.mark.parametrize("case", FAMILIES)
def test_a_model_of_every_family_comes_back(case, tmp_path):
    fit = fit_of(data=counts(), **FAMILIES[case])
    fit.save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc")
    assert (read.model.family.name, read.model.family.link) == (fit.model.family.name, fit.model.family.link)
    assert (read.design.trials is None) == (fit.design.trials is None)
    assert fit.design.trials is None or np.array_equal(read.design.trials, fit.design.trials)
    assert_same_design(read.design, fit.design)
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


def test_the_comparison_is_the_same(fit, saved):
    one, other = bmm.load(saved).compare(bridge=False), fit.compare(bridge=False)
    pd.testing.assert_frame_equal(one.table, other.table)


def test_the_order_of_categories_is_kept(tmp_path):
    fit_of("y ~ o + c + (1 | id)", frame()).save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc").design.frame
    assert list(read["o"].cat.categories) == ["low", "mid", "high", "none"] and read["o"].cat.ordered
    assert list(read["c"].cat.categories) == ["z", "m", "a"] and not read["c"].cat.ordered


def test_the_messages_are_about_the_rows_of_the_first_table(tmp_path):
    fit_of(**CASES["rows with labels, some left out"]).save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc").design
    assert "2 of 120 rows have missing values" in read.messages[0].text
    assert list(read.rows[:7]) == [0, 1, 2, 3, 4, 6, 7] and read.row_labels[5] == "r6"


def test_any_program_can_read_the_file(fit, saved):
    with xr.open_datatree(saved) as tree:
        assert set(tree.children) == {"posterior", "sample_stats", "observed_data", "constant_data", "data"}
        xr.testing.assert_identical(tree["posterior"].to_dataset().load(), fit.tree["posterior"].to_dataset())
        assert tree["data/column_0"].attrs["long_name"] == "Reaction"
        assert json.loads(tree.attrs["bayesmm"])["model"]["formula"] == SLEEP


def test_float32_halves_the_draws_and_keeps_seven_digits(tmp_path):
    fit = fit_of(draws=400)
    fit.save(tmp_path / "double.nc")
    fit.save(tmp_path / "single.nc", dtype="float32")
    sizes = [(tmp_path / name).stat().st_size for name in ("double.nc", "single.nc")]
    draws = fit.tree["posterior"].to_dataset().nbytes
    assert sizes[0] - sizes[1] == pytest.approx(draws / 2, rel=0.05)
    read = bmm.load(tmp_path / "single.nc")
    assert read.tree["posterior"]["b_Subject"].dtype == np.float64
    # the spacing of float32 is 2^-23 of a number, rounding half of it
    xr.testing.assert_allclose(read.tree["posterior"], fit.tree["posterior"], rtol=2**-24 * 1.01, atol=0)


def test_draws_too_large_for_float32_are_refused(tmp_path):
    fit = fit_of()
    fit.tree["posterior"]["sigma"].values[0, 3] = 1e39
    with pytest.raises(bmm.FitFileError, match=r"draws of sigma are too large for float32; save them as float64"):
        fit.save(tmp_path / "fit.nc", dtype="float32")
    with pytest.raises(ValueError, match="dtype should be one of float64, float32, not 'int8'"):
        fit.save(tmp_path / "fit.nc", dtype="int8")
    assert not list(tmp_path.iterdir())


# Functions


def test_the_users_functions_are_asked_for_by_name(tmp_path):
    fit = fit_of("y ~ half(x) + (1 | id)", frame(), transforms={"half": half, "unused": abs})
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(
        bmm.FitFileError, match=r"transforms that are functions \(half\).*transforms=\{'half': \.\.\.\}"
    ):
        bmm.load(tmp_path / "fit.nc")
    with pytest.raises(bmm.FitFileError, match=r"transforms names 'hlaf'; did you mean 'half'\?"):
        bmm.load(tmp_path / "fit.nc", transforms={"half": half, "hlaf": half})
    with pytest.raises(bmm.FitFileError, match=r"other values of X; are the transforms those of the fit\?"):
        bmm.load(tmp_path / "fit.nc", transforms={"half": np.square})
    assert_same(bmm.load(tmp_path / "fit.nc", transforms={"half": half}), fit)


def custom(name, dims):
    raise AssertionError("only a graph calls it")


def test_priors_that_are_functions_are_asked_for_by_place(tmp_path):
    fit = fit_of(priors={"sigma": custom})
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(bmm.FitFileError, match=r"priors that are functions \(sigma\).*priors=\{'sigma': \.\.\.\}"):
        bmm.load(tmp_path / "fit.nc")
    with pytest.raises(bmm.FitFileError, match="priors names 'sd'; the file asks for sigma"):
        bmm.load(tmp_path / "fit.nc", priors={"sigma": custom, "sd": custom})
    assert bmm.load(tmp_path / "fit.nc", priors={"sigma": custom}).model.priors["sigma"].function is custom


# Damage


def refused(path, match, **arguments):
    """Assert that a file is refused in one sentence."""
    with pytest.raises(bmm.FitFileError, match=match) as caught:
        bmm.load(path, **arguments)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_anywhere_is_seen_before_anything_is_read(saved):
    whole, rng = saved.read_bytes(), np.random.default_rng(0)
    places = [0, 7, 8, 60, *rng.integers(0, len(whole), 40), len(whole) - 64, len(whole) - 1]
    for at in places:
        saved.write_bytes(flipped(whole, at, 1 << int(rng.integers(8))))
        refused(saved, "is damaged: its SHA-256|is not a netCDF-4 file")


def flipped(whole, at, bits=1):
    return whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :]


def test_a_damaged_seal_is_harmless_as_everything_has_its_own_checksum(fit, saved):
    whole = saved.read_bytes()
    for at in (len(whole) - SEAL_LENGTH, len(whole) - 70, len(whole) - 65):
        saved.write_bytes(flipped(whole, at))
        assert bmm.load(saved).tree.identical(fit.tree)
    saved.write_bytes(whole[:-SEAL_LENGTH])
    assert_same(bmm.load(saved), fit)


@pytest.mark.parametrize("variable", ["posterior/beta", "posterior/b_Subject", "sample_stats/energy", "data/column_1"])
def test_changed_numbers_are_seen_without_the_seal_too(fit, saved, variable):
    whole = saved.read_bytes()[:-SEAL_LENGTH]
    with xr.open_datatree(saved) as tree:
        numbers = tree[variable].to_numpy().tobytes()
    at = whole.index(numbers)
    for place in (at, at + len(numbers) // 2, at + len(numbers) - 1):
        saved.write_bytes(flipped(whole, place))
        refused(saved, f"is damaged: .*{variable} changed since it was written")


def test_a_changed_record_is_seen_without_the_seal_too(saved):
    whole = saved.read_bytes()[:-SEAL_LENGTH]
    for text in (b'"mu": 298.5', b"Reaction ~ Days", b'"checksum": "', b'"seed": 1'):
        saved.write_bytes(flipped(whole, whole.index(text) + len(text) - 1))
        refused(saved, "is damaged: its (record has been changed|record is not as expected|attribute 'bayesmm' is no)")


def test_a_truncated_file_is_incomplete(saved):
    whole = saved.read_bytes()
    for length in (8, 100, 5000, len(whole) // 2, len(whole) - SEAL_LENGTH - 1):
        saved.write_bytes(whole[:length])
        refused(saved, "is incomplete or damaged, and cannot be read: ")


def test_a_file_that_does_not_fit_in_memory(saved, monkeypatch):
    monkeypatch.setattr("bayesmm.storage.room.free_memory", lambda: 1.9 * saved.stat().st_size)
    refused(saved, "has .* GB, more than half of the .* GB of free memory, which reading it needs")


def test_what_is_no_file_of_ours(tmp_path):
    path = tmp_path / "x.nc"
    refused(path, "there is no file")
    refused(tmp_path, "is a folder, but no store that bayesmm has written")
    for contents in (b"", b"Reaction,Days\n1,2\n", b"\x80\x04pickle", b"CDF\x01" + bytes(100)):
        path.write_bytes(contents)
        refused(path, "is no fit that bayesmm has saved: it is not a netCDF-4 file")
    xr.Dataset({"x": ("i", [1.0])}).to_netcdf(path, engine="h5netcdf")
    refused(path, "is no fit that bayesmm has saved: it has no attribute 'bayesmm'")
    fit_of().tree.to_netcdf(path, engine="h5netcdf")
    refused(path, r"was not written by fit\.save\(\): its attribute 'bayesmm' has no format")


def forge(path, change=None, drop=None, replace=None):
    """Write a file anew with another record or other groups, and everything that protects it made right again."""
    with xr.open_datatree(path) as opened:
        tree = opened.load()
    record = json.loads(tree.attrs["bayesmm"])
    groups = {name: node.to_dataset() for name, node in tree.children.items() if name != drop} | (replace or {})
    tree = xr.DataTree.from_dict(groups)
    record["arrays"] = checksums(tree)
    if change is not None:
        change(record)
    record["checksum"] = record_checksum(record)
    tree.attrs["bayesmm"] = json.dumps(record)
    path.write_bytes(sealed(tree.to_netcdf(engine="h5netcdf")))


def test_a_forged_file_without_a_change_is_one_of_ours(fit, saved):
    forge(saved)
    assert_same(bmm.load(saved), fit)


def test_a_newer_format_is_named(saved):
    forge(saved, lambda record: record.update(format=FORMAT + 1, something="new"))
    refused(saved, f"has format {FORMAT + 1}, which needs a newer bayesmm; this one reads up to {FORMAT}")


@pytest.mark.parametrize("number", [0, -1, True, "1", None, 1.0, [1]])
def test_a_format_that_is_none(saved, number):
    forge(saved, lambda record: record.update(format=number))
    refused(saved, "has no format")


@pytest.mark.parametrize("group", ["posterior", "data"])
def test_a_missing_group(saved, group):
    forge(saved, drop=group)
    refused(saved, f"is incomplete: it has no {group}")


def test_a_missing_array(saved):
    forge(saved, lambda record: record["arrays"].update({"/posterior/nu": "0" * 64}))
    refused(saved, "is incomplete: it has no /posterior/nu")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda record: record.pop("model"), "the top"),
        (lambda record: record["model"].update(formula=1), r"the top\.model\.formula"),
        (lambda record: record["model"].update(more=1), r"the top\.model"),
        (lambda record: record["model"]["columns"][1].update(kind=None), r"the top\.model\.columns\[1\]\.kind"),
        (lambda record: record["model"]["priors"].update(sigma=[]), r"the top\.model\.priors\.sigma"),
        (lambda record: record["model"].update(transforms="abc"), r"the top\.model\.transforms"),
    ],
)
def test_a_record_of_another_shape(saved, change, place):
    forge(saved, change)
    refused(saved, f"is damaged: its record is not as expected at {place}$")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dict(formula="Reaction ~ Days + __import__('os').system('touch evil') + (Days | Subject)"), "cannot be made"),
        (dict(formula="Reaction ~ Days + (1 | Subject)"), r"cannot be made by this version: .*sd_Subject\[Days\]"),
        (
            dict(formula="Reaction ~ Days + (1 | Subject)", priors={}),
            "not the one of its draws, .* labels of Subject_term",
        ),
        (dict(formula="Reaction ~ Days + (Days || Subject)", priors={}), "()"),
        (dict(formula="Reaction ~ Nights + (Days | Subject)"), "cannot be made by this version: .*Nights"),
        (dict(family="gausian"), "cannot be made by this version: "),
        (dict(columns=[{"name": "Days", "kind": "number"}] * 3), "two columns of one name"),
        (dict(columns=[{"name": "Subject", "kind": "number"}] + [{"name": "x", "kind": "text"}] * 2), "two columns"),
        (dict(columns=[{"name": name, "kind": "text"} for name in "abc"]), "the file's column 'a' cannot be read"),
    ],
)
def test_a_hostile_record_runs_nothing(saved, change, expected, monkeypatch):
    monkeypatch.chdir(saved.parent)
    forge(saved, lambda record: record["model"].update(change))
    if expected == "()":  # fewer parameters than the draws have: nothing wrong to read
        assert not bmm.load(saved).design.blocks[0].correlated
        return
    refused(saved, expected)
    assert [entry.name for entry in saved.parent.iterdir()] == ["fit.nc"]


@pytest.mark.parametrize(
    "prior",
    [
        {"distribution": "os.system", "on": "sd", "parameters": {}},
        {"distribution": "HalfNormal", "on": "sd", "parameters": {"distribution": 1}},
        {"distribution": "HalfNormal", "on": "sd", "parameters": {"sigma": -1}},
        {"distribution": "HalfNormal", "on": "x", "parameters": {"sigma": 1}},
    ],
)
def test_a_hostile_prior_is_none(saved, prior):
    forge(saved, lambda record: record["model"]["priors"].update(sigma=prior))
    refused(saved, "the prior of 'sigma' is none that this version knows: ")


def test_codes_beyond_the_levels(saved):
    with xr.open_datatree(saved) as opened:
        data = opened["data"].to_dataset().load()
    data["column_2"].values[5] = -1
    forge(saved, replace={"data": data})
    refused(saved, "the file's column 'Subject' cannot be read")


def test_draws_of_another_model(saved):
    other = fit_of("Reaction ~ 1 + (1 | Subject)")
    forge(saved, replace={"posterior": other.tree["posterior"].to_dataset().drop_vars("beta")})
    refused(saved, "is not the one of its draws, which have no draws of beta")


def test_a_file_that_claims_more_than_it_holds(saved):
    h5py = pytest.importorskip("h5py")
    with h5py.File(saved, "r+") as file:  # a billion numbers that are nowhere
        group = file["posterior"]
        del group["sigma"]
        group.create_dataset("sigma", shape=(1, 10**9), dtype="f8", chunks=(1, 10**6))
    refused(saved, r"claim to hold \d+,\d{3},\d{3},\d{3}$")  # xarray may count the variable's index, too


def test_labels_of_a_size_that_no_file_holds_are_not_read(saved):
    h5py = pytest.importorskip("h5py")
    with h5py.File(saved, "r+") as file:  # labels, which xarray reads when it opens a file
        file["posterior"].create_dataset("extra", shape=(10**12,), dtype="i8", chunks=(10**6,)).make_scale("extra")
    refused(saved, r"claim to hold \d+,\d{3},\d{3},\d{3},\d{3}$")


def test_what_is_packed_and_does_not_fit_in_memory(saved, monkeypatch):
    h5py = pytest.importorskip("h5py")
    with h5py.File(saved, "r+") as file:
        file["posterior"].create_dataset("zeros", data=np.zeros(2_000_000), compression="gzip")
    monkeypatch.setattr("bayesmm.storage.room.free_memory", lambda: 4.0 * saved.stat().st_size)
    refused(saved, "has 0.016 GB, more than half of the .* GB of free memory, which reading it needs")


@pytest.mark.parametrize("kind", ["itself", "link", "soft", "raw", "virtual"])
def test_links_and_data_of_other_files_are_not_followed(fit, saved, kind):
    h5py = pytest.importorskip("h5py")
    fit.save(saved.parent / "other.nc")
    with h5py.File(saved, "r+") as file:
        group, other = file["posterior"], str(saved.parent / "other.nc")
        if kind == "itself":
            group["more"] = group
        elif kind == "link":
            group["more"] = h5py.ExternalLink(other, "/posterior/sigma")
        elif kind == "soft":
            group["more"] = h5py.SoftLink("/posterior")
        elif kind == "raw":
            group.create_dataset("more", shape=(8,), dtype="u1", external=[(other, 0, 8)])
        else:
            layout = h5py.VirtualLayout((2, 40), "f8")
            layout[:] = h5py.VirtualSource(other, "posterior/sigma", (2, 40))
            group.create_virtual_dataset("more", layout)
    refused(saved, "is no fit that bayesmm has saved: /posterior has 'more', which is no array")


def test_the_byte_order_does_not_change_a_checksum():
    values = np.random.default_rng(0).normal(size=(3, 4))
    one = checksum(xr.Variable(("a", "b"), values))
    assert checksum(xr.Variable(("a", "b"), values.astype(">f8"))) == one
    assert checksum(xr.Variable(("a", "b"), np.asfortranarray(values))) == one
    for other in (xr.Variable(("b", "a"), values), xr.Variable(("a", "b"), values.astype("f4"))):
        assert checksum(other) != one
    assert checksum(xr.Variable("a", ["x", "yz"])) != checksum(xr.Variable("a", ["xy", "z"]))


# Writing


def test_a_file_is_replaced_only_if_asked(fit, saved):
    old = saved.read_bytes()
    with pytest.raises(bmm.FitFileError, match="exists already; take another name, or overwrite=True to replace it"):
        fit.save(saved)
    assert saved.read_bytes() == old
    fit_of(seed=7).save(saved, overwrite=True)
    assert bmm.load(saved).tree["posterior"].equals(fit_of(seed=7).tree["posterior"])


def test_a_place_that_can_not_be_written_to(fit, tmp_path):
    with pytest.raises(bmm.FitFileError, match=r"missing/fit\.nc cannot be written: No such file or directory$"):
        fit.save(tmp_path / "missing" / "fit.nc")
    with pytest.raises(bmm.FitFileError, match="is a folder; expected the name of a file"):
        fit.save(tmp_path)


def test_a_full_disk_leaves_the_old_file_and_the_fit(fit, saved):
    with full_disk(), pytest.raises(bmm.FitFileError, match=r"fit\.nc cannot be written: File too large$"):
        fit_of(seed=7).save(saved, overwrite=True)
    assert [entry.name for entry in saved.parent.iterdir()] == ["fit.nc"]
    assert_same(bmm.load(saved), fit)


def test_a_small_tmpfs_leaves_the_old_file_and_the_fit(fit, tmp_path):
    size = 3 * len(packed(fit.model, fit.tree)) // 2  # room for one file and a half
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "x", tmp_path], check=False).returncode
    ):
        pytest.skip("needs to mount a file system")
    try:
        fit.save(tmp_path / "fit.nc")
        with pytest.raises(bmm.FitFileError, match=r"cannot be written: No space left on device$"):
            fit_of(seed=7).save(tmp_path / "fit.nc", overwrite=True)
        assert_same(bmm.load(tmp_path / "fit.nc"), fit)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_labels_that_no_netcdf_file_can_hold(tmp_path):
    data = frame().assign(g=np.repeat(["a\0b", "c", "d"], 40))
    with pytest.raises(bmm.FitFileError, match=r"^[^\n]* cannot be written: [^\n]*$"):
        fit_of("y ~ x + (1 | g)", data).save(tmp_path / "fit.nc")
    assert not list(tmp_path.iterdir())


KILLED = """
import os, sys, time
from bayesmm.storage.atomic_write import write_bytes
def wait(_):
    print("ready", flush=True)
    time.sleep(60)
os.fsync = wait
write_bytes(open(sys.argv[1], "rb").read(), sys.argv[2])
"""


def test_a_killed_process_leaves_the_old_file(fit, saved, tmp_path):
    fit_of(seed=7).save(tmp_path / "new.nc")
    command = [sys.executable, "-c", KILLED, tmp_path / "new.nc", saved]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert_same(bmm.load(saved), fit)


WRITER = """
import sys
from bayesmm.storage.atomic_write import write_bytes
contents = open(sys.argv[1], "rb").read()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(50):
    write_bytes(contents, sys.argv[2])
"""


def test_of_two_processes_that_save_one_name_one_is_complete(fit, tmp_path):
    target, parts = tmp_path / "fit.nc", {}
    for name, seed in (("a", 0), ("b", 7)):
        fit_of(seed=seed).save(tmp_path / name)
        parts[name] = (tmp_path / name).read_bytes()
    write_bytes(parts["a"], target)
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / name, target], **pipes) for name in parts]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        assert target.read_bytes() in parts.values()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b", "fit.nc"]


# file=


@pytest.fixture
def sampled(monkeypatch):
    """Replace sampling by draws of NumPy; the list holds the settings of each call."""
    calls = []

    def draw(model, effects, centred, settings, *, progress, began):
        calls.append(settings)
        record = RECORD | {"draws": settings["draws"], "chains": settings["chains"]}
        return tree_of(model, seed=len(calls), record=record)

    monkeypatch.setattr("bayesmm.sampling.sample._sampled", draw)
    monkeypatch.setattr(bmm.Model, "effects", lambda *_: "explicit")
    return calls


SETTINGS = dict(draws=40, chains=2, seed=1, effects="explicit")


def run(path, formula=SLEEP, data=None, priors=None, **sampling):
    data = bmm.load_dataset("sleepstudy") if data is None else data
    return bmm.fit(formula, data, priors=priors, **(SETTINGS | sampling), file=path)


def test_a_fit_is_made_once(sampled, tmp_path, capsys):
    first = run(tmp_path / "fit.nc")
    assert capsys.readouterr().err == ""
    again = run(tmp_path / "fit.nc", draws=np.int64(40))
    assert capsys.readouterr().err == f"bayesmm: loaded from {tmp_path / 'fit.nc'}\n"
    assert len(sampled) == 1
    assert_same(again, first)
    run(tmp_path / "fit.nc", progress=False, cores=1)
    assert capsys.readouterr().err == "" and len(sampled) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(draws=41), "sampling arguments"),
        (dict(seed=None), "sampling arguments"),
        (dict(target_accept=0.95), "sampling arguments"),
        (dict(centred=True), "sampling arguments"),
        (dict(priors={"sigma": bmm.Prior("HalfNormal", sigma=30)}), "priors"),
        (dict(data=bmm.load_dataset("sleepstudy").assign(Days=lambda d: d["Days"].replace(9, 10))), "data, priors"),
        (dict(data=bmm.load_dataset("sleepstudy").assign(Subject=lambda d: "s" + d["Subject"].astype(str))), "data"),
        (dict(weights=np.tile([1.0, 2.0], 90)), "data"),
        (dict(formula="Reaction ~ Days + (Days|Subject)"), "formula"),
    ],
)
def test_a_fit_is_made_again_where_anything_changed(sampled, tmp_path, capsys, change, said):
    path = tmp_path / "fit.nc"
    run(path)
    changed = run(path, **change)
    assert capsys.readouterr().err == f"bayesmm: different {said} in {path}: fitting again\n"
    assert len(sampled) == 2
    assert bmm.load(path).tree.identical(changed.tree)
    run(path, **change)
    assert len(sampled) == 2


def test_a_change_that_only_shows_in_what_a_function_gives(sampled, tmp_path):
    model = bmm.Model("Reaction ~ f(Days) + (Days | Subject)", bmm.load_dataset("sleepstudy"), transforms={"f": half})
    other = bmm.Model("Reaction ~ f(Days) + (Days | Subject)", bmm.load_dataset("sleepstudy"), transforms={"f": abs})
    fit = fit_of("Reaction ~ f(Days) + (Days | Subject)", transforms={"f": half}, record=RECORD | {"asked": {}})
    fit.save(tmp_path / "fit.nc")
    stored = read_fit(tmp_path / "fit.nc")
    assert changes(stored, model, {}) == []
    assert changes(stored, other, {})[0] == "data"


def test_an_interrupted_fit_is_made_again(sampled, tmp_path, capsys, monkeypatch):
    path = tmp_path / "fit.nc"
    fit = run(path)
    record = json.loads(fit.tree.attrs["bayesmm"])
    fit.tree.attrs["bayesmm"] = json.dumps(record | {"interrupted": True})
    fit.save(path, overwrite=True)
    run(path)
    assert "(it was interrupted)" in capsys.readouterr().err and len(sampled) == 2


def test_a_file_that_is_no_fit_is_left_alone(sampled, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"x,y\n")
    with pytest.raises(bmm.FitFileError, match="is no fit that bayesmm has saved"):
        run(path)
    with pytest.raises(bmm.FitFileError, match="No such file or directory"):
        run(tmp_path / "missing" / "fit.nc")
    with pytest.raises(bmm.FitFileError, match="the prior of sigma cannot be a function"):
        run(tmp_path / "fit.nc", priors={"sigma": custom})
    assert not sampled and path.read_bytes() == b"x,y\n"


def test_a_disk_that_is_full_after_sampling_costs_no_draws(sampled, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bayesmm.storage.files.write_bytes", full)
    with pytest.warns(BayesmmWarning, match="No space left on device; the fit is not in a file: call its save"):
        fit = run(tmp_path / "fit.nc")
    assert fit.tree["posterior"].sizes["draw"] == 40


# The command line


def test_show_prints_a_saved_fit(fit, saved, capsys):
    assert main(["show", str(saved)]) == (0 if all(check.ok for check in fit.checks()) else 3)
    assert capsys.readouterr().out == f"{fit}\n"
    assert main(["show", str(saved.parent / "no.nc")]) == 2
    assert capsys.readouterr().err == f"bayesmm: there is no file {saved.parent / 'no.nc'}\n"


def test_a_full_disk_costs_no_result(sampled, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bayesmm.storage.files.write_bytes", full)
    assert main(["fit", "sleepstudy", SLEEP, "--draws", "40", "--chains", "2", "--save", str(tmp_path / "fit.nc")]) == 2
    said = capsys.readouterr()
    assert "Linear mixed model: posterior" in said.out
    assert said.err == f"bayesmm: {tmp_path / 'fit.nc'} cannot be written: No space left on device\n"


def test_fit_keeps_its_result(sampled, tmp_path, capsys):
    words = ["fit", "sleepstudy", SLEEP, "--draws", "40", "--chains", "2", "--save", str(tmp_path / "fit.nc")]
    assert main(words) in (0, 3)
    capsys.readouterr()
    assert bmm.load(tmp_path / "fit.nc").tree["posterior"].sizes["draw"] == 40
    assert main(words) == 2 and len(sampled) == 1
    said = capsys.readouterr().err
    assert said.startswith("bayesmm: --save ") and "or --overwrite to replace it" in said and said.count("\n") == 1
    assert main([*words, "--overwrite"]) in (0, 3) and len(sampled) == 2


# Real draws


@pytest.mark.slow
@pytest.mark.parametrize("how", [dict(effects="marginal"), dict(effects="explicit"), dict(sampler="importance")])
@pytest.mark.parametrize("keep_effects", [True, False])
def test_what_a_sampler_gives_comes_back(how, keep_effects, tmp_path, capsys):
    sampling = dict(draws=50, tune=50, chains=2, seed=1, keep_effects=keep_effects) | how
    fit = bmm.fit(SLEEP, bmm.load_dataset("sleepstudy"), **sampling, file=tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc")
    assert read.tree.identical(fit.tree)
    pd.testing.assert_frame_equal(read.varcorr(), fit.varcorr())
    capsys.readouterr()
    again = bmm.fit(SLEEP, bmm.load_dataset("sleepstudy"), **sampling, file=tmp_path / "fit.nc")
    assert "loaded from" in capsys.readouterr().err and again.tree.identical(fit.tree)
