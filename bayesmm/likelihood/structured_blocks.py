"""What is sampled of covariance matrices with a structure, and what it means.

The coordinates have blocks of effects without the columns of such parts, whose parameters stand among the auxiliaries;
and one more block where the correlations of residuals are those of any matrix, LKJ(1), which is uniform on all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesmm.design.covariance import unstructured
from bayesmm.design.covariance.structure import Part
from bayesmm.design.parameters import part_parameters, residual_labels, sd_places
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.structure import ResidualParameter
from bayesmm.likelihood.coordinates import Coordinates, factors, sds_of_terms
from bayesmm.likelihood.packed import Floats, Ints, pack
from bayesmm.likelihood.posterior import Parameters
from bayesmm.likelihood.structure_functions import factor_function
from bayesmm.likelihood.structured_likelihood import StructuredData
from bayesmm.priors import Prior

UNIFORM = Prior("Uniform", lower=-1.0, upper=1.0)


@dataclass(frozen=True, eq=False)
class StructuredPart:
    """A part of a block, and its parameters.

    Attributes
    ----------
    block : int
    part : Part
    labels : tuple of str
    first : int
        Place of the first parameter among the auxiliaries.
    """

    block: int
    part: Part
    labels: tuple[str, ...]
    first: int

    @property
    def is_sd(self) -> list[bool]:
        """Which parameters are sds."""
        return [entry.kind == "sd" for entry in self.part.entries]

    def values(self, scalars: Floats) -> Floats:
        """Return what `kernel` takes, (t, draws), of the auxiliaries, (draws, s): the sign of an sd means nothing."""
        own = scalars[:, self.first : self.first + len(self.labels)].T
        return np.where(np.array(self.is_sd)[:, None], np.abs(own), own)


@dataclass(frozen=True, eq=False)
class Sampled:
    """What is sampled of a model's covariance matrices.

    Attributes
    ----------
    design : Design
    kept : tuple of int64 arrays
        The columns of each block that the coordinates have.
    parts : tuple of StructuredPart
    matrix : ResidualParameter or None
        The correlations of residuals that are one more block.
    names : tuple of str
        Places of the auxiliaries: sigma, the residual's that are sampled as they are, those of the parts. Of a
        generalised model its own in the place of the first two.
    own : tuple of str
        Sigma and all of the residual's, or a generalised model's own: what the likelihood has.
    """

    design: Design
    kept: tuple[Ints, ...]
    parts: tuple[StructuredPart, ...]
    matrix: ResidualParameter | None
    names: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether all is sampled as the likelihood takes it."""
        return not self.parts and self.matrix is None

    @property
    def signed(self) -> tuple[str, ...]:
        """Places of the auxiliaries that are sds, and may be 0."""
        return tuple(label for one in self.parts for label, is_sd in zip(one.labels, one.is_sd, strict=True) if is_sd)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What the coordinates are of."""
        found = [_taken(block, kept) for block, kept in zip(self.design.blocks, self.kept, strict=True)]
        return (*found, *(() if self.matrix is None else (_matrix_block(self.matrix),)))

    def priors(self, priors: Mapping[str, Prior]) -> dict[str, Prior]:
        """Return the priors with those of the further block."""
        if self.matrix is None:
            return dict(priors)
        block = _matrix_block(self.matrix)
        ones = {place: Prior("Fixed", value=1.0) for place, _ in sd_places(block)}
        return {**priors, **ones, block.names.corr: Prior("LKJ", eta=1.0)}

    @property
    def length(self) -> int:
        """Length of the likelihood's L."""
        return sum(len(block.columns) ** 2 for block in self.design.blocks)

    @property
    def place(self) -> Ints:
        """Where in it each entry of the blocks' own is."""
        found, at = [np.empty(0, np.int64)], 0
        for block, kept in zip(self.design.blocks, self.kept, strict=True):
            q = len(block.columns)
            found.append((at + kept[:, None] * q + kept).ravel())
            at += q * q
        return np.concatenate(found)

    def positions(self, one: StructuredPart) -> Ints:
        """Return where in it each entry of a part's factor is, (q, q)."""
        at = sum(len(block.columns) ** 2 for block in self.design.blocks[: one.block])
        own, q = np.array(one.part.columns), len(self.design.blocks[one.block].columns)
        return at + own[:, None] * q + own

    @property
    def source(self) -> Ints:
        """Which auxiliary each of the likelihood's is, -1 for a correlation of the further block."""
        found = [self.names.index(name) if name in self.names else -1 for name in self.own]
        return np.array(found, dtype=np.int64)

    def correlations(self, residual: Mapping[str, Floats]) -> Floats:
        """Return the matrix of the residuals' correlations at their values."""
        R, (i, j) = np.eye(self.matrix.visits), np.triu_indices(self.matrix.visits, 1)
        R[i, j] = R[j, i] = residual[self.matrix.name]
        return R

    def words(self, likelihood: object, words: Ints) -> Ints:
        """Return the words of `structured_likelihood` for a likelihood and its words."""
        visits = 0 if self.matrix is None else self.matrix.visits
        first = 0 if self.matrix is None else int(np.argmin(self.source))
        sizes = self.length, len(self.own), len(self.names), visits, len(self.place), first
        table, positions, at = [], [np.empty(0, np.int64)], 0
        for one in self.parts:
            q = len(one.part.columns)
            table.append((factor_function(one.part.covariance.kernel).address, one.first, len(one.labels), q, at))
            positions.append(self.positions(one).ravel())
            at += q * q
        is_sd = np.isin(self.names, self.signed).astype(np.int64)
        parts = np.array(table, dtype=np.int64).reshape(-1, 5).T
        own = *sizes, self.place, self.source, *parts, np.concatenate(positions), is_sd
        return pack(StructuredData(likelihood.address, words, *own))

    def of_likelihood(self, at: Parameters) -> Parameters:
        """Return what the likelihood is a function of at one set of sampled parameters."""
        L, own = np.zeros(self.length), np.zeros(len(self.own))
        L[self.place] = at.L[: len(self.place)]
        for one in self.parts:
            found = np.zeros((len(one.part.columns),) * 2)
            one.part.covariance.kernel(one.values(at.positive[None])[:, 0], found)
            L[self.positions(one)] = found
        source = self.source
        own[source >= 0] = at.positive[source[source >= 0]]
        if self.matrix is not None:
            C = at.L[len(self.place) :].reshape(self.matrix.visits, -1)
            own[source < 0] = (C @ C.T)[np.triu_indices(len(C), 1)]
        return Parameters(L, own, at.coefficients)

    def covariances(self, c: Coordinates, x: Floats, scalars: Floats) -> tuple[list[tuple[Floats, Floats]], Floats]:
        """Return what many points are, for scalars that `coordinates.values` gives.

        Returns
        -------
        list of (sds (draws, q), correlation factors (draws, q, q))
            Of each block of the design.
        (draws, len(own)) float64
            Sigma and the residual's parameters.
        """
        auxiliaries = scalars[:, len(np.unique(c.sd_of)) :]
        own = np.empty((len(x), len(self.own)))
        C, sds, source = factors(c, x), sds_of_terms(c, scalars), self.source
        own[:, source >= 0] = auxiliaries[:, source[source >= 0]]
        if self.matrix is not None:
            i, j = np.triu_indices(self.matrix.visits, 1)
            own[:, source < 0] = (C[-1] @ C[-1].transpose(0, 2, 1))[:, i, j]
        found = []
        for k, (block, kept) in enumerate(zip(self.design.blocks, self.kept, strict=True)):
            L = np.zeros((len(x), len(block.columns), len(block.columns)))
            L[:, kept[:, None], kept] = sds[k][:, :, None] * C[k]
            for one in self.parts:
                if one.block == k:
                    columns = np.array(one.part.columns)
                    filled = np.zeros((len(columns), len(columns), len(x)))
                    one.part.covariance.kernel(one.values(auxiliaries), filled)
                    L[:, columns[:, None], columns] = np.moveaxis(filled, 2, 0)
            size = np.sqrt(np.square(L).sum(axis=2))
            found.append((size, L / np.where(size > 0, size, 1.0)[:, :, None]))
        return found, own


