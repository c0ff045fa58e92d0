"""Lints: data that can be fitted as they are, but probably do not say what their author means.

One small function for each matter, all of them in `LINTS`; each gives at most one message for one cause, with the
numbers found and what to write instead. Other remarks on the data stand where they arise: few levels and levels of one
row in ``groups``, scales, outliers and codes of missing values in ``checks``, texts that are numbers in ``factors``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from bayesmm.design.coding import INTERCEPT, Factor, Values
from bayesmm.design.few_values import as_a_line, rare_levels
from bayesmm.design.level_pairs import together, varies_within
from bayesmm.design.records import Block
from bayesmm.design.variables import Variable, observed_levels
from bayesmm.design.words import COLLECTIVE, LASTING, RECURRING, named_as_code, words_of
from bayesmm.errors import listing
from bayesmm.formula.formula import Bar, Column, Formula, Term, column_nodes, columns_of, quoted_name
from bayesmm.runtime.messages import Message, count, label_text, note, warning

FEWEST_CODES = 3  # two codes are an indicator: as a number and as a factor they give the same model
MOST_FIXED = 20  # levels up to which a fixed factor is the first advice; with more a grouping factor is; ours
ROWS_PER_CODE = 2  # mean number of rows for each value from which a number repeats like a code; ours
MOST_RESTART = 0.9  # share of the outer levels whose inner codes start again from the first; the rest are gaps; ours
VARIES_IN_FEW = 0.5  # share of levels within which a slope's covariate varies, up to which it is worth a word; ours
DOMINANT = 0.5  # share of the rows in one of at least this many levels: the rest can hardly say how levels differ; ours
DOMINANT_LEVELS = 5
ROWS_LOOKED_AT = 50_000  # where all would take long and say the same; ours
SHOWN = 3  # examples in a sentence


@dataclass(frozen=True, eq=False)
class Look:
    """What the lints look at: the formula, its evaluated variables, the blocks and the columns of the data."""

    formula: Formula
    values: Values
    blocks: Sequence[Block]
    variables: Mapping[str, Variable]


def data_lints(
    formula: Formula, values: Values, blocks: Sequence[Block], variables: Mapping[str, Variable]
) -> list[Message]:
    """Return what the lints have to say, in the order of `LINTS`.

    Parameters
    ----------
    formula : Formula
    values : mapping of Expr to Numbers or Factor
        Every variable of the terms and the bars, evaluated.
    blocks : sequence of Block
    variables : mapping of str to Variable
        The columns, in the rows that the model uses.

    Returns
    -------
    list of Message
    """
    look = Look(formula, values, blocks, variables)
    return [message for lint in LINTS for message in lint(look)]


def sums_lints(
    formula: Formula, values: Values, blocks: Sequence[Block], variables: Mapping[str, Variable]
) -> list[Message]:
    """Return what those have to say that need no rows: `variables` are of a few of them, with every level."""
    look = Look(formula, values, blocks, variables)
    return [message for lint in LINTS if lint not in OF_ROWS for message in lint(look)]


# ----------------------------------------------------------------------------------------------------------------------
# columns


def codes_as_numbers(look: Look) -> list[Message]:
    """Whole numbers that are codes by their name or by their other use, and enter with one slope."""
    said, grouping = [], {name for block in look.blocks for name in block.factors}
    sloped = {e.name for bar in look.formula.bars for t in bar.terms for e in t.factors if isinstance(e, Column)}
    for name in _number_columns(look):
        values = look.variables[name].values
        if not (name in grouping or named_as_code(name)):
            said += [] if name in sloped else as_a_line(name, values)
            continue
        if values.dtype == np.float64 and not np.array_equal(values, np.floor(values)):
            continue
        distinct = len(pd.unique(values))
        if distinct < FEWEST_CODES or distinct * ROWS_PER_CODE > len(values):
            continue
        said.append(_one_slope(name, distinct, name in grouping))
    return said


def _one_slope(name: str, distinct: int, groups: bool) -> Message:
    quoted = quoted_name(name)
    enters = f"'{name}' has {distinct:,} whole numbers and enters as a number with one slope"
    if groups:
        return warning(
            f"{enters}, though it is also a grouping factor; if its numbers are codes, leave it out of the other terms"
        )
    others = f"factor({quoted})" if distinct <= MOST_FIXED else f"(1 | {quoted})"
    also = f" or (1 | {quoted})" if distinct <= MOST_FIXED else ""
    return warning(f"{enters}, though its name says that they are codes; as groups write {others}{also}")


def _number_columns(look: Look) -> list[str]:
    """Return the numeric columns that stand as they are in a term, fixed or random."""
    terms = [*look.formula.terms, *(term for bar in look.formula.bars for term in bar.terms)]
    names = dict.fromkeys(e.name for term in terms for e in term.factors if isinstance(e, Column))
    return [name for name in names if look.variables[name].kind == "number"]


def similar_levels(look: Look) -> list[Message]:
    """Levels that differ only by blanks or capitals, which are two spellings of one thing more often than not."""
    said = []
    for name in _factor_columns(look):
        variable = look.variables[name]
        if variable.kind not in ("text", "category", "ordered"):
            continue
        labels = observed_levels(variable).labels
        families = _spellings(labels)
        if families:
            shown = listing([" and ".join(map(label_text, family)) for family in families], limit=SHOWN)
            levels = f"{sum(map(len, families)):,} of the {len(labels):,} levels of '{name}'"
            capitals = any(len({" ".join(label.split()) for label in family}) > 1 for family in families)
            repair = f"data['{name}'].str.strip()" + (".str.lower()" if capitals else "")
            said.append(
                warning(f"{levels} differ only by blanks or capitals ({shown}); if they are the same, use {repair}")
            )
    return said


def _factor_columns(look: Look) -> list[str]:
    fixed = [node.name for e, v in look.values.items() if isinstance(v, Factor) for node in column_nodes(e)]
    return list(dict.fromkeys([*(name for block in look.blocks for name in block.factors), *fixed]))


def _spellings(labels: Sequence[str]) -> list[list[str]]:
    """Return the groups of labels that are alike; capitals count where a label is one or two letters (AA, Aa)."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        bare = " ".join(label.split())
        alike.setdefault(bare if len(bare) <= 2 and bare.isalpha() else bare.casefold(), []).append(label)
    return [family for family in alike.values() if len(family) > 1]


