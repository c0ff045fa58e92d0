"""Every printed number of the documents, and the command that computes them anew."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from references import ABSENT
from studies import write

import bayesmm as bmm
from bayesmm.cli.main import main
from bayesmm.cli.reproduce import data as data_module
from bayesmm.cli.reproduce.command import bundled, find, in_printed_order
from bayesmm.cli.reproduce.published import read_published
from bayesmm.cli.reproduce.quantities import Fitted, value_at
from bayesmm.cli.reproduce.run import EXPLAINED, FAILED, REPRODUCED, Result, reproduce
from bayesmm.cli.reproduce.text import markdown
from bayesmm.errors import DataError
from bayesmm.estimation.profiled import flat, profiled_criterion
from bayesmm.estimation.reml import assemble
from bayesmm.likelihood.gaussian import evaluate
from bayesmm.likelihood.orthogonal import lower_factor
from bayesmm.likelihood.problem import orthogonal_problem

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
STUDIES = {study.name: study for study in in_printed_order(map(read_published, MODELS.glob("*.toml")))}

# Every fitted model and test that the five documents print: document, first line, how many numbers, which files.
# The documents are not part of this repository; the list is. One printed table is two models pasted together.
ENTRIES = (
    ("000", 124, 11, ("thyroxine_mean",)),
    ("000", 179, 37, ("thyroxine_patients",)),
    ("000", 251, 17, ("thyroxine_random_intercepts",)),
    ("000", 303, 47, ("thyroxine_genotype",)),
    ("000", 371, 24, ("thyroxine_genotype_slopes",)),
    ("001", 163, 23, ("crop_yield_additive", "crop_yield_interaction")),
    ("002", 172, 16, ("sleepstudy_slopes",)),
    ("002", 224, 13, ("sleepstudy_test_slopes",)),
    ("003", 92, 29, ("immune_start_sex",)),
    ("003", 147, 38, ("immune_start_family_number",)),
    ("003", 224, 62, ("immune_start_families",)),
    ("003", 266, 95, ("immune_start_sex_by_family",)),
    ("003", 346, 19, ("immune_start_random_families",)),
    ("003", 428, 22, ("immune_start_random_sex",)),
    ("003", 464, 7, ("immune_start_test_random_sex",)),
    ("003", 477, 7, ("immune_start_test_sex",)),
    ("003", 505, 0, ("immune_time_regression",)),
    ("003", 510, 30, ("immune_time_intercepts",)),
    ("003", 545, 33, ("immune_time_slopes",)),
    ("003", 576, 7, ("immune_time_test_slopes",)),
    ("003", 601, 2, ("immune_time_siblings",)),
    ("003", 666, 39, ("immune_time_persons",)),
    ("003", 700, 7, ("immune_time_test_persons",)),
    ("004", 79, 34, ("esoph_gaussian",)),
    ("004", 246, 38, ("esoph_poisson",)),
)
NUMBERS, LEAST_REPRODUCED = 657, 590  # printed in the documents; fewer reproduced would be a step back


def result_of(name):
    result = reproduce(STUDIES[name])
    if result.absent:
        pytest.skip(ABSENT)
    return result


# The documents


def test_every_result_of_the_documents_has_its_file_and_all_its_numbers():
    assert len(ENTRIES) == 25
    assert sum(count for _, _, count, _ in ENTRIES) == NUMBERS
    for document, line, count, names in ENTRIES:
        assert sum(len(STUDIES[name].numbers) for name in names) == count, names
        assert {STUDIES[name].document for name in names} == {document}
        assert STUDIES[names[0]].lines[0] == line
    listed = {name for _, _, _, names in ENTRIES for name in names}
    assert {name for name, study in STUDIES.items() if not study.repeats} == listed


def test_enough_numbers_are_reproduced():
    counted = [study for study in STUDIES.values() if not study.repeats]
    explained = sum(len(study.explained) for study in counted)
    assert NUMBERS - explained >= LEAST_REPRODUCED


@pytest.mark.parametrize("name", STUDIES)
def test_every_printed_number_is_reproduced_or_explained(name):
    result = result_of(name)
    study = result.published
    assert len(result.rows) == len(study.numbers)
    assert not [(row.label, row.printed, row.value, row.reason) for row in result.rows if row.verdict == FAILED]
    assert result.count(EXPLAINED) == len(study.explained)
    assert result.count(REPRODUCED) == len(study.numbers) - len(study.explained)


def test_the_gaussian_esoph_print_is_a_point_just_short_of_the_optimum():
    # What its file explains, proved: with these relative factors (theta of the print's optimiser) the same likelihood
    # gives every printed digit, and its criterion is 7.5e-7 above the smallest.
    study = STUDIES["esoph_gaussian"]
    model = bmm.Model(study.formulas[0], bmm.load_dataset("esoph"))
    problem, best = orthogonal_problem(model.design), model.maximize()
    T = np.array([[0.6735057608, 0.0], [0.01015588445, 0.03783303525]])
    free = lower_factor(np.linalg.solve(problem.bases[0], T)).ravel()[problem.free]
    value = evaluate(problem.cp, problem.packed(free), None, flat(problem.cp.p), integrate_flat=True)
    criterion = profiled_criterion(problem, value, True)
    assert criterion - best.criterion == pytest.approx(7.5e-7, abs=1e-8)
    options = dict(criterion=criterion, loglik=-criterion / 2, deviance=best.deviance)
    prior = flat(problem.cp.p)
    stopped = assemble(problem, "REML", free, value.sigma, prior, best.optimum, **options)
    sections = {}
    wrong = [
        place
        for place, printed in study.numbers.items()
        if not printed.covers(value_at(Fitted(study, (stopped,)), sections, place))
    ]
    assert not wrong


def test_the_final_immune_model_holds_on_the_twin():
    twin, original = STUDIES["immune_twin"], STUDIES["immune_time_persons"]
    assert twin.repeats == "immune_time_persons"
    assert {place: n.text for place, n in twin.numbers.items()} == {p: n.text for p, n in original.numbers.items()}
    point = bmm.Model(twin.formulas[0], bmm.load_dataset("immune")).maximize()
    printed = {place: n.value for place, n in original.numbers.items()}
    for row in point.varcorr().itertuples():
        if isinstance(row.var2, str):
            assert row.sdcor == pytest.approx(printed["random", row.grp, f"{row.var1}, {row.var2}", "corr"], abs=0.005)
        else:  # the twin was made so that the sds are the printed ones to 1e-4 (PROVENANCE.md)
            sd = printed["sigma",] if row.grp == "Residual" else printed["random", row.grp, row.var1, "sd"]
            assert row.sdcor == pytest.approx(sd, abs=1e-4)
    for coefficient, estimate in point.fixef()["estimate"].items():
        assert estimate == pytest.approx(printed["coefficients", coefficient, "estimate"], abs=5e-5)


def test_the_page_of_published_results_says_what_the_files_say():
    text = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    shown = text.split("<!-- bayesmm reproduce --markdown -->\n")[1].split("<!-- end -->")[0]
    assert shown == markdown([Result(study, (), "not asked for", (), 0.0, 0.0) for study in STUDIES.values()])


def test_the_markdown_of_a_run_is_that_of_the_files():
    names = ["sleepstudy_slopes", "thyroxine_genotype_slopes"]
    run = [reproduce(STUDIES[name]) for name in names]
    assert markdown(run) == markdown([Result(STUDIES[name], (), "not asked for", (), 0.0, 0.0) for name in names])


def test_no_file_copies_a_sentence_of_the_documents():
    documents = sorted((ROOT.parent / "shared" / "documents").glob("*.txt"))
    if not documents:
        pytest.skip("the documents are not beside this checkout")
    printed = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in documents)
    for study in STUDIES.values():
        reasons = [explanation.reason for explanation in study.explained.values()]
        for text in (study.title, study.section, study.note, *reasons):
            words = re.findall(r"\w+", text)
            runs = [" ".join(words[i : i + 7]) for i in range(len(words) - 6)]  # seven words in a row are a quotation
            assert not [run for run in runs if run in printed]


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No copy of the data that have to be fetched is found anywhere."""
    monkeypatch.setattr(data_module, "BESIDE", tmp_path / "beside")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv(data_module.FOLDER_VARIABLE, raising=False)


