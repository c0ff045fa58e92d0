"""What goes wrong while an engine reads: one sentence each, and nothing half-written is read as whole."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.cli.main import main
from bayesmm.engines import design, passes
from bayesmm.errors import DataError, FitFileError
from tests.lazy_frames import installed, lazy, messy
from tests.storage.test_atomic_write import full_disk

ROOT = Path(__file__).parents[2]
FORMULA = "y ~ x + f + (1 | g)"
CROSSED = "y ~ x + f + (1 | g) + (1 | s)"
ENGINES = [engine for engine in ("polars", "duckdb") if installed(engine)]

# The command line, which stops for a minute before the sums over levels, in pass 2.
STOPPED = """
import sys, time
from bayesmm.engines import passes
own = passes._level_products
def slow(*args):
    print("ready", flush=True)
    time.sleep(60)
    return own(*args)
passes._level_products = slow
from bayesmm.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
# Predictions by a lazy frame, which stop after the first batch.
WRITING = """
import sys, time
import polars as pl
import bayesmm as bmm
from bayesmm.reporting import predict_to
predict_to.BATCH = 100
rows = pl.scan_parquet(sys.argv[1])
point = bmm.Model("y ~ x + (1 | g)", rows).maximize()
own = predict_to._beside
def slow(*args):
    if slow.times:
        print("ready", flush=True)
        time.sleep(60)
    slow.times += 1
    return own(*args)
slow.times = 0
predict_to._beside = slow
point.predict_to(sys.argv[2])
"""


@pytest.fixture
def files(tmp_path):
    """Return a folder of one table in two Parquet files."""
    folder, table = tmp_path / "data", messy(600)
    folder.mkdir()
    for k in range(2):
        table.iloc[300 * k : 300 * (k + 1)].to_parquet(folder / f"part{k}.parquet", index=False)
    return folder


def stopped(script, words, how):
    """Run a script until it says that it is ready, send it a signal, and return its exit status and stderr."""
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with subprocess.Popen([sys.executable, "-c", script, *map(str, words)], **pipes) as process:
        said = ""
        while "ready" not in said:
            said = process.stdout.readline()
            assert said, process.stderr.read()
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_killed_in_pass_2_nothing_is_there_and_the_next_run_is_whole(engine, files, tmp_path, capsys):
    words = ["maximize", f"{files}/*.parquet", FORMULA, "--engine", engine, "--out", str(tmp_path / "out")]
    code, _ = stopped(STOPPED, words, signal.SIGKILL)
    assert code == -signal.SIGKILL and not list((tmp_path / "out").glob("*.csv"))
    assert main(words) == 0
    assert "Number of obs: 597" in capsys.readouterr().out and (tmp_path / "out" / "fixef.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_in_pass_2_is_one_line(engine, files, tmp_path):
    words = ["maximize", f"{files}/*.parquet", FORMULA, "--engine", engine, "--out", tmp_path / "out"]
    code, err = stopped(STOPPED, words, signal.SIGINT)
    assert code == 130 and "Traceback" not in err
    assert "interrupted" in err.strip().splitlines()[-1] and not list((tmp_path / "out").glob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_predictions_that_stop_on_the_way_are_no_file(how, files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    code, _ = stopped(WRITING, [files / "part0.parquet", out / "all.parquet"], how)
    left = list(out.iterdir())
    assert code and not any(path.suffix == ".parquet" for path in left)
    if how == signal.SIGINT:
        assert not left  # Python has tidied up
    # what a killed process leaves is no data: a folder is read by the names of its files
    assert main(["maximize", str(out), FORMULA, "--engine", "polars"]) == 2


@pytest.mark.parametrize(("module", "pass_2"), [(design, "products"), (passes, "_pair_products")])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_vanishes_between_the_passes_is_one_sentence(engine, module, pass_2, files, monkeypatch, capsys):
    own = getattr(module, pass_2)

    def late(*args):
        (files / "part1.parquet").unlink(missing_ok=True)
        return own(*args)

    monkeypatch.setattr(module, pass_2, late)
    assert main(["maximize", f"{files}/*.parquet", CROSSED, "--engine", engine]) == 2
    (line,) = [one for one in capsys.readouterr().err.strip().splitlines() if "left out" not in one]
    assert " could not sum the cross-products" in line and "part1.parquet" in line


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_is_replaced_between_the_passes_is_one_sentence(engine, files, monkeypatch, capsys):
    own = design.products

    def late(*args):
        table = pd.read_parquet(files / "part1.parquet")
        table.assign(x=table.x + 1.0).to_parquet(files / "part1.parquet", index=False)
        return own(*args)

    monkeypatch.setattr(design, "products", late)
    assert main(["maximize", f"{files}/*.parquet", FORMULA, "--engine", engine]) == 2
    assert "the data changed while they were read" in capsys.readouterr().err.strip().splitlines()[-1]


def test_what_an_engine_says_is_one_sentence():
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    rows = connection.sql(
        "SELECT i / 10 + random() AS y, CASE WHEN i = 50000 THEN error('the node is gone') ELSE random() END AS x, "
        "i % 7 AS g FROM range(60000) t(i)"
    )
    with pytest.raises(DataError, match=r"^DuckDB could not look for missing values: .*the node is gone") as caught:
        bmm.Model("y ~ x + (1 | g)", rows)
    assert "\n" not in str(caught.value)


def test_ctrl_c_inside_a_query_is_ctrl_c():
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    rows = connection.sql("SELECT i + random() AS y, random() AS x, i % 7 AS g FROM range(100000000000) t(i)")
    threading.Timer(0.3, connection.interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        bmm.Model("y ~ x + (1 | g)", rows)


def test_sums_on_a_full_disk_leave_the_old_file(tmp_path):
    path = tmp_path / "sums.nc"
    first = bmm.accumulate(FORMULA, lazy("polars", messy(300)))
    first.save(path)
    second = bmm.accumulate(FORMULA, lazy("polars", messy(300, seed=1)))
    with full_disk(), pytest.raises(FitFileError, match=r"cannot be written: File too large$"):
        second.save(path, overwrite=True)
    assert list(tmp_path.iterdir()) == [path] and bmm.load_accumulated(path).n == first.n


@pytest.mark.slow
def test_a_small_file_system_takes_no_half_of_the_predictions(tmp_path):
    mounted = ["mount", "-t", "tmpfs", "-o", "size=16k", "x", str(tmp_path)]
    if os.geteuid() or subprocess.run(mounted, check=False).returncode:
        pytest.skip("needs to mount a file system")
    try:
        point = bmm.Model(FORMULA, lazy("polars", messy(2000))).maximize()
        with pytest.raises(FitFileError, match=r"cannot be written: .*No space left on device"):
            point.predict_to(tmp_path / "all.csv")
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)
