"""What a design is: its arrays, its blocks of random effects, and the spec by which it was made.

Nothing here loads pandas: the numerical rooms import these records.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.design.covariance.structure import Part
from bayesmm.design.parameters import BlockNames, residual_dim
from bayesmm.design.residual.independent import INDEPENDENT
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.spec import DesignSpec
from bayesmm.design.summed import RowLevels
from bayesmm.families.family import Family
from bayesmm.families.limits import Limits
from bayesmm.formula.formula import Formula
from bayesmm.formula.responses import ROW
from bayesmm.runtime.messages import Message

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.design.related_levels import Relation


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
    parts : tuple of Part
        What is independent of one another, each with its covariance structure.
    relation : Relation or None
        The known covariance of its levels; None where they are independent.
    smooth : bool
        Whether it is the penalised part of a curve or surface: one level, whose effects belong to the mean.
    members : tuple of str
        The labels of a factor of which a row has several; its block has one level with a column for each of them, term
        by term. Empty for all others.
    predictors : tuple of str
        Of each column the family's parameter that it acts on, "" for the mean; empty where all act on the mean.
    """

    group: str
    name: str
    factors: tuple[str, ...]
    index: np.ndarray
    levels: tuple[str, ...]
    columns: tuple[str, ...]
    Z: np.ndarray
    parts: tuple[Part, ...]
    relation: "Relation | None" = None
    smooth: bool = False
    members: tuple[str, ...] = ()
    predictors: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The levels as a reader knows them: of several memberships those of the columns."""
        return self.members or self.levels

    @property
    def effects(self) -> tuple[tuple[str, str], ...]:
        """Term and level of each effect, all levels of the first term first."""
        if self.members:
            return tuple((part.text, label) for part in self.parts for label in self.members)
        return tuple((term, level) for term in self.columns for level in self.levels)

    @property
    def partition(self) -> tuple[tuple[int, ...], ...]:
        """Columns that are correlated among themselves: ((0, 1),) for ``(x | g)``, ((0,), (1,)) for ``(x || g)``."""
        return tuple(columns for part in self.parts for columns in part.correlated)

    @property
    def free(self) -> bool:
        """Whether each part's covariance matrix is any that there is, which all of the compiled code takes."""
        return all(part.covariance.free for part in self.parts)

    @property
    def counts(self) -> np.ndarray:
        """How many rows each level has, (G,) int64."""
        if isinstance(self.index, RowLevels):
            return self.index.counts
        return np.bincount(self.index, minlength=len(self.levels))

    @property
    def sds(self) -> tuple[tuple[str, int], ...]:
        """What has an sd in tables, with a column that has it: each term, or each penalised part of a smooth."""
        if self.smooth or self.members:
            return tuple((part.text, part.columns[0]) for part in self.parts)
        return tuple((name, i) for i, name in enumerate(self.columns))

    @property
    def names(self) -> BlockNames:
        """What its parameters are called."""
        return BlockNames(self.name, self.columns)

    @property
    def correlated(self) -> bool:
        """Whether any of its coefficients are correlated."""
        return any(len(part) > 1 for part in self.partition)


