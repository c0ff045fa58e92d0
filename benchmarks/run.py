"""Run the benchmarks: every contestant and repetition in a process of its own, contestants alternating.

    python -m benchmarks.run                          a quick run: 3 repetitions, the slowest contestants left out
    python -m benchmarks.run --full                   everything, 5 repetitions
    python -m benchmarks.run --models sleepstudy --contestants marginal bambi-nutpie --repetitions 10

Results go to benchmarks/results/ as they come. An interrupted run keeps what it has; `--resume` goes on with it, and
`python -m benchmarks.report` prints the tables of whatever is there.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import CONTESTANTS, MAXIMISATION, Contestant, entrants
from benchmarks.models import CASES, Case

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
QUICK_REPETITIONS, FULL_REPETITIONS = 3, 5
LIMIT = 400  # seconds for one process
# A contestant that has used this much in one case is not repeated: its spread is small beside its distance.
BUDGET = 600  # seconds
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
WARM_DRAWS = 10  # of the uncounted run that fills the caches of compiled code


@dataclass(frozen=True)
class Plan:
    """What is run, and how."""

    cases: tuple[Case, ...]
    contestants: tuple[str, ...]
    quick: bool
    repetitions: int
    draws: int
    tune: int | None
    chains: int
    limit: float
    budget: float
    cold: bool
    threads: int | None
    resume: bool


def main() -> int:
    plan = plan_of(_parser().parse_args())
    RESULTS.mkdir(exist_ok=True)
    # What is running has a session of its own, and would outlive this process: end it on a SIGTERM as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        for case in plan.cases:
            run_case(case, plan)
    except KeyboardInterrupt:
        print("\nInterrupted; --resume goes on from here.")
        return 130
    finally:
        print(f"{time.monotonic() - began:.0f} s in all\n")
        subprocess.run([sys.executable, "-m", "benchmarks.report"], cwd=ROOT, check=False)
    return 0


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the plan of a command line."""
    default = FULL_REPETITIONS if args.full else QUICK_REPETITIONS
    return Plan(
        cases=tuple(CASES[name] for name in args.models or CASES),
        contestants=tuple(args.contestants or CONTESTANTS),
        quick=not args.full and args.contestants is None,  # who is named runs
        repetitions=args.repetitions or default,
        draws=args.draws,
        tune=args.tune,
        chains=args.chains,
        limit=args.limit,
        budget=args.budget,
        cold=args.cold,
        threads=args.threads,
        resume=args.resume,
    )


def runners(case: Case, plan: Plan) -> list[Contestant]:
    """Return who runs a case under a plan."""
    left_out = case.slow if plan.quick else ()
    return [one for one in entrants(case) if one.name in plan.contestants and one.name not in left_out]


def run_case(case: Case, plan: Plan) -> None:
    """Run every contestant once, then again, as often as planned; drop who failed or has used up the budget."""
    field, used = runners(case, plan), {}
    if not plan.resume:
        for contestant in field:
            for old in RESULTS.glob(f"{case.name}+{contestant.name}+{caches(plan)}+*.json"):
                old.unlink()
    print(f"{case.title}: {', '.join(one.name for one in field) or 'nobody'}")
    for repetition in range(plan.repetitions):
        for contestant in list(field):
            path = RESULTS / f"{case.name}+{contestant.name}+{caches(plan)}+{repetition}.json"
            if plan.resume and path.exists():
                continue
            record = {"status": "done"}
            if repetition == 0 and not plan.cold:
                record = warm_up(case, contestant, plan)
            if record["status"] == "done":
                record = run_one(case, contestant, plan, repetition, path)
            else:
                save(path, record, repetition, plan)
            used[contestant.name] = used.get(contestant.name, 0) + record["elapsed"]
            print(f"  {repetition + 1}  {contestant.name:18} {told(record)}", flush=True)
            if record["status"] != "done" or used[contestant.name] > plan.budget:
                field.remove(contestant)


