"""What a design is: its arrays, its blocks of random effects, and what it learned from the data.

Nothing here loads pandas: the numerical rooms import these records.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmm.design.coding import Coding
from bayesmm.design.parameters import BlockNames
from bayesmm.design.term_basis import TermBases
from bayesmm.families.family import Family
from bayesmm.formula.formula import Expr, Formula
from bayesmm.runtime.messages import Message

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.design.state import State, Transforms


@dataclass(frozen=True, eq=False)
class Block:
    """All random effects of one grouping factor.

    Attributes
    ----------
    group : str
        As written: "Subject", "Sex:IndID", "batch:cask".
    name : str
        The name behind the variables and dimensions of the posterior: `group`, unless that would collide.
    factors : tuple of str
        The columns whose combinations are the levels.
    index : int64 array, shape (n,)
        The level of each row, a place in `levels`.
    levels : tuple of str, length G
        Labels of the levels that occur ("M:12" for a combination).
    columns : tuple of str, length q
        The terms: ("Intercept", "Days").
    Z : float64 array, shape (n, q), C order
        The values that each row gives its level's coefficients.
    partition : tuple of tuples of int
        Columns that are correlated among themselves: ((0, 1),) for ``(x | g)``, ((0,), (1,)) for ``(x || g)``.
    """

    group: str
    name: str
    factors: tuple[str, ...]
    index: np.ndarray
    levels: tuple[str, ...]
    columns: tuple[str, ...]
    Z: np.ndarray
    partition: tuple[tuple[int, ...], ...]

    @property
    def names(self) -> BlockNames:
        """What its parameters are called."""
        return BlockNames(self.name, self.columns)

    @property
    def correlated(self) -> bool:
        """Whether any of its coefficients are correlated."""
        return any(len(part) > 1 for part in self.partition)


@dataclass(frozen=True, eq=False)
class Grouping:
    """The levels of a grouping factor and how to find a row's level again.

    Attributes
    ----------
    factors : tuple of str
        The columns.
    factor_levels : tuple of tuples of str
        The levels of each column.
    cells : int64 array, shape (G, number of columns)
        For each level, the places of its labels in `factor_levels`.
    levels : tuple of str, length G
    """

    factors: tuple[str, ...]
    factor_levels: tuple[tuple[str, ...], ...]
    cells: np.ndarray
    levels: tuple[str, ...]


class Learned(NamedTuple):
    """What a design learned from its data, for one that repeats it.

    Attributes
    ----------
    states : mapping of Expr to State
    bases : TermBases
        As in `Encoders`.
    """

    states: "Mapping[Expr, State]"
    bases: TermBases


@dataclass(frozen=True, eq=False)
class Encoders:
    """What `encode` needs to repeat a design on other data.

    Attributes
    ----------
    states : mapping of Expr to State
        What each expression learned: levels and contrasts, knots, polynomial coefficients, means.
    transforms : mapping of str to function
        The user's own functions.
    fixed : Coding
        Of X.
    bars : tuple of tuples of Coding
        Of each block's Z: one per group term on its grouping factor.
    groupings : tuple of Grouping
        The levels of each block.
    bases : TermBases
        What takes the margins out of each term: where "at the means" is.
    repeats : bool
        Whether all this was learned from other data than the design's.
    """

    states: "Mapping[Expr, State]"
    transforms: "Transforms"
    fixed: Coding
    bars: tuple[tuple[Coding, ...], ...]
    groupings: tuple[Grouping, ...]
    bases: TermBases
    repeats: bool = False

    @property
    def learned(self) -> Learned:
        """What a design of other data has to repeat."""
        return Learned(self.states, self.bases)


@dataclass(frozen=True, eq=False)
class Design:
    """The data of a model as arrays, in the notation of Bates et al. (2015): y = X beta + Z b + offset + residual.

    Attributes
    ----------
    formula : Formula
    response : str
        The left side as text.
    y : float64 array, shape (n,)
    X : float64 array, shape (n, p), C order
    coefficients : tuple of str, length p
        Names of the columns of X: ("Intercept", "Days", "Sex[T.M]:Time").
    blocks : tuple of Block
        One per grouping factor, in the order of the formula.
    family : Family
        Of the response, with its link; bernoulli where a binomial was asked for and there are no trials.
    trials : float64 array, shape (n,), or None
        Of the binomial family, whose y is the number of successes; None for all others.
    weights : float64 array, shape (n,), or None
        Gaussian family with identity link: the residual variance of row i is sigma^2 / weights[i]. Otherwise the log
        density of row i counts weights[i] times.
    offset : float64 array, shape (n,)
        On the scale of the link; zeros if the formula has none.
    rows : int64 array, shape (n,)
        Positions of the rows in the user's table.
    row_labels : array, shape (n,)
        Their labels in its index; the positions where it has none of its own.
    encoders : Encoders
    messages : tuple of Message
        What was to say about the data.
    aliased : tuple of int
        Columns of X that are linear combinations of earlier ones. They stay in X.
    frame : pandas.DataFrame
        A copy of the columns that the model uses, with the rows that it uses.
    proportions : bool
        Whether the response was proportions with the trials as weights; `y` is successes.
    """

    formula: Formula
    response: str
    y: np.ndarray
    X: np.ndarray
    coefficients: tuple[str, ...]
    blocks: tuple[Block, ...]
    family: Family
    trials: np.ndarray | None
    weights: np.ndarray | None
    offset: np.ndarray
    rows: np.ndarray
    row_labels: np.ndarray
    encoders: Encoders
    messages: tuple[Message, ...]
    aliased: tuple[int, ...]
    frame: "pd.DataFrame"
    proportions: bool = False

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Number of columns of X."""
        return self.X.shape[1]

    @property
    def has_intercept(self) -> bool:
        """Whether the first column of X is the column of ones."""
        return self.formula.intercept

    @property
    def coords(self) -> dict[str, tuple[str, ...]]:
        """The labels of the posterior's dimensions: coef, and for each block its levels and its terms (twice)."""
        coords = {"coef": self.coefficients}
        for block in self.blocks:
            coords |= {block.name: block.levels} | dict.fromkeys(block.names.corr_dims, block.columns)
        return coords
