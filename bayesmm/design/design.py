"""From a formula and a table to the arrays of a mixed model: y, X and one block per grouping factor.

What was learned from the data on the way (levels, contrasts, knots, means) is kept in the design's encoders, and
`encode` repeats it on later data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesmm.design import checks
from bayesmm.design.blocks import make_blocks
from bayesmm.design.coding import Coding, Values, learn_coding, matrix
from bayesmm.design.frames import Table, find_columns, missing_text, open_table, to_pandas
from bayesmm.design.groups import check_block, find_levels
from bayesmm.design.lints import data_lints
from bayesmm.design.reading import Outcome, Read, check_arguments, offset, read, response, variables_of, weigh
from bayesmm.design.records import Block, Design, Encoders, Learned
from bayesmm.design.state import Scope, Transforms
from bayesmm.design.term_basis import learn_bases
from bayesmm.design.transforms import check_columns, evaluate
from bayesmm.design.variables import Variable, read_variable
from bayesmm.errors import DataError
from bayesmm.families.families import get_family
from bayesmm.families.family import Family
from bayesmm.formula.formula import Formula, column_nodes, text_of
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
        In the order of the design's blocks; empty if they were not asked for.
    row_labels : array, shape (m,)
    messages : tuple of Message
    """

    X: np.ndarray
    offset: np.ndarray
    blocks: tuple[EncodedBlock, ...]
    row_labels: np.ndarray
    messages: tuple[Message, ...]


def make_design(
    formula: Formula,
    data: object,
    *,
    weights: str | Sequence[float] | None = None,
    missing: str = "drop",
    transforms: Transforms | None = None,
    family: str | Family = "gaussian",
    trials: str | Sequence[float] | None = None,
    learned: Learned | None = None,
) -> Design:
    """Evaluate a formula on data.

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
    learned : Learned, optional
        Of an earlier design of the same formula, which this one is to repeat: levels, contrasts, knots and means are
        those; only the levels of the grouping factors are those of the data.

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
    check_arguments(missing, formula, weights, trials)
    # 1: the columns that the model uses, and the rows that have them all
    transforms = dict(transforms or {})
    table, w = weigh(formula, read(formula, data, weights, trials, missing), transforms)
    scope = _scope(table, transforms, learned)
    # 2: response, offset and the variables of every term
    family = family if isinstance(family, Family) else get_family(family)
    left, shift = response(formula, family, scope, table.trials, w), offset(formula, scope)
    checks.check_offset(left.family, left.y, shift, text_of(formula.response))
    values = {expr: evaluate(expr, scope) for expr in variables_of(formula)}
    # 3: the fixed part
    fixed = learn_coding(formula.intercept, formula.terms, values)
    X, coefficients = checks.checked_matrix(fixed, values, len(left.y), "the fixed part", scope.learning)
    # 4: the groups
    blocks, bars, groupings = make_blocks(formula, values, scope, left.family)
    bases = learned.bases if learned else learn_bases(X, fixed, blocks, bars, values)
    # 5: what the data give cause to say
    aliased, said = checks.check_dependence(X, bases.fixed.taken_out(X), fixed, values)
    scope.said.extend([*said, *_remarks(formula, fixed, values, blocks, scope, left)])
    return Design(
        formula=formula,
        response=text_of(formula.response),
        y=left.y,
        X=X,
        coefficients=coefficients,
        blocks=blocks,
        family=left.family,
        trials=left.trials,
        weights=left.weights,
        offset=shift,
        rows=scope.rows.positions,
        row_labels=_labels(scope.rows),
        encoders=Encoders(dict(scope.states), transforms, fixed, bars, groupings, bases, learned is not None),
        messages=tuple(scope.said),
        aliased=aliased,
        frame=to_pandas(scope.variables.values(), scope.rows),
        proportions=left.proportions,
    )


def check_same_rows(first: Design, second: Design, who: str, what: str) -> None:
    """Raise a DataError unless two designs have as many rows and the same response, row for row.

    Parameters
    ----------
    first, second : Design
    who, what : str
        For the sentence: who is compared ("the fits"), and what of theirs ("likelihoods").
    """
    if first.n != second.n:
        raise DataError(
            f"{who} use different rows ({first.n:,} and {second.n:,}), so that their {what} cannot be compared; give "
            "both data without missing values in any column that either uses"
        )
    if not (first.response == second.response and np.array_equal(first.y, second.y)):
        raise DataError(
            f"{who} have different responses ({first.response!r} and {second.response!r}, row by row), so that their "
            f"{what} cannot be compared"
        )


def same_column(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Return whether two columns of weights or trials are the same, or both missing."""
    return (a is None) == (b is None) and (a is None or np.array_equal(a, b))


