"""The variables of a formula for a lazy frame: levels and states by aggregations, their coding by a small table.

How a term is coded, and what its columns are called, follows from levels and states alone. So a small table of some
complete rows, in which each level of each factor stands at least once, is evaluated as any table in memory is: it gives
the same names, contrasts and messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.design.coding import Values
from bayesmm.design.state import Scope, State
from bayesmm.design.transforms import EXACT, LARGEST, evaluate
from bayesmm.design.variables import KIND_NAMES, NUMERIC, Variable
from bayesmm.engines.complete import Complete, sums_and_ends
from bayesmm.engines.expressions import Columns, factor_column
from bayesmm.engines.finite import check_finite
from bayesmm.engines.frames import HIDDEN_NANS, Opened, collected
from bayesmm.engines.levels import ColumnLevels, column_levels
from bayesmm.engines.part_states import part_states
from bayesmm.engines.states import learn_states, nested
from bayesmm.errors import DataError
from bayesmm.formula.formula import Column, Expr, Formula, Operation, Text, scale_factors
from bayesmm.formula.roles import variables_of
from bayesmm.runtime.messages import Message, Rows
from bayesmm.runtime.progress import working

if TYPE_CHECKING:
    from bayesmm.design.contrasts import GivenContrasts

SAMPLE = 64  # rows of the small table, more where a factor has more levels


@dataclass(frozen=True, eq=False)
class Facts:
    """Mean, least and greatest value of each numeric column, by name."""

    mean: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A formula on a lazy frame.

    Attributes
    ----------
    columns : Columns
    levels : mapping of str to ColumnLevels
        Of the columns that have levels in the formula.
    facts : Facts
    values : mapping of Expr to Numbers or Factor
        Of the small table: fields and levels are those of all rows.
    scope : Scope
        Of the small table, with the states and messages.
    """

    columns: Columns
    levels: Mapping[str, ColumnLevels]
    facts: Facts
    values: Values
    scope: Scope


def evaluated(
    formula: Formula,
    opened: Opened,
    complete: Complete,
    contrasts: "Mapping[str, GivenContrasts]",
    known: Mapping[Expr, State],
    numbers: Sequence[Expr] = (),
    *,
    part: bool = False,
) -> Evaluated:
    """Return what a formula's variables, and further `numbers`, are in the complete rows of a lazy frame.

    Of a `part` of the data factors may have one level, and levels that are named may be elsewhere.
    """
    kinds, terms = opened.kinds, list(dict.fromkeys([*variables_of(formula), *scale_factors(formula)]))
    numeric, with_levels = _used_as(formula, terms, kinds, numbers)
    facts = _facts(opened, complete, numeric)
    with working(f"pass 1, levels by {opened.engine}"):
        levels = {name: column_levels(opened, complete, name) for name in with_levels}
    own = {name: one.values for name, one in levels.items()}, {name: one.labels for name, one in levels.items()}
    plain = Columns(opened.places, kinds, *own, {})
    every = [*terms, formula.response, *formula.offsets, *numbers]
    states = dict(known) if known else learn_states(opened.engine, complete, every, plain)
    check_finite(opened.engine, complete, every, replace(plain, states=states))
    scope = _small(opened, complete, kinds, levels, dict(states), contrasts, complete.said)
    if part and not known:
        scope.states.update(part_states(every, scope))
    if part or known:
        scope = replace(scope, learning=False)
    values = {expr: evaluate(expr, scope) for expr in terms}
    for expr in (formula.response, *formula.offsets, *numbers):
        evaluate(expr, scope)
    return Evaluated(Columns(opened.places, kinds, *own, scope.states), levels, facts, values, scope)


