"""The likelihood that `glmm` maximises as a function of the parameters that priors are of, on their natural scales.

Of what is sampled of covariance matrices it makes the theta of the problem: entries of factors as they are, parameters
of structures, and of effects whose levels have a known covariance their sd.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesmm.design.covariance.structure import coordinates_of, values_at
from bayesmm.design.covariance.structures import untied
from bayesmm.design.records import Design
from bayesmm.design.relations import expanded
from bayesmm.estimation.glmm import GlmmProblem, make_problem
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.marginal import generalised_structure, packing
from bayesmm.likelihood.posterior import Parameters
from bayesmm.likelihood.structured_blocks import Sampled
from bayesmm.likelihood.theta import StructuredPart


@dataclass(frozen=True)
class Likelihood:
    """The likelihood that `glmm` maximises, as a function of the natural parameters.

    Attributes
    ----------
    problem : GlmmProblem
        Of the prior's design, with a column for each level where these have a known covariance.
    criterion : function of the problem's coordinates
        -2 log-likelihood and its gradient.
    relations : (c, p) float64
        The problem's coefficients are relations gamma - origin.
    origin : (c,) float64
    take, scale
        L[take] scale are the factors, packed in the problem's order.
    structure : Sampled
        What is sampled of the covariance matrices.
    """

    problem: GlmmProblem
    criterion: Callable[[Floats], tuple[float, Floats]]
    relations: Floats
    origin: Floats
    take: Ints
    scale: Floats
    structure: Sampled

    @cached_property
    def own(self) -> int:
        """How many of the sampled auxiliaries are the family's."""
        return len(self.structure.own)

    @cached_property
    def places(self) -> tuple[Ints, Ints]:
        """Which entries of the sampled L are entries of the problem's, and which ones, both (m,)."""
        used, place, at, start = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0, 0
        blocks = zip(self.structure.design.blocks, self.problem.design.blocks, self.structure.kept, strict=True)
        for block, other, kept in blocks:
            if block.relation is None:
                used.append(at + np.arange(len(kept) ** 2))
                place.append((start + kept[:, None] * len(block.columns) + kept).ravel())
            at += len(kept) ** 2
            start += len(other.columns) ** 2
        return np.concatenate(used), np.concatenate(place)

    @cached_property
    def structured(self) -> tuple[tuple[StructuredPart, bool, Ints], ...]:
        """For each structured part of theta, whether its values are entries of the sampled L, and their places.

        Else they are among the auxiliaries.
        """
        first = np.cumsum([0, *(len(kept) ** 2 for kept in self.structure.kept)])
        found = []
        for one in self.problem.theta.structured:
            if self.structure.design.blocks[one.block].relation is not None:
                found.append((one, True, first[[one.block]]))
                continue
            own = next(p for p in self.structure.parts if p.block == one.block and p.part == one.part)
            found.append((one, False, own.first + np.arange(len(own.labels))))
        return tuple(found)

    def _values(self, at: Parameters) -> Iterator[tuple[StructuredPart, Floats, Floats]]:
        """Yield the structured parts, what their values are and what these are measured in."""
        for one, of_L, places in self.structured:
            unit = np.array([self.problem.unit if entry.kind == "sd" else 1.0 for entry in one.part.entries])
            yield one, (at.L if of_L else at.positive)[places], unit

    def at(self, at: Parameters) -> Floats:
        """Return the problem's coordinates."""
        full, (used, place) = np.zeros(len(self.take)), self.places
        full[place] = at.L[used]
        free = (full[self.take] * self.scale)[self.problem.free] / self.problem.unit
        theta = [free]
        for one, values, unit in self._values(at):  # the sign of an sd means nothing
            known = np.where([entry.kind == "sd" for entry in one.part.entries], np.abs(values), values) / unit
            theta.append(coordinates_of(one.part.entries, known) / one.units)
        moved = self.problem.moved(at.positive[: self.own])
        return np.concatenate([self.relations @ at.coefficients - self.origin, *theta, moved])

    def __call__(self, at: Parameters) -> tuple[float, Parameters]:
        """Return the log-likelihood and its derivatives; -inf and zeros where a parameter is at an edge."""
        pairs = zip(self.problem.own.scalars, at.positive, strict=False)
        if not all(own.bounds[0] < value < own.bounds[1] for own, value in pairs):
            return -np.inf, Parameters(*map(np.zeros_like, at))
        x = self.at(at)
        value, slope = self.criterion(x)
        coefficients, theta, moved = (-slope[part] / 2 for part in self.problem.parts)
        packed, full = np.zeros(len(self.take)), np.zeros(len(self.take))
        packed[self.problem.free] = theta[: len(self.problem.free)] / self.problem.unit
        full[self.take] = packed * self.scale
        d_L, d_positive, (used, place) = np.zeros(len(at.L)), np.zeros(len(at.positive)), self.places
        d_L[used] = full[place]
        d_positive[: self.own] = self.problem.own.forth(x[self.problem.parts[2]], moved)
        for (one, values, unit), (_, of_L, places) in zip(self._values(at), self.structured, strict=True):
            rates = values_at(one.part.entries, one.units * x[self.problem.parts[1]][one.at])[1]
            sign = [np.sign(v) if e.kind == "sd" else 1.0 for e, v in zip(one.part.entries, values, strict=True)]
            (d_L if of_L else d_positive)[places] += theta[one.at] * sign / (one.units * rates * unit)
        return -value / 2, Parameters(d_L, d_positive, self.relations.T @ coefficients)


def natural_problem(design: Design) -> GlmmProblem:
    """Return the problem that `Likelihood` takes, of the prior's design."""
    return make_problem(untied(expanded(design)))


def likelihood_of(
    problem: GlmmProblem, criterion: Callable[[Floats], tuple[float, Floats]], design: Design
) -> Likelihood:
    """Return the likelihood of a `natural_problem` of the prior's design, linearly dependent columns included."""
    kept = [j for j in range(design.p) if j not in design.aliased]
    relations = np.linalg.lstsq(design.X[:, kept], design.X)[0] if kept else np.empty((0, design.p))
    inverse = np.linalg.inv(problem.basis[kept])
    take, scale = packing(problem.design.blocks, problem.scales, problem.order)
    structure = generalised_structure(design)
    return Likelihood(problem, criterion, inverse @ relations, inverse @ problem.origin[kept], take, scale, structure)
