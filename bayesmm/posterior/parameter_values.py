"""The parameters that data are simulated from: by place, from a maximised fit, or a draw of a posterior."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from bayesmm.design.coding import INTERCEPT
from bayesmm.design.covariance.structure import Part, factor_of, inside, searched
from bayesmm.design.parameters import (
    Parameter,
    block_parameters,
    coefficient_label,
    coefficients,
    free_auxiliaries,
    part_parameters,
    variance_parameters,
)
from bayesmm.design.records import Design
from bayesmm.design.residual.structure import NOTHING, Values, values_by_label
from bayesmm.errors import DataError, listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.draws import (
    block_draws,
    factor_draws,
    kept_effects,
    residual_draws,
    scalar_draws,
    tree_sizes,
    variable,
)
from bayesmm.posterior.point_estimates import estimate
from bayesmm.runtime.arguments import is_real

# An eigenvalue of a matrix of correlations below minus this is no rounding: correlations are given with a few digits.
INDEFINITE = 1e-8


@dataclass(frozen=True, eq=False)
class ParameterValues:
    """One value of every parameter.

    Attributes
    ----------
    beta : (p,) float64
        On the scale of the link.
    factors : tuple of (q_k, q_k) float64
        For each block L with Sigma = L L'.
    auxiliaries : tuple of float
        The family's, in its order.
    residual : mapping of str to (k,) float64
        Those of the residual structure besides sigma.
    levels : mapping of str to float
        As `Estimates.levels`.
    curves : mapping of int to (G, q) float64
        The effects that are the curves of smooths, by the position of their block: a part of the mean, and not of
        groups that may be others. Where nothing is known of a curve there are none.
    """

    beta: Floats
    factors: tuple[Floats, ...]
    auxiliaries: tuple[float, ...]
    residual: Values = NOTHING
    levels: Mapping[str, float] = MappingProxyType({})
    curves: Mapping[int, Floats] = MappingProxyType({})


def parameter_values(design: Design, parameters: object) -> Callable[[np.random.Generator], ParameterValues]:
    """Return a function of a random generator: the parameters of one simulation.

    Parameters
    ----------
    design : Design
    parameters : mapping of str to float, PointFit or Fit
        The same ones in every simulation; of a Fit, one of its draws, chosen at random.

    Raises
    ------
    ValueError
        A parameter is unknown, missing, given twice, or has a value that it cannot have.
    DataError
        The fit is of a model with other parameters, or has no value for one.
    """
    if isinstance(parameters, Estimates):
        known = from_point(design, parameters)
        return lambda rng: known
    if hasattr(parameters, "tree"):
        return _from_posterior(design, parameters)
    known = from_mapping(design, parameters)
    return lambda rng: known


def scalars(design: Design) -> list[Parameter]:
    """Return every parameter of a model: its coefficients, sds, correlations, and the family's own."""
    return [*coefficients(design), *variance_parameters(design)]


def check_same_parameters(design: Design, other: Design) -> None:
    """Raise a DataError unless a fit has the parameters of a model."""
    ours, theirs = ([parameter.label for parameter in scalars(d)] for d in (design, other))
    if set(ours) != set(theirs):
        only = [name for name in ours if name not in theirs] + [name for name in theirs if name not in ours]
        raise DataError(
            f"the fit is of another model ({other.formula.text}) than the one to simulate ({design.formula.text}): "
            f"only one of them has {listing(only, limit=6)}"
        )


# ----------------------------------------------------------------------------------------------------------------------
# from fits


def from_point(design: Design, point: Estimates) -> ParameterValues:
    """Return the estimates of a maximised fit; what has none is as `_undefined` says."""
    check_same_parameters(design, point.design)
    curves = {k: point.modes[k] for k in _shared_smooths(design, point.design)}
    return replace(from_mapping(design, estimates(point)), levels=point.levels, curves=curves)


def _shared_smooths(design: Design, other: Design) -> list[int]:
    """Return the blocks that are smooths, if these have the same basis in both designs, so that effects carry over."""
    ours, theirs = ([own.spec.states[call] for call in own.formula.smooths] for own in (design, other))
    return [k for k, block in enumerate(design.blocks) if block.smooth] if ours == theirs else []


