"""Stores while they are written: read at the same time, interrupted, on a full disk; and nutpie's own files."""

import os
import shutil

import numpy as np
import pytest
import zarr
from fake_fits import RECORD
from saved_fits import tree_of
from stores import ASKED, add, contents, empty_store, fake_store, refused, same, sleep

import bayesmm as bmm
from bayesmm.sampling.nutpie_chunks import Part, chunk_folder, discard, late, waiting
from bayesmm.storage import store, store_reading
from bayesmm.storage.files import plain
from bayesmm.storage.store_reading import read_store


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
    monkeypatch.setattr("bayesmm.sampling.nutpie_chunks.KNOWN", known)
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
    return chunk_folder(folder, [("x", ("coordinate",))])


def test_what_nutpie_has_not_made_yet_is_waited_for(tmp_path):
    source = nutpies(tmp_path)
    for part in source.parts:
        metadata = part.folder / "zarr.json"
        metadata.rename(tmp_path / "later")
        assert waiting(chunk_folder(tmp_path, [("x", ("coordinate",))]), 0, 0, over=False) is None
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