def sampled_of(design: Design, priors: Mapping[str, Prior], residual: Sequence[str]) -> Sampled:
    """Return what is sampled of a Gaussian model whose likelihood has sigma and these parameters of the residual."""
    matrix = next((own for own in design.residual.parameters if own.visits and _is_uniform(own, priors)), None)
    apart = () if matrix is None or not residual else residual_labels(matrix)
    names = ["sigma", *(label for label in residual if label not in apart)]
    kept, parts, labels = _structured_parts(design, len(names))
    return Sampled(design, kept, parts, matrix if apart else None, (*names, *labels), ("sigma", *residual))


def structured_of(design: Design, own: Sequence[str]) -> Sampled:
    """Return what is sampled of a generalised model whose likelihood has these auxiliaries."""
    kept, parts, labels = _structured_parts(design, len(own))
    return Sampled(design, kept, parts, None, (*own, *labels), tuple(own))


def _structured_parts(
    design: Design, first: int
) -> tuple[tuple[Ints, ...], tuple[StructuredPart, ...], tuple[str, ...]]:
    """Return the columns that blocks keep, the other parts, and their labels, which stand from `first` on."""
    kept, parts, names = [], [], []
    for k, block in enumerate(design.blocks):
        others = [part for part in block.parts if is_structured(part)]
        for part in others:
            labels = tuple(p.label for p in part_parameters(k, block, part))
            parts.append(StructuredPart(k, part, labels, first + len(names)))
            names += labels
        taken = {column for part in others for column in part.columns}
        kept.append(np.array([i for i in range(len(block.columns)) if i not in taken], dtype=np.int64))
    return tuple(kept), tuple(parts), tuple(names)


def is_structured(part: Part) -> bool:
    """Return whether a part's factor is made of parameters that the coordinates of blocks have not."""
    return not (part.covariance.free or part.covariance.diagonal)


def _is_uniform(own: ResidualParameter, priors: Mapping[str, Prior]) -> bool:
    return all(label in priors and priors[label] == UNIFORM for label in residual_labels(own))


def _taken(block: Block, kept: Ints) -> Block:
    """Return a block with some of its columns, whole parts."""
    if len(kept) == len(block.columns):
        return block
    place = {int(column): i for i, column in enumerate(kept)}
    parts = [part for part in block.parts if not is_structured(part)]
    parts = tuple(replace(part, columns=tuple(place[i] for i in part.columns)) for part in parts)
    columns = tuple(block.columns[i] for i in kept)
    return replace(block, columns=columns, Z=np.ascontiguousarray(block.Z[:, kept]), parts=parts)


def _matrix_block(own: ResidualParameter) -> Block:
    """Return a block whose correlations are those of the residuals, and whose sds are 1."""
    columns = tuple(str(k) for k in range(own.visits))
    part = Part(tuple(range(own.visits)), unstructured.covariance, "")
    nothing = np.zeros(0, np.int64)
    return Block("", f"residual {own.name}", (), nothing, (), columns, np.zeros((0, own.visits)), (part,))