# ----------------------------------------------------------------------------------------------------------------------
# pairs of factors


def reused_ids(look: Look) -> list[Message]:
    """Codes of one factor that start again in every level of another, though the two enter as crossed."""
    single = [block for block in look.blocks if len(block.factors) == 1]
    joint = [set(block.factors) for block in look.blocks]
    said = []
    for a, b in combinations(single, 2):
        if any({a.group, b.group} <= factors for factors in joint):
            continue
        a, b = together(a, b)
        first = (b, a) if _holds(b, a) else (a, b)
        for outer, inner in (first, first[::-1]):
            if _reused(outer, inner, _some_rows(outer)):  # all rows only where some of them give cause
                said += _reused(outer, inner, np.arange(len(a.index)))
                break
            if outer is first[0] and _crossed(a, b):
                break  # either might be the inner one, for all we know
    return said


def _some_rows(block: Block) -> np.ndarray:
    """Return the rows of the first levels of a block, as many as are quickly looked at."""
    ends = np.cumsum(np.bincount(block.index, minlength=len(block.levels)))
    return np.flatnonzero(block.index <= np.searchsorted(ends, ROWS_LOOKED_AT))


def _crossed(a: Block, b: Block) -> bool:
    """Return whether the first levels of `a` occur with every level of `b`."""
    rows = _some_rows(a)
    cells = pd.unique(a.index[rows] * len(b.levels) + b.index[rows])
    return len(cells) == (a.index[rows].max() + 1) * len(b.levels)


def _holds(a: Block, b: Block) -> bool:
    """Return whether `a` is rather the outer one of two factors: by its name, else by its larger number of levels."""
    by_name = [bool(set(words_of(block.group)) & COLLECTIVE) for block in (a, b)]
    return by_name[0] if by_name[0] != by_name[1] else len(a.levels) > len(b.levels)


