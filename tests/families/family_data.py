"""Small data for models of every family."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError

N, GROUPS = 24, 6


def table(**columns):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=N),
            "g": np.repeat([f"g{i}" for i in range(GROUPS)], N // GROUPS),
            "n": np.full(N, 8),
            "row": np.arange(N),
        }
    )
    return frame.assign(**columns)


def counts(seed=1, mean=3.0):
    return np.random.default_rng(seed).poisson(mean, N)


def coin(seed=1):
    return np.random.default_rng(seed).integers(0, 2, N)


def changed(values, row, value):
    values = np.array(values, dtype=float)
    values[row] = value
    return values


def make(y, family, formula="y ~ x + (1 | g)", **more):
    columns = {key: more.pop(key) for key in ("n", "e", "t") if key in more}
    return bmm.Model(formula, table(y=y, **columns), family, **more)


def refusal(y, family, formula="y ~ x + (1 | g)", **more):
    with pytest.raises(DataError) as error:
        make(y, family, formula, **more)
    text = str(error.value)
    assert "\n" not in text
    return text


def said(model, level=None):
    return [message.text for message in model.design.messages if level in (None, message.level)]
