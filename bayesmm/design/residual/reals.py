"""The parameters of residual structures as one vector of real numbers, which a search moves."""

import numpy as np

from bayesmm.design.residual.structure import Array, Residuals, ResidualTerm, Values


def to_reals(term: Residuals | ResidualTerm, values: Values) -> Array:
    """Return values as a vector, (term.size,): logarithms or logits of those that have bounds."""
    pairs = [(own, np.asarray(values[own.name], dtype=float)) for own in term.parameters]
    parts = [_to_real(signed_power(value, own.gap), *own.support) for own, value in pairs]
    return np.concatenate([np.empty(0), *parts])


def from_reals(term: Residuals | ResidualTerm, x: Array) -> dict[str, Array]:
    """Return the values that a vector, (term.size,), stands for."""
    ends = np.cumsum([own.size for own in term.parameters])
    parts = np.split(x, ends[:-1]) if term.parameters else []
    pairs = zip(term.parameters, parts, strict=True)
    return {own.name: signed_power(_from_real(part, *own.support), 1 / own.gap) for own, part in pairs}


def real_slopes(term: Residuals | ResidualTerm, x: Array) -> Array:
    """Return the derivatives of the values in the entries of the vector that stands for them, (term.size,)."""
    parts = []
    for own, value in zip(term.parameters, from_reals(term, x).values(), strict=True):
        of_power = _slope(signed_power(value, own.gap), *own.support)
        parts.append(of_power * np.abs(value) ** (1 - own.gap) / own.gap)
    return np.concatenate([np.empty(0), *parts])


def _to_real(value: Array, lower: float, upper: float) -> Array:
    if np.isinf(lower) and np.isinf(upper):
        return value
    if np.isinf(upper):
        return np.log(value - lower)
    return np.log((value - lower) / (upper - value))


def _from_real(x: Array, lower: float, upper: float) -> Array:
    if np.isinf(lower) and np.isinf(upper):
        return x
    if np.isinf(upper):
        return lower + np.exp(x)
    return lower + (upper - lower) / (1 + np.exp(-x))


def _slope(value: Array, lower: float, upper: float) -> Array:
    if np.isinf(lower) and np.isinf(upper):
        return np.ones(len(value))
    if np.isinf(upper):
        return value - lower
    return (value - lower) * (upper - value) / (upper - lower)


def signed_power(value: Array, power: float) -> Array:
    """Return |value|^power with the sign of the value."""
    return np.sign(value) * np.abs(value) ** power
