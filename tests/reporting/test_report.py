"""The report: one file that loads nothing, says what the fit says, and keeps every name a text."""

import math
import re
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from pages import Page, accessible, inert, luminance, page_of, same_number

import bayesmm as bmm
from bayesmm.display.html import TEMPLATES, breakable, rendered
from bayesmm.display.html_tables import Figure, frame_table
from bayesmm.errors import DataError, FitFileError
from bayesmm.evaluation.checks import Check
from bayesmm.evaluation.checks.check_html import check_table
from bayesmm.reporting import gallery, tables
from bayesmm.reporting.mathml import mathml
from bayesmm.reporting.words import caution

SECTIONS = (
    "verdict model data priors estimates comparison effects fit diagnostics methods reproduce".split()
)  # in this order
EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "</style>")
LIMIT = 3_000_000  # bytes for 400 groups: the issue's
CONTRAST = 4.5  # of text: WCAG 2.2, criterion 1.4.3
SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(autouse=True)
def headless():
    """Draw without a screen."""
    matplotlib.use("Agg", force=True)


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures out, which take most of the time: for tests of everything else."""
    monkeypatch.setattr(
        gallery, "picture", lambda draw, caption, alt: Figure(caption, alt, "data:image/webp;base64,AAAA", 10, 10)
    )


@pytest.fixture(scope="module")
def sleepstudy(tmp_path_factory):
    """Return a posterior, its comparison, and its report."""
    data = bmm.load_dataset("sleepstudy")
    fit = bmm.fit(SLEEPSTUDY, data, draws=500, tune=500, seed=1, progress=False)
    comparison = fit.compare(consistency=False)
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert bmm.report(fit, path, comparisons=[comparison]) == path
    return fit, comparison, page_of(path), path


def test_every_section_is_there_in_order_the_verdict_first(sleepstudy):
    *_, page, _ = sleepstudy
    assert [id for level, id in page.headings if level == 2] == SECTIONS
    assert page.text.index("Checks passed") < page.text.index("Observations")


def test_the_page_runs_nothing_and_loads_nothing(sleepstudy):
    inert(sleepstudy[2])


def test_the_page_is_accessible(sleepstudy):
    accessible(sleepstudy[2])


def test_the_numbers_are_those_of_summary_and_compare(sleepstudy):
    fit, comparison, page, _ = sleepstudy
    summary, table = fit.summary(), comparison.table.set_index("parameter")
    rows = page.table("Variance components") | page.table("Fixed effects")
    assert list(rows) == list(table.index)
    for label, row in rows.items():
        for header, column in (("mean", "mean"), ("sd", "sd"), ("2.5 %", "lower"), ("97.5 %", "upper")):
            assert same_number(row[header], summary.loc[label, column]), (label, header)
        assert same_number(row["REML"], table.loc[label, "point"])
        assert same_number(row["difference"], table.loc[label, "difference"])
        assert row["verdict"] == table.loc[label, "verdict"]
        ess = min(summary.loc[label, "ess_bulk"], summary.loc[label, "ess_tail"])
        assert int(row["ESS"].replace(",", "")) == int(ess)
        assert 0 <= float(row["R-hat"]) - summary.loc[label, "r_hat"] <= 0.001  # rounded up
    assert same_number(rows["beta[Days]"]["SE"], table.loc["beta[Days]", "se"])


def test_the_shares_of_variance_are_those_of_r2_and_icc(sleepstudy):
    fit, _, page, _ = sleepstudy
    expected = pd.concat([fit.r2().table, fit.icc().table])
    rows = page.table("Variance explained")
    assert list(rows) == list(expected.index)
    for label, row in rows.items():
        for header, column in (("mean", "mean"), ("sd", "sd"), ("2.5 %", "lower"), ("97.5 %", "upper")):
            assert same_number(row[header], expected.loc[label, column]), (label, header)
    assert fit.icc().says[0] in page.text and fit.r2().says[-1] in page.text


def test_the_effects_of_every_level_are_those_of_ranef(sleepstudy):
    fit, _, page, _ = sleepstudy
    frame = fit.ranef().set_index(["term", "grp"])
    rows = page.table("Subject: posterior mean")
    assert len(rows) == 18
    for level, row in rows.items():
        for term in ("Intercept", "Days"):
            mean, lower, upper = re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", row[term]).groups()
            expected = frame.loc[(term, level)]
            assert all(map(same_number, (mean, lower, upper), expected[["mean", "lower", "upper"]]))


def test_checks_priors_and_data_are_said(sleepstudy):
    fit, _, page, _ = sleepstudy
    checks = page.table("Checks")
    assert {name: row["result"] for name, row in checks.items()} == {
        c.name: "FAILED" if not c.ok else c.status for c in fit.checks()
    }
    assert {c.status for c in fit.checks()} >= {"passed", "note", "not judged"}  # every word is in the table
    assert checks["R-hat"]["limit"] == "1.01"
    priors = page.table("What is known before the data")
    assert list(priors) == list(fit.model.priors)
    assert priors["sigma"]["prior"] == str(fit.model.priors["sigma"])
    assert priors["Intercept_centred"]["what it says"].endswith("units of Reaction at the predictors' means")
    assert page.table("What was observed")["Groups: Subject"]["in the data"].startswith("18 levels with 10 rows each")


def test_text_stands_out_from_what_is_behind_it_in_light_dark_and_print():
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    sets = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", part)) for part in re.findall(r":root {(.*?)}", style, re.S)]
    assert len(sets) == 3
    for colours in (sets[0], sets[0] | sets[1], sets[0] | sets[2]):
        plain = [(ink, paper) for ink in ("ink", "quiet", "accent", "bad") for paper in ("paper", "band")]
        boxes = [(ink, f"{box}-band") for box in ("good", "bad", "doubt") for ink in ("ink", box)]
        for ink, paper in plain + boxes:
            low, high = sorted((luminance(colours[ink]), luminance(colours[paper])))
            assert (high + 0.05) / (low + 0.05) >= CONTRAST, (ink, paper)


def test_what_is_read_aloud_says_what_a_figure_shows(sleepstudy):
    images = [a["alt"] for tag, a in sleepstudy[2].elements if tag == "img"]
    shown = " ".join(images)
    for finding in ("Random effects of Subject: 18 levels, sorted", "outside the envelope", "E-BFMI near 1",
                    "Posterior predictive check of the means of 18 levels of Subject: "):  # fmt: skip
        assert finding in shown, finding
    assert len(images) == len(set(images)) and all(len(alt) > 80 for alt in images)


def test_the_fit_is_shown_in_every_group_few_or_many(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        gallery, "picture", lambda draw, caption, alt: drawn.append((draw.func.__name__, draw.args[1:], caption))
    )
    for levels in (gallery.PANELS, gallery.PANELS + 1):
        block = SimpleNamespace(group="g", levels=tuple(map(str, range(levels))))
        gallery.by_group(SimpleNamespace(design=SimpleNamespace(blocks=(block,), response="y")), 0)
    assert [name for name, *_ in drawn] == ["plot_predictive", "plot_group_means"]
    assert all(about == ("g",) and "level of g" in caption for _, about, caption in drawn)


def test_long_names_of_units_are_whole_and_a_check_without_a_limit_has_a_dash():
    long = "a response with a name of very many words, which are all shown here"
    data = pd.DataFrame({long: [1.0, 2.0, 4.0, 3.0], "x": [1.0, 2.0, 3.0, 5.0]})
    rows = tables.prior_rows(bmm.Model(f"`{long}` ~ x", data).priors).rows
    assert rows[1][2].endswith(f"{long} per unit of x")
    table = check_table([Check("shape", True, math.nan, math.nan, "nothing to measure")])
    assert table.rows[0][1:4] == ("not judged", "–", "–")


def test_the_methods_paragraph_names_what_a_reviewer_asks_for(sleepstudy):
    text = sleepstudy[2].text
    for phrase in ("180 observations", "18 levels of Subject", "No-U-Turn", "4 chains of 500 draws after 500 warm-up",
                   "seed 1", "95 % equal-tailed credible intervals", "restricted maximum likelihood",
                   f"bayesmm {bmm.__version__}", "LKJ(eta=2) for corr_Subject"):  # fmt: skip
        assert phrase in text, phrase


def test_the_call_gives_the_draws_again(sleepstudy):
    fit, _, page, _ = sleepstudy
    source = page.text[page.text.index("import bayesmm as bmm") :]
    source = source[: source.index("\n)\n") + 3]
    names = {"data": bmm.load_dataset("sleepstudy")}
    exec(source, names)
    assert np.array_equal(names["fit"].tree["posterior"]["beta"], fit.tree["posterior"]["beta"])


def test_the_equation_is_mathml_with_every_symbol(sleepstudy):
    fit, _, page, path = sleepstudy
    tags = [tag for tag, _ in page.elements]
    assert tags.count("math") == 1 and tags.count("mtr") == fit.model.equation().count("\\\\") + 1
    html = path.read_text(encoding="utf-8")
    assert "<mtext>Reaction</mtext>" in html and "<mi>HalfStudentT</mi>" in html
    assert fit.model.equation().splitlines()[1] in page.text  # the LaTeX too, to be copied


@pytest.mark.parametrize(
    ("formula", "dataset", "family"),
    [
        ("ncases ~ ncontrols + (1 + ncontrols || agegp)", "esoph", "poisson"),
        ("cbind(ncases, ncontrols) ~ 1 + (1 | agegp)", "esoph", "binomial"),
        ("ncases ~ offset(log(ncontrols + 1)) + (1 | agegp)", "esoph", "negbinomial"),
        ("Reaction ~ poly(Days, 2)", "sleepstudy", "gamma"),
        ("Reaction ~ 0 + (1 | Subject)", "sleepstudy", "student"),
        ("Reaction ~ Days + I(Days^2) + (Days | Subject)", "sleepstudy", "gaussian"),  # coefficients at the means
    ],
)
def test_every_equation_of_the_package_becomes_mathml(formula, dataset, family):
    model = bmm.Model(formula, bmm.load_dataset(dataset), family)
    assert mathml(model.equation()).startswith("<math ")


def test_a_command_that_no_equation_has_is_refused():
    with pytest.raises(ValueError, match=r"\\sqrt is no command"):
        mathml(r"\sqrt{2}")


def hostile_frame():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({EVIL[1]: rng.normal(size=60), EVIL[2]: np.repeat([*EVIL, "e", "f"], 10)})
    frame[EVIL[0]] = 1 + frame[EVIL[1]] + rng.normal(size=60) + np.repeat(rng.normal(size=6), 10)
    return frame


@pytest.fixture(scope="module")
def hostile():
    """Return a posterior whose columns and levels would be markup."""
    formula = f"`{EVIL[0]}` ~ `{EVIL[1]}` + (1 | `{EVIL[2]}`)"
    return bmm.fit(formula, hostile_frame(), draws=200, tune=200, seed=1, progress=False)


def test_hostile_names_and_titles_stay_text(hostile, tmp_path, unrendered):
    path, title = tmp_path / "report.html", " ".join(EVIL)
    bmm.report([hostile], path, title=title, comparisons=[hostile.compare(consistency=False)])
    page = page_of(path)
    inert(page)
    accessible(page)
    assert title in page.text
    for name in EVIL:
        assert name in page.text
    assert [row for row in page.table(f"{EVIL[2]}: posterior") if row in EVIL] == sorted(EVIL)


def test_hostile_names_stay_text_in_a_notebook(hostile):
    point = hostile.model.maximize()
    for shown in (hostile, hostile.model, point, hostile.compare(consistency=False)):
        page = Page(shown._repr_html_())
        assert EVIL[1] in page.text
        assert {tag for tag, _ in page.elements} <= set(
            "div style p strong code table caption thead tbody tr th td wbr".split()
        )


def test_names_of_functions_and_of_warnings_stay_text():
    data = hostile_frame()[:20]  # two levels: a warning names the factor
    model = bmm.Model(f"`{EVIL[0]}` ~ 1 + (1 | `{EVIL[2]}`)", data, priors={"sigma": lambda name, dims=None: None})
    page = Page(model._repr_html_())
    assert "<lambda>" in page.text and EVIL[2] in page.text and "Warning:" in page.text
    assert not {tag for tag, _ in page.elements} & {"script", "img", "lambda"}
    assert breakable("sd_<b>[x]") == "sd_<wbr>&lt;b&gt;<wbr>[x]"


def test_notebooks_show_tables_with_the_numbers(sleepstudy):
    fit, comparison, *_ = sleepstudy
    summary = fit.summary()
    rows = Page(fit._repr_html_()).table("Fixed effects")
    assert same_number(rows["beta[Days]"]["mean"], summary.loc["beta[Days]", "mean"])
    point = comparison.point
    rows = Page(point._repr_html_()).table("Fixed effects")
    assert same_number(rows["Days"]["estimate"], point.fixef().loc["Days", "estimate"])
    rows = Page(comparison._repr_html_()).table("Variance components")
    assert same_number(rows["sigma"]["REML"], point.sigma)
    assert fit.model.equation() in Page(fit.model._repr_html_()).text
    other = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.load_dataset("sleepstudy")).maximize()
    tests = bmm.lrt(other, point)
    rows = Page(tests._repr_html_()).table("Tests")
    assert same_number(rows["2"]["Chisq"], tests.table.loc[2, "Chisq"])
    assert "Days" in Page(bmm.anova(point, ddf="satterthwaite")._repr_html_()).table("Tests")


def test_a_table_of_a_frame_has_dashes_for_missing_numbers_and_whole_counts():
    table = frame_table(pd.DataFrame({"n": [1, 20], "x": [0.123456, np.nan], "p": [1e-20, 0.5]}), "Numbers")
    assert table.rows == (("0", "1", "0.1235", "<2e-16"), ("1", "20", "–", "0.5000"))


def test_several_fits_stand_side_by_side(sleepstudy, tmp_path, undrawn):
    fit, comparison, *_ = sleepstudy
    small = bmm.fit(
        "Reaction ~ Days + (1 | Subject)", bmm.load_dataset("sleepstudy"), draws=250, seed=2, progress=False
    )
    second = small.compare(consistency=False)
    page = page_of(bmm.report([fit, small], tmp_path / "two.html", comparisons=[comparison, second]))
    inert(page)
    accessible(page)
    assert "under REML can be compared only" not in page.text  # the fixed effects are the same
    rows = page.table("Posterior means")
    assert rows["sd_Subject[Days]"]["Fit 2"] == "–"
    for label, row in rows.items():
        assert same_number(row["Fit 1, REML"], comparison.table.set_index("parameter").loc[label, "point"])
    mean = rows["sigma"]["Fit 2"].split()[0]
    assert same_number(mean, small.summary().loc["sigma", "mean"])
    assert [id for level, id in page.headings if level == 3] == [f"{s}-{i}" for i in (1, 2) for s in SECTIONS]


def test_criteria_that_can_not_be_compared_are_said():
    def fit_of(method="REML", n=180, coefficients=("Intercept", "Days")):
        design = SimpleNamespace(n=n, response="y", coefficients=coefficients)
        return SimpleNamespace(point=SimpleNamespace(method=method, design=design))

    assert caution([fit_of(), fit_of()]) == ""
    assert caution([fit_of("ML"), fit_of("ML", coefficients=("Intercept",))]) == ""
    assert "the same fixed effects" in caution([fit_of(), fit_of(coefficients=("Intercept",))])
    assert "the same fixed effects" in caution([fit_of(), fit_of("ML")])
    assert "of different data" in caution([fit_of(), fit_of(n=179)])


def test_failed_checks_are_the_first_thing_that_is_said(tmp_path, undrawn):
    fit = bmm.fit(SLEEPSTUDY, bmm.load_dataset("sleepstudy"), draws=20, tune=20, chains=2, seed=1, progress=False)
    page = page_of(bmm.report(fit, tmp_path / "bad.html", comparisons=[fit.compare(consistency=False)]))
    assert page.text.index("CHECKS FAILED") < page.text.index("Observations")
    assert ("div", {"class": "verdict failed"}) in page.elements
    assert "THE DRAWS MUST NOT BE REPORTED" in page.text


def test_a_report_replaces_a_report_and_nothing_else(sleepstudy, tmp_path, undrawn):
    fit, comparison, *_ = sleepstudy
    path = tmp_path / "notes.html"
    path.write_text("<p>mine</p>")
    with pytest.raises(FitFileError, match="exists already"):
        bmm.report(fit, path, comparisons=[comparison])
    assert path.read_text() == "<p>mine</p>"
    bmm.report(fit, path, overwrite=True, comparisons=[comparison])
    bmm.report(fit, path, title="again", comparisons=[comparison])
    assert "again" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.html"]
    with pytest.raises(FitFileError, match="cannot be written"):
        bmm.report(fit, tmp_path / "no" / "report.html")


def test_what_is_no_fit_is_named():
    with pytest.raises(DataError, match="there is no fit"):
        bmm.report([])
    with pytest.raises(DataError, match="item 1 of the report is str; expected a Fit"):
        bmm.report(["fit"])


def test_a_name_that_a_template_does_not_get_is_an_error():
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        rendered("notebook.html", headline="only this")


@pytest.mark.slow
def test_400_groups_stay_below_three_megabytes(tmp_path):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"g": np.repeat([f"level {i}" for i in range(400)], 6), "x": np.tile(np.arange(6.0), 400)})
    b = rng.normal(size=(400, 2)) * [2.0, 0.5]
    frame["y"] = 3 + frame["x"] + np.repeat(b[:, 0], 6) + np.repeat(b[:, 1], 6) * frame["x"] + rng.normal(size=2400)
    fit = bmm.fit("y ~ x + (x | g)", frame, seed=1, progress=False)
    path = fit.report(tmp_path / "large.html")
    assert path.stat().st_size < LIMIT
    page = page_of(path)
    inert(page)
    assert "g has too many levels for a table" in page.text


def test_the_command_line_writes_a_report_and_refuses_before_sampling(tmp_path, capsys, monkeypatch, undrawn):
    from bayesmm.cli.main import main

    path = tmp_path / "report.html"
    words = [
        "fit",
        "sleepstudy",
        "Reaction ~ Days + (1 | Subject)",
        "--draws",
        "400",
        "--seed",
        "1",
        "--report",
        str(path),
    ]
    assert main(words) == 0
    assert f"Written to {tmp_path}: report.html" in capsys.readouterr().out
    inert(page_of(path))
    path.write_text("mine")
    monkeypatch.setattr(bmm.Model, "sample", lambda *_, **__: pytest.fail("sampled"))
    assert main(words) == 2
    assert "--report" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_the_reproduced_results_have_an_index(tmp_path, capsys):
    from bayesmm.cli.main import main

    assert main(["reproduce", "thyroxine_mean", "--no-sample", "--out", str(tmp_path)]) == 0
    page = page_of(tmp_path / "index.html")
    rows = page.table("Every printed number")
    numbers = pd.read_csv(tmp_path / "thyroxine_mean.csv", dtype=str)
    assert list(rows) == list(numbers["quantity"])
    assert [row["printed"] for row in rows.values()] == list(numbers["printed"])
    assert {a["href"] for tag, a in page.elements if tag == "a"} >= {"thyroxine_mean.csv"}
    assert not {tag for tag, _ in page.elements} & {"script", "img", "link"}
