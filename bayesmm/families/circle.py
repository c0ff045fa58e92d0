"""Angles, of which two that differ by 2 pi are the same: differences the shorter way round, and mean directions.

The mean direction of angles is that of the sum of their unit vectors (Mardia & Jupp 2000, Directional Statistics,
section 2.2); their mean as numbers depends on where the circle is cut.
"""

import numpy as np

from bayesmm.families.family import Family

Array = np.ndarray


def shorter(angles: Array) -> Array:
    """Return the same angles from -pi to pi, in radians."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


def left_over(family: Family, y: Array, mean: Array) -> Array:
    """Return responses less their means; of angles the difference the shorter way round."""
    left = y - mean
    return shorter(left) if family.support.angle else left


def mean_direction(angles: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the mean direction over some axes, from -pi to pi."""
    return np.arctan2(np.sin(angles).mean(axis=axis), np.cos(angles).mean(axis=axis))


def mean_of_draws(family: Family, draws: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the mean over draws of means or responses, of angles the mean direction."""
    return mean_direction(draws, axis) if family.support.angle else draws.mean(axis=axis)


def around(angles: Array, centre: Array) -> Array:
    """Return the same angles at most pi from `centre`, so that they are on a line and may lie beyond -pi or pi."""
    return centre + shorter(angles - centre)
