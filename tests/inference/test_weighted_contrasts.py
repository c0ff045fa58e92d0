"""Contrasts of marginal means, slopes, predictions and comparisons, and joint tests of them."""

import numpy as np
import pandas as pd
import pytest
from factorial_data import EXACT, factorial, flat
from scipy import stats

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@pytest.fixture(scope="module")
def one_way():
    table = factorial(balanced=True)
    return bmm.Model("y ~ a", table).maximize(), [table["y"][table["a"] == level].to_numpy() for level in "pqr"]


@pytest.fixture(scope="module")
def poisson(data):
    return bmm.Model("count ~ a + x + (1 | g)", data, "poisson").maximize()


# ----------------------------------------------------------------------------------------------------------------------
# weights


def test_weights_of_ones_own_are_the_textbooks_contrast(one_way):
    """Of means m_i of n rows: sum w m, with the standard error sqrt(s^2 sum w^2 / n) on the residual df."""
    point, groups = one_way
    w = np.array([1.0, -0.5, -0.5])
    found = bmm.emmeans(point, "a").contrast({"p v others": {"p": 1, "q": -0.5, "r": -0.5}})
    row = found.table.iloc[0]
    s2 = sum(np.square(g - g.mean()).sum() for g in groups) / 57
    estimate, se = w @ [g.mean() for g in groups], np.sqrt(s2 * np.square(w / np.sqrt(20)).sum())
    assert row["contrast"] == "p v others"
    np.testing.assert_allclose([row["estimate"], row["se"], row["df"]], [estimate, se, 57], rtol=1e-8)
    np.testing.assert_allclose(row["p"], 2 * stats.t.sf(abs(estimate / se), 57), rtol=1e-6)
    for other in ({"p v others": [1, -0.5, -0.5]}, {"p": 1, "q": -0.5, "r": -0.5}):
        again = bmm.emmeans(point, "a").contrast(other).table
        assert again["estimate"].item() == pytest.approx(estimate, rel=1e-9)
    assert again["contrast"].item() == "p - 0.5 q - 0.5 r"


@pytest.mark.parametrize(
    ("method", "names", "weights"),
    [
        ("pairwise", ["p - q", "p - r", "q - r"], [[1, -1, 0], [1, 0, -1], [0, 1, -1]]),
        ("reference", ["q - p", "r - p"], [[-1, 1, 0], [-1, 0, 1]]),
        ("consecutive", ["q - p", "r - q"], [[-1, 1, 0], [0, -1, 1]]),
        ("eff", ["p effect", "q effect", "r effect"], np.eye(3) - 1 / 3),
        ("helmert", ["q - p", "r - mean(p, q)"], [[-1, 1, 0], [-0.5, -0.5, 1]]),
        ("trend", ["linear", "quadratic"], [[-1, 0, 1], [1, -2, 1]]),
    ],
)
def test_the_named_sets(one_way, method, names, weights):
    point, groups = one_way
    found = bmm.emmeans(point, "a").contrast(method).table
    assert found["contrast"].tolist() == names
    np.testing.assert_allclose(found["estimate"], weights @ np.array([g.mean() for g in groups]), **EXACT)


def test_trends_are_fisher_and_yates_tables(data):
    """Fisher & Yates, Statistical Tables, table XXIII: four and five evenly spaced levels."""
    point = bmm.Model("y ~ x", data).maximize()
    slope = point.beta[1]
    four = bmm.emmeans(point, "x", at={"x": [1, 2, 3, 4]}).contrast("trend").table
    np.testing.assert_allclose(four["estimate"], [slope * np.dot([-3, -1, 1, 3], [1, 2, 3, 4]), 0, 0], atol=1e-10)
    from bayesmm.inference.marginal_effects.weights import _whole_polynomials

    assert _whole_polynomials(4, 3).tolist() == [[-3, -1, 1, 3], [1, -1, -1, 1], [-1, 3, -3, 1]]
    five = [[-2, -1, 0, 1, 2], [2, -1, -2, -1, 2], [-1, 2, 0, -2, 1], [1, -4, 6, -4, 1]]
    assert _whole_polynomials(5, 4).tolist() == five


