"""The values that a response may have, as far as other rooms ask."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Support:
    """A set of possible responses.

    Attributes
    ----------
    discrete : bool
        Whole numbers.
    positive : bool
        Numbers above 0.
    nonnegative : bool
        Numbers of 0 or more.
    counts : bool
        Whole numbers of 0 or more, without an upper end.
    zero : bool
        Of counts, whether they may be 0.
    lowest : int
        Of counts, the least that is the likelier the smaller mu is, however small; a zero of its own has no part in mu.
    successes : bool
        The number of successes in one trial or more, so that the mean (of one trial) is a probability.
    proportion : bool
        Numbers between 0 and 1, both excluded.
    ordered : bool
        The number of a category, from 1 on.
    trials : bool
        The number of trials is the row's own; otherwise it is 1.
    atoms : tuple of float
        Of numbers that are no whole ones, those that have a probability of their own: 0 of "nonnegative", and the ends
        of "proportion" that a response may have.
    angle : bool
        Angles in radians, from -pi to pi.
    """

    discrete: bool = False
    positive: bool = False
    nonnegative: bool = False
    counts: bool = False
    successes: bool = False
    trials: bool = False
    proportion: bool = False
    ordered: bool = False
    zero: bool = True
    lowest: int = 0
    atoms: tuple[float, ...] = ()
    angle: bool = False

    @property
    def numbers(self) -> bool:
        """Whether a response is a number of something, of which there may be more or fewer than a model allows."""
        return self.counts or self.trials or (self.discrete and not self.binary and not self.ordered)

    @property
    def binary(self) -> bool:
        """Whether a response is 0 or 1."""
        return self.successes and not self.trials


REAL = Support()
POSITIVE = Support(positive=True)
NONNEGATIVE = Support(nonnegative=True, atoms=(0.0,))
PROPORTION = Support(proportion=True)
PROPORTION_OR_ZERO = Support(proportion=True, atoms=(0.0,))
PROPORTION_WITH_ENDS = Support(proportion=True, atoms=(0.0, 1.0))
ANGLE = Support(angle=True)
COUNTS = Support(discrete=True, counts=True)
COUNTS_BESIDE_ZEROS = Support(discrete=True, counts=True, lowest=1)
COUNTS_ABOVE_ZERO = Support(discrete=True, counts=True, zero=False, lowest=1)
BINARY = Support(discrete=True, successes=True)
SUCCESSES = Support(discrete=True, successes=True, trials=True)
CATEGORIES = Support(discrete=True, ordered=True)
SUPPORTS = {
    "real": REAL, "positive": POSITIVE, "proportion": PROPORTION,
    "counts": COUNTS, "binary": BINARY, "successes": SUCCESSES,
}  # fmt: skip
