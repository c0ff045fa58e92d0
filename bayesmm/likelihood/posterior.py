"""The log posterior of a model as a function of its coordinates: one C function for every model.

It knows the coordinates and the priors; the likelihood is another C function, which it calls through its address with
the natural parameters: ``gaussian_likelihood`` for Gaussian models. Data and addresses come as one vector of words.
For the search for a mode the likelihood is a Python function between two calls of the same change of variables.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import carray

from bayesmm.likelihood.compiled import (
    BAD_DENSITY,
    BAD_GRADIENT,
    DENSITY,
    DOUBLES,
    INT64,
    WORDS,
    WRONG_SIZE,
    assign,
    c_function,
    call,
    from_python,
    pointers,
    zeros,
)
from bayesmm.likelihood.coordinates import Coordinates, natural, pull_back
from bayesmm.likelihood.packed import Floats, Integer, Integers, Ints, pack, reader, unpacked
from bayesmm.runtime.threads import in_threads

# A likelihood as `density` calls it: (its words, flags, L, positive auxiliaries, sampled coefficients, log likelihood
# out, derivatives with respect to L, auxiliaries and coefficients out) -> 1, or 0 where there is none. The first flag
# is 1 where derivatives are wanted; the arrays for them hold zeros. REMEMBER asks one that can for no value, but to
# take note in its words of what it is near these parameters, which makes it quicker there.
LIKELIHOOD = INT64(WORDS, WORDS, *[DOUBLES] * 7)
REMEMBER = 2
PART = 250  # rows: worth a thread's while, and a small part of a second


class PosteriorData(NamedTuple):
    """What `density` knows of a model."""

    coordinates: Coordinates
    flags: Integers  # (1,) of the likelihood
    likelihood: Integer  # the address of its C function
    words: Integers  # the likelihood's


read_data, read_coordinates = reader(PosteriorData), reader(Coordinates)


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

    def many(self, x: Floats, advance: Callable[[int], None] = lambda number: None) -> Floats:
        """Return the log densities at the rows of x, (n, d), as (n,); each processor takes parts of the rows.

        `advance` is called after each part with its number of rows. Ctrl-C ends the work after the parts begun.
        """
        x, values = np.ascontiguousarray(x, dtype=float), np.empty(len(x))
        run, address, words = _each(), density().address, self._without_gradient
        ends = [*range(0, len(x), PART), len(x)]

        def evaluate(part: tuple[int, int]) -> int:
            first, last = part
            sizes = np.array([last - first, self.size, address])  # kept while it runs
            run(*pointers(sizes, x[first:last], values[first:last], words))
            return last - first

        in_threads(evaluate, list(pairwise(ends)), advance)
        return np.where(np.isnan(values), -np.inf, values)

    def settled(self, x: Floats) -> "LogPosterior":
        """Return the same density for use near x, (d,): of one by quadrature, which looks for modes, a quicker one."""
        x, gradient, value = np.ascontiguousarray(x, dtype=float), np.zeros(self.size), np.zeros(1)
        words = self._flagged(REMEMBER)
        _density()(self.size, *pointers(x, gradient, value, words))
        unpacked(words, PosteriorData).flags[:] = unpacked(self.words, PosteriorData).flags
        return LogPosterior(self.coordinates, words)

    @functools.cached_property
    def _without_gradient(self) -> Ints:
        return self._flagged(0)

    def _flagged(self, flag: int) -> Ints:
        words = self.words.copy()
        unpacked(words, PosteriorData).flags[0] = flag
        return words


class Parameters(NamedTuple):
    """What a likelihood is a function of, on the natural scales; or its derivatives with respect to them."""

    L: Floats  # (sum q_k^2,) factors of the covariance matrices, as in `Natural`
    positive: Floats  # (number of auxiliaries,)
    coefficients: Floats  # (number of sampled coefficients,)


@dataclass(frozen=True)
class SearchedPosterior:
    """The same density with a likelihood in Python, which may do more than a C function does: to find its mode.

    Attributes
    ----------
    coordinates : Coordinates
    likelihood : callable
        Parameters -> log likelihood and its derivatives, as Parameters; not finite where there is none.
    """

    coordinates: Coordinates
    likelihood: Callable[[Parameters], tuple[float, Parameters]]

    @property
    def size(self) -> int:
        """Number of coordinates, d."""
        return int(self.coordinates.sizes[2])

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        """Return the log density at x, (d,), and its gradient, (d,); -inf and zeros where there is none."""
        with np.errstate(all="ignore"):  # a wild step of a search is refused, not an error
            log_prior, at, _ = self._changed(x, self._none)
            value, slopes = self.likelihood(at) if np.isfinite(log_prior) else (-np.inf, self._none)
            total, gradient = log_prior + value, self._changed(x, slopes)[2]
        found = np.isfinite(total) and np.isfinite(gradient).all()
        return (total, gradient) if found else (-np.inf, np.zeros(self.size))

    def parameters(self, x: Floats) -> Parameters:
        """Return the parameters at x."""
        return self._changed(x, self._none)[1]

    def _changed(self, x: Floats, slopes: Parameters) -> tuple[float, Parameters, Floats]:
        """Return log prior and log Jacobian, the parameters, and the gradient for a likelihood with these slopes."""
        out, value, gradient = self._none, np.zeros(1), np.zeros(self.size)
        given = [np.ascontiguousarray(array, dtype=float) for array in (x, *slopes)]
        _change()(*pointers(self._words, *given, *out, value, gradient))
        return float(value[0]), out, gradient

    @property
    def _none(self) -> Parameters:
        c = self.coordinates
        return Parameters(np.zeros(int(np.square(c.n_terms).sum())), np.zeros(c.sizes[0]), np.zeros(c.sizes[1]))

    @functools.cached_property
    def _words(self) -> Ints:
        return pack(self.coordinates)


def evaluated(likelihood: object, words: Ints, at: Parameters, *, gradient: bool = True) -> tuple[float, Parameters]:
    """Return what a C function of the type LIKELIHOOD sets, for its words; the value is -inf where it finds none.

    Without the `gradient` its derivatives are 0.
    """
    given = [np.ascontiguousarray(array, dtype=float) for array in at]
    flags, value, slopes = (
        np.array([int(gradient)]),
        np.zeros(1),
        Parameters(*(np.zeros_like(array) for array in given)),
    )
    found = from_python(likelihood, 9)(*pointers(words, flags, *given, value, *slopes))
    return (float(value[0]) if found == 1 else -np.inf), slopes


def log_posterior(coordinates: Coordinates, likelihood: object, data: Ints) -> LogPosterior:
    """Return the log posterior for a likelihood, a C function of the type LIKELIHOOD, and its words."""
    return LogPosterior(coordinates, pack(PosteriorData(coordinates, np.ones(1), likelihood.address, data)))


@c_function(DENSITY)
def density(dimensions, x_, gradient_, value_, w):
    """Set the log density at x and its gradient, as nutpie calls it."""
    c, flags, likelihood, data = read_data(w)
    x, gradient, value = carray(x_, (dimensions,)), carray(gradient_, (dimensions,)), zeros(1)
    if dimensions != c.sizes[2]:
        return WRONG_SIZE
    at = natural(x, c)
    d_L, d_positive, d_coefficients = zeros(at.L.shape[0]), zeros(c.sizes[0]), zeros(c.sizes[1])
    found = 0
    if np.isfinite(at.log_density):
        arguments = (data, flags, at.L, at.positive, at.coefficients, value, d_L, d_positive, d_coefficients)
        found = call(likelihood, arguments)
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


@c_function(INT64(WORDS, *[DOUBLES] * 9))
def change_of_variables(
    w, x_, d_L_, d_positive_, d_coefficients_, L_, positive_, coefficients_, value_, gradient_
):  # fmt: skip
    """Set what `natural` gives at x and, with a likelihood's derivatives, the gradient; return 0 without density."""
    c = read_coordinates(w)
    at = natural(carray(x_, (c.sizes[2],)), c)
    L, positive, coefficients = (
        carray(L_, at.L.shape), carray(positive_, at.positive.shape), carray(coefficients_, at.coefficients.shape),
    )  # fmt: skip
    assign(L, at.L)
    assign(positive, at.positive)
    assign(coefficients, at.coefficients)
    value_[0] = at.log_density
    if not np.isfinite(at.log_density):
        return 0
    d_L, d_positive = carray(d_L_, at.L.shape), carray(d_positive_, at.positive.shape)
    d_coefficients, gradient = carray(d_coefficients_, at.coefficients.shape), carray(gradient_, (c.sizes[2],))
    pull_back(carray(x_, (c.sizes[2],)), c, at, d_L, d_positive, d_coefficients, gradient)
    return 1


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


@functools.cache
def _change() -> Callable[..., int]:
    return from_python(change_of_variables(), 10)
