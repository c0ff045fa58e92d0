"""Several responses of a row as rows of their own: the table that the formula of ``mvbind(y1, y2)`` is of.

A row that lacks one response keeps the others. Stacked rows have three columns more: the value, which response it is,
and the row of the table that it comes from, by which residuals are correlated.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bayesmm.design.coding import RESPONSES, Levels
from bayesmm.design.factors import remedy
from bayesmm.design.frames import Table, find_columns
from bayesmm.design.records import Block
from bayesmm.design.residual import responses as structure
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.state import Scope
from bayesmm.design.variables import KIND_NAMES, NUMERIC, Variable, observed_levels, read_variable
from bayesmm.errors import DataError
from bayesmm.families.family import Family
from bayesmm.formula.formula import Column, Formula
from bayesmm.formula.responses import RESPONSE, ROW
from bayesmm.runtime.messages import Message, Rows, are, count, note, warning

Complain = Callable[[str, str], DataError]
Array = np.ndarray


def check_family(formula: Formula, family: Family) -> None:
    """Raise a DataError where a family has no residuals that could be correlated."""
    if formula.several is not None and not family.gaussian:
        whose = f"the {family.label} family with the {family.link} link"
        raise DataError(
            f"mvbind() is for gaussian responses with the identity link, not for {whose}; make a model of each response"
        )


def stacked(table: Table, formula: Formula, missing: str, complain: Complain) -> tuple[Table, list[Message]]:
    """Return the table with a row for each response that is there, and what is to say about those that are not.

    A table that is stacked already, as a design's own frame is, stays as it is; so does that of a single response.

    Raises
    ------
    DataError
        A response is no column of numbers, or missing everywhere, or the same in all rows; or one is missing anywhere
        and `missing` is "error".
    """
    if formula.several is None or ROW in map(str, table.names):
        return table, []
    names = formula.several.names
    columns = {name: table.read(j) for name, j in find_columns(names, table, complain).items()}
    found = [_number(name, columns[name]) for name in names]
    there = np.column_stack([~variable.missing for variable in found])
    said = _about_gaps(names, there, Rows(np.arange(table.n), table.labels), missing)
    values = np.column_stack([variable.values.astype(np.float64) for variable in found])
    return _long(table, formula, there, values), said


def stacked_again(table: Table, formula: Formula) -> Table:
    """Return other data with a row for each response of a row, which need not be known.

    A table whose column `RESPONSE` has names of responses says itself which response each row is of.
    """
    names = list(map(str, table.names))
    if formula.several is None or ROW in names:
        return table
    if RESPONSE in names and set(map(str, table.read(names.index(RESPONSE)))) <= set(formula.several.names):
        rows = pd.Series(np.arange(table.n), index=table.index)
        return replace(table, names=(*table.names, ROW), read=lambda j: table.read(j) if j < len(names) else rows)
    return _long(table, formula, np.ones((table.n, len(formula.several.names)), dtype=bool), None)


def _long(table: Table, formula: Formula, there: Array, values: Array | None) -> Table:
    names = formula.several.names
    row, code = np.nonzero(there)
    labels = np.arange(table.n) if table.labels is None else table.labels
    index = pd.MultiIndex.from_tuples(stacked_labels(labels[row], names, code), names=["row", RESPONSE])
    own = {RESPONSE: pd.Categorical.from_codes(code, list(names)), ROW: row}
    if values is not None:
        own[formula.response.name] = values[there]
    kept = [j for j, name in enumerate(table.names) if str(name) not in own]

    def read(j: int) -> pd.Series:
        if j < len(kept):
            return table.read(kept[j]).iloc[row].set_axis(index)
        return pd.Series(list(own.values())[j - len(kept)], index=index)

    return Table((*(table.names[j] for j in kept), *own), len(row), index, read, positional=False)


def row_index(labels: Array, several: bool) -> pd.Index:
    """Return the labels of rows, (n,), as an index; those of several responses are pairs."""
    if not several or not all(isinstance(label, tuple) for label in labels):
        return pd.Index(labels)
    return pd.MultiIndex.from_tuples(list(labels), names=["row", RESPONSE])


def stacked_labels(labels: Array, names: Sequence[str], code: Array) -> Array:
    """Return the labels of stacked rows, (n,) pairs: that of their row in the table, (n,), and the response."""
    found = np.empty(len(code), dtype=object)
    found[:] = list(zip(labels.tolist(), (names[k] for k in code.tolist()), strict=True))
    return found


def _number(name: str, series: pd.Series) -> Variable:
    variable, _ = read_variable(name, series)
    if variable.missing.all():
        raise DataError(f"the response '{name}' has no value in any of the {count(len(variable.missing), 'row')}")
    if variable.kind not in NUMERIC:
        holds = f"the response '{name}' holds {KIND_NAMES[variable.kind]}"
        raise DataError(f"{holds}, and the gaussian family needs numbers{remedy(variable)}")
    seen = variable.values[~variable.missing]
    if np.isfinite(seen.astype(float)).all() and (seen == seen[0]).all():
        raise DataError(
            f"the response '{name}' is the same in all its rows ({seen[0]:g}); a model needs one that varies"
        )
    return variable


def _about_gaps(names: tuple[str, ...], there: Array, rows: Rows, missing: str) -> list[Message]:
    lost = {name: int((~own).sum()) for name, own in zip(names, there.T, strict=True) if not own.all()}
    if not lost:
        return []
    which = ", ".join(f"{name}: {number:,}" for name, number in lost.items())
    found = f"responses are missing ({which})"
    if missing == "error":
        raise DataError(f"{found} in {rows.text(~there.all(axis=1))}; missing='drop' uses the others of their rows")
    said, none = [note(f"{found}; the other responses of their rows are used")], ~there.any(axis=1)
    if none.any():
        number = int(none.sum())
        all_of = f"all responses are missing in {rows.text(none)}"
        said.append(warning(f"{all_of}; {'it' if number == 1 else 'they'} {are(number)} left out"))
    return said


# ----------------------------------------------------------------------------------------------------------------------
# the design of stacked rows


def levels_of(formula: Formula) -> dict[Column, Levels]:
    """Return what is known beforehand of a formula's variables: that there are these responses."""
    return {} if formula.several is None else {Column(RESPONSE): Levels(formula.several.names, RESPONSES)}