def warm_up(case: Case, contestant: Contestant, plan: Plan) -> dict:
    """Run once without counting, so that every contestant finds its compiled code on disk, as on a user's second day.

    A maximiser compiles nothing that depends on the case, so the smallest one does.
    """
    if contestant.kind == MAXIMISATION:
        case = next(iter(CASES.values()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warm.json"
        settings = {"draws": WARM_DRAWS, "tune": WARM_DRAWS, "chains": plan.chains, "seed": 0}
        return execute(case, contestant, settings, path, plan.limit, variables(plan.threads), once=True)


def run_one(case: Case, contestant: Contestant, plan: Plan, repetition: int, path: Path) -> dict:
    """Run one process and keep its record."""
    settings = {"draws": plan.draws, "tune": plan.tune, "chains": plan.chains, "seed": repetition + 1}
    with tempfile.TemporaryDirectory() as folder:
        environment = variables(plan.threads, Path(folder) / "caches" if plan.cold else None)
        record = execute(case, contestant, settings, Path(folder) / "record.json", plan.limit, environment, plan.cold)
    return save(path, record, repetition, plan)


def save(path: Path, record: dict, repetition: int, plan: Plan) -> dict:
    """Write a record to the results, and return it."""
    record = record | {"repetition": repetition, "caches": caches(plan)}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def caches(plan: Plan) -> str:
    return "cold" if plan.cold else "warm"


def execute(
    case: Case,
    contestant: Contestant,
    settings: dict[str, int | None],
    output: Path,
    limit: float,
    environment: dict[str, str],
    once: bool = False,
) -> dict:
    """Run `benchmarks.one` with a time limit; return its record, or one that says how it ended."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.one", case.name, contestant.name]
    command += ["--output", str(output)]
    given = {name: value for name, value in settings.items() if value is not None}
    command += [text for name, value in given.items() for text in (f"--{name}", str(value))] + ["--once"] * once
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        code = _wait(command, said, limit, environment)
        said.seek(0)
        last = said.read().decode(errors="replace").strip().splitlines()[-1:]
    elapsed = time.monotonic() - began
    record = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    record |= {"case": case.name, "contestant": contestant.name, "elapsed": elapsed, "limit": limit}
    if "status" not in record:  # else there is a first run, whatever became of the hot one
        message = (last or [f"exit code {code}"])[0]
        record |= {"status": "timeout"} if code is None else {"status": "failed", "message": message}
        record.setdefault("settings", settings)
    return record


def _wait(command: list[str], output, limit: float, environment: dict[str, str]) -> int | None:
    """Return the exit code, or None after the limit; the process takes those that it has started with it."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **streams)
    try:
        return process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # all have ended
            pass
        process.wait()


def variables(threads: int | None = None, fresh: Path | None = None) -> dict[str, str]:
    """Return the environment of a process.

    Parameters
    ----------
    threads : int, optional
        For the linear algebra of every contestant alike; its own choice if not given.
    fresh : path, optional
        A folder for the caches of compiled code, so that none is found.
    """
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), found.get("PYTHONPATH"))))
    if threads is not None:
        found |= dict.fromkeys(THREADS, str(threads))
    if fresh is not None:
        flags = filter(None, (found.get("PYTENSOR_FLAGS"), f"base_compiledir={fresh / 'pytensor'}"))
        found |= {"NUMBA_CACHE_DIR": str(fresh / "numba"), "PYTENSOR_FLAGS": ",".join(flags)}
    return found


def told(record: dict) -> str:
    """Return one line on a finished process."""
    if record["status"] != "done":
        return f"{record['status']} after {record['elapsed']:.0f} s  {record.get('message', '')}".rstrip()
    hot = f", hot {record['seconds_hot']:.4g} s" if record.get("seconds_hot") else ""
    ess = f", min ESS {record['min_ess']:.0f}" if record.get("min_ess") is not None else ""
    return f"{record['seconds']:.4g} s{hot}{ess}, {record['peak_mib']:.0f} MiB (process {record['elapsed']:.1f} s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="the default: leave out the slowest contestants")
    length.add_argument("--full", action="store_true", help="every contestant on every model, 5 repetitions")
    names = ", ".join(CONTESTANTS)
    parser.add_argument("--models", nargs="+", choices=CASES, metavar="MODEL", help=f"of {', '.join(CASES)}")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME", help=f"of {names}")
    parser.add_argument("--repetitions", type=int, help=f"{QUICK_REPETITIONS}, or {FULL_REPETITIONS} with --full")
    parser.add_argument("--draws", type=int, default=1000, help="of each chain (1000)")
    parser.add_argument("--tune", type=int, help="of each chain; each library's own if not given")
    parser.add_argument("--chains", type=int, default=4, help="(4)")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"seconds for one process ({LIMIT})")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"seconds; then no repetition ({BUDGET})")
    parser.add_argument("--cold", action="store_true", help="every process with empty caches of compiled code")
    parser.add_argument("--threads", type=int, help="of each process's linear algebra; as it comes if not given")
    parser.add_argument("--resume", action="store_true", help="keep the results that are there and run the others")
    return parser


if __name__ == "__main__":
    sys.exit(main())
