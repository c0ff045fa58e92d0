"""What families ask of a response, as far as several share it: a sentence where it cannot have the values.

Every check is ``(response) -> list of Message`` and raises a DataError. They know values only; what kind of column they
came from is settled in `bayesmm.design.reading`.
"""

from dataclasses import dataclass

import numpy as np

from bayesmm.errors import DataError, listing
from bayesmm.families.support import REAL, Support
from bayesmm.runtime.messages import Message, Rows, count, warning

WHOLE = 1e-7  # relative distance from a whole number that is rounding, as R's dpois() and its relatives have it
VALUES_LISTED = 6  # distinct values, with their numbers of rows, in one sentence


@dataclass(frozen=True, eq=False)
class Response:
    """A response as its family sees it.

    Attributes
    ----------
    y : array, shape (n,)
        float64 or bool, finite.
    name : str
        Its text in the formula.
    rows : Rows
    trials : float64 array, shape (n,), or None
    support : Support
        Of the family.
    """

    y: np.ndarray
    name: str
    rows: Rows
    trials: np.ndarray | None = None
    support: Support = REAL


def check_support(response: Response) -> list[Message]:
    """Check a response by its support alone: values outside it are an error, and so is a constant one."""
    y, support = response.y.astype(np.float64), response.support
    if support.counts:
        return check_counts(response)
    if support.trials:
        check_places(response, ~is_whole(y) | (y < 0), "has no whole number of successes", "expected 0 or more")
        check_places(response, y > response.trials, "has more successes than trials", "expected at most the trials")
    elif support.binary:
        check_places(response, ~np.isin(y, (0.0, 1.0)), "is not 0 or 1", "the family needs 0 and 1")
    elif support.proportion:
        check_places(response, (y <= 0) | (y >= 1), "is not between 0 and 1", "the family needs values between them")
    elif support.positive:
        check_places(response, y <= 0, "is 0 or less", "the family needs values above 0")
    check_varies(y, response.name)
    return []


def check_counts(response: Response) -> list[Message]:
    """Check counts: whole numbers of 0 or more; zeros throughout are worth a warning."""
    y = response.y.astype(np.float64)
    check_places(response, y < 0, "is negative", "a count is a whole number of 0 or more")
    check_places(response, ~is_whole(y), "is no whole number", "a count is a whole number of 0 or more")
    if not y.any():
        return [says_little(f"the response '{response.name}' is 0 in every row", "no mean above 0")]
    return []


def check_varies(y: np.ndarray, name: str) -> None:
    """Raise a DataError where all values are the same."""
    if y.min() == y.max():
        raise DataError(f"the response '{name}' is constant ({y[0]:g}); a model needs one that varies")


def check_places(response: Response, bad: np.ndarray, what: str, expected: str) -> None:
    """Raise a DataError that names the rows where `bad` holds."""
    if bad.any():
        raise DataError(f"the response '{response.name}' {what} in {response.rows.text(bad)}; {expected}")


def is_whole(values: np.ndarray) -> np.ndarray:
    """Return where values are whole numbers, up to rounding."""
    return np.abs(values - np.rint(values)) <= WHOLE * np.maximum(1.0, np.abs(values))


def value_counts(y: np.ndarray) -> str:
    """Return the distinct values, with their numbers of rows."""
    values, times = np.unique(y, return_counts=True)
    shown = [f"{value:g} in {count(int(number), 'row')}" for value, number in zip(values, times, strict=True)]
    return listing(shown, limit=VALUES_LISTED)


def says_little(found: str, lacking: str) -> Message:
    """Return the warning of a response that lacks a kind of values, so that its likelihood has no finite maximum."""
    return warning(f"{found}, so the data show {lacking} and the estimates rest on the priors")
