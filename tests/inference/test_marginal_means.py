"""Marginal means and their contrasts, against classical formulas and published examples."""

import numpy as np
import pandas as pd
import pytest
from factorial_data import EXACT, factorial, flat
from invented import CHAINS, DRAWS, draws, invented
from scipy import stats

import bayesmm as bmm


def test_marginal_means_of_a_balanced_design_are_the_means_of_its_cells():
    table = factorial(balanced=True)
    point = bmm.Model("y ~ a * b", table).maximize()
    df, s2 = len(table) - 6, point.residuals @ point.residuals / (len(table) - 6)
    found = bmm.emmeans(point, "a").table
    np.testing.assert_allclose(found["estimate"], table.groupby("a")["y"].mean(), **EXACT)
    np.testing.assert_allclose(found["se"], np.sqrt(s2 / 20), rtol=1e-7)  # 20 rows in each level
    assert (found["df"] == df).all()
    cells = bmm.emmeans(point, "a", by="b").table
    np.testing.assert_allclose(cells["estimate"], table.groupby(["b", "a"])["y"].mean(), **EXACT)
    assert list(cells.columns[:2]) == ["b", "a"]


def test_weights_of_the_levels_that_are_averaged_over(data):
    point = bmm.Model("y ~ a * b", data, weights="w").maximize()
    w = data["w"]
    cells = (data["y"] * w).groupby([data["a"], data["b"]]).sum() / w.groupby([data["a"], data["b"]]).sum()
    cells = cells.unstack()
    np.testing.assert_allclose(bmm.emmeans(point, "a").table["estimate"], cells.mean(axis=1), rtol=1e-9)
    share = (w.groupby(data["b"]).sum() / w.sum()).to_numpy()
    found = bmm.emmeans(point, "a", weights="proportional").table["estimate"]
    np.testing.assert_allclose(found, cells.to_numpy() @ share, rtol=1e-9)


def test_two_groups_are_the_t_test():
    table = factorial(balanced=True)
    point = bmm.Model("y ~ b", table).maximize("ML")  # the errors are those of least squares all the same
    known = stats.ttest_ind(table["y"][table["b"] == "u"], table["y"][table["b"] == "v"])
    row = bmm.emmeans(point, "b").pairs().table.iloc[0]
    assert row["contrast"] == "u - v"
    assert (row["t"], row["p"]) == pytest.approx((known.statistic, known.pvalue), rel=1e-7)
    interval = known.confidence_interval()
    assert (row["lower"], row["upper"]) == pytest.approx((interval.low, interval.high), rel=1e-7)


def test_tukeys_method_is_scipys_on_a_one_way_layout():
    table = factorial(balanced=True)
    known = stats.tukey_hsd(*(table["y"][table["a"] == level] for level in "pqr"))
    interval = known.confidence_interval()
    found = bmm.emmeans(bmm.Model("y ~ a", table).maximize(), "a").pairs().table
    places = [(0, 1), (0, 2), (1, 2)]
    assert found["contrast"].tolist() == ["p - q", "p - r", "q - r"]
    for row, at in zip(found.itertuples(), places, strict=True):  # 1e-6: quadrature of the studentised range
        assert (row.estimate, row.p) == pytest.approx((known.statistic[at], known.pvalue[at]), rel=1e-6)
        assert (row.lower, row.upper) == pytest.approx((interval.low[at], interval.high[at]), rel=1e-6)


