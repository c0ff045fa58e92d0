"""Columns that have one name, or names that an engine takes for one: a sentence, not the other column's numbers."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError
from tests.lazy_frames import engines, lazy

TWICE = r"column 'x' occurs 2 times in the data; keep one of them"
CASE = r"column 'x' differs from 'X' in case alone, which .* does not tell apart; rename one"


def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame({"y": rng.normal(size=60), "x": rng.normal(size=60), "g": np.arange(60) % 6})


def beside(engine: str, name: str):
    """Return the frame of an engine with one more column, y under another name."""
    if engine == "dask":
        import dask.dataframe

        own = table().assign(z=lambda t: t.y)
        own.columns = ["y", "x", "g", name]
        return dask.dataframe.from_pandas(own, npartitions=2)
    frame = lazy(engine, table())
    if engine == "polars":
        import polars

        return frame.select("y", "x", "g", polars.col("y").alias(name))
    if engine == "duckdb":
        return frame.project(f"*, y AS {name}")
    if engine == "ibis":
        return frame.mutate(**{name: frame.y})
    return frame.select("y", "x", "g", frame["y"].alias(name))


@pytest.mark.parametrize("engine", [engine for engine in engines() if engine != "ibis"])  # it replaces the column
def test_a_column_that_is_there_twice_is_one_sentence(engine):
    with pytest.raises((DataError, FormulaError), match=TWICE) as caught:
        bmm.Model("y ~ x + (1 | g)", beside(engine, "x"))
    assert len(str(caught.value).splitlines()[0]) < 100


@pytest.mark.parametrize("engine", engines())
def test_names_that_differ_in_case_are_told_apart_or_refused(engine):
    if engine == "sqlframe":
        pytest.skip("SQLFrame gives both columns the name X")
    if engine in ("polars", "dask"):
        own = bmm.Model("x ~ X + (1 | g)", beside(engine, "X")).maximize()
        whole = bmm.Model("x ~ y + (1 | g)", table()).maximize()
        assert own.criterion == pytest.approx(whole.criterion, rel=1e-10)
        return
    with pytest.raises(FormulaError, match=CASE):
        bmm.Model("y ~ x + (1 | g)", beside(engine, "X"))


def test_columns_that_the_model_does_not_use_may_stand_twice():
    pytest.importorskip("duckdb")
    own = lazy("duckdb", table()).project("*, y AS u, x AS u")
    point, whole = (bmm.Model("y ~ x + (1 | g)", data).maximize() for data in (own, table()))
    assert point.criterion == pytest.approx(whole.criterion, rel=1e-10)


def test_predictions_of_a_column_that_is_there_twice_are_refused(tmp_path):
    pytest.importorskip("duckdb")
    point = bmm.Model("y ~ x + (1 | g)", lazy("duckdb", table())).maximize()
    for name in ("x", "X"):
        with pytest.raises(DataError, match=r"column 'x' .* in the data; DuckDB needs names that differ"):
            point.predict_to(tmp_path / "p.csv", beside("duckdb", name))
