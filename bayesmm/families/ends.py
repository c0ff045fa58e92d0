"""What families of shares from 0 to 1, both included, have in common: the check of a response, and starting values."""

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families import beta
from bayesmm.families.residuals import undefined
from bayesmm.families.responses import Response, check_places, check_varies
from bayesmm.runtime.messages import Message, warning

Array = np.ndarray


def check_shares(response: Response) -> list[Message]:
    """Check shares from 0 to 1; a warning that names the family to take instead where one of the ends has no row."""
    y = response.y.astype(np.float64)
    check_places(response, (y < 0) | (y > 1), "is outside 0 to 1", "the family needs values from 0 to 1")
    check_varies(y, response.name)
    between = y[(y > 0) & (y < 1)]
    if not len(between):
        raise DataError(
            f"the response '{response.name}' is 0 or 1 in every row; the family needs values between them too; did you "
            "mean 'bernoulli'?"
        )
    if between.min() == between.max():
        raise DataError(
            f"the response '{response.name}' is {between[0]:g} in every row where it is between 0 and 1; a model needs "
            "values that vary there"
        )
    zeros, ones = bool((y == 0).any()), bool((y == 1).any())
    if zeros and ones:
        return []
    which = "1" if zeros else "0" if ones else "0 or 1"
    said = f"the response '{response.name}' is {which} in no row, so that the probability of that has its maximum at 0"
    other = "did you mean the family 'zero_inflated_beta'?" if zeros else "did you mean the family 'beta'?"
    return [warning(said if ones else f"{said}; {other}")]


def start_phi(y: Array, mu: Array) -> Array:
    """Return a first phi, (1,), by moments of what is between 0 and 1."""
    some = (y > 0) & (y < 1)
    return beta.start(y[some], mu[some]) if some.any() else np.ones(1)


def ends_seen(y: Array) -> tuple[float, float]:
    """Return the shares of zeros and of ones, off 0: with half a row more of each, and one between them."""
    return tuple(float(((y == end).sum() + 0.5) / (len(y) + 2)) for end in (0.0, 1.0))


NO_RESIDUAL = undefined("its ends and its values between them are two things")