def test_the_warp_breaks_of_rs_example():
    # R's documentation, example(TukeyHSD): warpbreaks, aov(breaks ~ wool + tension); the data are Tippett's (1950)
    breaks = {
        ("A", "L"): (26, 30, 54, 25, 70, 52, 51, 26, 67),
        ("A", "M"): (18, 21, 29, 17, 12, 18, 35, 30, 36),
        ("A", "H"): (36, 21, 24, 18, 10, 43, 28, 15, 26),
        ("B", "L"): (27, 14, 29, 19, 29, 31, 41, 20, 44),
        ("B", "M"): (42, 26, 19, 16, 39, 28, 21, 39, 29),
        ("B", "H"): (20, 21, 24, 17, 13, 15, 15, 16, 28),
    }
    rows = [(wool, tension, n) for (wool, tension), numbers in breaks.items() for n in numbers]
    table = pd.DataFrame(rows, columns=["wool", "tension", "breaks"])
    point = bmm.Model("breaks ~ wool + tension", table).maximize()
    found = bmm.emmeans(point, "tension", at={"tension": ["L", "M", "H"]}).pairs().table
    printed = [  # diff, lwr, upr, p adj; M-L, H-L and H-M there
        (10.0, 0.6465793, 19.35342, 0.0336262),
        (14.722222, 5.3688015, 24.07564, 0.0011218),
        (4.722222, -4.6311985, 14.07564, 0.4474210),
    ]
    assert found["contrast"].tolist() == ["L - M", "L - H", "M - H"]
    np.testing.assert_allclose(found[["estimate", "lower", "upper"]], [row[:3] for row in printed], atol=5e-6)
    np.testing.assert_allclose(found["p"], [row[3] for row in printed], atol=1e-7)  # the last printed digit


def test_holm_and_bonferroni_within_each_level_of_by(linear):
    means = bmm.emmeans(linear, "a", by="b")
    plain, holm, bonferroni = (means.pairs(how).table for how in ("none", "holm", "bonferroni"))
    for part in (slice(0, 3), slice(3, 6)):
        p = plain["p"].to_numpy()[part]
        order, steps = np.argsort(p), np.sort(p) * [3, 2, 1]
        expected = np.minimum(1, [steps[0], max(steps[:2]), max(steps)])
        np.testing.assert_allclose(holm["p"].to_numpy()[part][order], expected)
        np.testing.assert_allclose(bonferroni["p"].to_numpy()[part], np.minimum(1, 3 * p))
    half = stats.t.ppf(1 - 0.05 / 6, plain["df"]) * plain["se"]
    np.testing.assert_allclose(bonferroni["upper"], plain["estimate"] + half)
    assert plain["b"].tolist() == ["u"] * 3 + ["v"] * 3


