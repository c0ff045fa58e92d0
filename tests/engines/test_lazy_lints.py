"""What there is to say about the data is said of a lazy frame too, where sums know it; and tests need no rows."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from tests.lazy_frames import engines, lazy, messy

RNG = np.random.default_rng(5)


def with_faults() -> pd.DataFrame:
    """Return data with most of what the lints look for."""
    n, table = 600, messy(600).dropna().reset_index(drop=True)
    n = len(table)
    table["school"], table["pupil"] = np.arange(n) % 8, (np.arange(n) // 8) % 12
    table["spelt"] = np.where(np.arange(n) % 3 == 0, "north ", np.where(np.arange(n) % 3 == 1, "north", "south"))
    table["same"] = "g" + table.g.astype(str)
    table["fixed"] = np.sin(table.g)
    table["rare"] = np.where(table.g <= 5, RNG.normal(size=n), 1.0)
    table["skew"] = np.where(np.arange(n) < 0.7 * n, 0, np.arange(n) % 9 + 1)
    table["double"] = 2 * table.x - 1
    table["year"] = 1_000_000 + table.z * 1e-6
    table["two"] = np.arange(n) % 2
    return table


# formula -> what is said
FAULTS = {
    "y ~ x + (1 | school) + (1 | pupil)": "'school' has all 12 levels of 'pupil', which are taken",
    "y ~ x + spelt + (1 | g)": "differ only by blanks or capitals",
    "y ~ x + factor(s2) + (1 | s2)": "both a fixed factor and a grouping factor",
    "y ~ x + (1 | g) + (1 | same)": "divide the rows into the same 40 groups",
    "y ~ fixed + (1 + fixed | g)": "not vary within any level of 'g'",
    "y ~ rare + (1 + rare | g)": "and only these tell of its random slope",
    "y ~ z + (1 + x | g)": "mean of the random slope of x",
    "y ~ x + (1 | skew)": "the fixed effects rest mostly on that level",
    "y ~ x + double + (1 | g)": "is a combination of others (double = -1 + 2 x)",
    "y ~ x + year + (1 | g)": "scales of the predictors lie far apart",
    "y ~ x + (1 | two)": "2 levels",
    "y ~ x + g + (1 | g)": "it is also a grouping factor",
}


@pytest.mark.parametrize("formula", FAULTS)
def test_what_is_said_of_a_table_is_said_of_a_lazy_frame(formula):
    table = with_faults().assign(s2=lambda data: data.g % 6)
    whole, own = (bmm.Model(formula, data).design for data in (table, lazy("polars", table)))
    said = {message.text for message in own.messages}
    assert any(FAULTS[formula] in text for text in said), said
    assert own.aliased == whole.aliased
    if formula != "y ~ x + g + (1 | g)":  # distinct values are not counted there, the range stands for their number
        assert said == {message.text for message in whole.messages}


@pytest.mark.parametrize("engine", engines())
def test_analyses_of_variance_are_those_of_the_table(engine):
    table, formula = messy(900), "y ~ x*f + C(h, Treatment) + ns(z, df = 3) + (1 + x | g) + (1 | s)"
    whole, own = (bmm.Model(formula, data).maximize() for data in (table, lazy(engine, table)))
    for kind in ("I", "II", "III"):
        expected, found = (bmm.anova(point, type=kind).table for point in (whole, own))
        assert list(found.index) == list(expected.index)
        numbers = expected.select_dtypes("number")
        np.testing.assert_allclose(found[list(numbers)], numbers, rtol=1e-6, atol=1e-10)


def test_type_iii_of_sums_that_were_added():
    table, formula = messy(900).dropna(), "y ~ x*f + h + (1 | g)"
    parts = [bmm.accumulate(formula, lazy("polars", own)) for own in (table[table.f == "b"], table[table.f != "b"])]
    found = bmm.anova(bmm.Model(formula, parts[0] + parts[1]).maximize(), type=3).table
    expected = bmm.anova(bmm.Model(formula, table).maximize(), type=3).table
    numbers = expected.select_dtypes("number")
    np.testing.assert_allclose(found[list(numbers)], numbers, rtol=1e-6, atol=1e-10)
