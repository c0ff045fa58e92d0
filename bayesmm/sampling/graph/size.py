"""What a graph stores of each draw."""

from math import prod

import pymc as pm

from bayesmm.sampling.graph.distributions import INTERNAL


def kept_variables(graph: pm.Model) -> list[str]:
    """Return the names of the variables that are parameters, in the model's order."""
    named = [v.name for v in (*graph.free_RVs, *graph.deterministics) if not v.name.startswith(INTERNAL)]
    return [name for name in graph.named_vars if name in named]


def numbers_per_draw(graph: pm.Model) -> dict[str, int]:
    """Return how many numbers each stored variable takes in a draw: what is sampled, and what is kept."""
    lengths = {name: len(values) for name, values in graph.coords.items() if values is not None}
    names = {v.name: v for v in graph.free_RVs} | {name: graph[name] for name in kept_variables(graph)}
    return {name: _numbers(variable, graph.named_vars_to_dims.get(name), lengths) for name, variable in names.items()}


def _numbers(variable, dims: tuple[str, ...] | None, lengths: dict[str, int]) -> int:
    """Return the size of a variable; one without dimensions is a small matrix, whose unknown sides count as 1."""
    return prod(lengths.get(dim, 1) for dim in dims) if dims else prod(side or 1 for side in variable.type.shape)
