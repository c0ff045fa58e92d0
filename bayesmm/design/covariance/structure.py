"""What a covariance structure of random effects is: its record, and what follows from it for every structure.

The effects of a group term in one level have the covariance matrix Sigma = L L', (q, q), of the columns as they are
reported. A structure says what its parameters are (each is an sd or a correlation: an entry of Sigma, or several equal
ones) and how L follows from them. So an estimate and a draw of a parameter are read off Sigma, and the posterior has
no other variables than the sds and the correlation matrix of each block.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
# Imaginary step for derivatives of the factor: no subtraction, so it may be as small as this and is exact.
COMPLEX_STEP = 1e-30
INSIDE = 1e-12  # share of an interval that a correlation keeps away from its ends, where the matrix is singular


@dataclass(frozen=True)
class Entry:
    """One parameter of a structure.

    Attributes
    ----------
    kind : {"sd", "corr"}
    places : tuple of tuples of int
        Where it is: the columns whose sd it is, ((0,), (1,)), or the pairs whose correlation, ((0, 1), (0, 2)).
    name : str
        What tells it from others of its kind that stand in several places ("lag 1"); one alone needs none.
    bounds : tuple of float
        Of a correlation, such that Sigma is positive definite inside. It is never at a bound, only near one.
    prior : str
        Its default prior's distribution; if empty, the package's: of an sd a half-t scaled by the data, of a
        correlation the uniform one between the bounds.
    numbers : mapping of str to float
        That distribution's parameters.
    """

    kind: str
    places: tuple[tuple[int, ...], ...]
    name: str = ""
    bounds: tuple[float, float] = (-1.0, 1.0)
    prior: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Covariance:
    """A covariance structure; its functions are defined at the top of a module, so that models can be pickled.

    Attributes
    ----------
    name : str
        In a formula: ``name(x | g)``.
    words : str
        What the effects are, in a sentence: "correlated", "independent".
    entries : callable
        ``q -> tuple of Entry``, its parameters for q columns. Sigma times a positive number must be a matrix of the
        same structure.
    factor : callable or None
        ``(values, q) -> L``, (q, q), lower triangular, for the values of the entries in their order. It is written in
        ``+ - * / **`` and constant arrays alone, so that the same lines serve numbers, complex steps (which give the
        exact derivative) and PyTensor's variables. None where every such L is allowed: the search then moves the
        entries of L themselves, sampling has compiled coordinates, and all correlations have one LKJ prior.
    tex : callable or None
        ``symbols -> Sigma`` in LaTeX, for the symbols of the entries in their order; with `factor`. Of the commands
        that `bayesmm.reporting.mathml` knows.
    apart : bool
        Whether every column is a group term of its own, independent of the others, as ``||`` has it.
    diagonal : bool
        Whether its parameters are sds alone and L is the diagonal matrix of them. The compiled code takes that.
    partials : callable or None
        ``(values, q) -> values``, where correlations within their bounds may be those of no matrix: what stands in
        their place in `factor`, is searched and sampled within the bounds, and has the priors. In arithmetic alone.
    kernel : kernel or None
        `factor` for compiled code: ``(values, L) -> None`` sets the lower triangle of L, (q, q) zeros, in arithmetic
        that complex numbers take too. Without one a model is sampled from the graphs.
    """

    name: str
    words: str
    entries: Callable[[int], tuple[Entry, ...]]
    factor: Callable[[Sequence, int], object] | None = None
    tex: Callable[[Sequence[str]], str] | None = None
    apart: bool = False
    diagonal: bool = False
    partials: Callable[[Sequence, int], Sequence] | None = None
    kernel: Callable | None = None

    @property
    def free(self) -> bool:
        """Whether the covariance matrix is any that there is."""
        return self.factor is None


@dataclass(frozen=True)
class Part:
    """The columns of a block that one group term gives, independent of the block's others.

    Attributes
    ----------
    columns : tuple of int
        Places in the block, ascending.
    covariance : Covariance
    text : str
        The group term without its grouping, "cs(0 + x)".
    """

    columns: tuple[int, ...]
    covariance: Covariance
    text: str

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The parameters, their places counted within the part."""
        return self.covariance.entries(len(self.columns))

    @property
    def correlated(self) -> tuple[tuple[int, ...], ...]:
        """The sets of columns that are correlated among themselves: all of them, or each alone."""
        return tuple((i,) for i in self.columns) if self.covariance.diagonal else (self.columns,)


def searched(covariance: Covariance, values: Sequence, q: int) -> Sequence:
    """Return what `factor` takes, for the values of a structure's entries as they are reported."""
    return values if covariance.partials is None else covariance.partials(values, q)


def factor_of(covariance: Covariance, values: Sequence[float], q: int) -> Array:
    """Return L, (q, q), for the values of a structure's entries."""
    return np.asarray(covariance.factor(values, q))


def factor_derivatives(covariance: Covariance, values: Sequence[float], q: int) -> Array:
    """Return dL / d value, (t, q, q), by complex steps."""
    steps = np.array(values, dtype=complex) + 1j * COMPLEX_STEP * np.eye(len(values))
    found = [factor_of(covariance, list(step), q).imag / COMPLEX_STEP for step in steps]
    return np.array(found).reshape(-1, q, q)


# ----------------------------------------------------------------------------------------------------------------------
# the parameters on the real line, where a search moves them


def values_at(entries: Sequence[Entry], x: Array) -> tuple[Array, Array]:
    """Return the values at coordinates x, (t,), and their derivatives: sds as they are, whose sign means nothing.

    A correlation is moved by the hyperbolic tangent of its coordinate.
    """
    values, rates = np.array(x, dtype=float), np.ones(len(x))
    for i, entry in enumerate(entries):
        if entry.kind == "corr":
            low, high = entry.bounds
            half = (high - low) / 2
            values[i] = inside(entry, low + half * (1 + np.tanh(x[i])))
            rates[i] = half / np.cosh(np.clip(x[i], -350, 350)) ** 2
    return values, rates


def coordinates_of(entries: Sequence[Entry], values: Sequence[float]) -> Array:
    """Return the coordinates x of values: the inverse of `values_at`, kept off the ends of an interval."""
    x = np.array(values, dtype=float)
    for i, entry in enumerate(entries):
        if entry.kind == "corr":
            low, high = entry.bounds
            x[i] = np.arctanh(2 * (inside(entry, x[i]) - low) / (high - low) - 1)
    return x


def inside(entry: Entry, value: float) -> float:
    """Return the value of a correlation, moved off its bounds where it is at one of them or by rounding beyond."""
    low, high = entry.bounds
    gap = INSIDE * (high - low)
    return float(np.clip(value, low + gap, high - gap))