def _reused(outer: Block, inner: Block, rows: np.ndarray) -> list[Message]:
    """Judge one order of two factors by some rows, those of the first levels of the outer one."""
    order = _numbering(inner.levels)
    if order is None:
        return []
    cells = pd.unique(outer.index[rows] * len(inner.levels) + inner.index[rows])
    at, rank = cells // len(inner.levels), order[cells % len(inner.levels)]
    sizes = np.bincount(at)
    highest = np.zeros(len(sizes), dtype=np.int64)
    np.maximum.at(highest, at, rank)
    restart = highest + 1 == sizes
    if len(sizes) < 2 or restart.mean() < MOST_RESTART or sizes.max() < 2:
        return []
    levels = f"{len(inner.levels):,} levels of '{inner.group}'"
    if (sizes == len(inner.levels)).all():  # the usual crossed design; nothing was numbered anew
        spread = f"every level of '{outer.group}' has all {levels}, which"
    else:
        spread = f"the {levels} start again in each of the {len(outer.levels):,} levels of '{outer.group}' and"
    a, b = quoted_name(outer.group), quoted_name(inner.group)
    taken = f"are taken as the same {len(inner.levels):,} throughout (crossed)"
    advice = f"if they are {len(cells):,} different ones, write (1 | {a}/{b})"
    usual = set(words_of(inner.group)) & RECURRING and sizes.min() == sizes.max()
    return [(note if usual else warning)(f"{spread} {taken}; {advice}")]


def _numbering(labels: Sequence[str]) -> np.ndarray | None:
    """Return the rank of each label if the labels number things (1, 2; a, b; pup1, pup2), else None."""
    if all(len(label) == 1 and label.isalpha() for label in labels):
        numbers = [ord(label) for label in labels]
    else:
        found = [re.fullmatch(r"(.*?)(\d{1,15})", label, re.DOTALL) for label in labels]
        if not all(found) or len({match[1] for match in found}) > 1:
            return None
        numbers = [int(match[2]) for match in found]
    return np.argsort(np.argsort(numbers, kind="stable"), kind="stable")


def shared_ids(look: Look) -> list[Message]:
    """Ids that several subjects share: an attribute that a subject keeps varies within them."""
    said = []
    lasting = [name for name in _fixed_factors(look) if set(words_of(name)) & LASTING]
    for block in look.blocks:
        name = block.factors[0]
        if len(block.factors) > 1 or set(words_of(name)) & COLLECTIVE:
            continue
        for attribute in lasting:
            codes = observed_levels(look.variables[attribute]).codes
            varies = varies_within(block, codes)
            if attribute != name and varies.any() and _separates(look, block, codes):
                said.append(_shared(block, attribute, int(varies.sum())))
                break
    return said


def _shared(block: Block, attribute: str, times: int) -> Message:
    both = f"{quoted_name(attribute)}:{quoted_name(block.group)}"
    found = f"'{attribute}' varies within {times:,} of the {count(len(block.levels), 'level')} of '{block.group}'"
    return warning(f"{found}, so that one id seems to stand for several subjects; if it does, write (1 | {both})")


def _separates(look: Look, block: Block, codes: np.ndarray) -> bool:
    """Return whether rows repeat in the other covariates within a level, but not once the attribute tells them apart.

    That is what tells subjects who share an id (each with a series of its own) from a family, where they repeat anyway.
    """
    terms = [*look.formula.terms, *(term for bar in look.formula.bars for term in bar.terms)]
    names = dict.fromkeys(name for term in terms for e in term.factors for name in columns_of(e))
    some = _some_rows(block)
    numbers = {name: look.variables[name].values[some] for name in names if look.variables[name].kind == "number"}
    frame = pd.DataFrame({"level of the id": block.index[some], **numbers})
    return bool(frame.duplicated().any()) and not frame.assign(**{"attribute of it": codes[some]}).duplicated().any()


def _fixed_factors(look: Look) -> list[str]:
    columns = [e for term in look.formula.terms for e in term.factors if isinstance(look.values[e], Factor)]
    return list(dict.fromkeys(name for e in columns for name in columns_of(e)))


# ----------------------------------------------------------------------------------------------------------------------
# random effects


def constant_slopes(look: Look) -> list[Message]:
    """Random slopes of covariates that do not vary within the levels, or only within some of them."""
    said = []
    for block in look.blocks:
        repeated = int((block.counts > 1).sum())
        if INTERCEPT not in block.columns or repeated == 0:
            continue  # without an intercept, one effect per level is what such a term asks for
        slopes = [(name, block.Z[:, j]) for j, name in enumerate(block.columns) if name != INTERCEPT]
        times = {name: int(varies_within(block, z).sum()) for name, z in slopes}
        never = [name for name, number in times.items() if number == 0]
        some = {name: number for name, number in times.items() if 0 < number <= VARIES_IN_FEW * repeated}
        if never:
            said.append(_never_varies(block, never))
        if some:
            name = min(some, key=some.__getitem__)
            where = f"{some[name]:,} of the {len(block.levels):,} levels of '{block.group}'"
            said.append(note(f"'{name}' varies within {where}, and only these tell of its random slope"))
    return said


