import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.cli.input import check_early, read_data, read_priors
from bayesmm.cli.main import main
from bayesmm.cli.output import prepare
from bayesmm.evaluation.checks import Check
from bayesmm.sampling.nuts import SAMPLERS

ROOT = Path(__file__).parents[2]
FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command in this process: (exit code, stdout, stderr), at a fixed terminal width."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*words):
        code = main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def sampled(monkeypatch):
    """Replace sampling by a result whose checks are what the test says; the list holds the settings of each call."""
    calls = []

    class Result:
        checks_found = (Check("R-hat", True, 1.0, 1.01, "fine"),)

        def checks(self):
            return list(self.checks_found)

        def compare(self):
            return "THE COMPARISON"

        def __str__(self):
            return "THE POSTERIOR"

    def sample(self, **settings):
        calls.append(settings | {"model": self})
        return Result()

    monkeypatch.setattr("bayesmm.model.Model.sample", sample)
    return calls, Result


# What is read: DATA


def test_a_bundled_name_is_taken_and_said():
    frame, taken = read_data("sleepstudy")
    assert len(frame) == 180
    assert taken == "Data: the bundled data set sleepstudy, 180 rows of Reaction, Days, Subject."


@pytest.fixture
def table():
    return pd.DataFrame({"y": [1.5, 2.0, np.nan], "g": ["a", "b", "å"]})


def test_a_file_wins_over_a_bundled_name_where_it_has_a_folder_or_a_suffix(tmp_path, monkeypatch, table):
    monkeypatch.chdir(tmp_path)
    table.to_csv("sleepstudy.csv", index=False)
    table.to_csv("sleepstudy", index=False)
    frame, taken = read_data("sleepstudy.csv")
    assert len(frame) == 3
    assert taken == "Data: the file sleepstudy.csv, 3 rows of y, g."
    frame, taken = read_data("sleepstudy")
    assert len(frame) == 180
    assert "the bundled data set sleepstudy (for the file of that name write ./sleepstudy)" in taken
    with pytest.raises(bmm.DataError, match="should be a CSV or Parquet file"):
        read_data("./sleepstudy")


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "CSV", "parquet", "pq"])
def test_the_formats_of_a_file(tmp_path, table, suffix):
    path = tmp_path / f"x.{suffix}"
    if suffix in ("parquet", "pq"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, encoding="utf-8-sig")  # with the mark that spreadsheets put first
    pd.testing.assert_frame_equal(read_data(str(path))[0], table)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("sleepstdy", "'sleepstdy' is neither a file (.csv, .parquet) nor a data set (there are sleepstudy, "),
        ("sleepstdy", "; did you mean 'sleepstudy'?"),
        ("", "DATA is empty; expected the name of a file"),
        ("gone.csv", "there is no file gone.csv"),
        ("immune.csv", "there is no file immune.csv; the bundled data set is called 'immune'"),
        (
            "x.xlsx",
            "x.xlsx should be a CSV or Parquet file: its name should end in .csv, .tsv or .txt, also followed by ",
        ),
        ("https://example.org/x.csv", "is an address; only files of this computer are supported"),
    ],
)
def test_data_that_are_not_there(data, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(bmm.DataError) as caught:
        read_data(data)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("latin.csv", b"g,y\n\xe5,1\n"),
        ("text.parquet", b"not a parquet file"),
        ("not.csv.gz", b"not gzip"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(bmm.DataError) as caught:
        read_data(str(tmp_path / name))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name} cannot be read as a table: ")
    assert "\n" not in message


# What is read: --prior


def test_priors_are_read_by_place():
    texts = [
        "sd=HalfNormal(sigma=10)",
        " beta[Days] = Normal( mu = -1.5e1 , sigma=.5 )",
        "beta[I(x == 1)]=StudentT(nu=3, mu=0, sigma=2)",
        "sigma=25.6",
        "sd_Subject=InverseGamma(alpha=1, beta=1, on='variance')",
        "Intercept=Flat()",
    ]
    assert read_priors(texts) == {
        "sd": bmm.Prior("HalfNormal", sigma=10),
        "beta[Days]": bmm.Prior("Normal", mu=-15, sigma=0.5),
        "beta[I(x == 1)]": bmm.Prior("StudentT", nu=3, mu=0, sigma=2),
        "sigma": 25.6,
        "sd_Subject": bmm.Prior("InverseGamma", alpha=1, beta=1, on="variance"),
        "Intercept": bmm.Prior("Flat"),
    }


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["sd"], "the prior 'sd' should be PLACE=Name(parameter=number, ...) or PLACE=number"),
        (["=Normal(mu=0)"], "should be PLACE="),
        (["sd=HalfNormal"], "should be PLACE="),
        (["sd=HalfNormal(sigma=10"], "should be PLACE="),
        (["sd=HalfNormal(sigma=10))"], "should be PLACE="),
        (["sd=HalfNormal(10)"], "'10' should be parameter=number, as in sigma=10"),
        (["sd=HalfNormal(sigma=10,)"], "'' should be parameter=number"),
        (["sd=HalfNormal(sigma=1+1)"], "'sigma=1+1' should be parameter=number"),
        (["sd=HalfNormal(sigma=1, sigma=2)"], "sigma is given twice"),
        (["sd=HalfNormal(distribution=1)"], "distribution is given twice"),
        (["sigma=1", "sigma=2"], "the prior of 'sigma' is given twice"),
        (["sd=HalfNorml(sigma=10)"], "did you mean 'HalfNormal'?"),
        (["sd=HalfNormal(sigma=-1)"], "sigma"),
        (["sd=__import__('os').system('true')"], "should be PLACE="),
        (["sd=eval(x=__import__)"], "eval"),
    ],
)
def test_a_prior_that_can_not_be_read_is_refused(texts, expected):
    with pytest.raises(bmm.PriorError) as caught:
        read_priors(texts)
    assert expected in str(caught.value)