def _used_as(
    formula: Formula, terms: Sequence[Expr], kinds: Mapping[str, str], numbers: Sequence[Expr]
) -> tuple[list[str], list[str]]:
    """Return the columns that are used as numbers, and those whose levels are needed."""
    numeric: dict[str, None] = {}
    levels = dict.fromkeys(column.name for bar in formula.bars for column in bar.group)
    plain = Columns({}, kinds, {}, {}, {})
    others = [formula.response, *formula.offsets, *numbers]
    for expr in (*terms, *others):
        name = factor_column(expr, plain)
        if name is not None and expr in others:
            raise DataError(f"'{name}' holds {KIND_NAMES[kinds[name]]} where the gaussian family needs numbers")
        if name is not None:
            levels[name] = None
            continue
        for node in nested(expr):
            if isinstance(node, Operation) and any(isinstance(part, Text) for part in node.operands):
                levels |= dict.fromkeys(part.name for part in node.operands if isinstance(part, Column))
            elif isinstance(node, Column) and kinds[node.name] in NUMERIC:
                numeric[node.name] = None
    return list(numeric), list(levels)


def _facts(opened: Opened, complete: Complete, names: Sequence[str]) -> Facts:
    """Return what the numeric columns are like, after the checks that a table in memory has too."""
    if not names:
        return Facts({}, {}, {})
    known = sums_and_ends(opened, complete, names)
    found = {what: {name: known[name][k] for name in names} for k, what in enumerate(("mean", "low", "high"))}
    for name in names:
        ends = found["low"][name], found["high"][name]
        if np.isinf(ends).any():
            raise DataError(f"'{name}' is infinite in some rows; expected finite numbers")
        if not np.isfinite([*ends, found["mean"][name]]).all():
            raise DataError(f"'{name}' has rows without a number (NaN){HIDDEN_NANS}")
        if max(map(abs, ends)) > LARGEST:
            raise DataError(f"'{name}' is as large as {max(map(abs, ends)):.3g}; expected values below {LARGEST:g}")
        if opened.dtypes[name].is_integer() and max(map(abs, ends)) > EXACT:
            raise DataError(
                f"'{name}' holds whole numbers beyond 2^53, which floating-point numbers do not tell apart; subtract a "
                "common value first"
            )
        found["mean"][name] /= complete.n
    return Facts(found["mean"], found["low"], found["high"])


def _small(
    opened: Opened,
    complete: Complete,
    kinds: Mapping[str, str],
    levels: Mapping[str, ColumnLevels],
    states: dict,
    contrasts: "Mapping[str, GivenContrasts]",
    said: Sequence[Message],
) -> Scope:
    """Return some rows, as a table in memory, in which every level stands at least once."""
    table = collected(opened.engine, "give some rows", complete.frame.head(SAMPLE))
    n = max([SAMPLE, *(len(own.labels) for name, own in levels.items() if _is_small(own))])
    variables = {}
    for name, place in opened.places.items():
        values, labels = np.resize(table[place], n), ()
        if name in levels and kinds[name] in NUMERIC:
            values = np.resize(np.array(levels[name].values), n)
        elif name in levels:
            labels = levels[name].labels
            values = np.arange(n) % len(labels)
        elif kinds[name] not in NUMERIC:
            continue  # a column beside the formula that is not looked at
        if kinds[name] in NUMERIC:
            values = values.astype(bool if kinds[name] == "boolean" else _dtype(opened, name))
        variables[name] = Variable(name, kinds[name], values, labels, np.zeros(n, dtype=bool))
    return Scope(variables, _Some(np.arange(n), None), {}, states, True, list(said), contrasts)


class _Some(Rows):
    """Rows of the small table, whose places and number say nothing of the whole one."""

    def text(self, mask: np.ndarray, limit: int = 5) -> str:
        return "some rows"


def _is_small(levels: ColumnLevels) -> bool:
    """Return whether levels may be those of a fixed factor: grouping factors may have millions."""
    return len(levels.labels) <= 20_000


def _dtype(opened: Opened, name: str) -> type:
    return np.int64 if opened.dtypes[name].is_integer() else np.float64
