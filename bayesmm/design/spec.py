"""DesignSpec: how a table becomes a design, for the first table and for every other one.

Nothing here loads pandas: the numerical rooms import this record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.design.term_basis import TermBases
from bayesmm.families.family import Family
from bayesmm.formula.formula import Expr, Formula

if TYPE_CHECKING:
    from bayesmm.design.contrasts import GivenContrasts
    from bayesmm.design.related_levels import Matrix
    from bayesmm.design.state import State, Transforms


@dataclass(frozen=True)
class DataArguments:
    """How a model reads its data, besides the formula.

    Attributes
    ----------
    missing : {"drop", "error"}
        What is done with rows that have a missing value in a column that the model uses.
    weights : str or None
        The column that was named beside the formula.
    trials : str, float or None
        The column, or the one number for all rows.
    values : tuple of str
        Which of the two were given as one number for each row, which is no other table's: "weights", "trials".
    """

    missing: str = "drop"
    weights: str | None = None
    trials: str | float | None = None
    values: tuple[str, ...] = ()

    @property
    def beside(self) -> tuple[str, ...]:
        """Which of the two were given beside the formula, in whatever form."""
        return tuple(name for name in ("weights", "trials") if name in self.values or getattr(self, name) is not None)


def data_arguments(missing: str, weights: object, trials: object) -> DataArguments:
    """Return what of the arguments of a model holds for other tables too."""
    given = {"weights": weights, "trials": trials}
    values = tuple(name for name, value in given.items() if value is not None and np.ndim(value) > 0)
    if trials is not None and not isinstance(trials, str):
        trials = None if "trials" in values else float(trials)
    return DataArguments(missing, weights if isinstance(weights, str) else None, trials, values)


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
    members : tuple of str
        The columns that all have these levels, where a row has several; empty for all others.
    """

    factors: tuple[str, ...]
    factor_levels: tuple[tuple[str, ...], ...]
    cells: np.ndarray
    levels: tuple[str, ...]
    members: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DesignSpec:
    """How a table becomes a design: what was asked for and, once a table was read, what was learned from it.

    `bayesmm.design.design` has the functions that use it: `design_of` makes the design of a table, `encode` the right
    side of one alone. A spec without `bases` learns from the table; the design that is made has the spec that did.

    Attributes
    ----------
    formula : Formula
    family : Family
        Of the response, with its link: as asked for, and in a design's own spec bernoulli where a binomial was asked
        for and there are no trials.
    transforms : mapping of str to function
        The user's own functions.
    arguments : DataArguments
    states : mapping of Expr to State
        What each expression learned: levels and contrasts, knots, polynomial coefficients, means.
    bases : TermBases or None
        What takes the margins out of each term: where "at the means" is. None before anything was learned.
    groupings : tuple of Grouping
        The levels of each block, which are those of the design's own table.
    contrasts : mapping of str to GivenContrasts
        Of factors, given beside the formula.
    repeats : bool
        Whether the rest was learned from another table than the design's.
    matrices : mapping of str to Matrix
        The covariances of levels that the formula names.
    """

    formula: Formula
    family: Family
    transforms: "Transforms" = field(default_factory=dict)
    arguments: DataArguments = DataArguments()
    states: "Mapping[Expr, State]" = field(default_factory=dict)
    bases: TermBases | None = None
    groupings: tuple[Grouping, ...] = ()
    repeats: bool = False
    contrasts: "Mapping[str, GivenContrasts]" = field(default_factory=dict)
    matrices: "Mapping[str, Matrix]" = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        """Whether a design of a table repeats what is known; else it learns from the table."""
        return self.bases is not None
