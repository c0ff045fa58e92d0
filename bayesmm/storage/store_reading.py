"""Stores read: what `store` has written, finished or not, checked byte by byte."""

import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr

from bayesmm.errors import FitFileError, listing
from bayesmm.runs import equal_lengths
from bayesmm.storage.files import Stored, misshapen, read_fit
from bayesmm.storage.store import GROUPS, JOURNAL, MODEL, RECORD, Column, columns_of, digest

# The shape of a journal's lines: see `storage.RECORD_SHAPE`.
LINE_SHAPE = {"chain": int, "chunk": int, "draws": int, "seconds": (int, float), "files": [str]}
END_SHAPE = {"end": {"interrupted": bool, "seconds": (int, float), "warnings": [str]}}


def is_store(path: str | Path) -> bool:
    """Return whether a folder is a store."""
    return (Path(path) / RECORD / MODEL).is_file() and (Path(path) / RECORD / JOURNAL).is_file()


def read_store(path: str | Path) -> Stored:
    """Read a store, finished or not, and check every byte that is used.

    Returns
    -------
    Stored
        Its tree has what was sampled; what was integrated out is still to be drawn. Chains are cut to one length.

    Raises
    ------
    FitFileError
        It is no store, has no draws yet, or is damaged.
    """
    path = Path(path)
    if not is_store(path):
        raise FitFileError(f"{path} is a folder, but no store that bayesmm has written")
    stored = read_fit(path / RECORD / MODEL)
    run = json.loads(stored.tree.attrs["bayesmm"])
    known = run.get("effects") in ("marginal", "explicit") and "keep_effects" in run.get("asked", ())
    if not (known and all(type(run.get(name)) is int and run[name] > 0 for name in ("chains", "draws", "chunk"))):
        raise FitFileError(f"{path} is damaged: its record does not say which draws there should be")
    columns, length = columns_of(path, stored.tree), run.pop("chunk")
    # the files first: if they are being written meanwhile, the journal that is read after them knows them
    found = [_chunks(column, run["chains"]) for column in columns]
    lines = _lines(path)
    end = next((line["end"] for line in lines if "end" in line), None)
    run |= {"seconds": lines[-1].get("seconds") if lines else None} if end is None else end
    parts = [_finished(k, columns, found, lines, length, ended=end is not None) for k in range(run["chains"])]
    run["warnings"] = [*run.get("warnings", []), *(text for _, text in parts if text)]
    chains, n = equal_lengths([count for count, _ in parts])
    if n == 0:
        raise FitFileError(f"{path} has no finished draws, as the sampling was stopped before; remove it")
    tree = _filled(stored.tree, columns, found, chains, n)
    run["finished"] = [count for count, _ in parts]
    tree.attrs["bayesmm"] = json.dumps(run)
    record = {**stored.record, "run": run}
    return replace(stored, path=path, record=record, tree=tree, recovered=False)


@dataclass(frozen=True, eq=False)
class Chunks:
    """What is on the disk of one chain of an array: draws, (draws, ...), and the checksum of each chunk."""

    values: np.ndarray
    checksums: tuple[str, ...]


def _chunks(column: Column, chains: int) -> list[Chunks]:
    """Return what is there of each chain, up to the first chunk that is missing or not of its size."""
    size = prod(column.shape) * column.dtype.itemsize
    found = []
    for chain in range(chains):
        files, checksums = [], []
        while (path := column.file(chain, len(checksums))).is_file():
            contents = path.read_bytes()
            checksums.append(digest(contents))
            files.append(contents[: len(contents) // size * size] if size else contents)
        values = np.frombuffer(b"".join(files), dtype=column.dtype).reshape(-1, *column.shape)
        found.append(Chunks(values, tuple(checksums)))
    return found


def _lines(path: Path) -> list[dict]:
    """Return the journal; half a line at its end, of a process that was killed, does not count."""
    last, entries = "", []
    contents = (path / RECORD / JOURNAL).read_bytes()
    for line in contents.split(b"\n")[:-1]:
        text, _, checksum = line.rpartition(b"\t")
        last = digest(last.encode() + text)
        if checksum != last.encode():
            raise FitFileError(f"{path} is damaged: line {len(entries) + 1} of its journal was changed; take a copy")
        entry = json.loads(text)
        if misshapen(entry, LINE_SHAPE) and misshapen(entry, END_SHAPE):
            raise FitFileError(f"{path} is damaged: line {len(entries) + 1} of its journal is not as expected")
        entries.append(entry)
    return entries


def _finished(
    chain: int,
    columns: tuple[Column, ...],
    found: list[list[Chunks]],
    lines: list[dict],
    length: int,
    *,
    ended: bool,
) -> tuple[int, str]:
    """Return how many draws of a chain are whole, and what there is to say of its last ones.

    Every chunk must be as the journal says. The last one of a process that was killed may be an earlier state of
    itself; where it is none, as after a power failure, it is left out.
    """
    own = [line for line in lines if line.get("chain") == chain]
    if not own:
        return 0, ""
    last = own[-1]["chunk"]
    expected = {line["chunk"]: line["files"] for line in own}
    if len(expected) != last + 1 or any(len(line["files"]) != len(columns) for line in own):
        raise FitFileError(f"the store is damaged: its journal contradicts itself on chain {chain}")
    for number in range(last + ended):
        for column, here, known in zip(columns, found, expected[number], strict=True):
            if here[chain].checksums[number : number + 1] != (known,):
                what = "changed since they were written" if number < len(here[chain].checksums) else "are missing"
                upto = min((number + 1) * length, own[-1]["draws"])
                place = f"{column.group}/{column.name}"
                draws = f"draws {number * length + 1:,} to {upto:,} of chain {chain} of {place}"
                raise FitFileError(f"the store is damaged: {draws} {what}; take a copy, or sample again")
    if ended:
        return own[-1]["draws"], ""
    states = [line for line in own if line["chunk"] == last]
    counts = [_matched(here[chain], last, j, states, length) for j, here in enumerate(found)]
    lost = [
        f"{column.group}/{column.name}"
        for column, here, n in zip(columns, found, counts, strict=True)
        if n == last * length and (len(states) > 1 or last < len(here[chain].checksums))  # else: not written yet
    ]
    if not lost:
        return min(counts), ""
    return last * length, f"chain {chain}: the last draws of {listing(lost, 3)} are damaged and left out"


def _matched(here: Chunks, number: int, j: int, states: list[dict], length: int) -> int:
    """Return how many draws the state of a chain's last chunk has that is on the disk."""
    own = here.checksums[number] if number < len(here.checksums) else None
    return next((line["draws"] for line in reversed(states) if line["files"][j] == own), number * length)


def _filled(
    template: xr.DataTree, columns: tuple[Column, ...], found: list[list[Chunks]], chains: list[int], n: int
) -> xr.DataTree:
    """Return the template's variables with the draws that were read."""
    groups = {name: node.to_dataset() for name, node in template.children.items()}
    for group in GROUPS:
        own = groups[group].drop_vars(["chain", "draw"], errors="ignore")
        variables = {}
        for column, here in zip(columns, found, strict=True):
            if column.group == group:
                values = np.stack([here[k].values[:n] for k in chains])
                variables[column.name] = (own[column.name].dims, values.astype(values.dtype.newbyteorder("=")))
        labels = {dim: own[dim] for dim in own.coords}
        groups[group] = xr.Dataset(variables, {**labels, "chain": np.arange(len(chains)), "draw": np.arange(n)})
    return xr.DataTree.from_dict(groups)
