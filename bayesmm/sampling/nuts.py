"""NUTS by nutpie: what it may be asked, progress, interruption, and what is recorded of a run. No PyMC in here."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from threading import Thread
from types import ModuleType

import numpy as np
import xarray as xr

from bayesmm.errors import listing, suggest
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.whitened import Whitened, expansion, whitened_density
from bayesmm.runtime.arguments import check_bool, check_cores, check_seed, check_whole, chosen_seed, is_real
from bayesmm.runtime.progress import Progress
from bayesmm.runtime.stopping import check_stopped
from bayesmm.storage.runs import NUTPIE, STATS, Run, equal_lengths

NUTS = ("auto", "nutpie", "pymc")
SAMPLERS = (*NUTS, "importance")  # the last needs no graph: see importance.py
# R-hat asks for a few chains, and processors for as many as there are of them; more are a slip of the hand.
MOST_CHAINS = 1000
# Steps of tuning if none are asked for: from anywhere; and from the mode, in its metric, where only the step size is
# left to find.
LONG_TUNE, SHORT_TUNE = 1000, 200
# Above the samplers' 0.8: hierarchical posteriors have narrow places, and fewer divergences are worth the time.
TARGET_ACCEPT = 0.9
PAUSE = 0.05  # seconds between looks at a running sampler: the delay of the progress bar and of Ctrl-C


@dataclass(frozen=True)
class Settings:
    """What a sampler is asked for, every argument with its value."""

    draws: int
    tune: int
    chains: int
    cores: int
    seed: int
    target_accept: float


def check_arguments(
    *,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    seed: int | None = None,
    sampler: str = "auto",
    target_accept: float = TARGET_ACCEPT,
    cores: int | None = None,
    keep_effects: bool = True,
) -> tuple[str, ...]:
    """Check what sampling may be asked; return what there is to warn of.

    Raises
    ------
    ValueError
        Naming the argument, its value and what it should be.
    """
    check_whole("draws", draws, 1)
    if tune is not None:
        check_whole("tune", tune, 0)
    check_whole("chains", chains, 1)
    check_cores(cores)
    check_seed(seed)
    if not is_real(target_accept) or not 0 < target_accept < 1:
        raise ValueError(f"target_accept should be a number between 0 and 1, both excluded, not {target_accept!r}")
    if sampler not in SAMPLERS:
        raise ValueError(
            f"sampler should be one of {listing(SAMPLERS)}, not {sampler!r}{suggest(str(sampler), SAMPLERS)}"
        )
    check_bool("keep_effects", keep_effects)
    said = []
    if sampler not in NUTS:  # independent draws: neither tuned, nor judged by comparing chains
        return ()
    if chains > MOST_CHAINS:
        raise ValueError(
            f"chains should be at most {MOST_CHAINS:,}, not {chains:,}: each is tuned by itself, so that they take "
            f"{chains * ((tune or 0) + draws):,} draws of the sampler; for more draws, make draws= larger"
        )
    if chains == 1:
        said.append("chains=1: convergence is judged by comparing chains, which one alone does not allow; use 4")
    if tune == 0:
        said.append(
            "tune=0: the sampler's step size and metric are not adapted, so the draws may be far off; leave tune out"
        )
    return tuple(said)


def chosen_settings(
    *, sampler: str = "auto", usual: int = LONG_TUNE, **asked: object
) -> tuple[Settings, tuple[str, ...]]:
    """Return checked arguments as settings, and what there is to warn of; see `check_arguments`.

    `usual` is the length of the tuning where none is asked for.
    """
    said = check_arguments(sampler=sampler, **asked)
    cores, seed = chosen_cores(asked["cores"], asked["chains"]), chosen_seed(asked["seed"])
    tune = usual if asked["tune"] is None else asked["tune"]
    numbers = int(asked["draws"]), int(tune), int(asked["chains"])
    return Settings(*numbers, cores, seed, float(asked["target_accept"])), said


def chosen_cores(cores: int | None, chains: int) -> int:
    """Return how many chains run at once."""
    return min(chains, cores or os.cpu_count() or 1)


def record(
    name: str, settings: Settings, said: Sequence[str], packages: Sequence[str], *, interrupted: bool = False
) -> dict:
    """Return what a fit says of its run, as it is written to the tree's attribute "bayesmm"."""
    known = {"sampler": name, **asdict(settings), "interrupted": interrupted, "warnings": list(said)}
    return known | {"versions": {package: version(package) for package in packages}}


def load_nutpie() -> ModuleType:
    """Import nutpie without ArviZ.

    nutpie imports ArviZ, which takes longer than a small model does, for a conversion that is not used here. A module
    that gets ArviZ's attributes when they are asked for stands in for it while nutpie is imported, and no longer.
    """
    if "nutpie" in sys.modules or "arviz" in sys.modules:
        return import_module("nutpie")
    stand_in = ModuleType("arviz")
    stand_in.__getattr__ = lambda name: getattr(import_module("arviz"), name)
    sys.modules["arviz"] = stand_in
    try:
        return import_module("nutpie")
    finally:
        if sys.modules.get("arviz") is stand_in:
            del sys.modules["arviz"]


