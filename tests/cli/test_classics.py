"""Well-known results of other kinds of models: counted apart from the documents', and every number reproduced."""

import pytest
from studies import write

from bayesmm.cli.main import main
from bayesmm.cli.reproduce.command import bundled, classics, find
from bayesmm.cli.reproduce.page import opening
from bayesmm.cli.reproduce.published import read_published
from bayesmm.cli.reproduce.run import EXPLAINED, REPRODUCED, reproduce
from bayesmm.cli.reproduce.text import groups, markdown

CLASSICS = {study.name: study for study in map(read_published, classics())}


@pytest.mark.parametrize("name", CLASSICS)
def test_every_number_of_a_classic_is_reproduced(name):
    result = reproduce(CLASSICS[name])
    assert result.rows and CLASSICS[name].source
    wrong = [(row.label, row.printed, row.value) for row in result.rows if row.verdict not in (REPRODUCED, EXPLAINED)]
    assert not wrong


def test_classics_are_found_by_name_and_are_none_of_the_documents():
    assert not {file.name for file in bundled()} & {file.name for file in classics()}
    assert [find([name])[0].stem for name in CLASSICS] == list(CLASSICS)


def test_classics_are_counted_apart(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    own = reproduce(write(tmp_path / "a", published='nobs = "180"\nsigma = "25.592"'))
    classic = reproduce(write(tmp_path / "b", more='source = "A book"', published='nobs = "180"'))
    assert {name: len(found) for name, found in groups([own, classic]).items()} == {"all": 1, "classics": 1}
    assert opening([own, classic]) == (
        "Of 2 printed numbers: 2 reproduced, 0 explained, 0 NOT reproduced. "
        "Of 1 numbers of classics: 1 reproduced, 0 explained, 0 NOT reproduced."
    )
    assert "| **all** | | **2** | **2** | **0** |" in markdown([own, classic])
    assert "| **classics** | | **1** | **1** | **0** |" in markdown([own, classic])
    assert "**all**" not in markdown([classic])
    assert main(["reproduce", "--no-sample", "--brief", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "classics" in said and "all " not in said


def test_a_parameter_by_its_name(tmp_path):
    study = write(tmp_path, published="parameters.'sd_Subject[Days]' = \"5.922\"")
    assert [(row.label, row.verdict) for row in reproduce(study).rows] == [("sd_Subject[Days]", REPRODUCED)]
