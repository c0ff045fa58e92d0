"""Files whose columns differ: aligned by name, left out with a word, or refused in one sentence, by each engine."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.cli.lazy_files import read_lazily
from bayesmm.errors import DataError
from bayesmm.model import Model
from tests.lazy_frames import installed

FORMULA = "y ~ x + f + (1 | g)"
ENGINES = [engine for engine in ("polars", "duckdb") if installed(engine)]
pytestmark = pytest.mark.parametrize("engine", ENGINES)


def part(seed: int, n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.arange(n) % 8
    own = {"y": rng.normal(size=n) + g, "x": rng.normal(size=n), "g": g, "f": rng.choice(list("ab"), n)}
    return pd.DataFrame(own)


def written(folder, kind: str, *parts: pd.DataFrame) -> str:
    """Write files of a kind into a folder."""
    for k, own in enumerate(parts):
        path = folder / f"part{k}.{kind}"
        own.to_csv(path, index=False) if kind == "csv" else own.to_parquet(path, index=False)
    return str(folder)


def criterion(engine: str, data: str, formula: str = FORMULA) -> float:
    return Model(formula, read_lazily(data, engine)[0]).maximize().criterion


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_in_another_order_are_found_by_their_names(engine, kind, tmp_path):
    first, second = part(1), part(2)
    expected = Model(FORMULA, pd.concat([first, second], ignore_index=True)).maximize().criterion
    data = written(tmp_path, kind, first, second[["f", "g", "x", "y"]])
    assert criterion(engine, data) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_only_some_files_have_is_left_out_and_named(engine, kind, tmp_path):
    first, second = part(1), part(2).drop(columns="f").assign(z=1)
    data = written(tmp_path, kind, first, second)
    frame, said = read_lazily(data, engine)
    assert said.endswith(f"read by {engine}. Not in all files, and left out: f, z.")
    with pytest.raises(Exception, match="column 'f' is not in the data"):
        Model(FORMULA, frame)
    both = pd.concat([first, second], ignore_index=True)
    expected = Model("y ~ x + (1 | g)", both).maximize().criterion
    assert criterion(engine, data, "y ~ x + (1 | g)") == pytest.approx(expected, rel=1e-9)


def test_files_without_a_row_or_a_value_change_no_type(engine, tmp_path):
    first, second = part(1), part(2)
    data = written(tmp_path, "csv", first.head(0), first, second.assign(x=np.nan))
    assert criterion(engine, data) == pytest.approx(Model(FORMULA, first).maximize().criterion, rel=1e-9)


def test_types_of_numbers_may_differ(engine, tmp_path):
    first, second = part(1), part(2)
    second["x"], second["g"] = second.x.round().astype("float32"), second.g.astype("int32")
    expected = Model(FORMULA, pd.concat([first, second], ignore_index=True)).maximize().criterion
    assert criterion(engine, written(tmp_path, "parquet", first, second)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_numbers_in_one_file_and_text_in_another_are_said_to_be_text(engine, kind, tmp_path):
    first, second = part(1), part(2).assign(x=lambda t: t.x.astype(str).where(t.index != 50, "high"))
    first["f"], second["f"] = np.arange(120) % 3, np.where(np.arange(120) == 3, "none", "1")
    data = written(tmp_path, kind, first, second)
    said = [m.text for m in Model("y ~ f + (1 | g)", read_lazily(data, engine)[0]).design.messages]
    assert any(text.startswith("'f' is text, but 3 of its 4 levels read as numbers (not 'none')") for text in said)
    more = written(tmp_path, kind, first, second, second.assign(x=lambda t: "w" + t.x))
    with pytest.raises(DataError, match=r"more than 300 columns \(one is x\[.*or numbers read as text"):
        criterion(engine, more, "y ~ x + (1 | g)")


def test_another_separator_is_taken_from_the_header(engine, tmp_path):
    first = part(1)
    first.to_csv(tmp_path / "a.csv", sep=";", index=False)
    assert criterion(engine, str(tmp_path)) == pytest.approx(Model(FORMULA, first).maximize().criterion, rel=1e-9)


def test_files_that_cannot_be_read_are_one_sentence(engine, tmp_path):
    whole = part(1)
    for name, contents, said in (
        ("empty.csv", b"", "empty.csv is empty; expected a line with the names of the columns"),
        ("twice.csv", b"y,x,x\n1,2,3\n", "twice.csv: column 'x' occurs 2 times; keep one of them"),
        ("latin.csv", "größe,y\n1,2\n".encode("latin-1"), "latin.csv is no text in UTF-8"),
        ("short.parquet", b"PAR1", "cannot be read by|could not tell its columns"),
    ):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        written(folder, name.split(".")[1], whole)
        (folder / name).write_bytes(contents)
        with pytest.raises(DataError, match=said) as caught:
            criterion(engine, str(folder))
        assert "\n" not in str(caught.value)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(DataError, match="no column is in all of the 2 files: y, x, g, f, q"):
        criterion(engine, written(other, "csv", whole, pd.DataFrame({"q": [1.0]})))


def test_a_parquet_file_with_broken_pages_is_one_sentence(engine, tmp_path):
    data = written(tmp_path, "parquet", part(1))
    contents = bytearray((tmp_path / "part0.parquet").read_bytes())
    contents[4:60] = b"\x00" * 56  # the header of the first column's page
    (tmp_path / "part0.parquet").write_bytes(contents)
    with pytest.raises(DataError, match=f"{'DuckDB' if engine == 'duckdb' else 'Polars'} could not ") as caught:
        criterion(engine, data)
    assert "\n" not in str(caught.value)
