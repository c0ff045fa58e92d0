"""First-order autoregressive effects, ``ar1(0 + t | g)``: one sd, and rho^k between columns that are k apart."""

from collections.abc import Sequence

import numpy as np

from bayesmm.design.covariance.structure import Covariance, Entry
from bayesmm.families.kernel import kernel


def entries(q: int) -> tuple[Entry, ...]:
    """Return the sd of all columns, and the correlation of neighbours."""
    sd = Entry("sd", tuple((i,) for i in range(q)))
    return (sd, Entry("corr", tuple((i, i + 1) for i in range(q - 1)), "lag 1")) if q > 1 else (sd,)


def factor(values: Sequence, q: int):
    """Return L: the first column is rho^i, each other one sqrt(1 - rho^2) rho^(i - j) from its diagonal on."""
    sd, first = values[0], np.diag((np.arange(q) == 0) * 1.0)
    if q == 1:
        return sd * first
    rho = values[1]
    powers = np.eye(q) + sum(rho**k * np.eye(q, k=-k) for k in range(1, q))
    return sd * (powers @ (first + (1 - rho**2) ** 0.5 * (np.eye(q) - first)))


@kernel
def fill(values, L):
    """Set L as `factor` gives it."""
    q, sd = L.shape[0], values[0]
    L[0, 0] = sd
    if q > 1:
        rho = values[1]
        left = sd * np.sqrt(1.0 - rho * rho)
        for i in range(1, q):
            L[i, 0] = L[i - 1, 0] * rho
            L[i, i] = left
            for j in range(1, i):
                L[i, j] = L[i - 1, j] * rho


def tex(symbols: Sequence[str]) -> str:
    """Return the covariance matrix in LaTeX."""
    return rf"{symbols[0]}^{{2}} ({symbols[-1]}^{{|i - j|}})" if len(symbols) > 1 else rf"{symbols[0]}^{{2}} I"


covariance = Covariance(name="ar1", words="autoregressive", entries=entries, factor=factor, tex=tex, kernel=fill)
