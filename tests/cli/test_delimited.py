"""DATA of the command line: stdin, compression, delimiters and decimal marks; and --quiet."""

import bz2
import gzip
import io
import json
import lzma
import sys
import zipfile

import pandas as pd
import pyarrow
import pytest

import bayesmm as bmm
from bayesmm.cli.delimited import COMPRESSED, MAGIC, Format, text_format
from bayesmm.cli.input import check_early, read_data, used_columns
from bayesmm.cli.lazy_files import read_lazily
from bayesmm.cli.main import main
from bayesmm.runtime.progress import counter, silent, working
from tests.lazy_frames import installed

FORMULA = "Reaction ~ Days + (Days | Subject)"
ENGINES = [engine for engine in ("polars", "duckdb") if installed(engine)]


@pytest.fixture
def table():
    return pd.DataFrame({"y": [1.5, 2.25, None], "g": ["a", "b", "å"]})


def zipped(content, names=("inside.csv",)):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._inside.csv", b"what macOS puts beside")
        for name in names:
            archive.writestr(name, content)
    return out.getvalue()


PACKED = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": zipped,
    ".zst": lambda content: pyarrow.compress(content, codec="zstd", asbytes=True),
}  # fmt: skip


@pytest.fixture
def piped(monkeypatch):
    """Put bytes into stdin."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_each_compression_in_a_file_and_in_stdin(suffix, table, tmp_path, piped):
    content = PACKED[suffix](table.to_csv(index=False).encode("utf-8-sig"))  # with the mark that spreadsheets put first
    path = tmp_path / f"x.csv{suffix}"
    path.write_bytes(content)
    pd.testing.assert_frame_equal(read_data(str(path))[0], table)
    piped(content)
    frame, taken = read_data("-")
    pd.testing.assert_frame_equal(frame, table)
    assert taken == "Data: stdin, 3 rows of y, g."
    if suffix == ".zst":  # what reads it is heavy: left to the model
        return check_early(str(path), "y ~ (1 | h)")
    with pytest.raises(bmm.FormulaError, match="'h' is not in the data"):
        check_early(str(path), "y ~ (1 | h)")


def test_stdin_may_be_parquet_and_every_kind_is_known(table, piped):
    piped(pyarrow_bytes := table.to_parquet())
    pd.testing.assert_frame_equal(read_data("-")[0], table)
    assert set(MAGIC.values()) == {*COMPRESSED, ".parquet"} and pyarrow_bytes.startswith(b"PAR1")
    piped(pyarrow_bytes)
    with pytest.raises(bmm.DataError, match="--decimal is for delimited text, and stdin is Parquet"):
        read_data("-", Format(decimal=","))


@pytest.mark.parametrize(
    ("name", "content", "given"),
    [
        ("x.tsv", "y\tg\n1.5\ta\n2.25\tb\n\tå\n", (None, None)),
        ("x.csv", "y;g\n1,5;a\n2,25;b\n;å\n", (None, ",")),
        ("x.csv", "y|g\n1,5|a\n2,25|b\n|å\n", ("|", ",")),
        ("x.tsv", "y\tg\n1,5\ta\n2,25\tb\n\tå\n", (None, ",")),
        ("x.txt", "y\tg\n1.5\ta\n2.25\tb\n\tå\n", ("tab", None)),
        ("x.txt", "y\tg\n1.5\ta\n2.25\tb\n\tå\n", (r"\t", ".")),
        ("x.txt", "y   g\n1.5 a\n2.25  b\nNA  å\n", ("whitespace", None)),
        ("x.txt", "y   g\n1.5 a\n2.25  b\nNA  å\n", (" ", None)),
    ],
)
def test_delimiters_and_decimal_marks(name, content, given, table, tmp_path, piped):
    (tmp_path / name).write_text(content, encoding="utf-8")
    how = text_format(*given)
    pd.testing.assert_frame_equal(read_data(str(tmp_path / name), how)[0], table)
    check_early(str(tmp_path / name), "y ~ 1 + (1 | g)", how=how)
    with pytest.raises(bmm.FormulaError, match="did you mean 'g'"):
        check_early(str(tmp_path / name), "y ~ 1 + (1 | G)", how=how)
    piped(content.encode())
    how = text_format(given[0] or ("tab" if name.endswith("tsv") else None), given[1])
    pd.testing.assert_frame_equal(read_data("-", how)[0], table)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_takes_them_too(engine, tmp_path):
    (tmp_path / "x.csv").write_text("y;g\n1,5;a\n2,25;b\n")
    (tmp_path / "README.txt").write_text("no table")
    (tmp_path / "z.csv.zst").write_bytes(PACKED[".zst"](b"y;g\n4,5;a\n"))
    frame, taken = read_lazily(str(tmp_path), engine, text_format(None, ","))
    found = frame.collect().to_pandas() if engine == "polars" else frame.df()
    assert sorted(found["y"]) == [1.5, 2.25, 4.5] and "2 CSV files" in taken
    with pytest.raises(bmm.DataError, match="which stdin cannot be; name a file, or leave out --engine"):
        read_lazily("-", engine)
    with pytest.raises(bmm.DataError, match="one character between the columns of all files"):
        read_lazily(str(tmp_path / "x.csv"), engine, text_format("whitespace", None))
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(bmm.DataError, match="--delimiter is for delimited text"):
        read_lazily(str(tmp_path / "x.parquet"), engine, text_format(";", None))


ONE_COLUMN = "has one column, {}; if {} is between its columns, add --delimiter '{}'"
OTHER_DELIMITERS = [
    ("y;g\n1.5;a\n", None, ONE_COLUMN.format("'y;g'", "';'", ";")),
    ("y;g\n1,5;a\n", None, ONE_COLUMN.format("'y;g'", "';'", ";")),  # pandas takes the second field for values
    ("y\tg\n1.5\ta\n", None, ONE_COLUMN.format(repr("y\tg"), repr("\t"), "tab")),
    ("y,g\n1.5,a\n", ";", ONE_COLUMN.format("'y,g'", "','", ",")),
    ("y  g\n1.5 a\n", None, ONE_COLUMN.format("'y  g'", "a blank", "whitespace")),
    ("y;g\n1,5;a\n2;b\n", ";", "column 'y' has texts such as '1,5'; if the comma is a decimal mark, add --decimal ','"),
    ('y,g\n"1,234",a\n"12",b\n', None, "column 'y' has texts such as '1,234'"),
]


@pytest.mark.parametrize(("content", "delimiter", "said"), OTHER_DELIMITERS)
def test_another_delimiter_or_decimal_mark_is_advised_wherever_text_is_read(content, delimiter, said, tmp_path, piped):
    (tmp_path / "x.csv").write_text(content)
    how = text_format(delimiter, None)
    for data in ("-", str(tmp_path / "x.csv")):
        piped(content.encode())
        with pytest.raises(bmm.DataError) as caught:
            read_data(data, how)
        assert said in str(caught.value) and "\n" not in str(caught.value)
    if "blank" in said or (delimiter is None and "one column" in said):  # an engine finds these by itself, or cannot
        return
    for engine in ENGINES:
        with pytest.raises(bmm.DataError) as caught:
            read_lazily(data, engine, how)
        assert said in str(caught.value)


def test_predictions_advise_it_too(tmp_path, piped, capsys):
    frame = bmm.load_dataset("sleepstudy")
    bmm.Model("Reaction ~ Days", frame).sample(50, 50, 2, seed=1, progress=False).save(tmp_path / "fit.nc")
    for content, said in (("Days;x\n1;2\n", "--delimiter ';'"), ("Days\tx\n1,5\t2\n", "tab")):
        piped(content.encode())
        assert main(["predict", str(tmp_path / "fit.nc"), "-"]) == 2
        assert said in capsys.readouterr().err


def test_texts_that_are_no_numbers_are_left_alone(tmp_path):
    (tmp_path / "x.csv").write_text('y,g,h,two words\n1.5,"1,5","a,b",1 2\n2,"x","1,2",3 4\n')
    assert list(read_data(str(tmp_path / "x.csv"))[0]["g"]) == ["1,5", "x"]
    (tmp_path / "y.csv").write_text('y,g\n1.5,"1,5"\n2,"2,5"\n')  # labels of pairs
    assert list(read_data(str(tmp_path / "y.csv"), text_format(None, "."))[0]["g"]) == ["1,5", "2,5"]
    labels = text_format(None, None, used_columns("y ~ 1", "gaussian"))
    assert read_data(str(tmp_path / "y.csv"), labels)[0].shape == (2, 2)  # g does not matter
    with pytest.raises(bmm.DataError, match="column 'g' has texts such as '1,5'"):
        read_data(str(tmp_path / "y.csv"), text_format(None, None, used_columns("y ~ 1", "gaussian", "g")))
    (tmp_path / "one.csv").write_text("two words\n1.5\n")
    assert read_data(str(tmp_path / "one.csv"))[0].shape == (1, 1)


@pytest.mark.parametrize(
    ("formula", "family", "columns"),
    [
        ("y ~ age + (1 | g)", "gaussian", "y age g w"),  # no "a"
        ("y ~ x + (1 | g) + ar(t, h)", "gaussian", "y x g t h w"),
        ("y | se(s, sigma = TRUE) ~ x", "gaussian", "y s x w"),
        ("y ~ x; zi ~ z", "zero_inflated_poisson", "y x z w"),
        ("y ~ x + (1 | p | g)", "categorical", "y x g w"),
    ],
)
def test_the_columns_that_matter_are_those_of_the_model(formula, family, columns):
    assert used_columns(formula, family, "w", None) == set(columns.split())


def test_a_formula_that_is_none_is_said_before_the_columns():
    with pytest.raises(bmm.FormulaError):
        used_columns("y ~ ar(t, g) +", "gaussian")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("x.csv", "--delimiter", "ab"), "--delimiter should be one character that is no part of numbers or names"),
        (("x.csv", "--delimiter", "."), "--delimiter should be one character"),
        (("x.csv", "--delimiter", ",", "--decimal", ","), "--delimiter and --decimal are both ','"),
        (("x.csv", "--delimiter", "comma", "--decimal", ","), "--delimiter and --decimal are both ','"),
        (("x.csv", "--decimal", ";"), "--decimal"),
        (("sleepstudy", "--delimiter", ";"), "--delimiter is for delimited text, and sleepstudy is a data set"),
        (("x.pq", "--delimiter", ";"), "--delimiter is for delimited text, and x.pq is a Parquet file"),
        (("x.csv",), "x.csv has one column, 'y;g'; if ';' is between its columns, add --delimiter ';'"),
        (("t.csv",), "add --delimiter 'tab'"),
        (("many.zip",), "many.zip cannot be read as a table: the archive should hold one file, and has 2"),
        (("not.csv.xz",), "not.csv.xz cannot be read as a table: "),
        (("not.csv.zst",), "not.csv.zst cannot be read as a table: "),
        (("short.csv.gz",), "short.csv.gz cannot be read as a table: "),
        (("-",), "stdin cannot be read as a table: No columns to parse from file"),
    ],
)
def test_what_cannot_be_read_is_one_line(words, expected, tmp_path, monkeypatch, capsys, piped):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("y;g\n1,5;a\n")
    (tmp_path / "t.csv").write_text("y\tg\n1.5\ta\n")
    (tmp_path / "x.pq").write_bytes(b"PAR1")
    (tmp_path / "many.zip").write_bytes(zipped(b"y,g\n1,a\n", ("a.csv", "b.csv")))
    for name in ("not.csv.xz", "not.csv.zst"):
        (tmp_path / name).write_bytes(b"not compressed")
    (tmp_path / "short.csv.gz").write_bytes(gzip.compress(b"y,g\n" + b"1,a\n" * 999)[:-20])
    piped(b"")
    assert main(["maximize", words[0], "y ~ 1 + (1 | g)", *words[1:], "--quiet"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("bayesmm: ") and expected in said.err


def test_nothing_is_waited_for_at_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    with pytest.raises(bmm.DataError, match="nothing is piped"):
        read_data("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(bmm.DataError, match="nothing is piped"):
        read_data("-")


def test_a_fit_and_its_quiet_twin(capsys, piped, tmp_path):
    content = bmm.load_dataset("sleepstudy").to_csv(index=False).encode()
    piped(content)
    assert main(["maximize", "-", FORMULA, "--out", str(tmp_path / "a")]) == 0
    loud = capsys.readouterr().out
    assert loud.startswith("Data: stdin, 180 rows") and "Written to" in loud
    piped(content)
    assert main(["maximize", "-", FORMULA, "--out", str(tmp_path / "b"), "-q"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    body = loud.partition("\n\n")[2].rpartition("\n\nWritten")[0]
    assert quiet.out.strip() == body.strip() and (tmp_path / "b" / "fixef.csv").exists()
    piped(content)
    assert main(["maximize", "-", FORMULA, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["model"]["rows"] == 180 and said.err.startswith("Data: stdin")


def test_silence_is_kept_by_lines_and_bars_and_ends(monkeypatch, capsys):
    monkeypatch.setattr("bayesmm.runtime.progress.PATIENCE", 0.01)
    monkeypatch.setattr("rich.console.Console.is_terminal", True)

    def say():
        with working("a long task", line=True), counter(True, "Counted", 2) as advance:
            advance()
            advance()
        return capsys.readouterr().err

    with silent():
        assert say() == ""
    assert "Counted" in say()
