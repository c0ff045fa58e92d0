"""The register of the residual structures, and the one that a formula asks for, read from the data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from bayesmm.design.coding import Coding, Factor, Levels, Numbers, Values, learn_coding, matrix
from bayesmm.design.ordered import check_specific, columns_around_zero
from bayesmm.design.residual import (
    autoregressive,
    compound_symmetry,
    continuous_autoregressive,
    known_covariance,
    scale,
    standard_errors,
    unstructured,
)
from bayesmm.design.residual.independent import INDEPENDENT
from bayesmm.design.residual.of_family import SPECIFIC, threshold_term
from bayesmm.design.residual.of_family import term as parameter_term
from bayesmm.design.residual.structure import Arguments, Array, Residuals, ResidualStructure, ResidualTerm, stacked
from bayesmm.design.state import Scope
from bayesmm.design.term_basis import TermBasis
from bayesmm.design.transforms import evaluate, numeric
from bayesmm.design.variables import observed_levels
from bayesmm.errors import DataError, listing
from bayesmm.families.families import FAMILIES
from bayesmm.families.family import Family
from bayesmm.formula.additions import share_advice
from bayesmm.formula.formula import (
    BESIDE,
    Call,
    Expr,
    Formula,
    Scale,
    Signature,
    arguments_of,
    literal,
    scale_factors,
    text_of,
)

_MODULES = (
    standard_errors, autoregressive, continuous_autoregressive, compound_symmetry, unstructured, known_covariance,
)  # fmt: skip
NO_ROWS = (
    "matrices[{0!r}] has the covariances of the rows of the model's data, and says nothing of others; new responses "
    "need {1} with rows = id, a column of labels that the matrix has, and kind='mean' needs none"
)
STRUCTURES: dict[str, ResidualStructure] = {module.STRUCTURE.name: module.STRUCTURE for module in _MODULES}


def signatures() -> Mapping[str, Signature]:
    """Return the structures that a formula may name, with their arguments: what `formula.parse` asks for."""
    return {name: one.signature for name, one in STRUCTURES.items() if one.signature is not None}


@contextmanager
def registered(structure: ResidualStructure) -> Iterator[None]:
    """Let formulas name one more structure for a while."""
    if structure.name in STRUCTURES:
        raise ValueError(f"there is a residual structure {structure.name!r} already; give this one another name")
    STRUCTURES[structure.name] = structure
    try:
        yield
    finally:
        del STRUCTURES[structure.name]


def residual_columns(formula: Formula) -> list[Expr]:
    """Return every expression that the residual structures of a formula read, those of sigma's formula too."""
    own = [expr for call in formula.residuals for expr in _arguments(call).values()]
    return [*own, *scale_factors(formula)]


def _arguments(call: Call) -> dict[str, Expr]:
    return arguments_of(call, STRUCTURES[call.function].signature)


def matrices_of_residuals(formula: Formula) -> list[tuple[str, bool]]:
    """Return the names of the matrices that the residual structures of a formula have, and if they are of labels."""
    found = []
    for call in formula.residuals:
        given, signature = _arguments(call), STRUCTURES[call.function].signature
        known = [given[own.name].name for own in signature.parameters if own.kind == "matrix"]
        found += [(name, "rows" in given) for name in known]
    return found


def residual_terms(
    formula: Formula, family: Family, scope: Scope, y: Array, weights: Array | None,
    known: Mapping[str, TermBasis] = MappingProxyType({}),
) -> Residuals:  # fmt: skip
    """Return the residuals of a model, with what their structures read of each row.

    Parameters
    ----------
    formula : Formula
    family : Family
    scope : Scope
    y : (n,)
    weights : (n,) or None
    known : mapping of str to TermBasis
        The bases of the formulas of parameters that have been learned, by parameter.

    Raises
    ------
    DataError
        The family's rows have no residual with an sd of its own, or a structure cannot use the columns.
    """
    check_specific(formula, family)
    if not family.gaussian:
        return _of_family(formula, family, scope, y, known)
    if not formula.residuals and not formula.scales:
        return INDEPENDENT
    parts = [_term(call, scope) for call in formula.residuals]
    parts += [scale.term(own, _columns(own, scope, len(y), known), y, scope.learning) for own in formula.scales]
    known = [part for part in parts if part.structure.sigma != "scale"]
    if known and formula.scales and known[0].structure is not parts[-1].structure:
        said = f"gives the sds of the rows, and {formula.scales[0].text} models them"
        raise DataError(f"{known[0].text} {said}; leave one of the two out")
    given = [part.text for part in parts if part.structure.sigma != "scale"]
    if given and len(scattered := [part.text for part in parts if part.structure.relative_sd is not None]) > 1:
        raise DataError(f"{listing(scattered)} both give the sds of the rows; leave one of the two out")
    signed = [part for part in parts if part.structure.signature]
    beside = [p.text for p in signed if p.structure.signature.gives == BESIDE or p.structure.sigma == "known"]
    if beside and weights is not None:
        raise DataError(f"{beside[0]} and the weights both say how exact a row is; leave one of the two out")
    return Residuals(tuple(parts))


