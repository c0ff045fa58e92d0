"""Power by simulation against the noncentral t, and the groups of a larger study."""

import functools

import numpy as np
import pandas as pd
import pytest
from references import frame
from sleep_study import crossed, sleep_model, sleep_point

import bayesmm as bmm
from bayesmm.inference.simulation.groups import outer_factor, resized
from bayesmm.inference.simulation.power import _sized, sizes_of

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


def two_level(groups=20, rows=5):
    """Return balanced data with a treatment of every second group."""
    g = np.repeat(np.arange(groups), rows)
    return pd.DataFrame({"g": g, "x": g % 2, "y": np.random.default_rng(0).normal(size=len(g))})


TREATMENT = {"Intercept": 0.0, "beta[x]": 1.0, "sd_g[Intercept]": 0.8, "sigma": 1.0}


def exact_power(groups, effect, rows=5, level=0.05):
    """Return the power of the t test of two groups of cluster means: noncentral t with groups - 2 degrees."""
    from scipy.stats import nct, t

    noncentral = effect / np.sqrt((0.8**2 + 1 / rows) * 4 / groups)
    quantile = t.ppf(1 - level / 2, groups - 2)
    return nct.sf(quantile, groups - 2, noncentral) + nct.cdf(-quantile, groups - 2, noncentral)


@functools.cache
def treatment_power():
    model = bmm.Model("y ~ x + (1 | g)", two_level())
    return bmm.power(model, TREATMENT, [20, 40], simulations=100, seed=1, progress=False)


def test_power_is_that_of_the_noncentral_t():
    """Of balanced data the test is exact but for sds estimated as 0."""
    for row in treatment_power().table.itertuples():
        expected = exact_power(row.groups, 1.0)
        assert abs(row.power - expected) < 4 * np.sqrt(expected * (1 - expected) / 100)


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "groups", "simulations"), [(0.0, [20], 2000), (0.8, [20, 60], 400)])
def test_power_over_many_simulations(effect, groups, simulations):
    """Without an effect the test rejects as often as its level says."""
    model, truth = bmm.Model("y ~ x + (1 | g)", two_level()), TREATMENT | {"beta[x]": effect}
    found = bmm.power(model, truth, groups, simulations=simulations, seed=2, progress=False)
    for row in found.table.itertuples():
        expected = exact_power(row.groups, effect)
        assert abs(row.power - expected) < 4 * np.sqrt(expected * (1 - expected) / simulations)


def test_intervals_are_wilsons():
    row, z = treatment_power().table.iloc[0], 1.959963984540054
    p, n = row["power"], 100
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (row["lower"], row["upper"]) == pytest.approx((centre - half, centre + half))


def test_whole_levels_are_copied():
    model = bmm.Model("y ~ x + (1 | g)", two_level(6).assign(z=np.arange(30.0)))
    design = resized(model, 0, 15, seed=1).design
    block = design.blocks[0]
    assert len(block.levels) == 15 and (np.bincount(block.index) == 5).all()
    of_level = [design.X[block.index == k, 1] for k in range(15)]
    assert all(np.ptp(x) == 0 for x in of_level), "a level's rows stay together"
    assert sum(x[0] for x in of_level) in (6, 7, 8, 9), "two whole copies, and three levels more"


def test_inner_levels_are_copied_with_the_outer_ones():
    pastes = frame("pastes")
    model = bmm.Model("strength ~ 1 + (1 | batch/cask)", pastes)
    k = outer_factor(model.design, None)
    assert model.design.blocks[k].group == "batch"
    design = resized(model, k, 25, seed=1).design
    sizes = {block.group: len(block.levels) for block in design.blocks}
    assert sizes == {"batch": 25, "batch:cask": 75}, "three casks in each batch"
    labels = pastes.assign(cask=pastes["batch"].astype(str) + pastes["cask"].astype(str))
    own = bmm.Model("strength ~ 1 + (1 | batch) + (1 | cask)", labels)
    design = resized(own, outer_factor(own.design, None), 25, seed=1).design
    assert {block.group: len(block.levels) for block in design.blocks} == {"batch": 25, "cask": 75}


def test_crossed_levels_stay_what_they_are():
    data = crossed(np.random.default_rng(0))
    model = bmm.Model("y ~ x + (1 | g) + (1 | i)", data, weights="w")
    with pytest.raises(ValueError, match="by should name the grouping factor whose levels are counted, one of g, i"):
        outer_factor(model.design, None)
    design = resized(model, outer_factor(model.design, "g"), 13, seed=1).design
    assert {block.group: len(block.levels) for block in design.blocks} == {"g": 13, "i": 4}
    assert set(design.weights) <= set(data["w"])


