"""Covariance matrices of levels, or of rows, as a user gives them: labelled tables, and pedigrees."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from bayesmm.design.pedigrees import is_pedigree, read_pedigree
from bayesmm.design.related_levels import Matrix
from bayesmm.design.relations import Array
from bayesmm.errors import DataError, listing, suggest

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
    if is_pedigree(columns) and in_order is None:
        return Matrix(*read_pedigree(name, frame))
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
