"""The first steps of a design: the used columns and rows of the data, the weights, the response, the offset."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.coding import Levels
from bayesmm.design.factors import factor_value, remedy
from bayesmm.design.frames import Table, complete_rows, find_columns, open_table, values_beside
from bayesmm.design.observed import observe
from bayesmm.design.ordered import categories, with_categories
from bayesmm.design.proportions import are_proportions, check_counted_once, counted
from bayesmm.design.residual.structures import with_random_parameters
from bayesmm.design.responses import stacked
from bayesmm.design.state import Scope, Transforms
from bayesmm.design.transforms import numeric
from bayesmm.design.variables import KIND_NAMES, NUMERIC, Variable, observed_levels, read_variable
from bayesmm.errors import DataError, FormulaError, listing, suggest
from bayesmm.families.families import get_family
from bayesmm.families.family import Family
from bayesmm.families.limits import Limits
from bayesmm.families.responses import Response
from bayesmm.formula.formula import (
    Call,
    Column,
    Expr,
    Formula,
    Operation,
    Text,
    arguments_of,
    gives,
    quoted_name,
    text_of,
    underline,
)
from bayesmm.formula.roles import SECOND_END, WEIGHTS, roles
from bayesmm.runtime.messages import Message, Rows, are, count, label_text, note, warning

MISSING = ("drop", "error")
LABELS = ("text", "category", "ordered")  # kinds of columns whose two levels are a yes and a no
LOGARITHMS = ("log", "log2", "log10")
LARGEST_WEIGHT = 1e100  # and the smallest is its inverse: products with squares of the data stay below 1.8e308


def check_arguments(missing: str, formula: Formula, weights: object, trials: object) -> None:
    """Raise a DataError for an unknown `missing`, or for weights or trials that are given twice."""
    if missing not in MISSING:
        raise DataError(f"missing is {missing!r}{suggest(str(missing), MISSING)}; expected 'drop' or 'error'")
    if weights is not None and formula.weights is not None:
        raise DataError("weights are given twice, in the formula and as an argument; give them once")
    if trials is not None and formula.trials is not None:
        raise DataError("trials are given twice, in the formula and as an argument; give them once")


@dataclass(frozen=True, eq=False)
class Read:
    """The used columns and rows of the data.

    Attributes
    ----------
    variables : mapping of str to Variable
        The columns that the formula names, in their complete rows.
    weights : Variable or None
        The weights that were given beside the formula.
    trials : Variable or None
        The trials that were given beside the formula.
    rows : Rows
    total : int
        How many rows the data have.
    said : list of Message
    """

    variables: Mapping[str, Variable]
    weights: Variable | None
    trials: Variable | None
    rows: Rows
    total: int
    said: list[Message]


def read(formula: Formula, data: object, weights: object, trials: object, missing: str) -> Read:
    """Read the columns that a model uses and leave out the rows that miss a value in one of them.

    Parameters
    ----------
    formula : Formula
    data : table
    weights : str, array or None
        As `make_design` takes them; their gaps are no reason to leave out a row.
    trials : str, array or None
        Their gaps are.
    missing : {"drop", "error"}

    Raises
    ------
    FormulaError, DataError
        See `make_design`.
    """
    table, places = open_table(data), roles(formula)
    responses = () if formula.several is None else formula.several.names
    if table.n == 0:
        raise DataError("the data have no rows; a model needs at least two")

    beside = {"weights": weights, "trials": trials}

    def complain(name: str, said: str) -> DataError | FormulaError:
        if name not in places:
            what = next(what for what, given in beside.items() if isinstance(given, str) and given == name)
            return DataError(f"the {what} column '{name}' {said}")
        role, span, text = places[name]
        return underline(text, span, f"{role} '{name}' {said}")

    for what, given in beside.items():
        if responses and given is not None and not isinstance(given, str):
            raise DataError(f"{what} of several responses are a column of the data: give its name")
    table, gaps = stacked(table, formula, missing, complain)
    places = {name: place for name, place in places.items() if name not in responses}
    named = [given for given in beside.values() if isinstance(given, str)]
    columns = {name: table.read(j) for name, j in find_columns([*places, *named], table, complain).items()}
    parts = {name: read_variable(name, column) for name, column in columns.items()}
    w, n = (parts[given][0] if isinstance(given, str) else _given(what, given, table) for what, given in beside.items())
    used = {name: parts[name][0] for name in places}
    rows = Rows(np.arange(table.n), table.labels)
    needed = [v for name, v in used.items() if places[name][0] not in (WEIGHTS, SECOND_END) and v is not w]
    kept, said = complete_rows([*needed, *([n] if n is not None and n not in needed else [])], rows, missing)
    said += [message for name in places for message in parts[name][1]]
    return _taken(Read(used, w, n, rows, table.n, [*gaps, *said]), kept)


def _taken(read: Read, kept: np.ndarray) -> Read:
    """Return the data with these rows only."""
    if kept.all():
        return read
    variables = {name: variable.take(kept) for name, variable in read.variables.items()}
    weights, trials = (None if given is None else given.take(kept) for given in (read.weights, read.trials))
    return replace(read, variables=variables, weights=weights, trials=trials, rows=read.rows.take(kept))


# ----------------------------------------------------------------------------------------------------------------------
# weights


def _given(what: str, values: object, table: Table) -> Variable | None:
    """Return weights or trials that are given as values; one number of trials stands for all rows."""
    if values is None:
        return None
    series = values_beside(table, what, values, single=what == "trials")
    return read_variable(what, series)[0]


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


@dataclass(frozen=True, eq=False)
class Outcome:
    """The left side of a model.

    Attributes
    ----------
    family : Family
        As asked for; bernoulli instead of binomial where there are no trials.
    y : float64 array, shape (n,)
        Whole numbers where the family is discrete; the number of successes beside trials.
    trials : float64 array, shape (n,), or None
    weights : float64 array, shape (n,), or None
        Prior weights; None where they were the trials of proportions.
    proportions : bool
        Whether they were.
    limits : Limits or None
        What is known of a response that is censored or truncated.
    """

    family: Family
    y: np.ndarray
    trials: np.ndarray | None
    weights: np.ndarray | None
    proportions: bool = False
    limits: Limits | None = None


def response(
    formula: Formula, family: Family, scope: Scope, given: Variable | None, weights: np.ndarray | None
) -> Outcome:
    """Return the response, checked by its family, with the trials of a binomial.

    Parameters
    ----------
    formula : Formula
    family : Family
    scope : Scope
    given : Variable or None
        The trials that were given beside the formula.
    weights : float64 array, shape (n,), or None

    Raises
    ------
    DataError
        It holds no numbers, or values that the family cannot have, or it has trials and should not, or twice.
    """
    family = get_family(family.name, family.link) if family.observed else family  # of an earlier table, as it was seen
    if family.scaled is not None and any(own.name in family.formulas for own in formula.scales):
        family = replace(family.scaled, link=family.link)
    expr, trials = _successes(formula, family, scope, given)
    name = text_of(formula.response)
    y, proportions = _values(expr, name, family, scope), False
    if family.every:
        family = with_categories(family, scope.states[expr].labels)
    if trials is not None:
        check_counted_once(trials, weights, name)
    elif family.support.trials:
        proportions = weights is not None and are_proportions(y, scope)
        if proportions:
            (y, trials), weights = counted(y, weights, name, scope), None
        else:
            family = _without_trials(y, name, family, scope)
    if formula.limits:
        family, y, limits = observe(formula, family, scope, y.astype(np.float64), name)
        if weights is not None and not family.gaussian and family.has_residual_sd:
            said = "they count rows, and do not divide the residual variance"
            scope.say(note(f"the weights of a {family.label} response multiply log densities: {said}"))
    else:
        limits = None
    said = family.check_response(Response(y, name, scope.rows, trials, family.support))
    if y.dtype == bool and not family.support.successes and not said:
        what = f"the response '{name}' is true/false, and the {family.label} family takes it as 1 and 0"
        said = [warning(f"{what}; did you mean a bernoulli model?")]
    for message in said:
        scope.say(message)
    y, family = y.astype(np.float64), with_random_parameters(formula, family, weights)
    if not family.discrete:
        return Outcome(family, y, None, weights, limits=limits)
    return Outcome(family, np.rint(y), None if trials is None else np.rint(trials), weights, proportions, limits)


def _successes(
    formula: Formula, family: Family, scope: Scope, given: Variable | None
) -> tuple[Expr, np.ndarray | None]:
    """Return what gives y, and the trials: from y / n, cbind(y, n - y), y | trials(n), or beside the formula."""
    expr, name = formula.response, text_of(formula.response)
    pair = isinstance(expr, Call) and gives(expr) == "response"
    share = isinstance(expr, Operation) and expr.operator == "/" and family.support.trials
    beside = given is not None or formula.trials is not None
    if pair and not family.support.trials:
        counts = f"the response {name} counts successes and failures"
        raise DataError(f"{counts}, and the {family.name} family needs one number per row")
    if beside and not family.support.trials:
        raise DataError(f"trials belong to the binomial family, and the family is {family.name}")
    if beside and (pair or share):
        raise DataError(f"trials are given twice, in the response {name} and beside it; give them once")
    if pair:
        parts = arguments_of(expr)
        successes = numeric(parts["successes"], scope)
        return parts["successes"], successes + numeric(parts["failures"], scope)
    if share:
        return expr.operands[0], numeric(expr.operands[1], scope)
    if given is not None:
        if given.kind not in NUMERIC:
            raise DataError(f"the trials '{given.name}' hold {KIND_NAMES[given.kind]}; expected whole numbers")
        return expr, given.values.astype(np.float64)
    return expr, None if formula.trials is None else numeric(formula.trials, scope)


def _values(expr: Expr, name: str, family: Family, scope: Scope) -> np.ndarray:
    """Return the values of a response, float64 or bool; of two levels the second is 1."""
    variable = scope.variables[expr.name] if isinstance(expr, Column) else None
    if family.ordered:
        return categories(expr, name, variable, family, scope)
    if variable is None:
        return numeric(expr, scope)
    if variable.kind in LABELS and family.support.successes:
        return _second_level(expr, variable, family, scope)
    if variable.kind not in NUMERIC:
        holds = f"the response '{name}' holds {KIND_NAMES[variable.kind]}"
        raise DataError(f"{holds}, and the {family.name} family needs numbers{remedy(variable)}")
    known = scope.state(expr, lambda: variable.kind)
    if isinstance(known, Levels):  # 0 and 1 for the two levels of the first data, as `simulate` gives them
        return variable.values.astype(np.float64)
    return variable.values if variable.kind == "boolean" else numeric(expr, scope)


def _second_level(expr: Column, variable: Variable, family: Family, scope: Scope) -> np.ndarray:
    """Return whether each row has the second of two levels."""
    if not scope.learning:
        return factor_value(expr, variable, scope).codes == 1
    seen = observed_levels(variable)
    levels = variable.levels if len(variable.levels) == 2 else seen.labels
    if len(levels) != 2:
        shown = listing([label_text(label) for label in levels], limit=6)
        raise DataError(
            f"the response '{variable.name}' has {count(len(levels), 'level')} ({shown}), and the {family.name} family "
            f"needs two levels or 0 and 1{remedy(variable)}"
        )
    scope.state(expr, lambda: Levels(tuple(levels)))
    first, second = map(label_text, levels)
    scope.say(
        note(
            f"the model is for the probability that '{variable.name}' is {second} (taken as 1) and not {first} (as 0); "
            f"for the other way round write {quoted_name(variable.name)} == {Text(levels[0]).value!r} ~ ..."
        )
    )
    return np.array([label == levels[1] for label in seen.labels])[seen.codes]


def _without_trials(y: np.ndarray, name: str, family: Family, scope: Scope) -> Family:
    """Return the family of one trial in each row, for a response of 0 and 1 that has no trials."""
    values = y.astype(np.float64)
    if family.of_one_trial and np.isin(values, (0.0, 1.0)).all():
        single = get_family(family.of_one_trial, family.link)
        scope.say(note(f"the response '{name}' has no trials and holds 0 and 1, so the family is {single.name}"))
        return single
    what = "holds proportions" if ((values >= 0) & (values <= 1)).all() else "is not 0 or 1 in every row"
    raise DataError(
        f"the response '{name}' {what} and has no trials; for y successes in n trials write y / n ~ ..., "
        "cbind(y, n - y) ~ ... or y | trials(n) ~ ..., or give trials=..., all without weights; for a column of "
        "proportions y / n give the trials as weights"
    )


def offset(formula: Formula, scope: Scope) -> np.ndarray:
    """Return the sum of the offsets, shape (n,), on the scale of the link; zeros if there is none.

    Raises
    ------
    DataError
        An offset is not finite, as the logarithm of an exposure of 0 is.
    """
    total = np.zeros(len(scope.rows))
    for expr in formula.offsets:
        exposure = arguments_of(expr)["x"] if isinstance(expr, Call) and expr.function in LOGARITHMS else None
        values = None if exposure is None else numeric(exposure, scope)
        if values is not None and (values <= 0).any():
            bad, how = values <= 0, "0" if (values[values <= 0] == 0).all() else "0 or negative"
            raise DataError(
                f"offset({text_of(expr)}): the exposure '{text_of(exposure)}' is {how} in {scope.rows.text(bad)}; "
                "its logarithm needs values above 0"
            )
        total = total + numeric(expr, scope)
    return total
