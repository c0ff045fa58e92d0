"""The log posterior of a model as a function of a sampler's coordinates: one C function for every model.

It knows the coordinates and the priors; the likelihood is another C function, which it calls through its address with
the natural parameters: ``gaussian_likelihood`` for Gaussian models. Data and addresses come as one vector of words.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import (
    BAD_DENSITY,
    BAD_GRADIENT,
    DENSITY,
    DOUBLES,
    EXPANSION,
    INT64,
    WORDS,
    WRONG_SIZE,
    c_function,
    call,
    from_python,
    integers,
    matrix,
    pack,
    pointers,
    vector,
    zeros,
)
from bayesmm.likelihood.coordinates import Coordinates, natural, pull_back
from bayesmm.likelihood.crossproducts import Floats, Ints

# A likelihood as `density` calls it: (its words, flags, L, positive auxiliaries, sampled coefficients, log likelihood
# out, derivatives with respect to L, auxiliaries and coefficients out) -> 1, or 0 where there is none. The first flag
# is 1 where derivatives are wanted; the arrays for them hold zeros.
LIKELIHOOD = INT64(WORDS, WORDS, *[DOUBLES] * 7)
N_COORDINATES = len(Coordinates._fields)


@dataclass(frozen=True)
class LogPosterior:
    """The log posterior density of one model.

    Attributes
    ----------
    coordinates : Coordinates
    words : int64 array
        All data, and the address of the likelihood's C function: valid in this process only.
    """

    coordinates: Coordinates
    words: Ints

    @property
    def size(self) -> int:
        """Number of coordinates, d."""
        return int(self.coordinates.sizes[2])

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        """Return the log density at x, (d,), and its gradient, (d,); -inf and zeros where there is none."""
        x, gradient, value = np.ascontiguousarray(x, dtype=float), np.zeros(self.size), np.zeros(1)
        status = _density()(self.size, *pointers(x, gradient, value, self.words))
        return (float(value[0]), gradient) if status == 0 else (-np.inf, np.zeros(self.size))

    def many(self, x: Floats) -> Floats:
        """Return the log densities at the rows of x, (n, d), as (n,)."""
        x = np.ascontiguousarray(x, dtype=float)
        values, sizes = np.empty(len(x)), np.array([len(x), self.size, density().address])
        _each()(*pointers(sizes, x, values, self._without_gradient))
        return np.where(np.isnan(values), -np.inf, values)

    @functools.cached_property
    def _without_gradient(self) -> Ints:
        words = self.words.copy()
        words[words[1 + 4 * N_COORDINATES]] = 0
        return words


def log_posterior(coordinates: Coordinates, likelihood: object, data: Ints) -> LogPosterior:
    """Return the log posterior for a likelihood, a C function of the type LIKELIHOOD, and its words."""
    flags = np.array([1, likelihood.address])
    return LogPosterior(coordinates, pack(*coordinates, flags, data))


@c_function(DENSITY)
def density(dimensions, x_, gradient_, value_, w):
    """Set the log density at x and its gradient, as nutpie calls it."""
    c = Coordinates(
        integers(w, 0), integers(w, 1), integers(w, 2), integers(w, 3), vector(w, 4), integers(w, 5), integers(w, 6),
        integers(w, 7), matrix(w, 8), integers(w, 9), integers(w, 10), matrix(w, 11), integers(w, 12), vector(w, 13),
    )  # fmt: skip
    flags, data = integers(w, 14), integers(w, 15)
    x, gradient, value = carray(x_, (dimensions,)), carray(gradient_, (dimensions,)), zeros(1)
    if dimensions != c.sizes[2]:
        return WRONG_SIZE
    at = natural(x, c)
    d_L, d_positive, d_coefficients = zeros(at.L.shape[0]), zeros(c.sizes[0]), zeros(c.sizes[1])
    found = 0
    if np.isfinite(at.log_density):
        arguments = (data, flags, at.L, at.positive, at.coefficients, value, d_L, d_positive, d_coefficients)
        found = call(flags[1], arguments)
    value_[0] = at.log_density + value[0] if found == 1 else -np.inf
    if not np.isfinite(value_[0]):
        return BAD_DENSITY
    if flags[0] == 0:
        return 0
    pull_back(x, c, at, d_L, d_positive, d_coefficients, gradient)
    for i in range(gradient.shape[0]):
        if not np.isfinite(gradient[i]):
            return BAD_GRADIENT
    return 0


@c_function(EXPANSION)
def same(dimensions, size, x_, values_, user_data):
    """Set the values to x: what is made of the coordinates is made of all draws at once."""
    if size != dimensions:
        return WRONG_SIZE
    for i in range(dimensions):
        values_[i] = x_[i]
    return 0


@c_function(INT64(WORDS, DOUBLES, DOUBLES, WORDS))
def each(sizes_, x_, values_, user_data):
    """Set the log densities of n rows of d coordinates; `sizes` is n, d and the address of `density`."""
    n, d, address = sizes_[0], sizes_[1], sizes_[2]
    x, values, gradient = carray(x_, (n, d)), carray(values_, (n,)), zeros(d)
    words = carray(user_data, (user_data[0],))
    for i in range(n):
        call(address, (d, x[i], gradient, values[i : i + 1], words))
    return 0


@functools.cache
def _density() -> Callable[..., int]:
    return from_python(density(), 5)


@functools.cache
def _each() -> Callable[..., int]:
    return from_python(each(), 4)
