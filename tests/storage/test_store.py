"""Stores: what was finished can be read whatever ends the process, and what cannot be trusted is not read."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from fake_fits import RECORD
from test_save import fit_of, forge, tree_of

import bayesmm as bmm
from bayesmm.cli.main import main
from bayesmm.errors import BayesmmWarning
from bayesmm.sampling import streaming
from bayesmm.sampling.spool import Part, discard, late, spool, waiting
from bayesmm.storage import store, store_reading
from bayesmm.storage.files import plain
from bayesmm.storage.store_reading import read_store

ROOT = Path(__file__).parents[2]
SLEEP = "Reaction ~ Days + (Days | Subject)"
SHORT = dict(draws=150, tune=60, chains=2, cores=2, seed=3, progress=False)
ASKED = dict(draws=150, keep_effects=True)


def sleep(formula=SLEEP, **arguments):
    return bmm.Model(formula, bmm.load_dataset("sleepstudy"), **arguments)


def run_of(fit):
    return json.loads(fit.tree.attrs["bayesmm"])


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """Return a fit that was sampled into a store, and the store."""
    path = tmp_path_factory.mktemp("store") / "fit.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return sleep().sample(**SHORT, store=path), path


# What is kept


def test_the_draws_are_those_of_a_run_without_a_store(streamed):
    fit, _ = streamed
    plain_fit = sleep().sample(**SHORT)
    xr.testing.assert_identical(fit.tree["posterior"].to_dataset(), plain_fit.tree["posterior"].to_dataset())
    xr.testing.assert_identical(fit.tree["sample_stats"].to_dataset(), plain_fit.tree["sample_stats"].to_dataset())
    known, other = run_of(fit), run_of(plain_fit)
    assert known == other | {"seconds": known["seconds"], "finished": [150, 150]}


def test_a_store_is_read_as_it_was_written(streamed, capsys):
    fit, path = streamed
    read = bmm.load(path)
    xr.testing.assert_identical(read.tree, fit.tree)
    assert str(read) == str(fit) and not run_of(read)["interrupted"]
    assert main(["show", str(path)]) in (0, 3)  # the verdict of 150 draws is not the question here
    assert "Reaction ~ Days" in capsys.readouterr().out


def test_other_programs_read_the_arrays(streamed):
    fit, path = streamed
    sampled = [name for name in fit.tree["posterior"].data_vars if name not in ("beta", "b_Subject")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(path, engine="zarr", consolidated=False)
        group = zarr.open_group(path, mode="r")
    for name in sampled:
        assert np.array_equal(tree["posterior"][name].to_numpy(), fit.tree["posterior"][name].to_numpy())
        assert tree["posterior"][name].dims == fit.tree["posterior"][name].dims
        assert np.array_equal(group[f"posterior/{name}"][:], fit.tree["posterior"][name].to_numpy())
        assert group[f"posterior/{name}"].attrs["long_name"] == name
    assert group["posterior/sd_Subject"].attrs["labels"] == {"Subject_term": ["Intercept", "Days"]}
    assert sorted(entry.name for entry in (path / "record").iterdir()) == ["journal", "model.nc", "zarr.json"]


def test_few_files_are_left(streamed):
    fit, path = streamed  # a chunk for each chain and array, and the metadata of each array
    arrays = 5 + len(fit.tree["sample_stats"].data_vars)  # sds and correlations as reported and at the means, sigma
    assert sum(entry.is_file() for entry in path.rglob("*")) == arrays * 3 + 3 + 3


def test_the_fit_is_made_once(streamed, capsys):
    fit, path = streamed
    again = sleep().sample(**SHORT | dict(progress=True), store=path)
    assert capsys.readouterr().err == f"bayesmm: loaded from {path}\n"
    xr.testing.assert_identical(again.tree, fit.tree)


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (dict(seed=4), {}, "sampling arguments"),
        (dict(keep_effects=False), {}, "sampling arguments"),
        ({}, dict(priors={"sigma": bmm.Prior("HalfNormal", sigma=30)}), "priors"),
        ({}, dict(formula="Reaction ~ Days + (1 | Subject)"), "formula"),
    ],
)
def test_a_store_of_another_fit_is_left_alone(streamed, change, arguments, said):
    _, path = streamed
    before = contents(path)
    with pytest.raises(bmm.FitFileError, match=f"holds another fit, which differs in .*{said}"):
        sleep(**arguments).sample(**SHORT | change, store=path)
    assert contents(path) == before


def contents(path):
    return {entry: entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


def test_what_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("y")
    for name in ("folder", "file"):
        with pytest.raises(bmm.FitFileError, match="exists and is no store that bayesmm has written"):
            sleep().sample(**SHORT, store=tmp_path / name)
    with pytest.raises(bmm.FitFileError, match="cannot be made: No such file or directory"):
        sleep().sample(**SHORT, store=tmp_path / "missing" / "fit.zarr")
    with pytest.raises(bmm.FitFileError, match="is a folder, but no store"):
        bmm.load(tmp_path / "folder")
    assert {entry.name: entry.read_text() for entry in contents(tmp_path)} == {"thesis.tex": "x", "file": "y"}


def test_what_can_not_be_streamed_is_refused(tmp_path):
    for sampler in ("pymc", "importance"):
        with pytest.raises(ValueError, match=f"store= takes the draws of auto, nutpie, not of sampler='{sampler}'"):
            sleep().sample(**SHORT, sampler=sampler, store=tmp_path / "fit.zarr")
    with pytest.raises(ValueError, match="file= and store= are two ways"):
        sleep().sample(**SHORT, file=tmp_path / "fit.nc", store=tmp_path / "fit.zarr")
    assert not list(tmp_path.iterdir())


def test_effects_that_are_not_kept_are_not_there(tmp_path):
    fit = sleep().sample(**SHORT, keep_effects=False, store=tmp_path / "fit.zarr")
    assert "b_Subject" not in fit.tree["posterior"] and "beta" in fit.tree["posterior"]
    xr.testing.assert_identical(bmm.load(tmp_path / "fit.zarr").tree, fit.tree)


def command(folder):
    bmm.load_dataset("sleepstudy").to_csv(folder / "sleep.csv", index=False)
    return ["fit", str(folder / "sleep.csv"), SLEEP, "--store", str(folder / "fit.zarr"), "--draws", "100"]


@pytest.mark.slow
def test_the_command_line(tmp_path):
    assert main([*command(tmp_path), "--tune", "60", "--chains", "2", "--seed", "3"]) in (0, 3)
    assert bmm.load(tmp_path / "fit.zarr").tree["posterior"].sizes["draw"] == 100


def test_the_command_line_refuses_what_can_not_be_streamed(tmp_path, capsys):
    assert main([*command(tmp_path), "--sampler", "importance"]) == 2
    assert "store= takes the draws of auto, nutpie" in capsys.readouterr().err


def counts():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(8), 6)
    x = rng.normal(size=48)
    return pd.DataFrame({"y": rng.poisson(np.exp(1 + 0.3 * x + rng.normal(0, 0.5, 8)[g])), "x": x, "g": g})


def test_a_generalised_model(tmp_path):
    model = bmm.Model("y ~ x + (1 | g)", counts(), "poisson")
    short = SHORT | dict(draws=60, tune=50)
    fit, other = model.sample(**short, store=tmp_path / "fit.zarr"), model.sample(**short)
    # beta is a matrix product, whose last digit depends on how many draws are multiplied at once
    xr.testing.assert_allclose(fit.tree["posterior"].to_dataset(), other.tree["posterior"].to_dataset(), rtol=1e-12)
    xr.testing.assert_identical(bmm.load(tmp_path / "fit.zarr").tree, fit.tree)


@pytest.mark.slow
@pytest.mark.parametrize("keep_effects", [True, False])
def test_an_explicit_graph(tmp_path, keep_effects):
    evil = "../../<b>"
    data = counts().rename(columns={"g": evil})
    model = bmm.Model(f"y ~ x + (x | `{evil}`)", data, "poisson")
    short = SHORT | dict(draws=60, tune=50, effects="explicit", keep_effects=keep_effects)
    fit, other = model.sample(**short, store=tmp_path / "fit.zarr"), model.sample(**short)
    xr.testing.assert_identical(fit.tree["posterior"].to_dataset(), other.tree["posterior"].to_dataset())
    xr.testing.assert_identical(fit.tree["constant_data"].to_dataset(), other.tree["constant_data"].to_dataset())
    xr.testing.assert_identical(bmm.load(tmp_path / "fit.zarr").tree, fit.tree)
    assert {entry.name for entry in tmp_path.iterdir()} == {"fit.zarr"}
    assert not [entry for entry in tmp_path.rglob("b_*")]  # names of the user's are not those of folders


# What ends a run

CHILD = f"""
import sys
import bayesmm as bmm
model = bmm.Model("{SLEEP}", bmm.load_dataset("sleepstudy"))
model.sample(draws=int(sys.argv[2]), tune=60, chains=2, cores=2, seed=3, progress=False, store=sys.argv[1])
"""


def start(path, draws=100_000):
    child = subprocess.Popen([sys.executable, "-c", CHILD, path, str(draws)], cwd=ROOT)
    journal = path / "record" / "journal"
    until = time.monotonic() + 120
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 4):
        assert child.poll() is None and time.monotonic() < until, "no draws came"
        time.sleep(0.02)
    return child


def test_a_killed_process_leaves_its_draws(tmp_path):
    path = tmp_path / "fit.zarr"
    child = start(path)
    live = bmm.load(path)  # while it goes on
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    fit = bmm.load(path)
    n, known = fit.tree["posterior"].sizes["draw"], run_of(fit)
    assert known["interrupted"] and known["draws"] == 100_000 and min(known["finished"]) == n >= 100
    assert live.tree["posterior"].sizes["draw"] <= n and run_of(live)["interrupted"]
    assert list((path / "record").glob("spool-*"))  # nutpie's files, which nobody reads
    failed = {check.name: check.message for check in fit.checks() if not check.ok}
    assert f"stopped after {n:,} of 100,000 draws" in failed["interrupted"]
    whole = sleep().sample(**SHORT | dict(draws=n + 10))
    for name in ("sd_Subject", "corr_Subject", "sigma", "beta"):  # b is drawn again, for the draws there are
        expected = whole.tree["posterior"][name].to_numpy()[:, :n]
        assert np.array_equal(fit.tree["posterior"][name].to_numpy(), expected), name
    for name, values in fit.tree["sample_stats"].data_vars.items():
        assert np.array_equal(values.to_numpy(), whole.tree["sample_stats"][name].to_numpy()[:, :n]), name
    with pytest.raises(bmm.FitFileError, match=r"differs in sampling arguments, end \(it was interrupted\)"):
        sleep().sample(**SHORT, store=path)


def interrupting(monkeypatch, error, at=1):
    """Let an error come when a store has some draws."""
    moved = streaming._moved

    def wrapped(feed, target, source, *, over):
        moved(feed, target, source, over=over)
        if not over and min(target.done) >= at:
            raise error

    monkeypatch.setattr(streaming, "_moved", wrapped)


def test_ctrl_c_keeps_the_draws(tmp_path, monkeypatch):
    interrupting(monkeypatch, KeyboardInterrupt())
    fit = sleep().sample(**SHORT | dict(draws=50_000), store=tmp_path / "fit.zarr")
    n = fit.tree["posterior"].sizes["draw"]
    assert 0 < n < 50_000 and run_of(fit)["interrupted"] and run_of(fit)["seconds"] > 0
    xr.testing.assert_identical(bmm.load(tmp_path / "fit.zarr").tree, fit.tree)
    expected = sleep().sample(**SHORT | dict(draws=n)).tree["posterior"]["sigma"].to_numpy()
    assert np.array_equal(fit.tree["posterior"]["sigma"].to_numpy(), expected)


def test_ctrl_c_before_the_first_draw_leaves_nothing(tmp_path, monkeypatch):
    interrupting(monkeypatch, KeyboardInterrupt(), at=0)
    with pytest.raises(KeyboardInterrupt):
        sleep().sample(**SHORT | dict(tune=100_000), store=tmp_path / "fit.zarr")
    assert not list(tmp_path.iterdir())


def test_a_density_that_is_nowhere_finite_leaves_nothing(tmp_path):
    model = sleep(priors={"sigma": bmm.Prior("Uniform", lower=1e-300, upper=2e-300)})
    with pytest.raises(ValueError, match="no chain can start"):
        model.sample(**SHORT, store=tmp_path / "fit.zarr")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_before_the_first_draw_leaves_nothing(tmp_path, monkeypatch):
    interrupting(monkeypatch, OSError(28, "No space left on device"), at=0)
    with pytest.raises(bmm.FitFileError, match=r"fit\.zarr cannot be written: No space left on device"):
        sleep().sample(**SHORT | dict(tune=100_000), store=tmp_path / "fit.zarr")
    assert not list(tmp_path.iterdir())


FULL = """
import resource, signal, sys, warnings
import bayesmm as bmm
from bayesmm.storage import store
fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"))
write = store.write
def limited(target, chain):  # no file may grow any more, once some draws are there
    if min(target.written) >= 50:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
    write(target, chain)
