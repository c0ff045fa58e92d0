"""Whether a file can be read at all: what it claims to hold, before memory is asked for it."""

import io
from collections.abc import Iterator
from pathlib import Path

from bayesmm.errors import FitFileError
from bayesmm.runtime.memory import too_much

LARGEST_RATIO = 1100  # bytes of arrays for each byte of the file: deflate packs at most 1,032 into one (zlib.net)


def check_memory(path: Path, size: int) -> None:
    """Refuse what is larger than half of the free memory: the draws stand beside the bytes that they are made from."""
    need = too_much(size)
    if need:
        raise FitFileError(f"{path} has {need}, which reading it needs")


def check_layout(path: Path, contents: bytes) -> None:
    """Refuse a file that claims to hold more than it can, or than fits in memory, before memory is asked for it."""
    import h5py

    with h5py.File(io.BytesIO(contents), "r") as file:
        claimed = sum((array.size or 0) * array.dtype.itemsize for array in _arrays_of(path, file))
    if claimed > LARGEST_RATIO * len(contents):
        raise FitFileError(f"{path} is damaged: its {len(contents):,} bytes claim to hold {claimed:,}")
    check_memory(path, claimed)


def _arrays_of(path: Path, group, depth: int = 0) -> Iterator:
    """Yield the arrays of an HDF5 file, which are in it, and in groups that have no groups: so none is in itself."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        entry = group[name] if isinstance(link, h5py.HardLink) else None  # others lead elsewhere
        if isinstance(entry, h5py.Group) and depth == 0:
            yield from _arrays_of(path, entry, 1)
        elif isinstance(entry, h5py.Dataset) and not entry.is_virtual and entry.external is None:
            yield entry
        elif not isinstance(entry, h5py.Datatype):
            raise FitFileError(f"{path} is no fit that bayesmm has saved: {group.name} has {name!r}, which is no array")