@dataclass(frozen=True, eq=False)
class Design:
    """The data of a model as arrays, in the notation of Bates et al. (2015): y = X beta + Z b + offset + residual.

    Attributes
    ----------
    spec : DesignSpec
        How the table became this design, and how another one does: formula, family, what was learned.
    response : str
        The left side as text.
    y : float64 array, shape (n,)
    X : float64 array, shape (n, p), C order
    coefficients : tuple of str, length p
        Names of the columns of X: ("Intercept", "Days", "Sex[T.M]:Time").
    blocks : tuple of Block
        One per grouping factor, in the order of the formula.
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
    messages : tuple of Message
        What was to say about the data.
    aliased : tuple of int
        Columns of X that are linear combinations of earlier ones. They stay in X.
    frame : pandas.DataFrame
        A copy of the columns that the model uses, with the rows that it uses.
    proportions : bool
        Whether the response was proportions with the trials as weights; `y` is successes.
    residual : Residuals
        What the residuals of a linear model are, besides their prior weights.
    limits : Limits or None
        What is known of a response that is censored or truncated.
    """

    spec: DesignSpec
    response: str
    y: np.ndarray
    X: np.ndarray
    coefficients: tuple[str, ...]
    blocks: tuple[Block, ...]
    trials: np.ndarray | None
    weights: np.ndarray | None
    offset: np.ndarray
    rows: np.ndarray
    row_labels: np.ndarray
    messages: tuple[Message, ...]
    aliased: tuple[int, ...]
    frame: "pd.DataFrame"
    proportions: bool = False
    residual: Residuals = INDEPENDENT
    limits: Limits | None = None

    @property
    def size(self) -> np.ndarray | None:
        """What stands beside y in the log density of a row, (n,): trials, what is known of it, or the thresholds."""
        if self.family.every:
            return np.full(self.n, len(self.categories) - 1.0)
        return self.trials if self.limits is None else self.limits.size

    @property
    def most(self) -> np.ndarray:
        """What the responses are at most, (m,), of those that count and have such an end."""
        upper = self.y if self.limits is None else self.limits.upper(self.y)
        return upper[np.isfinite(upper) & (True if self.weights is None else self.weights > 0)]

    @property
    def row_data(self) -> dict[str, np.ndarray]:
        """What the density of a row has besides its response, (n,) each, by what it is called in a graph.

        The other end of a response that is known is the response.
        """
        if self.limits is None:
            return {} if self.trials is None else {"trials_data": self.trials}
        columns = self.limits.in_graph(self.y)
        return dict(zip(("other_end_data", "low_data", "high_data"), columns, strict=False))

    @property
    def drawn_with(self) -> "np.ndarray | Limits | None":
        """What a draw of the response is made with besides its mean: trials, or limits."""
        return self.trials if self.limits is None else self.limits

    @property
    def formula(self) -> Formula:
        """The spec's formula."""
        return self.spec.formula

    @property
    def family(self) -> Family:
        """Of the response, with its link; bernoulli where a binomial was asked for and there are no trials."""
        return self.spec.family

    @property
    def categories(self) -> tuple[str, ...]:
        """The labels of an ordered response, 1 ... K; empty for all others."""
        return self.spec.states[self.formula.response].labels if self.family.ordered else ()

    @property
    def responses(self) -> tuple[str, ...]:
        """The columns of several responses, whose rows are stacked; empty where there is one."""
        return () if self.formula.several is None else self.formula.several.names

    @property
    def response_codes(self) -> np.ndarray | None:
        """Which of several responses each row is, (n,) int64; None where there is one."""
        return self.residual.parts[0].rows.astype(np.int64) if self.responses else None

    @property
    def table_rows(self) -> np.ndarray | None:
        """Of several responses, which row of the table each is of: (n,) int64, from 0; None where there is one."""
        if not self.responses:
            return None
        return np.unique(self.frame[ROW].to_numpy(), return_inverse=True)[1].ravel()

    @property
    def beside(self) -> dict[str, np.ndarray]:
        """The weights and trials that were given beside the formula, (n,) each: `frame` does not have them."""
        found = {"weights": self.trials if self.proportions else self.weights, "trials": self.trials}
        return {name: found[name] for name in self.spec.arguments.beside}

    @property
    def groups(self) -> tuple[int, ...]:
        """Positions of the blocks that are grouping factors; the others are the penalised parts of smooths."""
        return tuple(k for k, block in enumerate(self.blocks) if not block.smooth)

    @property
    def factors(self) -> tuple[int, ...]:
        """Positions of the blocks that put each row into one level."""
        return tuple(k for k in self.groups if not self.blocks[k].members)

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
        """Whether the first column of X is the column of ones, in whose place an ordered response has thresholds."""
        return self.formula.intercept and not self.family.ordered

    @property
    def coords(self) -> dict[str, tuple[str, ...]]:
        """The labels of the posterior's dimensions: coef, for each block its levels and its terms (twice), and those
        of the residual's parameters.
        """
        coords = {"coef": self.coefficients}
        for block in self.blocks:
            coords |= {block.name: block.levels} | dict.fromkeys(block.names.corr_dims, block.columns)
        return coords | {residual_dim(own): own.terms for own in self.residual.parameters if own.terms is not None}
