"""Files of fits while they are written, the file of a fit that is made once, and the command line."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_fits import RECORD
from saved_fits import SLEEP, assert_same, custom, fit_of, frame, half, tree_of
from test_atomic_write import full_disk

import bayesmm as bmm
from bayesmm.cli.main import main
from bayesmm.errors import BayesmmWarning
from bayesmm.storage.atomic_write import write_bytes
from bayesmm.storage.files import changes, packed, read_fit

ROOT = Path(__file__).parents[2]


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

    def draw(model, effects, centred, settings, *, asked, progress, began, further=()):
        calls.append(settings)
        record = RECORD | {"draws": settings["draws"], "chains": settings["chains"]}
        return tree_of(model, seed=len(calls), record=record)

    monkeypatch.setattr("bayesmm.sampling.sample._sampled", draw)
    monkeypatch.setattr(bmm.Model, "effects", lambda *_, **__: "explicit")
    return calls


SETTINGS = dict(draws=40, chains=2, seed=1, effects="explicit")


def run(path, formula=SLEEP, data=None, priors=None, **sampling):
    data = bmm.load_dataset("sleepstudy") if data is None else data
    return bmm.fit(formula, data, priors=priors, **(SETTINGS | sampling), file=path)


def without_progress(said: str) -> str:
    """Return what was said but how long it took, of which there is more on a busy machine: "bayesmm: sampling, 2 s"."""
    return "".join(line for line in said.splitlines(keepends=True) if not re.fullmatch(r"bayesmm: .*, \d+ s\n", line))


def test_a_fit_is_made_once(sampled, tmp_path, capsys):
    first = run(tmp_path / "fit.nc")
    assert without_progress(capsys.readouterr().err) == ""
    again = run(tmp_path / "fit.nc", draws=np.int64(40))
    assert without_progress(capsys.readouterr().err) == f"bayesmm: loaded from {tmp_path / 'fit.nc'}\n"
    assert len(sampled) == 1
    assert_same(again, first)
    run(tmp_path / "fit.nc", progress=False, cores=1)
    assert without_progress(capsys.readouterr().err) == "" and len(sampled) == 1


def test_a_fit_whose_tuning_was_asked_for_serves_who_asks_for_none(sampled, tmp_path):
    run(tmp_path / "fit.nc", tune=1000)
    run(tmp_path / "fit.nc", tune=None)
    assert len(sampled) == 1
    run(tmp_path / "fit.nc", tune=500)
    assert len(sampled) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(draws=41), "sampling arguments"),
        (dict(seed=None), "sampling arguments"),
        pytest.param(dict(target_accept=0.95), "sampling arguments", marks=pytest.mark.slow),
        pytest.param(dict(centred=True), "sampling arguments", marks=pytest.mark.slow),
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
    assert without_progress(capsys.readouterr().err) == f"bayesmm: different {said} in {path}: fitting again\n"
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
    last = f"bayesmm: {tmp_path / 'fit.nc'} cannot be written: No space left on device\n"
    assert without_progress(said.err) == last


def test_fit_keeps_its_result(sampled, tmp_path, capsys):
    words = ["fit", "sleepstudy", SLEEP, "--draws", "40", "--chains", "2", "--save", str(tmp_path / "fit.nc")]
    assert main(words) in (0, 3)
    capsys.readouterr()
    assert bmm.load(tmp_path / "fit.nc").tree["posterior"].sizes["draw"] == 40
    assert main(words) == 2 and len(sampled) == 1
    said = without_progress(capsys.readouterr().err)
    assert said.startswith("bayesmm: --save ") and "or --overwrite to replace it" in said and said.count("\n") == 1
    assert main([*words, "--overwrite"]) in (0, 3) and len(sampled) == 2
