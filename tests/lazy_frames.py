"""Lazy frames of one table by every engine that is installed, and a table with everything that a formula can meet."""

import importlib.util
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ENGINES = ("polars", "duckdb", "dask", "ibis", "sqlframe")


def installed(engine: str) -> bool:
    """Return whether an engine, and what its frames are made with here, can be imported."""
    needed = {"ibis": ("ibis", "duckdb"), "sqlframe": ("sqlframe", "duckdb")}.get(engine, (engine,))
    if engine == "pyspark" and shutil.which("java") is None:
        return False
    return all(importlib.util.find_spec(name) for name in needed)


def engines(*slow: str) -> list:
    """Return the installed engines as parameters, and of the `slow` ones too; what they warn of inside is theirs."""
    quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
    return [pytest.param(engine, marks=quiet) for engine in (*ENGINES, *slow) if installed(engine)]


def lazy(engine: str, table: pd.DataFrame):
    """Return a table as a lazy frame of an engine."""
    if engine == "polars":
        import polars

        return polars.from_pandas(table).lazy()
    if engine == "dask":
        import dask.dataframe

        return dask.dataframe.from_pandas(table, npartitions=3)
    import polars

    if engine == "duckdb":
        import duckdb

        return duckdb.connect().from_arrow(polars.from_pandas(table).to_arrow())
    path = Path(tempfile.mkdtemp()) / "table.parquet"
    polars.from_pandas(table).write_parquet(path)
    if engine == "pyspark":
        from pyspark.sql import SparkSession

        quiet = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        quiet = quiet.config("spark.sql.shuffle.partitions", "2")  # 200 by default, each a task of its own
        return quiet.config("spark.log.level", "ERROR").getOrCreate().read.parquet(str(path))
    if engine == "ibis":
        import ibis

        return ibis.duckdb.connect().read_parquet(str(path))
    from sqlframe.duckdb import DuckDBSession

    return DuckDBSession().read.parquet(str(path))


def messy(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Return crossed and nested factors, an interaction, a curve, gaps, weights and an offset."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "x": rng.normal(50, 2, n),
            "z": rng.uniform(0, 10, n),
            "f": rng.choice(list("abc"), n),
            "h": rng.choice(["u", "v"], n),
            "yes": rng.random(n) < 0.3,
            "g": rng.integers(1, 41, n),
            "s": rng.choice([f"s{i}" for i in range(15)], n),
            "w": rng.uniform(0.5, 2, n),
            "o": rng.normal(size=n),
        }
    )
    effects = rng.normal(size=41)
    table["y"] = 0.3 * table.x + effects[table.g] + np.sin(table.z) + table.o + rng.normal(size=n) / np.sqrt(table.w)
    table.loc[[5, 17], "x"] = np.nan
    table.loc[9, "f"] = None
    return table
