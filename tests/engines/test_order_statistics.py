"""Medians and quantiles by counting are those of sorting, digit for digit."""

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import pytest

from bayesmm.engines import order_statistics
from bayesmm.engines.order_statistics import median, quantiles

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
