"""A parameter that a family has besides the mean: its name, its values, its default prior."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray

POSITIVE_VALUES, SHARES, REAL_VALUES = (0.0, math.inf), (0.0, 1.0), (-math.inf, math.inf)  # bounds of a parameter
MOST_PARAMETERS = 3  # besides the mean: what compiled code has places for
LARGEST_LOG = 700.0  # exp of it exists


@dataclass(frozen=True)
class Auxiliary:
    """A parameter of a family besides the mean.

    Attributes
    ----------
    name : str
        "sigma" is a standard deviation, whose default prior is made from the data where it has none of its own.
    tex : str
        Its symbol in LaTeX; its name if not given.
    prior : str
        The distribution of its default prior, such as "Gamma", "HalfNormal", "LogNormal".
    parameters : mapping of str to float, or callable
        Those of the prior; or how they follow from the response, y -> mapping.
    unit : str
        What its values are measured in, as the table of priors says it.
    limit : str
        The family that is reached as it goes to `limit_at`.
    limit_at : float
        Infinity if not given.
    label : str
        What a table of standard deviations says beside a sigma that is none.
    bounds : (float, float)
        What it is between: above 0 if not given, between two numbers, or any real number.
    within : callable or None
        The ends that responses set to it, y -> (low, high), where these are inside `bounds`.
    relative : bool
        Whether it is 1 where the columns of its formula are 0, and 1 without a formula: no parameter of the model.
    chosen : bool
        Whether its value is the user's choice, a fixed prior, which maximum likelihood takes as known.
    of : callable or None
        Of a sigma, what of the response it is the sd of, y -> array, such as its logarithm; the response if not given.
    """

    name: str
    tex: str = ""
    prior: str = ""
    parameters: Mapping[str, float] | Callable[[Array], Mapping[str, float]] = field(default_factory=dict, hash=False)
    unit: str = ""
    limit: str = ""
    limit_at: float = math.inf
    label: str = ""
    bounds: tuple[float, float] = POSITIVE_VALUES
    within: Callable[[Array], tuple[float, float]] | None = None
    of: Callable[[Array], Array] | None = None
    relative: bool = False
    chosen: bool = False

    @property
    def symbol(self) -> str:
        """Its symbol in LaTeX."""
        return self.tex or rf"\mathrm{{{self.name}}}".replace("_", r"\_")

    def numbers(self, y: Array) -> Mapping[str, float]:
        """Return the parameters of its default prior for these responses."""
        return self.parameters(y) if callable(self.parameters) else self.parameters

    def free(self, value: float) -> float:
        """Return the value moved to the real line: its logarithm, the logit of its place between bounds, or itself."""
        low, high = self.bounds
        if math.isinf(high):
            return value if math.isinf(low) else math.log(value - low)
        return math.log((value - low) / (high - value))

    def moved(self, free: float) -> tuple[float, float]:
        """Return the value at a place on the real line, and its derivative there."""
        low, high = self.bounds
        if math.isinf(high):
            size = math.exp(min(free, LARGEST_LOG))
            return (free, 1.0) if math.isinf(low) else (low + size, size)
        small = math.exp(-abs(free))
        share = 1.0 / (1.0 + small) if free > 0 else small / (1.0 + small)
        return low + (high - low) * share, (high - low) * small / (1.0 + small) ** 2


SIGMA = Auxiliary("sigma", r"\sigma")
