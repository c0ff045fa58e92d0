"""Series of rows, as structures with correlations read them: which series a row is in, and when."""

import numpy as np

from bayesmm.design.residual.structure import Arguments, Array
from bayesmm.errors import DataError


def series_of(arguments: Arguments, n: int) -> Array:
    """Return the number of each row's series, (n,); all rows are one where no `gr` is given."""
    return arguments["gr"].codes.astype(float) if "gr" in arguments else np.zeros(n)


def times_of(name: str, arguments: Arguments) -> Array:
    """Return the series and the time of each row, (n, 2).

    Raises
    ------
    DataError
        A series has a time twice.
    """
    values = arguments["time"].values[:, 0]
    found = np.column_stack([series_of(arguments, len(values)), values])
    check_distinct(name, found, arguments, [f"{value:g}" for value in np.unique(values)], np.unique(values))
    return found


def check_distinct(name: str, rows: Array, arguments: Arguments, labels, known: Array) -> None:
    """Raise a DataError where a series (column 0) has a time (column 1) twice."""
    _, first, count = np.unique(rows, axis=0, return_index=True, return_counts=True)
    if (count > 1).any():
        row = rows[first[count > 1][0]]
        label = labels[int(np.searchsorted(known, row[1]))]
        of = f" of series {arguments['gr'].levels.labels[int(row[0])]!r}" if "gr" in arguments else ""
        given = "" if "gr" in arguments else "; gr= says which series a row is of"
        raise DataError(
            f"{name}(): time {label}{of} stands in {count.max():,} rows; expected each time once in a series{given}"
        )
