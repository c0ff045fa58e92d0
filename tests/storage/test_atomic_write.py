"""Files: whole or not at all, and safe whatever the data are called."""

import csv
import errno
import io
import os
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from fake_fits import fake_block, fake_design, fake_fit, fake_point

from bayesmm.storage.atomic_write import csv_text, slug, write_bytes, write_tables

resource = pytest.importorskip("resource")  # limits of a process: POSIX


@contextmanager
def full_disk():
    """Let no file of this process grow over 1,000 bytes: what a full disk does, half way through.

    For a few lines only: the limit holds for the test runner's own output as well, which may be a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "fit.nc"
    write_bytes(b"old", path)
    with full_disk(), pytest.raises(OSError):
        write_bytes(bytes(10_000), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["fit.nc"]


def test_a_failure_after_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(b"data", tmp_path / "fit.nc")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_bytes(b"data", tmp_path / "missing" / "fit.nc")


def test_the_longest_possible_name_can_be_written(tmp_path):
    path = tmp_path / (
        "n" * 252 + ".nc"
    )  # 255 bytes, the limit of most file systems: the temporary name may not add to it
    write_bytes(b"data", path)
    assert path.read_bytes() == b"data"


def test_no_cell_of_a_table_is_a_formula_to_a_spreadsheet():
    evil = "=cmd|' /C calc'!A0"
    table = pd.DataFrame(
        {"=h": [evil, "@x", "+1-cmd", "-2.5", "+1e-3", 'a,b\n"c"'], "n": [-1.5, 0.1, 1e-300, np.nan, 2.0, 3.0]},
        index=pd.Index(["-x", "\tx", "\rx", "-7", "ok", ""], name="=i"),
    )
    rows = list(csv.reader(io.StringIO(csv_text(table), newline="")))
    assert rows[0] == ["'=i", "'=h", "n"]
    assert [row[0] for row in rows[1:]] == ["'-x", "'\tx", "'\rx", "-7", "ok", ""]
    assert [row[1] for row in rows[1:]] == [f"'{evil}", "'@x", "'+1-cmd", "-2.5", "+1e-3", 'a,b\n"c"']
    assert [row[2] for row in rows[1:]] == ["-1.5", "0.1", "1e-300", "", "2.0", "3.0"]


def test_csv_keeps_all_digits():
    values = np.random.default_rng(0).normal(size=50)
    text = csv_text(pd.DataFrame({"x": values}))
    assert [float(line) for line in text.split()[1:]] == list(values)


@pytest.mark.parametrize("sign", ["＝", "＋", "－", "＠", "\n="])
def test_signs_that_a_spreadsheet_takes_for_others_start_no_formula_either(sign):
    cell = f"{sign}cmd"  # full width: OWASP, "CSV injection"
    text = csv_text(pd.DataFrame({cell: [cell]}, index=pd.Index([cell], name=cell)))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [[f"'{cell}"] * 2] * 2


@pytest.mark.parametrize("name", ["../x", "a/b", "a:b", "con.", "", "längd", "x" * 300, ".hidden", "a b"])
def test_a_slug_is_a_safe_file_name(name):
    assert slug(name).replace("-", "").isalnum() and slug(name).isascii() and len(slug(name)) <= 60


def test_slugs_are_different_for_different_names_and_plain_ones_are_kept():
    names = ["a/b", "a:b", "a b", "a-b", "ab", "日", "本", "x" * 41, "x" * 42]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("Subject") == "Subject"


def test_tables_of_a_fit_and_of_a_point_are_written_in_full(tmp_path):
    design = fake_design([fake_block("../Sex:IndID", ("=1+1", "b"), name="g")])
    fit, point = fake_fit(design), fake_point(design)
    for result in (fit, point):
        paths = write_tables(result, tmp_path, {"extra": pd.DataFrame({"x": [1]})})
        coef = f"coef_{slug('../Sex:IndID')}.csv"
        assert sorted(path.name for path in paths) == sorted(
            ["fixef.csv", "varcorr.csv", "ranef.csv", coef, "extra.csv"]
        )
        assert {path.parent for path in paths} == {tmp_path}
        read = pd.read_csv(tmp_path / "ranef.csv")
        assert len(read) == len(result.ranef()) and read["grp"][0] == "'=1+1"
        number = "mean" if result is fit else "condval"
        assert read[number].to_numpy() == pytest.approx(result.ranef()[number].to_numpy(), rel=1e-15)
        assert list(pd.read_csv(tmp_path / "fixef.csv")["coef"]) == ["Intercept", "Days"]
