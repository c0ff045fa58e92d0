"""What a compiled graph depends on besides its data, so that it can be used for other data of the same shapes."""

import numpy as np
import pymc as pm
from pytensor.compile.sharedvalue import SharedVariable


def structure(graph: pm.Model) -> tuple:
    """Return what two graphs of one formula and the same priors have in common where they differ in their data alone.

    Names and types of the variables, names, types and shapes of the data, the lengths of the dimensions, and the values
    at which variables were set to start, which the compiled start has in it.
    """
    starts = tuple((v.name, np.ravel(x).tolist()) for v, x in graph.rvs_to_initial_values.items() if x is not None)
    variables = tuple((v.name, str(graph.rvs_to_values[v].type)) for v in graph.basic_RVs)
    values = {name: v.get_value(borrow=True) for name, v in graph.named_vars.items() if isinstance(v, SharedVariable)}
    data = tuple((name, value.dtype.str, value.shape) for name, value in values.items())
    lengths = tuple((name, len(labels)) for name, labels in graph.coords.items())
    return variables, data, lengths, tuple((name, *x) for name, x in starts)


def data_of(graph: pm.Model, name: str, old: np.ndarray) -> np.ndarray:
    """Return the data of this name, as a compiled function takes them; `old` where they are the length of a dimension.

    Graphs of one structure have the same lengths.
    """
    found = graph.named_vars.get(name)
    return contiguous(found.get_value()) if isinstance(found, SharedVariable) else old


def contiguous(value: object) -> np.ndarray:
    """Return an array whose address stays its own."""
    return np.array(value, order="C")
