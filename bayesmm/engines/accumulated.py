"""Sums of parts of the data that are added: yesterday's rows and today's, or machines that never share rows.

Base columns are the indicators of levels and the numbers themselves, so that parts with other levels are aligned by
label: what a part lacks is 0 in all of its rows. Means are taken out of each part before its products are summed, and
moved to the common mean by arithmetic of the sums.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bayesmm.design.coding import Levels
from bayesmm.design.records import Design
from bayesmm.design.spec import Grouping
from bayesmm.design.state import Scope, State
from bayesmm.design.summed import LevelSums, PairSums, Sums
from bayesmm.design.transforms import evaluate
from bayesmm.design.variables import read_variable
from bayesmm.engines.design import Plan, finished, make_plan
from bayesmm.engines.expressions import Columns
from bayesmm.engines.levels import Groups, cell_numbers
from bayesmm.engines.part_states import check_levels_occur, merged_labels
from bayesmm.engines.recoded import labels_of
from bayesmm.errors import DataError, listing
from bayesmm.formula.formula import Expr, text_of
from bayesmm.formula.roles import variables_of
from bayesmm.runtime.messages import Message, Rows, note

FAR = 1e6  # pooled sds between the means of two parts: beyond, moving them costs the digits that a sum has


def added(one: Design, other: Design) -> Design:
    """Return the design of the rows of two parts, which have none in common.

    Raises
    ------
    DataError
        They are of different models, or learned different means, knots or contrasts.
    """
    _check_same_model(one, other)
    formula, family = one.formula, one.family
    states = _states(one, other)
    sample = pd.concat([one.X.sums.sample.astype(object), other.X.sums.sample.astype(object)], ignore_index=True)
    variables = {name: read_variable(name, sample[name].infer_objects())[0] for name in sample}
    rows = Rows(np.arange(len(sample)), None)
    scope = Scope(variables, rows, {}, dict(states), False, list(_said(one, other)), one.spec.contrasts)
    values = {expr: evaluate(expr, scope) for expr in variables_of(formula)}
    groupings = [union(a, b) for a, b in zip(one.spec.groupings, other.spec.groupings, strict=True)]
    groups = {own.factors: Groups(own, (), np.zeros(0, np.int64)) for own in groupings}
    labels = {name: variable.levels for name, variable in variables.items()} | labels_of(states)
    columns = Columns({n: n for n in variables}, {n: v.kind for n, v in variables.items()}, labels, labels, states)
    plan = make_plan(formula, family, values, columns, groups)
    sums = _added(plan, one, other, groupings, sample)
    return finished(formula, family, one.spec.arguments, plan, sums, values, scope, part=True)


def whole(design: Design) -> Design:
    """Return the design of all parts, after the checks of whole data and with what they give cause to say."""
    sums, formula = design.X.sums, design.formula
    variables = {name: read_variable(name, sums.sample[name].infer_objects())[0] for name in sums.sample}
    states, rows = dict(design.spec.states), Rows(np.arange(len(sums.sample)), None)
    scope = Scope(variables, rows, {}, states, False, list(design.messages), design.spec.contrasts)
    values = {expr: evaluate(expr, scope) for expr in variables_of(formula)}
    labels = {name: variable.levels for name, variable in variables.items()} | labels_of(states)
    columns = Columns({n: n for n in variables}, {n: v.kind for n, v in variables.items()}, labels, labels, states)
    groups = {own.factors: Groups(own, (), np.zeros(0, np.int64)) for own in design.spec.groupings}
    check_levels_occur(variables_of(formula), states, variables)
    plan = make_plan(formula, design.family, values, columns, groups)
    if plan.base.names != list(sums.names):
        raise DataError("these sums are of other columns than the formula has")
    return finished(formula, design.family, design.spec.arguments, plan, sums, values, scope)


def _check_same_model(one: Design, other: Design) -> None:
    if one.formula != other.formula:
        raise DataError(f"the parts are of different models, {one.formula.text!r} and {other.formula.text!r}")
    if one.spec.arguments.weights != other.spec.arguments.weights:
        raise DataError("the parts have different weights; give both the same column")
    if one.spec.contrasts != other.spec.contrasts:
        raise DataError("the parts have different contrasts; give both the same")


def _states(one: Design, other: Design) -> dict[Expr, State]:
    """Return what expressions learned, levels of both parts together."""
    states: dict[Expr, State] = {}
    for expr, state in one.spec.states.items():
        its = other.spec.states[expr]
        if isinstance(state, Levels) and isinstance(its, Levels):
            plain = [replace(own, labels=(), base=None) for own in (state, its)]
            if plain[0] != plain[1] or (state.matrix and state.labels != its.labels):
                raise DataError(f"the parts code {text_of(expr)} by different contrasts; give both the same")
            bases = [None if own.base is None else own.labels[own.base] for own in (state, its)]
            if bases[0] != bases[1]:
                raise DataError(f"the parts have different reference levels of {text_of(expr)}")
            labels = merged_labels(state.labels, its.labels)
            if state.contrasts == "Poly" and labels not in (state.labels, its.labels):
                raise DataError(
                    f"no part has all levels of {text_of(expr)}, so that their order is not known; make the second "
                    "one with like=first, of a first one that has them all"
                )
            states[expr] = replace(state, labels=labels)
            if state.base is not None:
                base = states[expr].labels.index(state.labels[state.base])
                states[expr] = replace(states[expr], base=base)
        elif state != its:
            raise DataError(
                f"{text_of(expr)} learned other numbers from the two parts; make the second one with like=first, which "
                "takes the first one's"
            )
        else:
            states[expr] = state
    return states


def union(one: Grouping, other: Grouping) -> Grouping:
    """Return the levels of two parts together."""
    labels = tuple(merged_labels(a, b) for a, b in zip(one.factor_levels, other.factor_levels, strict=True))
    sizes = [len(part) for part in labels]
    both = np.vstack([placed(one, labels), placed(other, labels)])
    cells = np.stack(np.unravel_index(np.unique(cell_numbers(list(both.T), sizes)), sizes), axis=1).astype(np.int64)
    if len(labels) == 1:
        return Grouping(one.factors, labels, cells, labels[0])
    parts = [np.array(part, dtype=object)[cells[:, j]] for j, part in enumerate(labels)]
    return Grouping(one.factors, labels, cells, tuple(map(":".join, zip(*parts, strict=True))))


def placed(own: Grouping, labels: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """Return the cells of a grouping as places among other labels."""
    parts = [pd.Index(new).get_indexer(pd.Index(old)) for new, old in zip(labels, own.factor_levels, strict=True)]
    return np.column_stack([part[own.cells[:, j]] for j, part in enumerate(parts)])


def _said(one: Design, other: Design) -> list[Message]:
    said = [*one.messages, *other.messages]
    said.append(note("default priors are in units of the response's sd: its median deviation is not known of sums"))
    return list(dict.fromkeys(said))


# ----------------------------------------------------------------------------------------------------------------------
# the sums


@dataclass(frozen=True, eq=False)
class _Moved:
    """The sums of one part in the columns, and about the means, of all.

    Attributes
    ----------
    sums : Sums
    at : (m,) int64
        The place of each column of all in the part, -1 where it has none.
    T : (m_part, m) float64
        What makes the columns of all of its own.
    """

    sums: Sums
    at: np.ndarray
    T: np.ndarray


def _moved(sums: Sums, names: list[str], shift: np.ndarray) -> _Moved:
    places = {name: k for k, name in enumerate(sums.names)}
    at = np.array([places.get(name, -1) for name in names])
    T = np.zeros((len(sums.names), len(names)))
    T[at[at >= 0], np.flatnonzero(at >= 0)] = 1.0
    T[0, 1:] += np.where(at >= 0, sums.shift[at], 0.0)[1:] - shift[1:]
    return _Moved(sums, at, T)


def _added(plan: Plan, one: Design, other: Design, groupings: list[Grouping], sample: pd.DataFrame) -> Sums:
    parts, names = (one.X.sums, other.X.sums), plan.base.names
    n = sum(part.n for part in parts)
    if parts[0].has_weights != parts[1].has_weights:
        raise DataError("one of the parts has weights and the other has none")
    means = [_natural(part, names, part.shift) for part in parts]
    shift = sum(part.n * mean for part, mean in zip(parts, means, strict=True)) / n
    shift[0] = 0.0
    moved = [_moved(part, names, shift) for part in parts]
    plain = sum(own.T.T @ own.sums.plain @ own.T for own in moved)
    _check_far(names, means, plain, n)
    weighted = sum(own.T.T @ own.sums.weighted @ own.T for own in moved)
    own = [(one.spec.groupings[k], other.spec.groupings[k]) for k in range(len(groupings))]
    index = [[_index(g, whole) for g in pair] for pair, whole in zip(own, groupings, strict=True)]
    levels = tuple(_levels(moved, k, plan.left(k), index[k], len(groupings[k].levels)) for k in range(len(groupings)))
    pairs = tuple(_pairs(moved, p.blocks, plan, index, groupings) for p in parts[0].pairs)
    low, high = (np.minimum, np.maximum)
    left = np.zeros(len(names))
    left[plan.response], left[plan.offset or 0] = 1.0, -1.0 if plan.offset else 0.0
    inverse = sum(part.n * part.mean_inverse_weight for part in parts) / n
    return Sums(
        parts[0].engine, n, tuple(names), shift, low(*(_natural(p, names, p.low) for p in parts)),
        high(*(_natural(p, names, p.high) for p in parts)), plain, weighted,
        sum(part.sum_log_weights for part in parts), parts[0].has_weights, levels, pairs,
        float(np.sqrt(left @ plain @ left / (n - 1))), _facts(parts), sample, inverse,
    )  # fmt: skip


def _natural(sums: Sums, names: list[str], values: np.ndarray) -> np.ndarray:
    """Return a number of each base column in the order of all names; 0 for an indicator that a part has not."""
    own = dict(zip(sums.names, values, strict=True))
    return np.array([own.get(name, 0.0) for name in names])


def _check_far(names: list[str], means: list[np.ndarray], plain: np.ndarray, n: int) -> None:
    sds = np.sqrt(np.diag(plain) / n)
    far = np.abs(means[0] - means[1]) > FAR * np.where(sds > 0, sds, np.inf)
    if far.any():
        raise DataError(f"the means of {listing(names[k] for k in np.flatnonzero(far))} lie too far apart to be added")


def _index(own: Grouping, whole: Grouping) -> np.ndarray:
    """Return the place among all levels of each level of a part, (G,) int64."""
    sizes = [len(part) for part in whole.factor_levels]
    known = cell_numbers(list(whole.cells.T), sizes)
    return np.searchsorted(known, cell_numbers(list(placed(own, whole.factor_levels).T), sizes))


def _rows_of(own: _Moved, left: np.ndarray, wanted: list[int]) -> np.ndarray:
    """Return what makes the wanted columns of all of a part's own `left` columns, (l_part, l)."""
    return own.T[np.ix_(left, wanted)]


