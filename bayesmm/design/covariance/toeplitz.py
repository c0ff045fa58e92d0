"""Toeplitz correlations, ``toep(0 + t | g)``: an sd for each column, and a correlation for each distance of columns.

As in glmmTMB 1.1. Not every set of correlations belongs to a matrix, but every set of partial autocorrelations between
-1 and 1 does (Durbin & Levinson's recursion: Brockwell & Davis 1991, Time Series, section 5.2), so these are searched
and sampled, and have the priors; the first of them is the correlation of neighbours.
"""

from collections.abc import Sequence

import numpy as np

from bayesmm.design.covariance.structure import Covariance, Entry
from bayesmm.families.kernel import kernel


def entries(q: int) -> tuple[Entry, ...]:
    """Return the q sds, and the correlation of each distance from 1 to q - 1."""
    sds = tuple(Entry("sd", ((i,),)) for i in range(q))
    lags = range(1, q)
    return (*sds, *(Entry("corr", tuple((i, i + k) for i in range(q - k)), f"lag {k}") for k in lags))


def factor(values: Sequence, q: int):
    """Return L for the sds and the partial autocorrelations: each row is predicted by those before it."""
    units, rows, weights, left = np.eye(q), [], [], 1.0
    for t in range(q):
        if t:
            partial = values[q + t - 1]
            weights = [w - partial * back for w, back in zip(weights, weights[::-1], strict=True)] + [partial]
            left = left * (1 - partial**2)
        rows.append(sum(w * rows[t - 1 - j] for j, w in enumerate(weights)) + left**0.5 * units[t])
    return sum(values[i] * (units[i][:, None] * rows[i]) for i in range(q))


@kernel
def fill(values, L):
    """Set L as `factor` gives it: the rows of the correlations first, the weights in the first row meanwhile."""
    q, left = L.shape[0], 1.0 + 0.0 * values[0]
    for t in range(q):
        if t > 0:
            partial = values[q + t - 1]
            for j in range(t // 2):  # what the weights of the row before become, from both ends
                first, last = L[0, 1 + j] + 0.0, L[0, t - 1 - j] + 0.0
                L[0, 1 + j] = first - partial * last
                L[0, t - 1 - j] = last - partial * first
            L[0, t] = partial
            left = left * (1.0 - partial * partial)
            for i in range(t):
                for j in range(t - i):
                    L[t, i] = L[t, i] + L[0, 1 + j] * L[t - 1 - j, i]
        L[t, t] = np.sqrt(left)
    for i in range(q):
        for j in range(i + 1):
            L[i, j] = L[i, j] * values[i]
        for j in range(i + 1, q):
            L[i, j] = 0.0 * values[0]


def partials(values: Sequence, q: int) -> list:
    """Return sds and partial autocorrelations for sds and correlations by distance."""
    found, weights, left, lags = list(values[:q]), [], 1.0, list(values[q:])
    for k, lag in enumerate(lags):
        partial = (lag - sum(w * lags[k - 1 - j] for j, w in enumerate(weights))) / left
        weights = [w - partial * back for w, back in zip(weights, weights[::-1], strict=True)] + [partial]
        left = left * (1 - partial**2)
        found.append(partial)
    return found


def tex(symbols: Sequence[str]) -> str:
    """Return the covariance matrix in LaTeX."""
    q = (len(symbols) + 1) // 2
    S = rf"\mathrm{{diag}}({', '.join(symbols[:q])})"
    rho = symbols[q].split("_{")[0] if len(symbols) > q else "1"
    return rf"{S} ({rho}_{{|i - j|}}) {S}"


covariance = Covariance(
    name="toep", words="correlated by distance", entries=entries, factor=factor, tex=tex, partials=partials, kernel=fill
)
