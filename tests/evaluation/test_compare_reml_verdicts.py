"""What the verdicts rest on besides the rules: means given the others, a given fit that is no maximum, two causes."""

import dataclasses

import numpy as np
import pytest
from fake_fits import fake_block, fake_design, fake_fit, fake_point
from test_compare_reml import AGREEING, verdict

import bayesmm as bmm
from bayesmm.evaluation.compare_reml_verdicts import judge, say_why
from bayesmm.evaluation.joint_mode import means_given_others

# ----------------------------------------------------------------------------------------------------------------------
# the mean of a parameter where the others have given values


def test_means_given_others_are_those_of_a_normal_distribution():
    rng = np.random.default_rng(1)
    root = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [-0.3, 0.2, 0.9]])
    mean, at = np.array([5.0, -2.0, 100.0]), np.array([5.5, -2.4, 100.3])
    draws = mean[:, None] + root @ rng.normal(size=(3, 20_000))
    S = root @ root.T
    for j in range(3):
        others = [i for i in range(3) if i != j]
        wanted = mean[j] + S[j, others] @ np.linalg.solve(S[np.ix_(others, others)], (at - mean)[others])
        # a regression on 20,000 draws: 0.007 sds, with the three terms some 0.02
        assert means_given_others(draws, at)[j] == pytest.approx(wanted, abs=0.04)


def test_a_scale_is_larger_at_the_mode_of_many_coefficients():
    """Under flat priors of k coefficients sigma has n - k rows; where these are at their estimates it has n."""
    rng = np.random.default_rng(2)
    n, k = 60, 12
    # 1 / sigma^2 ~ gamma((n - k) / 2) times 2 / n of the residual sum of squares n; coefficients in sds given sigma
    sigma = 1 / np.sqrt(rng.gamma((n - k) / 2, 2 / n, 20_000))
    beta = sigma * rng.normal(size=(k, 20_000))
    found = means_given_others(np.vstack([sigma, beta]), np.zeros(k + 1) + np.eye(k + 1)[0])[0]
    exactly = (1 / np.sqrt(rng.gamma(n / 2, 2 / n, 200_000))).mean()  # coefficients at 0: k rows more are left
    assert sigma.mean() - exactly > 0.1
    assert found == pytest.approx(exactly, abs=0.2 * sigma.std())


def test_means_given_others_are_not_told_far_from_the_draws():
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(3, 4000))
    assert np.isfinite(means_given_others(draws, np.zeros(3))).all()
    assert np.isnan(means_given_others(draws, np.array([0.0, 9.0, 0.0]))[0])
    assert np.isnan(means_given_others(draws[:, :50], np.zeros(3))).all()  # too few draws
    assert np.isnan(means_given_others(draws, np.array([np.nan, 0.0, 0.0]))[0])
    doubled = np.vstack([draws[0], draws[1], draws[1]])
    assert np.isnan(means_given_others(doubled, np.zeros(3))[0])  # two that are one


# A Weibull shape with 6 coefficients and 76 rows (kidney data, no frailty): symmetric, and not where the joint mode is.
SHAPE = {
    "method": "ML", "nagq": 1, "levels": 0, "group": "", "point": 1.034, "reml": 1.034, "map": 1.024, "mean": 0.975,
    "median": 0.973, "mode": 0.972, "sd": 0.098, "given": 1.02,
}  # fmt: skip


def test_a_mean_that_is_at_the_mode_where_the_others_are_is_a_matter_of_modes():
    assert verdict(**SHAPE) == "skew"
    row = dataclasses.replace(AGREEING, **SHAPE)
    assert "where the others have their most probable values the mean is 1.02" in judge(row).cause(row)
    assert "suspect" not in judge(row).cause(row)
    assert verdict(**SHAPE | {"given": 0.98}) == "disagree"  # the others do not lead there: 0.45 sds
    assert verdict(**SHAPE | {"given": float("nan")}) == "disagree"
    # only 0.4 of the way from the mode to the mean is the others' doing
    assert verdict(**SHAPE | {"given": 1.08, "map": 1.05, "mean": 1.1, "median": 1.1}) == "disagree"
    assert verdict(**SHAPE | {"map": 1.0, "given": 1.0}) == "prior pull"  # most of the way is the priors'


