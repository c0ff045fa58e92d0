"""Random responses, as far as several families share them; a mean that is NaN gives NaN."""

from collections.abc import Callable

import numpy as np

Array = np.ndarray

LARGEST_COUNT = float(2**53)  # a drawn count beyond it is not told apart from its neighbours, and is cut to it
SMALLEST = float(np.finfo(float).tiny)  # drawn values of a gamma or beta variable stay inside their support
BELOW_ONE = float(np.nextafter(1.0, 0.0))


def where_known(mu: Array, draw: Callable[[Array], Array]) -> Array:
    """Return draws for the means that are numbers, and NaN elsewhere."""
    bad = np.isnan(mu)
    return np.where(bad, np.nan, draw(np.where(bad, 0.5, mu)))


def draw_counts(rng: np.random.Generator, mean: Array) -> Array:
    """Return Poisson counts, as floats; a mean beyond `LARGEST_COUNT` gives that."""
    return np.minimum(rng.poisson(np.minimum(mean, LARGEST_COUNT)).astype(float), LARGEST_COUNT)


def draw_gamma_factors(rng: np.random.Generator, shape: Array, mean: Array) -> Array:
    """Return gamma variables with mean 1 and this shape, in the shape that both arguments broadcast to."""
    return rng.gamma(shape, np.ones(np.broadcast_shapes(np.shape(mean), np.shape(shape)))) / shape
