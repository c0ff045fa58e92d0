"""The fixed columns of a lazy frame's model in another coding of its factors: combinations of the same base columns."""

from collections.abc import Mapping

import numpy as np

from bayesmm.design.coding import Levels, learn_coding
from bayesmm.design.records import Design
from bayesmm.design.state import Scope, State
from bayesmm.design.summed import SummedMatrix
from bayesmm.design.transforms import evaluate
from bayesmm.design.variables import read_variable
from bayesmm.engines.base_columns import BaseColumns, coded
from bayesmm.engines.expressions import Columns
from bayesmm.formula.formula import Expr
from bayesmm.formula.roles import variables_of
from bayesmm.runtime.messages import Rows


def recoded(design: Design, states: Mapping[Expr, State]) -> SummedMatrix:
    """Return X, (n, p), with other states of its expressions, such as other contrasts of the same levels."""
    sums, formula = design.X.sums, design.formula
    variables = {name: read_variable(name, sums.sample[name].infer_objects())[0] for name in sums.sample}
    rows = Rows(np.arange(len(sums.sample)), None)
    scope = Scope(variables, rows, {}, dict(states), False, [], design.spec.contrasts)
    values = {expr: evaluate(expr, scope) for expr in variables_of(formula, groups=False)}
    base, levels = BaseColumns(), labels_of(states)
    known = {name: variable.levels for name, variable in variables.items()} | levels
    columns = Columns({n: n for n in variables}, {n: v.kind for n, v in variables.items()}, known, known, states)
    own = coded(learn_coding(formula.intercept, formula.terms, values), values, columns, base)
    A = np.zeros((len(sums.names), own.M.shape[1]))
    np.add.at(A, [sums.names.index(base.names[k]) for k in own.at], own.M)
    A[0] += sums.shift @ A
    return SummedMatrix(sums, A)


def labels_of(states: Mapping[Expr, State]) -> dict[str, tuple[str, ...]]:
    """Return the levels of the columns that are factors."""
    found = {}
    for expr, state in states.items():
        if isinstance(state, Levels):
            inner = expr if not hasattr(expr, "arguments") else expr.arguments[0]
            found[inner.name] = state.labels
    return found
