"""Covariance matrices with labels, and what they say of the levels of a factor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesmm.design.pedigrees import Pedigree
from bayesmm.errors import DataError, listing

Array = np.ndarray

MOST_DENSE = 3000  # animals, where the matrix of all pairs is needed: what is done with it takes their cube
LEAST_OWN = 1e-9  # variance that an animal has from neither parent: 1/2 where the parents are not inbred


@dataclass(frozen=True, eq=False)
class Matrix:
    """A covariance matrix of labels, as it was given.

    Attributes
    ----------
    labels : tuple of str, length m
    given : (m, m) float64, or Pedigree
    named : bool
        False of an array, or of rows in their order: the labels are the places.
    """

    labels: tuple[str, ...]
    given: Array | Pedigree
    named: bool = True

    @cached_property
    def values(self) -> Array:
        """The covariances, (m, m)."""
        return _relationship(self.given) if isinstance(self.given, Pedigree) else self.given

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest eigenvalue: every design of new responses asks for them."""
        found = np.linalg.eigvalsh(self.values)
        return float(found[0]), float(found[-1])


@dataclass(frozen=True, eq=False)
class Relation:
    """The known covariance of a block's levels.

    Attributes
    ----------
    name : str
        Of the matrix.
    given : (G, G) float64, or Members
        K, or where the levels are in a pedigree.
    """

    name: str
    given: "Array | Members"

    @cached_property
    def K(self) -> Array:
        """The covariance matrix over the variance of the effects, (G, G)."""
        if not isinstance(self.given, Members):
            return self.given
        family = self.given.family
        return _relationship(family.pedigree)[np.ix_(family.at, family.at)]

    @property
    def variances(self) -> Array:
        """Its diagonal, (G,)."""
        own = self.given
        return own.family.pedigree.variances[own.family.at] if isinstance(own, Members) else np.diag(own)

    @cached_property
    def root(self) -> Array:
        """L, (G, G), lower triangular, with L L' = K."""
        return np.linalg.cholesky(self.K)

    def is_that_of(self, other: "Relation") -> bool:
        """Return whether the covariance is that of another."""
        one, two = self.given, other.given
        if isinstance(one, Members) and isinstance(two, Members):
            own = zip(one.family.arrays, two.family.arrays, strict=True)
            return all(np.array_equal(mine, theirs) for mine, theirs in own)
        return np.array_equal(self.K, other.K)

    def taken(self, levels: Array) -> "Relation":
        """Return that of some of the levels."""
        own = self.given
        some = replace(own, at=own.at[levels]) if isinstance(own, Members) else own[np.ix_(levels, levels)]
        return replace(self, given=some)


