"""Names of files, wherever one is given: only regular files, links followed, and one sentence before any work."""

import os
import stat
from pathlib import Path

import pytest
from fake_fits import fake_fit

import bayesmm as bmm
from bayesmm.cli.main import main
from bayesmm.errors import FitFileError
from bayesmm.reporting import plots
from bayesmm.runtime.paths import as_path, followed, read_file, special_kind
from bayesmm.storage.atomic_write import write_bytes

DATA = {"y": [1.0, 2.5, 3.0, 4.5, 5.0, 7.0], "x": [0.0, 1.0, 2.0, 0.0, 1.0, 2.0], "g": list("aabbcc")}
NOT_NAMES = [
    (None, "should be the name of a file, a text or a pathlib.Path, not None"),
    (3, "should be the name of a file, a text or a pathlib.Path, not 3"),
    (True, "should be the name of a file, a text or a pathlib.Path, not True"),
    (b"fit.nc", "should be the name of a file, a text or a pathlib.Path, not b'fit.nc'"),
    ("", "is empty; expected the name of a file"),
    ("a\0b", r"'a\x00b' has a NUL character in it, which no name of a file can have"),
    ("a\ud800b", r"'a\ud800b' has characters that no name of a file can have"),
    ("https://example.org/fit.nc", "is an address; only files of this computer are supported, so copy it here"),
    (Path("s3://bucket/fit.nc"), "is an address; only files of this computer are supported, so copy it here"),
    ("x" * 5000, "(5,000 characters) cannot be the name of a file: File name too long"),
]


@pytest.fixture(scope="module")
def model():
    return bmm.Model("y ~ x + (1 | g)", DATA)


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def unsampled(monkeypatch):
    """Let nothing be sampled and no comparison be made: what is wrong with a name is said before."""
    monkeypatch.setattr("bayesmm.sampling.sample._sampled", lambda *a, **k: pytest.fail("it was sampled first"))
    monkeypatch.setattr(bmm.Fit, "compare", lambda *a, **k: pytest.fail("the comparison was made first"))


def uses(model):
    """Return every way to give the name of a file, what the sentence calls it, and whether None is a choice."""
    fit = fake_fit()
    return [
        (lambda path: fit.save(path), "path", False),
        (lambda path: fit.save(path, overwrite=True), "path", False),
        (bmm.load, "path", False),
        (fit.report, "path", False),
        (lambda path: bmm.report(fit, path, overwrite=True), "path", False),
        (lambda path: plots.save_figures(fit, path), "directory", False),
        (lambda path: model.sample(file=path, progress=False), "file", True),
        (lambda path: model.sample(store=path, progress=False), "store", True),
    ]


@pytest.mark.parametrize(("given", "text"), NOT_NAMES, ids=range(len(NOT_NAMES)))
def test_what_is_no_name_of_a_file_is_refused_before_any_work(given, text, model, unsampled):
    for use, what, optional in uses(model):
        if given is None and optional:
            continue
        with pytest.raises(FitFileError) as caught:
            use(given)
        said = str(caught.value)
        assert said.startswith(f"{what} ") and said.endswith(text) and "\n" not in said and len(said) < 200


@pytest.mark.parametrize("word", ["a\0b", "https://example.org/data.csv", "x" * 5000, ""])
def test_the_command_line_refuses_them_too(word, capsys, tmp_path):
    commands = [
        ["fit", word, "y ~ x"],
        ["maximize", word, "y ~ x"],
        ["fit", "sleepstudy", "Reaction ~ Days", "--out", word],
        ["fit", "sleepstudy", "Reaction ~ Days", "--save", word],
        ["fit", "sleepstudy", "Reaction ~ Days", "--report", word],
        ["fit", "sleepstudy", "Reaction ~ Days", "--store", word],
        ["show", word],
        ["reproduce", word],
    ]
    for command in commands:
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith("bayesmm: ") and error.count("\n") == 1
        assert any(part in error for part in ("NUL", "is an address", "too long", "is empty"))


# ----------------------------------------------------------------------------------------------------------------------
# devices, pipes and sockets


def test_devices_and_pipes_are_neither_read_nor_replaced(pipe, model, unsampled):
    for path, kind in ((pipe, "a named pipe"), (Path("/dev/null"), "a device"), (Path("/dev/zero"), "a device")):
        before = path.stat().st_mode
        for use, _, _ in uses(model):
            with pytest.raises(FitFileError, match=rf"{path}( is {kind}|$| exists and is no store)"):
                use(path)
        with pytest.raises(FitFileError, match=f"is {kind}"):
            write_bytes(b"x", path)
        assert path.stat().st_mode == before and not stat.S_ISREG(before)


def test_a_pipe_is_no_data_and_no_published_result(tmp_path, capsys):
    for name, command in (("a.csv", ["fit", "{}", "y ~ x"]), ("a.toml", ["reproduce", "{}"])):
        os.mkfifo(tmp_path / name)
        assert main([word.format(tmp_path / name) for word in command]) == 2
        assert "is a named pipe; expected a" in capsys.readouterr().err


def test_a_link_to_a_pipe_is_one(pipe, tmp_path):
    (tmp_path / "link").symlink_to(pipe)
    assert special_kind(tmp_path / "link") == "a named pipe"
    with pytest.raises(FitFileError, match="is a named pipe; expected a file"):
        read_file(tmp_path / "link")
    with pytest.raises(FitFileError, match="is a named pipe; expected the name of a file"):
        fake_fit().save(tmp_path / "link", overwrite=True)


def test_a_file_is_read_up_to_its_size():
    assert read_file(Path("/proc/self/status")) == b""  # says 0 bytes; what such files hold may have no end


# ----------------------------------------------------------------------------------------------------------------------
# links


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.html", tmp_path / "link.html"
    target.write_text("old")
    link.symlink_to(target)
    (tmp_path / "twice.html").symlink_to(link)
    write_bytes(b"new", tmp_path / "twice.html")
    assert link.is_symlink() and (tmp_path / "twice.html").is_symlink() and target.read_bytes() == b"new"
    assert followed(tmp_path / "twice.html") == target.resolve()
    assert os.listdir(tmp_path / "there") == ["a.html"]


def test_a_saved_fit_replaces_the_file_of_a_link(tmp_path, model, monkeypatch):
    monkeypatch.setattr("bayesmm.storage.files.packed", lambda model, tree, dtype: b"packed")
    (tmp_path / "link.nc").symlink_to(tmp_path / "a.nc")
    fit = fake_fit()
    with pytest.raises(FitFileError, match=r"link.nc is a link to .*a.nc, which does not exist; take that name, or"):
        fit.save(tmp_path / "link.nc")
    assert not (tmp_path / "a.nc").exists()
    fit.save(tmp_path / "link.nc", overwrite=True)
    assert (tmp_path / "a.nc").read_bytes() == b"packed" and (tmp_path / "link.nc").is_symlink()
    with pytest.raises(FitFileError, match="exists already"):
        fit.save(tmp_path / "link.nc")


def test_links_in_a_circle_are_said(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(FitFileError, match="cannot be the name of a file: Too many levels of symbolic links"):
        as_path(tmp_path / "a")


def test_a_file_keeps_its_permissions(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o600)
    write_bytes(b"new", tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_names_that_look_odd_but_are_names_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a b", "ä.nc", "-x", "C:/fit.nc", "~", "a:b", "..", "\udcff"):  # the last: a byte that is no UTF-8
        assert as_path(name) == Path(name)
    Path("a file").touch()
    with pytest.raises(FitFileError, match="a file is a file; expected a folder"):
        plots.save_figures(fake_fit(), "a file")
