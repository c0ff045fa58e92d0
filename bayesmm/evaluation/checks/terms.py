"""What may be changed in a group term whose covariance matrix the data do not show, by what kind of term it is."""

from collections.abc import Sequence

import numpy as np

from bayesmm.design.blocks import bars_by_block
from bayesmm.design.parameters import Parameter
from bayesmm.design.records import Block, Design
from bayesmm.design.smooth_places import CurvePlace, curve_places
from bayesmm.design.summed import is_summed
from bayesmm.formula.formula import arguments_of, text_of

BAR = "write || for |"
ROUNDING = 1e-8  # of a column, below which another has nothing of it: it is centred already; ours


def without_correlation(design: Design, k: int) -> str:
    """Return how the correlations of block k are left out; "" where it has none."""
    block = design.blocks[k]
    if block.smooth or block.members or not block.correlated:
        return ""
    several = len(set(block.predictors)) > 1 or design.responses  # whose effects a name between two bars correlates
    keys = [bar.key for bar in bars_by_block(design.formula)[k] if bar.key] if several else []
    if keys:
        return f"leave {keys[0]} and its bar out, as in (1 | {':'.join(block.factors)})"
    named = [p.covariance.name for p in block.parts if not (p.covariance.free or p.covariance.diagonal)]
    return f"write diag() in place of {named[0]}()" if named else BAR


def centring(design: Design, k: int) -> str:
    """Return what a change of the terms of block k needs beside it: a term is left out where the numbers are 0."""
    numbers = any(movers(design, k, i)[0] for i in range(len(design.blocks[k].columns)))
    return ", with center() around the predictors" if numbers else ""


def movers(design: Design, k: int, i: int) -> tuple[list[str], list[str]]:
    """Return the columns of block k that make effect i another at their means: numbers, and indicators of factors."""
    block, R = design.blocks[k], design.spec.bases.blocks[k].R
    if is_summed(design):  # whose columns are with an engine: any entry counts
        size, indicators = np.abs(R[i]), ["[" in name for name in block.columns]
    else:
        norms = np.linalg.norm(block.Z, axis=0)
        size = np.abs(R[i]) * norms[i] / np.where(norms > 0, norms, 1.0)
        indicators = np.isin(block.Z, (-1.0, 0.0, 1.0)).all(axis=0)  # and contrasts of two levels
    moving = [j for j in np.flatnonzero(size > ROUNDING) if j != i]
    numbers, others = ([block.columns[j] for j in moving if indicators[j] == kind] for kind in (False, True))
    return numbers, others


def smaller(design: Design, k: int) -> str:
    """Return what to write in place of block k where a variance is 0 or a correlation 1."""
    block = design.blocks[k]
    if block.smooth:
        place = _place(design, k)
        x, *others = place.variables
        if others:
            return f"compare it with s({x}) + s({others[0]})"
        if place.level:
            by = text_of(arguments_of(place.call)["by"])
            return f"if no curve of {text_of(place.call)} bends, write {by}:{x} in their place"
        return f"write {x} in place of {block.group}"
    step = without_correlation(design, k)
    return f"leave the term out, {step}" if step else "leave the term out"


def bends(design: Design, sd: Parameter) -> str:
    """Return what is so of a smooth whose sd is above 0: "s(x) bends", "t2(x, z) bends along x"."""
    block = design.blocks[sd.block]
    x, *others = _place(design, sd.block).variables
    part = next(text for text, column in block.sds if column == sd.terms[0])
    along = f" along {({'first': x, 'second': others[0], 'both': 'both at once'})[part]}" if others else ""
    return f"{block.group} bends{along}"


def _place(design: Design, k: int) -> CurvePlace:
    return next(place for place in curve_places(design) if place.block == k)


def terms_text(block: Block, columns: Sequence[int]) -> str:
    """Return what a correlation is between: "two terms", or of a structure that is one of more columns "terms"."""
    alone = [part for part in block.parts if set(columns) <= set(part.columns)]
    return "two terms" if not alone or alone[0].covariance.free or len(alone[0].columns) == 2 else "terms"


def factor_text(block: Block) -> tuple[str, str]:
    """Return the factor of a block, and in which formula it stands: "" in that of the mean."""
    own = {name for name in block.predictors if name}
    alone = len(set(block.predictors)) == 1 and own
    return (":".join(block.factors), f" in the formula of {own.pop()}") if alone else (block.group, "")
