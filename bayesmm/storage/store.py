"""Draws in a folder, written while they are sampled: what a killed process leaves behind can be read.

The folder is a Zarr hierarchy, version 3: groups posterior and sample_stats, an array for each variable, uncompressed
chunks of one chain's draws each, NaN where there are no draws (yet). Beside them, in ``record``:

* ``model.nc``, written whole before sampling begins: a file as `storage.save` writes it, with the data and the model,
  and one made-up draw, which stands for the variables, their dimensions and labels;
* ``journal``: a line for every set of chunks, written before them, with their checksums; each line has a checksum that
  goes on from the line before. The last line of a run that came to its end says so.

Only what the journal vouches for is read. Coefficients and random effects that were integrated out are not in here:
whoever reads the draws draws them again.
"""

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from bayesmm.errors import FitFileError
from bayesmm.runtime.paths import as_path
from bayesmm.storage.atomic_write import slug, write_bytes
from bayesmm.storage.files import first_line, packed

GROUPS = ("posterior", "sample_stats")
RECORD, MODEL, JOURNAL, SPOOL, OWNER = "record", "model.nc", "journal", "chunk_folder", "writer"
FORMAT = 1
# Of the removal of a store: attempts at most, seconds between them, and looks in a row that find nothing.
REMOVALS, BETWEEN, GONE = 100, 0.03, 3
CHUNK_BYTES = 1_000_000  # of the largest array's chunk, which is written again as it fills
CHUNK_DRAWS = (16, 992)  # least and most draws of a chunk, multiples of nutpie's 16
STALE_DRAWS, STALE_SECONDS = 100, 1.0  # a chain's draws are written when there are so many, or are so old
PLAIN = re.compile("[A-Za-z][A-Za-z0-9_]{0,59}")  # a variable's name that can be a folder's
FILL = {"f": np.nan, "i": 0, "b": False}


@dataclass(frozen=True)
class Column:
    """An array of the store.

    Attributes
    ----------
    group, name : str
    folder : Path
    shape : tuple of int
        Of a draw.
    dtype : numpy.dtype
        Little-endian.
    """

    group: str
    name: str
    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    def file(self, chain: int, chunk: int) -> Path:
        """Return the file of a chunk: Zarr core specification, version 3, default chunk key encoding."""
        return self.folder.joinpath("c", str(chain), str(chunk), *("0" for _ in self.shape))

    def empty(self, draws: int) -> np.ndarray:
        """Return places for draws, (draws, ...)."""
        return np.full((draws, *self.shape), FILL[self.dtype.kind], dtype=self.dtype)


@dataclass(frozen=True, eq=False)
class Store:
    """A store that is being written: where it is, and the draws of each chain that fill its last chunk.

    Attributes
    ----------
    path : Path
    token : str
        Of this run alone: who makes a store at the same path, once this one is removed, has another.
    columns : tuple of Column
    length : int
        Draws of a chunk.
    asked : int
        Draws of a chain when it is finished.
    tails : list of list of arrays
        For each chain and column the draws of the chunk that is being filled, (length, ...).
    done, written : list of int
        Draws of each chain that are here, and on the disk.
    when : list of float
        ``time.monotonic()`` when each chain was written last.
    began : float
        The same when the run began.
    last : list of str
        The checksum of the journal's last line, the only entry.
    """

    path: Path
    token: str
    columns: tuple[Column, ...]
    length: int
    asked: int
    tails: list[list[np.ndarray]]
    done: list[int]
    written: list[int]
    when: list[float]
    began: float
    last: list[str] = field(default_factory=lambda: [""])

    @property
    def chunk_folder(self) -> Path:
        """The folder that the sampler writes into."""
        return self.path / RECORD / f"{SPOOL}-{self.token}"

    @property
    def owner(self) -> Path:
        """An empty file, there while this run writes."""
        return self.path / RECORD / f"{OWNER}-{self.token}"

    @property
    def journal(self) -> Path:
        """The file with the checksums."""
        return self.path / RECORD / JOURNAL


