"""How much memory results need, before any are made."""

import os
from collections.abc import Mapping
from pathlib import Path

BYTES = 8  # of a float64
# The sampler's own buffers and the arrays made from them exist side by side at the end.
COPIES = 2
BUDGET = 0.5  # of the free memory: the rest is for the results' tables and plots, and for everybody else
MEMORY_INFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")  # what a container may use, which /proc/meminfo does not know


def refuse(sizes: Mapping[str, int], draws: int, tune: int, chains: int) -> None:
    """Refuse a run whose draws would not fit in half of the free memory.

    Parameters
    ----------
    sizes : mapping of str to int
        Numbers that each variable takes in a draw.
    draws, tune, chains : int
        The samplers hold the draws of the tuning as well.

    Raises
    ------
    ValueError
        With the estimate, and the largest variable.
    """
    numbers = sum(sizes.values())
    need = too_much(BYTES * COPIES * numbers * chains * (draws + tune))
    if need:
        largest = max(sizes, key=sizes.__getitem__)
        raise ValueError(
            f"{chains:,} chains of {draws:,} draws after {tune:,} of tuning, {numbers:,} numbers each, need {need}; "
            f"the largest variable is {largest} with {sizes[largest]:,} numbers"
        )


def too_much(size: float) -> str | None:
    """Return what to say of bytes that would not fit in half of the free memory; None of those that do.

    "12 GB, more than half of the 16 GB of free memory", for a sentence that goes on with what to do.
    """
    free = free_memory()
    if free is None or size <= BUDGET * free:
        return None
    return f"{gigabytes(size)}, more than half of the {gigabytes(free)} of free memory"


def usable_memory() -> float:
    """Return how many bytes results may take: half of the free memory, without bound where nobody says."""
    free = free_memory()
    return float("inf") if free is None else BUDGET * free


def gigabytes(size: float) -> str:
    """Return a number of bytes as text, with two digits at least: "1.3 GB", "130 GB"."""
    return f"{size / 1e9:.2g} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"


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
