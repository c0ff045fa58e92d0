"""What fitting does not need, taken away: fits work, and what needs it says which extra has it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bayesmm as bmm
from bayesmm.cli.main import main
from bayesmm.errors import MissingExtra
from bayesmm.runtime.extras import check_extra, need

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"matplotlib": "plots", "jinja2": "report", "pooch": "download"}
FORMULA = "Reaction ~ Days + (1 | Subject)"


@pytest.fixture
def without(monkeypatch):
    """Take a package away, as if it were not installed."""

    def take(*packages):
        for package in packages:
            for name in [name for name in sys.modules if name.partition(".")[0] == package]:
                monkeypatch.delitem(sys.modules, name)
            monkeypatch.setitem(sys.modules, package, None)

    return take


def test_the_extras_are_those_of_the_project_and_nothing_else_brings_them():
    own = {requirement.partition(">")[0] for requirement in PROJECT["dependencies"]}
    for package, extra in EXTRAS.items():
        assert package not in own
        assert package in {each.partition(">")[0] for each in PROJECT["optional-dependencies"][extra]}
        for other in ("test", "all"):
            assert package in {each.partition(">")[0] for each in PROJECT["optional-dependencies"][other]}


def test_a_fit_needs_none_of_them():
    # another process, in which they cannot be imported from its beginning
    code = f"""
import sys, warnings
sys.modules.update(dict.fromkeys({list(EXTRAS)}))
warnings.simplefilter("ignore")
import bayesmm as bmm
model = bmm.Model({FORMULA!r}, bmm.load_dataset("sleepstudy"))
point = model.maximize()
fit = model.sample(sampler="importance", draws=50, chains=2, seed=1, progress=False)
print(point, point.fixef(ddf="satterthwaite"), fit, fit.compare(point), fit.loo(), bmm.table([fit, point]).to_html())
fit.save(sys.argv[1])
bmm.load(sys.argv[1]).predict()
for made in (fit, point, model, fit.checks(), fit.compare(point)):
    try:
        made._repr_html_()
    except NotImplementedError as error:  # a notebook shows text then
        assert "bayesmm[report]" in str(error)
    else:
        raise AssertionError("HTML without Jinja2")
"""
    done = subprocess.run([sys.executable, "-c", code, "fit.nc"], cwd=ROOT, capture_output=True, text=True, check=False)
    (ROOT / "fit.nc").unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_each_says_which_extra_it_needs(without, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = bmm.Model(FORMULA, bmm.load_dataset("sleepstudy"))
    fit = model.sample(sampler="importance", draws=50, chains=2, seed=1, progress=False)
    without("matplotlib")
    for call in (
        lambda: bmm.plots.plot_effects(fit),
        lambda: bmm.plots.plot_residuals(fit),
        lambda: model.maximize() and bmm.plots.plot_qq(fit),
    ):
        with pytest.raises(
            ImportError, match=r"^plots need matplotlib, which is not installed: pip install 'bayesmm\[plots\]'$"
        ):
            call()
    with pytest.raises(ImportError, match=r"^a report needs matplotlib, .*'bayesmm\[report\]'$"):
        fit.report("a.html")
    without("jinja2", "pooch")
    with pytest.raises(ImportError, match=r"^a report needs jinja2, .*'bayesmm\[report\]'$"):
        bmm.report(fit, "a.html")
    with pytest.raises(ImportError, match=r"^a data set that is downloaded needs pooch, .*'bayesmm\[download\]'$"):
        bmm.load_dataset("immune_original")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fit", "sleepstudy", FORMULA, "--out", "o"), "the figures of --out need matplotlib"),
        (("fit", "sleepstudy", FORMULA, "--report", "o.html"), "a report needs jinja2"),
        (("reproduce", "--out", "o"), "the page of --out needs jinja2"),
    ],
)
def test_the_command_says_it_before_it_samples(words, expected, without, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    without("matplotlib", "jinja2")
    monkeypatch.setattr("bayesmm.model.Model.sample", lambda *_, **__: pytest.fail("it has sampled"))
    assert main(list(words)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"bayesmm: {expected}") and said.count("\n") == 1 and "pip install 'bayesmm[" in said
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_there_is_given_and_one_that_is_broken_says_so(without):
    assert need("json.decoder", "nothing needs", "none").JSONDecoder
    check_extra("json", "nothing needs", "none")
    with pytest.raises(MissingExtra, match="x needs no_such_package, which is not installed"):
        check_extra("no_such_package", "x needs", "y")
    with pytest.raises(ModuleNotFoundError, match=r"json\.nothing"):
        need("json.nothing", "x needs", "y")
