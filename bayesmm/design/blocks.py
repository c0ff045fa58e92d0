"""One block per grouping factor: all group terms on the same factor, their columns coded and put side by side."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from bayesmm.design.checks import checked_matrix
from bayesmm.design.coding import INTERCEPT, Coding, Factor, Numbers, Values, is_response, learn_coding, matrix_names
from bayesmm.design.covariance import identity
from bayesmm.design.covariance.structure import Part
from bayesmm.design.covariance.structures import STRUCTURES, make_parts
from bayesmm.design.groups import learn_grouping, safe_names
from bayesmm.design.members import members_block
from bayesmm.design.parameters import MEAN, of_parameter, of_response, residual_names
from bayesmm.design.records import Block
from bayesmm.design.related_levels import Matrix, relation_of
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.smooth_rows import Curve, curves
from bayesmm.design.spec import Grouping
from bayesmm.design.state import Scope
from bayesmm.design.summed import is_indicator, mean
from bayesmm.design.transforms import smooth_rows
from bayesmm.errors import DataError, listing
from bayesmm.families.family import Family
from bayesmm.formula.formula import Bar, Formula
from bayesmm.runtime.messages import note, warning

SAME = 1e-9  # of a share of rows: rounding
FAR = 2.0  # standard deviations of a slope's variable between its mean and its 0; ours


def make_blocks(
    formula: Formula, values: Values, scope: Scope, family: Family, own: Residuals, matrices: Mapping[str, Matrix]
) -> tuple[tuple[Block, ...], tuple[tuple[Coding, ...], ...], tuple[Grouping, ...]]:
    """Return one block per grouping factor, and what encodes it: all group terms on the same factor are one block.

    Behind them stand the penalised parts of the smooths, which the formula's terms encode.

    Where the residual `own` has a standard deviation that is not known the effects must be told apart from it.
    """
    residual, taken = family.has_residual_sd and own.sigma != "known", residual_names(own)
    together = bars_by_block(formula)
    found = [curve for call in formula.smooths for curve in curves(smooth_rows(call, scope))]
    groups = block_labels(together)
    _check_labels([*groups, *(curve.name for curve in found)], together)
    names = safe_names([*groups, *(curve.name for curve in found)], family, taken)
    blocks, codings, groupings = [], [], []
    for bars, group, name in zip(together, groups, names, strict=False):
        if bars[0].weights:
            block, grouping = members_block(name, bars, values, scope)
            blocks, codings, groupings = [*blocks, block], [*codings, ()], [*groupings, grouping]
            continue
        grouping, index = learn_grouping(bars[0].columns, scope)
        block, coded = _block(group, name, grouping, index, bars, values, scope.learning)
        block = _related(block, bars, formula, family, matrices)
        say_about_block(block, bars, coded, values, scope, residual and not bars[0].of)
        blocks.append(block)
        codings.append(coded)
        groupings.append(grouping)
    smooth = [_curve_block(curve, name) for curve, name in zip(found, names[len(groups) :], strict=True)]
    _say_about_keys(formula, scope)
    return (*blocks, *smooth), (*codings, *((),) * len(smooth)), tuple(groupings)


def _curve_block(curve: Curve, name: str) -> Block:
    """Return the penalised part of a curve as effects of one level, those of each part with one sd."""
    q, ends = curve.Z.shape[1], np.cumsum([0, *curve.parts])
    parts = tuple(
        Part(tuple(range(start, end)), identity.covariance, text)
        for start, end, text in zip(ends[:-1].tolist(), ends[1:].tolist(), curve.names, strict=True)
    )
    columns, index = tuple(str(j + 1) for j in range(q)), np.zeros(len(curve.Z), dtype=np.int64)
    return Block(curve.name, name, (), index, ("curve",), columns, curve.Z, parts, smooth=True)


def say_about_block(
    block: Block, bars: Sequence[Bar], coded: Sequence[Coding], values: Values, scope: Scope, residual: bool
) -> None:
    """Keep what the group terms of a block, and where their slopes have their zeros, give cause to say."""
    for bar, coding in () if any(bar.by for bar in bars) else zip(bars, coded, strict=True):
        _say_about_effects(bar, matrix_names(coding, values), block, scope, residual)
    _say_about_origins(block, [name for coding in coded for name in _slopes(coding, values)], scope)
    _say_about_scales(block, scope)


def _say_about_scales(block: Block, scope: Scope) -> None:
    """Keep a note where columns that are no indicators of one factor share an sd: their units are then in the model."""
    for part in block.parts:
        shared = any(entry.kind == "sd" and len(entry.places) > 1 for entry in part.entries)
        columns = [block.Z[:, j] for j in part.columns] if shared else []
        if not columns or (all(is_indicator(z, 1.0) for z in columns) and sum(map(mean, columns)) <= 1.0 + SAME):
            continue
        names = listing(block.columns[j] for j in part.columns)
        scope.say(
            note(
                f"{part.text} gives {names} in '{block.group}' one sd, whatever their units; the columns of "
                f"(0 + f | {block.group}), f a factor, are alike, and those of (x || {block.group}) have an sd each"
            )
        )


def _related(
    block: Block, bars: Sequence[Bar], formula: Formula, family: Family, matrices: Mapping[str, Matrix]
) -> Block:
    """Return the block with the known covariance of its levels, if its group term names one."""
    names = [bar.relation for bar in bars if bar.relation]
    if not names:
        return block
    term = f"gr({block.group}, cov = {names[0]})"
    if family.varying or any(bar.of for bar in formula.bars):
        whose = "sigma" if family.varying else "a parameter of the family"
        raise DataError(f"{term} is not possible beside random effects of {whose}; leave one of the two out")
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


def bars_by_block(formula: Formula) -> list[list[Bar]]:
    """Return the group terms of each block, those of parameters too.

    A parameter's are a block of their own, except those that have the key of others on the same factor: these are all
    in the block of the first, side by side.
    """
    together: dict[tuple[str, tuple[str, ...]], list[Bar]] = {}
    for bar in formula.bars:
        with_key = (b.of for b in formula.bars if b.key and (b.key, b.columns) == (bar.key, bar.columns))
        together.setdefault((next(with_key, bar.of), bar.columns), []).append(bar)
    found = []
    for bars in together.values():
        first = {bar.key: at for at, bar in reversed(list(enumerate(bars))) if bar.key}
        found.append([bar for _, bar in sorted(enumerate(bars), key=lambda one: first.get(one[1].key, one[0]))])
    return found


def block_labels(together: Sequence[Sequence[Bar]]) -> list[str]:
    """Return what the blocks are called: by their factor, and before it the parameter that they are of.

    One of several parameters is called by its factor alone, unless the mean has a block of that factor besides.
    """
    found, owners = [], [list(dict.fromkeys(bar.of for bar in bars)) for bars in together]
    of_mean = {bars[0].columns for bars, of in zip(together, owners, strict=True) if MEAN in of}
    for bars, of in zip(together, owners, strict=True):
        group = ":".join(bars[0].columns)
        plain = MEAN in of or (len(of) > 1 and bars[0].columns not in of_mean)
        found.append(group if plain else of_parameter("_".join(of), group))
    return found


def _check_labels(labels: Sequence[str], together: Sequence[Sequence[Bar]]) -> None:
    """Raise a DataError where two blocks, or a block and a smooth, are called the same."""
    times = Counter(labels)
    twice = next((label for label in labels if times[label] > 1), None)
    if twice is None:
        return
    terms = [f"{bars[0]} in the formula of {bars[0].of}" if bars[0].of else str(bars[0]) for bars in together]
    found = [term for term, label in zip(terms, labels, strict=False) if label == twice]
    other = found[1] if len(found) > 1 else f"the smooth {twice}"
    raise DataError(f"{found[0]} and {other} would both be called '{twice}' in the results; rename a column of theirs")


def _say_about_keys(formula: Formula, scope: Scope) -> None:
    """Say which name between two bars stands in one group term only."""
    times = Counter((bar.key, bar.columns) for bar in formula.bars if bar.key)
    for bar in formula.bars:
        alone = times[bar.key, bar.columns] == 1 and not bar.specific
        if bar.key and alone and formula.several is None:
            scope.say(note(f"the name '{bar.key}' of {bar} stands in one group term only, so that it has no effect"))


def _block(
    group: str, name: str, grouping: Grouping, index: np.ndarray, bars: Sequence[Bar], values: Values, learning: bool
) -> tuple[Block, tuple[Coding, ...]]:
    def matrices(coding: Coding, bar: Bar) -> list[Columns]:
        Z, names = checked_matrix(coding, values, len(index), str(bar), learning)
        return [(Z * share, tuple(map(named, names)), named) for named, share in _shares(bar, group, index, values)]

    made = effects_of(group, bars, values, matrices)
    Z = np.ascontiguousarray(np.hstack(made.matrices))
    own = made.predictors if any(made.predictors) else ()
    return Block(
        group, name, grouping.factors, index, grouping.levels, made.columns, Z, made.parts, predictors=own
    ), made.codings


# A matrix of a group term, the names of its columns, and what makes the name of its covariance of the term's own
Columns = tuple[object, tuple[str, ...], Callable[[str], str]]


class Effects(NamedTuple):
    """The random effects of a grouping factor: their names, their parts, and of each group term coding and matrix."""

    columns: tuple[str, ...]
    parts: tuple[Part, ...]
    codings: tuple[Coding, ...]
    matrices: tuple[object, ...]
    predictors: tuple[str, ...]


def effects_of(
    group: str, bars: Sequence[Bar], values: Values, make: Callable[[Coding, Bar], Iterable[Columns]]
) -> Effects:
    """Return the effects of a grouping factor; `make` gives the matrices of a group term, one unless it says by.

    Group terms with one key are one part.
    """
    matrices, columns, parts, codings, predictors = [], [], [], [], []
    start, made_before, key, texts = 0, 0, "", []
    several = len({bar.of for bar in bars}) > 1
    for bar in bars:
        coding = learn_coding(bar.intercept, bar.terms, values)
        if not bar.key or bar.key != key:
            start, made_before, key, texts = len(columns), len(parts), bar.key, []
        else:
            del parts[made_before:]  # of independent columns there is one for each
        for Z, names, named in make(coding, bar):
            texts = [*texts, named(bar.effects)] if bar.key else [named(bar.effects)]
            end = len(columns) + len(names)
            parts += make_parts(bar.covariance, range(start if bar.key else len(columns), end), " + ".join(texts))
            matrices.append(Z)
            columns += [of_parameter(bar.of, name) if several and bar.of else name for name in names]
            predictors += [bar.of] * len(names)
            codings.append(coding)
    if len(set(columns)) < len(columns):
        raise DataError(
            f"two random effects of '{group}' have the same name ({', '.join(columns)}); write each effect once"
        )
    return Effects(tuple(columns), tuple(parts), tuple(codings), tuple(matrices), tuple(predictors))


def levels_of(factor: Factor) -> Iterator[tuple[int, str]]:
    """Return the levels of a factor with their codes."""
    return enumerate(factor.levels.labels)


def _shares(
    bar: Bar, group: str, index: np.ndarray, values: Values
) -> list[tuple[Callable[[str], str], np.ndarray]]:  # fmt: skip
    """Return what multiplies a group term's columns, (n, 1), and what makes their names of the term's own.

    Of ``gr(g, by = f)`` that is an indicator for each level of f, of effects on thresholds -1.

    Raises
    ------
    DataError
        f is no factor, or a level of g has several of its levels.
    """
    if bar.by is None:
        return [(str, np.full((1, 1), sign_of(bar)))]
    found, name = values[bar.by], bar.by.name
    if is_response(found):
        return [(partial(of_response, label), (found.codes == k)[:, None] * 1.0) for k, label in levels_of(found)]
    if not isinstance(found, Factor):
        raise DataError(f"gr({group}, by = {name}) needs a factor, and '{name}' holds numbers; make them text first")
    first = np.zeros(int(index.max()) + 1, dtype=np.int64)
    first[index] = found.codes
    if not np.array_equal(first[index], found.codes):
        raise DataError(
            f"gr({group}, by = {name}) needs one level of '{name}' for each level of '{group}', and a level has several"
        )
    return [
        (partial(_with_level, f":{name}[{label}]"), (found.codes == k)[:, None] * 1.0) for k, label in levels_of(found)
    ]


def sign_of(bar: Bar) -> float:
    """Return what the columns of a group term are multiplied by: effects are taken away from a threshold."""
    return -1.0 if bar.specific else 1.0


def _with_level(tail: str, name: str) -> str:
    return name + tail


def bar_columns(bar: Bar, Z: np.ndarray, values: Values) -> np.ndarray:
    """Return the columns of a group term on any rows, given those that its terms make, (m, q)."""
    if bar.by is None:
        return sign_of(bar) * Z
    codes, levels = values[bar.by].codes, len(values[bar.by].levels.labels)
    return np.hstack([Z * (codes == k)[:, None] for k in range(levels)])


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
        indicator = is_indicator(block.Z[:, j], 1.0)  # true and false have the one origin that they need
        if name in slopes and j not in correlated and abs(mean) > FAR * sd > 0 and not indicator:
            both = f"the random intercept and the slope of '{name}' in '{block.group}'"
            scope.say(
                note(
                    f"{both} are uncorrelated at {name} = 0, which is far from the data (mean {mean:.4g}, standard "
                    f"deviation {sd:.3g}); with another origin of '{name}' this is another model, so take one that "
                    f"means something, such as center({name}), or let them correlate: ({name} | {block.group})"
                )
            )
