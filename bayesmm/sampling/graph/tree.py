"""The draws of a graph in one form, whichever sampler made them: an xarray.DataTree."""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import xarray as xr
from pymc.backends.arviz import find_constants, find_observations

from bayesmm.sampling.graph.distributions import INTERNAL
from bayesmm.sampling.graph.size import kept_variables
from bayesmm.storage.runs import Run


def draws_tree(graph: pm.Model, run: Run) -> xr.DataTree:
    """Return posterior (the parameters), sample_stats, observed_data and constant_data of a run."""
    groups = {name: node.to_dataset() for name, node in kept_tree(graph, run).children.items()}
    return xr.DataTree.from_dict(groups | data_groups(graph))


def kept_tree(graph: pm.Model, run: Run) -> xr.DataTree:
    """Return posterior (the parameters) and sample_stats of a run."""
    kept = [name for name in kept_variables(graph) if name in run.posterior]
    groups = {"posterior": labelled(graph, run.posterior[kept]), "sample_stats": run.sample_stats.drop_attrs()}
    return xr.DataTree.from_dict(groups)


def drawn(graph: pm.Model, arrays: Mapping[str, np.ndarray], draws: int) -> xr.Dataset:
    """Return independent draws of a graph's variables, each (draws, ...) or (...) if `draws` is 1, as one chain."""
    found = {}
    for name, values in arrays.items():
        shape = np.shape(values)[1:] if draws > 1 else np.shape(values)
        found[name] = (("chain", "draw", *_dims(graph, name, len(shape))), np.reshape(values, (1, draws, *shape)))
    return labelled(graph, xr.Dataset(found, coords={"chain": [0], "draw": np.arange(draws)}))


def labelled(graph: pm.Model, dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset with the graph's coordinates, and without a sampler's notes (which have the time in them)."""
    return dataset.drop_attrs().assign_coords({dim: _labels(graph, dim) for dim in dataset.dims if dim in graph.coords})


def data_groups(graph: pm.Model) -> dict[str, xr.Dataset]:
    """Return the graph's observed values and its constants, with their dimensions."""
    constants = {k: v for k, v in find_constants(graph).items() if not k.startswith(INTERNAL)}
    found = {"observed_data": find_observations(graph), "constant_data": constants}
    return {group: _dataset(graph, arrays) for group, arrays in found.items()}


def _dataset(graph: pm.Model, arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    return labelled(graph, xr.Dataset({k: (_dims(graph, k, np.ndim(v)), np.asarray(v)) for k, v in arrays.items()}))


def _dims(graph: pm.Model, name: str, ndim: int) -> tuple[str, ...]:
    """Return a variable's dimensions; those of a user's own variable may have no names."""
    return graph.named_vars_to_dims.get(name) or tuple(f"{name}_dim_{i}" for i in range(ndim))


def _labels(graph: pm.Model, dim: str) -> np.ndarray:
    return np.asarray(graph.coords[dim])
