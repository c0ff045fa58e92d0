"""The simulation: the pooled regression understates the error of the slope, the mixed one does not."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from examples.pooled_vs_mixed import CI_PROB, SLOPE, compare_pooled, plot, pooled_slope, simulate_groups, table

DATASETS = 300


@pytest.fixture(scope="module")
def results():
    return compare_pooled(DATASETS, seed=3)


def test_the_groups_are_as_they_are_described():
    data = simulate_groups(groups=2000, rows=20, seed=1)
    assert data.groupby("group").size().eq(20).all() and data["group"].nunique() == 2000
    fits = np.array([np.polyfit(d["x"], d["y"], 1) for _, d in data.groupby("group")])
    slopes, intercepts = fits.T
    # of 2,000 groups: 4.5 standard errors; an estimate from 20 rows adds about 1 / 17 to each variance
    assert slopes.mean() == pytest.approx(SLOPE, abs=4.5 * np.sqrt(2.06 / 2000))
    assert np.cov(intercepts, slopes)[0, 1] == pytest.approx(1.0, abs=4.5 * np.sqrt(3.1 / 2000))
    assert slopes.var() == pytest.approx(2.06, abs=4.5 * 2.06 * np.sqrt(2 / 2000))
    pd.testing.assert_frame_equal(data, simulate_groups(groups=2000, rows=20, seed=1))


@pytest.mark.parametrize(
    ("function", "wrong", "said"),
    [
        (simulate_groups, {"groups": 1}, "groups should be a whole number of at least 2, not 1"),
        (simulate_groups, {"groups": 10.0}, "groups should be a whole number of at least 2, not 10.0"),
        (simulate_groups, {"rows": 2}, "rows should be a whole number of at least 3, not 2"),
        (simulate_groups, {"seed": "no"}, "seed should be None or a whole number from 0 to 4294967295, not 'no'"),
        (simulate_groups, {"seed": True}, "seed should be None or a whole number from 0 to 4294967295, not True"),
        (compare_pooled, {"seed": None}, "seed should be a whole number from 0 to 4294967295, not None"),
        (compare_pooled, {"datasets": 1}, "datasets should be a whole number of at least 2, not 1"),
    ],
)
def test_arguments_out_of_range_are_said(function, wrong, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        function(**wrong)


def test_both_regressions_are_those_of_the_model():
    pooled, mixed = compare_pooled(2, seed=5)
    stream = np.random.SeedSequence(5).spawn(2)[1]
    from examples.pooled_vs_mixed import _simulated

    data = _simulated(10, 10, np.random.default_rng(stream))
    slope, se = pooled_slope(data)
    linear = bmm.Model("y ~ x + group", data).maximize().fixef()
    assert (slope, se) == pytest.approx((linear["estimate"]["x"], linear["se"]["x"]), rel=1e-9)
    reml = bmm.Model("y ~ x + (x | group)", data).maximize().fixef()
    assert (pooled.estimate[1], mixed.estimate[1]) == pytest.approx((slope, reml["estimate"]["x"]), rel=1e-9)
    assert mixed.se[1] == pytest.approx(reml["se"]["x"], rel=1e-9)
    assert (pooled.df, mixed.df) == (89, 9)
    assert mixed.half_width[1] == pytest.approx(2.2621571628 * mixed.se[1], rel=1e-9)  # R's qt(0.975, 9)


def test_both_are_unbiased(results):
    for result in results:
        assert result.estimate.mean() == pytest.approx(SLOPE, abs=4.5 * result.actual / np.sqrt(DATASETS))


def test_the_pooled_regression_understates_the_error_and_the_mixed_one_does_not(results):
    pooled, mixed = results
    # the spread over 300 data sets has a relative standard error of 1 / sqrt(600) = 4 %; four of them
    margin = 4 / np.sqrt(2 * DATASETS)
    assert pooled.se.mean() / pooled.actual < 0.5  # seen with 500 data sets: 0.37
    assert mixed.se.mean() / mixed.actual == pytest.approx(
        1.0, abs=margin + 0.03
    )  # REML's own bias with 10 groups: 3 %


def test_the_coverage_says_the_same(results):
    pooled, mixed = results
    error = np.sqrt(CI_PROB * (1 - CI_PROB) / DATASETS)  # 1.3 %
    assert abs(mixed.covered.mean() - CI_PROB) < 4 * error
    assert pooled.covered.mean() < 0.7  # seen with 500 data sets: 0.55


def test_the_table_and_the_figure_show_both(results):
    shown = table(results)
    assert list(shown.index) == ["pooled", "mixed"]
    np.testing.assert_allclose(shown["ratio"], shown["reported SE"] / shown["actual SE"])
    figure = plot(results, simulate_groups(seed=1))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    for result, text in zip(results, titles[1:], strict=True):
        assert f"{100 * result.covered.mean():.0f} % of {DATASETS} intervals cover the truth (100 shown)" in text
        drawn = figure.axes[1 + results.index(result)].collections
        assert sum(len(lines.get_segments()) for lines in drawn) == 100


def test_the_same_seed_gives_the_same_and_another_does_not():
    first, again, other = (compare_pooled(3, seed=seed)[1].estimate for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any()
