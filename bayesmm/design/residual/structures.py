"""The register of the residual structures, and the one that a formula asks for, read from the data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bayesmm.design.coding import Factor, Levels, Numbers, Values, learn_coding, matrix, matrix_names
from bayesmm.design.residual import (
    autoregressive,
    compound_symmetry,
    continuous_autoregressive,
    scale,
    standard_errors,
    unstructured,
)
from bayesmm.design.residual.independent import INDEPENDENT
from bayesmm.design.residual.structure import Arguments, Array, Residuals, ResidualStructure, ResidualTerm, stacked
from bayesmm.design.state import Scope
from bayesmm.design.transforms import evaluate, numeric
from bayesmm.design.variables import observed_levels
from bayesmm.errors import DataError
from bayesmm.families.family import Family
from bayesmm.formula.formula import (
    BESIDE,
    Call,
    Expr,
    Formula,
    Signature,
    arguments_of,
    literal,
    scale_factors,
    text_of,
)

_MODULES = (standard_errors, autoregressive, continuous_autoregressive, compound_symmetry, unstructured)
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
    return [*(expr for call in formula.residuals for expr in _arguments(call).values()), *scale_factors(formula)]


def _arguments(call: Call) -> dict[str, Expr]:
    return arguments_of(call, STRUCTURES[call.function].signature)


def residual_terms(formula: Formula, family: Family, scope: Scope, y: Array, weights: Array | None) -> Residuals:
    """Return the residuals of a model, with what their structures read of each row.

    Raises
    ------
    DataError
        The family's rows have no residual with an sd of its own, or a structure cannot use the columns.
    """
    if not formula.residuals and formula.scale is None:
        return INDEPENDENT
    texts = [text_of(call) for call in formula.residuals] + ([] if formula.scale is None else [formula.scale.text])
    if not family.gaussian:
        raise DataError(
            f"{texts[0]} describes the residuals of a gaussian model with the identity link; the {family.label} "
            f"family with the {family.link} link has none of its kind, so leave it out"
        )
    parts = [_term(call, scope) for call in formula.residuals]
    if formula.scale is not None:
        values = {expr: evaluate(expr, scope) for expr in scale_factors(formula)}
        parts.append(scale.term(formula.scale, *_scale_matrix(formula, values, len(y)), y))
    known = [part for part in parts if part.structure.sigma != "scale"]
    if known and formula.scale is not None and known[0].structure is not parts[-1].structure:
        raise DataError(
            f"{known[0].text} gives the sds of the rows, and {formula.scale.text} models them; leave one of the two out"
        )
    beside = [part.text for part in parts if part.structure.signature and part.structure.signature.gives == BESIDE]
    if beside and weights is not None:
        raise DataError(f"{beside[0]} and the weights both say how exact a row is; leave one of the two out")
    return Residuals(tuple(parts))


def _term(call: Call, scope: Scope) -> ResidualTerm:
    structure, arguments = STRUCTURES[call.function], _evaluated(call, scope)
    structure = structure if structure.chosen is None else structure.chosen(arguments)
    names = {name: text_of(expr) for name, expr in _arguments(call).items()}
    return ResidualTerm(structure, text_of(call), structure.parameters(arguments), structure.rows(arguments), names)


def _scale_matrix(formula: Formula, values: Values, n: int) -> tuple[Array, list[str]]:
    """Return the columns of sigma's formula, (n, k), and their names, the intercept's among them."""
    coding = learn_coding(formula.scale.intercept, formula.scale.terms, values)
    return matrix(coding, values, n), [name for term in matrix_names(coding, values) for name in term]


def residual_rows(formula: Formula, scope: Scope) -> Array | None:
    """Return what the formula's structures read of each row of other data, (m, k); None without one."""
    found = [STRUCTURES[call.function].rows(_evaluated(call, scope)) for call in formula.residuals]
    if formula.scale is not None:
        values = {expr: evaluate(expr, scope) for expr in scale_factors(formula)}
        X, _ = _scale_matrix(formula, values, len(scope.rows))
        found.append(scale.columns(X, formula.scale.intercept))
    return stacked(found)


def _evaluated(call: Call, scope: Scope) -> Arguments:
    """Return the values of a structure's arguments: of a series its labels, of a constant what it says."""
    kinds = {own.name: own.kind for own in STRUCTURES[call.function].signature.parameters}
    return {name: _value(expr, kinds[name], scope) for name, expr in _arguments(call).items()}


def _value(expr: Expr, kind: str, scope: Scope) -> object:
    if kind == "logical":
        return literal(expr)
    if kind == "column":
        return Numbers(numeric(expr, scope)[:, None])
    if kind == "series":
        seen = observed_levels(scope.variables[expr.name])
        return Factor(seen.codes, Levels(tuple(seen.labels)))
    return evaluate(expr, scope)
