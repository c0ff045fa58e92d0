"""Sampling a PyMC graph by NUTS: which sampler, interruption, and one form for what comes back.

Nothing is judged here: convergence is checked on the finished tree.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import nutpie
import pymc as pm
import xarray as xr

from bayesmm.design.parameters import is_at_means
from bayesmm.errors import BayesmmWarning, PriorError, listing
from bayesmm.runtime.arguments import chosen_seed
from bayesmm.runtime.memory import refuse
from bayesmm.runtime.progress import Progress, progress_bar
from bayesmm.runtime.threads import one_thread
from bayesmm.sampling.graph import native, nutpie_parts
from bayesmm.sampling.graph.distributions import improper_parameters
from bayesmm.sampling.graph.interpreted import PYTHON, exact_arithmetic, without_compiler
from bayesmm.sampling.graph.native import Moved
from bayesmm.sampling.graph.nutpie_parts import CompiledPyMCModel
from bayesmm.sampling.graph.signature import contiguous, data_of, structure
from bayesmm.sampling.graph.size import kept_variables, numbers_per_draw
from bayesmm.sampling.graph.start import check_start
from bayesmm.sampling.graph.tree import data_groups, drawn, draws_tree, kept_tree
from bayesmm.sampling.nuts import (
    NUTS,
    TARGET_ACCEPT,
    Settings,
    check_arguments,
    chosen_settings,
    record,
    start_nutpie,
    wait,
)
from bayesmm.storage.runs import NUTPIE, PYMC, Run, RunningSampler, Stream, aliased, finished_run, no_stats

__all__ = ["check_arguments", "check_start", "prior_predictive", "sample_graph"]

Kept = dict[tuple, CompiledPyMCModel]  # by `graph.structure.structure`
RECORDED = ("pymc", "pytensor", "nutpie", "numpy", "arviz")  # versions that make up a result


def sample_graph(
    graph: pm.Model,
    *,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    seed: int | None = None,
    sampler: str = "auto",
    target_accept: float = TARGET_ACCEPT,
    progress: bool = True,
    cores: int | None = None,
    began: float | None = None,
    stream: Stream | None = None,
    kept: Kept | None = None,
) -> xr.DataTree:
    """Sample the posterior of a graph.

    Parameters
    ----------
    graph : pymc.Model
    draws, tune, chains : int, `tune` 1,000 if it is not given
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
    stream : callable, optional
        Keeps the draws of nutpie while they are made: see `runs.RunningSampler`.
    kept : dict, optional
        Compiled graphs by structure: one that differs in its data alone is taken from here, a new one put there.

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
    if stream is None:  # which holds no draws
        refuse(numbers_per_draw(graph), settings.draws, settings.tune, settings.chains)
    for text in said:
        warnings.warn(text, BayesmmWarning, stacklevel=2)
    name = "nutpie" if sampler == "auto" else sampler
    with (
        progress_bar(progress, settings.chains, settings.tune + settings.draws) as bar,
        without_compiler(),
        exact_arithmetic(),
        one_thread(),
    ):
        about = record(name, settings, said, RECORDED)
        if stream is not None:
            return _streamed(graph, settings, about, stream, bar)
        run = _run_pymc(graph, settings, bar) if name == "pymc" else _run_nutpie(graph, settings, bar, kept)
    tree = draws_tree(graph, run)
    about |= {"interrupted": run.interrupted, "seconds": time.perf_counter() - began}
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
    kept = kept_variables(graph)
    parameters = [name for name in kept if not is_at_means(name, kept)]
    names = {"prior": parameters, "prior_predictive": [v.name for v in graph.observed_RVs]}
    variables = [graph[name] for group in names.values() for name in group]
    with without_compiler():
        arrays = iter(pm.draw(variables, draws=draws, random_seed=chosen_seed(seed), mode=PYTHON))
    groups = {group: drawn(graph, {name: next(arrays) for name in names[group]}, draws) for group in names}
    return xr.DataTree.from_dict(groups | data_groups(graph))


# --- nutpie -----------------------------------------------------------------------------------------------------------


def _run_nutpie(graph: pm.Model, settings: Settings, bar: Progress, kept: Kept | None = None) -> Run:
    handle = start_nutpie(_compiled(graph) if kept is None else _compiled_once(graph, kept), settings, bar)
    with _explained(graph):
        tree, interrupted = wait(handle, bar)
    lengths = np.isfinite(tree["sample_stats"]["logp"].values).sum(axis=1)  # shorter chains are filled up with NaN
    return finished_run(tree, NUTPIE, lengths, interrupted)


