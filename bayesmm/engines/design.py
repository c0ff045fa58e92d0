"""The design of a linear model whose rows an engine holds: its spec as of any table, its matrices by their sums."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.blocks import Effects, bars_by_group, effects_of, say_about_block
from bayesmm.design.checks import check_names, say_about_dependence
from bayesmm.design.coding import Coding, Numbers, Values, learn_coding, matrix_names
from bayesmm.design.contrasts import check_used, given_contrasts
from bayesmm.design.design import make_design
from bayesmm.design.factors import say_about_levels
from bayesmm.design.frames import to_pandas
from bayesmm.design.groups import check_block, check_levels, safe_names
from bayesmm.design.lints import sums_lints
from bayesmm.design.reading import check_arguments
from bayesmm.design.records import Block, Design
from bayesmm.design.spec import DataArguments, DesignSpec
from bayesmm.design.state import Scope
from bayesmm.design.summed import Elsewhere, RowLevels, SummedColumn, SummedMatrix, Sums
from bayesmm.design.term_basis import TermBasis, learn_bases
from bayesmm.engines.base_columns import OF_OFFSET, OF_RESPONSE, BaseColumns, CodedMatrix, coded
from bayesmm.engines.checks import check_constant, remarks
from bayesmm.engines.complete import complete_rows
from bayesmm.engines.distinct import distinct_rows
from bayesmm.engines.evaluated import Evaluated, Facts, evaluated
from bayesmm.engines.expressions import Columns, number
from bayesmm.engines.frames import Opened, open_frame
from bayesmm.engines.levels import Groups, groups_of
from bayesmm.engines.passes import (
    Means,
    Prepared,
    centred,
    check_unchanged,
    means,
    prepared,
    products,
)
from bayesmm.engines.residual import (
    check_supported,
    error_weight,
    has_weights,
    numeric_arguments,
    residual_of,
    residual_sums,
)
from bayesmm.engines.residual_sums import Layout
from bayesmm.engines.scale import robust_scale
from bayesmm.engines.weights import weighted_rows
from bayesmm.errors import DataError
from bayesmm.families.family import Family
from bayesmm.formula.formula import Column, Formula, text_of
from bayesmm.formula.roles import WEIGHTS, roles
from bayesmm.runtime.messages import warning

MOST_TAKEN = 1_000_000  # rows of a family that needs them which are taken over as they are


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be summed, and what it is summed for.

    Attributes
    ----------
    base : BaseColumns
    fixed : Coding
    X : CodedMatrix
    effects : tuple of Effects
        Of each grouping factor.
    groups : tuple of Groups
    names : tuple of str
        The name of each block.
    response, offset : int
        Places of the base columns; the offset's is 0 where there is none.
    """

    base: BaseColumns
    fixed: Coding
    X: CodedMatrix
    effects: tuple[Effects, ...]
    groups: tuple[Groups, ...]
    names: tuple[str, ...]
    response: int
    offset: int

    def left(self, k: int) -> list[int]:
        """Return the base columns that block k's Z is made of, the column of ones first."""
        return sorted({0, *(int(j) for Z in self.effects[k].matrices for j in Z.at)})


