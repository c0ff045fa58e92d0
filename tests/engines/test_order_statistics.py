"""Medians and quantiles by counting are those of sorting, digit for digit."""

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import pytest

from bayesmm.engines import order_statistics
from bayesmm.engines.order_statistics import median, median_and_deviation, quantiles

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "far from 0": lambda rng, n: 1e9 + rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_cauchy(n),
    "few values": lambda rng, n: rng.integers(0, 3, n).astype(float),
    "one value but one": lambda rng, n: np.append(np.zeros(n - 1), 1e12),
}


@pytest.mark.parametrize("n", [2001, 2000, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_median_and_quantiles_are_numpys(shape, n, monkeypatch):
    monkeypatch.setattr(order_statistics, "FEW", 10)  # so that bins are refined
    monkeypatch.setattr(order_statistics, "BINS", 16)
    x = SHAPES[shape](np.random.default_rng(3), n)
    frame, ends = nw.from_native(pl.DataFrame({"x": x}).lazy()), (float(x.min()), float(x.max()))
    assert median("Polars", frame, "x", n, ends) == np.median(x)
    shares = [0.0, 0.1, 0.5, 0.77, 1.0]
    found = quantiles("Polars", frame, "x", shares, n, ends)
    assert found == pytest.approx(list(np.quantile(x, shares)), rel=1e-15)


@pytest.mark.parametrize("bins", [16, 4096])
@pytest.mark.parametrize("most", [0, 150, 2001])  # the second takes values over, or counts again, by the shape
@pytest.mark.parametrize("n", [2001, 2000, 3, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_median_and_the_median_distance_are_numpys(shape, n, most, bins, monkeypatch):
    for name, value in (("FEW", 10), ("BINS", 16), ("NARROW", bins), ("MOST_TAKEN", most)):
        monkeypatch.setattr(order_statistics, name, value)
    x = SHAPES[shape](np.random.default_rng(4), n)
    frame, ends = nw.from_native(pl.DataFrame({"x": x}).lazy()), (float(x.min()), float(x.max()))
    middle = np.median(x)
    assert median_and_deviation("Polars", frame, "x", n, ends) == (middle, np.median(np.abs(x - middle)))


def test_both_medians_take_two_queries_and_few_values(monkeypatch):
    asked, collected = [], order_statistics.collected

    def counting(engine, what, frame):
        table = collected(engine, what, frame)
        asked.append((what, max(len(values) for values in table.values())))
        return table

    monkeypatch.setattr(order_statistics, "collected", counting)
    x = np.random.default_rng(5).normal(size=200_000)
    frame = nw.from_native(pl.DataFrame({"x": x}).lazy())
    median_and_deviation("Polars", frame, "x", len(x), (float(x.min()), float(x.max())))
    assert [what for what, _ in asked] == ["count the rows in bins", "give the values about a median"]
    assert asked[1][1] < 1000  # of 200,000
