"""The comparison: the mode of draws, the rule of the verdicts, and what is printed."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from fake_fits import RECORD, fake_block, fake_design, fake_draws, fake_fit, fake_point
from scipy import stats

from bayesmm.design.parameters import Parameter, variance_parameters
from bayesmm.evaluation.compare_reml import COLUMNS
from bayesmm.evaluation.compare_reml_verdicts import Row, judge, say_why
from bayesmm.posterior.density import CORR_SUPPORT, REAL_SUPPORT, SD_SUPPORT, density, flat_share, mode
from bayesmm.posterior.point_estimates import at_bound, confounded, singular_parts

SD = Parameter("sd", "sd_g[Intercept]", 0, (0,))
BETA = Parameter("coefficient", "beta[x]", -1, (1,))
AGREEING = Row(
    parameter=SD,
    method="REML",
    point=10.0,
    se=float("nan"),
    reml=10.0,
    map=10.0,
    mean=10.2,
    median=10.1,
    mode=10.0,
    sd=1.0,
    lower=8.0,
    upper=12.0,
    bound=False,
    confounded=False,
    singular="",
    group="g",
    levels=30,
)


def verdict(**changes):
    return judge(dataclasses.replace(AGREEING, **changes)).verdict


# The mode. Its error at 4,000 draws is about 0.07 sd for a smooth peak and 0.13 sd at a flat bound (density.mode);
# three of these is the tolerance.
@pytest.mark.parametrize(
    ("law", "truth", "support"),
    [
        (stats.norm(5, 2), 5, REAL_SUPPORT),
        (stats.gamma(4), 3, SD_SUPPORT),
        (stats.lognorm(0.5), np.exp(-0.25), SD_SUPPORT),
        (stats.t(3), 0, REAL_SUPPORT),
        (stats.beta(6, 2, loc=-1, scale=2), 2 / 3, CORR_SUPPORT),
    ],
)
def test_mode_is_near_the_mode_of_the_law(law, truth, support):
    draws = law.rvs(4000, random_state=np.random.default_rng(1))
    assert abs(mode(draws, support) - truth) < 0.21 * draws.std()


def test_a_density_that_is_flat_from_its_bound_is_known_by_its_height():
    """Of a half-normal it is exp(-x^2 / 2), whichever draws place its mode; of a gamma(4) 0 at its bound."""
    for seed in range(6):
        half = np.abs(np.random.default_rng(seed).normal(size=1500))
        assert flat_share(half, SD_SUPPORT, 0.1) > 0.9  # 3 Monte Carlo errors of 0.02 below 0.995 and rounded peaks
        assert flat_share(half, SD_SUPPORT, 1.0) == pytest.approx(np.exp(-0.5), abs=0.09)
        assert flat_share(1 - half / 20, CORR_SUPPORT, 0.995) > 0.9
        assert flat_share(half / 20 - 1, CORR_SUPPORT, -0.995) > 0.9
    gamma = stats.gamma(4).rvs(4000, random_state=np.random.default_rng(1))
    assert flat_share(gamma, SD_SUPPORT, 3.0) < 0.1  # the estimate at the mode, and nothing flat below it
    assert np.isnan(flat_share(gamma + 50, SD_SUPPORT, 53.0))  # no bound is near
    assert np.isnan(flat_share(gamma, REAL_SUPPORT, 3.0)) and np.isnan(flat_share(gamma, SD_SUPPORT, np.nan))
    assert np.isnan(flat_share(gamma, SD_SUPPORT, 100.0)) and np.isnan(flat_share(np.full(9, 2.5), SD_SUPPORT, 2.5))


def test_mode_of_a_density_that_falls_from_its_bound_is_the_bound():
    rng = np.random.default_rng(2)
    assert mode(rng.exponential(size=4000), SD_SUPPORT) == 0
    assert mode(-rng.exponential(size=4000) / 10 + 1, CORR_SUPPORT) == 1
    assert mode(rng.exponential(size=4000) / 10 - 1, CORR_SUPPORT) == -1
    assert mode(np.abs(rng.normal(size=4000)), SD_SUPPORT) < 0.39  # a half-normal is flat at 0: 3 x 0.13


def test_mode_does_not_mind_a_heavy_tail_or_a_single_value():
    draws = 10 + np.random.default_rng(3).standard_cauchy(4000)
    assert abs(mode(draws) - 10) < 0.3  # 3 x 0.07 spreads of IQR / 1.349 = 1.5; the farthest draw is over 1,000
    assert mode(np.full(100, 2.5), SD_SUPPORT) == 2.5


def test_density_is_one_in_all_and_does_not_fall_off_at_a_bound():
    draws = np.random.default_rng(4).exponential(size=20_000)
    grid, height = density(draws, SD_SUPPORT)
    assert height.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-6)
    assert grid[0] > 0
    # without reflection half of the mass at 0 is lost; a bandwidth of 0.1 costs about 10 % of a density of exp(-x)
    assert height[0] == pytest.approx(1, abs=0.15)


# The rule, row by row


def test_a_small_difference_agrees():
    assert verdict() == "agree"
    assert verdict(mean=10.25, median=10.25) == "agree"  # the limit itself
    assert verdict(mean=9.76, median=9.76) == "agree"


def test_a_long_tail_with_the_mode_in_place_is_skew():
    assert verdict(mean=10.6, median=10.4) == "skew"
    assert verdict(mean=9.4, median=9.6) == "skew"


def test_the_mode_may_also_be_the_joint_one():
    assert verdict(mean=10.9, median=10.7, mode=10.6) == "skew"
    assert verdict(mean=11.3, median=11.1, mode=11.0) == "disagree"  # too far for skewness about another mode


def test_the_mode_of_draws_has_an_error_of_its_own():
    nan = float("nan")
    assert verdict(mean=10.6, median=10.4, map=nan, mode=10.34) == "skew"
    assert verdict(mean=10.6, median=10.4, map=nan, mode=10.36) == "disagree"


def test_without_a_marginal_mode_the_priors_are_not_acquitted():
    shifted = dataclasses.replace(AGREEING, mean=10.6, median=10.6)
    assert "neither the priors" in judge(shifted).cause(shifted)
    unknown = dataclasses.replace(shifted, map=float("nan"))
    assert "what the priors do cannot be told here" in judge(unknown).cause(unknown)


def test_a_shift_without_a_tail_is_no_skew():
    assert verdict(mean=10.6, median=10.6) == "disagree"
    assert verdict(mean=10.6, median=10.7) == "disagree"  # the tail is on the other side
    assert verdict(parameter=BETA, levels=0, mean=10.6, median=10.6, mode=10.6) == "disagree"


def test_a_moved_marginal_mode_is_the_priors_pull():
    assert verdict(mean=12.0, median=12.0, mode=12.0, map=11.5) == "prior pull"
    assert verdict(mean=8.0, median=8.0, mode=8.0, map=9.0) == "prior pull"  # exactly half
    assert verdict(mean=12.0, median=12.0, mode=12.0, map=10.9) == "disagree"
    assert verdict(mean=10.6, median=10.4, map=9.0) == "skew"  # the priors pull the other way


# sd_Subject[Intercept] of the sleep study in seconds with sigma ~ HalfNormal(0.001), 4,000 draws: the prior of another
# parameter moves it, by 0.40 sds of the 0.88, and the tail does the rest.
MOVED = {
    "point": 0.024740, "reml": 0.024740, "map": 0.027179, "mean": 0.030035, "median": 0.029282, "mode": 0.028449,
    "sd": 0.006034,
}  # fmt: skip


def test_a_mean_near_the_mode_that_the_priors_moved_is_the_priors_pull():
    assert verdict(mean=10.3, median=10.3, mode=10.3, map=10.1) == "prior pull"
    assert verdict(mean=10.6, median=10.6, mode=10.6, map=10.29) == "disagree"  # 0.31 sds between two computations


def test_of_joint_modes_another_sampler_is_the_first_thing_to_try():
    shifted = dataclasses.replace(AGREEING, mean=10.6, median=10.6)
    assert "suspect one of the two computations" in judge(shifted).cause(shifted)
    generalised = dataclasses.replace(shifted, nagq=25, method="ML")
    assert judge(generalised).verdict == "disagree"
    assert "draw by another sampler before you suspect" in judge(generalised).cause(generalised)


def test_priors_and_the_tail_about_the_mode_that_they_make_are_the_priors_pull():
    moved = dataclasses.replace(AGREEING, **MOVED)
    assert judge(moved).verdict == "prior pull"
    assert judge(moved).cause(moved) == (
        "the priors of all parameters together move the mode from 0.02474 to 0.02718, by 0.40 posterior sds, and the "
        "longer tail about that mode moves the mean on to 0.03003"
    )
    assert verdict(**MOVED | {"map": 0.0262}) == "skew"  # moved by 0.24 sds, which a reader may overlook
    assert verdict(**MOVED | {"mode": 0.0293}) == "disagree"  # 0.351 sds from the mode that the priors make
    assert verdict(**MOVED | {"median": 0.0298}) == "disagree"  # no tail
    assert verdict(**MOVED | {"mean": 0.0333, "median": 0.0328}) == "disagree"  # 1.01 sds from that mode
    assert verdict(**MOVED | {"map": 0.0223, "mode": 0.0223}) == "disagree"  # the priors pull the other way


def test_a_posterior_that_is_flat_from_its_bound_to_the_estimate_is_skewed_wherever_its_mode_falls():
    """A small sd of counts: nothing else of the row may decide, as its mode did by chance."""
    level = dict(point=0.012, reml=0.011, map=0.0, mean=0.101, median=0.091, sd=0.069, lower=0.005, upper=0.26)
    assert {verdict(**level, mode=mode, flat=0.96) for mode in (0.0, 0.035, 0.075, 0.13)} == {"skew"}
    assert {verdict(**level, mode=mode) for mode in (0.035, 0.075)} == {"skew", "disagree"}  # as it was
    assert verdict(**level, mode=0.075, flat=0.8) == "disagree"
    far = dict(level, mean=0.14, median=0.13)  # farther than a mean of any such density
    assert verdict(**far, mode=0.075, flat=0.96) == "disagree"
    row = dataclasses.replace(AGREEING, **level, mode=0.075, flat=0.96)
    assert "flat from its bound to REML's 0.012" in say_why(row, judge(row))


def test_few_levels_and_a_tail_are_few_groups():
    assert verdict(mean=11.5, median=11.3, mode=10.9, levels=9) == "few groups"
    assert verdict(mean=11.5, median=11.3, mode=10.9, levels=10) == "disagree"
    assert verdict(mean=11.8, median=11.5, mode=11.3, levels=3) == "disagree"  # farther than sqrt(3)
    assert verdict(mean=11.5, median=11.5, mode=11.5, levels=3) == "disagree"  # no tail


def test_an_estimate_at_its_bound_is_boundary_however_near():
    assert verdict(point=0.0, reml=0.0, map=0.2, mean=0.5, median=0.4, mode=0.1, sd=0.4, bound=True) == "boundary"
    assert verdict(mean=10.1, bound=True) == "boundary"


def test_what_rests_on_a_singular_matrix_is_boundary_when_nothing_else_explains_it():
    assert verdict(mean=10.6, median=10.6, mode=10.6, singular="g") == "boundary"
    assert verdict(mean=10.6, median=10.4, singular="g") == "skew"


def test_fixed_and_unidentified_parameters():
    assert verdict(sd=0.0, mean=10.0) == "agree"
    assert verdict(sd=0.0, mean=12.0) == "prior pull"
    nan = float("nan")
    assert verdict(parameter=BETA, point=nan, reml=nan, map=nan, confounded=True) == "prior pull"
    assert verdict(parameter=BETA, confounded=True) == "prior pull"  # near, but only because its posterior is so wide


def test_maximum_likelihood_is_short_with_few_groups():
    assert verdict(method="ML", point=9.4, reml=10.0, map=10.0, mean=10.2, median=10.2, mode=10.2) == "few groups"
    assert verdict(method="ML", point=9.4, reml=9.5, map=9.5, mean=10.2, median=10.2, mode=10.2) == "disagree"


def test_the_priors_pull_is_said_in_sds_whether_it_is_more_or_less_than_the_difference():
    more = dataclasses.replace(AGREEING, mean=10.5, median=10.5, mode=10.5, map=11.0)
    assert judge(more).cause(more) == (
        "the most probable value is 10 without priors and 11 with them, 1.00 posterior sds apart; the mean is "
        "0.50 sds from REML"
    )
    less = dataclasses.replace(AGREEING, mean=12.0, median=12.0, mode=12.0, map=11.5)
    assert "1.50 posterior sds apart; the mean is 2.00 sds from" in judge(less).cause(less)


def test_no_map_means_no_pull():
    assert verdict(mean=12.0, median=12.0, mode=12.0, map=float("nan")) == "disagree"
    assert verdict(mean=10.6, median=10.4, map=float("nan")) == "skew"


# The comparison of a fit


def skewed_fit(**points):
    """Return a fit whose sd of Days has a gamma(4) posterior with its mode at the REML estimate, 5."""
    design = fake_design()
    draws = fake_draws(design)
    sds = draws["sd_Subject"][1].copy()
    sds[..., 1] = np.random.default_rng(7).gamma(4, 5 / 3, size=sds.shape[:2])
    return fake_fit(design, draws | {"sd_Subject": (("Subject_term",), sds)}, **points)


def test_the_table_has_the_public_columns_and_lme4s_order():
    table = skewed_fit().compare(consistency=False).table
    assert list(table.columns) == COLUMNS
    assert list(table["parameter"]) == [
        "sd_Subject[Intercept]",
        "sd_Subject[Days]",
        "corr_Subject[Intercept, Days]",
        "sigma",
        "beta[Intercept]",
        "beta[Days]",
    ]
    assert list(table["verdict"]) == ["agree", "skew", "agree", "agree", "agree", "agree"]
    assert (table["cause"] != "").tolist() == (table["verdict"] != "agree").tolist()


def test_the_numbers_of_a_row_are_those_of_the_fits_and_the_draws():
    fit = skewed_fit()
    row = fit.compare(consistency=False).table.set_index("parameter").loc["sd_Subject[Days]"]
    draws = fit.tree["posterior"]["sd_Subject"].values[..., 1].ravel()
    assert row["point"] == 5 and row["map"] == 5 and np.isnan(row["se"])
    expected = [draws.mean(), np.median(draws), draws.std(ddof=1), *np.quantile(draws, [0.025, 0.975])]
    assert list(row[["mean", "median", "sd", "lower", "upper"]]) == pytest.approx(expected, rel=1e-12)  # same sums
    assert row["difference"] == pytest.approx((draws.mean() - 5) / draws.std(ddof=1), rel=1e-12)
    assert abs(row["mode"] - 5) < 0.3 * draws.std()  # gamma(4), 2,000 draws: error 0.09 sd (density.mode), three of it
    beta = fit.compare(consistency=False).table.set_index("parameter").loc["beta[Days]"]
    assert (beta["point"], beta["se"]) == (10, 2)


def test_a_given_point_is_compared_and_must_be_of_the_same_model():
    fit = skewed_fit()
    assert "Posterior and ML agree" in str(fit.compare(fake_point(fit.design, "ML"), consistency=False))
    other = fake_point(fake_design([fake_block("School")]))
    with pytest.raises(ValueError, match=r"another model, with beta\[Intercept\].*School\[Days\] on 180 rows"):
        fit.compare(other, consistency=False)


def test_a_prior_without_density_leaves_the_map_out():
    design = fake_design()
    fit = fake_fit(design, points={"REML": fake_point(design)})
    assert fit.compare(consistency=False).table["map"].isna().all()


def test_zero_variance_and_perfect_correlation_are_boundary():
    design = fake_design()
    for changes, labels in [
        ({"sds": [(20.0, 0.0)]}, {"sd_Subject[Days]", "corr_Subject[Intercept, Days]"}),
        ({"corrs": [-1.0]}, {"corr_Subject[Intercept, Days]"}),
    ]:
        points = {"REML": fake_point(design, singular=True, **changes), "MAP": fake_point(design, "MAP")}
        table = fake_fit(design, points=points).compare(consistency=False).table
        assert set(table["parameter"][table["verdict"] == "boundary"]) == labels
        corr = table.set_index("parameter").loc["corr_Subject[Intercept, Days]", "cause"]
        assert corr.startswith(
            "REML is -1, at its bound" if "corrs" in changes else "REML is undefined because an sd is 0"
        )


def test_a_coefficient_that_moved_with_a_singular_matrix_is_boundary():
    design = fake_design()
    points = {
        "REML": fake_point(design, sds=[(20.0, 0.0)], beta=[250.7, 10.0]),
        "MAP": fake_point(design, "MAP", beta=[250.6, 10.0]),
    }
    row = fake_fit(design, points=points).compare(consistency=False).table.set_index("parameter").loc["beta[Intercept]"]
    assert row["verdict"] == "boundary" and "a singular fit, where an effect of Subject, or a weighted" in row["cause"]


def test_an_sd_whose_density_falls_from_0_has_its_mode_there():
    draws = fake_draws(fake_design())
    sds = np.random.default_rng(8).exponential(size=draws["sd_Subject"][1].shape)
    table = fake_fit(draws=draws | {"sd_Subject": (("Subject_term",), sds)}).compare(consistency=False).table
    assert list(table["mode"][:2]) == [0, 0]


@pytest.mark.parametrize("unit", [1e6, 1e-9])
def test_coefficients_that_the_data_give_only_in_a_sum_are_entangled(unit):
    design = fake_design(coefficients=("Intercept", "a", "b", "c"), aliased=(2,))
    design.X[:, 2] = unit * (1 - 2 * design.X[:, 1])
    assert confounded(design) == {0, 1, 2}
    assert confounded(fake_design()) == set()
    table = (
        fake_fit(design, points={"REML": fake_point(design, beta=[250.0, 10.0, np.nan, 1.0])})
        .compare(consistency=False)
        .table
    )
    assert list(table["verdict"])[-4:] == ["prior pull", "prior pull", "prior pull", "agree"]


def test_which_parts_of_a_fit_are_singular():
    design = fake_design([fake_block(columns=("Intercept", "x", "z"), partition=((0, 1, 2),))])
    assert singular_parts(fake_point(design), 0) == []
    assert singular_parts(fake_point(design, sds=[(1.0, 0.0, 1.0)]), 0) == ["the sd of x in Subject is 0"]
    everything = singular_parts(fake_point(design, corrs=[1.0]), 0)
    assert everything[0] == "the correlation of Intercept and x in Subject is 1" and len(everything) == 3
    rank2 = fake_point(design, corrs=[-0.5])  # three correlations of -1/2: the smallest eigenvalue is 1 - 2/2 = 0
    assert singular_parts(rank2, 0) == ["the covariance matrix of the 3 terms in Subject has rank 2"]


def test_a_tiny_sd_of_a_large_predictor_is_not_zero():
    design = fake_design()
    design.blocks[0].Z[:, 1] *= 1e6
    point, parameter = fake_point(design, sds=[(20.0, 5e-6)]), variance_parameters(design)[1]
    assert parameter.label == "sd_Subject[Days]" and not at_bound(point, parameter)


# What is printed


def consistency(**changes):
    record = dict(criterion=1743.62827, point_criterion=1743.62827, gap=2.1e-9, ok=True, message="", of="graph")
    return SimpleNamespace(**(record | changes))


def test_print_starts_with_the_verdict_and_ends_with_the_consistency_check():
    comparison = dataclasses.replace(skewed_fit().compare(consistency=False), consistency=consistency())
    text = str(comparison)
    assert text.startswith(
        "Posterior and REML agree on 5 of 6 parameters; where they differ the cause is known: skew (1).\n"
    )
    assert "Why they differ:\n sd_Subject[Days]: skew; the posterior has a longer tail" in text
    assert "criterion 1743.6283, REML 1743.6283, gap 2e-09)." in " ".join(text.split())
    assert max(map(len, text.split("\n"))) <= 100


def test_print_says_what_is_wrong():
    design = fake_design()
    far = fake_fit(
        design, points={m: fake_point(design, m, sigma=10.0) for m in ("REML", "MAP")}, record=RECORD | {"tune": 0}
    )
    text = str(
        dataclasses.replace(far.compare(consistency=False), consistency=consistency(ok=False, message="the gap is 0.3"))
    )
    assert text.startswith("CHECKS FAILED (tuning)")
    assert "they DISAGREE without a known cause on 1: sigma." in " ".join(text.split())
    assert text.endswith("CONSISTENCY CHECK FAILED: the gap is 0.3")


def test_an_optimizer_that_did_not_converge_is_said_first():
    fit = fake_fit()
    point = fake_point(fit.design, converged=False, message="NOT converged: the gradient is too large")
    assert str(fit.compare(point, consistency=False)).startswith(
        "REML: NOT converged: the gradient is too large\nPosterior"
    )


def test_a_check_that_was_not_computed_is_not_called_failed():
    text = str(
        dataclasses.replace(
            fake_fit().compare(consistency=False),
            consistency=consistency(criterion=float("nan"), ok=False, message="not computed: it is long"),
        )
    )
    assert text.startswith("Posterior and REML agree on all 6 parameters.")
    assert text.endswith("Consistency check not computed: it is long.")