def test_power_of_another_family():
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 10), "x": rng.normal(size=80), "y": rng.integers(0, 2, 80)})
    model = bmm.Model("y ~ x + (1 | g)", data, "bernoulli")
    given = {"Intercept": 0.0, "beta[x]": 1.5, "sd_g[Intercept]": 0.5}
    found = bmm.power(model, given, [4, 16], simulations=12, seed=1, progress=False)
    assert found.table["power"].iloc[1] > 0.9 and "z, maximum likelihood" in str(found)


def test_power_at_a_number_does_not_depend_on_the_other_numbers():
    model = bmm.Model("y ~ x + (1 | g)", two_level())
    given = dict(simulations=24, seed=1, progress=False)  # the power is near one half: a stroke of luck is unlikely
    both = bmm.power(model, TREATMENT, [10, 16], cores=2, **given).table
    alone = [bmm.power(model, TREATMENT, [k], cores=1, **given).table for k in (10, 16)]
    pd.testing.assert_frame_equal(both, pd.concat(alone, ignore_index=True))


def test_the_test_rejects_where_p_is_at_most_the_level():
    from bayesmm.inference.simulation.power_tests import _test

    design = sleep_model().design
    p = sleep_point().fixef("satterthwaite").loc["Days", "p"]
    assert _test(design, 1, 1.01 * p)(design) and not _test(design, 1, 0.99 * p)(design)


def test_power_is_printed_and_drawn():
    import matplotlib as mpl

    mpl.use("Agg")
    found = treatment_power()
    text = str(found)
    assert "how often beta[x] = 1 is found to differ from 0" in text and "levels of g" in text
    (ax,) = found.plot()
    np.testing.assert_array_equal(ax.lines[-1].get_xydata(), found.table[["groups", "power"]])
    assert ax.get_xlabel() == "levels of g"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"groups": [1, 5]}, ValueError, r"groups should be whole numbers of at least 2, such as .* not \[1, 5\]"),
        ({"groups": [2.5]}, ValueError, "groups should be whole numbers"),
        ({"groups": np.ma.masked_array([10, 20], [True, False])}, ValueError, "groups should be whole numbers"),
        ({"test": "z"}, ValueError, "test names 'z', which is no coefficient of the model"),
        ({"level": 1.0}, ValueError, "level must be a probability between 0 and 1"),
        ({"simulations": 0}, ValueError, "simulations should be a whole number of at least 1"),
        ({"by": "G"}, ValueError, "by names 'G', which is no grouping factor of the model; did you mean 'g'"),
        ({"parameters": {"Intercept": 0}}, ValueError, r"parameters has no value for beta\[x\]"),
    ],
)
def test_wrong_arguments_of_power(given, error, said):
    model = bmm.Model("y ~ x + (1 | g)", two_level())
    with pytest.raises(error, match=said):
        bmm.power(model, **({"parameters": TREATMENT, "groups": [4]} | given))


def test_power_needs_groups_that_only_group():
    with pytest.raises(bmm.DataError, match="the model has none"):
        bmm.power(bmm.Model("y ~ x", two_level()), {"Intercept": 0, "beta[x]": 1, "sigma": 1}, [4])
    data = two_level().assign(g=lambda d: d["g"].astype(float))
    model = bmm.Model("y ~ x + g + (1 | g)", data)
    with pytest.raises(bmm.DataError, match="the grouping factor 'g' is also a predictor"):
        bmm.power(model, TREATMENT | {"beta[g]": 0.0}, [4], test="x")


def test_a_coefficient_that_can_not_be_estimated_is_refused():
    data = two_level(20).assign(x=lambda d: (d["g"] == 3).astype(float))  # one group is treated
    with pytest.raises(bmm.DataError, match=r"with 2 groups beta\[x\] cannot be told apart"):
        bmm.power(bmm.Model("y ~ x + (1 | g)", data), TREATMENT, [2], seed=1, progress=False)


