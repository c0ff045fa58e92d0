"""Whether one fitted model is a special case of another, and how their random parts differ."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bayesmm.design.covariance.structure import Part
from bayesmm.design.dependence import spans
from bayesmm.design.predictors import MEAN, part_of
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.of_family import THRESHOLD
from bayesmm.design.residual.scale import STRUCTURE as OF_SIGMA
from bayesmm.design.residual.structure import ResidualTerm
from bayesmm.design.summed import RowLevels, SummedMatrix, in_terms_of, is_summed, rows_of
from bayesmm.families.families import limits_of
from bayesmm.inference.checks import estimated
from bayesmm.inference.containment import is_nested


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
    if not _spans(_with_specific(wide, large), X):
        reasons.append("its fixed effects are no linear combinations of the other's")
    if not _same_offset(small, large):
        reasons.append("its offset is another one")
    reasons += _residual_reasons(small, large)
    for block in small.blocks:
        for part in block.parts:
            if not _has_place(block, part, large):
                reasons.append(f"its {_said(block, part)} is not part of one of the other's")
    added = _effects(large) - _effects(small)
    limits = (*(limits or ()), *_residual_limits(small, large))
    return Step(tuple(reasons), X.shape[1] == wide.shape[1] and not reasons, added, limits)


def _with_specific(X, design: Design):
    """Return the columns of X and those of effects on each threshold, whose common part is an effect as of X."""
    found = [part.rows for part in design.residual.parts if part.of == THRESHOLD and part.rows is not None]
    return X if not found else np.hstack([X, *found])


def _said(block: Block, part: Part) -> str:
    """Return what a part of the random effects is called: a smooth as it is written, without its columns."""
    if block.smooth:
        return f"smooth {block.group}"
    terms = ", ".join(block.columns[i] for i in part.columns)
    return f"random term {'' if part.covariance.free else part.covariance.name}({terms} | {block.group})"


def _residual_reasons(small: Design, large: Design) -> list[str]:
    """Return why the residuals of the smaller are no special case: each structure has to be the other's as well.

    A structure that the larger alone has may be none at some value of its parameters, unless it says what sigma is.
    """
    found = [f"its residuals {part.text} are not among the other's" for part in _more(small, large)]
    told = [part.text for part in _more(large, small) if part.structure.sigma != "scale"]
    return found + [f"the other's standard errors {text} are not among its own" for text in told]


def _residual_limits(small: Design, large: Design) -> list[str]:
    """Return which parameters of structures that the larger alone has are at an end of their interval without them."""
    own = [parameter for part in _more(large, small) for parameter in part.parameters]
    return [f"{parameter.name} is 0" for parameter in own if parameter.support[0] == 0.0]


def _more(one: Design, other: Design) -> list[ResidualTerm]:
    """Return the structures of the residuals of one that the other has not, of the same rows.

    A formula of a parameter is in another one whose columns its own are combinations of.
    """

    def same(a: ResidualTerm, b: ResidualTerm) -> bool:
        if a.of == b.of == THRESHOLD:  # without effects on each threshold they are those with effects of 0
            return a.rows is None or (b.rows is not None and _spans(b.rows, a.rows))
        if _parameter_of(a) and _parameter_of(a) == _parameter_of(b):
            return bool(_spans(_with_level(b), _with_level(a)))
        return a.text == b.text and np.array_equal(a.rows, b.rows)

    return [part for part in one.residual.parts if not any(same(part, its) for its in other.residual.parts)]


def _parameter_of(part: ResidualTerm) -> str:
    """Return the parameter whose formula a structure is: of linear models that of sigma is one of its own."""
    return part.of or ("sigma" if part.structure.name == OF_SIGMA.name else "")


def _with_level(part: ResidualTerm) -> np.ndarray:
    """Return the columns of a parameter's formula, those of its intercept among them."""
    level = [] if part.given or part.structure.sigma == "known" else [np.ones(len(part.rows))]
    return np.column_stack([*level, part.rows])


def _spans(wide, columns) -> bool:
    """Return whether columns are combinations of others; with an engine's sums, those that have the same names."""
    if isinstance(wide, SummedMatrix):
        columns = in_terms_of(columns, wide.sums)
        return columns is not None and spans(wide.rows, columns.rows)
    return spans(wide, columns)


def _same_offset(small: Design, large: Design) -> bool:
    if is_summed(small):
        return small.formula.offsets == large.formula.offsets
    return np.allclose(small.offset, large.offset)


def _same_levels(block: Block, other: Block) -> bool:
    """Return whether the rows have the same level in one of two blocks where they have it in the other."""
    if isinstance(block.index, RowLevels):
        return block.factors == other.factors
    return is_nested(block.index, other.index)


def _effects(design: Design) -> int:
    """Return the number of random effects of a level; those that share one sd count once."""
    parts = [part for block in design.blocks for part in block.parts]
    return sum(1 if part.covariance.diagonal else len(part.columns) for part in parts)


def _has_place(block: Block, part: Part, large: Design) -> bool:
    """Return whether the effects of a part are linear combinations of those of one correlated part of the other."""
    return any(
        len(other.levels) == len(block.levels)
        and _same_relation(block, other)
        and _same_levels(block, other)
        and any(_holds(other, whole, block, part) for whole in other.parts)
        for other in large.blocks
    )


def _by_predictor(block: Block, part: Part, names: Iterable[str]):
    """Return the columns of a part for each linear predictor below one another: no effect acts on two of them."""
    if set(names) == {MEAN}:
        return block.Z[:, list(part.columns)]
    return np.vstack([part_of(block, block.Z, name)[:, list(part.columns)] for name in names])


def _same_relation(block: Block, other: Block) -> bool:
    if block.relation is None or other.relation is None:
        return block.relation is other.relation
    return block.relation.is_that_of(other.relation)


def _holds(other: Block, whole: Part, block: Block, part: Part) -> bool:
    """Return whether a part with any covariance matrix spans another, or is the same structure of the same columns."""
    names = dict.fromkeys([MEAN, *block.predictors, *other.predictors])
    wide, columns = _by_predictor(other, whole, names), _by_predictor(block, part, names)
    if isinstance(wide, SummedMatrix):
        columns = in_terms_of(columns, wide.sums)
        if columns is None:
            return False
    if whole.covariance.free:
        return _spans(wide, columns)
    same = wide.shape == columns.shape and np.allclose(rows_of(wide), rows_of(columns))
    return same and whole.covariance == part.covariance