def _never_varies(block: Block, names: Sequence[str]) -> Message:
    one, group = len(names) == 1, ":".join(map(quoted_name, block.factors))
    which = f"'{names[0]}' does" if one else f"{listing(names, limit=SHOWN)} do"
    advice = f"write (1 | {group})" if len(names) == len(block.columns) - 1 else f"leave {'it' if one else 'them'} out"
    return warning(
        f"{which} not vary within any level of '{block.group}', so the data cannot tell {'its' if one else 'their'} "
        f"random slope from the random intercept; {advice}"
    )


def slopes_without_mean(look: Look) -> list[Message]:
    """Random slopes whose mean is held at 0, because the fixed part does not have the term."""
    said = []
    for bar in (bar for bar in look.formula.bars if not bar.of):
        bare = [term for term in bar.terms if not _has_mean(term, look) and not _indicators(bar, term, look)]
        if bare:
            labels = [term.label for term in bare]
            slope = f"the mean of the random slope of {listing(labels, limit=SHOWN)} in {bar} is held at 0"
            said.append(
                note(f"{slope}, because the fixed part does not have it; usually it does: ~ {labels[0]} + {bar}")
            )
    return said


def _has_mean(term: Term, look: Look) -> bool:
    """Return whether the fixed part has a term, or one within each level of factors, as x is in f / x."""
    own = _columns(term)
    within = [each for each in look.formula.terms if own <= _columns(each)]
    return any(all(isinstance(look.values[e], Factor) or own >= set(columns_of(e)) for e in t.factors) for t in within)


def _indicators(bar: Bar, term: Term, look: Look) -> bool:
    """Return whether a term is a factor that splits a random intercept, (0 + f | g): then it has no slope."""
    return not bar.intercept and all(isinstance(look.values[expr], Factor) for expr in term.factors)


def _columns(term: Term) -> frozenset[str]:
    return frozenset(name for expr in term.factors for name in columns_of(expr))


def fixed_and_random(look: Look) -> list[Message]:
    """Grouping factors that are also fixed factors, which leaves their random intercepts nothing to explain."""
    crossed = (t for t in look.formula.terms if all(isinstance(look.values[expr], Factor) for expr in t.factors))
    said, factors = [], [_columns(term) for term in crossed]
    for block in look.blocks:
        if INTERCEPT in block.columns and frozenset(block.factors) in factors:
            both = f"'{block.group}' is both a fixed factor and a grouping factor"
            said.append(
                warning(
                    f"{both}, so that nothing is left for its random intercepts to explain; keep it in one of the "
                    "two places"
                )
            )
    return said


def same_groups(look: Look) -> list[Message]:
    """Grouping factors that divide the rows into the same groups, so that only the sum of their variances is seen."""
    said = []
    for a, b in combinations(look.blocks, 2):
        both = [column for column in a.columns if column in b.columns]
        if len(a.levels) != len(b.levels) or not both:
            continue
        a, b = together(a, b)
        partner = np.zeros(len(a.levels), dtype=np.intp)
        partner[a.index] = b.index
        if np.array_equal(partner[a.index], b.index) and len(set(partner)) == len(partner):
            found = f"'{a.group}' and '{b.group}' divide the rows into the same {len(a.levels):,} groups"
            said.append(
                warning(f"{found}, so the data give only the sum of their variances ({listing(both)}); leave one out")
            )
    return said


def dominant_levels(look: Look) -> list[Message]:
    """Grouping factors with most of the rows in one level."""
    said = []
    for block in look.blocks:
        sizes = block.counts
        if len(sizes) < DOMINANT_LEVELS or sizes.max() <= DOMINANT * len(block.index):
            continue
        most = f"level {label_text(block.levels[int(sizes.argmax())])} of '{block.group}' has {sizes.max():,}"
        median = np.median(np.delete(sizes, sizes.argmax()))
        said.append(
            note(
                f"{most} of the {len(block.index):,} rows, and the other {len(sizes) - 1:,} levels have {median:g} in "
                "the median; the fixed effects rest mostly on that level, the standard deviations on the others"
            )
        )
    return said


LINTS: tuple[Callable[[Look], list[Message]], ...] = (
    codes_as_numbers,
    similar_levels,
    reused_ids,
    shared_ids,
    fixed_and_random,
    same_groups,
    constant_slopes,
    slopes_without_mean,
    dominant_levels,
    rare_levels,
)
OF_ROWS = (codes_as_numbers, shared_ids, rare_levels)
