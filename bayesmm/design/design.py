"""From a formula and a table to the arrays of a mixed model: y, X and one block per grouping factor.

What was learned from the data on the way (levels, contrasts, knots, means) is kept in the design's spec, with which
`design_of` makes the design of another table, and `encode` its right side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bayesmm.design import checks
from bayesmm.design.blocks import bar_columns, bars_by_block, make_blocks
from bayesmm.design.coding import Levels, Values, learn_coding, matrix, matrix_names
from bayesmm.design.contrasts import check_used, given_contrasts
from bayesmm.design.frames import Table, find_columns, missing_text, open_table, to_pandas
from bayesmm.design.groups import find_levels
from bayesmm.design.matrices import read_matrices
from bayesmm.design.members import LEVEL, expanded_columns, member_weights
from bayesmm.design.ordered import by_category, check_identified, check_thresholds
from bayesmm.design.reading import Outcome, Read, check_arguments, offset, read, response, weigh
from bayesmm.design.records import Design
from bayesmm.design.related_levels import Matrix
from bayesmm.design.remarks import remarks
from bayesmm.design.residual.known_covariance import of_rows as matrix_of_rows
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.residual.structures import matrices_of_residuals, residual_columns, residual_rows, residual_terms
from bayesmm.design.responses import (
    check_family,
    check_rows,
    levels_of,
    own_columns,
    residual_columns_of,
    residuals,
    stacked_again,
)
from bayesmm.design.smooth_rows import curves
from bayesmm.design.spec import DataArguments, DesignSpec, Grouping, data_arguments
from bayesmm.design.state import Scope, Transforms
from bayesmm.design.summed import is_summed
from bayesmm.design.term_basis import TermBasis, learn_bases
from bayesmm.design.transforms import check_columns, evaluate, smooth_rows
from bayesmm.design.variables import Variable, read_variable
from bayesmm.errors import DataError
from bayesmm.families.families import get_family
from bayesmm.families.family import Family
from bayesmm.formula.formula import Bar, Column, Formula, column_nodes, text_of
from bayesmm.formula.roles import variables_of
from bayesmm.runtime.messages import Message, Rows


class EncodedBlock(NamedTuple):
    """One grouping factor on other data.

    Attributes
    ----------
    index : int64 array, shape (m,)
        The level of each row among the design's, -1 for a level that the fit did not see.
    labels : array of str, shape (m,)
    Z : float64 array, shape (m, q)
    """

    index: np.ndarray
    labels: np.ndarray
    Z: np.ndarray


@dataclass(frozen=True, eq=False)
class Encoded:
    """Other data, encoded as the design's were.

    Attributes
    ----------
    X : float64 array, shape (m, p)
    offset : float64 array, shape (m,)
    blocks : tuple of EncodedBlock
        In the order of the design's blocks; empty if they were not asked for, those of smooths too.
    row_labels : array, shape (m,)
    messages : tuple of Message
    residual : array, (m,) or (m, k), or None
        What the residual structure reads of each row, where it was asked for and there is one with parameters.
    """

    X: np.ndarray
    offset: np.ndarray
    blocks: tuple[EncodedBlock, ...]
    row_labels: np.ndarray
    messages: tuple[Message, ...]
    residual: np.ndarray | None = None


def make_design(
    formula: Formula,
    data: object,
    *,
    weights: str | Sequence[float] | None = None,
    missing: str = "drop",
    transforms: Transforms | None = None,
    family: str | Family = "gaussian",
    trials: str | Sequence[float] | None = None,
    contrasts: object = None,
    matrices: Mapping[str, object] | None = None,
) -> Design:
    """Evaluate a formula on its first table.

    Parameters
    ----------
    formula : Formula
    data : pandas, polars or pyarrow table, or dict of equally long columns
        Only the columns that the formula names are read, and they are copied.
    weights : str or array, shape (number of rows of `data`,), optional
        A column or values w: see `Design`; rows of weight 0 are left out.
    missing : {"drop", "error"}
        What to do with rows that have a missing value in a column that the model uses.
    transforms : mapping of str to function, optional
        Functions that the formula may call, besides those of the table.
    family : str or Family
    trials : str or array, shape (number of rows of `data`,), optional
        A column or values n, of the binomial family.
    contrasts : mapping of str to str or matrix, optional
        Of factors: see `bayesmm.Model`.
    matrices : mapping of str to table, optional
        The known covariances that the formula names: see `bayesmm.design.matrices`.

    Returns
    -------
    Design

    Raises
    ------
    FormulaError
        A column of the formula is not in the data; the formula's text is shown with the place underlined.
    DataError
        The data cannot be used as the formula asks; the sentence names column, rows or levels.
    """
    family = family if isinstance(family, Family) else get_family(family)
    given, known = given_contrasts(contrasts), _matrices(formula, matrices)
    spec = DesignSpec(formula, family, dict(transforms or {}), DataArguments(missing), contrasts=given, matrices=known)
    design = design_of(spec, data, weights=weights, trials=trials)
    states = design.spec.states.items()
    check_used(given, [expr.name for expr, state in states if isinstance(expr, Column) and isinstance(state, Levels)])
    return design


def _matrices(formula: Formula, given: Mapping[str, object] | None) -> dict[str, Matrix]:
    """Return the known covariances that a formula names, of levels and of rows."""
    return read_matrices(given, relations(formula), {name: not own for name, own in matrices_of_residuals(formula)})


def relations(formula: Formula) -> list[str]:
    """Return the names of the matrices that a formula has, each once."""
    of_rows = (name for name, _ in matrices_of_residuals(formula))
    return list(dict.fromkeys([*(bar.relation for bar in formula.bars if bar.relation), *of_rows]))


def _of_rows(spec: DesignSpec, table: Read) -> DesignSpec:
    """Return the spec with the matrices that have the rows of a table in their order as those of the rows used."""
    own = [name for name, labelled in matrices_of_residuals(spec.formula) if not labelled]
    both = [bar.relation for bar in spec.formula.bars if bar.relation in own]
    if both:
        raise DataError(f"matrices[{both[0]!r}] is of the levels of a factor and of the rows; give two, of two names")
    for name in own if spec.learned else ():
        if (m := len(spec.matrices[name].labels)) != table.total:
            raise DataError(
                f"the matrix {name!r} of the residuals is of the {m:,} rows that the model was made of, and these data "
                f"have {table.total:,}; with a column of labels, fcor({name}, rows = id), other rows are found in it"
            )
    found = {name: matrix_of_rows(name, spec.matrices[name], table.rows, table.total) for name in own}
    return replace(spec, matrices={**spec.matrices, **found}) if own else spec


def design_of(spec: DesignSpec, data: object, *, weights: object = None, trials: object = None) -> Design:
    """Return the design of a table, by a spec that it repeats or, where that has learned nothing yet, completes.

    Parameters
    ----------
    spec : DesignSpec
        Levels, contrasts, knots and means are its own, where it has any; only the levels of the grouping factors are
        those of the table.
    data, weights, trials
        See `make_design`. The spec's own weights and trials are those of another table and are not looked at.

    Returns
    -------
    Design
        With a spec that has all there is to know.

    Raises
    ------
    FormulaError, DataError
        See `make_design`; also for a level or a kind of column that the first table did not have.
    """
    formula, missing = spec.formula, spec.arguments.missing
    check_arguments(missing, formula, weights, trials)
    check_family(formula, spec.family)
    # 1: the columns that the model uses, and the rows that have them all
    table, w = weigh(formula, read(formula, data, weights, trials, missing), spec.transforms)
    spec = _of_rows(spec, table)
    scope = _scope(table, spec)
    # 2: response, offset and the variables of every term
    left, shift = response(formula, spec.family, scope, table.trials, w), offset(formula, scope)
    formula = by_category(formula, left.family)
    checks.check_offset(left.family, left.y, shift, text_of(formula.response))
    values = {expr: evaluate(expr, scope) for expr in variables_of(formula)}
    # 3: the fixed part
    check_thresholds(formula, left.family)
    fixed = learn_coding(formula.intercept, formula.terms, values)
    X, coefficients = checks.checked_matrix(fixed, values, len(left.y), "the fixed part", scope.learning)
    # 4: the residual and the groups
    residual = _residual(formula, left, scope, shift, spec.bases.parameters if spec.learned else {})
    check_identified(X[:, 1:], coefficients[1:], residual, scope.learning)
    blocks, bars, groupings = make_blocks(formula, values, scope, left.family, residual, spec.matrices)
    check_rows(blocks, formula, scope)
    bases = spec.bases if spec.learned else learn_bases(X, fixed, blocks, bars, values)
    bases = replace(bases, parameters={part.formula: part.basis for part in residual.formulas})
    # 5: what the data give cause to say
    whole = bases.fixed if bases.fixed.size == X.shape[1] else bases.fixed.with_intercept()
    aliased, said = checks.check_dependence(X, whole.taken_out(X), fixed, values)
    if left.family.ordered:
        X, coefficients, aliased = X[:, 1:].copy(), coefficients[1:], tuple(j - 1 for j in aliased)
        bases = replace(bases, fixed=whole.without_intercept())
    scope.said.extend([*said, *remarks(formula, fixed, values, blocks, scope, left, residual)])
    return Design(
        spec=_taught(spec, scope, left, formula=formula, bases=bases, groupings=groupings, given=(weights, trials)),
        response=text_of(formula.response),
        y=left.y,
        X=X,
        coefficients=coefficients,
        blocks=blocks,
        trials=left.trials,
        weights=left.weights,
        offset=shift,
        rows=scope.rows.positions,
        row_labels=_labels(scope.rows),
        messages=tuple(scope.said),
        aliased=aliased,
        frame=to_pandas(scope.variables.values(), scope.rows),
        proportions=left.proportions,
        residual=residual,
        limits=left.limits,
    )


def _taught(spec: DesignSpec, scope: Scope, left: Outcome, *, given: tuple, **known: object) -> DesignSpec:
    """Return a spec with all that there is to know; `given` are the table's weights and trials."""
    arguments = data_arguments(spec.arguments.missing, *given)
    states, repeats = dict(scope.states), spec.learned
    return replace(spec, states=states, repeats=repeats, family=left.family, arguments=arguments, **known)


