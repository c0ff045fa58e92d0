"""Whether two designs are of the same rows: responses, weights and trials beside each other."""

import numpy as np

from bayesmm.design.records import Design
from bayesmm.design.summed import Elsewhere, is_summed
from bayesmm.design.summed import same_column as same_summed
from bayesmm.errors import DataError


def check_same_rows(first: Design, second: Design, who: str, what: str) -> None:
    """Raise a DataError unless two designs have as many rows and the same response, row for row.

    Parameters
    ----------
    first, second : Design
    who, what : str
        For the sentence: who is compared ("the fits"), and what of theirs ("likelihoods").
    """
    if first.responses != second.responses:
        raise DataError(
            f"{who} have different responses ({first.response} and {second.response}), so that their {what} cannot be "
            "compared"
        )
    if first.n != second.n:
        raise DataError(
            f"{who} use different rows ({first.n:,} and {second.n:,}), so that their {what} cannot be compared; give "
            "both data without missing values in any column that either uses"
        )
    if is_summed(first) != is_summed(second):
        raise DataError(f"{who} have their rows in memory and with an engine, so that their {what} cannot be compared")
    same = same_summed if is_summed(first) else np.array_equal
    if not (first.response == second.response and same(first.y, second.y)):
        raise DataError(
            f"{who} have different responses ({first.response!r} and {second.response!r}, row by row), so that their "
            f"{what} cannot be compared"
        )


def same_column(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Return whether two columns of weights or trials are the same, or both missing."""
    if isinstance(a, Elsewhere) and isinstance(b, Elsewhere):
        own = a.sums, b.sums
        return np.isclose(*(sums.weighted[0, 0] for sums in own)) and np.isclose(*(s.sum_log_weights for s in own))
    return (a is None) == (b is None) and (a is None or np.array_equal(a, b))