def test_a_randomised_block_design_has_its_classical_standard_errors_and_degrees_of_freedom():
    rng, blocks, k = np.random.default_rng(2), 8, 3
    table = pd.DataFrame({"block": np.repeat([f"B{i}" for i in range(blocks)], k), "t": np.tile(list("xyz"), blocks)})
    table["y"] = rng.normal(0, 2, blocks).repeat(k) + rng.normal(size=blocks * k) + (table["t"] == "z")
    wide = table.pivot(index="block", columns="t", values="y").to_numpy()
    between = k * wide.mean(axis=1).var(ddof=1)
    rest = wide - wide.mean(axis=0) - wide.mean(axis=1, keepdims=True) + wide.mean()
    within = np.square(rest).sum() / ((blocks - 1) * (k - 1))
    means = bmm.emmeans(bmm.Model("y ~ t + (1 | block)", table).maximize(), "t")
    # 1e-4: Satterthwaite's degrees of freedom come from differences of a gradient at an optimum found to 1e-6
    np.testing.assert_allclose(means.table["estimate"], wide.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(means.table["se"], np.sqrt((between + (k - 1) * within) / (k * blocks)), rtol=1e-4)
    df = (between + 2 * within) ** 2 / (between**2 / (blocks - 1) + (2 * within) ** 2 / ((blocks - 1) * (k - 1)))
    np.testing.assert_allclose(means.table["df"], df, rtol=1e-4)
    pairs = means.pairs("none").table
    np.testing.assert_allclose(pairs["se"], np.sqrt(2 * within / blocks), rtol=1e-4)
    np.testing.assert_allclose(pairs["df"], (blocks - 1) * (k - 1), rtol=1e-4)


def test_marginal_means_of_a_posterior_and_their_contrasts(logit, data):
    beta, x = draws(logit, "beta"), data["x"].mean()
    eta = beta[:, [0]] + np.column_stack([np.zeros(len(beta)), beta[:, 1:3]]) + beta[:, [3]] * x
    for kind, expected in (("linear", eta), ("mean", stats.logistic.cdf(eta))):
        means = bmm.emmeans(logit, "a", kind=kind)
        np.testing.assert_allclose(flat(means), expected, **EXACT)
        np.testing.assert_allclose(flat(means.pairs())[:, 1], expected[:, 0] - expected[:, 2], **EXACT)
    assert means.pairs().draws.shape == (CHAINS, DRAWS, 3)
    with pytest.raises(ValueError, match="a posterior has no p-values to adjust"):
        means.pairs("holm")


def test_numbers_take_their_values_from_at(linear):
    found = bmm.emmeans(linear, "x", at={"x": [1, 3]})
    assert found.pairs().table["estimate"].item() == pytest.approx(-2 * linear.beta[4])
    with pytest.raises(ValueError, match="give the values to ask for, at="):
        bmm.emmeans(linear, "x")


def test_what_can_not_be_estimated_is_left_blank_and_said():
    table = factorial(balanced=True)
    table = table[~((table["a"] == "r") & (table["b"] == "v"))]
    model = bmm.Model("y ~ a * b + (1 | g)", table)
    means = bmm.emmeans(model.maximize(), "a")
    assert means.table["estimate"].isna().tolist() == [False, False, True]
    assert "1 row not estimable" in str(means)
    pairs = means.pairs().table
    assert pairs["p"].isna().tolist() == [False, True, True] and np.isnan(pairs["lower"][1])
    cells = bmm.emmeans(model.maximize(), ["a", "b"]).table  # without random effects they were the cells' means
    assert cells["estimate"].isna().tolist() == [False] * 5 + [True]
    posterior = bmm.emmeans(invented(model), "a")
    assert posterior.table["mean"].notna().all() and "the priors tell them apart" in str(posterior)


def test_a_contrast_can_be_estimated_where_its_means_can_not(data):
    point = bmm.Model("y ~ x + a + I(2 * x)", data).maximize()
    assert point.design.aliased
    assert bmm.emmeans(point, "a", at={"x": 2}).table["estimate"].notna().all()
    nested = data.assign(part=data["a"] + data["b"])  # which level of a it is follows from part
    point = bmm.Model("y ~ part + a", nested).maximize()
    found = bmm.emmeans(point, "part")
    assert found.table["estimate"].isna().all()  # averaged over levels of a that they never have
    differences = found.pairs("none").table
    known = differences["contrast"][differences["estimate"].notna()]
    assert known.tolist() == ["pu - pv", "qu - qv", "ru - rv"]


def test_axes_name_the_quantity_and_ratios_stand_on_a_log_axis():
    esoph = bmm.load_dataset("esoph")
    point = bmm.Model("ncases ~ alcgp + (1 | agegp)", esoph, "poisson").maximize()
    means = bmm.emmeans(point, "alcgp", kind="response")
    for found, name, scale in (
        (means, "mean of ncases", "linear"),
        (means.pairs(), "ratio of means of ncases", "log"),
        (bmm.emmeans(point, "alcgp").pairs(), "difference, linear predictor of ncases (log scale)", "linear"),
        (bmm.emmeans(point, "alcgp").contrast("trend"), "contrast, linear predictor of ncases (log scale)", "linear"),
        (bmm.comparisons(point, "alcgp"), "difference, mean of ncases", "linear"),
    ):
        assert found.to_frame().equals(found.table)
        axes = found.plot().figure.axes[0]
        assert axes.get_xlabel() == name and axes.get_xscale() == scale
        assert "95 % interval" in [text.get_text() for text in axes.figure.legends[0].get_texts()]


def test_a_figure_says_what_is_held_and_nothing_of_factors_that_are_not_there():
    rng = np.random.default_rng(1)
    data = {"y": rng.normal(size=40), "f": list("ab") * 20, "contrast": rng.normal(size=40)}
    point = bmm.Model("y ~ f * contrast", data).maximize()
    said = bmm.emmeans(point, "f").plot().figure.get_suptitle()
    assert "Held: contrast = " in said and "No other factors" not in said
    bmm.slopes(point, "contrast", by="f").plot()
    assert bmm.slopes(point, "contrast", by="contrast").plot().figure  # a column of the user's of the table's own name