def lazy_design(
    formula: Formula,
    data: object,
    family: Family,
    *,
    weights: object = None,
    missing: str = "drop",
    contrasts: object = None,
    like: DesignSpec | None = None,
    part: bool = False,
) -> Design:
    """Return the design of a lazy frame, whose matrices are known by their cross-products.

    Parameters
    ----------
    formula : Formula
    data : lazy frame
        Of Polars, DuckDB, Dask, Spark, Ibis or SQLFrame; only the columns that the formula names are read.
    family : Family
        The gaussian with the identity link.
    weights : str, optional
        A column.
    missing : {"drop", "error"}
    contrasts : mapping, optional
        See `bayesmm.Model`.
    like : DesignSpec, optional
        Whose levels, means and knots are taken.
    part : bool
        Whether more rows are to come: then a column may be constant, and a grouping factor have one level.

    Returns
    -------
    Design
        Its arrays of rows are those of `bayesmm.design.summed`.

    Raises
    ------
    FormulaError, DataError
        What a table in memory has too; what only rows could give; what the engine said when it failed.
    """
    _check_supported(formula, weights)
    check_supported(formula, weighted=weights is not None or formula.weights is not None, part=part)
    opened = open_frame(formula, data, weights)
    needed = [name for name, (role, _, _) in roles(formula).items() if role != WEIGHTS and name != weights]
    complete = complete_rows(opened, needed, missing)
    weighted = weighted_rows(formula, opened, complete, weights)
    complete = weighted.rows
    given = given_contrasts(contrasts)
    known = {} if like is None else like.states
    found = evaluated(formula, opened, complete, given, known, numeric_arguments(formula), part=part)
    check_used(given, [e.name for e, v in found.values.items() if isinstance(e, Column) and not isinstance(v, Numbers)])
    groups = {factors: groups_of(opened, complete, factors, dict(found.levels)) for factors in bars_by_group(formula)}
    plan = make_plan(formula, family, found.values, found.columns, groups)
    errors = error_weight(formula, opened, complete)
    weight = weighted.weight if errors is None else errors
    rows = prepared(opened.engine, complete, plan.base.names, plan.base.exprs, weight)
    first = means(rows, _known(formula, plan.base, found.facts))
    if not part:
        check_constant(formula, family, plan.fixed, found.values, plan.base, first)
    sums = _summed(formula, opened, plan, rows, first, found)
    own = DataArguments(missing, weights)
    design = finished(formula, family, own, plan, sums, found.values, found.scope, part=part)
    return replace(design, frame=Elsewhere(sums, data))


def engine_design(
    formula: Formula,
    data: object,
    *,
    family: Family,
    weights: object = None,
    missing: str = "drop",
    transforms: Mapping[str, object] | None = None,
    trials: object = None,
    contrasts: object = None,
    matrices: object = None,
) -> Design:
    """Return the design of a lazy frame, by arguments as `bayesmm.design.design.make_design` has them.

    Of a family that needs the rows, those that are equal are counted by the engine, and their table is the data.
    """
    check_arguments(missing, formula, weights, trials)
    if matrices:
        raise DataError("matrices= needs the rows, and the data are a lazy frame; collect it first")
    if formula.limits:
        raise DataError(f"{text_of(formula.limits[0])} needs the rows, and the data are a lazy frame; collect it first")
    if family.gaussian:
        if trials is not None or formula.trials is not None:
            raise DataError(f"trials belong to the binomial family, and the family is {family.name}")
        return lazy_design(formula, data, family, weights=weights, missing=missing, contrasts=contrasts)
    table, counts = distinct_rows(formula, data, weights, trials, missing)
    own = dict(family=family, missing=missing, transforms=transforms, contrasts=contrasts, trials=trials)
    total = int(counts.sum())
    if total <= MOST_TAKEN:  # the rows themselves: everything is that of the table in memory
        rows = np.repeat(np.arange(len(table)), counts.astype(np.int64))
        return make_design(formula, table.iloc[rows].reset_index(drop=True), **own)
    if formula.smooths:
        what = f"{text_of(formula.smooths[0])} is centred over all rows"
        raise DataError(f"{what}, and of {total:,} rows of a lazy frame only the distinct ones are taken; use ns()")
    design = make_design(formula, table, weights=counts, **own)
    said = warning(
        f"the {len(table):,} distinct rows stand for {total:,}: estimates, standard errors and posteriors are those of "
        "all rows, but the number of observations, BIC, residuals, checks, loo() and averages over rows count each "
        "distinct row once, and so do the scales of default priors"
    )
    return replace(design, messages=(*design.messages, said))


def _check_supported(formula: Formula, weights: object) -> None:
    """Refuse what sums over the rows cannot give, or do not yet."""
    if weights is not None and not isinstance(weights, str):
        raise DataError("weights beside a lazy frame should be the name of a column of it")
    for what in _of_rows(formula):
        raise DataError(f"{what} needs the rows, and the data are a lazy frame; collect it first")


def _of_rows(formula: Formula) -> Iterator[str]:
    """Give the parts of a formula that sums over the rows do not know."""
    if formula.several is not None:
        yield f"mvbind({', '.join(formula.several.names)})"
    yield from map(text_of, formula.smooths)
    for bar in formula.bars:
        if bar.weights:
            yield bar.label
        if bar.by is not None:
            yield f"gr({', '.join(column.name for column in bar.group)}, by = {bar.by.name})"
        if bar.relation:
            yield f"gr(..., cov = {bar.relation})"


