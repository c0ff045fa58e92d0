"""What a residual structure is: the record that all other rooms ask, and what a design has of it.

A linear model is y = X beta + Z b + offset + e. The structure says what e is: independent, with the sd sigma d_i /
sqrt(w_i) in row i, where w are the prior weights and d follows from the parameters of the structure. Everything that
is computed from cross-products takes the rows divided by d, that is the weights w / d^2: `independent.whitened`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType

import numpy as np

from bayesmm.design.coding import Factor, Numbers
from bayesmm.design.parameters import residual_labels
from bayesmm.errors import DataError
from bayesmm.formula.formula import Signature

Array = np.ndarray
Arguments = Mapping[str, Numbers | Factor]  # what stands in the term's brackets, evaluated, by the argument's name
Values = Mapping[str, Array]  # of each parameter by its name, (..., k): k = 1 for a single number


@dataclass(frozen=True)
class ResidualParameter:
    """A parameter of a structure besides sigma: a number, or a vector of them with one default prior.

    Attributes
    ----------
    name : str
        Its variable in the posterior, and of a number its label too.
    tex : str
        Its symbol.
    prior : str
        The distribution of its default prior.
    arguments : mapping of str to float
        Those of the prior.
    unit : str
        What its values are measured in, as the table of priors says it.
    terms : tuple of str or None
        What the elements of a vector are of; None for a number.
    support : (float, float)
        The open interval that its values are in.
    start : float
        Where a search starts.
    """

    name: str
    tex: str
    prior: str
    arguments: Mapping[str, float] = field(hash=False)
    unit: str
    terms: tuple[str, ...] | None = None
    support: tuple[float, float] = (-np.inf, np.inf)
    start: float = 0.0

    @property
    def size(self) -> int:
        """How many numbers it is."""
        return 1 if self.terms is None else len(self.terms)


@dataclass(frozen=True, kw_only=True)
class ResidualStructure:
    """A kind of residuals.

    Its functions are defined at the top of a module, so that models can be pickled. What it learns from the data of the
    model (the levels of a factor) is learned by the expressions of its arguments, which are evaluated as those of other
    terms are; so it is repeated on other data, and stored, like theirs.

    Attributes
    ----------
    name : str
        The function of a formula that names it; "independent" stands in none.
    signature : Signature or None
        The arguments of that function; None for "independent".
    parameters : callable
        ``(Arguments) -> tuple of ResidualParameter``, of the data of the model. Raises a DataError for arguments that
        it cannot have.
    rows : callable
        ``(Arguments) -> (n,) or (n, k) array, or None``: what a row's sd depends on, of any data.
    relative_sd : callable
        ``(numpy or pytensor.tensor, rows, values) -> d``, (..., n): the sd of each row over sigma, for values (..., k).
        One function for both, so that the graph and what is computed from its draws cannot differ.
    tex : callable
        ``(terms' text in LaTeX, by argument) -> text``: what sigma^2 is multiplied by in row i.
    """

    name: str
    signature: Signature | None = None
    parameters: Callable[[Arguments], tuple[ResidualParameter, ...]]
    rows: Callable[[Arguments], Array | None]
    relative_sd: Callable[[ModuleType, object, Mapping[str, object]], object]
    tex: Callable[[Mapping[str, str]], str]


@dataclass(frozen=True, eq=False)
class ResidualTerm:
    """The residuals of a design.

    Attributes
    ----------
    structure : ResidualStructure
    text : str
        As the formula has it; empty for independent ones.
    parameters : tuple of ResidualParameter
    rows : array, (n,) or (n, k), or None
        What the structure has read of each row; None if it reads nothing.
    """

    structure: ResidualStructure
    text: str = ""
    parameters: tuple[ResidualParameter, ...] = ()
    rows: Array | None = None

    @property
    def size(self) -> int:
        """How many numbers its parameters are."""
        return sum(parameter.size for parameter in self.parameters)


NOTHING: Values = MappingProxyType({})  # the values of a structure without parameters


def residual_weights(design, values: Values = NOTHING) -> Array | None:
    """Return what divides sigma^2 in each row of a linear model, w / d^2; None where it is 1 throughout.

    Parameters
    ----------
    design : Design
        Of another model than a linear one these are the prior weights, which count its rows.
    values : mapping of str to array
        Of the structure's parameters, (k,) or (draws, k) each.

    Returns
    -------
    (n,) or (draws, n) array, or None
    """
    return weights_of_rows(design.residual, design.residual.rows, values, design.weights)


def weights_of_rows(term: ResidualTerm, rows: Array | None, values: Values, weights: Array | None) -> Array | None:
    """Return the same for any encoded rows with their prior weights, (m,) or None."""
    if not term.parameters:
        return weights
    d = term.structure.relative_sd(np, rows, values)
    return np.square(1 / d) if weights is None else weights / np.square(d)


def mean_values(values: Values) -> dict[str, Array]:
    """Return the means over draws (draws, k) of the parameters, (k,) each."""
    return {name: own.mean(axis=0) for name, own in values.items()}


def check_no_parameters(design, what: str, instead: str = "") -> None:
    """Raise a DataError where the residual has parameters besides sigma, with which `what` cannot be computed."""
    if design.residual.parameters:
        said = f"{what} is not possible with the residuals of {design.residual.text}"
        raise DataError(f"{said}; {instead}" if instead else said)


# ----------------------------------------------------------------------------------------------------------------------
# as one vector of real numbers, for a search


def to_reals(term: ResidualTerm, values: Values) -> Array:
    """Return values as a vector, (term.size,): logarithms or logits of those that have bounds."""
    parts = [_to_real(np.asarray(values[own.name], dtype=float), *own.support) for own in term.parameters]
    return np.concatenate([np.empty(0), *parts])


def from_reals(term: ResidualTerm, x: Array) -> dict[str, Array]:
    """Return the values that a vector, (term.size,), stands for."""
    ends = np.cumsum([own.size for own in term.parameters])
    parts = np.split(x, ends[:-1]) if term.parameters else []
    return {own.name: _from_real(part, *own.support) for own, part in zip(term.parameters, parts, strict=True)}


def values_by_label(term: ResidualTerm, given: Mapping[str, float] = MappingProxyType({})) -> dict[str, Array]:
    """Return the values that are given by label, and for the other parameters where a search starts."""
    return {
        own.name: np.array([given.get(label, own.start) for label in residual_labels(own)], dtype=float)
        for own in term.parameters
    }


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
