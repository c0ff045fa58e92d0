"""Thirty rows in six groups, and their graph."""

import numpy as np
import pandas as pd
import pytest
from small_graphs import graph_of


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    effects = rng.normal(0, 2, 6)
    g = np.repeat(np.arange(6), 5)
    return pd.DataFrame({"y": 10 + effects[g] + rng.normal(0, 1, 30), "x": rng.normal(0, 1, 30), "g": g})


@pytest.fixture(scope="module")
def graph(frame):
    return graph_of(frame)
