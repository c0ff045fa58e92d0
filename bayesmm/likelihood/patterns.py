"""Which levels of the leading factor have equal cross-products: they share one pattern."""

import numpy as np
from numpy.typing import NDArray

from bayesmm.likelihood.compiled import Ints

Floats = NDArray[np.float64]

# Two levels share a pattern when their cross-products agree to this relative precision: far above the rounding of a
# sum over the same values in another order (about 1e-15 per term), far below what changes a likelihood.
PATTERN_DIGITS = 12
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: its powers are spread evenly
CHUNK = 1_000_000  # numbers whose bits are held at a time


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
    """Return the first row of each kind and the kind of each row: by a number for each row, and looked at."""
    _, first, kind = np.unique(_numbers(key), return_index=True, return_inverse=True)
    if len(first) < len(key) and not (key == key[first][kind]).all():  # different rows with one number
        _, first, kind = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return first, kind.ravel()


def _numbers(key: Floats) -> NDArray[np.uint64]:
    """Return a number for each row, the same of equal rows: a polynomial in the bits of its columns, modulo 2^64."""
    powers, out = np.cumprod(np.full(key.shape[1], ODD)), np.empty(len(key), np.uint64)
    step = max(1, CHUNK // key.shape[1])
    for start in range(0, len(key), step):
        bits = np.ascontiguousarray(key[start : start + step]).view(np.uint64)
        out[start : start + step] = ((bits ^ (bits >> np.uint64(32))) * powers).sum(axis=1)
    return out


def _rounded(values: Floats, scale: Floats) -> Floats:
    """Round to PATTERN_DIGITS of the scale, so that sums taken in another order compare equal; -0.0 becomes 0.0."""
    return np.round(values / np.where(scale > 0, scale, 1.0), PATTERN_DIGITS) + 0.0