def load_ahead() -> Thread:
    """Import nutpie in a thread, beside a compilation, which leaves the interpreter to others half of the time."""

    def load() -> None:
        with suppress(ImportError):  # whoever needs it imports it again, and hears of it
            load_nutpie()

    thread = Thread(target=load, daemon=True)
    thread.start()
    return thread


def start_nutpie(compiled: object, settings: Settings, bar: Progress, **further: object):
    """Start nutpie in the background, with progress reported to the bar."""
    return load_nutpie().sample(
        compiled,
        draws=settings.draws,
        tune=max(settings.tune, 1),  # nutpie has no run without tuning: one step adapts next to nothing
        chains=settings.chains,
        cores=settings.cores,
        seed=settings.seed,
        target_accept=settings.target_accept,
        save_warmup=False,
        progress_bar=False,
        progress_callback=bar.latest.append,
        blocking=False,
        **further,
    )


def wait(handle, bar: Progress, meanwhile: Callable[[], None] = lambda: None) -> tuple[object, bool]:
    """Return the draws when they are finished, or those there are when it is told to stop, and whether it was that.

    What is to be done meanwhile is called again and again, some twenty times a second.
    """
    try:
        while True:
            try:
                return handle.wait(timeout=PAUSE), False
            except TimeoutError:  # still running
                check_stopped()
                bar.show()
                meanwhile()
    except KeyboardInterrupt:
        return handle.abort(), True


def sample_density(posterior: Whitened, start: Callable[[int], Floats], settings: Settings, bar: Progress) -> Run:
    """Sample a compiled log posterior.

    Parameters
    ----------
    posterior : Whitened
    start : callable
        seed -> a point z to start a chain at, (d,).
    settings : Settings
    bar : Progress

    Returns
    -------
    Run
        Its posterior has one variable, x (chain, draw, coordinate).

    Raises
    ------
    RuntimeError
        If nutpie finds no start.
    KeyboardInterrupt
        If interrupted before there are any draws.
    """
    names = [f"x{i}" for i in range(posterior.size)]  # numbers each, whose columns need no library to read
    compiled = compiled_density(posterior, start, names, [slice(i, i + 1) for i in range(len(names))], ())
    results, interrupted = wait(start_nutpie(compiled, settings, bar, return_raw_trace=True), bar)
    return _run(*results.get_arrow_trace(), names, interrupted)


def compiled_density(
    posterior: Whitened,
    start: Callable[[int], Floats],
    names: Sequence[str],
    slices: Sequence[slice],
    shape: tuple[int, ...],
):
    """Return a compiled log posterior as nutpie takes it.

    Parameters
    ----------
    posterior, start
        See `sample_density`.
    names, slices : sequence
        Of the variables that nutpie stores, parts of x.
    shape : tuple of int
        Of each.
    """
    d = posterior.size
    return load_nutpie().compile_pymc.CompiledPyMCModel(
        dims={},
        reparameterized_names=[],
        compiled_logp_func=whitened_density(),
        compiled_expand_func=expansion(),
        initial_point_func=start,
        shared_data={},
        shared_var_keys={},
        user_data=posterior.words,  # which nutpie keeps as long as it runs
        n_expanded=d,
        shape_info=(names, slices, [shape] * len(names)),
        logp_func=None,
        expand_func=None,
        _n_dim=d,
        _shapes=dict.fromkeys(names, shape),
        _coords={},
    )


def _run(draws: Sequence, stats: Sequence, names: Sequence[str], interrupted: bool) -> Run:
    """Return nutpie's own tables of each chain, Arrow record batches with the tuning in them, as a run."""
    kept = [~_column(table, "tuning").astype(bool) for table in stats]
    chains, length = equal_lengths([int(keep.sum()) for keep in kept])
    if length == 0:
        raise KeyboardInterrupt
    x = [np.column_stack([_column(draws[k], name) for name in names])[kept[k]][:length] for k in chains]
    labels, found = {"chain": np.arange(len(chains)), "draw": np.arange(length)}, {}
    for name, row in STATS.items():
        columns = [_column(stats[k], row[NUTPIE])[kept[k]][:length] for k in chains]
        found[name] = (("chain", "draw"), np.stack(columns).astype(row[2]))
    posterior = xr.Dataset({"x": (("chain", "draw", "coordinate"), np.stack(x))}, labels)
    return Run(posterior, xr.Dataset(found, labels), interrupted)


def _column(table: object, name: str) -> np.ndarray:
    """Return a column of numbers."""
    return np.asarray(table.column(name).to_numpy())
