"""The parts of nutpie outside its public interface that the quicker compilation of a graph is put together from.

The public way, `nutpie.compile_pymc_model`, makes Numba compile all of a graph again in every process, tens of seconds
of a small one; there is no public way to hand nutpie functions that are compiled already. Whatever is not where nutpie
0.16 has it is found out here, before anything is compiled, and said: then the public way is taken.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields

import pymc as pm
from nutpie import compile_pymc as parts

from bayesmm.sampling.graph.native import Moved
from bayesmm.sampling.graph.size import kept_variables

CompiledPyMCModel = parts.CompiledPyMCModel
# The private functions with their arguments, and what a compiled model is made of besides.
TAKES = {
    "_make_functions": ("model", "mode", "compute_grad", "join_expanded", "pymc_initial_point_fn", "var_names"),
    "_wrap_with_lock": ("func",),
    "_prepare_dims_and_coords": ("model", "shape_info", "reparameterized_names"),
}
HOLDS = (
    "dims", "reparameterized_names", "compiled_logp_func", "compiled_expand_func", "initial_point_func", "shared_data",
    "shared_var_keys", "user_data", "n_expanded", "shape_info", "logp_func", "expand_func", "_n_dim", "_shapes",
    "_coords",
)  # fmt: skip


def check() -> None:
    """Raise Moved where a part of nutpie is not where it is expected, or takes other arguments."""
    for name, arguments in TAKES.items():
        function = getattr(parts, name, None)
        if function is None:
            raise Moved(f"nutpie has no {name}")
        found = inspect.signature(function).parameters.values()
        needed = {own.name for own in found if own.default is own.empty}
        if not needed <= set(arguments) <= {own.name for own in found}:
            raise Moved(f"nutpie's {name} takes {', '.join(own.name for own in found)}")
    known = fields(CompiledPyMCModel)
    extra = {own.name for own in known if own.init} - set(HOLDS) - {"_transform_adapt_args"}
    if extra or not {own.name for own in known} >= set(HOLDS):
        raise Moved(f"nutpie's CompiledPyMCModel holds {', '.join(own.name for own in known)}")


def functions(graph: pm.Model, start: Callable) -> tuple:
    """Return what nutpie makes of a graph.

    That is the numbers of free and of all values, the log density with its gradient, the expansion, the start, names,
    slices and shapes of the variables, and the names of those that are transformed.
    """
    return parts._make_functions(
        graph,
        mode="NUMBA",
        compute_grad=True,
        join_expanded=True,
        pymc_initial_point_fn=parts._wrap_with_lock(start),
        var_names=kept_variables(graph),
    )


def labels(graph: pm.Model, layout: tuple, transformed: list[str]) -> tuple[dict, dict]:
    """Return the dimensions of the variables, and the labels of the dimensions."""
    return parts._prepare_dims_and_coords(graph, layout, transformed)
