"""Printed numbers: a text, the value that it stands for, and how far a computed value may be from it."""

import re
from dataclasses import dataclass
from decimal import Decimal

from bayesmm.errors import DataError

# A number of n digits stands for every value that rounds to it: half a unit of its last digit to either side. The
# thousandth is for a value that lies on the edge itself (16.4015 printed as 16.401), where rounding errors decide.
HALF_UNIT = 0.5 + 1e-3
BOUND = "<"  # before a number that is only known to be larger, as R prints a p-value below 2e-16

_PRINTED = re.compile(r"(?P<bound><?)\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True)
class Printed:
    """A number as it was printed.

    Attributes
    ----------
    text : str
        Such as ``"24.740"``, ``"7.072e-10"`` or ``"<2e-16"``.
    value : float
    unit : float
        What one more in the last digit is worth.
    bound : bool
        Whether the text says "less than".
    """

    text: str
    value: float
    unit: float
    bound: bool

    def covers(self, value: float) -> bool:
        """Return whether a computed value prints as this number; never for NaN."""
        if self.bound:
            return value < self.value
        return abs(value - self.value) <= HALF_UNIT * self.unit

    def show(self, value: float) -> str:
        """Return a computed value with one digit more than the print; with two where that is a bound or a bare 0."""
        if self.bound or (self.value == 0 and self.unit == 1):
            return f"{value:.2g}"
        scientific = "e" in self.text.lower()
        exponent = Decimal(repr(self.unit)).adjusted()
        if not scientific:
            return f"{value:.{max(0, 1 - exponent) if exponent < 0 else 0}f}"
        digits = max(0, Decimal(repr(abs(value) or self.unit)).adjusted() - exponent + 1)
        return f"{value:.{digits}e}"


def read_printed(text: str) -> Printed:
    """Read a printed number.

    Parameters
    ----------
    text : str

    Returns
    -------
    Printed

    Raises
    ------
    DataError
        The text is no number.
    """
    found = _PRINTED.fullmatch(text.strip())
    if found is None:
        raise DataError(f"{text!r} is no printed number such as '24.740', '7.07e-10' or '<2e-16'")
    number = Decimal(found["number"])
    return Printed(
        text.strip(), float(number), float(Decimal(1).scaleb(number.as_tuple().exponent)), bool(found["bound"])
    )
