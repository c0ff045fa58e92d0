"""A box around draws of a likelihood's parameters, in whose coordinates polynomials are taken."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesmm.likelihood.packed import Floats, Ints

# How far it reaches, in sds of the draws, and at most, of the log of a parameter: where it would be wider the data
# hardly tell the parameter, and no polynomial is near.
REACH, WIDEST, NARROWEST = 4.5, 2.0, 1e-6
# An sd may be 0 where draws of its log spread by so much: 4.5 sds below their middle is then a sixth of it, and weak
# data have mass below. Then it has a floor, so far under the middle, in logs, from which down its square, in which a
# likelihood is smooth at 0, takes the place of its log, and the box reaches to a part of the floor; ours.
WEAK, BELOW, PART = 0.4, 1.0, 0.02
ALONE = -1  # the diagonal of what is no entry of a factor


@dataclass(frozen=True)
class Box:
    """The box.

    The variables are, of the entry of a factor, log T_ii (with a floor, log sqrt(T_ii^2 + floor^2)) or T_ij / T_ii, and
    of others the parameter, or its log where it is its own diagonal.

    Attributes
    ----------
    entry, diagonal : (t,) int64
        Places of the t parameters that vary, and of the diagonal entries of their rows, or `ALONE`.
    centre : (t,) float64
    axes : (t, t) float64
        u = axes (s - centre) is in [-1, 1]^t.
    base : (length,) float64
        What the other parameters are.
    floor : (t,) float64
        0 without one.
    """

    entry: Ints
    diagonal: Ints
    centre: Floats
    axes: Floats
    base: Floats
    floor: Floats

    def variables(self, T: Floats) -> Floats:
        """Return s, (n, t), at parameters T, (n, length)."""
        own, of = T[:, self.entry], np.where(self.diagonal == ALONE, 1.0, T[:, self.diagonal])
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(self.floor > 0, np.log(np.hypot(of, self.floor)), np.log(of))
            return np.where(self.entry == self.diagonal, logs, own / of)

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
        T[:, self.entry[first]] = np.sqrt(np.maximum(np.exp(2 * s[:, first]) - self.floor[first] ** 2, 0.0))
        of = np.where(self.diagonal == ALONE, 1.0, T[:, self.diagonal])
        T[:, self.entry[~first]] = (s * of)[:, ~first]
        return T


def box_around(
    entry: Ints, diagonal: Ints, T: Floats, base: Floats, sds: float = REACH, factors: int | None = None
) -> Box:
    """Return the box around draws of the parameters, (n, length), along the principal axes of the variables.

    It reaches so many `sds` of the draws. The first `factors` parameters, or all, are entries of factors; those that
    are a factor by themselves may be 0.
    """
    t, factors = len(entry), T.shape[1] if factors is None else factors
    box = Box(entry, diagonal, np.zeros(t), np.eye(t), base, np.zeros(t))
    s = box.variables(T)
    s = s[np.isfinite(s).all(axis=1)]
    alone = (entry == diagonal) & (entry < factors) & (np.sum(diagonal[:, None] == entry, axis=0) == 1)
    weak = alone & (s.std(axis=0) > WEAK)
    centre, axes, others = s.mean(axis=0), np.zeros((t, t)), np.flatnonzero(~weak)
    squares, V = np.linalg.eigh(np.atleast_2d(np.cov(s[:, others].T)))
    logs = np.abs(V[(entry == diagonal)[others]]).max(axis=0, initial=0.0)
    reach = np.clip(sds * np.sqrt(np.maximum(squares, 0.0)), NARROWEST, WIDEST / np.maximum(logs, NARROWEST))
    axes[np.ix_(others, others)] = V.T / reach[:, None]
    floor = np.where(weak, np.exp(centre - BELOW), 0.0)
    low, high = centre - BELOW + np.log1p(PART**2) / 2, centre + WIDEST
    axes[weak, weak] = (2 / (high - low))[weak]
    return replace(box, centre=np.where(weak, (low + high) / 2, centre), axes=axes, floor=floor)


def diagonals(sizes: tuple[int, ...]) -> Ints:
    """Return for each entry of packed factors of these sizes the place of the diagonal entry of its row."""
    starts = np.cumsum([0, *np.square(sizes)])
    parts = [at + np.repeat(np.arange(q) * (q + 1), q) for q, at in zip(sizes, starts[:-1], strict=True)]
    return np.concatenate([np.empty(0, np.int64), *parts])
