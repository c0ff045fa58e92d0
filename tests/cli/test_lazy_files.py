"""DATA by an engine: files, patterns and folders, with the answers of the table in memory."""

import pandas as pd
import pytest

from bayesmm.cli.lazy_files import read_lazily
from bayesmm.cli.main import main
from bayesmm.cli.shell_words import in_shell
from bayesmm.design.summed import absent_rows
from bayesmm.errors import DataError
from tests.lazy_frames import installed, messy

FORMULA = "y ~ x + f + (1 | g)"
ENGINES = [engine for engine in ("polars", "duckdb") if installed(engine)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return folders of one table in three files, of each kind."""
    table, root = messy(600), tmp_path_factory.mktemp("data")
    for kind in ("parquet", "csv"):
        (root / kind).mkdir()
        for k in range(3):
            part = table.iloc[200 * k : 200 * (k + 1)]
            if kind == "csv":
                part.to_csv(root / kind / f"part{k}.csv", index=False, na_rep="NA")
            else:
                part.to_parquet(root / kind / f"part{k}.parquet", index=False)
    table.to_csv(root / "whole.csv", index=False)
    return root


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_pattern_and_a_folder_give_the_tables_answer(engine, kind, folders, capsys):
    assert main(["maximize", str(folders / "whole.csv"), FORMULA]) == 0
    expected = capsys.readouterr().out.split("REML criterion")[1].split("Scaled")[0]
    for data in (f"{folders}/{kind}/*.{kind}", str(folders / kind)):
        assert main(["maximize", data, FORMULA, "--engine", engine]) == 0
        said = capsys.readouterr().out
        assert f"3 {'Parquet' if kind == 'parquet' else 'CSV'} files" in said
        assert said.split("REML criterion")[1].split("Random")[0].strip() == expected.strip()
        assert "Number of obs: 597 (sums by" in said


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_no_data_is_one_sentence(engine, folders, tmp_path, capsys):
    (tmp_path / "mixed").mkdir()
    pd.DataFrame({"x": [1]}).to_csv(tmp_path / "mixed" / "a.csv")
    (tmp_path / "mixed" / "b.parquet").write_bytes(b"no Parquet")
    (tmp_path / "empty").mkdir()
    for data, said in (
        (tmp_path / "mixed", "both Parquet and CSV files"),
        (tmp_path / "empty", "has no file whose name ends in"),
        (tmp_path / "gone*.csv", "no file that this pattern names"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            read_lazily(str(data), engine)
        assert "\n" not in str(caught.value)
    assert main(["maximize", str(tmp_path / "mixed" / "b.parquet"), FORMULA, "--engine", engine]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_absent_engine_is_named(monkeypatch, folders):
    import sys

    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(DataError, match=r"pip install 'bayesmm\[duckdb\]'"):
        read_lazily(str(folders / "whole.csv"), "duckdb")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([FORMULA, "--missing", "error"], "--missing drop leaves such rows out"),
        (["y ~ s(x) + (1 | g)"], "leave out --engine"),
    ],
)
def test_advice_is_in_words_of_the_shell(words, said, folders, capsys):
    assert main(["maximize", f"{folders}/parquet/*.parquet", *words, "--engine", "polars"]) == 2
    err = capsys.readouterr().err
    assert said in err and "missing='" not in err and "collect" not in err


def test_predictions_of_a_saved_fit_are_written_in_parts(folders, tmp_path, capsys):
    import bayesmm as bmm

    table = messy(600)
    fit = bmm.Model(FORMULA, table).sample(draws=20, chains=1, seed=1, sampler="importance", progress=False)
    fit.save(tmp_path / "fit.nc")
    table.dropna().to_parquet(tmp_path / "rows.parquet", index=False)
    words = ["predict", str(tmp_path / "fit.nc"), str(tmp_path / "rows.parquet"), "--engine", "polars", "--seed", "1"]
    assert main([*words, "--to", str(tmp_path / "all.csv")]) == 0
    found = pd.read_csv(tmp_path / "all.csv")
    assert found["mean"].to_numpy() == pytest.approx(fit.predict(seed=1).to_frame()["mean"].to_numpy(), rel=1e-9)
    assert main([*words, "--to", str(tmp_path / "all.csv")]) == 2 and "exists already" in capsys.readouterr().err
    assert main(words) == 2 and "needs --to FILE" in capsys.readouterr().err


def test_what_needs_rows_is_said_in_words_of_the_shell():
    said = in_shell(str(absent_rows("DuckDB")))
    assert said.endswith("leave out --engine, or take a sample of the rows") and "predict_to" not in said