def test_trends_over_uneven_values_follow_the_values(data):
    """A straight line has no quadratic trend; its linear one is slope * sum (x - mean)^2."""
    point = bmm.Model("y ~ x", data).maximize()
    x = np.array([1.0, 2.0, 7.0])
    found = bmm.emmeans(point, "x", at={"x": x}).contrast("trend").table
    expected = point.beta[1] * np.square(x - x.mean()).sum()
    np.testing.assert_allclose(found["estimate"], [expected, 0], atol=1e-9)


# ----------------------------------------------------------------------------------------------------------------------
# several at once


def test_against_a_control_it_is_dunnetts_test(one_way):
    """scipy.stats.dunnett: the same integral by another way; both are good to 1e-3 of p."""
    point, (p, q, r) = one_way
    known = stats.dunnett(p, r, control=q, rng=np.random.default_rng(1))
    found = bmm.emmeans(point, "a").pairs(reference="q").table
    assert found["contrast"].tolist() == ["p - q", "r - q"]
    np.testing.assert_allclose(found["t"], known.statistic, rtol=1e-7)
    np.testing.assert_allclose(found["p"], known.pvalue, rtol=5e-3, atol=1e-6)
    interval = known.confidence_interval()
    np.testing.assert_allclose(found[["lower", "upper"]], np.column_stack([interval.low, interval.high]), atol=5e-3)


def test_of_all_pairs_the_largest_of_correlated_t_is_the_studentised_range(one_way):
    """The three differences of three means have rank 2, which scipy's multivariate t cannot do."""
    means = bmm.emmeans(one_way[0], "a")
    tukey, mvt = means.pairs("tukey").table, means.pairs("mvt").table
    for column in ("p", "lower", "upper"):
        np.testing.assert_allclose(mvt[column], tukey[column], rtol=2e-3, atol=2e-5)


def test_six_means_are_the_studentised_range_too():
    table = factorial(balanced=True).assign(cell=lambda d: d["a"] + d["b"])
    means = bmm.emmeans(bmm.Model("y ~ cell", table).maximize(), "cell")
    tukey, mvt = means.pairs().table, means.pairs("mvt").table
    np.testing.assert_allclose(mvt["p"], tukey["p"], rtol=0.02, atol=1e-3)  # 16,384 directions in 5 dimensions
    np.testing.assert_allclose(mvt["upper"], tukey["upper"], rtol=5e-3, atol=5e-3)


def test_false_discovery_rates_are_scipys(one_way):
    found = bmm.emmeans(one_way[0], "a")
    plain, fdr = (found.contrast("eff", how).table for how in ("none", None))
    np.testing.assert_allclose(fdr["p"], stats.false_discovery_control(plain["p"]), rtol=1e-12)
    half = stats.t.ppf(1 - 0.05 / 6, 57) * plain["se"]
    np.testing.assert_allclose(fdr["upper"], plain["estimate"] + half, rtol=1e-9)


def test_joint_tests_are_the_analysis_of_variance(one_way):
    point, groups = one_way
    known = stats.f_oneway(*groups)
    means = bmm.emmeans(point, "a")
    for result in (means, means.pairs(), means.contrast("helmert"), means.contrast("trend")):
        row = result.joint().table.iloc[0]
        assert row["npar"] == 2 and row["DenDF"] == 57
        np.testing.assert_allclose([row["F value"], row["Pr(>F)"]], [known.statistic, known.pvalue], rtol=1e-6)


def test_joint_tests_of_a_mixed_model_are_its_analysis_of_variance():
    """By Kenward-Roger and Satterthwaite: type III of the factor, from the other end."""
    point = bmm.Model("y ~ a * b + (1 | g)", factorial(n=120)).maximize()
    for ddf in ("satterthwaite", "kenward-roger"):
        known = bmm.anova(point, type=3, ddf=ddf).table.loc["a"]
        row = bmm.emmeans(point, "a", ddf=ddf).joint().table.loc["all"]
        np.testing.assert_allclose(row["F value"], known["F value"], rtol=1e-6)
        np.testing.assert_allclose(row["DenDF"], known["DenDF"], rtol=1e-6)
    each = bmm.emmeans(point, "a", by="b").joint().table
    assert each.index.tolist() == ["u", "v"] and each.index.name == "b"


def test_joint_tests_with_z_are_walds(poisson):
    row = bmm.emmeans(poisson, "a").joint().table.loc["all"]
    at = [1, 2]
    wald = poisson.beta[at] @ np.linalg.solve(poisson.beta_cov[np.ix_(at, at)], poisson.beta[at])
    np.testing.assert_allclose([row["Df"], row["Chisq"]], [2, wald], rtol=1e-9)
    assert row["Pr(>Chisq)"] == pytest.approx(stats.chi2.sf(wald, 2), rel=1e-9)


