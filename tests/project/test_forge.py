"""The workflows of the forge, the conda recipe and the files of a release, which are not run here: their structure."""

import importlib.machinery
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import bayesmm

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RECIPE = ROOT / "conda" / "recipe.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# what conda-forge calls a package, where it is another name: without the GUI toolkits, or the compilers
CONDA = {"matplotlib": "matplotlib-base", "pymc": "pymc-base"}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def bounds(requirements):
    return dict(re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)", requirement).groups() for requirement in requirements)


def release(version):
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_what_the_forge_needs(path):
    found = load(path)
    assert set(found) >= {"name", True, "permissions", "jobs"}  # YAML 1.1 reads "on" as true
    assert found["permissions"] == {"contents": "read"}  # a job that needs more says so itself
    for name, job in found["jobs"].items():
        assert job["runs-on"], name
        assert set(job) <= {"name", "runs-on", "needs", "strategy", "steps", "environment", "permissions",
                            "timeout-minutes", "continue-on-error"}, name  # fmt: skip
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        assert set(needs) <= set(found["jobs"]), name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), (name, step)
            assert set(step) <= {"uses", "run", "with", "name", "env", "shell"}, (name, step)
            assert "uses" not in step or re.fullmatch(r"(actions|pypa)/[\w-]+@[\w./-]+", step["uses"]), step
        used = re.findall(r"\$\{\{ ?matrix\.(\w+)", yaml.safe_dump(job))
        assert set(used) <= set(job.get("strategy", {}).get("matrix", {})), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_is_there(path):
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\n", text)) <= targets
    for file in re.findall(r"(?:scripts/[\w-]+|constraints-[\w-]+\.txt)", text):
        assert (ROOT / file).exists(), file


def test_all_systems_and_the_ends_of_the_dependencies_are_tested():
    (path,) = [path for path in WORKFLOWS if path.name == "test.yml"]
    jobs = load(path)["jobs"]
    assert {"lint", "newest", "oldest", "locked"} <= set(jobs)
    matrix = jobs["newest"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    known = {line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)}
    assert {*matrix["python"], *(each["python"] for each in matrix["include"])} == known
    assert any("-c constraints-oldest.txt" in step.get("run", "") for step in jobs["oldest"]["steps"])


def test_only_the_publishing_job_may_publish_and_after_the_trial():
    (path,) = [path for path in WORKFLOWS if path.name == "release.yml"]
    jobs = load(path)["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert jobs["publish"]["needs"] == "try" and jobs["try"]["needs"] == "build" and jobs["publish"]["environment"]
    assert "secrets." not in path.read_text(encoding="utf-8")


def test_the_recipe_has_the_dependencies_of_the_package():
    recipe = load(RECIPE)
    own = {CONDA.get(name, name): least for name, least in bounds(PROJECT["dependencies"]).items()}
    run = dict(re.fullmatch(r"([a-z0-9-]+) >=([0-9.]+)", each).groups() for each in recipe["requirements"]["run"])
    assert run.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    assert run == own
    script, entry = next(iter(PROJECT["scripts"].items()))
    assert recipe["build"]["python"]["entry_points"] == [f"{script} = {entry}"]
    assert recipe["about"]["license"] == PROJECT["license"]


def test_the_oldest_versions_are_those_that_are_asked_for():
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    own = bounds(PROJECT["dependencies"])
    assert set(own) <= set(pinned)
    assert [name for name in own if not _same(pinned[name], own[name])] == []


def _same(pinned, least):
    """Whether a pinned version is the first of a bound: 2.0.2 of >=2.0."""
    return release(pinned)[: len(release(least))] == release(least)


def test_the_version_is_one_everywhere():
    version = bayesmm.__version__
    assert load(RECIPE)["context"]["version"] == version
    assert str(load(ROOT / "CITATION.cff")["version"]) == version
    assert f"\n## {version} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def notes():
    loader = importlib.machinery.SourceFileLoader("release_notes", str(ROOT / "scripts" / "release-notes"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("release_notes", loader))
    loader.exec_module(module)
    return module.notes


def test_the_notes_of_a_release_are_its_section(notes):
    second, first = "- New.\n\n### Models\n\n- Old.\n", "- First.\n"
    changelog = f"# Changelog\n\n## 0.2.0 (2027-01-31)\n\n{second}\n## 0.1.0 (2026-12-01)\n\n{first}"
    assert notes(changelog, "0.2.0", "v0.2.0") == second
    assert notes(changelog, "0.1.0", "v0.1.0") == first
    for text, version, tag, said in (
        (changelog, "0.2.0", "v0.3.0", "the tag is v0.3.0, and bayesmm/runtime/version.py says 0.2.0"),
        (changelog, "0.3.0", "v0.3.0", "has no section '## 0.3.0"),
        (changelog.replace("2027-01-31", "unreleased"), "0.2.0", "v0.2.0", "expected a date"),
    ):
        with pytest.raises(SystemExit, match=re.escape(said)):
            notes(text, version, tag)


def test_the_script_knows_the_version_of_the_package():
    script = [sys.executable, ROOT / "scripts" / "release-notes"]
    done = subprocess.run([*script, "v0.0.0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1, f"the tag is v0.0.0, and bayesmm/runtime/version.py says {bayesmm.__version__}\n",
    )  # fmt: skip
