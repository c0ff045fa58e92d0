"""The log marginal likelihood by quadrature as one PyTensor operation, value and gradient in one call.

As in ``op``, the data are inputs, and the code on disk is found again by the checksum of its source.
"""

import numpy as np
import pytensor
import pytensor.tensor as pt
from numba.extending import register_jitable
from pytensor.compile.builders import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key

from bayesmm.likelihood.compiled import call, from_python, pointers, source_version
from bayesmm.likelihood.level_sums import LEVELS
from bayesmm.likelihood.quadrature import Grouped, likelihood, rule, told

N_VARIABLES = 3  # beta, L and the auxiliaries; what follows them is data
N_DATA = 5  # words, what is told, nodes, their log weights, and the address of the compiled likelihood


class QuadratureLikelihood(Op):
    """(beta, L, aux, data...) -> (log p, its derivatives with respect to beta, L, aux).

    beta is (p,), L (q, q) and lower triangular, aux (3,) with zeros where the family has fewer, or (3 n,) row by row:
    see `bayesmm.likelihood.quadrature`. Where there is no density in floating point, log p is -inf.
    """

    __props__ = ()

    def make_node(self, *inputs) -> Apply:
        """Return the node; the outputs have the types of log p and of the three variables."""
        inputs = [pt.as_tensor_variable(value) for value in inputs]
        if len(inputs) != N_VARIABLES + N_DATA:
            raise TypeError(f"QuadratureLikelihood takes {N_VARIABLES + N_DATA} inputs, not {len(inputs)}")
        inputs[:N_VARIABLES] = [pt.cast(value, "float64") for value in inputs[:N_VARIABLES]]  # one type of code
        return Apply(self, inputs, [pt.dscalar(), pt.dvector(), pt.dmatrix(), pt.dvector()])

    def perform(self, node, inputs, outputs) -> None:
        """Evaluate in Python, for the back ends other than Numba."""
        beta, L, aux, words, sizes, nodes, log_weights, _ = map(np.ascontiguousarray, inputs)
        found = [np.full(1, -np.inf), np.zeros_like(beta), np.zeros_like(L), np.zeros_like(aux)]
        modes = np.empty((sizes[LEVELS], len(L)))
        from_python(likelihood(), 12)(*pointers(words, sizes, nodes, log_weights, beta, L, aux, *found, modes))
        for storage, value in zip(outputs, (found[0].reshape(()), *found[1:]), strict=True):
            storage[0] = value

    def pullback(self, inputs, outputs, cotangents):
        """Return the first cotangent times the derivatives that the same call has computed."""
        derivatives = [cotangents[0] * output for output in outputs[1:]]
        return derivatives + [DisconnectedType()() for _ in inputs[N_VARIABLES:]]

    def connection_pattern(self, node):
        """Say that only log p is differentiable, and not in the data."""
        return [[i < N_VARIABLES, False, False, False] for i in range(len(node.inputs))]


@register_jitable
def _log_density(beta, L, aux, words, sizes, nodes, log_weights, address):
    """Return the outputs of the operation, from the compiled likelihood at an address."""
    value, d_beta, d_L, d_aux = np.full(1, -np.inf), np.zeros_like(beta), np.zeros_like(L), np.zeros_like(aux)
    modes = np.empty((sizes[LEVELS], L.shape[0]))
    call(address[0], (words, sizes, nodes, log_weights, beta, L, aux, value, d_beta, d_L, d_aux, modes))
    return value[0], d_beta, d_L, d_aux


@register_funcify_default_op_cache_key(QuadratureLikelihood)
def _funcify(op, node=None, **_):
    """Return the Numba function, and the version of its source for the cache key."""

    @numba_njit
    def quadrature_likelihood(beta, L, aux, words, sizes, nodes, log_weights, address):
        contiguous = np.ascontiguousarray  # of the variables PyTensor makes views of any strides
        value, d_beta, d_L, d_aux = _log_density(
            contiguous(beta), contiguous(L), contiguous(aux), words, sizes, nodes, log_weights, address
        )
        return np.asarray(value), d_beta, d_L, d_aux

    return quadrature_likelihood, source_version()


def quadrature_inputs(data: Grouped, n_auxiliaries: int, k: int) -> list:
    """Return the data as shared variables, in the operation's order, for k nodes per dimension or a lattice."""
    nodes, log_weights = rule(k, data.Z.shape[1])
    arrays = (data.words, told(data, n_auxiliaries, k), nodes, log_weights, np.array([likelihood().address]))
    return [pytensor.shared(np.array(value, order="C")) for value in arrays]