# ----------------------------------------------------------------------------------------------------------------------
# ratios


def test_means_that_are_transformed_back(poisson):
    eta, back = bmm.emmeans(poisson, "a").table, bmm.emmeans(poisson, "a", kind="response")
    table = back.table
    np.testing.assert_allclose(
        table[["estimate", "lower", "upper"]], np.exp(eta[["estimate", "lower", "upper"]]), **EXACT
    )
    np.testing.assert_allclose(table["se"], eta["se"] * np.exp(eta["estimate"]), **EXACT)
    pairs = back.pairs().table
    assert pairs["contrast"].tolist() == ["p / q", "p / r", "q / r"]
    np.testing.assert_allclose(pairs["estimate"][0], np.exp(-poisson.beta[1]), rtol=1e-9)
    log = bmm.emmeans(poisson, "a").pairs().table
    np.testing.assert_allclose(pairs["p"], log["p"], rtol=1e-9)
    np.testing.assert_allclose(pairs["upper"], np.exp(log["upper"]), rtol=1e-9)
    assert "ratio of means of count" in back.pairs().title and "transformed back" in str(back)


def test_odds_ratios_of_a_posterior(logit):
    beta = logit.tree["posterior"]["beta"].to_numpy().reshape(-1, 4)
    pairs = bmm.emmeans(logit, "a", kind="response").pairs(reference="p")
    np.testing.assert_allclose(flat(pairs), np.exp(beta[:, 1:3]), **EXACT)
    assert pairs.null == 1 and "odds ratio of hit" in pairs.title
    means = bmm.emmeans(logit, "a", kind="response")
    assert ((means.table["mean"] > 0) & (means.table["mean"] < 1)).all()


def test_other_links_have_no_ratio(data):
    point = bmm.Model("hit ~ a", data, "bernoulli", link="probit").maximize()
    found = bmm.emmeans(point, "a", kind="response")
    np.testing.assert_allclose(
        found.table["estimate"], stats.norm.cdf(bmm.emmeans(point, "a").table["estimate"]), **EXACT
    )
    assert found.pairs().null == 0 and found.pairs().table["contrast"][0] == "p - q"


def test_a_cloglog_link_has_hazard_ratios(data):
    point = bmm.Model("hit ~ a", data, "bernoulli", link="cloglog").maximize()
    found = bmm.emmeans(point, "a", kind="response").pairs(reference="p")
    assert "hazard ratio" in found.title
    np.testing.assert_allclose(found.table["estimate"], np.exp(point.beta[1:]), rtol=1e-8)