# ----------------------------------------------------------------------------------------------------------------------
# two causes


def test_two_causes_are_weighed():
    both = dataclasses.replace(AGREEING, mean=12.0, median=11.8, mode=11.3, map=11.2)
    assert judge(both).verdict == "prior pull"
    assert say_why(both, judge(both)).endswith(
        "More than one cause applies: of the difference of 2.00 sds the priors make 60 % and the way from a mode to a "
        "mean 40 %"
    )
    assert sum(both.parts) == pytest.approx(1)
    one = dataclasses.replace(AGREEING, mean=12.0, median=12.0, mode=12.0, map=11.9)
    assert "More than one" not in say_why(one, judge(one))
    laplace = dataclasses.replace(AGREEING, method="ML", nagq=1, reml=10.8, map=10.8, mean=11.3, median=11.2)
    assert judge(laplace).verdict == "Laplace"
    assert "how the likelihood is maximised makes 62 % and the way from a mode to a mean 38 %" in say_why(
        laplace, judge(laplace)
    )
    nan = dataclasses.replace(AGREEING, mean=10.6, median=10.4, map=float("nan"))
    assert nan.parts == () and "More than one" not in say_why(nan, judge(nan))


def test_a_likelihood_without_a_maximum_is_not_measured_in_sds():
    flat = dataclasses.replace(AGREEING, point=8e12, reml=8e12, map=15.0, mean=24.0, median=21.0, mode=16.0, sd=14.0)
    assert judge(flat).verdict == "prior pull"
    assert "the likelihood is nearly flat in this direction, or the priors are very narrow" in judge(flat).cause(flat)


# ----------------------------------------------------------------------------------------------------------------------
# a fit that is given


def test_a_given_fit_that_is_no_maximum_is_no_agreement_and_no_prior_pull():
    assert verdict(point=11.0, maximum=10.0, mean=10.1, median=10.1) == "disagree"
    assert verdict(point=10.05, maximum=10.0) == "agree"  # 0.05 sds between two searches
    fit = fake_fit()
    falsified = fake_point(fit.design, beta=[250.0, 12.0])
    row = fit.compare(falsified).table.set_index("parameter").loc["beta[Days]"]
    assert row["verdict"] == "disagree" and "the REML fit that was given has 12" in row["cause"]
    assert not fit.compare(falsified).agrees and fit.compare(fake_point(fit.design)).agrees


def test_a_point_fit_of_other_data_or_of_another_structure_is_refused():
    fit = fake_fit()
    other = fake_design()
    other.y = other.y + 1
    with pytest.raises(ValueError, match="of other data: its responses are not those of this posterior"):
        fit.compare(fake_point(other))
    apart = fake_design([fake_block(partition=((0,), (1,)))])
    with pytest.raises(ValueError, match="another model, with the variance parameters sd_Subject"):
        fit.compare(fake_point(apart))


@pytest.mark.slow
def test_a_weibull_shape_with_many_coefficients_is_explained():
    rng = np.random.default_rng(36)
    X = rng.normal(size=(60, 8))
    data = {f"x{j}": X[:, j] for j in range(8)} | {"y": np.exp(X @ np.full(8, 0.3)) * rng.weibull(2, 60)}
    model = bmm.Model("y ~ " + " + ".join(f"x{j}" for j in range(8)), data, "weibull")
    row = model.sample(seed=1, progress=False).compare().table.set_index("parameter").loc["shape"]
    assert row["verdict"] in ("skew", "prior pull") and "suspect" not in row["cause"]
    assert row["difference"] < -0.5