def test_data_that_are_not_at_hand_are_said_to_be_absent_and_not_fetched(nowhere, tmp_path):
    result = reproduce(STUDIES["immune_time_persons"], folder=tmp_path)
    assert result.rows == ()
    assert 'bayesmm.load_dataset("immune_original")' in result.absent
    assert str(tmp_path) in result.absent


def test_a_file_of_that_name_with_other_data_is_refused(nowhere, tmp_path):
    (tmp_path / "immune_original.csv").write_text("FamID,IndID,Time,Sex,IgG\n1,1,0,F,1\n")
    with pytest.raises(DataError, match="is not immune_original: its SHA-256"):
        reproduce(STUDIES["immune_time_persons"], folder=tmp_path)


# The command


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*words):
        code = main(["reproduce", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_command_leaves_with_0_where_all_is_reproduced_or_explained(run, tmp_path):
    code, out, err = run("--no-sample", "sleepstudy_slopes", "sleepstudy_test_slopes", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "sd_Subject[Days]" in out
    assert "R printed 1814.8505 with its last digit rounded down." in out
    assert re.search(r"all +29 +28 +1 +0 ", out)
    table = pd.read_csv(tmp_path / "out" / "sleepstudy_slopes.csv", dtype={"printed": str})
    assert table.loc[table["quantity"] == "sd_Subject[Intercept]", "printed"].item() == "24.740"
    summary = pd.read_csv(tmp_path / "out" / "summary.csv", index_col="result")
    assert summary["reproduced"].to_dict() == {"sleepstudy_slopes": 16, "sleepstudy_test_slopes": 12}
    records = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [len(record["rows"]) for record in records] == [16, 13]


def test_the_command_leaves_with_1_and_lists_what_is_not_reproduced(run, tmp_path):
    write(tmp_path, published='sigma = "25.60"\nnobs = "180"')
    code, out, _ = run("--no-sample", tmp_path)
    assert code == 1
    assert "NOT reproduced: study, sigma: printed 25.60; 25.592 is not 25.60 to its digits" in out
    assert re.search(r"study +2 +1 +. +1 ", out)


def test_the_command_names_wrong_input(run, tmp_path, nowhere):
    code, _, err = run("slepstudy_slopes")
    assert code == 2
    assert "did you mean 'sleepstudy_slopes'?" in err
    code, _, err = run("--no-sample", "immune_time_persons")
    assert code == 2
    assert "immune_original.csv" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run(tmp_path / "empty")
    assert code == 2
    assert "there is no .toml file" in err


def test_a_start_that_the_model_has_not_is_one_line(run, tmp_path):
    text = (ROOT / "models" / "sleepstudy_slopes.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text + "\n[start]\nfoo = 3\n", encoding="utf-8")
    code, _, err = run("--no-sample", tmp_path / "mine.toml")
    assert code == 2
    assert err.startswith("bayesmm: mine.toml: start names 'foo'") and err.count("\n") == 1


def test_two_results_of_one_name_would_overwrite_each_other(run, tmp_path):
    write(tmp_path)
    code, _, err = run("--no-sample", tmp_path, tmp_path / "study.toml", "--out", tmp_path / "out")
    assert code == 2
    assert "two results have one name" in err


def test_all_bundled_files_are_meant_without_words(run, nowhere, monkeypatch):
    files = [MODELS / f"{name}.toml" for name in ("sleepstudy_slopes", "immune_time_persons", "immune_twin")]
    monkeypatch.setattr("bayesmm.cli.reproduce.command.bundled", lambda: files)
    monkeypatch.setattr("bayesmm.cli.reproduce.command.classics", lambda: [])
    code, out, _ = run("--no-sample", "--brief")
    assert code == 0  # what cannot be checked is not reproduced wrongly
    assert "Not checked, 39 numbers of immune_time_persons" in out
    assert re.search(r"all +55 +16 +0 +0 ", out)  # the twin repeats numbers that are counted already
    assert "sd_Subject[Days]" not in out


def test_the_bundled_files_are_found():
    assert [file.name for file in bundled()] == sorted(f"{name}.toml" for name in STUDIES)
    assert find(["sleepstudy_slopes", str(MODELS / "esoph_poisson.toml")]) == [
        MODELS / "sleepstudy_slopes.toml",
        MODELS / "esoph_poisson.toml",
    ]


@pytest.mark.slow
def test_the_posterior_stands_beside_the_estimates(run):
    code, out, _ = run("thyroxine_random_intercepts")
    assert code == 0
    assert re.search(r"beta\[Intercept\] +8.705556 +8.7055556 +8\.\d+ .* agree +reproduced", out)
    assert re.search(r"beta\[Intercept\] se +1.143983 +1.1439832 +– ", out)
