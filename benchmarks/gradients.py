"""Time of one value and gradient of a graph, with the rows once and repeated, in one process and alternating."""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING

from benchmarks.models import Case

if TYPE_CHECKING:
    import pandas as pd

BATCHES = 15
BATCH_SECONDS = 0.05  # long beside the clock's resolution, short beside the waves of a shared machine


def gradient_times(case: Case, data: pd.DataFrame, effects: str) -> dict[str, object]:
    """Return the seconds of a gradient with each row once and with the rows repeated as they are, and their ratio.

    Parameters
    ----------
    case : Case
    data : data frame
        Every row `case.copies` times, the copies one after the other.
    effects : {"marginal", "explicit"}

    Returns
    -------
    dict
        once, repeated: the medians of 15 batches; ratio: the median over pairs of neighbouring batches.
    """
    import statistics

    import bayesmm as bmm

    once = data.iloc[:: case.copies].reset_index(drop=True)
    # The same parameterisation for both, whatever "auto" would take: what repeated rows cost is the question.
    graphs = [bmm.Model(case.formula, frame).graph(effects, centred=False) for frame in (once, data)]
    calls = [_caller(graph) for graph in graphs]
    counts = [_calls_per_batch(call) for call in calls]
    batches = [[_batch(call, count) for call, count in zip(calls, counts, strict=True)] for _ in range(BATCHES)]
    small, big = zip(*batches, strict=True)
    ratio = statistics.median(b / a for a, b in batches)
    return {"once": statistics.median(small), "repeated": statistics.median(big), "ratio": ratio}


def _caller(graph):
    """Return a function that evaluates density and gradient at the start, through the C function that nutpie calls."""
    import numpy as np

    from benchmarks.contestants import NotAvailable

    try:
        from bayesmm.sampling.graph.nuts import _compiled
    except ImportError as error:
        raise NotAvailable("this version of bayesmm has no compiled density by itself") from error
    compiled = _compiled(graph)
    function = compiled.compiled_logp_func
    x = np.ascontiguousarray(compiled.initial_point_func(0), dtype=float)
    gradient, value, data = np.zeros(len(x)), np.zeros(1), np.zeros(1)
    doubles = ctypes.POINTER(ctypes.c_double)
    given = [ctypes.c_uint64(len(x)), *(array.ctypes.data_as(doubles) for array in (x, gradient, value))]
    pointer = data.ctypes.data_as(ctypes.c_void_p)
    call, keep = function.ctypes, (compiled, x, gradient, value, data)

    def run() -> None:
        if call(*given, pointer) != 0:
            raise ValueError(f"the density or its gradient is not finite at the start, {keep[1]}")

    return run


def _calls_per_batch(call) -> int:
    call()
    seconds = _batch(call, 3)
    return max(3, int(BATCH_SECONDS / seconds))


def _batch(call, count: int) -> float:
    """Return seconds per call, over `count` calls."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
