"""What each family of distributions asks of a response: a sentence where it cannot have the values.

Every check is ``(response) -> list of Message`` and raises a DataError. They know values only; what kind of column they
came from is settled in `bayesmm.design.reading`.
"""

from dataclasses import dataclass

import numpy as np

from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import Message, Rows, count, note, warning

COUNT_MEAN = 10  # a Poisson variable is usually taken as normal from a mean of 10 on; below, counts are worth a word
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
    """

    y: np.ndarray
    name: str
    rows: Rows
    trials: np.ndarray | None = None


def check_gaussian(response: Response) -> list[Message]:
    """Check a response that is taken as normal given the linear predictor; constant is an error."""
    y, name = response.y, response.name
    if y.dtype == bool:
        _check_varies(y.astype(np.float64), name)
        said = f"the response '{name}' is true/false, and the gaussian family takes it as 1 and 0"
        return [warning(f"{said}; did you mean a bernoulli model?")]
    _check_varies(y, name)
    distinct = np.unique(y)
    if len(distinct) == 2:
        values = " and ".join(f"{value:g}" for value in distinct)
        return [
            note(f"the response '{name}' has only two values ({values}), which the gaussian family takes as a scale")
        ]
    if distinct[0] >= 0 and y.mean() < COUNT_MEAN and np.array_equal(distinct, np.floor(distinct)):
        spread = f"whole numbers from {distinct[0]:g} to {distinct[-1]:g}"
        said = f"the response '{name}' holds {spread}"
        return [note(f"{said}; if these are counts, the gaussian family is an approximation")]
    return []


def check_student(response: Response) -> list[Message]:
    """Check a response with outliers: it varies."""
    _check_varies(response.y.astype(np.float64), response.name)
    return []


def check_counts(response: Response) -> list[Message]:
    """Check counts: whole numbers of 0 or more; zeros throughout are worth a warning."""
    y = response.y.astype(np.float64)
    _check_places(response, y < 0, "is negative", "a count is a whole number of 0 or more")
    _check_places(response, ~is_whole(y), "is no whole number", "a count is a whole number of 0 or more")
    if not y.any():
        return [_says_little(f"the response '{response.name}' is 0 in every row", "no mean above 0")]
    return []


def check_bernoulli(response: Response) -> list[Message]:
    """Check a response of 0 and 1, or of true and false."""
    y = response.y.astype(np.float64)
    other = ~np.isin(y, (0.0, 1.0))
    if other.any():
        name = response.name
        if ((y >= 0) & (y <= 1)).all():
            raise DataError(
                f"the response '{name}' holds proportions such as {y[other][0]:g}, and the bernoulli family needs 0 "
                "and 1; for y successes in n trials write y / n ~ ... with family='binomial', for shares that are "
                "no counts take family='beta'"
            )
        raise DataError(
            f"the response '{name}' has values other than 0 and 1 ({_value_counts(y)}); the bernoulli family needs 0 "
            "and 1, true and false, or two levels"
        )
    if y.min() == y.max():
        return [_says_little(f"the response '{response.name}' is {y[0]:g} in every row", "no other value")]
    return []


def check_binomial(response: Response) -> list[Message]:
    """Check successes and their trials: whole numbers, and no more successes than trials."""
    y, n = response.y.astype(np.float64), response.trials
    _check_places(response, n < 0, "has a negative number of trials", "trials are whole numbers of 1 or more")
    _check_places(response, ~is_whole(n), "has no whole number of trials", "trials are whole numbers of 1 or more")
    _check_places(response, n < 0.5, "has no trial", "a row without trials says nothing: leave it out")
    _check_places(response, y < 0, "has a negative number of successes", "successes are whole numbers of 0 or more")
    if not is_whole(y).all() and (y <= 1).all():
        raise DataError(
            f"the response '{response.name}' holds proportions such as {y[~is_whole(y)][0]:g}, but beside trials it "
            "should hold the number of successes; write the counts, or give the trials as weights"
        )
    _check_places(
        response, ~is_whole(y), "has no whole number of successes", "successes are whole numbers of 0 or more"
    )
    _check_places(response, np.rint(y) > np.rint(n), "has more successes than trials", "expected at most the trials")
    if not y.any() or np.array_equal(np.rint(y), np.rint(n)):
        how = "no success" if not y.any() else "no failure"
        return [_says_little(f"the response '{response.name}' has {how} in any row", how)]
    return []


def check_gamma(response: Response) -> list[Message]:
    """Check a response above 0."""
    y = response.y.astype(np.float64)
    how = "is 0 or less" if (y < 0).any() else "is 0"
    _check_places(response, y <= 0, how, "the gamma family needs values above 0")
    _check_varies(y, response.name)
    return []


def check_beta(response: Response) -> list[Message]:
    """Check a response between 0 and 1, both excluded."""
    y = response.y.astype(np.float64)
    _check_places(response, (y < 0) | (y > 1), "is outside 0 to 1", "the beta family needs values between 0 and 1")
    ends = (y == 0) | (y == 1)
    if ends.any():
        raise DataError(
            f"the response '{response.name}' is 0 or 1 in {response.rows.text(ends)}, and the beta family needs values "
            "between them; a usual remedy is to take (y * (n - 1) + 0.5) / n with n the number of rows "
            f"({len(y):,}), which moves them inside"
        )
    _check_varies(y, response.name)
    return []


def _check_varies(y: np.ndarray, name: str) -> None:
    if y.min() == y.max():
        raise DataError(f"the response '{name}' is constant ({y[0]:g}); a model needs one that varies")


def _check_places(response: Response, bad: np.ndarray, what: str, expected: str) -> None:
    """Raise a DataError that names the rows where `bad` holds."""
    if bad.any():
        raise DataError(f"the response '{response.name}' {what} in {response.rows.text(bad)}; {expected}")


def is_whole(values: np.ndarray) -> np.ndarray:
    """Return where values are whole numbers, up to rounding."""
    return np.abs(values - np.rint(values)) <= WHOLE * np.maximum(1.0, np.abs(values))


def _value_counts(y: np.ndarray) -> str:
    values, times = np.unique(y, return_counts=True)
    shown = [f"{value:g} in {count(int(number), 'row')}" for value, number in zip(values, times, strict=True)]
    return listing(shown, limit=VALUES_LISTED)


def _says_little(found: str, lacking: str) -> Message:
    return warning(f"{found}, so the data show {lacking} and the estimates rest on the priors")