def encode(design: Design, data: object, *, groups: bool = True) -> Encoded:
    """Encode other data as the design's own were: the same levels, contrasts, knots, means.

    Parameters
    ----------
    design : Design
    data : table
        As for `make_design`; the response and the weights are not needed. No rows are fine.
    groups : bool
        False leaves out the grouping factors, whose columns are then not needed either.

    Returns
    -------
    Encoded

    Raises
    ------
    DataError
        A column is missing or of another kind, a value is missing or not finite, or a factor has a level that the data
        of the fit do not have. A level of a grouping factor that the fit did not see is no error: its index is -1.
    """
    formula, encoders = design.formula, design.encoders
    table = open_table(data)
    variables = _read_again(formula, table, groups)
    rows = Rows(np.arange(table.n), table.labels)
    if table.n == 0:  # an empty column has no kind, so there is nothing to evaluate
        blocks = tuple(EncodedBlock(*_nothing(len(block.columns))) for block in design.blocks if groups)
        return Encoded(np.empty((0, design.p)), np.empty(0), blocks, _labels(rows), ())
    if gaps := missing_text(tuple(variables.values()), rows):
        raise DataError(gaps)
    scope = Scope(variables, rows, encoders.transforms, dict(encoders.states), learning=False)
    check_columns(scope)
    values = {expr: evaluate(expr, scope) for expr in variables_of(formula, groups)}
    X, shift = matrix(encoders.fixed, values, table.n), offset(formula, scope)
    blocks = tuple(
        EncodedBlock(*find_levels(grouping, variables), _stack(codings, values, table.n))
        for grouping, codings in zip(encoders.groupings, encoders.bars, strict=True)
        if groups
    )
    return Encoded(X, shift, blocks, _labels(rows), tuple(scope.said))


def _read_again(formula: Formula, table: Table, groups: bool) -> dict[str, Variable]:
    """Read the columns of the right side."""
    exprs = [*variables_of(formula, groups), *formula.offsets]
    names = dict.fromkeys(node.name for expr in exprs for node in column_nodes(expr))
    names |= dict.fromkeys(column.name for bar in formula.bars for column in bar.group) if groups else {}
    places = find_columns(names, table, lambda name, said: DataError(f"column '{name}', which the model needs, {said}"))
    return {name: read_variable(name, table.read(j))[0] for name, j in places.items()}


def _nothing(q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=object), np.empty((0, q))


def _labels(rows: Rows) -> np.ndarray:
    return rows.positions if rows.labels is None else rows.labels


def _stack(codings: Sequence[Coding], values: Values, n: int) -> np.ndarray:
    return np.ascontiguousarray(np.hstack([matrix(coding, values, n) for coding in codings]))


def _scope(table: Read, transforms: Transforms, learned: Learned | None) -> Scope:
    """Return what the evaluation of the formula on a table can see."""
    checks.check_row_count(table.rows, table.total)
    states = dict(learned.states) if learned else {}
    scope = Scope(table.variables, table.rows, transforms, states, learned is None, table.said)
    check_columns(scope)
    return scope


def _remarks(
    formula: Formula, fixed: Coding, values: Values, blocks: Sequence[Block], scope: Scope, left: Outcome
) -> list[Message]:
    columns = [(v.name, v.values.astype(np.float64)) for v in _numeric_columns(formula, scope)]
    said = [
        *checks.say_about_scales(fixed, values),
        *checks.say_about_codes(columns),
        *checks.say_about_outliers(columns, scope.rows),
    ]
    of_blocks = [message for block in blocks for message in check_block(block, left.family, left.trials)]
    return [*said, *data_lints(formula, values, blocks, scope.variables), *of_blocks]


def _numeric_columns(formula: Formula, scope: Scope) -> list[Variable]:
    """Return the numeric columns of response and terms, not those that only group."""
    exprs = [formula.response, *variables_of(formula)]
    names = dict.fromkeys(node.name for expr in exprs for node in column_nodes(expr))
    return [scope.variables[name] for name in names if scope.variables[name].kind == "number"]
