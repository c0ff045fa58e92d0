"""Which random effects belong to which linear predictor: the mean's, or that of a parameter of the family.

The columns of a block are of the mean unless its `predictors` say otherwise: ``zi ~ z + (1 | g)`` gives a block of
zi, ``(1 | p | g)`` in the formulas of the mean and of zi one block with a column of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bayesmm.design.parameters import MEAN
from bayesmm.design.records import Block, Design
from bayesmm.errors import DataError, listing


def random_parameters(design: Design) -> tuple[str, ...]:
    """Return the names of the family's parameters that have random effects, in the family's order."""
    found = {name for block in design.blocks for name in block.predictors}
    return tuple(own.name for own in design.family.parameters if own.name in found)


def of_mean(block: Block) -> np.ndarray:
    """Return which columns of a block belong to the mean, (q,) bool."""
    return columns_of(block, MEAN)


def columns_of(block: Block, name: str) -> np.ndarray:
    """Return which columns of a block belong to a parameter's linear predictor, or to the mean's, (q,) bool."""
    if not block.predictors:
        return np.full(len(block.columns), name == MEAN)
    return np.array([own == name for own in block.predictors])


def part_of(block: Block, Z: np.ndarray, name: str) -> np.ndarray:
    """Return Z, (m, q), with zeros in the columns of other predictors."""
    if not block.predictors:
        return Z if name == MEAN else np.zeros_like(Z)
    return Z * columns_of(block, name)


def columns_of_mean(block: Block) -> Block:
    """Return a block with its columns of the mean alone, without its parts: for remarks on what varies."""
    if not block.predictors:
        return block
    kept = np.flatnonzero(of_mean(block))
    columns = tuple(block.columns[j] for j in kept)
    return replace(block, columns=columns, Z=np.ascontiguousarray(block.Z[:, kept]), parts=(), predictors=())


def mean_part(design: Design) -> Design:
    """Return the design in which random effects act on the mean alone: Z has zeros in the columns of parameters."""
    if not random_parameters(design):
        return design
    return replace(design, blocks=tuple(replace(b, Z=part_of(b, b.Z, MEAN), predictors=()) for b in design.blocks))


def expanded(design: Design) -> Design:
    """Return the design with M rows in the blocks for each of the data's, one for each predictor.

    Its blocks alone are of use. Without random effects of parameters it is the design itself.
    """
    if not random_parameters(design):
        return design
    names = (MEAN, *design.family.auxiliaries)
    M, blocks = len(names), []
    for block in design.blocks:
        Z = np.stack([part_of(block, block.Z, name) for name in names], axis=1)
        index = np.repeat(block.index, M)
        blocks.append(replace(block, index=index, Z=np.ascontiguousarray(Z.reshape(-1, Z.shape[2])), predictors=()))
    return replace(design, blocks=tuple(blocks))


def linear_predictor(design: Design, beta: np.ndarray, effects: Sequence[np.ndarray]) -> np.ndarray:
    """Return X beta + Z b + offset of the rows, (n,), on the scale of the link.

    Parameters
    ----------
    design : Design
    beta : (p,)
    effects : sequence of (G, q)
        Those of each block; of a block that acts on a parameter of the family too, the mean's columns count here.
    """
    eta = design.X @ beta + design.offset
    for block, b in zip(mean_part(design).blocks, effects, strict=True):
        eta = eta + np.einsum("ij,ij->i", block.Z, b[block.index])
    return eta


def shifts(design: Design, effects: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return what random effects, (G, q) of each block, add to the linear predictor of each parameter, (n,)."""
    return {
        name: sum(
            np.einsum("ij,ij->i", part_of(block, block.Z, name), b[block.index])
            for block, b in zip(design.blocks, effects, strict=True)
            if columns_of(block, name).any()
        )
        for name in random_parameters(design)
    }


def check_of_mean(design: Design, what: str, instead: str = "") -> None:
    """Raise a DataError where a parameter of the family has random effects, with which `what` is not possible."""
    found = random_parameters(design)
    if found:
        said = f"{what} is not possible where {listing(found)} {'has' if len(found) == 1 else 'have'} random effects"
        raise DataError(f"{said}; {instead}" if instead else said)


Shifts = Mapping[str, np.ndarray]  # of each parameter with random effects, (n,) or (draws, n)
