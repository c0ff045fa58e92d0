"""What expressions learn of a part of the data, whose factors may lack levels that other parts have."""

from collections.abc import Mapping, Sequence

from bayesmm.design.coding import OWN, Levels
from bayesmm.design.contrasts import levels_with
from bayesmm.design.factors import factor_value
from bayesmm.design.state import Scope, State
from bayesmm.design.variables import NUMERIC, Variable, observed_levels, value_label
from bayesmm.engines.expressions import Columns, factor_column
from bayesmm.engines.states import nested
from bayesmm.errors import DataError, listing
from bayesmm.formula.formula import Call, Column, Expr, Operation, Text, contrast_of, text_of
from bayesmm.runtime.messages import label_text


def part_states(exprs: Sequence[Expr], scope: Scope) -> dict[Expr, State]:
    """Return what the columns and factors among expressions learn of a part of the data.

    A factor may have one level here, and the reference level, or levels of a matrix of contrasts, in another part.
    """
    found: dict[Expr, State] = {}
    kinds = {name: variable.kind for name, variable in scope.variables.items()}
    for expr in exprs:
        name = factor_column(expr, Columns({}, kinds, {}, {}, {}))
        if name is None:
            columns = [node for node in nested(expr) if isinstance(node, Column)]
            found |= {node: kinds[node.name] for node in columns if kinds[node.name] in NUMERIC}
            continue
        own = _part_levels(expr, scope.variables[name], scope)
        if own is None:
            factor_value(expr, scope.variables[name], scope)  # learns as of whole data, and says what there is to say
        else:
            found[expr] = own
    return found


def _part_levels(expr: Expr, variable: Variable, scope: Scope) -> Levels | None:
    """Return the levels of a factor of which this part lacks some; None where it has all that are named."""
    labels, given = observed_levels(variable).labels, scope.contrasts.get(variable.name)
    wanted = contrast_of(expr) if isinstance(expr, Call) else None
    if isinstance(expr, Column) and given is not None and given.kind == OWN:
        if not set(labels) < set(given.labels):
            return None
        return levels_with(variable.name, merged_labels(labels, given.labels), given)
    reference = None if wanted is None or wanted.reference is None else value_label(wanted.reference)
    if len(labels) > 1 and reference in (None, *labels):
        return None
    if reference is not None:
        labels = merged_labels(labels, (reference,))
    if isinstance(expr, Column) and given is not None:
        kind = given.kind
    elif wanted is not None:
        kind = wanted.kind
    else:
        kind = "Poly" if variable.kind == "ordered" else "Treatment"
    return Levels(tuple(labels), kind, None if reference is None else labels.index(reference))


def merged_labels(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels of both: in the order of one that has them all, else by size, or sorted as text."""
    if set(other) <= set(one):
        return one
    if set(one) <= set(other) and len(one) > 1:
        return other
    both = set(one) | set(other)
    numeric = all(label.lstrip("-").isdigit() for label in both)
    return tuple(sorted(both, key=int if numeric else None))


def check_levels_occur(exprs: Sequence[Expr], states: Mapping[Expr, State], variables: Mapping[str, Variable]) -> None:
    """Raise a DataError for a level that a formula names, or contrasts have, and no part of the data has."""
    for expr in exprs:
        state = states.get(expr)
        if isinstance(state, Levels):
            name = expr.name if isinstance(expr, Column) else factor_column(expr, _plain(variables))
            _check(text_of(expr), name, state.labels, variables)
            if len(state.labels) < 2:
                alone = label_text(state.labels[0])
                raise DataError(f"factor '{name}' has one level ({alone}); at least two are needed to compare")
        for node in nested(expr):
            texts = [part.value for part in node.operands if isinstance(part, Text)] if _is_operation(node) else []
            for column in [part for part in node.operands if isinstance(part, Column)] if texts else []:
                _check(text_of(node), column.name, texts, variables)


def _plain(variables: Mapping[str, Variable]) -> Columns:
    return Columns({}, {name: variable.kind for name, variable in variables.items()}, {}, {}, {})


def _is_operation(node: Expr) -> bool:
    return isinstance(node, Operation)


def _check(text: str, name: str, labels: Sequence[str], variables: Mapping[str, Variable]) -> None:
    seen = observed_levels(variables[name]).labels
    absent = [label for label in labels if label not in seen]
    if absent:
        raise DataError(
            f"{text} names {listing(map(label_text, absent))}, and no part of the data has such a level of '{name}' "
            f"(levels: {listing(map(label_text, seen))})"
        )
