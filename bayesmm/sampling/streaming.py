"""Sampling into a store: draws go from nutpie's files into the store's while more are made."""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress

import xarray as xr

from bayesmm.errors import BayesmmWarning, FitFileError
from bayesmm.runtime.progress import Progress
from bayesmm.sampling.nutpie_chunks import ChunkFolder, chunk_folder, discard, discard_tuning, late, waiting
from bayesmm.sampling.nuts import load_nutpie, wait
from bayesmm.storage.files import first_line
from bayesmm.storage.runs import RunningSampler
from bayesmm.storage.store import GROUPS, Store, append, close, remove, write_stale
from bayesmm.storage.store_reading import read_store


def streamed(running: RunningSampler, bar: Progress, create: Callable[..., Store]) -> xr.DataTree:
    """Sample, the draws kept in a store while they are made.

    Parameters
    ----------
    running : RunningSampler
    bar : Progress
    create : callable
        (template, record of the run) -> a new store.

    Returns
    -------
    xarray.DataTree
        All draws, as they are in the store. If the disk is full, those that were finished, marked as interrupted.

    Raises
    ------
    FitFileError
        The store cannot be made, or was removed meanwhile.
    RuntimeError
        If nutpie finds no start.
    KeyboardInterrupt
        If interrupted before there are any draws: then there is no store either.
    """
    store = create(running.template, running.about)
    source = chunk_folder(store.chunk_folder, running.variables)
    try:
        interrupted, said = _pumped(running, bar, store, source)
        if not any(store.done):
            raise KeyboardInterrupt
    finally:
        if not any(store.done):
            remove(store)
    texts = [*running.about["warnings"], *([said] if said else [])]
    end = {"interrupted": interrupted, "warnings": texts, "seconds": time.monotonic() - store.began}
    try:
        close(store, end)
    except OSError as error:  # a full disk: what is there does not say that it has come to its end
        said = said or f"the last draws cannot be written: {first_line(error)}"
    tree = read_store(store.path).tree
    if said:
        warnings.warn(f"{said}; the finished draws are in {store.path}", BayesmmWarning, stacklevel=4)
    return tree


def _pumped(running: RunningSampler, bar: Progress, store: Store, source: ChunkFolder) -> tuple[bool, str]:
    """Sample; return whether the run was interrupted, and what has stopped it if nobody did."""
    said, failure, handle = (
        "",
        None,
        running.begin(zarr_store=load_nutpie().zarr_store.LocalStore(str(store.chunk_folder))),
    )
    try:
        _, interrupted = wait(handle, bar, lambda: _moved(running, store, source, over=False))
    except FitFileError:  # the store was removed
        with suppress(RuntimeError):
            handle.cancel()
        raise
    except (OSError, RuntimeError) as error:  # a full disk, seen by us or by nutpie
        with suppress(RuntimeError):
            handle.cancel()
        failure, interrupted, said = error, True, f"the sampling has stopped: {first_line(error)}"
        discard_tuning(source)  # so that there is room again
    try:
        before = None
        while before != store.done:
            before = list(store.done)
            _moved(running, store, source, over=not said)  # files may be missing where one could not be written
    except OSError as error:
        said = said or f"the last draws cannot be written: {first_line(error)}"
    if failure is not None and not any(store.done):
        if isinstance(failure, RuntimeError):
            raise failure
        raise FitFileError(f"{store.path} cannot be written: {first_line(failure)}") from failure
    if any(late(source, chain, done) for chain, done in enumerate(store.done)):
        said = said or "nutpie has written statistics after their draws, so that divergences may be missing"
    return interrupted or min(store.done) < store.asked, said


def _moved(running: RunningSampler, store: Store, source: ChunkFolder, *, over: bool) -> None:
    """Move what nutpie has finished into the store; of each chain a part, if more than that is waiting."""
    for chain, before in enumerate(store.done):
        run = waiting(source, chain, before, over=over) if before < store.asked else None
        if run is None:
            continue
        tree = running.convert(run)
        found = {(group, name): v.to_numpy()[0] for group in GROUPS for name, v in tree[group].data_vars.items()}
        append(store, chain, found)
        discard(source, chain, before, store.done[chain])
    write_stale(store)
