"""The kernels of structures as C functions of addresses, compiled at their first use or from the disk."""

from collections.abc import Callable

import numpy as np
from numba import carray, types

from bayesmm.design.covariance.structure import COMPLEX_STEP
from bayesmm.likelihood.compiled import DOUBLES, WORDS, from_kernel, from_template, once

# (sizes: backward, values, rows and columns of the table; sigma; values; table; found; derivatives with respect to what
# is found; those with respect to the values out; what the kernel returns) -> 1
RESIDUAL = types.int64(WORDS, *[DOUBLES] * 7)
# (sizes: backward, values, columns; values; L out; derivatives with respect to L; those with respect to the values out)
COVARIANCE = types.int64(WORDS, *[DOUBLES] * 4)
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


def _factor(sizes, values_, L_, d_L_, d_values_):
    """Call the kernel of a covariance structure; backward once for each value, with a complex step."""
    t, q = sizes[1], sizes[2]
    given, L, d_L, d_values = carray(values_, (t,)), carray(L_, (q, q)), carray(d_L_, (q, q)), carray(d_values_, (t,))
    for k in range(t if sizes[0] == 1 else 1):
        values, found = np.zeros(t, np.complex128), np.zeros((q, q), np.complex128)
        for i in range(t):
            values[i] = complex(given[i], COMPLEX_STEP if i == k else 0.0)
        OF_STRUCTURE(values, found)
        for i in range(q):
            for j in range(i + 1):
                if sizes[0] == 1:
                    d_values[k] += d_L[i, j] * found[i, j].imag / COMPLEX_STEP
                else:
                    L[i, j] = found[i, j].real
    return 1


@once
def factor_function(kernel: Callable) -> object:
    """Return the kernel of a covariance structure as a C function of the type COVARIANCE."""
    return _c_function(_factor, kernel, COVARIANCE)


@once
def inverse_function(kernel: Callable) -> object:
    """Return the kernel `Inverse.values` of a structure as a C function of the type RESIDUAL."""
    return _c_function(_inverse, kernel, RESIDUAL)


@once
def log_sd_function(kernel: Callable) -> object:
    """Return the kernel `ResidualStructure.log_sd` of a structure as a C function of the type RESIDUAL."""
    return _c_function(_log_sd, kernel, RESIDUAL)


def _c_function(template: Callable, kernel: Callable, signature: types.Type) -> object:
    name = f"{kernel.__module__.replace('.', '_')}_{kernel.__name__}"
    return from_template(template, kernel, signature, name, OF_STRUCTURE=from_kernel(kernel))
