"""The parameters of residual structures as one vector of real numbers, which a search moves."""

import numpy as np

from bayesmm.design.residual.structure import Array, Residuals, ResidualTerm, Values


def to_reals(term: Residuals | ResidualTerm, values: Values) -> Array:
    """Return values as a vector, (term.size,): logarithms or logits of those that have bounds."""
    parts = [_to_real(np.asarray(values[own.name], dtype=float) ** own.gap, *own.support) for own in term.parameters]
    return np.concatenate([np.empty(0), *parts])


def from_reals(term: Residuals | ResidualTerm, x: Array) -> dict[str, Array]:
    """Return the values that a vector, (term.size,), stands for."""
    ends = np.cumsum([own.size for own in term.parameters])
    parts = np.split(x, ends[:-1]) if term.parameters else []
    pairs = zip(term.parameters, parts, strict=True)
    return {own.name: _from_real(part, *own.support) ** (1 / own.gap) for own, part in pairs}


def real_slopes(term: Residuals | ResidualTerm, x: Array) -> Array:
    """Return the derivatives of the values in the entries of the vector that stands for them, (term.size,)."""
    pairs = zip(term.parameters, from_reals(term, x).values(), strict=True)
    parts = [_slope(value**own.gap, *own.support) * value ** (1 - own.gap) / own.gap for own, value in pairs]
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
