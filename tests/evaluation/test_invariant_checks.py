"""What checks judge and name knows neither where a predictor has its zero, nor a unit, nor which level is the first."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from influence import dfbetas

import bayesmm as bmm
from bayesmm.design.parameters import block_parameters
from bayesmm.evaluation.checks.fitted import of_point
from bayesmm.evaluation.checks.groups import _Parts
from bayesmm.evaluation.checks.point import effective_parameters
from bayesmm.posterior.point_estimates import at_bound

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
MODELS = {
    "gaussian": ("size ~ x * f + z + (x | g)", "gaussian"),
    "poisson": ("count ~ x * z + f + (x | g)", "poisson"),
    "cumulative": ("rating ~ x + f + (x | g)", "cumulative"),
}


@functools.cache
def rows():
    rng, group = np.random.default_rng(1), np.repeat(np.arange(20), 12)
    x, f = np.tile(np.linspace(0, 5.5, 12), 20), rng.integers(0, 3, 240)
    effects = rng.normal(size=(20, 2)) * [0.8, 0.15]
    table = pd.DataFrame({"x": x, "z": rng.normal(size=240), "f": np.array(["a", "b", "c"])[f], "g": group})
    eta = 0.5 + 0.3 * x + 0.2 * table["z"] + np.array([0, 0.4, -0.3])[f] + effects[group, 0] + effects[group, 1] * x
    return table.assign(
        size=eta + rng.normal(size=240),
        count=rng.poisson(np.exp(0.4 * eta - 0.5)),
        rating=1 + np.digitize(eta + rng.logistic(size=240), [0.5, 2, 3.5]),
    )


CHANGES = {
    "since 1970": lambda table: table.assign(x=1.6e9 + 86_400 * table["x"]),
    "another year": lambda table: table.assign(x=table["x"] - 2000),
    "another first level": lambda table: table.assign(f=table["f"].map({"a": "z", "b": "y", "c": "x"})),
    "another order": lambda table: table.sample(frac=1, random_state=2),
}


@functools.cache
def checks_of(name, change=None):
    table = rows() if change is None else CHANGES[change](rows())
    point = bmm.Model(MODELS[name][0], table, MODELS[name][1]).maximize()
    return point, {check.name: check for check in point.checks()}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MODELS)
def test_influence_is_of_the_same_group_and_term(name, change):
    one, other = (checks_of(name, each)[1]["influential groups"] for each in (None, change))
    assert other.value == pytest.approx(one.value, rel=2e-3) and other.status == one.status
    if "level" not in change:
        assert other.message == one.message


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_effective_parameters(name, change):
    points = [checks_of(name, each)[0] for each in (None, change)]
    one, other = (effective_parameters(point, of_point(point)) for point in points)
    assert other == pytest.approx(one, rel=1e-3)


def sd_is_at_its_bound(formulas, table):
    point = bmm.Model(formulas, table).maximize()
    assert not point.singular
    return at_bound(point, block_parameters(0, point.design.blocks[0])[0])


def test_an_sd_is_0_next_to_the_residual_sd_of_the_rows():
    """Not next to that where the predictor of sigma is 0, far from them: 1e10 times theirs."""
    assert not sd_is_at_its_bound(("size ~ z + (1 | g)", "sigma ~ x"), rows().assign(x=lambda table: table["x"] - 500))


@pytest.mark.parametrize("unit", [1e-5, 1e5])
def test_known_residual_sds_of_any_unit(unit):
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"se": rng.uniform(0.2, 0.6, 30), "study": np.arange(30)})
    table["y"] = unit * (rng.normal(0, 0.5, 30) + table["se"] * rng.normal(size=30))
    table["se"] *= unit
    assert not sd_is_at_its_bound("y | se(se) ~ 1 + (1 | study)", table)


def test_where_sds_of_rows_are_beyond_the_numbers_the_checks_say_so():
    point = bmm.Model(("size ~ z + (1 | g)", "sigma ~ x"), CHANGES["another year"](rows())).maximize()
    point = replace(point, residual={name: 400 * values for name, values in point.residual.items()})
    found = {check.name: check for check in point.checks()}
    for name in ("autocorrelation", "influential groups"):
        assert found[name].status == "not judged" and "center()" in found[name].message


def test_a_contrast_that_a_group_moves_is_not_lost_among_others():
    """9 added to two rows of a group move one level of eight, by as much as a fit without the group says."""
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"g": np.repeat(np.arange(12), 16), "f": np.tile(list("abcdefgh"), 24)})
    table["y"] = rng.normal(size=192) + 0.5 * rng.normal(size=12)[table["g"]]
    table.loc[table["f"].eq("c") & table["g"].eq(3), "y"] += 9
    point = bmm.Model("y ~ f + (1 | g)", table).maximize()
    found = {check.name: check for check in point.checks()}["influential groups"]
    assert found.status == "note" and "without '3' of g, a contrast of f would move by" in found.message
    one = dfbetas(_Parts.of(of_point(point)), point.design.blocks[0])
    assert found.value >= np.abs(one[:, 1:]).max() > 1


def test_of_many_kinds_of_rows_the_basis_of_a_curve_makes_no_difference():
    table = rows().assign(z=lambda own: own["z"] + 3)
    one, other = (
        {check.name: check for check in bmm.Model(f"size ~ {curve} + (1 | g)", table).maximize().checks()}
        for curve in ("poly(z, 3)", "poly(scale(z), 3)")
    )
    assert "a contrast of" in one["influential groups"].message
    assert other["influential groups"].value == pytest.approx(one["influential groups"].value, rel=1e-6)
