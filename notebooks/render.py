"""Render the notebooks: each percent script beside this file -> a notebook of the same name, with its outputs.

``python -m notebooks.render`` renders all, ``python -m notebooks.render 3`` those whose names begin with 3.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent
SCRIPTS = tuple(sorted(FOLDER.glob("[0-9]-*.py")))
LONGEST_CELL = 900  # seconds, on a busy machine and with nothing compiled yet
KERNEL = "python3"


def read_script(script: Path) -> NotebookNode:
    """Return a percent script as a notebook without outputs, with names for its cells that only their places decide."""
    notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
        "language_info": {"name": "python"},
    }
    for place, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{place:02d}"
        cell.metadata = {}
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # the first format in which cells have names
    return notebook


def run(script: Path) -> NotebookNode:
    """Execute a script's cells in a new kernel of this interpreter, in a scratch folder.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        With the cell and its traceback, if one fails.
    """
    notebook = read_script(script)
    with tempfile.TemporaryDirectory() as scratch:
        client = NotebookClient(
            notebook,
            km=_kernel(Path(scratch)),
            timeout=LONGEST_CELL,
            record_timing=False,
            coalesce_streams=True,  # else it depends on the time how many outputs a print becomes
            resources={"metadata": {"path": scratch}},
        )
        client.execute(cleanup_kc=True)  # also ends the kernel, which the client did not make itself
    _without_traces(notebook)
    return notebook


def _kernel(scratch: Path) -> AsyncKernelManager:
    """Return a kernel of this interpreter, whatever kernels are installed, without the user's IPython settings."""
    place = scratch / "kernels" / KERNEL
    place.mkdir(parents=True)
    path = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "env": {"IPYTHONDIR": str(scratch / "ipython"), "PYTHONPATH": path},
    }
    (place / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return AsyncKernelManager(
        kernel_name=KERNEL,
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(place.parent)]),
        transport="ipc",  # files that only this user can open; by TCP the kernel warns that anybody may listen
        connection_file=str(scratch / "kernel"),
    )


def _without_traces(notebook: NotebookNode) -> None:
    """Take away what a kernel adds about itself and about the time, and how long something took."""
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _tells_time(output)]


def _tells_time(output: NotebookNode) -> bool:
    return output.get("name") == "stderr" and all(
        re.fullmatch(r"bayesmm: .*\d s", line) for line in output.text.splitlines()
    )


def main(names: list[str]) -> None:
    """Render the scripts whose names begin with one of these, or all."""
    for script in SCRIPTS:
        if not names or script.name.startswith(tuple(names)):
            nbformat.write(run(script), script.with_suffix(".ipynb"))
            print(script.with_suffix(".ipynb").relative_to(FOLDER.parent))


if __name__ == "__main__":
    main(sys.argv[1:])
