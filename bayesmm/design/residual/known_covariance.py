"""A known covariance matrix of the residuals, ``fcor(V)``: meta-analysis of estimates that are correlated.

The residuals are N(0, sigma^2 V), brms' fcor(); with ``sigma = FALSE`` they are N(0, V), metafor's rma.mv(yi, V).
V has the rows of the table in their order; ``rows = id`` finds the row and column of each by its label instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from types import ModuleType

import numpy as np

from bayesmm.design.related_levels import Matrix
from bayesmm.design.residual.correlation import Layout, all_before, by_series
from bayesmm.design.residual.structure import Arguments, Array, ResidualStructure
from bayesmm.errors import DataError, listing
from bayesmm.formula.functions import Parameter, Signature
from bayesmm.runtime.messages import Rows

NAME = "fcor"
PLACE, SD = 0, 1  # the columns of what is read of a row


@dataclass(frozen=True, eq=False)
class Known:
    """The covariance matrix that a formula names.

    Attributes
    ----------
    name : str
    matrix : Matrix
    """

    name: str
    matrix: Matrix


def of_rows(name: str, matrix: Matrix, rows: Rows, total: int) -> Matrix:
    """Return the matrix of the rows that a model uses, of one of all rows of a table in their order.

    Parameters
    ----------
    name : str
    matrix : Matrix
    rows : Rows
        Those that are used.
    total : int
        How many rows the table has.

    Raises
    ------
    DataError
        It is of another number of rows, or its labels are not those of the table in their order.
    """
    m = len(matrix.labels)
    if m != total:
        raise DataError(
            f"matrices[{name!r}] is {m:,} x {m:,}, and the data have {total:,} rows; expected the covariances of all "
            f"rows in their order, or fcor({name}, rows = id) with a column of labels"
        )
    at = rows.positions
    if matrix.named:
        _check_order(name, matrix.labels, rows)
    if not matrix.named and len(at) == m:  # all of them: its eigenvalues are known from the last time
        return matrix
    return Matrix(tuple(str(i) for i in range(len(at))), matrix.values[np.ix_(at, at)], named=False)


def _check_order(name: str, labels: Sequence[str], rows: Rows) -> None:
    """Refuse a matrix whose labels are those of other rows, or of the rows in another order.

    Labels 0, 1, ... in their order may be no more than places. Where the rows have no labels of their own, other
    texts say nothing of them, but numbers out of order do.
    """
    unnamed = rows.labels is None
    own, wanted = [labels[i] for i in rows.positions], [str(i) for i in (rows.positions if unnamed else rows.labels)]
    if own == wanted:
        return
    places = list(labels) == [str(i) for i in range(len(labels))]
    numbers = [int(label) for label in labels if label.isascii() and label.isdigit()]
    shuffled = unnamed and len(numbers) == len(labels) and numbers != sorted(numbers)
    same = set(wanted) <= set(labels)
    if not (same or shuffled) and (places or unnamed):
        return
    odd = next(i for i in range(len(own)) if own[i] != wanted[i])
    what = "in another order" if same else "others"
    raise DataError(
        f"the labels of matrices[{name!r}] are not those of the data's rows but {what} (the first is {own[odd]!r}, and "
        f"the row's {wanted[odd]!r}); expected the order of the rows, which an array without labels has too, or a "
        f"column of labels: fcor({name}, rows = id)"
    )


def parameters(arguments: Arguments) -> tuple[()]:
    """Return no parameters besides sigma."""
    return ()


def rows(arguments: Arguments) -> Array:
    """Return the place of each row in the matrix, and its sd, (n, 2).

    Raises
    ------
    DataError
        The matrix has not the labels of all rows, two rows have one, or it is not positive definite for them.
    """
    known = arguments["V"]
    place = np.arange(len(known.matrix.labels)) if "rows" not in arguments else _places(known, arguments["rows"])
    _check_definite(known, place)
    return np.column_stack([place, np.sqrt(np.diag(known.matrix.values)[place])])


def _check_definite(known: Known, place: Array) -> None:
    """Refuse a matrix that is not positive definite for the rows; where it is for all its labels, it is for these."""
    m, own = len(known.matrix.labels), len(place)
    if own > m // 2 and _is_definite(*known.matrix.ends, m):
        return
    ends = known.matrix.ends if own == m else np.linalg.eigvalsh(known.matrix.values[np.ix_(place, place)])[[0, -1]]
    if own and not _is_definite(*ends, own):
        raise DataError(
            f"matrices[{known.name!r}] is not positive definite for the rows of the data: its smallest eigenvalue "
            f"is {ends[0]:.3g}; two rows may be the same estimate, or a covariance exceed what its variances allow"
        )


def _is_definite(lowest: float, largest: float, size: int) -> bool:
    return lowest > size * np.finfo(float).eps * largest


def _places(known: Known, column) -> Array:
    """Return the place of each row in the matrix, (n,), by its label."""
    labels = column.levels.labels
    place = {label: i for i, label in enumerate(known.matrix.labels)}
    missing = [label for label in labels if label not in place]
    if missing:
        has = listing(map(repr, known.matrix.labels), limit=3)
        raise DataError(
            f"matrices[{known.name!r}] has no row for {len(missing):,} of the {len(labels):,} labels of the data "
            f"({listing(map(repr, missing), limit=3)}); its labels are {has}"
        )
    twice = np.flatnonzero(np.bincount(column.codes) > 1)
    if len(twice):
        raise DataError(
            f"{NAME}({known.name}): {labels[twice[0]]!r} stands in {np.bincount(column.codes)[twice[0]]:,} rows; "
            "expected the label of each row once"
        )
    return np.array([place[labels[code]] for code in column.codes], dtype=np.int64)


def relative_sd(library: ModuleType, rows: object, values: Mapping[str, object]) -> object:
    """Return the square roots of the variances, (n,)."""
    return rows[:, SD]


def layout(matrix: Matrix, rows: Array) -> Layout:
    """Return the entries of U with their values: each row with those before it that it is correlated with.

    Rows that are not connected by covariances are series of their own.
    """
    from scipy.sparse import coo_array  # here: few models have correlated residuals
    from scipy.sparse.csgraph import connected_components

    at = rows[:, PLACE].astype(np.int64)
    C = matrix.values[np.ix_(at, at)] / rows[:, SD] / rows[:, SD, None]
    series = connected_components(coo_array(C != 0), directed=False)[1] if len(at) else np.empty(0, np.int64)
    order, place = by_series(series, np.arange(len(at)))
    row, column = all_before(order, place)
    values = np.empty(len(row))
    ends = np.append(np.flatnonzero(np.diff(series[row], prepend=-1)), len(row))
    for first, end in pairwise(ends):
        own = np.unique(row[first:end])
        inverse = np.linalg.inv(np.linalg.cholesky(C[np.ix_(own, own)]))
        values[first:end] = inverse[np.tril_indices(len(own))]
    return Layout(place, row, column, values)


def root(library: ModuleType, layout: Layout, values: Mapping[str, object]) -> object:
    """Return the entries of U, (nnz,)."""
    return layout.own


def tex(arguments: Mapping[str, str]) -> str:
    """Return the correlation of two rows."""
    V = rf"{{{arguments['V']}}}"
    return rf"{V}_{{ij}} / ({V}_{{ii}}\,{V}_{{jj}})^{{1/2}}"


def variance_tex(arguments: Mapping[str, str]) -> str:
    """Return the variance of a row over sigma^2."""
    return rf"{{{arguments['V']}}}_{{ii}}"


def chosen(arguments: Arguments) -> ResidualStructure:
    """Return the structure with the matrix, and with a sigma of 1 where that is asked for."""
    sigma = "scale" if arguments.get("sigma", True) else "known"
    return replace(STRUCTURE, layout=partial(layout, arguments["V"].matrix), sigma=sigma)


STRUCTURE = ResidualStructure(
    name=NAME,
    signature=Signature(
        (Parameter("V", "matrix"), Parameter("rows", "series", ""), Parameter("sigma", "logical", "TRUE")), "residual"
    ),
    parameters=parameters,
    rows=rows,
    relative_sd=relative_sd,
    tex=tex,
    variance_tex=variance_tex,
    layout=layout,
    root=root,
    chosen=chosen,
)
