"""Tidy tables and tables of several fits, against the fits' own accessors and lme4's print of sleepstudy."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from fake_fits import fake_design, fake_draws, fake_fit

import bayesmm as bmm

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def model():
    return bmm.Model(FORMULA, bmm.load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def point(model):
    return model.maximize()


@pytest.fixture(scope="module")
def fit(model):
    return model.sample(seed=2, draws=200, progress=False)


@pytest.fixture(scope="module")
def counts():
    return bmm.Model("ncases ~ ncontrols + (1 | agegp)", bmm.load_dataset("esoph"), "negbinomial").maximize()


def test_a_maximised_fit_has_the_rows_and_columns_of_broom_mixed(point):
    table = point.tidy()
    assert list(table["term"]) == [
        "Intercept", "Days", "sd__Intercept", "sd__Days", "cor__Intercept.Days", "sd__Observation",
    ]  # fmt: skip
    assert list(table["group"]) == [None, None, "Subject", "Subject", "Subject", "Residual"]
    assert set(table.columns) == {
        "effect", "group", "level", "term", "estimate", "std.error", "statistic", "df", "p.value", "conf.low",
        "conf.high",
    }  # fmt: skip
    # lme4's and lmerTest's print of this model
    assert table["estimate"].round(3).tolist() == [251.405, 10.467, 24.740, 5.922, 0.066, 25.592]
    assert table["std.error"].round(3).tolist()[:2] == [6.825, 1.546]
    assert table["df"].round(1).tolist()[:2] == [17.0, 17.0]
    np.testing.assert_allclose(table.loc[:1, ["conf.low", "conf.high"]], point.conf_int(), rtol=1e-12)


def test_a_posterior_has_means_sds_intervals_and_diagnostics(fit):
    table, own = fit.tidy(), fit.summary()
    np.testing.assert_array_equal(table["estimate"], own["mean"][: len(table)])
    np.testing.assert_array_equal(table["conf.low"], own["lower"][: len(table)])
    assert {"rhat", "ess", "ess.tail"} <= set(table.columns) and not {"df", "p.value"} & set(table.columns)
    narrow = fit.tidy(ci_prob=0.5)
    assert (narrow["conf.high"] - narrow["conf.low"] < table["conf.high"] - table["conf.low"]).all()


@pytest.mark.parametrize("which", ["point", "fit"])
def test_random_effects_are_rows_too(which, request):
    of = request.getfixturevalue(which)
    table = of.tidy("ran_vals")
    assert len(table) == 36 and set(table["group"]) == {"Subject"} and set(table["term"]) == {"Intercept", "Days"}
    own = of.ranef()
    values = own["condval" if which == "point" else "mean"]
    np.testing.assert_array_equal(table["estimate"], values)
    assert list(table["level"]) == list(own["grp"])


def test_parameters_of_a_family_are_auxiliary(counts):
    table = counts.tidy("auxiliary")
    assert table["term"].tolist() == ["shape"] and table["estimate"][0] == counts.auxiliaries["shape"]


@pytest.mark.parametrize("wrong", ["fixd", ("fixed", "random"), (3,)])
def test_rows_that_there_are_not(point, wrong):
    with pytest.raises(ValueError, match=r"effects must be among fixed, ran_pars, ran_vals"):
        point.tidy(wrong)


def test_glance_is_one_row(point, fit, counts):
    row = point.glance().iloc[0]
    assert (row["nobs"], row["npar"], row["df.residual"], row["method"]) == (180, 6, 174, "REML")
    assert row["AIC"] == point.AIC and row["deviance"] == -2 * point.loglik
    assert np.isnan(counts.glance()["sigma"][0])
    own = fit.glance().iloc[0]
    assert (own["chains"], own["draws"], own["divergences"]) == (4, 800, 0)
    every = fit.tidy(("fixed", "ran_pars", "auxiliary", "ran_vals"))  # 42 parameters: all are watched
    assert own["rhat.max"] == every["rhat"].max() > fit.tidy()["rhat"].max()
    assert own["ess.min"] == every[["ess", "ess.tail"]].min().min()
    failed = [check.name for check in fit.checks() if not check.ok]
    assert own["checks.failed"] == ", ".join(failed)


def test_augment_has_fitted_values_and_residuals(point, fit, counts):
    rows = point.augment()
    np.testing.assert_allclose(rows[".fitted"], point.fitted, rtol=1e-12)
    np.testing.assert_allclose(rows[".resid"], point.residuals, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rows[".fixed"], point.predict(groups="population")["estimate"], rtol=1e-12)
    own = fit.augment()
    np.testing.assert_allclose(own[".fitted"] + own[".resid"], own["Reaction"], rtol=1e-12)
    new = counts.augment({"ncontrols": [10.0], "agegp": ["25-34"]})
    assert list(new.columns) == ["ncontrols", "agegp", ".fitted", ".fixed"] and len(new) == 1


def test_residuals_of_a_binomial_are_of_shares():
    data = pd.DataFrame({"k": [1, 4, 3, 6, 2, 5], "n": [5, 8, 6, 9, 7, 8], "x": [0, 1, 2, 3, 4, 5.5]})
    point = bmm.Model("k ~ x", data, "binomial", trials="n").maximize()
    np.testing.assert_allclose(point.augment()[".resid"], data["k"] / data["n"] - point.fitted, atol=1e-12)


def test_a_table_of_several_fits(point, fit):
    table = bmm.table({"REML": point, "Bayes": fit})
    frame = table.to_frame()
    assert list(frame.columns) == ["REML", "Bayes"]
    assert frame.loc["Days", "REML"] == "10.47 (1.55)"
    assert frame.loc["sd Days (Subject)", "REML"] == "5.92" and "(" in frame.loc["sd Days (Subject)", "Bayes"]
    assert frame.loc["levels of Subject"].tolist() == ["18", "18"]
    assert frame.loc["draws", "REML"] == "" and frame.loc["logLik", "Bayes"] == ""
    assert "means with standard deviations" in str(table)


@pytest.mark.parametrize("failing", [False, True])
def test_the_checks_of_a_posterior_stand_in_the_table(failing):
    draws = fake_draws(fake_design())
    if failing:  # one random effect, which no row of the table is about, has a chain elsewhere
        draws["b_Subject"][1][1, :, 3, 1] += 50
    own = fake_fit(draws=draws)
    row, cells = own.glance().iloc[0], bmm.table({"fit": own}).to_frame()["fit"]
    check = {check.name: check for check in own.checks()}
    assert row["rhat.max"] == check["R-hat"].value
    assert row["ess.min"] == min(check["bulk ESS"].value, check["tail ESS"].value)
    failed = [name for name, one in check.items() if not one.ok]
    assert bool(failed) == failing == ("R-hat" in failed)
    assert row["checks.failed"] == ", ".join(failed)
    assert cells["checks"] == (f"failed: {', '.join(failed)}" if failing else "passed")
    assert 0 <= float(cells["worst R-hat"]) - check["R-hat"].value <= 1e-3  # rounded up, as everywhere


def test_rows_stand_by_kind_whichever_fit_has_them_first(point, counts):
    data = bmm.load_dataset("sleepstudy")
    least = bmm.Model("Reaction ~ 1 + (1 | Subject)", data, "student").maximize()
    for fits in ([least, point], [point, least]):
        rows = list(bmm.table(fits).parameters)
        assert sorted(rows[:2]) == ["Days", "Intercept"]
        assert rows[-2:] == ["residual sd", "nu"] and "sd Days (Subject)" in rows[2:-2]
    both = bmm.table([counts, point])
    assert list(both.parameters)[-2:] == ["residual sd", "shape"]
    assert list(both.about) == ["rows", "levels of agegp", "levels of Subject", "logLik", "AIC", "BIC"]


def test_coefficients_may_be_called_as_other_rows():
    data = bmm.load_dataset("esoph").rename(columns={"ncontrols": "shape"})
    data["AIC"] = np.random.default_rng(1).normal(size=len(data))
    point = bmm.Model("ncases ~ shape + AIC", data, "negbinomial").maximize()
    table = bmm.table([point])
    cells = [cells[0] for label, cells in table._lines if label in ("shape", "shape (of the family)", "AIC")]
    assert [float(text.split()[0]) for text in cells] == pytest.approx(
        [point.fixef()["estimate"]["shape"], point.fixef()["estimate"]["AIC"], point.auxiliaries["shape"], point.aic],
        rel=5e-3,  # three digits
    )
    printed = [line for line in str(table).splitlines() if line.split()[:1] in (["AIC"], ["shape"])]
    assert len(printed) == 4 and len(table.to_frame()) == len(table.parameters) + len(table.about)


def test_levels_are_those_of_grouping_factors_and_of_memberships():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=60), "x": rng.normal(size=60), "a": np.tile(list("pqrstu"), 10)})
    data["b"] = np.roll(data["a"], 1)
    point = bmm.Model("y ~ s(x) + (1 | mm(a, b))", data).maximize()
    levels = {name: cells for name, cells in bmm.table([point]).about.items() if name.startswith("levels of")}
    assert levels == {"levels of mm(a, b)": ("6",)}


def test_intervals_and_names_by_method(point, fit):
    frame = bmm.table([point, fit], spread="interval", ci_prob=0.9).to_frame()
    assert list(frame.columns) == ["(1) REML", "(2) posterior"]
    low, high = map(float, re.search(r"\[(.*), (.*)\]", frame.loc["Days", "(1) REML"]).groups())
    np.testing.assert_allclose([low, high], point.conf_int(0.1).loc["Days"], atol=0.006)  # two decimals


def test_other_formats_have_every_cell_and_no_mark_up_of_names(point):
    table = bmm.table({"a_b & <c>|": point})
    cells = [cell for cell in table.to_frame().iloc[:, 0] if cell]
    page = ElementTree.fromstring(f"<div>{table.to_html()}</div>")
    texts = ["".join(element.itertext()) for element in page.iter() if element.tag in ("td", "th")]
    assert "a_b & <c>|" in texts and {cell.replace("-8", "\N{MINUS SIGN}8") for cell in cells} <= set(texts)
    latex = table.to_latex()
    rows = list(page.iter("tr"))
    assert [i for i, row in enumerate(rows) if "border-bottom" in row.get("style", "")] == [0, len(rows) - 1]
    lines = latex.splitlines()
    assert "booktabs" in lines[0] and lines[0].startswith("%")
    under = lines[lines.index(r"\end{tabular}") + 1 :]
    assert under and all(line.startswith(r"\par{\footnotesize ") for line in under)
    assert r"90 \% Wald intervals" in bmm.table([point], spread="interval", ci_prob=0.9).to_latex()
    assert r"a\_b \& <c>|" in latex and latex.count(r"\\") == 1 + len(table.parameters) + len(table.about)
    markdown = table.to_markdown().splitlines()
    assert markdown[0] == r"|  | a_b & <c>\| |" and sum(line.startswith("|") for line in markdown) == 2 + len(cells)


@pytest.mark.parametrize(("fits", "options", "error", "text"), [
    ([], {}, ValueError, "needs at least one fit"),
    ([3], {}, TypeError, "a table is of fits, from maximize\\(\\) or sample\\(\\), not of a int"),
    ("point", {"spread": "sd"}, ValueError, "spread must be one of se, interval, not 'sd'"),
    ("point", {"ci_prob": 2}, ValueError, "ci_prob"),
])  # fmt: skip
def test_what_is_no_table(point, fits, options, error, text):
    with pytest.raises(error, match=text):
        bmm.table(point if fits == "point" else fits, **options)


def test_a_table_of_ratios(counts, point, fit):
    table = bmm.table({"ML": counts}, exponentiate=True)
    own = counts.fixef(exponentiate=True).loc["ncontrols"]
    cell = table.to_frame().loc["ncontrols", "ML"]
    assert cell == f"{own['estimate']:.5f} ({own['se']:.5f})" and "ratios" in str(table)
    spans = bmm.table({"ML": counts}, exponentiate=True, spread="interval").to_frame().loc["ncontrols", "ML"]
    assert [float(end) for end in spans.split("[")[1][:-1].split(", ")] == pytest.approx(
        [own["lower"], own["upper"]], abs=1e-4
    )
    with pytest.raises(ValueError, match="exponentiate=True gives ratios"):
        bmm.table([counts, point], exponentiate=True)
    latex = bmm.table([counts, fit]).to_latex()
    assert "$-$" in latex and " & -" not in latex
    page = bmm.table([counts, fit]).to_html()
    assert "padding" in page and ">\N{MINUS SIGN}" in page and ">-" not in page


def notes(*fits, **options):
    return " ".join(bmm.table(fits, **options).notes)


def test_notes_say_what_is_there_and_no_more(point, counts, fit):
    assert notes(counts, exponentiate=True).endswith("Coefficients are exponentiated: ratios.")
    wine = pd.read_csv(Path(__file__).parents[1] / "data" / "wine.csv", dtype={"judge": str})
    ratings = bmm.Model("rating ~ temp", wine, "cumulative").maximize()
    assert notes(ratings, exponentiate=True).endswith("of the mean are exponentiated: ratios; thresholds are not.")
    none = "Numbers without brackets have no "
    assert notes(point) == f"Estimates with standard errors in brackets. {none}standard error."
    assert notes(fit) == "Posterior means with standard deviations in brackets."
    both = "Estimates with 90 % Wald intervals; of a posterior, means with 90 % equal-tailed intervals. "
    assert notes(point, fit, spread="interval", ci_prob=0.9) == f"{both}{none}Wald interval."
    least = bmm.Model("Reaction ~ Days", bmm.load_dataset("sleepstudy")).maximize()
    assert notes(least).endswith("Numbers without brackets have no standard error.")
    specific = bmm.Model("rating ~ temp + cs(contact)", wine, "acat").maximize()
    assert notes(specific, exponentiate=True).endswith(
        "exponentiated: ratios; thresholds and category-specific coefficients are not."
    )
    with pytest.raises(ValueError, match="labels give two rows one name"):
        bmm.table([least], labels={"Days": "rows"})
    assert bmm.table([least], caption=None).caption == "" and bmm.table([least], caption="a\n\nb").caption == "a b"


def test_digits_labels_and_a_caption(point):
    named = {"Days": "days & nights", "rows": "observations"}
    table = bmm.table({"REML": point}, digits=2, labels=named, caption="Reaction_times")
    frame = table.to_frame()
    assert frame.loc["days & nights", "REML"] == "10.5 (1.5)" and frame.loc["observations", "REML"] == "180"
    assert "Days" not in frame.index and "rows" not in frame.index
    assert str(table).startswith("Reaction_times\n\n") and table.to_markdown().startswith("Reaction_times\n\n|")
    assert "<caption" in table.to_html() and "days &amp; nights" in table.to_html()
    latex = table.to_latex().splitlines()
    assert latex[1:3] == [r"\begin{table}", r"\caption{Reaction\_times}"] and latex[-1] == r"\end{table}"
    for wrong, text in (
        (
            {"Dayz": "x"},
            "labels has 'Dayz', which is no row of the table; its rows are 'Intercept', .*'BIC'; did you mean 'Days'",
        ),
        ({"Days": "Intercept"}, "labels give two rows one name; the rows would be Intercept, sd"),
        (["Days"], "labels must be a mapping"),
    ):
        with pytest.raises(ValueError, match=text):
            bmm.table([point], labels=wrong)
    with pytest.raises(ValueError, match="digits must be a whole number of 1 or more, not 0"):
        bmm.table([point], digits=0)


def test_a_table_is_saved_by_the_end_of_its_name(point, tmp_path):
    table = bmm.table({"Größe": point}, caption="Sleep")
    page = table.save(tmp_path / "table.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and '<meta charset="utf-8">' in page and table.to_html() in page
    assert "<title>Sleep</title>" in page and "default-src 'none'" in page
    for end, text in ((".tex", table.to_latex()), (".md", table.to_markdown()), (".txt", str(table))):
        assert table.save(tmp_path / f"table{end}").read_text(encoding="utf-8") == f"{text}\n"
    with pytest.raises(bmm.errors.FitFileError, match="exists already; take another name, or overwrite=True"):
        table.save(tmp_path / "table.html")
    assert table.save(tmp_path / "table.html", overwrite=True).is_file()
    with pytest.raises(bmm.errors.FitFileError, match=r"should end in \.html, \.htm, \.tex, \.md, \.txt"):
        table.save(tmp_path / "table.docx")


def test_parameters_of_the_family_have_errors_and_intervals_of_their_link():
    data = pd.read_csv(Path(__file__).parents[1] / "data" / "salamanders.csv")
    point = bmm.Model(("count ~ mined + (1 | site)", "zi ~ mined"), data, "zero_inflated_poisson").maximize()
    row, error, zi = point.summary().loc["zi"], point.joint.errors["zi"], point.auxiliaries["zi"]
    assert row["se"] == pytest.approx(error * zi * (1 - zi))
    at = np.log(zi / (1 - zi)) + np.array([-1, 1]) * 1.959963985 * error
    assert [row["lower"], row["upper"]] == pytest.approx(list(1 / (1 + np.exp(-at))))
    assert np.isnan(row["p"])
    wald = point.confint(method="wald").loc["zi"]
    assert [wald["lower"], wald["upper"]] == pytest.approx([row["lower"], row["upper"]])
    assert point.tidy().set_index("term").loc["zi", "std.error"] == row["se"]
    assert "zi 0.35" in str(point) and "(where the columns of 'zi ~ mined' are 0)" in " ".join(str(point).split())
