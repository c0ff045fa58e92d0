"""Sampling by NUTS: which sampler, what it may be asked, progress, interruption, and one form for what comes back.

The only module that calls a sampler. Nothing is judged here: convergence is checked on the finished tree.
"""

import json
import os
import secrets
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from numbers import Integral, Real

import numpy as np
import nutpie
import nutpie.compile_pymc
import pymc as pm
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmm.errors import BayesmmWarning, PriorError, listing, suggest
from bayesmm.graph import native
from bayesmm.graph.distributions import improper_parameters
from bayesmm.graph.interpreted import PYTHON, exact_arithmetic, without_compiler
from bayesmm.graph.size import check_memory, kept_variables
from bayesmm.graph.start import check_start
from bayesmm.graph.tree import NUTPIE, PYMC, Run, data_groups, drawn, draws_tree, finished_run
from bayesmm.progress import Progress, progress_bar

__all__ = ["check_arguments", "check_start", "prior_predictive", "sample_graph"]

NUTS = ("auto", "nutpie", "pymc")
SAMPLERS = (*NUTS, "importance")  # the last needs no graph: see importance.py
# Above the samplers' 0.8: hierarchical posteriors have narrow places, and fewer divergences are worth the time.
TARGET_ACCEPT = 0.9
LARGEST_SEED = 2**32 - 1  # what NumPy's legacy seeding inside the samplers takes
PAUSE = 0.05  # seconds between looks at a running sampler: the delay of the progress bar and of Ctrl-C
# Of the linear algebra in each chain: more, times the chains, wait for each other, up to a hundred times as long.
BLAS_THREADS = 1
RECORDED = ("pymc", "pytensor", "nutpie", "numpy", "arviz")  # versions that make up a result


@dataclass(frozen=True)
class Settings:
    """What a sampler is asked for, every argument with its value."""

    draws: int
    tune: int
    chains: int
    cores: int
    seed: int
    target_accept: float


def sample_graph(
    graph: pm.Model,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int | None = None,
    sampler: str = "auto",
    target_accept: float = TARGET_ACCEPT,
    progress: bool = True,
    cores: int | None = None,
    began: float | None = None,
) -> xr.DataTree:
    """Sample the posterior of a graph.

    Parameters
    ----------
    graph : pymc.Model
    draws, tune, chains : int
        Draws kept and draws of tuning, of each chain.
    seed : int, optional
        The same seed, sampler and versions give the same draws, whatever `cores` is. None: a new seed, which is
        recorded.
    sampler : {"auto", "nutpie", "pymc"}
        "auto" is nutpie.
    target_accept : float
        Mean acceptance probability that the step size is tuned for, between 0 and 1.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    cores : int, optional
        Chains run at the same time; as many as there are processors if not given.
    began : float, optional
        ``time.perf_counter()`` from which the seconds are counted.

    Returns
    -------
    xarray.DataTree
        Groups posterior (the variables whose names do not begin with an underscore), sample_stats (the names of
        `STATS`), observed_data and constant_data; the attribute "bayesmm" is JSON: sampler, versions, seed, draws,
        tune, chains, cores, target_accept, seconds, interrupted, warnings. After Ctrl-C the finished draws, the
        chains cut to one length.

    Raises
    ------
    ValueError
        For an argument out of range, draws that would not fit in memory, a model without a free parameter, or a density
        that is not finite at the start.
    RuntimeError
        If a process of PyMC's sampler dies.
    KeyboardInterrupt
        If interrupted before there are any draws.
    """
    began = time.perf_counter() if began is None else began
    said = check_arguments(
        draws=draws, tune=tune, chains=chains, seed=seed, sampler=sampler, target_accept=target_accept, cores=cores
    )
    if sampler not in NUTS:
        raise ValueError(f"a graph is sampled by one of {listing(NUTS)}, not {sampler!r}, which takes a Model")
    if not graph.free_RVs:
        raise ValueError("every parameter of the model is held fixed by its prior, so there is nothing to sample")
    check_memory(graph, draws, tune, chains)
    for text in said:
        warnings.warn(text, BayesmmWarning, stacklevel=2)
    name = "nutpie" if sampler == "auto" else sampler
    settings = Settings(int(draws), int(tune), int(chains), _cores(cores, chains), _seed(seed), float(target_accept))
    with (
        progress_bar(progress, settings.chains, settings.tune + settings.draws) as bar,
        without_compiler(),
        exact_arithmetic(),
        threadpool_limits(BLAS_THREADS),
    ):
        run = {"nutpie": _run_nutpie, "pymc": _run_pymc}[name](graph, settings, bar)
    tree = draws_tree(graph, run)
    record = {"sampler": name, **asdict(settings), "seconds": time.perf_counter() - began}
    record |= {"interrupted": run.interrupted, "warnings": list(said)}
    record |= {"versions": {package: version(package) for package in RECORDED}}
    tree.attrs["bayesmm"] = json.dumps(record)
    return tree


