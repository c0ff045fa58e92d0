"""The first steps of a design: the used columns and rows of the data, the weights, the response, the offset."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bayesmm.data.factors import remedy
from bayesmm.data.frames import complete_rows, find_columns, open_table
from bayesmm.data.messages import Message, Rows, are, count, note
from bayesmm.data.scope import Scope, Transforms
from bayesmm.data.transforms import numeric
from bayesmm.data.variables import KIND_NAMES, NUMERIC, Variable, read_variable
from bayesmm.errors import DataError, FormulaError, suggest
from bayesmm.families import Family
from bayesmm.formula import Call, Column, Expr, Formula, column_nodes, gives, text_of, underline

MISSING = ("drop", "error")
WEIGHTS = "weights column"
LARGEST_WEIGHT = 1e100  # and the smallest is its inverse: products with squares of the data stay below 1.8e308


def check_arguments(missing: str, formula: Formula, weights: object) -> None:
    """Raise a DataError for an unknown `missing`, or for weights that are given twice."""
    if missing not in MISSING:
        raise DataError(f"missing is {missing!r}{suggest(str(missing), MISSING)}; expected 'drop' or 'error'")
    if weights is not None and formula.weights is not None:
        raise DataError("weights are given twice, in the formula and as an argument; give them once")


def variables_of(formula: Formula, groups: bool = True) -> list[Expr]:
    """Return every variable of the terms, those of the bars too if `groups`, each once."""
    terms = [*formula.terms, *(term for bar in formula.bars if groups for term in bar.terms)]
    return list(dict.fromkeys(expr for term in terms for expr in term.factors))


def _places(formula: Formula) -> dict[str, tuple[str, tuple[int, int]]]:
    """Return what each column is in the formula (for messages) and where it first stands."""
    places: dict[str, tuple[str, tuple[int, int]]] = {}
    parts = [
        ("response", [formula.response]),
        ("column", [*variables_of(formula), *formula.offsets]),
        ("grouping factor", [column for bar in formula.bars for column in bar.group]),
        (WEIGHTS, [formula.weights] if formula.weights is not None else []),
    ]
    for role, exprs in parts:
        for node in (node for expr in exprs for node in column_nodes(expr)):
            places.setdefault(node.name, (role, node.span))
    return places


@dataclass(frozen=True, eq=False)
class Read:
    """The used columns and rows of the data.

    Attributes
    ----------
    variables : mapping of str to Variable
        The columns that the formula names, in their complete rows.
    weights : Variable or None
        The weights that were given beside the formula.
    rows : Rows
    total : int
        How many rows the data have.
    said : list of Message
    """

    variables: Mapping[str, Variable]
    weights: Variable | None
    rows: Rows
    total: int
    said: list[Message]


def read(formula: Formula, data: object, weights: object, missing: str) -> Read:
    """Read the columns that a model uses and leave out the rows that miss a value in one of them.

    Parameters
    ----------
    formula : Formula
    data : table
    weights : str, array or None
        As `make_design` takes them; their gaps are no reason to leave out a row.
    missing : {"drop", "error"}

    Raises
    ------
    FormulaError, DataError
        See `make_design`.
    """
    table, places = open_table(data), _places(formula)
    if table.n == 0:
        raise DataError("the data have no rows; a model needs at least two")

    def complain(name: str, said: str) -> DataError | FormulaError:
        if name not in places:
            return DataError(f"the weights column '{name}' {said}")
        role, span = places[name]
        return underline(formula.text, span, f"{role} '{name}' {said}")

    named = [weights] if isinstance(weights, str) else []
    columns = {name: table.read(j) for name, j in find_columns([*places, *named], table, complain).items()}
    parts = {name: read_variable(name, column) for name, column in columns.items()}
    given = parts[weights][0] if named else _given_weights(weights, table.n)
    used = {name: parts[name][0] for name in places}
    rows = Rows(np.arange(table.n), table.labels)
    needed = [v for name, v in used.items() if places[name][0] != WEIGHTS and v is not given]
    kept, said = complete_rows(needed, rows, missing)
    said += [message for name in places for message in parts[name][1]]
    return _taken(Read(used, given, rows, table.n, said), kept)


def _taken(read: Read, kept: np.ndarray) -> Read:
    """Return the data with these rows only."""
    if kept.all():
        return read
    variables = {name: variable.take(kept) for name, variable in read.variables.items()}
    weights = None if read.weights is None else read.weights.take(kept)
    return replace(read, variables=variables, weights=weights, rows=read.rows.take(kept))


# ----------------------------------------------------------------------------------------------------------------------
# weights


def _given_weights(weights: object, n: int) -> Variable | None:
    if weights is None:
        return None
    values = np.asarray(weights)
    if values.ndim != 1 or len(values) != n:
        given = count(values.size, "weight") if values.ndim == 1 else f"weights of shape {values.shape}"
        raise DataError(f"{given} for {count(n, 'row')}; expected one weight for each row of the data")
    return read_variable("weights", pd.Series(values))[0]


def weigh(formula: Formula, read: Read, transforms: Transforms) -> tuple[Read, np.ndarray | None]:
    """Return the weights, float64, shape (n,), or None, and the data without the rows of weight 0.

    Raises
    ------
    DataError
        A weight is negative, missing or infinite.
    """
    if read.weights is None and formula.weights is None:
        return read, None
    w, what = _weights(formula, read, transforms)
    bad = ~(np.isfinite(w) & (w >= 0))
    if bad.any():
        signs = {"missing": np.isnan(w), "negative": w < 0, "infinite": np.isinf(w)}
        how = next((sign for sign, holds in signs.items() if holds[bad].all()), "negative, missing or infinite")
        raise DataError(f"{what} are {how} in {read.rows.text(bad)}; expected numbers of 0 or more")
    far = (w > 0) & ((w > LARGEST_WEIGHT) | (w < 1 / LARGEST_WEIGHT))
    if far.any():
        raise DataError(
            f"{what} are outside {1 / LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g} in {read.rows.text(far)}; "
            "take another unit"
        )
    zero = w == 0
    if not zero.any():
        return read, w
    lost = int(zero.sum())
    read.said.append(note(f"{count(lost, 'row')} of weight 0 {are(lost)} left out: {read.rows.text(zero)}"))
    return _taken(read, ~zero), w[~zero]


def _weights(formula: Formula, read: Read, transforms: Transforms) -> tuple[np.ndarray, str]:
    """Return the weights as numbers, NaN where missing, and what a message calls them."""
    given = read.weights
    if given is None:
        scope = Scope(read.variables, read.rows, transforms)
        return numeric(formula.weights, scope), f"the weights '{text_of(formula.weights)}'"
    if given.kind not in NUMERIC:
        raise DataError(f"the weights '{given.name}' hold {KIND_NAMES[given.kind]}; expected numbers of 0 or more")
    what = "the weights" if given.name == "weights" else f"the weights '{given.name}'"
    return np.where(given.missing, np.nan, given.values.astype(np.float64)), what


# ----------------------------------------------------------------------------------------------------------------------
# response and offset


def response(formula: Formula, family: Family, scope: Scope) -> np.ndarray:
    """Return the response, float64, shape (n,), checked by its family.

    Raises
    ------
    DataError
        It holds no numbers, or values that the family can not have.
    """
    expr, name = formula.response, text_of(formula.response)
    if isinstance(expr, Call) and gives(expr) == "response":
        counts = f"the response {name} counts successes and failures"
        raise DataError(f"{counts}, and the {family.name} family needs one number per row")
    if isinstance(expr, Column) and scope.variables[expr.name].kind not in NUMERIC:
        variable = scope.variables[expr.name]
        holds = f"the response '{name}' holds {KIND_NAMES[variable.kind]}"
        raise DataError(f"{holds}, and the {family.name} family needs numbers{remedy(variable)}")
    boolean = isinstance(expr, Column) and scope.variables[expr.name].kind == "boolean"
    y = scope.variables[expr.name].values if boolean else numeric(expr, scope)
    for message in family.check_response(y, name):
        scope.say(message)
    return y.astype(np.float64)


def offset(formula: Formula, scope: Scope) -> np.ndarray:
    """Return the sum of the offsets, shape (n,), on the scale of the link; zeros if there is none."""
    return sum((numeric(expr, scope) for expr in formula.offsets), start=np.zeros(len(scope.rows)))