def test_the_inverse_link_turns_the_ends_of_an_interval(data):
    point = bmm.Model("time ~ a", data, "gamma", link="inverse").maximize()
    eta, back = bmm.emmeans(point, "a").table, bmm.emmeans(point, "a", kind="response").table
    np.testing.assert_allclose(back["lower"], 1 / eta["upper"], **EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# of what else there is


def test_slopes_are_compared_across_groups():
    table = factorial(n=120)
    point = bmm.Model("y ~ a * x", table).maximize()
    slopes = bmm.slopes(point, "x", by="a")
    found = slopes.pairs("none").table
    assert list(found.columns[:2]) == ["variable", "contrast"]
    np.testing.assert_allclose(
        found["estimate"], [-point.beta[4], -point.beta[5], point.beta[4] - point.beta[5]], rtol=1e-6
    )
    np.testing.assert_allclose(found["se"][0], point.fixef(ddf="satterthwaite")["se"].iloc[4], rtol=1e-6)
    assert slopes.joint().table["npar"].item() == 3  # each of them is a difference: that all are 0
    assert slopes.pairs().joint().table["F value"].item() == pytest.approx(
        bmm.anova(point, type=3).table.loc["a:x", "F value"]
    )
    rest = slopes.contrast({"p v rest": {"p": 1, "q": -0.5, "r": -0.5}}).table["estimate"].item()
    assert rest == pytest.approx(-(point.beta[4] + point.beta[5]) / 2, rel=1e-6)


def test_predictions_of_a_posterior(logit):
    found = bmm.predictions(logit, at={"a": ["p", "q"], "x": [1.0, 2.0]})
    steps = found.contrast("consecutive", by="a")
    means = flat(found)
    np.testing.assert_allclose(flat(steps), means[:, [1, 3]] - means[:, [0, 2]], **EXACT)
    assert steps.table["contrast"].tolist() == ["2 - 1", "2 - 1"] and steps.null == 0
    cells = found.contrast({"d": {("p", 1.0): 1, ("q", 2.0): -1}})
    np.testing.assert_allclose(flat(cells)[:, 0], means[:, 0] - means[:, 3], **EXACT)


def test_ratios_of_ratios(poisson):
    ratios = bmm.comparisons(poisson, {"x": (1.0, 2.0)}, by="a", compare="ratio")
    found = ratios.pairs()
    assert found.null == 1 and found.table["contrast"][0] == "p / q"
    np.testing.assert_allclose(found.table["estimate"], 1, rtol=1e-9)  # no interaction: every ratio is exp(beta)


def test_contrasts_of_contrasts_are_interactions():
    point = bmm.Model("y ~ a * b", factorial()).maximize()
    found = bmm.emmeans(point, "a", by="b").pairs("none").pairs("none").table
    np.testing.assert_allclose(
        found["estimate"], [point.beta[4], point.beta[5], point.beta[5] - point.beta[4]], rtol=1e-8
    )
    assert found["contrast"].tolist() == ["u - v"] * 3


# ----------------------------------------------------------------------------------------------------------------------
# what cannot be done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "dunnet"}, "method should be one of pairwise.*trend, or weights"),
        ({"method": {"x": {"s": 1}}}, "the contrast 'x' names 's', and the levels are p, q, r"),
        ({"method": {"x": [1, -1]}}, "or 3 weights in the order p, q, r, not .1, -1."),
        ({"method": {"x": {"p": np.nan}}}, "should be finite numbers, not nan"),
        ({"method": {}}, "no contrast is given"),
        ({"method": "reference", "reference": "z"}, "reference names 'z', and the levels are"),
        ({"reference": "p"}, "reference is for method='reference', not for 'pairwise'"),
        ({"method": "eff", "adjust": "tukey"}, "Tukey's method is for all pairs"),
        ({"by": "b"}, "by names 'b', and the labels of the result are a"),
        ({"by": "a"}, "there is nothing to compare"),
        ({"adjust": "dunnett"}, "adjust must be one of"),
    ],
)
def test_what_is_wrong_is_said(one_way, arguments, message):
    with pytest.raises(ValueError, match=message):
        bmm.emmeans(one_way[0], "a").contrast(**arguments)


def test_a_sum_that_is_not_zero_is_said(one_way):
    assert "do not sum to 0" in str(bmm.emmeans(one_way[0], "a").contrast({"half": {"p": 0.5, "q": 0.5}}))


def test_a_posterior_has_no_p_values(logit):
    for test in (
        lambda: bmm.emmeans(logit, "a").joint(),
        lambda: bmm.emmeans(logit, "a").pairs(reference="p", adjust="mvt"),
    ):
        with pytest.raises(ValueError, match="a posterior has n"):
            test()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("~ a | b", r"here it is emmeans\(fit, 'a', by='b'\)$"),
        ("pairwise ~ a", r"here it is emmeans\(fit, 'a'\)\.pairs\(\)$"),
        ("a*b", r"here it is emmeans\(fit, \['a', 'b'\]\)$"),
        ("a | b + c", r"here it is emmeans\(fit, 'a', by=\['b', 'c'\]\)$"),
    ],
)
def test_a_specification_of_emmeans_is_told_what_to_write(linear, written, said):
    with pytest.raises(ValueError, match=said):
        bmm.emmeans(linear, written)


def test_what_cannot_be_estimated_is_left_out_of_joint_tests():
    table = factorial(balanced=True)
    table = table[~((table["a"] == "r") & (table["b"] == "v"))]
    means = bmm.emmeans(bmm.Model("y ~ a * b + (1 | g)", table).maximize(), "a")
    assert means.joint().table["npar"].tolist() == [1]
    assert means.contrast("trend").table["estimate"].isna().all()
    assert means.contrast({"p v q": {"p": 1, "q": -1}}).table["estimate"].notna().all()


def test_tables_keep_their_index_types(one_way):
    assert isinstance(bmm.emmeans(one_way[0], "a").contrast("eff").table, pd.DataFrame)
