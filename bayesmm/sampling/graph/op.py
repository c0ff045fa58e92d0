"""The log marginal likelihood as one PyTensor operation, value and gradient in one call.

The data are inputs, so that the compiled function serves any data of the same structure, and Numba finds it again on
disk in a new process: the cache key is the operation's type and the checksum of the core's source.
"""

import zlib
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
from numba.extending import register_jitable
from pytensor.compile.builders import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key

from bayesmm.errors import DataError
from bayesmm.likelihood.compiled import source_version
from bayesmm.likelihood.crossproducts import CrossProducts
from bayesmm.likelihood.gaussian import FixedPrior
from bayesmm.likelihood.gaussian_data import Leading, Rest
from bayesmm.likelihood.gaussian_likelihood import from_arrays

# T, sigma, lam and mean are variables; what follows them is data
N_VARIABLES = 4
N_DATA = len(Leading._fields) + len(Rest._fields) + 3


class MarginalLikelihood(Op):
    """(T, sigma, lam, mean, data...) -> (log p, its derivatives with respect to T, sigma, lam, mean).

    T is packed, (sum q_k^2,); lam, mean are (p,): see `bayesmm.likelihood.gaussian`. Where the penalised cross-products
    are not positive definite, log p is -inf.
    """

    __props__ = ()

    def make_node(self, *inputs) -> Apply:
        """Return the node; the outputs have the types of log p and of the four variables."""
        inputs = [pt.as_tensor_variable(value) for value in inputs]
        if len(inputs) != N_VARIABLES + N_DATA:
            raise TypeError(f"MarginalLikelihood takes {N_VARIABLES + N_DATA} inputs, not {len(inputs)}")
        # PyTensor makes Python's 0.0 single precision: one type, so that the code is compiled once
        inputs[:N_VARIABLES] = [pt.cast(value, "float64") for value in inputs[:N_VARIABLES]]
        return Apply(self, inputs, [pt.dscalar(), pt.dvector(), pt.dscalar(), pt.dvector(), pt.dvector()])

    def perform(self, node, inputs, outputs) -> None:
        """Evaluate in Python, for the back ends other than Numba."""
        T, sigma, lam, mean, *data = inputs
        *arrays, rWr, size, D = data
        values = _log_density(T, float(sigma), lam, mean, *arrays, float(rWr), size, D)
        for storage, value in zip(outputs, values, strict=True):
            storage[0] = np.asarray(value)

    def pullback(self, inputs, outputs, cotangents):
        """Return the first cotangent times the derivatives that the same call has computed."""
        derivatives = [cotangents[0] * output for output in outputs[1:]]
        return derivatives + [DisconnectedType()() for _ in inputs[N_VARIABLES:]]

    def connection_pattern(self, node):
        """Say that only log p is differentiable, and not in the data."""
        return [[i < N_VARIABLES, False, False, False, False] for i in range(len(node.inputs))]


@register_jitable
def _outside(T, lam, mean):
    """Return the outputs where there is no density."""
    return -np.inf, np.zeros_like(T), 0.0, np.zeros_like(lam), np.zeros_like(mean)


@register_jitable
def _log_density(
    T, sigma, lam, mean, count, A, start, columns, coupling, sum_z, sum_zz,
    rest_A, rest_z, rest_q, rest_levels, rWr, size, D,
):  # fmt: skip
    """Return the outputs of the operation; `size` is (n, sum of log weights), D the 1s and 0s of the fixed columns."""
    leading = Leading(count, A, start, columns, coupling, sum_z, sum_zz)
    rest = Rest(rest_A, rest_z, rest_q, rest_levels)
    # where a sampler's exp(x) underflows; a sigma of 0 would be taken for "find it"
    if not (sigma > 0.0 and sigma < np.inf):
        return _outside(T, lam, mean)
    nu = size[0]
    for j in range(D.shape[0]):
        nu -= 1.0 - D[j]
    ok, logdet, quad, d_T, d_lam, d_mean = from_arrays(leading, rest, rWr, T, sigma, nu, FixedPrior(mean, lam, D))
    if not ok:
        return _outside(T, lam, mean)
    value = -0.5 * (nu * np.log(2 * np.pi * sigma**2) - size[1] + logdet + quad / sigma**2)
    return value, d_T, (quad / sigma**2 - nu) / sigma, d_lam, d_mean


@register_funcify_default_op_cache_key(MarginalLikelihood)
def _funcify(op, node=None, **_):
    """Return the Numba function, and the version of its source for the cache key."""

    @numba_njit
    def marginal_likelihood(
        T, sigma, lam, mean, count, A, start, columns, coupling, sum_z, sum_zz,
        rest_A, rest_z, rest_q, rest_levels, rWr, size, D,
    ):  # fmt: skip
        packed = np.ascontiguousarray(T)  # of a single sd PyTensor makes a view of any strides, which has no reshape
        value, d_T, d_sigma, d_lam, d_mean = _log_density(
            packed, sigma.item(), lam, mean, count, A, start, columns, coupling, sum_z, sum_zz,
            rest_A, rest_z, rest_q, rest_levels, rWr.item(), size, D,
        )  # fmt: skip
        return np.asarray(value), d_T, np.asarray(d_sigma), d_lam, d_mean

    return marginal_likelihood, _source_version()


def _source_version() -> int:
    """Return a checksum of the compiled source: a change of it must not find the old code in the cache."""
    return zlib.crc32(Path(__file__).read_bytes(), source_version())


def data_inputs(cp: CrossProducts, D: np.ndarray) -> list:
    """Return the cross-products as shared variables, in the order that the operation takes them.

    Raises
    ------
    DataError
        Levels are related by a pedigree in its sparse form.
    """
    if cp.kin is not None:
        raise DataError(
            f"a PyMC graph has no sparse matrices, and {cp.kin.n:,} animals of a pedigree need them; "
            "leave sampler= out, or use sampler='importance'"
        )
    size = np.array([float(cp.n), cp.sum_log_weights])
    return [
        pytensor.shared(np.array(value, order="C"))
        for value in (*cp.leading, *cp.rest, np.asarray(cp.rWr), size, np.asarray(D))
    ]
