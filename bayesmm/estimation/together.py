"""Blocks of one grouping factor as one factor of Laplace's approximation, whose levels are then independent.

Effects of several predictors that are not correlated are blocks of their own, ``mub_g`` and ``muc_g``. As factors that
cross they would couple all levels; as one with a block-diagonal T they do not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from bayesmm.likelihood.crossproducts import Factor, Floats, Ints
from bayesmm.likelihood.laplace import Laplace, Response, laplace
from bayesmm.likelihood.laplace_cholesky import analyse
from bayesmm.likelihood.several_laplace import Several, joint_laplace


@dataclass(frozen=True, eq=False)
class Together:
    """The predictors in a layout with a factor for each grouping, and where T and u of the blocks are in its own.

    Attributes
    ----------
    several : Several
    size : int
        Of the packed T.
    of_T, of_u : int64 arrays
        The places of the blocks' entries, in the order of their layout.
    """

    several: Several
    size: int
    of_T: Ints
    of_u: Ints

    def laplace(self, response: Response, fixed: Floats, T: Floats, aux: Floats, u: Floats) -> Laplace:
        """Return `joint_laplace` of the blocks."""
        whole, start = np.zeros(self.size), np.zeros(len(self.of_u))
        whole[self.of_T], start[self.of_u] = T, u
        found = joint_laplace(self.several, response, fixed, whole, aux, start)
        return Laplace(found.ok, found.value, found.u[self.of_u], found.d_fixed, found.d_T[self.of_T], found.d_aux)


def laplace_of(problem) -> Callable[..., Laplace]:
    """Return the function (response, fixed, T, aux, u) -> Laplace of a `GlmmProblem`, in its own layout of T and u."""
    if problem.several is None:
        return partial(laplace, problem.layout)
    whole = together(problem)
    return partial(joint_laplace, problem.several) if whole is None else whole.laplace


def together(problem) -> Together | None:
    """Return the blocks of a `GlmmProblem` with several predictors by their factor; None where each has one block."""
    blocks = [problem.design.blocks[k] for k in problem.order]
    columns = [problem.columns[k] for k in problem.order]
    groups: list[list[int]] = []
    for j, block in enumerate(blocks):
        same = (group for group in groups if np.array_equal(blocks[group[0]].index, block.index))
        found = next(same, None)
        groups.append([j]) if found is None else found.append(j)
    if len(groups) == len(blocks):
        return None
    M, sizes = problem.several.M, [own.Z.shape[1] for own in columns]
    factors = [
        Factor(
            np.repeat(blocks[group[0]].index, M),
            np.ascontiguousarray(np.hstack([columns[j].Z for j in group])),
            len(blocks[group[0]].levels),
        )
        for group in groups
    ]
    layout, order = analyse(factors)
    of_T, of_u, at, base = {}, {}, 0, 0
    for group in (groups[k] for k in order):
        Q, column, G = sum(sizes[j] for j in group), 0, len(blocks[group[0]].levels)
        for j in group:
            own = column + np.arange(sizes[j])
            of_T[j] = (at + own[:, None] * Q + own).ravel()
            of_u[j] = (base + np.arange(G)[:, None] * Q + own).ravel()
            column += sizes[j]
        at, base = at + Q * Q, base + G * Q
    places = (np.concatenate([found[j] for j in range(len(blocks))]) for found in (of_T, of_u))
    return Together(Several(layout, problem.several.predictors), at, *places)
