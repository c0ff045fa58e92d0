import ast
import re
import sys

import nbformat
import pytest

from bayesmm.likelihood.announced import COMPILING
from notebooks.render import FOLDER, SCRIPTS, main, read_script, run

MAY_IMPORT = {"bayesmm", "matplotlib.pyplot", "numpy", "pandas"}
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|usr|opt|var)/|[A-Z]:\\\\|site-packages|0x[0-9a-f]{6,}")
# what a machine says that compiles first, and so is slow once, whatever the notebook
WAITING = re.compile(re.escape(COMPILING) + r"|bayesmm: [^.]+, \d+ s")
LARGEST = 1_000_000  # bytes of a notebook: figures of a modest size

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def committed(script):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """Return what a reader sees of a cell's outputs as text, pictures left out."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def displays(source):
    """Return whether a cell prints, draws, or ends in an expression; what it only defines does nothing yet."""
    body = [statement for statement in ast.parse(source).body if not isinstance(statement, ast.FunctionDef)]
    calls = {ast.unparse(node.func) for each in body for node in ast.walk(each) if isinstance(node, ast.Call)}
    drawn = any(name.startswith("bmm.plots.plot_") for name in calls)
    return isinstance(body[-1], ast.Expr) or drawn or bool(calls & {"print", "plt.subplots"})


def test_each_notebook_has_a_script():
    assert [script.name[0] for script in SCRIPTS] == ["1", "2", "3", "4", "5", "6", "7"]
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {script.stem for script in SCRIPTS}


@each_script
def test_the_rendered_notebook_has_the_cells_of_its_script(script):
    nbformat.validate(committed(script))
    # Everything but the outputs: sources, kinds, names of the cells, and metadata without a trace of a machine.
    plain = committed(script)
    for cell in code_of(plain):
        cell.outputs, cell.execution_count = [], None
    assert plain == read_script(script)


@each_script
def test_only_the_public_interface_is_used(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= MAY_IMPORT
        assert not isinstance(node, ast.ImportFrom), ast.unparse(node)
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        assert not name.startswith("_"), name


@each_script
def test_each_cell_was_run_in_order_and_shows_what_it_displays(script):
    cells = code_of(committed(script))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert bool(cell.outputs) == displays(cell.source), cell.source


@each_script
def test_outputs_tell_nothing_of_the_machine_and_hold_no_warning(script):
    for cell in code_of(committed(script)):
        for output in cell.outputs:
            assert output.output_type in ("stream", "display_data", "execute_result"), cell.source
            assert output.get("name", "stdout") == "stdout", output.text
        for text in texts(cell):
            assert not MACHINE.search(text), text


@each_script
def test_a_notebook_is_small_enough_for_the_repository(script):
    assert script.with_suffix(".ipynb").stat().st_size < LARGEST


@each_script
def test_a_reader_finds_a_title_a_purpose_and_exercises(script):
    words = [cell.source for cell in read_script(script).cells if cell.cell_type == "markdown"]
    assert words[0].startswith("# ")
    assert "you will be able to" in words[0].replace("\n", " ")
    assert len(re.findall(r"^\d\. ", words[-1].split("What to try next")[1], flags=re.MULTILINE)) in (2, 3)


def test_the_index_names_every_notebook():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\((\d-[a-z0-9-]+)\.ipynb\)", index) == [script.stem for script in SCRIPTS]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with a small notebook, in the place of the notebooks' own."""
    script = tmp_path / "1-small.py"
    script.write_text("# %% [markdown]\n# # One\n\n# %%\nimport sys\n\nprint(sys.executable)\n", encoding="utf-8")
    monkeypatch.setattr("notebooks.render.FOLDER", tmp_path)
    monkeypatch.setattr("notebooks.render.SCRIPTS", (script,))
    return tmp_path


@pytest.mark.slow
def test_rendering_writes_the_notebook_that_this_interpreter_makes(folder, capsys):
    main(["2"])
    assert not list(folder.glob("*.ipynb"))
    main([])
    notebook = nbformat.read(folder / "1-small.ipynb", as_version=4)
    assert [cell.id for cell in notebook.cells] == ["cell-01", "cell-02"]
    assert notebook.cells[1].outputs[0].text.strip() == sys.executable
    assert notebook.metadata == read_script(folder / "1-small.py").metadata
    assert notebook.cells[0].source == "# One"


@pytest.mark.slow
@each_script
def test_a_notebook_runs_top_to_bottom_in_a_new_kernel(script):
    for cell, before in zip(code_of(run(script)), code_of(committed(script)), strict=True):
        said = [line for each in cell.outputs if each.get("name") == "stderr" for line in each.text.splitlines()]
        assert not [line for line in said if line.strip() and not WAITING.fullmatch(line)], cell.source
        kinds = [[each.output_type for each in of.outputs if each.get("name") != "stderr"] for of in (cell, before)]
        assert kinds[0] == kinds[1], cell.source