def test_observations_for_each_row():
    """The noncentral t again, with so many more rows for each group."""
    model, truth = bmm.Model("y ~ x + (1 | g)", two_level()), TREATMENT | {"sd_g[Intercept]": 0.8, "beta[x]": 1.0}
    found = bmm.power(model, truth, [20], simulations=50, seed=1, progress=False, rows=[1, 4])
    assert list(found.table.columns) == ["groups", "rows", "power", "lower", "upper", "simulations", "failed"]
    for row in found.table.itertuples():
        expected = exact_power(row.groups, 1.0, rows=5 * row.rows)
        assert abs(row.power - expected) < 4 * np.sqrt(expected * (1 - expected) / 50)
    assert "observations per row" in str(found)
    plain = bmm.power(model, truth, [20], simulations=10, seed=1, progress=False, rows=[1]).table
    assert plain["failed"].item() == 0 and found.plot() is not None


def test_subjects_and_items_together():
    """Every combination; each data set has all cells of so many subjects and items."""
    subject, item = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
    table = pd.DataFrame({"subject": subject, "item": item, "x": item % 2, "y": np.arange(24.0)})
    model = bmm.Model("y ~ x + (1 | subject) + (1 | item)", table)
    sizes = sizes_of(model.design, {"subject": [6, 9], "item": [4, 8]}, [1, 2], None)
    assert sizes.columns == ("subject", "item", "rows") and sizes.by == "subject and item"
    assert len(sizes.settings) == 8
    for setting in sizes.settings:
        design = _sized(model, sizes, setting, 1, 1)
        assert design.n == np.prod(setting)
        assert [len(block.levels) for block in design.blocks] == list(setting[:2])
        cells = np.unique(np.column_stack([block.index for block in design.blocks]), axis=0)
        assert len(cells) == setting[0] * setting[1]
    values = {"Intercept": 0, "beta[x]": 3, "sd_subject[Intercept]": 1, "sd_item[Intercept]": 0.5, "sigma": 1}
    found = bmm.power(model, values, {"subject": [6, 9], "item": [4, 8]}, simulations=20, seed=1, progress=False)
    by_item = found.table.groupby("item")["power"].mean()
    assert by_item[8] > by_item[4]  # x is between items: with 4 of them there are 2 degrees of freedom
    assert "levels of subject" in str(found) and found.plot() is not None


def test_models_that_power_does_not_know_are_said_to_be_so():
    rng = np.random.default_rng(1)
    data = two_level(6).assign(h=np.arange(30) % 4, c=np.array(list("abc"))[np.arange(30) % 3], x=rng.normal(size=30))
    A = pd.DataFrame(np.eye(6), range(6), range(6))
    asked = dict(groups=[4], simulations=2, seed=1, progress=False)
    related = bmm.Model("y ~ x + (1 | gr(g, cov = A))", data, matrices={"A": A})
    said = "power copies levels of 'g' under new labels, and the matrix 'A' has no row for new levels of 'g'; use simul"
    with pytest.raises(bmm.DataError, match=said):
        bmm.power(related, TREATMENT, **asked)
    crossed = bmm.Model("y ~ x + (1 | gr(g, cov = A)) + (1 | h)", data, matrices={"A": A})
    with pytest.raises(bmm.DataError, match="count those of another factor, by = 'h'"):
        bmm.power(crossed, TREATMENT | {"sd_h[Intercept]": 1.0}, by="g", **asked)
    assert bmm.power(crossed, TREATMENT | {"sd_h[Intercept]": 1.0}, by="h", **asked).by == "h"
    with pytest.raises(bmm.DataError, match="here each category has coefficients of its own; draw data by simulate"):
        bmm.power(bmm.Model("c ~ x + (1 | g)", data, "categorical"), {}, **asked)
    with pytest.raises(ValueError, match=r"power tests coefficients of the mean \(beta\[Intercept\], beta\[x\]\)"):
        bmm.power(bmm.Model("y ~ x + (1 | g)", data), TREATMENT, test="sigma", **asked)
    with pytest.raises(bmm.DataError, match=r"has none besides mm\(\) and smooths"):
        members = bmm.Model("y ~ x + (1 | mm(g, h))", data)
        values = {"Intercept": 0.0, "beta[x]": 1.0, "sd_mm(g, h)[Intercept]": 1.0, "sigma": 1.0}
        bmm.power(members, values, **asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": {"h": [2, 3]}}, r"groups should be by grouping factor \(g\), not"),
        ({"groups": {"g": [1]}}, r"groups\['g'\] should be whole numbers of at least 2"),
        ({"groups": {"g": [4]}, "by": "g"}, "groups names its factors, and by names another"),
        ({"groups": [4], "rows": [0]}, "rows should be whole numbers of at least 1, such as"),
    ],
)
def test_wrong_sizes_are_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        bmm.power(bmm.Model("y ~ x + (1 | g)", two_level()), TREATMENT, progress=False, **arguments)
