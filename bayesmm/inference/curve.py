"""The deviance with one parameter held, as a record, and what its makers share for linear and generalised models."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesmm.design.parameters import Parameter
from bayesmm.design.records import Block, Design
from bayesmm.design.summed import SummedMatrix
from bayesmm.estimation.optimizer import Search, minimum
from bayesmm.likelihood.crossproducts import Floats

Deviance = Callable[[float, Floats], tuple[float, Floats]]
# A variance cannot fall below its bound of 0, and a correlation not outside -1 and 1.
_POSITIVE = (0.0, math.inf)
BOUNDS = {
    "coefficient": (-math.inf, math.inf),
    "sigma": _POSITIVE,
    "auxiliary": _POSITIVE,
    "sd": _POSITIVE,
    "corr": (-1.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class Curve:
    """The deviance with one parameter held.

    Attributes
    ----------
    deviance : callable
        (c, x) -> (deviance, gradient in x, (d,)).
    estimate : float
        The ML estimate of the held parameter; NaN for a correlation with an sd of 0.
    start : (d,) float64
        x at the ML estimate.
    least : float
        The deviance there.
    bounds : tuple of float
    attained : bool
        Whether the deviance is finite at a finite bound.
    step : float
        A first step away from the estimate.
    diagonal : (d,) bool
        Which of x are diagonal entries of T: a variance of 0 is always stationary in them.
    far : callable
        (c, x) -> whether a parameter is so near to a bound that the deviance is not computed much farther.
    """

    deviance: Deviance
    estimate: float
    start: Floats
    least: float
    bounds: tuple[float, float]
    attained: bool
    step: float
    diagonal: NDArray[np.bool_]
    far: Callable[[float, Floats], bool] = lambda c, x: False


def edge(deviance: Deviance, start: Floats, held: int) -> float:
    """Return the least deviance with entry `held` of x at 0."""
    kept = np.delete(np.arange(len(start)), held)

    def without(x: Floats) -> tuple[float, Floats]:
        value, gradient = deviance(0.0, np.insert(x, held, 0.0))
        return value, gradient[kept]

    search = Search(without)
    return search(minimum(search, start[kept]))[0]


def capped(deviance: Deviance, most: float) -> Deviance:
    """Return the deviance, and `most` where it is larger."""

    def capped(c: float, x: Floats) -> tuple[float, Floats]:
        value, gradient = deviance(c, x)
        return (value, gradient) if value < most else (most, np.zeros(len(x)))

    return capped


def reordered(design: Design, parameter: Parameter) -> tuple[Design, list[int]]:
    """Return the design with a parameter's columns first in their block, and the order of the columns."""
    k, block = parameter.block, design.blocks[parameter.block]
    order = [*parameter.terms, *(i for i in range(len(block.columns)) if i not in parameter.terms)]
    return replace(design, blocks=(*design.blocks[:k], _permuted(block, order), *design.blocks[k + 1 :])), order


def _permuted(block: Block, order: list[int]) -> Block:
    """Return the block with its columns in another order."""
    place = {old: new for new, old in enumerate(order)}
    return replace(
        block,
        columns=tuple(block.columns[i] for i in order),
        Z=block.Z[:, order] if isinstance(block.Z, SummedMatrix) else np.ascontiguousarray(block.Z[:, order]),
        predictors=tuple(block.predictors[i] for i in order) if block.predictors else (),
        parts=tuple(replace(part, columns=tuple(sorted(place[i] for i in part.columns))) for part in block.parts),
    )
