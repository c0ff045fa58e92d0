"""What a response on other data is drawn with: a binomial's numbers of trials, the limits of a truncated one."""

import numpy as np

from bayesmm.design.frames import find_columns, open_table, values_beside
from bayesmm.design.records import Design
from bayesmm.design.variables import KIND_NAMES, NUMERIC, read_variable
from bayesmm.errors import DataError
from bayesmm.families.limits import Limits
from bayesmm.formula.formula import Column, Operation, text_of
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


def limits_again(design, rows: int, own: bool) -> Limits:
    """Return the limits of truncated responses of these rows, the design's own ones or others.

    Raises
    ------
    DataError
        They are of other data, and the limits differ between the design's rows.
    """
    limits = design.limits
    if own or not limits.truncated:
        return limits if own else Limits(np.full(rows, np.nan))
    if np.ptp(np.nan_to_num(limits.low)) > 0 or np.ptp(np.nan_to_num(limits.high)) > 0:
        raise DataError(
            f"{text_of(design.formula.trunc)} differs between the rows of the fit, so that the limits of responses of "
            "other data are not known; use kind='mean', which is of the response before truncation"
        )
    return Limits(np.full(rows, np.nan), np.full(rows, limits.low[0]), np.full(rows, limits.high[0]))
