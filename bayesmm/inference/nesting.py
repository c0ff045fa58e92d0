"""Whether one fitted model is a special case of another, and how their random parts differ."""

from dataclasses import dataclass

import numpy as np

from bayesmm.design.covariance.structure import Part
from bayesmm.design.dependence import spans
from bayesmm.design.records import Block, Design
from bayesmm.families.families import limits_of
from bayesmm.inference.containment import is_nested
from bayesmm.inference.terms import estimated


@dataclass(frozen=True)
class Step:
    """What leads from a smaller model to a larger one.

    Attributes
    ----------
    reasons : tuple of str
        Why the smaller is not a special case of the larger; empty if it is.
    same_fixed : bool
        Whether their fixed parts span the same space.
    added : int
        Number of random effects for each level that the larger has and the smaller has not.
    limits : tuple of str
        What the smaller says of parameters of the larger's family: ``"1 / shape is 0"`` of a negative binomial.
    """

    reasons: tuple[str, ...]
    same_fixed: bool
    added: int
    limits: tuple[str, ...] = ()


def compare_designs(small: Design, large: Design) -> Step:
    """Return how two models of the same data differ: families, column spaces of X, random terms of the smaller one."""
    X, wide = small.X[:, estimated(small)], large.X[:, estimated(large)]
    reasons, limits = [], limits_of(small.family, large.family)
    if limits is None:
        reasons.append(f"its family {small.family.name} is no special case of {large.family.name}")
    if not spans(wide, X):
        reasons.append("its fixed effects are no linear combinations of the other's")
    if not np.allclose(small.offset, large.offset):
        reasons.append("its offset is another one")
    for block in small.blocks:
        for part in block.parts:
            if not _has_place(block, part, large):
                terms = ", ".join(block.columns[i] for i in part.columns)
                name = "" if part.covariance.free else part.covariance.name
                reasons.append(f"its random term {name}({terms} | {block.group}) is not part of one of the other's")
    added = _effects(large) - _effects(small)
    return Step(tuple(reasons), X.shape[1] == wide.shape[1] and not reasons, added, limits or ())


def _effects(design: Design) -> int:
    return sum(len(block.columns) for block in design.blocks)


def _has_place(block: Block, part: Part, large: Design) -> bool:
    """Return whether the effects of a part are linear combinations of those of one correlated part of the other."""
    return any(
        len(other.levels) == len(block.levels)
        and is_nested(block.index, other.index)
        and any(_holds(other, whole, block, part) for whole in other.parts)
        for other in large.blocks
    )


def _holds(other: Block, whole: Part, block: Block, part: Part) -> bool:
    """Return whether a part with any covariance matrix spans another, or is the same structure of the same columns."""
    wide, columns = other.Z[:, list(whole.columns)], block.Z[:, list(part.columns)]
    if whole.covariance.free:
        return spans(wide, columns)
    same = wide.shape == columns.shape and np.allclose(wide, columns)
    return same and whole.covariance == part.covariance
