"""Parts of the data that lack levels are aligned by label, and their sum is the table of all."""

import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError
from tests.lazy_frames import lazy, messy

BY_LABEL = pd.DataFrame([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], index=list("cab"))


def part(formula, table, **options):
    return bmm.accumulate(formula, lazy("polars", table), **options)


@pytest.mark.parametrize(
    ("formula", "contrasts"),
    [
        ("y ~ x*f + (1 + x | g)", None),
        ("y ~ x + C(f, Treatment('b')) + (1 | g)", None),
        ("y ~ x + C(f, Sum) + I(f == 'b') * x + (1 | g)", None),
        ("y ~ x + C(s10) + (0 + f | g)", None),
        ("y ~ x + f + (1 | g)", {"f": "sum"}),
        ("y ~ x + f + (1 | g)", {"f": BY_LABEL}),
    ],
)
def test_parts_of_one_level_of_a_fixed_factor_add_up(formula, contrasts):
    table = messy(900).dropna().assign(s10=lambda data: data.g % 3)
    cut = [table[table.f == level] for level in "bac"]
    cut[0] = cut[0][cut[0].s10 == 1]
    parts = [part(formula, own, contrasts=contrasts) for own in cut]
    point = bmm.Model(formula, parts[0] + parts[1] + parts[2]).maximize()
    whole = bmm.Model(formula, pd.concat(cut), contrasts=contrasts).maximize()
    assert list(point.fixef().index) == list(whole.fixef().index)
    assert point.criterion == pytest.approx(whole.criterion, rel=1e-10)
    assert point.fixef().estimate.to_numpy() == pytest.approx(
        whole.fixef().estimate.to_numpy(), rel=1e-7, abs=1e-8, nan_ok=True
    )


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ x + C(f, Treatment('zz')) + (1 | g)", "names 'zz', and no part of the data has such a level of 'f'"),
        ("y ~ x + I(f == 'zz') + (1 | g)", "names 'zz', and no part of the data has such a level of 'f'"),
        ("y ~ x + f + (1 | g)", "factor 'f' has one level \\('a'\\)"),
    ],
)
def test_levels_of_no_part_are_named_when_the_model_is_made(formula, said):
    table = messy(300).dropna()
    table = table[table.f == "a"]
    whole = part(formula, table[:40]) + part(formula, table[40:])
    with pytest.raises(DataError, match=said):
        bmm.Model(formula, whole)


def test_a_part_takes_the_levels_of_another_one():
    table, formula = messy(600).dropna(), "y ~ x + f + (1 | g)"
    first = part(formula, table[:300])
    one = table[300:][table.f[300:] == "c"]
    whole = bmm.Model(formula, first + part(formula, one, like=first)).maximize()
    expected = bmm.Model(formula, pd.concat([table[:300], one])).maximize()
    assert whole.criterion == pytest.approx(expected.criterion, rel=1e-10)
