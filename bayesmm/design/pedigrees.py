"""Pedigrees: who descends from whom, the relationship matrix A, and its inverse, which has few entries.

With the parents before their offspring A = T D T' for the unit lower triangular T with T^-1 = I - P, P having 1/2 at
an animal's known parents, and the diagonal D of what an animal does not have from them: d_i = 1 - (a_ss + a_dd) / 4,
unknown parents counting 0 (Henderson 1976, Biometrics 32; Mrode 2014, Linear Models for the Prediction of Animal
Breeding Values, sections 2.2 to 2.4). So A^-1 = (I - P)' D^-1 (I - P) has at most nine entries for each animal.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csc_array

Array = np.ndarray

NOBODY = -1
LEAST = 1e-12  # variance of an animal given its parents, where A is inverted: for levels `related_levels` asks for more
MOST_PARENTS = 12_000  # of an inbred pedigree: their own relationship matrix is dense, of 1.2 GB then


@dataclass(frozen=True, eq=False)
class Pedigree:
    """The parents of m animals, which come before their offspring.

    Attributes
    ----------
    sire, dam : (m,) int64
        Places of the parents; NOBODY where one is not known.
    """

    sire: Array
    dam: Array

    @property
    def m(self) -> int:
        """Number of animals."""
        return len(self.sire)

    @cached_property
    def variances(self) -> Array:
        """The diagonal of A, (m,): 1 and the coefficient of inbreeding, half the relationship of the parents.

        Raises
        ------
        DataError
            More than MOST_PARENTS animals have offspring with two known parents, their ancestors counted.
        """
        own, both = np.ones(self.m), np.flatnonzero((self.sire >= 0) & (self.dam >= 0))
        if not len(both):
            return own
        parents = self.closed(np.unique([self.sire[both], self.dam[both]]))  # parents of parents too
        if len(parents) > MOST_PARENTS:
            raise DataError(
                f"the pedigree has {len(parents):,} animals with offspring, of which both parents are known; at most "
                f"{MOST_PARENTS:,} are possible"
            )
        place = np.full(self.m, NOBODY)
        place[parents] = np.arange(len(parents))
        A = self.taken(parents).relationship()
        own[both] += 0.5 * A[place[self.sire[both]], place[self.dam[both]]]
        return own

    @cached_property
    def own(self) -> Array:
        """D, (m,): the variance of what an animal has from neither parent."""
        a = np.append(self.variances, 0.0)  # that of NOBODY
        return 1.0 - 0.25 * (a[self.sire] + a[self.dam])

    def closed(self, animals: Array) -> Array:
        """Return the animals with all their ancestors, ascending."""
        inside = np.zeros(self.m + 1, dtype=bool)  # the last is NOBODY
        new = np.asarray(animals)
        while len(new):
            inside[new] = True
            new = np.unique([self.sire[new], self.dam[new]])
            new = new[(new >= 0) & ~inside[new]]
        return np.flatnonzero(inside[:-1])

    def taken(self, animals: Array) -> "Pedigree":
        """Return that of some animals, ascending, among which are all their ancestors."""
        place = np.full(self.m + 1, NOBODY)
        place[animals] = np.arange(len(animals))
        return Pedigree(place[self.sire[animals]], place[self.dam[animals]])

    def relationship(self) -> Array:
        """Return A, (m, m), dense, by the tabular method."""
        A = np.zeros((self.m, self.m))
        for i, (sire, dam) in enumerate(zip(self.sire.tolist(), self.dam.tolist(), strict=True)):
            for parent in (sire, dam):
                if parent >= 0:
                    A[i, :i] += 0.5 * A[parent, :i]
            A[:i, i] = A[i, :i]
            A[i, i] = 1.0 + (0.5 * A[sire, dam] if sire >= 0 and dam >= 0 else 0.0)
        return A

    def drawn(self, noise: Array) -> Array:
        """Return T D^1/2 x, whose covariance is A, for standard normal x, (m, q)."""
        b = np.zeros((self.m + 1, noise.shape[1]))  # the last is NOBODY
        b[:-1] = np.sqrt(self.own)[:, None] * noise
        for animals in self.generations[1:]:
            b[animals] += 0.5 * (b[self.sire[animals]] + b[self.dam[animals]])
        return b[:-1]

    @cached_property
    def generations(self) -> list[Array]:
        """The animals by the longest way back to a founder."""
        depth = np.full(self.m + 1, -1)
        for i, (sire, dam) in enumerate(zip(self.sire.tolist(), self.dam.tolist(), strict=True)):
            depth[i] = 1 + max(depth[sire], depth[dam])
        return [np.flatnonzero(depth[:-1] == k) for k in range(depth.max(initial=0) + 1)]

    def precision(self) -> "csc_array":
        """Return A^-1, (m, m), sparse."""
        from scipy.sparse import csc_array, diags_array, eye_array

        child = np.concatenate([np.flatnonzero(self.sire >= 0), np.flatnonzero(self.dam >= 0)])
        parent = np.concatenate([self.sire[self.sire >= 0], self.dam[self.dam >= 0]])
        P = csc_array((np.full(len(child), 0.5), (child, parent)), shape=(self.m, self.m))
        rest = eye_array(self.m, format="csc") - P
        own = np.maximum(self.own, LEAST)  # 0 of a new animal that is a copy of those in the data
        return (rest.T @ diags_array(1.0 / own) @ rest).tocsc()