def make_plan(
    formula: Formula, family: Family, values: Values, columns: Columns, groups: Mapping[tuple[str, ...], Groups]
) -> Plan:
    """Return what is to be summed, given the levels of each grouping factor."""
    base = BaseColumns()

    def matrix(coding: Coding, what: str) -> tuple[CodedMatrix, tuple[str, ...]]:
        check_names(coding, values, what)
        return coded(coding, values, columns, base), tuple(n for term in matrix_names(coding, values) for n in term)

    fixed = learn_coding(formula.intercept, formula.terms, values)
    X, _ = matrix(fixed, "the fixed part")
    together = bars_by_group(formula)
    names = safe_names([":".join(factors) for factors in together], family)
    effects = [
        effects_of(":".join(factors), bars, values, lambda coding, bar: [(*matrix(coding, str(bar)), str)])
        for factors, bars in together.items()
    ]
    own = OF_RESPONSE, text_of(formula.response), number(formula.response, columns)
    response, offset = base.add(*own), 0
    if formula.offsets:
        total = number(formula.offsets[0], columns)
        for expr in formula.offsets[1:]:
            total = total + number(expr, columns)
        offset = base.add(OF_OFFSET, "the offset", total)
    return Plan(base, fixed, X, tuple(effects), tuple(groups[factors] for factors in together), names, response, offset)


def _known(formula: Formula, base: BaseColumns, facts: Facts) -> dict[int, tuple[float, float, float]]:
    """Return mean, least and greatest value of the base columns that are columns of the data, by place."""
    names = {text_of(Column(name, (0, 0))): name for name in facts.mean}
    keys = {frozenset([(text, "")]): name for text, name in names.items()}
    if isinstance(formula.response, Column):
        keys[OF_RESPONSE] = formula.response.name
    known = {base.places[key]: name for key, name in keys.items() if key in base.places}
    return {place: (facts.mean[name], facts.low[name], facts.high[name]) for place, name in known.items()}


def _summed(formula: Formula, opened: Opened, plan: Plan, rows: Prepared, first: Means, found: Evaluated) -> Sums:
    """Return what the second pass gives."""
    shift = first.mean.copy()
    shift[0] = 0.0
    scale = robust_scale(rows, plan.response, plan.offset, first)
    own = centred(rows, shift)
    places = [[opened.places[name] for name in one.grouping.factors] for one in plan.groups]
    lefts = [plan.left(k) for k in range(len(plan.groups))]
    sums = products(own, plan.groups, places, lefts)
    check_unchanged(own, shift, sums)
    if scale == 0:  # more than half of the rows have one value
        left = np.zeros(own.m)
        left[plan.response], left[plan.offset or 0] = 1.0, -1.0 if plan.offset else 0.0
        scale = float(np.sqrt(left @ sums.plain @ left / (rows.n - 1)))
    layout = Layout(plan.groups, places, lefts, sums.levels, sums.pairs)
    residual = residual_sums(formula, opened, found, own, layout, sums.weighted)
    sample = to_pandas(found.scope.variables.values(), found.scope.rows)
    return Sums(
        opened.engine, rows.n, rows.names, shift, first.low, first.high, sums.plain, sums.weighted, sums.log_weights,
        rows.has_weights, sums.levels, sums.pairs, scale, _typical(found), sample, sums.inverse, residual,
    )  # fmt: skip


def _typical(found: Evaluated) -> dict[str, tuple[tuple | None, object]]:
    """Return of each column its levels and the most frequent one, or None and its mean."""
    typical: dict[str, tuple[tuple | None, object]] = {}
    for name, mean in found.facts.mean.items():
        boolean = found.columns.kinds[name] == "boolean"
        typical[name] = ((False, True), mean > 0.5) if boolean else (None, mean)
    for name, own in found.levels.items():
        if len(own.labels) < 1000:
            values = own.labels if found.columns.kinds[name] not in ("number", "boolean") else own.values
            typical[name] = (values, values[int(own.count.argmax())])
    return typical


