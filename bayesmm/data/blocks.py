"""One block per grouping factor: all group terms on the same factor, their columns coded and put side by side."""

from collections.abc import Sequence

import numpy as np

from bayesmm.data.checks import checked_matrix
from bayesmm.data.coding import Coding, Values, learn_coding, matrix_names
from bayesmm.data.groups import Block, Grouping, learn_grouping, safe_names
from bayesmm.data.messages import note, warning
from bayesmm.data.scope import Scope
from bayesmm.errors import DataError
from bayesmm.formula import Bar, Formula


def make_blocks(
    formula: Formula, values: Values, scope: Scope, residual: bool = True
) -> tuple[tuple[Block, ...], tuple[tuple[Coding, ...], ...], tuple[Grouping, ...]]:
    """Return one block per grouping factor, and what encodes it: all group terms on the same factor are one block.

    `residual` says whether the family has a residual standard deviation, from which the effects must be told apart.
    """
    together: dict[tuple[str, ...], list[Bar]] = {}
    for bar in formula.bars:
        together.setdefault(tuple(column.name for column in bar.group), []).append(bar)
    names = safe_names([":".join(factors) for factors in together])
    blocks, codings, groupings = [], [], []
    for (factors, bars), name in zip(together.items(), names, strict=True):
        grouping, index = learn_grouping(factors, scope)
        block, coded = _block(name, grouping, index, bars, values, scope.learning)
        for bar, coding in zip(bars, coded, strict=True):
            _say_about_effects(bar, matrix_names(coding, values), block, scope, residual)
        blocks.append(block)
        codings.append(coded)
        groupings.append(grouping)
    return tuple(blocks), tuple(codings), tuple(groupings)


def _block(
    name: str, grouping: Grouping, index: np.ndarray, bars: Sequence[Bar], values: Values, learning: bool
) -> tuple[Block, tuple[Coding, ...]]:
    group, parts, columns, partition, codings = ":".join(grouping.factors), [], [], [], []
    for bar in bars:
        coding = learn_coding(bar.intercept, bar.terms, values)
        Z, names = checked_matrix(coding, values, len(index), str(bar), learning)
        places = range(len(columns), len(columns) + len(names))
        partition += [tuple(places)] if bar.correlated else [(k,) for k in places]
        parts.append(Z)
        columns += names
        codings.append(coding)
    if len(set(columns)) < len(columns):
        raise DataError(
            f"two random effects of '{group}' have the same name ({', '.join(columns)}); write each effect once"
        )
    Z = np.ascontiguousarray(np.hstack(parts))
    block = Block(group, name, grouping.factors, index, grouping.levels, tuple(columns), Z, tuple(partition))
    return block, tuple(codings)


def _say_about_effects(bar: Bar, names: Sequence[Sequence[str]], block: Block, scope: Scope, residual: bool) -> None:
    """Apply lme4's check.nobs.vs.nRE to a group term, and say where ``||`` differs from lme4's."""
    n, effects = len(block.index), len(block.levels) * sum(map(len, names))
    alone = len(block.levels) == n and effects == n  # one effect for each row: `residual_confounded` has its word
    if bar.correlated and not alone and (effects >= n if residual else effects > n):
        found = f"{bar} has {effects:,} random effects for {n:,} rows, so their standard deviations"
        scope.say(
            warning(f"{found} and the residual's are told apart by the priors alone")
            if residual
            else warning(f"{found} rest largely on the priors")
        )
    wide = [term for term in names if len(term) > 1]
    if not bar.correlated and wide:
        scope.say(
            note(
                f"{bar} makes all its effects independent, also the {len(wide[0])} columns of one term among "
                "themselves; lme4 before version 2 keeps those correlated"
            )
        )