def estimates(point: Estimates) -> dict[str, float]:
    """Return the estimates by place, as `simulate` and `power` take them; NaN for what is not defined, as printed."""
    found = {p: float(estimate(point, p)) for p in scalars(point.design)}
    # a correlation of 1 may be more by rounding
    return {p.label: min(max(value, -1.0), 1.0) if p.kind == "corr" else value for p, value in found.items()}


def _from_posterior(design: Design, fit) -> Callable[[np.random.Generator], ParameterValues]:
    check_same_parameters(design, fit.design)
    values = posterior_values(fit, _shared_smooths(design, fit.design))
    number = int(np.prod(tree_sizes(fit.tree)))
    return lambda rng: values(int(rng.integers(number)))


def posterior_values(fit, smooths: Sequence[int]) -> Callable[[int], ParameterValues]:
    """Return a function of the number of a draw, all chains after each other: the parameters of that draw.

    With the curves of these blocks, where they were kept.
    """
    design, number = fit.design, int(np.prod(tree_sizes(fit.tree)))
    beta = variable(fit.tree, "beta").reshape(number, -1) if design.p else np.empty((number, 0))
    factors = [factor_draws(fit, block) for block in design.blocks]
    own = scalar_draws(fit)
    residual = residual_draws(fit)
    kept = [k for k in kept_effects(fit) if k in smooths]
    curves = {k: block_draws(fit, design.blocks[k]) for k in kept}
    curves = {k: draws.reshape(number, *draws.shape[2:]) for k, draws in curves.items()}

    def values_at(s: int) -> ParameterValues:
        auxiliaries = tuple(float(own[name][s]) if name in own else 1.0 for name in design.family.auxiliaries)
        others = {name: values[s] for name, values in residual.items()}
        levels = {name: float(own[name][s]) for name in design.residual.levels.values() if name in own}
        known = {k: draws[s] for k, draws in curves.items()}
        return ParameterValues(beta[s], tuple(L[s] for L in factors), auxiliaries, others, levels, known)

    return values_at


def root(Sigma: Floats) -> Floats:
    """Return L with L L' = Sigma, (q, q), which may be singular."""
    values, vectors = np.linalg.eigh(Sigma)
    return vectors * np.sqrt(np.maximum(values, 0.0))


# ----------------------------------------------------------------------------------------------------------------------
# by place


def from_mapping(design: Design, given: Mapping[str, float]) -> ParameterValues:
    """Return parameters that are given by place."""
    known = scalars(design)
    places = {parameter.label: parameter for parameter in known}
    if not isinstance(given, Mapping):
        example = next(iter(places), "sigma")
        raise ValueError(
            f"parameters should be a mapping of places to numbers, such as {{{example!r}: 1.0, ...}}, a PointFit or a "
            f"Fit, not {type(given).__name__}"
        )
    values = _values(given, places, design)
    missing = [place for place in places if place not in values]
    if missing:
        raise ValueError(f"parameters has no value for {listing(missing)}; all are needed ({listing(places)})")
    beta = np.array([values[parameter.label] for parameter in coefficients(design)])
    factors = tuple(_factor(k, block, values) for k, block in enumerate(design.blocks))
    free = [own.name for own in free_auxiliaries(design)]
    own = tuple(values[name] if name in free else 1.0 for name in design.family.auxiliaries)
    return ParameterValues(beta, factors, own, values_by_label(design.residual, values))


def _values(given: Mapping[str, float], places: Mapping[str, Parameter], design: Design) -> dict[str, float]:
    """Return the values by their places' full names."""
    values: dict[str, object] = {}
    for name, value in given.items():
        short = name == INTERCEPT and design.has_intercept
        place = coefficient_label(INTERCEPT) if short else name  # may be called by its name alone
        if place not in places:
            raise ValueError(f"parameters names {name!r}, which the model has not{_near(name, places)}")
        if place in values:
            raise ValueError(f"parameters has both {INTERCEPT!r} and {place!r}, which are the same; give one")
        values[place] = value
    return {
        place: 0.0 if _undefined(places[place], value, values, design) else _value(places[place], value)
        for place, value in values.items()
    }