def _levels(moved: list[_Moved], k: int, wanted: list[int], index: list[np.ndarray], G: int) -> LevelSums:
    count, out = np.zeros(G, dtype=np.int64), np.zeros((G, len(wanted), moved[0].T.shape[1]))
    for own, at in zip(moved, index, strict=True):
        part = own.sums.levels[k]
        count[at] += part.count
        out[at] += np.einsum("la,glj,jb->gab", _rows_of(own, part.left, wanted), part.products, own.T, optimize=True)
    return LevelSums(np.array(wanted, dtype=np.int64), count, out)


def _pairs(
    moved: list[_Moved], blocks: tuple[int, int], plan: Plan, index: list[list[np.ndarray]], groupings: list[Grouping]
) -> PairSums:
    a, b = blocks
    width, numbers, values = len(groupings[b].levels), [], []
    for own, at_a, at_b in zip(moved, index[a], index[b], strict=True):
        first, second, products = own.sums.pair(a, b)
        numbers.append(at_a[first] * width + at_b[second])
        left, right = (_rows_of(own, own.sums.levels[k].left, plan.left(k)) for k in blocks)
        values.append(np.einsum("la,glj,jb->gab", left, products, right, optimize=True))
    distinct, place = np.unique(np.concatenate(numbers), return_inverse=True)
    out = np.zeros((len(distinct), *values[0].shape[1:]))
    np.add.at(out, place, np.concatenate(values))
    return PairSums(blocks, distinct // width, distinct % width, out)


def _facts(parts: tuple[Sums, Sums]) -> dict:
    """Return typical values: the mean of numbers over all rows, of levels those of the larger part."""
    one, other = parts
    larger, found = (one if one.n >= other.n else other), {}
    for name, (levels, value) in one.facts.items():
        its, its_value = other.facts[name]
        if levels is None:
            found[name] = (None, (one.n * value + other.n * its_value) / (one.n + other.n))
        else:
            text = isinstance(levels[0], str)
            labels = merged_labels(levels, its) if text else tuple(sorted({*levels, *its}))
            found[name] = (labels, larger.facts[name][1])
    return found
