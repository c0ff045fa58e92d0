"""The numbers of trials of a binomial response on other data."""

import numpy as np

from bayesmm.design.frames import find_columns, open_table, values_beside
from bayesmm.design.records import Design
from bayesmm.design.variables import KIND_NAMES, NUMERIC, read_variable
from bayesmm.errors import DataError
from bayesmm.formula.formula import Column, Operation
from bayesmm.runtime.messages import Rows


def named_trials(design: Design) -> str | None:
    """Return the column that the formula has the trials in; None where they are no single column."""
    formula = design.formula
    found = formula.weights if design.proportions else formula.trials
    if found is None and isinstance(formula.response, Operation) and formula.response.operator == "/":
        found = formula.response.operands[1]
    return found.name if isinstance(found, Column) else None


def trials_of(data: object, trials: object) -> np.ndarray:
    """Return the trials of a binomial response on other data, float64, one for each row.

    Raises
    ------
    DataError
        They are not given, are too many or too few, or are no whole numbers of 0 or more.
    """
    if trials is None:
        raise DataError("responses of a binomial model on other data need trials=: a column's name, or the numbers")
    table = open_table(data)
    if isinstance(trials, str):
        places = find_columns([trials], table, lambda name, said: DataError(f"the trials column '{name}' {said}"))
        series = table.read(places[trials])
    else:
        series = values_beside(table, "trials", trials, single=True)
    given = read_variable("trials", series)[0]
    if given.kind not in NUMERIC:
        raise DataError(f"the trials hold {KIND_NAMES[given.kind]}; expected whole numbers of 0 or more")
    values = np.where(given.missing, np.nan, given.values.astype(np.float64))
    bad = ~(np.isfinite(values) & (values >= 0) & (values == np.floor(values)))
    if bad.any():
        where = Rows(np.arange(table.n), table.labels).text(bad)
        raise DataError(f"trials are whole numbers of 0 or more, and are missing or something else in {where}")
    return values
