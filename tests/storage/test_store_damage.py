"""Stores that are damaged, forged or contradict themselves: what cannot be trusted is not read."""

import json
import os
import shutil

import numpy as np
import pytest
from saved_fits import forge, tree_of
from stores import add, contents, empty_store, fake_store, made_store, refused, same, sleep

import bayesmm as bmm
from bayesmm.storage import store, store_reading
from bayesmm.storage.store_reading import read_store


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


def test_a_fake_store_is_one_of_ours(tmp_path):
    tree = fake_store(tmp_path / "fit.zarr")
    same(tmp_path / "fit.zarr", tree)
    tree = fake_store(tmp_path / "cut.zarr", upto=30, end=False)
    assert json.loads(same(tmp_path / "cut.zarr", tree, 30).attrs["bayesmm"])["interrupted"]


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
        made_store(path)
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
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 2.1 * size)
    bmm.load(path)
    os.truncate(path / "record" / "journal", 2 * size)
    refused(path, "journal has .* GB, more than half of the .* GB of free memory, which reading it needs")
    tree, target = empty_store(tmp_path / "long.zarr", draws=900, length=992)
    add(target, tree, 0, n=900)
    refused(tmp_path / "long.zarr", r"long\.zarr has .* GB, more than half of the .* GB of free memory")
