"""Stores read: what `store` has written, finished or not, checked byte by byte."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr

from bayesmm.errors import FitFileError, listing
from bayesmm.storage.files import Stored, first_line, misshapen, read_fit
from bayesmm.storage.memory_needed import check_memory
from bayesmm.storage.runs import equal_lengths
from bayesmm.storage.store import FILL, FORMAT, GROUPS, JOURNAL, MODEL, RECORD, Column, chunk_length, columns_of, digest

LARGEST_CHAINS = 100_000  # a record that says more is not marginal: a place is made for each

# The shape of a journal's lines: see `storage.RECORD_SHAPE`.
LINE_SHAPE = {"chain": int, "chunk": int, "draws": int, "seconds": (int, float), "files": [str]}
END_SHAPE = {"end": {"interrupted": bool, "seconds": (int, float), "warnings": [str]}}
# What reading needs of the record of a run.
RUN_SHAPE = {
    ...: object,
    "effects": str,
    "asked": {...: object, "keep_effects": bool},
    "warnings": [str],
    **dict.fromkeys(("seed", "chains", "draws", "chunk"), int),
}


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
    try:
        if not is_store(path):
            what = f"{path} is a folder, but no store that bayesmm has written"
            raise FitFileError(what if path.is_dir() else f"there is no folder {path}")
        return _read(path)
    except (OSError, MemoryError) as error:  # such as of a store that somebody removes meanwhile
        raise FitFileError(f"{path} cannot be read: {first_line(error)}") from error


def _read(path: Path) -> Stored:
    stored = read_fit(path / RECORD / MODEL)
    columns, run = _checked(path, stored)
    length = run.pop("chunk")
    # The files that the journal knows. If they are being written meanwhile, the journal that is read after them knows
    # the states that they were found in.
    known = _lines(path)
    chains = _by_chain(known, run, columns, length)
    check_memory(path, _size(chains, columns))
    found = [[_chunks(column, k, own, length) for k, own in enumerate(chains)] for column in columns]
    lines = _lines(path)
    ends = [line["end"] for line in known if "end" in line]
    if not ends and any("end" in line for line in lines):
        return _read(path)  # the run has ended meanwhile: nothing changes any more
    run |= ends[0] if ends else {"seconds": known[-1].get("seconds") if known else None}
    later = _by_chain(lines, run, columns, length)
    parts = [_finished(k, columns, found, (chains[k], later[k]), length, ended=bool(ends)) for k in range(len(chains))]
    run["warnings"] = [*run["warnings"], *(text for _, text in parts if text)]
    run["finished"] = [count for count, _ in parts]
    kept, n = equal_lengths(run["finished"])
    if n == 0:
        raise FitFileError(f"{path} has no finished draws (yet); if its sampling was stopped, remove it")
    tree = _filled(stored.tree, columns, found, kept, n)
    tree.attrs["bayesmm"] = json.dumps(run)
    return replace(stored, path=path, record={**stored.record, "run": run}, tree=tree, recovered=False)


def _checked(path: Path, stored: Stored) -> tuple[tuple[Column, ...], dict[str, object]]:
    """Return the arrays that there should be, and the record of the run, which is of a known format and shape."""
    run, tree = json.loads(stored.tree.attrs["bayesmm"]), stored.tree
    version = run.pop("store", FORMAT)
    if type(version) is not int or version > FORMAT:
        raise FitFileError(f"{path} has format {version}, which needs a newer bayesmm; this one reads up to {FORMAT}")
    known = all(name in run for name in RUN_SHAPE if name is not ...) and not misshapen(run, RUN_SHAPE)
    known = known and run["effects"] in ("marginal", "explicit") and "keep_effects" in run["asked"]
    known = known and run["seed"] >= 0 and run["draws"] > 0 and 0 < run["chains"] <= LARGEST_CHAINS
    arrays = [v for group in GROUPS if group in tree.children for v in tree[group].data_vars.values()]
    known = known and all(group in tree.children and tree[group].data_vars for group in GROUPS)
    known = known and all(v.dims[:2] == ("chain", "draw") and v.dtype.kind in FILL for v in arrays)
    if not (known and 0 < run["chunk"] <= chunk_length(tree)):
        raise FitFileError(f"{path} is damaged: its record does not say which draws there should be")
    return columns_of(path, tree), run


@dataclass(frozen=True, eq=False)
class Chunks:
    """What is on the disk of one chain of an array: draws, (draws, ...), and the checksum of each chunk."""

    values: np.ndarray
    checksums: tuple[str, ...]


def _size(chains: list[list[dict]], columns: tuple[Column, ...]) -> int:
    """Return the bytes of the draws that the journal knows."""
    row = sum(prod(column.shape) * column.dtype.itemsize for column in columns)
    return row * sum(own[-1]["draws"] for own in chains if own)


def _chunks(column: Column, chain: int, own: list[dict], length: int) -> Chunks:
    """Return what is there of a chain, up to the first chunk that is missing or not of its size."""
    size = prod(column.shape) * column.dtype.itemsize
    files, checksums = [], []
    for number in range(own[-1]["chunk"] + 1 if own else 0):
        if not (path := column.file(chain, number)).is_file():
            break
        with open(path, "rb") as file:
            contents = file.read(size * length + 1)  # one more: a file that is longer is another's
        checksums.append(digest(contents))
        files.append(contents[: len(contents) // size * size] if size else b"")
    joined = b"".join(files)
    rows = len(joined) // size if size else len(files) * length
    return Chunks(np.frombuffer(joined, dtype=column.dtype).reshape(rows, *column.shape), tuple(checksums))


def _lines(path: Path) -> list[dict]:
    """Return the journal; half a line at its end, of a process that was killed, does not count."""
    last, entries, journal = "", [], path / RECORD / JOURNAL
    check_memory(journal, journal.stat().st_size)
    for line in journal.read_bytes().split(b"\n")[:-1]:
        text, _, checksum = line.rpartition(b"\t")
        last = digest(last.encode() + text)
        if checksum != last.encode():
            raise FitFileError(f"{path} is damaged: line {len(entries) + 1} of its journal was changed; take a copy")
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            entry = None
        if misshapen(entry, LINE_SHAPE) and misshapen(entry, END_SHAPE):
            raise FitFileError(f"{path} is damaged: line {len(entries) + 1} of its journal is not as expected")
        entries.append(entry)
    return entries


def _by_chain(lines: list[dict], run: Mapping[str, object], columns: tuple[Column, ...], length: int) -> list:
    """Return the journal's lines of each chain: its chunks one after the other, each with draws that can be in it."""
    chains: list[list[dict]] = [[] for _ in range(run["chains"])]
    for line in lines:
        if "end" in line:
            continue
        chain, chunk, draws = line["chain"], line["chunk"], line["draws"]
        own = chains[chain] if 0 <= chain < len(chains) else None
        follows = own is not None and chunk in ((own[-1]["chunk"], own[-1]["chunk"] + 1) if own else (0,))
        fits = chunk * length < draws <= min((chunk + 1) * length, run["draws"])
        if not (follows and fits and len(line["files"]) == len(columns)):
            raise FitFileError(f"the store is damaged: its journal contradicts itself on chain {chain}")
        own.append(line)
    return chains


def _finished(
    chain: int,
    columns: tuple[Column, ...],
    found: list[list[Chunks]],
    lines: tuple[list[dict], list[dict]],
    length: int,
    *,
    ended: bool,
) -> tuple[int, str]:
    """Return how many draws of a chain are whole, and what there is to say of its last ones.

    Every chunk must be as the journal says that was read before it. The last one of a process that was killed may be
    an earlier state of itself, of one that goes on a later state; where it is none, as after a power failure, it is
    left out.
    """
    own, later = lines
    if not own:
        return 0, ""
    last = own[-1]["chunk"]
    expected = {line["chunk"]: line["files"] for line in own}
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
    states = [line for line in later if line["chunk"] == last]
    counts = [_matched(here[chain], last, j, states, length) for j, here in enumerate(found)]
    again = sum(line["chunk"] == last for line in own) > 1  # a state is announced when the one before it is written
    lost = [
        f"{column.group}/{column.name}"
        for column, here, n in zip(columns, found, counts, strict=True)
        if n == last * length and (again or last < len(here[chain].checksums))  # else: not written yet
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
