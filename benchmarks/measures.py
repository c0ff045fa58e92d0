"""The arithmetic of the tables: effective draws, ratios, and their spread. Plain numbers in, plain numbers out."""

from __future__ import annotations

import math
import resource
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MIB = 2**20


@dataclass(frozen=True)
class Spread:
    """The median of a few runs, and how far they lie apart."""

    median: float
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class Quality:
    """How well a posterior was sampled: the worst of its parameters.

    Attributes
    ----------
    min_ess : float
        Smallest bulk effective sample size.
    worst : str
        The parameter that has it.
    r_hat : float
        Largest R-hat; NaN for a single chain.
    """

    min_ess: float
    worst: str
    r_hat: float


def spread(values: Sequence[float]) -> Spread | None:
    """Return median and range of the values; None if there are none."""
    return Spread(statistics.median(values), min(values), max(values), len(values)) if values else None


def ratios(values: Mapping[int, float], baseline: Mapping[int, float]) -> Spread | None:
    """Return value / baseline, taken within each repetition, whose runs are neighbours in time.

    Parameters
    ----------
    values, baseline : mapping of repetition to a positive number
        Repetitions that only one of them has are left out.
    """
    return spread([values[k] / baseline[k] for k in sorted(values.keys() & baseline.keys()) if baseline[k] > 0])


def per_second(ess: float, seconds: float) -> float:
    """Return effective draws per second."""
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, not {seconds!r}")
    return ess / seconds


def quality(parameters: Mapping[str, np.ndarray]) -> Quality:
    """Return the worst bulk effective sample size and R-hat.

    Parameters
    ----------
    parameters : mapping of name to (chains, draws) float64
        A parameter whose draws are not all finite has no effective draws.
    """
    import numpy as np
    from arviz_stats.base import array_stats

    ess, r_hat = {}, []
    for name, draws in parameters.items():
        finite = bool(np.isfinite(draws).all())
        ess[name] = float(array_stats.ess(draws, method="bulk", chain_axis=0, draw_axis=1)) if finite else 0.0
        if draws.shape[0] > 1:
            r_hat.append(float(array_stats.rhat(draws, chain_axis=0, draw_axis=1)) if finite else math.inf)
    worst = min(ess, key=ess.__getitem__)
    return Quality(ess[worst], worst, max(r_hat, default=math.nan))


def peak_memory(children: bool = False) -> float:
    """Return the largest resident memory so far, in MiB, of this process or of the largest of its finished children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return used / MIB if sys.platform == "darwin" else used / 1024  # bytes on macOS, KiB elsewhere
