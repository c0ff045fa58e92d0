"""What is printed: lme4's layout, its numbers, and nothing that a hostile name can break."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_fits import RECORD, fake_block, fake_design, fake_draws, fake_fit, fake_point

from bayesmm.display.frames import WholeFrame
from bayesmm.display.text_tables import LINE_WIDTH, column, count, number, shorten, table, width, wrap
from bayesmm.reporting.summary import ceiled, render_fit, render_model, render_point


def tokens(text):
    """Return the words of each line that has any."""
    return [line.split() for line in text.split("\n") if line.strip()]


def sleepstudy_point(method="REML", **changes):
    """Return the fit of sleepstudy that lme4's documentation prints, from its own numbers."""
    design = fake_design()
    cov = np.array([[6.825**2, -0.138 * 6.825 * 1.546], [-0.138 * 6.825 * 1.546, 1.546**2]])
    fields = dict(
        sds=[(24.7405, 5.9221)],
        corrs=[0.066],
        sigma=25.5918,
        beta=[251.4051, 10.46729],
        beta_cov=cov,
    )
    return fake_point(design, method, **(fields | changes))


# Numbers and text


def test_a_column_whose_errors_are_all_0_has_the_digits_of_its_values():
    """As of parameters that are fixed: with decimals for an error of 0 they read 1 and 0."""
    assert column([1.25, 0.5], 3, scale=[0.0, 0.0]) == column([1.25, 0.5], 3) == ["1.250", "0.500"]
    assert column([1.25, 0.5], 3, scale=[]) == ["1.250", "0.500"]


def test_a_column_shows_four_digits_of_its_smallest_number():
    assert column([612.0889, 35.07171, 654.9411]) == ["612.09", "35.07", "654.94"]
    assert column([24.74044, 5.92213, 25.59179]) == ["24.740", "5.922", "25.592"]
    assert column([0.0, 1234.5, np.nan]) == ["0", "1234", ""]
    assert column([251405.123, 0.0004123]) == ["2.5141e+05", "0.0004123"]  # 15 columns wide in fixed point


def test_numbers_without_minus_zero_and_missing_ones_blank():
    assert (number(-0.0001, 2), number(-0.01, 2), number(float("nan"), 2)) == ("0.00", "-0.01", "")
    assert (count(2150.9), count(float("nan")), count(float("inf"))) == ("2,150", "", "inf")
    assert (ceiled(1.0031), ceiled(1.003), ceiled(float("nan"))) == ("1.004", "1.003", "")


