"""What two grouping factors, or a factor and a column, have to do with each other: of rows, or of the sums of rows."""

from dataclasses import replace

import numpy as np

from bayesmm.design.records import Block
from bayesmm.design.summed import RowLevels, SummedColumn

WITHIN = 1e-9  # share of a column's mean square: what varies by less within a level does so by rounding


def together(a: Block, b: Block) -> tuple[Block, Block]:
    """Return two blocks whose rows are the pairs of levels that occur, where the rows are elsewhere; else themselves.

    Whatever asks which levels occur together, and not how often, may look at these.
    """
    if not isinstance(a.index, RowLevels):
        return a, b
    first, second, _ = a.index.sums.pair(a.index.block, b.index.block)
    return replace(a, index=first), replace(b, index=second)


def varies_within(block: Block, values) -> np.ndarray:
    """Return within which levels of a block a column, (n,), varies, (G,) bool; of sums one that its Z is made of."""
    if isinstance(values, SummedColumn):
        own = block.index.sums.levels[block.index.block]
        sums = own.products[:, 0] @ values.a
        weights, squares = own.products[:, 0, 0], np.einsum("l,glj,j->g", values.a[own.left], own.products, values.a)
        size = float(values.a @ values.sums.plain @ values.a) / values.sums.n
        return squares - sums**2 / weights > WITHIN * size * weights
    first = np.zeros(len(block.levels), dtype=np.int64)
    first[block.index[::-1]] = np.arange(len(values) - 1, -1, -1)
    differs = values != values[first][block.index]
    return np.bincount(block.index[differs], minlength=len(block.levels)) > 0
