"""The columns whose products an engine sums: those of the terms before any contrast, each once.

A factor stands in them with the indicator of each of its levels, so that contrasts, and the levels that a part of the
data lacks, are a matter of the matrix A in X = C A alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.design.coding import Coding, Factor, Numbers, Values, contrast_matrix
from bayesmm.engines.expressions import Columns, fields
from bayesmm.errors import DataError
from bayesmm.formula.formula import Expr, text_of

# Base columns from which on their products are too many for a query; ours.
MOST_COLUMNS = 300
ONES, RESPONSE, OFFSET = "1", "(response)", "(offset)"

Key = frozenset[tuple[str, str]]
# Of base columns that are no variable's: no text of a formula is empty.
OF_RESPONSE, OF_OFFSET = frozenset([("", RESPONSE)]), frozenset([("", OFFSET)])


@dataclass(eq=False)
class BaseColumns:
    """The base columns in their order, the column of ones first.

    Attributes
    ----------
    names : list of str
    exprs : list of Expr of narwhals
    places : dict of Key to int
    """

    names: list[str] = field(default_factory=lambda: [ONES])
    exprs: list[nw.Expr] = field(default_factory=lambda: [nw.lit(1.0)])
    places: dict[Key, int] = field(default_factory=dict)

    def add(self, key: Key, name: str, expr: nw.Expr) -> int:
        """Return the place of a column, which is added where there is none of its key."""
        if key not in self.places:
            self.places[key] = len(self.names)
            self.names.append(name)
            self.exprs.append(expr)
            if len(self.names) > MOST_COLUMNS:
                raise DataError(
                    f"the terms have more than {MOST_COLUMNS} columns (one is {name}), whose products are too many for "
                    "an engine; a factor with many levels may be a grouping factor, (1 | g), or numbers read as text"
                )
        return self.places[key]


@dataclass(frozen=True, eq=False)
class CodedMatrix:
    """A coded matrix as combinations of base columns: column j is the sum of `M[b, j]` times base column `at[b]`.

    Attributes
    ----------
    at : (b,) int64
    M : (b, p) float64
    """

    at: np.ndarray
    M: np.ndarray

    def combination(self, shift: np.ndarray) -> np.ndarray:
        """Return A, (m, p), for base columns from which `shift`, (m,), was taken."""
        A = np.zeros((len(shift), self.M.shape[1]))
        np.add.at(A, self.at, self.M)
        A[0] += shift @ A  # the column of ones has no shift
        return A


def coded(coding: Coding, values: Values, columns: Columns, base: BaseColumns) -> CodedMatrix:
    """Return the matrix of some terms, its base columns added to the others."""
    at, parts = ([0], [np.ones((1, 1))]) if coding.intercept else ([], [])
    variables: dict[Expr, list[tuple[str, nw.Expr]]] = {}
    for term, flags in zip(coding.terms, coding.indicators, strict=True):
        for expr in term:
            variables.setdefault(expr, fields(expr, columns))
        at += _term(term, variables, base)
        parts.append(_map([values[expr] for expr in term], flags))
    rows, width = len(at), sum(part.shape[1] for part in parts)
    M, row, column = np.zeros((rows, width)), 0, 0
    for part in parts:
        M[row : row + part.shape[0], column : column + part.shape[1]] = part
        row, column = row + part.shape[0], column + part.shape[1]
    return CodedMatrix(np.array(at, dtype=np.int64), M)


def _term(term: Sequence[Expr], variables: Mapping[Expr, list], base: BaseColumns) -> list[int]:
    """Return the places of a term's base columns, the leftmost variable running fastest."""
    found = []
    for reverse in product(*(variables[expr] for expr in reversed(term))):
        parts = list(zip(term, reversed(reverse), strict=True))
        key = frozenset((text_of(expr), label) for expr, (label, _) in parts)
        name = ":".join(f"{text_of(expr)}[{label}]" if label else text_of(expr) for expr, (label, _) in parts)
        whole = parts[0][1][1]
        for _, (_, expr) in parts[1:]:
            whole = whole * expr
        found.append(base.add(key, name, whole))
    return found


def _map(variables: Sequence[Numbers | Factor], indicators: Sequence[bool]) -> np.ndarray:
    """Return what makes a term's columns of its base columns, (b, p)."""
    whole = np.ones((1, 1))
    for variable, full in zip(variables, indicators, strict=True):
        if isinstance(variable, Numbers):
            own = np.eye(len(variable.fields))
        else:
            own = np.eye(len(variable.levels.labels)) if full else contrast_matrix(variable.levels)
        whole = np.kron(own, whole)
    return whole
