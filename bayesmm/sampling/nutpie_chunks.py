"""Draws on their way: what nutpie writes while it samples, picked up a few draws at a time and removed.

nutpie writes each array of a chain in files of 16 draws, some 30 arrays whether anybody wants them or not: as a store
to keep that would be thousands of files, without checksums. Here they exist for a moment. A variable is known to nutpie
by its alias.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from numcodecs.blosc import Blosc

from bayesmm.storage.runs import NUTPIE, STATS, Run, alias

KNOWN = ("bytes", "blosc")  # the codecs of nutpie 0.16; what another version may take goes through zarr, at its pace
FILES, BATCH_BYTES = 64, 16_000_000  # read at once, at most
LP = "lp"  # the statistic of every draw that is a finite number; the places of draws not made are NaN


@dataclass(frozen=True)
class Part:
    """An array of nutpie's: where it is, and what its name is here.

    Attributes
    ----------
    folder : Path
    name : str
    dims : tuple of str
        Of a draw.
    """

    folder: Path
    name: str
    dims: tuple[str, ...] = ()

    @cached_property
    def array(self) -> zarr.Array:
        """The array as zarr sees it; made by nutpie when it starts."""
        return zarr.open_array(self.folder, mode="r")

    @cached_property
    def plain(self) -> bool:
        """Whether its chunks can be read without zarr, ten times as fast."""
        codecs = json.loads((self.folder / "zarr.json").read_text())["codecs"]
        return tuple(codec["name"] for codec in codecs) == KNOWN

    def chunk(self, chain: int, number: int) -> Path:
        """Return the file of some draws of a chain."""
        return self.folder.joinpath("c", str(chain), str(number), *("0" for _ in self.dims))


@dataclass(frozen=True)
class ChunkFolder:
    """Where nutpie writes.

    Attributes
    ----------
    folder : Path
    variables : tuple of Part
        What is sampled.
    """

    folder: Path
    variables: tuple[Part, ...]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The arrays that are read, statistics last."""
        stats = self.folder / "sample_stats"
        return *self.variables, *(Part(stats / row[NUTPIE], name) for name, row in STATS.items())

    @cached_property
    def needed(self) -> tuple[Part, ...]:
        """Those whose files are there when the draws are; a file of nothing but 0, or False, is not written."""
        return *self.variables, *(part for part in self.parts if part.name == LP)

    @cached_property
    def length(self) -> int:
        """Draws in a file."""
        return self.parts[-1].array.chunks[1]

    @cached_property
    def most(self) -> int:
        """Files of an array that are read at once."""
        numbers = sum(prod(part.array.chunks) for part in self.parts)
        return min(max(BATCH_BYTES // (8 * numbers), 2), FILES)


def chunk_folder(folder: Path, variables: Sequence[tuple[str, tuple[str, ...]]]) -> ChunkFolder:
    """Return a new chunk_folder in a folder that exists, for variables of these names and dimensions."""
    return ChunkFolder(folder, tuple(Part(folder / "posterior" / alias(j), *own) for j, own in enumerate(variables)))


def waiting(source: ChunkFolder, chain: int, done: int, *, over: bool) -> Run | None:
    """Return draws of a chain that are there, after the first `done`, or None; not more than are read at once.

    Parameters
    ----------
    source : ChunkFolder
    chain : int
    done : int
    over : bool
        Whether nutpie has ended. Before, the last file is left: nutpie writes several at a time, so that of those which
        may be missing none is known to be until the next ones are there.
    """
    if not all((part.folder / "zarr.json").is_file() for part in source.parts):
        return None  # nutpie has not begun
    first = done // source.length
    count = first
    while count < first + source.most and all(part.chunk(chain, count).is_file() for part in source.needed):
        count += 1
    count -= not over
    if count <= first:
        return None
    skip = done - first * source.length
    found = {part.name: _read(part, chain, range(first, count))[skip:] for part in source.parts}
    n = int(np.isfinite(found[LP]).sum())  # the last file of a chain may not be full
    if n == 0:
        return None
    labels = {"chain": [chain], "draw": np.arange(n)}
    posterior = {part.name: (("chain", "draw", *part.dims), found[part.name][None, :n]) for part in source.variables}
    stats = {name: (("chain", "draw"), found[name][None, :n].astype(row[2])) for name, row in STATS.items()}
    return Run(xr.Dataset(posterior, labels), xr.Dataset(stats, labels), interrupted=False)


def _read(part: Part, chain: int, numbers: range) -> np.ndarray:
    """Return draws of a chain, (draws, ...)."""
    array = part.array
    if not part.plain:
        return np.asarray(array[chain, numbers.start * array.chunks[1] : numbers.stop * array.chunks[1]])
    return np.concatenate([_file(part, part.chunk(chain, number)) for number in numbers])


def _file(part: Part, path: Path) -> np.ndarray:
    """Return the draws of a file, (length, ...)."""
    shape, dtype = part.array.chunks[1:], part.array.dtype
    if not path.is_file():
        return np.full(shape, part.array.fill_value, dtype=dtype)
    return np.frombuffer(Blosc().decode(path.read_bytes()), dtype=dtype).reshape(shape)


def discard(source: ChunkFolder, chain: int, before: int, done: int) -> None:
    """Remove what is not needed of a chain's draws from `before` to `done`, of every array; full files only."""
    numbers = range(before // source.length, done // source.length)
    for folder in (source.folder / "posterior", source.folder / "sample_stats"):
        for chunks in folder.glob(f"*/c/{chain}"):
            for number in numbers:
                chunk = chunks / str(number)
                shutil.rmtree(chunk, ignore_errors=True) if chunk.is_dir() else chunk.unlink(missing_ok=True)


def discard_tuning(source: ChunkFolder) -> None:
    """Remove what nutpie has written while it tuned, which it keeps in any case."""
    for folder in source.folder.glob("warmup_*"):
        shutil.rmtree(folder, ignore_errors=True)


def late(source: ChunkFolder, chain: int, done: int) -> bool:
    """Return whether nutpie has written something of a chain's draws after they were read and removed."""
    if done < source.length:
        return False
    left = (file for part in source.parts for file in part.folder.glob(f"c/{chain}/*"))
    return any(int(file.name) < done // source.length for file in left if file.name.isdigit())
