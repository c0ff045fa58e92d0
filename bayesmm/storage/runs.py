"""What a sampler gives back, in one form: chains of one length, and one set of names for its statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import xarray as xr

# Our names of sample_stats -> nutpie's, PyMC's, type. lp is the log density on the sampler's coordinates, Jacobians
# included; energy is the Hamiltonian up to a constant for each chain: nutpie adds the log determinant of its metric.
STATS: Mapping[str, tuple[str, str, type]] = MappingProxyType(
    {
        "diverging": ("diverging", "diverging", bool),
        "energy": ("energy", "energy", float),
        "tree_depth": ("depth", "tree_depth", int),
        "acceptance_rate": ("mean_tree_accept", "acceptance_rate", float),
        "step_size": ("step_size", "step_size", float),
        "n_steps": ("n_steps", "n_steps", int),
        "lp": ("logp", "lp", float),
        "reached_max_treedepth": ("maxdepth_reached", "reached_max_treedepth", bool),
    }
)
NUTPIE, PYMC = 0, 1  # places in a row of STATS


@dataclass(frozen=True)
class Run:
    """What a sampler gave: posterior and sample_stats, (chain, draw, ...), every chain as long as the others."""

    posterior: xr.Dataset
    sample_stats: xr.Dataset
    interrupted: bool


@dataclass(frozen=True)
class RunningSampler:
    """A run of nutpie's whose draws are kept while they are made.

    Attributes
    ----------
    begin : callable
        ``zarr_store=`` a store of nutpie's -> nutpie's handle of the run that writes into it. It knows its variables
        by their aliases.
    variables : tuple of (name, dimensions)
        What is written, dimensions those of one draw.
    convert : callable
        `Run` of these variables -> tree with the variables of the fit.
    template : xarray.DataTree
        One draw, as `convert` gives it, of any value.
    about : mapping
        The record of the run.
    """

    begin: Callable
    variables: tuple[tuple[str, tuple[str, ...]], ...]
    convert: Callable[[Run], xr.DataTree]
    template: xr.DataTree
    about: Mapping[str, object]


# (running, progress bar) -> the tree of all draws, with the record of the run.
Stream = Callable[[RunningSampler, object], xr.DataTree]


def alias(j: int) -> str:
    """Return the name by which nutpie knows the j-th variable: text from the user's table is no part of a path."""
    return f"v{j}"


def aliased(compiled):
    """Return what nutpie samples with the aliases of its variables, and without labels."""
    names, slices, shapes = compiled.shape_info
    short = [alias(j) for j in range(len(names))]
    known = {"dims": {}, "_coords": {}, "reparameterized_names": []}
    return replace(
        compiled,
        shape_info=(short, slices, shapes),
        _shapes={name: tuple(shape) for name, shape in zip(short, shapes, strict=True)},
        **known,
    )


def no_stats() -> xr.Dataset:
    """Return the statistics of one draw of one chain, all 0."""
    zeros = {name: (("chain", "draw"), np.zeros((1, 1), dtype=row[2])) for name, row in STATS.items()}
    return xr.Dataset(zeros, {"chain": [0], "draw": [0]})


def finished_run(tree: xr.DataTree, sampler: int, lengths: Sequence[int], interrupted: bool) -> Run:
    """Return a run with chains of one length and our names of the statistics.

    Parameters
    ----------
    tree : xarray.DataTree
        As the sampler returns it.
    sampler : int
        NUTPIE or PYMC.
    lengths : sequence of int
        Draws of each chain.
    interrupted : bool

    Raises
    ------
    KeyboardInterrupt
        If no chain has a draw: the interruption was during tuning, and there is nothing to keep.
    """
    chains, length = equal_lengths(lengths)
    if length == 0:
        raise KeyboardInterrupt
    posterior, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    ours = xr.Dataset({name: stats[row[sampler]].astype(row[2]) for name, row in STATS.items()})
    cut = {"chain": chains, "draw": slice(length)}
    new = {"chain": np.arange(len(chains)), "draw": np.arange(length)}
    return Run(posterior.isel(cut).assign_coords(new), ours.isel(cut).assign_coords(new), interrupted)


def equal_lengths(lengths: Sequence[int]) -> tuple[list[int], int]:
    """Return the chains to keep after an interruption and the length to cut them to, for the most draws in all.

    Parameters
    ----------
    lengths : sequence of int
        Draws of each chain.

    Returns
    -------
    chains : list of int
        Two at least where two have draws: one alone cannot be checked.
    length : int
    """
    order = np.argsort(lengths, kind="stable")[::-1]
    longest = np.asarray(lengths)[order]
    total = longest * np.arange(1, len(longest) + 1)
    if len(longest) > 1 and longest[1] > 0:
        total[0] = 0
    number = int(np.argmax(total)) + 1
    return sorted(int(chain) for chain in order[:number]), int(longest[number - 1])