def _residual(
    formula: Formula, left: Outcome, scope: Scope, shift: np.ndarray, known: Mapping[str, TermBasis]
) -> Residuals:
    """Return the residuals' structure: of one response what the formula says, of several that of their rows."""
    if formula.several is None:
        return residual_terms(formula, left.family, scope, left.y, left.weights, known)
    return residuals(formula, scope, left.y, shift)


def given_again(design: Design, weights: object, trials: object) -> dict[str, object]:
    """Return the weights and trials of another table: what is given, else the column that was named for the design's.

    Raises
    ------
    DataError
        They were numbers there, and there are none for the other table.
    """
    own = design.spec.arguments
    given = {"weights": weights, "trials": trials}
    for name in own.values:
        if given[name] is None:
            raise DataError(
                f"the {name} of the model were given as {design.n:,} numbers, which are not those of other data; "
                f"give theirs: with_data(data, {name}=...)"
            )
    return {name: getattr(own, name) if value is None else value for name, value in given.items()}


def encode(
    spec: DesignSpec, data: object, *, groups: bool = True, residual: bool = False, whole: bool = False
) -> Encoded:
    """Return the right side of a table as a design's own was made: the same levels, contrasts, knots, means.

    Parameters
    ----------
    spec : DesignSpec
        Of a design.
    data : table
        As for `make_design`; the response and the weights are not needed. No rows are fine.
    groups : bool
        False leaves out the grouping factors, whose columns are then not needed either.
    residual : bool
        True reads the columns of the residual structure too, which only the sd of a new response needs.
    whole : bool
        True keeps the intercept of ordered categories too, as group terms have it.

    Returns
    -------
    Encoded

    Raises
    ------
    DataError
        A column is missing or of another kind, a value is missing or not finite, or a factor has a level that the data
        of the fit do not have. A level of a grouping factor that the fit did not see is no error: its index is -1.
    """
    formula, table = spec.formula, stacked_again(open_table(data), spec.formula)
    scope = _scope_again(spec, table, groups, residual)
    if table.n == 0:  # an empty column has no kind, so there is nothing to evaluate
        blocks = tuple(EncodedBlock(*_nothing(basis.size)) for basis in spec.bases.blocks if groups)
        return Encoded(np.empty((0, spec.bases.fixed.size)), np.empty(0), blocks, _labels(scope.rows), ())
    values = _values(spec, scope, groups)
    X, shift = _coded(formula, values, table.n), offset(formula, scope)
    X = X[:, 1:] if spec.family.ordered and not whole else X
    own = zip(spec.groupings, bars_by_block(formula), strict=True) if groups else ()
    blocks = tuple(_encoded_block(grouping, bars, values, scope) for grouping, bars in own)
    rows = np.zeros(table.n, dtype=np.int64), np.full(table.n, "curve", dtype=object)
    found = (curve for call in formula.smooths if groups for curve in curves(smooth_rows(call, scope)))
    blocks += tuple(EncodedBlock(*rows, curve.Z) for curve in found)
    read = residual_rows if formula.several is None else residual_columns_of
    own = read(formula, scope) if residual else None
    return Encoded(X, shift, blocks, _labels(scope.rows), tuple(scope.said), own)


