"""The tables of a posterior against arithmetic on the draws."""

import numpy as np
import pandas as pd
import pytest
from fake_fits import fake_block, fake_design, fake_draws, fake_fit, fake_tree

from bayesmm.posterior.draws import STATISTICS, describe
from bayesmm.results import Fit

ROUNDING = 1e-12  # relative: the same sums in another order


def test_describe_gives_mean_sd_and_equal_tailed_interval():
    grid = np.linspace(0, 1, 1001).reshape(1, 1, -1)  # quantiles of an even grid are the probabilities themselves
    row = describe(grid).iloc[0]
    assert row["mean"] == pytest.approx(0.5, rel=ROUNDING)
    assert row["sd"] == pytest.approx(np.sqrt(np.sum((grid - 0.5) ** 2) / 1000), rel=ROUNDING)
    assert (row["lower"], row["upper"]) == pytest.approx((0.025, 0.975), rel=ROUNDING)
    half = describe(grid, ci_prob=0.5).iloc[0]
    assert (half["lower"], half["upper"]) == pytest.approx((0.25, 0.75), rel=ROUNDING)


@pytest.mark.parametrize("prob", [95, 0, 1, -0.1, float("nan")])
def test_describe_refuses_what_is_no_probability(prob):
    with pytest.raises(ValueError, match="ci_prob must be a probability between 0 and 1"):
        describe(np.zeros((1, 2, 10)), prob)


def test_diagnostics_tell_independent_draws_from_a_chain_that_is_elsewhere():
    draws = np.random.default_rng(0).normal(size=(2, 4, 1000))
    draws[1, 0] += 2
    table = describe(draws)
    # the ESS of 4,000 independent draws varies by about 5 %; four times that is allowed
    assert table["ess_bulk"][0] == pytest.approx(4000, rel=0.2)
    assert table["ess_tail"][0] == pytest.approx(4000, rel=0.2)
    assert table["r_hat"][0] < 1.005
    # variance between chains: one of four is 2 sds off, so R-hat is about sqrt(1 + 1) without ranks; ranks shrink it
    assert table["r_hat"][1] > 1.2
    assert table["ess_bulk"][1] < 50


def test_a_fixed_parameter_has_its_exact_value_and_no_diagnostics():
    row = describe(np.full((1, 4, 777), 0.1)).iloc[0]
    assert (row["mean"], row["sd"], row["lower"], row["upper"]) == (0.1, 0.0, 0.1, 0.1)
    assert row[["ess_bulk", "ess_tail", "r_hat"]].isna().all()


def test_one_draw_and_one_chain_give_numbers_and_no_warning():
    row = describe(np.array([[[3.0]]])).iloc[0]
    assert (row["mean"], row["sd"]) == (3.0, 0.0)
    assert describe(np.random.default_rng(0).normal(size=(1, 1, 100)))["r_hat"].isna().all()


def test_fixef_is_indexed_by_coefficient():
    fit = fake_fit()
    table = fit.fixef()
    assert table.index.name == "coef" and list(table.index) == ["Intercept", "Days"]
    assert tuple(table.columns) == STATISTICS
    beta = fit.tree["posterior"]["beta"].values
    assert table["mean"].to_numpy() == pytest.approx(beta.mean(axis=(0, 1)), rel=ROUNDING)


def test_varcorr_has_lme4s_keys_more_levels_first_residual_last():
    blocks = [
        fake_block("School", 5, ("Intercept",), ((0,),)),
        fake_block("Pupil", 30, ("Intercept", "x", "z"), ((0, 1), (2,))),
    ]
    fit = fake_fit(fake_design(blocks))
    table = fit.varcorr()
    keys = [
        tuple(None if pd.isna(v) else v for v in row) for row in table[["grp", "var1", "var2"]].itertuples(index=False)
    ]
    assert keys == [
        ("Pupil", "Intercept", None),
        ("Pupil", "x", None),
        ("Pupil", "z", None),
        ("Pupil", "Intercept", "x"),  # and none with z, which is uncorrelated by design
        ("School", "Intercept", None),
        ("Residual", None, None),
    ]
    corr = fit.tree["posterior"]["corr_Pupil"].values[..., 0, 1]
    assert table["mean"][3] == pytest.approx(corr.mean(), rel=ROUNDING)
    assert table["upper"][3] == pytest.approx(np.quantile(corr, 0.975), rel=ROUNDING)