@contextmanager
def _explained(graph: pm.Model) -> Iterator[None]:
    """Say why there is no good start, which is all that nutpie says."""
    try:
        yield
    except RuntimeError as error:
        check_start(graph)
        raise ValueError(f"the sampler cannot go on: {str(error).splitlines()[0]}") from error


def _streamed(
    graph: pm.Model, settings: Settings, about: Mapping[str, object], stream: Stream, bar: Progress
) -> xr.DataTree:
    """Sample by nutpie, the draws kept while they are made."""
    compiled = _compiled(graph)
    names, _, shapes = compiled.shape_info
    zeros = {name: np.zeros(shape) for name, shape in zip(names, shapes, strict=True)}
    one = Run(drawn(graph, zeros, draws=1), no_stats(), interrupted=False)
    variables = tuple((name, one.posterior[name].dims[2:]) for name in names)
    begin = partial(start_nutpie, aliased(compiled), settings, bar, return_raw_trace=True)
    with _explained(graph):
        return stream(RunningSampler(begin, variables, partial(kept_tree, graph), draws_tree(graph, one), about), bar)


class _Unnamed(Exception):
    """Some data of a graph have no name of their own."""


def _compiled(graph: pm.Model) -> CompiledPyMCModel:
    """Return the graph as nutpie takes it, by the quicker way, or by nutpie's own where that says it cannot be."""
    try:
        return _compiled_natively(graph)
    except Moved as why:
        return _by_nutpie(graph, why)


def _by_nutpie(graph: pm.Model, why: Moved) -> CompiledPyMCModel:
    warnings.warn(
        f"the model is compiled by nutpie itself, which takes longer, since {why}; the draws are the same",
        BayesmmWarning,
        stacklevel=2,
    )
    return nutpie.compile_pymc_model(graph, var_names=kept_variables(graph))


def _compiled_once(graph: pm.Model, kept: Kept) -> CompiledPyMCModel:
    """Return the graph as nutpie takes it, from `kept` if it has one that differs in its data alone; else it will."""
    like = structure(graph)
    if like not in kept:
        try:
            kept[like] = _compiled_natively(graph, swappable=True)
        except _Unnamed:
            return _compiled(graph)
        except Moved as why:
            return _by_nutpie(graph, why)
    return _with_data(kept[like], graph)


def _with_data(compiled: CompiledPyMCModel, graph: pm.Model) -> CompiledPyMCModel:
    """Return a compiled graph with the data and the labels of another one of the same structure."""
    values = {name: data_of(graph, name, old) for name, old in compiled.shared_data.items()}
    dims, coords = nutpie_parts.labels(graph, compiled.shape_info, compiled.reparameterized_names)
    return replace(compiled, shared_data=values, user_data=_addresses(values), dims=dims, _coords=coords)


def _addresses(data: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return where the data are, in their order; the arrays must be kept as long as this is in use."""
    return np.array([values.ctypes.data for values in data.values()] or [0], dtype=np.uintp)


def _compiled_natively(graph: pm.Model, swappable: bool = False) -> CompiledPyMCModel:
    """Return the same as nutpie's own compilation, put together from its parts in less time: see `graph.native`.

    The data are constants of the C functions; if `swappable` they are read through the user data.

    Raises
    ------
    Moved
        The parts are elsewhere.
    _Unnamed
        Data that are to be swappable cannot be told apart.
    """
    nutpie_parts.check()
    start = pm.initial_point.make_initial_point_fn(model=graph, jitter_rvs=set(graph.free_RVs), return_transformed=True)
    size, expanded, logp, expand, start, layout, transformed = nutpie_parts.functions(graph, start)
    dims, coords = nutpie_parts.labels(graph, layout, transformed)
    point, data, places = start(0), {}, None
    if swappable:
        data = {v.name: contiguous(v.get_value()) for v in dict.fromkeys((*logp.get_shared(), *expand.get_shared()))}
        places = {name: place for place, name in enumerate(data)}
        if None in data or len(data) < len({*logp.get_shared(), *expand.get_shared()}):
            raise _Unnamed
    return CompiledPyMCModel(
        dims=dims,
        reparameterized_names=transformed,
        compiled_logp_func=native.density(logp, point, places),
        compiled_expand_func=native.expansion(expand, point, expanded, places),
        initial_point_func=start,
        shared_data=data,
        shared_var_keys={},
        user_data=_addresses(data),
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
        raise ValueError(f"the sampler cannot go on: {str(error).splitlines()[0]}") from error
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
