"""One block per grouping factor: all group terms on the same factor, their columns coded and put side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bayesmm.design.checks import checked_matrix
from bayesmm.design.coding import INTERCEPT, Coding, Numbers, Values, learn_coding, matrix_names
from bayesmm.design.covariance.structures import STRUCTURES, make_parts
from bayesmm.design.groups import learn_grouping, safe_names
from bayesmm.design.parameters import residual_names
from bayesmm.design.records import Block
from bayesmm.design.relations import Matrix, relation_of
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.spec import Grouping
from bayesmm.design.state import Scope
from bayesmm.errors import DataError
from bayesmm.families.family import Family
from bayesmm.formula.formula import Bar, Formula
from bayesmm.runtime.messages import note, warning

FAR = 2.0  # standard deviations of a slope's variable between its mean and its 0; ours


def make_blocks(
    formula: Formula, values: Values, scope: Scope, family: Family, own: Residuals, matrices: Mapping[str, Matrix]
) -> tuple[tuple[Block, ...], tuple[tuple[Coding, ...], ...], tuple[Grouping, ...]]:
    """Return one block per grouping factor, and what encodes it: all group terms on the same factor are one block.

    Where the residual `own` has a standard deviation that is not known the effects must be told apart from it.
    """
    residual, taken = family.has_residual_sd and own.sigma != "known", residual_names(own)
    together = bars_by_group(formula)
    names = safe_names([":".join(factors) for factors in together], family, taken)
    blocks, codings, groupings = [], [], []
    for (factors, bars), name in zip(together.items(), names, strict=True):
        grouping, index = learn_grouping(factors, scope)
        block, coded = _block(name, grouping, index, bars, values, scope.learning)
        block = _related(block, bars, family, matrices)
        for bar, coding in zip(bars, coded, strict=True):
            _say_about_effects(bar, matrix_names(coding, values), block, scope, residual)
        _say_about_origins(block, [name for coding in coded for name in _slopes(coding, values)], scope)
        blocks.append(block)
        codings.append(coded)
        groupings.append(grouping)
    return tuple(blocks), tuple(codings), tuple(groupings)


def _related(block: Block, bars: Sequence[Bar], family: Family, matrices: Mapping[str, Matrix]) -> Block:
    """Return the block with the known covariance of its levels, if its group term names one."""
    names = [bar.relation for bar in bars if bar.relation]
    if not names:
        return block
    term = f"gr({block.group}, cov = {names[0]})"
    if not family.gaussian:
        raise DataError(f"{term} is for gaussian models with the identity link, and the family is {family.label}")
    if len(bars) > 1:
        raise DataError(
            f"'{block.group}' stands in {term} and in another group term; copy the column under another name for that"
        )
    if len(block.columns) > 1:
        raise DataError(f"{term} has {len(block.columns)} effects in a level, and it can have one; write (1 | {term})")
    return replace(block, relation=relation_of(names[0], block.group, matrices[names[0]], block.levels))


def bars_by_group(formula: Formula) -> dict[tuple[str, ...], list[Bar]]:
    """Return the group terms by the columns of their grouping factor: an entry for each block, in their order."""
    together: dict[tuple[str, ...], list[Bar]] = {}
    for bar in formula.bars:
        together.setdefault(bar.columns, []).append(bar)
    return together


def _block(
    name: str, grouping: Grouping, index: np.ndarray, bars: Sequence[Bar], values: Values, learning: bool
) -> tuple[Block, tuple[Coding, ...]]:
    group, values_of, columns, parts, codings = ":".join(grouping.factors), [], [], [], []
    for bar in bars:
        coding = learn_coding(bar.intercept, bar.terms, values)
        Z, names = checked_matrix(coding, values, len(index), str(bar), learning)
        parts += make_parts(bar.covariance, range(len(columns), len(columns) + len(names)), bar.effects)
        values_of.append(Z)
        columns += names
        codings.append(coding)
    if len(set(columns)) < len(columns):
        raise DataError(
            f"two random effects of '{group}' have the same name ({', '.join(columns)}); write each effect once"
        )
    Z = np.ascontiguousarray(np.hstack(values_of))
    block = Block(group, name, grouping.factors, index, grouping.levels, tuple(columns), Z, tuple(parts))
    return block, tuple(codings)


def _say_about_effects(bar: Bar, names: Sequence[Sequence[str]], block: Block, scope: Scope, residual: bool) -> None:
    """Apply lme4's check.nobs.vs.nRE to a group term, and say where ``||`` differs from lme4's."""
    n, effects = len(block.index), len(block.levels) * sum(map(len, names))
    alone = len(block.levels) == n and effects == n  # one effect for each row: `residual_confounded` has its word
    known = STRUCTURES[bar.covariance]
    if (
        known.free
        and not known.apart
        and not alone
        and not block.relation
        and (effects >= n if residual else effects > n)
    ):
        found = f"{bar} has {effects:,} random effects for {n:,} rows, so their standard deviations"
        scope.say(
            warning(f"{found} and the residual's are told apart by the priors alone")
            if residual
            else warning(f"{found} rest largely on the priors")
        )
    wide = [term for term in names if len(term) > 1]
    if known.apart and wide:
        scope.say(
            note(
                f"{bar} makes all its effects independent, also the {len(wide[0])} columns of one term among "
                "themselves; lme4 before version 2 keeps those correlated"
            )
        )


def _slopes(coding: Coding, values: Values) -> list[str]:
    """Return the columns that are one number each as it stands: no basis, no interaction, no indicator of a level."""
    named = zip(coding.terms, matrix_names(coding, values)[coding.intercept :], strict=True)
    return [names[0] for term, names in named if len(names) == len(term) == 1 and isinstance(values[term[0]], Numbers)]


def _say_about_origins(block: Block, slopes: Sequence[str], scope: Scope) -> None:
    """Say where a slope is uncorrelated with the intercept at an x = 0 that lies far from the data.

    With b0 + b1 x = (b0 + b1 m) + b1 (x - m), independent b0 and b1 are correlated at the origin m: moving the origin
    changes the model, and the correlation there, sd(b1) m / sqrt(var(b0) + var(b1) m^2), is what the data are held to.
    """
    if INTERCEPT not in block.columns:
        return
    correlated = {column for part in block.partition for column in part if block.columns.index(INTERCEPT) in part}
    for j, name in enumerate(block.columns):
        mean, sd = float(block.Z[:, j].mean()), float(block.Z[:, j].std())
        indicator = np.isin(block.Z[:, j], (0.0, 1.0)).all()  # true and false have the one origin that they need
        if name in slopes and j not in correlated and abs(mean) > FAR * sd > 0 and not indicator:
            both = f"the random intercept and the slope of '{name}' in '{block.group}'"
            scope.say(
                note(
                    f"{both} are uncorrelated at {name} = 0, which is far from the data (mean {mean:.4g}, standard "
                    f"deviation {sd:.3g}); with another origin of '{name}' this is another model, so take one that "
                    f"means something, such as center({name}), or let them correlate: ({name} | {block.group})"
                )
            )
