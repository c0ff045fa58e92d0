"""How much memory the draws of a graph need, before any are made."""

import os
from math import prod
from pathlib import Path

import pymc as pm

from bayesmm.graph.distributions import INTERNAL

BYTES = 8  # of a float64
# The sampler's own buffers and the arrays made from them exist side by side at the end.
COPIES = 2
BUDGET = 0.5  # of the free memory: the rest is for the results' tables and plots, and for everybody else
MEMORY_INFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")  # what a container may use, which /proc/meminfo does not know


def kept_variables(graph: pm.Model) -> list[str]:
    """Return the names of the variables that are parameters, in the model's order."""
    named = [v.name for v in (*graph.free_RVs, *graph.deterministics) if not v.name.startswith(INTERNAL)]
    return [name for name in graph.named_vars if name in named]


def check_memory(graph: pm.Model, draws: int, tune: int, chains: int) -> None:
    """Refuse a run whose draws would not fit in half of the free memory.

    Parameters
    ----------
    graph : pymc.Model
    draws, tune, chains : int
        The samplers hold the draws of the tuning as well.

    Raises
    ------
    ValueError
        With the estimate, and the largest variable.
    """
    free = free_memory()
    sizes = numbers_per_draw(graph)
    need = BYTES * COPIES * sum(sizes.values()) * chains * (draws + tune)
    if free is None or need <= BUDGET * free:
        return
    largest = max(sizes, key=sizes.__getitem__)
    numbers = sum(sizes.values())
    raise ValueError(
        f"{chains} chains of {draws:,} draws after {tune:,} of tuning, {numbers:,} numbers each, "
        f"need {gigabytes(need)}, "
        f"more than half of the {gigabytes(free)} of free memory; the largest variable is {largest} with "
        f"{sizes[largest]:,} numbers"
    )


def gigabytes(size: float) -> str:
    """Return a number of bytes as text, with two digits at least: "1.3 GB", "130 GB"."""
    return f"{size / 1e9:.2g} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"


def numbers_per_draw(graph: pm.Model) -> dict[str, int]:
    """Return how many numbers each stored variable takes in a draw: what is sampled, and what is kept."""
    lengths = {name: len(values) for name, values in graph.coords.items() if values is not None}
    names = {v.name: v for v in graph.free_RVs} | {name: graph[name] for name in kept_variables(graph)}
    return {name: _numbers(variable, graph.named_vars_to_dims.get(name), lengths) for name, variable in names.items()}


def _numbers(variable, dims: tuple[str, ...] | None, lengths: dict[str, int]) -> int:
    """Return the size of a variable; one without dimensions is a small matrix, whose unknown sides count as 1."""
    return prod(lengths.get(dim, 1) for dim in dims) if dims else prod(side or 1 for side in variable.type.shape)


def free_memory() -> float | None:
    """Return the free memory in bytes, of the machine or of the container; None where nobody says."""
    known = [value for value in (_machine_memory(), _container_memory()) if value is not None]
    return min(known, default=None)


def _machine_memory() -> float | None:
    if MEMORY_INFO.is_file():  # Linux
        for line in MEMORY_INFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    try:  # other Unixes do not count what is free: take what there is
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return None


def _container_memory() -> float | None:
    limit, used = CONTROL_GROUP / "memory.max", CONTROL_GROUP / "memory.current"
    if not (limit.is_file() and used.is_file()):
        return None
    text = limit.read_text().strip()
    return None if text == "max" else max(0.0, float(text) - float(used.read_text()))
