"""How the packed relative factors T follow from theta, what a search for a maximum moves.

Of a part whose covariance matrix is any that there is, theta has the entries of T themselves, at and below the
diagonal. Of another structure it has the coordinates of its parameters, in units of the residual sd: with the columns
divided by their scales s, T = diag(s) L(theta).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.design.covariance.structure import Part, coordinates_of, factor_derivatives, factor_of, searched, values_at
from bayesmm.design.records import Design
from bayesmm.design.summed import rows_of
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.orthogonal import root_mean_square


@dataclass(frozen=True, eq=False)
class StructuredPart:
    """One part with parameters of its own.

    Attributes
    ----------
    block : int
        In the design.
    part : Part
    positions : (r, r) int64
        Of its entries in the packed T.
    scale : (r, 1) float64
        What its columns were divided by.
    units : (t,) float64
        What an entry's coordinate is multiplied by: for an sd the one at which the largest of its columns moves the
        response by sigma; 1 for a correlation.
    at : slice
        Of theta.
    """

    block: int
    part: Part
    positions: Ints
    scale: Floats
    units: Floats
    at: slice

    def coordinates(self, values: Sequence[float]) -> Floats:
        """Return x, (t,), where the parameters have these values, sds in units of the residual's."""
        own = searched(self.part.covariance, values, len(self.scale))
        return coordinates_of(self.part.entries, own) / self.units

    def start(self, size: float) -> Floats:
        """Return x, (t,), where the sds are `size` in their units and there is no correlation."""
        sds = [entry.kind == "sd" for entry in self.part.entries]
        return self.coordinates(np.where(sds, size * self.units, 0.0))

    def read(self, packed: Floats) -> Floats:
        """Return x, (t,), of a packed T that has the structure, which is diagonal."""
        sds = packed[np.diag(self.positions)] / self.scale[:, 0]
        return self.coordinates([sds[entry.places[0][0]] for entry in self.part.entries])

    def factor(self, x: Floats) -> Floats:
        """Return T, (r, r), at the coordinates x, (t,)."""
        values = values_at(self.part.entries, self.units * x)[0]
        return self.scale * factor_of(self.part.covariance, values, len(self.scale))

    def slopes(self, x: Floats) -> Floats:
        """Return dT / dx, (t, r, r)."""
        values, rates = values_at(self.part.entries, self.units * x)
        derivatives = factor_derivatives(self.part.covariance, values, len(self.scale))
        return (self.units * rates)[:, None, None] * self.scale * derivatives


@dataclass(frozen=True, eq=False)
class Theta:
    """The packed T as a function of theta.

    Attributes
    ----------
    length : int
        Of the packed T.
    free : (f,) int64
        Positions of the entries that come first in theta, as they are.
    structured : tuple of StructuredPart
        The rest of it.
    """

    length: int
    free: Ints
    structured: tuple[StructuredPart, ...] = ()

    @property
    def size(self) -> int:
        """Length of theta."""
        return len(self.free) + sum(len(part.units) for part in self.structured)

    def packed(self, x: Floats) -> Floats:
        """Return the packed T."""
        T = np.zeros(self.length)
        T[self.free] = x[: len(self.free)]
        for part in self.structured:
            T[part.positions] = part.factor(x[part.at])
        return T

    def gradient(self, d_T: Floats, x: Floats) -> Floats:
        """Return the derivatives in theta, (t,), of what has the derivatives `d_T` in the packed T."""
        parts = [d_T[self.free]]
        parts += [np.einsum("tij,ij->t", part.slopes(x[part.at]), d_T[part.positions]) for part in self.structured]
        return np.concatenate(parts) if self.structured else parts[0]

    def from_packed(self, packed: Floats, structured: Callable[[StructuredPart], Floats]) -> Floats:
        """Return theta with the free entries of a packed T, and the coordinates that a function gives each structure.

        What is asked of a packed T may be a number for each of its entries too.
        """
        return np.concatenate([packed[self.free], *(structured(part) for part in self.structured)])


def make_theta(design: Design, order: tuple[int, ...], scales: Sequence[Floats] | None = None) -> Theta:
    """Return theta of a design, its blocks packed in this order.

    `scales` are what the columns of each block were divided by, if not by their root mean squares.
    """
    free, structured, at = [], [], 0
    for k in order:
        block = design.blocks[k]
        q = len(block.columns)
        part_of = {column: part for part in block.parts if part.covariance.free for column in part.columns}
        pairs = [(i, j) for i in range(q) for j in range(i + 1) if i in part_of and part_of[i] is part_of.get(j)]
        free += [at + i * q + j for i, j in pairs]
        structured += [(k, at, part) for part in block.parts if not part.covariance.free]
        at += q * q
    scales = [root_mean_square(rows_of(block.Z)) for block in design.blocks] if scales is None else scales
    return Theta(at, np.array(free, dtype=np.int64), _structured(design, structured, len(free), scales))


def _structured(
    design: Design, parts: list[tuple[int, int, Part]], start: int, scales: Sequence[Floats]
) -> tuple[StructuredPart, ...]:
    found = []
    for k, at, part in parts:
        block, own = design.blocks[k], np.array(part.columns)
        scale = scales[k][own]
        units = [1 / max(scale[i] for (i,) in e.places) if e.kind == "sd" else 1.0 for e in part.entries]
        positions = at + own[:, None] * len(block.columns) + own
        end = start + len(units)
        found.append(StructuredPart(k, part, positions, scale[:, None], np.array(units), slice(start, end)))
        start = end
    return tuple(found)
