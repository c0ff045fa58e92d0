"""Claims between processes, and the help that a first fit asks for."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from bayesmm.cli import ahead
from bayesmm.runtime import claims
from bayesmm.runtime.claims import ask_for_help, claimed

pytest.importorskip("fcntl")
HOLD = """
import sys, time
from bayesmm.runtime.claims import claimed
with claimed("a test"):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


@contextlib.contextmanager
def holding(seconds):
    command = [sys.executable, "-c", HOLD, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "held"
        yield process
        process.kill()


def test_a_claim_keeps_other_processes_out_until_its_process_ends():
    with holding(60):
        with claimed("a test", longest=0) as have:
            assert not have
        with claimed("another", longest=0) as have:
            assert have
    with claimed("a test", longest=5) as have:
        assert have


def test_who_waits_gets_it_when_the_other_lets_go():
    with holding(0.3):
        began = time.monotonic()
        with claimed("a test") as have:
            assert have and time.monotonic() - began > 0.1


def test_an_error_ends_the_claim():
    with pytest.raises(ZeroDivisionError), claimed("a test"):
        raise ZeroDivisionError
    code = "from bayesmm.runtime.claims import claimed\nwith claimed('a test', longest=0) as have: print(have)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "True"


def test_without_a_file_to_lock_all_goes_on(monkeypatch):
    monkeypatch.setattr(claims, "_file", lambda: None)
    with claimed("a test") as have:
        assert not have
    assert ask_for_help.__wrapped__("linear") is None


@pytest.mark.parametrize("executable", ["/usr/bin/R", "", None])
def test_an_interpreter_that_is_inside_another_program_is_not_started(monkeypatch, executable):
    monkeypatch.setattr(claims.sys, "executable", executable)
    assert ask_for_help.__wrapped__("linear") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "formula", "family", "needless"),
    [("linear", "y ~ x + (x | g)", "gaussian", set()), ("levels", "y ~ x + (1 | g)", "poisson", {"_independent"})],
)
def test_a_plan_is_what_a_fit_with_its_comparison_compiles(tmp_path, plan, formula, family, needless):
    """Each function in a folder of its own name: what the fit has compiled, and what the plan has, without the fit."""
    fit = f"""
import numpy as np, bayesmm as bmm
rng = np.random.default_rng(1)
data = {{"y": rng.poisson(2.0, 60), "x": rng.normal(size=60), "g": np.repeat(np.arange(10), 6)}}
bmm.Model({formula!r}, data, {family!r}).sample(50, chains=2, seed=1, progress=False).compare()
"""
    kept = []
    for name, code in (("fit", fit), ("plan", f"from bayesmm.cli import ahead\nfor task in ahead.{plan}(): task()")):
        variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / name)}
        quiet = "from bayesmm.runtime import claims\nclaims._has_helpers = lambda: False\n"
        subprocess.run([sys.executable, "-W", "ignore", "-c", quiet + code], env=variables, check=True)
        kept.append({path.name.split("-")[0] for path in (tmp_path / name).rglob("*.nbi")})
    of_fit, of_plan = kept
    assert len(of_plan) > 5 and of_plan - of_fit <= needless


def test_the_help_ends_with_the_process_that_asked_for_it(monkeypatch):
    done = []
    monkeypatch.setattr(ahead, "linear", lambda: iter([lambda: done.append(1), lambda: done.append(2)]))
    parents = iter([5, 5, 1])
    monkeypatch.setattr(ahead.os, "getppid", lambda: next(parents))
    ahead.main("linear")
    assert done == [1]


def test_the_plan_of_levels_can_be_followed():
    assert len([task() for task in ahead.levels()]) == 4
