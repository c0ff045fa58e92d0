"""The kernels of residual structures as C functions of addresses, compiled at their first use or from the disk."""

import functools
from collections.abc import Callable
from types import FunctionType

import numba
from numba import carray, types

from bayesmm.likelihood.compiled import DOUBLES, WORDS, from_kernel, kernel_version, keyed, source_version

# (sizes: backward, values, rows and columns of the table; sigma; values; table; found; derivatives with respect to what
# is found; those with respect to the values out; what the kernel returns) -> 1
KERNEL = types.int64(WORDS, *[DOUBLES] * 7)
OF_STRUCTURE = None  # the kernel, in each copy


def _inverse(sizes, sigma, values, table, found, d_found, d_values, out):
    """Call the kernel of an inverse correlation matrix."""
    k, rows, columns = sizes[1], sizes[2], sizes[3]
    out[0] = OF_STRUCTURE(
        sizes[0] == 1, carray(values, (k,)), carray(table, (rows, columns)), carray(found, (rows,)),
        carray(d_found, (rows,)), carray(d_values, (k,)),
    )  # fmt: skip
    return 1


def _log_sd(sizes, sigma, values, table, found, d_found, d_values, out):
    """Call the kernel of the sds of rows."""
    k, rows, columns = sizes[1], sizes[2], sizes[3]
    out[0] = OF_STRUCTURE(
        sizes[0] == 1, sigma[0], carray(values, (k,)), carray(table, (rows, columns)), carray(found, (rows,)),
        carray(d_found, (rows,)), carray(d_values, (k,)),
    )  # fmt: skip
    return 1


@functools.cache
def inverse_function(kernel: Callable) -> object:
    """Return the kernel `Inverse.values` of a structure as a C function of the type KERNEL."""
    return _c_function(_inverse, kernel)


@functools.cache
def log_sd_function(kernel: Callable) -> object:
    """Return the kernel `ResidualStructure.log_sd` of a structure as a C function of the type KERNEL."""
    return _c_function(_log_sd, kernel)


def _c_function(template: Callable, kernel: Callable) -> object:
    known = {**globals(), "OF_STRUCTURE": from_kernel(kernel)}
    name = f"{kernel.__module__.rpartition('.')[2]}_{kernel.__name__}"
    made = FunctionType(template.__code__, known, name)
    made.__qualname__ = name
    version = kernel_version(kernel, source_version())
    return numba.cfunc(KERNEL, cache=True, error_model="numpy")(keyed(made, version))
