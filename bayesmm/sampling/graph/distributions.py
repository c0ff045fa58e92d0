"""Priors as PyMC variables, for one parameter and for a vector of them.

Variables whose names begin with an underscore are coordinates of the sampler, not parameters of the model: they are
not kept. The LKJ prior of correlations is in `explicit.correlation_factor`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.traversal import ancestors
from pytensor.tensor import TensorVariable

from bayesmm.design.parameters import is_coefficient
from bayesmm.errors import PriorError
from bayesmm.likelihood.coordinates import ends_within, support_ends
from bayesmm.priors.distributions import DISTRIBUTIONS
from bayesmm.priors.prior import Prior, function_name
from bayesmm.sampling.graph.own_priors import IMPROPER, check_variable

MOST_TRIES = 10_000  # of draws that should ascend
INTERNAL = "_"  # what the name of a variable begins with that is no parameter of the model

# What a user's function may raise (NotImplementedError is a RuntimeError); interruptions and exits pass through.
USER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip

PYMC: Mapping[str, Callable[..., TensorVariable]] = MappingProxyType(
    {
        "Normal": pm.Normal,
        "StudentT": pm.StudentT,
        "Cauchy": pm.Cauchy,
        "Laplace": pm.Laplace,
        "Uniform": pm.Uniform,
        "Beta": pm.Beta,
        "Flat": pm.Flat,
        "HalfNormal": pm.HalfNormal,
        "HalfStudentT": pm.HalfStudentT,
        "HalfCauchy": pm.HalfCauchy,
        "HalfFlat": pm.HalfFlat,
        "Exponential": pm.Exponential,
        "Gamma": pm.Gamma,
        "InverseGamma": pm.InverseGamma,
        "LogNormal": pm.LogNormal,
    }
)


def scalar(
    name: str,
    place: str,
    prior: Prior,
    shift: TensorVariable | None = None,
    *,
    real: bool = False,
    within: tuple[float, float] | None = None,
) -> TensorVariable:
    """Add one parameter to the model in context.

    Parameters
    ----------
    name : str
        Of the variable; `place` is what the prior is called in messages.
    prior : Prior
    shift : scalar variable, optional
        What the variable has more than the parameter that the prior is of: the prior's location moves by it.
    real : bool
        Whether it may have any value, as coefficients may; not only positive ones.
    within : (float, float), optional
        The ends outside of which the likelihood is 0: a sampler stays inside of them, a draw from the prior need not.

    Returns
    -------
    variable, scalar
        The parameter (plus `shift`); for a prior on the variance, the sd.
    """
    if prior.distribution == "Fixed":
        value = pt.constant(_double(prior.parameters["value"]))
        return _named(name, value if shift is None else value + shift)
    if prior.distribution == "Custom":
        return _custom(name, place, prior.function, (), real)
    parameters = {key: _double(value) for key, value in prior.parameters.items()}
    if shift is not None:
        parameters |= {key: parameters[key] + shift for key in DISTRIBUTIONS[prior.distribution].location}
    return _known(name, prior, parameters, None, within)


def vector(
    name: str, dim: str, priors: Mapping[str, Prior], *, by_function: bool = True, real: bool = False
) -> TensorVariable:
    """Add a vector of parameters to the model in context.

    Parameters
    ----------
    name : str
        Of the variable.
    dim : str
        Its dimension, as long as `priors`.
    priors : mapping of place to Prior
        One for each element.
    by_function : bool
        Whether a function that is the prior of all elements makes the vector; if not, it makes each element.
    real : bool
        As in `scalar`.

    Returns
    -------
    variable, shape (len(priors),)
        One random variable if all elements have the same distribution, with parameters of their own; otherwise one
        random variable for each element, and the vector as a deterministic of that name.
    """
    chosen = list(priors.values())
    first = chosen[0]
    if by_function and len(set(chosen)) == 1 and first.distribution == "Custom":
        return _custom(name, ", ".join(priors), first.function, (dim,), real)
    if len({(prior.distribution, prior.on) for prior in chosen}) == 1 and first.distribution in PYMC:
        return _known(name, first, _arrays(chosen), (dim,))
    numbered = enumerate(priors.items())
    elements = [scalar(element_name(name, i), place, prior, real=real) for i, (place, prior) in numbered]
    return pm.Deterministic(name, pt.stack(elements), dims=(dim,))


def ascending(name: str, dim: str, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add a vector of parameters each of which is above the one before, as `vector` does.

    Raises
    ------
    PriorError
        The priors are not of one distribution that PyMC can order.
    """
    chosen = list(priors.values())
    first, size = chosen[0], len(chosen)
    if len({prior.distribution for prior in chosen}) > 1 or first.support != "real":
        shown, what = ", ".join(map(str, dict.fromkeys(chosen))), name.removeprefix(INTERNAL)
        raise PriorError(
            f"the graph needs priors of one distribution on the real line for {what}, such as Normal with means of "
            f"their own, not {shown}"
        )
    law, order = PYMC[first.distribution], pm.distributions.transforms.ordered
    if size == 1:
        return law(name, **_arrays(chosen), dims=(dim,))

    def logp(value: TensorVariable, *_: TensorVariable) -> TensorVariable:
        return pm.logp(law.dist(**_arrays(chosen), shape=(size,)), value)

    def random(*_: object, rng: np.random.Generator, size: Sequence[int]) -> np.ndarray:
        return ordered_draws(chosen, rng, size)

    start = np.arange(size) - (size - 1) / 2.0
    own = dict(logp=logp, random=random, dims=(dim,), default_transform=order, initval=start)
    return pm.CustomDist(name, pt.constant(np.zeros(())), **own)


