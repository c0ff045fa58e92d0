"""Covariance matrices of levels, or of rows, as a user gives them: labelled tables, and pedigrees."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from bayesmm.design.frames import open_table
from bayesmm.design.pedigrees import NOBODY, Pedigree
from bayesmm.design.related_levels import Matrix
from bayesmm.design.relations import Array
from bayesmm.design.variables import NUMERIC, observed_levels, read_variable
from bayesmm.errors import DataError, listing, suggest

PEDIGREE = ("id", "sire", "dam")
UNKNOWN = ("0", "NA", "")  # a parent's label, besides a missing value, that stands for none
SYMMETRIC = 1e-8  # relative: matrices are given with a few digits


def read_matrices(
    given: Mapping[str, object] | None, wanted: Sequence[str], of_rows: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, Matrix]:
    """Return the matrices that a formula names, from frames that have labels, or that are pedigrees.

    Those of rows, `of_rows`, may be arrays where they are in the order of the rows (True); the labels of an array are
    the places of its rows.

    Raises
    ------
    DataError
        One is missing, not asked for, or no covariance matrix.
    """
    if given is not None and not isinstance(given, Mapping):
        raise DataError(f"matrices should be a mapping of names to frames, such as {{'A': frame}}, not {given!r}")
    given = dict(given or {})
    for name in wanted:
        if name not in given:
            has = f"matrices has {listing(map(repr, given))}" if given else "no matrices are given"
            near = suggest(name, list(given))
            what = f"the matrix {name}" if name in of_rows else f"cov = {name}"
            raise DataError(f"the formula has {what}, and {has}{near}; give matrices={{{name!r}: frame}}")
    for name in given:
        if name not in wanted:
            use = f"write gr(factor, cov = {name}), or fcor({name}) of residuals"
            raise DataError(f"matrices has {name!r}, which the formula does not name; {use}")
    return {
        name: one if isinstance(one, Matrix) else _read(name, one, of_rows.get(name)) for name, one in given.items()
    }


def _read(name: str, frame: object, in_order: bool | None = None) -> Matrix:
    """Return one matrix; `in_order` says of one of rows whether they are in order, None of one of levels."""
    columns = getattr(frame, "columns", None)
    named = columns is not None
    if columns is None and in_order and np.ndim(frame) == 2:
        frame = np.asarray(frame)
        columns = range(frame.shape[1])
    elif columns is None:
        kind, or_else = type(frame).__name__, "or a pedigree"
        if in_order is not None:
            or_else = "or an array" if in_order else "which rows = names the column of"
        raise DataError(f"matrices[{name!r}] is a {kind}; expected a table with the labels as columns, {or_else}")
    columns = [str(column) for column in columns]
    if set(PEDIGREE) <= {column.lower() for column in columns} and in_order is None:
        return Matrix(*_pedigree(name, frame))
    index = getattr(frame, "index", None)  # of pandas
    values = np.asarray(frame.to_numpy() if hasattr(frame, "to_numpy") else frame)
    rows = columns if index is None else [str(label) for label in index]
    rows = columns if rows == [str(i) for i in range(len(columns))] else rows  # a table without labels of its rows
    _check(name, columns, rows, values)
    place = {label: i for i, label in enumerate(rows)}
    values = values[[place[column] for column in columns]].astype(np.float64)
    size = np.abs(values).max(initial=0.0)
    if not np.isfinite(values).all():
        raise DataError(f"matrices[{name!r}] has values that are missing or not finite")
    i, j = np.unravel_index(np.abs(values - values.T).argmax(), values.shape)
    if abs(values[i, j] - values[j, i]) > SYMMETRIC * size:
        pair = f"{values[i, j]:g} for {columns[i]!r} and {columns[j]!r}, and {values[j, i]:g} the other way round"
        raise DataError(f"matrices[{name!r}] is not symmetric: it has {pair}")
    return Matrix(tuple(columns), (values + values.T) / 2, named)


def _check(name: str, columns: list[str], rows: list[str], values: Array) -> None:
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        shape = " x ".join(map(str, values.shape))
        raise DataError(f"matrices[{name!r}] is {shape}; expected as many rows as columns")
    if values.dtype.kind not in "biuf":
        raise DataError(f"matrices[{name!r}] holds other values than numbers; its labels stand in the index")
    twice = [label for label in columns if columns.count(label) > 1] if len(set(columns)) < len(columns) else []
    if twice:
        raise DataError(f"matrices[{name!r}] has the label {twice[0]!r} twice")
    if sorted(rows) != sorted(columns):
        odd = next(label for label in [*rows, *columns] if label not in columns or label not in rows)
        raise DataError(f"matrices[{name!r}] has other labels of its rows than of its columns (the first is {odd!r})")


# ----------------------------------------------------------------------------------------------------------------------
# pedigrees


def _pedigree(name: str, frame: object) -> tuple[tuple[str, ...], Pedigree]:
    """Return the labels, parents first, and the pedigree of the table that is called `name`."""
    ids, parents = _columns(name, frame)
    known = dict(zip(ids, parents, strict=True))
    known |= {one: (None, None) for pair in parents for one in pair if one is not None and one not in known}
    known = {one: known[one] for one in sorted(known)}  # whatever the order of the rows
    order = _parents_first(name, known)
    place: dict[str | None, int] = {None: NOBODY} | {one: i for i, one in enumerate(order)}
    sire, dam = (np.array([place[known[one][k]] for one in order], dtype=np.int64) for k in (0, 1))
    return tuple(order), Pedigree(sire, dam)


def _columns(name: str, frame: object) -> tuple[list[str], list[tuple]]:
    """Return the ids, and the pairs of parents, None where one is not known."""
    table, found, kinds = open_table(frame), {}, {}
    for j, column in enumerate(map(str, frame.columns)):
        if column.lower() in PEDIGREE:
            variable = read_variable(column, table.read(j))[0]
            seen = observed_levels(variable)
            found[column.lower()] = [None if code < 0 else seen.labels[code] for code in seen.codes]
            kinds[column.lower()] = variable.kind in NUMERIC and any(one not in UNKNOWN for one in seen.labels)
    for parent in ("sire", "dam"):
        if kinds[parent] and not kinds["id"]:
            raise DataError(
                f"in the pedigree matrices[{name!r}], {parent} holds numbers and id text; expected the parents' ids"
            )
    ids, parents = found["id"], list(zip(found["sire"], found["dam"], strict=True))
    if None in ids:
        raise DataError(f"the pedigree matrices[{name!r}] has rows without an id")
    unclear = next((one for one in ids if one in UNKNOWN), None)
    if unclear is not None:
        raise DataError(
            f"the pedigree matrices[{name!r}] has the id {unclear!r}, which says of a parent that it is not known; "
            "give that animal another id"
        )
    if len(set(ids)) < len(ids):
        seen_before: set[str] = set()
        twice = next(one for one in ids if one in seen_before or seen_before.add(one))
        raise DataError(f"the pedigree matrices[{name!r}] has the id {twice!r} twice")
    return ids, [tuple(None if one in UNKNOWN else one for one in pair) for pair in parents]


def _parents_first(name: str, known: Mapping[str, tuple]) -> list[str]:
    order: list[str] = []
    done, waiting = set(), list(known)
    while waiting:
        ready = [one for one in waiting if all(parent is None or parent in done for parent in known[one])]
        if not ready:
            raise DataError(f"in the pedigree matrices[{name!r}], {waiting[0]!r} is among its own ancestors")
        order += ready
        done.update(ready)
        waiting = [one for one in waiting if one not in done]
    return order