def _encoded_block(grouping: Grouping, bars: Sequence[Bar], values: Values, scope: Scope) -> EncodedBlock:
    if grouping.members:
        W, unseen = member_weights(bars[0], grouping, scope)
        codings = [learn_coding(bar.intercept, bar.terms, values) for bar in bars]
        labels = np.where(unseen == "", LEVEL, unseen)
        return EncodedBlock(np.where(unseen == "", 0, -1), labels, expanded_columns(codings, values, W))
    Z = np.hstack([bar_columns(bar, _coded(bar, values, len(scope.rows)), values) for bar in bars])
    return EncodedBlock(*find_levels(grouping, scope.variables), np.ascontiguousarray(Z))


def fixed_names(design: Design) -> list[tuple[str, ...]]:
    """Return the names of the columns of X by the terms that they belong to, an intercept's first."""
    rows = design.X.sums.sample if is_summed(design) else design.frame
    formula, table = design.formula, open_table(rows.head(1))
    values = _values(design.spec, _scope_again(design.spec, table, groups=False), groups=False)
    found = matrix_names(learn_coding(formula.intercept, formula.terms, values), values)
    return found[1:] if design.family.ordered else found


def _scope_again(spec: DesignSpec, table: Table, groups: bool, residual: bool = False) -> Scope:
    """Return what the evaluation of the right side on a table can see, which learns nothing."""
    variables = _read_again(spec.formula, table, groups, residual)
    rows = Rows(np.arange(table.n), table.labels)
    return Scope(variables, rows, spec.transforms, dict(spec.states), learning=False, matrices=spec.matrices)