def ordered_draws(priors: Sequence[Prior], rng: np.random.Generator, size: Sequence[int]) -> np.ndarray:
    """Return draws of independent parameters given that they ascend along the last axis: of equal ones in order."""
    quantiles = np.vectorize(lambda prior, u: prior.quantile(u), otypes=[float])
    own = np.array(priors, dtype=object)
    if len(set(priors)) == 1:
        return np.sort(quantiles(own, rng.uniform(size=size)), axis=-1)
    found, left = np.full(size, np.nan), np.ones(tuple(size)[:-1], dtype=bool)
    for _ in range(MOST_TRIES):
        trial = quantiles(own, rng.uniform(size=size))
        new = left & (np.diff(trial, axis=-1) > 0).all(axis=-1)
        found[new], left = trial[new], left & ~new
        if not left.any():
            return found
    raise PriorError(
        f"the priors {', '.join(map(str, priors))} hardly ever give values that ascend; draw none from them"
    )


def element_name(name: str, i: int) -> str:
    """Return the name of the variable of one element, where each has its own."""
    return f"{INTERNAL}{name.removeprefix(INTERNAL)}_{i}"


def squared_name(name: str) -> str:
    """Return the name of the variance of an sd, where the prior is that of the variance."""
    return f"{INTERNAL}{name.removeprefix(INTERNAL)}_squared"


def improper_parameters(graph: pm.Model) -> list[str]:
    """Return the names of the parameters with a flat prior: those that have it, or the first made from what has it."""
    kept = [v for v in (*graph.free_RVs, *graph.deterministics) if not v.name.startswith(INTERNAL)]
    inputs = {v.name: set(ancestors([v])) for v in kept}  # a variable is among its own
    flat = [v for v in graph.free_RVs if v.owner.op.name in IMPROPER]
    return list(dict.fromkeys(next((name for name in inputs if v in inputs[name]), v.name) for v in flat))


def _arrays(priors: Sequence[Prior]) -> dict[str, np.ndarray]:
    """Return each parameter as an array over the priors, of shape () if it is the same for all."""
    columns = {key: _double([prior.parameters[key] for prior in priors]) for key in priors[0].parameters}
    return {key: column[:1].squeeze() if (column == column[0]).all() else column for key, column in columns.items()}


def _double(value: float | Sequence[float]) -> np.ndarray:
    """Return a number as an array: PyTensor takes Python's 3.0 as single precision, and then its logarithm too."""
    return np.asarray(value, dtype=np.float64)


def _known(
    name: str,
    prior: Prior,
    parameters: Mapping,
    dims: tuple[str, ...] | None,
    within: tuple[float, float] | None = None,
) -> TensorVariable:
    make, given = PYMC[prior.distribution], {**parameters, **_inside(prior, within), "dims": dims}
    if prior.on == "variance":
        return _named(name, pt.sqrt(make(squared_name(name), **given)), dims)
    return make(name, **given)


def _inside(prior: Prior, within: tuple[float, float] | None) -> dict[str, object]:
    """Return what makes a variable stay between two ends that its support does not have, and start in their middle."""
    ends = ends_within(prior, within)
    if ends == support_ends(prior) or not np.isfinite(ends).all():
        return {}
    return {"default_transform": pm.distributions.transforms.Interval(*ends), "initval": sum(ends) / 2}


def _named(name: str, value: TensorVariable, dims: tuple[str, ...] | None = None) -> TensorVariable:
    """Return the value under a name of the model if it is a parameter, as it is if it is only a step on the way."""
    return value if name.startswith(INTERNAL) else pm.Deterministic(name, value, dims=dims)


def _custom(name: str, place: str, function: Callable, dims: tuple[str, ...], real: bool) -> TensorVariable:
    """Return what the user's function gives, under the parameter's name."""
    who = f"the function {function_name(function)} given as the prior of {place}"
    try:
        variable = function(name, dims)
    except USER_ERRORS as error:
        raise PriorError(f"{who} raised {type(error).__name__}: {error}") from error
    if not isinstance(variable, TensorVariable):
        raise PriorError(f"{who} should return the PyMC variable that it makes, not {variable!r}")
    if variable.ndim != len(dims):
        wanted = f"a vector over the dimension {dims[0]!r}" if dims else "one number"
        raise PriorError(f"{who} should return {wanted}, but its value has {variable.ndim} dimensions")
    length = len(pm.modelcontext(None).coords[dims[0]]) if dims else None
    positive = not (real or is_coefficient(place))
    _told(who, lambda: check_variable(who, variable, length, positive))
    return variable if name in pm.modelcontext(None).named_vars else _named(name, variable, dims)


def _told(who: str, look: Callable[[], None]) -> None:
    """Call a function that draws from a user's variable; what PyTensor raises names the user's function."""
    try:
        look()
    except PriorError:
        raise
    except USER_ERRORS as error:
        raise PriorError(f"{who} makes a variable that cannot be drawn from: {str(error).splitlines()[0]}") from error