def _undefined(parameter: Parameter, value: object, values: Mapping[str, object], design: Design) -> bool:
    """Return whether a value is NaN because nothing depends on it.

    So is the estimate of a coefficient whose column is a combination of others, which carry its part, and that of the
    correlation of an effect whose sd is 0.
    """
    if not (is_real(value) and np.isnan(value)):
        return False
    if parameter.kind == "coefficient":
        return parameter.terms[0] in design.aliased
    if parameter.kind != "corr":
        return False
    own = block_parameters(parameter.block, design.blocks[parameter.block])
    return any(p.kind == "sd" and p.terms[0] in parameter.terms and values.get(p.label) == 0 for p in own)


def _near(name: object, places: Mapping[str, Parameter]) -> str:
    """Return the place that was probably meant, then all of them."""
    inside = coefficient_label(str(name))
    near = f"; did you mean {inside!r}?" if inside in places else suggest(str(name), places)
    return f"{near} (parameters: {listing(places)})"


def _value(parameter: Parameter, value: object) -> float:
    """Return a value if the parameter can have it."""
    place, kind = parameter.label, parameter.kind
    if not is_real(value) or not np.isfinite(value):
        raise ValueError(f"parameters[{place!r}] should be a finite number, not {value!r}")
    if kind == "sd" and value < 0:
        raise ValueError(f"parameters[{place!r}] is a standard deviation, which is 0 or more, not {value!r}")
    above_zero = kind == "sigma" or parameter.support == (0.0, np.inf)
    if above_zero and value <= 0:
        raise ValueError(f"parameters[{place!r}] should be above 0, not {value!r}")
    if parameter.support is not None and not parameter.support[0] < value < parameter.support[1]:
        between = "between {:g} and {:g}".format(*parameter.support)
        raise ValueError(f"parameters[{place!r}] should be {between}, not {value!r}")
    if kind == "corr" and abs(value) > 1:
        raise ValueError(f"parameters[{place!r}] is a correlation, which is between -1 and 1, not {value!r}")
    return float(value)


def _factor(k: int, block, values: Mapping[str, float]) -> Floats:
    """Return L of one block, (q, q)."""
    R, sds, own = np.eye(len(block.columns)), np.ones(len(block.columns)), []
    for part in block.parts:
        if part.covariance.free:
            own += part_parameters(k, block, part)
    for parameter in own:
        if parameter.kind == "sd":
            sds[parameter.terms[0]] = values[parameter.label]
        else:
            i, j = parameter.terms
            R[i, j] = R[j, i] = values[parameter.label]
    if np.linalg.eigvalsh(R)[0] < -INDEFINITE:
        raise ValueError(
            f"the correlations of {block.group!r} in parameters cannot hold together: their matrix has a negative "
            "eigenvalue; take smaller ones"
        )
    L = sds[:, None] * root(R)
    for part in block.parts:
        if not part.covariance.free:
            L[np.ix_(part.columns, part.columns)] = _structured(k, block, part, values)
    return L


def _structured(k: int, block, part: Part, values: Mapping[str, float]) -> Floats:
    """Return L of a part with a covariance structure, (r, r)."""
    own = []
    for entry, parameter in zip(part.entries, part_parameters(k, block, part), strict=True):
        value, (low, high) = values[parameter.label], entry.bounds
        if entry.kind == "corr" and not low - INDEFINITE <= value <= high + INDEFINITE:
            raise ValueError(
                f"parameters[{parameter.label!r}] is a correlation between {low:.4g} and {high:.4g}, not {value!r}"
            )
        own.append(inside(entry, value) if entry.kind == "corr" else value)
    q = len(part.columns)
    own = searched(part.covariance, own, q)
    if not np.isfinite(own).all() or any(
        abs(v) > 1 for v, e in zip(own, part.entries, strict=True) if e.kind == "corr"
    ):
        raise ValueError(
            f"the correlations of {part.text} in {block.group!r} cannot hold together: their matrix has a negative "
            "eigenvalue; take smaller ones"
        )
    return factor_of(part.covariance, own, q)
