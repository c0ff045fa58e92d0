"""Data that give no cause to say anything, changes to them, and what is said of the change, before any sampling."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design.design import make_design
from bayesmm.errors import DataError
from bayesmm.formula.formula import parse

F = "y ~ x + (1|g)"


def base():
    """Return 24 rows: six groups of four, a number that varies within them, a response with little to remark on."""
    k = np.arange(24)
    return pd.DataFrame(
        {
            "g": np.repeat([f"g{i}" for i in range(6)], 4),
            "x": np.round(np.sin(3.0 * k), 3),
            "y": np.round(40 + 5 * np.cos(7.0 * k), 3),
        }
    )


def design(formula=F, change=None, transforms=(), **options):
    frame = base()
    changed = change(frame) if change else None
    data = frame if changed is None else changed
    return make_design(parse(formula, transforms), data, transforms=dict(transforms), **options)


def put(column, rows, value):
    """Return a change that writes `value` into some rows."""

    def change(d):
        d[column] = d[column].astype(object) if value is None else d[column]
        d.loc[rows, column] = value

    return change


def columns(**new):
    """Return a change that sets columns; functions are called with the frame."""
    return lambda d: d.assign(**new)


def refused(text, formula=F, change=None, error=DataError, **options):
    with pytest.raises(error) as caught:
        design(formula, change, **options)
    assert str(caught.value) == text
    assert not text.split("\n")[0].endswith(".")  # one sentence, without a final stop


def said(level, text, formula=F, change=None, **options):
    """Check that exactly this is said, and return the design."""
    made = design(formula, change, **options)
    assert [(message.level, message.text) for message in made.messages] == [(level, text)]
    return made


def silent(formula=F, change=None, **options):
    """Check that nothing is said, and return the design."""
    made = design(formula, change, **options)
    assert [message.text for message in made.messages] == []
    return made
