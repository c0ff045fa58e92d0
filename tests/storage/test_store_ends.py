"""Stores of runs that were killed, interrupted or stopped by a full disk: what was finished can be read."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from saved_fits import fit_of
from stores import ROOT, SHORT, SLEEP, run_of, sleep

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning
from bayesmm.sampling import streaming
from bayesmm.storage import store

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
    assert list((path / "record").glob("chunk_folder-*"))  # nutpie's files, which nobody reads
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

    def wrapped(running, target, source, *, over):
        moved(running, target, source, over=over)
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

    def full_at_the_end(running, target, source, *, over):
        if over and last == "drained" and min(target.done) >= 32:
            raise OSError(28, "No space left on device")
        if not over and min(target.done) >= 32:
            return  # so that something is left for the end
        moved(running, target, source, over=over)

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
    assert n > 0 and run_of(fit)["interrupted"]  # the chains share the disk: how far the slowest came is the machine's
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
