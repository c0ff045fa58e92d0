"""Residual structures of a lazy frame's model: those whose likelihood needs sums alone, and what is summed for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import narwhals.stable.v2 as nw
import numpy as np

from bayesmm.design.coding import Factor, Levels, learn_coding
from bayesmm.design.residual import autoregressive, compound_symmetry, scale, standard_errors
from bayesmm.design.residual.independent import INDEPENDENT
from bayesmm.design.residual.structure import Residuals, ResidualTerm
from bayesmm.design.residual.structures import STRUCTURES
from bayesmm.design.state import Scope
from bayesmm.design.sum_sets import LENGTHS, ResidualSums
from bayesmm.design.summed import Sums
from bayesmm.design.term_basis import TermBasis, untouched
from bayesmm.design.transforms import evaluate
from bayesmm.design.variables import NUMERIC, Variable
from bayesmm.engines.complete import Complete
from bayesmm.engines.evaluated import Evaluated
from bayesmm.engines.expressions import Columns, factor_column, indicator, number
from bayesmm.engines.frames import Opened, collected
from bayesmm.engines.passes import Prepared
from bayesmm.engines.residual_sums import MOST_KINDS, Layout, by_error, by_lag, by_length, by_stratum
from bayesmm.errors import DataError
from bayesmm.formula.formula import Call, Expr, Formula, arguments_of, literal, scale_factors, text_of
from bayesmm.runtime.messages import Rows, count

ROWS = "needs the rows, and the data are a lazy frame; collect it first"
OF_SUMS = (standard_errors.NAME, autoregressive.NAME, compound_symmetry.NAME)


def arguments(call: Call) -> dict[str, Expr]:
    """Return the arguments of a structure by name."""
    return arguments_of(call, STRUCTURES[call.function].signature)


def check_supported(formula: Formula, *, weighted: bool, part: bool) -> None:
    """Raise a DataError for a structure that sums do not know, or for two at once."""
    every = [*map(text_of, formula.residuals), *(own.text for own in formula.scales)]
    for call in formula.residuals:
        given = arguments(call)
        alone = call.function == autoregressive.NAME and "gr" not in given
        if call.function not in OF_SUMS or alone:
            raise DataError(f"{text_of(call)} {ROWS}")
        if call.function == standard_errors.NAME and weighted:
            raise DataError(f"{text_of(call)} and the weights both say how exact a row is; leave one of the two out")
    if len(every) > 1:
        raise DataError(f"{every[0]} beside {every[1]} {ROWS}")
    if part and every:
        raise DataError(f"{every[0]} has sums of its own, which are not added; make the model of one frame")


def is_joint(call: Call) -> bool:
    """Return whether a structure is known standard errors with a residual beside them."""
    given = arguments(call) if call.function == standard_errors.NAME else {}
    return "sigma" in given and bool(literal(given["sigma"]))


def numeric_arguments(formula: Formula) -> list[Expr]:
    """Return what structures read as numbers: standard errors and times."""
    named = {standard_errors.NAME: "x", autoregressive.NAME: "time"}
    return [arguments(call)[named[call.function]] for call in formula.residuals if call.function in named]


def error_weight(formula: Formula, opened: Opened, complete: Complete) -> nw.Expr | None:
    """Return 1 / se^2 of known standard errors; None without these, and where sigma stands beside them.

    Raises
    ------
    DataError
        A standard error is 0, negative, or no finite number.
    """
    call = next((call for call in formula.residuals if call.function == standard_errors.NAME), None)
    if call is None:
        return None
    se = number(arguments(call)["x"], Columns(opened.places, opened.kinds, {}, {}, {}))
    good = complete.frame.select(good=indicator((se > 0) & (se < float("inf"))))
    table = collected(opened.engine, "check the standard errors", good.select(nw.col("good").sum()))
    bad = complete.n - int(table["good"][0])
    if bad:
        raise DataError(
            f"{text_of(call)}: {count(bad, 'standard error')} of {complete.n:,} not above 0; expected numbers above 0, "
            "the square roots of the sampling variances"
        )
    return None if is_joint(call) else 1.0 / (se * se)


def residual_sums(
    formula: Formula, opened: Opened, found: Evaluated, rows: Prepared, layout: Layout, total: np.ndarray
) -> ResidualSums | None:
    """Return the sums of the formula's structure, of centred rows; None where one set is enough."""
    if formula.scales:
        return _strata(formula, opened, found, rows, layout)
    call = next((own for own in formula.residuals if own.function != standard_errors.NAME or is_joint(own)), None)
    if call is None:
        return None
    given = arguments(call)
    if call.function == standard_errors.NAME:
        return by_error(rows, layout, number(given["x"], found.columns))
    series = opened.places[given["gr"].name]
    if call.function == autoregressive.NAME:
        return by_lag(rows, layout, series, number(given["time"], found.columns), text_of(call))
    return by_length(rows, layout, series, text_of(call), total)


