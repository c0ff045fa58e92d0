"""The margins of a term, and the basis of a matrix in which each term has them taken out.

A term contains another, its margin, where adding a constant to a variable turns it into itself plus multiples of the
other: x:f contains the intercept, x and f; I(x^2) contains the intercept and x. So a coefficient of x beside x:f says
what happens where f is 0, which depends on how f is coded and on where it has its zero. With each column X_j replaced
by its residual X_o,j on the columns of its margins, X = X_o R and gamma = R beta: gamma_j is the coefficient at the
means of what its term is a margin of, and neither gamma nor X_o knows where a variable has its zero. R has a unit
diagonal; the highest terms keep their coefficients. (Marginality: Nelder 1977, J. R. Stat. Soc. A 140(1).)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayesmm.design.coding import Coding, Values, matrix_names
from bayesmm.design.summed import SummedMatrix
from bayesmm.formula.formula import Call, Column, Expr, Number, Operation, column_nodes, text_of
from bayesmm.runtime.threads import few_threads

# A column that is this small, relative to itself, once its margins are taken out depends on them but for rounding.
DEPENDENT = 1e-12
CONSTANT_TOLERANCE = 1e-8  # of X a = 1
SAME_DEGREE = ("I", "C", "factor", "center", "scale")  # functions that do not bend their argument


@dataclass(frozen=True, eq=False)
class TermBasis:
    """How the margins are taken out of the columns of one matrix X, (n, p): X = X_o R, gamma = R beta.

    Attributes
    ----------
    R : (p, p) float64
        With a unit diagonal; R[i, j] is other than 0 only where column i belongs to a margin of column j's term.
    order : tuple of int
        All columns, the margins of each before itself.
    """

    R: np.ndarray
    order: tuple[int, ...]

    @property
    def size(self) -> int:
        """p, the number of columns."""
        return len(self.R)

    @cached_property
    def trivial(self) -> bool:
        """Whether nothing is taken out: R is the identity."""
        return not np.any(self.R - np.eye(len(self.R)))

    @cached_property
    def inverse(self) -> np.ndarray:
        """R^-1, (p, p): beta = R^-1 gamma."""
        out = np.eye(len(self.R))
        for j in self.order:
            for i in np.flatnonzero(self.R[:, j]):
                if i != j:
                    out[:, j] -= out[:, i] * self.R[i, j]
        return out

    @property
    def moved(self) -> np.ndarray:
        """Which coefficients gamma_j are other than beta_j, (p,) bool."""
        return (self.R - np.eye(len(self.R))).any(axis=1)

    def taken_out(self, X: np.ndarray) -> np.ndarray:
        """Return X R^-1, (n, p): the columns of X, or of the same matrix of other rows, less their margins.

        By column operations: equal rows stay equal to the last digit, and a large common value costs no digits.
        """
        if self.trivial:
            return X
        if isinstance(X, SummedMatrix):
            return X.mapped(self.taken_out)
        out = np.array(X, order="F")
        for j in self.order:
            for i in np.flatnonzero(self.R[:, j]):
                if i != j:
                    out[:, j] -= out[:, i] * self.R[i, j]
        return np.ascontiguousarray(out)

    def without_intercept(self) -> "TermBasis":
        """Return the basis without its first column, the ones: that of columns that differ by constants."""
        return TermBasis(self.R[1:, 1:], tuple(j - 1 for j in self.order if j))

    def with_intercept(self) -> "TermBasis":
        """Return the basis with a first column of ones, out of which nothing is taken."""
        R = np.eye(self.size + 1)
        R[1:, 1:] = self.R
        return TermBasis(R, (0, *(j + 1 for j in self.order)))

    def restricted(self, moved: Sequence[bool]) -> "TermBasis":
        """Return the basis in which gamma_j is beta_j for every j where `moved`, (p,), is false."""
        rows = np.where(np.asarray(moved)[:, None], self.R, np.eye(len(self.R)))
        return TermBasis(rows, self.order)


@dataclass(frozen=True, eq=False)
class TermBases:
    """The bases of a design.

    Attributes
    ----------
    fixed : TermBasis
        Of X.
    blocks : tuple of TermBasis
        Of each block's Z; its terms are margins of one another only where their effects are freely correlated.
    parameters : mapping of str to TermBasis
        Of the columns of the formula of each parameter, by its name; the first of them is the intercept's, which the
        parameter itself is, where the formula has one.
    """

    fixed: TermBasis
    blocks: tuple[TermBasis, ...]
    parameters: Mapping[str, TermBasis] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def trivial(self) -> bool:
        """Whether nothing is taken out of any column."""
        return all(basis.trivial for basis in (self.fixed, *self.blocks, *self.parameters.values()))


def untouched(p: int) -> TermBasis:
    """Return the basis of a matrix of p columns in which nothing is taken out."""
    return TermBasis(np.eye(p), tuple(range(p)))


@few_threads
def learn_bases(
    X: np.ndarray, fixed: Coding, blocks: Sequence, bars: Sequence[Sequence[Coding]], values: Values
) -> TermBases:
    """Return the bases of a design's matrices.

    Parameters
    ----------
    X : (n, p) float64
    fixed : Coding
        Of X.
    blocks : sequence of Block
    bars : sequence of sequences of Coding
        Of each block's group terms, one for each level of gr(g, by = f), their columns side by side.
    values : mapping of Expr to variable
    """
    return TermBases(
        learn_basis(X, fixed, values),
        tuple(_block_basis(block, codings, values) for block, codings in zip(blocks, bars, strict=True)),
    )


def _block_basis(block, codings: Sequence[Coding], values: Values) -> TermBasis:
    """Return the basis of a block's Z: that of each group term with any covariance matrix, side by side.

    Another structure is one of the terms as they are.
    """
    if not codings:  # the penalised part of a smooth, or several memberships
        return untouched(len(block.columns))
    q, free = len(block.columns), [part.columns for part in block.parts if part.covariance.free]
    R, order, start = np.eye(q), [], 0
    for coding in codings:
        size = sum(map(len, matrix_names(coding, values)))
        part = slice(start, start + size)
        # in one part, not several of one column each; beside columns of other predictors in (x | p | g)
        if any(set(range(start, start + size)) <= set(columns) for columns in free):
            own = learn_basis(block.Z[:, part], coding, values)
            R[part, part] = own.R
            order += [start + j for j in own.order]
        else:
            order += range(start, start + size)
        start += size
    return TermBasis(R, tuple(order))


def learn_basis(X: np.ndarray, coding: Coding, values: Values) -> TermBasis:
    """Return the basis of one matrix, (n, p), of the terms of `coding`."""
    p, sizes = X.shape[1], [len(names) for names in matrix_names(coding, values)]
    terms = [(), *coding.terms] if coding.intercept else list(coding.terms)
    ends = np.cumsum([0, *sizes])
    columns = [list(range(start, end)) for start, end in pairwise(ends)]
    share = np.zeros(p) if coding.intercept else constant_share(X)
    R, out = np.eye(p), np.array(X, dtype=float, order="F")
    done, keys = [], [key_of(term) for term in terms]
    for t in sorted(range(len(terms)), key=lambda t: (len(keys[t].variables), keys[t].bend)):
        margins = [j for s in range(len(terms)) if contains(keys[t], keys[s]) for j in columns[s]]
        through = not coding.intercept and share.any() and not share[[*columns[t], *margins]].any()
        _take_out(out, R, columns[t], margins, share if through else None)
        done += columns[t]
    first = [j for j in done if share[j] != 0]  # what makes the constant comes before all
    return TermBasis(R, tuple([*first, *(j for j in done if share[j] == 0)]))


def _take_out(out: np.ndarray, R: np.ndarray, own: list[int], margins: list[int], share: np.ndarray | None) -> None:
    """Take the margins out of the columns `own` of a term, and set these of R; but for those that depend on them.

    `share`, (p,), of a matrix without an intercept gives the column of ones, which then is a margin too.
    """
    basis = np.column_stack([out[:, margins], *([np.ones(len(out))] if share is not None else [])])
    norms = np.sqrt(np.square(basis).sum(axis=0))
    use = norms > 0
    if not (use.any() and own):
        return
    unit, columns, total = basis[:, use] / norms[use], out[:, own].copy(), np.zeros((basis.shape[1], len(own)))
    for _ in range(2):  # the second time for what the first has rounded away
        step = np.linalg.lstsq(unit, columns)[0] / norms[use, None]
        columns -= basis[:, use] @ step
        total[use] += step
    kept = np.linalg.norm(columns, axis=0) > DEPENDENT * np.linalg.norm(out[:, own], axis=0)
    at = np.array(own)[kept]
    R[np.ix_(margins, at)] = total[: len(margins), kept]
    if share is not None:
        R[:, at] += np.outer(share, total[-1, kept])
    out[:, at] = columns[:, kept]


def constant_share(X: np.ndarray) -> np.ndarray:
    """Return a, (p,), with X a = 1, as the indicators of a factor have it; zeros if there is no such a."""
    p = X.shape[1]
    if p == 0:
        return np.zeros(p)
    norms = np.linalg.norm(X, axis=0)
    norms[norms == 0] = 1.0
    unit, a = X / norms, np.zeros(p)
    for _ in range(2):  # the second time for what the first has rounded away
        a += np.linalg.lstsq(unit, 1 - unit @ a)[0]
    a[np.abs(a) < CONSTANT_TOLERANCE * np.abs(a).max(initial=0.0)] = 0.0  # by what a column adds, whatever its unit
    a /= norms
    near = np.abs(a - np.rint(a)) < CONSTANT_TOLERANCE  # rounding: the share of an indicator is 1
    a[near] = np.rint(a[near])
    return a if np.abs(X @ a - 1).max() < CONSTANT_TOLERANCE else np.zeros(p)


# ----------------------------------------------------------------------------------------------------------------------
# which term contains which


class Key(NamedTuple):
    """What says which term contains which; by the number of its variables and its bend every margin comes before it."""

    variables: frozenset[str]
    bend: tuple[int, float, str]


def contains(term: Key, other: Key) -> bool:
    """Return whether `other`, without variables for the intercept, is a margin of `term`.

    Its variables are among the term's; of two terms of the same variables, the one of the lower degree is the margin.
    """
    return other.variables < term.variables or (other.variables == term.variables and other.bend < term.bend)


def key_of(term: Sequence[Expr]) -> Key:
    """Return the key of a term."""
    return Key(frozenset(node.name for expr in term for node in column_nodes(expr)), _bend(term))


def _bend(term: Sequence[Expr]) -> tuple[int, float, str]:
    """Return a key by which x comes before I(x^2), that before I(x^3), and these before other functions of x."""
    degrees = [_degree(expr) for expr in term]
    if None in degrees:
        return 1, 0.0, " ".join(sorted(text_of(expr) for expr in term))
    return 0, sum(degrees), ""


def _degree(expr: Expr) -> float | None:
    """Return the degree of an expression as a polynomial of the columns; None if it is none."""
    if isinstance(expr, Column | Number):
        return float(isinstance(expr, Column))
    if isinstance(expr, Call):
        return _degree(expr.arguments[0]) if expr.function in SAME_DEGREE and expr.arguments else None
    if isinstance(expr, Operation):
        return _degree_of_operation(expr.operator, list(map(_degree, expr.operands)), expr.operands)
    return None


def _degree_of_operation(operator: str, degrees: list[float | None], operands: tuple[Expr, ...]) -> float | None:
    if None in degrees:
        return None
    if operator in ("+", "-"):
        return max(degrees)
    if operator == "*":
        return sum(degrees)
    if operator == "/" and degrees[1] == 0:
        return degrees[0]
    if operator == "^" and isinstance(operands[1], Number):
        return degrees[0] * operands[1].value
    return None


def plain(bases: TermBases) -> Iterator[dict[str, list]]:
    """Yield each basis as plain data, X's first, for a file: see `from_plain`."""
    unnamed = ((basis, {}) for basis in (bases.fixed, *bases.blocks))
    named = ((basis, {"of": name}) for name, basis in bases.parameters.items())
    for basis, name in (*unnamed, *named):
        yield {"R": basis.R.tolist(), "order": list(basis.order), **name}


def from_plain(entries: Sequence[dict]) -> TermBases:
    """Return what `plain` gave.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is something else.
    """
    found, parameters = [], {}
    for entry in entries:
        order = tuple(map(int, entry["order"]))
        R = np.array(entry["R"], dtype=float).reshape(len(order), len(order))
        if sorted(order) != list(range(len(order))) or not (np.diag(R) == 1).all() or not np.isfinite(R).all():
            raise ValueError("not the basis of a matrix")
        if "of" in entry:
            parameters[str(entry["of"])] = TermBasis(R, order)
        else:
            found.append(TermBasis(R, order))
    return TermBases(found[0], tuple(found[1:]), parameters)
