"""What a check is, what it found, and how it is kept: one JSON file for each cell, so that a stop loses nothing."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from bayesmm.runtime.version import __version__

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("numpy", "scipy", "numba", "pandas", "pymc", "pytensor", "nutpie", "arviz")


@dataclass(frozen=True)
class Settings:
    """How much is done.

    Attributes
    ----------
    simulations : int
        Data sets of simulation-based calibration for every family and structure.
    central : int
        The same for the central models.
    results : path
        The folder of what is kept.
    """

    simulations: int = 200
    central: int = 1000
    results: Path = RESULTS


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    ok : bool
    words : str
        What is wrong, or worth knowing; may be empty.
    numbers : mapping
        What the page and its pictures are made of: plain JSON.
    """

    ok: bool
    words: str = ""
    numbers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A finding as it is kept: of which cell, and when, where and of which code it was made."""

    section: str
    cell: str
    ok: bool
    words: str
    numbers: Mapping[str, object]
    seconds: float
    made: Mapping[str, object]


def keep(section: str, cell: str, found: Finding, seconds: float, folder: Path = RESULTS) -> Record:
    """Write a finding to its file and return the record."""
    record = Record(section, cell, found.ok, found.words, found.numbers, seconds, made_by())
    path = path_of(section, cell, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record), separators=(",", ":")) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return record


def read(section: str, cell: str, folder: Path = RESULTS) -> Record | None:
    """Return what is kept of a cell, or None."""
    path = path_of(section, cell, folder)
    if not path.exists():
        return None
    return Record(**json.loads(path.read_text(encoding="utf-8")))


def path_of(section: str, cell: str, folder: Path = RESULTS) -> Path:
    """Return the file of a cell; a character of its name that a file cannot have becomes a hyphen."""
    name = "".join(c if c.isalnum() or c in "._" else "-" for c in cell)
    return folder / section / f"{name}.json"


@cache
def made_by() -> dict[str, object]:
    """Return when and where, and of which code, a finding is made."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "commit": commit(),
        "machine": machine(),
        "libraries": versions(),
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter."""
    from importlib.metadata import version

    return {"Python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


@cache
def commit() -> str:
    """Return the commit of the package's code, with a + if files of it differ; empty without git."""
    try:
        said = [
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout
            for words in (("log", "-1", "--format=%h", "--", "bayesmm"), ("status", "--porcelain", "--", "bayesmm"))
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return said[0].strip() + ("+" if said[1].strip() else "")


def machine() -> str:
    """Return the processor and how many there are."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} processors, {platform.system()} {platform.machine()}"


class Clock:
    """Seconds since it was made, and of them those of the processor, which do not depend on what else runs."""

    def __init__(self) -> None:
        self.began, self.began_cpu = time.perf_counter(), time.process_time()

    @property
    def cpu(self) -> float:
        return time.process_time() - self.began_cpu

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began
