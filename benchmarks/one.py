"""One contestant on one case, in a process of its own: `python -m benchmarks.one CASE CONTESTANT --output FILE`.

The result is written as soon as there is one, and again after the hot run, so that a time limit leaves what there is.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.contestants import CONTESTANTS, GRADIENT, MAXIMISATION, SAMPLING, Contestant, NotAvailable, Settings
from benchmarks.measures import peak_memory, per_second, quality
from benchmarks.models import CASES, Case

PACKAGES = ("bayesmm", "pymc", "pytensor", "nutpie", "numba", "numpy", "arviz", "bambi", "mixedlm", "statsmodels")
# A second sampling run is for what compilation costs, which no longer matters where the first one took a minute.
HOT_LIMIT = 60.0  # seconds
HOT_CALLS, HOT_SECONDS = 30, 3.0  # a maximisation is called again so often, or so long


def main() -> None:
    args = _arguments()
    settings = Settings(args.draws, args.tune, args.chains, args.seed)
    record = {"case": args.case, "contestant": args.contestant, "settings": asdict(settings)}
    record["environment"] = environment()

    def write(**entries: object) -> None:
        record.update(entries)
        partial = args.output.with_suffix(".part")
        partial.write_text(json.dumps(finite(record), indent=1) + "\n", encoding="utf-8")
        partial.replace(args.output)

    try:
        measure(CASES[args.case], CONTESTANTS[args.contestant], settings, write, hot=not args.once)
    except (NotAvailable, ModuleNotFoundError) as error:
        write(status="not available", message=str(error))


def measure(case: Case, contestant: Contestant, settings: Settings, write, hot: bool = True) -> None:
    """Fit, write the record, and fit again in the same process."""
    began = time.perf_counter()
    for module in contestant.modules:
        import_module(module)
    imported = time.perf_counter() - began
    subject = contestant.prepare(case, case.data())
    before = peak_memory()
    began, busy = time.perf_counter(), time.process_time()
    result = contestant.fit(case, subject, settings)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    memory = {"peak_mib": peak_memory(), "peak_before_mib": before, "peak_children_mib": peak_memory(children=True)}
    entries = READ[contestant.kind](contestant.read(result), seconds)
    write(status="done", seconds=seconds, seconds_cpu=busy, seconds_import=imported, **memory, **entries)
    if hot and contestant.kind == MAXIMISATION:
        write(seconds_hot=_hot(contestant, case, subject, settings))
    elif hot and contestant.kind == SAMPLING and seconds < HOT_LIMIT:
        del result
        began = time.perf_counter()
        contestant.fit(case, subject, settings)
        write(seconds_hot=time.perf_counter() - began)


def _hot(contestant: Contestant, case: Case, subject: object, settings: Settings) -> float:
    """Return the median time of repeated calls, in seconds."""
    seconds = []
    while len(seconds) < HOT_CALLS and sum(seconds) < HOT_SECONDS:
        began = time.perf_counter()
        contestant.fit(case, subject, settings)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _sampled(sampled, seconds: float) -> dict[str, object]:
    found = quality(sampled.parameters)
    chains, draws = next(iter(sampled.parameters.values())).shape
    return {
        "min_ess": found.min_ess,
        "worst": found.worst,
        "r_hat": found.r_hat,
        "ess_per_second": per_second(found.min_ess, seconds),
        "divergences": sampled.divergences,
        "parameters": len(sampled.parameters),
        "shape": [chains, draws],
    }


READ = {
    SAMPLING: _sampled,
    MAXIMISATION: lambda optimum, _: asdict(optimum),
    GRADIENT: lambda times, _: {"gradient": times},
}


def environment() -> dict[str, object]:
    """Return what the figures depend on: processor, memory, versions; and the load when the run began."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            import bayesmm

            versions |= {package: bayesmm.__version__} if package == "bayesmm" else {}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "memory_gib": round(memory),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "threads": os.environ.get("OPENBLAS_NUM_THREADS"),
        "load": os.getloadavg()[0],
    }


def processor() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def finite(value: object) -> object:
    """Return the value with NaN and infinities as None, which JSON has."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--once", action="store_true", help="no hot run")
    for name, default in (("draws", 1000), ("tune", None), ("chains", 4), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


if __name__ == "__main__":  # PyMC's chains may be started by importing this file again
    main()
