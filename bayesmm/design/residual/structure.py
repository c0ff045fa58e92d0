"""What a residual structure is: the record that all other rooms ask, and what a design has of it.

A linear model is y = X beta + Z b + offset + e, e ~ N(0, sigma^2 D C D). D has the sds of the rows over sigma, d_i /
sqrt(w_i), where w are the prior weights and d follows from structures that say how rows scatter; C is a correlation
matrix, I without a structure that says how rows go together. A model may have several structures, at most one of them
with a C. Everything that is computed from cross-products takes rows that are whitened: `independent.whitened`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType, ModuleType

import numpy as np

from bayesmm.design.coding import Factor, Numbers
from bayesmm.design.parameters import level_name, residual_labels
from bayesmm.design.residual.correlation import Correlation, Inverse, Layout
from bayesmm.design.term_basis import TermBasis, untouched
from bayesmm.errors import DataError
from bayesmm.formula.formula import Signature

LEAST_SD = 1e-150  # whose square has all digits; 1 over it is the largest
Array = np.ndarray
Arguments = Mapping[str, Numbers | Factor]  # what stands in the term's brackets, evaluated, by the argument's name
Values = Mapping[str, Array]  # of each parameter by its name, (..., k): k = 1 for a single number
NOTHING: Values = MappingProxyType({})  # the values of a structure without parameters


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
    sizes : tuple of float or None
        Of the elements of a vector: what they multiply. The scale of their prior is divided by it.
    ordered : bool
        Whether each element of a vector is above the one before.
    at_means : bool
        Whether its prior is at the predictors' means, as an intercept's: it is what is reported less a multiple of the
        coefficients.
    slopes : bool
        Whether it has default priors as coefficients have, in place of its own.
    visits : int
        Of a vector that is the upper triangle of a correlation matrix, row by row, the rows of that; 0 of others.
    gap : float
        Of a correlation of rows one unit apart: how far apart most rows are, or the nearest. A search moves the
        correlation of such rows, which does not depend on the unit.
    """

    name: str
    tex: str
    prior: str
    arguments: Mapping[str, float] = field(hash=False)
    unit: str
    terms: tuple[str, ...] | None = None
    support: tuple[float, float] = (-np.inf, np.inf)
    start: float = 0.0
    sizes: tuple[float, ...] | None = None
    ordered: bool = False
    at_means: bool = False
    slopes: bool = False
    visits: int = 0
    gap: float = 1.0

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
    relative_sd : callable or None
        ``(numpy or pytensor.tensor, rows, values) -> d``, (..., n): the sd of each row over sigma, for values (..., k).
        One function for both, so that the graph and what is computed from its draws cannot differ. None where all rows
        have the same.
    tex : callable
        ``(terms' text in LaTeX, by argument) -> text``: what sigma^2 is multiplied by in row i; of a structure with
        correlations, the correlation of the rows i and j.
    variance_tex : callable or None
        The first of the two, of a structure with correlations and sds.
    words : str
        What the residuals are, in a sentence; if empty, "residuals" of what the formula says.
    layout, root : callable or None
        Of a structure with correlations, ``rows -> Layout`` and ``(library, layout, values) -> (..., nnz)``: which
        entries of U, U C U' = I, are not 0, and their values. One function for both libraries, as `relative_sd`.
    sigma : {"scale", "known", "joint"}
        What sigma is: it multiplies the sds of all rows; it is 1, because the structure gives these sds; or it is one
        of the values that `relative_sd` is a function of.
    chosen : callable or None
        ``Arguments -> ResidualStructure``, of a name that stands for several.
    log_sd : kernel or None
        Of a structure with `relative_sd`, the same for compiled code, which takes numbers in their arrays: ``(backward,
        sigma, values, table, log_sd, d_log_sd, d_values) -> derivative in sigma``, for the (S, k) distinct `rows`. It
        sets the logarithms of the sds over sigma, (S,), or, where sigma is joint, of the sds; backward it adds the
        derivatives in the values, for those in the logarithms. Without one the model is sampled from the graph.
    inverse : Inverse or None
        Of a structure with correlations, the same of C^-1.
    """

    name: str
    signature: Signature | None = None
    parameters: Callable[[Arguments], tuple[ResidualParameter, ...]]
    rows: Callable[[Arguments], Array | None]
    relative_sd: Callable[[ModuleType, object, Mapping[str, object]], object] | None = None
    tex: Callable[[Mapping[str, str]], str]
    variance_tex: Callable[[Mapping[str, str]], str] | None = None
    words: str = ""
    layout: Callable[[Array], Layout] | None = None
    root: Callable[[ModuleType, Layout, Mapping[str, object]], object] | None = None
    sigma: str = "scale"
    chosen: Callable[[Arguments], "ResidualStructure"] | None = None
    log_sd: Callable | None = None
    inverse: Inverse | None = None


@dataclass(frozen=True, eq=False)
class ResidualTerm:
    """One structure of a design's residuals.

    Attributes
    ----------
    structure : ResidualStructure
    text : str
        As the formula has it.
    parameters : tuple of ResidualParameter
    rows : array, (n,) or (n, k), or None
        What the structure has read of each row; None if it reads nothing.
    names : mapping of str to str
        The text of each of its arguments.
    of : str
        Of a formula of a family's parameter, the parameter: see `of_family`.
    given : tuple of str
        The family's parameters that are no parameters of the model, because the structure gives them.
    categories : tuple of str
        Of thresholds, what they are between.
    spacing : str
        Of thresholds, as `Family.spacing`.
    formula : str
        Of a formula of a parameter with columns of its own, the parameter: also a linear model's sigma.
    basis : TermBasis or None
        What its columns, an intercept's first if it has one, have taken out where default priors stand; None of others.
    """

    structure: ResidualStructure
    text: str = ""
    parameters: tuple[ResidualParameter, ...] = ()
    rows: Array | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    of: str = ""
    given: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    spacing: str = ""
    formula: str = ""
    basis: TermBasis | None = None

    @property
    def has_level(self) -> bool:
        """Whether a parameter of the model is what its formula's parameter is where all columns are 0."""
        return self.basis is not None and self.basis.size > self.size

    def taken_out(self, basis: TermBasis) -> "ResidualTerm":
        """Return the formula of a parameter with the columns less their margins, as a basis of them has these."""
        if basis.trivial:
            return self
        whole = np.column_stack([np.ones(len(self.rows)), self.rows]) if self.has_level else self.rows
        rows = np.ascontiguousarray(basis.taken_out(whole)[:, int(self.has_level) :])
        return replace(self, rows=rows, basis=untouched(basis.size))

    @cached_property
    def layout(self) -> Layout:
        """The entries of U of the design's own rows."""
        return self.structure.layout(self.rows)

    @property
    def size(self) -> int:
        """How many numbers its parameters are."""
        return sum(parameter.size for parameter in self.parameters)


@dataclass(frozen=True, eq=False)
class Residuals:
    """The residuals of a design: its structures, none where they are independent with one sd.

    Attributes
    ----------
    parts : tuple of ResidualTerm
    known : Correlation or None
        The correlations of rows that are whitened for given values, and so have no structures any more.
    """

    parts: tuple[ResidualTerm, ...] = ()
    known: Correlation | None = None

    @property
    def text(self) -> str:
        """The structures as the formula has them."""
        return " + ".join(part.text for part in self.parts if part.text)

    @property
    def parameters(self) -> tuple[ResidualParameter, ...]:
        """Those of all structures."""
        return tuple(own for part in self.parts for own in part.parameters)

    @property
    def size(self) -> int:
        """How many numbers its parameters are."""
        return sum(part.size for part in self.parts)

    @property
    def rows(self) -> Array | None:
        """What all structures have read of each row, (n, k); None if there are none that read anything."""
        return stacked([part.rows for part in self.parts])

    @property
    def sigma(self) -> str:
        """What sigma is: see `ResidualStructure`."""
        return next((part.structure.sigma for part in self.parts if part.structure.sigma != "scale"), "scale")

    @property
    def given(self) -> frozenset[str]:
        """The family's parameters that are no parameters of the model."""
        found = {name for part in self.parts for name in part.given}
        return frozenset(found | ({"sigma"} if self.sigma == "known" else set()))

    @property
    def formulas(self) -> tuple[ResidualTerm, ...]:
        """The formulas of parameters that have columns of their own."""
        return tuple(part for part in self.parts if part.basis is not None)

    @property
    def levels(self) -> dict[str, str]:
        """The name of the link of each parameter with a formula where its columns are 0: see `level_name`."""
        return {part.formula: level_name(own.name) for part in self.formulas for own in part.parameters}

    @property
    def by_row(self) -> bool:
        """Whether the family has parameters that differ from row to row."""
        return any(part.of for part in self.parts)

    @property
    def estimated(self) -> bool:
        """Whether the covariance matrix over sigma^2 depends on anything that is estimated."""
        return bool(self.parameters) or self.sigma == "joint"

    @property
    def correlated(self) -> ResidualTerm | None:
        """The structure that has correlations."""
        return next((part for part in self.parts if part.structure.root is not None), None)

    @property
    def size_of_known(self) -> float:
        """The middle of what known sds multiply sigma by; 1 where there are none, or sigma is known."""
        parts = [p for p in self.parts if p.structure.variance_tex is not None and p.structure.sigma == "scale"]
        logs = [np.log(part.structure.relative_sd(np, part.rows, NOTHING)).mean() for part in parts]
        return float(np.exp(sum(logs)))

    def taken(self, rows: Array) -> "Residuals":
        """Return those of some of the rows, (n,) bool or places."""
        return replace(self, parts=tuple(replace(p, rows=None if p.rows is None else p.rows[rows]) for p in self.parts))

    def of_part(self, wanted: ResidualTerm, rows):
        """Return the columns of `rows`, (m, k), that are one part's, in the shape that it has given them."""
        at = 0
        for part in self.parts:
            width = 0 if part.rows is None else 1 if part.rows.ndim == 1 else part.rows.shape[1]
            if part is wanted:
                return None if part.rows is None else rows[:, at] if part.rows.ndim == 1 else rows[:, at : at + width]
            at += width
        raise ValueError("the structure is not one of these residuals")

    def relative_sd(self, library: ModuleType, rows, values: Mapping[str, object]):
        """Return d, (..., n), for rows (n, k) of all structures; None where it is 1."""
        found = [
            part.structure.relative_sd(library, self.of_part(part, rows), values)
            for part in self.parts
            if part.structure.relative_sd is not None
        ]
        return math.prod(found[1:], start=found[0]) if found else None

    def correlation(self, rows: Array, values: Values) -> Correlation | None:
        """Return the correlations of rows (m, k) at values, (k,) or (draws, k) each."""
        part = self.correlated
        if part is None:
            return self.known
        own = self.of_part(part, rows)
        layout = part.layout if np.array_equal(own, part.rows) else part.structure.layout(own)
        return Correlation(layout, part.structure.root(np, layout, values))


def stacked(columns: Sequence[Array | None]) -> Array | None:
    """Return what several structures have read of each row side by side, (n, k)."""
    known = [np.asarray(own, dtype=float) for own in columns if own is not None]
    found = [own[:, None] if own.ndim == 1 else own for own in known]
    return np.hstack(found) if found else None


def typical_weight(weights: Array) -> float:
    """Return the geometric mean of weights (n,): one over the squared residual sd of a typical row, over sigma^2."""
    return float(np.exp(np.log(weights).mean()))


def residual_weights(design, values: Values = NOTHING) -> Array | None:
    """Return what divides sigma^2 in each row of a linear model, w / d^2; None where it is 1 throughout.

    Parameters
    ----------
    design : Design
        Of another model than a linear one these are the prior weights, which count its rows.
    values : mapping of str to array
        Of the structures' parameters, (k,) or (draws, k) each, and of sigma where it is one of them.

    Returns
    -------
    (n,) or (draws, n) array, or None
    """
    return weights_of_rows(design.residual, design.residual.rows, values, design.weights)


def weights_of_rows(term: Residuals, rows: Array | None, values: Values, weights: Array | None) -> Array | None:
    """Return the same for any encoded rows with their prior weights, (m,) or None."""
    with np.errstate(over="ignore"):
        d = term.relative_sd(np, rows, values)
    if d is None:
        return weights
    if term.formulas and not np.all((d > LEAST_SD) & (d < 1 / LEAST_SD)):
        said = f"the sds that {term.text} gives some rows are beyond the numbers that can be computed with"
        own = "; where its columns are far from 0 in the data, write center() around them, which changes no prediction"
        raise DataError(said + own * term.formulas[0].has_level)
    return np.square(1 / d) if weights is None else weights / np.square(d)


def lies_within(residual: Residuals, index: Array) -> bool:
    """Return whether the rows of each series, if residuals are correlated, are in one level, (n,) of each row."""
    if residual.correlated is None:
        return True
    layout = residual.correlated.layout
    return np.array_equal(index[layout.row], index[layout.column])


def mean_values(values: Values) -> dict[str, Array]:
    """Return the means over draws (draws, k) of the parameters, (k,) each."""
    return {name: own.mean(axis=0) for name, own in values.items()}


def check_no_parameters(design, what: str, instead: str = "") -> None:
    """Raise a DataError where the residual has parameters besides sigma, with which `what` cannot be computed."""
    if design.residual.estimated and not design.residual.by_row:
        said = f"{what} is not possible with the residuals of {design.residual.text}"
        raise DataError(f"{said}; {instead}" if instead else said)


def values_by_label(term: Residuals, given: Mapping[str, float] = MappingProxyType({})) -> dict[str, Array]:
    """Return the values that are given by label, and for the other parameters where a search starts."""
    return {
        own.name: np.array([given.get(label, own.start) for label in residual_labels(own)], dtype=float)
        for own in term.parameters
    } | ({"sigma": np.array([given.get("sigma", 1.0)])} if getattr(term, "sigma", "") == "joint" else {})
