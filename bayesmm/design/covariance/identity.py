"""Independent effects with one sd, ``ident(0 + f | g)``; the penalised part of a smooth has it too."""

from collections.abc import Sequence

import numpy as np

from bayesmm.design.covariance.structure import Covariance, Entry


def entries(q: int) -> tuple[Entry, ...]:
    """Return the sd that all columns have."""
    return (Entry("sd", tuple((i,) for i in range(q))),)


def factor(values: Sequence, q: int):
    """Return the sd times the identity."""
    return values[0] * np.eye(q)


def tex(symbols: Sequence[str]) -> str:
    """Return the covariance matrix in LaTeX."""
    return rf"{symbols[0]}^{{2}} I"


covariance = Covariance(
    name="ident", words="independent, with one sd", entries=entries, factor=factor, tex=tex, diagonal=True
)
