"""A hundred million rows and more from Parquet, with known truth: time of each step, peak memory, accuracy.

    python -m benchmarks.large_data make big --rows 1e8 --groups 1e6              # y ~ x + (1 + x | g), 1.3 GB
    python -m benchmarks.large_data make crossed --rows 1e8 --groups 5000 --crossed 1000
    python -m benchmarks.large_data run big --memory 1GB                          # REML, then 4,000 independent draws
    python -m benchmarks.large_data run crossed --memory 1GB --engine polars
    python -m benchmarks.large_data accuracy big --memory 1GB --shift 1e6         # means of 1e6 standard deviations

Rows are made by DuckDB from `range()`: every number follows from a hash of the number of the row, so that they are the
same whatever the threads are. The truth is in `TRUTH`; `run` says how many standard errors the estimates are from it. x
and y are multiples of 2^-20, so that adding 2^k to them is exact: `accuracy` fits both, adding as it reads, and what
does not depend on the origin (slope, standard error, sds, likelihood) must be the same. The exit status is 1 where it
is not to 1e-8, or where an estimate is more than 4 standard errors from the truth.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TRUTH = {"Intercept": 2.0, "x": 0.5, "sd(g)": 0.8, "sd(x | g)": 0.3, "cor(g)": 0.5, "sd(h)": 0.6, "sigma": 1.0}
MOST_ERRORS, MOST_DIFFERENCE = 4.0, 1e-8
PART = 10_000_000  # rows of a file
MACROS = """
CREATE MACRO unit(i, k) AS ((hash(i * 16 + k) >> 11)::DOUBLE + 0.5) / 9007199254740992.0;
CREATE MACRO gauss(i, k) AS sqrt(-2 * ln(unit(i, k))) * cos(2 * pi() * unit(i, k + 1));
CREATE MACRO short(v) AS round(v * 1048576) / 1048576;
"""
ROWS = """
COPY (
    WITH made AS (
        SELECT i, (hash(i * 16 + 9) % {groups})::INTEGER AS g, (hash(i * 16 + 10) % {levels})::INTEGER AS h,
               short(gauss(i, 1)) AS x
        FROM range({first}, {last}) t(i)
    )
    SELECT g, {h} x,
           short(2 + 0.5 * x + 0.8 * gauss(-g - 1, 1) + {crossed}
                 + 0.3 * (0.5 * gauss(-g - 1, 1) + sqrt(0.75) * gauss(-g - 1, 3)) * x + gauss(i, 5)) AS y
    FROM made
) TO '{path}' (FORMAT parquet)
"""
LIMIT = """
SELECT g, count(*), sum(x), sum(y), sum(x * x), sum(x * y), sum(y * y), sum(x * x * x), sum(x * x * y), sum(x * y * y)
FROM rows GROUP BY g
"""


@dataclass
class Steps:
    """The seconds of each step, by the clock and of all threads."""

    taken: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        clock, processor = time.perf_counter(), time.process_time()
        yield
        self.taken[name] = time.perf_counter() - clock, time.process_time() - processor
        print(f"{name:40} {self.taken[name][0]:8.1f} s, processor {self.taken[name][1]:8.1f} s", flush=True)


def connect(memory: str | None = None, threads: int = 2):
    """Return a connection of DuckDB."""
    import duckdb

    connection = duckdb.connect()
    connection.sql(f"SET threads = {threads}")
    if memory:
        connection.sql(f"SET memory_limit = '{memory}'")
        spilled = Path(tempfile.gettempdir()) / "large_data_spilled"  # else .tmp in the current folder
        connection.sql(f"SET temp_directory = '{spilled}'")
    return connection


def make(folder: Path, rows: int, groups: int, crossed: int = 0) -> None:
    """Write rows into Parquet files of ten million each."""
    folder.mkdir(parents=True)
    connection = connect()
    connection.sql(MACROS)
    own = dict(
        groups=groups,
        levels=max(crossed, 1),
        h="h," if crossed else "",
        crossed="0.6 * gauss(-h::BIGINT - 1000000007, 1)" if crossed else "0",
    )
    for k, first in enumerate(range(0, rows, PART)):
        path = folder / f"part{k:04}.parquet"
        connection.sql(ROWS.format(first=first, last=min(first + PART, rows), path=path, **own))
    size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    print(f"{folder}: {rows:,} rows, {size / 1e9:.2f} GB of Parquet")


def opened(folder: Path, engine: str, memory: str | None):
    """Return the rows as a lazy frame, and what times the engine's own sums of them."""
    if engine == "polars":
        import polars as pl

        frame = pl.scan_parquet(folder / "*.parquet")
        sums = [pl.len(), *(pl.col(a).sum() for a in "xy"), (pl.col("x") * pl.col("y")).sum().alias("xy")]
        return frame, lambda: frame.group_by("g").agg(*sums).collect(engine="streaming")
    connection = connect(memory)
    rows = connection.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet', can_have_nan = true)")

    def limit() -> None:
        rows.query("rows", LIMIT).fetchnumpy()

    return rows, limit


