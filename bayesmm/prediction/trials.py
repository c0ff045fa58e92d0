"""The numbers of trials of a binomial response on other data."""

import numpy as np

from bayesmm.data.messages import count
from bayesmm.design import Design
from bayesmm.errors import DataError, listing
from bayesmm.formula import Column, Operation


def named_trials(design: Design) -> str | None:
    """Return the column that the formula has the trials in; None where they are no single column."""
    formula = design.formula
    found = formula.weights if design.proportions else formula.trials
    if found is None and isinstance(formula.response, Operation) and formula.response.operator == "/":
        found = formula.response.operands[1]
    return found.name if isinstance(found, Column) else None


def trials_of(data: object, trials: object, m: int) -> np.ndarray:
    """Return the trials of a binomial response on other data, float64, (m,).

    Raises
    ------
    DataError
        They are not given, are too many or too few, or are no whole numbers of 0 or more.
    """
    from bayesmm.data.frames import open_table

    if trials is None:
        raise DataError("responses of a binomial model on other data need trials=: a column's name, or the numbers")
    if isinstance(trials, str):
        table = open_table(data)
        if trials not in table.names:
            raise DataError(f"the trials column '{trials}' is not in the data (columns: {listing(table.names)})")
        trials = table.read(table.names.index(trials))
    values = np.asarray(trials, dtype=np.float64)
    values = np.full(m, values) if values.ndim == 0 else values
    if values.shape != (m,):
        raise DataError(f"trials have the shape {values.shape} for {count(m, 'row')}; expected one number for each row")
    if not (np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all():
        raise DataError("trials are whole numbers of 0 or more; the given ones are not")
    return values
