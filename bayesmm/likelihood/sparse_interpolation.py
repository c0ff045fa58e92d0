"""Interpolation of a smooth function of a few variables by polynomials, whose terms are chosen as they are needed.

On the cube [-1, 1]^t, f is sum_nu c_nu H_nu, H_nu(u) = prod_i h_{nu_i}(u_i), where h_k is the polynomial of degree k
that is 0 at the first k of a sequence of points and 1 at the next. With the points of Leja no |h_k| is above 1. There
are as many terms as points, one evaluation each, and a further term leaves those before it as they are: c_nu is what
the others leave of f at its point. Which come next is decided by the largest c_nu so far (Gerstner & Griebel 2003,
Computing 71(1), section 3; Chkifa, Cohen & Schwab 2014, Found. Comput. Math. 14(4), section 5).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from bayesmm.likelihood.packed import Floats, Ints

# The greatest degree in a variable: a function that needs more is no smooth one on this cube.
MOST_DEGREE = 40
GRID = 20_001  # points among which those of Leja are looked for
# Terms up to this degree in all are taken unasked: one of them may be 0 by symmetry, and those behind it not.
FIRST_DEGREE = 3
SHARE = 0.25  # of the largest of the last terms: those above it are gone on from together


@dataclass(frozen=True)
class Interpolant:
    """The polynomial.

    Attributes
    ----------
    index : (N, t) int64
        nu of each term.
    terms : (N, o) float64
        c_nu of the o values of f.
    left : float
        Sum of the sizes of the terms that nothing came after: about how much the polynomial may miss.
    """

    index: Ints
    terms: Floats
    left: float

    def __call__(self, u: Floats) -> Floats:
        """Return the values, (k, o), at the points u, (k, t)."""
        return products(self.index, u) @ self.terms


@functools.cache
def leja_points() -> tuple[Floats, Floats]:
    """Return the first points of Leja on [-1, 1], (MOST_DEGREE + 1,), from 0 on, and 1 / prod_{l<k} (u_k - u_l)."""
    grid = np.linspace(-1.0, 1.0, GRID)
    points, distance, scales = [0.0], np.abs(grid), [1.0]
    for _ in range(MOST_DEGREE):
        points.append(float(grid[np.argmax(distance)]))
        scales.append(1.0 / math.prod(points[-1] - point for point in points[:-1]))
        distance = distance * np.abs(grid - points[-1])
    return np.array(points), np.array(scales)


def products(index: Ints, u: Floats) -> Floats:
    """Return H_nu(u), (k, N), of the terms nu, (N, t), at u, (k, t)."""
    points, scales = leja_points()
    degree = int(index.max(initial=0))
    factors = np.concatenate([np.ones((1, *u.shape)), u[None] - points[:degree, None, None]])
    h = np.cumprod(factors, axis=0) * scales[: degree + 1, None, None]  # (degree + 1, k, t)
    return np.prod([h[index[:, i], :, i] for i in range(index.shape[1])], axis=0).T


def interpolated(
    function: Callable[[Floats], Floats],
    dimensions: int,
    size: Callable[[Floats], Floats],
    tolerance: float,
    most: int,
) -> Interpolant | None:
    """Return the polynomial that takes the place of a function on the cube; None where too many terms would be needed.

    Parameters
    ----------
    function : callable
        u, (k, t) -> f, (k, o); rows that are not finite end it.
    dimensions : int
        t.
    size : callable
        terms, (k, o) -> how much each matters, (k,).
    tolerance : float
        The sum of the sizes of the last terms is no more.
    most : int
        Terms.
    """
    points, _ = leja_points()
    index, terms, sizes = np.empty((0, dimensions), np.int64), None, np.empty(0)
    new = first_terms(dimensions)
    done = {tuple(nu) for nu in new.tolist() if sum(nu) < FIRST_DEGREE}  # those gone on from
    last: list[int] = []  # the places of the others
    while len(new):
        u = points[new]
        found = function(u)
        if not np.isfinite(found).all():
            return None
        if terms is not None:
            found = found - products(index, u) @ terms
        else:  # those of the first degrees stand on one another
            found = _first_terms_of(new, u, found)
        last += [len(index) + i for i, nu in enumerate(new.tolist()) if tuple(nu) not in done]
        index = np.concatenate([index, new])
        terms = found if terms is None else np.concatenate([terms, found])
        sizes = np.concatenate([sizes, size(found)])
        if not np.isfinite(sizes).all():
            return None
        new = _next(index, sizes, done, last, tolerance)
        if len(index) + len(new) > most or new.max(initial=0) > MOST_DEGREE:
            return None
    return Interpolant(index, terms, float(sizes[last].sum()))


def first_terms(dimensions: int) -> Ints:
    """Return the terms of the first degrees, (k, t), the lower before the higher."""
    found = [nu for nu in product(range(FIRST_DEGREE + 1), repeat=dimensions) if sum(nu) <= FIRST_DEGREE]
    return np.array(sorted(found, key=lambda nu: (sum(nu), nu)), np.int64).reshape(-1, dimensions)


def _first_terms_of(index: Ints, u: Floats, values: Floats) -> Floats:
    """Return c_nu of the first terms from the values at their points: those before, one after the other."""
    H, terms = products(index, u), np.zeros_like(values)
    for i in range(len(index)):
        terms[i] = values[i] - H[i, :i] @ terms[:i]
    return terms


def _next(index: Ints, sizes: Floats, done: set, last: list[int], tolerance: float) -> Ints:
    """Return the terms after the largest of the last ones, (k, t), which `done` and `last` then show; none at the end.

    A term may come if all that are one degree below it, in each variable, have been gone on from.
    """
    known, found = set(map(tuple, index.tolist())), []
    while not found and sizes[last].sum() > tolerance:
        limit = SHARE * sizes[last].max()
        chosen = [i for i in last if sizes[i] >= limit]
        last[:] = [i for i in last if sizes[i] < limit]
        done |= {tuple(index[i].tolist()) for i in chosen}
        for i in chosen:
            for nu in _after(tuple(index[i].tolist())):
                if nu not in known and all(before in done for before in _before(nu)):
                    known.add(nu)
                    found.append(nu)
    return np.array(found, np.int64).reshape(-1, index.shape[1])


def _after(nu: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [(*nu[:i], nu[i] + 1, *nu[i + 1 :]) for i in range(len(nu))]


def _before(nu: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [(*nu[:i], nu[i] - 1, *nu[i + 1 :]) for i in range(len(nu)) if nu[i]]