def run(folder: Path, engine: str, memory: str | None, draws: int) -> bool:
    """Fit by REML and draw from the posterior; return whether the truth is within 4 standard errors."""
    import bayesmm as bmm

    rows, limit = opened(folder, engine, memory)
    formula = "y ~ x + (1 + x | g)" + (" + (1 | h)" if "h" in rows.columns else "")
    steps = Steps()
    with steps.of("the engine's own GROUP BY"):
        limit()
    with steps.of("two passes"):
        model = bmm.Model(formula, rows)
    with steps.of("REML"):
        point = model.maximize()
    print(point)
    if draws:
        with steps.of(f"{draws:,} independent draws"):
            fit = model.sample(draws=draws // 4, sampler="importance", seed=1, keep_effects=False, progress=False)
        print(fit)
    passes, own = (steps.taken[name][1] for name in ("two passes", "the engine's own GROUP BY"))
    print(
        f"rows per second: {model.design.n / steps.taken['two passes'][0]:,.0f}; processor: {passes / own:.1f} times it"
    )
    print(f"peak memory of the process: {peak() / 1e9:.2f} GB")
    return near_truth(point)


def peak() -> float:
    """Return the largest memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


def near_truth(point) -> bool:
    """Print how many standard errors the estimates are from the truth; sds have sd / sqrt(2 levels) about as theirs."""
    fixed, levels = point.fixef(), {block.group: len(block.levels) for block in point.design.blocks}
    rows = [(name, fixed.estimate[name], fixed.se[name]) for name in ("Intercept", "x")]
    between = np.sqrt(sum(TRUTH[name] ** 2 / levels[name[3]] for name in ("sd(g)", "sd(h)") if name[3] in levels))
    rows[0] = ("Intercept", rows[0][1], max(rows[0][2], between))
    known = {("g", "Intercept", ""): "sd(g)", ("g", "x", ""): "sd(x | g)", ("h", "Intercept", ""): "sd(h)"}
    for one in point.varcorr().fillna("").itertuples():
        name = known.get((one.grp, one.var1, one.var2))
        if name:
            rows.append((name, one.sdcor, point_error(point, TRUTH[name], one.var1, levels[one.grp])))
        elif one.grp == "g":
            rows.append(("cor(g)", one.sdcor, 3 * (1 - TRUTH["cor(g)"] ** 2) / np.sqrt(levels["g"])))
    rows.append(("sigma", point.sigma, TRUTH["sigma"] / np.sqrt(2 * point.design.n)))
    far = [(estimate - TRUTH[name]) / error for name, estimate, error in rows]
    for (name, estimate, error), errors in zip(rows, far, strict=True):
        print(f"{name:12} {estimate:12.6f}  truth {TRUTH[name]:6.2f}  {errors:6.2f} standard errors of {error:.2g}")
    return max(map(abs, far)) < MOST_ERRORS


def point_error(point, sd: float, term: str, levels: int) -> float:
    """Return about the standard error of an sd: that of `levels` effects which are known but for the residual."""
    per_level = point.design.n / levels
    noise = point.sigma**2 / per_level
    return (sd**2 + noise) / (sd * np.sqrt(2 * levels))


def accuracy(folder: Path, rows: int, shift: float, memory: str | None) -> bool:
    """Fit rows, and the same rows with a number added to x and y; return whether both give the same to 1e-8."""
    import bayesmm as bmm

    points = []
    if not folder.exists():
        make(folder, rows, max(rows // 100, 10))
    for own in (0.0, 2.0 ** round(np.log2(shift))):
        frame, _ = opened(folder, "duckdb", memory)
        steps = Steps()
        with steps.of(f"added {own:,.0f}"):
            moved = frame.project(f"g, x + {own}::DOUBLE AS x, y + {own}::DOUBLE AS y") if own else frame
            points.append(bmm.Model("y ~ x + (1 | g)", moved).maximize())
    near, far = (
        np.array([p.fixef().estimate["x"], p.fixef().se["x"], *p.varcorr().sdcor, p.criterion]) for p in points
    )
    names = ("slope", "its standard error", "sd(g)", "sigma", "REML criterion")
    for name, one, other in zip(names, near, far, strict=True):
        print(f"{name:20} {one:.15g} {other:.15g}  relative difference {abs(other / one - 1):.1e}")
    print(f"peak memory of the process: {peak() / 1e9:.2f} GB")
    return bool((np.abs(far / near - 1) < MOST_DIFFERENCE).all())


def main(words: list[str] | None = None) -> int:
    """Run what the words say; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "run", "accuracy"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=10**8)
    parser.add_argument("--groups", type=lambda text: int(float(text)), default=10**6)
    parser.add_argument("--crossed", type=lambda text: int(float(text)), default=0, help="levels of a second factor")
    parser.add_argument("--shift", type=float, default=1e6, help="added to x and y, whose sds are about 1")
    parser.add_argument("--engine", choices=("duckdb", "polars"), default="duckdb")
    parser.add_argument("--memory", help="limit of DuckDB, such as 1GB")
    parser.add_argument("--draws", type=int, default=4000)
    own = parser.parse_args(words)
    if own.what == "make":
        make(own.folder, own.rows, own.groups, own.crossed)
        return 0
    if own.what == "run":
        return 0 if run(own.folder, own.engine, own.memory, own.draws) else 1
    return 0 if accuracy(own.folder, own.rows, own.shift, own.memory) else 1


if __name__ == "__main__":
    sys.exit(main())
