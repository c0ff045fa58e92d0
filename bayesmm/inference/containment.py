"""nlme's denominator degrees of freedom: inner and outer terms of nested groups.

Pinheiro & Bates (2000), *Mixed-Effects Models in S and S-PLUS*, section 2.4.2. Levels 1..Q are the grouping factors
from the outermost, level Q + 1 the observations. A term is estimated at the level inside which it first varies: at
level i if it varies within the groups of level i - 1 and not within those of level i. With m_i the number of groups of
level i (m_0 = 1 with an intercept, else 0; m_{Q+1} = n) and p_i the coefficients estimated there,

    df_i = m_i - (m_{i-1} + p_i),

and the intercept, though outer to all, has those of level Q + 1.
"""

from itertools import pairwise

import numpy as np

from bayesmm.design import Block, Design
from bayesmm.errors import DataError, listing
from bayesmm.inference.terms import check_gaussian, term_columns
from bayesmm.marginal.crossproducts import Floats, Ints
from bayesmm.pointfit import PointFit

# A column varies within a group if it does so by more than this share of its largest value: rounding, as in a mean.
CONSTANT = 1e-10


def containment(point: PointFit) -> Floats:
    """Return nlme's degrees of freedom of each coefficient, (p,); NaN where it can not be estimated.

    Raises
    ------
    DataError
        If the grouping factors are not nested in one chain, or a level has no degrees of freedom left.
    """
    check_gaussian(point, "nlme's rule for degrees of freedom")
    design = point.design
    chain = nested_chain(design)
    terms = term_columns(design)
    levels = [_level(design, term.columns, chain) for term in terms]
    first = int(design.has_intercept)
    sizes = [first, *(int(index.max()) + 1 for index in chain), design.n]
    used = np.zeros(len(sizes), dtype=int)
    for term, level in zip(terms[first:], levels[first:], strict=True):
        used[level] += len(term.columns)
    df = np.full(design.p, np.nan)
    for i, (term, level) in enumerate(zip(terms, levels, strict=True)):
        at = len(sizes) - 1 if i < first else level
        df[list(term.columns)] = sizes[at] - sizes[at - 1] - used[at]
        if term.columns and df[term.columns[0]] < 1:
            raise DataError(
                f"nlme's rule leaves no degrees of freedom for the term {term.label!r}, which is estimated among the "
                f"{sizes[at]} units of its level; use ddf='satterthwaite' or ddf='kenward-roger'"
            )
    return df


def small_sample_factor(point: PointFit) -> float:
    """Return what nlme multiplies the standard errors of an ML fit by, sqrt(n / (n - p)); 1 for REML."""
    n, p = point.design.n, int(np.isfinite(point.beta).sum())
    return float(np.sqrt(n / (n - p))) if point.method == "ML" else 1.0


def nested_chain(design: Design) -> list[Ints]:
    """Return the groups of each row for each distinct factor, the outermost first; a DataError if they cross."""
    distinct: list[Block] = []
    for block in sorted(design.blocks, key=lambda block: len(block.levels)):
        if not any(len(b.levels) == len(block.levels) and is_nested(block.index, b.index) for b in distinct):
            distinct.append(block)
    for outer, inner in pairwise(distinct):
        if not is_nested(inner.index, outer.index):
            names = listing([block.group for block in distinct])
            raise DataError(
                f"nlme's rule for degrees of freedom is for grouping factors nested in one chain, and of {names} "
                f"{inner.group!r} is not nested in {outer.group!r}; use ddf='satterthwaite' or ddf='kenward-roger'"
            )
    return [block.index for block in distinct]


def is_nested(inner: Ints, outer: Ints) -> bool:
    """Return whether every group of `inner` lies within one group of `outer`; both are (n,) codes from 0."""
    first = np.full(int(inner.max()) + 1, -1)
    first[inner] = outer
    return bool((first[inner] == outer).all())


def _level(design: Design, columns: tuple[int, ...], chain: list[Ints]) -> int:
    """Return the level (from 1) at which a term is estimated: the first whose groups it does not vary within."""
    for level, index in enumerate(chain, start=1):
        if not any(_varies(design.X[:, j], index) for j in columns):
            return level
    return len(chain) + 1


def _varies(x: Floats, index: Ints) -> bool:
    groups = int(index.max()) + 1
    low, high = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(low, index, x)
    np.maximum.at(high, index, x)
    return bool((high - low).max() > CONSTANT * np.abs(x).max())