def test_ranef_goes_term_by_term():
    fit = fake_fit()
    table = fit.ranef()
    assert list(table.columns) == ["grpvar", "term", "grp", *STATISTICS]
    assert list(table["term"]) == ["Intercept"] * 18 + ["Days"] * 18
    assert list(table["grp"]) == 2 * list(fit.design.blocks[0].levels)
    b = fit.tree["posterior"]["b_Subject"].values.mean(axis=(0, 1))
    assert table["mean"].to_numpy() == pytest.approx(
        b.T.ravel(), rel=1e-9, abs=1e-12
    )  # means of mixed sign: some cancel


def test_coef_adds_fixed_and_random_part_also_where_there_is_no_fixed_part():
    design = fake_design([fake_block(columns=("Intercept", "z"))])
    fit = fake_fit(design)
    table = fit.coef()["Subject"]
    assert list(table.columns) == ["Intercept", "Days", "z"]
    posterior = fit.tree["posterior"]
    b, beta = posterior["b_Subject"].values.mean(axis=(0, 1)), posterior["beta"].values.mean(axis=(0, 1))
    assert table["Intercept"].to_numpy() == pytest.approx(beta[0] + b[:, 0], rel=ROUNDING)
    assert table["Days"].to_numpy() == pytest.approx(np.full(18, beta[1]), rel=ROUNDING)
    assert table["z"].to_numpy() == pytest.approx(b[:, 1], rel=ROUNDING)


def test_summary_has_every_parameter_once():
    fit = fake_fit()
    index = list(fit.summary().index)
    assert index[:6] == [
        "beta[Intercept]",
        "beta[Days]",
        "sd_Subject[Intercept]",
        "sd_Subject[Days]",
        "corr_Subject[Intercept, Days]",
        "sigma",
    ]
    assert index[6:] == [f"b_Subject[S{i}, {term}]" for term in ("Intercept", "Days") for i in range(18)]
    assert fit.summary(0.5)["upper"].iloc[5] < fit.summary()["upper"].iloc[5]
    assert fit.sigma().loc["sigma", "mean"] == fit.summary().loc["sigma", "mean"]


def test_an_ordinary_linear_model_has_empty_random_tables():
    fit = fake_fit(fake_design(blocks=()))
    assert len(fit.ranef()) == 0 and fit.coef() == {}
    assert list(fit.varcorr()["grp"]) == ["Residual"]


def test_no_fixed_effects_at_all():
    design = fake_design(coefficients=())
    draws = fake_draws(design)
    del draws["beta"]
    fit = fake_fit(design, draws)
    assert len(fit.fixef()) == 0 and "No fixed effects" in str(fit)
    assert list(fit.coef()["Subject"].columns) == ["Intercept", "Days"]


def test_the_order_of_dimensions_in_the_tree_does_not_matter():
    fit = fake_fit()
    turned = fit.tree["posterior"].to_dataset().transpose("draw", "chain", ...)
    tree = fake_tree(fit.design, {"sigma": ((), np.zeros((1, 1)))})
    tree["posterior"] = tree["posterior"].from_dict({"/": turned})
    pd.testing.assert_frame_equal(Fit(fit.model, tree).summary(), fit.summary())


def test_nothing_edits_the_tree():
    fit = fake_fit()
    before = fit.tree["posterior"].to_dataset().copy(deep=True)
    for result in (fit.summary, fit.ranef, fit.coef, fit.checks, fit.__str__, lambda: fit.compare(consistency=False)):
        result()
    assert fit.tree["posterior"].to_dataset().identical(before)


def test_a_fit_without_its_random_effects_has_all_the_rest():
    whole = fake_fit()
    tree = whole.tree.copy()
    tree["posterior"] = tree["posterior"].to_dataset().drop_vars("b_Subject")
    fit = Fit(whole.model, tree)
    assert list(fit.summary().index) == [name for name in whole.summary().index if not name.startswith("b_")]
    assert "The random effects were not kept" in str(fit) and "Scaled residuals" not in str(fit)
    assert all(check.ok for check in fit.checks())
    said = "random effects of 'Subject' were not kept; sample with keep_effects=True"
    for asked in (fit.ranef, fit.coef):
        with pytest.raises(ValueError, match=said):
            asked()