def check_arguments(
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int | None = None,
    sampler: str = "auto",
    target_accept: float = TARGET_ACCEPT,
    cores: int | None = None,
) -> tuple[str, ...]:
    """Check what sampling may be asked; return what there is to warn of.

    Raises
    ------
    ValueError
        Naming the argument, its value and what it should be.
    """
    for name, value, least in (("draws", draws, 1), ("tune", tune, 0), ("chains", chains, 1), ("cores", cores, 1)):
        if value is None and name == "cores":
            continue
        if not _is_whole(value) or value < least:
            raise ValueError(f"{name} should be a whole number of at least {least}, not {value!r}")
    if seed is not None and not (_is_whole(seed) and 0 <= seed <= LARGEST_SEED):
        raise ValueError(f"seed should be None or a whole number from 0 to {LARGEST_SEED}, not {seed!r}")
    if not isinstance(target_accept, Real) or isinstance(target_accept, bool) or not 0 < target_accept < 1:
        raise ValueError(f"target_accept should be a number between 0 and 1, both excluded, not {target_accept!r}")
    if sampler not in SAMPLERS:
        raise ValueError(
            f"sampler should be one of {listing(SAMPLERS)}, not {sampler!r}{suggest(str(sampler), SAMPLERS)}"
        )
    said = []
    if sampler not in NUTS:  # independent draws: neither tuned, nor judged by comparing chains
        return ()
    if chains == 1:
        said.append("chains=1: convergence is judged by comparing chains, which one alone does not allow; use 4")
    if tune == 0:
        said.append(
            "tune=0: the sampler's step size and metric are not adapted, so the draws may be far off; use tune=1000"
        )
    return tuple(said)


def prior_predictive(graph: pm.Model, draws: int = 500, seed: int | None = None) -> xr.DataTree:
    """Draw parameters from the priors, and data given them.

    Parameters
    ----------
    graph : pymc.Model
    draws : int
    seed : int, optional
        The same seed gives the same draws.

    Returns
    -------
    xarray.DataTree
        Groups prior and prior_predictive, (chain 1, draw, ...); observed_data and constant_data.

    Raises
    ------
    ValueError
        For `draws` or `seed` out of range.
    PriorError
        If a prior is improper, so that there is nothing to draw from.
    """
    check_arguments(draws=draws, seed=seed)
    flat = improper_parameters(graph)
    if flat:
        raise PriorError(f"the prior of {listing(flat)} is flat, so nothing can be drawn from it; give it a proper one")
    names = {"prior": kept_variables(graph), "prior_predictive": [v.name for v in graph.observed_RVs]}
    variables = [graph[name] for group in names.values() for name in group]
    with without_compiler():
        arrays = iter(pm.draw(variables, draws=draws, random_seed=_seed(seed), mode=PYTHON))
    groups = {group: drawn(graph, {name: next(arrays) for name in names[group]}, draws) for group in names}
    return xr.DataTree.from_dict(groups | data_groups(graph))


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _cores(cores: int | None, chains: int) -> int:
    """Return how many chains run at once."""
    return min(chains, cores or os.cpu_count() or 1)


def _seed(seed: int | None) -> int:
    return secrets.randbelow(LARGEST_SEED + 1) if seed is None else int(seed)


# --- nutpie -----------------------------------------------------------------------------------------------------------


def _run_nutpie(graph: pm.Model, settings: Settings, bar: Progress) -> Run:
    handle = nutpie.sample(
        _compiled(graph),
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
    )
    try:
        tree, interrupted = _wait(handle, bar)
    except RuntimeError as error:  # all that nutpie says is that there was no good start
        check_start(graph)
        raise ValueError(f"the sampler can not go on: {str(error).splitlines()[0]}") from error
    lengths = np.isfinite(tree["sample_stats"]["logp"].values).sum(axis=1)  # shorter chains are filled up with NaN
    return finished_run(tree, NUTPIE, lengths, interrupted)