store.write = limited
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    fit = fit.sample(draws=50_000, tune=60, chains=2, cores=2, seed=3, progress=False, store=sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(fit.tree["posterior"].sizes["draw"], [str(warning.message) for warning in said])
"""


@pytest.mark.parametrize("last", ["drained", "closed"])
def test_a_disk_that_is_full_at_the_end_is_no_run_that_came_to_its_end(tmp_path, monkeypatch, last):
    moved, log = streaming._moved, store._log

    def full_at_the_end(feed, target, source, *, over):
        if over and last == "drained" and min(target.done) >= 32:
            raise OSError(28, "No space left on device")
        if not over and min(target.done) >= 32:
            return  # so that something is left for the end
        moved(feed, target, source, over=over)

    def full(target, entry, **options):
        if "end" in entry and last == "closed":
            raise OSError(28, "No space left on device")
        log(target, entry, **options)

    monkeypatch.setattr(streaming, "_moved", full_at_the_end)
    monkeypatch.setattr(store, "_log", full)
    with pytest.warns(BayesmmWarning, match="the last draws cannot be written: No space left.*the finished draws are"):
        fit = sleep().sample(**SHORT | dict(draws=4000), store=tmp_path / "fit.zarr")
    assert run_of(fit)["interrupted"] and run_of(bmm.load(tmp_path / "fit.zarr"))["interrupted"]
    assert fit.tree["posterior"].sizes["draw"] >= 32


@pytest.mark.slow
def test_a_disk_that_gets_full_keeps_the_draws(tmp_path):
    path = tmp_path / "fit.zarr"
    done = subprocess.run([sys.executable, "-c", FULL, path], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    number, said = done.stdout.split(" ", 1)
    assert int(number) >= 50 and "the sampling has stopped: " in said and "the finished draws are in" in said
    fit = bmm.load(path)
    assert fit.tree["posterior"].sizes["draw"] == int(number) and run_of(fit)["interrupted"]
    found, whole = (
        each.tree["posterior"]["sigma"] for each in (fit, sleep().sample(**SHORT | dict(draws=int(number))))
    )
    assert np.array_equal(found.to_numpy(), whole.sel(chain=found["chain"]).to_numpy())


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 3 MB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here: that needs root")
    yield folder
    subprocess.run([shutil.which("umount"), str(folder)], check=True)


def test_a_small_disk_keeps_the_draws(small_disk):
    path = small_disk / "fit.zarr"
    with pytest.warns(BayesmmWarning, match="the sampling has stopped: .*; the finished draws are in"):
        fit = sleep().sample(**SHORT | dict(draws=50_000), store=path)
    n = fit.tree["posterior"].sizes["draw"]
    assert n >= 100 and run_of(fit)["interrupted"]
    read = bmm.load(path)
    xr.testing.assert_identical(read.tree["posterior"].to_dataset(), fit.tree["posterior"].to_dataset())
    found, whole = (each.tree["posterior"]["sigma"] for each in (read, sleep().sample(**SHORT | dict(draws=n))))
    # a chain that had not begun when the disk was full is not there
    assert np.array_equal(found.to_numpy(), whole.sel(chain=found["chain"]).to_numpy())


def test_a_small_disk_keeps_the_fit_that_is_saved_already(small_disk):
    path, large = small_disk / "fit.nc", fit_of(draws=5_000)
    fit_of().save(path)
    before = path.read_bytes()
    with pytest.raises(bmm.FitFileError, match=r"fit\.nc cannot be written: No space left on device"):
        large.save(path, overwrite=True)
    assert path.read_bytes() == before and [entry.name for entry in small_disk.iterdir()] == ["fit.nc"]
    large.save(small_disk.parent / "elsewhere.nc")  # the fit itself is as it was
    assert bmm.load(small_disk.parent / "elsewhere.nc").tree.identical(large.tree)


def test_a_disk_that_is_full_at_the_start_is_one_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_bytes", full)
    with pytest.raises(bmm.FitFileError, match=r"fit\.zarr cannot be written: No space left on device"):
        sleep().sample(**SHORT, store=tmp_path / "fit.zarr")
    assert not list(tmp_path.iterdir())


# Damage


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


def fake_store(path, chains=2, draws=60, length=16, upto=None, end=True, model=None):
    """Write a store of draws made by NumPy; nothing is sampled, nothing was integrated out."""
    tree, target = empty_store(path, chains, draws, length, model)
    for at in range(0, draws if upto is None else upto, 10):
        add(target, tree, at)
    if end:
        store.close(target, {"interrupted": False, "seconds": 1.5, "warnings": []})
    return tree


@pytest.fixture
def read_once(monkeypatch):
    """Read a record again only if it has changed: most of the time of reading a small store."""
    read = store_reading.read_fit
    known = {}

    def reading(path):
        key = path.read_bytes()
        if key not in known:
            known[key] = read(path)
        return known[key]

    monkeypatch.setattr(store_reading, "read_fit", reading)


def chunks(path):
    return sorted(entry for group in store.GROUPS for entry in (path / group).rglob("c/**/*") if entry.is_file())


def same(path, tree, n=None):
    read = bmm.load(path).tree
    for group in store.GROUPS:
        for name, values in tree[group].data_vars.items():
            assert np.array_equal(read[group][name].to_numpy(), values.to_numpy()[:, :n]), name
    return read


def test_a_fake_store_is_one_of_ours(tmp_path):
    tree = fake_store(tmp_path / "fit.zarr")
    same(tmp_path / "fit.zarr", tree)
    tree = fake_store(tmp_path / "cut.zarr", upto=30, end=False)
    assert json.loads(same(tmp_path / "cut.zarr", tree, 30).attrs["bayesmm"])["interrupted"]


def refused(path, match):
    with pytest.raises(bmm.FitFileError, match=match) as caught:
        read_store(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("harm", ["flipped", "truncated", "missing", "another's"])
def test_a_damaged_chunk_of_any_array_is_refused_by_its_name(tmp_path, read_once, harm):
    path = tmp_path / "fit.zarr"
    fake_store(path, draws=20)
    for chunk in chunks(path):
        whole = chunk.read_bytes()
        group, folder, _, chain, number = chunk.relative_to(path).parts[:5]
        if harm == "missing":
            chunk.unlink()
        elif harm == "another's":
            mate = path / group / folder / "c" / str(1 - int(chain))
            source = mate.joinpath(*chunk.relative_to(path).parts[4:])
            if source.read_bytes() == whole:
                continue
            chunk.write_bytes(source.read_bytes())
        else:
            at = len(whole) // 3
            chunk.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) * (harm == "flipped") + whole[at + 1 :])
        first, last = 16 * int(number) + 1, min(16 * int(number) + 16, 20)
        expected = f"damaged: draws {first} to {last} of chain {chain} of {group}/{folder} (changed|are missing)"
        refused(path, expected)
        chunk.write_bytes(whole)
    bmm.load(path)


@pytest.mark.parametrize("end", [True, False])
def test_a_flipped_bit_anywhere_never_gives_another_number(tmp_path, read_once, end):
    path = tmp_path / "fit.zarr"
    tree = fake_store(path, upto=None if end else 50, end=end)
    files, rng, outcomes = sorted(contents(path)), np.random.default_rng(0), []
    for _ in range(60):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        if not whole:
            continue
        at = int(rng.integers(len(whole)))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
        try:
            read = read_store(path)
        except bmm.FitFileError:
            outcomes.append("refused")
        else:
            known, n = read.record["run"], read.tree["posterior"].sizes["draw"]
            kept = [k for k, count in enumerate(known["finished"]) if count >= n]  # where a chain was left out
            for group in store.GROUPS:
                for name, values in tree[group].data_vars.items():
                    here = read.tree[group][name].to_numpy()
                    assert any(np.array_equal(here, values.to_numpy()[ks, :n]) for ks in (kept, [0, 1])), file
            outcomes.append("harmless")
        file.write_bytes(whole)
    assert outcomes.count("refused") > 10


def test_the_last_chunk_of_a_killed_process_is_left_out_if_it_is_damaged_and_an_earlier_one_is_not(tmp_path):
    path = tmp_path / "fit.zarr"
    tree = fake_store(path, upto=40, end=False)  # two whole chunks of 16 draws, and 8 draws
    last, earlier = path / "posterior" / "sigma" / "c" / "1" / "2", path / "posterior" / "sigma" / "c" / "1" / "0"
    whole = last.read_bytes()
    last.write_bytes(whole[:20])
    read = same(path, tree, 32)
    known = json.loads(read.attrs["bayesmm"])
    assert known["finished"] == [40, 32]
    assert known["warnings"] == ["chain 1: the last draws of posterior/sigma are damaged and left out"]
    last.write_bytes(whole)
    earlier.write_bytes(bytes(128))
    refused(path, "draws 1 to 16 of chain 1 of posterior/sigma changed since they were written")


def test_a_kill_between_two_files_leaves_what_they_agree_on(tmp_path, monkeypatch):
    path, written = tmp_path / "fit.zarr", []
    write_bytes = store.write_bytes

    def dying(data, target, **options):
        written.append(target)
        if len(written) > 60 and "energy" in target.parts:
            raise RuntimeError("killed")
        write_bytes(data, target, **options)

    monkeypatch.setattr(store, "write_bytes", dying)
    with pytest.raises(RuntimeError):
        fake_store(path)
    monkeypatch.undo()
    n = bmm.load(path).tree["posterior"].sizes["draw"]
    tree = tree_of(sleep(), chains=2, draws=60)
    assert n in (20, 30) and np.array_equal(
        bmm.load(path).tree["posterior"]["sigma"], tree["posterior"]["sigma"][:, :n]
    )


def test_half_a_line_of_the_journal_does_not_count_and_a_changed_one_is_refused(tmp_path):
    path = tmp_path / "fit.zarr"
    tree = fake_store(path, upto=30, end=False)
    journal = path / "record" / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:50])
    same(path, tree, 30)
    for at in (10, len(whole) // 2, len(whole) - 3):
        journal.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        refused(path, r"line \d+ of its journal was changed|journal")
    journal.write_bytes(b"")
    refused(path, "has no finished draws")


def test_a_journal_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "fit.zarr"
    fake_store(path, upto=40, end=False)
    journal = path / "record" / "journal"
    entries = [json.loads(line.split("\t")[0]) for line in journal.read_text().splitlines()]
    without_a_chunk = [entry for entry in entries if entry["chunk"] != 1]
    for forged in (
        without_a_chunk,
        [*entries, {"chain": 0}],
        [entries[0] | {"files": ["x"]}],
        [entries[0] | {"draws": "9"}],
    ):
        text, last = "", ""
        for entry in forged:
            last = store.digest(f"{last}{json.dumps(entry)}".encode())
            text += f"{json.dumps(entry)}\t{last}\n"
        journal.write_text(text)
        refused(path, "contradicts itself on chain 0|is not as expected")


def forged(path, entries):
    """Write a journal, its checksums right."""
    text, last = "", ""
    for entry in entries:
        line = entry if isinstance(entry, str) else json.dumps(entry)
        last = store.digest(f"{last}{line}".encode())
        text += f"{line}\t{last}\n"
    (path / "record" / "journal").write_text(text)


def entries_of(path):
    return [json.loads(line.split("\t")[0]) for line in (path / "record" / "journal").read_text().splitlines()]


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: ["{", *entries],
        lambda entries: ["[" * 100_000, *entries],
        lambda entries: [entry | {"draws": -entry["draws"]} for entry in entries],
        lambda entries: [entry | {"draws": 10**9} if entry["chunk"] == 2 else entry for entry in entries],
        lambda entries: [entry | {"chunk": 5 - 4 * entry["chunk"]} for entry in entries if entry["chunk"] < 2],
        lambda entries: [entry | {"chain": entry["chain"] + 1} for entry in entries],
    ],
)
def test_a_hostile_journal_is_refused(tmp_path, read_once, change):
    path = tmp_path / "fit.zarr"
    fake_store(path, upto=40, end=False)
    entries = entries_of(path)
    forged(path, entries)
    assert read_store(path).tree["posterior"].sizes["draw"] == 40
    forged(path, change(entries))
    refused(path, "contradicts itself on chain|is not as expected")


@pytest.mark.parametrize(
    "change",
    [
        dict(chains=10**12),
        dict(chains=0),
        dict(draws=None),
        dict(chunk=10**15),
        dict(chunk=0),
        dict(asked=None),
        dict(asked={"keep_effects": "x"}),
        dict(asked={}),
        dict(warnings=None),
        dict(seed="x"),
        dict(seed=-1),
        dict(effects="other"),
    ],
)
def test_a_hostile_record_is_refused(tmp_path, change):
    path = tmp_path / "fit.zarr"
    fake_store(path, upto=20)
    forge(path / "record" / "model.nc", lambda record: record["run"].update(change))
    refused(path, "is damaged: its record does not say which draws there should be")


def test_made_up_draws_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "fit.zarr"
    tree = fake_store(path, upto=20)
    one = tree["posterior"].to_dataset().isel(chain=[0], draw=[0])
    texts = (("chain", "draw"), np.array([["x"]], dtype=object))
    for group, made in (("posterior", {"sigma": texts}), ("posterior", {"sigma": ((), 1.0)}), ("sample_stats", None)):
        shutil.copytree(path, tmp_path / "other.zarr")
        replaced = {} if made is None else {group: one.assign(made)}
        forge(tmp_path / "other.zarr" / "record" / "model.nc", drop=group, replace=replaced)
        refused(tmp_path / "other.zarr", "its record does not say which draws there should be")
        shutil.rmtree(tmp_path / "other.zarr")


def test_a_store_of_a_newer_version_is_named(tmp_path):
    path = tmp_path / "fit.zarr"
    fake_store(path, upto=20)
    forge(path / "record" / "model.nc", lambda record: record["run"].update(store=2, chains="of another shape"))
    refused(path, "has format 2, which needs a newer bayesmm; this one reads up to 1")


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path):
    path = tmp_path / "fit.zarr"
    fake_store(path, upto=20)
    chunk = path / "posterior" / "sigma" / "c" / "1" / "0"
    os.truncate(chunk, 10**12)  # of nothing: no disk is needed
    refused(path, "draws 1 to 16 of chain 1 of posterior/sigma changed since they were written")


def test_what_does_not_fit_in_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "fit.zarr"
    fake_store(path)
    size = (path / "record" / "model.nc").stat().st_size
    monkeypatch.setattr("bayesmm.storage.room.free_memory", lambda: 2.1 * size)
    bmm.load(path)
    os.truncate(path / "record" / "journal", 2 * size)
    refused(path, "journal has .* GB, more than half of the .* GB of free memory, which reading it needs")
    tree, target = empty_store(tmp_path / "long.zarr", draws=900, length=992)
    add(target, tree, 0, n=900)
    refused(tmp_path / "long.zarr", r"long\.zarr has .* GB, more than half of the .* GB of free memory")


def test_a_store_is_read_while_it_is_written(tmp_path, monkeypatch):
    tree, target = empty_store(tmp_path / "fit.zarr", length=16)
    add(target, tree, 0)
    read, coming = store_reading._lines, iter(range(10, 60, 10))

    def busy(path):  # the run goes on, over the ends of two chunks, before the journal is read
        for _ in range(3):
            if (at := next(coming, None)) is not None:
                add(target, tree, at)
        return read(path)

    monkeypatch.setattr(store_reading, "_lines", busy)
    found = read_store(target.path)
    n = found.tree["posterior"].sizes["draw"]
    assert n >= 10 and np.array_equal(found.tree["posterior"]["sigma"], tree["posterior"]["sigma"][:, :n])
    assert found.record["run"]["warnings"] == []


def test_a_run_that_ends_while_it_is_read_is_whole(tmp_path, monkeypatch):
    tree, target = empty_store(tmp_path / "fit.zarr", length=16)
    add(target, tree, 0)
    read, chunk = store_reading._lines, store_reading._chunks

    def ending(*arguments):  # between two files
        found = chunk(*arguments)
        if min(target.done) < 60:
            for at in range(10, 60, 10):
                add(target, tree, at)
            store.close(target, {"interrupted": False, "seconds": 1.5, "warnings": []})
        return found

    monkeypatch.setattr(store_reading, "_chunks", ending)
    monkeypatch.setattr(store_reading, "_lines", read)
    found = read_store(target.path)
    assert not found.record["run"]["interrupted"] and found.tree["posterior"].sizes["draw"] == 60


def test_a_folder_that_goes_away_while_it_is_read_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "fit.zarr"
    fake_store(path)
    read = store_reading.read_fit

    def removing(record):
        found = read(record)
        shutil.rmtree(path)
        return found

    monkeypatch.setattr(store_reading, "read_fit", removing)
    refused(path, "cannot be read: No such file or directory")
    refused(path, "there is no folder")


def test_ctrl_c_right_after_a_line_of_the_journal_leaves_it_whole(tmp_path):
    class Interrupted(list):
        def __setitem__(self, at, value):
            if not interruptions:
                interruptions.append(value)
                raise KeyboardInterrupt
            super().__setitem__(at, value)

    tree, target = empty_store(tmp_path / "fit.zarr")
    interruptions = []
    object.__setattr__(target, "last", Interrupted(target.last))
    with pytest.raises(KeyboardInterrupt):
        add(target, tree, 0)
    store.write(target, 0)
    assert read_store(target.path).record["run"]["finished"] == [10, 0]


def test_a_run_does_not_write_into_the_store_of_another(tmp_path):
    tree, target = empty_store(tmp_path / "fit.zarr")
    add(target, tree, 0)
    shutil.rmtree(target.path)  # and then the same again, while the first goes on
    whole = fake_store(tmp_path / "fit.zarr", upto=40, end=False)
    before = contents(target.path)
    with pytest.raises(bmm.FitFileError, match="was removed while its sampling ran"):
        add(target, tree, 10)
    store.remove(target)
    assert contents(target.path) == before
    same(target.path, whole, 40)


def test_variables_of_any_name_have_folders_of_their_own(tmp_path):
    data = bmm.load_dataset("sleepstudy").assign(s=lambda d: d["Subject"], **{"../up": lambda d: d["Days"] // 2})
    data["S"] = data["Days"]
    model = bmm.Model("Reaction ~ 1 + (1 | s) + (1 | S) + (1 | `../up`)", data)
    tree = fake_store(tmp_path / "fit.zarr", model=model)
    same(tmp_path / "fit.zarr", tree)
    folders = [entry.name for entry in (tmp_path / "fit.zarr" / "posterior").iterdir() if entry.is_dir()]
    assert len({name.lower() for name in folders}) == len(folders) == len(tree["posterior"].data_vars)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for name in folders)
    assert [entry.name for entry in tmp_path.iterdir()] == ["fit.zarr"]


def test_a_full_disk_leaves_the_last_state_and_the_journal_whole(tmp_path, monkeypatch):
    path = tmp_path / "fit.zarr"
    tree, model = tree_of(sleep(), chains=1, draws=60), sleep()
    run = RECORD | {"chains": 1, "draws": 60, "effects": "explicit", "warnings": [], "asked": plain(ASKED)}
    target = store.create(path, model, tree.isel(chain=[0], draw=[0]), run)

    def add(at):
        part = tree.isel(chain=0, draw=slice(at, at + 10))
        found = {(g, name): v.to_numpy() for g in store.GROUPS for name, v in part[g].data_vars.items()}
        store.append(target, 0, found)
        store.write(target, 0)

    add(0)
    before = contents(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError):
            add(10)
    journal = path / "record" / "journal"
    assert {**contents(path), journal: b""} == {**before, journal: b""}
    same(path, tree, 10)
    journal_before = journal.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError):
            store._log(target, {"end": {}})
    assert journal.read_bytes() == journal_before  # no half line
    add(20)  # there is room again: the draws that were held back are written as well
    assert bmm.load(path).tree["posterior"].sizes["draw"] == 30


# nutpie's files


@pytest.mark.parametrize("known", [("bytes", "blosc"), ("another",)])
def test_files_of_nutpie_are_read_by_hand_and_by_zarr_alike(tmp_path, monkeypatch, known):
    monkeypatch.setattr("bayesmm.sampling.spool.KNOWN", known)
    source, rng = nutpies(tmp_path), np.random.default_rng(0)
    expected = rng.normal(size=(2, 40, 3))
    first = waiting(source, 1, 0, over=False)
    assert first.posterior.sizes["draw"] == 32  # the last whole file is left, until nutpie has ended
    rest = waiting(source, 1, 32, over=True)
    assert rest.posterior.sizes["draw"] == 8
    found = np.concatenate([first.posterior["x"], rest.posterior["x"]], axis=1)
    assert np.array_equal(found, expected[1:])
    assert list(first.sample_stats["diverging"].to_numpy()[0].nonzero()[0]) == [20]
    assert not rest.sample_stats["diverging"].any()
    assert waiting(source, 1, 40, over=True) is None


def nutpies(folder):
    """Write two chains of 40 draws as nutpie does: files of 16, blosc, none where all is False."""
    rng = np.random.default_rng(0)
    values = {"posterior/v0": rng.normal(size=(2, 40, 3)), "sample_stats/logp": rng.normal(size=(2, 40))}
    flags = np.zeros((2, 40), dtype=bool)
    flags[1, 20] = True
    values |= {"sample_stats/diverging": flags, "sample_stats/maxdepth_reached": np.zeros((2, 40), dtype=bool)}
    for name in ("energy", "mean_tree_accept", "step_size"):
        values[f"sample_stats/{name}"] = rng.normal(size=(2, 40))
    for name in ("depth", "n_steps"):
        values[f"sample_stats/{name}"] = rng.integers(1, 9, (2, 40)).astype("uint64")
    zarr.create_group(folder, zarr_format=3)
    for name, array in values.items():
        made = zarr.create_array(
            folder / name,
            shape=array.shape,
            chunks=(1, 16, *array.shape[2:]),
            dtype=array.dtype,
            fill_value={"f": np.nan, "b": False, "u": 0}[array.dtype.kind],
            compressors=zarr.codecs.BloscCodec(cname="zstd"),
            zarr_format=3,
        )
        made[...] = array
    return spool(folder, [("x", ("coordinate",))])


def test_what_nutpie_has_not_made_yet_is_waited_for(tmp_path):
    source = nutpies(tmp_path)
    for part in source.parts:
        metadata = part.folder / "zarr.json"
        metadata.rename(tmp_path / "later")
        assert waiting(spool(tmp_path, [("x", ("coordinate",))]), 0, 0, over=False) is None
        (tmp_path / "later").rename(metadata)
    assert waiting(source, 0, 0, over=False) is not None


def test_statistics_that_come_after_their_draws_are_seen(tmp_path):
    source = nutpies(tmp_path)
    assert late(source, 1, 40) and not late(source, 1, 0)
    discard(source, 1, 0, 40)
    assert not late(source, 1, 32)
    assert late(source, 0, 40)


def test_a_part_knows_its_files(tmp_path):
    assert Part(tmp_path, "x", ("a", "b")).chunk(2, 7) == tmp_path / "c" / "2" / "7" / "0" / "0"


# Memory

PEAK = f"""
import resource, sys
import bayesmm as bmm
model = bmm.Model("{SLEEP}", bmm.load_dataset("sleepstudy"))
from bayesmm.sampling import streaming
read = streaming.read_store
def measured(path):  # what the fit takes afterwards is another matter
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return read(path)
streaming.read_store = measured
options = dict(tune=100, chains=2, cores=2, seed=1, progress=False, keep_effects=False)
model.sample(draws=int(sys.argv[1]), store=sys.argv[2], **options)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_draws(tmp_path):
    peaks = []
    for draws in (4_000, 40_000):
        command = [sys.executable, "-c", PEAK, str(draws), str(tmp_path / f"{draws}.zarr")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
        peaks.append(int(done.stdout) * (1 if sys.platform == "darwin" else 1024))
    # in nutpie's tables 72,000 more draws take 31 MB, before anything is made of them; here 2.4 MB were seen
    assert peaks[1] - peaks[0] < 15e6
