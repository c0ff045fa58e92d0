"""On every engine that is installed: estimates, standard errors and random effects to 1e-8, draws to 1e-6.

Slow, Spark most of all: each of its queries takes a second or two. The others have quicker tests of their own.
"""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from tests.lazy_frames import engines, lazy, messy

pytestmark = pytest.mark.slow
MESSY = "y ~ x*f + ns(z, df = 4) + C(h, Sum) + offset(o) + (1 + x | g) + (1 | g:s) + (0 + h | s)"
RATINGS = "y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept) + (1 | dept:service)"


def ratings(n: int = 4000) -> pd.DataFrame:
    """Return ratings of lecturers by students, as InstEval's: crossed factors, each cell once or twice, most never."""
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"s": rng.integers(1, 700, n), "d": rng.integers(1, 260, n), "service": rng.integers(0, 2, n)})
    table["dept"], table["service"] = "dept" + (table.d % 14).astype(str), np.where(table.service == 1, "1", "0")
    s, d, dept = rng.normal(0, 0.33, 701), rng.normal(0, 0.52, 261), rng.normal(0, 0.1, 14)
    noise = rng.normal(0, 1.18, n)
    latent = 3.2 - 0.07 * (table.service == "1") + s[table.s] + d[table.d] + dept[table.d % 14] + noise
    return table.assign(y=latent.round().clip(1, 5))


@pytest.fixture(scope="module", params=["messy", "ratings"])
def expected(request):
    """Return a formula, a table, weights, and what the table in memory gives."""
    formula, table, weights = (MESSY, messy(1500), "w") if request.param == "messy" else (RATINGS, ratings(), None)
    return formula, table, weights, bmm.Model(formula, table, weights=weights).maximize()


def difference(found, expected) -> float:
    """Return the largest difference, relative to the largest entry of each column."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    assert (np.isnan(found) == np.isnan(expected)).all()
    return float(np.nanmax(np.abs(found - expected)) / np.nanmax(np.abs(expected)))


@pytest.mark.parametrize("engine", engines("pyspark"))
def test_reml_is_that_of_the_table(engine, expected):
    formula, table, weights, whole = expected
    own = bmm.Model(formula, lazy(engine, table), weights=weights).maximize()
    assert abs(own.criterion / whole.criterion - 1) < 1e-11
    assert list(own.fixef().index) == list(whole.fixef().index)
    for column in ("estimate", "se"):
        assert difference(own.fixef()[column], whole.fixef()[column]) < 1e-8
    assert difference(own.varcorr().sdcor, whole.varcorr().sdcor) < 1e-8
    assert list(own.ranef().grp) == list(whole.ranef().grp)
    for column in ("condval", "condsd"):
        assert difference(own.ranef()[column], whole.ranef()[column]) < 1e-8


@pytest.mark.parametrize("engine", engines("pyspark"))
def test_draws_of_one_seed_are_those_of_the_table(engine):
    formula, table = "y ~ x + f + (1 + x | g)", messy(1500)
    whole, own = (
        bmm.Model(formula, data)
        .sample(draws=100, chains=2, seed=3, sampler="importance", progress=False)
        .tree["posterior"]
        .to_dataset()
        for data in (table, lazy(engine, table))
    )
    for name in whole.data_vars:
        assert difference(own[name], whole[name]) < 1e-6, name
