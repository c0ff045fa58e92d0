"""The sums of the second pass are those of dense arithmetic, however rows are grouped and whatever gives the totals."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bayesmm.design.covariance.structures import parse_formula
from bayesmm.engines import passes
from bayesmm.engines.design import lazy_design
from bayesmm.families.families import get_family

GAUSSIAN = get_family("gaussian")
LEVELS = {
    "whole numbers": (np.array([-7, 0, 3, 1000]), np.array([5, 6])),
    "far apart": (
        np.array([-(2**40), 0, 2**33, 2**41]),
        np.array([-1, 2**30]),
    ),  # beyond 64 bits as one
    "one is text": (np.array([1, 2, 3, 4]), np.array(["a", "b"])),
    "beyond 2^63": (np.array([0, 1, 2, 3], dtype=np.uint64) + np.uint64(2**63 + 5), np.array([5, 6])),
    "small integers": (np.array([-128, -1, 0, 127], dtype=np.int8), np.array([0, 255], dtype=np.uint8)),
}


def table(kind: str) -> pd.DataFrame:
    rng, n = np.random.default_rng(8), 90
    g, h = LEVELS[kind]
    rows = pd.DataFrame({"g": g[rng.integers(0, 4, n)], "h": h[rng.integers(0, 2, n)], "x": rng.normal(size=n)})
    return rows.assign(z=rows.x**2, y=rng.normal(size=n))


@pytest.mark.parametrize("most", [0, 10_000])
@pytest.mark.parametrize("kind", LEVELS)
def test_sums_by_level_and_pair(kind, most, monkeypatch):
    monkeypatch.setattr(passes, "MOST_CELLS", most)  # 0: all rows are summed by a query of their own
    rows = table(kind)
    formula = parse_formula("y ~ x + z + (x | g) + (1 | h)")
    sums = lazy_design(formula, pl.DataFrame(rows).lazy(), GAUSSIAN).y.sums
    C = np.column_stack([np.ones(len(rows)), rows.x, rows.z, rows.y]) - sums.shift
    assert sums.names == ("1", "x", "z", "y")
    np.testing.assert_allclose(sums.weighted, C.T @ C, rtol=0, atol=1e-11)
    by_g = [C[rows.g == g].T @ C[rows.g == g] for g in np.sort(rows.g.unique())]
    np.testing.assert_allclose(sums.levels[0].products, np.array(by_g)[:, sums.levels[0].left], rtol=0, atol=1e-11)
    pairs = sums.pairs[0]
    found = rows.groupby(["g", "h"], sort=True).agg(n=("x", "size"), x=("x", "sum"))
    assert len(pairs.first) == len(found)
    np.testing.assert_allclose(pairs.products[:, 0, 0], found.n)
    np.testing.assert_allclose(pairs.products[:, 1, 0], found.x - found.n * sums.shift[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "columns"), [("whole numbers", 1), ("far apart", 2), ("one is text", 2), ("beyond 2^63", 2)]
)
def test_whole_numbers_are_grouped_by_as_one(kind, columns, monkeypatch):
    grouped = []
    own = passes._grouping

    def watched(frame, keys):
        found = own(frame, keys)
        grouped.append(len(found[1]))
        return found

    monkeypatch.setattr(passes, "_grouping", watched)
    lazy_design(parse_formula("y ~ x + (1 | g) + (1 | h)"), pl.DataFrame(table(kind)).lazy(), GAUSSIAN)
    assert max(grouped) == columns
