"""The register of the residual structures, and the one that a formula asks for, read from the data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bayesmm.design.residual import independent
from bayesmm.design.residual.structure import Arguments, Array, ResidualStructure, ResidualTerm
from bayesmm.design.state import Scope
from bayesmm.design.transforms import evaluate
from bayesmm.errors import DataError
from bayesmm.families.family import Family
from bayesmm.formula.formula import Expr, Formula, Signature, arguments_of, text_of

STRUCTURES: dict[str, ResidualStructure] = {independent.STRUCTURE.name: independent.STRUCTURE}


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


def residual_arguments(formula: Formula) -> dict[str, Expr]:
    """Return the arguments of the formula's residual structure by name; none without one."""
    call = formula.residual
    return {} if call is None else arguments_of(call, STRUCTURES[call.function].signature)


def residual_term(formula: Formula, family: Family, scope: Scope) -> ResidualTerm:
    """Return the residuals of a model, with what the structure reads of each row.

    Raises
    ------
    DataError
        The family's rows have no residual with an sd of its own, or the structure cannot use the columns.
    """
    call = formula.residual
    if call is None:
        return independent.INDEPENDENT
    if not family.gaussian:
        raise DataError(
            f"{text_of(call)} describes the residuals of a gaussian model with the identity link; the {family.name} "
            f"family with the {family.link} link has none of its kind, so leave {call.function}() out"
        )
    structure, arguments = STRUCTURES[call.function], _evaluated(formula, scope)
    return ResidualTerm(structure, text_of(call), structure.parameters(arguments), structure.rows(arguments))


def residual_rows(formula: Formula, scope: Scope) -> Array | None:
    """Return what the formula's structure reads of each row of other data; None without one."""
    call = formula.residual
    return None if call is None else STRUCTURES[call.function].rows(_evaluated(formula, scope))


def _evaluated(formula: Formula, scope: Scope) -> Arguments:
    return {name: evaluate(expr, scope) for name, expr in residual_arguments(formula).items()}
