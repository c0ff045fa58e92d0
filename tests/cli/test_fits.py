"""The commands about saved fits, and the JSON documents of all commands."""

import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.cli import documents
from bayesmm.cli.main import main

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two saved fits, a.nc and b.nc, and new rows."""
    path = tmp_path_factory.mktemp("fits")
    data = bmm.load_dataset("sleepstudy")
    for name, formula in (("a", FORMULA), ("b", "Reaction ~ Days + (1 | Subject)")):
        bmm.fit(formula, data, seed=1, draws=200, progress=False).save(path / f"{name}.nc")
    pd.DataFrame({"Days": [3, 4], "Subject": [308, 999]}).to_csv(path / "new.csv", index=False)
    data.to_csv(path / "old.csv", index=False)
    return path


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Return a function that runs a command in the folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def run(*words):
        code = main(list(words))
        return code, *capsys.readouterr()

    return run


def document(text):
    """Return a document that must be plain JSON: no NaN, no infinity."""

    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_a_saved_fit_as_a_document(run):
    code, out, _ = run("show", "a.nc", "--json")
    found, fit = document(out), bmm.load("a.nc")
    assert code == (0 if all(check.ok for check in fit.checks()) else 3) and found["bayesmm"] == bmm.__version__
    assert found["model"] == {
        "formula": FORMULA, "family": "gaussian", "link": "identity", "rows": 180, "groups": {"Subject": 18},
    }  # fmt: skip
    assert [row["estimate"] for row in found["parameters"]] == list(fit.tidy()["estimate"])
    assert found["about"]["draws"] == 800
    assert [check["status"] for check in found["checks"]] == [check.status for check in fit.checks()]


def test_a_maximised_fit_as_a_document(run):
    code, out, err = run("maximize", "old.csv", FORMULA, "--json")
    found = document(out)
    assert code == 0 and "old.csv" in err  # what was read is not part of the document
    assert found["parameters"][1]["estimate"] == pytest.approx(10.467286, abs=1e-6)
    assert found["parameters"][2]["std.error"] is None
    assert found["about"]["method"] == "REML"


def test_a_posterior_as_a_document_has_the_comparison_and_what_is_written_is_said_elsewhere(run, tmp_path):
    words = "--draws", "100", "--chains", "2", "--seed", "1", "--out", str(tmp_path / "out")
    code, out, err = run("fit", "sleepstudy", FORMULA, "--json", *words)
    found = document(out)
    assert code in (0, 3) and "Written to" in err
    assert [row["parameter"] for row in found["comparison"]][-1] == "beta[Days]"
    assert {row["verdict"] for row in found["comparison"]} <= {"agree", "skew", "boundary", "prior pull", "disagree"}


def test_predictions_are_csv(run):
    code, out, _ = run("predict", "a.nc", "new.csv", "--new-levels", "sample", "--seed", "3")
    table = pd.read_csv(io.StringIO(out))
    data = pd.DataFrame({"Days": [3, 4], "Subject": ["308", "999"]})
    expected = bmm.load("a.nc").predict(data, new_levels="sample", seed=3).to_frame()
    assert code == 0 and list(table.columns) == ["row", "mean", "sd", "lower", "upper"]
    np.testing.assert_allclose(table.iloc[:, 1:], expected, rtol=1e-12)


def test_predictions_averaged_over_all_groups(run):
    _, out, _ = run("predict", "a.nc", "new.csv", "--groups", "averaged", "--json")
    data = pd.DataFrame({"Days": [3, 4], "Subject": ["308", "999"]})
    expected = bmm.load("a.nc").predict(data, groups="averaged").to_frame()["mean"]
    assert [row["mean"] for row in document(out)["predictions"]] == pytest.approx(list(expected))


def test_predictions_of_the_population_as_a_document(run):
    _, out, _ = run("predict", "a.nc", "new.csv", "--groups", "population", "--json")
    rows = document(out)["predictions"]
    assert [row["row"] for row in rows] == [0, 1] and rows[0]["mean"] < rows[1]["mean"]


def test_predictions_of_ordered_categories_have_a_row_for_each(run, folder):
    data = pd.DataFrame({"x": np.arange(60) % 5, "y": np.arange(60) * 7 % 11 % 3 + 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bmm.fit("y ~ x", data, "cumulative", seed=1, draws=50, progress=False)
    fit.save(folder / "ordered.nc", overwrite=True)
    data.iloc[:2].to_csv(folder / "ordered.csv", index=False)
    expected = fit.predict(data.iloc[:2]).to_frame()
    code, out, _ = run("predict", "ordered.nc", "ordered.csv", "--json")
    rows = document(out)["predictions"]
    assert code == 0 and list(rows[0]) == ["row", "category", "mean", "sd", "lower", "upper"]
    assert [(row["row"], row["category"]) for row in rows] == list(expected.index)
    np.testing.assert_allclose([row["mean"] for row in rows], expected["mean"], rtol=1e-12)
    table = pd.read_csv(io.StringIO(run("predict", "ordered.nc", "ordered.csv")[1]))
    assert list(table.columns) == list(rows[0]) and len(table) == 6
    numbers = run("predict", "ordered.nc", "ordered.csv", "--kind", "linear", "--json")[1]
    assert list(document(numbers)["predictions"][0]) == ["row", "mean", "sd", "lower", "upper"]


def test_a_comparison_names_the_fits_by_their_files(run):
    code, out, _ = run("compare", "a.nc", "b.nc", "--by", "Subject")
    assert code == 0 and f" a: {FORMULA}" in out and "best first" in out


def test_a_report_stands_beside_the_fit_and_replaces_no_other_page(run, folder, unrendered):
    page = folder / "b.html"
    page.write_text("<p>of somebody else</p>")
    code, _, err = run("report", "b.nc")
    assert code == 2 and "b.html" in err.splitlines()[-1] and page.read_text() == "<p>of somebody else</p>"
    page.unlink()
    assert run("report", "b.nc")[0] in (0, 3) and page.stat().st_size > 10_000


@pytest.mark.parametrize(("words", "expected"), [
    (("predict", "a.nc", "new.csv"), "'999'"),
    (("predict", "a.nc", "old.parquet"), "old.parquet"),
    (("predict", "a.nc", "new.csv", "--ci-prob", "2", "--new-levels", "zero"), "ci_prob"),
    (("predict", "a.nc", "new.csv"), "; --new-levels sample draws the effects of a new level from a posterior"),
    (("predict", "a.nc", "old.csv", "--kind", "linear", "--groups", "averaged"), "use --groups population"),
    (("compare", "a.nc"), "two saved fits or more"),
    (("compare", "a.nc", "b.nc", "--by", "subject"), "Subject"),
    (("show", "c.nc"), "c.nc"),
])  # fmt: skip
def test_wrong_input_is_one_line(run, words, expected):
    code, out, err = run(*words)
    assert code == 2 and out == ""
    line = [line for line in err.splitlines() if not line.endswith(" s")]  # what it says while it waits
    assert len(line) == 1 and expected in line[0]


def test_what_json_has_not_is_null():
    text = documents.text(values=[np.float64(1.5), np.int64(2), np.bool_(True), float("nan"), float("inf"), None, "ä"])
    assert document(text)["values"] == [1.5, 2, True, None, None, None, "ä"]
