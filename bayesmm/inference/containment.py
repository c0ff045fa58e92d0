"""nlme's denominator degrees of freedom: inner and outer terms of nested groups.

Pinheiro & Bates (2000), *Mixed-Effects Models in S and S-PLUS*, section 2.4.2. Levels 1..Q are the grouping factors
from the outermost, level Q + 1 the observations. A term is estimated at the level inside which it first varies: at
level i if it varies within the groups of level i - 1 and not within those of level i. With m_i the number of groups of
level i (m_0 = 1 with an intercept, else 0; m_{Q+1} = n) and p_i the coefficients estimated there,

    df_i = m_i - (m_{i-1} + p_i),

and the intercept, though outer to all, has the largest of them. That is so where a column of X is constant. nlme, where
none is, gives every level but the outermost one more: the coefficients' sum takes the intercept's place there,

    df_1 = m_1 - p_1,  df_i = m_i - (m_{i-1} + p_i) + 1 for i > 1

(function getFixDF of the R package, versions 3.1). For t tests each column has a level of its own; for F tests that of
a term is the innermost of its columns', at which all of them count.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from bayesmm.design.records import Block, Design
from bayesmm.errors import DataError, listing
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import check_gaussian, estimated
from bayesmm.likelihood.crossproducts import Floats, Ints

# A column varies within a group if it does so by more than this share of its largest value: rounding, as in a mean.
CONSTANT = 1e-10


def containment(point: Estimates) -> Floats:
    """Return nlme's degrees of freedom of each coefficient, (p,); NaN where it cannot be estimated.

    Raises
    ------
    DataError
        If the grouping factors are not nested in one chain, or a level has no degrees of freedom left.
    """
    columns = {(j,): repr(point.design.coefficients[j]) for j in estimated(point.design)}
    df = np.full(point.design.p, np.nan)
    df[[j for (j,) in columns]] = _df(point, columns, "the coefficient")
    return df


def containment_of_terms(point: Estimates, terms: Mapping[tuple[int, ...], str]) -> Floats:
    """Return nlme's denominator degrees of freedom of F tests of these terms, in their order.

    Parameters
    ----------
    point : PointFit
    terms : mapping of tuple of int to str
        Columns of X, those of all terms but the intercept, and the terms' names.

    Raises
    ------
    DataError
        As `containment`.
    """
    intercept = {(0,): "Intercept"} if point.design.has_intercept else {}
    named = {columns: repr(label) for columns, label in (intercept | dict(terms)).items()}
    return _df(point, named, "the term")[len(intercept) :]


def _df(point: Estimates, units: Mapping[tuple[int, ...], str], what: str) -> Floats:
    """Return the degrees of freedom of coefficients or terms, given as columns of X with a name for messages."""
    check_gaussian(point, "nlme's rule for degrees of freedom")
    design = point.design
    if len(design.factors) < len(design.blocks):
        raise DataError("nlme's rule for degrees of freedom knows no smooths and no mm(); use ddf='satterthwaite'")
    chain = nested_chain(design)
    sizes = np.array([0, *(int(index.max()) + 1 for index in chain), design.n])
    whole = np.zeros(design.n, dtype=int)
    constant = [not any(_varies(design.X[:, j], whole) for j in columns) for columns in units]
    levels = [_level(design, columns, chain) - 1 for columns in units]
    df = np.diff(sizes)
    for columns, level, same in zip(units, levels, constant, strict=True):
        df[level] -= 0 if same else len(columns)
    if any(constant):
        df[0] -= 1
    else:
        df[1:] += 1
    found = np.array([df.max() if same else df[level] for level, same in zip(levels, constant, strict=True)])
    for name, level, own in zip(units.values(), levels, found, strict=True):
        if own < 1:
            raise DataError(
                f"nlme's rule leaves no degrees of freedom for {what} {name}, which is estimated among the "
                f"{sizes[level + 1]} units of its level; use ddf='satterthwaite' or ddf='kenward-roger'"
            )
    return found.astype(float)


def small_sample_factor(point: Estimates) -> float:
    """Return what nlme multiplies the standard errors of an ML fit by, sqrt(n / (n - p)); 1 for REML."""
    n, p = point.design.n, int(np.isfinite(point.beta).sum())
    return float(np.sqrt(n / (n - p))) if point.method == "ML" else 1.0


def nested_chain(design: Design) -> list[Ints]:
    """Return the groups of each row for each distinct factor, the outermost first; a DataError if they cross."""
    distinct: list[Block] = []
    for block in sorted((design.blocks[k] for k in design.factors), key=lambda block: len(block.levels)):
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
