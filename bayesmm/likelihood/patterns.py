"""Which levels of the leading factor have equal cross-products: they share one pattern."""

import numpy as np
from numpy.typing import NDArray

from bayesmm.likelihood.compiled import Ints

Floats = NDArray[np.float64]

# Two levels share a pattern when their cross-products agree to this relative precision: far above the rounding of a
# sum over the same values in another order (about 1e-15 per term), far below what changes a likelihood.
PATTERN_DIGITS = 12


def patterns(A: Floats, start: Ints, columns: Ints, values: Floats) -> tuple[Ints, Ints]:
    """Return the pattern of each level and the first level of each pattern, patterns in the order of those."""
    G, q = A.shape[:2]
    pattern, first = np.zeros(G, np.int64), []
    scale_A = np.abs(A).reshape(G, -1).max(axis=0, initial=0.0) if G else np.zeros(q * q)
    scale_v = np.abs(values).max(axis=0, initial=0.0)
    width = np.diff(start)
    for size in np.unique(width):
        levels = np.flatnonzero(width == size)
        at = start[levels][:, None] + np.arange(size)
        key = np.concatenate(
            [
                columns[at].astype(np.float64),
                _rounded(A[levels].reshape(len(levels), -1), scale_A),
                _rounded(values[at], scale_v).reshape(len(levels), -1),
            ],
            axis=1,
        )
        representative, inverse = _distinct_rows(key)
        pattern[levels] = len(first) + inverse
        first.extend(levels[representative])
    first = np.array(first, dtype=np.int64)
    rank = np.argsort(first)
    return np.argsort(rank)[pattern] if G else pattern, first[rank]


def _distinct_rows(key: Floats) -> tuple[Ints, Ints]:
    """Return the first row of each kind and the kind of each row; quickly where one column tells all rows apart."""
    if len(key) == 1:  # of a level with thousands of columns
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    telling = max(range(key.shape[1]), key=lambda j: len(np.unique(key[:100, j])))
    if len(np.unique(key[:, telling])) == len(key):
        return np.arange(len(key)), np.arange(len(key))
    _, first, kind = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return first, kind.ravel()


def _rounded(values: Floats, scale: Floats) -> Floats:
    """Round to PATTERN_DIGITS of the scale, so that sums taken in another order compare equal; -0.0 becomes 0.0."""
    return np.round(values / np.where(scale > 0, scale, 1.0), PATTERN_DIGITS) + 0.0