def residual_of(
    formula: Formula, sums: Sums, spread: float, known: Mapping[str, TermBasis] = MappingProxyType({})
) -> Residuals:
    """Return the residuals of a model, as of a table in memory, but for what structures read of each row.

    `spread` is the standard deviation of the response, all n rows counted; `known` has the basis of sigma's formula
    where the sums are from a file.
    """
    own = sums.residual
    if formula.scales:
        (of,) = formula.scales
        X = np.column_stack([np.ones(len(own.keys)), own.keys]) if of.intercept else own.keys
        found = known.get(of.name, untouched(X.shape[1])) if own.basis is None else TermBasis(*own.basis)
        columns = scale.FormulaColumns(X, own.names, found, own.sizes or (1.0,) * X.shape[1])
        y = np.array([-spread, spread])  # all that is asked of the response is its sd
        return Residuals((scale.term(of, columns, y),))  # its rows are the strata
    if not formula.residuals:
        return INDEPENDENT
    (call,) = formula.residuals
    given = arguments(call)
    names = {name: text_of(expr) for name, expr in given.items()}
    parameters = ()
    if call.function == autoregressive.NAME:
        parameters = autoregressive.parameters({})
    elif own is not None and own.kind == LENGTHS:
        longest = Factor(np.zeros(int(own.keys.max()), np.int64), Levels(("1",)))
        parameters = compound_symmetry.parameters({"gr": longest})
    structure = STRUCTURES[call.function]
    # no rows, but how many numbers are read of each: predictions read those of other rows
    rows = np.empty((0, 2)) if call.function == autoregressive.NAME else np.empty(0)
    if is_joint(call):
        structure, rows = standard_errors.JOINT, own.keys[:, 0]
    return Residuals((ResidualTerm(structure, text_of(call), parameters, rows, names),))


def has_weights(sums: Sums, residual: Residuals) -> bool:
    """Return whether the rows have prior weights: what the engine weighted with may be known standard errors."""
    return sums.has_weights and not (residual.sigma == "known" and sums.residual is None)


# ----------------------------------------------------------------------------------------------------------------------
# strata


@dataclass(frozen=True, eq=False)
class _Strata:
    """The combinations of the values of some columns: names, and the values of each, (K,)."""

    names: tuple[str, ...]
    values: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


def _strata(formula: Formula, opened: Opened, found: Evaluated, rows: Prepared, layout: Layout) -> ResidualSums:
    (own,) = formula.scales
    exprs = scale_factors(formula)
    strata = _combinations(own.text, exprs, opened, rows)
    scope = _table(strata, opened, found)
    values = {expr: evaluate(expr, scope) for expr in exprs}
    given = own, learn_coding(own.intercept, own.terms, values), values, len(strata)
    columns = scale.formula_columns(*given)
    X = columns.X
    if not np.isin(X, (-1.0, 0.0, 1.0)).all():
        raise DataError(f"{own.text} with numbers {ROWS}, or make factors of them, factor(x)")
    kind = nw.lit(-1.0)
    for k in range(len(strata)):
        same = [nw.col(opened.places[name]) == nw.lit(strata.values[name][k]) for name in strata.names]
        both = same[0]
        for one in same[1:]:
            both = both & one
        kind = nw.when(both).then(nw.lit(float(k))).otherwise(kind)
    sums = by_stratum(rows, layout, kind, np.ascontiguousarray(X[:, int(own.intercept) :]), columns.names)
    counted = scale.formula_columns(*given, count=sums.count)
    return replace(sums, basis=(counted.basis.R, counted.basis.order), sizes=counted.sizes)


def _combinations(text: str, exprs: Sequence[Expr], opened: Opened, rows: Prepared) -> _Strata:
    """Return the combinations of the values that a formula of sigma reads."""
    plain = Columns({}, opened.kinds, {}, {}, {})
    names = []
    for expr in exprs:
        name = factor_column(expr, plain)
        if name is None and opened.kinds.get(getattr(expr, "name", "")) != "boolean":
            raise DataError(f"{text} with numbers {ROWS}, or make factors of them, factor(x)")
        names.append(expr.name if name is None else name)
    names = list(dict.fromkeys(names))
    places = [opened.places[name] for name in names]
    counted = rows.frame.group_by(*places).agg(nw.len().alias("n"))
    cells = int(collected(opened.engine, "count the strata", counted.select(nw.len().alias("n")))["n"][0])
    if cells > MOST_KINDS:
        raise DataError(f"{text} has {cells:,} strata, each with sums of its own; expected at most {MOST_KINDS}")
    table = collected(opened.engine, "count the strata", counted)
    keys = [table[place].astype(str) for place in reversed(places)]
    order = np.lexsort(keys)
    return _Strata(
        tuple(names), {n: np.array(table[p][order].tolist(), dtype=object) for n, p in zip(names, places, strict=True)}
    )


def _table(strata: _Strata, opened: Opened, found: Evaluated) -> Scope:
    """Return the strata as a table in memory."""
    K, variables = len(strata), {}
    for name in strata.names:
        values, kind, labels = strata.values[name], opened.kinds[name], ()
        if kind in NUMERIC:
            own = np.array(values.tolist())
        else:
            labels, own = found.levels[name].labels, found.levels[name].codes(values)
        variables[name] = Variable(name, kind, own, labels, np.zeros(K, dtype=bool))
    return Scope(variables, Rows(np.arange(K), None), {}, dict(found.scope.states), True, [], found.scope.contrasts)
