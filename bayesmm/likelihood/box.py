"""A box around draws of a likelihood's parameters, in whose coordinates polynomials are taken."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesmm.likelihood.packed import Floats, Ints

# How far it reaches, in sds of the draws, and at most, of the log of a parameter: where it would be wider the data
# hardly tell the parameter, and no polynomial is near.
REACH, WIDEST, NARROWEST = 4.5, 2.0, 1e-6
ALONE = -1  # the diagonal of what is no entry of a factor


@dataclass(frozen=True)
class Box:
    """The box.

    The variables are, of the entry of a factor, log T_ii or T_ij / T_ii, and of others the parameter, or its log where
    it is its own diagonal.

    Attributes
    ----------
    entry, diagonal : (t,) int64
        Places of the t parameters that vary, and of the diagonal entries of their rows, or `ALONE`.
    centre : (t,) float64
    axes : (t, t) float64
        u = axes (s - centre) is in [-1, 1]^t.
    base : (length,) float64
        What the other parameters are.
    """

    entry: Ints
    diagonal: Ints
    centre: Floats
    axes: Floats
    base: Floats

    def variables(self, T: Floats) -> Floats:
        """Return s, (n, t), at parameters T, (n, length)."""
        own, of = T[:, self.entry], np.where(self.diagonal == ALONE, 1.0, T[:, self.diagonal])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.entry == self.diagonal, np.log(of), own / of)

    def places(self, T: Floats) -> Floats:
        """Return u, (n, t), at parameters T, (n, length)."""
        with np.errstate(invalid="ignore"):  # of an sd of 0
            return (self.variables(T) - self.centre) @ self.axes.T

    def has(self, T: Floats) -> NDArray[np.bool_]:
        """Return which of many parameters, (n, length), are in the box, (n,)."""
        return (np.abs(self.places(T)) <= 1).all(axis=1)

    def parameters(self, u: Floats) -> Floats:
        """Return the parameters T, (n, length), at u, (n, t)."""
        s, T = self.centre + np.linalg.solve(self.axes, u.T).T, np.tile(self.base, (len(u), 1))
        first = self.entry == self.diagonal
        T[:, self.entry[first]] = np.exp(s[:, first])
        of = np.where(self.diagonal == ALONE, 1.0, T[:, self.diagonal])
        T[:, self.entry[~first]] = (s * of)[:, ~first]
        return T


def box_around(entry: Ints, diagonal: Ints, T: Floats, base: Floats, sds: float = REACH) -> Box:
    """Return the box around draws of the parameters, (n, length), along the principal axes of the variables.

    It reaches so many `sds` of the draws.
    """
    box = Box(entry, diagonal, np.zeros(len(entry)), np.eye(len(entry)), base)
    s = box.variables(T)
    s = s[np.isfinite(s).all(axis=1)]
    squares, V = np.linalg.eigh(np.atleast_2d(np.cov(s.T)))
    logs = np.abs(V[entry == diagonal]).max(axis=0, initial=0.0)
    reach = np.clip(sds * np.sqrt(np.maximum(squares, 0.0)), NARROWEST, WIDEST / np.maximum(logs, NARROWEST))
    return replace(box, centre=s.mean(axis=0), axes=V.T / reach[:, None])


def diagonals(sizes: tuple[int, ...]) -> Ints:
    """Return for each entry of packed factors of these sizes the place of the diagonal entry of its row."""
    starts = np.cumsum([0, *np.square(sizes)])
    parts = [at + np.repeat(np.arange(q) * (q + 1), q) for q, at in zip(sizes, starts[:-1], strict=True)]
    return np.concatenate([np.empty(0, np.int64), *parts])
