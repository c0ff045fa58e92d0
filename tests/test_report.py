"""The report: one file that loads nothing, says what the fit says, and keeps every name a text."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError, FitFileError
from bayesmm.report import gallery
from bayesmm.report.html import rendered
from bayesmm.report.mathml import mathml
from bayesmm.report.parts import Figure, frame_table

SECTIONS = (
    "verdict model data priors estimates comparison effects fit diagnostics methods reproduce".split()
)  # in this order
EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "</style>")
VOID = {"meta", "img", "br", "hr", "input", "link"}
LIMIT = 3_000_000  # bytes for 400 groups: the issue's
SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(autouse=True)
def headless():
    """Draw without a screen."""
    matplotlib.use("Agg", force=True)


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures out, which take most of the time: for tests of everything else."""
    monkeypatch.setattr(
        gallery, "picture", lambda draw, caption, alt: Figure(caption, alt, "data:image/png;base64,AAAA", 10, 10)
    )


class Page(HTMLParser):
    """A parsed page: every element with its attributes, tables, headings, text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.tables, self.headings, self.open, self.text = [], [], [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.elements.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "headers": [], "rows": [], "scopes": []})
        elif tag == "tr" and "tbody" in self.open:
            self.tables[-1]["rows"].append([])
        elif tag in ("th", "td") and "tbody" in self.open:
            self.tables[-1]["rows"][-1].append("")
        elif tag in ("th", "td") and "thead" in self.open:
            self.tables[-1]["headers"].append("")
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), given.get("id")))
        if tag == "th":
            self.tables[-1]["scopes"].append(given.get("scope"))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif "tbody" in self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1]["rows"][-1][-1] += data
        elif "thead" in self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1]["headers"][-1] += data

    def table(self, caption):
        """Return the rows of the tables of this caption by their first cell, as header -> cell."""
        found = [table for table in self.tables if table["caption"].startswith(caption)]
        assert found, [table["caption"] for table in self.tables]
        return {row[0]: dict(zip(found[0]["headers"], row, strict=True)) for row in found[0]["rows"]}


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


def inert(page):
    """Assert that the page has no script, no handler and no address outside itself."""
    assert not page.open
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            if key in ("src", "srcset", "data", "action", "background", "poster"):
                assert tag == "img" and key == "src" and re.match("data:image/(png|svg[+]xml);base64,", value)
            if key == "href":
                assert value.startswith("#"), value
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1 and policy[0].startswith("default-src 'none';")


def accessible(page):
    """Assert headings in order, a text for each picture, headers with a scope for each table."""
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in page.elements if tag == "a"} <= set(ids)
    images = [a for tag, a in page.elements if tag == "img"]
    assert images and all(len(a["alt"]) > 20 and int(a["width"]) > 0 for a in images)
    assert page.tables and all(
        table["caption"] and table["rows"] and set(table["scopes"]) == {"col", "row"} for table in page.tables
    )
    assert ("html", {"lang": "en"}) in page.elements


def same_number(text, value):
    """Return whether a text is this number, rounded to its digits."""
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5001 * 10.0**-digits


@pytest.fixture(scope="module")
def sleepstudy(tmp_path_factory):
    """Return a posterior, its comparison, and its report."""
    data = bmm.load_dataset("sleepstudy")
    fit = bmm.fit(SLEEPSTUDY, data, draws=500, tune=500, seed=1, progress=False)
    comparison = fit.compare(bridge=False)
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
    assert page.table("What was observed")["Groups: Subject"]["in the data"].startswith("18 levels with 10 rows each")


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
    ],
)
def test_every_equation_of_the_package_becomes_mathml(formula, dataset, family):
    model = bmm.Model(formula, bmm.load_dataset(dataset), family)
    assert mathml(model.equation()).startswith("<math ")


def test_a_command_that_no_equation_has_is_refused():
    with pytest.raises(ValueError, match=r"\\frac is no command"):
        mathml(r"\frac{1}{2}")


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


def test_hostile_names_and_titles_stay_text(hostile, tmp_path):
    path, title = tmp_path / "report.html", " ".join(EVIL)
    bmm.report([hostile], path, title=title, comparisons=[hostile.compare(bridge=False)])
    page = page_of(path)
    inert(page)
    accessible(page)
    assert title in page.text
    for name in EVIL:
        assert name in page.text
    assert [row for row in page.table(f"{EVIL[2]}: posterior") if row in EVIL] == sorted(EVIL)


def test_hostile_names_stay_text_in_a_notebook(hostile):
    point = hostile.model.maximize()
    for shown in (hostile, hostile.model, point, hostile.compare(bridge=False)):
        page = Page(shown._repr_html_())
        assert EVIL[1] in page.text
        assert {tag for tag, _ in page.elements} <= set(
            "div style p strong code table caption thead tbody tr th td".split()
        )


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
    second = small.compare(bridge=False)
    page = page_of(bmm.report([fit, small], tmp_path / "two.html", comparisons=[comparison, second]))
    inert(page)
    accessible(page)
    rows = page.table("Posterior means")
    assert rows["sd_Subject[Days]"]["Fit 2"] == "–"
    for label, row in rows.items():
        assert same_number(row["Fit 1, REML"], comparison.table.set_index("parameter").loc[label, "point"])
    mean = rows["sigma"]["Fit 2"].split()[0]
    assert same_number(mean, small.summary().loc["sigma", "mean"])
    assert [id for level, id in page.headings if level == 3] == [f"{s}-{i}" for i in (1, 2) for s in SECTIONS]


def test_failed_checks_are_the_first_thing_that_is_said(tmp_path, undrawn):
    fit = bmm.fit(SLEEPSTUDY, bmm.load_dataset("sleepstudy"), draws=20, tune=20, chains=2, seed=1, progress=False)
    page = page_of(bmm.report(fit, tmp_path / "bad.html", comparisons=[fit.compare(bridge=False)]))
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
    with pytest.raises(FitFileError, match="can not be written"):
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
    from bayesmm.cli import main

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
    from bayesmm.cli import main

    assert main(["reproduce", "thyroxine_mean", "--no-sample", "--out", str(tmp_path)]) == 0
    page = page_of(tmp_path / "index.html")
    rows = page.table("Every printed number")
    numbers = pd.read_csv(tmp_path / "thyroxine_mean.csv", dtype=str)
    assert list(rows) == list(numbers["quantity"])
    assert [row["printed"] for row in rows.values()] == list(numbers["printed"])
    assert {a["href"] for tag, a in page.elements if tag == "a"} >= {"thyroxine_mean.csv"}
    assert not {tag for tag, _ in page.elements} & {"script", "img", "link"}
