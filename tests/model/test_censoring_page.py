"""docs/censoring.md: its examples are run, and print what stands there."""

import re
from contextlib import chdir
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

import bayesmm as bmm

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "censoring.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
PRINTED = re.findall(r"^```text\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def data(name):
    return pd.read_csv(ROOT / "tests" / "data" / f"{name}.csv")


@cache
def first():
    """Return what the first example defines."""
    names = {}
    with chdir(ROOT):
        exec(CODE[0], names)
    return names


def test_the_first_example_prints_this(capsys):
    first.cache_clear()
    assert str(first()["point"]).startswith(PRINTED[0].rstrip())
    assert PRINTED[0].rstrip() in capsys.readouterr().out


@pytest.mark.slow
def test_the_comparison_prints_this(capsys, headless):
    exec(CODE[1], {"bmm": bmm, **first()})
    assert PRINTED[1].rstrip() in capsys.readouterr().out


def test_the_table_of_the_tobit_model(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {"bmm": bmm, "pd": pd}
    exec(CODE[2], names)
    rows = re.findall(r"^\| `(.*?)`.*?\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 2
    fits = names["tobit"].maximize(nagq=25), bmm.Model("y ~ x + (1 | g)", data("tobit")).maximize("ML")
    for point, (formula, *printed) in zip(fits, rows, strict=True):
        assert formula.replace("\\", "") == point.design.formula.text
        found = [*point.fixef().loc["x", ["estimate", "se"]], *point.varcorr()["sdcor"]]
        assert [f"{value:.3f}" for value in found] == printed
    assert "71 are censored" in PAGE and (data("tobit")["cens"] != "none").sum() == 71
