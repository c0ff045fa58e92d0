"""What the sums of a lazy frame give cause to say: constant columns, empty cells, codes used as numbers, scales."""

from collections.abc import Iterator, Sequence

import numpy as np

from bayesmm.design.checks import CELL_LIMIT, SCALE_RATIO
from bayesmm.design.coding import Coding, Factor, Numbers, Values
from bayesmm.design.lints import FEWEST_CODES, MOST_FIXED, ROWS_PER_CODE
from bayesmm.design.records import Block
from bayesmm.design.summed import Sums
from bayesmm.design.words import named_as_code
from bayesmm.engines.base_columns import OF_OFFSET, OF_RESPONSE, BaseColumns
from bayesmm.engines.passes import Means
from bayesmm.errors import DataError, listing
from bayesmm.families.family import Family
from bayesmm.families.responses import Response
from bayesmm.formula.formula import Column, Expr, Formula, quoted_name, text_of
from bayesmm.runtime.messages import Message, Rows, label_text, note, warning


def check_constant(
    formula: Formula, family: Family, fixed: Coding, values: Values, base: BaseColumns, means: Means | Sums
) -> None:
    """Raise a DataError for a response, or a numeric term, that is the same in every row."""
    response = base.places[OF_RESPONSE]
    if means.low[response] == means.high[response]:
        same = np.repeat(means.low[response], 2)
        offset = base.places.get(OF_OFFSET)
        if offset is None or means.low[offset] == means.high[offset]:
            name = text_of(formula.response)
            family.check_response(Response(same, name, Rows(np.arange(2), None), None, family.support))
    sides = [(fixed.intercept, fixed.terms), *((bar.intercept, [t.factors for t in bar.terms]) for bar in formula.bars)]
    for intercept, terms in sides:
        for term in terms:
            at = _single(term, values, base)
            if at is None or means.low[at] != means.high[at]:
                continue
            name, value = text_of(term[0]), means.low[at]
            if intercept:
                raise DataError(
                    f"'{name}' is constant ({value:g}), so its effect cannot be told apart from the intercept's; leave "
                    "it out"
                )
            if value == 0:
                raise DataError(f"'{name}' is 0 in every row, so that it can have no effect; leave it out")


def _single(term: Sequence[Expr], values: Values, base: BaseColumns) -> int | None:
    """Return the base column of a term that is one number; None of other terms."""
    value = values[term[0]]
    if len(term) > 1 or not isinstance(value, Numbers) or len(value.fields) > 1:
        return None
    return base.places.get(frozenset([(text_of(term[0]), "")]))


def remarks(
    formula: Formula, fixed: Coding, values: Values, blocks: Sequence[Block], sums: Sums, base: BaseColumns
) -> list[Message]:
    """Return what is to say about the columns of the terms."""
    return [
        *_empty_cells(fixed, values, sums, base),
        *_scales(fixed, values, sums, base),
        *_codes(formula, blocks, sums, base),
    ]


def _empty_cells(fixed: Coding, values: Values, sums: Sums, base: BaseColumns) -> Iterator[Message]:
    """Name the combinations of levels without a row, for each interaction of factors."""
    for term in fixed.terms:
        factors = [values[expr] for expr in term]
        if len(term) < 2 or not all(isinstance(factor, Factor) for factor in factors):
            continue
        texts, sizes = [text_of(expr) for expr in term], [len(factor.levels.labels) for factor in factors]
        empty = []
        for cell in np.ndindex(*sizes):
            labels = [factor.levels.labels[k] for factor, k in zip(factors, cell, strict=True)]
            at = base.places[frozenset(zip(texts, labels, strict=True))]
            if sums.high[at] == 0:
                named = zip(texts, labels, strict=True)
                empty.append(" with ".join(f"{text} = {label_text(label)}" for text, label in named))
        if empty:
            more = f"; and {len(empty) - CELL_LIMIT:,} more" if len(empty) > CELL_LIMIT else ""
            shown = "; ".join(empty[:CELL_LIMIT])
            which = (
                f"no row has {empty[0]}"
                if len(empty) == 1
                else f"{len(empty):,} combinations have no row ({shown}{more})"
            )
            yield warning(f"{which}, so '{':'.join(texts)}' has effects that the data say nothing about")


def _scales(fixed: Coding, values: Values, sums: Sums, base: BaseColumns) -> Iterator[Message]:
    """Note numeric terms whose scales lie far apart."""
    at = {text_of(term[0]): _single(term, values, base) for term in fixed.terms}
    sds = {name: float(np.sqrt(sums.plain[k, k] / sums.n)) for name, k in at.items() if k is not None}
    varying = {name: sd for name, sd in sds.items() if sd > 0}
    far = [name for name, sd in varying.items() if not 1 / SCALE_RATIO <= sd <= SCALE_RATIO]
    if not far and not (varying and max(varying.values()) > SCALE_RATIO * min(varying.values())):
        return
    shown = far or [max(varying, key=varying.__getitem__), min(varying, key=varying.__getitem__)]
    scales = listing([f"{name}: {varying[name]:.3g}" for name in shown], limit=4)
    yield note(
        f"the scales of the predictors lie far apart or far from 1 (standard deviations: {scales}); results stay on "
        "your scales"
    )


def _codes(formula: Formula, blocks: Sequence[Block], sums: Sums, base: BaseColumns) -> Iterator[Message]:
    """Warn of whole numbers that are codes by their name or by their other use, and enter with one slope."""
    grouping = {name for block in blocks for name in block.factors}
    terms = [*formula.terms, *(term for bar in formula.bars for term in bar.terms)]
    for name in dict.fromkeys(e.name for term in terms for e in term.factors if isinstance(e, Column)):
        at = base.places.get(frozenset([(text_of(Column(name)), "")]))
        if at is None or not (name in grouping or named_as_code(name)):
            continue
        low, high = float(sums.low[at]), float(sums.high[at])
        most = high - low + 1
        whole = low == int(low) and high == int(high)
        if not whole or most < FEWEST_CODES or most * ROWS_PER_CODE > sums.n:
            continue
        quoted, enters = (
            quoted_name(name),
            f"'{name}' goes from {low:.0f} to {high:.0f} and enters as a number with one slope",
        )
        if name in grouping:
            yield warning(
                f"{enters}, though it is also a grouping factor; if its numbers are codes, leave it out of the other "
                "terms"
            )
            continue
        others = f"factor({quoted}) or (1 | {quoted})" if most <= MOST_FIXED else f"(1 | {quoted})"
        yield warning(f"{enters}, though its name says that they are codes; as groups write {others}")
