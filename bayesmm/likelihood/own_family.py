"""A family of the user's own in compiled code: its log density in PyTensor, differentiated and made into C functions.

The expression of one row is differentiated by PyTensor, with the inverse of the link in it, and compiled by Numba as a
function of numbers. Compiled code that is kept on disk calls it through its address: nothing else is compiled for
another family.
"""

import functools
from collections.abc import Callable, Sequence

import numba
import numpy as np
from numba import carray
from numba.np.unsafe.ndarray import to_fixed_tuple

from bayesmm.errors import DataError
from bayesmm.families.family import Family
from bayesmm.families.links import graph_mean
from bayesmm.families.special import polygamma
from bayesmm.likelihood.compiled import from_kernel, source_version
from bayesmm.likelihood.response_kernels import OUTPUTS, ROW


def functions_of(family: Family) -> dict:
    """Return the density and the score of a row as C functions, by these names: see `row_functions`.

    Raises
    ------
    DataError
        The log density is not an expression of numbers.
    """
    inputs, value, eta, aux = _expression(family)
    derivatives = [value]
    for _ in range(OUTPUTS - 1):
        derivatives.append(_slope(derivatives[-1], eta))
    scores = [_slope(value, own) for own in aux]
    given = {"density": derivatives, "score": scores}
    return {name: _c_function(_scalar_function(family, inputs, found), len(aux)) for name, found in given.items()}


def _expression(family: Family) -> tuple:
    """Return the inputs (y, trials, eta, *parameters), the log density, eta, and the parameters."""
    import pytensor.tensor as pt
    from pytensor.tensor import TensorVariable

    y, trials, eta = pt.dscalars("y", "trials", "eta")
    aux = [pt.dscalar(name) for name in family.auxiliaries]
    value = family.log_density(y, graph_mean(family.link, eta), trials, tuple(aux))
    if not isinstance(value, TensorVariable) or value.ndim > 0:
        raise DataError(
            f"log_density of the family {family.name!r} should return an expression of PyTensor for each row, made of "
            f"functions such as pt.log and pt.gammaln, not {type(value).__name__}"
        )
    return [y, trials, eta, *aux], pt.cast(value, "float64"), eta, aux


def _slope(value, of):
    """Return the derivative; 0 where the value does not depend on it."""
    import pytensor
    import pytensor.tensor as pt

    if of not in pytensor.graph.traversal.ancestors([value]):
        return pt.constant(0.0)
    return pytensor.grad(value, of, disconnected_inputs="ignore")


def _scalar_function(family: Family, inputs: Sequence, outputs: Sequence) -> Callable:
    """Return a Numba function of numbers, from expressions without dimensions."""
    from pytensor.graph.rewriting.utils import rewrite_graph
    from pytensor.link.numba.dispatch import numba_funcify
    from pytensor.scalar import Composite

    outputs = [*outputs, *[0.0 * inputs[0]] * (OUTPUTS - len(outputs))]
    _register_polygamma()
    simple = rewrite_graph(outputs, include=("canonicalize", "stabilize", "specialize"), clone=True)
    given, found = _as_scalars(family, inputs, simple)
    composite = Composite(given, found)
    made = numba_funcify(composite, node=composite.make_node(*given))
    return made[0] if isinstance(made, tuple) else made


def _as_scalars(family: Family, inputs: Sequence, outputs: Sequence) -> tuple[list, list]:
    """Return inputs and outputs in PyTensor's scalars, which are numbers, for tensors without dimensions."""
    from pytensor import scalar
    from pytensor.graph.basic import Constant
    from pytensor.graph.traversal import io_toposort
    from pytensor.tensor.elemwise import DimShuffle, Elemwise

    known = {variable: scalar.float64(variable.name) for variable in inputs}

    def number(variable):
        if isinstance(variable, Constant):
            return scalar.constant(variable.data.item(), dtype=variable.dtype)
        return known[variable]

    for node in io_toposort(inputs, outputs):
        if isinstance(node.op, DimShuffle):
            known[node.outputs[0]] = number(node.inputs[0])
        elif isinstance(node.op, Elemwise):
            made = node.op.scalar_op(*map(number, node.inputs))
            known |= zip(node.outputs, made if isinstance(made, list) else [made], strict=True)
        else:
            raise DataError(
                f"log_density of the family {family.name!r} uses {type(node.op).__name__}, which does not work element "
                "by element; use functions such as pt.log, pt.exp, pt.gammaln and pt.switch"
            )
    return [known[variable] for variable in inputs], [number(output) for output in outputs]


@functools.cache
def _register_polygamma() -> None:
    """Give PyTensor's trigamma and polygamma, which its Numba back end leaves to Python, a compiled form."""
    from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key
    from pytensor.scalar.math import PolyGamma, TriGamma

    orders, version = from_kernel(polygamma), source_version()

    @register_funcify_and_cache_key(TriGamma)
    def trigamma(op, node=None, **_):
        @numba_njit
        def value(x):
            return orders(x)[1]

        return value, f"trigamma {version}"

    @register_funcify_and_cache_key(PolyGamma)
    def higher(op, node=None, **_):
        @numba_njit
        def value(n, x):
            found = orders(x)
            return found[1] if n == 1 else found[2] if n == 2 else np.nan

        return value, f"polygamma {version}"


def _c_function(function: Callable, size: int):
    """Return a function of (y, trials, eta, *parameters) as a C function of a row."""

    def row(y, trials, eta, aux, out):
        numbers = function(y, trials, eta, *to_fixed_tuple(carray(aux, (size,)), size))
        found = carray(out, (OUTPUTS,))
        for k in range(OUTPUTS):
            found[k] = numbers[k]

    return numba.cfunc(ROW, error_model="numpy")(row)