def _column(sums: Sums, place: int) -> SummedColumn:
    a = np.zeros(len(sums.shift))
    a[place], a[0] = 1.0, sums.shift[place]
    return SummedColumn(sums, a)


def _blocks(plan: Plan, sums: Sums) -> tuple[Block, ...]:
    blocks = []
    for k, (effects, own, name) in enumerate(zip(plan.effects, plan.groups, plan.names, strict=True)):
        A = np.hstack([Z.combination(sums.shift) for Z in effects.matrices])
        grouping, Z = own.grouping, SummedMatrix(sums, A)
        group, index = ":".join(grouping.factors), RowLevels(sums, k)
        args = group, name, grouping.factors, index, grouping.levels, effects.columns, Z, effects.parts
        blocks.append(Block(*args))
    return tuple(blocks)


def finished(
    formula: Formula,
    family: Family,
    arguments: DataArguments,
    plan: Plan,
    sums: Sums,
    values: Values,
    scope: Scope,
    *,
    part: bool = False,
) -> Design:
    """Return the design of sums, with what they give cause to say; of a `part` of the data nothing is said."""
    X = SummedMatrix(sums, plan.X.combination(sums.shift))
    blocks, y, rows = _blocks(plan, sums), _column(sums, plan.response), Elsewhere(sums)
    offset = _column(sums, plan.offset) if plan.offset else SummedColumn(sums, np.zeros(len(sums.shift)))
    residual = residual_of(formula, sums, y.std())
    in_memory = [replace(block, Z=block.Z.rows) for block in blocks]
    codings = [effects.codings for effects in plan.effects]
    bases = learn_bases(X.rows, plan.fixed, in_memory, codings, values)
    bases = replace(bases, parameters={part.formula: part.basis for part in residual.formulas})
    aliased = () if part else _say(formula, family, plan, values, scope, X, blocks, bases.fixed)
    spec = DesignSpec(
        formula, family, {}, arguments, dict(scope.states), bases, tuple(own.grouping for own in plan.groups),
        contrasts=scope.contrasts,
    )  # fmt: skip
    return Design(
        spec=spec,
        response=text_of(formula.response),
        y=y,
        X=X,
        coefficients=tuple(name for term in matrix_names(plan.fixed, values) for name in term),
        blocks=blocks,
        trials=None,
        weights=rows if has_weights(sums, residual) else None,
        offset=offset,
        rows=rows,
        row_labels=rows,
        messages=tuple(dict.fromkeys(scope.said)),
        aliased=aliased,
        frame=rows,
        residual=residual,
    )


def _say(
    formula: Formula,
    family: Family,
    plan: Plan,
    values: Values,
    scope: Scope,
    X: SummedMatrix,
    blocks: Sequence[Block],
    basis: TermBasis,
) -> tuple[int, ...]:
    """Keep what there is to say of the whole data; return which columns of X depend on others."""
    sums = X.sums
    if X.shape[1] >= sums.n:
        raise DataError(f"the fixed part has {X.shape[1]:,} coefficients for {sums.n:,} rows; collect so small a table")
    codings = [effects.codings for effects in plan.effects]
    for block, own, coding in zip(blocks, bars_by_group(formula).values(), codings, strict=True):
        check_levels(block.group, block.levels)
        for name, labels in zip(block.factors, plan_labels(plan, block), strict=True):
            say_about_levels(name, labels, (), scope)
        say_about_block(block, own, coding, values, scope, family.has_residual_sd)
    names = [name for term in matrix_names(plan.fixed, values) for name in term]
    intercept = 0 if plan.fixed.intercept else None
    aliased, said = say_about_dependence(X.rows, basis.taken_out(X.rows), names, intercept)
    of_blocks = [message for block in blocks for message in check_block(block, family)]
    scope.said.extend([*said, *remarks(formula, plan.fixed, values, blocks, sums, plan.base)])
    scope.said.extend([*sums_lints(formula, values, blocks, scope.variables), *of_blocks])
    return aliased


def plan_labels(plan: Plan, block: Block) -> tuple[tuple[str, ...], ...]:
    """Return the levels of each column of a block's grouping factor."""
    return next(own.grouping.factor_levels for own in plan.groups if own.grouping.factors == block.factors)
