"""Sampling a PyMC graph by NUTS: which sampler, interruption, and one form for what comes back.

Nothing is judged here: convergence is checked on the finished tree.
"""

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import nutpie
import nutpie.compile_pymc
import pymc as pm
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmm.errors import BayesmmWarning, PriorError, listing
from bayesmm.graph import native
from bayesmm.graph.distributions import improper_parameters
from bayesmm.graph.interpreted import PYTHON, exact_arithmetic, without_compiler
from bayesmm.graph.size import kept_variables, numbers_per_draw
from bayesmm.graph.start import check_start
from bayesmm.graph.tree import data_groups, drawn, draws_tree
from bayesmm.memory import refuse
from bayesmm.nuts import (
    BLAS_THREADS,
    NUTS,
    TARGET_ACCEPT,
    Settings,
    check_arguments,
    chosen_seed,
    chosen_settings,
    record,
    start_nutpie,
    wait,
)
from bayesmm.progress import Progress, progress_bar
from bayesmm.runs import NUTPIE, PYMC, Run, finished_run

__all__ = ["check_arguments", "check_start", "prior_predictive", "sample_graph"]

RECORDED = ("pymc", "pytensor", "nutpie", "numpy", "arviz")  # versions that make up a result


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
    settings, said = chosen_settings(
        draws=draws, tune=tune, chains=chains, seed=seed, sampler=sampler, target_accept=target_accept, cores=cores
    )
    if sampler not in NUTS:
        raise ValueError(f"a graph is sampled by one of {listing(NUTS)}, not {sampler!r}, which takes a Model")
    if not graph.free_RVs:
        raise ValueError("every parameter of the model is held fixed by its prior, so there is nothing to sample")
    refuse(numbers_per_draw(graph), draws, tune, chains)
    for text in said:
        warnings.warn(text, BayesmmWarning, stacklevel=2)
    name = "nutpie" if sampler == "auto" else sampler
    with (
        progress_bar(progress, settings.chains, settings.tune + settings.draws) as bar,
        without_compiler(),
        exact_arithmetic(),
        threadpool_limits(BLAS_THREADS),
    ):
        run = {"nutpie": _run_nutpie, "pymc": _run_pymc}[name](graph, settings, bar)
    tree = draws_tree(graph, run)
    about = record(name, settings, run, said, RECORDED) | {"seconds": time.perf_counter() - began}
    tree.attrs["bayesmm"] = json.dumps(about)
    return tree


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
        arrays = iter(pm.draw(variables, draws=draws, random_seed=chosen_seed(seed), mode=PYTHON))
    groups = {group: drawn(graph, {name: next(arrays) for name in names[group]}, draws) for group in names}
    return xr.DataTree.from_dict(groups | data_groups(graph))


# --- nutpie -----------------------------------------------------------------------------------------------------------


def _run_nutpie(graph: pm.Model, settings: Settings, bar: Progress) -> Run:
    handle = start_nutpie(_compiled(graph), settings, bar)
    try:
        tree, interrupted = wait(handle, bar)
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