@dataclass(frozen=True, eq=False)
class Members:
    """Animals of a pedigree.

    Attributes
    ----------
    pedigree : Pedigree
    at : (G,) int64
        Their places in it.
    """

    pedigree: Pedigree
    at: Array

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The places, and the parents of all, whichever is which."""
        return self.at, np.sort([self.pedigree.sire, self.pedigree.dam], axis=0)

    @cached_property
    def family(self) -> "Members":
        """The same animals in the pedigree of themselves and their ancestors."""
        closed = self.pedigree.closed(self.at)
        return Members(self.pedigree.taken(closed), np.searchsorted(closed, self.at))


def _relationship(pedigree: Pedigree) -> Array:
    """Return the relationship matrix of a pedigree, dense.

    Raises
    ------
    DataError
        It would be too large.
    """
    if pedigree.m > MOST_DENSE:
        raise DataError(
            f"what is asked for needs the covariances of all pairs of {pedigree.m:,} related animals, and at most "
            f"{MOST_DENSE:,} are possible there; linear models with independent residuals, one related factor and at "
            "most some hundred levels of others do without"
        )
    return pedigree.relationship()


def relation_of(name: str, group: str, matrix: Matrix, levels: Sequence[str]) -> Relation:
    """Return the covariance of a factor's levels, which a matrix has by their labels.

    Raises
    ------
    DataError
        It lacks a level, or is not positive definite.
    """
    place = {label: i for i, label in enumerate(matrix.labels)}
    missing = [level for level in levels if level not in place]
    if missing:
        has = listing(map(repr, matrix.labels), limit=3)
        raise DataError(
            f"matrices[{name!r}] has no row for {len(missing):,} of the {len(levels):,} levels of '{group}' "
            f"({listing(map(repr, missing), limit=3)}); its labels are {has}"
        )
    at = [place[level] for level in levels]
    if isinstance(matrix.given, Pedigree):
        members = Members(matrix.given, np.array(at, dtype=np.int64))
        _check_own(name, matrix, members)
        return Relation(name, members)
    K = matrix.values[np.ix_(at, at)]
    lowest, largest = np.linalg.eigvalsh(K)[[0, -1]]
    if not lowest > len(K) * np.finfo(float).eps * largest:
        raise DataError(
            f"matrices[{name!r}] is not positive definite for the levels of '{group}': its smallest eigenvalue is "
            f"{lowest:.3g}; two levels may be the same, or the matrix may be a precision or a distance"
        )
    return Relation(name, K)


def _check_own(name: str, matrix: Matrix, members: Members) -> None:
    """Refuse a pedigree in which an animal has nothing of its own: else its matrix is positive definite."""
    closed = members.pedigree.closed(members.at)
    copies = closed[members.family.pedigree.own < LEAST_OWN]
    if len(copies):
        whose = f"the parents of {matrix.labels[copies[0]]!r}"
        raise DataError(
            f"matrices[{name!r}] is not positive definite: {whose} are inbred to 1, so that all their offspring are "
            f"the same; {len(copies):,} of the {len(closed):,} animals have such parents"
        )


def given_relatives(relation: Relation, matrix: Matrix, levels: Sequence[str], new: Sequence[str]):
    """Return what the effects of the levels of a fit say of those of others that the matrix has.

    Parameters
    ----------
    relation : Relation
        Of the levels of the fit, (G,).
    matrix : Matrix
        As it was given.
    levels, new : sequences of str
        Those of the fit, and the others, (m,).

    Returns
    -------
    W : (m, G) float64
        Their mean given the effects b of the fit is W b.
    root : (m, m) float64
        R R' is their covariance matrix then, over the variance of the effects.
    """
    place = {label: i for i, label in enumerate(matrix.labels)}
    own, others = [place[level] for level in levels], [place[label] for label in new]
    if isinstance(matrix.given, Pedigree):
        W, C = _given_in_pedigree(matrix.given, np.array(own), np.array(others))
        return W, _root(C)
    across = matrix.values[np.ix_(others, own)]
    W = np.linalg.solve(relation.K, across.T).T
    return W, _root(matrix.values[np.ix_(others, others)] - W @ across.T)


def _root(C: Array) -> Array:
    """Return R with R R' = C, which may be singular: a level may be known exactly from the others."""
    lengths, vectors = np.linalg.eigh(C)
    return vectors * np.sqrt(np.maximum(lengths, 0.0))


def _given_in_pedigree(pedigree: Pedigree, own: Array, new: Array) -> tuple[Array, Array]:
    """Return W, (m, G), and the covariance, (m, m), of new animals given `own`, by the sparse A^-1.

    With Q the rows and columns of A^-1 of all but `own`, of whom the new ones and ancestors of both are, W is that of
    the new ones in -Q^-1 (A^-1)_qo, and the covariance in Q^-1.
    """
    from scipy.sparse.linalg import splu

    closed = pedigree.closed(np.concatenate([own, new]))
    precision = pedigree.taken(closed).precision()
    at, asked = np.searchsorted(closed, own), np.searchsorted(closed, new)
    others = np.setdiff1d(np.arange(len(closed)), at)
    place = np.searchsorted(others, asked)
    unit = np.zeros((len(others), len(new)))
    unit[place, np.arange(len(new))] = 1.0
    solved = splu(precision[others][:, others].tocsc()).solve(unit)
    return -(precision[others][:, at].T @ solved).T, solved[place]
