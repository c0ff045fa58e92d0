"""Functions of a record with their first argument chosen."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class With:
    """A function with its first argument: equal to another of the same two, which a `functools.partial` is not.

    So families are equal after a pickle.
    """

    function: Callable
    first: object

    def __call__(self, *arguments: object) -> object:
        """Return its value for the other arguments."""
        return self.function(self.first, *arguments)
