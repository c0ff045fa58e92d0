"""A log posterior in standardised coordinates, as the sampler calls it: x = centre + factor z, all compiled."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from numba import carray

from bayesmm.likelihood.compiled import (
    DENSITY,
    EXPANSION,
    WRONG_SIZE,
    c_function,
    call,
    reordered,
    zeros,
)
from bayesmm.likelihood.packed import Floats, Integers, Ints, Matrix, Vector, pack, reader
from bayesmm.likelihood.posterior import LogPosterior, density
from bayesmm.likelihood.recentred import NONE, Recentred, pull_back_restored, restore


class WhitenedData(NamedTuple):
    """What compiled code knows of a `Whitened` posterior."""

    centre: Vector  # (d,)
    factor: Matrix  # (d, d)
    recentred: Recentred
    posterior: Integers  # words of `LogPosterior`


read_data = reader(WhitenedData)


@dataclass(frozen=True)
class Whitened:
    """A log posterior as a function of z, (d,), with x = centre + factor z.

    The value is the log density of x: that of z differs by a constant. Where effects and coefficients are
    replaced, see `recentred`, it is that of what stands in their places.

    Attributes
    ----------
    posterior : LogPosterior
    centre : (d,) float64
    factor : (d, d) float64
        Lower triangular.
    recentred : Recentred
    """

    posterior: LogPosterior
    centre: Floats
    factor: Floats
    recentred: Recentred = NONE

    @property
    def size(self) -> int:
        """Number of coordinates, d."""
        return self.posterior.size

    @cached_property
    def words(self) -> Ints:
        """The data of `whitened_density` and of `expansion`: valid in this process only."""
        return pack(WhitenedData(self.centre, self.factor, self.recentred, self.posterior.words))


@reordered
def moved(centre, factor, z, x):
    """Set x = centre + factor z."""
    for i in range(centre.shape[0]):
        total = centre[i]
        for j in range(i + 1):
            total += factor[i, j] * z[j]
        x[i] = total


@reordered
def times_transposed(factor, d_x, d_z):
    """Set d_z = factor' d_x."""
    d_z[:] = 0.0
    for i in range(d_x.shape[0]):
        for j in range(i + 1):
            d_z[j] += factor[i, j] * d_x[i]


@c_function(DENSITY, calls=(density,))
def whitened_density(dimensions, z, gradient, value, w):
    """Set the log density at z and its gradient, as nutpie calls it."""
    centre, factor, recentred, posterior = read_data(w)
    d = centre.shape[0]
    if dimensions != d:
        return WRONG_SIZE
    x, d_x = zeros(d), zeros(d)
    moved(centre, factor, carray(z, (d,)), x)
    y = x.copy()
    log_jacobian = restore(y, recentred, x)
    status = call("density", (dimensions, x, d_x, value, posterior))
    value[0] += log_jacobian
    pull_back_restored(y, recentred, d_x)
    times_transposed(factor, d_x, carray(gradient, (d,)))
    return status


@c_function(EXPANSION)
def expansion(dimensions, size, z, values, w):
    """Set the values that are stored: x. What is made of it is made of all draws at once."""
    if size != dimensions:
        return WRONG_SIZE
    data = read_data(w)
    x = carray(values, (dimensions,))
    moved(data.centre, data.factor, carray(z, (dimensions,)), x)
    restore(x.copy(), data.recentred, x)
    return 0