def check_absent(path: str | Path) -> Path:
    """Return the path if nothing is there and a folder can be made there.

    Raises
    ------
    FitFileError
    """
    path = as_path(path, "store")
    if path.exists() or path.is_symlink():
        raise FitFileError(f"{path} exists and is no store that bayesmm has written; it is left as it is")
    try:
        trial = path.parent / f".{uuid.uuid4().hex}.tmp"
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise FitFileError(f"{path} cannot be made: {first_line(error)}") from error
    return path


def create(path: Path, model, template: xr.DataTree, run: Mapping[str, object]) -> Store:
    """Make a new store: the model and empty arrays, all or nothing.

    Parameters
    ----------
    path : Path
        Of a folder that does not exist, in one that does.
    model : Model
    template : xarray.DataTree
        One draw of one chain, of any value, in the variables of the fit; what else belongs to it.
    run : mapping
        The record of the run as far as it is known.

    Raises
    ------
    FitFileError
        It cannot be written.
    """
    length = chunk_length(template)
    run = dict(run) | {"interrupted": True, "chunk": length, "store": FORMAT}  # until the journal says otherwise
    token = uuid.uuid4().hex
    temporary = path.parent / f".{token}.tmp"
    tree = template.copy()
    tree.attrs["bayesmm"] = json.dumps(run)
    try:
        _make_arrays(temporary, template, run)
        write_bytes(packed(model, tree), temporary / RECORD / MODEL)
        write_bytes(b"", temporary / RECORD / JOURNAL)
        (temporary / RECORD / f"{OWNER}-{token}").touch()
        (temporary / RECORD / f"{SPOOL}-{token}").mkdir()
        os.rename(temporary, path)
    except OSError as error:
        raise FitFileError(f"{path} cannot be written: {first_line(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    columns, chains = columns_of(path, template), int(run["chains"])
    tails = [[column.empty(length) for column in columns] for _ in range(chains)]
    now = time.monotonic()
    own = dict(done=[0] * chains, written=[0] * chains, when=[now] * chains, began=now)
    return Store(path, token, columns, length, int(run["draws"]), tails, **own)


def chunk_length(template: xr.DataTree) -> int:
    """Return how many draws a chunk has, a multiple of the least."""
    least, most = CHUNK_DRAWS
    largest = max(prod(v.shape[2:]) * v.dtype.itemsize for v in template["posterior"].data_vars.values())
    return min(max(CHUNK_BYTES // max(largest, 1) // least * least, least), most)


def columns_of(path: Path, template: xr.DataTree) -> tuple[Column, ...]:
    """Return the arrays of a store for the variables of a draw."""
    found = []
    for group in GROUPS:
        variables = template[group].data_vars
        lower = [name.lower() for name in variables]
        for name, values in variables.items():
            folder = path / group / _folder(name, lower.count(name.lower()) == 1)
            found.append(Column(group, name, folder, values.shape[2:], values.dtype.newbyteorder("<")))
    return tuple(found)


def _folder(name: str, alone: bool) -> str:
    """Return the folder of a variable; some file systems take a and A for the same."""
    return name if alone and PLAIN.fullmatch(name) else slug(f"{name} ")  # the space: never as short as a plain name


def _make_arrays(path: Path, template: xr.DataTree, run: Mapping[str, object]) -> None:
    """Make the folder with the groups and the arrays, which have no chunks yet."""
    note = {"bayesmm": json.dumps({"format": FORMAT, "model": f"{RECORD}/{MODEL}"})}
    zarr.create_group(path, zarr_format=3, attributes=note)
    for group in GROUPS:
        zarr.create_group(path / group, zarr_format=3)
    # an array of nothing, so that the folder is a part of the hierarchy
    zarr.create_array(path / RECORD, shape=(0,), dtype="uint8", dimension_names=(RECORD,), zarr_format=3)
    for column in columns_of(path, template):
        values = template[column.group][column.name]
        labels = {dim: values[dim].to_numpy().tolist() for dim in values.dims[2:] if dim in values.coords}
        zarr.create_array(
            column.folder,
            shape=(run["chains"], run["draws"], *column.shape),
            chunks=(1, run["chunk"], *(max(side, 1) for side in column.shape)),
            dtype=column.dtype,
            fill_value=FILL[column.dtype.kind],
            compressors=None,
            filters=None,
            dimension_names=values.dims,
            attributes={"long_name": column.name, "labels": labels},
            zarr_format=3,
        )


def append(store: Store, chain: int, draws: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Add draws of a chain; write its chunk when it is full.

    Parameters
    ----------
    store : Store
    chain : int
    draws : mapping of (group, name) to (n, ...) array

    Raises
    ------
    OSError
        The disk is full; what was written before is as it was.
    FitFileError
        The store was removed; what is there now is another's, and is left as it is.
    """
    n, taken = len(next(iter(draws.values()))), 0
    while taken < n:
        at = store.done[chain] % store.length
        if at == 0:
            write(store, chain)  # of the chunk before, if an interruption has kept it from being written
        size = min(n - taken, store.length - at)
        for column, tail in zip(store.columns, store.tails[chain], strict=True):
            if at == 0:
                tail[...] = FILL[column.dtype.kind]
            tail[at : at + size] = draws[column.group, column.name][taken : taken + size]
        store.done[chain] += size  # last, so that an interruption before it has done nothing
        taken += size
        if at + size == store.length:
            write(store, chain)


def write_stale(store: Store) -> None:
    """Write the draws of every chain that has many, or old ones, that are not written."""
    for chain, (done, written) in enumerate(zip(store.done, store.written, strict=True)):
        if done - written >= STALE_DRAWS or time.monotonic() - store.when[chain] >= STALE_SECONDS:
            write(store, chain)


def write(store: Store, chain: int) -> None:
    """Bring a chain's last chunk on the disk: first the journal's line, then the files, one after the other."""
    done = store.done[chain]
    if done == store.written[chain]:
        return
    number, full = (done - 1) // store.length, done % store.length == 0
    files = [np.ascontiguousarray(tail).tobytes() for tail in store.tails[chain]]
    entry = {"chain": chain, "chunk": number, "draws": done, "seconds": time.monotonic() - store.began}
    _log(store, entry | {"files": [digest(file) for file in files]}, durable=full)
    for column, file in zip(store.columns, files, strict=True):
        path = column.file(chain, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, path, durable=full)
    store.written[chain], store.when[chain] = done, time.monotonic()


def close(store: Store, run: Mapping[str, object]) -> None:
    """Write what is left, and that the run has ended, with its record."""
    shutil.rmtree(store.chunk_folder, ignore_errors=True)
    for chain in range(len(store.done)):
        write(store, chain)
    _log(store, {"end": dict(run)})
    store.owner.unlink(missing_ok=True)


def remove(store: Store) -> None:
    """Remove a store that has no draws, unless it is another's by now.

    The sampler's threads may write for a moment after they were told to stop, which makes its folder again.
    """
    gone = 0 if store.owner.is_file() else GONE
    for _ in range(REMOVALS):
        if gone == GONE or (gone and (store.path / RECORD / MODEL).is_file()):
            return
        shutil.rmtree(store.path, ignore_errors=True)
        time.sleep(BETWEEN)
        gone = 1 if store.path.exists() else gone + 1


def digest(contents: bytes) -> str:
    """Return the checksum of a chunk or of a line: 128 bits of BLAKE2b."""
    return blake2b(contents, digest_size=16).hexdigest()


def _log(store: Store, entry: Mapping[str, object], *, durable: bool = True) -> None:
    if not store.owner.is_file():
        raise FitFileError(f"{store.path} was removed while its sampling ran, so that the draws cannot be written")
    text, before = json.dumps(entry), store.last[0]
    last = digest(f"{before}{text}".encode())
    size = store.journal.stat().st_size
    try:
        with open(store.journal, "ab") as file:
            file.write(f"{text}\t{last}\n".encode())
            file.flush()
            if durable:
                os.fsync(file.fileno())
        store.last[0] = last
    except BaseException:  # also Ctrl-C: half a line in the middle would make the rest unreadable
        with suppress(OSError):
            os.truncate(store.journal, size)
        store.last[0] = before
        raise
