"""The JSON documents of every command, held against the tables of docs/command_line.md."""

import json
import re
from pathlib import Path

import pytest

import bayesmm as bmm
from bayesmm.cli.main import app, main

PAGE = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text(encoding="utf-8")
FORMULA = "Reaction ~ Days + (Days | Subject)"
KINDS = {
    "text": str,
    "number": (int, float),
    "whole number": int,
    "list": list,
    "object": dict,
    "true or false": bool,
}
SIMPLE = {"by": (str, type(None)), "notes": list, "written": list, "seconds": (int, float), "bayesmm": str}


def cells(part):
    """Return the rows of the first table of a part of the page, without its header, backticks taken away."""
    lines = re.search(r"(?:^\|.*\n)+", part, flags=re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


COMMANDS = {command: parts.split(", ") for command, parts in cells(PAGE.split("\n## JSON\n")[1])}
KEYS = {
    title.split(":")[0]: (title.split(": a")[1], cells(f"{title}\n{rest}"))
    for title, _, rest in (part.partition("\n") for part in PAGE.split("\n### ")[1:])
}


def fits(value, words):
    """Whether a value is one of what the page says: "number or null", "true or false"."""
    if value is None:
        return words.endswith("or null")
    names = [words] if words == "true or false" else words.removesuffix(" or null").split(" or ")
    kinds = [KINDS[name] for name in names]
    return any(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) for kind in kinds)


def faults(found, command):
    """Return what in a document is not as the page says."""
    out = [] if list(found) == ["bayesmm", *COMMANDS[command]] else [f"parts {list(found)}"]
    for name, part in found.items():
        if name in SIMPLE:
            out += [] if isinstance(part, SIMPLE[name]) else [name]
            continue
        shape, keys = KEYS[name]
        if part is None and name == "criteria":
            continue
        items = part if "list" in shape else [part]
        known = {key: words for key, words, _ in keys}
        always = [key for key, _, what in keys if not what.startswith("where known")]
        for item in items:
            out += [f"{name} lacks {key}" for key in always if key not in item]
            out += [f"{name}: {key} is {item[key]!r}" for key in item if not fits(item[key], known.get(key, "object"))]
            out += [f"{name}: {key} is not in the page" for key in item if key not in known]
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents")
    data = bmm.load_dataset("sleepstudy")
    for name, formula in (("a", FORMULA), ("b", "Reaction ~ Days + (1 | Subject)")):
        bmm.fit(formula, data, seed=1, draws=100, chains=2, sampler="importance", progress=False).save(
            path / f"{name}.nc"
        )
    data.iloc[:3].to_csv(path / "new.csv", index=False)
    return path


ASKED = {
    "bayesmm fit": ("fit", "sleepstudy", FORMULA, "--draws", "100", "--sampler", "importance", "--seed", "1"),
    "bayesmm maximize": ("maximize", "sleepstudy", FORMULA),
    "bayesmm show": ("show", "a.nc"),
    "bayesmm predict": ("predict", "a.nc", "new.csv"),
    "bayesmm predict --to": ("predict", "a.nc", "new.csv", "--to", "out.csv", "--overwrite"),
    "bayesmm compare": ("compare", "a.nc", "b.nc"),
    "bayesmm report": ("report", "a.nc", "--overwrite"),
    "bayesmm reproduce": ("reproduce", "sleepstudy_slopes", "--no-sample"),
    "bayesmm datasets": ("datasets",),
    "bayesmm warmup": ("warmup",),
}


def test_every_command_has_its_documents_in_the_page():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {command.split()[1] for command in COMMANDS} == names == {words[0] for words in ASKED.values()}
    assert {part for parts in COMMANDS.values() for part in parts} == set(KEYS) | set(SIMPLE) - {"bayesmm"}


SLOW = {"bayesmm report"}  # pictures


@pytest.mark.parametrize("command", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ASKED])
def test_a_document_is_as_the_page_says(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("bayesmm.cli.warmup.warm_up", lambda: 1.5)  # minutes
    assert main([*ASKED[command], "--json", "--quiet"]) in (0, 3)
    said = capsys.readouterr()
    found = json.loads(said.out, parse_constant=lambda name: pytest.fail(name))
    assert faults(found, command) == []
    assert all(line.startswith("bayesmm: warning") for line in said.err.splitlines())


def test_a_document_that_is_not_as_the_page_says_is_seen():
    found = {"bayesmm": "1", "predictions": [{"row": 0, "mean": None, "sd": 1.0, "lower": True, "upper": 2, "new": 1}]}
    seen = faults(found, "bayesmm predict")
    assert seen[:3] == ["predictions: mean is None", "predictions: lower is True", "predictions: new is 1"]
    assert seen[3:] == ["predictions: new is not in the page"]
    assert faults({"bayesmm": "1"}, "bayesmm warmup") == ["parts ['bayesmm']"]
    assert faults({"bayesmm": "1", "datasets": [{}]}, "bayesmm datasets")[0] == "datasets lacks name"


def test_json_stands_alone(capsys):
    assert main(["reproduce", "--json", "--brief"]) == 2
    assert "leave out --brief" in capsys.readouterr().err
