"""The design of a model with another number of groups: whole levels of a grouping factor, copied under new labels."""

import numpy as np
import pandas as pd

from bayesmm.design.records import Design
from bayesmm.errors import DataError, listing, suggest
from bayesmm.formula.formula import column_nodes
from bayesmm.formula.roles import variables_of
from bayesmm.runtime.streams import stream


def outer_factor(design: Design, by: str | None) -> int:
    """Return the position among the design's blocks of the grouping factor whose levels are counted.

    Raises
    ------
    DataError
        The model has no grouping factor.
    ValueError
        `by` is none of them, or is not given although no factor has all the others nested in it.
    """
    known = factors_by_name(design)
    names = list(known)
    if not names:
        other = " besides mm() and smooths" if design.blocks else ""
        raise DataError(
            f"power is over the number of levels of a grouping factor, and the model has none{other}; write (1 | group)"
        )
    if by is not None:
        if by not in names:
            raise ValueError(
                f"by names {by!r}, which is no grouping factor of the model{suggest(str(by), names)} "
                f"(factors: {listing(names)})"
            )
        return known[by]
    indices = {k: design.blocks[k].index for k in known.values()}
    outer = [k for k, own in indices.items() if all(_nested(other, own) for other in indices.values())]
    if len(outer) != 1:
        raise ValueError(f"by should name the grouping factor whose levels are counted, one of {listing(names)}")
    return outer[0]


def factor_name(block) -> str:
    """Return the columns of a grouping factor, whose block may be called by a parameter of the family too."""
    return ":".join(block.factors) if block.predictors else block.group


def factors_by_name(design: Design) -> dict[str, int]:
    """Return the position of a block of each grouping factor: of several on the same columns the first."""
    found: dict[str, int] = {}
    for k in design.factors:
        found.setdefault(factor_name(design.blocks[k]), k)
    return found


def _nested(inner: np.ndarray, outer: np.ndarray) -> bool:
    """Return whether each inner level is within one outer level."""
    return len(np.unique(np.column_stack([inner, outer]), axis=0)) == len(np.unique(inner))


def resized(model, k: int, number: int, seed: int):
    """Return a model with `number` levels of its k-th grouping factor, on the rows that these have.

    Raises
    ------
    DataError
        The columns of the factor are also predictors, so that new labels would be new values of these; or new labels
        would be in no row of a matrix of covariances.
    """
    design = model.design
    outer = design.blocks[k]
    inside = [block for block in design.blocks if block.relation is not None and _nested(block.index, outer.index)]
    for own in inside:
        names = factors_by_name(design).items()
        free = [name for name, j in names if not _nested(own.index, design.blocks[j].index)]
        instead = f"count those of another factor, by = {free[0]!r}" if free else "use simulate() with data of your own"
        raise DataError(
            f"power copies levels of {outer.group!r} under new labels, and the matrix {own.relation.name!r} has no "
            f"row for new levels of {own.group!r}; {instead}"
        )
    rows, copies = _rows(outer.index, len(outer.levels), number, stream(seed, "copied levels", number))
    frame = design.frame.iloc[rows].reset_index(drop=True)
    for name in _relabelled(design, k):
        old = frame[name].astype(str)
        frame[name] = pd.Series([f"{label} copy {c}" for label, c in zip(old, copies, strict=True)], dtype=object)
    own = {name: values[rows] for name, values in design.beside.items()}
    return model.with_data(frame, **own)


def repeated_rows(model, number: int):
    """Return a model with every row of its data so many times: observations for each cell of the design."""
    if number == 1:
        return model
    rows = np.repeat(np.arange(model.design.n), number)
    own = {name: values[rows] for name, values in model.design.beside.items()}
    return model.with_data(model.design.frame.iloc[rows].reset_index(drop=True), **own)


def _rows(index: np.ndarray, levels: int, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `number` levels, chosen at random, each as often as the others to one, and their copies."""
    whole, rest = divmod(number, levels)
    chosen = np.concatenate([np.tile(np.arange(levels), whole), np.sort(rng.permutation(levels)[:rest])])
    copy = np.concatenate([np.repeat(np.arange(whole), levels), np.full(rest, whole)])
    of_level = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index, minlength=levels))[:-1])
    rows = [of_level[level] for level in chosen]
    return np.concatenate(rows), np.repeat(copy, [len(part) for part in rows])


def _relabelled(design: Design, k: int) -> list[str]:
    """Return the columns that get new labels: one of the factor and of each factor that is nested in it."""
    predictors = {
        node.name for expr in [*variables_of(design.formula), *design.formula.offsets] for node in column_nodes(expr)
    }
    names = []
    for block in (design.blocks[j] for j in design.factors):
        if not _nested(block.index, design.blocks[k].index):
            continue
        free = [name for name in block.factors if name not in predictors]
        if not free:
            raise DataError(
                f"the grouping factor {block.group!r} is also a predictor, so that there is no saying what it is in "
                "further groups; power needs a grouping factor that only groups"
            )
        names.append(free[-1])
    return list(dict.fromkeys(names))
