import dataclasses
import functools
import gc
import hashlib
import http.server
import threading
from pathlib import Path

import pandas as pd
import pooch
import pytest

import bayesmm as bmm
from bayesmm.example_data import _fetch, _read
from bayesmm.example_data.table import DATASETS

FOLDER = Path(bmm.__file__).parent / "example_data"
BUNDLED = [name for name, row in DATASETS.items() if not row.address]
ORIGINAL = DATASETS["immune_original"]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_data_set_is_what_the_table_says(name):
    frame, row = bmm.load_dataset(name), DATASETS[name]
    assert tuple(frame.columns) == row.columns
    assert len(frame) == row.rows
    assert frame.isna().any(axis=None) == (name == "gcse")  # where one of two marks may be missing
    for column in row.columns:
        if column in row.factors:
            assert isinstance(frame[column].dtype, pd.CategoricalDtype)
            assert not frame[column].cat.ordered
            assert set(frame[column]) == set(frame[column].cat.categories)
            assert all(type(level) is str for level in frame[column].cat.categories)
        else:
            assert frame[column].dtype.name in ("int64", "float64")


def test_levels_are_in_the_order_that_r_gives_them():
    # levels(esoph$alcgp), levels(esoph$tobgp), levels(esoph$agegp); levels(factor(1:12))
    esoph = bmm.load_dataset("esoph")
    assert list(esoph["alcgp"].cat.categories) == ["0-39g/day", "40-79", "80-119", "120+"]
    assert list(esoph["tobgp"].cat.categories) == ["0-9g/day", "10-19", "20-29", "30+"]
    assert list(esoph["agegp"].cat.categories) == ["25-34", "35-44", "45-54", "55-64", "65-74", "75+"]
    patients = bmm.load_dataset("thyroxine_genotype")["Patient"].cat.categories
    assert list(patients) == [str(i) for i in range(1, 13)]
    assert list(bmm.load_dataset("immune")["Sex"].cat.categories) == ["F", "M"]


def test_known_values_of_the_data():
    sleepstudy = bmm.load_dataset("sleepstudy")
    assert sleepstudy.iloc[0].tolist() == [249.56, 0, "308"]
    assert sleepstudy["Reaction"].mean() == pytest.approx(298.5079, abs=5e-5)  # R: mean(Reaction), to 4 decimals
    esoph = bmm.load_dataset("esoph")
    assert (esoph["ncases"].sum(), esoph["ncontrols"].sum()) == (200, 975)  # the table of R < 4.0.4
    crop = bmm.load_dataset("crop_yield")
    assert (crop["Yield"].sum(), (crop["Yield"] ** 2).sum()) == (1266, 72032)  # PROVENANCE.md
    immune = bmm.load_dataset("immune")
    assert immune.groupby(["Sex", "IndID"], observed=True).ngroups == 270


def test_the_table_lists_every_data_set_and_its_story_is_told():
    table = bmm.datasets()
    assert list(table.columns) == ["name", "rows", "columns", "description", "source", "licence"]
    assert set(table["name"]) == {path.stem for path in FOLDER.glob("*.csv")} | {"immune_original"}
    assert table.map(bool).all(axis=None)
    provenance = (FOLDER / "PROVENANCE.md").read_text(encoding="utf-8")
    assert all(f"## {name}" in provenance for name in table["name"])
    assert ORIGINAL.address in provenance
    assert ORIGINAL.sha256 in provenance


def test_every_call_gives_its_own_copy():
    first = bmm.load_dataset("thyroxine")
    first.loc[0, "Level"] = -1.0
    assert bmm.load_dataset("thyroxine").loc[0, "Level"] == 4.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sleepstdy", "no data set is called 'sleepstdy' (there are sleepstudy, pastes, "),
        ("sleepstdy", f", {list(DATASETS)[-1]}; bmm.datasets() describes them)"),  # none is left out
        ("sleepstdy", "); did you mean 'sleepstudy'?"),
        ("Immune", "did you mean 'immune'?"),
        ("../secret", "no data set is called '../secret'"),
        (3, "no data set is called 3"),
        (["sleepstudy"], "no data set is called ['sleepstudy']"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(name, expected):
    with pytest.raises(bmm.DataError) as caught:
        bmm.load_dataset(name)
    assert expected in str(caught.value)


def test_the_original_is_not_in_the_package():
    assert not list(Path(bmm.__file__).parents[1].glob("**/bayesmm/**/immune_original*"))


def test_the_original_is_asked_for_by_address_and_checksum(monkeypatch, tmp_path):
    asked = {}

    def retrieve(address, known_hash, fname, path, downloader):
        asked.update(address=address, known_hash=known_hash, path=path, timeout=downloader.kwargs["timeout"])
        file = tmp_path / fname
        file.write_text('"FamID","IndID","Time","Sex","IgG"\n1,16,0,"M",140.5\n2,3,1,"F",137\n', encoding="utf-8")
        return str(file)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    frame = bmm.load_dataset("immune_original")
    assert asked == {
        "address": "https://colauttilab.github.io/Data/ImmuneData.csv",
        "known_hash": "sha256:d65b0b35cf8a8dfa3fa6e8dfe2493e36abadded124032620e1701859c3699255",
        "path": tmp_path / "bayesmm",
        "timeout": 10,
    }
    assert frame["IndID"].tolist() == ["16", "3"]
    assert frame["IgG"].dtype == "float64"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve tmp_path/served on this machine; fetched files land in tmp_path/cache."""
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield served, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


CONTENT = b"FamID,IndID,Time,Sex,IgG\n1,16,0,M,140.5\n"


def record(address, content=CONTENT):
    return dataclasses.replace(ORIGINAL, address=address, sha256=hashlib.sha256(content).hexdigest())


def test_a_fetched_file_is_checked_and_kept(server):
    served, address = server
    (served / "x.csv").write_bytes(CONTENT)
    wanted = record(f"{address}/x.csv")
    assert len(_read(_fetch(wanted), wanted)) == 1
    (served / "x.csv").unlink()
    assert Path(_fetch(wanted)).read_bytes() == CONTENT  # from the cache: it is no longer served


def test_a_file_with_another_checksum_is_refused_and_not_kept(server, tmp_path):
    served, address = server
    (served / "x.csv").write_bytes(CONTENT + b"1,16,1,M,1\n")
    with pytest.raises(bmm.DataError, match=r"is not immune_original \(its SHA-256 is not [0-9a-f]{64}\); "):
        _fetch(record(f"{address}/x.csv"))
    assert not list((tmp_path / "cache").iterdir())


def test_a_changed_file_in_the_cache_is_not_used(server, tmp_path):
    served, address = server
    (served / "x.csv").write_bytes(CONTENT)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "immune_original.csv").write_bytes(b"something else")
    assert Path(_fetch(record(f"{address}/x.csv"))).read_bytes() == CONTENT


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # pooch leaves the answer "404" open
@pytest.mark.parametrize("address", ["{server}/missing.csv", "http://127.0.0.1:9/x.csv"])
def test_a_failed_download_is_one_sentence_with_a_way_out(server, address):
    address = address.format(server=server[1])
    with pytest.raises(OSError, match="could not be fetched") as caught:
        _fetch(record(address))
    message = str(caught.value)
    assert message.startswith(f"immune_original could not be fetched from {address} (")
    assert message.endswith("; load_dataset('immune') is a bundled twin of it")
    assert "\n" not in message
    del caught
    gc.collect()  # here, where the warning is expected, and not in the middle of another test
