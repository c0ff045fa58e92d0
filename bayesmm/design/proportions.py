"""A binomial's trials and prior weights: which is which, and that no trial counts twice."""

import numpy as np

from bayesmm.design.state import Scope
from bayesmm.errors import DataError
from bayesmm.families.responses import WHOLE, is_whole
from bayesmm.runtime.messages import note

# Distance of proportion x trials from a whole number that is rounding of the proportion: R's binomial() has the same.
ROUNDED = 1e-3


def check_counted_once(trials: np.ndarray, weights: np.ndarray | None, name: str) -> None:
    """Raise a DataError for weights that are the trials again, (n,) both.

    R's binomial family takes ``y / n`` with ``weights = n`` for y successes in n trials, since ``y / n`` is a number
    there like any other. Here it has the trials in it, and each would count n times over.
    """
    again = weights is not None and (np.abs(weights - trials) <= WHOLE * np.abs(trials)).all()
    if again and (trials != 1).any():
        raise DataError(
            f"the weights are the numbers of trials that the response '{name}' has already, so that a row of n trials "
            "would count n times over; leave the weights out"
        )


def are_proportions(y: np.ndarray, scope: Scope) -> bool:
    """Return whether a binomial response without trials holds proportions; 0 and 1 alone are yes and no."""
    inside = bool(((y >= 0) & (y <= 1)).all())
    return inside and not (scope.learning and np.isin(y, (0.0, 1.0)).all())


def counted(y: np.ndarray, weights: np.ndarray, name: str, scope: Scope) -> tuple[np.ndarray, np.ndarray]:
    """Return successes and trials, (n,) each, of proportions whose weights are the trials, as R's glm has them.

    Raises
    ------
    DataError
        The weights are no whole numbers, or a proportion is not one of its trials.
    """
    trials, successes = np.rint(weights), y * weights
    for bad, what in (
        (~is_whole(weights), "the weights are no whole numbers"),
        (np.abs(successes - np.rint(successes)) > ROUNDED, "proportion x weight is no whole number of successes"),
    ):
        if bad.any():
            raise DataError(
                f"the response '{name}' holds proportions, whose weights are the numbers of trials, but {what} in "
                f"{scope.rows.text(bad)}; expected successes / trials, with the trials as weights"
            )
    scope.say(note(f"the response '{name}' holds proportions, so the weights are taken as the numbers of trials"))
    return np.rint(successes), trials
