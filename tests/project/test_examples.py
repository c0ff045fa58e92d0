"""The three scripts of a first half hour run to their end and print and write what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(words, tmp_path):
    """Return what a script prints; its figures and report are in tmp_path."""
    environment = os.environ | {"PYTHON": sys.executable, "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [*words, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_ecology(tmp_path):
    said = run([sys.executable, "examples/ecology.py"], tmp_path)
    assert "Checks passed" in said and "cover[T.logged]" in said and "negbinomial" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "new_site.png", "predictive.png", "sites.png", "report.html"
    }  # fmt: skip


def test_psychology(tmp_path):
    said = run([sys.executable, "examples/psychology.py"], tmp_path)
    assert "Checks passed" in said and "REML criterion" in said and "incongruent" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "new_person.png", "shrinkage.png", "comparison.png", "report.html"
    }  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="a shell's script")
def test_the_shell(tmp_path):
    said = run(["sh", "examples/command_line.sh"], tmp_path)
    assert said.count("Checks passed") == 2 and "REML criterion at convergence: 1743.6" in said
    assert (tmp_path / "out" / "report.html").is_file() and (tmp_path / "out" / "posterior" / "fit.nc").is_file()
