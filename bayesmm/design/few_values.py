"""Columns of a few whole numbers, such as 1 to 4, which enter as a line; and levels of factors that few rows have."""

from collections.abc import Iterable

import numpy as np

from bayesmm.design.coding import Factor
from bayesmm.design.words import words_of
from bayesmm.errors import listing
from bayesmm.formula.formula import quoted_name, text_of
from bayesmm.runtime.messages import Message, label_text, note

MOST = 6  # whole numbers that are called few; ours
LEAST = 3  # of two, a line and a mean of each are the same model
ROWS_PER_VALUE = (
    5  # mean number of rows for each value: a design of a few steps, not numbers that happen to be few; ours
)
# what is counted or measured in steps, so that a line is what is meant, as with a name of one letter; ours
MEASURED = frozenset(
    "age count day days dist distance dose hour hours length log minute minutes month months number score size time "
    "trial visit wave week weeks weight year years".split()
)


def few_whole_numbers(values: Iterable[float]) -> bool:
    """Return whether the distinct values are LEAST to MOST whole numbers that follow each other from 0 or 1."""
    distinct = np.sort(np.fromiter(values, dtype=np.float64))
    return LEAST <= len(distinct) <= MOST and distinct[0] in (0, 1) and bool((np.diff(distinct) == 1).all())


def as_a_line(name: str, values: np.ndarray) -> list[Message]:
    """Note that a column of a few whole numbers enters as a line, unless its name is of something measured."""
    if len(name) == 1 or MEASURED & set(words_of(name)) or values.min() not in (0, 1) or values.max() > MOST:
        return []
    distinct = np.unique(values)
    if not (few_whole_numbers(distinct) and len(values) >= ROWS_PER_VALUE * len(distinct)):
        return []
    shown, other = f"'{name}' has the whole numbers {distinct[0]:g} to {distinct[-1]:g}", f"C({quoted_name(name)})"
    return [note(f"{shown} and enters as a line, with one slope; for a mean of each write {other}")]


def rare_levels(look) -> list[Message]:
    """Factors of the fixed part with levels that one row has, where most have several: `look` is a `lints.Look`."""
    said = []
    for expr in dict.fromkeys(e for term in look.formula.terms for e in term.factors):
        factor = look.values.get(expr)
        if not isinstance(factor, Factor):
            continue
        counts = np.bincount(factor.codes[factor.codes >= 0], minlength=len(factor.levels.labels))
        single = [label_text(factor.levels.labels[k]) for k in np.flatnonzero(counts == 1)]
        if single and np.median(counts) >= ROWS_PER_VALUE:
            which = f"{listing(single, limit=3)} of '{text_of(expr)}'"
            one = f"the level {which} has one row: its coefficient rests on that row and on the prior"
            several = f"the levels {which} have one row each: their coefficients rest on these rows and on the prior"
            said.append(note(one if len(single) == 1 else several))
    return said
