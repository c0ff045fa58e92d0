"""Run the checks and write docs/validation.md.

    python -m validation.run                             all that is not there yet
    python -m validation.run --simulations 50 --central 50    a shorter calibration
    python -m validation.run --short                     a few minutes: few simulations, a few cells of each section
    python -m validation.run --sections exact verdicts   these only
    python -m validation.run --page                      the page alone, of what is kept

What was found is kept in validation/results/, a file for each cell, as it comes; a run that was stopped goes on there.
`--fresh` begins anew. Exit status: 1 if a cell failed, 130 after Ctrl-C.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from validation.records import RESULTS, Clock, Finding, Record, Settings, keep, made_by, read

# in the order of the page
SECTIONS = ("references", "prints", "exact", "calibration", "new_groups", "samplers", "verdicts", "speed")
LATER = ("new_groups",)
SHORT = 12  # simulations of a short run
Job = tuple[str, str]


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, write the page, and return the exit status."""
    asked = _parser().parse_args(arguments)
    most = SHORT if asked.short else max(asked.simulations, asked.central)
    settings = Settings(min(most, asked.simulations), min(most, asked.central), asked.results)
    stopped = False
    if not asked.page:
        jobs = list(jobs_of(asked.sections or SECTIONS, settings, short=asked.short, only=asked.cells))
        if asked.fresh:
            forget(jobs, asked.results)
        for later in (False, True):  # what is counted in what others have kept is done when they are done
            own = [job for job in jobs if (job[0] in LATER) == later]
            stopped = stopped or work(waiting(own, settings, asked.results), settings, asked.results, asked.processes)
    records = list(kept(asked.results))
    if records:
        from validation.page import write  # draws pictures: not in the workers

        write(records, asked.out)
        print(f"Written: {asked.out}")
    failed = [record for record in records if not record.ok]
    for record in failed:
        print(f"FAILED  {record.section}: {record.cell}: {record.words}")
    print(f"{len(records)} cells, {len(failed)} failed" + (", stopped early" if stopped else ""))
    return 130 if stopped else int(bool(failed))


def section(name: str):
    """Return the module of a section."""
    return import_module(f"validation.{name}")


def jobs_of(names: Iterable[str], settings: Settings, *, short: bool = False, only: list[str] | None = None):
    """Yield (section, cell) of everything that there is to check."""
    for name in names:
        module = section(name)
        in_order = getattr(module, "longest_first", module.cells)
        cells = module.SHORT_CELLS if short else in_order()
        yield from ((name, cell) for cell in cells if only is None or cell in only)


def waiting(jobs: list[Job], settings: Settings, folder: Path) -> list[Job]:
    """Return the jobs of which nothing is kept, or less than the settings ask for."""
    return [job for job in jobs if not is_done(read(*job, folder), settings)]


def is_done(record: Record | None, settings: Settings) -> bool:
    """Return whether what is kept of a cell is all that is asked for."""
    if record is None or not record.ok:  # what failed is tried again
        return False
    enough = getattr(section(record.section), "enough", None)
    return enough is None or enough(record, settings)


def forget(jobs: list[Job], folder: Path) -> None:
    """Delete what is kept of these cells."""
    from validation.records import path_of

    for job in jobs:
        path_of(*job, folder).unlink(missing_ok=True)


def kept(folder: Path) -> Iterable[Record]:
    """Yield the records of all cells that there are today, in the order of the page."""
    for name in SECTIONS:
        for cell in section(name).cells():
            record = read(name, cell, folder)
            if record is not None:
                yield record


def work(jobs: list[Job], settings: Settings, folder: Path, processes: int) -> bool:
    """Do the jobs, each in a worker process, and say how it goes; return whether Ctrl-C ended it early."""
    if not jobs:
        return False
    clock, context = Clock(), get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=begin)
    try:
        futures = {pool.submit(do, job, settings, folder): job for job in jobs}
        left = set(futures)
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for future in done:
                say(future, futures[future], len(jobs) - len(left), len(jobs), clock)
    except KeyboardInterrupt:
        print("\nStopped; what was found is kept, and the next run goes on from here.", file=sys.stderr)
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        return True
    pool.shutdown()
    return False


def begin() -> None:
    """Prepare a worker: one thread for linear algebra, and Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def do(job: Job, settings: Settings, folder: Path) -> Record:
    """Check one cell and keep what was found; an error is a cell that failed."""
    name, cell = job
    clock, before = Clock(), read(name, cell, folder)
    if before is not None and not before.ok and before.made["commit"] != made_by()["commit"]:
        before = None  # the code has changed since it failed
    module = section(name)

    def keep_it(found: Finding) -> Record:
        return keep(name, cell, found, float(found.numbers.get("seconds", clock.cpu)), folder)

    try:
        if hasattr(module, "go_on"):  # long: it keeps what it has as it goes
            found = module.go_on(cell, settings, before, keep_it)
        else:
            found = module.check(cell, settings)
    except Exception as error:
        found = Finding(False, f"{type(error).__name__}: {error}")
    return keep_it(found)


def say(future: Future, job: Job, number: int, total: int, clock: Clock) -> None:
    """Print one line on a finished cell."""
    record = future.result()
    verdict = "ok" if record.ok else "FAILED"
    print(
        f"{clock.seconds:6.0f} s  {number}/{total}  {job[0]:12} {job[1]:44} {verdict:7} {record.seconds:6.1f} s  "
        f"{record.words}".rstrip(),
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=200, help="of every family and structure (200)")
    parser.add_argument("--central", type=int, default=1000, help="of the central models (1000)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--cells", nargs="+", metavar="CELL", help="these cells only")
    parser.add_argument("--short", action="store_true", help="a few cells of each section, few simulations")
    parser.add_argument("--fresh", action="store_true", help="forget what is kept of what is asked for")
    parser.add_argument("--page", action="store_true", help="write the page of what is kept, and run nothing")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at the same time (all processors)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of what is kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs", help="folder of the page")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was found is kept
    sys.exit(main())
