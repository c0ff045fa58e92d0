"""Compound symmetry, ``cs(0 + f | g)``: an sd for each column and one correlation of all pairs, as in glmmTMB."""

from collections.abc import Sequence

import numpy as np

from bayesmm.design.covariance.structure import Covariance, Entry
from bayesmm.families.kernel import kernel


def entries(q: int) -> tuple[Entry, ...]:
    """Return the q sds, and the correlation, which is above -1 / (q - 1)."""
    sds = tuple(Entry("sd", ((i,),)) for i in range(q))
    pairs = tuple((i, j) for i in range(q) for j in range(i + 1, q))
    return (*sds, Entry("corr", pairs, bounds=(-1 / (q - 1), 1.0))) if pairs else sds


def factor(values: Sequence, q: int):
    """Return L: below the diagonal, the rows of a column are equal up to their sds."""
    scaled, taken = 0.0, 0.0  # what the columns so far make of a row's variance
    for j in range(q):
        left = (1 - taken) ** 0.5
        if j == q - 1:
            scaled = scaled + left * _unit(q, j, j)
            break
        below = (values[q] - taken) / left
        scaled = scaled + left * _unit(q, j, j) + below * sum(_unit(q, i, j) for i in range(j + 1, q))
        taken = taken + below**2
    return sum(values[i] * _unit(q, i, i) for i in range(q)) @ scaled


@kernel
def fill(values, L):
    """Set L as `factor` gives it."""
    q, taken = L.shape[0], 0.0 * values[0]
    for j in range(q):
        square = 1.0 - taken
        left = np.sqrt(square)
        L[j, j] = values[j] * left
        if j < q - 1:  # at a bound of the correlation, where the square is 0, a row follows from those above
            below = (values[q] - taken) * left / (square + 1.0 * (square == 0.0))
            for i in range(j + 1, q):
                L[i, j] = values[i] * below
            taken = taken + below * below


def _unit(q: int, i: int, j: int) -> np.ndarray:
    out = np.zeros((q, q))
    out[i, j] = 1.0
    return out


def tex(symbols: Sequence[str]) -> str:
    """Return the covariance matrix in LaTeX."""
    S = rf"\mathrm{{diag}}({', '.join(symbols[:-1] if len(symbols) > 1 else symbols)})"
    return rf"{S} ((1 - {symbols[-1]}) I + {symbols[-1]} J) {S}" if len(symbols) > 1 else rf"{symbols[0]}^{{2}}"


covariance = Covariance(name="cs", words="compound symmetry", entries=entries, factor=factor, tex=tex, kernel=fill)