def own_columns(formula: Formula) -> list[Column]:
    """Return the columns of stacked rows that residuals need, none of a single response."""
    return [] if formula.several is None else [Column(RESPONSE), Column(ROW)]


def residuals(formula: Formula, scope: Scope, y: Array, offset: Array) -> Residuals:
    """Return the residuals of several responses.

    Raises
    ------
    DataError
        No row has two of the responses.
    """
    found, several = rows_of(formula, scope), formula.several
    left = y - offset
    scales = [structure.spread(left[found[:, structure.CODE] == k]) for k in range(len(several.names))]
    return Residuals(structure.terms_of(formula.response.name, several.names, found, scales, several.rescor))


def residual_columns_of(formula: Formula, scope: Scope) -> Array:
    """Return what the structures of the residuals read of other rows, side by side, (m, k)."""
    found = rows_of(formula, scope)
    return np.column_stack([found[:, structure.CODE], found]) if formula.several.rescor else found[:, [structure.CODE]]


def rows_of(formula: Formula, scope: Scope) -> Array:
    """Return of stacked rows: row, response, number of responses, (n, 3)."""
    place = {name: k for k, name in enumerate(formula.several.names)}
    seen = observed_levels(scope.variables[RESPONSE])
    code = np.array([place[label] for label in seen.labels], dtype=np.int64)[seen.codes]
    return structure.rows_of(scope.variables[ROW].values, code, len(place))


def check_rows(blocks: tuple[Block, ...], formula: Formula, scope: Scope) -> None:
    """Raise a DataError for a grouping factor whose every level is one row: its effects are the residuals'."""
    if formula.several is None:
        return
    row = np.unique(scope.variables[ROW].values, return_inverse=True)[1].ravel()
    for block in blocks:
        alone = len(block.levels) == row.max() + 1 and len(set(zip(block.index, row, strict=True))) == row.max() + 1
        if alone and not (block.smooth or block.members):
            raise DataError(
                f"grouping factor '{block.group}' has one row in each of its {len(block.levels):,} levels, so its "
                "effects cannot be told apart from the residuals of mvbind(), which are correlated within a row; leave "
                f"(... | {block.group}) out"
            )