def _values(spec: DesignSpec, scope: Scope, groups: bool) -> Values:
    """Return the variables of the terms, those of the groups' too if `groups`."""
    if gaps := missing_text(tuple(scope.variables.values()), scope.rows):
        raise DataError(f"{gaps}; other rows have to be complete, so leave these out or fill them in")
    check_columns(scope)
    return {expr: evaluate(expr, scope) for expr in variables_of(spec.formula, groups)}


def _coded(side: Formula | Bar, values: Values, n: int) -> np.ndarray:
    """Return the matrix of an intercept and terms, float64, shape (n, p)."""
    return matrix(learn_coding(side.intercept, side.terms, values), values, n)


def _read_again(formula: Formula, table: Table, groups: bool, residual: bool) -> dict[str, Variable]:
    """Read the columns of the right side."""
    exprs = [
        *variables_of(formula, groups),
        *formula.offsets,
        *((*residual_columns(formula), *own_columns(formula)) if residual else ()),
    ]
    names = dict.fromkeys(node.name for expr in exprs for node in column_nodes(expr))
    grouping = (expr for bar in formula.bars if groups for expr in (*bar.group, *bar.weights))
    names |= dict.fromkeys(node.name for expr in grouping for node in column_nodes(expr))
    places = find_columns(names, table, lambda name, said: DataError(f"column '{name}', which the model needs, {said}"))
    return {name: read_variable(name, table.read(j))[0] for name, j in places.items()}


def _nothing(q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=object), np.empty((0, q))


def _labels(rows: Rows) -> np.ndarray:
    return rows.positions if rows.labels is None else rows.labels


def _scope(table: Read, spec: DesignSpec) -> Scope:
    """Return what the evaluation of the formula on a table can see."""
    checks.check_row_count(table.rows, table.total)
    learned = levels_of(spec.formula) | dict(spec.states), not spec.learned, table.said, spec.contrasts
    scope = Scope(table.variables, table.rows, spec.transforms, *learned, spec.matrices)
    check_columns(scope)
    return scope