def with_random_parameters(formula: Formula, family: Family, weights: Array | None) -> Family:
    """Return the family as one without an exact integral, if a parameter has random effects and it had one.

    Raises
    ------
    DataError
        There are weights: they divide the variance of linear models, and count the rows of others.
    """
    if not (family.normal and any(bar.of for bar in formula.bars)):
        return family
    if weights is not None and family.link == "identity":
        raise DataError("weights are not possible beside random effects of sigma; leave one of the two out")
    return replace(family, varying=True)


def _of_family(formula: Formula, family: Family, scope: Scope, y: Array, known: Mapping[str, TermBasis]) -> Residuals:
    """Return the formulas of parameters, and the thresholds, of a model that is not linear with normal errors."""
    parameters = {own.name: own for own in family.parameters if own.name in family.formulas}
    whose = f"the {family.label} family with the {family.link} link"
    if formula.residuals and family.varying:
        what = text_of(formula.residuals[0])
        raise DataError(f"{what} is not possible beside random effects of sigma; leave one of the two out")
    if formula.residuals:
        what = f"{text_of(formula.residuals[0])} describes the residuals of a gaussian model with the identity link"
        raise DataError(f"{what}; {whose} has none of its kind, so leave it out")
    others = [own for own in formula.scales if own.name != SPECIFIC]
    unknown = next((own for own in others if own.name not in parameters), None)
    if unknown is not None:
        besides = "thresholds" if family.ordered else "mean"
        has = f"has {listing(parameters)}" if parameters else f"has no parameters besides the {besides}"
        advice = share_advice(unknown.name)
        having = [one.name for one in FAMILIES.values() if one.ordered and unknown.name in one.formulas]
        advice += f" ({unknown.name} is a parameter of {listing(having)})" if family.ordered and having else ""
        raise DataError(f"{unknown.text} is of a parameter that {whose} has not: it {has}, so leave it out{advice}")
    parts = [_thresholds(formula, family, scope, len(y))] if family.ordered else []
    for own in others:
        parameter, mean = parameters[own.name], np.full(len(y), y.mean())
        first = family.first(y, mean)[family.auxiliaries.index(own.name)]
        columns, random = _columns(own, scope, len(y), known), any(bar.of == own.name for bar in formula.bars)
        parts.append(parameter_term(parameter, own, columns, float(first), scope.learning, random))
    return Residuals(tuple(parts)) if parts else INDEPENDENT


def _thresholds(formula: Formula, family: Family, scope: Scope, n: int) -> ResidualTerm:
    """Return the thresholds, with the effects that they have each of their own."""
    categories = known_categories(formula, scope)
    specific = next((own for own in formula.scales if own.name == SPECIFIC), None)
    if specific is None:
        return threshold_term(family, categories)
    own = _columns(specific, scope, n)
    Z, shown = columns_around_zero(specific, own.X, list(own.names), scope.learning, family.nominal)
    return threshold_term(family, categories, specific.text, Z, shown)


def known_categories(formula: Formula, scope: Scope) -> tuple[str, ...]:
    """Return the labels of an ordered response, which have been learned with it."""
    return scope.states[formula.response].labels


def _term(call: Call, scope: Scope) -> ResidualTerm:
    structure, arguments = STRUCTURES[call.function], _evaluated(call, scope)
    structure = structure if structure.chosen is None else structure.chosen(arguments)
    names = {name: text_of(expr) for name, expr in _arguments(call).items()}
    return ResidualTerm(structure, text_of(call), structure.parameters(arguments), structure.rows(arguments), names)


def _columns(
    own: Scale, scope: Scope, n: int, known: Mapping[str, TermBasis] = MappingProxyType({})
) -> scale.FormulaColumns:
    """Return the columns of a parameter's formula."""
    return scale.formula_columns(own, *_coded(own, scope), n, known.get(own.name))


def _coded(own: Scale, scope: Scope) -> tuple[Coding, Values]:
    values = {expr: evaluate(expr, scope) for term in own.terms for expr in term.factors}
    return learn_coding(own.intercept, own.terms, values), values


def residual_rows(formula: Formula, scope: Scope) -> Array | None:
    """Return what the formula's structures read of each row of other data, (m, k); None without one."""
    for name, labelled in matrices_of_residuals(formula):
        if not labelled:
            raise DataError(NO_ROWS.format(name, text_of(formula.residuals[-1])))
    found = [STRUCTURES[call.function].rows(_evaluated(call, scope)) for call in formula.residuals]
    for own in formula.scales:
        X = matrix(*_coded(own, scope), len(scope.rows))
        found.append(scale.without_intercept(X, own.intercept))
    return stacked(found)


def _evaluated(call: Call, scope: Scope) -> Arguments:
    """Return the values of a structure's arguments: of a series its labels, of a constant what it says."""
    kinds = {own.name: own.kind for own in STRUCTURES[call.function].signature.parameters}
    return {name: _value(expr, kinds[name], scope) for name, expr in _arguments(call).items()}


def _value(expr: Expr, kind: str, scope: Scope) -> object:
    if kind == "logical":
        return literal(expr)
    if kind == "matrix":
        return known_covariance.Known(expr.name, scope.matrices[expr.name])
    if kind == "column":
        return Numbers(numeric(expr, scope)[:, None])
    if kind == "series":
        seen = observed_levels(scope.variables[expr.name])
        return Factor(seen.codes, Levels(tuple(seen.labels)))
    return evaluate(expr, scope)