def _compiled(graph: pm.Model) -> nutpie.compile_pymc.CompiledPyMCModel:
    """Return the graph as nutpie takes it.

    Its own compilation is the way back where a version of nutpie, PyTensor or Numba has the parts of the quicker one
    elsewhere.
    """
    try:
        return _compiled_natively(graph)
    except (AttributeError, ImportError, TypeError):
        return nutpie.compile_pymc_model(graph, var_names=kept_variables(graph))


def _compiled_natively(graph: pm.Model) -> nutpie.compile_pymc.CompiledPyMCModel:
    """Return the same as nutpie's own compilation, put together from its parts in less time: see `graph.native`."""
    parts = nutpie.compile_pymc
    start = pm.initial_point.make_initial_point_fn(model=graph, jitter_rvs=set(graph.free_RVs), return_transformed=True)
    size, expanded, logp, expand, start, layout, transformed = parts._make_functions(
        graph,
        mode="NUMBA",
        compute_grad=True,
        join_expanded=True,
        pymc_initial_point_fn=parts._wrap_with_lock(start),
        var_names=kept_variables(graph),
    )
    dims, coords = parts._prepare_dims_and_coords(graph, layout, transformed)
    point = start(0)
    return parts.CompiledPyMCModel(
        dims=dims,
        reparameterized_names=transformed,
        compiled_logp_func=native.density(logp, point),
        compiled_expand_func=native.expansion(expand, point, expanded),
        initial_point_func=start,
        shared_data={},  # the data are in the C functions
        shared_var_keys={},
        user_data=np.zeros(1),
        n_expanded=expanded,
        shape_info=layout,
        logp_func=logp,
        expand_func=expand,
        _n_dim=size,
        _shapes={name: tuple(shape) for name, _, shape in zip(*layout, strict=True)},
        _coords=coords,
    )


def _wait(handle, bar: Progress) -> tuple[xr.DataTree, bool]:
    """Return the draws when they are finished, or those there are at Ctrl-C, and whether it was that."""
    try:
        while True:
            try:
                return handle.wait(timeout=PAUSE), False
            except TimeoutError:  # still running
                bar.show()
    except KeyboardInterrupt:
        return handle.abort(), True


# --- PyMC -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """How far a chain of PyMC's is."""

    finished_draws: int
    divergences: int
    tuning: bool


def _run_pymc(graph: pm.Model, settings: Settings, bar: Progress) -> Run:
    try:
        tree = pm.sample(
            settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            cores=settings.cores,
            random_seed=settings.seed,
            target_accept=settings.target_accept,
            nuts_sampler="pymc",
            var_names=kept_variables(graph),
            model=graph,
            callback=_reporter(settings, bar),
            quiet=True,
            compute_convergence_checks=False,
        )
    except (ConnectionError, EOFError) as error:
        raise RuntimeError(
            "a process of the pymc sampler has died, perhaps killed for want of memory, and the draws are lost; "
            "take fewer draws, cores=1, or sampler='nutpie'"
        ) from error
    except pm.exceptions.SamplingError as error:
        check_start(graph)
        raise ValueError(f"the sampler can not go on: {str(error).splitlines()[0]}") from error
    except ValueError as error:
        if "Not enough samples" in str(error):  # what PyMC makes of a Ctrl-C before the first draw
            raise KeyboardInterrupt from error
        raise
    sizes = tree["posterior"].sizes
    missing = sizes["chain"] < settings.chains or sizes["draw"] < settings.draws
    return finished_run(tree, PYMC, [sizes["draw"]] * sizes["chain"], missing)


def _reporter(settings: Settings, bar: Progress) -> Callable:
    """Return the function that PyMC calls after each draw: it reports, and keeps chains from beginning after a Ctrl-C.

    With one core PyMC ends the chain that is running at a Ctrl-C, and goes on with the next.
    """
    total = settings.tune + settings.draws
    states = [State(0, 0, True)] * settings.chains

    def report(trace: object, draw) -> None:
        before = states[: draw.chain] if settings.cores == 1 else []
        if any(state.finished_draws < total for state in before):
            raise KeyboardInterrupt
        divergences = states[draw.chain].divergences + bool(draw.stats[0]["diverging"] and not draw.tuning)
        states[draw.chain] = State(draw.draw_idx + 1, divergences, draw.tuning)
        bar.latest.append(tuple(states))
        bar.show()

    return report
