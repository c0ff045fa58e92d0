"""Standard errors and tests of terms know neither where a predictor has its zero nor its unit."""

import functools

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
SECONDS = 86_400.0  # of a day


@functools.cache
def counts():
    rng, group = np.random.default_rng(5), np.repeat(np.arange(20), 12)
    x, effect = np.tile(np.linspace(0, 5.5, 12), 20), 0.4 * rng.normal(size=20)[group]
    zero = rng.random(240) < 1 / (1 + np.exp(2 - 0.5 * x))
    f = rng.integers(0, 3, 240)
    eta = 0.3 + 0.1 * x + 0.3 * f + effect
    return pd.DataFrame(
        {
            "x": x,
            "f": np.array(["a", "b", "c"])[f],
            "g": [f"g{k:02}" for k in group],
            "y": np.where(zero, 0, rng.poisson(np.exp(eta))),
            "rating": 1 + np.digitize(eta + rng.logistic(size=240), [0.0, 1.0, 2.0]),
            "size": eta + rng.normal(size=240),
        }
    )


def in_seconds():
    """The same rows with x as a time since 1970."""
    return counts().assign(x=lambda table: 1.6e9 + SECONDS * table["x"])


def test_standard_errors_of_means_do_not_know_where_a_parameter_s_predictor_has_its_zero():
    formulas = ("y ~ x + f + (1 | g)", "zi ~ x")
    near, far = (bmm.Model(formulas, table, "zero_inflated_poisson").maximize() for table in (counts(), in_seconds()))
    for kind in ("mean", "linear"):
        one, other = (bmm.emmeans(point, "f", kind=kind).table for point in (near, far))
        np.testing.assert_allclose(other[["estimate", "se"]], one[["estimate", "se"]], rtol=1e-4)
    one, other = (bmm.slopes(point, "x").table for point in (near, far))
    np.testing.assert_allclose(other[["estimate", "se"]] * SECONDS, one[["estimate", "se"]], rtol=1e-4)