# What is written


def test_the_folder_is_made_and_can_be_used_again(tmp_path):
    assert prepare(None, ["x.csv"], False) is None
    made = prepare(str(tmp_path / "new"), ["x.csv"], False)
    assert made.is_dir()
    assert list(made.iterdir()) == []
    (made / "other.txt").touch()
    assert prepare(str(made), ["x.csv"], False) == made
    (made / "x.csv").touch()
    assert prepare(str(made), ["x.csv"], True) == made
    with pytest.raises(bmm.DataError, match=r"already holds x\.csv: name another folder or add --overwrite"):
        prepare(str(made), ["x.csv"], False)


@pytest.mark.parametrize("place", ["file", "file/x", "no/such"])
def test_a_folder_that_can_not_be_written_to(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(bmm.DataError, match=r"^--out .* cannot be written to: [^\n]*$"):
        prepare(str(tmp_path / place), ["x.csv"], False)


# The command


def test_help_names_the_commands_and_their_choices(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert all(command in out for command in ("fit", "maximize", "datasets", "--version"))
    assert run() == (code, out, err)
    code, out, err = run("fit", "--help")
    assert (code, err) == (0, "")
    words = (
        "DATA FORMULA --family --prior --weights --missing --draws --tune --chains --seed --sampler --out --overwrite"
    )
    assert all(word in out for word in words.split())
    assert "beta[Days]" in out  # the brackets are not eaten as markup
    assert all(len(line) <= 80 for line in out.splitlines())
    words = {
        name: " ".join(run(name, "--help")[1].replace("│", " ").split())
        for name in ("fit", "show", "predict", "compare", "report", "reproduce")
    }
    assert [name for name, text in words.items() if "; 1 " in text] == ["reproduce"]
    assert "1 reproduce alone" in " ".join(run("--help")[1].split())
    assert all("--out DIR DIR/fit.nc" in words[name] for name in ("show", "predict", "report"))


def test_version(run):
    assert run("--version") == (0, f"bayesmm {bmm.__version__}\n", "")


def test_the_list_of_data_sets(run):
    code, out, err = run("datasets")
    assert (code, err) == (0, "")
    assert all(name in out for name in bmm.datasets()["name"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fti"], "No such command 'fti'"),
        (["fit", "sleepstudy"], "Missing argument"),
        (["fit", "sleepstudy", FORMULA, "--draws", "0"], "--draws"),
        (["fit", "sleepstudy", FORMULA, "--draws", "1.5"], "--draws"),
        (["fit", "sleepstudy", FORMULA, "--chains", "0"], "--chains"),
        (["fit", "sleepstudy", FORMULA, "--seed", "-1"], "--seed"),
        (["fit", "sleepstudy", FORMULA, "--sampler", "gibbs"], "--sampler"),
        (["fit", "sleepstudy", FORMULA, "--missing", "keep"], "--missing"),
        (["fit", "sleepstudy", FORMULA, "--drows", "5"], "No such option: --drows"),
        (["maximize", "sleepstudy", FORMULA, "--method", "OLS"], "--method"),
        (["fit", "sleepstdy", FORMULA], "did you mean 'sleepstudy'?"),
        (["fit", "gone.csv", FORMULA], "there is no file gone.csv"),
        (["fit", "sleepstudy", FORMULA, "--family", "gausian"], "did you mean 'gaussian'?"),
        (["fit", "sleepstudy", FORMULA, "--prior", "sd"], "should be PLACE="),
        (["fit", "sleepstudy", FORMULA, "--prior", "beta[Dyas]=Normal(mu=0, sigma=1)"], "beta[Days]"),
        (["fit", "sleepstudy", FORMULA, "--weights", "w"], "'w'"),
        (["fit", "sleepstudy", FORMULA, "--out", "no/such/place"], "--out no/such/place cannot be written to"),
        (["maximize", "sleepstudy", FORMULA, "--out", "no/such/place"], "--out no/such/place cannot be written to"),
    ],
)
def test_wrong_input_is_one_line_and_comes_before_sampling(run, sampled, words, expected):
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith("bayesmm: ")
    assert expected in err
    assert err.count("\n") == 1
    assert sampled[0] == []


def test_what_the_sampler_itself_refuses_is_one_line_too(run):
    code, _, err = run("fit", "sleepstudy", FORMULA, "--seed", "99999999999999999999")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("bayesmm: seed should be ")


def test_the_draws_are_safe_before_anything_else_is_tried(run, sampled, monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("no comparison")

    monkeypatch.setattr(sampled[1], "compare", fail)
    monkeypatch.setattr(sampled[1], "tree", "THE TREE", raising=False)
    monkeypatch.setattr(sampled[1], "save", lambda self, path, **_: path.write_text(self.tree), raising=False)
    with pytest.raises(RuntimeError, match="no comparison"):
        run("fit", "sleepstudy", FORMULA, "--out", str(tmp_path))
    assert (tmp_path / "fit.nc").read_text() == "THE TREE"


def test_a_wrong_formula_is_a_sentence_and_its_place(run, sampled):
    code, _, err = run("fit", "sleepstudy", "Reaction ~ Dyas + (Days | Subject)")
    assert code == 2
    sentence, formula, carets = err.rstrip("\n").split("\n")
    assert sentence.startswith("bayesmm: ")
    assert "did you mean 'Days'?" in sentence
    place = formula.index("Dyas")
    assert carets.rstrip() == " " * place + "^^^^"
    assert sampled[0] == []


def test_a_line_break_in_a_name_does_not_break_the_line(run, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('y,"a\nb",g\n1,text,1\n2,text,1\n', encoding="utf-8")
    code, _, err = run("fit", str(path), "y ~ 1 + (1 | h)")
    assert code == 2
    assert len(err.splitlines()) <= 3  # the sentence, and the formula's two lines


def test_the_options_reach_the_model_and_the_sampler(run, sampled):
    words = "--draws 11 --tune 12 --chains 2 --seed 3 --sampler pymc --missing error --prior sigma=25".split()
    code, out, err = run("fit", "sleepstudy", FORMULA, *words)
    assert (code, err) == (0, "")
    assert out.startswith("Data: the bundled data set sleepstudy, 180 rows")
    assert out.index("THE POSTERIOR") < out.index("THE COMPARISON")
    (settings,) = sampled[0]
    model = settings.pop("model")
    assert settings == {"draws": 11, "tune": 12, "chains": 2, "seed": 3, "sampler": "pymc", "store": None}
    assert model.priors["sigma"] == bmm.Prior("Fixed", value=25.0)


def test_every_sampler_of_the_model_can_be_named(run, sampled):
    for sampler in SAMPLERS:
        assert run("fit", "sleepstudy", FORMULA, "--sampler", sampler)[0] == 0
    assert [settings["sampler"] for settings in sampled[0]] == list(SAMPLERS)


@pytest.mark.parametrize(
    ("failed", "code"), [([], 0), (["R-hat"], 3), (["interrupted"], 130), (["R-hat", "interrupted"], 130)]
)
def test_the_exit_code_says_how_the_checks_went(run, sampled, failed, code):
    sampled[1].checks_found = tuple(
        Check(name, name not in failed, 1.0, 1.0, "said") for name in ("R-hat", "interrupted")
    )
    found, out, _ = run("fit", "sleepstudy", FORMULA)
    assert found == code
    assert "THE POSTERIOR" in out


def test_an_interrupt_before_the_first_draw(run, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesmm.model.Model.sample", interrupt)
    code, _, err = run("fit", "sleepstudy", FORMULA)
    assert code == 130
    assert "Traceback" not in err


def test_what_is_wrong_with_names_is_said_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "d.csv").write_text("y,x,g\n1,2,a\n")
    code = """
import sys
from bayesmm.cli.main import main
codes = [main(["fit", *words.split("@")]) for words in sys.argv[1:]]
print(codes, sorted({"pandas", "numpy", "numba", "scipy"} & set(sys.modules)))
"""
    own = str(tmp_path / "d.csv")
    wrong = ["nofile.csv@y ~ x", "sleepstdy@y ~ x", f"{own}@y ~ x + (1 | G)", "sleepstudy@Reaction ~ Dys"]
    wrong.append(f"{own}@y ~ x@--weights@w")
    done = subprocess.run([sys.executable, "-c", code, *wrong], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 2, 2, 2, 2] []\n"
    said = done.stderr.splitlines()
    assert said[0] == "bayesmm: there is no file nofile.csv"
    assert said[1].endswith("did you mean 'sleepstudy'?")
    assert said[2] == "bayesmm: grouping factor 'G' is not in the data; did you mean 'g'? (columns: y, x, g)"
    assert (
        said[5] == "bayesmm: column 'Dys' is not in the data; did you mean 'Days'? (columns: Reaction, Days, Subject)"
    )
    assert said[8] == "bayesmm: the weights column 'w' is not in the data (columns: y, x, g)"


@pytest.mark.parametrize("columns", ["y,,g", "y,y,x"])
def test_columns_that_cannot_be_told_so_early_are_left_to_the_model(tmp_path, columns):
    (tmp_path / "d.csv").write_text(f"{columns}\n1,2,3\n")
    check_early(str(tmp_path / "d.csv"), "z ~ x")
    check_early("sleepstudy", "Reaction ~ (")


def test_a_folder_that_was_made_and_stayed_empty_is_gone(run, sampled, monkeypatch, tmp_path):
    words = "fit", "sleepstudy", FORMULA, "--out", str(tmp_path / "out")
    assert run(*words, "--family", "poison")[0] == 2 and not (tmp_path / "out").exists()
    monkeypatch.setattr("bayesmm.model.Model.sample", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*words)[0] == 130 and not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert run(*words)[0] == 130 and (tmp_path / "out").exists()  # it was the user's


def test_warnings_are_sentences_on_stderr_and_leave_no_trace(run, tmp_path):
    path = tmp_path / "x.csv"
    sleepstudy = bmm.load_dataset("sleepstudy")
    sleepstudy.loc[3, "Days"] = None
    sleepstudy.to_csv(path, index=False)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = run("maximize", str(path), FORMULA)
    assert code == 0
    assert warnings.showwarning is before
    assert all(line.startswith("bayesmm: warning: ") for line in err.splitlines())


def test_maximize_prints_the_fit_and_writes_its_tables(run, tmp_path):
    code, out, err = run("maximize", "sleepstudy", FORMULA, "--method", "ml", "--out", str(tmp_path / "ml"))
    assert (code, err) == (0, "")
    assert "1751.9" in out  # lme4: deviance(lmer(..., REML = FALSE)) is 1751.939
    varcorr = pd.read_csv(tmp_path / "ml" / "varcorr.csv")
    assert varcorr["grp"].tolist() == ["Subject", "Subject", "Subject", "Residual"]
    assert varcorr["sdcor"].iloc[-1] == pytest.approx(25.5918, abs=1e-3)  # lme4: sigma(lmer(..., REML = FALSE))
    assert {path.name for path in (tmp_path / "ml").iterdir()} >= {"fixef.csv", "ranef.csv", "varcorr.csv"}
    assert all(path.name in out for path in (tmp_path / "ml").iterdir())


def test_a_method_that_the_family_has_not_is_one_line(run):
    code, _, err = run("maximize", "esoph", "ncases ~ (1 | agegp)", "--family", "poisson", "--method", "reml")
    assert code == 2
    assert err.startswith("bayesmm: REML is defined for gaussian models") and err.count("\n") == 1


def test_an_optimum_that_was_not_found_is_an_exit_code(run, monkeypatch):
    class Point:
        converged = False

    monkeypatch.setattr("bayesmm.model.Model.maximize", lambda self, method, nagq: Point())
    assert run("maximize", "sleepstudy", FORMULA)[0] == 3


def test_the_process_leaves_with_the_code_and_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "bayesmm", "maximize", "sleepstudy", "Reaction ~ (Days"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("bayesmm: ")


@pytest.mark.slow
def test_fit_writes_draws_tables_and_figures(run, tmp_path):
    folder = tmp_path / "out"
    code, out, _ = run("fit", "sleepstudy", FORMULA, "--seed", "1", "--out", str(folder))
    assert code == 0
    assert "Checks passed" in out
    written = {path.name for path in folder.iterdir()}
    assert {"fit.nc", "summary.csv", "fixef.csv", "varcorr.csv", "ranef.csv", "comparison.csv", "checks.csv"} <= written
    assert any(name.endswith(".png") for name in written)
    assert all(name in out for name in written)
    fixef = pd.read_csv(folder / "fixef.csv", index_col=0)
    # REML estimate; the posterior mean is within a quarter of a posterior sd (1.6) of it under the weak default priors
    assert fixef.loc["Days", "mean"] == pytest.approx(10.467, abs=0.4)
    assert run("fit", "sleepstudy", FORMULA, "--out", str(folder))[0] == 2  # nothing is replaced unasked


def test_link_and_trials_are_options_of_maximize(tmp_path, capsys):
    path = tmp_path / "coins.csv"
    rows = [f"{k % 5},{5 + k % 3},{'abcd'[k % 4]},{k}" for k in range(24)]
    path.write_text("\n".join(["y,n,g,x", *rows]))
    words = [str(path), "y ~ x + (1 | g)", "--family", "binomial", "--link", "probit", "--trials", "n"]
    assert main(["maximize", *words]) in (0, 3)
    assert "binomial (probit link)" in capsys.readouterr().out
    assert main(["maximize", *words[:-2]]) == 2
    assert "has no trials" in capsys.readouterr().err
    assert main(["maximize", *words, "--weights", "n"]) == 2
    assert "a row of n trials would count n times over" in capsys.readouterr().err