def test_names_are_cut_escaped_and_measured_as_a_terminal_shows_them():
    assert shorten("x" * 198 + "yz") == "x" * 198 + "yz"
    assert shorten("x" * 10_000 + "z") == "x" * 119 + "..." + "x" * 77 + "z"  # the end too: names differ there
    assert shorten("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert (width("längd"), width("日本"), width("e\u0301")) == (5, 4, 1)
    assert shorten("日本" * 20, 10) == "日本...本" and width(shorten("日本" * 20, 10)) <= 10


def test_columns_line_up_also_with_wide_characters():
    lines = table(["", "a"], [["日本", "1"], ["xyz", "22"]])
    assert [width(line) for line in lines] == [8, 8, 8]


def test_a_table_is_cut_after_20_rows_and_names_go_on_below():
    lines = table(["name", "other", *"abcdef"], [["n" * 90, "o" * 60, *["1234567.9"] * 6]] * 100_000, left=2)
    assert lines[-1] == " ... and 99,980 more" and max(map(width, lines)) <= LINE_WIDTH
    first = lines[1 : 1 + (len(lines) - 2) // 20]
    assert sum(line.count("n") for line in first) == 90 and sum(line.count("o") for line in first) == 60
    assert first[0].endswith("1234567.9") and not any(digit in "".join(first[1:]) for digit in "123")


def test_two_rows_of_a_table_never_read_the_same():
    names = [f"FoodTreatment[T.Satiated, after the first of {i} feedings]:SexParent[T.Male]" for i in range(15)]
    lines = table(["", *"abcdef"], [[name, *["123456.789"] * 6] for name in names])
    text = "\n".join(lines)
    rows = text.split("\n FoodTreatment")[1:]
    assert max(map(width, lines)) <= LINE_WIDTH and len(set(rows)) == 15
    whole = [re.sub(r"\s|123456.789", "", row) for row in rows]
    assert [f"FoodTreatment{row}" for row in whole] == [name.replace(" ", "") for name in names]


def test_correlations_of_coefficients_whose_names_begin_alike_have_numbers():
    design = fake_design(coefficients=("cond[T.neutral]", "cond[T.incongruent]"))
    text = render_point(fake_point(design)).split("Correlation of Fixed Effects:\n")[1]
    head, first, second = text.split("\n")[:3]
    assert head.split() == ["1"] and first.split() == ["1", "cond[T.neutral]"]
    assert second.split()[:2] == ["2", "cond[T.incongruent]"]


def test_a_frame_prints_all_its_columns():
    wide = {f"a_long_name_{i}": [1.0] for i in range(20)}
    frame = WholeFrame(pd.DataFrame({**wide, "name": ["x" * 80], "df": [17.0]}))
    assert "..." in repr(pd.DataFrame(frame))
    assert "..." not in repr(frame) and "df" in repr(frame) and "x" * 80 in repr(frame)
    assert type(frame[["df"]]) is pd.DataFrame


def test_wrap_keeps_every_word_and_the_indent():
    text = "word " * 60
    lines = wrap(text, "    ", " ")
    assert " ".join(lines).split() == text.split()
    assert lines[0].startswith(" word") and all(line.startswith("    word") for line in lines[1:])
    assert max(map(len, lines)) <= LINE_WIDTH


# The maximised fit


def test_the_print_of_sleepstudy_is_that_of_lme4():
    found = tokens(render_point(sleepstudy_point()))
    expected = """
        REML criterion at convergence: 1743.6
        Groups Name Variance Std.Dev. Corr
        Subject Intercept 612.09 24.741
        Days 35.07 5.922 0.07
        Residual 654.94 25.592
        Number of obs: 180, groups: Subject, 18
        Estimate Std. Error t value
        Intercept 251.405 6.825 36.836
        Days 10.467 1.546 6.771
        Correlation of Fixed Effects:
        Days -0.138"""
    for line in tokens(expected):
        assert line in found, line


def test_sections_come_in_lme4s_order():
    text = render_point(sleepstudy_point())
    titles = [
        "fit by REML",
        "Formula:",
        "REML criterion",
        "Scaled residuals:",
        "Random effects:",
        "Number of obs",
        "Fixed effects:",
    ]
    places = [text.index(title) for title in [*titles, "Correlation of Fixed Effects"]]
    assert places == sorted(places)


def test_scaled_residuals_are_quartiles_over_sigma():
    point = sleepstudy_point()
    line = render_point(point).split("\n\n")[2].split("\n")[2]
    assert [float(v) for v in line.split()] == pytest.approx(
        np.quantile(point.residuals / 25.5918, [0, 0.25, 0.5, 0.75, 1]), abs=5e-5
    )


def test_maximum_likelihood_prints_the_information_criteria():
    text = render_point(sleepstudy_point("ML", loglik=-875.9697, deviance=1751.9393))
    assert "fit by maximum likelihood" in text and "REML" not in text
    assert ["AIC", "BIC", "logLik", "deviance", "df.resid"] in tokens(text)
    assert ["1763.9", "1783.1", "-876.0", "1751.9", "174"] in tokens(text)  # lme4's line for this model


def test_factors_with_more_levels_come_first():
    design = fake_design(
        [fake_block("batch", 10, ("Intercept",), ((0,),)), fake_block("batch:cask", 30, ("Intercept",), ((0,),))]
    )
    text = render_point(fake_point(design))
    assert "groups: batch:cask, 30; batch, 10" in text
    assert text.index(" batch:cask") < text.index(" batch ")
    assert "Corr" not in text.split("Random effects:")[1].split("Fixed effects:")[0]


def test_three_terms_have_a_triangle_of_correlations_and_none_where_uncorrelated():
    design = fake_design([fake_block(columns=("Intercept", "x", "z"), partition=((0, 1), (2,)))])
    rows = tokens(render_point(fake_point(design, corrs=[0.5])))
    assert ["x", "25.000", "5.000", "0.50"] in rows and ["z", "1.562", "1.250"] in rows
    design = fake_design([fake_block(columns=("Intercept", "x", "z"), partition=((0, 1, 2),))])
    assert ["z", "1.562", "1.250", "0.50", "0.50"] in tokens(render_point(fake_point(design, corrs=[0.5])))


def test_a_singular_fit_says_what_is_singular():
    text = render_point(sleepstudy_point(sds=[(24.7, 0.0)], singular=True))
    assert "boundary (singular) fit: the sd of Days in Subject is 0" in text
    assert "singular" not in render_point(sleepstudy_point())


def test_an_aliased_coefficient_is_a_row_of_nan_and_is_said():
    design = fake_design(coefficients=("Intercept", "a", "b"), aliased=(2,))
    text = render_point(fake_point(design, beta=[250.0, 10.0, np.nan]))
    assert ["b", "NaN", "NaN", "NaN"] in tokens(text)
    assert "NaN: b cannot be estimated, a linear combination of other coefficients" in text
    assert ["a", "-0.125"] in tokens(text.split("Correlation of Fixed Effects:")[1])  # -0.5 / 4, and no b


def test_no_convergence_is_said():
    text = render_point(sleepstudy_point(converged=False, message="NOT converged: the gradient is large"))
    assert text.endswith("optimizer: NOT converged: the gradient is large")


def test_many_coefficients_have_no_matrix_of_correlations():
    names = ("Intercept", *(f"x{i}" for i in range(30)))
    text = render_point(fake_point(fake_design(coefficients=names)))
    assert "Correlation of Fixed Effects: 31 coefficients are too many to print; see point.vcov" in text
    assert " ... and 11 more" in text


def test_messages_of_the_data_are_shown():
    messages = [
        SimpleNamespace(level="warning", text="3 rows were dropped"),
        SimpleNamespace(level="note", text="g is crossed"),
    ]
    one, two, three = (fake_design(messages=messages) for _ in range(3))
    for text in (render_point(fake_point(one)), render_fit(fake_fit(two)), render_model(fake_fit(three).model)):
        assert "Warning: 3 rows were dropped\nNote: g is crossed" in text
    assert render_fit(fake_fit(two)).startswith("Checks passed")  # the verdict comes before them


# The posterior


def test_the_first_line_of_a_fit_is_the_verdict():
    assert re.match(r"Checks passed: R-hat <= 1\.0\d\d, ESS >= 1,\d{3}, no divergence\.\n", render_fit(fake_fit()))
    bad = render_fit(fake_fit(record=RECORD | {"interrupted": True, "draws": 1000})).split("\n")
    assert bad[0] == "CHECKS FAILED: interrupted."
    assert bad[1].startswith("  interrupted: the sampling was stopped after 500 of 1,000 draws")
    assert any("(INTERRUPTED)" in line for line in bad)


def test_a_fit_has_the_sections_of_lme4_with_posterior_columns():
    text = render_fit(fake_fit(record=RECORD | {"effects": "explicit"}))
    titles = [
        "Formula:",
        "Family: gaussian",
        "Draws:",
        "95 % equal-tailed",
        "Scaled residuals",
        "Random effects",
        "Number of obs",
        "Fixed effects",
    ]
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    assert "Draws: 4 chains of 500 after 1,000 tuning steps each, 2.2 s, seed 1, random effects sampled" in text
    assert ["Groups", "Name", "mean", "sd", "lower", "upper", "Corr", "ESS", "R-hat"] in tokens(text)
    assert "Number of obs: 180, groups: Subject, 18" in text


def test_the_rows_of_a_fit_are_those_of_its_tables():
    fit = fake_fit()
    row = next(line for line in tokens(render_fit(fit)) if line[0] == "Residual")
    truth = fit.sigma().loc["sigma"]
    assert [float(v) for v in row[1:5]] == pytest.approx(list(truth[["mean", "sd", "lower", "upper"]]), abs=5e-3)
    assert row[5] == f"{int(min(truth['ess_bulk'], truth['ess_tail'])):,}"
    corr = next(line for line in tokens(render_fit(fit)) if line[0] == "Subject" and "Intercept," in line)
    assert float(corr[3]) == pytest.approx(fit.varcorr()["mean"][2], abs=5e-4)


def test_the_residuals_are_taken_at_the_posterior_means():
    design = fake_design(weights=np.full(180, 4.0))
    fit = fake_fit(design)
    p = fit.tree["posterior"]
    block, b = design.blocks[0], p["b_Subject"].values.mean(axis=(0, 1))
    eta = design.X @ p["beta"].values.mean(axis=(0, 1)) + (block.Z * b[block.index]).sum(axis=1)
    worst = np.max((design.y - eta) * 2 / p["sigma"].values.mean())
    line = tokens(render_fit(fit).split("Scaled residuals at the posterior means:")[1])[1]
    assert float(line[-1]) == pytest.approx(worst, abs=5e-5)


def test_rows_that_fail_their_check_are_marked():
    draws = fake_draws(fake_design())
    sigma = draws["sigma"][1].copy()
    sigma[0] += 5
    text = render_fit(fake_fit(draws=draws | {"sigma": ((), sigma)}))
    marked = [line.split()[0] for line in text.split("\n") if line.endswith(" *")]
    assert marked == ["Residual"]
    assert text.endswith("* R-hat above 1.01 or ESS below 400: do not rely on this row")
    assert "*" not in render_fit(fake_fit())


def test_a_fixed_parameter_has_blanks_and_no_mark():
    draws = fake_draws(fake_design())
    text = render_fit(fake_fit(draws=draws | {"sigma": ((), np.full((4, 500), 25.0))}))
    row = next(line for line in text.split("\n") if line.startswith(" Residual"))
    assert [float(v) for v in row.split()[1:]] == [25, 0, 25, 25] and "nan" not in text.lower()


def test_hostile_names_stay_within_the_line_and_off_the_terminal():
    evil = "g\n\x1b[2J" + "long_" * 2000
    block = fake_block(evil, 12, ("Intercept", "slope_of_" * 20 + "x"), name="g_")
    design = fake_design([block], coefficients=("Intercept", "<script>" * 30))
    fit = fake_fit(design)
    for text in (
        render_point(fake_point(design, corrs=[1.0], singular=True)),
        render_fit(fit),
        str(fit.compare(consistency=False)),
    ):
        assert "\x1b" not in text
        assert max(map(width, text.split("\n"))) <= LINE_WIDTH


def test_a_hundred_thousand_coefficients_and_levels_print_at_once():
    design = fake_design(coefficients=("Intercept", *(f"x{i}" for i in range(39))))
    assert " ... and 20 more" in render_fit(fake_fit(design))


def test_a_model_that_is_not_fitted_shows_its_priors():
    text = render_model(fake_fit().model)
    assert "Linear mixed model, not fitted" in text and text.endswith("Priors:\nbeta ~ Normal(0, 1)")


def test_an_ordinary_linear_model():
    design = fake_design(blocks=())
    assert render_point(fake_point(design, method="ML")).startswith("Linear model fit by maximum likelihood")
    assert "Number of obs: 180\n" in render_fit(fake_fit(design)) + "\n"


def test_the_documented_print_of_sleepstudy_comes_out_of_a_real_fit():
    import bayesmm as bmm

    point = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy")).maximize()
    found = tokens(str(point))
    # lme4's own print of this model, but for the brackets of its (Intercept)
    expected = """
        Formula: Reaction ~ Days + (Days | Subject)
        REML criterion at convergence: 1743.6
        -3.9536 -0.4634 0.0231 0.4634 5.1793
        Subject Intercept 612.09 24.740
        Days 35.07 5.922 0.07
        Residual 654.94 25.592
        Number of obs: 180, groups: Subject, 18
        Intercept 251.405 6.825 36.838
        Days 10.467 1.546 6.771
        Days -0.138"""
    for line in tokens(expected):
        assert line in found, line


def test_a_note_on_the_design_is_said_once_and_a_warning_at_every_print():
    said = (SimpleNamespace(level="note", text="taken as crossed"), SimpleNamespace(level="warning", text="one row"))
    design = fake_design(messages=said)
    texts = [render_point(fake_point(design)) for _ in range(2)] + [render_fit(fake_fit(design))]
    assert ["taken as crossed" in text for text in texts] == [True, False, False]
    assert all("Warning: one row" in text for text in texts)
    assert "taken as crossed" in render_point(fake_point(fake_design(messages=said)))  # another model
